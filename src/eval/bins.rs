//! Probabilities and outcomes by bin: the calibration error and the reliability behind it.
//!
//! Depends on nothing else in the crate.

use serde::Serialize;

use super::share;

/// Bins of the calibration error.
pub const BINS: usize = 15;

/// Probabilities and outcomes by bin.
#[derive(Clone, Debug, Default)]
pub(super) struct Bins(pub(super) [Bin; BINS]);

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bin {
    pub(super) n: u64,
    /// Sum of the probabilities.
    expected: f64,
    /// How often it came true.
    observed: u64,
}

/// One bin of a reliability diagram.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct BinReport {
    /// Probabilities in (above, upto]; the first bin has 0 too.
    pub above: f64,
    pub upto: f64,
    /// Verdicts whose probability is in this bin.
    pub n: u64,
    /// Mean of the probabilities; absent where the bin is empty.
    pub mean_probability: Option<f64>,
    /// Share that came true: that the label holds, or that the sentiment said is right.
    pub share_right: Option<f64>,
}

impl Bins {
    pub(super) fn add(&mut self, probability: f32, came_true: bool) {
        let p = f64::from(probability);
        // Bin b is (b/15, (b+1)/15]; 0 itself belongs to the first.
        let at = (p * BINS as f64).ceil() as usize;
        let bin = &mut self.0[at.clamp(1, BINS) - 1];
        bin.n += 1;
        bin.expected += p;
        bin.observed += u64::from(came_true);
    }

    /// sum over bins of n_b/n * |mean probability - share come true|; 0 where there is nothing.
    pub(super) fn error(&self) -> f64 {
        let n: u64 = self.0.iter().map(|bin| bin.n).sum();
        let gaps: f64 = self.0.iter().map(|bin| (bin.expected - bin.observed as f64).abs()).sum();
        if n == 0 { 0.0 } else { gaps / n as f64 }
    }

    /// Every bin, empty ones too, so that each report has the same ones.
    pub(super) fn report(&self) -> [BinReport; BINS] {
        std::array::from_fn(|at| {
            let Bin { n, expected, observed } = self.0[at];
            BinReport {
                above: at as f64 / BINS as f64,
                upto: (at + 1) as f64 / BINS as f64,
                n,
                mean_probability: (n > 0).then(|| expected / n as f64),
                share_right: share(observed, n),
            }
        })
    }
}
