//! Messages read in several spellings, and the sentences that deny each other.
//!
//! May depend on `eval`, `message`, `perturb`, `record`, and on `cli`'s stream.

use std::collections::VecDeque;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::cli::stream::{Classified, Classifier, Then};
use crate::eval::flips::{Flips, MOST_FLIPPED, RobustnessReport};
use crate::eval::negation::{self, NegationReport, Negations};
use crate::message::{Language, Verdict};
use crate::perturb::Change;
use crate::record::{LabelledRecord, RecordError, Records};

/// Seed of the changes: two runs over a file read the same.
const SEED: u64 = 1;

/// A record and the change that it was made by, if any.
type Reading = (u64, LabelledRecord, Option<Change>);

/// Records, each followed by its other spellings. They go through as one stream, so that standard
/// input can be read too, and nothing has to be remembered but the verdict on the message itself.
pub(super) struct Readings {
    records: Records,
    waiting: VecDeque<Reading>,
    robust: bool,
}

impl Readings {
    /// With the other spellings only where `robust`.
    pub(super) fn new(records: Records, robust: bool) -> Self {
        Readings { records, waiting: VecDeque::new(), robust }
    }
}

impl Iterator for Readings {
    type Item = Result<Reading, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(reading) = self.waiting.pop_front() {
            return Some(Ok(reading));
        }
        let (line, record) = match self.records.next()? {
            Ok(next) => next,
            Err(error) => return Some(Err(error)),
        };
        if self.robust {
            self.waiting.extend(spellings(line, &record));
        }
        Some(Ok((line, record, None)))
    }
}

/// The other spellings of a record, without its labels.
fn spellings(line: u64, record: &LabelledRecord) -> impl Iterator<Item = Reading> {
    let language = record.lang.unwrap_or(Language::Undetermined);
    let suiting = Change::ALL.into_iter().filter(move |change| change.suits(language));
    suiting.filter_map(move |change| {
        // A generator of its own for each, so that what becomes of a message depends on no other.
        let place = line.wrapping_mul(Change::ALL.len() as u64).wrapping_add(change as u64);
        let mut random = ChaCha8Rng::seed_from_u64(SEED.wrapping_add(place));
        let text = change.apply(&record.text, &mut random)?;
        let other = LabelledRecord {
            context: record.context.clone(),
            lang: record.lang,
            channel: record.channel,
            ..LabelledRecord::unlabelled("", text)
        };
        // A change can make a text longer than a message may be.
        other.message().is_ok().then_some((line, other, Some(change)))
    })
}

/// Counts over the readings.
#[derive(Default)]
pub(super) struct Robustness {
    /// The last message read as it is, and what was said of it.
    plain: Option<(u64, Verdict)>,
    flips: [Flips; Change::ALL.len()],
}

impl Robustness {
    /// Takes the verdict on a message as it is.
    pub(super) fn plain(&mut self, line: u64, verdict: &Verdict) {
        self.plain = Some((line, verdict.clone()));
    }

    /// Counts the verdict on another spelling; nothing to compare with where the message itself
    /// could not be read.
    pub(super) fn changed(&mut self, line: u64, change: Change, verdict: &Verdict) {
        if let Some((_, plain)) = self.plain.as_ref().filter(|(at, _)| *at == line) {
            self.flips[change as usize].add(plain, verdict);
        }
    }

    /// The counts so far.
    pub(super) fn report(&self, negations: NegationReport) -> RobustnessReport {
        let changes = Change::ALL.map(|change| self.flips[change as usize].report(change.name()));
        RobustnessReport { target: MOST_FLIPPED, changes: changes.into(), negations }
    }
}

/// Reads the pairs that come with the program.
pub(super) fn negations(
    classifier: &Classifier,
    failed: &mut u64,
) -> Result<NegationReport, Box<dyn std::error::Error + Send + Sync>> {
    let pairs = negation::pairs()?;
    let mut sides = Vec::new();
    for (at, pair) in pairs.iter().enumerate() {
        for (denies, side) in [(false, &pair.plain), (true, &pair.negated)] {
            let lang = Some(pair.language());
            let record = LabelledRecord { lang, ..LabelledRecord::unlabelled("", &side.text) };
            sides.push(Ok((at as u64 + 1, record, denies)));
        }
    }
    let mut counts = Negations::default();
    let mut plain = None;
    classifier.each_tagged(sides.into_iter(), |answers| {
        for answer in answers {
            match answer {
                Ok(Classified { line, tag: false, verdict, .. }) => plain = Some((line, verdict)),
                Ok(Classified { line, tag: true, verdict, .. }) => {
                    if let Some((_, plain)) = plain.as_ref().filter(|(at, _)| *at == line) {
                        counts.add(&pairs[line as usize - 1], plain, &verdict);
                    }
                }
                Err(error) => {
                    *failed += 1;
                    eprintln!("error: pairs that deny each other: {error}");
                }
            }
        }
        Then::GoOn
    })?;
    Ok(counts.report())
}
