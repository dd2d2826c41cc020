//! Running it: settings from three places, probes and metrics, what is read anew while it serves. The program itself.
#![cfg(unix)]

#[path = "support/program.rs"]
mod program;
mod support;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use klankbord::rpc::pb;
use klankbord::rpc::pb::classifier_client::ClassifierClient;
use program::{Server, program, until};
use support::{CANARY, TEXTS, item, message};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Request};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

fn request(text: &str) -> pb::ClassifyRequest {
    pb::ClassifyRequest { message: Some(message("", text)), spans: false, lane: 0 }
}

#[test]
fn all_that_is_wrong_is_said_before_anything_binds() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("k.toml");
    std::fs::write(&file, "[limits]\nmax_cals = 5\nstream_window = 0\n[tls]\nkey = \"none.key\"\n")
        .unwrap();
    let run = program()
        .args([
            "serve",
            "--config",
            file.to_str().unwrap(),
            "--listen",
            "0.0.0.0:0",
            "--batch-time-s",
            "x",
        ])
        .env("KLANKBORD_LOG_FORMAT", "xml")
        .output()
        .unwrap();
    assert_eq!(run.status.code(), Some(2));
    assert!(run.stdout.is_empty());
    let said = String::from_utf8(run.stderr).unwrap();
    for problem in [
        "k.toml, line 2: there is no setting limits.max_cals",
        "k.toml, line 3: limits.stream_window is \"0\"",
        "k.toml, line 5: tls.key is",
        "--batch-time-s: limits.batch_time_s is \"x\"",
        "KLANKBORD_LOG_FORMAT: telemetry.log_format is \"xml\"",
        "tls.certificate and tls.key must be given together",
        "others can read along",
    ] {
        assert!(said.contains(problem), "{problem} is not in:\n{said}");
    }
}

#[test]
fn flags_win_over_the_environment_and_that_over_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("k.toml");
    std::fs::write(&file, "[limits]\nmax_calls = 5\nstream_window = 6\nmax_connections = 7\n[auth]\ntokens = \"k.toml\"\n")
        .unwrap();
    let run = program()
        .args(["config", "--max-calls", "50", "--insecure"])
        .env("KLANKBORD_CONFIG", &file)
        .env("KLANKBORD_MAX_CALLS", "500")
        .env("KLANKBORD_STREAM_WINDOW", "60")
        // Empty is not there: it must not switch off what the file asks for.
        .env("KLANKBORD_TOKENS", "")
        .output()
        .unwrap();
    assert!(run.status.success());
    let shown = String::from_utf8(run.stdout).unwrap();
    for line in [
        "max_calls = 50  # --max-calls",
        "stream_window = 60  # KLANKBORD_STREAM_WINDOW",
        "max_connections = 7  # ",
        "insecure = true  # --insecure",
        "k.toml\"  # ",
        "drain_timeout_s = 30  # default",
    ] {
        assert!(shown.contains(line), "{line} is not in:\n{shown}");
    }
}

#[test]
fn a_token_and_its_line_fit() {
    let run = program().args(["token", "router", "--rate", "5"]).output().unwrap();
    let said = String::from_utf8(run.stdout).unwrap();
    let [_, token, _, line] = said.lines().collect::<Vec<_>>()[..] else { panic!("{said}") };
    let all = klankbord::bearer::Bearers::parse(line).unwrap();
    assert_eq!(all.find(token.as_bytes()).unwrap().name(), "router");
}

#[tokio::test]
async fn probes_and_metrics_say_what_goes_on_and_quote_nobody() {
    let server = Server::start(&[]);
    let mut client = server.client().await;
    assert_eq!((server.get("/healthz").0, server.get("/readyz").0), (200, 200));
    assert_eq!(server.get("/nothing").0, 404);
    let twitter = pb::Channel::Twitter.into();
    let asked = pb::Message { channel: twitter, ..message(CANARY, format!("Waarom {CANARY}?")) };
    let verdict = client
        .classify(pb::ClassifyRequest { message: Some(asked), ..Default::default() })
        .await
        .unwrap()
        .into_inner()
        .verdict
        .unwrap();
    client.classify(request("")).await.unwrap_err();
    let stream = tokio_stream::iter(TEXTS.map(|text| item("", text)));
    let mut replies = client.classify_stream(stream).await.unwrap().into_inner();
    while replies.message().await.unwrap().is_some() {}

    until("the calls are counted", async || {
        server.metric("rpc_server_call_duration_seconds_count", &[]) >= 3.0
    })
    .await;
    let calls = |labels: &[&str]| server.metric("rpc_server_call_duration_seconds_count", labels);
    let classify = "rpc_method=\"klankbord.v1.Classifier/Classify\"";
    assert_eq!(calls(&[classify, "rpc_response_status_code=\"OK\""]), 1.0);
    assert_eq!(calls(&[classify, "rpc_response_status_code=\"INVALID_ARGUMENT\""]), 1.0);
    assert_eq!(server.metric("klankbord_rejected_total", &["reason=\"invalid\""]), 1.0);
    assert_eq!(server.metric("klankbord_messages_total", &[]), 1.0 + TEXTS.len() as f64);
    assert_eq!(server.metric("klankbord_messages_total", &["channel=\"twitter\""]), 1.0);
    let held = verdict.intents.iter().filter(|intent| intent.holds).count().max(1);
    assert_eq!(server.metric("klankbord_intents_total", &["channel=\"twitter\""]), held as f64);
    let waited = |lane| server.metric("klankbord_queue_wait_seconds_count", &[lane]);
    assert_eq!((waited("interactive"), waited("bulk")), (1.0, TEXTS.len() as f64));
    for (name, labels) in [
        ("klankbord_build_info", &["kernel=", "digest="][..]),
        ("klankbord_ready", &[]),
        ("klankbord_encode_seconds_bucket", &["le=\"0.01\""]),
        ("klankbord_tokenise_seconds_count", &[]),
        ("klankbord_batch_tokens_sum", &[]),
        ("klankbord_queue_bytes_limit", &[]),
        ("process_resident_memory_bytes", &[]),
    ] {
        assert!(server.metric(name, labels) > 0.0, "{name}");
    }
    assert_eq!(server.metric("klankbord_queue_bytes", &[]), 0.0);
    assert_eq!(server.metric("klankbord_calls_open", &[]), 0.0);
    assert!(!server.get("/metrics").1.contains(CANARY));
    for rule in ["rules.yml", "../grafana/klankbord.json"] {
        known_names(&server, &Path::new("deploy/prometheus").join(rule));
    }
}

/// Every metric that a dashboard or an alert asks for is one that is described or shown.
fn known_names(server: &Server, path: &Path) {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
    let shown = server.get("/metrics").1;
    // Those appear with the first of their kind; the program's source has their names.
    let source = include_str!("../src/telemetry/metrics.rs");
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':');
    let ours = |word: &&str| {
        ["klankbord_", "rpc_server_", "process_"].iter().any(|p| word.starts_with(p))
            && !word.contains(':')
    };
    let mut count = 0;
    for word in words.filter(ours) {
        let base = ["_bucket", "_count", "_sum"].iter().find_map(|end| word.strip_suffix(end));
        let known = |name: &str| shown.contains(name) || source.contains(&format!("\"{name}\""));
        assert!(known(word) || base.is_some_and(known), "{}: {word}", path.display());
        count += 1;
    }
    assert!(count > 10, "{} names in {}", count, path.display());
}

/// A folder with the model that ships, whose manifest can be changed.
fn own_model(dir: &Path) {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/nl-en");
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), dir.join(entry.file_name())).unwrap();
    }
}

/// Changes the model: what it is called from now on.
fn rename(dir: &Path, version: &str) {
    let path = dir.join("manifest.json");
    let mut manifest: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    manifest["version"] = version.into();
    // In one go, as whoever deploys a model should.
    std::fs::write(dir.join("new"), manifest.to_string()).unwrap();
    std::fs::rename(dir.join("new"), path).unwrap();
}

#[tokio::test]
async fn another_model_takes_over_and_a_bad_one_does_not() {
    let dir = tempfile::tempdir().unwrap();
    own_model(dir.path());
    let server = Server::start(&["--model", dir.path().to_str().unwrap()]);
    let mut client = server.client().await;
    let (send, requests) = tokio::sync::mpsc::channel(8);
    let mut replies =
        client.classify_stream(ReceiverStream::new(requests)).await.unwrap().into_inner();
    let mut next = async |text| {
        send.send(item("", text)).await.unwrap();
        support::verdict(replies.message().await.unwrap().unwrap()).model.unwrap()
    };
    let before = next(TEXTS[0]).await;

    rename(dir.path(), "second");
    server.signal("-HUP");
    let mut asking = server.client().await;
    let mut version = async || {
        let model = asking.get_model(pb::GetModelRequest {}).await.unwrap().into_inner().model;
        model.unwrap().id.unwrap().version
    };
    until("the second model serves", async || version().await == "second").await;
    let after = next(TEXTS[1]).await;
    assert!(
        after.version == "second" && after.digest != before.digest,
        "the open stream has it too"
    );

    // Without being told: a file that is no manifest, then one that is right again.
    std::fs::write(dir.path().join("manifest.json"), "{").unwrap();
    let refused =
        || server.metric("klankbord_reloads_total", &["what=\"model\"", "outcome=\"refused\""]);
    until("the bad one is refused", async || refused() >= 1.0).await;
    assert_eq!(next(TEXTS[2]).await.version, "second");
    own_model(dir.path());
    rename(dir.path(), "third");
    until("the third serves", async || version().await == "third").await;
    assert_eq!(server.metric("klankbord_build_info", &[]), 1.0, "one model at a time");

    // A file that is only half there when it is looked at, and whole later, is not forgotten.
    let tokeniser = dir.path().join("tokenizer.json");
    let whole = std::fs::read(&tokeniser).unwrap();
    let before = refused();
    std::fs::write(&tokeniser, &whole[..whole.len() / 2]).unwrap();
    until("half a file is refused", async || refused() > before).await;
    let done = || server.metric("klankbord_reloads_total", &["what=\"model\"", "outcome=\"done\""]);
    let before = done();
    std::fs::write(&tokeniser, whole).unwrap();
    until("the whole file is read", async || done() > before).await;
}

#[tokio::test]
async fn new_tokens_count_without_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("tokens");
    let (token, line) = klankbord::bearer::new_token("one").unwrap();
    std::fs::write(&file, &line).unwrap();
    let server = Server::start(&["--tokens", file.to_str().unwrap()]);
    let mut client = server.client().await;
    let mut asked = async |token: &str| {
        let mut request = Request::new(request(TEXTS[0]));
        let header = format!("Bearer {token}").parse().unwrap();
        request.metadata_mut().insert("authorization", header);
        client.classify(request).await.map_or_else(|status| status.code(), |_| Code::Ok)
    };
    let (other, second) = klankbord::bearer::new_token("two").unwrap();
    assert_eq!((asked(&token).await, asked(&other).await), (Code::Ok, Code::Unauthenticated));
    std::fs::write(&file, second).unwrap();
    server.signal("-HUP");
    until("the new one counts", async || asked(&other).await == Code::Ok).await;
    assert_eq!(asked(&token).await, Code::Unauthenticated);
    assert!(server.metric("klankbord_rejected_total", &["reason=\"unauthenticated\""]) >= 2.0);
}

/// On threads of its own, so that connections are closed while this one waits for the end.
#[tokio::test(flavor = "multi_thread")]
async fn while_it_drains_probes_say_so() {
    let mut server = Server::start(&["--drain-timeout-s", "3600"]);
    let channel = Channel::from_shared(format!("http://{}", server.address)).unwrap();
    let channel = channel.connect().await.unwrap();
    let mut health = HealthClient::new(channel.clone());
    let mut watch = health.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
    // A stream of reflection, which nobody ends, holds the drain up.
    let mut reflection =
        tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient::new(channel);
    let (asking, asked) = tokio::sync::mpsc::channel(1);
    let open = reflection.server_reflection_info(ReceiverStream::new(asked)).await.unwrap();
    server.signal("-TERM");
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::NotServing);
    until("it is not ready", async || server.get("/readyz").0 == 503).await;
    assert_eq!(server.get("/healthz").0, 200, "draining is not being sick");
    drop((asking, open, health, watch, reflection));
    assert!(server.child.wait().unwrap().success());
}

/// Killed under load, started again on the same port: callers who try again are served, with nothing left behind.
#[tokio::test(flavor = "multi_thread")]
async fn callers_come_back_after_it_was_killed() {
    let mut server = Server::start(&[]);
    let address = server.address.clone();
    let end = Arc::new(AtomicBool::new(false));
    let callers: Vec<_> = (0..8)
        .map(|_| {
            let channel = Channel::from_shared(format!("http://{address}")).unwrap().connect_lazy();
            let (mut client, end) = (ClassifierClient::new(channel), Arc::clone(&end));
            tokio::spawn(async move {
                let (mut answered, mut failed) = (0, 0);
                while !end.load(Ordering::Relaxed) {
                    match client.classify(request(TEXTS[0])).await {
                        Ok(_) => answered += 1,
                        Err(_) => {
                            failed += 1;
                            answered = 0;
                            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                        }
                    }
                }
                (answered, failed)
            })
        })
        .collect();
    for _ in 0..3 {
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        server.child.kill().unwrap();
        server.child.wait().unwrap();
        server = Server::start_at(&address, &[]);
    }
    until("calls are answered again", async || {
        server.metric("klankbord_messages_total", &[]) >= 50.0
    })
    .await;
    end.store(true, Ordering::Relaxed);
    for caller in callers {
        let (answered, failed) = caller.await.unwrap();
        assert!(answered > 0 && failed > 0, "{answered} since the last of {failed} failures");
    }
}
