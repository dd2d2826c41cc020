//! The engine that serves: the same network in int8, without padding.
//!
//! Products are u8 × i8 → i32 by `rten-gemm`, with weights quantised per output channel and packed
//! once; activations are quantised per token, so a message's numbers never depend on its
//! neighbours, and integer sums do not depend on their order. Residuals, norms, attention and the
//! heads stay f32. Each caller's thread does a whole batch by itself: cores share nothing but the
//! weights, so nothing is ever waited for in between. The network in `net` is its oracle.
//!
//! May depend on: `model::{base, engine, labels, ops, quantise, rows, weights}`, the rten crates.

use std::cell::RefCell;

use rten_gemm::{GemmExecutor, GemmInputA, GemmInputB, GemmOptions, PackedBMatrix};
use rten_simd::SimdOp;
use rten_tensor::NdTensorView;
use rten_vecmath::Softmax;

use super::base::Architecture;
use super::engine::{Engine, EngineError};
use super::labels::{LOGITS, Logits};
use super::ops::{lane_sum, vectorised};
use super::quantise::{FULL_RANGE, SAFE_RANGE, quantise};
use super::rows::{self, Columns, RowScale};
use super::weights::{Weights, WeightsError, Words};
use crate::tokenise::Tokens;

type Int8Gemm = GemmExecutor<u8, i8, i32>;

thread_local! {
    /// Kernels for this CPU, chosen at run time; they cannot be shared between threads.
    static KERNELS: (Int8Gemm, GemmExecutor<f32>) = (Int8Gemm::new(), GemmExecutor::new());
    /// Buffers of this thread, kept from batch to batch.
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

struct Affine {
    packed: PackedBMatrix<i8>,
    columns: Columns,
}

struct Layer {
    qkv: Affine,
    attention_out: Affine,
    attention_norm: Vec<f32>,
    ffn_in: Affine,
    ffn_out: Affine,
    ffn_norm: Vec<f32>,
}

/// The network in int8.
pub struct Encoder {
    architecture: Architecture,
    words: Words,
    /// Positions with the first token type added, (P, C).
    places: Vec<f32>,
    norm: Vec<f32>,
    layers: Vec<Layer>,
    /// (LOGITS, C) and (LOGITS).
    head: (Vec<f32>, Vec<f32>),
}

/// Activations quantised row by row.
#[derive(Default)]
struct Quantised {
    values: Vec<u8>,
    rows: Vec<RowScale>,
}

impl Quantised {
    fn clear(&mut self) {
        self.values.clear();
        self.rows.clear();
    }

    fn push(&mut self, row: &[f32]) {
        self.rows.push(rows::quantise(row, &mut self.values));
    }
}

#[derive(Default)]
struct Scratch {
    /// Hidden states, (T, C).
    x: Vec<f32>,
    quantised: Quantised,
    wide: Quantised,
    sums: Vec<i32>,
    qkv: Vec<f32>,
    mixed: Vec<f32>,
    weights: Vec<f32>,
    head: Vec<f32>,
    row: Vec<f32>,
}

/// A buffer of exactly `size`, its contents unspecified.
fn sized<T: Copy + Default>(buffer: &mut Vec<T>, size: usize) -> &mut [T] {
    if buffer.len() < size {
        buffer.resize(size, T::default());
    }
    &mut buffer[..size]
}

impl Affine {
    fn new(
        weights: &Weights,
        names: &[String],
        (outputs, inputs): (usize, usize),
    ) -> Result<Self, WeightsError> {
        let (mut values, mut scales, mut bias) = (Vec::new(), Vec::new(), Vec::new());
        let saturates = KERNELS.with(|(int8, _)| int8.may_saturate());
        let range = if saturates { SAFE_RANGE } else { FULL_RANGE };
        for name in names {
            let weight = weights.get(&format!("{name}.weight"), &[outputs, inputs])?;
            let quantised = quantise(weight, inputs, range);
            values.extend(quantised.values);
            scales.extend(quantised.scales);
            bias.extend_from_slice(weights.get(&format!("{name}.bias"), &[outputs])?);
        }
        let all = names.len() * outputs;
        let view = NdTensorView::from_data_with_strides([inputs, all], &values[..], [1, inputs]);
        let view = view.map_err(|e| WeightsError::Format(e.to_string()))?;
        let packed = KERNELS.with(|(int8, _)| int8.prepack_b(view));
        let total = |row: &[i8]| row.iter().map(|&w| i32::from(w)).sum();
        let sums = values.chunks_exact(inputs).map(total).collect();
        Ok(Affine { packed, columns: Columns { scales, sums, bias } })
    }

    /// `x` (T, I) -> accumulators (T, O).
    fn product<'a>(&self, x: &Quantised, sums: &'a mut Vec<i32>) -> Result<&'a [i32], EngineError> {
        let (tokens, outputs) = (x.rows.len(), self.columns.bias.len());
        let view = NdTensorView::from_data([tokens, x.values.len() / tokens], &x.values[..]);
        let sums = sized(sums, tokens * outputs);
        // Zeros are taken out afterwards: rten-gemm 0.27 packs those of its first panel of rows for
        // every later one too.
        let options = GemmOptions::default();
        let (a, b) = (GemmInputA::Unpacked(view), GemmInputB::Packed(&self.packed));
        KERNELS.with(|(int8, _)| int8.gemm(sums, a, b, options)).map_err(failed)?;
        Ok(sums)
    }
}

fn failed(error: impl std::fmt::Display) -> EngineError {
    EngineError(error.to_string())
}

impl Encoder {
    /// Quantises `weights`, which must have heads.
    ///
    /// # Errors
    /// [`WeightsError`] naming the tensor that is missing or of another shape.
    pub fn new(architecture: Architecture, weights: &Weights) -> Result<Self, WeightsError> {
        let Architecture { hidden, ffn, positions, token_types, .. } = architecture;
        let table = |name: &str| format!("embeddings.{name}_embeddings.weight");
        let mut places = weights.get(&table("position"), &[positions, hidden])?.to_vec();
        let types = weights.get(&table("token_type"), &[token_types, hidden])?;
        for row in places.chunks_exact_mut(hidden) {
            row.iter_mut().zip(types).for_each(|(place, kind)| *place += kind);
        }
        let norm = |name: String| -> Result<Vec<f32>, WeightsError> {
            let part = |kind: &str| weights.get(&format!("{name}.{kind}"), &[hidden]);
            Ok([part("weight")?, part("bias")?].concat())
        };
        let mut layers = Vec::with_capacity(architecture.layers);
        for layer in 0..architecture.layers {
            let name = |rest: &str| format!("encoder.layer.{layer}.{rest}");
            let qkv = ["query", "key", "value"].map(|n| name(&format!("attention.self.{n}")));
            let affine = |rest: &str, size| Affine::new(weights, &[name(rest)], size);
            layers.push(Layer {
                qkv: Affine::new(weights, &qkv, (hidden, hidden))?,
                attention_out: affine("attention.output.dense", (hidden, hidden))?,
                attention_norm: norm(name("attention.output.LayerNorm"))?,
                ffn_in: affine("intermediate.dense", (ffn, hidden))?,
                ffn_out: affine("output.dense", (hidden, ffn))?,
                ffn_norm: norm(name("output.LayerNorm"))?,
            });
        }
        let head = weights.get("classifier.weight", &[LOGITS, hidden])?.to_vec();
        let head = (head, weights.get("classifier.bias", &[LOGITS])?.to_vec());
        let norm = norm("embeddings.LayerNorm".into())?;
        let words = weights.words.to_rows(hidden);
        Ok(Encoder { architecture, words, places, norm, layers, head })
    }

    /// The kernels that it runs on: int8, then f32.
    pub fn kernels(&self) -> (String, String) {
        KERNELS.with(|(int8, f32)| (int8.kernel_name().into(), f32.kernel_name().into()))
    }

    fn run(&self, batch: &[&Tokens], s: &mut Scratch) -> Result<Vec<Logits>, EngineError> {
        let Architecture { hidden, epsilon, .. } = self.architecture;
        self.embed(batch, s)?;
        for layer in &self.layers {
            self.attend(layer, batch, s)?;
            let Scratch { x, quantised, wide, sums, row, .. } = s;
            // Attention's result is in `quantised`; out of it come new hidden states.
            let project = &layer.attention_out;
            fold(project, quantised, sums, &layer.attention_norm, epsilon, x, hidden)?;

            let acc = layer.ffn_in.product(quantised, sums)?;
            let columns = &layer.ffn_in.columns;
            let inner = sized(row, columns.bias.len());
            wide.clear();
            for (acc, row) in acc.chunks_exact(inner.len()).zip(&quantised.rows) {
                rows::affine_gelu(acc, *row, columns, inner);
                wide.push(inner);
            }
            let acc = layer.ffn_out.product(wide, sums)?;
            let columns = &layer.ffn_out.columns;
            quantised.clear();
            let rows_in = acc.chunks_exact(hidden).zip(&wide.rows);
            for ((acc, row), x) in rows_in.zip(x.chunks_exact_mut(hidden)) {
                rows::affine_add_norm(acc, *row, columns, &layer.ffn_norm, epsilon, x);
                quantised.push(x);
            }
        }
        Ok(self.logits_of(batch, &s.x))
    }

    /// Word, position and type embeddings, normalised: `x` and `quantised`.
    fn embed(&self, batch: &[&Tokens], s: &mut Scratch) -> Result<(), EngineError> {
        let Architecture { hidden, vocabulary, positions, epsilon, .. } = self.architecture;
        let tokens = batch.iter().map(|t| t.ids.len()).sum::<usize>();
        let ids = batch.iter().flat_map(|t| t.ids.iter().enumerate());
        s.x.resize(tokens * hidden, 0.0);
        s.quantised.clear();
        for (row, (place, &id)) in s.x.chunks_exact_mut(hidden).zip(ids) {
            let id = id as usize;
            if id >= vocabulary || place >= positions {
                return Err(EngineError(format!("token {id} at {place} is out of range")));
            }
            self.words.copy_row(id, row);
            let place = &self.places[place * hidden..(place + 1) * hidden];
            rows::add_norm(row, place, &self.norm, epsilon);
            s.quantised.push(row);
        }
        Ok(())
    }

    /// Attention of each message by itself: from `quantised` hidden states to `quantised` mixes.
    fn attend(&self, layer: &Layer, batch: &[&Tokens], s: &mut Scratch) -> Result<(), EngineError> {
        let Architecture { hidden, heads, .. } = self.architecture;
        let Scratch { quantised, sums, qkv, mixed, weights, head, .. } = s;
        let tokens = quantised.rows.len();
        let acc = layer.qkv.product(quantised, sums)?;
        let qkv = sized(qkv, tokens * 3 * hidden);
        let rows_in = acc.chunks_exact(3 * hidden).zip(&quantised.rows);
        for (out, (acc, row)) in qkv.chunks_exact_mut(3 * hidden).zip(rows_in) {
            rows::affine(acc, *row, &layer.qkv.columns, out);
        }
        let mixed = sized(mixed, tokens * hidden);
        let width = hidden / heads;
        let mut start = 0;
        for length in batch.iter().map(|t| t.ids.len()) {
            let qkv = &qkv[start * 3 * hidden..(start + length) * 3 * hidden];
            let mixed = &mut mixed[start * hidden..(start + length) * hidden];
            for index in 0..heads {
                let output = sized(head, length * width);
                attend_head(qkv, hidden, width, index, sized(weights, length * length), output)?;
                let columns = index * width..(index + 1) * width;
                for (row, output) in mixed.chunks_exact_mut(hidden).zip(output.chunks_exact(width))
                {
                    row[columns.clone()].copy_from_slice(output);
                }
            }
            start += length;
        }
        quantised.clear();
        mixed.chunks_exact(hidden).for_each(|row| quantised.push(row));
        Ok(())
    }

    /// Mean over each message's tokens, then the head.
    fn logits_of(&self, batch: &[&Tokens], x: &[f32]) -> Vec<Logits> {
        let hidden = self.architecture.hidden;
        let mut rest = x;
        let mut logits = Vec::with_capacity(batch.len());
        for tokens in batch {
            let (own, others) = rest.split_at(tokens.ids.len() * hidden);
            rest = others;
            let mut mean = vec![0f32; hidden];
            let share = 1.0 / tokens.ids.len() as f32;
            logits.push(vectorised(|| {
                for row in own.chunks_exact(hidden) {
                    mean.iter_mut().zip(row).for_each(|(mean, value)| *mean += value * share);
                }
                let (weight, bias) = &self.head;
                std::array::from_fn(|o| {
                    let weight = &weight[o * hidden..(o + 1) * hidden];
                    lane_sum(hidden, |i| weight[i] * mean[i]) + bias[o]
                })
            }));
        }
        logits
    }
}

/// The attention output projection: product, residual, norm, and quantised again in place.
fn fold(
    affine: &Affine,
    quantised: &mut Quantised,
    sums: &mut Vec<i32>,
    norm: &[f32],
    epsilon: f32,
    x: &mut [f32],
    hidden: usize,
) -> Result<(), EngineError> {
    let acc = affine.product(quantised, sums)?;
    let scales = std::mem::take(&mut quantised.rows);
    quantised.clear();
    let rows_in = acc.chunks_exact(hidden).zip(&scales);
    for ((acc, row), x) in rows_in.zip(x.chunks_exact_mut(hidden)) {
        rows::affine_add_norm(acc, *row, &affine.columns, norm, epsilon, x);
        quantised.push(x);
    }
    Ok(())
}

/// One head of one message: `softmax(q kᵀ / √width) v` into `output` (L, width).
fn attend_head(
    qkv: &[f32],
    hidden: usize,
    width: usize,
    index: usize,
    weights: &mut [f32],
    output: &mut [f32],
) -> Result<(), EngineError> {
    let length = output.len() / width;
    let stride = 3 * hidden;
    let part = |part: usize, shape: [usize; 2], strides: [usize; 2]| {
        let data = &qkv[part * hidden + index * width..];
        NdTensorView::from_data_with_strides(shape, data, strides).map_err(failed)
    };
    let q = part(0, [length, width], [stride, 1])?;
    let k = part(1, [width, length], [1, stride])?;
    let v = part(2, [length, width], [stride, 1])?;
    KERNELS.with(|(_, f32)| {
        let alpha = (width as f32).sqrt().recip();
        let options = GemmOptions { alpha, ..GemmOptions::default() };
        let (a, b) = (GemmInputA::Unpacked(q), GemmInputB::Unpacked(k));
        f32.gemm(weights, a, b, options).map_err(failed)?;
        for row in weights.chunks_exact_mut(length) {
            Softmax::new_mut(row).dispatch();
        }
        let weights = NdTensorView::from_data([length, length], &weights[..]);
        let (a, b) = (GemmInputA::Unpacked(weights), GemmInputB::Unpacked(v));
        f32.gemm(output, a, b, GemmOptions::default()).map_err(failed)
    })
}

impl Engine for Encoder {
    /// One a core that this process may use (its CPU quota counts, not the host's cores).
    fn callers(&self) -> usize {
        std::thread::available_parallelism().map_or(1, usize::from)
    }

    fn logits(&self, batch: &[&Tokens]) -> Result<Vec<Logits>, EngineError> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        SCRATCH.with_borrow_mut(|scratch| self.run(batch, scratch))
    }
}

#[cfg(test)]
mod tests;
