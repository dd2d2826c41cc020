//! Text to tokens: a SentencePiece-like Unigram model by the `tokenizers` crate.
//!
//! May depend on nothing else in the crate. Special marks cannot be typed: a message that says
//! `</s>` is read as those four characters (see `model::vocabulary`).

use std::path::Path;

use tokenizers::Tokenizer;

/// Why a tokenizer cannot be used or did not work.
#[derive(Debug, thiserror::Error)]
pub enum TokeniseError {
    /// The file cannot be read as a tokenizer.
    #[error("{file} is no usable tokenizer: {reason}")]
    Load { file: String, reason: String },
    /// The library failed on a text.
    #[error("the tokenizer failed")]
    Encode,
}

/// What the model reads of one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tokens {
    /// Ids of `<s>`, the word pieces, `</s>`; at least two, at most the tokeniser's limit.
    pub ids: Vec<u32>,
    /// The text had more pieces than the limit lets through; its end is missing.
    pub truncated: bool,
}

impl Tokens {
    /// Cut to at most `limit` tokens (at least 3), the closing mark kept.
    pub fn cut(mut self, limit: usize) -> Self {
        let limit = limit.max(3);
        if let (true, Some(&end)) = (self.ids.len() > limit, self.ids.last()) {
            self.ids.truncate(limit - 1);
            self.ids.push(end);
            self.truncated = true;
        }
        self
    }
}

/// Turns text into [`Tokens`]. Shared between threads.
pub struct Tokeniser {
    inner: Tokenizer,
    limit: usize,
}

impl Tokeniser {
    /// Reads `tokenizer.json` from its bytes; no message will have more than `limit` tokens (at
    /// least 3).
    ///
    /// # Errors
    /// [`TokeniseError::Load`] naming `file` where it is no tokenizer.
    pub fn new(json: &[u8], file: &Path, limit: usize) -> Result<Self, TokeniseError> {
        let inner = Tokenizer::from_bytes(json).map_err(|error| TokeniseError::Load {
            file: file.display().to_string(),
            reason: error.to_string(),
        })?;
        Ok(Tokeniser { inner, limit })
    }

    /// Number of word pieces.
    pub fn vocabulary(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// Tokens of `text`, cut at the limit, the closing mark kept.
    ///
    /// # Errors
    /// [`TokeniseError::Encode`] where the library fails; it has no known reason to.
    pub fn encode(&self, text: &str) -> Result<Tokens, TokeniseError> {
        // The library's own message could quote the text, so it is not passed on.
        let encoding = self.inner.encode_fast(text, true).map_err(|_| TokeniseError::Encode)?;
        let ids = encoding.get_ids().to_vec();
        Ok(Tokens { ids, truncated: false }.cut(self.limit))
    }

    /// The word pieces of `text` as strings, with marks and uncut; to look at.
    ///
    /// # Errors
    /// As [`Tokeniser::encode`].
    pub fn pieces(&self, text: &str) -> Result<Vec<String>, TokeniseError> {
        let encoding = self.inner.encode(text, true).map_err(|_| TokeniseError::Encode)?;
        Ok(encoding.get_tokens().to_vec())
    }
}
