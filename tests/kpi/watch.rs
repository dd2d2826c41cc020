//! The running server watches for a crisis, and remembers over restarts what is usual.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use klankbord::kpi::period::{local_hour, zone};
use klankbord::rpc::pb;

use super::program::Server;
use super::support::message;

const COMPLAINT: &str = "Al drie keer gebeld en nog steeds geen antwoord. Dit is echt waardeloos!";

fn batch(lane: pb::Lane, count: usize) -> pb::ClassifyBatchRequest {
    let messages = (0..count).map(|_| message("", COMPLAINT)).collect();
    pb::ClassifyBatchRequest { messages, lane: lane.into(), ..Default::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_of_complaints_shows_as_a_crisis_and_old_messages_do_not() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("hours.jsonl");
    let now = local_hour(Timestamp::now(), &zone("Europe/Amsterdam").unwrap());
    let quiet = (now - 21 * 24..now).map(|hour| {
        format!("{{\"hour\":{hour},\"messages\":4,\"complaints\":1,\"negative\":1}}\n")
    });
    std::fs::write(&file, quiet.collect::<String>()).unwrap();
    let mut server = Server::start(&["--history", file.to_str().unwrap()]);
    let mut client = server.client().await;
    // What comes in bulk may be last year's.
    client.classify_batch(batch(pb::Lane::Bulk, 200)).await.unwrap();
    client.classify_batch(batch(pb::Lane::Interactive, 30)).await.unwrap();
    let begun = Instant::now();
    while server.metric("klankbord_crisis_suspected", &["series=\"complaints\""]) != 1.0 {
        assert!(begun.elapsed() < Duration::from_secs(60), "no crisis is seen");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(server.metric("klankbord_hour_observed", &["series=\"complaints\""]) <= 30.0);
    assert_eq!(server.metric("klankbord_hour_expected", &["series=\"complaints\""]), 1.0);
    server.signal("-TERM");
    assert!(server.child.wait().unwrap().success());
    let kept = std::fs::read_to_string(&file).unwrap();
    assert!(kept.lines().count() > 21 * 24 && kept.contains("\"crisis\":true"));
}
