//! `y = x wᵀ + b`, the affine layer.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor};
use rten_gemm::PackedBMatrix;

use super::gemm::{Mat, matmul, matmul_bias, matmul_packed, pack};
use super::tape::{Node, Tape};
use super::{values, vectorised, with_values};

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

/// `x` (T, I), `weight` (O, I), `bias` (O) -> (T, O). With `packed`, it must hold `weight`.
pub fn linear(
    tape: &Tape,
    x: &Node,
    weight: &Node,
    bias: &Node,
    packed: Option<&PackedWeight>,
) -> Result<Node> {
    tape.apply3(Linear { packed: packed.cloned() }, [x, weight, bias])
}

struct Linear {
    packed: Option<PackedWeight>,
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
        let x = Mat::new(values(x, x_layout)?, rows, inputs);
        let bias = values(b, b_layout)?;
        let y = match &self.packed {
            Some(packed) => matmul_packed(x, &packed.0, bias)?,
            None => matmul_bias(x, Mat::new(values(w, w_layout)?, outputs, inputs).t(), bias)?,
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
        with_values(dy, |dy| {
            let dy_mat = Mat::new(dy, rows, outputs);
            let dx = with_values(w, |w| matmul(dy_mat, Mat::new(w, outputs, inputs)))?;
            let dw = with_values(x, |x| matmul(dy_mat.t(), Mat::new(x, rows, inputs)))?;
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
            let ours = run(&[&x, &w, &b], |t, a| linear(t, &a[0], &a[1], &a[2], None))?;
            let theirs = x.matmul(&w.t()?)?.broadcast_add(&b)?;
            let gap = (ours - &theirs)?.abs()?.max_all()?.to_scalar::<f32>()?;
            assert!(gap < 1e-5, "{rows} rows: {gap}");
            check_gradients(&[x, w, b], |t, a| linear(t, &a[0], &a[1], &a[2], None))?;
        }
        Ok(())
    }

    #[test]
    fn a_row_does_not_depend_on_its_neighbours() -> Result<()> {
        let (x, w, b) = (random((70, 384), 1)?, random((96, 384), 2)?, random(96, 3)?);
        let packed = PackedWeight::new(&w)?;
        let of = |x: &Tensor| {
            let f = |t: &Tape, a: &[Node]| linear(t, &a[0], &a[1], &a[2], Some(&packed));
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
