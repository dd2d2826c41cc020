//! u8 × i8 → i32 products on the tile unit of newer Xeons (AMX-INT8), which no crate offers yet.
//!
//! Two tiles of activations times two of weights, 64 deep at a step: each loaded value is used twice
//! from the tile registers, and activations need no packing, since a tile is loaded with a stride.
//! Sums are exact, so they are those of any other kernel, bit by bit. Source: Intel 64 and IA-32
//! Architectures Software Developer's Manual, volume 1, chapter 18, and volume 2, `TDPBUSD`.

use super::Lines;

/// Rows and columns of one tile of sums.
pub const TILE: usize = 16;
/// How deep one step goes: bytes in a row of a tile.
pub const DEPTH: usize = 64;
/// Columns that are worked on at once.
pub const PANEL: usize = 2 * TILE;
/// Bytes of a tile of activations or weights.
const BYTES: usize = TILE * DEPTH;

/// Proof that this process may use tiles on this CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Amx(());

impl Amx {
    /// Where CPU and system both have AMX-INT8; asks the system for it the first time.
    pub fn new() -> Option<Self> {
        static ALLOWED: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
        ALLOWED.get_or_init(unit::allowed).then_some(Amx(()))
    }
}

/// A weight, laid out for the tile unit.
pub struct Tiles {
    amx: Amx,
    data: Lines<u8>,
    inputs: usize,
    outputs: usize,
}

impl Tiles {
    /// Lays out `weight` (O, I); `None` where O is no multiple of [`PANEL`] or I none of [`DEPTH`].
    pub fn pack(amx: Amx, weight: &[i8], inputs: usize) -> Option<Self> {
        let outputs = weight.len() / inputs.max(1);
        if inputs == 0 || !inputs.is_multiple_of(DEPTH) || !outputs.is_multiple_of(PANEL) {
            return None;
        }
        let mut data = Lines::default();
        // By panel, then depth, then the two tiles of the panel. Row r of a tile has, for each of
        // its columns, the four weights from depth 4r on.
        let mut tiles = data.sized(weight.len()).chunks_exact_mut(BYTES);
        for panel in (0..outputs).step_by(PANEL) {
            for depth in (0..inputs).step_by(DEPTH) {
                for (first, tile) in [panel, panel + TILE].into_iter().zip(&mut tiles) {
                    for (at, byte) in tile.iter_mut().enumerate() {
                        let (row, column, four) = (at / DEPTH, at % DEPTH / 4, at % 4);
                        let from = (first + column) * inputs + depth + 4 * row + four;
                        *byte = weight[from].cast_unsigned();
                    }
                }
            }
        }
        Some(Tiles { amx, data, inputs, outputs })
    }

    /// `x` (T, I) times the weight: `sums` (T, O), where T is `rows` rounded up to whole tiles. Rows
    /// beyond `rows` are worked on too, whatever they hold.
    ///
    /// # Panics
    /// Where `x` or `sums` is too short.
    pub fn product(&self, x: &[u8], rows: usize, sums: &mut [i32]) {
        let rows = rows.next_multiple_of(TILE);
        let x = &x[..rows * self.inputs];
        let sums = &mut sums[..rows * self.outputs];
        let weights = self.data.get(self.inputs * self.outputs);
        if rows > 0 {
            unit::product(self.amx, x, weights, sums, (rows, self.inputs, self.outputs));
        }
    }
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod unit {
    use std::arch::asm;
    use std::arch::x86_64::__cpuid_count;

    use super::{Amx, BYTES, DEPTH, PANEL, TILE};

    /// How many rows of how many bytes each tile register has. Palette 1, section 18.2 of the manual.
    #[repr(C, align(64))]
    struct Config {
        palette: u8,
        start_row: u8,
        reserved: [u8; 14],
        row_bytes: [u16; 16],
        rows: [u8; 16],
    }

    const CONFIG: Config = {
        let (mut row_bytes, mut rows) = ([0; 16], [0; 16]);
        let mut register = 0;
        while register < 8 {
            (row_bytes[register], rows[register]) = (DEPTH as u16, TILE as u8);
            register += 1;
        }
        Config { palette: 1, start_row: 0, reserved: [0; 14], row_bytes, rows }
    };

    /// Whether the CPU has AMX-TILE and AMX-INT8, and Linux lets this process use the tile registers
    /// (<https://docs.kernel.org/arch/x86/xstate.html>).
    pub fn allowed() -> bool {
        const ARCH_REQ_XCOMP_PERM: libc::c_int = 0x1023;
        const XTILEDATA: libc::c_ulong = 18;
        let leaf = __cpuid_count(7, 0);
        let has = |bit: u32| leaf.edx >> bit & 1 == 1;
        if !has(24) || !has(25) {
            return false;
        }
        // SAFETY: this call takes two numbers and touches no memory of ours; it only widens what the
        // process may use, and answers with an error where that is not possible.
        unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XTILEDATA) == 0 }
    }

    /// `size` is (rows, inputs, outputs), multiples of [`TILE`], [`DEPTH`] and [`PANEL`].
    pub fn product(
        _: Amx,
        x: &[u8],
        weights: &[u8],
        sums: &mut [i32],
        size: (usize, usize, usize),
    ) {
        let (rows, inputs, outputs) = size;
        assert!(rows.is_multiple_of(TILE) && inputs.is_multiple_of(DEPTH) && inputs > 0);
        assert!(outputs.is_multiple_of(PANEL));
        assert!(x.len() == rows * inputs && weights.len() == inputs * outputs);
        assert!(sums.len() == rows * outputs);
        // SAFETY: an `Amx` exists, so the instruction does; it reads the 64 bytes of CONFIG. The tile
        // registers belong to nobody else: the compiler never uses them.
        unsafe { asm!("ldtilecfg [{0}]", in(reg) &CONFIG, options(nostack, readonly)) };
        let steps = inputs / DEPTH;
        for (panel, weights) in weights.chunks_exact(2 * BYTES * steps).enumerate() {
            let mut row = 0;
            while row < rows {
                let two = rows - row >= 2 * TILE;
                let x = x[row * inputs..].as_ptr();
                let sums = sums[row * outputs + panel * PANEL..].as_mut_ptr();
                // SAFETY: the registers are configured as 16 rows of 64 bytes. A tile of `x` reads
                // 16 rows of 64 bytes, `inputs` bytes apart, at each of `steps` steps along the row,
                // all inside rows `row..row + 16` (or `+ 32`) of `x`, by the asserts; `weights` has two
                // tiles a step, by its chunk's size; a tile of `sums` is 16 rows of 16 sums,
                // `outputs` sums apart, inside the same rows of `sums` and its columns
                // `panel * PANEL..`, by the asserts.
                unsafe {
                    if two {
                        two_by_two(x, inputs, weights.as_ptr(), steps, sums, outputs);
                    } else {
                        one_by_two(x, inputs, weights.as_ptr(), steps, sums, outputs);
                    }
                }
                row += if two { 2 * TILE } else { TILE };
            }
        }
        // SAFETY: as for `ldtilecfg`; it leaves the registers free, which makes switching threads cheap.
        unsafe { asm!("tilerelease", options(nostack, nomem)) };
    }

    /// Sums of 32 rows and 32 columns.
    ///
    /// # Safety
    /// Tiles are configured; the pointers are good for what `product` says.
    #[inline]
    unsafe fn two_by_two(
        x: *const u8,
        inputs: usize,
        weights: *const u8,
        steps: usize,
        sums: *mut i32,
        outputs: usize,
    ) {
        // SAFETY: the caller's. Every register that is changed is an output.
        unsafe {
            asm!(
                "tilezero tmm0",
                "tilezero tmm1",
                "tilezero tmm2",
                "tilezero tmm3",
                "2:",
                "tileloadd tmm4, [{x} + {inputs}]",
                "tileloadd tmm6, [{weights} + {line}]",
                "tdpbusd tmm0, tmm4, tmm6",
                "tileloadd tmm7, [{weights} + {line} + 1024]",
                "tdpbusd tmm1, tmm4, tmm7",
                "tileloadd tmm5, [{lower} + {inputs}]",
                "tdpbusd tmm2, tmm5, tmm6",
                "tdpbusd tmm3, tmm5, tmm7",
                "add {x}, 64",
                "add {lower}, 64",
                "add {weights}, 2048",
                "dec {steps}",
                "jnz 2b",
                "tilestored [{sums} + {stride}], tmm0",
                "tilestored [{sums} + {stride} + 64], tmm1",
                "tilestored [{below} + {stride}], tmm2",
                "tilestored [{below} + {stride} + 64], tmm3",
                x = inout(reg) x => _,
                lower = inout(reg) x.add(TILE * inputs) => _,
                inputs = in(reg) inputs,
                weights = inout(reg) weights => _,
                line = in(reg) DEPTH,
                steps = inout(reg) steps => _,
                sums = in(reg) sums,
                below = in(reg) sums.add(TILE * outputs),
                stride = in(reg) outputs * size_of::<i32>(),
                options(nostack),
            );
        }
    }

    /// Sums of 16 rows and 32 columns.
    ///
    /// # Safety
    /// As for [`two_by_two`].
    #[inline]
    unsafe fn one_by_two(
        x: *const u8,
        inputs: usize,
        weights: *const u8,
        steps: usize,
        sums: *mut i32,
        outputs: usize,
    ) {
        // SAFETY: the caller's. Every register that is changed is an output.
        unsafe {
            asm!(
                "tilezero tmm0",
                "tilezero tmm1",
                "2:",
                "tileloadd tmm4, [{x} + {inputs}]",
                "tileloadd tmm6, [{weights} + {line}]",
                "tdpbusd tmm0, tmm4, tmm6",
                "tileloadd tmm7, [{weights} + {line} + 1024]",
                "tdpbusd tmm1, tmm4, tmm7",
                "add {x}, 64",
                "add {weights}, 2048",
                "dec {steps}",
                "jnz 2b",
                "tilestored [{sums} + {stride}], tmm0",
                "tilestored [{sums} + {stride} + 64], tmm1",
                x = inout(reg) x => _,
                inputs = in(reg) inputs,
                weights = inout(reg) weights => _,
                line = in(reg) DEPTH,
                steps = inout(reg) steps => _,
                sums = in(reg) sums,
                stride = in(reg) outputs * size_of::<i32>(),
                options(nostack),
            );
        }
    }
}

/// Elsewhere there is no such unit, and no [`Amx`] to call this with.
#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
mod unit {
    use super::Amx;

    pub fn allowed() -> bool {
        false
    }

    pub fn product(_: Amx, _: &[u8], _: &[u8], _: &mut [i32], _: (usize, usize, usize)) {
        unreachable!("an Amx exists on x86-64 Linux only")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_those_of_the_definition() {
        let Some(amx) = Amx::new() else {
            eprintln!("skipped: this machine has no AMX-INT8");
            return;
        };
        let mut state = 1u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        for (rows, inputs, outputs) in [
            (1usize, 64usize, 32usize),
            (15, 384, 64),
            (16, 64, 32),
            (17, 128, 96),
            (33, 1536, 32),
            (64, 384, 32),
        ] {
            let whole = rows.next_multiple_of(TILE);
            let x: Vec<u8> = (0..whole * inputs).map(|_| next()).collect();
            let weight: Vec<i8> = (0..outputs * inputs).map(|_| next().cast_signed()).collect();
            let mut sums = vec![0; whole * outputs];
            Tiles::pack(amx, &weight, inputs).unwrap().product(&x, rows, &mut sums);
            for t in 0..whole {
                for o in 0..outputs {
                    let (x, w) = (&x[t * inputs..], &weight[o * inputs..]);
                    let exact: i32 = (0..inputs).map(|i| i32::from(x[i]) * i32::from(w[i])).sum();
                    assert_eq!(sums[t * outputs + o], exact, "{rows} x {inputs} x {outputs}");
                }
            }
        }
        assert!(Tiles::pack(amx, &[0; 64 * 31], 64).is_none());
        assert!(Tiles::pack(amx, &[0; 63 * 32], 63).is_none());
    }

    #[test]
    fn too_little_room_is_refused() {
        let Some(amx) = Amx::new() else { return };
        let tiles = Tiles::pack(amx, &[0; 64 * 32], 64).unwrap();
        for (x, sums) in [(64, 16 * 32), (16 * 64, 32)] {
            let (x, mut sums) = (vec![0; x], vec![0; sums]);
            let product = std::panic::AssertUnwindSafe(|| tiles.product(&x, 1, &mut sums));
            assert!(std::panic::catch_unwind(product).is_err());
        }
    }
}
