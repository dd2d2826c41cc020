//! The int8 encoder without tokenising or queueing: by length, by batch, on one core and on all.
//!
//! May depend on the crate's public items.

mod support;

use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use klankbord::model::bundle::Bundle;
use klankbord::model::encoder::Encoder;
use klankbord::tokenise::Tokens;
use support::peak::Peak;

const LENGTHS: [usize; 8] = [2, 8, 16, 32, 64, 128, 256, 512];
const BATCHES: [usize; 5] = [1, 8, 32, 128, 512];
/// Tokens of each message of a batch, about the mean.
const LENGTH: usize = 32;

/// Seconds that each of `threads` takes for a batch, all at it at once.
struct Found {
    messages: usize,
    length: usize,
    threads: usize,
    seconds: f64,
}

impl Found {
    fn row(&self, peak: &Peak) -> [String; 7] {
        let (messages, tokens) = (self.messages, self.messages * self.length);
        let a_second = self.threads as f64 / self.seconds;
        let rate = messages as f64 * support::messages::macs(self.length) * a_second / 1e9;
        [
            format!("{messages} x {}", self.length),
            self.threads.to_string(),
            format!("{:.2}", self.seconds * 1e6 / tokens as f64),
            format!("{:.0}", messages as f64 * a_second),
            format!("{:.0}", tokens as f64 * a_second),
            format!("{rate:.0}"),
            support::percent(rate / peak.on(self.threads)),
        ]
    }
}

fn main() {
    let kernel = support::kernel();
    let Bundle { manifest, weights, .. } = support::messages::bundle();
    let encoder = Encoder::with_kernel(manifest.architecture, &weights, kernel);
    let encoder = encoder.expect("the weights fit");
    drop(weights);
    let vocabulary = u32::try_from(manifest.architecture.vocabulary).expect("it fits");

    let mut criterion = support::criterion(Duration::from_secs(1));
    let peak = Peak::measure(kernel);
    let by_length = LENGTHS.map(|length| (1, length));
    // The largest take seconds a call, and criterion wants ten.
    let few = if support::quick() { 3 } else { BATCHES.len() };
    let by_batch: Vec<_> = BATCHES[..few].iter().map(|&messages| (messages, LENGTH)).collect();
    let mut measure =
        |name, sizes: &[_]| measure(&mut criterion, name, sizes, &encoder, vocabulary);
    let (by_length, by_batch) = (measure("length", &by_length), measure("batch", &by_batch));
    criterion.final_summary();

    let lone = lone(&encoder, vocabulary);
    let peak = peak.again(kernel);
    let about = format!("{}; {peak}", support::provenance(kernel));
    let head = ["batch", "threads", "us/token", "messages/s", "tokens/s", "GMAC/s", "of peak"];
    for (what, found) in [("Lone messages by length", by_length), ("By batch", by_batch)] {
        let rows: Vec<_> = found.iter().map(|found| found.row(&peak)).collect();
        support::table(&format!("{what}. {about}"), head, &rows);
    }
    let title = format!("A lone message of {LENGTH} tokens, one core. {about}");
    support::table(&title, ["p50", "p99", "calls"], &[support::percentiles(&lone)]);
}

/// Messages of arbitrary tokens.
fn messages(count: usize, length: usize, vocabulary: u32) -> Vec<Tokens> {
    let mut id = 0u32;
    let mut next = || {
        id = id.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (id >> 8) % vocabulary
    };
    let mut one = || Tokens::new((0..length).map(|_| next()).collect());
    (0..count).map(|_| one()).collect()
}

fn measure(
    criterion: &mut Criterion,
    name: &str,
    sizes: &[(usize, usize)],
    encoder: &Encoder,
    vocabulary: u32,
) -> Vec<Found> {
    let mut threads = vec![1, support::cores()];
    threads.dedup();
    let mut found = Vec::new();
    for threads in threads {
        let mut group = criterion.benchmark_group(format!("encoder/{name}/{threads} threads"));
        for &(count, length) in sizes {
            let all = messages(count, length, vocabulary);
            let batch: Vec<_> = all.iter().collect();
            group.throughput(Throughput::Elements((threads * count * length) as u64));
            let read = |times| {
                support::at_once(threads, times, || {
                    let mut logits = Vec::with_capacity(count);
                    let batch = &batch;
                    move || {
                        logits.clear();
                        encoder.logits_into(batch, &mut logits).expect("logits");
                        std::hint::black_box(&logits);
                    }
                })
            };
            let seconds = support::seconds(&mut group, &format!("{count}x{length}"), read);
            let done = |seconds| Found { messages: count, length, threads, seconds };
            found.extend(seconds.map(done));
        }
        group.finish();
    }
    found
}

/// How long each call with a lone message takes, one after the other.
fn lone(encoder: &Encoder, vocabulary: u32) -> Vec<Duration> {
    let one = messages(1, LENGTH, vocabulary);
    let latencies = std::sync::Mutex::new(Vec::new());
    support::at_once(1, if support::quick() { 200 } else { 1000 }, || {
        let mut logits = Vec::with_capacity(1);
        let (one, latencies) = (&one, &latencies);
        move || {
            logits.clear();
            let start = Instant::now();
            encoder.logits_into(&[&one[0]], &mut logits).expect("logits");
            latencies.lock().expect("no panic").push(start.elapsed());
        }
    });
    latencies.into_inner().expect("no panic")
}
