//! The parts of a card: by hand where a number can be worked out, and what must hold of any.

use super::*;
use crate::eval::by_label::LABELS;
use crate::eval::card::Counts;
use crate::eval::consistency::{Consistency, Contradictions};
use crate::eval::curve::{Curve, SHARES};
use crate::eval::flips::Flips;
use crate::eval::negation::{Negations, pairs};
use crate::eval::slices::{SMALL, Slices, Traits};
use crate::eval::worst::{Worst, surest_miss};
use crate::message::Channel;

const DUTCH: Traits = Traits { language: Language::Dutch, channel: None, characters: 12 };

/// Sentiment probabilities of a verdict that is sure of `sentiment`.
fn sure(sentiment: Sentiment) -> [f32; 3] {
    Sentiment::ALL.map(|other| if other == sentiment { 0.9 } else { 0.05 })
}

#[test]
fn doubt_is_one_less_the_product_of_what_is_said() {
    let said = verdict([0.9, 0.2, 0.1, 0.4], [0.7, 0.2, 0.1], 0.99);
    let by_hand = 1.0 - 0.9 * 0.8 * 0.9 * 0.6 * 0.7;
    assert!((said.doubt() - by_hand).abs() < 1e-6, "{}", said.doubt());
    // A threshold other than one half: what is said counts, not what is likelier.
    let mut low = said;
    low.intents[1].holds = true;
    assert!((low.doubt() - (1.0 - 0.9 * 0.2 * 0.9 * 0.6 * 0.7)).abs() < 1e-6);
}

#[test]
fn the_curve_of_twenty_messages_as_worked_out_by_hand() {
    // The most doubtful has its question wrong, the fourth its sentiment, the last one both; the
    // second and the last need review.
    let mut curve = Curve::default();
    for at in 0..20_u16 {
        let mut said =
            verdict([0.6 + 0.02 * f32::from(at), 0.0, 0.0, 0.0], sure(Sentiment::Neutral), 0.1);
        said.needs_review = at == 1 || at == 19;
        let question = if at == 0 || at == 19 { "0000" } else { "1000" };
        let sentiment = match at {
            3 | 19 => Sentiment::Negative,
            _ => Sentiment::Neutral,
        };
        curve.add(&targets(question, Some(sentiment), None), &said);
    }
    // Of these nothing is known, so they cannot be wrong.
    curve.add(&targets("????", None, Some(true)), &verdict([0.5; 4], [0.4, 0.3, 0.3], 0.1));
    let report = curve.report();
    assert_eq!((report.messages, report.wrong), (20, 3));
    assert_eq!(report.wrong_by_label.all().map(|count| *count), [2, 0, 0, 0, 2]);
    assert_eq!(report.points.map(|point| point.flagged), [1, 2, 3, 4, 6, 10]);
    let third = 1.0 / 3.0;
    let caught = report.points.map(|point| point.caught.unwrap());
    assert_eq!(caught, [third, third, third, 2.0 * third, 2.0 * third, 2.0 * third]);
    assert_eq!(report.points[3].caught_by_label.question, Some(0.5));
    assert_eq!(report.points[3].caught_by_label.sentiment, Some(0.5));
    assert_eq!(report.points[3].caught_by_label.complaint, None);
    assert_eq!((report.needs_review.share, report.needs_review.flagged), (0.1, 2));
    assert_eq!(report.needs_review.caught, Some(third));
}

#[test]
fn a_message_is_in_one_slice_of_each_kind() {
    let mut slices = Slices::default();
    let said = verdict([0.9, 0.1, 0.1, 0.1], sure(Sentiment::Neutral), 0.1);
    let all = targets("1000", Some(Sentiment::Neutral), None);
    for characters in [1, 30, 31, 80, 81, 160, 161, 400, 401, 32_768] {
        slices.add(Traits { characters, ..DUTCH }, &all, &said);
    }
    for (channel, language) in [
        (Some(Channel::Twitter), Language::English),
        (Some(Channel::Form), Language::Undetermined),
        (None, Language::English),
    ] {
        slices.add(Traits { language, channel, characters: 1 }, &all, &said);
    }
    let report = slices.report();
    let shape = |slices: &[crate::eval::slices::SliceReport]| {
        slices.iter().map(|slice| (slice.name, slice.n)).collect::<Vec<_>>()
    };
    assert_eq!(shape(&report.language), [("nl", 10), ("en", 2), ("und", 1)]);
    assert_eq!(shape(&report.channel), [("twitter", 1), ("form", 1), ("not said", 11)]);
    let lengths = [("up to 30", 5), ("31-80", 2), ("81-160", 2), ("161-400", 2), ("longer", 2)];
    assert_eq!(shape(&report.characters), lengths);
}

#[test]
fn a_label_that_a_slice_lacks_is_no_fault_of_the_model() {
    let mut slices = Slices::default();
    let said = verdict([0.9, 0.1, 0.7, 0.1], sure(Sentiment::Neutral), 0.1);
    (1..SMALL).for_each(|_| {
        slices.add(DUTCH, &targets("1000", Some(Sentiment::Neutral), None), &said);
    });
    let one = slices.report().language.remove(0);
    assert!(one.small);
    // Question is always right, compliment is said and never right; the others do not occur.
    assert_eq!(one.f1.all().map(|f1| *f1), [Some(1.0), None, Some(0.0), None, Some(1.0)]);
    assert_eq!((one.macro_f1, one.sentiment_accuracy), (Some(0.5), Some(1.0)));
    slices.add(DUTCH, &targets("????", None, None), &said);
    assert!(!slices.report().language[0].small, "{SMALL} are enough");
}

#[test]
fn contradictions_are_counted_and_whether_a_person_sees_them() {
    let mut counts = Consistency::default();
    let mut add = |intents: [f32; 4], sentiment: [f32; 3], needs_review: bool| {
        let mut said = verdict(intents, sentiment, 0.0);
        said.needs_review = needs_review;
        counts.add(&said);
    };
    let (negative, positive) = (sure(Sentiment::Negative), sure(Sentiment::Positive));
    add([0.0, 0.1, 0.8, 0.0], negative, false);
    add([0.0, 0.1, 0.7, 0.0], negative, true);
    add([0.0, 0.9, 0.2, 0.0], positive, true);
    // No contradictions: both hold, not sure enough, or they go together.
    add([0.0, 0.6, 0.9, 0.0], negative, false);
    add([0.0, 0.1, 0.69, 0.0], negative, false);
    add([0.0, 0.1, 0.9, 0.0], [0.6, 0.2, 0.2], false);
    add([0.0, 0.9, 0.6, 0.0], positive, false);
    add([0.0, 0.9, 0.1, 0.0], negative, false);
    add([0.0, 0.1, 0.9, 0.0], positive, false);
    add([0.0; 4], positive, false);
    let report = counts.report();
    assert_eq!(report.negative_compliment, Contradictions { verdicts: 2, without_review: 1 });
    assert_eq!(report.positive_complaint, Contradictions { verdicts: 1, without_review: 0 });
    assert_eq!((report.contradictory, report.without_review), (3, 1));
    assert_eq!(report.share, Some(0.3));
}

#[test]
fn each_of_five_labels_can_flip() {
    let mut flips = Flips::default();
    let before = verdict([0.9, 0.1, 0.1, 0.1], sure(Sentiment::Neutral), 0.1);
    let other = verdict([0.1, 0.1, 0.1, 0.9], sure(Sentiment::Positive), 0.9);
    flips.add(&before, &before);
    flips.add(&before, &other);
    let report = flips.report("x");
    assert_eq!((report.messages, report.decisions, report.flipped), (2, 10, 3));
    assert_eq!((report.share, report.within_target), (Some(0.3), Some(false)));
    let by_label = report.by_label.all().map(|share| share.unwrap());
    assert_eq!(by_label, [0.5, 0.0, 0.0, 0.5, 0.5]);
    assert_eq!(Flips::default().report("x").within_target, None);
}

/// A verdict that says what is known, and of the rest that it does not hold.
fn obedient(targets: &Targets) -> Verdict {
    let intents = targets.intents.map(|holds| if holds == Some(true) { 0.9 } else { 0.1 });
    verdict(intents, sure(targets.sentiment.unwrap_or(Sentiment::Neutral)), 0.1)
}

#[test]
fn the_pairs_deny_each_other_and_are_counted_so() {
    let pairs = pairs().unwrap();
    let of = |language| pairs.iter().filter(|pair| pair.language() == language).count();
    assert_eq!((of(Language::Dutch), of(Language::English)), (24, 12));
    let (mut good, mut deaf) = (Negations::default(), Negations::default());
    for pair in &pairs {
        let (plain, negated) = (pair.plain.targets(), pair.negated.targets());
        let clash = (0..4).any(|at| {
            plain.intents[at].zip(negated.intents[at]).is_some_and(|(one, other)| one != other)
        });
        assert!(clash || plain.sentiment != negated.sentiment, "{}", pair.plain.text);
        assert_ne!(pair.plain.text, pair.negated.text);
        good.add(pair, &obedient(&plain), &obedient(&negated));
        deaf.add(pair, &obedient(&plain), &obedient(&plain));
    }
    let (good, deaf) = (good.report(), deaf.report());
    assert_eq!((good.pairs, good.right, good.unmoved, good.share), (36, 36, 0, Some(1.0)));
    assert_eq!((deaf.right, deaf.unmoved), (0, 36));
    assert_eq!((deaf.dutch.pairs, deaf.english.unmoved), (24, 12));
}

#[test]
fn a_miss_is_as_bad_as_the_wrong_label_that_is_surest() {
    let said = verdict([0.9, 0.2, 0.6, 0.05], [0.7, 0.2, 0.1], 0.1);
    let miss = |intents, sentiment| surest_miss(&targets(intents, sentiment, None), &said);
    assert_eq!(miss("1010", Some(Sentiment::Negative)), None);
    assert_eq!(miss("????", None), None);
    assert!((miss("1000", None).unwrap() - 0.6).abs() < 1e-6);
    assert!((miss("1000", Some(Sentiment::Positive)).unwrap() - 0.7).abs() < 1e-6);
    assert!((miss("1001", None).unwrap() - 0.95).abs() < 1e-6);
}

proptest! {
    #[test]
    fn the_curve_rises_and_agrees_with_a_plain_count(rows in rows()) {
        let mut curve = Curve::default();
        rows.iter().for_each(|(targets, verdict)| curve.add(targets, verdict));
        let report = curve.report();
        let is_wrong = |(targets, verdict): &&(Targets, Verdict)| {
            surest_miss(targets, verdict).is_some()
        };
        let wrong: Vec<_> = rows.iter().filter(is_wrong).collect();
        prop_assert_eq!(report.wrong as usize, wrong.len());
        let reviewed = wrong.iter().filter(|(_, verdict)| verdict.needs_review).count();
        let share = (!wrong.is_empty()).then(|| reviewed as f64 / wrong.len() as f64);
        prop_assert_eq!(report.needs_review.caught, share);
        for pair in report.points.windows(2) {
            prop_assert!(pair[0].flagged <= pair[1].flagged && pair[0].caught <= pair[1].caught);
            for (less, more) in
                pair[0].caught_by_label.all().into_iter().zip(pair[1].caught_by_label.all())
            {
                prop_assert!(less <= more);
            }
        }
        for (point, percent) in report.points.iter().zip(SHARES) {
            let exact = report.messages as f64 * percent as f64 / 100.0;
            prop_assert!((point.flagged as f64 - exact).abs() <= 0.5);
            prop_assert!(point.caught.is_none_or(|share| (0.0..=1.0).contains(&share)));
        }
    }

    #[test]
    fn the_parts_of_a_card_count_the_same_messages(rows in rows()) {
        let mut counts = Counts::default();
        for (targets, verdict) in &rows {
            counts.add(targets, DUTCH, verdict);
        }
        let card = counts.card(None);
        let slices = [&card.slices.language, &card.slices.channel, &card.slices.characters];
        for kind in slices {
            prop_assert_eq!(kind.iter().map(|slice| slice.n).sum::<u64>(), card.report.n);
        }
        // All are in one slice, so where a label occurs its F1 is that of the whole.
        for slice in &card.slices.language {
            for intent in Intent::ALL {
                let whole = card.report.intents.of(intent).f1;
                let part = **slice.f1.all().get(intent as usize).unwrap();
                prop_assert!(part.is_none_or(|f1| (f1 - whole).abs() < 1e-12));
                prop_assert!(part.is_some() || whole == 0.0);
            }
        }
        let json = serde_json::to_value(&card).unwrap();
        prop_assert!(json["n"].is_number() && json.get("robustness").is_none());
        for label in LABELS {
            prop_assert!(json["review_curve"]["wrong_by_label"][label].is_number());
        }
    }

    #[test]
    fn the_bins_add_up_to_the_calibration_error(rows in rows()) {
        let report = report(&rows);
        for intent in Intent::ALL {
            let label = report.intents.of(intent);
            prop_assert_eq!(label.bins.iter().map(|bin| bin.n).sum::<u64>(), label.labelled);
            let gaps = label.bins.iter().filter_map(|bin| {
                let (p, right) = (bin.mean_probability?, bin.share_right?);
                assert!(p >= bin.above - 1e-6 && p <= bin.upto + 1e-6, "{bin:?}");
                Some(bin.n as f64 * (p - right).abs())
            });
            let ece = gaps.sum::<f64>() / label.labelled.max(1) as f64;
            prop_assert!((ece - label.ece).abs() < 1e-9);
        }
    }

    #[test]
    fn the_worst_are_kept_in_order(all in proptest::collection::vec(0..50_u32, 0..60), most in 0..9_usize) {
        let mut worst = Worst::new(most);
        for (at, bad) in all.iter().enumerate() {
            worst.add(f64::from(*bad), || at);
        }
        let mut sorted: Vec<_> = all.iter().enumerate().map(|(at, bad)| (f64::from(*bad), at)).collect();
        sorted.sort_by(|a, b| b.0.total_cmp(&a.0));
        sorted.truncate(most);
        prop_assert_eq!(worst.iter().map(|(bad, at)| (bad, *at)).collect::<Vec<_>>(), sorted);
    }
}
