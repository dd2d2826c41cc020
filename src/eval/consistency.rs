//! Verdicts that contradict themselves: each label is sure, and together they make no sense.
//!
//! Needs no labels, so it can be counted on any messages. May depend on `message` only.

use serde::Serialize;

use super::share;
use crate::message::{Intent, Sentiment, Verdict};

/// A label counts as sure from this probability.
pub const SURE: f32 = 0.7;

/// Counts of contradictory verdicts.
#[derive(Clone, Copy, Debug, Default)]
pub struct Consistency {
    n: u64,
    negative_compliment: Contradictions,
    positive_complaint: Contradictions,
}

impl Consistency {
    /// Counts one verdict.
    pub fn add(&mut self, verdict: &Verdict) {
        self.n += 1;
        let sure_of = |intent, sentiment| {
            let judged = verdict.intent(intent);
            judged.holds
                && judged.probability >= SURE
                && verdict.sentiment == sentiment
                && verdict.sentiment_probabilities[sentiment as usize] >= SURE
        };
        let holds = |intent| verdict.intent(intent).holds;
        if sure_of(Intent::Compliment, Sentiment::Negative) && !holds(Intent::Complaint) {
            self.negative_compliment.add(verdict);
        }
        if sure_of(Intent::Complaint, Sentiment::Positive) && !holds(Intent::Compliment) {
            self.positive_complaint.add(verdict);
        }
    }

    /// The counts so far.
    pub fn report(&self) -> ConsistencyReport {
        let (one, other) = (self.negative_compliment, self.positive_complaint);
        let contradictory = one.verdicts + other.verdicts;
        ConsistencyReport {
            contradictory,
            share: share(contradictory, self.n),
            without_review: one.without_review + other.without_review,
            negative_compliment: one,
            positive_complaint: other,
        }
    }
}

/// Verdicts with one kind of contradiction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Contradictions {
    pub verdicts: u64,
    /// Those of them that do not ask for a person.
    pub without_review: u64,
}

impl Contradictions {
    fn add(&mut self, verdict: &Verdict) {
        self.verdicts += 1;
        self.without_review += u64::from(!verdict.needs_review);
    }
}

/// How many verdicts contradict themselves.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ConsistencyReport {
    /// Verdicts with either contradiction; no verdict has both.
    pub contradictory: u64,
    /// Of all verdicts; absent where there are none.
    pub share: Option<f64>,
    /// Contradictory verdicts that do not ask for a person.
    pub without_review: u64,
    /// Surely a compliment and surely negative, but no complaint.
    pub negative_compliment: Contradictions,
    /// Surely a complaint and surely positive, but no compliment.
    pub positive_complaint: Contradictions,
}
