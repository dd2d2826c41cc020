//! The int8 product: which kernel does it, and weights as that kernel wants them.
//!
//! Sums are exact in i32 whatever the kernel, so kernels differ in speed only; but where the CPU's
//! instruction adds pairs of products in 16 bits, weights keep to a range that cannot overflow it.
//! May depend on: `machine`, `model::{engine, quantise, vector}`, `rten-gemm`.

use rten_gemm::{GemmExecutor, GemmInputA, GemmInputB, GemmOptions, PackedBMatrix};
use rten_tensor::NdTensorView;

use super::engine::EngineError;
use super::quantise::{Int8Weight, SAFE_RANGE};
use super::vector::{self, RowOp};
use crate::machine::amx::{self, Amx, Tiles};
use crate::machine::vnni::{Panels, Vnni};

type Vectors = GemmExecutor<u8, i8, i32>;

thread_local! {
    /// The kernel that rten-gemm chooses for this CPU; it cannot be shared between threads.
    static VECTORS: Vectors = Vectors::new();
}

/// Rows of activations come in whole multiples of this.
pub(super) const ROWS: usize = amx::TILE;

/// What does the products, and with which instructions the passes between them run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Kernel {
    /// The tile unit of newer Xeons (AMX-INT8).
    Tiles,
    /// The vector unit of CPUs with AVX-512 VNNI.
    Vnni,
    /// The vector unit by `rten-gemm`: AVX-512 VNNI, AVX2, NEON.
    Vectors,
    /// Plain loops, the same on every CPU; slow, to compare the others with.
    Portable,
}

impl Kernel {
    /// Those that this CPU has, the fastest first.
    pub fn available() -> Vec<Kernel> {
        let all = [Kernel::Tiles, Kernel::Vnni, Kernel::Vectors, Kernel::Portable];
        let has = |kernel: &Kernel| match kernel {
            Kernel::Tiles => Amx::new().is_some(),
            Kernel::Vnni => Vnni::new().is_some(),
            Kernel::Vectors | Kernel::Portable => true,
        };
        all.into_iter().filter(has).collect()
    }

    /// The fastest that this CPU has.
    pub fn best() -> Kernel {
        Self::available().first().copied().unwrap_or(Kernel::Portable)
    }

    /// The name to report, as its library has it.
    pub fn name(self) -> String {
        match self {
            Kernel::Tiles => "x86_64-u8i8i32-amx".into(),
            Kernel::Vnni => "x86_64-u8i8i32-avx512-vnni".into(),
            Kernel::Vectors => VECTORS.with(|vectors| vectors.kernel_name().into()),
            Kernel::Portable => "portable".into(),
        }
    }

    /// Whether it gives the bits of [`Kernel::Portable`]; not where it must narrow the weights.
    pub fn is_exact(self) -> bool {
        self != Kernel::Vectors || !VECTORS.with(|vectors| vectors.may_saturate())
    }

    /// Runs an operation on rows with the instructions that go with this kernel.
    pub(super) fn run<Op: RowOp>(self, op: Op) -> Op::Output {
        match self {
            Kernel::Portable => vector::portable(op),
            Kernel::Tiles | Kernel::Vnni | Kernel::Vectors => vector::fastest(op),
        }
    }
}

enum Packed {
    Tiles(Tiles),
    Panels(Panels),
    Vectors(PackedBMatrix<i8>),
    /// (O, I).
    Portable(Vec<i8>),
}

/// A weight (O, I), ready for its kernel.
pub struct Product {
    packed: Packed,
    inputs: usize,
    /// Scale of each output, (O).
    pub(super) scales: Vec<f32>,
    /// Sum of each output's quantised weights, (O), for what a row's zero adds to its sums.
    pub(super) totals: Vec<f32>,
}

impl Product {
    /// Lays out `weight`, whose rows have `inputs` values. Sizes that a kernel of our own does not take go
    /// to the library's.
    ///
    /// # Errors
    /// [`EngineError`] where the sizes do not fit each other.
    pub fn new(kernel: Kernel, weight: &Int8Weight, inputs: usize) -> Result<Self, EngineError> {
        let outputs = weight.scales.len();
        if outputs * inputs != weight.values.len() || inputs == 0 {
            return Err(EngineError(format!("a weight is not {outputs} x {inputs}")));
        }
        let tiles = Amx::new().filter(|_| kernel == Kernel::Tiles);
        let tiles = tiles.and_then(|amx| Tiles::pack(amx, &weight.values, inputs));
        let vnni = Vnni::new().filter(|_| kernel == Kernel::Vnni);
        let panels = vnni.and_then(|vnni| Panels::pack(vnni, &weight.values, inputs));
        let saturates = || VECTORS.with(|vectors| vectors.may_saturate());
        let narrowed;
        let (packed, weight) = if let Some(tiles) = tiles {
            (Packed::Tiles(tiles), weight)
        } else if let Some(panels) = panels {
            (Packed::Panels(panels), weight)
        } else if kernel == Kernel::Portable {
            (Packed::Portable(weight.values.clone()), weight)
        } else {
            let weight = if saturates() {
                narrowed = weight.narrowed(SAFE_RANGE);
                &narrowed
            } else {
                weight
            };
            let (shape, strides) = ([inputs, outputs], [1, inputs]);
            let view = NdTensorView::from_data_with_strides(shape, &weight.values[..], strides);
            let view = view.map_err(failed)?;
            (Packed::Vectors(VECTORS.with(|vectors| vectors.prepack_b(view))), weight)
        };
        let total = |row: &[i8]| row.iter().map(|&w| i32::from(w)).sum::<i32>() as f32;
        let totals = weight.values.chunks_exact(inputs).map(total).collect();
        Ok(Product { packed, inputs, scales: weight.scales.clone(), totals })
    }

    /// Number of outputs of a row.
    pub fn outputs(&self) -> usize {
        self.scales.len()
    }

    /// Number of inputs of a row.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// `x` (T, I) -> `sums` (T, O), of which the first `rows` rows count; T is `rows` rounded up to
    /// a multiple of [`ROWS`].
    ///
    /// # Errors
    /// [`EngineError`] where the library refuses.
    pub fn run(&self, x: &[u8], rows: usize, sums: &mut [i32]) -> Result<(), EngineError> {
        let (inputs, outputs) = (self.inputs, self.outputs());
        match &self.packed {
            Packed::Tiles(tiles) => tiles.product(x, rows, sums),
            Packed::Panels(panels) => panels.product(x, rows, sums),
            Packed::Vectors(packed) => {
                let x = NdTensorView::from_data([rows, inputs], &x[..rows * inputs]);
                // Zeros are taken out afterwards: rten-gemm 0.27 packs those of its first panel of
                // rows for every later one too.
                let options = GemmOptions::default();
                let (a, b) = (GemmInputA::Unpacked(x), GemmInputB::Packed(packed));
                let sums = &mut sums[..rows * outputs];
                VECTORS.with(|vectors| vectors.gemm(sums, a, b, options)).map_err(failed)?;
            }
            Packed::Portable(weight) => {
                let rows = x.chunks_exact(inputs).take(rows);
                for (x, sums) in rows.zip(sums.chunks_exact_mut(outputs)) {
                    for (w, sum) in weight.chunks_exact(inputs).zip(sums) {
                        *sum = x.iter().zip(w).map(|(&x, &w)| i32::from(x) * i32::from(w)).sum();
                    }
                }
            }
        }
        Ok(())
    }
}

fn failed(error: impl std::fmt::Display) -> EngineError {
    EngineError(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// At sizes below, at and above tiles, panels and depth blocks.
    #[test]
    fn sums_are_exact_whatever_the_kernel_and_the_size() {
        let mut state = 1u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        for (rows, inputs, outputs) in [
            (1usize, 384usize, 64usize),
            (2, 32, 16),
            (13, 384, 96),
            (14, 1024, 33),
            (31, 1536, 384),
            (65, 1536, 48),
        ] {
            let x: Vec<u8> = (0..rows.next_multiple_of(ROWS) * inputs).map(|_| next()).collect();
            let values: Vec<i8> =
                (0..outputs * inputs).map(|_| next().cast_signed().max(-127)).collect();
            let whole = Int8Weight { values, scales: vec![1.0; outputs] };
            for kernel in Kernel::available() {
                let product = Product::new(kernel, &whole, inputs).unwrap();
                // Where the kernel needs it, all magnitudes are halved; then nothing may be lost.
                let exact = kernel.is_exact();
                let weight = if exact { whole.clone() } else { whole.narrowed(SAFE_RANGE) };
                let mut sums = vec![0; rows.next_multiple_of(ROWS) * outputs];
                product.run(&x, rows, &mut sums).unwrap();
                for t in 0..rows {
                    for o in 0..outputs {
                        let (x, w) = (&x[t * inputs..], &weight.values[o * inputs..]);
                        let exact: i32 =
                            (0..inputs).map(|i| i32::from(x[i]) * i32::from(w[i])).sum();
                        let found = sums[t * outputs + o];
                        assert_eq!(found, exact, "{} {rows} x {inputs} x {outputs}", kernel.name());
                    }
                }
            }
        }
    }

    #[test]
    fn a_weight_of_another_size_is_refused() {
        let weight = Int8Weight { values: vec![0; 5], scales: vec![1.0; 2] };
        assert!(Product::new(Kernel::Portable, &weight, 2).is_err());
    }
}
