//! The messages of a batch end to end, as the network in `net` reads them.
//!
//! May depend on: `model::ops`, `tokenise`.

use std::ops::Range;

use super::ops::Segments;
use crate::tokenise::Tokens;

/// The tokens of some messages, end to end.
pub struct Joined {
    pub(super) ids: Vec<u32>,
    pub(super) positions: Vec<u32>,
    /// 0 for a message's own tokens, 1 for those of its context.
    pub(super) types: Vec<u32>,
    pub(super) segments: Segments,
    /// Where each message's own tokens lie.
    pub(super) own: Vec<Range<usize>>,
}

impl Joined {
    /// From the tokens of each message; none may be empty.
    pub fn new<'a>(messages: impl IntoIterator<Item = &'a Tokens>) -> Self {
        let (mut ids, mut positions, mut types) = (Vec::new(), Vec::new(), Vec::new());
        let (mut lengths, mut own) = (Vec::new(), Vec::new());
        for message in messages {
            own.push(ids.len()..ids.len() + message.own);
            ids.extend_from_slice(&message.ids);
            positions.extend(0..message.ids.len() as u32);
            types.extend((0..message.ids.len()).map(|at| u32::from(at >= message.own)));
            lengths.push(message.ids.len());
        }
        Joined { ids, positions, types, segments: Segments::new(lengths), own }
    }
}
