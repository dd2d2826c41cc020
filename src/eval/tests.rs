//! The measures against numbers worked out elsewhere, and against what must hold of any.

mod card;

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::message::{Language, ModelId};

fn verdict(intents: [f32; 4], sentiment: [f32; 3], urgent: f32) -> Verdict {
    let judge = |probability: f32| Judgement { probability, holds: probability >= 0.5 };
    let chosen = Sentiment::ALL
        .into_iter()
        .max_by(|a, b| sentiment[*a as usize].total_cmp(&sentiment[*b as usize]))
        .unwrap();
    Verdict {
        intents: intents.map(judge),
        primary: None,
        urgent: judge(urgent),
        sentiment: chosen,
        sentiment_probabilities: sentiment,
        needs_review: urgent > 0.8,
        language: Language::Dutch,
        tokens_read: 3,
        truncated: false,
        context_read: false,
        model: Arc::new(ModelId { version: "1".into(), digest: "0".into() }),
    }
}

fn targets(intents: &str, sentiment: Option<Sentiment>, urgent: Option<bool>) -> Targets {
    let mut known = intents.chars().map(|c| match c {
        '1' => Some(true),
        '0' => Some(false),
        _ => None,
    });
    Targets { intents: [(); 4].map(|()| known.next().unwrap()), sentiment, urgent }
}

fn close(got: f64, expected: f64) {
    assert!((got - expected).abs() < 1e-9, "{got} is not {expected}");
}

/// Six messages, some labels unknown. The numbers come from a separate script that goes straight
/// by the definitions (F1 = 2PR/(P+R), every bin tested for lower < p <= upper), with
/// probabilities rounded to f32 as here.
#[test]
fn six_messages_as_worked_out_elsewhere() {
    use Sentiment::*;
    let rows = [
        (("1000", Some(Negative), None), ([0.9, 0.2, 0.1, 0.05], [0.7, 0.2, 0.1], 0.1)),
        (("010?", Some(Negative), Some(true)), ([0.4, 0.8, 0.3, 0.6], [0.3, 0.5, 0.2], 0.9)),
        (("1100", Some(Neutral), Some(false)), ([0.3, 0.95, 0.55, 0.1], [0.1, 0.8, 0.1], 0.7)),
        (("?010", Some(Positive), None), ([0.7, 0.45, 0.85, 0.2], [0.05, 0.15, 0.8], 0.2)),
        (("0000", None, Some(false)), ([0.1, 0.6, 0.2, 0.02], [0.2, 0.6, 0.2], 0.3)),
        (("10?0", Some(Neutral), Some(true)), ([0.8, 0.15, 0.9, 0.01], [0.6, 0.3, 0.1], 0.4)),
    ];
    let mut evaluation = Evaluation::new();
    for ((intents, sentiment, urgent), (p, s, u)) in rows {
        evaluation.add(&targets(intents, sentiment, urgent), &verdict(p, s, u));
    }
    let report = evaluation.report();
    let check = |got: &BinaryReport, p: f64, r: f64, f1: f64, ece: f64, counts: (u64, u64)| {
        close(got.precision, p);
        close(got.recall, r);
        close(got.f1, f1);
        assert!((got.ece - ece).abs() < 1e-7, "{} is not {ece}", got.ece);
        assert_eq!((got.support, got.labelled), counts);
    };
    assert_eq!(report.n, 6);
    check(&report.intents.question, 1.0, 2.0 / 3.0, 0.8, 0.3, (3, 5));
    check(&report.intents.complaint, 2.0 / 3.0, 1.0, 0.8, 0.275, (2, 6));
    check(&report.intents.compliment, 0.5, 1.0, 2.0 / 3.0, 0.26, (1, 5));
    // No support: nothing is right about it, by convention.
    check(&report.intents.factual_error, 0.0, 0.0, 0.0, 0.076, (0, 5));
    close(report.intents.macro_f1, (0.8 + 0.8 + 2.0 / 3.0) / 4.0);
    assert_eq!(report.intents.exact_match, Some(1.0 / 3.0));
    assert_eq!(report.intents.fully_labelled, 3);
    let sentiment = report.sentiment.unwrap();
    close(sentiment.accuracy, 0.6);
    close(sentiment.macro_f1, 2.0 / 3.0);
    assert!((sentiment.ece - 0.36).abs() < 1e-7, "{}", sentiment.ece);
    let row = ConfusionRow { negative: 1, neutral: 1, positive: 0 };
    assert_eq!((sentiment.confusion.negative, sentiment.confusion.neutral), (row, row));
    check(&report.urgent.unwrap(), 0.5, 0.5, 0.5, 0.425, (2, 4));
    close(report.needs_review.unwrap(), 1.0 / 6.0);
}

#[test]
fn bins_are_open_below_and_closed_above() {
    // By hand: 0 and 1/15 share the first bin: |(0 + 1/15) - 1| = 14/15. One bin on, alone:
    // |2/15 - 1| = 13/15. Certain and right, in the last bin: 0. Over four messages.
    let mut bins = Bins::default();
    for (probability, came_true) in
        [(0.0, true), (1.0 / 15.0 - 1e-6, false), (2.0 / 15.0 - 1e-6, true), (1.0, true)]
    {
        bins.add(probability, came_true);
    }
    let by_hand = (14.0 / 15.0 + 13.0 / 15.0) / 4.0;
    assert!((bins.error() - by_hand).abs() < 1e-5, "{}", bins.error());
    assert_eq!(bins.0.map(|bin| bin.n)[..3], [2, 1, 0]);
    // 0.5 is inside bin 7. 9/15 closes bin 8, but 0.6 as an f32 is a little above it: bin 9.
    let mut edge = Bins::default();
    edge.add(0.5, true);
    edge.add(0.6, true);
    assert_eq!((edge.0[7].n, edge.0[9].n), (1, 1));
}

#[test]
fn nothing_evaluated_has_no_numbers_to_show() {
    let report = Evaluation::new().report();
    assert_eq!((report.n, report.intents.macro_f1, report.needs_review), (0, 0.0, None));
    assert!(report.sentiment.is_none() && report.urgent.is_none());
    assert!(report.intents.exact_match.is_none());
}

#[test]
fn the_report_has_the_keys_that_others_read() {
    let mut evaluation = Evaluation::new();
    let all = targets("1000", Some(Sentiment::Negative), Some(true));
    evaluation.add(&all, &verdict([0.9; 4], [1.0, 0.0, 0.0], 0.9));
    let json = serde_json::to_value(evaluation.report()).unwrap();
    assert_eq!(json["n"], 1);
    for intent in Intent::ALL {
        for key in ["precision", "recall", "f1", "ece", "support"] {
            assert!(json["intents"][intent.name()][key].is_number(), "{intent:?} {key}");
        }
    }
    assert!(json["intents"]["macro_f1"].is_number());
    for key in ["accuracy", "macro_f1", "ece"] {
        assert!(json["sentiment"][key].is_number(), "{key}");
    }
}

fn rows() -> impl Strategy<Value = Vec<(Targets, Verdict)>> {
    let sentiment = proptest::option::of(proptest::sample::select(Sentiment::ALL.to_vec()));
    let known = (any::<[Option<bool>; 4]>(), sentiment, any::<Option<bool>>());
    let said = (any::<[u16; 4]>(), any::<[u16; 3]>(), any::<u16>());
    let row = (known, said).prop_map(|((intents, sentiment, urgent), (p, s, u))| {
        let share = |n: u16| f32::from(n) / f32::from(u16::MAX);
        let total: f32 = s.iter().map(|n| f32::from(*n) + 1.0).sum();
        let sentiments = s.map(|n| (f32::from(n) + 1.0) / total);
        let verdict = verdict(p.map(share), sentiments, share(u));
        (Targets { intents, sentiment, urgent }, verdict)
    });
    proptest::collection::vec(row, 0..40)
}

fn report<'a>(rows: impl IntoIterator<Item = &'a (Targets, Verdict)>) -> Report {
    let mut evaluation = Evaluation::new();
    rows.into_iter().for_each(|(targets, verdict)| evaluation.add(targets, verdict));
    evaluation.report()
}

/// Every number of the report in which 1 is the most.
fn shares(report: &Report) -> Vec<f64> {
    let mut labels: Vec<_> = Intent::ALL.iter().map(|i| *report.intents.of(*i)).collect();
    labels.extend(report.urgent);
    let mut all: Vec<_> =
        labels.iter().flat_map(|l| [l.precision, l.recall, l.f1, l.ece]).collect();
    all.extend([report.intents.macro_f1]);
    all.extend(report.intents.exact_match);
    all.extend(report.needs_review);
    all.extend(report.sentiment.iter().flat_map(|s| [s.accuracy, s.macro_f1, s.ece]));
    all
}

proptest! {
    #[test]
    fn every_number_is_a_share(rows in rows()) {
        for share in shares(&report(&rows)) {
            prop_assert!((-1e-9..=1.0 + 1e-9).contains(&share), "{}", share);
        }
    }

    #[test]
    fn order_does_not_matter(rows in rows(), seed in any::<u64>()) {
        let mut shuffled: Vec<_> = rows.iter().enumerate().collect();
        shuffled.sort_by_key(|(at, _)| (*at as u64 + 1).wrapping_mul(seed | 1).rotate_left(17));
        let (one, other) = (report(&rows), report(shuffled.into_iter().map(|(_, row)| row)));
        prop_assert_eq!(shares(&one).len(), shares(&other).len());
        for (a, b) in shares(&one).into_iter().zip(shares(&other)) {
            prop_assert!((a - b).abs() < 1e-9, "{} {}", a, b);
        }
    }

    #[test]
    fn unknown_labels_have_no_say(rows in rows()) {
        let masked: Vec<_> =
            rows.iter().map(|(_, verdict)| (Targets::default(), verdict.clone())).collect();
        let (alone, with) = (report(&rows), report(rows.iter().chain(&masked)));
        prop_assert_eq!(alone.intents, with.intents);
        prop_assert_eq!(alone.sentiment, with.sentiment);
        prop_assert_eq!(alone.urgent, with.urgent);
    }

    #[test]
    fn right_and_certain_is_perfect(rows in rows()) {
        let certain: Vec<_> = rows.iter().map(|(targets, _)| {
            let sure = |t: Option<bool>| if t == Some(true) { 1.0 } else { 0.0 };
            let of = |s: Sentiment| f32::from(u8::from(targets.sentiment == Some(s)));
            let sentiments = Sentiment::ALL.map(of);
            (*targets, verdict(targets.intents.map(sure), sentiments, sure(targets.urgent)))
        }).collect();
        let report = report(&certain);
        for intent in Intent::ALL {
            let label = report.intents.of(intent);
            let best = if label.support > 0 { 1.0 } else { 0.0 };
            prop_assert_eq!([label.precision, label.recall, label.f1, label.ece], [best, best, best, 0.0]);
        }
        prop_assert!(report.intents.exact_match.is_none_or(|share| share == 1.0));
        if let Some(sentiment) = report.sentiment {
            prop_assert_eq!((sentiment.accuracy, sentiment.ece), (1.0, 0.0));
        }
    }
}
