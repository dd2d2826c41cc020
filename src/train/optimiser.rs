//! AdamW (Loshchilov & Hutter 2019, <https://arxiv.org/abs/1711.05101>), one pass over memory.
//!
//! Composed of tensor operations an Adam step walks all parameters some fifteen times, which takes
//! as long as the network itself. May depend on: `model::{net, ops}`, candle, rayon.

use std::cell::RefCell;

use candle_core::{CpuStorage, InplaceOp2, Layout, Result, Tensor, bail};
use rayon::prelude::*;

use crate::model::net::{Parameter, Part};
use crate::model::ops::{vectorised, with_values};

/// Values that one task takes.
const BLOCK: usize = 64 * 1024;

/// What does not change from step to step.
#[derive(Clone, Copy, Debug)]
pub struct AdamSettings {
    /// Learning rate of embeddings and layers at its height.
    pub rate: f64,
    /// The head's learning rate, as a multiple of `rate`.
    pub head_factor: f64,
    /// Decoupled weight decay; not on biases and norms.
    pub weight_decay: f64,
    /// Gradients are scaled down to this L2 norm over all parameters (Pascanu et al. 2013).
    pub clip: f64,
    /// Each layer's rate as a share of that of the layer above it, down to the embeddings (Howard & Ruder
    /// 2018, <https://arxiv.org/abs/1801.06146>); 1 for the same rate everywhere.
    pub layer_decay: f64,
    /// Decay of the moving average of the weights, which is then what the run gives (Polyak & Juditsky
    /// 1992); 0 for no average.
    pub average: f64,
}

/// Moments of one parameter's gradient, value by value.
#[derive(Clone)]
pub struct Moments {
    /// Decaying mean.
    pub first: Vec<f32>,
    /// Decaying mean of squares.
    pub second: Vec<f32>,
    /// Moving average of the values themselves; empty where none is kept.
    pub average: Vec<f32>,
}

/// The optimiser with its moments, one pair a parameter, in their order.
pub struct AdamW {
    settings: AdamSettings,
    moments: Vec<RefCell<Moments>>,
    /// Factor on the rate of each parameter.
    factors: Vec<f64>,
    steps: i32,
}

impl AdamW {
    const BETAS: (f64, f64) = (0.9, 0.999);
    const EPSILON: f64 = 1e-8;

    /// With moments at zero, and an average that begins at the values as they are.
    ///
    /// # Errors
    /// Where the tensor library fails.
    pub fn new(parameters: &[Parameter], settings: AdamSettings) -> Result<Self> {
        let of = |p: &Parameter| -> Result<_> {
            let zeros = vec![0f32; p.tensor.elem_count()];
            let average = if settings.average > 0.0 { values_of(&p.tensor)? } else { Vec::new() };
            Ok(RefCell::new(Moments { first: zeros.clone(), second: zeros, average }))
        };
        let moments = parameters.iter().map(of).collect::<Result<_>>()?;
        let layer = |p: &Parameter| match p.part {
            Part::Layer(layer) => Some(layer as i32),
            _ => None,
        };
        let top = parameters.iter().filter_map(layer).max().unwrap_or(0);
        let factor = |p: &Parameter| match p.part {
            Part::Head => settings.head_factor,
            Part::Layer(layer) => settings.layer_decay.powi(top - layer as i32),
            Part::Embeddings => settings.layer_decay.powi(top + 1),
        };
        let factors = parameters.iter().map(factor).collect();
        Ok(AdamW { settings, moments, factors, steps: 0 })
    }

    /// The moving average of each parameter's values; `None` where none is kept.
    pub fn averages(&self) -> Option<Vec<Vec<f32>>> {
        (self.settings.average > 0.0)
            .then(|| self.moments.iter().map(|m| m.borrow().average.clone()).collect())
    }

    /// Steps taken and the moments, to save.
    pub fn state(&self) -> (i32, Vec<Moments>) {
        (self.steps, self.moments.iter().map(|m| m.borrow().clone()).collect())
    }

    /// Goes on from a saved state of the same parameters.
    pub fn restore(&mut self, steps: i32, moments: Vec<Moments>) {
        self.steps = steps;
        self.moments = moments.into_iter().map(RefCell::new).collect();
    }

    /// Moves `parameters` against `gradients`; `schedule` in [0, 1] scales every learning rate.
    /// Returns the L2 norm of the gradients before clipping.
    ///
    /// # Errors
    /// Where the gradients are not finite (nothing is moved then) or the tensor library fails.
    pub fn step(
        &mut self,
        parameters: &[Parameter],
        gradients: &[Option<Tensor>],
        schedule: f64,
    ) -> Result<f64> {
        let mut squares = 0f64;
        for gradient in gradients.iter().flatten() {
            squares += with_values(gradient, |g| Ok(sum_of_squares(g)))?;
        }
        let norm = squares.sqrt();
        if !norm.is_finite() {
            bail!("the gradient is not finite: the learning rate is too high");
        }
        self.steps += 1;
        let (b1, b2) = Self::BETAS;
        let corrections = (1.0 - b1.powi(self.steps), 1.0 - b2.powi(self.steps));
        let scale = (self.settings.clip / norm.max(1e-12)).min(1.0);
        // Early on the average would be of little but the start.
        let steps = f64::from(self.steps);
        let average = self.settings.average.min((1.0 + steps) / (10.0 + steps));
        let all = parameters.iter().zip(&self.moments).zip(&self.factors).zip(gradients);
        for (((parameter, moments), factor), gradient) in all {
            let Some(gradient) = gradient else { continue };
            let rate = self.settings.rate * factor * schedule;
            // Biases and norms are vectors; only matrices decay.
            let decays = parameter.share.len() > 1 && parameter.part != Part::Embeddings;
            let decay = if decays { self.settings.weight_decay } else { 0.0 };
            let update = Update {
                moments,
                scale: scale as f32,
                rate: (rate / corrections.0) as f32,
                second_correction: (1.0 / corrections.1) as f32,
                keep: (1.0 - rate * decay) as f32,
                average: average as f32,
            };
            parameter.tensor.inplace_op2(&gradient.contiguous()?, &update)?;
        }
        Ok(norm)
    }
}

fn sum_of_squares(values: &[f32]) -> f64 {
    let part = |block: &[f32]| {
        vectorised(|| {
            let mut lanes = [0f32; 16];
            let (whole, tail) = block.as_chunks::<16>();
            for chunk in whole {
                for (lane, value) in lanes.iter_mut().zip(chunk) {
                    *lane += value * value;
                }
            }
            f64::from(lanes.iter().sum::<f32>() + tail.iter().map(|v| v * v).sum::<f32>())
        })
    };
    // Summed in the order of the blocks, so that training is reproducible.
    values.par_chunks(BLOCK).map(part).collect::<Vec<_>>().iter().sum()
}

struct Update<'a> {
    moments: &'a RefCell<Moments>,
    scale: f32,
    rate: f32,
    second_correction: f32,
    keep: f32,
    average: f32,
}

impl InplaceOp2 for Update<'_> {
    fn name(&self) -> &'static str {
        "adamw"
    }

    fn cpu_fwd(
        &self,
        parameter: &mut CpuStorage,
        layout: &Layout,
        gradient: &CpuStorage,
        gradient_layout: &Layout,
    ) -> Result<()> {
        let (CpuStorage::F32(parameter), CpuStorage::F32(gradient)) = (parameter, gradient) else {
            bail!("adamw: not f32");
        };
        let ends = (layout.contiguous_offsets(), gradient_layout.contiguous_offsets());
        let (Some((start, end)), Some((from, to))) = ends else { bail!("adamw: not contiguous") };
        let moments = &mut *self.moments.borrow_mut();
        let (b1, b2) = (AdamW::BETAS.0 as f32, AdamW::BETAS.1 as f32);
        let (scale, rate, keep) = (self.scale, self.rate, self.keep);
        let kept = self.average;
        let (correction, epsilon) = (self.second_correction, AdamW::EPSILON as f32);
        parameter[start..end]
            .par_chunks_mut(BLOCK)
            .zip(gradient[from..to].par_chunks(BLOCK))
            .zip(moments.first.par_chunks_mut(BLOCK).zip(moments.second.par_chunks_mut(BLOCK)))
            .for_each(|((parameter, gradient), (first, second))| {
                vectorised(|| {
                    let moments = first.iter_mut().zip(second.iter_mut());
                    for ((p, g), (m, v)) in parameter.iter_mut().zip(gradient).zip(moments) {
                        let g = g * scale;
                        *m = b1 * *m + (1.0 - b1) * g;
                        *v = b2 * *v + (1.0 - b2) * g * g;
                        *p = *p * keep - rate * *m / ((*v * correction).sqrt() + epsilon);
                    }
                });
            });
        moments
            .average
            .par_chunks_mut(BLOCK)
            .zip(parameter[start..end].par_chunks(BLOCK))
            .for_each(|(average, parameter)| {
                vectorised(|| {
                    for (a, p) in average.iter_mut().zip(parameter) {
                        *a = p + kept * (*a - p);
                    }
                });
            });
        Ok(())
    }
}

/// Linear warm-up to 1 over `warm_up` steps, then linear decay to 0 at `total`.
pub fn schedule(step: usize, warm_up: usize, total: usize) -> f64 {
    if step < warm_up {
        return (step + 1) as f64 / warm_up as f64;
    }
    let left = total.saturating_sub(step) as f64;
    left / total.saturating_sub(warm_up).max(1) as f64
}

/// A tensor's values, for saving.
///
/// # Errors
/// Where it is not f32 on the CPU.
pub fn values_of(tensor: &Tensor) -> Result<Vec<f32>> {
    with_values(tensor, |values| Ok(values.to_vec()))
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn follows_the_published_update() -> Result<()> {
        let tensor = Tensor::new(&[[1f32, -2.0]], &Device::Cpu)?;
        let parameters = [Parameter {
            names: vec!["w".into()],
            share: vec![1, 2],
            tensor: tensor.clone(),
            part: Part::Layer(0),
        }];
        let settings = AdamSettings {
            rate: 0.1,
            head_factor: 1.0,
            weight_decay: 0.5,
            clip: 1e9,
            layer_decay: 0.5,
            average: 0.9,
        };
        let mut adam = AdamW::new(&parameters, settings)?;
        let (mut expected, mut m, mut v) = ([1f64, -2.0], [0f64; 2], [0f64; 2]);
        let mut average = expected;
        for step in 1..=5 {
            // The gradient of the sum of squares.
            adam.step(&parameters, &[Some((&tensor * 2.0)?)], 1.0)?;
            for i in 0..2 {
                let g = 2.0 * expected[i];
                m[i] = 0.9 * m[i] + 0.1 * g;
                v[i] = 0.999 * v[i] + 0.001 * g * g;
                let (m_hat, v_hat) =
                    (m[i] / (1.0 - 0.9f64.powi(step)), v[i] / (1.0 - 0.999f64.powi(step)));
                expected[i] -= 0.1 * (m_hat / (v_hat.sqrt() + 1e-8) + 0.5 * expected[i]);
                let kept = f64::from(1 + step) / f64::from(10 + step);
                average[i] = kept * average[i] + (1.0 - kept) * expected[i];
            }
            for (found, expected) in values_of(&tensor)?.iter().zip(expected) {
                assert!((f64::from(*found) - expected).abs() < 1e-5, "{found} vs {expected}");
            }
            let averages = adam.averages().unwrap_or_default();
            for (found, expected) in averages[0].iter().zip(average) {
                assert!((f64::from(*found) - expected).abs() < 1e-5, "{found} vs {expected}");
            }
        }
        Ok(())
    }

    #[test]
    fn lower_layers_learn_more_slowly_and_the_head_faster() -> Result<()> {
        let part = |part| -> Result<Parameter> {
            let tensor = Tensor::new(&[1f32], &Device::Cpu)?;
            Ok(Parameter { names: vec!["w".into()], share: vec![1], tensor, part })
        };
        let parts = [Part::Embeddings, Part::Layer(0), Part::Layer(1), Part::Head];
        let parameters = parts.into_iter().map(part).collect::<Result<Vec<_>>>()?;
        let settings = AdamSettings {
            rate: 0.01,
            head_factor: 10.0,
            weight_decay: 0.0,
            clip: 1e9,
            layer_decay: 0.5,
            average: 0.0,
        };
        let mut adam = AdamW::new(&parameters, settings)?;
        let gradients = vec![Some(Tensor::new(&[1f32], &Device::Cpu)?); parameters.len()];
        adam.step(&parameters, &gradients, 1.0)?;
        // Adam's first step is the rate itself.
        for (parameter, rate) in parameters.iter().zip([0.0025f32, 0.005, 0.01, 0.1]) {
            let moved = 1.0 - values_of(&parameter.tensor)?[0];
            assert!((moved - rate).abs() < 1e-5, "{:?} moved by {moved}", parameter.part);
        }
        assert!(adam.averages().is_none());
        Ok(())
    }

    #[test]
    fn clips_and_warms_up() -> Result<()> {
        assert_eq!(schedule(0, 10, 110), 0.1);
        assert_eq!(schedule(9, 10, 110), 1.0);
        assert_eq!(schedule(60, 10, 110), 0.5);
        assert_eq!(schedule(110, 10, 110), 0.0);
        assert!((sum_of_squares(&[3.0; 35]) - 315.0).abs() < 1e-9);
        Ok(())
    }
}
