//! Labelled files to tokenised examples.
//!
//! May depend on: `record`, `tokenise`, `train::loss`.

use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::loss::Target;
use crate::record::{LabelledRecord, OpenError, Records};
use crate::tokenise::{TokeniseError, Tokeniser, Tokens};

/// One message ready to train or test on.
#[derive(Clone, Debug)]
pub struct Example {
    /// What the model reads.
    pub tokens: Tokens,
    /// What is known of it.
    pub target: Target,
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

/// Reads a file and cuts its messages to `limit` tokens; each counts for `weight`.
///
/// # Errors
/// [`CorpusError`]; a training set with broken lines is refused, not thinned in silence.
pub fn load(
    path: &Path,
    tokeniser: &Tokeniser,
    limit: usize,
    weight: f32,
) -> Result<Vec<Example>, CorpusError> {
    let (mut records, mut errors, mut total) = (Vec::new(), Vec::new(), 0);
    for record in Records::open(path, None)? {
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
    let tokens = tokeniser.encode(&record.text)?.cut(limit);
    let (intents, sentiment, urgent) = (record.intents, record.sentiment, record.urgent);
    Ok(Example { tokens, target: Target { intents, sentiment, urgent, weight } })
}
