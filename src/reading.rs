//! What the model reads of a message: its own text, whole or in windows, and its sentences.
//!
//! The model learnt from messages of a few dozen tokens. A text up to [`WINDOW`] tokens is read in one
//! piece. A longer one is read in overlapping windows on the borders of sentences: close to what the
//! model knows, at a cost that grows with the text and not with its square, and with no end that is cut
//! off. Pure; may depend on: `document`, `language`, `message`, `tokenise`, `model::labels`.

use std::ops::Range;

use crate::document::{LeaveOut, Parts, trimmed};
use crate::language;
use crate::message::Message;
use crate::model::labels::Reach;
use crate::tokenise::{TokeniseError, Tokeniser, Tokens};

/// Most tokens of a window, marks included: several times the messages that the model learnt from, and
/// far enough to hold a paragraph together. A text of so many is read whole.
const WINDOW: usize = 192;
/// Most sentences of a window that the next one repeats, so that "That is wrong." has its cause.
const OVERLAP: usize = 2;
/// Most windows of one text. 32 KiB of prose is some 60, and a token for every byte fits in these. What
/// goes beyond is made to (single characters that stand for many), and must not cost the others more.
const MOST_WINDOWS: usize = 256;
/// Most sentences of a text that are read by themselves to trace a verdict.
const MOST_SENTENCES: usize = 64;

/// One piece to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// What the model reads.
    pub tokens: Tokens,
    /// Word pieces in it that the one before does not have.
    pub fresh: usize,
}

/// A sentence to read by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sentence {
    /// Where it stands in the text, white space around it excluded.
    pub range: Range<usize>,
    /// What the model reads.
    pub tokens: Tokens,
}

/// All that is to be read of one message.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// Windows in order, or the one piece; at least one.
    pub pieces: Vec<Piece>,
    /// What the verdict will say of the reading.
    pub reach: Reach,
    /// What is left out of the text.
    pub quoted: Vec<Range<usize>>,
    /// The sentences, in order, where asked for and where there are more than one; the longest ones
    /// if there are many.
    pub sentences: Vec<Sentence>,
}

impl Reading {
    /// Of `message`, with its context where the model `reads_context`, and with its sentences where
    /// the verdict is to be explained.
    ///
    /// # Errors
    /// [`TokeniseError`] where the tokeniser fails.
    pub fn of(
        message: &Message,
        tokeniser: &Tokeniser,
        reads_context: bool,
        trace: bool,
    ) -> Result<Self, TokeniseError> {
        let text = message.text();
        let room = WINDOW.min(tokeniser.limit());
        let context = message.context().filter(|_| reads_context);
        let context = context.map(|context| tokeniser.encode(context)).transpose()?;
        let in_context = |tokens: Tokens| match &context {
            Some(context) => tokens.with_context(context, tokeniser.limit()),
            None => tokens,
        };

        let mut parts = Parts::of(text, LeaveOut::Quotations);
        let mut own = parts.own_text(text);
        let mut whole = tokeniser.encode_uncut(&own)?;
        // Short messages are read with their greeting, as those that the model learnt from.
        if whole.own > room {
            let shorter = Parts::of(text, LeaveOut::Signatures);
            if shorter != parts {
                parts = shorter;
                own = parts.own_text(text);
                whole = tokeniser.encode_uncut(&own)?;
            }
        }
        let language = language::detect(&own, message.language_hint());
        let in_one = whole.own <= room;
        let ranges = if in_one && !trace { Vec::new() } else { parts.sentences(text) };
        let mut encoded = Vec::with_capacity(ranges.len());
        for range in ranges {
            let range = trimmed(text, range);
            if !range.is_empty() {
                let tokens = tokeniser.encode_uncut(&text[range.clone()])?;
                encoded.push(Sentence { range, tokens });
            }
        }
        let (pieces, tokens_read, truncated) = if in_one {
            let (own, fresh) = (whole.own, whole.own.saturating_sub(2));
            (vec![Piece { tokens: in_context(whole), fresh }], own, false)
        } else {
            let inner: Vec<&[u32]> = encoded.iter().map(|s| word_pieces(&s.tokens)).collect();
            let marks = (whole.ids[0], whole.ids[whole.own - 1]);
            let (windows, truncated) = windows(&inner, marks, room);
            let read = 2 + windows.iter().map(|piece| piece.fresh).sum::<usize>();
            let windows = windows
                .into_iter()
                .map(|piece| Piece { tokens: in_context(piece.tokens), ..piece })
                .collect();
            (windows, read, truncated)
        };
        let context_read = pieces.iter().any(|piece: &Piece| piece.tokens.has_context());
        let tokens_read = u32::try_from(tokens_read).unwrap_or(u32::MAX);
        let reach = Reach { tokens_read, truncated, context_read, language, foreign: false };
        let sentences = if trace { worth_reading(encoded, room) } else { Vec::new() };
        Ok(Reading { pieces, reach, quoted: parts.left_out, sentences })
    }
}

fn word_pieces(tokens: &Tokens) -> &[u32] {
    tokens.ids.get(1..tokens.own.saturating_sub(1)).unwrap_or_default()
}

/// The longest of the sentences, in order; none where there is but one, which is the text.
fn worth_reading(mut sentences: Vec<Sentence>, room: usize) -> Vec<Sentence> {
    if sentences.len() < 2 {
        return Vec::new();
    }
    // Stable, so that of equals the first are read.
    sentences.sort_by_key(|sentence| std::cmp::Reverse(sentence.tokens.own));
    sentences.truncate(MOST_SENTENCES);
    sentences.sort_by_key(|sentence| sentence.range.start);
    sentences
        .into_iter()
        .map(|sentence| Sentence { tokens: sentence.tokens.cut(room), ..sentence })
        .collect()
}

/// Windows of at most `room` tokens over `sentences`, between the `marks`; and whether the end did not
/// fit in as many as there may be.
///
/// A window repeats the last sentences of the one before, [`OVERLAP`] at most and a quarter of the
/// room. A sentence that is longer than a window is cut in equal parts.
fn windows(sentences: &[&[u32]], marks: (u32, u32), room: usize) -> (Vec<Piece>, bool) {
    let room = room.saturating_sub(2).max(1);
    let units: Vec<&[u32]> = sentences
        .iter()
        .filter(|sentence| !sentence.is_empty())
        .flat_map(|sentence| {
            let parts = sentence.len().div_ceil(room);
            sentence.chunks(sentence.len().div_ceil(parts))
        })
        .collect();
    let mut pieces = Vec::new();
    let (mut start, mut done) = (0, 0);
    while done < units.len() && pieces.len() < MOST_WINDOWS {
        let mut length: usize = units[start..done].iter().map(|unit| unit.len()).sum();
        let (overlap, mut end) = (length, done);
        while let Some(unit) = units.get(end).filter(|unit| length + unit.len() <= room) {
            length += unit.len();
            end += 1;
        }
        let mut ids = Vec::with_capacity(length + 2);
        ids.push(marks.0);
        units[start..end].iter().for_each(|unit| ids.extend_from_slice(unit));
        ids.push(marks.1);
        pieces.push(Piece { tokens: Tokens::new(ids), fresh: length - overlap });
        let Some(next) = units.get(end) else { return (pieces, false) };
        // As much as leaves the next sentence its place.
        let most = (room / 4).min(room - next.len());
        (start, done) = (end, end);
        let mut repeated = 0;
        while start > 0 && end - start < OVERLAP && repeated + units[start - 1].len() <= most {
            start -= 1;
            repeated += units[start].len();
        }
    }
    (pieces, done < units.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn windows_hold_every_token_in_order_and_fit(
            lengths in prop::collection::vec(0usize..60, 0..80), long in 0usize..500,
            at in 0usize..80, room in 3usize..100,
        ) {
            let mut lengths = lengths;
            lengths.insert(at.min(lengths.len()), long);
            let mut next = 10..;
            let sentences: Vec<Vec<u32>> =
                lengths.iter().map(|n| next.by_ref().take(*n).collect()).collect();
            let all: Vec<u32> = sentences.concat();
            let borrowed: Vec<&[u32]> = sentences.iter().map(Vec::as_slice).collect();
            let (pieces, cut) = windows(&borrowed, (0, 2), room);
            let mut read = Vec::new();
            for piece in &pieces {
                let inner = word_pieces(&piece.tokens);
                prop_assert!(piece.tokens.own <= room && !piece.tokens.truncated);
                prop_assert!(piece.fresh > 0 && inner.len() - piece.fresh <= room / 4);
                let fresh = &inner[inner.len() - piece.fresh..];
                prop_assert!(read.ends_with(&inner[..inner.len() - piece.fresh]));
                read.extend_from_slice(fresh);
            }
            prop_assert_eq!(cut, pieces.len() == MOST_WINDOWS && read.len() < all.len());
            prop_assert!(cut || read == all);
        }
    }

    #[test]
    fn too_many_windows_are_cut_and_say_so() {
        let sentence = vec![7; 8];
        let sentences = vec![sentence.as_slice(); MOST_WINDOWS + 1];
        let (pieces, cut) = windows(&sentences, (0, 2), 12);
        assert!(pieces.len() == MOST_WINDOWS && cut);
    }
}
