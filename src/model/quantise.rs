//! Weights to int8, per output channel, symmetric.
//!
//! Scheme of Jacob et al. 2018 (<https://arxiv.org/abs/1712.05877>) with one scale a row of the
//! weight: `w[o][i] = scale[o] · q[o][i]`. May depend on: nothing in the crate.

/// A weight (O, I) in int8 with one scale a row.
pub struct Int8Weight {
    /// Row-major (O, I).
    pub values: Vec<i8>,
    /// One a row: (O).
    pub scales: Vec<f32>,
}

/// Largest magnitude where the product kernel accumulates exactly.
pub const FULL_RANGE: i8 = 127;
/// Largest magnitude where it adds pairs of u8 × i8 products in i16 (AVX2 without VNNI):
/// 2 · 255 · 64 = 32,640 does not saturate.
pub const SAFE_RANGE: i8 = 64;

/// Quantises `weight` (O, I) row by row; the largest magnitude of a row becomes `range`.
pub fn quantise(weight: &[f32], inputs: usize, range: i8) -> Int8Weight {
    let (mut values, mut scales) = (Vec::with_capacity(weight.len()), Vec::new());
    for row in weight.chunks_exact(inputs) {
        let largest = row.iter().fold(0f32, |most, value| most.max(value.abs()));
        let scale = if largest > 0.0 { largest / f32::from(range) } else { 1.0 };
        values.extend(row.iter().map(|value| (value / scale).round_ties_even() as i8));
        scales.push(scale);
    }
    Int8Weight { values, scales }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn values_come_back_within_half_a_step(
            weight in prop::collection::vec(-3f32..3.0, 24),
            range in prop::sample::select(vec![FULL_RANGE, SAFE_RANGE]),
        ) {
            let quantised = quantise(&weight, 8, range);
            for (index, value) in weight.iter().enumerate() {
                let scale = quantised.scales[index / 8];
                let back = f32::from(quantised.values[index]) * scale;
                prop_assert!((back - value).abs() <= 0.5001 * scale);
                prop_assert!(quantised.values[index].unsigned_abs() <= range.unsigned_abs());
            }
        }
    }

    #[test]
    fn a_row_of_zeros_stays_one() {
        let quantised = quantise(&[0.0; 4], 2, FULL_RANGE);
        assert_eq!((quantised.values, quantised.scales), (vec![0; 4], vec![1.0; 2]));
    }
}
