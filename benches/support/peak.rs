//! What the int8 product alone can do on this machine, which all else is a share of.
//!
//! May depend on the crate's public items.

use std::time::Duration;

use klankbord::machine::Lines;
use klankbord::model::kernel::{Kernel, Product};
use klankbord::model::quantise::Int8Weight;

use super::{at_once, cores, quick};

/// The products of one encoder layer: inputs, outputs.
pub const SIZES: [(usize, usize); 4] = [(384, 1152), (384, 384), (384, 1536), (1536, 384)];

/// Rows at which a peak is looked for: what the encoder puts through a layer at once, and many.
const ROWS: [usize; 2] = [64, 512];
/// Length and number of the windows, of which the fastest counts: others may be at work on the
/// machine, and a peak is what there is when they are not.
const WINDOW: Duration = Duration::from_millis(40);
const WINDOWS: usize = 3;

/// A weight of arbitrary numbers, laid out.
pub fn product(kernel: Kernel, (inputs, outputs): (usize, usize)) -> Product {
    let values = noise(inputs * outputs).map(u8::cast_signed).collect();
    let weight = Int8Weight { values, scales: vec![1.0; outputs] };
    Product::new(kernel, &weight, inputs).expect("the sizes fit")
}

/// Runs `product` on `rows` rows, `times` over, on each of `threads` threads; how long it took.
pub fn run(product: &Product, rows: usize, threads: usize, times: u64) -> Duration {
    at_once(threads, times, || {
        let (mut x, mut sums) = (Lines::<u8>::default(), Lines::<i32>::default());
        let inputs = rows * product.inputs();
        x.sized(inputs).iter_mut().zip(noise(inputs)).for_each(|(x, n)| *x = n);
        move || {
            let sums = sums.sized(rows * product.outputs());
            product.run(x.get(inputs), rows, sums).expect("the sizes fit");
            std::hint::black_box(sums);
        }
    })
}

/// Multiply-adds of `rows` rows.
pub fn macs(product: &Product, rows: usize) -> f64 {
    (rows * product.inputs() * product.outputs()) as f64
}

/// GMAC/s that a kernel's product reaches.
#[derive(Clone, Copy, Debug)]
pub struct Peak {
    /// On one core, the others idle.
    pub one: f64,
    /// On all cores at once.
    pub all: f64,
}

impl Peak {
    /// Measures it: the fastest over the encoder's sizes.
    pub fn measure(kernel: Kernel) -> Self {
        let best = |threads: usize| {
            let mut best = 0f64;
            for product in SIZES.map(|size| product(kernel, size)) {
                for rows in ROWS {
                    let first = run(&product, rows, threads, 16).as_secs_f64() / 16.0;
                    let times = (WINDOW.as_secs_f64() / first).ceil().max(1.0);
                    for _ in 0..if quick() { 1 } else { WINDOWS } {
                        let took = run(&product, rows, threads, times as u64).as_secs_f64();
                        let done = macs(&product, rows) * times * threads as f64;
                        best = best.max(done / took / 1e9);
                    }
                }
            }
            best
        };
        Peak { one: best(1), all: best(cores()) }
    }

    /// Measures it again, at the end of a run; the higher of both counts.
    pub fn again(self, kernel: Kernel) -> Self {
        let other = Peak::measure(kernel);
        Peak { one: self.one.max(other.one), all: self.all.max(other.all) }
    }

    /// On so many threads, of which it knows one and all.
    pub fn on(&self, threads: usize) -> f64 {
        if threads == 1 { self.one } else { self.all }
    }
}

impl std::fmt::Display for Peak {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (one, all, cores) = (self.one, self.all, cores());
        write!(f, "peak {one:.0} GMAC/s on one core, {all:.0} on {cores} at once")
    }
}

/// Arbitrary bytes, the same each time.
fn noise(count: usize) -> impl Iterator<Item = u8> {
    let mut state = 1u32;
    (0..count).map(move |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    })
}
