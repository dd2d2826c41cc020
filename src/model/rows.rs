//! What happens to a row of activations between two products, each in one pass over it.
//!
//! A token's numbers depend on its own row only: scales are per row, sums run in a fixed order.
//! May depend on: the rten crates.

use rten_simd::{Isa, SimdOp, SimdUnaryOp};
use rten_vecmath::Gelu;

use super::ops::lane_sum;

/// 1.5 · 2^23: added to a small number, it leaves that number, rounded to the nearest whole one, in the
/// low bits of the sum. Vectorises where a conversion by `as`, which saturates, does not.
const ROUNDER: f32 = 12_582_912.0;

/// How a row was quantised: `x = scale · (q - zero)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct RowScale {
    pub scale: f32,
    pub zero: u8,
}

/// What turns a product's accumulators into values, by output: (O) each.
pub(super) struct Columns {
    /// Scale of the weights.
    pub scales: Vec<f32>,
    /// Sum of the quantised weights, for what the row's zero has added.
    pub sums: Vec<i32>,
    pub bias: Vec<f32>,
}

/// Defines a function whose loops are compiled for the best instruction set of this CPU.
///
/// A closure will not do: it is called from one place for each instruction set, so it is not always
/// inlined, and then compiled for the least of them.
macro_rules! vectorised_fn {
    ($(#[$doc:meta])* fn $name:ident($($arg:ident: $kind:ty),+) -> $output:ty $body:block) => {
        $(#[$doc])*
        pub(super) fn $name<'a>($($arg: $kind),+) -> $output {
            struct Op<'a> { $($arg: $kind,)+ }
            impl<'a> SimdOp for Op<'a> {
                type Output = $output;
                #[inline(always)]
                fn eval<I: Isa>(self, _isa: I) -> $output {
                    let Op { $($arg),+ } = self;
                    $body
                }
            }
            Op { $($arg),+ }.dispatch()
        }
    };
}

/// Calls `f(o, value)` with each value `(acc - zero · sums[o]) · scale · scales[o] + bias[o]`.
macro_rules! each_value {
    ($acc:ident, $row:ident, $columns:ident, $out:ident, |$slot:ident, $value:ident| $then:expr) => {
        let count = $out.len();
        let (acc, sums) = (&$acc[..count], &$columns.sums[..count]);
        let (scales, bias) = (&$columns.scales[..count], &$columns.bias[..count]);
        let zero = i32::from($row.zero);
        for o in 0..count {
            let $value = (acc[o] - zero * sums[o]) as f32 * ($row.scale * scales[o]) + bias[o];
            let $slot = &mut $out[o];
            $then;
        }
    };
}

vectorised_fn! {
    /// A product's accumulators to values.
    fn affine(acc: &'a [i32], row: RowScale, columns: &'a Columns, out: &'a mut [f32]) -> () {
        each_value!(acc, row, columns, out, |slot, value| *slot = value);
    }
}

/// A product's accumulators through GELU.
pub(super) fn affine_gelu(acc: &[i32], row: RowScale, columns: &Columns, out: &mut [f32]) {
    affine(acc, row, columns, out);
    Gelu {}.map_mut(out);
}

vectorised_fn! {
    /// A product's accumulators added to `x`, then layer norm, in place of `x`.
    fn affine_add_norm(
        acc: &'a [i32],
        row: RowScale,
        columns: &'a Columns,
        norm: &'a [f32],
        epsilon: f32,
        x: &'a mut [f32]
    ) -> () {
        each_value!(acc, row, columns, x, |slot, value| *slot += value);
        normalise(x, norm, epsilon);
    }
}

vectorised_fn! {
    /// `x + place`, then layer norm, in place of `x`.
    fn add_norm(x: &'a mut [f32], place: &'a [f32], norm: &'a [f32], epsilon: f32) -> () {
        for (value, place) in x.iter_mut().zip(place) {
            *value += place;
        }
        normalise(x, norm, epsilon);
    }
}

/// Layer norm of `x` in place; `norm` has the scale, then the shift.
#[inline(always)]
fn normalise(x: &mut [f32], norm: &[f32], epsilon: f32) {
    let width = x.len();
    let (weight, bias) = norm.split_at(width);
    let mean = lane_sum(width, |i| x[i]) / width as f32;
    let variance = lane_sum(width, |i| (x[i] - mean) * (x[i] - mean)) / width as f32;
    let inverse = 1.0 / (variance + epsilon).sqrt();
    for i in 0..width {
        x[i] = (x[i] - mean) * inverse * weight[i] + bias[i];
    }
}

vectorised_fn! {
    /// Appends `row` to `out` in u8, over the range that the row itself has.
    fn quantise(row: &'a [f32], out: &'a mut Vec<u8>) -> RowScale {
        // Zero must be among the values, so that it is exact.
        let (mut low, mut high) = ([0f32; 16], [0f32; 16]);
        let (whole, tail) = row.as_chunks::<16>();
        for chunk in whole {
            for lane in 0..16 {
                low[lane] = if chunk[lane] < low[lane] { chunk[lane] } else { low[lane] };
                high[lane] = if chunk[lane] > high[lane] { chunk[lane] } else { high[lane] };
            }
        }
        let (mut least, mut most) = (0f32, 0f32);
        for value in low.iter().chain(tail) {
            least = least.min(*value);
        }
        for value in high.iter().chain(tail) {
            most = most.max(*value);
        }
        let scale = if most > least { (most - least) / 255.0 } else { 1.0 };
        let zero = (-least / scale).round_ties_even();
        let start = out.len();
        out.resize(start + row.len(), 0);
        let inverse = 1.0 / scale;
        for (q, value) in out[start..].iter_mut().zip(row) {
            let shifted = (value * inverse + (ROUNDER + zero)).clamp(ROUNDER, ROUNDER + 255.0);
            *q = shifted.to_bits() as u8;
        }
        RowScale { scale, zero: zero as u8 }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn rows_come_back_within_half_a_step(row in prop::collection::vec(-9f32..9.0, 1..80)) {
            let mut out = Vec::new();
            let RowScale { scale, zero } = quantise(&row, &mut out);
            prop_assert_eq!(out.len(), row.len());
            for (value, q) in row.iter().zip(&out) {
                let back = scale * (f32::from(*q) - f32::from(zero));
                prop_assert!((back - value).abs() <= 1.01 * scale, "{} {}", back, value);
            }
        }
    }

    #[test]
    fn zeros_and_one_sided_rows_are_exact_where_they_can_be() {
        let mut out = Vec::new();
        assert_eq!(quantise(&[0.0; 20], &mut out), RowScale { scale: 1.0, zero: 0 });
        assert!(out.iter().all(|q| *q == 0));
        out.clear();
        let scale = quantise(&[255.0, 0.0, 17.0], &mut out);
        assert_eq!((scale, out), (RowScale { scale: 1.0, zero: 0 }, vec![255, 0, 17]));
    }
}
