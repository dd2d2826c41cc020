//! What happens to rows of activations between two products, each in one pass over them.
//!
//! A token's numbers depend on its own row only: scales are per row, sums run in a fixed order.
//! In plain loops too, a sum is fused where it says so and nowhere else, so all CPUs give the same bits.
//! May depend on: `model::{labels, vector, weights}`.

use rten_simd::ops::{BitOps, NumOps};
use rten_simd::{Isa, Simd};

use super::labels::{LOGITS, Logits};
use super::vector::{Math, RowOp, STRANDS, fold, least, most};
use super::weights::Words;

/// 1.5 · 2^23: added to a small number, it leaves that number, rounded to the nearest whole one, in the
/// low bits of the sum. Vectorises where a conversion by `as`, which saturates, does not.
const ROUNDER: f32 = 12_582_912.0;

/// How a row was quantised: `x = scale · (q - zero)`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct RowScale {
    pub scale: f32,
    pub zero: u8,
}

/// Rows quantised each by itself: values (T, C) and scales (T), after multiplying by `smooth` (C).
pub(super) struct Quantised<'a> {
    pub smooth: &'a [f32],
    pub values: &'a mut [u8],
    pub scales: &'a mut [RowScale],
}

/// What turns a product's sums into values, by output: (O) each.
#[derive(Clone, Copy)]
pub(super) struct Columns<'a> {
    /// Scale of the weights.
    pub scales: &'a [f32],
    /// Sum of the quantised weights, for what the row's zero has added.
    pub totals: &'a [f32],
    pub bias: &'a [f32],
}

/// A product's sums (T, O), how its T inputs were quantised, and what its outputs mean.
#[derive(Clone, Copy)]
pub(super) struct Sums<'a> {
    pub sums: &'a [i32],
    pub from: &'a [RowScale],
    pub columns: Columns<'a>,
}

impl Sums<'_> {
    /// One a token.
    #[inline(always)]
    fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        let sums = self.sums.chunks_exact(self.columns.bias.len());
        sums.zip(self.from).map(|(sums, from)| Row { sums, from: *from, columns: self.columns })
    }
}

struct Row<'a> {
    sums: &'a [i32],
    from: RowScale,
    columns: Columns<'a>,
}

impl Row<'_> {
    /// Calls `f(slot, value)` for each of `out` and the value
    /// `(sum - zero · total) · column scale · scale + bias` of that output. In f32 from the start: what
    /// that loses of sums above 2²⁴ is far below a step of the quantised inputs.
    #[inline(always)]
    fn each(&self, out: &mut [f32], f: impl Fn(&mut f32, f32)) {
        let count = out.len();
        let (sums, totals) = (&self.sums[..count], &self.columns.totals[..count]);
        let (scales, bias) = (&self.columns.scales[..count], &self.columns.bias[..count]);
        let (scale, zero) = (self.from.scale, -f32::from(self.from.zero));
        for o in 0..count {
            let sum = zero.mul_add(totals[o], sums[o] as f32);
            f(&mut out[o], (sum * scales[o]).mul_add(scale, bias[o]));
        }
    }
}

/// Scale (C) and shift (C) of a layer norm, and what is added to the variance.
pub(super) struct Norm {
    pub scale: Vec<f32>,
    pub shift: Vec<f32>,
    pub epsilon: f32,
}

impl Norm {
    #[inline(always)]
    fn apply<I: Isa, const SOFT: bool>(&self, math: Math<I, SOFT>, x: &mut [f32]) {
        let width = x.len();
        let (scale, shift) = (&self.scale[..width], &self.shift[..width]);
        let mean = math.sum(x, |x| x) / width as f32;
        let f = math.lanes();
        let square = |x| {
            let gap = f.sub(x, f.splat(mean));
            f.mul(gap, gap)
        };
        let variance = math.sum(x, square) / width as f32;
        let inverse = 1.0 / (variance + self.epsilon).sqrt();
        for i in 0..width {
            x[i] = (x[i] - mean) * inverse * scale[i] + shift[i];
        }
    }
}

/// Sums to values.
pub(super) struct Affine<'a> {
    pub sums: Sums<'a>,
    pub out: &'a mut [f32],
}

impl RowOp for Affine<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<I: Isa, const SOFT: bool>(self, _: Math<I, SOFT>) {
        let width = self.sums.columns.bias.len();
        for (row, out) in self.sums.rows().zip(self.out.chunks_exact_mut(width)) {
            row.each(out, |slot, value| *slot = value);
        }
    }
}

/// Sums through GELU, quantised; `work` (2O) is two rows to work in.
pub(super) struct AffineGelu<'a> {
    pub sums: Sums<'a>,
    pub to: Quantised<'a>,
    pub work: &'a mut [f32],
}

impl RowOp for AffineGelu<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<I: Isa, const SOFT: bool>(self, math: Math<I, SOFT>) {
        let AffineGelu { sums, to, work } = self;
        let (inner, outer) = work.split_at_mut(work.len() / 2);
        let into = to.values.chunks_exact_mut(inner.len()).zip(to.scales);
        for (row, (values, scale)) in sums.rows().zip(into) {
            row.each(inner, |slot, value| *slot = value);
            let range = Range::over::<I, SOFT, true>(math, inner, to.smooth, outer);
            *scale = range.quantise(outer, values);
        }
    }
}

/// Sums added to `x` (T, C), then layer norm, in place of `x` and quantised.
pub(super) struct AffineAddNorm<'a> {
    pub sums: Sums<'a>,
    pub norm: &'a Norm,
    pub x: &'a mut [f32],
    pub to: Quantised<'a>,
    /// (C), to work in.
    pub work: &'a mut [f32],
}

impl RowOp for AffineAddNorm<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<I: Isa, const SOFT: bool>(self, math: Math<I, SOFT>) {
        let AffineAddNorm { sums, norm, x, to, work } = self;
        let width = norm.scale.len();
        let into = to.values.chunks_exact_mut(width).zip(to.scales);
        for ((row, x), (values, scale)) in sums.rows().zip(x.chunks_exact_mut(width)).zip(into) {
            row.each(x, |slot, value| *slot += value);
            norm.apply(math, x);
            *scale = quantise(math, (x, to.smooth), work, values);
        }
    }
}

/// Embeddings of one message's `ids` (L): word and position, then layer norm, into `x` (L, C) and
/// quantised. Every id must have a row in `words`, every place one in `places` (P, C).
pub(super) struct Embed<'a> {
    pub ids: &'a [u32],
    /// How many of them are the message's own; `context` (C) is added to the others.
    pub own: usize,
    pub words: &'a Words,
    pub places: &'a [f32],
    pub context: &'a [f32],
    pub norm: &'a Norm,
    pub x: &'a mut [f32],
    pub to: Quantised<'a>,
    /// (C), to work in.
    pub work: &'a mut [f32],
}

impl RowOp for Embed<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<I: Isa, const SOFT: bool>(self, math: Math<I, SOFT>) {
        let Embed { ids, own, words, places, context, norm, x, to, work } = self;
        let width = norm.scale.len();
        let into = to.values.chunks_exact_mut(width).zip(to.scales);
        let from = ids.iter().zip(places.chunks_exact(width));
        let rows = from.zip(x.chunks_exact_mut(width)).zip(into).enumerate();
        for (at, (((id, place), x), (values, scale))) in rows {
            words.copy_row(*id as usize, x);
            x.iter_mut().zip(place).for_each(|(x, place)| *x += place);
            if at >= own {
                x.iter_mut().zip(context).for_each(|(x, kind)| *x += kind);
            }
            norm.apply(math, x);
            *scale = quantise(math, (x, to.smooth), work, values);
        }
    }
}

/// Rows (T, C) quantised.
pub(super) struct Quantise<'a> {
    pub rows: &'a [f32],
    pub to: Quantised<'a>,
    /// (C), to work in.
    pub work: &'a mut [f32],
}

impl RowOp for Quantise<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<I: Isa, const SOFT: bool>(self, math: Math<I, SOFT>) {
        let Quantise { rows, to, work } = self;
        let into = to.values.chunks_exact_mut(work.len()).zip(to.scales);
        for (row, (values, scale)) in rows.chunks_exact(work.len()).zip(into) {
            *scale = quantise(math, (row, to.smooth), work, values);
        }
    }
}

/// Mean over the rows of one message (L, C), then the head: (LOGITS, C) and (LOGITS).
pub(super) struct Pool<'a> {
    pub x: &'a [f32],
    pub head: &'a (Vec<f32>, Vec<f32>),
    /// (2C), to work in.
    pub work: &'a mut [f32],
}

impl RowOp for Pool<'_> {
    type Output = Logits;

    #[inline(always)]
    fn eval<I: Isa, const SOFT: bool>(self, math: Math<I, SOFT>) -> Logits {
        let Pool { x, head: (weight, bias), work } = self;
        let (mean, work) = work.split_at_mut(work.len() / 2);
        let width = mean.len();
        let share = 1.0 / (x.len() / width) as f32;
        mean.fill(0.0);
        for row in x.chunks_exact(width) {
            mean.iter_mut().zip(row).for_each(|(mean, value)| *mean += value * share);
        }
        let mut logits = [0f32; LOGITS];
        for (o, (logit, weight)) in logits.iter_mut().zip(weight.chunks_exact(width)).enumerate() {
            work.iter_mut().zip(weight).zip(&*mean).for_each(|((work, w), m)| *work = w * m);
            *logit = math.sum(work, |x| x) + bias[o];
        }
        logits
    }
}

/// Least and greatest value of a row, zero among them, so that zero is exact.
#[derive(Clone, Copy)]
struct Range {
    low: f32,
    high: f32,
}

/// Accumulators of a range: a comparison waits for the one before it.
const WAYS: usize = 4;

impl Range {
    /// Writes each value of `row`, through GELU where that is said, times the `other` beside it to `out`, and
    /// takes the range of what comes out. All are (C). (Not by closures: they are not always inlined, and
    /// then run without the CPU's vectors.)
    #[inline(always)]
    fn over<I: Isa, const SOFT: bool, const GELU: bool>(
        math: Math<I, SOFT>,
        row: &[f32],
        other: &[f32],
        out: &mut [f32],
    ) -> Self {
        let ops = math.lanes();
        let lanes = ops.len();
        let (row, other) = (&row[..out.len()], &other[..out.len()]);
        let (mut low, mut high) = ([ops.zero(); WAYS], [ops.zero(); WAYS]);
        let mut outs = out.chunks_exact_mut(WAYS * lanes);
        let (mut rows, mut others) =
            (row.chunks_exact(WAYS * lanes), other.chunks_exact(WAYS * lanes));
        for (out, (row, other)) in outs.by_ref().zip(rows.by_ref().zip(others.by_ref())) {
            for way in 0..WAYS {
                let part = way * lanes..(way + 1) * lanes;
                let value = ops.load(&row[part.clone()]);
                let value = if GELU { math.gelu(value) } else { value };
                let value = ops.mul(value, ops.load(&other[part.clone()]));
                low[way] = ops.min(low[way], value);
                high[way] = ops.max(high[way], value);
                ops.store(value, &mut out[part]);
            }
        }
        let tail = rows.remainder().chunks(lanes).zip(others.remainder().chunks(lanes));
        for (out, (row, other)) in outs.into_remainder().chunks_mut(lanes).zip(tail) {
            let value = ops.load_pad(row).0;
            let value = if GELU { math.gelu(value) } else { value };
            let value = ops.mul(value, ops.load_pad(other).0);
            (low[0], high[0]) = (ops.min(low[0], value), ops.max(high[0], value));
            out.copy_from_slice(&value.to_array().as_ref()[..out.len()]);
        }
        let low = ops.min(ops.min(low[0], low[1]), ops.min(low[2], low[3]));
        let high = ops.max(ops.max(high[0], high[1]), ops.max(high[2], high[3]));
        let (mut lows, mut highs) = ([0f32; STRANDS], [0f32; STRANDS]);
        ops.store(low, &mut lows[..lanes]);
        ops.store(high, &mut highs[..lanes]);
        Range { low: fold(lows, least), high: fold(highs, most) }
    }

    /// Writes `row` to `out` in u8, over the range.
    #[inline(always)]
    fn quantise(self, row: &[f32], out: &mut [u8]) -> RowScale {
        let Range { low, high } = self;
        let scale = if high > low { (high - low) / 255.0 } else { 1.0 };
        let zero = (-low / scale).round_ties_even();
        let (inverse, shift) = (1.0 / scale, ROUNDER + zero);
        for (q, value) in out.iter_mut().zip(row) {
            let shifted = value.mul_add(inverse, shift);
            // Both ends: the rounded zero may put the least or the most half a step outside.
            let shifted = most(least(shifted, ROUNDER + 255.0), ROUNDER);
            *q = shifted.to_bits() as u8;
        }
        RowScale { scale, zero: zero as u8 }
    }
}

/// Writes `row` times `smooth` to `out` in u8, over the range that the row itself has; `work` is a row to
/// work in.
#[inline(always)]
fn quantise<I: Isa, const SOFT: bool>(
    math: Math<I, SOFT>,
    (row, smooth): (&[f32], &[f32]),
    work: &mut [f32],
    out: &mut [u8],
) -> RowScale {
    let work = &mut work[..row.len()];
    let range = Range::over::<I, SOFT, false>(math, row, smooth, work);
    range.quantise(work, out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::kernel::Kernel;
    use super::*;

    fn quantised(row: &[f32], smooth: &[f32], kernel: Kernel) -> (RowScale, Vec<u8>) {
        let (mut values, mut scales) = (vec![0; row.len()], vec![RowScale::default()]);
        let to = Quantised { smooth, values: &mut values, scales: &mut scales };
        kernel.run(Quantise { rows: row, to, work: &mut vec![f32::NAN; row.len()] });
        (scales[0], values)
    }

    proptest! {
        #[test]
        fn rows_come_back_within_half_a_step_alike_on_every_kernel(
            row in prop::collection::vec((-9f32..9.0, 0.2f32..5.0), 1..80)
        ) {
            let (row, smooth): (Vec<f32>, Vec<f32>) = row.into_iter().unzip();
            let (scale, out) = quantised(&row, &smooth, Kernel::Portable);
            prop_assert_eq!(&quantised(&row, &smooth, Kernel::Vectors), &(scale, out.clone()));
            let RowScale { scale, zero } = scale;
            for ((value, smooth), q) in row.iter().zip(&smooth).zip(&out) {
                let back = scale * (f32::from(*q) - f32::from(zero));
                prop_assert!((back - value * smooth).abs() <= 1.01 * scale, "{} {}", back, value);
            }
        }
    }

    #[test]
    fn zeros_and_one_sided_rows_are_exact_where_they_can_be() {
        let (scale, out) = quantised(&[0.0; 20], &[2.0; 20], Kernel::Vectors);
        assert_eq!((scale, out), (RowScale { scale: 1.0, zero: 0 }, vec![0; 20]));
        let (scale, out) = quantised(&[255.0, 0.0, 8.5], &[1.0, 1.0, 2.0], Kernel::Vectors);
        assert_eq!((scale, out), (RowScale { scale: 1.0, zero: 0 }, vec![255, 0, 17]));
    }
}
