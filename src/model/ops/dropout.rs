//! Dropout (Srivastava et al. 2014, <https://jmlr.org/papers/v15/srivastava14a.html>).

use std::cell::Cell;

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::tape::{Node, Tape};
use super::{values, vectorised, with_values};

/// Values that one task takes.
const BLOCK: usize = 16 * 1024;

/// Zeroes a share of the values and scales the others up, differently at each call, the same for
/// the same seed. The mask is recomputed in the backward pass instead of being kept.
pub struct Dropout {
    share: f64,
    seed: u64,
    calls: Cell<u64>,
}

impl Dropout {
    /// `share` in [0, 1) of the values are zeroed.
    pub fn new(share: f64, seed: u64) -> Self {
        Dropout { share: share.clamp(0.0, 0.99), seed, calls: Cell::new(0) }
    }

    /// `x` with some of its values zeroed.
    ///
    /// # Errors
    /// Where `x` is not f32 on the CPU.
    pub fn apply(&self, tape: &Tape, x: &Node) -> Result<Node> {
        if self.share <= 0.0 {
            return Ok(x.clone());
        }
        let call = self.calls.replace(self.calls.get() + 1);
        let mixed =
            (self.seed ^ call.wrapping_mul(0x9E37_79B9_7F4A_7C15)).wrapping_mul(0xD129_0D3B);
        let mask = Mask {
            seed: (mixed ^ mixed >> 32) as u32,
            limit: (self.share * f64::from(u32::MAX)) as u32,
            scale: (1.0 / (1.0 - self.share)) as f32,
        };
        tape.apply1(mask, x)
    }
}

struct Mask {
    seed: u32,
    limit: u32,
    scale: f32,
}

impl Mask {
    fn multiply(&self, data: &mut [f32]) {
        data.par_chunks_mut(BLOCK).enumerate().for_each(|(block, data)| {
            let start = (block * BLOCK) as u32;
            vectorised(|| {
                for (i, value) in data.iter_mut().enumerate() {
                    let keep = hash(start.wrapping_add(i as u32) ^ self.seed) >= self.limit;
                    *value *= if keep { self.scale } else { 0.0 };
                }
            });
        });
    }
}

/// Mixes 32 bits ("lowbias32", Wellons 2018).
#[inline(always)]
fn hash(mut x: u32) -> u32 {
    x ^= x >> 16;
    x = x.wrapping_mul(0x7FEB_352D);
    x ^= x >> 15;
    x = x.wrapping_mul(0x846C_A68B);
    x ^ x >> 16
}

impl CustomOp1 for Mask {
    fn name(&self) -> &'static str {
        "dropout"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let mut y = values(x, layout)?.to_vec();
        self.multiply(&mut y);
        Ok((CpuStorage::F32(y), layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let mut dx = with_values(dy, |dy| Ok(dy.to_vec()))?;
        self.multiply(&mut dx);
        Tensor::from_vec(dx, x.shape(), x.device()).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn keeps_the_mean_differs_by_call_and_masks_the_gradient_alike() -> Result<()> {
        let dropout = Dropout::new(0.25, 7);
        let ones = Tensor::ones((40_000, 1), candle_core::DType::F32, &Device::Cpu)?;
        let tape = Tape::recording();
        let x = tape.leaf(&ones);
        let (first, second) = (dropout.apply(&tape, &x)?, dropout.apply(&tape, &x)?);
        let kept = |node: &Node| node.value.flatten_all()?.to_vec1::<f32>();
        let dropped = kept(&first)?.iter().filter(|v| **v == 0.0).count();
        assert!((9_600..10_400).contains(&dropped), "{dropped}");
        assert_ne!(kept(&first)?, kept(&second)?);
        let values = kept(&first)?;
        let gradients = tape.backward(&first)?;
        assert_eq!(gradients.get(&x).unwrap().flatten_all()?.to_vec1::<f32>()?, values);
        let tape = Tape::forgetting();
        let again = Dropout::new(0.25, 7).apply(&tape, &tape.leaf(&ones))?;
        assert_eq!(kept(&again)?, values);
        Ok(())
    }
}
