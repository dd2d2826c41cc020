//! Residual + layer norm (Ba et al. 2016, <https://arxiv.org/abs/1607.06450>), in one pass.

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::linear::column_sums;
use super::tape::{Node, Tape};
use super::{lane_sum, values, vectorised, with_values};

/// Rows that one task takes.
const ROWS: usize = 16;

/// Normalises each row of `x + residual` to mean 0 and variance 1, then scales and shifts.
///
/// `x` (T, C), `residual` (T, C), `norm` (2, C): row 0 the scale, row 1 the shift -> (T, C).
pub fn add_norm(tape: &Tape, x: &Node, residual: &Node, norm: &Node, epsilon: f32) -> Result<Node> {
    tape.apply3(AddNorm { epsilon }, [x, residual, norm])
}

struct AddNorm {
    epsilon: f32,
}

impl AddNorm {
    /// Adds `x` and `residual` into `row`; returns mean and reciprocal deviation.
    #[inline(always)]
    fn moments(&self, x: &[f32], residual: &[f32], row: &mut [f32]) -> (f32, f32) {
        let width = row.len();
        for ((sum, a), b) in row.iter_mut().zip(x).zip(residual) {
            *sum = a + b;
        }
        let mean = lane_sum(width, |i| row[i]) / width as f32;
        let variance = lane_sum(width, |i| (row[i] - mean) * (row[i] - mean)) / width as f32;
        (mean, 1.0 / (variance + self.epsilon).sqrt())
    }
}

impl CustomOp3 for AddNorm {
    fn name(&self) -> &'static str {
        "add-norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        residual: &CpuStorage,
        residual_layout: &Layout,
        norm: &CpuStorage,
        norm_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (rows, width) = x_layout.shape().dims2()?;
        let (x, residual) = (values(x, x_layout)?, values(residual, residual_layout)?);
        let norm = values(norm, norm_layout)?;
        if residual.len() != x.len() || norm.len() != 2 * width {
            bail!("add-norm: shapes do not fit");
        }
        let (scale, shift) = norm.split_at(width);
        let mut y = vec![0f32; rows * width];
        let block = ROWS * width;
        y.par_chunks_mut(block).zip(x.par_chunks(block)).zip(residual.par_chunks(block)).for_each(
            |((y, x), residual)| {
                vectorised(|| {
                    let inputs = x.chunks_exact(width).zip(residual.chunks_exact(width));
                    for (row, (x, residual)) in y.chunks_exact_mut(width).zip(inputs) {
                        let (mean, inverse) = self.moments(x, residual, row);
                        for ((value, scale), shift) in row.iter_mut().zip(scale).zip(shift) {
                            *value = (*value - mean) * inverse * scale + shift;
                        }
                    }
                })
            },
        );
        Ok((CpuStorage::F32(y), (rows, width).into()))
    }

    /// With `n` the normalised row: `d = g·dy`, `dx = (d - mean(d) - n·mean(d·n)) / deviation`.
    fn bwd(
        &self,
        x: &Tensor,
        residual: &Tensor,
        norm: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (rows, width) = x.dims2()?;
        let mut dx = vec![0f32; rows * width];
        let block = ROWS * width;
        let parts: Vec<Vec<f32>> = with_values(x, |x| {
            with_values(residual, |residual| {
                with_values(norm, |norm| {
                    with_values(dy, |dy| {
                        Ok(dx
                            .par_chunks_mut(block)
                            .zip(x.par_chunks(block))
                            .zip(residual.par_chunks(block))
                            .zip(dy.par_chunks(block))
                            .map(|(((dx, x), residual), dy)| {
                                vectorised(|| self.backward_block(dx, x, residual, dy, norm))
                            })
                            .collect())
                    })
                })
            })
        })?;
        let dnorm = column_sums(&parts.concat(), 2 * width);
        let dx = Tensor::from_vec(dx, (rows, width), x.device())?;
        let dnorm = Tensor::from_vec(dnorm, (2, width), x.device())?;
        Ok((Some(dx.clone()), Some(dx), Some(dnorm)))
    }
}

impl AddNorm {
    /// Fills `dx` for a block of rows; returns the block's part of the gradient of `norm`.
    #[inline(always)]
    fn backward_block(
        &self,
        dx: &mut [f32],
        x: &[f32],
        residual: &[f32],
        dy: &[f32],
        norm: &[f32],
    ) -> Vec<f32> {
        let width = norm.len() / 2;
        let scale = &norm[..width];
        let mut dnorm = vec![0f32; 2 * width];
        let (dscale, dshift) = dnorm.split_at_mut(width);
        let inputs = x.chunks_exact(width).zip(residual.chunks_exact(width));
        let rows = dx.chunks_exact_mut(width).zip(inputs).zip(dy.chunks_exact(width));
        for ((row, (x, residual)), dy) in rows {
            let (mean, inverse) = self.moments(x, residual, row);
            for i in 0..width {
                row[i] = (row[i] - mean) * inverse;
                dscale[i] += dy[i] * row[i];
                dshift[i] += dy[i];
            }
            let d_mean = lane_sum(width, |i| scale[i] * dy[i]) / width as f32;
            let dn_mean = lane_sum(width, |i| scale[i] * dy[i] * row[i]) / width as f32;
            for i in 0..width {
                row[i] = (scale[i] * dy[i] - d_mean - row[i] * dn_mean) * inverse;
            }
        }
        dnorm
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check_gradients, random, run};
    use super::*;

    #[test]
    fn rows_come_out_normalised_and_gradients_match_differences() -> Result<()> {
        for width in [4, 16, 37] {
            let inputs = [random((19, width), 1)?, random((19, width), 2)?, random((2, width), 3)?];
            check_gradients(&inputs, |t, a| add_norm(t, &a[0], &a[1], &a[2], 1e-5))?;
        }
        let plain = Tensor::cat(
            &[
                Tensor::ones((1, 64), candle_core::DType::F32, &candle_core::Device::Cpu)?,
                Tensor::zeros((1, 64), candle_core::DType::F32, &candle_core::Device::Cpu)?,
            ],
            0,
        )?;
        let inputs = [&random((3, 64), 4)?, &random((3, 64), 5)?, &plain];
        let y = run(&inputs, |t, a| add_norm(t, &a[0], &a[1], &a[2], 1e-12))?;
        for row in y.to_vec2::<f32>()? {
            let mean = row.iter().sum::<f32>() / 64.0;
            let variance = row.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / 64.0;
            assert!(mean.abs() < 1e-5 && (variance - 1.0).abs() < 1e-4, "{mean} {variance}");
        }
        Ok(())
    }
}
