//! The same numbers for parts of the messages: by language, by channel, by length.
//!
//! There is a fixed set of slices, so that memory does not grow with the file. A mean F1 here is
//! over the labels that occur in the slice or are said in it: unlike in the whole, a label may well
//! be absent from a slice, and that is no fault of the model. May depend on `message` only.

use serde::Serialize;

use super::by_label::ByLabel;
use super::{Evaluation, Targets, share};
use crate::message::{Channel, Language, Verdict};

/// A slice of fewer messages says little; it is marked.
pub const SMALL: u64 = 20;

/// What a message is sliced by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traits {
    /// As the file says, or as detected.
    pub language: Language,
    /// `None` where the file does not say.
    pub channel: Option<Channel>,
    /// Length of the text in characters.
    pub characters: usize,
}

/// Names of the slices by language; all languages but ours are one.
const LANGUAGES: [&str; 4] = ["nl", "en", "other", "und"];

fn place(language: Language) -> usize {
    match language {
        Language::Dutch => 0,
        Language::English => 1,
        Language::Other(_) => 2,
        Language::Undetermined => 3,
    }
}

/// Longest text of each slice by length, in characters, and the slice's name.
const LENGTHS: [(usize, &str); 5] =
    [(30, "up to 30"), (80, "31-80"), (160, "81-160"), (400, "161-400"), (usize::MAX, "longer")];

/// Counts by slice.
#[derive(Clone, Debug, Default)]
pub struct Slices {
    languages: [Evaluation; LANGUAGES.len()],
    /// One for each channel, and the last for messages without one.
    channels: [Evaluation; Channel::ALL.len() + 1],
    lengths: [Evaluation; LENGTHS.len()],
}

impl Slices {
    /// Counts one verdict in each slice that it belongs to.
    pub fn add(&mut self, traits: Traits, targets: &Targets, verdict: &Verdict) {
        let channel = traits.channel.map_or(Channel::ALL.len(), |channel| channel as usize);
        let length = LENGTHS.iter().take_while(|(most, _)| traits.characters > *most).count();
        self.languages[place(traits.language)].add(targets, verdict);
        self.channels[channel].add(targets, verdict);
        self.lengths[length].add(targets, verdict);
    }

    /// The numbers of each slice that has messages.
    pub fn report(&self) -> SlicesReport {
        let channels = Channel::ALL.iter().map(|channel| channel.name()).chain(["not said"]);
        SlicesReport {
            language: reports(&self.languages, LANGUAGES.into_iter()),
            channel: reports(&self.channels, channels),
            characters: reports(&self.lengths, LENGTHS.iter().map(|(_, name)| *name)),
        }
    }
}

fn reports(slices: &[Evaluation], names: impl Iterator<Item = &'static str>) -> Vec<SliceReport> {
    let filled = names.zip(slices).filter(|(_, slice)| slice.n > 0);
    filled.map(|(name, slice)| report(name, slice)).collect()
}

fn report(name: &'static str, slice: &Evaluation) -> SliceReport {
    let f1s = slice.intents.each_ref().map(|counts| {
        let wrong = counts.false_positive + counts.false_negative;
        share(2 * counts.true_positive, 2 * counts.true_positive + wrong)
    });
    let confusion = &slice.confusion;
    let classes = [0, 1, 2].map(|class| {
        let labelled: u64 = confusion[class].iter().sum();
        let said: u64 = confusion.iter().map(|row| row[class]).sum();
        share(2 * confusion[class][class], labelled + said)
    });
    let right = (0..3).map(|class| confusion[class][class]).sum();
    let sentiment = mean(&classes);
    SliceReport {
        name,
        n: slice.n,
        small: slice.n < SMALL,
        macro_f1: mean(&f1s),
        f1: ByLabel::from_fn(|at| f1s.get(at).copied().unwrap_or(sentiment)),
        sentiment_accuracy: share(right, confusion.iter().flatten().sum()),
    }
}

/// Mean of what is defined.
fn mean(values: &[Option<f64>]) -> Option<f64> {
    let defined: Vec<f64> = values.iter().flatten().copied().collect();
    (!defined.is_empty()).then(|| defined.iter().sum::<f64>() / defined.len() as f64)
}

/// The slices that have messages.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SlicesReport {
    pub language: Vec<SliceReport>,
    pub channel: Vec<SliceReport>,
    /// By length of the text.
    pub characters: Vec<SliceReport>,
}

/// One slice. A number is absent where the slice has nothing to measure it by.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SliceReport {
    pub name: &'static str,
    /// Messages in it, labelled or not.
    pub n: u64,
    /// Fewer than [`SMALL`]: its numbers are mostly chance.
    pub small: bool,
    /// Mean F1 of the intents that occur or are said.
    pub macro_f1: Option<f64>,
    /// F1 by intent; for the sentiment the mean of the classes that occur or are said.
    pub f1: ByLabel<Option<f64>>,
    pub sentiment_accuracy: Option<f64>,
}
