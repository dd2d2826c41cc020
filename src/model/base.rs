//! Reader of the base encoder's file: multilingual-e5-small in 4-bit blocks (`E5S1`).
//!
//! The layout is described in `models/README.md`. Everything read is bounds-checked and every error
//! says what was wrong and at which byte. May depend on: `half`, `serde_json`. Knows nothing of candle.

use std::collections::{BTreeMap, HashMap};

use half::f16;

use super::cursor::Cursor;

/// Weights per 4-bit block.
const BLOCK: usize = 32;
/// Bytes per 4-bit block: an f16 scale, then two weights a byte.
const BLOCK_BYTES: usize = 2 + BLOCK / 2;

/// Why a base encoder file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum BaseError {
    /// It does not begin as such a file does.
    #[error("not an E5S1 file: it begins with {found:02x?}, not with \"E5S1\"")]
    Magic { found: Vec<u8> },
    /// It is a later or broken version.
    #[error("E5S1 version {0} is not known; this program reads version 1")]
    Version(u32),
    /// It ends too early.
    #[error("file is cut short: {what} needs bytes {from}..{to}, the file has {length}")]
    Truncated { what: String, from: usize, to: usize, length: usize },
    /// A number or a name in it cannot be right.
    #[error("{what} at byte {at}: {reason}")]
    Corrupt { what: String, at: usize, reason: String },
    /// A list of kept ids does not fit the file.
    #[error("kept ids: {0}")]
    Keep(String),
}

/// Sizes of a BERT encoder.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Architecture {
    /// Width of a token's vector, C.
    pub hidden: usize,
    /// Transformer layers.
    pub layers: usize,
    /// Attention heads a layer; each is `hidden / heads` wide.
    pub heads: usize,
    /// Width of the feed-forward layer.
    pub ffn: usize,
    /// Number of word pieces.
    pub vocabulary: usize,
    /// Most tokens of one sequence.
    pub positions: usize,
    /// Rows of the token type table.
    pub token_types: usize,
    /// Added to the variance in layer norms.
    pub epsilon: f32,
}

impl Architecture {
    /// Whether the sizes fit each other and no size is absurd.
    pub fn is_sound(&self) -> bool {
        let Architecture { hidden, layers, heads, ffn, .. } = *self;
        let Architecture { vocabulary, positions, token_types, epsilon, .. } = *self;
        let within = |size: usize, least: usize, most: usize| (least..=most).contains(&size);
        within(hidden, 1, 1 << 14)
            && within(layers, 1, 1 << 10)
            && within(heads, 1, hidden)
            && hidden.is_multiple_of(heads)
            && within(ffn, 1, 1 << 16)
            && within(vocabulary, MARKS, 1 << 24)
            && within(positions, 3, 1 << 16)
            && within(token_types, 1, 1 << 8)
            && epsilon.is_finite()
            && epsilon >= 0.0
    }
}

/// The Unigram vocabulary and its normalisation.
pub struct Vocabulary {
    /// Piece and log probability, by id. White space is `▁` (U+2581).
    pub pieces: Vec<(String, f32)>,
    /// Replacement by code point: a character-wise NFKC, plus control and space characters.
    pub normalisation: BTreeMap<char, String>,
}

/// A tensor as stored: f32 values row-major, or 4-bit blocks.
struct Entry {
    quantised: bool,
    elements: usize,
    offset: usize,
    bytes: usize,
}

/// An opened base encoder file.
pub struct Base<'a> {
    data: &'a [u8],
    /// Sizes, with the vocabulary's number of embedding rows.
    pub architecture: Architecture,
    /// Pieces and normalisation.
    pub vocabulary: Vocabulary,
    tensors: BTreeMap<String, Entry>,
    /// Where their list begins.
    directory: usize,
}

/// Ids of the four marks that every vocabulary starts with: `<s> <pad> </s> <unk>`.
pub const MARKS: usize = 4;

impl<'a> Base<'a> {
    /// Reads everything but the tensors' values.
    ///
    /// # Errors
    /// [`BaseError`] where the file is foreign, cut short or inconsistent.
    pub fn open(data: &'a [u8]) -> Result<Self, BaseError> {
        let mut cursor = Cursor { data, at: 0 };
        let magic = cursor.take(4, "magic").unwrap_or(&data[..data.len().min(4)]);
        if magic != b"E5S1" {
            return Err(BaseError::Magic { found: magic.to_vec() });
        }
        let version = cursor.u32("version")?;
        if version != 1 {
            return Err(BaseError::Version(version));
        }
        let mut size = |what: &str, most: usize| cursor.size(what, 1, most);
        let mut architecture = Architecture {
            hidden: size("hidden size", 1 << 14)?,
            layers: size("number of layers", 1 << 10)?,
            heads: size("number of heads", 1 << 10)?,
            ffn: size("feed-forward size", 1 << 16)?,
            vocabulary: size("vocabulary size", 1 << 24)?,
            positions: size("number of positions", 1 << 16)?,
            token_types: size("number of token types", 1 << 8)?,
            epsilon: 0.0,
        };
        architecture.epsilon = cursor.f32("layer norm epsilon")?;
        cursor.size("block size", BLOCK, BLOCK)?;
        let Architecture { hidden, heads, ffn, .. } = architecture;
        if !hidden.is_multiple_of(heads)
            || !hidden.is_multiple_of(BLOCK)
            || !ffn.is_multiple_of(BLOCK)
        {
            let reason =
                format!("hidden {hidden}, heads {heads}, feed-forward {ffn} do not divide");
            return Err(corrupt("sizes", 8, reason));
        }
        let vocabulary = read_vocabulary(&mut cursor, architecture.vocabulary)?;
        let directory = cursor.at;
        let tensors = read_directory(&mut cursor)?;
        Ok(Base { data, architecture, vocabulary, tensors, directory })
    }

    /// The values of tensor `name`, row-major.
    ///
    /// # Errors
    /// [`BaseError::Corrupt`] where it is absent or does not have `elements` elements.
    pub fn tensor(&self, name: &str, elements: usize) -> Result<Vec<f32>, BaseError> {
        let entry = self.entry(name, elements)?;
        let bytes = &self.data[entry.offset..entry.offset + entry.bytes];
        let values = if entry.quantised { dequantise(bytes) } else { floats(bytes) };
        finite(name, entry, values)
    }

    /// The given rows of tensor `name`, which has `rows` rows of `width`.
    ///
    /// # Errors
    /// As [`Base::tensor`]; `ids` must be below `rows`.
    pub fn rows(
        &self,
        name: &str,
        (rows, width): (usize, usize),
        ids: &[usize],
    ) -> Result<Vec<f32>, BaseError> {
        let entry = self.entry(name, rows * width)?;
        let bytes = &self.data[entry.offset..entry.offset + entry.bytes];
        let row_bytes = entry.bytes / rows;
        let mut out = Vec::with_capacity(ids.len() * width);
        for &id in ids {
            let row = &bytes[id * row_bytes..(id + 1) * row_bytes];
            out.extend(if entry.quantised { dequantise(row) } else { floats(row) });
        }
        finite(name, entry, out)
    }

    fn entry(&self, name: &str, elements: usize) -> Result<&Entry, BaseError> {
        let Some(entry) = self.tensors.get(name) else {
            let at = self.directory;
            return Err(corrupt("tensor directory", at, format!("has no tensor {name}")));
        };
        if entry.elements != elements {
            let reason = format!("has {} elements, the sizes ask for {elements}", entry.elements);
            return Err(corrupt(&format!("tensor {name}"), entry.offset, reason));
        }
        Ok(entry)
    }

    /// The ids of the pieces in a `tokenizer.json`, in its order; its first four are the marks.
    fn ids_of_pieces(&self, json: &str) -> Result<Vec<usize>, BaseError> {
        let fail = |why: String| BaseError::Keep(why);
        let json: serde_json::Value =
            serde_json::from_str(json).map_err(|e| fail(e.to_string()))?;
        let pieces = json["model"]["vocab"].as_array();
        let pieces = pieces.ok_or_else(|| fail("the tokenizer has no Unigram pieces".into()))?;
        let known: HashMap<&str, usize> = self
            .vocabulary
            .pieces
            .iter()
            .enumerate()
            .map(|(id, (p, _))| (p.as_str(), id))
            .collect();
        let mut ids: Vec<usize> = (0..MARKS).collect();
        for piece in pieces.iter().skip(MARKS) {
            let piece = piece[0].as_str().unwrap_or_default();
            let id = known.get(piece).filter(|&&id| id >= MARKS);
            ids.push(*id.ok_or_else(|| fail(format!("{piece:?} is not a piece of this file")))?);
        }
        Ok(ids)
    }

    /// Reads a list of ids to keep, one a line (or a `tokenizer.json` whose pieces to keep), and adds the four marks in front.
    ///
    /// # Errors
    /// [`BaseError::Keep`] where a line is no id of this vocabulary or stands twice.
    pub fn kept_ids(&self, list: &str) -> Result<Vec<usize>, BaseError> {
        if list.trim_start().starts_with('{') {
            return self.ids_of_pieces(list);
        }
        let mut ids: Vec<usize> = (0..MARKS).collect();
        let mut seen = vec![false; self.vocabulary.pieces.len()];
        for (number, line) in list.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() {
                continue;
            }
            let fail = |why: &str| BaseError::Keep(format!("line {}: {why}", number + 1));
            let id: usize = line.parse().map_err(|_| fail("is not a number"))?;
            let seen = seen.get_mut(id).ok_or_else(|| fail("is beyond the vocabulary"))?;
            if std::mem::replace(seen, true) {
                return Err(fail("stands there twice"));
            }
            if id >= MARKS {
                ids.push(id);
            }
        }
        if ids.len() == MARKS {
            return Err(BaseError::Keep("the list is empty".into()));
        }
        Ok(ids)
    }
}

fn finite(name: &str, entry: &Entry, values: Vec<f32>) -> Result<Vec<f32>, BaseError> {
    if values.iter().all(|value| value.is_finite()) {
        return Ok(values);
    }
    let reason = "has infinite or undefined values".into();
    Err(corrupt(&format!("tensor {name}"), entry.offset, reason))
}

fn read_vocabulary(cursor: &mut Cursor, rows: usize) -> Result<Vocabulary, BaseError> {
    let n = cursor.size("number of pieces", MARKS, rows)?;
    for (what, id) in [("<s>", 0), ("</s>", 2), ("<pad>", 1), ("<unk>", 3)] {
        cursor.size(&format!("id of {what}"), id, id)?;
    }
    let at = cursor.at;
    let length = cursor.u64("length of the pieces")?;
    let length = usize::try_from(length)
        .map_err(|_| corrupt("length of the pieces", at, format!("{length} is too large")))?;
    let offsets_at = cursor.at;
    let offsets = numbers(cursor.take((n + 1) * 4, "piece offsets")?);
    let scores_at = cursor.at;
    let scores = floats(cursor.take(n * 4, "piece scores")?);
    let blob_at = cursor.at;
    let blob = cursor.take(length, "pieces")?;
    let mut pieces = Vec::with_capacity(n);
    for (id, score) in scores.into_iter().enumerate() {
        let (from, to) = (offsets[id] as usize, offsets[id + 1] as usize);
        let bytes = blob.get(from..to).filter(|b| !b.is_empty()).ok_or_else(|| {
            let reason = format!("piece {id} lies at {from}..{to} of {length} bytes");
            corrupt("piece offsets", offsets_at + id * 4, reason)
        })?;
        let piece = std::str::from_utf8(bytes)
            .map_err(|e| corrupt(&format!("piece {id}"), blob_at + from, e.to_string()))?;
        if !score.is_finite() {
            let at = scores_at + 4 * id;
            return Err(corrupt(&format!("score of piece {id}"), at, score.to_string()));
        }
        pieces.push((piece.to_owned(), score));
    }
    let entries = cursor.size("number of normalisation entries", 0, 1 << 20)?;
    cursor.u32("length of the normalisation entries")?;
    let mut normalisation = BTreeMap::new();
    for _ in 0..entries {
        let from = cursor.character()?;
        let count = cursor.take(1, "normalisation entry")?[0];
        let to = (0..count).map(|_| cursor.character()).collect::<Result<String, _>>()?;
        normalisation.insert(from, to);
    }
    Ok(Vocabulary { pieces, normalisation })
}

fn read_directory(cursor: &mut Cursor) -> Result<BTreeMap<String, Entry>, BaseError> {
    let count = cursor.size("number of tensors", 1, 1 << 16)?;
    let mut tensors = BTreeMap::new();
    for index in 0..count {
        let at = cursor.at;
        let length = u16::from_le_bytes(cursor.array("tensor name")?);
        let name = String::from_utf8_lossy(cursor.take(length.into(), "tensor name")?).into_owned();
        let dtype = cursor.take(1, "tensor type")?[0];
        let elements = cursor.u32("tensor size")? as usize;
        let (offset, bytes) = (cursor.u64("tensor offset")?, cursor.u64("tensor length")?);
        let expected = match dtype {
            0 => elements * 4,
            1 if elements.is_multiple_of(BLOCK) => elements / BLOCK * BLOCK_BYTES,
            _ => {
                let reason = format!("type {dtype} with {elements} elements is not known");
                return Err(corrupt(&format!("tensor {index} ({name})"), at, reason));
            }
        };
        if bytes != expected as u64 {
            let reason = format!("takes {bytes} bytes, {elements} elements need {expected}");
            return Err(corrupt(&format!("tensor {index} ({name})"), at, reason));
        }
        let end = offset.saturating_add(bytes);
        if end > cursor.data.len() as u64 {
            return Err(BaseError::Truncated {
                what: format!("tensor {name}"),
                from: offset as usize,
                to: end as usize,
                length: cursor.data.len(),
            });
        }
        let entry =
            Entry { quantised: dtype == 1, elements, offset: offset as usize, bytes: expected };
        tensors.insert(name, entry);
    }
    Ok(tensors)
}

pub(super) fn corrupt(what: &str, at: usize, reason: String) -> BaseError {
    BaseError::Corrupt { what: what.to_owned(), at, reason }
}

fn numbers(bytes: &[u8]) -> Vec<u32> {
    bytes.as_chunks().0.iter().map(|b| u32::from_le_bytes(*b)).collect()
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

/// Q4_0: weight j of a block in the low nibble of byte j, weight j + 16 in the high one.
fn dequantise(bytes: &[u8]) -> Vec<f32> {
    let mut out = Vec::with_capacity(bytes.len() / BLOCK_BYTES * BLOCK);
    for block in bytes.chunks_exact(BLOCK_BYTES) {
        let scale = f16::from_le_bytes([block[0], block[1]]).to_f32();
        let value = |nibble: u8| (f32::from(nibble) - 8.0) * scale;
        out.extend(block[2..].iter().map(|b| value(b & 15)));
        out.extend(block[2..].iter().map(|b| value(b >> 4)));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_of_four_bits_unpack_in_the_order_of_the_format() {
        let mut block = f16::from_f32(0.5).to_le_bytes().to_vec();
        block.extend((0..16).map(|j| j | (15 - j) << 4));
        let values = dequantise(&block);
        assert_eq!(values[0], -4.0);
        assert_eq!(values[15], 3.5);
        assert_eq!(values[16], 3.5);
        assert_eq!(values[31], -4.0);
    }
}
