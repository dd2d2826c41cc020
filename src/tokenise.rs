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

/// Most tokens of a context that are read. What a reply refers to stands in the first sentences; more
/// would cost every reply the time of a long message.
const CONTEXT: usize = 128;
/// Fewest tokens of a context that are worth reading, its closing mark among them.
const LEAST_CONTEXT: usize = 3;

/// What the model reads of one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tokens {
    /// Ids of `<s>`, the word pieces, `</s>`; at least two, at most the tokeniser's limit. Behind them, as
    /// far as there is room, the pieces of the context and another `</s>`.
    pub ids: Vec<u32>,
    /// How many of the ids are the message's own; the others are its context.
    pub own: usize,
    /// The text had more pieces than the limit lets through; its end is missing.
    pub truncated: bool,
}

impl Tokens {
    /// Of a message without context.
    pub fn new(ids: Vec<u32>) -> Self {
        Tokens { own: ids.len(), ids, truncated: false }
    }

    /// With a context's tokens, marks included, as a second segment that leaves the message as it is.
    pub fn with_context(mut self, context: &Tokens, limit: usize) -> Self {
        // The mark that opens the context is the one that closes the message.
        let pieces = context.ids.get(1..context.own).unwrap_or_default();
        let room = limit.saturating_sub(self.own).min(CONTEXT);
        self.ids.truncate(self.own);
        if let (Some(&end), true) = (pieces.last(), room >= LEAST_CONTEXT) {
            let read = pieces.len().min(room) - 1;
            self.ids.extend_from_slice(&pieces[..read]);
            self.ids.push(end);
        }
        self
    }

    /// Whether a context is among the tokens.
    pub fn has_context(&self) -> bool {
        self.ids.len() > self.own
    }

    /// Cut to at most `limit` tokens (at least 3), the closing mark kept; the context goes first.
    pub fn cut(mut self, limit: usize) -> Self {
        let limit = limit.max(3);
        let Some(&end) = self.ids.last() else { return self };
        if self.own > limit {
            self.ids.truncate(limit - 1);
            self.ids.push(end);
            (self.own, self.truncated) = (limit, true);
        } else if self.ids.len() > limit {
            self.ids.truncate(limit.max(self.own));
            if limit - self.own >= LEAST_CONTEXT {
                self.ids[limit - 1] = end;
            } else {
                self.ids.truncate(self.own);
            }
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
        Ok(self.encode_uncut(text)?.cut(self.limit))
    }

    /// As [`Tokeniser::encode`], however many there are.
    ///
    /// # Errors
    /// As [`Tokeniser::encode`].
    pub fn encode_uncut(&self, text: &str) -> Result<Tokens, TokeniseError> {
        // The library's own message could quote the text, so it is not passed on.
        let encoding = self.inner.encode_fast(text, true).map_err(|_| TokeniseError::Encode)?;
        Ok(Tokens::new(encoding.get_ids().to_vec()))
    }

    /// The most tokens of a message that are read at once.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// As [`Tokeniser::encode`], with the post that `text` replies to behind it as a second segment.
    ///
    /// # Errors
    /// As [`Tokeniser::encode`].
    pub fn encode_reply(&self, text: &str, context: &str) -> Result<Tokens, TokeniseError> {
        let (own, context) = (self.encode(text)?, self.encode(context)?);
        Ok(own.with_context(&context, self.limit))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn of(count: u32) -> Tokens {
        Tokens::new([0].into_iter().chain(10..8 + count).chain([2]).collect())
    }

    #[test]
    fn a_context_follows_the_message_and_gives_way_to_it() {
        let reply = of(5).with_context(&of(6), 512);
        assert_eq!(reply.ids, [0, 10, 11, 12, 2, 10, 11, 12, 13, 2]);
        assert!(reply.own == 5 && reply.has_context() && !reply.truncated);
        let cut = reply.clone().cut(8);
        assert_eq!(
            (cut.ids, cut.own, cut.truncated),
            (vec![0, 10, 11, 12, 2, 10, 11, 2], 5, false)
        );
        // Too little room for a context is none.
        assert_eq!(reply.clone().cut(7), of(5));
        assert_eq!(of(5).with_context(&of(6), 7), of(5));
        let cut = reply.cut(4);
        assert_eq!((cut.ids, cut.own, cut.truncated), (vec![0, 10, 11, 2], 4, true));
        assert_eq!(of(5).with_context(&of(400), 512).ids.len(), 5 + CONTEXT);
        assert_eq!(of(500).with_context(&of(400), 512).ids.len(), 512);
    }
}
