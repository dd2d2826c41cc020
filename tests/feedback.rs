//! Corrections over gRPC: kept, readable by what trains, and not lost when the program is killed.

#![cfg(unix)]

#[path = "support/program.rs"]
mod program;
mod support;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use klankbord::config::ServerConfig;
use klankbord::record::Records;
use klankbord::rpc::pb;
use klankbord::rpc::pb::feedback_client::FeedbackClient;
use program::Server;
use support::{CANARY, Running, TEXTS, message};
use tonic::Code;
use tonic_types::StatusExt as _;

fn correction(id: &str, text: &str) -> pb::CorrectRequest {
    pb::CorrectRequest {
        message: Some(message(id, text)),
        intents: Some(pb::IntentSet { intents: vec![pb::Intent::FactualError.into()] }),
        sentiment: pb::Sentiment::Neutral.into(),
        who: "an".into(),
        ..Default::default()
    }
}

#[tokio::test]
async fn a_correction_is_a_record_to_train_on() {
    let folder = tempfile::tempdir().unwrap();
    let config = ServerConfig::of([("feedback.folder", folder.path().to_str().unwrap())]).unwrap();
    let server = Running::start(config).await;
    let verdict = {
        let request =
            pb::ClassifyRequest { message: Some(message("7", TEXTS[3])), ..Default::default() };
        server.client().await.classify(request).await.unwrap().into_inner().verdict
    };
    let digest = verdict.as_ref().unwrap().model.clone().unwrap().digest;
    let mut client = FeedbackClient::new(server.channel().await);
    let time = Some(prost_types::Timestamp { seconds: 1_795_000_000, nanos: 0 });
    client
        .correct(pb::CorrectRequest { verdict, time, ..correction("7", TEXTS[3]) })
        .await
        .unwrap();
    client.correct(correction("8", "")).await.unwrap();

    let file = folder.path().join("corrections.jsonl");
    let records: Vec<_> = Records::open(&file, None).unwrap().map(|r| r.unwrap().1).collect();
    let [record] = &records[..] else { panic!("{} records", records.len()) };
    assert_eq!(record.text, TEXTS[3]);
    assert_eq!(record.intents, [Some(false), Some(false), Some(false), Some(true)]);
    assert_eq!((record.urgent, record.origin.as_deref()), (None, Some("correction")));
    let line = std::fs::read_to_string(&file).unwrap();
    assert!(line.contains("2026-11-18T") && line.contains(&digest), "{line}");
    let beside =
        std::fs::read_to_string(folder.path().join("corrections-without-text.jsonl")).unwrap();
    assert!(beside.contains("\"id\":\"8\"") && beside.lines().count() == 1);
}

#[tokio::test]
async fn what_says_nothing_is_refused_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let config = ServerConfig::of([("feedback.folder", folder.path().to_str().unwrap())]).unwrap();
    let server = Running::start(config).await;
    let mut client = FeedbackClient::new(server.channel().await);
    let whole = || correction("1", CANARY);
    let twice = vec![pb::Intent::Question.into(); 2];
    for (request, field) in [
        (pb::CorrectRequest { message: None, ..whole() }, "message"),
        (pb::CorrectRequest { message: Some(message("", "")), ..whole() }, "message.id"),
        (pb::CorrectRequest { who: " ".into(), ..whole() }, "who"),
        (
            pb::CorrectRequest { intents: Some(pb::IntentSet { intents: twice }), ..whole() },
            "intents",
        ),
        (
            pb::CorrectRequest { intents: Some(pb::IntentSet { intents: vec![5] }), ..whole() },
            "intents",
        ),
        (pb::CorrectRequest { intents: None, sentiment: 0, ..whole() }, "intents"),
    ] {
        let refused = client.correct(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert_eq!(refused.get_details_bad_request().unwrap().field_violations[0].field, field);
        assert!(!refused.message().contains(CANARY));
    }
    let none = Running::start(ServerConfig::default()).await;
    let mut client = FeedbackClient::new(none.channel().await);
    assert_eq!(client.correct(whole()).await.unwrap_err().code(), Code::FailedPrecondition);
}

/// Killed again and again while corrections come: whatever was acknowledged is there, whole.
/// `KLANKBORD_KILLS` says how often, 5 times unless told otherwise.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_by_a_kill() {
    let kills = std::env::var("KLANKBORD_KILLS").map_or(5, |kills| kills.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged = Vec::new();
    for turn in 0..kills {
        let folder = folder.path().to_str().unwrap();
        let mut server =
            Server::start(&["--feedback-folder", folder, "--feedback-max-file-bytes", "4096"]);
        let address = server.address.clone();
        let count = Arc::new(AtomicUsize::new(0));
        let callers: Vec<_> = (0..4)
            .map(|caller| {
                let (address, count) = (address.clone(), Arc::clone(&count));
                tokio::spawn(async move {
                    let client = FeedbackClient::connect(format!("http://{address}")).await;
                    let (mut client, mut kept) = (client.unwrap(), Vec::new());
                    for n in 0.. {
                        let id = format!("{turn}-{caller}-{n}");
                        if client.correct(correction(&id, TEXTS[n % TEXTS.len()])).await.is_err() {
                            break;
                        }
                        count.fetch_add(1, Ordering::Relaxed);
                        kept.push(id);
                    }
                    kept
                })
            })
            .collect();
        while count.load(Ordering::Relaxed) < 20 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        server.child.kill().unwrap();
        server.child.wait().unwrap();
        for caller in callers {
            acknowledged.extend(caller.await.unwrap());
        }
    }
    let mut found = std::collections::BTreeSet::new();
    // Opening takes off what was not finished; then every line is whole.
    drop(klankbord::feedback::Store::open(folder.path(), 4096).unwrap());
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        found.extend(ids(&entry.unwrap().path()));
    }
    let lost: Vec<_> = acknowledged.iter().filter(|id| !found.contains(*id)).collect();
    assert!(acknowledged.len() >= 20 * kills && lost.is_empty(), "{lost:?}");
}

fn ids(file: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(file).unwrap();
    let id = |line: &str| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        line["id"].as_str().unwrap().to_owned()
    };
    text.lines().map(id).collect()
}
