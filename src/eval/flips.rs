//! Robustness: labels that flip when the same message is written another way.
//!
//! A label is one decision, so a message has five: the four intents and the sentiment. No labels
//! are needed. May depend on `message` only.

use serde::Serialize;

use super::by_label::ByLabel;
use super::negation::NegationReport;
use super::share;
use crate::message::Verdict;

/// Largest share of the labels that may flip for a change that says nothing.
pub const MOST_FLIPPED: f64 = 0.02;

/// Counts of one kind of change.
#[derive(Clone, Copy, Debug, Default)]
pub struct Flips {
    messages: u64,
    /// In the order of `LABELS`.
    flipped: [u64; 5],
}

impl Flips {
    /// Counts one message, as it was and as changed.
    pub fn add(&mut self, before: &Verdict, after: &Verdict) {
        self.messages += 1;
        let pairs = before.intents.iter().zip(&after.intents);
        for (count, (before, after)) in self.flipped.iter_mut().zip(pairs) {
            *count += u64::from(before.holds != after.holds);
        }
        self.flipped[4] += u64::from(before.sentiment != after.sentiment);
    }

    /// The counts so far, of the change that is called `change`.
    pub fn report(&self, change: &'static str) -> FlipReport {
        let decisions = 5 * self.messages;
        let flipped = self.flipped.iter().sum();
        let of_all = share(flipped, decisions);
        FlipReport {
            change,
            messages: self.messages,
            decisions,
            flipped,
            share: of_all,
            by_label: ByLabel::from_fn(|at| share(self.flipped[at], self.messages)),
            within_target: of_all.map(|flipped| flipped <= MOST_FLIPPED),
        }
    }
}

/// What one kind of change does.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct FlipReport {
    /// Name of the change.
    pub change: &'static str,
    /// Messages in which there was something to change.
    pub messages: u64,
    /// Labels of those messages, five each.
    pub decisions: u64,
    /// Labels that came out otherwise.
    pub flipped: u64,
    /// Share of the labels that came out otherwise; absent where nothing was changed.
    pub share: Option<f64>,
    /// The same by label.
    pub by_label: ByLabel<Option<f64>>,
    /// Whether the share is at most the target.
    pub within_target: Option<bool>,
}

/// What changes that must not matter do, and one that must.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RobustnessReport {
    /// Largest share of the labels that may flip.
    pub target: f64,
    pub changes: Vec<FlipReport>,
    pub negations: NegationReport,
}
