//! The int8 product by itself, at the encoder's sizes: GMAC/s of each kernel, and their peaks.
//!
//! May depend on the crate's public items.

mod support;

use std::time::Duration;

use criterion::Throughput;
use klankbord::model::kernel::Kernel;
use support::peak::{self, Peak};

fn main() {
    let mut criterion = support::criterion(Duration::from_secs(1));
    for kernel in Kernel::available().into_iter().filter(|kernel| *kernel != Kernel::Portable) {
        let peak = Peak::measure(kernel);
        let mut group = criterion.benchmark_group(format!("kernels/{}", kernel.name()));
        let mut rows = Vec::new();
        for (inputs, outputs) in peak::SIZES {
            let product = peak::product(kernel, (inputs, outputs));
            for count in [16, 64, 512] {
                let macs = peak::macs(&product, count);
                group.throughput(Throughput::Elements(macs as u64));
                let id = format!("{inputs}->{outputs}/{count}");
                let run = |times| peak::run(&product, count, 1, times);
                let Some(seconds) = support::seconds(&mut group, &id, run) else { continue };
                let rate = macs / seconds / 1e9;
                rows.push([
                    format!("{inputs} -> {outputs}"),
                    count.to_string(),
                    format!("{:.1}", seconds * 1e6),
                    format!("{rate:.0}"),
                    support::percent(rate / peak.one),
                ]);
            }
        }
        group.finish();
        let peak = peak.again(kernel);
        let title = format!("Products on one core. {}; {peak}", support::provenance(kernel));
        support::table(&title, ["product", "rows", "us", "GMAC/s", "of peak"], &rows);
    }
    criterion.final_summary();
}
