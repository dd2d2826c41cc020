//! The worst misses: the few verdicts that were surest of something wrong.
//!
//! Keeps a fixed number, so that memory does not grow with the file. May depend on `message` only.

use super::Targets;
use super::by_label::{sureness, wrong};
use crate::message::Verdict;

/// How sure `verdict` is of the wrong label that it is surest of, in [0, 1]; `None` where nothing
/// is known to be wrong.
pub fn surest_miss(targets: &Targets, verdict: &Verdict) -> Option<f64> {
    let (wrong, sure) = (wrong(targets, verdict), sureness(verdict));
    let missed = wrong.all().into_iter().zip(sure.all()).filter(|(wrong, _)| **wrong == Some(true));
    missed.map(|(_, sure)| *sure).max_by(f64::total_cmp)
}

/// The worst so far, the worst first.
#[derive(Clone, Debug)]
pub struct Worst<T> {
    most: usize,
    kept: Vec<(f64, T)>,
}

impl<T> Worst<T> {
    /// Keeps at most `most`.
    pub fn new(most: usize) -> Self {
        Worst { most, kept: Vec::with_capacity(most) }
    }

    /// Takes in one; `what` is made only where it is kept. Of two alike the first goes first.
    pub fn add(&mut self, how_bad: f64, what: impl FnOnce() -> T) {
        let at = self.kept.partition_point(|(other, _)| *other >= how_bad);
        if at < self.most {
            self.kept.truncate(self.most - 1);
            self.kept.insert(at, (how_bad, what()));
        }
    }

    /// What is kept, with how bad each is.
    pub fn iter(&self) -> impl Iterator<Item = (f64, &T)> {
        self.kept.iter().map(|(how_bad, what)| (*how_bad, what))
    }
}
