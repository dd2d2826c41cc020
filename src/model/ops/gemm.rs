//! The f32 matrix product, by `rten-gemm`.

use candle_core::{Error, Result};
use rten_gemm::{BiasVector, GemmExecutor, GemmInputA, GemmInputB, GemmOptions, PackedBMatrix};
use rten_tensor::NdTensorView;

thread_local! {
    /// The kernel for this CPU, chosen at run time; it cannot be shared between threads.
    static EXECUTOR: GemmExecutor<f32> = GemmExecutor::new();
}

/// A view of f32 values as a matrix, with strides in elements.
#[derive(Clone, Copy)]
pub(super) struct Mat<'a> {
    data: &'a [f32],
    shape: [usize; 2],
    strides: [usize; 2],
}

impl<'a> Mat<'a> {
    /// Row-major `(rows, cols)`.
    pub fn new(data: &'a [f32], rows: usize, cols: usize) -> Self {
        Mat { data, shape: [rows, cols], strides: [cols, 1] }
    }

    /// `(rows, cols)` whose rows lie `stride` apart, from the start of `data`.
    pub fn strided(data: &'a [f32], rows: usize, cols: usize, stride: usize) -> Self {
        Mat { data, shape: [rows, cols], strides: [stride, 1] }
    }

    /// The transpose, without moving anything.
    pub fn t(self) -> Self {
        let [rows, cols] = self.shape;
        let [row, col] = self.strides;
        Mat { data: self.data, shape: [cols, rows], strides: [col, row] }
    }

    fn view(self) -> Result<NdTensorView<'a, f32, 2>> {
        NdTensorView::from_data_with_strides(self.shape, self.data, self.strides)
            .map_err(Error::wrap)
    }
}

/// Packs the right-hand side of a product once, for use in many.
pub(super) fn pack(b: Mat) -> Result<PackedBMatrix<f32>> {
    let view = b.view()?;
    Ok(EXECUTOR.with(|executor| executor.prepack_b(view)))
}

/// `a @ b`, row-major.
pub(super) fn matmul(a: Mat, b: Mat) -> Result<Vec<f32>> {
    product(a, GemmInputB::Unpacked(b.view()?), b.shape[1], 1.0, None)
}

/// `scale * a @ b`, row-major.
pub(super) fn matmul_scaled(a: Mat, b: Mat, scale: f32) -> Result<Vec<f32>> {
    product(a, GemmInputB::Unpacked(b.view()?), b.shape[1], scale, None)
}

/// `a @ b + bias`, with `bias` added to each row.
pub(super) fn matmul_bias(a: Mat, b: Mat, bias: &[f32]) -> Result<Vec<f32>> {
    product(a, GemmInputB::Unpacked(b.view()?), b.shape[1], 1.0, Some(bias))
}

/// `a @ b + bias` with `b` packed before.
pub(super) fn matmul_packed(a: Mat, b: &PackedBMatrix<f32>, bias: &[f32]) -> Result<Vec<f32>> {
    product(a, GemmInputB::Packed(b), bias.len(), 1.0, Some(bias))
}

fn product(
    a: Mat,
    b: GemmInputB<f32>,
    cols: usize,
    alpha: f32,
    bias: Option<&[f32]>,
) -> Result<Vec<f32>> {
    let lhs = GemmInputA::Unpacked(a.view()?);
    let options = GemmOptions { alpha, bias: bias.map(BiasVector::Row), ..Default::default() };
    let mut out = vec![0f32; a.shape[0] * cols];
    EXECUTOR.with(|executor| executor.gemm(&mut out, lhs, b, options)).map_err(Error::wrap)?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_that_do_not_fit_are_an_error() {
        let (a, b) = ([1.0; 6], [1.0; 8]);
        assert!(matmul(Mat::new(&a, 2, 3), Mat::new(&b, 4, 2)).is_err());
        assert_eq!(matmul(Mat::new(&a, 2, 3), Mat::new(&b, 3, 2)).unwrap(), [3.0; 4]);
    }
}
