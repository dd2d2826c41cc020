//! One Rust peer in a process of its own: candle or rten, asked by JSON lines.
//!
//! `klankbord-peers PEER EXPORTS IDS THREADS`, where PEER is `candle-f32`, `rten-f32` or `rten-int8`
//! (with `-lanes`: a batch a thread instead of all threads on one batch). What it is asked and how it
//! answers is in `worker.py`, whose twin this is.

mod candle;
mod rten_onnx;

use std::collections::HashMap;
use std::error::Error;
use std::io::{BufRead, Write};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use serde::Deserialize;
use serde_json::json;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

const PAD: i32 = 1;
const LOGITS: usize = 8;

/// A padded batch, row-major: ids and mask of `rows` messages of `width` tokens.
struct Batch {
    rows: usize,
    width: usize,
    ids: Vec<i32>,
    mask: Vec<i32>,
}

impl Batch {
    fn new(messages: &[&[u32]]) -> Batch {
        let (rows, width) = (messages.len(), messages.iter().map(|m| m.len()).max().unwrap_or(0));
        let (mut ids, mut mask) = (vec![PAD; rows * width], vec![0; rows * width]);
        for (row, message) in messages.iter().enumerate() {
            for (column, &id) in message.iter().enumerate() {
                ids[row * width + column] = id as i32;
                mask[row * width + column] = 1;
            }
        }
        Batch { rows, width, ids, mask }
    }
}

/// A network under measurement.
trait Model: Sync {
    /// Logits of all rows, row-major.
    fn logits(&self, batch: &Batch) -> Result<Vec<f32>>;
}

#[derive(Deserialize)]
struct Request {
    #[serde(rename = "do")]
    what: String,
    set: String,
    #[serde(default)]
    order: String,
    #[serde(default)]
    batch: usize,
    #[serde(default)]
    calls: usize,
}

/// Logits of all messages, in their own order.
fn read(
    model: &dyn Model,
    messages: &[Vec<u32>],
    order: &str,
    size: usize,
    lanes: usize,
) -> Result<Vec<Vec<f32>>> {
    let mut indices: Vec<usize> = (0..messages.len()).collect();
    if order == "sorted" {
        indices.sort_by_key(|&i| std::cmp::Reverse(messages[i].len()));
    }
    let batches: Vec<&[usize]> = indices.chunks(size).collect();
    let next = AtomicUsize::new(0);
    let lane = || {
        let mut done = Vec::new();
        while let Some(batch) = batches.get(next.fetch_add(1, Ordering::Relaxed)) {
            let rows: Vec<&[u32]> = batch.iter().map(|&i| messages[i].as_slice()).collect();
            let logits = model.logits(&Batch::new(&rows))?;
            done.extend(batch.iter().copied().zip(logits.chunks(LOGITS).map(<[f32]>::to_vec)));
        }
        Ok::<_, Box<dyn Error + Send + Sync>>(done)
    };
    let done = match lanes {
        1 => vec![lane()],
        _ => std::thread::scope(|scope| {
            let threads: Vec<_> = (0..lanes).map(|_| scope.spawn(lane)).collect();
            threads.into_iter().map(|t| t.join().expect("a lane broke off")).collect()
        }),
    };
    let mut all = vec![Vec::new(); messages.len()];
    for part in done {
        for (index, logits) in part? {
            all[index] = logits;
        }
    }
    Ok(all)
}

/// The most memory that this process has had, in megabytes; 0 where it cannot be known.
fn peak_mb() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kb = line.and_then(|l| l.trim().trim_end_matches("kB").trim().parse::<f64>().ok());
    kb.unwrap_or(0.0) * 1024.0 / 1e6
}

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [peer, folder, ids, threads] = args.as_slice() else {
        return Err("usage: klankbord-peers PEER EXPORTS IDS THREADS".into());
    };
    let (folder, threads): (&Path, usize) = (Path::new(folder), threads.parse()?);
    let sets: HashMap<String, Vec<Vec<u32>>> = serde_json::from_slice(&std::fs::read(ids)?)?;
    let (name, in_lanes) = match peer.strip_suffix("-lanes") {
        Some(name) => (name, true),
        None => (peer.as_str(), false),
    };
    let (lanes, inside) = if in_lanes { (threads, 1) } else { (1, threads) };
    let (model, version): (Box<dyn Model>, _) = match name {
        "candle-f32" => (Box::new(candle::Bert::load(folder, inside)?), "candle 0.11.1"),
        "rten-f32" => (Box::new(rten_onnx::Onnx::load(folder, "f32", inside)?), "rten 0.27.0"),
        "rten-int8" => (Box::new(rten_onnx::Onnx::load(folder, "int8", inside)?), "rten 0.27.0"),
        _ => return Err(format!("no peer is called {peer}").into()),
    };
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", json!({ "ready": version }))?;
    out.flush()?;
    for line in std::io::stdin().lock().lines() {
        let request: Request = serde_json::from_str(&line?)?;
        let messages = sets.get(&request.set).ok_or("no such set")?;
        let begun = Instant::now();
        let mut reply = match request.what.as_str() {
            "read" => {
                read(&*model, messages, &request.order, request.batch, lanes)?;
                json!({ "seconds": begun.elapsed().as_secs_f64() })
            }
            "latency" => {
                let mut times = Vec::new();
                for _ in 0..request.calls {
                    let begun = Instant::now();
                    model.logits(&Batch::new(&[&messages[0]]))?;
                    times.push(begun.elapsed().as_secs_f64() * 1e3);
                }
                json!({ "ms": times })
            }
            _ => json!({ "logits": read(&*model, messages, "sorted", request.batch, lanes)? }),
        };
        reply["peak_mb"] = peak_mb().into();
        writeln!(out, "{reply}")?;
        out.flush()?;
    }
    Ok(())
}
