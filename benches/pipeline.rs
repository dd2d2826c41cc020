//! The whole pipeline without transport: bulk, and messages sent one by one beside it.
//!
//! Passes over the file are its samples: one takes too long for criterion's ten and more.
//! May depend on the crate's public items.

mod support;

use std::time::{Duration, Instant};

use futures::StreamExt as _;
use klankbord::batch::lane::{Lane, Terms};
use klankbord::model::kernel::Kernel;
use klankbord::pipeline::Pipeline;
use support::messages::Messages;
use support::peak::Peak;
use tokio::runtime::Runtime;

/// Between two messages of somebody who waits for the answers.
const EVERY: Duration = Duration::from_millis(20);
/// Messages of a bulk that are in the pipeline while somebody waits.
const BESIDE: usize = 64;

fn main() {
    let messages = Messages::read(&support::messages::bundle().tokeniser);
    let runtime = Runtime::new().expect("a runtime");
    let mut kernels = vec![support::kernel()];
    // What a CPU without the best unit would do.
    kernels.extend(Kernel::available().into_iter().skip(1).filter(|k| *k != Kernel::Portable));
    for kernel in kernels {
        let peak = Peak::measure(kernel);
        let pipeline = support::messages::pipeline(kernel);
        let pass = |_| runtime.block_on(messages.through(&pipeline)).as_secs_f64();
        // One to warm up: the pipeline learns what a token costs.
        pass(0);
        let seconds = support::median((0..support::passes()).map(pass).collect());
        let waited = (kernel == support::kernel()).then(|| {
            let alone = runtime.block_on(one_by_one(&pipeline, &messages));
            (alone, runtime.block_on(beside_bulk(&pipeline, &messages)))
        });
        drop(pipeline);

        let peak = peak.again(kernel);
        let about = format!("{}; {peak}", support::provenance(kernel));
        let (count, tokens) = (messages.count(), messages.tokens());
        let rate = messages.macs() / seconds / 1e9;
        let row = [
            count.to_string(),
            format!("{seconds:.3}"),
            format!("{:.0}", count as f64 / seconds),
            format!("{:.0}", tokens as f64 / seconds),
            format!("{rate:.0}"),
            support::percent(rate / peak.all),
        ];
        let head = ["messages", "s", "messages/s", "tokens/s", "GMAC/s", "of peak"];
        support::table(&format!("Bulk, in file order. {about}"), head, &[row]);
        let Some((alone, beside)) = waited else { continue };
        let title = format!("A message of 32 tokens every {} ms. {about}", EVERY.as_millis());
        let row = |what: &str, latencies: &[Duration]| {
            let [p50, p99, calls] = support::percentiles(latencies);
            [what.to_owned(), p50, p99, calls]
        };
        let beside_what = format!("beside a bulk, {BESIDE} in the works");
        let rows = [row("otherwise idle", &alone), row(&beside_what, &beside)];
        support::table(&title, ["pipeline", "p50", "p99", "messages"], &rows);
    }
}

/// Sends the typical message at a steady pace, whether or not the one before is answered; how long
/// each answer took.
async fn one_by_one(pipeline: &Pipeline, messages: &Messages) -> Vec<Duration> {
    let count = if support::quick() { 100 } else { 500 };
    let mut clock = tokio::time::interval(EVERY);
    let mut sent = Vec::new();
    for _ in 0..count {
        clock.tick().await;
        let (pipeline, message) = (pipeline.clone(), messages.typical().clone());
        sent.push(tokio::spawn(async move {
            let start = Instant::now();
            pipeline.classify(message).await.expect("a verdict");
            start.elapsed()
        }));
    }
    let answered = futures::future::join_all(sent).await;
    answered.into_iter().map(|took| took.expect("no panic")).collect()
}

/// The same while a bulk keeps the queue full.
async fn beside_bulk(pipeline: &Pipeline, messages: &Messages) -> Vec<Duration> {
    let bulk = async {
        // Each in turn and again from the first, until whoever waits has seen enough.
        let endless = messages.messages.iter().cycle();
        let terms = Terms { lane: Lane::Bulk, deadline: None };
        let verdicts = futures::stream::iter(endless)
            .map(|message| pipeline.classify_on(message.clone(), terms))
            .buffer_unordered(BESIDE);
        verdicts.for_each(async |verdict| assert!(verdict.is_ok(), "no verdict")).await;
    };
    let waiting = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        one_by_one(pipeline, messages).await
    };
    tokio::select! {
        latencies = waiting => latencies,
        () = bulk => unreachable!("the bulk has no end"),
    }
}
