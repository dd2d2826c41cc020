//! u8 × i8 → i32 products on the vector unit of CPUs with AVX-512 VNNI.
//!
//! Six rows of activations times 64 outputs stay in registers over the whole depth: each load of weights
//! serves six rows, and activations need no packing, since four bytes of one row go to all lanes at once.
//! A general library, which packs, does four fifths as much at the encoder's sizes (`benches/kernels.rs`).
//! Sums are exact. Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2, `VPDPBUSD`.

use super::Lines;

/// Outputs that are worked on at once.
pub const PANEL: usize = 64;
/// Inputs that one instruction multiplies and adds up.
pub const DEPTH: usize = 4;
/// Rows that are worked on at once.
const ROWS: usize = 6;

/// Proof that this CPU has the instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vnni(());

impl Vnni {
    /// Where the CPU has AVX-512 VNNI.
    pub fn new() -> Option<Self> {
        unit::exists().then_some(Vnni(()))
    }
}

/// A weight, laid out for the vector unit.
pub struct Panels {
    vnni: Vnni,
    /// By panel, then by [`DEPTH`] inputs: for each output of the panel the weights of those inputs.
    data: Lines<u8>,
    inputs: usize,
    outputs: usize,
}

impl Panels {
    /// Lays out `weight` (O, I); `None` where O is no multiple of [`PANEL`] or I none of [`DEPTH`].
    pub fn pack(vnni: Vnni, weight: &[i8], inputs: usize) -> Option<Self> {
        let outputs = weight.len() / inputs.max(1);
        if inputs == 0 || !inputs.is_multiple_of(DEPTH) || !outputs.is_multiple_of(PANEL) {
            return None;
        }
        let mut data = Lines::default();
        let groups = data.sized(weight.len()).chunks_exact_mut(PANEL * DEPTH);
        for (index, group) in groups.enumerate() {
            let (panel, depth) = (index / (inputs / DEPTH), index % (inputs / DEPTH));
            for (at, byte) in group.iter_mut().enumerate() {
                let (output, input) = (panel * PANEL + at / DEPTH, depth * DEPTH + at % DEPTH);
                *byte = weight[output * inputs + input].cast_unsigned();
            }
        }
        Some(Panels { vnni, data, inputs, outputs })
    }

    /// `x` (T, I) times the weight: `sums` (T, O), of which the first `rows` rows count.
    ///
    /// # Panics
    /// Where `x` or `sums` is too short.
    pub fn product(&self, x: &[u8], rows: usize, sums: &mut [i32]) {
        let (inputs, outputs) = (self.inputs, self.outputs);
        let (x, sums) = (&x[..rows * inputs], &mut sums[..rows * outputs]);
        unit::product(self.vnni, x, self.data.get(inputs * outputs), sums, (inputs, outputs));
    }
}

#[cfg(target_arch = "x86_64")]
mod unit {
    use std::arch::x86_64::{
        __m512i, _mm512_dpbusd_epi32, _mm512_load_si512, _mm512_set1_epi32, _mm512_setzero_si512,
        _mm512_storeu_si512,
    };

    use super::{DEPTH, PANEL, ROWS, Vnni};

    /// Bytes of a register.
    const LINE: usize = 64;
    /// Sums in a register.
    const LANES: usize = LINE / size_of::<i32>();
    /// Registers of a row's sums.
    const WIDE: usize = PANEL / LANES;

    pub fn exists() -> bool {
        is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vnni")
    }

    /// `x` (T, I), `weights` as `Panels` lays them out, `sums` (T, O).
    pub fn product(
        _: Vnni,
        x: &[u8],
        weights: &[u8],
        sums: &mut [i32],
        (inputs, outputs): (usize, usize),
    ) {
        assert!(inputs > 0 && inputs.is_multiple_of(DEPTH) && outputs.is_multiple_of(PANEL));
        let rows = x.len() / inputs;
        assert!(x.len() == rows * inputs && weights.len() == inputs * outputs);
        assert!(sums.len() == rows * outputs);
        assert!(weights.as_ptr().addr().is_multiple_of(LINE));
        for (panel, weights) in weights.chunks_exact(inputs * PANEL).enumerate() {
            for row in (0..rows).step_by(ROWS) {
                let x = x[row * inputs..].as_ptr();
                let sums = sums[row * outputs + panel * PANEL..].as_mut_ptr();
                let (weights, size) = (weights.as_ptr(), (inputs, outputs));
                // SAFETY: a `Vnni` exists, so the instructions do. `block::<R>` reads R rows of `inputs`
                // bytes of `x` and writes PANEL sums in each of R rows of `sums`, `outputs` apart: R is
                // at most the rows that are left, and the panel's columns are inside a row, by the
                // asserts. `weights` is one panel, inputs * PANEL bytes, a multiple of a line, and begins
                // a multiple of a line behind the aligned start.
                unsafe {
                    match rows - row {
                        1 => block::<1>(x, weights, sums, size),
                        2 => block::<2>(x, weights, sums, size),
                        3 => block::<3>(x, weights, sums, size),
                        4 => block::<4>(x, weights, sums, size),
                        5 => block::<5>(x, weights, sums, size),
                        _ => block::<ROWS>(x, weights, sums, size),
                    }
                }
            }
        }
    }

    /// Sums of R rows and one panel.
    ///
    /// # Safety
    /// The CPU has the features; the pointers are good for what `product` says.
    #[target_feature(enable = "avx512f,avx512vnni")]
    unsafe fn block<const R: usize>(
        x: *const u8,
        weights: *const u8,
        sums: *mut i32,
        (inputs, outputs): (usize, usize),
    ) {
        let mut all = [[_mm512_setzero_si512(); WIDE]; R];
        for group in 0..inputs / DEPTH {
            // SAFETY: the caller's; group * DEPTH + DEPTH <= inputs, and a panel has WIDE lines a group.
            unsafe {
                let line = weights.add(group * WIDE * LINE);
                let mut w = [_mm512_setzero_si512(); WIDE];
                for (at, w) in w.iter_mut().enumerate() {
                    *w = _mm512_load_si512(line.add(at * LINE).cast::<__m512i>());
                }
                for (row, sums) in all.iter_mut().enumerate() {
                    let four = x.add(row * inputs + group * DEPTH).cast::<i32>().read_unaligned();
                    let four = _mm512_set1_epi32(four);
                    for (sum, w) in sums.iter_mut().zip(w) {
                        *sum = _mm512_dpbusd_epi32(*sum, four, w);
                    }
                }
            }
        }
        for (row, all) in all.iter().enumerate() {
            for (at, sum) in all.iter().enumerate() {
                // SAFETY: the caller's; WIDE registers are the PANEL sums of a row.
                unsafe {
                    let to = sums.add(row * outputs + at * LANES);
                    _mm512_storeu_si512(to.cast::<__m512i>(), *sum);
                }
            }
        }
    }
}

/// Elsewhere there is no such unit, and no [`Vnni`] to call this with.
#[cfg(not(target_arch = "x86_64"))]
mod unit {
    use super::Vnni;

    pub fn exists() -> bool {
        false
    }

    pub fn product(_: Vnni, _: &[u8], _: &[u8], _: &mut [i32], _: (usize, usize)) {
        unreachable!("a Vnni exists on x86-64 only")
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn sums_are_those_of_the_definition() {
        let Some(vnni) = Vnni::new() else {
            eprintln!("skipped: this machine has no AVX-512 VNNI");
            return;
        };
        let mut random = ChaCha8Rng::seed_from_u64(1);
        for (rows, inputs, outputs) in [
            (1usize, 4usize, 64usize),
            (2, 384, 128),
            (3, 8, 64),
            (5, 64, 64),
            (6, 1536, 64),
            (7, 384, 192),
            (64, 384, 64),
        ] {
            let x: Vec<u8> = (0..rows * inputs).map(|_| random.random()).collect();
            let weight: Vec<i8> = (0..outputs * inputs).map(|_| random.random()).collect();
            let mut sums = vec![i32::MIN; rows * outputs];
            Panels::pack(vnni, &weight, inputs).unwrap().product(&x, rows, &mut sums);
            for t in 0..rows {
                for o in 0..outputs {
                    let (x, w) = (&x[t * inputs..], &weight[o * inputs..]);
                    let exact: i32 = (0..inputs).map(|i| i32::from(x[i]) * i32::from(w[i])).sum();
                    assert_eq!(sums[t * outputs + o], exact, "{rows} x {inputs} x {outputs}");
                }
            }
        }
        assert!(Panels::pack(vnni, &[0; 64 * 31], 31).is_none());
        assert!(Panels::pack(vnni, &[0; 63 * 32], 32).is_none());
    }

    #[test]
    fn too_little_room_is_refused() {
        let Some(vnni) = Vnni::new() else { return };
        let panels = Panels::pack(vnni, &[0; 64 * 64], 64).unwrap();
        for (x, sums) in [(63, 64), (64, 63)] {
            let (x, mut sums) = (vec![0; x], vec![0; sums]);
            let product = std::panic::AssertUnwindSafe(|| panels.product(&x, 1, &mut sums));
            assert!(std::panic::catch_unwind(product).is_err());
        }
    }
}
