//! GELU by the error function (Hendrycks & Gimpel 2016, <https://arxiv.org/abs/1606.08415>).

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};
use rayon::prelude::*;
use rten_simd::ops::{BitOps, NumOps};
use rten_simd::{Isa, SimdUnaryOp};
use rten_vecmath::{Erf, Exp, Gelu};

use super::tape::{Node, Tape};
use super::{values, vectorised, with_values};

/// Values that one task takes.
const BLOCK: usize = 16 * 1024;

/// `x · Φ(x)` for each value, Φ being the normal distribution function.
pub fn gelu(tape: &Tape, x: &Node) -> Result<Node> {
    tape.apply1(GeluOp, x)
}

struct GeluOp;

/// Derivative of GELU: `Φ(x) + x · φ(x)`.
struct GeluDerivative;

impl SimdUnaryOp<f32> for GeluDerivative {
    #[inline(always)]
    fn eval<I: Isa>(&self, isa: I, x: I::F32) -> I::F32 {
        const INVERSE_SQRT_2_PI: f32 = 0.398_942_3;
        let ops = isa.f32();
        let half = ops.splat(0.5);
        let erf = Erf::apply(isa, ops.mul(x, ops.splat(std::f32::consts::FRAC_1_SQRT_2)));
        let cdf = ops.mul(half, ops.add(erf, ops.one()));
        let exp = Exp::apply(isa, ops.mul(ops.mul(x, x), ops.splat(-0.5)));
        let pdf = ops.mul(exp, ops.splat(INVERSE_SQRT_2_PI));
        ops.add(cdf, ops.mul(x, pdf))
    }
}

impl CustomOp1 for GeluOp {
    fn name(&self) -> &'static str {
        "gelu"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let mut y = values(x, layout)?.to_vec();
        y.par_chunks_mut(BLOCK).for_each(|block| Gelu {}.map_mut(block));
        Ok((CpuStorage::F32(y), layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let mut dx = with_values(x, |x| Ok(x.to_vec()))?;
        with_values(dy, |dy| {
            dx.par_chunks_mut(BLOCK).zip(dy.par_chunks(BLOCK)).for_each(|(dx, dy)| {
                GeluDerivative.map_mut(dx);
                vectorised(|| dx.iter_mut().zip(dy).for_each(|(dx, dy)| *dx *= dy));
            });
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
    fn matches_candle_and_its_gradient_matches_differences() -> Result<()> {
        let x = (random((31, 17), 1)? * 3.0)?;
        let gap = (run(&[&x], |t, a| gelu(t, &a[0]))? - x.gelu_erf()?)?
            .abs()?
            .max_all()?
            .to_scalar::<f32>()?;
        assert!(gap < 1e-5, "{gap}");
        check_gradients(&[x], |t, a| gelu(t, &a[0]))
    }
}
