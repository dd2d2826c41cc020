//! Counting from the outside: router, KPI and `classify` say the same of the same messages; files in three formats;
//! a replayed month; the report in a real browser.

#[path = "kpi/files.rs"]
mod files;
#[path = "kpi/page.rs"]
mod page;
#[path = "support/program.rs"]
mod program;
#[path = "kpi/replay.rs"]
mod replay;
mod support;
#[path = "kpi/watch.rs"]
mod watch;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Output;

use klankbord::config::ServerConfig;
use klankbord::rpc::pb;
use klankbord::rpc::pb::count_request::Counted;
use klankbord::rpc::pb::kpi_client::KpiClient;
use serde_json::Value;
use support::{CANARY, Running, message};
use tonic::Code;
use tonic_types::StatusExt as _;

const POLICY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/webcare.toml");
const INTENTS: [&str; 4] = ["question", "complaint", "compliment", "factual_error"];
/// 2026-03-01 09:00 in Amsterdam.
const MARCH: i64 = 1_772_352_000;

/// The first 500 of the written messages.
fn written() -> Vec<Value> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/dev_written.jsonl");
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().take(500).map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn klankbord(args: &[&str]) -> Output {
    let output = program::program().args(args).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {told}");
    output
}

fn json_lines(output: &Output) -> Vec<Value> {
    let text = std::str::from_utf8(&output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn stamp(seconds: i64) -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp { seconds, nanos: 0 })
}

fn channel_number(record: &Value) -> i32 {
    let name = format!("CHANNEL_{}", record["channel"].as_str().unwrap().to_uppercase());
    pb::Channel::from_str_name(&name).unwrap().into()
}

/// Received one every seven hours, so that they lie in March, April, ... 2026; two in three are answered.
fn times(at: usize) -> (i64, Option<i64>) {
    let received = MARCH + at as i64 * 7 * 3600;
    (received, (!at.is_multiple_of(3)).then_some(received + 600 + at as i64 * 17))
}

fn folder_with(records: &[Value]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("messages.jsonl");
    let lines: String = records.iter().map(|record| format!("{record}\n")).collect();
    std::fs::write(&file, lines).unwrap();
    (folder, file)
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Messages with times, as a file has them.
fn handled(records: &[Value]) -> Vec<Value> {
    let with_times = |(at, record): (usize, &Value)| {
        let (received, answered) = times(at);
        serde_json::json!({
            "id": record["id"], "text": record["text"], "channel": record["channel"],
            "received_at": received, "answered_at": answered,
            "brand": if at % 2 == 0 { "Vlasveld" } else { "Noorderlicht" },
        })
    };
    records.iter().enumerate().map(with_times).collect()
}

/// The same number, but for the last digit: the reader of JSON rounds it.
fn same(here: &Value, there: Option<f64>) {
    let close = |a: f64, b: f64| (a - b).abs() <= 1e-12 * a.abs();
    match (here.as_f64(), there) {
        (Some(a), Some(b)) => assert!(close(a, b), "{a} is not {b}"),
        (a, b) => assert_eq!(a, b),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn router_kpi_and_classify_agree_on_every_one_of_500_messages() {
    let records = handled(&written());
    let (folder, file) = folder_with(&records);
    // The server's own crisis rule goes by when messages come in, and these come all at once.
    let policy = std::fs::read_to_string(POLICY).unwrap();
    let calm = policy.replace("complaints = 40", "complaints = 1000000");
    assert_ne!(policy, calm);
    let calm_policy = folder.path().join("policy.toml");
    std::fs::write(&calm_policy, calm).unwrap();
    let policy = path(&calm_policy);
    let classified = json_lines(&klankbord(&["classify", "-i", path(&file)]));
    let routed = json_lines(&klankbord(&["route", "--policy", policy, "--json", path(&file)]));
    assert_eq!((classified.len(), routed.len()), (500, 500));

    let config = ServerConfig::of([("routing.policy", policy)]).unwrap();
    let server = Running::start(config).await;
    let mut client = server.client().await;
    let (mut requests, mut verdicts) = (Vec::new(), Vec::new());
    for chunk in records.chunks(250) {
        let messages = chunk.iter().map(|record| pb::Message {
            channel: channel_number(record),
            ..message(record["id"].as_str().unwrap(), record["text"].as_str().unwrap())
        });
        let request =
            pb::ClassifyBatchRequest { messages: messages.collect(), ..Default::default() };
        for result in client.classify_batch(request).await.unwrap().into_inner().results {
            let Some(pb::classify_batch_result::Result::Verdict(verdict)) = result.result else {
                panic!("no verdict");
            };
            verdicts.push(verdict);
        }
    }

    let mut expected: BTreeMap<&str, u64> = BTreeMap::new();
    for (at, (verdict, (line, route))) in
        verdicts.iter().zip(classified.iter().zip(&routed)).enumerate()
    {
        let id = records[at]["id"].as_str().unwrap();
        assert_eq!((line["id"].as_str(), route["id"].as_str()), (Some(id), Some(id)));
        for (own, name) in verdict.intents.iter().zip(INTENTS) {
            assert_eq!(line["intents"][name]["holds"].as_bool(), Some(own.holds), "{id} {name}");
            let told = line["intents"][name]["probability"].as_f64().unwrap();
            assert_eq!(told as f32, own.probability, "{id} {name}");
            *expected.entry(name).or_default() += u64::from(own.holds);
        }
        let felt = verdict.sentiment.as_ref().unwrap();
        let name = felt.sentiment().as_str_name().to_lowercase();
        let name = name.strip_prefix("sentiment_").unwrap();
        assert_eq!(line["sentiment"]["label"].as_str(), Some(name), "{id}");
        let own = ["negative", "neutral", "positive"].into_iter().find(|n| *n == name).unwrap();
        *expected.entry(own).or_default() += 1;
        let way = verdict.route.as_ref().unwrap();
        assert_eq!(route["rule"].as_str(), Some(way.rule.as_str()), "{id}");
        assert_eq!(route["queue"].as_str(), Some(way.queue.as_str()), "{id}");
    }

    // Half of them are sent as messages, half as the verdicts that were given.
    for (at, (record, verdict)) in records.iter().zip(verdicts).enumerate() {
        let (received, answered) = times(at);
        let text = record["text"].as_str().unwrap();
        let counted = match at % 2 {
            0 => Counted::Message(pb::Message {
                channel: channel_number(record),
                ..message(record["id"].as_str().unwrap(), text)
            }),
            _ => Counted::Verdict(verdict),
        };
        requests.push(pb::CountRequest {
            counted: Some(counted),
            received_at: stamp(received),
            answered_at: answered.and_then(stamp),
            channel: channel_number(record),
            brand: record["brand"].as_str().unwrap().to_owned(),
            options: (at == 0).then(|| pb::CountOptions {
                period: pb::Period::Month.into(),
                by_brand: true,
                ..Default::default()
            }),
        });
    }
    let mut kpi = KpiClient::new(server.channel().await);
    let told = kpi.count(tokio_stream::iter(requests)).await.unwrap().into_inner();
    assert_eq!((told.refused, &told.errors[..]), (0, &[][..]));
    let total = told.total.unwrap();
    let counted = [total.questions, total.complaints, total.compliments, total.factual_errors];
    for (name, count) in INTENTS.into_iter().zip(counted) {
        assert_eq!(count, expected[name], "{name}");
    }
    let felt = [total.negative, total.neutral, total.positive];
    assert_eq!(felt, ["negative", "neutral", "positive"].map(|name| expected[name]));

    // The command line counts the same, from the messages as well as from what `classify` wrote.
    let verdicts_file = file.with_file_name("verdicts.csv");
    klankbord(&["classify", "-i", path(&file), "-o", path(&verdicts_file)]);
    for input in [&file, &verdicts_file] {
        let output =
            klankbord(&["kpi", path(input), "--by", "month,brand", "--output-format", "json"]);
        let told_here: Value = serde_json::from_slice(&output.stdout).unwrap();
        let groups = told_here["groups"].as_array().unwrap();
        assert_eq!(groups.len(), told.groups.len());
        for (here, there) in groups.iter().zip(&told.groups) {
            let figures = there.figures.as_ref().unwrap();
            assert_eq!(here["period"].as_str(), Some(there.period.as_str()));
            assert_eq!(here["brand"].as_str(), Some(there.brand.as_str()));
            assert_eq!(here["complaints"].as_u64(), Some(figures.complaints));
            assert_eq!(here["answered"].as_u64(), figures.answered);
            same(&here["response_p90_s"], figures.response_p90_s);
            let net = figures.net_sentiment.as_ref().unwrap();
            same(&here["net_sentiment_low"], Some(net.low));
            let p = there.change.as_ref().and_then(|c| Some(c.complaints.as_ref()?.p_value));
            same(&here["complaints_change_p"], p);
            let adjusted = figures.adjusted.as_ref().map(|adjusted| adjusted.complaints);
            same(&here["complaints_adjusted"], adjusted);
        }
        assert!(groups.iter().any(|group| group["complaints_adjusted"].is_f64()));
    }
}

#[tokio::test]
async fn what_cannot_be_counted_costs_itself_only() {
    let server = Running::start(ServerConfig::default()).await;
    let mut kpi = KpiClient::new(server.channel().await);
    let fine = |at: i64| pb::CountRequest {
        counted: Some(Counted::Message(message("", "Waar blijft mijn pakket?"))),
        received_at: stamp(MARCH + at),
        ..Default::default()
    };
    let options = |period: i32, zone: &str| pb::CountRequest {
        options: Some(pb::CountOptions { period, time_zone: zone.into(), ..Default::default() }),
        ..Default::default()
    };
    let requests = vec![
        options(pb::Period::Day.into(), "UTC"),
        fine(0),
        pb::CountRequest { received_at: None, ..fine(0) },
        pb::CountRequest { counted: Some(Counted::Message(message("", " "))), ..fine(0) },
        pb::CountRequest { answered_at: stamp(MARCH - 1), ..fine(0) },
        pb::CountRequest { counted: Some(Counted::Verdict(pb::Verdict::default())), ..fine(0) },
        pb::CountRequest { brand: CANARY.repeat(20), ..fine(0) },
        pb::CountRequest { counted: None, ..fine(0) },
        pb::CountRequest { received_at: stamp(i64::MAX), ..fine(0) },
        fine(86_400),
    ];
    let told = kpi.count(tokio_stream::iter(requests)).await.unwrap().into_inner();
    let errors: Vec<_> = told.errors.iter().map(|e| (e.index, e.error.clone().unwrap())).collect();
    let fields = errors.iter().map(|(index, status)| {
        assert_eq!(status.code, Code::InvalidArgument as i32);
        assert!(!format!("{status:?}").contains(CANARY));
        (*index, status.message.split([':', ' ']).next().unwrap().to_owned())
    });
    let fields: Vec<_> = fields.collect();
    let named = [
        "received_at",
        "message.text",
        "answered_at",
        "verdict.intents",
        "brand",
        "message",
        "received_at",
    ];
    let expected: Vec<_> = (2..).zip(named.map(str::to_owned)).collect();
    assert_eq!(fields, expected);
    assert_eq!((told.refused, told.total.unwrap().messages), (7, 2));
    let periods: Vec<_> = told.groups.iter().map(|group| group.period.as_str()).collect();
    assert_eq!(periods, ["2026-03-01", "2026-03-02"]);

    let whole = [
        (vec![options(9, "")], "options.period"),
        (vec![options(0, "Mars/Olympus")], "options.time_zone"),
        (vec![fine(0), options(0, "")], "options"),
    ];
    for (requests, field) in whole {
        let refused = kpi.count(tokio_stream::iter(requests)).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert_eq!(refused.get_details_bad_request().unwrap().field_violations[0].field, field);
    }
    let nothing = kpi.count(tokio_stream::iter(Vec::new())).await.unwrap().into_inner();
    assert_eq!((nothing.total.unwrap().messages, nothing.groups.len()), (0, 0));
}
