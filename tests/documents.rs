//! Long texts: what is left out of them, that all the rest is read, and where verdicts come from.
//!
//! The documents in `tests/data` were written for this project. What the model says of them is not
//! tested here, only what holds of any model that can tell a question.

use std::ops::Range;
use std::sync::OnceLock;

use futures::future::join_all;
use klankbord::batch::lane::Terms;
use klankbord::document::{LeaveOut, Parts, trimmed};
use klankbord::message::{Intent, MAX_TEXT_BYTES, Message, Provenance, Verdict};
use klankbord::pipeline::Pipeline;
use serde_json::Value;

fn documents() -> Vec<Value> {
    let lines = include_str!("data/documents.jsonl").lines();
    lines.map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn text(document: &Value) -> &str {
    document["text"].as_str().unwrap()
}

fn strings<'a>(values: &'a Value, field: Option<&str>) -> Vec<&'a str> {
    let of = |value: &'a Value| field.map_or(value, |field| &value[field]).as_str().unwrap();
    values.as_array().unwrap().iter().map(of).collect()
}

fn pipeline() -> &'static Pipeline {
    static PIPELINE: OnceLock<Pipeline> = OnceLock::new();
    PIPELINE.get_or_init(|| Pipeline::load(None).expect("the model loads"))
}

async fn classify(text: impl Into<String>) -> Verdict {
    pipeline().classify(Message::new("", text).unwrap()).await.unwrap()
}

async fn trace(text: impl Into<String>) -> (Verdict, Provenance) {
    pipeline().trace(Message::new("", text).unwrap(), Terms::default()).await.unwrap()
}

fn labels(verdict: &Verdict) -> ([bool; 4], &str, bool) {
    (verdict.intents.map(|i| i.holds), verdict.sentiment.name(), verdict.urgent.holds)
}

fn overlap(ranges: &[Range<usize>], with: &Range<usize>) -> usize {
    let shared = |r: &Range<usize>| r.end.min(with.end).saturating_sub(r.start.max(with.start));
    ranges.iter().map(shared).sum()
}

#[test]
fn quotations_are_left_out_and_what_the_sender_says_is_not() {
    let (mut quoted, mut found, mut said, mut lost) = (0, 0, 0, 0);
    for document in documents() {
        let text = text(&document);
        let left_out = Parts::of(text, LeaveOut::Signatures).left_out;
        for line in strings(&document["quoted"], None) {
            quoted += 1;
            // The last place: a sender may say in passing what stands in the thread.
            let start = text.rfind(line).expect("a quoted line stands in the text");
            let all = overlap(&left_out, &(start..start + line.len())) == line.len();
            if !all {
                println!("kept: {line}");
            }
            found += usize::from(all);
        }
        for quote in strings(&document["spans"], Some("quote")) {
            let start = text.find(quote).expect("a span stands in the text");
            said += quote.len();
            lost += overlap(&left_out, &(start..start + quote.len()));
        }
    }
    assert!(quoted > 100 && said > 1000);
    assert!(found * 100 >= quoted * 90, "{found} of {quoted} quoted lines are left out");
    assert!(lost * 100 <= said * 3, "{lost} of {said} bytes that matter are left out");
}

#[tokio::test]
async fn no_document_is_truncated_and_spans_are_sentences_of_it() {
    let documents = documents();
    let read = join_all(documents.iter().map(|document| trace(text(document)))).await;
    for (document, (verdict, explanation)) in documents.iter().zip(&read) {
        let text = text(document);
        assert!(!verdict.truncated && verdict.tokens_read > 100);
        let parts = Parts::of(text, LeaveOut::Signatures);
        let sentences: Vec<_> =
            parts.sentences(text).into_iter().map(|range| trimmed(text, range)).collect();
        for span in &explanation.spans {
            assert!(sentences.contains(&span.range) || explanation.quoted != parts.left_out);
            assert!(!text[span.range.clone()].trim().is_empty());
            assert!(verdict.intent(span.intent).holds);
            assert!((0.0..=1.0).contains(&span.probability));
            assert_eq!(overlap(&explanation.quoted, &span.range), 0);
        }
        for intent in Intent::ALL {
            let told = explanation.spans.iter().any(|span| span.intent == intent);
            assert_eq!(told, verdict.intent(intent).holds, "{}", document["id"]);
        }
    }
}

#[tokio::test]
async fn a_complaint_that_is_quoted_changes_no_label() {
    for text in [
        "Hoe laat gaat de balie in Zwolle vandaag open?",
        "Top geholpen door Sanne aan de telefoon, dank jullie wel!",
        "Mijn pakket is weer niet bezorgd, dit is echt waardeloos.",
        "Prima, dan kom ik donderdag om tien uur langs.\n\nMet vriendelijke groet,\nJan",
        "Your website says the last train leaves at 23:40, but that is wrong: it is 23:10.",
        "Thanks, that worked straight away.",
    ] {
        let alone = classify(text).await;
        for mark in [
            "Op 3 mei 2026 om 14:02 schreef Jan <jan@post.example>:\n> ",
            "Van: Jan\nVerzonden: 3 mei 2026\nOnderwerp: klacht\n\n",
            "-----Original Message-----\n",
        ] {
            let thread = "Schandalig! Drie weken wachten en niemand belt terug. Ik wil mijn geld!";
            let with = classify(format!("{text}\n\n{mark}{thread}")).await;
            assert_eq!(labels(&with), labels(&alone), "{text}");
        }
    }
}

#[tokio::test]
async fn the_longest_text_is_read_whole_and_the_same_in_any_company() {
    let documents = documents();
    let mut long = String::new();
    // Behind an e-mail's thread mark nothing would be its own.
    let prose = documents.iter().filter(|document| document["kind"] != "email");
    for document in prose.cycle() {
        let body = text(document).replace(['>', ':'], " ");
        let room = (MAX_TEXT_BYTES - long.len()).min(body.len());
        let room = (0..=room).rev().find(|&at| body.is_char_boundary(at)).unwrap();
        long.push_str(&body[..room]);
        if room < body.len() {
            break;
        }
    }
    let alone = classify(long.clone()).await;
    assert!(!alone.truncated && alone.tokens_read > 5_000, "{}", alone.tokens_read);
    let others = documents.iter().take(8).map(|document| classify(text(document)));
    let (beside, _) = futures::join!(classify(long), join_all(others));
    assert_eq!(beside, alone, "every bit the same");
}
