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
}

/// Moments of one parameter's gradient, value by value.
#[derive(Clone)]
pub struct Moments {
    /// Decaying mean.
    pub first: Vec<f32>,
    /// Decaying mean of squares.
    pub second: Vec<f32>,
}

/// The optimiser with its moments, one pair a parameter, in their order.
pub struct AdamW {
    settings: AdamSettings,
    moments: Vec<RefCell<Moments>>,
    steps: i32,
}

impl AdamW {
    const BETAS: (f64, f64) = (0.9, 0.999);
    const EPSILON: f64 = 1e-8;

    /// With moments at zero.
    pub fn new(parameters: &[Parameter], settings: AdamSettings) -> Self {
        let zeros = |p: &Parameter| vec![0f32; p.tensor.elem_count()];
        let moments = parameters
            .iter()
            .map(|p| RefCell::new(Moments { first: zeros(p), second: zeros(p) }))
            .collect();
        AdamW { settings, moments, steps: 0 }
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
        for ((parameter, moments), gradient) in parameters.iter().zip(&self.moments).zip(gradients)
        {
            let Some(gradient) = gradient else { continue };
            let factor = if parameter.part == Part::Head { self.settings.head_factor } else { 1.0 };
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
            part: Part::Body,
        }];
        let settings = AdamSettings { rate: 0.1, head_factor: 1.0, weight_decay: 0.5, clip: 1e9 };
        let mut adam = AdamW::new(&parameters, settings);
        let (mut expected, mut m, mut v) = ([1f64, -2.0], [0f64; 2], [0f64; 2]);
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
            }
            for (found, expected) in values_of(&tensor)?.iter().zip(expected) {
                assert!((f64::from(*found) - expected).abs() < 1e-5, "{found} vs {expected}");
            }
        }
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
