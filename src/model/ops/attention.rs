//! Scaled dot-product attention (Vaswani et al. 2017, <https://arxiv.org/abs/1706.03762>), each
//! message by itself: no padding, so no mask.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;
use rten_simd::SimdOp;
use rten_vecmath::Softmax;

use super::gemm::{Mat, matmul, matmul_scaled};
use super::tape::{Node, Tape};
use super::{Segments, lane_sum, values, vectorised, with_values};

/// `qkv` (T, 3C): queries, keys and values of all heads side by side -> (T, C).
///
/// Tokens attend to the tokens of their own segment only. `heads` divides C.
pub fn attention(tape: &Tape, qkv: &Node, heads: usize, segments: &Segments) -> Result<Node> {
    tape.apply1(Attention { heads, segments: segments.clone() }, qkv)
}

struct Attention {
    heads: usize,
    segments: Segments,
}

/// One head of one message: `length` tokens of width `head`, rows `3 * width` apart.
struct Head<'a> {
    q: Mat<'a>,
    k: Mat<'a>,
    v: Mat<'a>,
    scale: f32,
    length: usize,
}

impl<'a> Head<'a> {
    fn new(qkv: &'a [f32], width: usize, heads: usize, index: usize) -> Self {
        let (length, head) = (qkv.len() / (3 * width), width / heads);
        let part = |part: usize| {
            Mat::strided(&qkv[part * width + index * head..], length, head, 3 * width)
        };
        Head { q: part(0), k: part(1), v: part(2), scale: (head as f32).sqrt().recip(), length }
    }

    /// Attention weights (L, L): row i says how much token i takes from each other.
    fn weights(&self) -> Result<Vec<f32>> {
        let mut weights = matmul_scaled(self.q, self.k.t(), self.scale)?;
        for row in weights.chunks_exact_mut(self.length) {
            Softmax::new_mut(row).dispatch();
        }
        Ok(weights)
    }

    fn forward(&self) -> Result<Vec<f32>> {
        matmul(Mat::new(&self.weights()?, self.length, self.length), self.v)
    }

    /// Gradients of q, k and v, given that of the output.
    fn backward(&self, dy: Mat) -> Result<[Vec<f32>; 3]> {
        let n = self.length;
        let weights = self.weights()?;
        let dv = matmul(Mat::new(&weights, n, n).t(), dy)?;
        let mut dw = matmul(dy, self.v.t())?;
        // Through the softmax: ds = w · (dw - Σ w·dw) row by row.
        vectorised(|| {
            for (dw, w) in dw.chunks_exact_mut(n).zip(weights.chunks_exact(n)) {
                let sum = lane_sum(n, |i| dw[i] * w[i]);
                dw.iter_mut().zip(w).for_each(|(dw, w)| *dw = w * (*dw - sum));
            }
        });
        let ds = Mat::new(&dw, n, n);
        let dq = matmul_scaled(ds, self.k, self.scale)?;
        let dk = matmul_scaled(ds.t(), self.q, self.scale)?;
        Ok([dq, dk, dv])
    }
}

/// Copies `block` (L, head) into the columns from `start` of `rows`, which are `stride` wide.
fn place(block: &[f32], rows: &mut [f32], head: usize, stride: usize, start: usize) {
    for (row, block) in rows.chunks_exact_mut(stride).zip(block.chunks_exact(head)) {
        row[start..start + head].copy_from_slice(block);
    }
}

impl CustomOp1 for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn cpu_fwd(&self, qkv: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (tokens, wide) = layout.shape().dims2()?;
        let width = wide / 3;
        if tokens != self.segments.tokens() || wide % 3 != 0 || width % self.heads != 0 {
            bail!("attention: ({tokens}, {wide}) does not fit {} heads", self.heads);
        }
        let head = width / self.heads;
        let qkv = values(qkv, layout)?;
        let mut y = vec![0f32; tokens * width];
        let rows = self.segments.split_mut(&mut y, width);
        let ranges: Vec<_> = self.segments.ranges().collect();
        rows.into_par_iter().zip(ranges).try_for_each(|(rows, range)| {
            let qkv = &qkv[range.start * wide..range.end * wide];
            let outputs = (0..self.heads)
                .into_par_iter()
                .map(|h| Head::new(qkv, width, self.heads, h).forward())
                .collect::<Result<Vec<_>>>()?;
            for (h, output) in outputs.iter().enumerate() {
                place(output, rows, head, width, h * head);
            }
            Ok::<_, candle_core::Error>(())
        })?;
        Ok((CpuStorage::F32(y), (tokens, width).into()))
    }

    fn bwd(&self, qkv: &Tensor, _y: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let (tokens, wide) = qkv.dims2()?;
        let width = wide / 3;
        let head = width / self.heads;
        let mut dqkv = vec![0f32; tokens * wide];
        let rows = self.segments.split_mut(&mut dqkv, wide);
        let ranges: Vec<_> = self.segments.ranges().collect();
        with_values(qkv, |qkv| {
            with_values(dy, |dy| {
                rows.into_par_iter().zip(ranges).try_for_each(|(rows, range)| {
                    let qkv = &qkv[range.start * wide..range.end * wide];
                    let dy = &dy[range.start * width..range.end * width];
                    for h in 0..self.heads {
                        let dy = Mat::strided(&dy[h * head..], range.len(), head, width);
                        let parts = Head::new(qkv, width, self.heads, h).backward(dy)?;
                        for (part, block) in parts.iter().enumerate() {
                            place(block, rows, head, wide, part * width + h * head);
                        }
                    }
                    Ok(())
                })
            })
        })?;
        Tensor::from_vec(dqkv, (tokens, wide), qkv.device()).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check_gradients, random, run};
    use super::*;

    /// The textbook formula by candle's own operations, one message and one head at a time.
    fn oracle(qkv: &Tensor, heads: usize, segments: &Segments) -> Result<Tensor> {
        let width = qkv.dim(1)? / 3;
        let head = width / heads;
        let mut messages = Vec::new();
        for range in segments.ranges() {
            let rows = qkv.narrow(0, range.start, range.len())?;
            let mut outputs = Vec::new();
            for h in 0..heads {
                let part = |p: usize| rows.narrow(1, p * width + h * head, head);
                let scores = (part(0)?.matmul(&part(1)?.t()?)? / (head as f64).sqrt())?;
                let exp = scores.broadcast_sub(&scores.max_keepdim(1)?)?.exp()?;
                let weights = exp.broadcast_div(&exp.sum_keepdim(1)?)?;
                outputs.push(weights.matmul(&part(2)?.contiguous()?)?);
            }
            messages.push(Tensor::cat(&outputs, 1)?);
        }
        Tensor::cat(&messages, 0)
    }

    #[test]
    fn matches_the_textbook_at_lengths_around_tiles() -> Result<()> {
        let segments = Segments::new([1, 2, 15, 16, 17, 3]);
        let qkv = random((segments.tokens(), 3 * 24), 1)?;
        let ours = run(&[&qkv], |t, a| attention(t, &a[0], 3, &segments))?;
        let gap = (ours - oracle(&qkv, 3, &segments)?)?.abs()?.max_all()?.to_scalar::<f32>()?;
        assert!(gap < 1e-5, "{gap}");
        Ok(())
    }

    #[test]
    fn gradient_matches_differences() -> Result<()> {
        let segments = Segments::new([1, 4, 2]);
        check_gradients(&[random((7, 3 * 8), 2)?], |t, a| attention(t, &a[0], 2, &segments))
    }
}
