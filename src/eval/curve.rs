//! The review curve: how many of the wrong messages a person sees who looks at the most doubtful.
//!
//! Messages are ordered by [`Verdict::doubt`]; at some shares of them it is counted how many of all messages
//! with a wrong label are among them, beside what `needs_review` catches. It keeps 8 bytes a message,
//! the least that an order takes. May depend on `message` only.

use serde::Serialize;

use super::by_label::{ByLabel, wrong};
use super::{Targets, ratio, share};
use crate::message::Verdict;

/// Shares of the messages at which the curve is given, in percent.
pub const SHARES: [u64; 6] = [5, 10, 15, 20, 30, 50];

/// Doubts and errors of the messages so far.
#[derive(Clone, Debug, Default)]
pub struct Curve(Vec<Seen>);

/// What the curve keeps of one message.
#[derive(Clone, Copy, Debug)]
struct Seen {
    doubt: f32,
    /// A bit for each label that is wrong, in the order of `LABELS`.
    wrong: u8,
    needs_review: bool,
}

impl Curve {
    /// Counts one verdict. A message of which no label is known cannot be seen to be wrong, so it is
    /// left out.
    pub fn add(&mut self, targets: &Targets, verdict: &Verdict) {
        let labels = wrong(targets, verdict);
        if labels.all().iter().all(|label| label.is_none()) {
            return;
        }
        let bit = |(at, label): (usize, &&Option<bool>)| u8::from(**label == Some(true)) << at;
        let wrong = labels.all().iter().enumerate().map(bit).sum();
        let (doubt, needs_review) = (verdict.doubt(), verdict.needs_review);
        self.0.push(Seen { doubt, wrong, needs_review });
    }

    /// The curve so far. Of equal doubts the one that came first goes first.
    pub fn report(&self) -> CurveReport {
        let mut ordered = self.0.clone();
        ordered.sort_by(|a, b| b.doubt.total_cmp(&a.doubt));
        let n = ordered.len();
        let total = Errors::of(&ordered);
        let points = SHARES.map(|percent| {
            let flagged = (n * percent as usize + 50) / 100;
            let caught = Errors::of(&ordered[..flagged]);
            total.point(percent as f64 / 100.0, flagged as u64, &caught)
        });
        let reviewed: Vec<_> = ordered.into_iter().filter(|seen| seen.needs_review).collect();
        let flagged = reviewed.len() as u64;
        let needs_review = total.point(ratio(flagged, n as u64), flagged, &Errors::of(&reviewed));
        CurveReport {
            messages: n as u64,
            wrong: total.any,
            wrong_by_label: ByLabel::from_fn(|at| total.labels[at]),
            points,
            needs_review,
        }
    }
}

/// Errors among some messages.
#[derive(Default)]
struct Errors {
    /// Messages with any wrong label.
    any: u64,
    /// Wrong labels, in the order of `LABELS`.
    labels: [u64; 5],
}

impl Errors {
    fn of(seen: &[Seen]) -> Self {
        let mut errors = Errors::default();
        for message in seen {
            errors.any += u64::from(message.wrong != 0);
            for (at, count) in errors.labels.iter_mut().enumerate() {
                *count += u64::from(message.wrong >> at & 1);
            }
        }
        errors
    }

    /// What has been caught of these errors.
    fn point(&self, of_all: f64, flagged: u64, caught: &Errors) -> CurvePoint {
        CurvePoint {
            share: of_all,
            flagged,
            caught: share(caught.any, self.any),
            caught_by_label: ByLabel::from_fn(|at| share(caught.labels[at], self.labels[at])),
        }
    }
}

/// How many of the wrong messages are among the most doubtful.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CurveReport {
    /// Messages of which some label is known.
    pub messages: u64,
    /// Messages of which some label is wrong.
    pub wrong: u64,
    /// Wrong labels.
    pub wrong_by_label: ByLabel<u64>,
    /// At each of [`SHARES`].
    pub points: [CurvePoint; 6],
    /// What `needs_review` catches.
    pub needs_review: CurvePoint,
}

/// What a person sees who looks at some of the messages.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct CurvePoint {
    /// Share of the messages that are looked at.
    pub share: f64,
    /// How many those are.
    pub flagged: u64,
    /// Share of the messages with a wrong label that are among them; absent where nothing is wrong.
    pub caught: Option<f64>,
    /// Share of each label's errors that are among them.
    pub caught_by_label: ByLabel<Option<f64>>,
}
