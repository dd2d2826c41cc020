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

#[cfg(test)]
mod tests;

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
/// An hour so many standard deviations above the others counts less (as in Noufaily et al.).
const FAR: f64 = 2.58;
/// Rounds of finding out which do.
const ROUNDS: usize = 6;
/// Fewer hours than this that were no crisis say too little about what is usual.
const CALM: usize = 6;
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
/// Hours are numbered by the clock on the wall (`kpi::period::hour_once`).
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

    /// Whether a message came in within that hour.
    pub fn has(&self, hour: i64) -> bool {
        self.hours.contains_key(&hour)
    }

    /// In how many hours messages came in.
    pub fn len(&self) -> usize {
        self.hours.len()
    }

    /// Whether none came in at all.
    pub fn is_empty(&self) -> bool {
        self.hours.is_empty()
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
    /// hour that is not over can be judged too, and again later.
    pub fn judge(&mut self, at: i64) -> Option<[Finding; 2]> {
        let findings = Series::ALL.map(|series| self.finding(at, series));
        let [Some(complaints), Some(negative)] = findings else { return None };
        // An hour that is judged again may turn out otherwise: half an hour of it is not the whole.
        match complaints.crisis || negative.crisis {
            true => self.crises.insert(at),
            false => self.crises.remove(&at),
        };
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
        let count = |hour: &i64| self.hours.get(hour).copied().unwrap_or_default();
        let calm: Vec<Hour> =
            like.iter().filter(|hour| !self.crises.contains(hour)).map(count).collect();
        // What has gone on for weeks is no crisis any more but how it is.
        if calm.len() < CALM { like.iter().map(count).collect() } else { calm }
    }

    fn finding(&self, at: i64, series: Series) -> Option<Finding> {
        let before = self.before(at);
        if !self.can_judge(at) || before.len() < 2 {
            return None;
        }
        let usual = Usual::of(&before, series);
        let now = self.hours.get(&at).copied().unwrap_or_default();
        let observed = now.of(series);
        let p_value = at_least(observed, usual.mean, usual.dispersion);
        let crisis = observed >= LEAST
            && p_value < UNLIKELY
            && observed as f64 >= usual.share * now.messages as f64;
        Some(Finding { series, observed, expected: usual.expected, p_value, crisis })
    }
}

/// What some hours have in common.
struct Usual {
    /// What they brought, in the mean.
    expected: f64,
    /// The same, but not less than [`FLOOR`]: what a count is tested against.
    mean: f64,
    /// Variance by mean, that of the mean's own uncertainty among it; at least 1.
    dispersion: f64,
    /// Of the messages.
    share: f64,
}

impl Usual {
    /// Of at least two hours. An hour that is far above the others counts less: a burst of spam last week says
    /// nothing of how much is usual.
    fn of(hours: &[Hour], series: Series) -> Self {
        let mut weights = vec![1f64; hours.len()];
        let (mut expected, mut mean, mut dispersion, mut sum) = (0.0, FLOOR, 1.0, 0.0);
        for _ in 0..ROUNDS {
            let all: f64 = weights.iter().sum();
            let weighed = || hours.iter().map(|hour| hour.of(series) as f64).zip(&weights);
            sum = weighed().map(|(count, weight)| count * weight).sum();
            expected = sum / all;
            mean = f64::max(expected, FLOOR);
            let squares: f64 = weighed().map(|(count, w)| (count - mean).powi(2) * w).sum();
            let variance = squares / (all - 1.0).max(1.0);
            dispersion = (variance / mean).max(1.0) * (1.0 + 1.0 / all);
            let spread = (dispersion * mean).sqrt();
            let far = |hour: &Hour| (hour.of(series) as f64 - mean) / spread;
            weights = hours
                .iter()
                .map(|hour| if far(hour) > FAR { far(hour).powi(-2) } else { 1.0 })
                .collect();
        }
        let messages: f64 = hours.iter().zip(&weights).map(|(h, w)| h.messages as f64 * w).sum();
        // One case more on each side, so that a silent past proves nothing by itself.
        Usual { expected, mean, dispersion, share: (sum + 1.0) / (messages + 2.0) }
    }
}

/// 0 for Monday; 1970-01-01 was a Thursday.
fn weekday(hour: i64) -> i64 {
    (hour.div_euclid(DAY) + 3).rem_euclid(7)
}
