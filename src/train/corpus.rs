//! Labelled files to tokenised examples.
//!
//! May depend on: `perturb`, `record`, `tokenise`, `train::loss`.

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
    let (mut records, mut errors, mut total) = (Vec::new(), Vec::new(), 0);
    for record in Records::open_renamed(path, None, renamed)? {
        total += 1;
        match record {
            Ok((_, record)) if is_labelled(&record) => records.push(record),
            Ok(_) => {}
            Err(error) => errors.push(error.to_string()),
        }
    }
    if let Some(first) = errors.first() {
        let (path, first) = (path.to_owned(), first.clone());
        return Err(CorpusError::Records { path, count: errors.len(), total, first });
    }
    if records.is_empty() {
        return Err(CorpusError::Empty(path.to_owned()));
    }
    let examples = records.par_iter().map(|record| example(record, tokeniser, limit, weight));
    Ok(examples.collect::<Result<_, _>>()?)
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
