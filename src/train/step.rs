//! One step of training: the gradients of a batch, whose parts are walked side by side.
//!
//! Shared out inside of each operation only, two cores wait for each other some hundred times a step. The parts are
//! the same on every machine, whatever its cores, and so is the sum. May depend on: `model`, `tokenise`, `train::loss`.

use candle_core::{Result, Tensor};
use rayon::prelude::*;

use super::loss::{JointLoss, Target};
use crate::model::joined::Joined;
use crate::model::net::Net;
use crate::model::ops::{Dropout, add};
use crate::tokenise::Tokens;

/// Parts of a batch. Each holds gradients of its own, so more parts than cores cost memory and time.
const PARTS: usize = 2;

/// What does not follow from the batch.
pub struct Noise {
    /// Share of hidden values zeroed.
    pub dropout: f64,
    /// Label smoothing.
    pub smoothing: f32,
    /// How much it counts that two readings of one message disagree.
    pub agree: f32,
    pub seed: u64,
    /// Steps before this one: each has masks of its own, and each part of it.
    pub step: u64,
}

/// One message of a batch.
#[derive(Clone, Copy)]
pub struct Reading<'a> {
    pub tokens: &'a Tokens,
    /// The same message written another way, where it is to be read both ways.
    pub again: Option<&'a Tokens>,
    pub target: Target,
}

/// Mean loss of `batch` and the gradient of each parameter, in their order.
///
/// # Errors
/// Where the tensor library fails.
pub fn gradients(
    net: &Net,
    batch: &[Reading],
    noise: &Noise,
) -> Result<(f32, Vec<Option<Tensor>>)> {
    let laid_out = net.lay_out()?;
    let one = |part: usize| {
        // A batch is in order of length: every other message makes parts of like length.
        let (mut tokens, mut targets, mut twins) = (Vec::new(), Vec::new(), Vec::new());
        for reading in batch.iter().skip(part).step_by(PARTS) {
            let mut target = reading.target;
            if let Some(again) = reading.again {
                // A message counts once, however often it is read.
                target.weight /= 2.0;
                twins.push(tokens.len() + 1);
                tokens.extend([reading.tokens, again]);
                targets.extend([target, target]);
            } else {
                tokens.push(reading.tokens);
                targets.push(target);
            }
        }
        let seed = (noise.seed ^ (noise.step * PARTS as u64)).wrapping_add(part as u64);
        let dropout = Dropout::new(noise.dropout, seed << 8);
        let loss = JointLoss {
            targets,
            twins,
            agree: noise.agree,
            of: batch.len(),
            smoothing: noise.smoothing,
        };
        net.gradients(&laid_out, &Joined::new(tokens), &dropout, loss)
    };
    let parts: Vec<_> = (0..PARTS.min(batch.len())).into_par_iter().map(one).collect();
    let mut total: Option<(f32, Vec<Option<Tensor>>)> = None;
    for part in parts {
        let (loss, gradients) = part?;
        total = Some(match total.take() {
            None => (loss, gradients),
            Some((before, sums)) => {
                let both = sums.into_iter().zip(gradients).map(|pair| match pair {
                    (Some(a), Some(b)) => add(&a, &b).map(Some),
                    (a, b) => Ok(a.or(b)),
                });
                (before + loss, both.collect::<Result<_>>()?)
            }
        });
    }
    Ok(total.unwrap_or_default())
}
