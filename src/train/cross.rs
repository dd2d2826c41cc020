//! What fitted thresholds are worth on messages that they were not fitted on: cross-validation.
//!
//! May depend on: `eval`, `model::labels`, `train::{corpus, fit, tune}`.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::fit::evaluate_more;
use super::tune::{Measured, tune};
use crate::eval::Evaluation;
use crate::model::labels::Calibration;

/// Parts that each file is cut in; each is read with what was fitted on the others.
const PARTS: usize = 5;
/// Times that the messages are shuffled and cut anew.
const SHUFFLES: u64 = 10;

/// Macro-F1 on one file.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Scores {
    pub intents: f64,
    /// 0 where no sentiment is told.
    pub sentiment: f64,
}

impl Scores {
    /// Of what was counted.
    pub fn of(evaluation: &Evaluation) -> Self {
        let report = evaluation.report();
        let sentiment = report.sentiment.map_or(0.0, |sentiment| sentiment.macro_f1);
        Scores { intents: report.intents.macro_f1, sentiment }
    }

    /// A line for people, of a file of `n` messages.
    pub fn compared(name: &str, n: usize, before: Scores, after: Scores) -> String {
        format!(
            "  {name} ({n} messages): macro-F1 of intents {:.3} -> {:.3}, of sentiment {:.3} -> {:.3}\n",
            before.intents, after.intents, before.sentiment, after.sentiment,
        )
    }
}

/// The scores of each file where every message is read with what [`tune`] makes of other messages: five parts, each read with
/// what was fitted on the other four; the mean of ten shuffles, the same for the same files.
pub fn cross_validate(files: &[Measured], before: &Calibration, by_language: bool) -> Vec<Scores> {
    let mut means = vec![Scores::default(); files.len()];
    for shuffle in 0..SHUFFLES {
        let mut random = ChaCha8Rng::seed_from_u64(shuffle);
        let part: Vec<Vec<usize>> = files
            .iter()
            .map(|file| {
                let mut parts: Vec<usize> = (0..file.len()).map(|i| i % PARTS).collect();
                parts.shuffle(&mut random);
                parts
            })
            .collect();
        let mut evaluations: Vec<Evaluation> = files.iter().map(|_| Evaluation::new()).collect();
        for held in 0..PARTS {
            let rest: Vec<Measured> = files
                .iter()
                .zip(&part)
                .map(|(file, part)| {
                    let of_rest = file.iter().zip(part).filter(|(_, part)| **part != held);
                    of_rest.map(|(pair, _)| *pair).collect()
                })
                .collect();
            let fitted = tune(&rest, before, by_language);
            for ((file, part), evaluation) in files.iter().zip(&part).zip(&mut evaluations) {
                let own = file.iter().zip(part).filter(|(_, part)| **part == held);
                evaluate_more(evaluation, &fitted, own.map(|(pair, _)| *pair));
            }
        }
        for (mean, evaluation) in means.iter_mut().zip(&evaluations) {
            let scores = Scores::of(evaluation);
            mean.intents += scores.intents / SHUFFLES as f64;
            mean.sentiment += scores.sentiment / SHUFFLES as f64;
        }
    }
    means
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Sentiment;
    use crate::model::labels::Logits;
    use crate::train::corpus::Example;
    use crate::train::loss::Target;

    /// Labels that come true as often as `shown` says of the message at a place.
    fn file(shown: impl Fn(usize) -> (bool, f32)) -> (Vec<Example>, Vec<Logits>) {
        (0..200)
            .map(|i| {
                let (holds, logit) = shown(i);
                let target = Target {
                    intents: [Some(holds); 4],
                    sentiment: Some(Sentiment::Neutral),
                    urgent: None,
                    weight: 1.0,
                };
                let mut logits = [logit; 8];
                logits[5] += 1.0;
                (Example::unread(target), logits)
            })
            .unzip()
    }

    fn scores((examples, logits): &(Vec<Example>, Vec<Logits>)) -> Scores {
        let files = [examples.iter().zip(logits).collect()];
        let found = cross_validate(&files, &Calibration::default(), false);
        assert_eq!(found, cross_validate(&files, &Calibration::default(), false));
        found[0]
    }

    #[test]
    fn what_can_be_told_apart_is_and_what_cannot_is_not() {
        // Half holds, from a logit of 3 on, where 0.5 uncalibrated would say it of nearly all.
        let found = scores(&file(|i| (i % 2 == 0, if i % 2 == 0 { 4.0 } else { 2.0 })));
        assert!((found.intents - 1.0).abs() < 1e-9, "{found:?}");
        assert!((found.sentiment - 1.0 / 3.0).abs() < 1e-9, "neutral is all there is: {found:?}");
        // The logit says nothing: at best all are said to hold, which is right in one of four.
        let found = scores(&file(|i| (i % 4 == 0, ((i * 7919) % 200) as f32 / 100.0)));
        assert!((0.2..=0.45).contains(&found.intents), "{found:?}");
    }
}
