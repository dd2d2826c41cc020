//! Weights to int8, per output channel, symmetric.
//!
//! Scheme of Jacob et al. 2018 (<https://arxiv.org/abs/1712.05877>) with one scale a row of the
//! weight: `w[o][i] = scale[o] · q[o][i]`. May depend on: nothing in the crate.

/// A weight (O, I) in int8 with one scale a row.
#[derive(Clone, Debug, PartialEq)]
pub struct Int8Weight {
    /// Row-major (O, I).
    pub values: Vec<i8>,
    /// One a row: (O).
    pub scales: Vec<f32>,
}

/// Largest magnitude of a quantised weight.
pub const FULL_RANGE: i8 = 127;
/// Largest magnitude where the CPU adds pairs of u8 × i8 products in i16 (AVX2 without VNNI):
/// 2 · 255 · 64 = 32,640 does not saturate.
pub const SAFE_RANGE: i8 = 64;

impl Int8Weight {
    /// Quantises `weight` (O, I) row by row; the largest magnitude of a row becomes [`FULL_RANGE`].
    pub fn quantise(weight: &[f32], inputs: usize) -> Self {
        let (mut values, mut scales) = (Vec::with_capacity(weight.len()), Vec::new());
        for row in weight.chunks_exact(inputs) {
            let largest = row.iter().fold(0f32, |most, value| most.max(value.abs()));
            let scale = if largest > 0.0 { largest / f32::from(FULL_RANGE) } else { 1.0 };
            values.extend(row.iter().map(|value| (value / scale).round_ties_even() as i8));
            scales.push(scale);
        }
        Int8Weight { values, scales }
    }

    /// The same weight with no magnitude above `range`, in coarser steps.
    pub fn narrowed(&self, range: i8) -> Self {
        let ratio = f32::from(range) / f32::from(FULL_RANGE);
        let narrow = |value: &i8| (f32::from(*value) * ratio).round_ties_even() as i8;
        Int8Weight {
            values: self.values.iter().map(narrow).collect(),
            scales: self.scales.iter().map(|scale| scale / ratio).collect(),
        }
    }

    /// The values that it stands for, (O, I).
    pub fn to_full(&self) -> Vec<f32> {
        let inputs = self.values.len() / self.scales.len().max(1);
        let rows = self.values.chunks_exact(inputs.max(1)).zip(&self.scales);
        rows.flat_map(|(row, scale)| row.iter().map(move |&w| f32::from(w) * scale)).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn values_come_back_within_half_a_step(weight in prop::collection::vec(-3f32..3.0, 24)) {
            let quantised = Int8Weight::quantise(&weight, 8);
            for (index, (back, value)) in quantised.to_full().iter().zip(&weight).enumerate() {
                prop_assert!((back - value).abs() <= 0.5001 * quantised.scales[index / 8]);
            }
            let narrow = quantised.narrowed(SAFE_RANGE);
            prop_assert!(narrow.values.iter().all(|w| w.unsigned_abs() <= SAFE_RANGE.unsigned_abs()));
            for (index, (back, value)) in narrow.to_full().iter().zip(&weight).enumerate() {
                prop_assert!((back - value).abs() <= 0.8 * narrow.scales[index / 8]);
            }
        }
    }

    #[test]
    fn a_row_of_zeros_stays_one() {
        let quantised = Int8Weight::quantise(&[0.0; 4], 2);
        assert_eq!((quantised.values, quantised.scales), (vec![0; 4], vec![1.0; 2]));
    }
}
