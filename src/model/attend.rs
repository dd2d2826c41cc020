//! Attention of one message: `softmax(q kᵀ / √width) v` for every head, in f32.
//!
//! Heads are small and messages short, so packing for a general product would cost more than the
//! product: keys are turned once a head, then several queries at a time go over them from registers.
//! Vaswani et al. 2017 (<https://arxiv.org/abs/1706.03762>). May depend on: `model::vector`, `rten-simd`.

use rten_simd::ops::{BitOps, NumOps};
use rten_simd::{Isa, Simd};

use super::vector::{Math, RowOp, STRANDS, fold, most};

/// Queries that go over the keys together.
const QUERIES: usize = 8;
/// Of those, how many go over the values together, each with two vectors of columns.
const MIXES: usize = QUERIES / 2;

/// Buffers, kept from message to message.
#[derive(Default)]
pub(super) struct Work {
    /// Keys of a head, turned: (width, L rounded up to [`STRANDS`]).
    keys: Vec<f32>,
    /// Scores of [`QUERIES`] queries, (QUERIES, L rounded up).
    scores: Vec<f32>,
}

/// Mixes `qkv` (L, 3C), rows of queries, keys and values, into `mixed` (L, C).
pub(super) struct Attend<'a> {
    pub qkv: &'a [f32],
    pub mixed: &'a mut [f32],
    pub hidden: usize,
    pub heads: usize,
    pub work: &'a mut Work,
}

impl RowOp for Attend<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<I: Isa, const SOFT: bool>(self, math: Math<I, SOFT>) {
        let Attend { qkv, mixed, hidden, heads, work } = self;
        let width = hidden / heads;
        let length = mixed.len() / hidden;
        let padded = length.next_multiple_of(STRANDS);
        if work.keys.len() < width * padded {
            work.keys.resize(width * padded, 0.0);
        }
        if work.scores.len() < QUERIES * padded {
            work.scores.resize(QUERIES * padded, 0.0);
        }
        for at in (0..hidden).step_by(width) {
            let head = Head { qkv, hidden, width, at, length, padded };
            // A width that is known makes indices into queries and values need no check.
            match width {
                32 => head.mix_all::<I, SOFT, 32>(math, work, mixed),
                _ => head.mix_all::<I, SOFT, 0>(math, work, mixed),
            }
        }
    }
}

struct Head<'a> {
    qkv: &'a [f32],
    hidden: usize,
    width: usize,
    /// First column of the head.
    at: usize,
    length: usize,
    padded: usize,
}

impl Head<'_> {
    /// The head's columns of `mixed`; `W` is the width, or 0 where it is another one.
    #[inline(always)]
    fn mix_all<I: Isa, const SOFT: bool, const W: usize>(
        &self,
        math: Math<I, SOFT>,
        work: &mut Work,
        mixed: &mut [f32],
    ) {
        let &Head { hidden, width, padded, .. } = self;
        let Work { keys, scores } = work;
        let keys = &mut keys[..width * padded];
        self.turn(keys);
        for (block, mixed) in mixed.chunks_mut(QUERIES * hidden).enumerate() {
            let mut shares = [0f32; QUERIES];
            self.score::<I, SOFT, W>(math, block * QUERIES, keys, scores, &mut shares);
            let weights = scores.chunks(MIXES * padded).zip(shares.chunks(MIXES));
            for (weights, mixed) in weights.zip(mixed.chunks_mut(MIXES * hidden)) {
                self.mix::<I, SOFT, W>(math, weights, mixed);
            }
        }
    }

    /// Row `j` of the queries (0), keys (1) or values (2).
    #[inline(always)]
    fn row<const W: usize>(&self, part: usize, j: usize) -> &[f32] {
        let width = if W > 0 { W } else { self.width };
        let start = (3 * j + part) * self.hidden + self.at;
        &self.qkv[start..start + width]
    }

    /// Keys to (width, L rounded up); beyond the message they are zero.
    #[inline(always)]
    fn turn(&self, keys: &mut [f32]) {
        let &Head { width, length, padded, .. } = self;
        for j in (0..padded).step_by(STRANDS) {
            for d in (0..width).step_by(STRANDS) {
                // By square blocks, each read by rows and written by rows.
                let mut block = [[0f32; STRANDS]; STRANDS];
                let columns = STRANDS.min(width - d);
                for (n, row) in block.iter_mut().enumerate().take(length - j.min(length)) {
                    let key = &self.row::<0>(1, j + n)[d..d + columns];
                    match key.first_chunk() {
                        Some(key) => *row = *key,
                        None => row[..columns].copy_from_slice(key),
                    }
                }
                let rows = keys[d * padded..].chunks_mut(padded).take(columns);
                for (c, row) in rows.enumerate() {
                    let turned: [f32; STRANDS] = std::array::from_fn(|n| block[n][c]);
                    row[j..j + STRANDS].copy_from_slice(&turned);
                }
            }
        }
    }

    /// Weights of every key for the [`QUERIES`] from `from` on, into `scores`, and what they are to be
    /// multiplied by to sum to 1, into `shares`: `softmax(q kᵀ / √width)`. Beyond the message the last
    /// query is repeated.
    #[inline(always)]
    fn score<I: Isa, const SOFT: bool, const W: usize>(
        &self,
        math: Math<I, SOFT>,
        from: usize,
        keys: &[f32],
        scores: &mut [f32],
        shares: &mut [f32; QUERIES],
    ) {
        let &Head { width, length, padded, .. } = self;
        let f = math.lanes();
        let lanes = f.len();
        let alpha = f.splat((width as f32).sqrt().recip());
        let queries: [&[f32]; QUERIES] =
            std::array::from_fn(|n| self.row::<W>(0, (from + n).min(length - 1)));

        let lowest = f.splat(f32::MIN);
        let mut largest = [lowest; QUERIES];
        for j in (0..padded).step_by(lanes) {
            let mut sums = [f.zero(); QUERIES];
            for (d, keys) in
                keys.chunks_exact(padded).enumerate().take(if W > 0 { W } else { width })
            {
                let keys = f.load(&keys[j..j + lanes]);
                for n in 0..QUERIES {
                    sums[n] = math.mul_add(f.splat(queries[n][d]), keys, sums[n]);
                }
            }
            let real = f.first_n_mask(length.saturating_sub(j).min(lanes));
            for n in 0..QUERIES {
                let sum = f.select(f.mul(sums[n], alpha), lowest, real);
                largest[n] = f.max(largest[n], sum);
                f.store(sum, &mut scores[n * padded + j..n * padded + j + lanes]);
            }
        }

        let rows = largest.iter().zip(scores.chunks_exact_mut(padded)).zip(shares);
        for ((largest, scores), share) in rows {
            let mut all = [f32::MIN; STRANDS];
            all[..lanes].copy_from_slice(largest.to_array().as_ref());
            let most = f.splat(fold(all, most));
            // Beyond the message an exponential is far below what a sum of at least 1 can hold.
            let mut strands = [f.zero(); STRANDS / 4];
            for scores in scores.chunks_exact_mut(STRANDS) {
                for (score, strand) in scores.chunks_exact_mut(lanes).zip(&mut strands) {
                    let weight = math.exp(f.sub(f.load(score), most));
                    *strand = f.add(*strand, weight);
                    f.store(weight, score);
                }
            }
            let mut sums = [0f32; STRANDS];
            for (sums, strand) in sums.chunks_exact_mut(lanes).zip(strands) {
                f.store(strand, sums);
            }
            *share = 1.0 / fold(sums, |a, b| a + b);
        }
    }

    /// The values mixed by scores (MIXES, L rounded up), each times its share (MIXES), into the head's
    /// columns of up to [`MIXES`] rows of `mixed`.
    #[inline(always)]
    fn mix<I: Isa, const SOFT: bool, const W: usize>(
        &self,
        math: Math<I, SOFT>,
        (scores, shares): (&[f32], &[f32]),
        mixed: &mut [f32],
    ) {
        let &Head { hidden, width, at, length, padded, .. } = self;
        let f = math.lanes();
        let lanes = f.len();
        let [a, b, c, d]: [&[f32]; MIXES] =
            std::array::from_fn(|n| &scores[n * padded..][..length]);
        let load = |part: &[f32]| {
            if part.len() == lanes { f.load(part) } else { f.load_pad(part).0 }
        };
        for column in (0..width).step_by(2 * lanes) {
            let middle = width.min(column + lanes);
            let parts = [column..middle, middle..width.min(column + 2 * lanes)];
            let mut sums = [[f.zero(); 2]; MIXES];
            let all = a.iter().zip(b).zip(c.iter().zip(d)).enumerate();
            for (j, ((a, b), (c, d))) in all {
                let values = self.row::<W>(2, j);
                let values = [load(&values[parts[0].clone()]), load(&values[parts[1].clone()])];
                for (sums, score) in sums.iter_mut().zip([a, b, c, d]) {
                    let score = f.splat(*score);
                    sums[0] = math.mul_add(score, values[0], sums[0]);
                    sums[1] = math.mul_add(score, values[1], sums[1]);
                }
            }
            for ((row, sums), share) in mixed.chunks_exact_mut(hidden).zip(sums).zip(shares) {
                for (part, sum) in parts.iter().zip(sums) {
                    let sum = f.mul(sum, f.splat(*share));
                    let to = &mut row[at..][part.clone()];
                    to.copy_from_slice(&sum.to_array().as_ref()[..part.len()]);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::kernel::Kernel;
    use super::*;

    fn naive(qkv: &[f32], hidden: usize, heads: usize) -> Vec<f32> {
        let (length, width) = (qkv.len() / hidden / 3, hidden / heads);
        let at = |row: usize, part: usize, c: usize| f64::from(qkv[(row * 3 + part) * hidden + c]);
        let mut mixed = vec![0f32; length * hidden];
        for i in 0..length {
            for head in 0..heads {
                let columns = head * width..(head + 1) * width;
                let score = |j| columns.clone().map(|c| at(i, 0, c) * at(j, 1, c)).sum::<f64>();
                let scores: Vec<f64> =
                    (0..length).map(|j| score(j) / (width as f64).sqrt()).collect();
                let most = scores.iter().fold(f64::MIN, |a, &b| a.max(b));
                let weights: Vec<f64> = scores.iter().map(|s| (s - most).exp()).collect();
                let total: f64 = weights.iter().sum();
                for c in columns.clone() {
                    let sum: f64 = (0..length).map(|j| weights[j] * at(j, 2, c)).sum();
                    mixed[i * hidden + c] = (sum / total) as f32;
                }
            }
        }
        mixed
    }

    proptest! {
        /// Lengths at and around the lanes and the queries that go together; heads narrower than lanes.
        #[test]
        fn is_what_the_definition_says(
            length in prop::sample::select(vec![1usize, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 33]),
            (hidden, heads) in prop::sample::select(vec![(64usize, 2usize), (24, 3), (16, 2)]),
            scale in prop::sample::select(vec![0.1f32, 3.0, 40.0]),
            seed in any::<u32>(),
        ) {
            let mut state = seed;
            let mut next = || {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                ((state >> 8) as f32 / (1u32 << 24) as f32 - 0.5) * scale
            };
            let qkv: Vec<f32> = (0..length * 3 * hidden).map(|_| next()).collect();
            let expected = naive(&qkv, hidden, heads);
            // Scores grow with the square of the inputs, and with them their error.
            let slack = 1e-5 * scale.max(1.0) + 2e-8 * scale.powi(3);
            let mut work = Work::default();
            // What an earlier, longer message left behind must not matter.
            work.keys.resize(4096, f32::NAN);
            work.scores.resize(4096, f32::NAN);
            for kernel in Kernel::available() {
                let mut mixed = vec![f32::NAN; length * hidden];
                let work = &mut work;
                kernel.run(Attend { qkv: &qkv, mixed: &mut mixed, hidden, heads, work });
                for (a, b) in mixed.iter().zip(&expected) {
                    prop_assert!((a - b).abs() < slack, "{kernel:?}: {a} {b}");
                }
            }
        }
    }
}
