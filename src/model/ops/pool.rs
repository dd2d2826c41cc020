//! Mean over the tokens of each message.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};

use super::tape::{Node, Tape};
use super::{Segments, values, vectorised, with_values};

/// `x` (T, C) -> (B, C), the mean over each of the `B` segments.
pub fn mean_pool(tape: &Tape, x: &Node, segments: &Segments) -> Result<Node> {
    tape.apply1(MeanPool { segments: segments.clone() }, x)
}

struct MeanPool {
    segments: Segments,
}

impl CustomOp1 for MeanPool {
    fn name(&self) -> &'static str {
        "mean-pool"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (tokens, width) = layout.shape().dims2()?;
        if tokens != self.segments.tokens() {
            bail!("mean-pool: {tokens} rows for {} tokens", self.segments.tokens());
        }
        let x = values(x, layout)?;
        let mut y = vec![0f32; self.segments.len() * width];
        vectorised(|| {
            for (mean, range) in y.chunks_exact_mut(width).zip(self.segments.ranges()) {
                let weight = 1.0 / range.len() as f32;
                for row in x[range.start * width..range.end * width].chunks_exact(width) {
                    mean.iter_mut().zip(row).for_each(|(mean, value)| *mean += value);
                }
                mean.iter_mut().for_each(|mean| *mean *= weight);
            }
        });
        Ok((CpuStorage::F32(y), (self.segments.len(), width).into()))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let (_, width) = x.dims2()?;
        let mut dx = vec![0f32; self.segments.tokens() * width];
        with_values(dy, |dy| {
            for (dy, range) in dy.chunks_exact(width).zip(self.segments.ranges()) {
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
        let segments = Segments::new([1, 3, 2]);
        let x = random((6, 5), 1)?;
        let y = run(&[&x], |t, a| mean_pool(t, &a[0], &segments))?;
        let second = x.narrow(0, 1, 3)?.mean(0)?;
        let gap = (y.get(1)? - second)?.abs()?.max_all()?.to_scalar::<f32>()?;
        assert!(gap < 1e-6, "{gap}");
        check_gradients(&[x], |t, a| mean_pool(t, &a[0], &segments))
    }
}
