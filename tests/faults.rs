//! Faults inside: a model that panics, answers with what is no number, or is slow. That call gets INTERNAL, the others
//! their verdicts, and the worker lives on. Over TCP, around an engine that does as a message tells it.

mod support;

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use klankbord::config::ServerConfig;
use klankbord::model::engine::{Engine, EngineError};
use klankbord::model::labels::Logits;
use klankbord::rpc::pb;
use klankbord::rpc::pb::classify_stream_response::Result as Outcome;
use klankbord::tokenise::Tokens;
use support::{CANARY, Running, item, message};
use tonic::{Code, Status};

const PANIC: &str = "appel";
const NAN: &str = "brief";
const FAIL: &str = "citroen";
const SLOW: &str = "draad";
const FINE: &str = "emmer";

/// Does what the first word of a message stands for.
struct Faulty([u32; 4]);

impl Engine for Faulty {
    fn callers(&self) -> usize {
        2
    }

    fn logits(&self, batch: &[&Tokens]) -> Result<Vec<Logits>, EngineError> {
        let [panics, is_nan, fails, is_slow] = self.0;
        let has = |word: u32, tokens: &Tokens| tokens.ids.contains(&word);
        if batch.iter().any(|tokens| has(is_slow, tokens)) {
            std::thread::sleep(Duration::from_millis(300));
        }
        assert!(!batch.iter().any(|tokens| has(panics, tokens)), "{CANARY}");
        if batch.iter().any(|tokens| has(fails, tokens)) {
            return Err(EngineError("out of order".into()));
        }
        let of = |tokens: &&Tokens| [if has(is_nan, tokens) { f32::NAN } else { 0.5 }; 8];
        Ok(batch.iter().map(of).collect())
    }
}

async fn server() -> Running {
    let tokeniser = support::tokeniser();
    let first = |word: &str| tokeniser.encode(word).unwrap().ids[1];
    let words = [PANIC, NAN, FAIL, SLOW].map(first);
    assert!(!words.contains(&first(FINE)));
    Running::around(Faulty(words), ServerConfig::default()).await
}

async fn ask(server: &Running, text: &str) -> Result<(), Status> {
    let request = pb::ClassifyRequest { message: Some(message("", text)), ..Default::default() };
    server.client().await.classify(request).await.map(|_| ())
}

#[tokio::test]
async fn a_fault_costs_one_call_and_the_worker_lives_on() {
    let server = server().await;
    for _ in 0..5 {
        for word in [PANIC, NAN, FAIL] {
            let status = ask(&server, word).await.unwrap_err();
            assert_eq!(status.code(), Code::Internal, "{word}: {status:?}");
            assert!(!status.message().contains(CANARY) && !status.message().contains(word));
            ask(&server, FINE).await.unwrap();
        }
    }
    server.stop().await.unwrap().unwrap();
}

#[tokio::test]
async fn who_is_read_together_with_a_fault_gets_a_verdict() {
    let server = server().await;
    let words = [FINE, PANIC, FINE, NAN, FINE, FAIL, FINE, SLOW];
    let requests = (0..400).map(move |n| item(&n.to_string(), words[n % words.len()]));
    let mut client = server.client().await;
    let replies = client.classify_stream(tokio_stream::iter(requests)).await.unwrap().into_inner();
    let replies: Vec<_> = replies.map(|reply| reply.unwrap()).collect().await;
    assert_eq!(replies.len(), 400, "nothing is lost");
    for reply in replies {
        let word = words[usize::try_from(reply.index).unwrap() % words.len()];
        match reply.result.unwrap() {
            Outcome::Verdict(_) => assert!([FINE, SLOW].contains(&word), "{word}"),
            Outcome::Error(status) => {
                assert!([PANIC, NAN, FAIL].contains(&word), "{word}");
                assert_eq!(status.code, i32::from(Code::Internal));
            }
        }
    }
}

#[tokio::test]
async fn a_slow_batch_makes_others_wait_and_no_more() {
    let server = Arc::new(server().await);
    let slow = tokio::spawn({
        let server = Arc::clone(&server);
        async move { ask(&server, SLOW).await }
    });
    for _ in 0..20 {
        ask(&server, FINE).await.unwrap();
    }
    slow.await.unwrap().unwrap();
}
