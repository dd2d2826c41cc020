//! Quantiles of durations in bounded memory: the relative-error sketch DDSketch (Masson, Rim and Lee 2019,
//! <https://arxiv.org/abs/1908.10693>).
//!
//! A bucket holds what lies between two powers of γ, so a quantile is off by at most one part in a hundred,
//! however many durations there are. Depends on nothing else in the crate.

use std::collections::BTreeMap;

/// Largest relative error of a quantile.
pub const ACCURACY: f64 = 0.01;

/// Durations in seconds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sketch {
    /// Durations under a second.
    instant: u64,
    /// How many are in the bucket with this power of γ as its upper bound: some 1,000 buckets reach to 30 years.
    buckets: BTreeMap<i32, u64>,
    count: u64,
}

/// (1 + a) / (1 - a).
fn gamma() -> f64 {
    (1.0 + ACCURACY) / (1.0 - ACCURACY)
}

impl Sketch {
    /// Adds a duration; what is not above 0 counts as 0.
    pub fn add(&mut self, seconds: f64) {
        self.count += 1;
        if seconds >= 1.0 {
            let bucket = (seconds.ln() / gamma().ln()).ceil() as i32;
            *self.buckets.entry(bucket).or_default() += 1;
        } else {
            self.instant += 1;
        }
    }

    /// Adds all of another.
    pub fn merge(&mut self, other: &Sketch) {
        self.instant += other.instant;
        self.count += other.count;
        for (bucket, count) in &other.buckets {
            *self.buckets.entry(*bucket).or_default() += count;
        }
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The smallest duration, in seconds, that a share `q` (in [0, 1]) of all does not exceed; `None` of nothing.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        let rank = ((q * self.count as f64).ceil() as u64).clamp(1, self.count.max(1));
        if self.count == 0 {
            return None;
        }
        let mut below = self.instant;
        if rank <= below {
            return Some(0.0);
        }
        for (bucket, count) in &self.buckets {
            below += count;
            if rank <= below {
                // The middle of the bucket, in the sense of the relative error.
                return Some(2.0 * gamma().powi(*bucket) / (gamma() + 1.0));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn quantiles_are_within_the_promised_error(
            mut all in prop::collection::vec(0u32..40_000_000, 1..400),
            q in 0.0f64..=1.0,
            split in 0usize..400,
        ) {
            let (mut one, mut two) = (Sketch::default(), Sketch::default());
            for (at, seconds) in all.iter().enumerate() {
                if at < split { one.add(f64::from(*seconds)) } else { two.add(f64::from(*seconds)) }
            }
            one.merge(&two);
            all.sort_unstable();
            let rank = ((q * all.len() as f64).ceil() as usize).clamp(1, all.len());
            let exact = f64::from(all[rank - 1]);
            let told = one.quantile(q).unwrap();
            prop_assert!((told - exact).abs() <= ACCURACY * exact * 1.000_001, "{told} for {exact}");
            prop_assert_eq!(one.count(), all.len() as u64);
        }
    }

    #[test]
    fn nothing_has_no_quantile() {
        assert_eq!(Sketch::default().quantile(0.5), None);
        let mut sketch = Sketch::default();
        sketch.add(-3.0);
        assert_eq!(sketch.quantile(0.9), Some(0.0));
    }
}
