//! A million verdicts counted by `klankbord kpi`: seconds and memory by format and by number of rows.
//!
//! `cargo bench --bench kpi` writes the files to a temporary folder (1.2 GB); `KLANKBORD_ROWS` for another number.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_array::{ArrayRef, BooleanArray, Float32Array, Int64Array, RecordBatch, StringArray};
use parquet::arrow::ArrowWriter;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

const CHANNELS: [&str; 6] = ["twitter", "facebook", "whatsapp", "email", "chat", "review"];
const BRANDS: [&str; 3] = ["Vlasveld", "Noorderlicht", "Zilt"];
const INTENTS: [&str; 4] = ["question", "complaint", "compliment", "factual_error"];
const SENTIMENTS: [&str; 3] = ["negative", "neutral", "positive"];
/// Rows of a row group.
const GROUP: usize = 100_000;

/// One verdict on a message of 2026.
struct Row {
    received: i64,
    answered: Option<i64>,
    channel: &'static str,
    brand: &'static str,
    intents: [f32; 4],
    sentiments: [f32; 3],
}

impl Row {
    fn new(random: &mut ChaCha8Rng) -> Self {
        let received = 1_767_222_000 + random.random_range(0..330 * 86_400);
        let wait = -(1.0 - random.random::<f64>()).ln() * 7200.0;
        let felt: [f32; 3] = std::array::from_fn(|_| random.random::<f32>().powi(2) + 0.01);
        let sum: f32 = felt.iter().sum();
        Row {
            received,
            answered: random.random_bool(0.7).then_some(received + wait as i64),
            channel: CHANNELS[random.random_range(0..CHANNELS.len())],
            brand: BRANDS[random.random_range(0..BRANDS.len())],
            intents: std::array::from_fn(|_| random.random::<f32>().powi(3)),
            sentiments: felt.map(|p| p / sum),
        }
    }

    fn feeling(&self) -> &'static str {
        let most = self.sentiments.iter().copied().fold(0.0, f32::max);
        let at = self.sentiments.iter().position(|p| *p == most);
        SENTIMENTS[at.unwrap_or(1)]
    }
}

fn rows(count: usize) -> impl Iterator<Item = Row> {
    let mut random = ChaCha8Rng::seed_from_u64(1);
    (0..count).map(move |_| Row::new(&mut random))
}

fn csv(path: &Path, count: usize) {
    let mut file = BufWriter::new(File::create(path).unwrap());
    let names = INTENTS.map(|name| format!("{name},{name}_p")).join(",");
    let felt = SENTIMENTS.map(|name| format!("{name}_p")).join(",");
    writeln!(file, "id,received_at,answered_at,channel,brand,{names},sentiment,{felt}").unwrap();
    for (id, row) in rows(count).enumerate() {
        let answered = row.answered.map(|time| time.to_string()).unwrap_or_default();
        let Row { received, channel, brand, .. } = row;
        write!(file, "m{id},{received},{answered},{channel},{brand}").unwrap();
        row.intents.iter().for_each(|p| write!(file, ",{},{p}", *p >= 0.45).unwrap());
        write!(file, ",{}", row.feeling()).unwrap();
        row.sentiments.iter().for_each(|p| write!(file, ",{p}").unwrap());
        writeln!(file).unwrap();
    }
}

fn jsonl(path: &Path, count: usize) {
    let mut file = BufWriter::new(File::create(path).unwrap());
    for (id, row) in rows(count).enumerate() {
        let intents = INTENTS
            .iter()
            .zip(row.intents)
            .map(|(name, p)| format!("\"{name}\":{{\"probability\":{p},\"holds\":{}}}", p >= 0.45));
        let felt = SENTIMENTS.iter().zip(row.sentiments).map(|(name, p)| format!("\"{name}\":{p}"));
        let answered = row.answered.map(|time| format!("\"answered_at\":{time},"));
        writeln!(
            file,
            "{{\"id\":\"m{id}\",\"received_at\":{},{}\"channel\":\"{}\",\"brand\":\"{}\",\"intents\":{{{}}},\
             \"sentiment\":{{\"label\":\"{}\",\"probabilities\":{{{}}},\"score\":0.1}},\"needs_review\":false,\
             \"model\":{{\"version\":\"0.1.0\",\"digest\":\"{}\"}}}}",
            row.received,
            answered.unwrap_or_default(),
            row.channel,
            row.brand,
            intents.collect::<Vec<_>>().join(","),
            row.feeling(),
            felt.collect::<Vec<_>>().join(","),
            "ab".repeat(32)
        )
        .unwrap();
    }
}

fn parquet(path: &Path, count: usize) {
    let mut writer: Option<ArrowWriter<File>> = None;
    let all: Vec<Row> = rows(count).collect();
    for rows in all.chunks(GROUP) {
        let text = |of: fn(&Row) -> &'static str| -> ArrayRef {
            Arc::new(rows.iter().map(|row| Some(of(row))).collect::<StringArray>())
        };
        let mut columns: Vec<(String, ArrayRef)> = vec![
            (
                "received_at".into(),
                Arc::new(rows.iter().map(|r| Some(r.received)).collect::<Int64Array>()),
            ),
            (
                "answered_at".into(),
                Arc::new(rows.iter().map(|r| r.answered).collect::<Int64Array>()),
            ),
            ("channel".into(), text(|row| row.channel)),
            ("brand".into(), text(|row| row.brand)),
            ("sentiment".into(), text(Row::feeling)),
        ];
        for (at, name) in INTENTS.iter().enumerate() {
            let holds = rows.iter().map(|row| Some(row.intents[at] >= 0.45));
            columns.push(((*name).into(), Arc::new(holds.collect::<BooleanArray>())));
            let p = rows.iter().map(|row| Some(row.intents[at]));
            columns.push((format!("{name}_p"), Arc::new(p.collect::<Float32Array>())));
        }
        for (at, name) in SENTIMENTS.iter().enumerate() {
            let p = rows.iter().map(|row| Some(row.sentiments[at]));
            columns.push((format!("{name}_p"), Arc::new(p.collect::<Float32Array>())));
        }
        let batch = RecordBatch::try_from_iter_with_nullable(
            columns.into_iter().map(|(name, column)| (name, column, true)),
        )
        .unwrap();
        let open =
            || ArrowWriter::try_new(File::create(path).unwrap(), batch.schema(), None).unwrap();
        writer.get_or_insert_with(open).write(&batch).unwrap();
    }
    if let Some(writer) = writer {
        writer.close().unwrap();
    }
}

/// Seconds, and the most memory that it held, in MiB, where the system tells.
fn counted(path: &Path) -> (f64, Option<u64>) {
    let begun = Instant::now();
    let mut child = Command::new(env!("CARGO_BIN_EXE_klankbord"))
        .args(["kpi", "--by", "month,channel,brand", "--output-format", "csv"])
        .arg(path)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut most = None;
    loop {
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id()));
        let peak = status.ok().and_then(|text| {
            let line = text.lines().find(|line| line.starts_with("VmHWM:"))?.to_owned();
            line.split_whitespace().nth(1)?.parse::<u64>().ok()
        });
        most = most.max(peak);
        if let Some(ended) = child.try_wait().unwrap() {
            assert!(ended.success());
            return (begun.elapsed().as_secs_f64(), most.map(|kib| kib / 1024));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn main() {
    let count = std::env::var("KLANKBORD_ROWS").ok().and_then(|rows| rows.parse().ok());
    let count: usize = count.unwrap_or(1_000_000);
    let folder = tempfile::tempdir().unwrap();
    println!("| format | rows | seconds, three runs | MiB |");
    println!("|---|---|---|---|");
    type Writer = fn(&Path, usize);
    let formats: [(&str, Writer); 3] = [("csv", csv), ("jsonl", jsonl), ("parquet", parquet)];
    for (name, write) in formats {
        for rows in [count / 4, count / 2, count] {
            let path = folder.path().join(format!("{rows}.{name}"));
            write(&path, rows);
            let runs = [(); 3].map(|()| counted(&path));
            let seconds = runs.map(|(seconds, _)| format!("{seconds:.2}")).join(" ");
            let most = runs.iter().filter_map(|(_, most)| *most).max();
            let most = most.map_or_else(|| "-".into(), |mib| mib.to_string());
            println!("| {name} | {rows} | {seconds} | {most} |");
            std::fs::remove_file(&path).unwrap();
        }
    }
}
