//! All that a model card says of one set of messages, counted in one pass.
//!
//! The trainer needs only [`Evaluation`]; this is for `klankbord eval`. May depend on `message`
//! only.

use serde::Serialize;

use super::consistency::{Consistency, ConsistencyReport};
use super::curve::{Curve, CurveReport};
use super::flips::RobustnessReport;
use super::slices::{Slices, SlicesReport, Traits};
use super::{Evaluation, Report, Targets};
use crate::message::Verdict;

/// Counts for a card.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    evaluation: Evaluation,
    curve: Curve,
    slices: Slices,
    consistency: Consistency,
}

impl Counts {
    /// Counts one verdict.
    pub fn add(&mut self, targets: &Targets, traits: Traits, verdict: &Verdict) {
        self.evaluation.add(targets, verdict);
        self.curve.add(targets, verdict);
        self.slices.add(traits, targets, verdict);
        self.consistency.add(verdict);
    }

    /// The card so far.
    pub fn card(&self, robustness: Option<RobustnessReport>) -> Card {
        Card {
            report: self.evaluation.report(),
            review_curve: self.curve.report(),
            slices: self.slices.report(),
            consistency: self.consistency.report(),
            robustness,
        }
    }
}

/// All that is measured of one set of messages.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Card {
    #[serde(flatten)]
    pub report: Report,
    pub review_curve: CurveReport,
    pub slices: SlicesReport,
    pub consistency: ConsistencyReport,
    /// Absent where it was not asked for: it reads each message several times.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub robustness: Option<RobustnessReport>,
}
