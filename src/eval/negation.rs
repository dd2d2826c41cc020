//! Pairs of sentences of which one denies the other: here the verdict must change.
//!
//! The pairs come with the program; they are of our own making and never trained on. May depend on
//! `message` only.

use serde::{Deserialize, Serialize};

use super::by_label::wrong;
use super::{Targets, share};
use crate::message::{Intent, Language, Sentiment, Verdict};

const FILE: &str = include_str!("negations.jsonl");

/// A sentence and its denial.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pair {
    /// BCP 47 tag.
    lang: String,
    pub plain: Side,
    pub negated: Side,
}

/// A sentence and what must be said of it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Side {
    pub text: String,
    compliment: Option<bool>,
    complaint: Option<bool>,
    sentiment: Option<String>,
}

/// The pairs that come with the program.
///
/// # Errors
/// Where the file is not what it should be; a test holds that it is.
pub fn pairs() -> Result<Vec<Pair>, serde_json::Error> {
    FILE.lines().filter(|line| !line.trim().is_empty()).map(serde_json::from_str).collect()
}

impl Pair {
    /// The language that both are in.
    pub fn language(&self) -> Language {
        Language::from_tag(&self.lang)
    }
}

impl Side {
    /// What must be said of it; the rest is left open.
    pub fn targets(&self) -> Targets {
        let mut intents = [None; 4];
        intents[Intent::Compliment as usize] = self.compliment;
        intents[Intent::Complaint as usize] = self.complaint;
        let sentiment = self.sentiment.as_deref().and_then(Sentiment::from_name);
        Targets { intents, sentiment, urgent: None }
    }

    /// Whether `verdict` says all that must be said.
    fn is_met_by(&self, verdict: &Verdict) -> bool {
        !wrong(&self.targets(), verdict).all().contains(&&Some(true))
    }
}

/// Counts over the pairs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Negations {
    dutch: NegationCounts,
    english: NegationCounts,
}

impl Negations {
    /// Counts one pair by the verdicts on its two sides.
    pub fn add(&mut self, pair: &Pair, plain: &Verdict, negated: &Verdict) {
        let counts = match pair.language() {
            Language::English => &mut self.english,
            _ => &mut self.dutch,
        };
        counts.pairs += 1;
        let right = pair.plain.is_met_by(plain) && pair.negated.is_met_by(negated);
        counts.right += u64::from(right);
        // What must be said of the one is wrong for the other, so equal verdicts cannot both be
        // right: the denial was not noticed.
        let same = plain.sentiment == negated.sentiment
            && plain.intents.map(|judged| judged.holds)
                == negated.intents.map(|judged| judged.holds);
        counts.unmoved += u64::from(same);
    }

    /// The counts so far.
    pub fn report(&self) -> NegationReport {
        let (dutch, english) = (self.dutch, self.english);
        let pairs = dutch.pairs + english.pairs;
        let right = dutch.right + english.right;
        let unmoved = dutch.unmoved + english.unmoved;
        NegationReport { pairs, right, share: share(right, pairs), unmoved, dutch, english }
    }
}

/// Counts of pairs in one language.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct NegationCounts {
    pub pairs: u64,
    /// Pairs of which both sides are labelled as they must be.
    pub right: u64,
    /// Pairs of which both sides are labelled alike.
    pub unmoved: u64,
}

/// How often a denial changes the verdict as it must.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct NegationReport {
    pub pairs: u64,
    /// Pairs of which both sides are labelled as they must be.
    pub right: u64,
    /// The same as a share; absent where there are no pairs.
    pub share: Option<f64>,
    /// Pairs of which both sides are labelled alike.
    pub unmoved: u64,
    pub dutch: NegationCounts,
    pub english: NegationCounts,
}
