//! Weights at rest: read from and written to `safetensors`.
//!
//! Names are those of BERT in the `transformers` library, so other programs can read the files; the
//! heads are `classifier.*`. Word embeddings and the weights of linear layers may be int8 with one
//! scale a row (`….weight` and `….scale`), all else is f16 or f32.
//! May depend on: `model::{base, labels}` for sizes, `model::quantise`, `safetensors`, `half`.

use std::borrow::Cow;
use std::collections::BTreeMap;

use half::f16;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use super::base::{Architecture, Base, BaseError};
use super::labels::LOGITS;
use super::quantise::Int8Weight;
pub use super::words::Words;

/// Name of the word embedding table, (V, C).
pub const WORDS: &str = "embeddings.word_embeddings.weight";

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

/// A tensor's shape and row-major values.
pub type Values = (Vec<usize>, Vec<f32>);

/// All weights of a network.
#[derive(Clone)]
pub struct Weights {
    /// The word embedding table.
    pub words: Words,
    /// Weights of linear layers in int8, by name.
    pub ints: BTreeMap<String, Int8Weight>,
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
        Ok(Weights { words, ints: BTreeMap::new(), tensors })
    }

    /// Reads a `safetensors` file from its bytes.
    ///
    /// # Errors
    /// [`WeightsError`] naming the tensor and what is wrong with it.
    pub fn read(bytes: &[u8], architecture: &Architecture) -> Result<Self, WeightsError> {
        let file =
            SafeTensors::deserialize(bytes).map_err(|e| WeightsError::Format(e.to_string()))?;
        let (mut tensors, mut bytes) = (BTreeMap::new(), BTreeMap::new());
        for (name, view) in file.tensors() {
            if view.dtype() == Dtype::I8 {
                let data = view.data().iter().map(|&b| b.cast_signed()).collect::<Vec<_>>();
                bytes.insert(name, (view.shape().to_vec(), data));
            } else {
                let values = floats(&name, &view)?;
                tensors.insert(name, (view.shape().to_vec(), values));
            }
        }
        // Each int8 tensor has its scales beside it.
        let mut ints = BTreeMap::new();
        for (name, (shape, values)) in bytes {
            let [rows, _] = shape[..] else {
                let expected = vec![0, 0];
                return Err(WeightsError::Shape { name, found: shape, expected });
            };
            let scale = scale_name(&name);
            let Some((found, scales)) = tensors.remove(&scale) else {
                return Err(WeightsError::Missing(scale));
            };
            expect_shape(&scale, &found, &[rows])?;
            ints.insert(name, Int8Weight { values, scales });
        }
        let table = [architecture.vocabulary, architecture.hidden];
        let words = match (ints.remove(WORDS), tensors.remove(WORDS)) {
            (Some(Int8Weight { values: data, scales }), _) => {
                let found = [scales.len(), data.len() / scales.len().max(1)];
                expect_shape(WORDS, &found, &table)?;
                Words::Rows { data, scales }
            }
            (None, Some((found, values))) => {
                expect_shape(WORDS, &found, &table)?;
                Words::Full(values)
            }
            (None, None) => return Err(WeightsError::Missing(WORDS.into())),
        };
        Ok(Weights { words, ints, tensors })
    }

    /// The bytes of a `safetensors` file. What is int8 stays so; all else is written in f32, or
    /// compact (words int8, the rest f16).
    ///
    /// # Errors
    /// [`WeightsError::Format`] where the library refuses.
    pub fn write(&self, width: usize, compact: bool) -> Result<Vec<u8>, WeightsError> {
        let mut parts: Vec<(String, Dtype, Vec<usize>, Vec<u8>)> = Vec::new();
        let words = if compact { self.words.to_rows(width) } else { self.words.clone() };
        let mut int8 = |name: &str, values: &[i8], scales: &[f32]| {
            let shape = vec![scales.len(), values.len() / scales.len().max(1)];
            let bytes = values.iter().map(|v| v.cast_unsigned()).collect();
            parts.push((name.to_owned(), Dtype::I8, shape, bytes));
            let name = scale_name(name);
            parts.push((name, Dtype::F32, vec![scales.len()], f32_bytes(scales)));
        };
        for (name, weight) in &self.ints {
            int8(name, &weight.values, &weight.scales);
        }
        match &words {
            Words::Rows { data, scales } => int8(WORDS, data, scales),
            Words::Full(values) => {
                let shape = vec![values.len() / width, width];
                parts.push((WORDS.into(), Dtype::F32, shape, f32_bytes(values)));
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

    /// The weight `name` of a linear layer, (O, I), in int8: as it is, or quantised plainly.
    ///
    /// # Errors
    /// [`WeightsError`] where it is missing or of another shape.
    pub fn int8(
        &self,
        name: &str,
        (outputs, inputs): (usize, usize),
    ) -> Result<Cow<'_, Int8Weight>, WeightsError> {
        let Some(weight) = self.ints.get(name) else {
            let values = self.get(name, &[outputs, inputs])?;
            return Ok(Cow::Owned(Int8Weight::quantise(values, inputs)));
        };
        let rows = weight.scales.len();
        expect_shape(name, &[rows, weight.values.len() / rows.max(1)], &[outputs, inputs])?;
        Ok(Cow::Borrowed(weight))
    }

    /// What the inputs (I) of the linear layer `layer` are multiplied by before they are quantised.
    ///
    /// # Errors
    /// [`WeightsError`] where it is of another shape.
    pub fn smooth(&self, layer: &str, inputs: usize) -> Result<Option<&[f32]>, WeightsError> {
        let name = smooth_name(layer);
        match self.tensors.contains_key(&name) {
            true => self.get(&name, &[inputs]).map(Some),
            false => Ok(None),
        }
    }

    /// The same with every value in f32, as the network that can be trained needs it.
    pub fn to_full(&self) -> Cow<'_, Weights> {
        if self.ints.is_empty() {
            return Cow::Borrowed(self);
        }
        let mut full = self.clone();
        for (name, weight) in std::mem::take(&mut full.ints) {
            let layer = name.strip_suffix(".weight").unwrap_or(&name);
            let smooth = full.tensors.remove(&smooth_name(layer));
            let rows = weight.scales.len();
            let inputs = weight.values.len() / rows.max(1);
            let mut values = weight.to_full();
            if let Some((_, smooth)) = smooth {
                for row in values.chunks_exact_mut(inputs.max(1)) {
                    row.iter_mut().zip(&smooth).for_each(|(w, s)| *w *= s);
                }
            }
            full.tensors.insert(name, (vec![rows, inputs], values));
        }
        Cow::Owned(full)
    }
}

/// Name of what the inputs, (I), of the linear layer `layer` are multiplied by before they are
/// quantised; its int8 weight is made for inputs so multiplied.
pub fn smooth_name(layer: &str) -> String {
    format!("{layer}.smooth")
}

/// Name of the scales, (O), of the int8 tensor `name` (O, I).
fn scale_name(name: &str) -> String {
    format!("{}.scale", name.strip_suffix(".weight").unwrap_or(name))
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
        (Weights { words, ints: BTreeMap::new(), tensors }, architecture)
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
