//! Weights at rest: read from and written to `safetensors`.
//!
//! Names are those of BERT in the `transformers` library, so other programs can read the files; the
//! heads are `classifier.*`. Word embeddings may be int8 with one scale a row, all else f16 or f32.
//! May depend on: `model::{base, labels}` for sizes, `safetensors`, `half`.

use std::collections::BTreeMap;

use half::f16;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use super::base::{Architecture, Base, BaseError};
use super::labels::LOGITS;

/// Name of the word embedding table, (V, C).
pub const WORDS: &str = "embeddings.word_embeddings.weight";
/// Scales of its rows, (V), where the table is int8.
const WORD_SCALES: &str = "embeddings.word_embeddings.scale";

/// Why weights cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// The file is not safetensors, or broken.
    #[error("no readable safetensors: {0}")]
    Format(String),
    /// A tensor that the network needs is absent.
    #[error("tensor {0} is missing")]
    Missing(String),
    /// A tensor belongs to no part of the network that the manifest describes.
    #[error("tensor {0} has no place in the network that the manifest describes")]
    Unexpected(String),
    /// A tensor has another shape than the manifest's sizes ask for.
    #[error("tensor {name} has shape {found:?}, the manifest asks for {expected:?}")]
    Shape { name: String, found: Vec<usize>, expected: Vec<usize> },
    /// A tensor is of a type that is not used here.
    #[error("tensor {name} is of type {dtype}, which is not read here")]
    Type { name: String, dtype: String },
    /// A tensor has a value that is not a number.
    #[error("tensor {0} has infinite or undefined values")]
    NotFinite(String),
}

/// The word embedding table, (V, C).
#[derive(Clone)]
pub enum Words {
    /// Row-major values.
    Full(Vec<f32>),
    /// `value[v][c] = scale[v] · data[v][c]`.
    Rows { data: Vec<i8>, scales: Vec<f32> },
}

impl Words {
    /// Writes row `id` to `row` (C).
    #[inline]
    pub fn copy_row(&self, id: usize, row: &mut [f32]) {
        let range = id * row.len()..(id + 1) * row.len();
        match self {
            Words::Full(values) => row.copy_from_slice(&values[range]),
            Words::Rows { data, scales } => {
                for (value, &weight) in row.iter_mut().zip(&data[range]) {
                    *value = f32::from(weight) * scales[id];
                }
            }
        }
    }

    /// All values, row-major.
    pub fn to_full(&self, width: usize) -> Vec<f32> {
        match self {
            Words::Full(values) => values.clone(),
            Words::Rows { data, .. } => {
                let mut values = vec![0f32; data.len()];
                for (id, row) in values.chunks_exact_mut(width).enumerate() {
                    self.copy_row(id, row);
                }
                values
            }
        }
    }

    /// Symmetric int8 by row: the largest magnitude of a row becomes 127.
    pub fn to_rows(&self, width: usize) -> Words {
        let Words::Full(values) = self else { return self.clone() };
        let (mut data, mut scales) = (Vec::with_capacity(values.len()), Vec::new());
        for row in values.chunks_exact(width) {
            let largest = row.iter().fold(0f32, |most, value| most.max(value.abs()));
            let scale = if largest > 0.0 { largest / 127.0 } else { 1.0 };
            data.extend(row.iter().map(|value| (value / scale).round() as i8));
            scales.push(scale);
        }
        Words::Rows { data, scales }
    }
}

/// A tensor's shape and row-major values.
pub type Values = (Vec<usize>, Vec<f32>);

/// All weights of a network.
#[derive(Clone)]
pub struct Weights {
    /// The word embedding table.
    pub words: Words,
    /// Every other tensor, by name.
    pub tensors: BTreeMap<String, Values>,
}

impl Weights {
    /// Takes the weights out of a base encoder's file, with only the rows `ids` of its vocabulary.
    ///
    /// # Errors
    /// [`BaseError`] where the file lacks a tensor or has one of another size.
    pub fn from_base(base: &Base, ids: &[usize]) -> Result<Self, BaseError> {
        let Architecture { hidden, ffn, vocabulary, positions, token_types, layers, .. } =
            base.architecture;
        let words = Words::Full(base.rows("emb.word", (vocabulary, hidden), ids)?);
        let mut tensors = BTreeMap::new();
        let mut take = |from: String, to: String, shape: &[usize]| {
            let values = base.tensor(&from, shape.iter().product())?;
            tensors.insert(to, (shape.to_vec(), values));
            Ok::<_, BaseError>(())
        };
        let name = |rest: &str| format!("embeddings.{rest}");
        take("emb.pos".into(), name("position_embeddings.weight"), &[positions, hidden])?;
        take("emb.type".into(), name("token_type_embeddings.weight"), &[token_types, hidden])?;
        take("emb.ln.w".into(), name("LayerNorm.weight"), &[hidden])?;
        take("emb.ln.b".into(), name("LayerNorm.bias"), &[hidden])?;
        for layer in 0..layers {
            for (from, to, outputs, inputs) in [
                ("q", "attention.self.query", hidden, hidden),
                ("k", "attention.self.key", hidden, hidden),
                ("v", "attention.self.value", hidden, hidden),
                ("ao", "attention.output.dense", hidden, hidden),
                ("aln", "attention.output.LayerNorm", hidden, 0),
                ("fi", "intermediate.dense", ffn, hidden),
                ("fo", "output.dense", hidden, ffn),
                ("oln", "output.LayerNorm", hidden, 0),
            ] {
                let to = format!("encoder.layer.{layer}.{to}");
                let shape = if inputs == 0 { vec![outputs] } else { vec![outputs, inputs] };
                take(format!("l{layer}.{from}.w"), format!("{to}.weight"), &shape)?;
                take(format!("l{layer}.{from}.b"), format!("{to}.bias"), &[outputs])?;
            }
        }
        Ok(Weights { words, tensors })
    }

    /// Reads a `safetensors` file from its bytes.
    ///
    /// # Errors
    /// [`WeightsError`] naming the tensor and what is wrong with it.
    pub fn read(bytes: &[u8], architecture: &Architecture) -> Result<Self, WeightsError> {
        let file =
            SafeTensors::deserialize(bytes).map_err(|e| WeightsError::Format(e.to_string()))?;
        let table = [architecture.vocabulary, architecture.hidden];
        let (mut words, mut scales, mut tensors) = (None, None, BTreeMap::new());
        for (name, view) in file.tensors() {
            match (name.as_str(), view.dtype()) {
                (WORDS, Dtype::I8) => {
                    expect_shape(&name, view.shape(), &table)?;
                    let data = view.data().iter().map(|&b| b.cast_signed()).collect();
                    words = Some(Words::Rows { data, scales: Vec::new() });
                }
                (WORDS, _) => {
                    expect_shape(&name, view.shape(), &table)?;
                    words = Some(Words::Full(floats(&name, &view)?));
                }
                (WORD_SCALES, _) => {
                    expect_shape(&name, view.shape(), &table[..1])?;
                    scales = Some(floats(&name, &view)?);
                }
                _ => {
                    let values = floats(&name, &view)?;
                    tensors.insert(name, (view.shape().to_vec(), values));
                }
            }
        }
        let words = match (words, scales) {
            (None, _) => return Err(WeightsError::Missing(WORDS.into())),
            (Some(Words::Rows { .. }), None) => {
                return Err(WeightsError::Missing(WORD_SCALES.into()));
            }
            (Some(Words::Rows { data, .. }), Some(scales)) => Words::Rows { data, scales },
            (Some(full), _) => full,
        };
        Ok(Weights { words, tensors })
    }

    /// The bytes of a `safetensors` file: f32 throughout, or compact (int8 words, the rest f16).
    ///
    /// # Errors
    /// [`WeightsError::Format`] where the library refuses.
    pub fn write(&self, width: usize, compact: bool) -> Result<Vec<u8>, WeightsError> {
        let mut parts: Vec<(String, Dtype, Vec<usize>, Vec<u8>)> = Vec::new();
        let words = match compact {
            true => self.words.to_rows(width),
            false => Words::Full(self.words.to_full(width)),
        };
        match &words {
            Words::Full(values) => {
                let shape = vec![values.len() / width, width];
                parts.push((WORDS.into(), Dtype::F32, shape, f32_bytes(values)));
            }
            Words::Rows { data, scales } => {
                let bytes = data.iter().map(|v| v.cast_unsigned()).collect();
                parts.push((WORDS.into(), Dtype::I8, vec![scales.len(), width], bytes));
                let bytes = f32_bytes(scales);
                parts.push((WORD_SCALES.into(), Dtype::F32, vec![scales.len()], bytes));
            }
        }
        for (name, (shape, values)) in &self.tensors {
            let (dtype, bytes) = match compact {
                true => {
                    let half = |v: &f32| f16::from_f32(*v).to_le_bytes();
                    (Dtype::F16, values.iter().flat_map(half).collect())
                }
                false => (Dtype::F32, f32_bytes(values)),
            };
            parts.push((name.clone(), dtype, shape.clone(), bytes));
        }
        let fail = |e: safetensors::SafeTensorError| WeightsError::Format(e.to_string());
        let views = parts
            .iter()
            .map(|(name, dtype, shape, bytes)| {
                Ok((name, TensorView::new(*dtype, shape.clone(), bytes).map_err(fail)?))
            })
            .collect::<Result<Vec<_>, WeightsError>>()?;
        safetensors::serialize(views, None).map_err(fail)
    }

    /// Puts small random heads on an encoder of this width, the same for the same seed.
    pub fn add_heads(&mut self, width: usize, seed: u64) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let bound = (3.0 / width as f32).sqrt() * 0.5;
        let values = (0..LOGITS * width).map(|_| rng.random_range(-bound..bound)).collect();
        self.tensors.insert("classifier.weight".into(), (vec![LOGITS, width], values));
        self.tensors.insert("classifier.bias".into(), (vec![LOGITS], vec![0.0; LOGITS]));
    }

    /// The tensor `name` of the given shape.
    ///
    /// # Errors
    /// [`WeightsError`] where it is missing or of another shape.
    pub fn get(&self, name: &str, shape: &[usize]) -> Result<&[f32], WeightsError> {
        let (found, values) =
            self.tensors.get(name).ok_or_else(|| WeightsError::Missing(name.into()))?;
        expect_shape(name, found, shape)?;
        Ok(values)
    }
}

fn expect_shape(name: &str, found: &[usize], expected: &[usize]) -> Result<(), WeightsError> {
    if found != expected {
        let (name, found, expected) = (name.into(), found.to_vec(), expected.to_vec());
        return Err(WeightsError::Shape { name, found, expected });
    }
    Ok(())
}

fn floats(name: &str, view: &TensorView) -> Result<Vec<f32>, WeightsError> {
    let values: Vec<f32> = match view.dtype() {
        Dtype::F32 => view.data().as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
        Dtype::F16 => {
            view.data().as_chunks().0.iter().map(|b| f16::from_le_bytes(*b).to_f32()).collect()
        }
        other => {
            return Err(WeightsError::Type { name: name.into(), dtype: format!("{other:?}") });
        }
    };
    match values.iter().all(|v| v.is_finite()) {
        true => Ok(values),
        false => Err(WeightsError::NotFinite(name.into())),
    }
}

fn f32_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small() -> (Weights, Architecture) {
        let architecture = Architecture {
            hidden: 4,
            layers: 0,
            heads: 1,
            ffn: 4,
            vocabulary: 3,
            positions: 2,
            token_types: 1,
            epsilon: 1e-12,
        };
        let words = Words::Full((0..12).map(|v| v as f32 - 6.0).collect());
        let tensors = BTreeMap::from([("a".to_owned(), (vec![2], vec![0.1, -3.0]))]);
        (Weights { words, tensors }, architecture)
    }

    #[test]
    fn f32_round_trips_exactly_and_compact_within_its_precision() {
        let (weights, architecture) = small();
        let exact = Weights::read(&weights.write(4, false).unwrap(), &architecture).unwrap();
        assert_eq!(exact.tensors, weights.tensors);
        assert_eq!(exact.words.to_full(4), weights.words.to_full(4));
        let compact = Weights::read(&weights.write(4, true).unwrap(), &architecture).unwrap();
        assert!((compact.get("a", &[2]).unwrap()[0] - 0.1).abs() < 1e-4);
        for (a, b) in compact.words.to_full(4).iter().zip(weights.words.to_full(4)) {
            assert!((a - b).abs() <= 6.0 / 254.0 + 1e-6, "{a} {b}");
        }
    }

    #[test]
    fn wrong_files_say_what_is_wrong() {
        let (weights, mut architecture) = small();
        let bytes = weights.write(4, true).unwrap();
        let read = |bytes: &[u8], a: &Architecture| match Weights::read(bytes, a) {
            Ok(_) => String::new(),
            Err(error) => error.to_string(),
        };
        assert!(read(&bytes[..40], &architecture).contains("no readable safetensors"));
        let missing = weights.get("b", &[1]).unwrap_err();
        assert_eq!(missing.to_string(), "tensor b is missing");
        architecture.vocabulary = 5;
        assert!(read(&bytes, &architecture).contains("the manifest asks for [5"));
    }
}
