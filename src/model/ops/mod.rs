//! Fused operations of the network, each with its backward pass, as candle `CustomOp`s.
//!
//! Candle's own fused softmax and layer norm cannot be differentiated, and its composed ones are
//! slow: every elementary step allocates and walks memory once more. Each operation here is one
//! pass forward and one backward, in parallel over rows, with `rten-gemm` (or `machine::bf16`, in training)
//! for products and `rten-vecmath` for transcendental functions. Nothing is padded: the tokens of a batch lie end to
//! end as `(T, C)` and a [`Segments`] says where each message begins.
//!
//! May depend on: `machine`, candle, rayon, the rten crates. Knows nothing of models or labels.

mod attention;
mod dropout;
mod gelu;
mod gemm;
mod linear;
mod lookup;
mod norm;
mod pool;
mod tape;

pub use attention::attention;
pub use dropout::Dropout;
pub use gelu::gelu;
pub use linear::{PackedWeight, Products, RoundedWeight, linear};
pub use lookup::{places, rows};
pub use norm::add_norm;
pub use pool::mean_pool;
pub use tape::{Gradients, Node, Tape, add};

use std::ops::Range;
use std::sync::Arc;

use candle_core::{CpuStorage, Layout, Result, Storage, Tensor, bail};
use rten_simd::{Isa, SimdOp};

/// Where each message of a batch lies among its `T` tokens.
#[derive(Clone, Debug)]
pub struct Segments(Arc<[usize]>);

impl Segments {
    /// From the lengths, in tokens, of the messages in order.
    pub fn new(lengths: impl IntoIterator<Item = usize>) -> Self {
        let mut ends = vec![0];
        for length in lengths {
            ends.push(ends[ends.len() - 1] + length);
        }
        Segments(ends.into())
    }

    /// Number of messages.
    pub fn len(&self) -> usize {
        self.0.len() - 1
    }

    /// Whether there is no message.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of tokens in all.
    pub fn tokens(&self) -> usize {
        self.0[self.0.len() - 1]
    }

    /// The token range of each message.
    pub fn ranges(&self) -> impl ExactSizeIterator<Item = Range<usize>> + '_ {
        self.0.windows(2).map(|w| w[0]..w[1])
    }

    /// Splits `data`, which has `width` values a token, into one slice a message.
    fn split_mut<'a>(&self, mut data: &'a mut [f32], width: usize) -> Vec<&'a mut [f32]> {
        let mut parts = Vec::with_capacity(self.len());
        for range in self.ranges() {
            let (part, rest) = data.split_at_mut(range.len() * width);
            parts.push(part);
            data = rest;
        }
        parts
    }
}

/// The values behind a contiguous f32 argument of a `CustomOp`.
fn values<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(data), Some((start, end))) => Ok(&data[start..end]),
        (CpuStorage::F32(_), None) => bail!("argument is not contiguous"),
        _ => bail!("argument is not f32"),
    }
}

/// Calls `f` with the values of an f32 tensor in row-major order.
pub(crate) fn with_values<R>(tensor: &Tensor, f: impl FnOnce(&[f32]) -> Result<R>) -> Result<R> {
    let tensor = tensor.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => f(values(storage, layout)?),
        _ => bail!("tensor is not on the CPU"),
    }
}

/// Runs a closure of plain loops compiled for the best instruction set of this CPU.
///
/// The compiler vectorises loops for the features of the function that they end up in;
/// `rten_simd` provides one such function per instruction set and picks at run time.
pub(crate) fn vectorised<R>(f: impl FnOnce() -> R) -> R {
    struct Plain<F>(F);
    impl<R, F: FnOnce() -> R> SimdOp for Plain<F> {
        type Output = R;
        #[inline(always)]
        fn eval<I: Isa>(self, _isa: I) -> R {
            (self.0)()
        }
    }
    Plain(f).dispatch()
}

/// Lanes that reductions are spread over, so that they vectorise and their order is fixed.
const LANES: usize = 16;

/// Sum over `f(index)` for `0..n`, in [`LANES`] partial sums.
#[inline(always)]
pub(crate) fn lane_sum(n: usize, f: impl Fn(usize) -> f32) -> f32 {
    let mut lanes = [0f32; LANES];
    let whole = n - n % LANES;
    for start in (0..whole).step_by(LANES) {
        for (lane, sum) in lanes.iter_mut().enumerate() {
            *sum += f(start + lane);
        }
    }
    let tail: f32 = (whole..n).map(&f).sum();
    lanes.iter().sum::<f32>() + tail
}

#[cfg(test)]
mod testing;
