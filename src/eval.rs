//! How good verdicts are, given labels: precision, recall, F1, calibration error, confusion.
//!
//! Pure arithmetic over counts, so that the trainer, the command line and the tests mean the same
//! by a number. Unknown labels are masked: they count for nothing, right or wrong.
//!
//! Conventions, chosen so that numbers can be laid beside scikit-learn's
//! (`f1_score(average="macro", labels=all, zero_division=0)`):
//! - a precision, recall or F1 with a zero denominator is 0;
//! - a macro average is over all labels, so one without support counts as 0.
//!
//! Calibration error is the expected calibration error of Naeini et al. 2015 ("Obtaining well
//! calibrated probabilities using Bayesian binning"), in the 15 equal-width bins (lower, upper] of
//! Guo et al. 2017 ("On calibration of modern neural networks").
//!
//! May depend on `message` only.

mod bins;
pub mod by_label;
pub mod card;
pub mod consistency;
pub mod curve;
pub mod flips;
pub mod negation;
pub mod slices;
#[cfg(test)]
mod tests;
pub mod worst;

use serde::Serialize;

use crate::message::{Intent, Judgement, Sentiment, Verdict};
use bins::Bins;

pub use bins::{BINS, BinReport};

/// What is known to be true of one message; `None` where unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Targets {
    /// In the order of [`Intent::ALL`].
    pub intents: [Option<bool>; 4],
    pub sentiment: Option<Sentiment>,
    pub urgent: Option<bool>,
}

/// Counts, one verdict at a time; its size does not grow.
#[derive(Clone, Debug, Default)]
pub struct Evaluation {
    n: u64,
    intents: [Binary; 4],
    fully_labelled: u64,
    exact: u64,
    urgent: Binary,
    /// Rows are what the label says, columns what the verdict says, as in [`Sentiment::ALL`].
    confusion: [[u64; 3]; 3],
    sentiment_bins: Bins,
    needs_review: u64,
}

impl Evaluation {
    /// Nothing counted yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts one verdict.
    pub fn add(&mut self, targets: &Targets, verdict: &Verdict) {
        self.n += 1;
        self.needs_review += u64::from(verdict.needs_review);
        let pairs = targets.intents.iter().zip(&verdict.intents);
        for (counts, (target, judgement)) in self.intents.iter_mut().zip(pairs.clone()) {
            counts.add(*target, *judgement);
        }
        if targets.intents.iter().all(Option::is_some) {
            self.fully_labelled += 1;
            self.exact += u64::from(pairs.clone().all(|(t, j)| *t == Some(j.holds)));
        }
        self.urgent.add(targets.urgent, verdict.urgent);
        if let Some(target) = targets.sentiment {
            let said = verdict.sentiment;
            self.confusion[target as usize][said as usize] += 1;
            let confidence = verdict.sentiment_probabilities[said as usize];
            self.sentiment_bins.add(confidence, said == target);
        }
    }

    /// The numbers so far.
    pub fn report(&self) -> Report {
        let [question, complaint, compliment, factual_error] =
            Intent::ALL.map(|intent| self.intents[intent as usize].report());
        let f1s = [question.f1, complaint.f1, compliment.f1, factual_error.f1];
        Report {
            n: self.n,
            intents: IntentsReport {
                question,
                complaint,
                compliment,
                factual_error,
                macro_f1: f1s.iter().sum::<f64>() / 4.0,
                exact_match: share(self.exact, self.fully_labelled),
                fully_labelled: self.fully_labelled,
            },
            sentiment: self.sentiment(),
            urgent: (self.urgent.labelled() > 0).then(|| self.urgent.report()),
            needs_review: share(self.needs_review, self.n),
        }
    }

    fn sentiment(&self) -> Option<SentimentReport> {
        let labelled: u64 = self.confusion.iter().flatten().sum();
        if labelled == 0 {
            return None;
        }
        let right: u64 = (0..3).map(|class| self.confusion[class][class]).sum();
        let f1 = |class: usize| {
            let support: u64 = self.confusion[class].iter().sum();
            let said: u64 = self.confusion.iter().map(|row| row[class]).sum();
            ratio(2 * self.confusion[class][class], support + said)
        };
        let row = |class: Sentiment| {
            let [negative, neutral, positive] = self.confusion[class as usize];
            ConfusionRow { negative, neutral, positive }
        };
        Some(SentimentReport {
            accuracy: ratio(right, labelled),
            macro_f1: (0..3).map(f1).sum::<f64>() / 3.0,
            ece: self.sentiment_bins.error(),
            labelled,
            confusion: Confusion {
                negative: row(Sentiment::Negative),
                neutral: row(Sentiment::Neutral),
                positive: row(Sentiment::Positive),
            },
            bins: self.sentiment_bins.report(),
        })
    }
}

/// Everything that is measured of one set of records.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Verdicts counted, labelled or not.
    pub n: u64,
    pub intents: IntentsReport,
    /// Absent where no record has a sentiment.
    pub sentiment: Option<SentimentReport>,
    /// Absent where no record says whether it is urgent.
    pub urgent: Option<BinaryReport>,
    /// Share of verdicts that ask for a person; absent where there are none.
    pub needs_review: Option<f64>,
}

/// The four intents.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct IntentsReport {
    pub question: BinaryReport,
    pub complaint: BinaryReport,
    pub compliment: BinaryReport,
    pub factual_error: BinaryReport,
    /// Mean F1 of the four.
    pub macro_f1: f64,
    /// Share of the fully labelled records of which all four are right; absent where none is.
    pub exact_match: Option<f64>,
    /// Records of which all four intents are known.
    pub fully_labelled: u64,
}

impl IntentsReport {
    /// One intent's numbers.
    pub fn of(&self, intent: Intent) -> &BinaryReport {
        match intent {
            Intent::Question => &self.question,
            Intent::Complaint => &self.complaint,
            Intent::Compliment => &self.compliment,
            Intent::FactualError => &self.factual_error,
        }
    }
}

/// A yes/no label.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct BinaryReport {
    pub precision: f64,
    pub recall: f64,
    pub f1: f64,
    /// By bin, how far the mean probability is from the share that holds, weighted by size.
    pub ece: f64,
    /// Records where the label holds.
    pub support: u64,
    /// Records where it is known whether the label holds.
    pub labelled: u64,
    /// What the calibration error is made of.
    pub bins: [BinReport; BINS],
}

/// Sentiment, of which exactly one holds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SentimentReport {
    pub accuracy: f64,
    /// Mean F1 of the three.
    pub macro_f1: f64,
    /// By bin, how far the probability of the class chosen is from the share chosen rightly.
    pub ece: f64,
    pub labelled: u64,
    pub confusion: Confusion,
    /// What the calibration error is made of.
    pub bins: [BinReport; BINS],
}

/// What was said, by what the label is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Confusion {
    pub negative: ConfusionRow,
    pub neutral: ConfusionRow,
    pub positive: ConfusionRow,
}

impl Confusion {
    /// What was said where the label is `label`.
    pub fn of(&self, label: Sentiment) -> ConfusionRow {
        match label {
            Sentiment::Negative => self.negative,
            Sentiment::Neutral => self.neutral,
            Sentiment::Positive => self.positive,
        }
    }
}

/// Verdicts by the sentiment that they say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ConfusionRow {
    pub negative: u64,
    pub neutral: u64,
    pub positive: u64,
}

/// Counts of one yes/no label.
#[derive(Clone, Debug, Default)]
struct Binary {
    true_positive: u64,
    false_positive: u64,
    false_negative: u64,
    true_negative: u64,
    bins: Bins,
}

impl Binary {
    fn add(&mut self, target: Option<bool>, judgement: Judgement) {
        let Some(target) = target else { return };
        let count = match (target, judgement.holds) {
            (true, true) => &mut self.true_positive,
            (false, true) => &mut self.false_positive,
            (true, false) => &mut self.false_negative,
            (false, false) => &mut self.true_negative,
        };
        *count += 1;
        self.bins.add(judgement.probability, target);
    }

    fn labelled(&self) -> u64 {
        self.true_positive + self.false_positive + self.false_negative + self.true_negative
    }

    fn report(&self) -> BinaryReport {
        let hit = self.true_positive;
        let (said, support) = (hit + self.false_positive, hit + self.false_negative);
        BinaryReport {
            precision: ratio(hit, said),
            recall: ratio(hit, support),
            f1: ratio(2 * hit, said + support),
            ece: self.bins.error(),
            support,
            labelled: self.labelled(),
            bins: self.bins.report(),
        }
    }
}

fn ratio(part: u64, whole: u64) -> f64 {
    share(part, whole).unwrap_or(0.0)
}

fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}
