//! How many messages really have a label, given how often the model is wrong: quantification.
//!
//! Counting verdicts is off wherever a label is rarer or commoner than where the model was calibrated: of a month without
//! compliments some messages are still said to be compliments. Expectation-maximisation on calibrated probabilities
//! corrects both the probabilities and the share (Saerens, Latinne and Decaestecker 2002,
//! <https://doi.org/10.1162/089976602753284446>); among like methods it is the best with calibrated probabilities
//! (Esuli, Molinari and Sebastiani 2021, <https://doi.org/10.1145/3433164>). Depends on nothing else in the crate.

/// Bins of a probability: fine enough that a share moves by less than it would by one message in a thousand.
const BINS: usize = 200;
/// Fewer messages than this say too little about a share.
pub const LEAST: u64 = 50;
/// Rounds at most; it is near its end after some ten.
const ROUNDS: usize = 500;
/// A share that moves by less has arrived.
const ARRIVED: f64 = 1e-7;

/// How often each probability was given for one label.
#[derive(Clone, Debug, PartialEq)]
pub struct Spread {
    bins: Box<[u32; BINS]>,
    count: u64,
}

impl Default for Spread {
    fn default() -> Self {
        Spread { bins: Box::new([0; BINS]), count: 0 }
    }
}

impl Spread {
    /// Adds a probability, in [0, 1].
    pub fn add(&mut self, probability: f32) {
        let bin = (f64::from(probability) * BINS as f64) as usize;
        self.bins[bin.min(BINS - 1)] += 1;
        self.count += 1;
    }

    /// Adds all of another.
    pub fn merge(&mut self, other: &Spread) {
        self.bins.iter_mut().zip(other.bins.iter()).for_each(|(ours, theirs)| *ours += theirs);
        self.count += other.count;
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// How many messages have the label, where it holds for a share `prior` of the messages that the
    /// probabilities were calibrated on. `None` where there are fewer than [`LEAST`], or no such prior.
    pub fn estimate(&self, prior: f64) -> Option<f64> {
        if self.count < LEAST || !(prior > 0.0 && prior < 1.0) {
            return None;
        }
        let all = self.count as f64;
        let mut share = prior;
        for _ in 0..ROUNDS {
            let (yes, no) = (share / prior, (1.0 - share) / (1.0 - prior));
            let posterior = |bin: usize| {
                let p = (bin as f64 + 0.5) / BINS as f64;
                yes * p / (yes * p + no * (1.0 - p))
            };
            let bins = self.bins.iter().enumerate().filter(|(_, count)| **count > 0);
            let sum: f64 = bins.map(|(bin, count)| f64::from(*count) * posterior(bin)).sum();
            let next = sum / all;
            let moved = (next - share).abs();
            share = next;
            if moved < ARRIVED {
                break;
            }
        }
        Some(share * all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt as _, SeedableRng as _};

    /// A classifier whose evidence is normal around -1 or 1, calibrated for the share `prior`.
    fn messages(share: f64, prior: f64, count: usize, seed: u64) -> (Spread, u64) {
        let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
        let (mut spread, mut said) = (Spread::default(), 0);
        for _ in 0..count {
            let side = if random.random::<f64>() < share { 1.0 } else { -1.0 };
            // Twelve uniform draws make a normal one.
            let noise: f64 = (0..12).map(|_| random.random::<f64>()).sum::<f64>() - 6.0;
            let evidence = side + noise;
            // The log-likelihood ratio of two normals of variance 1 around -1 and 1.
            let odds = (2.0 * evidence).exp() * prior / (1.0 - prior);
            let p = odds / (1.0 + odds);
            spread.add(p as f32);
            said += u64::from(p >= 0.5);
        }
        (spread, said)
    }

    #[test]
    fn finds_shares_that_counting_misses() {
        for (share, seed) in [(0.02, 1), (0.1, 2), (0.6, 3), (0.9, 4)] {
            let (spread, said) = messages(share, 0.3, 5000, seed);
            let (right, found) = (share * 5000.0, spread.estimate(0.3).unwrap());
            let (gap, plain) = ((found - right).abs(), (said as f64 - right).abs());
            assert!(gap < 120.0 && gap < plain, "{share}: {found}, counted {said}");
        }
    }

    #[test]
    fn halves_together_are_the_whole() {
        let (whole, _) = messages(0.2, 0.3, 1000, 5);
        let (mut one, _) = messages(0.2, 0.3, 400, 5);
        let (other, _) = messages(0.7, 0.3, 300, 6);
        let both = one.estimate(0.3).unwrap() + other.estimate(0.3).unwrap();
        one.merge(&other);
        assert!((one.estimate(0.3).unwrap() - both).abs() < 60.0);
        assert!(whole.estimate(0.3).is_some());
    }

    #[test]
    fn says_nothing_of_few_or_without_a_prior() {
        let mut spread = Spread::default();
        (0..49).for_each(|_| spread.add(0.5));
        assert_eq!(spread.estimate(0.3), None);
        spread.add(1.0);
        assert!(spread.estimate(0.3).is_some());
        assert_eq!((spread.estimate(0.0), spread.estimate(f64::NAN)), (None, None));
        let mut none = Spread::default();
        (0..80).for_each(|_| none.add(0.0));
        assert!(none.estimate(0.3).unwrap() < 1.0);
    }
}
