//! Vector arithmetic that gives the same bits on every CPU.
//!
//! A product and a sum are rounded once (fused), in hardware or else in software; sums over a row run
//! in sixteen strands whatever the width of the vectors. What is quantised after it would
//! turn a difference in the last bit, now and then, into a whole step. May depend on: `rten-simd`.

use rten_simd::isa::GenericIsa;
use rten_simd::ops::{BitOps, FloatOps, IntOps, NumOps};
use rten_simd::{Isa, Simd, SimdOp};

/// Partial sums that a sum over a row runs in: the lanes of the widest vectors.
pub(super) const STRANDS: usize = 16;

/// An operation on rows that can be compiled for every instruction set.
pub(super) trait RowOp {
    type Output;
    fn eval<I: Isa, const SOFT: bool>(self, math: Math<I, SOFT>) -> Self::Output;
}

/// All strands into one, by halves: the order is fixed, and nothing waits for fifteen steps.
#[inline(always)]
pub(super) fn fold(mut strands: [f32; STRANDS], f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut half = STRANDS / 2;
    while half > 0 {
        for i in 0..half {
            strands[i] = f(strands[i], strands[i + half]);
        }
        half /= 2;
    }
    strands[0]
}

/// The smaller; the second of two that do not compare.
#[inline(always)]
pub(super) fn least(a: f32, b: f32) -> f32 {
    if a < b { a } else { b }
}

/// The larger; the second of two that do not compare.
#[inline(always)]
pub(super) fn most(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

/// Runs `op` with the best instructions of this CPU.
pub(super) fn fastest<Op: RowOp>(op: Op) -> Op::Output {
    struct Hard<Op>(Op);
    impl<Op: RowOp> SimdOp for Hard<Op> {
        type Output = Op::Output;

        #[inline(always)]
        fn eval<I: Isa>(self, isa: I) -> Self::Output {
            self.0.eval(Math::<I, false>(isa))
        }
    }
    // Where rten-simd finds no vector unit that it knows, it does not fuse either.
    #[cfg(target_arch = "x86_64")]
    if !is_x86_feature_detected!("fma") || !is_x86_feature_detected!("avx2") {
        return portable(op);
    }
    Hard(op).dispatch()
}

/// Runs `op` with instructions that every CPU has.
pub(super) fn portable<Op: RowOp>(op: Op) -> Op::Output {
    op.eval(Math::<_, true>(GenericIsa::new()))
}

/// Arithmetic with the vectors of `I`; `SOFT` where it has no fused product and sum.
#[derive(Clone, Copy)]
pub(super) struct Math<I, const SOFT: bool>(I);

impl<I: Isa, const SOFT: bool> Math<I, SOFT> {
    /// Operations that are the same on every CPU: no sums over lanes, no `mul_add`.
    #[inline(always)]
    pub fn lanes(
        self,
    ) -> impl FloatOps<f32, Simd = I::F32, Int = I::I32> + BitOps<f32, Simd = I::F32> {
        self.0.f32()
    }

    /// `a · b + c`, rounded once.
    #[inline(always)]
    pub fn mul_add(self, a: I::F32, b: I::F32, c: I::F32) -> I::F32 {
        let f = self.0.f32();
        if !SOFT {
            return f.mul_add(a, b, c);
        }
        let (a, b, c) = (a.to_array(), b.to_array(), c.to_array());
        let (a, b, c) = (a.as_ref(), b.as_ref(), c.as_ref());
        let mut fused = [0f32; STRANDS];
        for lane in 0..f.len() {
            fused[lane] = a[lane].mul_add(b[lane], c[lane]);
        }
        f.load(&fused[..f.len()])
    }

    /// Sum of `f` of every value, in [`STRANDS`] partial sums whatever the width of the vectors.
    #[inline(always)]
    pub fn sum(self, values: &[f32], f: impl Fn(I::F32) -> I::F32) -> f32 {
        let ops = self.0.f32();
        let lanes = ops.len();
        let mut strands = [ops.zero(); STRANDS / 4];
        let (whole, tail) = values.as_chunks::<STRANDS>();
        for chunk in whole {
            for (strand, part) in strands.iter_mut().zip(chunk.chunks_exact(lanes)) {
                *strand = ops.add(*strand, f(ops.load(part)));
            }
        }
        for (strand, part) in strands.iter_mut().zip(tail.chunks(lanes)) {
            let (part, real) = ops.load_pad(part);
            *strand = ops.add(*strand, ops.select(f(part), ops.zero(), real));
        }
        let mut sums = [0f32; STRANDS];
        for (sums, strand) in sums.chunks_exact_mut(lanes).zip(strands) {
            ops.store(strand, sums);
        }
        fold(sums, |a, b| a + b)
    }

    /// Polynomial in `x`, lowest coefficient first.
    #[inline(always)]
    fn polynomial<const N: usize>(self, x: I::F32, coefficients: [f32; N]) -> I::F32 {
        let f = self.0.f32();
        let mut sum = f.splat(coefficients[N - 1]);
        for coefficient in coefficients[..N - 1].iter().rev() {
            sum = self.mul_add(sum, x, f.splat(*coefficient));
        }
        sum
    }

    /// `exp(x)` for x ≤ 0, within two units in the last place; 0 below -87.
    ///
    /// `exp(x) = 2^k · exp(r)` with |r| ≤ ln 2 / 2 and a polynomial for `exp(r)`, as in `rten-vecmath`,
    /// whose own is fused on some CPUs only.
    #[inline(always)]
    pub fn exp(self, x: I::F32) -> I::F32 {
        const POLYNOMIAL: [f32; 7] = [
            1.0,
            1.0,
            4.999_998_5e-1,
            1.666_647_2e-1,
            4.166_953_6e-2,
            8.373_124_5e-3,
            1.378_059_4e-3,
        ];
        let (f, i) = (self.0.f32(), self.0.i32());
        let x = f.max(x, f.splat(-87.0));
        let magic = f.splat(12_582_912.0);
        let k = f.sub(self.mul_add(x, f.splat(std::f32::consts::LOG2_E), magic), magic);
        // ln 2 in two parts, the first of which has few bits.
        let r = self.mul_add(k, f.splat(-6.931_457_5e-1), x);
        let r = self.mul_add(k, f.splat(-1.428_606_8e-6), r);
        let power = i.shift_left::<23>(i.add(f.to_int_trunc(k), i.splat(127)));
        f.mul(self.polynomial(r, POLYNOMIAL), power.reinterpret_cast())
    }

    /// GELU, `x · Φ(x)`, within 3e-6.
    ///
    /// Φ(x) - ½ is odd: x times a polynomial in x², fitted for least largest error on |x| ≤ 5 (in
    /// z = 2x²/25 - 1, which keeps it well conditioned) so that Φ(±5) is 1 and 0. No division, which
    /// is what an error function by the usual formulas spends its time on.
    #[inline(always)]
    pub fn gelu(self, x: I::F32) -> I::F32 {
        const POLYNOMIAL: [f32; 12] = [
            1.413_637_5e-1,
            -7.029_845_6e-2,
            5.152_484e-2,
            -4.038_645_7e-2,
            3.136_22e-2,
            -2.366_159_3e-2,
            1.689_211_8e-2,
            -1.006_894_8e-2,
            5.136_513_6e-3,
            -3.995_504e-3,
            3.184_354e-3,
            -1.052_819_7e-3,
        ];
        let f = self.0.f32();
        let y = f.max(f.min(x, f.splat(5.0)), f.splat(-5.0));
        let z = self.mul_add(f.mul(y, y), f.splat(0.08), f.splat(-1.0));
        f.mul(x, self.mul_add(y, self.polynomial(z, POLYNOMIAL), f.splat(0.5)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `exp` and GELU of every value in a slice, in place.
    struct Both<'a>(&'a mut [f32], &'a mut [f32]);

    impl RowOp for Both<'_> {
        type Output = ();

        #[inline(always)]
        fn eval<I: Isa, const SOFT: bool>(self, math: Math<I, SOFT>) {
            let f = math.lanes();
            for part in self.0.chunks_exact_mut(f.len()) {
                f.store(math.exp(f.load(part)), part);
            }
            for part in self.1.chunks_exact_mut(f.len()) {
                f.store(math.gelu(f.load(part)), part);
            }
        }
    }

    #[test]
    fn exp_and_gelu_are_close_to_the_truth_and_alike_everywhere() {
        let negative: Vec<f32> = (0..16 * 6000).map(|i| -i as f32 * 0.001).collect();
        let around: Vec<f32> = (0..16 * 4000).map(|i| (i - 32_000) as f32 * 0.0005).collect();
        let (mut exp, mut gelu) = (negative.clone(), around.clone());
        fastest(Both(&mut exp, &mut gelu));
        let (mut soft_exp, mut soft_gelu) = (negative.clone(), around.clone());
        portable(Both(&mut soft_exp, &mut soft_gelu));
        assert!(exp == soft_exp && gelu == soft_gelu, "not the same bits");
        for (x, found) in negative.iter().zip(&exp) {
            let truth = f64::from(*x).exp();
            let slack = truth * 2.0 * f64::from(f32::EPSILON) + 1.7e-38;
            assert!((f64::from(*found) - truth).abs() <= slack, "exp({x}) = {found}");
        }
        for (x, found) in around.iter().zip(&gelu) {
            let truth = gelu_of(f64::from(*x));
            assert!((f64::from(*found) - truth).abs() <= 3e-6, "gelu({x}) = {found}, {truth}");
        }
    }

    /// `x · Φ(x)` by integrating the density (Simpson's rule).
    fn gelu_of(x: f64) -> f64 {
        let steps = 400;
        let h = x.abs() / f64::from(steps);
        let density = |t: f64| (-t * t / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
        let weight = |i: i32| if i == 0 || i == steps { 1.0 } else { f64::from(2 + 2 * (i % 2)) };
        let area: f64 =
            (0..=steps).map(|i| weight(i) * density(f64::from(i) * h)).sum::<f64>() * h / 3.0;
        x * (0.5 + area * x.signum())
    }
}
