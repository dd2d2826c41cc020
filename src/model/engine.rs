//! What a pipeline needs of a model: logits for token ids. May depend on: `model`, `tokenise`.

use super::labels::{LOGITS, Logits};
use super::net::{Batch, Net};
use crate::tokenise::Tokens;

/// Why a model gave no logits. Never says anything about the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct EngineError(pub String);

/// Reads batches of tokenised messages.
pub trait Engine: Send + Sync + 'static {
    /// Logits of each message, in order. A message's logits must not depend on its batch.
    ///
    /// # Errors
    /// [`EngineError`] where the batch cannot be read.
    fn logits(&self, batch: &[&Tokens]) -> Result<Vec<Logits>, EngineError>;
}

impl Engine for Net {
    fn logits(&self, batch: &[&Tokens]) -> Result<Vec<Logits>, EngineError> {
        let fail = |error: candle_core::Error| EngineError(error.to_string());
        let batch = Batch::new(batch.iter().map(|tokens| tokens.ids.as_slice()));
        let values = self.forward(&batch).and_then(|l| l.flatten_all()?.to_vec1::<f32>());
        Ok(values.map_err(fail)?.as_chunks::<LOGITS>().0.to_vec())
    }
}
