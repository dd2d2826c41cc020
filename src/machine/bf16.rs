//! bf16 × bf16 → f32 products on the vector unit of CPUs with AVX-512 BF16, for training.
//!
//! Values are rounded to bf16 (eight bits of precision) as they are laid out; sums are kept in f32, 32 products
//! an instruction where f32 has 16 and half the bytes. Rows and outputs are blocked as in [`super::vnni`]. A sum
//! does not depend on how the rows are shared out. `rten-gemm`, which does the other products, has
//! none in bf16. Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2,
//! `VDPBF16PS`; Kalamkar et al. 2019, <https://arxiv.org/abs/1905.12322>.

#[cfg(test)]
mod tests;

use rayon::prelude::*;

use super::Lines;

/// Outputs that are worked on at once.
pub const PANEL: usize = 64;
/// Rows that are worked on at once.
const ROWS: usize = 6;
/// Rows that one task takes: whole blocks, and few enough that two tasks share what a small batch has.
const TASK: usize = 16 * ROWS;

/// Proof that this CPU has the instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bf16(());

impl Bf16 {
    /// Where the CPU has AVX-512 BF16.
    pub fn new() -> Option<Self> {
        unit::exists().then_some(Bf16(()))
    }
}

/// The left-hand side of a product, (R, D): pairs of neighbouring values of a row.
pub struct Rows {
    data: Lines<u32>,
    rows: usize,
    pairs: usize,
}

/// A matrix (D, C) in panels of [`PANEL`] columns: by panel, then by pair of rows, the pair of each column.
/// The right-hand side of a product, or a left-hand side that is to be transposed.
pub struct Panels {
    bf16: Bf16,
    data: Lines<u32>,
    pairs: usize,
    columns: usize,
}

impl Rows {
    /// Lays out row-major `data` (R, D); `None` where D is odd or 0.
    pub fn new(bf16: Bf16, data: &[f32], depth: usize) -> Option<Self> {
        if depth == 0 || !depth.is_multiple_of(2) || !data.len().is_multiple_of(depth) {
            return None;
        }
        let mut lines = Lines::default();
        let pairs = lines.sized(data.len() / 2);
        let (block, values) = (TASK * depth / 2, TASK * depth);
        pairs
            .par_chunks_mut(block)
            .zip(data.par_chunks(values))
            .for_each(|(pairs, values)| unit::round(bf16, values, pairs));
        Some(Rows { data: lines, rows: data.len() / depth, pairs: depth / 2 })
    }
}

impl Panels {
    /// Lays out row-major `data` (D, C); `None` where C is no multiple of [`PANEL`]. An odd D gets a row of zeros.
    pub fn new(bf16: Bf16, data: &[f32], columns: usize) -> Option<Self> {
        if columns == 0 || !columns.is_multiple_of(PANEL) || !data.len().is_multiple_of(columns) {
            return None;
        }
        let pairs = (data.len() / columns).div_ceil(2);
        let mut lines = Lines::default();
        let panels = lines.sized(pairs * columns).par_chunks_mut((pairs * PANEL).max(1));
        panels.enumerate().for_each(|(panel, to)| {
            let rows = data.chunks(2 * columns).zip(to.chunks_exact_mut(PANEL));
            for (two, to) in rows {
                let (first, second) = two.split_at(columns);
                let part = panel * PANEL..(panel + 1) * PANEL;
                unit::interleave(bf16, &first[part.clone()], second.get(part), to);
            }
        });
        Some(Panels { bf16, data: lines, pairs, columns })
    }

    /// Lays out the transpose (D, C) of row-major `data` (C, D); `None` where C is no multiple of [`PANEL`] or D is
    /// odd or 0.
    pub fn transposed(bf16: Bf16, data: &[f32], depth: usize) -> Option<Self> {
        let rows = Rows::new(bf16, data, depth)?;
        let (columns, pairs) = (rows.rows, rows.pairs);
        if columns == 0 || !columns.is_multiple_of(PANEL) {
            return None;
        }
        let mut lines = Lines::default();
        let panels = lines.sized(pairs * columns).par_chunks_mut(pairs * PANEL);
        let from = rows.data.get(pairs * columns).par_chunks(pairs * PANEL);
        panels.zip(from).for_each(|(to, from)| {
            // Sixteen by sixteen: a line of each side is used as a whole while it is near.
            for start in (0..pairs).step_by(16) {
                for column in 0..PANEL {
                    let row = &from[column * pairs..(column + 1) * pairs];
                    for pair in start..pairs.min(start + 16) {
                        to[pair * PANEL + column] = row[pair];
                    }
                }
            }
        });
        Some(Panels { bf16, data: lines, pairs, columns })
    }

    /// `rows` (R, D) times this (D, C), plus `bias` (C) in each row: (R, C), row-major. `None` where D differs.
    ///
    /// # Panics
    /// Where `bias` has another length than C.
    pub fn product(&self, rows: &Rows, bias: Option<&[f32]>) -> Option<Vec<f32>> {
        let left = rows.data.get(rows.rows * rows.pairs);
        let left = Left { data: left, row: rows.pairs, pair: 1 };
        (rows.pairs == self.pairs).then(|| {
            self.fill(rows.rows, TASK, bias, |start| Left {
                data: &left.data[start * left.row..],
                ..left
            })
        })
    }

    /// The transpose of `left` (D, R) times this (D, C): (R, C), row-major. `None` where D differs.
    pub fn product_transposed(&self, left: &Panels) -> Option<Vec<f32>> {
        let data = left.data.get(left.pairs * left.columns);
        let panel = left.pairs * PANEL;
        (left.pairs == self.pairs).then(|| {
            self.fill(left.columns, PANEL, None, |start| Left {
                data: &data[start / PANEL * panel..],
                row: 1,
                pair: PANEL,
            })
        })
    }

    /// The product with `rows` rows on the left, which `left` gives from a multiple of `task` on.
    fn fill<'a>(
        &self,
        rows: usize,
        task: usize,
        bias: Option<&[f32]>,
        left: impl Fn(usize) -> Left<'a> + Sync,
    ) -> Vec<f32> {
        assert!(bias.is_none_or(|bias| bias.len() == self.columns));
        let mut out = vec![0f32; rows * self.columns];
        let right = self.data.get(self.pairs * self.columns);
        out.par_chunks_mut(task * self.columns).enumerate().for_each(|(index, out)| {
            unit::product(
                self.bf16,
                left(index * task),
                right,
                bias,
                out,
                (self.pairs, self.columns),
            );
        });
        out
    }
}

/// Pairs of the left-hand side: those of row r at `r * row`, the next pair `pair` further.
#[derive(Clone, Copy)]
struct Left<'a> {
    data: &'a [u32],
    row: usize,
    pair: usize,
}

#[cfg(target_arch = "x86_64")]
mod unit {
    use std::arch::x86_64::*;

    use super::{Bf16, Left, PANEL, ROWS};

    /// f32 values in a register.
    const LANES: usize = 16;
    /// Registers of a row's sums.
    const WIDE: usize = PANEL / LANES;

    pub fn exists() -> bool {
        is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bf16")
    }

    /// `pairs[i]` holds `values[2 * i]` (low half) and `values[2 * i + 1]`, rounded.
    pub fn round(_: Bf16, values: &[f32], pairs: &mut [u32]) {
        assert_eq!(values.len(), 2 * pairs.len());
        // SAFETY: a `Bf16` exists, so the instructions do.
        unsafe { round_all(values, pairs) }
    }

    /// # Safety
    /// The CPU has the features; there are twice as many `values` as `pairs`.
    #[target_feature(enable = "avx512f,avx512bf16")]
    unsafe fn round_all(values: &[f32], pairs: &mut [u32]) {
        let whole = values.len() / (2 * LANES);
        for at in 0..whole {
            // SAFETY: whole registers of both, as counted; the features are the caller's.
            unsafe {
                round_line(values.as_ptr().add(2 * at * LANES), pairs.as_mut_ptr().add(at * LANES))
            };
        }
        let (values, pairs) = (&values[2 * whole * LANES..], &mut pairs[whole * LANES..]);
        let (mut from, mut to) = ([0f32; 2 * LANES], [0u32; LANES]);
        from[..values.len()].copy_from_slice(values);
        // SAFETY: both arrays have the size of what is read and written.
        unsafe { round_line(from.as_ptr(), to.as_mut_ptr()) };
        pairs.copy_from_slice(&to[..pairs.len()]);
    }

    /// # Safety
    /// The CPU has the features; `from` is good for two registers, `to` for one.
    #[target_feature(enable = "avx512f,avx512bf16")]
    unsafe fn round_line(from: *const f32, to: *mut u32) {
        // SAFETY: the caller's.
        unsafe {
            let (low, high) = (_mm512_loadu_ps(from), _mm512_loadu_ps(from.add(LANES)));
            let both: __m512i = std::mem::transmute(_mm512_cvtne2ps_pbh(high, low));
            _mm512_storeu_si512(to.cast::<__m512i>(), both);
        }
    }

    /// `to[i]` holds `first[i]` (low half) and `second[i]` (or 0), rounded.
    pub fn interleave(_: Bf16, first: &[f32], second: Option<&[f32]>, to: &mut [u32]) {
        assert!(first.len() == PANEL && to.len() == PANEL);
        let second = second.unwrap_or(&[0.0; PANEL]);
        assert_eq!(second.len(), PANEL);
        // SAFETY: a `Bf16` exists, so the instructions do; all three have PANEL values.
        unsafe { interleave_panel(first.as_ptr(), second.as_ptr(), to.as_mut_ptr()) }
    }

    /// # Safety
    /// The CPU has the features; the pointers are good for PANEL values.
    #[target_feature(enable = "avx512f,avx512bf16")]
    unsafe fn interleave_panel(first: *const f32, second: *const f32, to: *mut u32) {
        for at in (0..PANEL).step_by(LANES) {
            // SAFETY: at + LANES <= PANEL.
            unsafe {
                let half = |from: *const f32| {
                    let rounded = _mm512_cvtneps_pbh(_mm512_loadu_ps(from.add(at)));
                    _mm512_cvtepu16_epi32(std::mem::transmute::<__m256bh, __m256i>(rounded))
                };
                let both = _mm512_or_si512(half(first), _mm512_slli_epi32::<16>(half(second)));
                _mm512_storeu_si512(to.add(at).cast::<__m512i>(), both);
            }
        }
    }

    /// Rows of `left` times `right`, panels of (D, C), into `out` (R, C): as many rows as fit there.
    pub fn product(
        _: Bf16,
        left: Left,
        right: &[u32],
        bias: Option<&[f32]>,
        out: &mut [f32],
        (pairs, columns): (usize, usize),
    ) {
        assert!(columns > 0 && columns.is_multiple_of(PANEL) && right.len() == pairs * columns);
        assert!(bias.is_none_or(|bias| bias.len() == columns));
        let rows = out.len() / columns;
        assert!(out.len() == rows * columns);
        if rows == 0 {
            return;
        }
        if pairs > 0 {
            assert!((rows - 1) * left.row + (pairs - 1) * left.pair < left.data.len());
        }
        for (panel, right) in right.chunks(pairs.max(1) * PANEL).enumerate() {
            let bias = bias.map(|bias| &bias[panel * PANEL..(panel + 1) * PANEL]);
            for row in (0..rows).step_by(ROWS) {
                let from = left.data[row * left.row..].as_ptr();
                let to = out[row * columns + panel * PANEL..].as_mut_ptr();
                let (right, size) = (right.as_ptr(), (left.row, left.pair, pairs, columns));
                // SAFETY: a `Bf16` exists, so the instructions do. `block::<R>` reads `pairs` pairs of R rows of
                // `left`, whose last one is inside by the assert, `pairs * PANEL` pairs of the panel and PANEL
                // values of the bias, and writes PANEL sums in each of R rows of `out`, `columns` apart: R is at
                // most the rows that are left, and the panel's columns are inside a row.
                unsafe {
                    match rows - row {
                        1 => block::<1>(from, right, bias, to, size),
                        2 => block::<2>(from, right, bias, to, size),
                        3 => block::<3>(from, right, bias, to, size),
                        4 => block::<4>(from, right, bias, to, size),
                        5 => block::<5>(from, right, bias, to, size),
                        _ => block::<ROWS>(from, right, bias, to, size),
                    }
                }
            }
        }
    }

    /// Sums of R rows and one panel.
    ///
    /// # Safety
    /// The CPU has the features; pointers and sizes are good for what `product` says.
    #[target_feature(enable = "avx512f,avx512bf16")]
    unsafe fn block<const R: usize>(
        left: *const u32,
        right: *const u32,
        bias: Option<&[f32]>,
        out: *mut f32,
        (row, pair, pairs, columns): (usize, usize, usize, usize),
    ) {
        let mut all = [[_mm512_setzero_ps(); WIDE]; R];
        if let Some(bias) = bias {
            for sums in &mut all {
                for (sum, bias) in sums.iter_mut().zip(bias.chunks_exact(LANES)) {
                    // SAFETY: a chunk has LANES values.
                    *sum = unsafe { _mm512_loadu_ps(bias.as_ptr()) };
                }
            }
        }
        for at in 0..pairs {
            // SAFETY: the caller's; a pair of a panel has PANEL values, which are WIDE registers.
            unsafe {
                let line = right.add(at * PANEL);
                let mut w = [_mm512_setzero_si512(); WIDE];
                for (index, w) in w.iter_mut().enumerate() {
                    *w = _mm512_loadu_si512(line.add(index * LANES).cast::<__m512i>());
                }
                for (index, sums) in all.iter_mut().enumerate() {
                    let two = left.add(index * row + at * pair).read();
                    let two: __m512bh = std::mem::transmute(_mm512_set1_epi32(two.cast_signed()));
                    for (sum, w) in sums.iter_mut().zip(w) {
                        *sum = _mm512_dpbf16_ps(
                            *sum,
                            two,
                            std::mem::transmute::<__m512i, __m512bh>(w),
                        );
                    }
                }
            }
        }
        for (index, sums) in all.iter().enumerate() {
            for (at, sum) in sums.iter().enumerate() {
                // SAFETY: the caller's; WIDE registers are the PANEL sums of a row.
                unsafe { _mm512_storeu_ps(out.add(index * columns + at * LANES), *sum) };
            }
        }
    }
}

/// Elsewhere there is no such unit, and no [`Bf16`] to call this with.
#[cfg(not(target_arch = "x86_64"))]
mod unit {
    use super::{Bf16, Left};

    pub fn exists() -> bool {
        false
    }

    pub fn round(_: Bf16, _: &[f32], _: &mut [u32]) {
        unreachable!("a Bf16 exists on x86-64 only")
    }

    pub fn interleave(_: Bf16, _: &[f32], _: Option<&[f32]>, _: &mut [u32]) {
        unreachable!("a Bf16 exists on x86-64 only")
    }

    pub fn product(
        _: Bf16,
        _: Left,
        _: &[u32],
        _: Option<&[f32]>,
        _: &mut [f32],
        _: (usize, usize),
    ) {
        unreachable!("a Bf16 exists on x86-64 only")
    }
}
