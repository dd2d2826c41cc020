//! Quiet weeks, crises, waves of praise and bursts of spam.

use super::*;
use proptest::prelude::*;
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;

/// A Poisson draw, by waiting times.
fn poisson(mean: f64, random: &mut ChaCha8Rng) -> u64 {
    let (mut waited, mut count) = (0.0, 0);
    loop {
        waited -= (1.0 - random.random::<f64>()).ln();
        if waited > mean {
            return count;
        }
        count += 1;
    }
}

/// How busy an hour of the week is, around 1.
fn busy(at: i64) -> f64 {
    let hour = at.rem_euclid(DAY);
    let day = if weekday(at) >= 5 { 0.5 } else { 1.2 };
    day * match hour {
        0..=6 => 0.15,
        7..=8 => 0.9,
        9..=17 => 1.7,
        18..=22 => 1.3,
        _ => 0.4,
    }
}

/// Quiet days: more or fewer messages from day to day and hour to hour than chance alone would have.
fn quiet(days: i64, level: f64, seed: u64) -> Watch {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut watch = Watch::default();
    let mut mood = 1.0;
    for at in 0..days * DAY {
        if at % DAY == 0 {
            mood = 0.7 + 0.6 * random.random::<f64>();
        }
        let swing = 0.7 + 0.6 * random.random::<f64>();
        let messages = poisson(level * busy(at) * mood * swing, &mut random);
        for _ in 0..messages {
            let draw: f64 = random.random();
            watch.add(at, draw < 0.35, draw < 0.3);
        }
        watch.hours.entry(at).or_default();
    }
    watch
}

#[test]
fn ninety_quiet_days_raise_at_most_one_false_alarm() {
    let mut alarms = Vec::new();
    for (level, seed) in [(0.5, 1), (3.0, 2), (10.0, 3), (40.0, 4), (200.0, 5)] {
        for again in 0..4 {
            alarms.push(quiet(14 + 90, level, seed * 10 + again).episodes().len());
        }
    }
    assert!(alarms.iter().all(|count| *count <= 1), "{alarms:?}");
    assert!(alarms.iter().sum::<usize>() <= 4, "{alarms:?}");
}

#[test]
fn a_crisis_is_found_at_once_and_ends() {
    for (level, more) in [(3.0, 12), (10.0, 25), (40.0, 80)] {
        let mut watch = quiet(30, level, 9);
        let start = 20 * DAY + 10;
        for at in start..start + 8 {
            for _ in 0..more {
                watch.add(at, true, true);
            }
        }
        let episodes = watch.episodes();
        assert_eq!(episodes.len(), 1, "{episodes:?}");
        let Episode { from, to, observed, expected, .. } = episodes[0];
        assert!(from >= start && from <= start + 1, "{level}: {from} for {start}");
        assert!(to >= start + 6 && to <= start + 9, "{level}: {to} for {start}");
        assert!(observed as f64 > 2.0 * expected);
    }
}

#[test]
fn what_is_expected_is_what_came() {
    let watch = quiet(60, 0.3, 2);
    let (mut came, mut expected) = (0, 0.0);
    for (at, hour, _) in watch.hours().filter(|(at, ..)| *at >= 40 * DAY) {
        came += hour.complaints;
        expected += watch.expected(at, Series::Complaints).unwrap();
    }
    assert!((expected / came as f64 - 1.0).abs() < 0.3, "{expected} expected, {came} came");
}

#[test]
fn volume_without_complaint_is_no_crisis() {
    for wrong in [0.0, 0.1, 0.25] {
        let mut watch = quiet(40, 15.0, 4);
        let mut random = ChaCha8Rng::seed_from_u64(8);
        for at in 25 * DAY + 9..25 * DAY + 15 {
            for _ in 0..300 {
                let mistaken = random.random::<f64>() < wrong;
                watch.add(at, mistaken, mistaken);
            }
        }
        assert_eq!(watch.episodes(), [], "{wrong} of a burst are misread");
    }
}

#[test]
fn a_crisis_is_not_what_to_expect_next_week() {
    let mut watch = quiet(35, 10.0, 6);
    for week in [21, 28] {
        for at in week * DAY + 10..week * DAY + 16 {
            (0..60).for_each(|_| watch.add(at, true, true));
        }
    }
    let episodes = watch.episodes();
    assert_eq!(episodes.len(), 2, "{episodes:?}");
}

#[test]
fn without_history_nothing_is_said() {
    let mut watch = quiet(13, 10.0, 1);
    (0..500).for_each(|_| watch.add(12 * DAY + 12, true, true));
    assert_eq!(watch.episodes(), []);
    assert_eq!(watch.expected(12 * DAY, Series::Complaints), None);
    assert!(watch.can_judge(14 * DAY) && !watch.can_judge(13 * DAY));
    assert_eq!(Watch::default().episodes(), []);
}

#[test]
fn what_is_kept_says_the_same() {
    let mut watch = quiet(100, 10.0, 3);
    (0..90).for_each(|_| watch.add(99 * DAY + 12, true, true));
    let mut short = watch.clone();
    short.forget_before(99 * DAY);
    assert!(short.hours.len() < 60 * 24);
    let mut restored = Watch::default();
    short.hours().for_each(|(at, hour, crisis)| restored.restore(at, hour, crisis));
    assert_eq!(restored, short);
    assert_eq!(restored.judge(99 * DAY + 12), watch.judge(99 * DAY + 12));
    assert!(restored.judge(99 * DAY + 12).unwrap()[0].crisis);
}

proptest! {
    #[test]
    fn anything_can_be_counted(
        hours in prop::collection::vec((-500_000i64..500_000, any::<bool>(), any::<bool>()), 0..60),
    ) {
        let mut watch = Watch::default();
        for (at, complaint, negative) in &hours {
            watch.add(*at % 900, *complaint, *negative);
        }
        for Episode { from, to, expected, .. } in watch.episodes() {
            prop_assert!(from <= to && expected.is_finite());
        }
    }
}

#[test]
fn weekdays_are_those_of_the_calendar() {
    // 2026-11-22, a Sunday, is day 20,779.
    assert_eq!(weekday(20_779 * DAY + 23), 6);
    assert_eq!(weekday(-1), 2);
}
