//! Tests of the tables as a whole.

use jiff::Timestamp;
use proptest::prelude::*;

use super::period::{read_time, zone};
use super::*;
use crate::message::Prevalence;

fn amsterdam() -> jiff::tz::TimeZone {
    zone("Europe/Amsterdam").unwrap()
}

fn at(text: &str) -> Option<Timestamp> {
    Some(read_time(text, &amsterdam()).unwrap())
}

fn entry(
    received: &str,
    answered: Option<&str>,
    intents: [bool; 4],
    sentiment: Sentiment,
) -> Entry {
    Entry {
        received_at: at(received),
        answered_at: answered.and_then(at),
        channel: Some(Channel::Twitter),
        brand: Some("Vlasveld".into()),
        labels: Labels {
            intents,
            sentiment,
            urgent: false,
            needs_review: false,
            probabilities: None,
        },
    }
}

fn table(by: &str) -> Table {
    Table::new(by.parse().unwrap(), amsterdam(), 100)
}

const QUESTION: [bool; 4] = [true, false, false, false];
const COMPLAINT: [bool; 4] = [false, true, false, false];
const BOTH: [bool; 4] = [true, true, false, false];
const NONE: [bool; 4] = [false; 4];

#[test]
fn a_month_is_counted_with_its_answers_and_changes() {
    let mut table = table("month,channel");
    // The last hour of February here is still January nowhere, and the first of March in UTC is February's.
    for received in ["2026-02-28 23:30", "2026-02-03 10:00", "2026-02-04 10:00", "2026-02-05 10:00"]
    {
        table.add(&entry(received, None, COMPLAINT, Sentiment::Negative)).unwrap();
    }
    let month = [
        ("2026-03-01 00:15", Some("2026-03-01 01:15"), QUESTION, Sentiment::Neutral),
        ("2026-03-02 10:00", Some("2026-03-02 12:00"), BOTH, Sentiment::Negative),
        ("2026-03-03 10:00", None, COMPLAINT, Sentiment::Negative),
        ("2026-03-03 11:00", Some("2026-03-03 11:10"), NONE, Sentiment::Positive),
    ];
    for (received, answered, intents, sentiment) in month {
        table.add(&entry(received, answered, intents, sentiment)).unwrap();
    }
    let groups = table.groups(None);
    let names: Vec<_> = groups.iter().map(|group| group.period.clone().unwrap()).collect();
    assert_eq!(names, ["2026-02", "2026-03"]);
    let march = &groups[1];
    assert_eq!(march.channel, Some(Some(Channel::Twitter)));
    assert_eq!(march.brand, None);
    let Figures { messages, questions, complaints, answerable, answered, .. } = march.figures;
    assert_eq!((messages, questions, complaints, answerable, answered), (4, 2, 2, 3, Some(2)));
    assert_eq!(march.figures.answered_share, Some(2.0 / 3.0));
    let within =
        |told: Option<f64>, exact: f64| (told.unwrap() / exact - 1.0).abs() <= sketch::ACCURACY;
    assert!(
        within(march.figures.response_p50_s, 3600.0)
            && within(march.figures.response_p90_s, 7200.0)
    );
    assert_eq!(march.figures.net.unwrap().value, -0.25);
    let change = march.change.unwrap();
    assert_eq!((change.messages, change.complaints.by), (0.0, -0.5));
    assert!(!change.complaints.significant(), "four messages prove nothing");
    assert_eq!(groups[0].change, None);
    assert_eq!(table.figures(None).messages, 8);
}

#[test]
fn without_any_answer_nothing_is_said_of_answers() {
    let mut table = table("month");
    table.add(&entry("2026-03-01 10:00", None, QUESTION, Sentiment::Neutral)).unwrap();
    let figures = table.figures(None);
    assert_eq!(
        (figures.answered, figures.answered_share, figures.response_p50_s),
        (None, None, None)
    );
}

#[test]
fn what_cannot_be_counted_is_refused_and_costs_nothing() {
    let mut table = table("day,brand");
    let mut late =
        entry("2026-03-02 10:00", Some("2026-03-02 09:59"), QUESTION, Sentiment::Neutral);
    assert_eq!(table.add(&late), Err(TableError::Answered));
    (late.received_at, late.answered_at) = (None, None);
    assert_eq!(
        table.add(&late).unwrap_err().to_string(),
        "received_at: is missing, and messages are counted by day"
    );
    for brand in 0..100 {
        let named = entry("2026-03-02 10:00", None, QUESTION, Sentiment::Neutral);
        table.add(&Entry { brand: Some(brand.to_string()), ..named }).unwrap();
    }
    let more = entry("2026-03-02 10:00", None, QUESTION, Sentiment::Neutral);
    assert_eq!(table.add(&more), Err(TableError::TooManyGroups(100)));
    assert_eq!(table.figures(None).messages, 100);
    assert!(Table::new(Grouping::default(), amsterdam(), 1).groups(None).is_empty());
}

#[test]
fn groupings_are_read_and_refused() {
    let found: Grouping = "month, channel".parse().unwrap();
    assert_eq!(found, Grouping { period: Some(Unit::Month), channel: true, brand: false });
    assert_eq!("".parse::<Grouping>(), Ok(Grouping::default()));
    for wrong in ["months", "day,week", "channel,channel", "day,day"] {
        assert!(wrong.parse::<Grouping>().is_err(), "{wrong}");
    }
}

#[test]
fn a_real_change_is_told_from_noise() {
    let of = |complaints: u64, messages: u64| {
        let mut counts = Counts::default();
        counts.messages = messages;
        counts.intents[1] = complaints;
        counts.sentiments = [complaints, messages - complaints, 0];
        counts
    };
    let real = Change::between(&of(300, 1000), &of(200, 1000), false).unwrap();
    assert!(real.complaints.significant() && real.net.significant());
    assert!((real.complaints.by - 0.1).abs() < 1e-12 && (real.net.by + 0.1).abs() < 1e-12);
    let noise = Change::between(&of(21, 100), &of(20, 100), false).unwrap();
    assert!(!noise.complaints.significant() && !noise.net.significant());
    assert_eq!(Change::between(&of(0, 0), &of(1, 2), false), None);
    assert_eq!(real.answered, None);
}

#[test]
fn estimates_need_probabilities_of_all() {
    let mut counts = Counts::default();
    let mut sure = entry("2026-03-01 10:00", None, COMPLAINT, Sentiment::Negative);
    let probabilities =
        Probabilities { intents: [0.01, 0.95, 0.01, 0.01], sentiment: [0.9, 0.08, 0.02] };
    sure.labels.probabilities = Some(probabilities);
    (0..60).for_each(|_| counts.add(&sure));
    let priors = Prevalence { intents: [0.3; 4], sentiment: [0.4, 0.3, 0.3] };
    let adjusted = counts.adjusted(&priors).unwrap();
    assert!(adjusted.complaints > 58.0 && adjusted.questions < 2.0 && adjusted.positive < 2.0);
    sure.labels.probabilities = None;
    counts.add(&sure);
    assert_eq!(counts.adjusted(&priors), None);
}

fn any_entry() -> impl Strategy<Value = Entry> {
    let labels =
        (any::<[bool; 4]>(), 0usize..3, any::<bool>(), any::<bool>(), prop::option::of(0f32..1.0));
    let labels = labels.prop_map(|(intents, felt, urgent, needs_review, p)| Labels {
        intents,
        sentiment: Sentiment::ALL[felt],
        urgent,
        needs_review,
        probabilities: p.map(|p| Probabilities { intents: [p; 4], sentiment: [p, 1.0 - p, 0.0] }),
    });
    let times = (1_600_000_000i64..1_700_000_000, prop::option::of(0i64..1_000_000));
    (times, prop::option::of(0usize..10), prop::option::of("[a-c]"), labels).prop_map(
        |((received, after), channel, brand, labels)| Entry {
            received_at: Timestamp::from_second(received).ok(),
            answered_at: after.and_then(|after| Timestamp::from_second(received + after).ok()),
            channel: channel.map(|at| Channel::ALL[at]),
            brand,
            labels,
        },
    )
}

proptest! {
    #[test]
    fn groups_add_up_to_the_total(
        entries in prop::collection::vec(any_entry(), 0..80),
        by in prop::sample::select(&["", "month", "channel", "brand", "week,channel,brand"][..]),
    ) {
        let mut table = Table::new(by.parse().unwrap(), amsterdam(), 10_000);
        entries.iter().for_each(|entry| table.add(entry).unwrap());
        let groups = table.groups(None);
        let sum = |of: fn(&Figures) -> u64| groups.iter().map(|group| of(&group.figures)).sum::<u64>();
        let total = table.figures(None);
        prop_assert_eq!(sum(|f| f.messages), entries.len() as u64);
        prop_assert_eq!(sum(|f| f.complaints), total.complaints);
        prop_assert_eq!(sum(|f| f.answerable), total.answerable);
        prop_assert_eq!(sum(|f| f.negative + f.neutral + f.positive), total.messages);
    }

    #[test]
    fn two_halves_merged_are_the_whole(entries in prop::collection::vec(any_entry(), 0..80), cut in 0usize..80) {
        let (mut one, mut two, mut whole) = (Counts::default(), Counts::default(), Counts::default());
        for (at, entry) in entries.iter().enumerate() {
            whole.add(entry);
            if at < cut { one.add(entry) } else { two.add(entry) }
        }
        one.merge(&two);
        prop_assert_eq!(one, whole);
    }
}
