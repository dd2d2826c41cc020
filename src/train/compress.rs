//! Trained weights to int8, so that the network's answers change as little as may be.
//!
//! Layer by layer, on the activations of some messages: inputs with a few large channels are evened
//! out (as SmoothQuant does, Xiao et al. 2023, <https://arxiv.org/abs/2211.10438>), then each weight is
//! rounded so that it makes up for what the rounding of those before it did to the output (GPTQ,
//! Frantar et al. 2023, <https://arxiv.org/abs/2210.17323>). What follows sees the network as it has
//! become, so that it makes up for that too. May depend on: `model`, candle, rayon.

use candle_core::{Device, Result as TensorResult, Tensor};
use rayon::prelude::*;

use super::triangle::inverse_factor;
use crate::model::base::Architecture;
use crate::model::ops::{self, Node, Segments, Tape};
use crate::model::quantise::Int8Weight;
use crate::model::weights::{Weights, WeightsError, smooth_name};
use crate::tokenise::Tokens;

/// Most tokens that decide how far large channels are evened out.
const SAMPLE: usize = 4000;
/// What is left of the cost of rounding weights where later ones make up for earlier ones, as measured.
const MADE_UP_FOR: f64 = 0.45;
/// What is added to the diagonal, as a share of its mean, so that rare channels do not decide.
const DAMPING: f64 = 0.01;

/// Why weights cannot be made int8.
#[derive(Debug, thiserror::Error)]
pub enum CompressError {
    /// There is nothing to take activations from.
    #[error("no messages to choose roundings by")]
    NoMessages,
    /// A tensor is missing or of another shape.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// A linear layer's inputs are not numbers.
    #[error("{0}: its inputs on these messages are not finite")]
    NotFinite(String),
    /// The tensor library failed.
    #[error("the tensor library failed: {0}")]
    Tensor(#[from] candle_core::Error),
}

/// The network that is being made int8, and the activations that it has so far.
struct Press<'a> {
    weights: &'a Weights,
    pressed: Weights,
    tape: Tape,
    architecture: Architecture,
}

/// Quantises the linear layers of `weights` by what they do on `messages`, and the words by row.
///
/// # Errors
/// [`CompressError`] naming the tensor that is missing, of another shape or not finite.
pub fn compress(
    architecture: Architecture,
    weights: &Weights,
    messages: &[&Tokens],
) -> Result<Weights, CompressError> {
    if messages.is_empty() {
        return Err(CompressError::NoMessages);
    }
    let Architecture { hidden, ffn, positions, token_types, heads, .. } = architecture;
    let mut pressed = weights.clone();
    pressed.words = weights.words.to_rows(hidden);
    let mut press = Press { weights, pressed, tape: Tape::forgetting(), architecture };
    let segments = Segments::new(messages.iter().map(|tokens| tokens.ids.len()));

    let table = |name: &str| format!("embeddings.{name}_embeddings.weight");
    let places = weights.get(&table("position"), &[positions, hidden])?;
    let kind = &weights.get(&table("token_type"), &[token_types, hidden])?[..hidden];
    let (mut words, mut added) = (Vec::new(), Vec::new());
    let mut row = vec![0f32; hidden];
    for (id, place) in messages.iter().flat_map(|m| m.ids.iter().zip(places.chunks_exact(hidden))) {
        press.pressed.words.copy_row(*id as usize, &mut row);
        words.extend_from_slice(&row);
        added.extend(place.iter().zip(kind).map(|(place, kind)| place + kind));
    }
    let leaf = |values: Vec<f32>| -> TensorResult<Node> {
        let tokens = values.len() / hidden;
        Ok(press.tape.leaf(&Tensor::from_vec(values, (tokens, hidden), &Device::Cpu)?))
    };
    let (words, added) = (leaf(words)?, leaf(added)?);
    let mut x = press.norm(&words, &added, "embeddings.LayerNorm")?;
    for layer in 0..architecture.layers {
        let name = |rest: &str| format!("encoder.layer.{layer}.{rest}");
        let qkv = ["query", "key", "value"].map(|n| name(&format!("attention.self.{n}")));
        let qkv = press.linear(&x, &qkv, (hidden, hidden))?;
        let mixed = ops::attention(&press.tape, &qkv, heads, &segments)?;
        let out = press.linear(&mixed, &[name("attention.output.dense")], (hidden, hidden))?;
        x = press.norm(&out, &x, &name("attention.output.LayerNorm"))?;
        let inner = press.linear(&x, &[name("intermediate.dense")], (ffn, hidden))?;
        let inner = ops::gelu(&press.tape, &inner)?;
        let out = press.linear(&inner, &[name("output.dense")], (hidden, ffn))?;
        x = press.norm(&out, &x, &name("output.LayerNorm"))?;
    }
    Ok(press.pressed)
}

impl Press<'_> {
    fn norm(&self, x: &Node, residual: &Node, name: &str) -> Result<Node, CompressError> {
        let hidden = self.architecture.hidden;
        let part = |kind: &str| self.weights.get(&format!("{name}.{kind}"), &[hidden]);
        let both = [part("weight")?, part("bias")?].concat();
        let norm = self.tape.leaf(&Tensor::from_vec(both, (2, hidden), &Device::Cpu)?);
        Ok(ops::add_norm(&self.tape, x, residual, &norm, self.architecture.epsilon)?)
    }

    /// Quantises the named layers, which share the input `x`, and returns what they make of it now.
    fn linear(
        &mut self,
        x: &Node,
        names: &[String],
        (outputs, inputs): (usize, usize),
    ) -> Result<Node, CompressError> {
        let (mut weight, mut bias) = (Vec::new(), Vec::new());
        for name in names {
            weight.extend_from_slice(
                self.weights.get(&format!("{name}.weight"), &[outputs, inputs])?,
            );
            bias.extend_from_slice(self.weights.get(&format!("{name}.bias"), &[outputs])?);
        }
        let smooth = evened(&x.value.flatten_all()?.to_vec1()?, &weight, inputs);
        if smooth.iter().any(|value| !value.is_finite()) {
            return Err(CompressError::NotFinite(names[0].clone()));
        }
        let by_channel = Tensor::from_slice(&smooth, inputs, &Device::Cpu)?;
        let even = x.value.broadcast_mul(&by_channel)?;
        let products = even.t()?.matmul(&even)?.flatten_all()?.to_vec1::<f32>()?;
        for row in weight.chunks_exact_mut(inputs) {
            row.iter_mut().zip(&smooth).for_each(|(w, s)| *w /= s);
        }
        let rounded = round(&weight, inputs, &products)
            .ok_or_else(|| CompressError::NotFinite(names[0].clone()))?;

        let mut full = rounded.to_full();
        for row in full.chunks_exact_mut(inputs) {
            row.iter_mut().zip(&smooth).for_each(|(w, s)| *w *= s);
        }
        let parts = rounded.values.chunks_exact(outputs * inputs);
        let scales = rounded.scales.chunks_exact(outputs);
        for ((name, values), scales) in names.iter().zip(parts).zip(scales) {
            let part = Int8Weight { values: values.to_vec(), scales: scales.to_vec() };
            self.pressed.tensors.remove(&format!("{name}.weight"));
            self.pressed.ints.insert(format!("{name}.weight"), part);
            self.pressed.tensors.insert(smooth_name(name), (vec![inputs], smooth.clone()));
        }
        let all = names.len() * outputs;
        let weight = self.tape.leaf(&Tensor::from_vec(full, (all, inputs), &Device::Cpu)?);
        let bias = self.tape.leaf(&Tensor::from_vec(bias, all, &Device::Cpu)?);
        Ok(ops::linear(&self.tape, x, &weight, &bias, &ops::Products::F32)?)
    }
}

/// What to multiply each input channel (I) of `x` (T, I) by, around 1, before it is quantised.
///
/// A channel whose inputs are large beside its weights is turned down, and its weights up. How far is
/// decided by what rounding is then expected to cost: the steps of the activations times the size of
/// the weights, and the other way round.
fn evened(x: &[f32], weight: &[f32], inputs: usize) -> Vec<f32> {
    let rows = x.len() / inputs;
    let x: Vec<&[f32]> = x.chunks_exact(inputs).step_by(rows.div_ceil(SAMPLE).max(1)).collect();
    let (mut fourth, mut squares) = (vec![1e-12f64; inputs], vec![1e-12f64; inputs]);
    let tokens = x.len().max(1) as f64;
    for row in &x {
        let terms = fourth.iter_mut().zip(*row);
        terms.for_each(|(sum, x)| *sum += f64::from(*x).powi(4) / tokens);
    }
    for row in weight.chunks_exact(inputs) {
        squares.iter_mut().zip(row).for_each(|(sum, w)| *sum += f64::from(*w).powi(2));
    }
    // Where the two costs, by channel, would be least for inputs of this fourth moment.
    let logs: Vec<f64> = squares.iter().zip(&fourth).map(|(w, x)| (w / x).ln() / 6.0).collect();
    let mean = logs.iter().sum::<f64>() / inputs as f64;
    let candidates = (0..=10).map(|tenths| -> Vec<f32> {
        let far = f64::from(tenths) / 10.0;
        logs.iter().map(|log| ((log - mean) * far).exp() as f32).collect()
    });
    let mut best = (f64::INFINITY, vec![1.0; inputs]);
    for smooth in candidates {
        let cost = cost(&x, weight, &smooth);
        if cost < best.0 {
            best = (cost, smooth);
        }
    }
    best.1
}

/// Expected square of the error of a token's outputs, but for a common factor.
fn cost(x: &[&[f32]], weight: &[f32], smooth: &[f32]) -> f64 {
    let tokens = x.len().max(1) as f64;
    let (mut steps, mut energy) = (0f64, 0f64);
    for row in x {
        let (mut low, mut high, mut sum) = (0f32, 0f32, 0f32);
        for (x, smooth) in row.iter().zip(smooth) {
            let value = x * smooth;
            (low, high, sum) = (low.min(value), high.max(value), sum + value * value);
        }
        steps += f64::from((high - low) / 255.0).powi(2) / tokens;
        energy += f64::from(sum) / tokens;
    }
    let (mut weight_steps, mut weight_energy) = (0f64, 0f64);
    for row in weight.chunks_exact(smooth.len()) {
        let (mut most, mut sum) = (0f32, 0f32);
        for (w, smooth) in row.iter().zip(smooth) {
            let value = w / smooth;
            (most, sum) = (most.max(value.abs()), sum + value * value);
        }
        weight_steps += f64::from(most / 127.0).powi(2);
        weight_energy += f64::from(sum);
    }
    steps * weight_energy + MADE_UP_FOR * weight_steps * energy
}

/// Rounds `weight` (O, I) column by column; `products` (I, I) are those of its inputs, `xᵀ x`. `None`
/// where they are not finite.
fn round(weight: &[f32], inputs: usize, products: &[f32]) -> Option<Int8Weight> {
    let mut products: Vec<f64> = products.iter().map(|&value| f64::from(value)).collect();
    let diagonal = products.iter().step_by(inputs + 1).sum::<f64>() / inputs as f64;
    let damping = if diagonal > 0.0 { diagonal * DAMPING } else { 1.0 };
    products.iter_mut().step_by(inputs + 1).for_each(|value| *value += damping);
    let factor = inverse_factor(products, inputs)?;
    // The scales are those of plain rounding: what moves between columns is small beside them.
    let mut quantised = Int8Weight::quantise(weight, inputs);
    let Int8Weight { values, scales } = &mut quantised;
    let rows = values.par_chunks_exact_mut(inputs).zip(weight.par_chunks_exact(inputs));
    rows.zip(scales.par_iter()).for_each(|((values, weight), scale)| {
        let mut left = weight.to_vec();
        for i in 0..inputs {
            let rounded = (left[i] / scale).round_ties_even().clamp(-127.0, 127.0);
            values[i] = rounded as i8;
            let row = &factor[i * inputs..(i + 1) * inputs];
            let error = (left[i] - rounded * scale) / row[i];
            left[i..].iter_mut().zip(&row[i..]).for_each(|(left, u)| *left -= error * u);
        }
    });
    Some(quantised)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Inputs whose channels go together, as those of a network do.
    fn correlated(tokens: usize, inputs: usize) -> Vec<f32> {
        let mut state = 3u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1u32 << 24) as f32 - 0.5
        };
        let mixing: Vec<f32> = (0..inputs * 6).map(|_| next()).collect();
        let mut x = Vec::new();
        for _ in 0..tokens {
            let hidden: [f32; 6] = std::array::from_fn(|_| next());
            for mixing in mixing.chunks_exact(6) {
                let sum: f32 = mixing.iter().zip(hidden).map(|(m, h)| m * h).sum();
                x.push(sum + 0.05 * next());
            }
        }
        x
    }

    #[test]
    fn rounding_by_what_it_does_beats_plain_rounding() {
        let (tokens, inputs, outputs) = (300, 32, 8);
        let x = correlated(tokens, inputs);
        let weight = correlated(outputs, inputs);
        let mut products = vec![0f32; inputs * inputs];
        for row in x.chunks_exact(inputs) {
            for (i, products) in products.chunks_exact_mut(inputs).enumerate() {
                products.iter_mut().zip(row).for_each(|(p, value)| *p += row[i] * value);
            }
        }
        let error = |rounded: &Int8Weight| -> f32 {
            let full = rounded.to_full();
            let gap: Vec<f32> = full.iter().zip(&weight).map(|(a, b)| a - b).collect();
            let of =
                |row: &[f32], gap: &[f32]| row.iter().zip(gap).map(|(x, g)| x * g).sum::<f32>();
            let rows = x.chunks_exact(inputs);
            rows.flat_map(|row| gap.chunks_exact(inputs).map(move |gap| of(row, gap).powi(2))).sum()
        };
        let plain = error(&Int8Weight::quantise(&weight, inputs));
        let chosen = error(&round(&weight, inputs, &products).unwrap());
        assert!(chosen < 0.5 * plain, "{chosen} against {plain}");
        assert!(round(&weight, inputs, &vec![f32::NAN; inputs * inputs]).is_none());
        let silent = round(&weight, inputs, &vec![0.0; inputs * inputs]).unwrap();
        assert_eq!(
            silent,
            Int8Weight::quantise(&weight, inputs),
            "no inputs, nothing to make up for"
        );
    }

    #[test]
    fn channels_are_evened_out_where_it_helps() {
        let mut x = correlated(200, 8);
        let weight = correlated(16, 8);
        x.iter_mut().step_by(8).for_each(|x| *x *= 100.0);
        let rows: Vec<&[f32]> = x.chunks_exact(8).collect();
        let smooth = evened(&x, &weight, 8);
        assert!(smooth.iter().all(|s| s.is_finite() && *s > 0.0));
        assert!(smooth[1..].iter().all(|other| *other > 3.0 * smooth[0]), "{smooth:?}");
        let (even, plain) = (cost(&rows, &weight, &smooth), cost(&rows, &weight, &[1.0; 8]));
        assert!(even < 0.5 * plain, "{even} against {plain}");
        // What is not a number is found out later, by name.
        assert_eq!(evened(&[f32::NAN; 16], &weight, 8), [1.0; 8]);
    }
}
