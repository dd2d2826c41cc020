//! A month replayed: quiet weeks, a wave of compliments, a burst of spam, and a product recall on day 20. Every
//! message was written for this, and is labelled by the model that ships.

use klankbord::kpi::crisis::{Episode, Series, Watch};
use klankbord::pipeline::Pipeline;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

use klankbord::message::{Intent, Message, Sentiment};

const DAY: i64 = 24;
/// 2026-10-01, a Thursday, as `kpi::period::local_hour` numbers hours.
const START: i64 = 20_727 * DAY;

/// Whether each message of a file is a complaint, and whether it is negative.
async fn labels(pipeline: &Pipeline, file: &str) -> Vec<(bool, bool)> {
    let path = format!("{}/tests/data/{file}", env!("CARGO_MANIFEST_DIR"));
    let mut labels = Vec::new();
    for line in std::fs::read_to_string(path).unwrap().lines() {
        let record: Value = serde_json::from_str(line).unwrap();
        let message = Message::new("", record["text"].as_str().unwrap()).unwrap();
        let verdict = pipeline.classify(message).await.unwrap();
        let negative = verdict.sentiment == Sentiment::Negative;
        labels.push((verdict.intent(Intent::Complaint).holds, negative));
    }
    labels
}

struct Scenario {
    written: Vec<(bool, bool)>,
    recall: Vec<(bool, bool)>,
    praise: Vec<(bool, bool)>,
    spam: Vec<(bool, bool)>,
}

/// How busy an hour of the day is, around 1.
const BUSY: [f64; 24] = [
    0.2, 0.1, 0.1, 0.1, 0.1, 0.2, 0.4, 0.8, 1.3, 1.7, 1.8, 1.7, 1.5, 1.6, 1.7, 1.6, 1.5, 1.4, 1.3,
    1.5, 1.6, 1.2, 0.8, 0.4,
];

fn poisson(mean: f64, random: &mut ChaCha8Rng) -> usize {
    let (mut waited, mut count) = (0.0, 0);
    loop {
        waited -= (1.0 - random.random::<f64>()).ln();
        if waited > mean {
            return count;
        }
        count += 1;
    }
}

fn month(scenario: &Scenario, days: i64, level: f64, events: bool, seed: u64) -> Watch {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut watch = Watch::default();
    for hour in 0..days * DAY {
        let (day, of_day) = (hour / DAY, (hour % DAY) as usize);
        // The scenario begins on a Thursday.
        let weekend = matches!((day + 3) % 7, 5 | 6);
        let usual = level * BUSY[of_day] * if weekend { 0.5 } else { 1.2 };
        let since = |first: i64| (hour - first * DAY - 10) as f64;
        let within = |first: i64, hours: f64| events && (0.0..hours).contains(&since(first));
        let mut come = |messages: &[(bool, bool)], mean: f64| {
            for _ in 0..poisson(mean, &mut random) {
                let (complaint, negative) = *messages.choose(&mut random).unwrap();
                watch.add(START + hour, complaint, negative);
            }
        };
        come(&scenario.written, usual);
        // What a bakery, a train company or a bank sees: several times the usual for half a day.
        if within(16, 8.0) {
            come(&scenario.praise, 8.0 * level);
        }
        if within(18, 4.0) {
            come(&scenario.spam, 20.0 * level);
        }
        if within(20, 14.0) {
            come(&scenario.recall, 6.0 * level * (-since(20) / 8.0).exp());
        }
    }
    watch
}

#[tokio::test]
async fn a_recall_is_a_crisis_within_two_hours_and_praise_and_spam_are_none() {
    let pipeline = Pipeline::load(None).unwrap();
    let scenario = Scenario {
        written: labels(&pipeline, "dev_written.jsonl").await,
        recall: labels(&pipeline, "scenario/recall.jsonl").await,
        praise: labels(&pipeline, "scenario/praise.jsonl").await,
        spam: labels(&pipeline, "scenario/spam.jsonl").await,
    };
    let recall = START + 20 * DAY + 10;
    for (level, seed) in [(5.0, 1), (15.0, 2), (60.0, 3)] {
        let mut watch = month(&scenario, 31, level, true, seed);
        let episodes = watch.episodes();
        let [Episode { from, observed, expected, .. }] = episodes[..] else {
            panic!("at {level} messages an hour: {episodes:?}");
        };
        assert!((recall..=recall + 1).contains(&from), "{from} for {recall}, at {level}");
        assert!(observed as f64 > 3.0 * expected);
        assert!(watch.expected(recall, Series::Complaints).is_some());
    }
    let quiet = (0..6).map(|seed| month(&scenario, 104, 15.0, false, 100 + seed).episodes().len());
    let quiet: Vec<usize> = quiet.collect();
    assert!(quiet.iter().all(|alarms| *alarms <= 1), "false alarms in 90 days: {quiet:?}");
}
