//! One value for each label that a message is judged by: the four intents and the sentiment.
//!
//! Urgency is left out: it is a matter of routing, and most files do not label it. May depend on
//! `message` only.

use serde::Serialize;

use super::Targets;
use crate::message::{Intent, Verdict};

/// Names of the labels, in the order of [`ByLabel::of`].
pub const LABELS: [&str; 5] = ["question", "complaint", "compliment", "factual_error", "sentiment"];

/// A value for each label.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ByLabel<T> {
    pub question: T,
    pub complaint: T,
    pub compliment: T,
    pub factual_error: T,
    pub sentiment: T,
}

impl<T> ByLabel<T> {
    /// The value that `of` has for each place in [`LABELS`].
    pub fn from_fn(of: impl Fn(usize) -> T) -> Self {
        ByLabel {
            question: of(Intent::Question as usize),
            complaint: of(Intent::Complaint as usize),
            compliment: of(Intent::Compliment as usize),
            factual_error: of(Intent::FactualError as usize),
            sentiment: of(4),
        }
    }

    /// The values, in the order of [`LABELS`].
    pub fn all(&self) -> [&T; 5] {
        let ByLabel { question, complaint, compliment, factual_error, sentiment } = self;
        [question, complaint, compliment, factual_error, sentiment]
    }
}

/// Which labels `verdict` has wrong; `None` where the label is not known.
pub fn wrong(targets: &Targets, verdict: &Verdict) -> ByLabel<Option<bool>> {
    ByLabel::from_fn(|at| match at {
        4 => targets.sentiment.map(|sentiment| sentiment != verdict.sentiment),
        intent => targets.intents[intent].map(|holds| holds != verdict.intents[intent].holds),
    })
}

/// How sure `verdict` is of what it says of each label, in [0, 1].
pub fn sureness(verdict: &Verdict) -> ByLabel<f64> {
    ByLabel::from_fn(|at| match at {
        4 => f64::from(verdict.sentiment_probabilities[verdict.sentiment as usize]),
        intent => {
            let judged = verdict.intents[intent];
            let p = f64::from(judged.probability);
            if judged.holds { p } else { 1.0 - p }
        }
    })
}
