//! Mean over the own tokens of each message.

use std::ops::Range;

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};

use super::tape::{Node, Tape};
use super::{values, vectorised, with_values};

/// `x` (T, C) -> (B, C), the mean over each of the `B` ranges of rows, none of which is empty.
pub fn mean_pool(tape: &Tape, x: &Node, ranges: &[Range<usize>]) -> Result<Node> {
    tape.apply1(MeanPool { ranges: ranges.to_vec() }, x)
}

struct MeanPool {
    ranges: Vec<Range<usize>>,
}

impl CustomOp1 for MeanPool {
    fn name(&self) -> &'static str {
        "mean-pool"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (tokens, width) = layout.shape().dims2()?;
        if self.ranges.iter().any(|range| range.is_empty() || range.end > tokens) {
            bail!("mean-pool: a message without tokens, or beyond the {tokens} rows");
        }
        let x = values(x, layout)?;
        let mut y = vec![0f32; self.ranges.len() * width];
        vectorised(|| {
            for (mean, range) in y.chunks_exact_mut(width).zip(&self.ranges) {
                let weight = 1.0 / range.len() as f32;
                for row in x[range.start * width..range.end * width].chunks_exact(width) {
                    mean.iter_mut().zip(row).for_each(|(mean, value)| *mean += value);
                }
                mean.iter_mut().for_each(|mean| *mean *= weight);
            }
        });
        Ok((CpuStorage::F32(y), (self.ranges.len(), width).into()))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let (tokens, width) = x.dims2()?;
        let mut dx = vec![0f32; tokens * width];
        with_values(dy, |dy| {
            for (dy, range) in dy.chunks_exact(width).zip(&self.ranges) {
                let weight = 1.0 / range.len() as f32;
                for row in dx[range.start * width..range.end * width].chunks_exact_mut(width) {
                    row.iter_mut().zip(dy).for_each(|(dx, dy)| *dx = dy * weight);
                }
            }
            Ok(())
        })?;
        Tensor::from_vec(dx, x.shape(), x.device()).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check_gradients, random, run};
    use super::*;

    #[test]
    fn averages_each_message_alone() -> Result<()> {
        let ranges = [0..1, 1..4, 5..6];
        let x = random((6, 5), 1)?;
        let y = run(&[&x], |t, a| mean_pool(t, &a[0], &ranges))?;
        let second = x.narrow(0, 1, 3)?.mean(0)?;
        let gap = (y.get(1)? - second)?.abs()?.max_all()?.to_scalar::<f32>()?;
        assert!(gap < 1e-6, "{gap}");
        check_gradients(&[x], |t, a| mean_pool(t, &a[0], &ranges))
    }
}
