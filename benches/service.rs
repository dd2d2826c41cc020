//! The service over loopback gRPC, beside the pipeline's own rate on the same messages.
//!
//! The server is a process of its own unless `KLANKBORD_BENCH_IN_PROCESS` is set; the client takes
//! its share of the same cores. Passes over the file are its samples: one takes too long for
//! criterion's ten and more. May depend on the crate's public items, its `rpc`, tokio and tonic.

#[path = "support/server.rs"]
mod server;
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use futures::future::join_all;
use klankbord::rpc::pb;
use klankbord::rpc::pb::classify_batch_result::Result as BatchOutcome;
use klankbord::rpc::pb::classify_stream_response::Result as StreamOutcome;
use server::{Client, Memory, Server};
use support::messages::Messages;
use support::peak::Peak;
use tokio::runtime::Runtime;

/// Connections that callers share.
const CONNECTIONS: usize = 4;
/// Messages of one ClassifyBatch, and how many of those are out at once.
const BATCH: usize = 64;
const BATCHES: usize = 4;
/// One caller at a time waits for each answer: fewer messages say enough.
const FEW: usize = 200;

#[derive(Clone, Copy)]
enum Way {
    Unary { callers: usize },
    Batch,
    Stream,
}

impl Way {
    const ALL: [Way; 6] = [
        Way::Unary { callers: 1 },
        Way::Unary { callers: 8 },
        Way::Unary { callers: 64 },
        Way::Unary { callers: 256 },
        Way::Batch,
        Way::Stream,
    ];

    fn name(self) -> String {
        match self {
            Way::Unary { callers: 1 } => "Classify, 1 caller, 1 connection".into(),
            Way::Unary { callers } => {
                format!("Classify, {callers} callers, {CONNECTIONS} connections")
            }
            Way::Batch => format!("ClassifyBatch of {BATCH}, {BATCHES} callers and connections"),
            Way::Stream => "ClassifyStream, 1 stream".into(),
        }
    }

    /// Sends all of `messages` and waits for all answers; how long each call took, or, of a stream,
    /// each message.
    async fn send(self, clients: &[Client], messages: Arc<[pb::Message]>) -> Vec<Duration> {
        match self {
            Way::Unary { callers } => call(clients, messages, callers, 1).await,
            Way::Batch => call(clients, messages, BATCHES, BATCH).await,
            Way::Stream => stream(clients[0].clone(), messages).await,
        }
    }
}

/// What was seen of one way.
struct Found {
    way: Way,
    messages: Messages,
    seconds: f64,
    /// The pipeline's time for the same, in turns with it.
    pipeline: f64,
    latencies: Vec<Duration>,
    /// Share of all cores that the client took.
    client: f64,
    memory: Option<Memory>,
}

impl Found {
    fn row(&self, peak: &Peak) -> [String; 10] {
        let a_second = |count: usize| format!("{:.0}", count as f64 / self.seconds);
        let [p50, p99, _] = support::percentiles(&self.latencies);
        let share = self.messages.macs() / self.seconds / 1e9 / peak.all;
        let memory = self.memory.map(|m| (format!("{:.0}", m.now), format!("{:.0}", m.most)));
        let (now, most) = memory.unwrap_or_else(|| ("-".into(), "-".into()));
        [
            self.way.name(),
            a_second(self.messages.count()),
            a_second(self.messages.tokens()),
            support::percent(share),
            support::percent(self.pipeline / self.seconds),
            p50,
            p99,
            support::percent(self.client),
            now,
            most,
        ]
    }
}

fn main() {
    let kernel = support::kernel();
    let all = Messages::read(&support::messages::bundle().tokeniser);
    let peak = Peak::measure(kernel);
    let runtime = Runtime::new().expect("a runtime");
    let pipeline = support::messages::pipeline(kernel);
    let server = match std::env::var_os("KLANKBORD_BENCH_IN_PROCESS") {
        Some(_) => runtime.block_on(Server::start_here(pipeline.clone())),
        None => Server::start(kernel),
    };
    let loaded = server.memory();
    let clients = runtime.block_on(server.connect(CONNECTIONS));

    let mut found = Vec::new();
    for way in Way::ALL {
        let alone = matches!(way, Way::Unary { callers: 1 });
        let messages = all.first(if alone { FEW } else { usize::MAX });
        let sent = messages.messages.iter().map(|message| pb::Message {
            id: message.id().into(),
            text: message.text().into(),
            ..Default::default()
        });
        let sent: Arc<[_]> = sent.collect();
        let (mut own, mut seconds, mut latencies) = (Vec::new(), Vec::new(), Vec::new());
        let mut client = Vec::new();
        // In turns, so that both find the machine in the same state; the first turn warms up.
        for turn in 0..=support::passes() {
            let through = runtime.block_on(messages.through(&pipeline)).as_secs_f64();
            let (start, before) = (Instant::now(), server::own_cpu());
            let answered = runtime.block_on(way.send(&clients, Arc::clone(&sent)));
            let took = start.elapsed().as_secs_f64();
            if turn > 0 {
                own.push(through);
                seconds.push(took);
                latencies.extend(answered);
                let cpu = (server::own_cpu() - before).as_secs_f64();
                client.push(cpu / took / support::cores() as f64);
            }
        }
        found.push(Found {
            way,
            messages,
            seconds: support::median(seconds),
            pipeline: support::median(own),
            latencies,
            client: support::median(client),
            memory: server.memory(),
        });
    }
    let peak = peak.again(kernel);
    let about = format!("{}; {peak}", support::provenance(kernel));
    let rows: Vec<_> = found.iter().map(|found| found.row(&peak)).collect();
    let head = [
        "calls",
        "messages/s",
        "tokens/s",
        "of peak",
        "of pipeline",
        "p50",
        "p99",
        "client CPU",
        "RSS MiB",
        "most MiB",
    ];
    support::table(&format!("Over loopback, {}. {about}", server.place()), head, &rows);
    if let Some(Memory { now, most }) = loaded {
        println!("before the first call: RSS {now:.0} MiB, most {most:.0} MiB");
    }
}

/// Calls with `size` messages each, the next as soon as one is answered, by so many callers.
async fn call(
    clients: &[Client],
    messages: Arc<[pb::Message]>,
    callers: usize,
    size: usize,
) -> Vec<Duration> {
    let next = Arc::new(AtomicUsize::new(0));
    let callers = (0..callers).map(|caller| {
        let mut client = clients[caller % clients.len()].clone();
        let (next, messages) = (Arc::clone(&next), Arc::clone(&messages));
        tokio::spawn(async move {
            let mut latencies = Vec::new();
            loop {
                let from = next.fetch_add(size, Ordering::Relaxed).min(messages.len());
                let some = messages[from..(from + size).min(messages.len())].to_vec();
                let start = Instant::now();
                match some.len() {
                    0 => return latencies,
                    1 if size == 1 => one(&mut client, some).await,
                    _ => batch(&mut client, some).await,
                }
                latencies.push(start.elapsed());
            }
        })
    });
    let latencies = join_all(callers).await;
    latencies.into_iter().flat_map(|caller| caller.expect("no panic")).collect()
}

async fn one(client: &mut Client, mut messages: Vec<pb::Message>) {
    let reply = client
        .classify(pb::ClassifyRequest { message: messages.pop(), spans: false, lane: 0 })
        .await;
    assert!(reply.expect("an answer").into_inner().verdict.is_some(), "no verdict");
}

async fn batch(client: &mut Client, messages: Vec<pb::Message>) {
    let count = messages.len();
    let reply =
        client.classify_batch(pb::ClassifyBatchRequest { messages, spans: false, lane: 0 }).await;
    let results = reply.expect("an answer").into_inner().results;
    let good = |r: &&pb::ClassifyBatchResult| matches!(r.result, Some(BatchOutcome::Verdict(_)));
    assert_eq!(results.iter().filter(good).count(), count, "not as many verdicts");
}

/// All messages on one stream, as fast as the server reads them.
async fn stream(mut client: Client, messages: Arc<[pb::Message]>) -> Vec<Duration> {
    let sent: Arc<[_]> = messages.iter().map(|_| std::sync::OnceLock::new()).collect();
    let requests = {
        let (sent, messages) = (Arc::clone(&sent), Arc::clone(&messages));
        (0..messages.len()).map(move |index| {
            // Taken by the transport now.
            sent[index].get_or_init(Instant::now);
            pb::ClassifyStreamRequest {
                message: Some(messages[index].clone()),
                spans: false,
                lane: 0,
            }
        })
    };
    let replies = client.classify_stream(tokio_stream::iter(requests)).await.expect("an answer");
    let mut replies = replies.into_inner();
    let mut latencies = Vec::new();
    while let Some(reply) = replies.next().await {
        let reply = reply.expect("a reply");
        assert!(matches!(reply.result, Some(StreamOutcome::Verdict(_))), "no verdict");
        let index = usize::try_from(reply.index).expect("it fits");
        latencies.push(sent[index].get().expect("it was sent").elapsed());
    }
    assert_eq!(latencies.len(), messages.len(), "not as many replies");
    latencies
}
