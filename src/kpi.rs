//! Key performance indicators of a webcare team: how many messages of which kind, how fast they were answered, how
//! people felt, and when it was a crisis.
//!
//! [`Table`] takes one [`Entry`] after the other and keeps counts only, so that memory grows with the groups and not
//! with the messages. What it says of them is in [`Figures`] and [`Change`]; [`crisis`] looks at the hours. May
//! depend on `message` only.

pub mod adjust;
pub mod counts;
pub mod crisis;
pub mod period;
pub mod sentinel;
pub mod sketch;
pub mod stats;
pub mod table;
#[cfg(test)]
mod tests;
pub mod words;

pub use counts::{Counts, Figures};
pub use period::{Calendar, Unit};
pub use table::{Change, Group, Grouping, Table, TableError};

use jiff::Timestamp;

use crate::message::{Channel, Intent, Judgement, Sentiment, Verdict};

/// What is counted of one message.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// When it came in. What is counted by period needs it.
    pub received_at: Option<Timestamp>,
    /// When it was answered; `None` where it was not, or where nobody knows.
    pub answered_at: Option<Timestamp>,
    /// Where it was written.
    pub channel: Option<Channel>,
    /// A word of the caller's own, such as a brand.
    pub brand: Option<String>,
    pub labels: Labels,
}

/// What a message was found to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Labels {
    /// In the order of [`Intent::ALL`].
    pub intents: [bool; 4],
    pub sentiment: Sentiment,
    pub urgent: bool,
    pub needs_review: bool,
    /// How sure the model was; `None` where a person labelled it.
    pub probabilities: Option<Probabilities>,
}

/// Calibrated probabilities, in [0, 1].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Probabilities {
    /// In the order of [`Intent::ALL`].
    pub intents: [f32; 4],
    /// In the order of [`Sentiment::ALL`].
    pub sentiment: [f32; 3],
}

impl From<&Verdict> for Labels {
    fn from(verdict: &Verdict) -> Self {
        let intents = Intent::ALL.map(|intent| verdict.intent(intent));
        Labels {
            intents: intents.map(|Judgement { holds, .. }| holds),
            sentiment: verdict.sentiment,
            urgent: verdict.urgent.holds,
            needs_review: verdict.needs_review,
            probabilities: Some(Probabilities {
                intents: intents.map(|Judgement { probability, .. }| probability),
                sentiment: verdict.sentiment_probabilities,
            }),
        }
    }
}

impl Labels {
    /// Whether an intent holds.
    pub fn has(&self, intent: Intent) -> bool {
        self.intents[intent as usize]
    }

    /// Whether the sender waits for an answer: a question or a complaint.
    pub fn answerable(&self) -> bool {
        self.has(Intent::Question) || self.has(Intent::Complaint)
    }
}
