//! `y = x wᵀ + b`, the affine layer, with its products in f32 or, in training, in bf16.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor};
use rten_gemm::PackedBMatrix;

use super::gemm::{Mat, matmul, matmul_bias, matmul_packed, pack};
use super::tape::{Node, Tape};
use super::{values, vectorised, with_values};
use crate::machine::bf16::{Bf16, Panels, Rows};

/// How an affine layer multiplies.
#[derive(Clone)]
pub enum Products {
    /// In f32.
    F32,
    /// In f32, with the weight laid out before; it must hold that very weight.
    Packed(PackedWeight),
    /// Factors rounded to bf16, sums in f32.
    Bf16(RoundedWeight),
}

/// A weight rounded to bf16 and laid out for both directions. Valid as long as the weight does not change.
#[derive(Clone)]
pub struct RoundedWeight {
    bf16: Bf16,
    /// Forward: (I, O).
    forward: Arc<Panels>,
    /// Backward: (O, I).
    backward: Arc<Panels>,
}

impl RoundedWeight {
    /// Lays out `weight` (O, I); `None` where the kernel does not take its sizes.
    pub fn new(bf16: Bf16, weight: &Tensor) -> Result<Option<Self>> {
        let (_, inputs) = weight.dims2()?;
        with_values(weight, |w| {
            let forward = Panels::transposed(bf16, w, inputs).map(Arc::new);
            let backward = Panels::new(bf16, w, inputs).map(Arc::new);
            Ok(forward.zip(backward).map(|(forward, backward)| Self { bf16, forward, backward }))
        })
    }

    /// `x` (T, I) times the transpose of the weight, plus `bias` (O): (T, O).
    fn forward(&self, x: &[f32], inputs: usize, bias: &[f32]) -> Option<Vec<f32>> {
        self.forward.product(&Rows::new(self.bf16, x, inputs)?, Some(bias))
    }

    /// Gradients of `x` (T, I) and of the weight, from that of the result, `dy` (T, O).
    fn backward(
        &self,
        (x, inputs): (&[f32], usize),
        (dy, outputs): (&[f32], usize),
    ) -> Option<(Vec<f32>, Vec<f32>)> {
        let dx = self.backward.product(&Rows::new(self.bf16, dy, outputs)?, None)?;
        let dy = Panels::new(self.bf16, dy, outputs)?;
        Some((dx, Panels::new(self.bf16, x, inputs)?.product_transposed(&dy)?))
    }
}

/// A weight laid out once for the product kernel. Valid as long as the weight does not change.
#[derive(Clone)]
pub struct PackedWeight(Arc<PackedBMatrix<f32>>);

impl PackedWeight {
    /// Packs `weight` (O, I).
    pub fn new(weight: &Tensor) -> Result<Self> {
        let (outputs, inputs) = weight.dims2()?;
        let packed = with_values(weight, |w| pack(Mat::new(w, outputs, inputs).t()))?;
        Ok(PackedWeight(Arc::new(packed)))
    }
}

/// `x` (T, I), `weight` (O, I), `bias` (O) -> (T, O).
pub fn linear(
    tape: &Tape,
    x: &Node,
    weight: &Node,
    bias: &Node,
    products: &Products,
) -> Result<Node> {
    tape.apply3(Linear { products: products.clone() }, [x, weight, bias])
}

struct Linear {
    products: Products,
}

impl CustomOp3 for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        w: &CpuStorage,
        w_layout: &Layout,
        b: &CpuStorage,
        b_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (rows, inputs) = x_layout.shape().dims2()?;
        let (outputs, _) = w_layout.shape().dims2()?;
        let (x, w, bias) = (values(x, x_layout)?, values(w, w_layout)?, values(b, b_layout)?);
        let low = match &self.products {
            Products::Bf16(weight) => weight.forward(x, inputs, bias),
            _ => None,
        };
        let x = Mat::new(x, rows, inputs);
        let y = match (low, &self.products) {
            (Some(y), _) => y,
            (None, Products::Packed(packed)) => matmul_packed(x, &packed.0, bias)?,
            (None, _) => matmul_bias(x, Mat::new(w, outputs, inputs).t(), bias)?,
        };
        Ok((CpuStorage::F32(y), (rows, outputs).into()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        _b: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (rows, inputs) = x.dims2()?;
        let outputs = w.dim(0)?;
        let products = |x: &[f32], w: &[f32], dy: &[f32]| {
            let low = match &self.products {
                Products::Bf16(weight) => weight.backward((x, inputs), (dy, outputs)),
                _ => None,
            };
            if let Some(low) = low {
                return Ok(low);
            }
            let dy = Mat::new(dy, rows, outputs);
            let dx = matmul(dy, Mat::new(w, outputs, inputs))?;
            Ok((dx, matmul(dy.t(), Mat::new(x, rows, inputs))?))
        };
        with_values(dy, |dy| {
            let (dx, dw) = with_values(x, |x| with_values(w, |w| products(x, w, dy)))?;
            let db = column_sums(dy, outputs);
            let tensor = |data, shape: Shape| Tensor::from_vec(data, shape, x.device()).map(Some);
            Ok((
                tensor(dx, (rows, inputs).into())?,
                tensor(dw, (outputs, inputs).into())?,
                tensor(db, outputs.into())?,
            ))
        })
    }
}

/// Sums over the rows of row-major `data` with `width` columns.
pub(super) fn column_sums(data: &[f32], width: usize) -> Vec<f32> {
    let mut sums = vec![0f32; width];
    vectorised(|| {
        for row in data.chunks_exact(width) {
            for (sum, value) in sums.iter_mut().zip(row) {
                *sum += value;
            }
        }
    });
    sums
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check_gradients, random, run};
    use super::*;

    #[test]
    fn matches_candle_and_its_gradient_matches_differences() -> Result<()> {
        for rows in [1, 2, 5, 16, 33] {
            let (x, w, b) = (random((rows, 7), 1)?, random((5, 7), 2)?, random(5, 3)?);
            let ours = run(&[&x, &w, &b], |t, a| linear(t, &a[0], &a[1], &a[2], &Products::F32))?;
            let theirs = x.matmul(&w.t()?)?.broadcast_add(&b)?;
            let gap = (ours - &theirs)?.abs()?.max_all()?.to_scalar::<f32>()?;
            assert!(gap < 1e-5, "{rows} rows: {gap}");
            check_gradients(&[x, w, b], |t, a| linear(t, &a[0], &a[1], &a[2], &Products::F32))?;
        }
        Ok(())
    }

    /// In bf16 each factor is off by at most 1/256 of itself: results and gradients are near those in f32, and
    /// their mean deviation is far smaller than that.
    #[test]
    fn bf16_is_near_f32() -> Result<()> {
        let Some(bf16) = Bf16::new() else {
            eprintln!("skipped: this machine has no AVX-512 BF16");
            return Ok(());
        };
        for rows in [1, 7, 100] {
            let (x, w, b) = (random((rows, 128), 1)?, random((192, 128), 2)?, random(192, 3)?);
            let dy = random((rows, 192), 4)?;
            let of = |products: Products| -> Result<Vec<Vec<f32>>> {
                let y = run(&[&x, &w, &b], |t, a| linear(t, &a[0], &a[1], &a[2], &products))?;
                let (dx, dw, db) = Linear { products }.bwd(&x, &w, &b, &y, &dy)?;
                [Some(y), dx, dw, db].iter().flatten().map(|t| t.flatten_all()?.to_vec1()).collect()
            };
            let rounded = RoundedWeight::new(bf16, &w)?.unwrap();
            let pairs = of(Products::F32)?.into_iter().zip(of(Products::Bf16(rounded))?);
            for (at, (high, low)) in pairs.enumerate() {
                let size = (high.iter().map(|x| x * x).sum::<f32>() / high.len() as f32).sqrt();
                let gap: f32 = high.iter().zip(&low).map(|(a, b)| (a - b) * (a - b)).sum();
                let gap = (gap / high.len() as f32).sqrt();
                assert!(gap < size / 200.0, "{rows} rows: {gap} of {size}");
                // All but the gradient of the bias, which is a sum, is rounded.
                assert_eq!(gap > 0.0, at != 3, "{rows} rows, {at}");
            }
        }
        Ok(())
    }

    #[test]
    fn a_row_does_not_depend_on_its_neighbours() -> Result<()> {
        let (x, w, b) = (random((70, 384), 1)?, random((96, 384), 2)?, random(96, 3)?);
        let packed = Products::Packed(PackedWeight::new(&w)?);
        let of = |x: &Tensor| {
            let f = |t: &Tape, a: &[Node]| linear(t, &a[0], &a[1], &a[2], &packed);
            run(&[x, &w, &b], f)?.to_vec2::<f32>()
        };
        let all = of(&x)?;
        for row in [0, 1, 13, 14, 63, 64, 69] {
            let alone = of(&x.narrow(0, row, 1)?)?;
            assert_eq!(alone[0], all[row], "row {row}");
        }
        Ok(())
    }
}
