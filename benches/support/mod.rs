//! What the benches share: the machine's name, criterion's samples, percentiles, tables.
//!
//! Not every bench uses all of it. May depend on the crate's public items and criterion.
#![allow(dead_code)]

pub mod messages;
pub mod peak;

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use clap::ValueEnum as _;
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion};
use klankbord::model::kernel::Kernel;
use rayon::ThreadPoolBuilder;

/// Samples that criterion takes of each measurement; the fewest that it allows.
const SAMPLES: usize = 10;

/// Cores that this process may use.
pub fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// The kernel to measure: `KLANKBORD_KERNEL` as the command line spells it, else the fastest.
pub fn kernel() -> Kernel {
    match std::env::var("KLANKBORD_KERNEL") {
        Ok(name) => Kernel::from_str(&name, false).expect("KLANKBORD_KERNEL names a kernel"),
        Err(_) => Kernel::best(),
    }
}

/// Whether a first look is wanted rather than figures to publish.
pub fn quick() -> bool {
    std::env::var_os("KLANKBORD_BENCH_QUICK").is_some() || std::env::args().any(|a| a == "--quick")
}

/// Passes over the messages, of which the median counts.
pub fn passes() -> usize {
    if quick() { 1 } else { 3 }
}

/// What every table says of where its figures come from.
pub fn provenance(kernel: Kernel) -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let model = model.map_or("unknown CPU", |(_, name)| name.trim());
    let (version, name, cores) = (env!("CARGO_PKG_VERSION"), kernel.name(), cores());
    format!("klankbord {version}, kernel {name}, {cores} cores, {model}")
}

/// Criterion with so much time for each measurement; its own arguments go before.
pub fn criterion(measure: Duration) -> Criterion {
    let (warm_up, measure) = match quick() {
        true => (measure / 20, measure / 4),
        false => (measure / 5, measure),
    };
    Criterion::default()
        .sample_size(SAMPLES)
        .nresamples(10_000)
        .warm_up_time(warm_up.max(Duration::from_millis(1)))
        .measurement_time(measure)
        .without_plots()
        .configure_from_args()
}

/// Has criterion time `run`, which is told how many times to do its work and says how long that took.
/// Seconds of one time: the median of criterion's samples, without those of its warm-up. `None` where
/// the command line filters it out.
pub fn seconds(
    group: &mut BenchmarkGroup<'_, WallTime>,
    id: &str,
    mut run: impl FnMut(u64) -> Duration,
) -> Option<f64> {
    let mut samples = Vec::new();
    group.bench_function(id, |bencher| {
        bencher.iter_custom(|times| {
            let took = run(times);
            samples.push(took.as_secs_f64() / times as f64);
            took
        });
    });
    samples.drain(..samples.len().saturating_sub(SAMPLES));
    (!samples.is_empty()).then(|| median(samples))
}

/// The value in the middle.
pub fn median(mut values: Vec<f64>) -> f64 {
    assert!(!values.is_empty(), "nothing was measured");
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len().is_multiple_of(2) {
        f64::midpoint(values[middle - 1], values[middle])
    } else {
        values[middle]
    }
}

/// p50 and p99 in milliseconds, by nearest rank, and of how many.
pub fn percentiles(latencies: &[Duration]) -> [String; 3] {
    let mut sorted = latencies.to_vec();
    sorted.sort_unstable();
    let at = |percent: usize| {
        let rank = (sorted.len() * percent).div_ceil(100).max(1);
        let found = sorted.get(rank - 1).map(Duration::as_secs_f64);
        found.map_or_else(|| "-".into(), |seconds| format!("{:.2} ms", seconds * 1e3))
    };
    [at(50), at(99), sorted.len().to_string()]
}

/// Does the work that `make` makes `times` over on each of `threads` threads at once; the time from
/// the first to start until the last to end.
///
/// Each thread is a rayon pool of its own, as the pipeline's are: else the vector kernel would spread
/// a product over all cores. The threads look at the clock themselves, because with every core taken
/// nobody else gets to do so in time.
pub fn at_once<W: FnMut()>(threads: usize, times: u64, make: impl Fn() -> W + Sync) -> Duration {
    let barrier = Barrier::new(threads);
    let one = || {
        let pool = ThreadPoolBuilder::new().num_threads(1).use_current_thread().build();
        pool.expect("the system gives a thread");
        let mut work = make();
        // Buffers get their size, caches their contents.
        work();
        barrier.wait();
        let start = Instant::now();
        for _ in 0..times {
            work();
        }
        (start, Instant::now())
    };
    let spans: Vec<_> = thread::scope(|scope| {
        let all: Vec<_> = (0..threads).map(|_| scope.spawn(one)).collect();
        all.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    let start = spans.iter().map(|(start, _)| *start).min().expect("a thread");
    let end = spans.iter().map(|(_, end)| *end).max().expect("a thread");
    end - start
}

/// Prints rows under a title, the first column to the left and the others to the right.
pub fn table<const N: usize>(title: &str, head: [&str; N], rows: &[[String; N]]) {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([head[column].len()]).max().unwrap_or(0)
    };
    let line = |row: [&str; N]| {
        let cell = |(column, text): (usize, &str)| match (column, width(column)) {
            (0, width) => format!("{text:<width$}"),
            (_, width) => format!("{text:>width$}"),
        };
        println!("{}", row.into_iter().enumerate().map(cell).collect::<Vec<_>>().join("  "));
    };
    println!("\n{title}");
    line(head);
    for row in rows {
        line(std::array::from_fn(|column| row[column].as_str()));
    }
}

/// A share as per cent.
pub fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}
