//! Hours in minutes: a server under load for long, above its capacity, and told to stop again and again.
//!
//! `KLANKBORD_SOAK=80:1200,300:600` offers so many percent of the measured capacity for so many seconds each;
//! `KLANKBORD_RESTARTS=100` stops and starts a server so many times under load. Without either, a short form of both.
//! Ends with an error where a promise is broken. May depend on the crate's public items, its `rpc`, tokio and tonic.

#[path = "support/server.rs"]
mod server;
mod support;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::future::join_all;
use klankbord::message::Message;
use klankbord::rpc::pb;
use server::{Client, Server};
use support::messages::Messages;
use tokio::runtime::Runtime;
use tonic::{Code, Request};
use tonic_types::StatusExt as _;

/// Callers that find out the capacity, and for how long.
const CALLERS: usize = 64;
const FINDING: Duration = Duration::from_secs(15);
/// Between two interactive calls.
const EVERY: Duration = Duration::from_millis(50);
/// Between two looks at memory.
const LOOK: Duration = Duration::from_secs(5);
/// Longest that a caller of bulk waits.
const PATIENCE: Duration = Duration::from_secs(60);
/// Connections of bulk.
const CONNECTIONS: usize = 4;

/// How calls ended.
#[derive(Default)]
struct Tally {
    codes: BTreeMap<String, usize>,
    /// Refused, and not told when to come back.
    untold: usize,
    /// Of those that were answered.
    latencies: Vec<Duration>,
}

impl Tally {
    fn note(&mut self, outcome: Result<(), tonic::Status>, took: Duration) {
        let code = match &outcome {
            Ok(()) => Code::Ok,
            Err(status) => status.code(),
        };
        *self.codes.entry(format!("{code:?}")).or_default() += 1;
        match outcome {
            Ok(()) => self.latencies.push(took),
            Err(status) if code == Code::ResourceExhausted => {
                let told = status.get_details_retry_info().and_then(|info| info.retry_delay);
                self.untold += usize::from(told.is_none());
            }
            Err(_) => {}
        }
    }

    fn answered(&self) -> usize {
        self.latencies.len()
    }

    /// Neither answered nor refused in order.
    fn wrong(&self) -> usize {
        let fine = ["Ok", "ResourceExhausted"];
        let all = self.codes.iter().filter(|(code, _)| !fine.contains(&code.as_str()));
        self.untold + all.map(|(_, count)| count).sum::<usize>()
    }

    fn percentiles(&self) -> [String; 3] {
        support::percentiles(&self.latencies)
    }

    fn p99(&self) -> Duration {
        let mut sorted = self.latencies.clone();
        sorted.sort_unstable();
        sorted.get(sorted.len() * 99 / 100).copied().unwrap_or_default()
    }
}

fn proto(message: &Message) -> pb::Message {
    pb::Message { text: message.text().into(), ..Default::default() }
}

/// One of all, beginning again after the last.
fn at(messages: &Messages, index: usize) -> pb::Message {
    proto(&messages.messages[index % messages.count()])
}

async fn ask(
    client: &mut Client,
    message: pb::Message,
    lane: pb::Lane,
) -> Result<(), tonic::Status> {
    let message = Some(message);
    let request = pb::ClassifyRequest { message, spans: false, lane: lane.into() };
    let mut request = Request::new(request);
    request.set_timeout(PATIENCE);
    client.classify(request).await.map(|_| ())
}

/// As many a second as callers get who wait for each answer.
async fn capacity(server: &Server, messages: &Arc<Messages>) -> f64 {
    let (begun, next) = (Instant::now(), Arc::new(AtomicUsize::new(0)));
    let clients = server.connect(CONNECTIONS).await;
    let callers = (0..CALLERS).map(|caller| {
        let mut client = clients[caller % CONNECTIONS].clone();
        let (messages, next) = (Arc::clone(messages), Arc::clone(&next));
        tokio::spawn(async move {
            let mut count = 0;
            while begun.elapsed() < FINDING {
                let message = at(&messages, next.fetch_add(1, Ordering::Relaxed));
                ask(&mut client, message, pb::Lane::Bulk).await.expect("it has room");
                count += 1;
            }
            count
        })
    });
    let counts = join_all(callers).await.into_iter().map(|count| count.expect("it ends"));
    counts.sum::<usize>() as f64 / begun.elapsed().as_secs_f64()
}

/// One interactive call after another, in time, until told to end.
async fn interactive(mut client: Client, messages: Arc<Messages>, end: Arc<AtomicBool>) -> Tally {
    let tally = Arc::new(Mutex::new(Tally::default()));
    let (mut tick, mut open) = (tokio::time::interval(EVERY), tokio::task::JoinSet::new());
    while !end.load(Ordering::Relaxed) {
        tick.tick().await;
        let (mut client, message) = (client.clone(), proto(messages.typical()));
        let tally = Arc::clone(&tally);
        open.spawn(async move {
            let begun = Instant::now();
            let outcome = ask(&mut client, message, pb::Lane::Interactive).await;
            tally.lock().expect("nobody panics").note(outcome, begun.elapsed());
        });
    }
    open.join_all().await;
    let _ = &mut client;
    Arc::into_inner(tally).expect("all have ended").into_inner().expect("nobody panics")
}

/// Bulk at a rate, whatever comes back.
async fn bulk(server: &Server, messages: &Arc<Messages>, rate: f64, time: Duration) -> Tally {
    let tally = Arc::new(Mutex::new(Tally::default()));
    let clients = server.connect(CONNECTIONS).await;
    let (begun, mut sent) = (Instant::now(), 0usize);
    let (mut tick, mut open) =
        (tokio::time::interval(Duration::from_millis(5)), tokio::task::JoinSet::new());
    while begun.elapsed() < time {
        tick.tick().await;
        let due = (begun.elapsed().as_secs_f64() * rate) as usize;
        while sent < due {
            let (mut client, message) = (clients[sent % CONNECTIONS].clone(), at(messages, sent));
            let tally = Arc::clone(&tally);
            open.spawn(async move {
                let begun = Instant::now();
                let outcome = ask(&mut client, message, pb::Lane::Bulk).await;
                tally.lock().expect("nobody panics").note(outcome, begun.elapsed());
            });
            sent += 1;
        }
        while open.try_join_next().is_some() {}
    }
    open.join_all().await;
    Arc::into_inner(tally).expect("all have ended").into_inner().expect("nobody panics")
}

/// Load for a while: what came of it, a row of the table, and what was promised and not kept.
async fn phase(
    server: &Server,
    messages: &Arc<Messages>,
    (percent, time): (f64, Duration),
    (capacity, alone): (f64, Duration),
) -> ([String; 11], Vec<String>) {
    let end = Arc::new(AtomicBool::new(false));
    let client = server.connect(1).await.remove(0);
    let waiting = tokio::spawn(interactive(client, Arc::clone(messages), Arc::clone(&end)));
    let memory = async {
        let mut seen = Vec::new();
        while !end.load(Ordering::Relaxed) {
            tokio::time::sleep(LOOK.min(time / 10)).await;
            seen.extend(server.memory().map(|memory| memory.now));
        }
        seen
    };
    let own = 1.0 / EVERY.as_secs_f64();
    let rate = (capacity * percent / 100.0 - own).max(1.0);
    let load = async {
        let begun = Instant::now();
        let tally = bulk(server, messages, rate, time).await;
        end.store(true, Ordering::Relaxed);
        (tally, begun.elapsed())
    };
    let ((bulk, took), memory) = futures::join!(load, memory);
    let waited = waiting.await.expect("it ends");
    let done = (bulk.answered() + waited.answered()) as f64 / took.as_secs_f64();
    // What the first fifth brings is warming up.
    let memory = &memory[memory.len() / 5..];
    let (first, last) =
        (memory.first().copied().unwrap_or(0.0), memory.last().copied().unwrap_or(0.0));
    let growth = 100.0 * (last - first) / first.max(1.0);
    let refused = bulk.codes.get("ResourceExhausted").copied().unwrap_or(0);
    let [p50, p99, _] = waited.percentiles();
    let slower = waited.p99().as_secs_f64() / alone.as_secs_f64();
    let wrong = bulk.wrong() + waited.wrong();
    let mut broken = Vec::new();
    if wrong > 0 {
        broken.push(format!("{wrong} calls ended badly: {:?} {:?}", bulk.codes, waited.codes));
    }
    if waited.answered() < waited.codes.values().sum() {
        broken.push(format!("interactive calls were refused: {:?}", waited.codes));
    }
    let row = [
        format!("{percent:.0}%"),
        format!("{:.0}", time.as_secs_f64()),
        format!("{:.0}", rate + own),
        format!("{done:.0}"),
        format!("{:.1}%", 100.0 * done / capacity),
        refused.to_string(),
        p50,
        p99,
        format!("{slower:.1}"),
        format!("{first:.0} to {last:.0}"),
        format!("{growth:+.1}%"),
    ];
    (row, broken)
}

/// A server that is told to stop while callers call: of what it says that it has answered, all has come.
async fn restart(messages: &Arc<Messages>, turn: usize) -> (usize, usize, Vec<String>) {
    let mut server = Server::start_logged(support::kernel());
    let clients = server.connect(CONNECTIONS).await;
    let callers: Vec<_> = (0..16)
        .map(|caller| {
            let mut client = clients[caller % CONNECTIONS].clone();
            let messages = Arc::clone(messages);
            tokio::spawn(async move {
                let (mut answered, mut turn_at) = (0, caller * 100 + turn);
                loop {
                    turn_at += 1;
                    match ask(&mut client, self::at(&messages, turn_at), pb::Lane::Unspecified)
                        .await
                    {
                        Ok(()) => answered += 1,
                        Err(status) => return (answered, status.code()),
                    }
                }
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(100 + 37 * (turn as u64 % 20))).await;
    server.terminate();
    let ends: Vec<_> =
        join_all(callers).await.into_iter().map(|end| end.expect("it ends")).collect();
    let (clean, calls) =
        tokio::task::spawn_blocking(move || server.ended()).await.expect("it ends");
    let answered: usize = ends.iter().map(|(answered, _)| answered).sum();
    let mut broken = Vec::new();
    if !clean {
        broken.push("the server did not end well".to_owned());
    }
    let said = calls.get("Ok").copied().unwrap_or(0);
    if said != answered {
        broken.push(format!("{said} calls were answered, {answered} answers came"));
    }
    for (code, count) in
        calls.iter().filter(|(code, _)| !["Ok", "Unavailable"].contains(&code.as_str()))
    {
        broken.push(format!("{count} accepted calls ended as {code}"));
    }
    // The client's own word for a call that it could not send any more is CANCELLED; the log above has none.
    let gone = [Code::Unavailable, Code::Cancelled];
    for (_, code) in ends.iter().filter(|(_, code)| !gone.contains(code)) {
        broken.push(format!("a caller was told {code:?}"));
    }
    (answered, said, broken)
}

fn main() {
    let phases = std::env::var("KLANKBORD_SOAK").ok();
    let restarts = std::env::var("KLANKBORD_RESTARTS").ok();
    let short = phases.is_none() && restarts.is_none();
    let phases =
        phases.unwrap_or_else(|| if short { "80:10,300:10".into() } else { String::new() });
    let restarts: usize =
        restarts.map_or(if short { 3 } else { 0 }, |n| n.parse().expect("a number"));
    let messages = Arc::new(Messages::read(&support::messages::bundle().tokeniser));
    let runtime = Runtime::new().expect("a runtime");
    let about = support::provenance(support::kernel());
    let mut broken = Vec::new();

    let phases: Vec<(f64, Duration)> = phases
        .split(',')
        .filter_map(|phase| phase.split_once(':'))
        .map(|(percent, seconds)| {
            let number = |text: &str| text.parse::<f64>().expect("a number");
            (number(percent), Duration::from_secs_f64(number(seconds)))
        })
        .collect();
    if !phases.is_empty() {
        runtime.block_on(async {
            let server = Server::start(support::kernel());
            let found = capacity(&server, &messages).await;
            let end = Arc::new(AtomicBool::new(false));
            let client = server.connect(1).await.remove(0);
            let alone = tokio::spawn(interactive(client, Arc::clone(&messages), Arc::clone(&end)));
            tokio::time::sleep(FINDING).await;
            end.store(true, Ordering::Relaxed);
            let alone = alone.await.expect("it ends");
            let [p50, p99, calls] = alone.percentiles();
            println!("capacity {found:.0} messages/s; a message every 50 ms alone: p50 {p50}, p99 {p99} ({calls})");
            let mut rows = Vec::new();
            for load in phases {
                let (row, wrong) = phase(&server, &messages, load, (found, alone.p99())).await;
                broken.extend(wrong);
                rows.push(row);
            }
            let head = [
                "offered", "s", "messages/s", "answered/s", "of capacity", "refused", "interactive p50",
                "p99", "times alone", "RSS, MiB", "growth",
            ];
            support::table(&format!("Load. {about}"), head, &rows);
        });
    }
    if restarts > 0 {
        let (mut answered, mut said) = (0, 0);
        for turn in 0..restarts {
            let (came, counted, wrong) = runtime.block_on(restart(&messages, turn));
            (answered, said) = (answered + came, said + counted);
            broken.extend(wrong.into_iter().map(|what| format!("restart {turn}: {what}")));
        }
        println!(
            "{restarts} restarts under load: {said} calls answered by the servers, {answered} answers received"
        );
    }
    for what in &broken {
        println!("BROKEN: {what}");
    }
    std::process::exit(i32::from(!broken.is_empty()));
}
