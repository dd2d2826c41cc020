//! What a pipeline needs of a model: logits for token ids. May depend on: `model`, `tokenise`.

use super::joined::Joined;
use super::labels::{LOGITS, Logits};
use super::net::Net;
use crate::tokenise::Tokens;

/// Why a model gave no logits. Never says anything about the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct EngineError(pub String);

/// Reads batches of tokenised messages.
pub trait Engine: Send + Sync + 'static {
    /// How many threads should call it at once. Where it is more than one, each call keeps to the
    /// thread that makes it, or one of a pool of a single thread.
    fn callers(&self) -> usize;

    /// Logits of each message, in order. A message's logits must not depend on its batch.
    ///
    /// # Errors
    /// [`EngineError`] where the batch cannot be read.
    fn logits(&self, batch: &[&Tokens]) -> Result<Vec<Logits>, EngineError>;
}

impl Engine for Net {
    /// One: it spreads its products over rayon's pool by itself.
    fn callers(&self) -> usize {
        1
    }

    fn logits(&self, batch: &[&Tokens]) -> Result<Vec<Logits>, EngineError> {
        let fail = |error: candle_core::Error| EngineError(error.to_string());
        let batch = Joined::new(batch.iter().copied());
        let values = self.forward(&batch).and_then(|l| l.flatten_all()?.to_vec1::<f32>());
        Ok(values.map_err(fail)?.as_chunks::<LOGITS>().0.to_vec())
    }
}
