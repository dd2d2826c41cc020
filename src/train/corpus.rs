//! Labelled files to tokenised examples.
//!
//! May depend on: `perturb`, `record`, `tokenise`, `train::loss`.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use rand::RngExt;
use rand::seq::IndexedRandom;
use rayon::prelude::*;

use super::loss::Target;
use crate::message::Language;
use crate::perturb::Change;
use crate::record::{Column, LabelledRecord, OpenError, Records};
use crate::tokenise::{TokeniseError, Tokeniser, Tokens};

/// What a message counts that another reader could have labelled otherwise.
const UNSURE: f32 = 0.5;

/// One message ready to train or test on.
#[derive(Clone, Debug)]
pub struct Example {
    /// What the model reads.
    pub tokens: Tokens,
    /// What is known of it.
    pub target: Target,
    /// Language that its file says it is in.
    pub language: Language,
    /// What it was read from: the message and the post that it replies to.
    source: (String, Option<String>),
    /// Most tokens of it that are read.
    limit: usize,
}

impl Example {
    /// One that nothing was read of, for tests of what is made of labels and logits.
    #[cfg(test)]
    pub(super) fn unread(target: Target) -> Self {
        let tokens = Tokens { ids: Vec::new(), own: 0, truncated: false };
        let (source, language) = ((String::new(), None), Language::Undetermined);
        Example { tokens, target, language, source, limit: 0 }
    }

    /// The message with one or two changes that leave its labels as they are; `None` where none applies.
    ///
    /// # Errors
    /// Where the tokeniser fails.
    pub fn varied(
        &self,
        tokeniser: &Tokeniser,
        random: &mut impl RngExt,
    ) -> Result<Option<Tokens>, TokeniseError> {
        let (text, context) = &self.source;
        let mut changed = None::<String>;
        for _ in 0..random.random_range(1..=2) {
            // Emoji often are the message; they are dropped from long ones only.
            let apt = |&&change: &&Change| {
                change.suits(self.language) && (change != Change::Emoji || text.len() > 80)
            };
            let changes: Vec<&Change> = Change::ALL.iter().filter(apt).collect();
            let Some(change) = changes.choose(random) else { continue };
            let before = changed.as_deref().unwrap_or(text);
            changed = change.apply(before, random).or(changed);
        }
        let read = |text: String| encode(tokeniser, &text, context.as_deref(), self.limit);
        changed.map(read).transpose()
    }
}

/// Why a corpus cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CorpusError {
    /// A file cannot be read.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Lines of it are broken.
    #[error("{}: {count} of {total} records cannot be used; the first: {first}", path.display())]
    Records { path: PathBuf, count: usize, total: usize, first: String },
    /// A record of labels by id is of no use.
    #[error("{}: line {line}: {reason}", path.display())]
    Label { path: PathBuf, line: u64, reason: &'static str },
    /// Labels by id are of messages that no file has.
    #[error("--labels: {count} of the ids are in no --auxiliary file; the first: `{first}`")]
    Unfound { count: usize, first: String },
    /// It has no record with a label.
    #[error("{}: no labelled record", .0.display())]
    Empty(PathBuf),
    /// The tokenizer failed.
    #[error(transparent)]
    Tokenise(#[from] TokeniseError),
}

/// Reads a file, whose columns may be `renamed`, and cuts its messages to `limit` tokens; each counts
/// for `weight`.
///
/// # Errors
/// [`CorpusError`]; a training set with broken lines is refused, not thinned in silence.
pub fn load(
    path: &Path,
    tokeniser: &Tokeniser,
    limit: usize,
    weight: f32,
    renamed: &[Column],
) -> Result<Vec<Example>, CorpusError> {
    let mut records = records(path, renamed)?;
    records.retain(|(_, record)| is_labelled(record));
    if records.is_empty() {
        return Err(CorpusError::Empty(path.to_owned()));
    }
    let examples = records.par_iter().map(|(_, record)| example(record, tokeniser, limit, weight));
    Ok(examples.collect::<Result<_, _>>()?)
}

/// Labels by id, of messages whose text is in another file: of a second reading, or of texts that may be trained
/// on but not passed on.
#[derive(Default)]
pub struct Labels {
    by_id: HashMap<String, LabelledRecord>,
    used: HashSet<String>,
}

impl Labels {
    /// Reads them from records as [`load`] takes them; their texts are not looked at.
    ///
    /// # Errors
    /// [`CorpusError`], as where a record has no id, no label, or the id of another.
    pub fn read(paths: &[PathBuf]) -> Result<Self, CorpusError> {
        let mut by_id = HashMap::new();
        for path in paths {
            for (line, record) in records(path, &[])? {
                let reason = match &record {
                    LabelledRecord { id, .. } if id.is_empty() => Some("id: is missing"),
                    record if !is_labelled(record) => Some("intents: no label is told"),
                    LabelledRecord { id, .. } if by_id.contains_key(id) => {
                        Some("id: was there before")
                    }
                    _ => None,
                };
                if let Some(reason) = reason {
                    return Err(CorpusError::Label { path: path.clone(), line, reason });
                }
                by_id.insert(record.id.clone(), record);
            }
        }
        Ok(Labels { by_id, used: HashSet::new() })
    }

    /// The examples of `path` that these label, which count whole, and those that they do not, which count
    /// for `weight`; columns may be `renamed`.
    ///
    /// # Errors
    /// As [`load`], and where two messages have an id that labels are for.
    pub fn load(
        &mut self,
        path: &Path,
        tokeniser: &Tokeniser,
        limit: usize,
        weight: f32,
        renamed: &[Column],
    ) -> Result<[Vec<Example>; 2], CorpusError> {
        let (mut labelled, mut others) = (Vec::new(), Vec::new());
        for (line, mut record) in records(path, renamed)? {
            if let Some(labels) = self.by_id.get(&record.id) {
                let LabelledRecord { intents, sentiment, urgent, sure, .. } = *labels;
                record = LabelledRecord { intents, sentiment, urgent, sure, ..record };
                if !self.used.insert(record.id.clone()) {
                    let (path, reason) = (path.to_owned(), "id: was there before, and has labels");
                    return Err(CorpusError::Label { path, line, reason });
                }
                labelled.push((record, 1.0));
            } else if is_labelled(&record) {
                others.push((record, weight));
            }
        }
        if labelled.is_empty() && others.is_empty() {
            return Err(CorpusError::Empty(path.to_owned()));
        }
        let examples = |records: Vec<(LabelledRecord, f32)>| {
            let one = |(record, weight): &(_, f32)| example(record, tokeniser, limit, *weight);
            records.par_iter().map(one).collect::<Result<Vec<_>, _>>()
        };
        Ok([examples(labelled)?, examples(others)?])
    }

    /// Whether each of them found its message.
    ///
    /// # Errors
    /// [`CorpusError::Unfound`] with how many did not.
    pub fn all_used(&self) -> Result<(), CorpusError> {
        let count = self.by_id.len() - self.used.len();
        let first = self.by_id.keys().filter(|id| !self.used.contains(*id)).min();
        match first {
            Some(first) => Err(CorpusError::Unfound { count, first: first.clone() }),
            None => Ok(()),
        }
    }
}

/// The records of a file with their lines; all must be sound.
fn records(path: &Path, renamed: &[Column]) -> Result<Vec<(u64, LabelledRecord)>, CorpusError> {
    let (mut records, mut errors, mut total) = (Vec::new(), Vec::new(), 0);
    for record in Records::open_renamed(path, None, renamed)? {
        total += 1;
        match record {
            Ok(found) => records.push(found),
            Err(error) => errors.push(error.to_string()),
        }
    }
    if let Some(first) = errors.first() {
        let (path, first) = (path.to_owned(), first.clone());
        return Err(CorpusError::Records { path, count: errors.len(), total, first });
    }
    Ok(records)
}

fn is_labelled(record: &LabelledRecord) -> bool {
    record.intents.iter().any(Option::is_some)
        || record.sentiment.is_some()
        || record.urgent.is_some()
}

fn example(
    record: &LabelledRecord,
    tokeniser: &Tokeniser,
    limit: usize,
    weight: f32,
) -> Result<Example, TokeniseError> {
    let tokens = encode(tokeniser, &record.text, record.context.as_deref(), limit)?;
    let (intents, sentiment, urgent) = (record.intents, record.sentiment, record.urgent);
    let weight = if record.sure { weight } else { weight * UNSURE };
    let target = Target { intents, sentiment, urgent, weight };
    let source = (record.text.clone(), record.context.clone());
    let language = record.lang.unwrap_or(Language::Undetermined);
    Ok(Example { tokens, target, language, source, limit })
}

fn encode(
    tokeniser: &Tokeniser,
    text: &str,
    context: Option<&str>,
    limit: usize,
) -> Result<Tokens, TokeniseError> {
    let tokens = match context {
        Some(context) => tokeniser.encode_reply(text, context)?,
        None => tokeniser.encode(text)?,
    };
    Ok(tokens.cut(limit))
}
