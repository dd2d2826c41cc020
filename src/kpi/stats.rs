//! Intervals and tests for counts. Depends on nothing else in the crate.

use statrs::function::beta::beta_reg;
use statrs::function::erf::erfc;
use statrs::function::factorial::ln_binomial;
use statrs::function::gamma::gamma_lr;

/// 97.5% of a standard normal lie below it: for intervals of 95%.
const Z95: f64 = 1.959_963_984_540_054;
/// Expected counts below this make the normal approximation doubtful (Cochran 1954).
const FEW: f64 = 5.0;
/// Most tables that the exact test adds up; beyond it the approximation is good anyway.
const MOST_TABLES: u64 = 100_000;

/// A value with the bounds that hold it in 95 of 100 samples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    pub value: f64,
    pub low: f64,
    pub high: f64,
}

/// Mean and variance of a difference of two shares of one sample, half a case added to each of the four cells
/// of which it is one (Agresti and Min 2005, <https://doi.org/10.1002/sim.1781>).
fn difference(positive: f64, negative: f64, all: f64) -> (f64, f64) {
    let (plus, minus, n) = (positive + 0.5, negative + 0.5, all + 2.0);
    let mean = (plus - minus) / n;
    (mean, ((plus + minus) / n - mean * mean) / n)
}

/// Net sentiment, (positive - negative) / all, in [-1, 1], with its interval; `None` of nothing.
pub fn net_sentiment(positive: u64, negative: u64, all: u64) -> Option<Interval> {
    if all == 0 {
        return None;
    }
    let (plus, minus, n) = (positive as f64, negative as f64, all as f64);
    let (mean, variance) = difference(plus, minus, n);
    let reach = Z95 * variance.sqrt();
    let value = (plus - minus) / n;
    // The interval of a sample without variance must still hold what was seen.
    let low = (mean - reach).clamp(-1.0, value);
    Some(Interval { value, low, high: (mean + reach).clamp(value, 1.0) })
}

/// How likely net sentiments that differ so much are where nothing changed, as (positive, negative, all).
pub fn same_net(now: (u64, u64, u64), before: (u64, u64, u64)) -> Option<f64> {
    if now.2 == 0 || before.2 == 0 {
        return None;
    }
    let of = |(plus, minus, n): (u64, u64, u64)| difference(plus as f64, minus as f64, n as f64);
    let ((mean, variance), (mean_before, variance_before)) = (of(now), of(before));
    let z = (mean - mean_before) / (variance + variance_before).sqrt();
    Some(two_sided(z))
}

/// How likely shares that differ so much are where nothing changed, as (cases, all): the test of two
/// proportions, and Fisher's exact test where cases are few.
pub fn same_share(now: (u64, u64), before: (u64, u64)) -> Option<f64> {
    let ((a, n), (b, m)) = (now, before);
    if n == 0 || m == 0 {
        return None;
    }
    let (cases, all) = (a + b, n + m);
    let share = cases as f64 / all as f64;
    if cases == 0 || cases == all {
        return Some(1.0);
    }
    let smaller = n.min(m) as f64;
    let few = smaller * share < FEW || smaller * (1.0 - share) < FEW;
    if few && cases.min(n) <= MOST_TABLES {
        return Some(fisher(a, n, cases, all));
    }
    let spread = (share * (1.0 - share) * (1.0 / n as f64 + 1.0 / m as f64)).sqrt();
    Some(two_sided((a as f64 / n as f64 - b as f64 / m as f64) / spread))
}

/// Two-sided p of Fisher's exact test: `a` of `n` are cases where `cases` of `all` are.
fn fisher(a: u64, n: u64, cases: u64, all: u64) -> f64 {
    let log =
        |k: u64| ln_binomial(cases, k) + ln_binomial(all - cases, n - k) - ln_binomial(all, n);
    let seen = log(a);
    let (least, most) = (n.saturating_sub(all - cases), cases.min(n));
    // As likely as what was seen, but for rounding, counts as such.
    let tail: f64 =
        (least..=most).map(log).filter(|other| *other <= seen + 1e-7).map(f64::exp).sum();
    tail.min(1.0)
}

/// Share of a standard normal at least as far from 0 as `z`.
fn two_sided(z: f64) -> f64 {
    if z.is_nan() { 1.0 } else { erfc(z.abs() / std::f64::consts::SQRT_2) }
}

/// P(X >= `count`) for a count of this mean and of `dispersion` times its variance were it Poisson: negative
/// binomial above 1, Poisson at 1.
pub fn at_least(count: u64, mean: f64, dispersion: f64) -> f64 {
    if count == 0 {
        return 1.0;
    }
    if mean <= 0.0 {
        return 0.0;
    }
    // Hardly more than Poisson: the size below would have no use for its precision.
    if dispersion < 1.0 + 1e-6 {
        return gamma_lr(count as f64, mean);
    }
    let size = mean / (dispersion - 1.0);
    beta_reg(count as f64, size, 1.0 - 1.0 / dispersion)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-6 * b.abs().max(1e-3), "{a} is not {b}");
    }

    #[test]
    fn tails_are_those_of_the_textbook() {
        // Sums of the probability mass functions themselves.
        let poisson = |k: u64, mean: f64| {
            let mut term = (-mean).exp();
            let mut below = 0.0;
            for i in 0..k {
                below += term;
                term *= mean / (i + 1) as f64;
            }
            1.0 - below
        };
        close(at_least(10, 3.5, 1.0), poisson(10, 3.5));
        close(at_least(3, 0.7, 1.0), poisson(3, 0.7));
        // Size 2, probability 1/2: P(X = k) = (k + 1) / 2^(k + 2); mean 2, twice the variance of a Poisson.
        let below: f64 = (0..6).map(|k| f64::from(k + 1) / 2f64.powi(k + 2)).sum();
        close(at_least(6, 2.0, 2.0), 1.0 - below);
        assert_eq!((at_least(0, 1.0, 2.0), at_least(1, 0.0, 1.0)), (1.0, 0.0));
    }

    #[test]
    fn a_near_poisson_count_is_a_poisson_count() {
        for count in [1, 5, 20] {
            let gap = at_least(count, 4.0, 1.000_01) / at_least(count, 4.0, 1.0);
            assert!((gap - 1.0).abs() < 1e-3, "{count}: {gap}");
        }
    }

    #[test]
    fn the_lady_tasting_tea_is_judged_as_fisher_did() {
        // 3 of 4 cups right: 34/70 two-sided; all 4: 2/70.
        close(same_share((3, 4), (1, 4)).unwrap(), 34.0 / 70.0);
        close(same_share((4, 4), (0, 4)).unwrap(), 2.0 / 70.0);
    }

    #[test]
    fn large_samples_are_tested_by_the_normal_approximation() {
        // z = (0.5 - 0.4) / sqrt(0.45 * 0.55 * 0.02) = 1.4213...
        let p = same_share((50, 100), (40, 100)).unwrap();
        close(p, two_sided(0.1 / (0.45f64 * 0.55 * 0.02).sqrt()));
        assert!((p - 0.155).abs() < 0.001, "{p}");
        assert_eq!(same_share((0, 10), (0, 12)), Some(1.0));
        assert_eq!(same_share((0, 0), (3, 12)), None);
        close(two_sided(Z95), 0.05);
    }

    #[test]
    fn intervals_hold_what_was_seen_and_shrink_with_size() {
        let small = net_sentiment(6, 3, 12).unwrap();
        assert_eq!(small.value, 0.25);
        // (6.5 - 3.5) / 14 and its variance.
        let (mean, n) = (3.0 / 14.0f64, 14.0);
        close(small.high, mean + Z95 * ((10.0 / 14.0 - mean * mean) / n).sqrt());
        let large = net_sentiment(600, 300, 1200).unwrap();
        assert!(large.high - large.low < (small.high - small.low) / 5.0);
        for (plus, minus, all) in [(0, 0, 1), (1, 0, 1), (5, 0, 5), (0, 900, 900)] {
            let interval = net_sentiment(plus, minus, all).unwrap();
            assert!(interval.low <= interval.value && interval.value <= interval.high);
            assert!(interval.low >= -1.0 && interval.high <= 1.0 && interval.low < interval.high);
        }
        assert_eq!(net_sentiment(0, 0, 0), None);
    }

    /// 95% intervals hold the true value in about 95 of 100 samples, also of small ones.
    #[test]
    fn intervals_keep_their_promise() {
        use rand::{RngExt as _, SeedableRng as _};
        let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(7);
        for (plus, minus, all) in [(0.2, 0.3, 30u64), (0.02, 0.6, 50), (0.45, 0.45, 200)] {
            let mut held = 0;
            for _ in 0..2000 {
                let (mut positive, mut negative) = (0, 0);
                for _ in 0..all {
                    let draw: f64 = random.random();
                    positive += u64::from(draw < plus);
                    negative += u64::from(draw >= plus && draw < plus + minus);
                }
                let interval = net_sentiment(positive, negative, all).unwrap();
                held += u32::from(interval.low <= plus - minus && plus - minus <= interval.high);
            }
            assert!((1860..=1980).contains(&held), "{held} of 2000 for {plus} and {minus}");
        }
    }
}
