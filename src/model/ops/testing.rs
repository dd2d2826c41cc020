//! Running and gradient checking for the operations of this module.

use candle_core::{CpuStorage, CustomOp1, Device, Layout, Result, Shape, Tensor};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{Node, Tape};

/// Values in [-1, 1), the same for the same seed.
pub fn random(shape: impl Into<Shape>, seed: u64) -> Result<Tensor> {
    let shape = shape.into();
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let data: Vec<f32> = (0..shape.elem_count()).map(|_| rng.random_range(-1.0..1.0)).collect();
    Tensor::from_vec(data, shape, &Device::Cpu)
}

/// The result of `f` on these inputs.
pub fn run(inputs: &[&Tensor], f: impl Fn(&Tape, &[Node]) -> Result<Node>) -> Result<Tensor> {
    let tape = Tape::forgetting();
    let nodes: Vec<Node> = inputs.iter().map(|t| tape.leaf(t)).collect();
    Ok(f(&tape, &nodes)?.value)
}

/// `sum(mix * x)`: turns any result into a scalar whose gradient is `mix`.
struct Mixed(Tensor);

impl CustomOp1 for Mixed {
    fn name(&self) -> &'static str {
        "mixed"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (start, end) = layout.contiguous_offsets().unwrap();
        let mix = self.0.flatten_all()?.to_vec1::<f32>()?;
        let sum = x.as_slice::<f32>()?[start..end].iter().zip(mix).map(|(a, b)| a * b).sum();
        Ok((CpuStorage::F32(vec![sum]), Shape::from(())))
    }

    fn bwd(&self, _x: &Tensor, _y: &Tensor, _dy: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(self.0.clone()))
    }
}

/// Compares the backward pass with central differences, along random directions.
pub fn check_gradients(
    inputs: &[Tensor],
    f: impl Fn(&Tape, &[Node]) -> Result<Node>,
) -> Result<()> {
    let shape = run(&inputs.iter().collect::<Vec<_>>(), &f)?.shape().clone();
    let mix = random(shape, 99)?;
    let tape = Tape::recording();
    let nodes: Vec<Node> = inputs.iter().map(|t| tape.leaf(t)).collect();
    let loss = tape.apply1(Mixed(mix.clone()), &f(&tape, &nodes)?)?;
    let gradients = tape.backward(&loss)?;
    for (index, node) in nodes.iter().enumerate() {
        let gradient = gradients.get(node).expect("every input gets a gradient");
        for seed in 0..4 {
            let direction = random(node.value.shape(), 1000 + seed)?;
            let expected = (gradient * &direction)?.sum_all()?.to_scalar::<f32>()?;
            let step = 1e-2;
            let at = |sign: f64| -> Result<f32> {
                let mut moved: Vec<Tensor> = inputs.to_vec();
                moved[index] = (&inputs[index] + (&direction * (sign * step))?)?;
                let y = run(&moved.iter().collect::<Vec<_>>(), &f)?;
                (y * &mix)?.sum_all()?.to_scalar::<f32>()
            };
            let slope = (at(1.0)? - at(-1.0)?) / (2.0 * step as f32);
            let tolerance = 2e-2 * (1.0 + expected.abs());
            assert!((slope - expected).abs() < tolerance, "input {index}: {slope} vs {expected}");
        }
    }
    Ok(())
}
