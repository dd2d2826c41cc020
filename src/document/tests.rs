//! The rules on what people send, and what must hold for any text.

use std::ops::Range;

use proptest::prelude::*;

use super::*;

fn own(text: &str) -> String {
    Parts::of(text, LeaveOut::Signatures).own_text(text).trim().to_owned()
}

fn pieces(text: &str) -> Vec<&str> {
    let parts = Parts::of(text, LeaveOut::Signatures);
    parts.sentences(text).into_iter().map(|range| &text[trimmed(text, range)]).collect()
}

#[test]
fn threads_are_left_out_however_a_program_marks_them() {
    let thread = "Waardeloos, ik wil mijn geld terug!\nWanneer komt dat?";
    for mark in [
        "Op 3 mei 2026 om 14:02 schreef Jan Jansen <jan@post.example>:",
        "On Mon, 4 May 2026 at 10:11, Marcus <help@lumina.example> wrote:",
        "On Mon, 4 May 2026 at 10:11, Marcus at Lumina\n<help@lumina.example> wrote:",
        "Le lun. 4 mai 2026 à 10:11, Marc <m@poste.example> a écrit :",
        "Van: Jan\nVerzonden: 3 mei 2026\nAan: Klantenservice\nOnderwerp: klacht\n",
        "From: Jan\nSent: 3 May 2026\nTo: Service\nSubject: complaint\n",
        "*From:* Jan\n*Date:* 3 May 2026\n*Subject:* complaint\n",
        "-----Oorspronkelijk bericht-----",
        "-----Original Message-----",
        "---------- Forwarded message ---------",
        "________________________________\nVan: Jan",
    ] {
        let text = format!("Dank, dat is gelukt.\n\n{mark}\n{thread}\n");
        assert_eq!(own(&text), "Dank, dat is gelukt.", "{mark}");
    }
}

#[test]
fn a_reply_below_or_between_what_it_quotes_is_kept() {
    let text = "Op 3 mei om 14:02 schreef Jan:\n> Hoe laat open?\n>\n> Groet\n\nOm tien uur.\n> En dicht?\nOm zes.\n";
    assert_eq!(own(text), "Om tien uur.\nOm zes.");
}

#[test]
fn signatures_are_left_out_and_what_is_said_below_them_is_kept() {
    for (text, kept) in [
        (
            "Waar is het?\n\nMet vriendelijke groet,\n\nJan Jansen\nDorpsstraat 1\n06 - 1234",
            "Waar is het?",
        ),
        ("Where is it?\n\nKind regards,\nJ. Doe\nHead of Sales | Acme Ltd.", "Where is it?"),
        ("Waar is het?\n-- \nJan\nwww.jan.example", "Waar is het?"),
        ("Waar is het?\n\nVerzonden vanaf mijn iPhone", "Waar is het?"),
        ("Where is it?\nSent from my iPad", "Where is it?"),
        (
            "Waar is het?\n\nGroet,\nJan\n\nP.S. De site noemt het verkeerde adres\nvan het loket\n\nVerzonden vanaf mijn iPad",
            "Waar is het?\n\nP.S. De site noemt het verkeerde adres\nvan het loket",
        ),
        (
            "Dank u.\n\nGroetjes\nAn\n\nO ja, hoe laat gaat u open?",
            "Dank u.\n\nO ja, hoe laat gaat u open?",
        ),
        (
            "Hier de foto's.\n\nHoogachtend,\nA. Ba\nDit bericht is uitsluitend bestemd voor de\ngeadresseerde. Bent u dat niet, wis het dan!",
            "Hier de foto's.",
        ),
    ] {
        assert_eq!(own(text), kept, "{text}");
    }
}

#[test]
fn what_only_looks_like_a_mark_is_kept() {
    for text in [
        "Prijs:\n> 5 euro is te veel",
        ">:( weer te laat",
        "Op 3 mei 2026 om 14:02 schreef ik u:\nwaar blijft het?",
        "Van: station Noord\nNaar: station Zuid\nWanneer rijdt hij?",
        "Verzonden vanaf het depot, zegt u, maar waar blijft het dan?",
        "Best goed geholpen",
        "Van: Jan\nAan: Service\nOnderwerp: klacht\n\nHet is weer stuk.",
        "Groetjes aan de chauffeur, wat een held was dat zeg!",
        "Op Facebook schreef iemand:\nde brug is dicht. Klopt dat?",
    ] {
        assert_eq!(own(text), text.trim());
    }
}

#[test]
fn a_text_that_would_be_left_empty_is_kept() {
    for text in
        ["> alles is een citaat\n> echt alles", "-----Original Message-----\nHoi", "Groetjes\nJan"]
    {
        let parts = Parts::of(text, LeaveOut::Signatures);
        let whole: Range<usize> = 0..text.len();
        assert_eq!((parts.own, parts.left_out), (vec![whole], vec![]), "{text}");
    }
    // Rather a greeting than somebody else's words.
    assert_eq!(own("Groetjes\nJan\n\n> Wat een zooi"), "Groetjes\nJan");
}

#[test]
fn sentences_end_at_full_stops_and_at_line_breaks() {
    assert_eq!(
        pieces("  Hoi. Waar is het? Ik wacht 3.5 uur\nen bel niet!\n\n👏 Top\n> jaja\nDank"),
        ["Hoi.", "Waar is het?", "Ik wacht 3.5 uur", "en bel niet!", "👏 Top", "Dank"]
    );
}

/// Lines that mean something to the rules, so that arbitrary texts meet them.
fn line() -> impl Strategy<Value = String> {
    prop_oneof![
        "\\PC{0,30}",
        Just("> ja. Nee?".to_owned()),
        Just(" \t".to_owned()),
        Just(String::new()),
        Just("Op 3 mei 2026 om 14:02 schreef Jan:".to_owned()),
        Just("Van: Jan".to_owned()),
        Just("Aan: é".to_owned()),
        Just("Onderwerp: x\r".to_owned()),
        Just("-----Original Message-----".to_owned()),
        Just("________________________________".to_owned()),
        Just("Met vriendelijke groet,".to_owned()),
        Just("P.S. nog iets".to_owned()),
        Just("-- ".to_owned()),
        Just("Sent from my phone".to_owned()),
        Just("Dit is een zin. En nog een\u{2028}half!\u{85}".to_owned()),
    ]
}

proptest! {
    #[test]
    fn any_text_is_covered_in_order_and_never_left_out_whole(
        lines in prop::collection::vec(line(), 0..25), all in any::<bool>(),
    ) {
        let text = lines.join("\n");
        let leave_out = if all { LeaveOut::Signatures } else { LeaveOut::Quotations };
        let parts = Parts::of(&text, leave_out);
        for ranges in [parts.own.clone(), parts.sentences(&text)] {
            let mut all: Vec<_> = ranges.iter().chain(&parts.left_out).cloned().collect();
            prop_assert!(ranges.is_sorted_by_key(|r| r.start));
            all.sort_by_key(|range| range.start);
            let mut at = 0;
            for range in all {
                prop_assert!(range.start == at && range.end > at, "a gap or an overlap at {}", at);
                prop_assert!(text.is_char_boundary(range.end));
                at = range.end;
            }
            prop_assert_eq!(at, text.len());
        }
        prop_assert_eq!(parts.own_text(&text).trim().is_empty(), text.trim().is_empty());
    }

    #[test]
    fn a_thread_below_leaves_the_text_above_as_it_was(body in "[A-Za-z ,.!?\n]{1,200}") {
        prop_assume!(!body.trim().is_empty());
        let text = format!("{body}\n\nOn 4 May 2026 at 10:11, Jo <j@a.example> wrote:\n> No!\n> Never.");
        let alone = Parts::of(&body, LeaveOut::Quotations);
        let with = Parts::of(&text, LeaveOut::Quotations);
        let (with, alone) = (with.own_text(&text), alone.own_text(&body));
        prop_assert_eq!(with.trim_end(), alone.trim_end());
    }
}
