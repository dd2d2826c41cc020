//! The training loss, with its gradient in closed form.
//!
//! Cross-entropy of each known label: logistic for the intents and urgent, softmax for sentiment. Unknown labels add
//! nothing to it. Two readings of one message add how far they are apart. May depend on: `model::{labels, ops}`, candle.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};

use crate::message::Sentiment;
use crate::model::labels::LOGITS;
use crate::model::ops::with_values;

/// Share of sentiment in the loss; each intent has 1.
const SENTIMENT: f32 = 1.0;
/// Share of urgent, which is rare and second to the intents.
const URGENT: f32 = 0.5;

/// What is known of one message.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Target {
    /// In the order of `Intent::ALL`; `None` where unknown.
    pub intents: [Option<bool>; 4],
    pub sentiment: Option<Sentiment>,
    pub urgent: Option<bool>,
    /// How much this message counts.
    pub weight: f32,
}

/// What part of a batch adds to its mean loss, as an operation on its logits: (B, [`LOGITS`]) -> scalar.
pub struct JointLoss {
    /// One a row of logits.
    pub targets: Vec<Target>,
    /// Rows that read the message of the row before, written another way.
    pub twins: Vec<usize>,
    /// How much it counts that twins disagree.
    pub agree: f32,
    /// Messages of the whole batch.
    pub of: usize,
    /// Moves each target that share of the way to indifference (Szegedy et al. 2016).
    pub smoothing: f32,
}

impl JointLoss {
    /// Loss of one row, and its gradient added to `gradient`, both scaled by `scale`.
    fn row(&self, z: &[f32], target: &Target, scale: f32, gradient: &mut [f32]) -> f32 {
        let mut loss = 0.0;
        let mut logistic = |index: usize, known: Option<bool>, share: f32| {
            let Some(holds) = known else { return };
            let y = (if holds { 1.0 } else { 0.0 }) * (1.0 - self.smoothing) + 0.5 * self.smoothing;
            let x = z[index];
            loss += share * scale * (x.max(0.0) - x * y + (-x.abs()).exp().ln_1p());
            gradient[index] += share * scale * (1.0 / (1.0 + (-x).exp()) - y);
        };
        for (index, known) in target.intents.into_iter().enumerate() {
            logistic(index, known, 1.0);
        }
        logistic(7, target.urgent, URGENT);
        if let Some(sentiment) = target.sentiment {
            let z = &z[4..7];
            let most = z.iter().copied().fold(f32::MIN, f32::max);
            let sum: f32 = z.iter().map(|z| (z - most).exp()).sum();
            for (class, z) in z.iter().enumerate() {
                let hit = if class == sentiment as usize { 1.0 } else { 0.0 };
                let y = hit * (1.0 - self.smoothing) + self.smoothing / 3.0;
                let log_p = z - most - sum.ln();
                loss -= SENTIMENT * scale * y * log_p;
                gradient[4 + class] += SENTIMENT * scale * (log_p.exp() - y);
            }
        }
        loss
    }

    fn run(&self, logits: &[f32]) -> (f32, Vec<f32>) {
        let mut gradient = vec![0f32; logits.len()];
        let mean = 1.0 / self.of as f32;
        let rows = logits.chunks_exact(LOGITS).zip(gradient.chunks_exact_mut(LOGITS));
        let mut loss: f32 = rows
            .zip(&self.targets)
            .map(|((z, gradient), target)| self.row(z, target, mean * target.weight, gradient))
            .sum();
        for &twin in &self.twins {
            // Each of the two rows counts for half of the message.
            let scale = self.agree * mean * 2.0 * self.targets[twin].weight;
            let both = (twin - 1) * LOGITS..(twin + 1) * LOGITS;
            loss += apart(&logits[both.clone()], scale, &mut gradient[both]);
        }
        (loss, gradient)
    }
}

/// Mean of the Kullback-Leibler divergences both ways between what two rows say, label by label, times `scale`; its
/// gradient is added to `gradient`. Liang et al. 2021 (R-Drop, <https://arxiv.org/abs/2106.14448>), with the message
/// written another way beside the other dropout.
fn apart(rows: &[f32], scale: f32, gradient: &mut [f32]) -> f32 {
    let (a, b) = rows.split_at(LOGITS);
    let (grad_a, grad_b) = gradient.split_at_mut(LOGITS);
    let half = scale / 2.0;
    let mut sum = 0.0;
    // The divergences both ways add up to the inner product of the differences: of the chances, and of the logits.
    for index in [0, 1, 2, 3, 7] {
        let share = if index == 7 { URGENT } else { 1.0 } * half;
        let [p, q] = [a[index], b[index]].map(|x| 1.0 / (1.0 + (-x).exp()));
        let step = a[index] - b[index];
        sum += share * (p - q) * step;
        grad_a[index] += share * (p - q + p * (1.0 - p) * step);
        grad_b[index] -= share * (p - q + q * (1.0 - q) * step);
    }
    let [p, q] = [softmax(&a[4..7]), softmax(&b[4..7])];
    let steps: [f32; 3] = std::array::from_fn(|class| a[4 + class] - b[4 + class]);
    let [under_p, under_q] =
        [p, q].map(|p| p.iter().zip(steps).map(|(p, step)| p * step).sum::<f32>());
    for class in 0..3 {
        let (apart, step) = (p[class] - q[class], steps[class]);
        sum += SENTIMENT * half * apart * step;
        grad_a[4 + class] += SENTIMENT * half * (apart + p[class] * (step - under_p));
        grad_b[4 + class] -= SENTIMENT * half * (apart + q[class] * (step - under_q));
    }
    sum
}

fn softmax(z: &[f32]) -> [f32; 3] {
    let most = z.iter().copied().fold(f32::MIN, f32::max);
    let exp: [f32; 3] = std::array::from_fn(|class| (z[class] - most).exp());
    let sum: f32 = exp.iter().sum();
    exp.map(|e| e / sum)
}

impl CustomOp1 for JointLoss {
    fn name(&self) -> &'static str {
        "joint-loss"
    }

    fn cpu_fwd(&self, logits: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        if layout.shape().dims2()? != (self.targets.len(), LOGITS) {
            bail!("joint-loss: {:?} for {} targets", layout.shape(), self.targets.len());
        }
        let Some((start, end)) = layout.contiguous_offsets() else {
            bail!("joint-loss: not contiguous");
        };
        let (loss, _) = self.run(&logits.as_slice::<f32>()?[start..end]);
        Ok((CpuStorage::F32(vec![loss]), Shape::from(())))
    }

    fn bwd(&self, logits: &Tensor, _loss: &Tensor, outer: &Tensor) -> Result<Option<Tensor>> {
        let (_, gradient) = with_values(logits, |logits| Ok(self.run(logits)))?;
        let gradient = Tensor::from_vec(gradient, logits.shape(), logits.device())?;
        gradient.broadcast_mul(outer).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::model::ops::Tape;

    const TARGETS: [Target; 2] = [
        Target {
            intents: [Some(true), Some(false), None, Some(true)],
            sentiment: Some(Sentiment::Negative),
            urgent: Some(false),
            weight: 1.0,
        },
        Target { intents: [None; 4], sentiment: None, urgent: Some(true), weight: 0.5 },
    ];

    /// The gradient of the loss on some logits, and the slope of the loss along each.
    fn gradient_and_slopes(twins: &[usize]) -> Result<(Vec<f32>, Vec<f32>)> {
        let z: Vec<f32> = (0..16).map(|i| ((i * 7) % 11) as f32 / 3.0 - 1.5).collect();
        let joint = || JointLoss {
            targets: TARGETS.to_vec(),
            twins: twins.to_vec(),
            agree: 0.7,
            of: 2,
            smoothing: 0.1,
        };
        let tensor = |z: &[f32]| Tensor::from_slice(z, (2, LOGITS), &Device::Cpu);
        let tape = Tape::recording();
        let leaf = tape.leaf(&tensor(&z)?);
        let loss = tape.custom(joint(), &leaf)?;
        let gradients = tape.backward(&loss)?;
        let gradient = gradients.get(&leaf).unwrap().flatten_all()?.to_vec1::<f32>()?;
        let slope = |i: usize| -> Result<f32> {
            let at = |step: f32| -> Result<f32> {
                let mut moved = z.clone();
                moved[i] += step;
                tensor(&moved)?.apply_op1(joint())?.to_scalar::<f32>()
            };
            Ok((at(1e-2)? - at(-1e-2)?) / 2e-2)
        };
        let slopes = (0..z.len()).map(slope).collect::<Result<_>>()?;
        Ok((gradient, slopes))
    }

    #[test]
    fn gradient_matches_differences_and_unknown_labels_have_none() -> Result<()> {
        let (gradient, slopes) = gradient_and_slopes(&[])?;
        for (i, (slope, gradient)) in slopes.iter().zip(&gradient).enumerate() {
            assert!((slope - gradient).abs() < 1e-3, "{i}: {slope} vs {gradient}");
        }
        assert_eq!(gradient[2], 0.0, "an unknown intent");
        assert!(gradient[8..15].iter().all(|g| *g == 0.0), "only urgent is known");
        Ok(())
    }

    #[test]
    fn twins_are_drawn_together_in_unknown_labels_too() -> Result<()> {
        let (gradient, slopes) = gradient_and_slopes(&[1])?;
        for (i, (slope, gradient)) in slopes.iter().zip(&gradient).enumerate() {
            assert!((slope - gradient).abs() < 1e-3, "{i}: {slope} vs {gradient}");
        }
        let (alone, _) = gradient_and_slopes(&[])?;
        let drawn: Vec<f32> =
            gradient.iter().zip(alone).map(|(with, without)| with - without).collect();
        for label in [0, 1, 2, 3, 7] {
            let sum = drawn[label] + drawn[LOGITS + label];
            assert!(drawn[label].abs() > 1e-4, "{label}");
            assert!(sum.abs() < drawn[label].abs(), "one up, one down: {label}");
        }
        Ok(())
    }

    #[test]
    fn disagreement_is_the_divergence_by_its_definition() {
        let rows: Vec<f32> = (0..16).map(|i| ((i * 5) % 7) as f32 / 2.0 - 1.0).collect();
        let (a, b) = rows.split_at(LOGITS);
        let divergence =
            |p: &[f32], q: &[f32]| -> f32 { p.iter().zip(q).map(|(p, q)| p * (p / q).ln()).sum() };
        let both = |p: &[f32], q: &[f32]| (divergence(p, q) + divergence(q, p)) / 2.0;
        let coin = |x: f32| [1.0 / (1.0 + (-x).exp()), 1.0 / (1.0 + x.exp())];
        let mut expected = both(&softmax(&a[4..7]), &softmax(&b[4..7]));
        for (index, share) in [(0, 1.0), (1, 1.0), (2, 1.0), (3, 1.0), (7, URGENT)] {
            expected += share * both(&coin(a[index]), &coin(b[index]));
        }
        let found = apart(&rows, 1.0, &mut [0.0; 16]);
        assert!((found - expected).abs() < 1e-5, "{found} vs {expected}");
        let same = [a, a].concat();
        assert_eq!(apart(&same, 1.0, &mut [0.0; 16]), 0.0);
    }

    #[test]
    fn is_the_textbook_cross_entropy() -> Result<()> {
        let z = Tensor::zeros((2, LOGITS), candle_core::DType::F32, &Device::Cpu)?;
        let joint = JointLoss {
            targets: TARGETS.to_vec(),
            twins: Vec::new(),
            agree: 0.0,
            of: 2,
            smoothing: 0.0,
        };
        let loss = z.apply_op1(joint)?.to_scalar::<f32>()?;
        let (ln2, ln3) = (2f32.ln(), 3f32.ln());
        let expected = (3.0 * ln2 + ln3 + 0.5 * ln2) / 2.0 + 0.5 * 0.5 * ln2 / 2.0;
        assert!((loss - expected).abs() < 1e-6, "{loss} vs {expected}");
        Ok(())
    }
}
