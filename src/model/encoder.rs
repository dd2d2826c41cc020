//! The engine that serves: the same network in int8, without padding.
//!
//! Weights are quantised per output channel and laid out once for the kernel of this CPU;
//! activations are quantised per token, so a message's numbers never depend on its neighbours, and
//! integer sums do not depend on their order. Residuals, norms, attention and the heads stay f32.
//! Each caller's thread does a whole batch by itself: cores share nothing but the weights, so
//! nothing is ever waited for in between. The network in `net` is its oracle.
//!
//! May depend on: `machine`, `model::{attend, base, engine, kernel, labels, rows, scratch, weights}`.

use std::cell::RefCell;

use super::attend::Attend;
use super::base::Architecture;
use super::engine::{Engine, EngineError};
use super::kernel::{Kernel, Product, ROWS};
use super::labels::{LOGITS, Logits};
use super::quantise::Int8Weight;
use super::rows::{Affine, AffineAddNorm, AffineGelu, Columns, Embed, Norm, Pool, Quantise, Sums};
use super::scratch::{Buffer, Scratch, sized};
use super::weights::{Weights, WeightsError, Words};
use crate::machine::Lines;
use crate::tokenise::Tokens;

/// Tokens that go through a layer's products together: what they leave behind for the next product
/// stays in the core's own cache. A multiple of [`ROWS`].
const CHUNK: usize = 64;

/// Tokens that go through all layers before the next do: what a layer leaves for the next stays in the
/// cache that cores share, however large a batch is. A longer message goes alone.
const TOGETHER: usize = 512;

thread_local! {
    /// Buffers of this thread, kept from batch to batch.
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Why an encoder cannot be made of weights.
#[derive(Debug, thiserror::Error)]
pub enum EncoderError {
    /// A tensor is missing or of another shape.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// A tensor cannot be laid out for the kernel.
    #[error(transparent)]
    Kernel(#[from] EngineError),
}

/// A linear layer: a product and what its sums mean.
struct Linear {
    product: Product,
    /// (O).
    bias: Vec<f32>,
    /// What its inputs are multiplied by before they are quantised, (I).
    smooth: Vec<f32>,
}

struct Layer {
    qkv: Linear,
    attention_out: Linear,
    attention_norm: Norm,
    ffn_in: Linear,
    ffn_out: Linear,
    ffn_norm: Norm,
}

/// The network in int8.
pub struct Encoder {
    architecture: Architecture,
    kernel: Kernel,
    words: Words,
    /// Positions with the first token type added, (P, C).
    places: Vec<f32>,
    /// What the token type of a context has beyond the first, (C).
    context: Vec<f32>,
    norm: Norm,
    layers: Vec<Layer>,
    /// (LOGITS, C) and (LOGITS).
    head: (Vec<f32>, Vec<f32>),
}

impl Linear {
    fn new(
        kernel: Kernel,
        weights: &Weights,
        names: &[String],
        (outputs, inputs): (usize, usize),
    ) -> Result<Self, EncoderError> {
        let mut all = Int8Weight { values: Vec::new(), scales: Vec::new() };
        let mut bias = Vec::new();
        for name in names {
            let weight = weights.int8(&format!("{name}.weight"), (outputs, inputs))?;
            all.values.extend_from_slice(&weight.values);
            all.scales.extend_from_slice(&weight.scales);
            bias.extend_from_slice(weights.get(&format!("{name}.bias"), &[outputs])?);
        }
        let product = Product::new(kernel, &all, inputs)?;
        // Layers with one input have it multiplied alike.
        let smooth = names.first().map(|name| weights.smooth(name, inputs)).transpose()?.flatten();
        let smooth = smooth.map_or_else(|| vec![1.0; inputs], <[f32]>::to_vec);
        Ok(Linear { product, bias, smooth })
    }

    /// The sums of rows `start..start + rows` of `from`.
    fn sums<'a>(
        &'a self,
        from: &'a Buffer,
        (start, rows): (usize, usize),
        sums: &'a mut Lines<i32>,
    ) -> Result<Sums<'a>, EngineError> {
        let whole = rows.next_multiple_of(ROWS);
        let x = &from.values.get((start + whole) * from.width)[start * from.width..];
        let sums = sums.sized(whole * self.product.outputs());
        self.product.run(x, rows, sums)?;
        let sums = &sums[..rows * self.product.outputs()];
        let (scales, totals) = (&self.product.scales, &self.product.totals);
        let columns = Columns { scales, totals, bias: &self.bias };
        Ok(Sums { sums, from: &from.scales[start..start + rows], columns })
    }
}

impl Encoder {
    /// Lays out `weights`, which must have heads, for the fastest kernel of this CPU.
    ///
    /// # Errors
    /// [`EncoderError`] naming the tensor that is missing or of another shape.
    pub fn new(architecture: Architecture, weights: &Weights) -> Result<Self, EncoderError> {
        Self::with_kernel(architecture, weights, Kernel::best())
    }

    /// As [`Encoder::new`], for a kernel of choice; see [`Kernel::available`].
    ///
    /// # Errors
    /// As [`Encoder::new`].
    pub fn with_kernel(
        architecture: Architecture,
        weights: &Weights,
        kernel: Kernel,
    ) -> Result<Self, EncoderError> {
        let Architecture { hidden, ffn, positions, token_types, epsilon, layers, .. } =
            architecture;
        let own = |name: &&String| match name.strip_prefix("encoder.layer.") {
            Some(rest) => (0..layers).any(|n| rest.starts_with(&format!("{n}."))),
            None => name.starts_with("embeddings.") || name.starts_with("classifier."),
        };
        let mut names = weights.ints.keys().chain(weights.tensors.keys());
        if let Some(name) = names.find(|name| !own(name)) {
            return Err(WeightsError::Unexpected(name.clone()).into());
        }
        let table = |name: &str| format!("embeddings.{name}_embeddings.weight");
        let mut places = weights.get(&table("position"), &[positions, hidden])?.to_vec();
        let types = weights.get(&table("token_type"), &[token_types, hidden])?;
        for row in places.chunks_exact_mut(hidden) {
            row.iter_mut().zip(types).for_each(|(place, kind)| *place += kind);
        }
        // A model with one token type has no other for a context.
        let second = types.chunks_exact(hidden).nth(1).unwrap_or(&types[..hidden]);
        let context = second.iter().zip(types).map(|(second, first)| second - first).collect();
        let norm = |name: String| -> Result<Norm, WeightsError> {
            let part = |kind: &str| weights.get(&format!("{name}.{kind}"), &[hidden]);
            Ok(Norm { scale: part("weight")?.to_vec(), shift: part("bias")?.to_vec(), epsilon })
        };
        let mut built = Vec::with_capacity(layers);
        for layer in 0..layers {
            let name = |rest: &str| format!("encoder.layer.{layer}.{rest}");
            let qkv = ["query", "key", "value"].map(|n| name(&format!("attention.self.{n}")));
            let linear = |rest: &str, size| Linear::new(kernel, weights, &[name(rest)], size);
            built.push(Layer {
                qkv: Linear::new(kernel, weights, &qkv, (hidden, hidden))?,
                attention_out: linear("attention.output.dense", (hidden, hidden))?,
                attention_norm: norm(name("attention.output.LayerNorm"))?,
                ffn_in: linear("intermediate.dense", (ffn, hidden))?,
                ffn_out: linear("output.dense", (hidden, ffn))?,
                ffn_norm: norm(name("output.LayerNorm"))?,
            });
        }
        let head = weights.get("classifier.weight", &[LOGITS, hidden])?.to_vec();
        let head = (head, weights.get("classifier.bias", &[LOGITS])?.to_vec());
        let norm = norm("embeddings.LayerNorm".into())?;
        let words = weights.words.to_rows(hidden);
        Ok(Encoder { architecture, kernel, words, places, context, norm, layers: built, head })
    }

    /// The kernel that it runs on.
    pub fn kernel(&self) -> Kernel {
        self.kernel
    }

    /// Appends the logits of each message, in order, to `logits`. Allocates nothing once this thread
    /// has read as much before and `logits` has room.
    ///
    /// # Errors
    /// [`EngineError`] where a token is out of range.
    pub fn logits_into(
        &self,
        batch: &[&Tokens],
        logits: &mut Vec<Logits>,
    ) -> Result<(), EngineError> {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut rest = batch;
            while let Some(first) = rest.first() {
                let mut tokens = first.ids.len();
                let mut fits = |next: &&&Tokens| {
                    tokens += next.ids.len();
                    tokens <= TOGETHER
                };
                let count = 1 + rest[1..].iter().take_while(&mut fits).count();
                let (group, others) = rest.split_at(count);
                self.run(group, scratch, logits)?;
                rest = others;
            }
            Ok(())
        })
    }

    /// Hidden states after the embeddings and after each layer, (T, C) each, T the tokens of all
    /// messages end to end: to compare, layer by layer, with the oracle's.
    ///
    /// # Errors
    /// As [`Encoder::logits_into`].
    pub fn hidden_states(&self, batch: &[&Tokens]) -> Result<Vec<Vec<f32>>, EngineError> {
        let mut scratch = Scratch::default();
        self.embed(batch, &mut scratch)?;
        let mut states = vec![scratch.x.clone()];
        for index in 0..self.layers.len() {
            self.layer(index, batch, &mut scratch)?;
            states.push(scratch.x.clone());
        }
        Ok(states)
    }

    fn run(
        &self,
        batch: &[&Tokens],
        s: &mut Scratch,
        logits: &mut Vec<Logits>,
    ) -> Result<(), EngineError> {
        let hidden = self.architecture.hidden;
        self.embed(batch, s)?;
        for index in 0..self.layers.len() {
            self.layer(index, batch, s)?;
        }
        let mut rest = &s.x[..];
        for tokens in batch {
            let (x, others) = rest.split_at(tokens.ids.len() * hidden);
            rest = others;
            let (x, work) = (&x[..tokens.own * hidden], sized(&mut s.row, 2 * hidden));
            logits.push(self.kernel.run(Pool { x, head: &self.head, work }));
        }
        Ok(())
    }

    /// Word, position and type embeddings, normalised: `x` and `hidden`.
    fn embed(&self, batch: &[&Tokens], s: &mut Scratch) -> Result<(), EngineError> {
        let Architecture { hidden, vocabulary, positions, .. } = self.architecture;
        let tokens = batch.iter().map(|t| t.ids.len()).sum();
        s.x.resize(tokens * hidden, 0.0);
        s.hidden.reset(tokens, hidden);
        let mut start = 0;
        for tokens in batch {
            let (ids, own) = (tokens.ids.as_slice(), tokens.own);
            if own == 0 || own > ids.len() || ids.len() > positions {
                let count = ids.len();
                return Err(EngineError(format!(
                    "a message has {own} of {count} tokens, not 1 to {positions}"
                )));
            }
            if ids.iter().any(|&id| id as usize >= vocabulary) {
                let wrong = format!("a token id is beyond the vocabulary of {vocabulary}");
                return Err(EngineError(wrong));
            }
            let x = &mut s.x[start * hidden..(start + ids.len()) * hidden];
            let to = s.hidden.rows_mut((start, ids.len()), &self.layers[0].qkv.smooth);
            let (words, places, norm) = (&self.words, &self.places[..], &self.norm);
            let context = &self.context[..];
            let work = sized(&mut s.row, hidden);
            self.kernel.run(Embed { ids, own, words, places, context, norm, x, to, work });
            start += ids.len();
        }
        Ok(())
    }

    /// One layer: from `hidden` and `x` to `hidden` and `x`.
    fn layer(&self, index: usize, batch: &[&Tokens], s: &mut Scratch) -> Result<(), EngineError> {
        let layer = &self.layers[index];
        let Architecture { hidden, heads, ffn, .. } = self.architecture;
        let tokens = s.hidden.scales.len();
        let chunks = || (0..tokens).step_by(CHUNK).map(|start| (start, CHUNK.min(tokens - start)));
        let qkv = sized(&mut s.qkv, tokens * 3 * hidden);
        for (start, rows) in chunks() {
            let sums = layer.qkv.sums(&s.hidden, (start, rows), &mut s.sums)?;
            let out = &mut qkv[start * 3 * hidden..(start + rows) * 3 * hidden];
            self.kernel.run(Affine { sums, out });
        }

        let mixed = sized(&mut s.mixed, tokens * hidden);
        let mut start = 0;
        for length in batch.iter().map(|tokens| tokens.ids.len()) {
            let qkv = &qkv[start * 3 * hidden..(start + length) * 3 * hidden];
            let mixed = &mut mixed[start * hidden..(start + length) * hidden];
            self.kernel.run(Attend { qkv, mixed, hidden, heads, work: &mut s.attend });
            start += length;
        }

        s.middle.reset(CHUNK.min(tokens), hidden);
        s.wide.reset(CHUNK.min(tokens), ffn);
        for (start, rows) in chunks() {
            let x = &mut s.x[start * hidden..(start + rows) * hidden];
            let mixed = &mixed[start * hidden..(start + rows) * hidden];
            let to = s.hidden.rows_mut((start, rows), &layer.attention_out.smooth);
            self.kernel.run(Quantise { rows: mixed, to, work: sized(&mut s.row, hidden) });

            let sums = layer.attention_out.sums(&s.hidden, (start, rows), &mut s.sums)?;
            let (norm, to) =
                (&layer.attention_norm, s.middle.rows_mut((0, rows), &layer.ffn_in.smooth));
            let work = sized(&mut s.row, hidden);
            self.kernel.run(AffineAddNorm { sums, norm, x: &mut *x, to, work });

            let sums = layer.ffn_in.sums(&s.middle, (0, rows), &mut s.sums)?;
            let (to, work) =
                (s.wide.rows_mut((0, rows), &layer.ffn_out.smooth), sized(&mut s.row, 2 * ffn));
            self.kernel.run(AffineGelu { sums, to, work });

            let sums = layer.ffn_out.sums(&s.wide, (0, rows), &mut s.sums)?;
            // After the last layer nothing follows; its own is as good as any.
            let next = &self.layers.get(index + 1).unwrap_or(layer).qkv;
            let (norm, to) = (&layer.ffn_norm, s.hidden.rows_mut((start, rows), &next.smooth));
            let work = sized(&mut s.row, hidden);
            self.kernel.run(AffineAddNorm { sums, norm, x, to, work });
        }
        Ok(())
    }
}

impl Engine for Encoder {
    /// One a core that this process may use (its CPU quota counts, not the host's cores).
    fn callers(&self) -> usize {
        std::thread::available_parallelism().map_or(1, usize::from)
    }

    fn logits(&self, batch: &[&Tokens]) -> Result<Vec<Logits>, EngineError> {
        let mut logits = Vec::with_capacity(batch.len());
        self.logits_into(batch, &mut logits)?;
        Ok(logits)
    }
}
