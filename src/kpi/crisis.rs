//! Hours that look like a crisis: more complaints, or more negative messages, than such an hour of the week has
//! brought of late.
//!
//! After Noufaily et al. 2013 (<https://doi.org/10.1002/sim.5595>), which improves on Farrington et al. 1996, the method by
//! which laboratories watch for outbreaks: the expectation is the mean of the same hour of the same weekday, an
//! hour either side, over the eight weeks before; the count is held against a negative binomial whose
//! dispersion is estimated from those hours and widened by what so few of them leave unknown. Two things are
//! added for messages. The share of complaints among the messages must not have fallen: a burst of spam or a
//! wave of praise brings some verdicts that are wrong, but fewer than its share. And hours that were found to be a
//! crisis do not count as what to expect later. Depends on nothing else in the crate but `kpi::stats`.

use std::collections::{BTreeMap, BTreeSet};

use super::stats::at_least;

/// Weeks looked back.
const WEEKS: i64 = 8;
/// Days of history without which nothing is said.
const HISTORY: i64 = 14;
/// Fewer hours to compare with than this, and those of like days of the last two weeks are added.
const FEW: usize = 20;
/// How unlikely a count must be: a year has some 17,000 of them in both series.
const UNLIKELY: f64 = 1e-6;
/// Fewer are no crisis, whatever was expected.
const LEAST: u64 = 5;
/// What is expected at least: nights without a message make nothing of a few.
const FLOOR: f64 = 0.5;
/// Quiet hours within one crisis.
const GAP: i64 = 6;
const DAY: i64 = 24;
const WEEK: i64 = 7 * DAY;

/// What is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Series {
    Complaints,
    Negative,
}

impl Series {
    /// Both.
    pub const ALL: [Series; 2] = [Series::Complaints, Series::Negative];

    /// Name as in reports.
    pub fn name(self) -> &'static str {
        match self {
            Series::Complaints => "complaints",
            Series::Negative => "negative",
        }
    }
}

/// What came in within one hour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hour {
    pub messages: u64,
    pub complaints: u64,
    pub negative: u64,
}

impl Hour {
    /// Of one series.
    pub fn of(&self, series: Series) -> u64 {
        match series {
            Series::Complaints => self.complaints,
            Series::Negative => self.negative,
        }
    }

    /// Counts one message.
    pub fn add(&mut self, complaint: bool, negative: bool) {
        self.messages += 1;
        self.complaints += u64::from(complaint);
        self.negative += u64::from(negative);
    }
}

/// What is thought of one hour's count of a series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Finding {
    pub series: Series,
    pub observed: u64,
    /// What such an hour has brought of late.
    pub expected: f64,
    /// How likely so many are.
    pub p_value: f64,
    pub crisis: bool,
}

/// Consecutive hours that look like a crisis, a few quiet ones among them.
#[derive(Clone, Debug, PartialEq)]
pub struct Episode {
    /// Local hours: days since 1970-01-01 times 24, and the hour of the clock.
    pub from: i64,
    /// The last hour that does, itself included.
    pub to: i64,
    /// The series that was furthest off.
    pub series: Series,
    /// Of that series, from the first to the last hour.
    pub observed: u64,
    pub expected: f64,
}

/// Counts by local hour, and what they make of each other.
///
/// Hours are numbered by the clock on the wall: of the day on which it goes back, two of them are one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Watch {
    hours: BTreeMap<i64, Hour>,
    crises: BTreeSet<i64>,
}

impl Watch {
    /// Counts one message that came in within a local hour.
    pub fn add(&mut self, hour: i64, complaint: bool, negative: bool) {
        self.hours.entry(hour).or_default().add(complaint, negative);
    }

    /// What is counted so far, by local hour, and whether it was found to be a crisis.
    pub fn hours(&self) -> impl Iterator<Item = (i64, Hour, bool)> {
        self.hours.iter().map(|(at, hour)| (*at, *hour, self.crises.contains(at)))
    }

    /// Takes up what [`Watch::hours`] gave.
    pub fn restore(&mut self, at: i64, hour: Hour, crisis: bool) {
        self.hours.insert(at, hour);
        if crisis {
            self.crises.insert(at);
        }
    }

    /// Forgets what no later hour is held against.
    pub fn forget_before(&mut self, hour: i64) {
        let oldest = hour - WEEKS * WEEK - 2;
        self.hours = self.hours.split_off(&oldest);
        self.crises = self.crises.split_off(&oldest);
    }

    /// Whether there is enough history to judge an hour.
    pub fn can_judge(&self, hour: i64) -> bool {
        self.hours.first_key_value().is_some_and(|(first, _)| hour - first >= HISTORY * DAY)
    }

    /// Judges an hour by what came before it and remembers whether it is a crisis; `None` without enough history. An
    /// hour that is not over can be judged too: its count only grows.
    pub fn judge(&mut self, at: i64) -> Option<[Finding; 2]> {
        let findings = Series::ALL.map(|series| self.finding(at, series));
        let [Some(complaints), Some(negative)] = findings else { return None };
        if complaints.crisis || negative.crisis {
            self.crises.insert(at);
        }
        Some([complaints, negative])
    }

    /// Judges every hour in turn and gathers those that look like a crisis.
    pub fn episodes(&mut self) -> Vec<Episode> {
        // Only hours with enough of something can be one, however far apart the first and the last are.
        let busy = |hour: &Hour| Series::ALL.iter().any(|series| hour.of(*series) >= LEAST);
        let hours: Vec<i64> =
            self.hours.iter().filter(|(_, hour)| busy(hour)).map(|(at, _)| *at).collect();
        let mut found: Vec<(i64, i64)> = Vec::new();
        for at in hours {
            let Some(findings) = self.judge(at) else { continue };
            if !findings.iter().any(|finding| finding.crisis) {
                continue;
            }
            match found.last_mut() {
                Some((_, to)) if at - *to <= GAP => *to = at,
                _ => found.push((at, at)),
            }
        }
        found.into_iter().filter_map(|(from, to)| self.episode(from, to)).collect()
    }

    /// What is expected of an hour; `None` without enough history.
    pub fn expected(&self, at: i64, series: Series) -> Option<f64> {
        self.finding(at, series).map(|finding| finding.expected)
    }

    fn episode(&self, from: i64, to: i64) -> Option<Episode> {
        let of = |series: Series| {
            let findings = (from..=to).filter_map(|at| self.finding(at, series));
            let (observed, expected) =
                findings.fold((0, 0.0), |(n, e), f| (n + f.observed, e + f.expected));
            Episode { from, to, series, observed, expected }
        };
        let far = |e: &Episode| e.observed as f64 / e.expected.max(FLOOR);
        Series::ALL.map(of).into_iter().max_by(|a, b| far(a).total_cmp(&far(b)))
    }

    /// What one hour's count is held against.
    fn before(&self, at: i64) -> Vec<Hour> {
        let first = self.hours.first_key_value().map_or(at, |(first, _)| *first);
        let mut like: BTreeSet<i64> = (1..=WEEKS)
            .flat_map(|weeks| (-1..=1).map(move |beside| at - weeks * WEEK + beside))
            .collect();
        like.retain(|hour| *hour >= first);
        if like.len() < FEW {
            // Mondays to Fridays are alike, and so are Saturdays and Sundays.
            let end_of_week = |hour: i64| weekday(hour) >= 5;
            let lately = (1..=HISTORY).map(|days| at - days * DAY);
            like.extend(
                lately
                    .filter(|hour| end_of_week(*hour) == end_of_week(at) && *hour > first)
                    .flat_map(|hour| hour - 1..=hour + 1),
            );
        }
        let calm = like.into_iter().filter(|hour| !self.crises.contains(hour));
        calm.map(|hour| self.hours.get(&hour).copied().unwrap_or_default()).collect()
    }

    fn finding(&self, at: i64, series: Series) -> Option<Finding> {
        let before = self.before(at);
        if !self.can_judge(at) || before.len() < 2 {
            return None;
        }
        let n = before.len() as f64;
        let counts = || before.iter().map(|hour| hour.of(series) as f64);
        let sum: f64 = counts().sum();
        let mean = (sum / n).max(FLOOR);
        let variance = counts().map(|count| (count - mean).powi(2)).sum::<f64>() / (n - 1.0);
        // The mean itself is uncertain by its own variance.
        let dispersion = (variance / mean).max(1.0) * (1.0 + 1.0 / n);
        let now = self.hours.get(&at).copied().unwrap_or_default();
        let observed = now.of(series);
        let p_value = at_least(observed, mean, dispersion);
        // One case more on each side, so that a silent past proves nothing by itself.
        let messages: u64 = before.iter().map(|hour| hour.messages).sum();
        let share = (sum + 1.0) / (messages as f64 + 2.0);
        let crisis = observed >= LEAST
            && p_value < UNLIKELY
            && observed as f64 >= share * now.messages as f64;
        Some(Finding { series, observed, expected: mean, p_value, crisis })
    }
}

/// 0 for Monday; 1970-01-01 was a Thursday.
fn weekday(hour: i64) -> i64 {
    (hour.div_euclid(DAY) + 3).rem_euclid(7)
}

#[cfg(test)]
mod tests {
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
}
