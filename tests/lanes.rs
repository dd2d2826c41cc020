//! Who goes first, and what is never read: over TCP, around an engine that reads one batch when told to.

mod support;

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use futures::StreamExt as _;
use klankbord::config::ServerConfig;
use klankbord::model::engine::{Engine, EngineError};
use klankbord::model::labels::Logits;
use klankbord::rpc::pb;
use klankbord::tokenise::Tokens;
use support::{Running, TEXTS, item, message};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tonic::{Code, Request};

/// Tells of each batch how many tokens its messages have, and reads it when it may.
struct Gate {
    begun: UnboundedSender<Vec<usize>>,
    may: Mutex<Receiver<()>>,
}

impl Engine for Gate {
    fn callers(&self) -> usize {
        1
    }

    fn logits(&self, batch: &[&Tokens]) -> Result<Vec<Logits>, EngineError> {
        let _ = self.begun.send(batch.iter().map(|tokens| tokens.ids.len()).collect());
        let _ = self.may.lock().unwrap().recv();
        Ok(vec![[0.0; 8]; batch.len()])
    }
}

async fn gated() -> (Running, UnboundedReceiver<Vec<usize>>, Sender<()>) {
    let (begun, batches) = unbounded_channel();
    let (may, allowed) = channel();
    let gate = Gate { begun, may: Mutex::new(allowed) };
    (Running::around(gate, ServerConfig::default()).await, batches, may)
}

fn request(text: &str, lane: pb::Lane) -> pb::ClassifyRequest {
    pb::ClassifyRequest { message: Some(message("", text)), spans: false, lane: lane.into() }
}

#[tokio::test]
async fn who_waits_for_an_answer_goes_before_a_stream_that_waits_too() {
    let (server, mut batches, may) = gated().await;
    let mut client = server.client().await;
    // All of one length, so that batches tell lanes apart.
    let stream = tokio_stream::iter((0..200).map(|n| item(&n.to_string(), TEXTS[1])));
    let mut replies = client.classify_stream(stream).await.unwrap().into_inner();
    let bulk = batches.recv().await.unwrap()[0];

    let mut other = server.client().await;
    let asked =
        tokio::spawn(async move { other.classify(request(TEXTS[5], pb::Lane::Unspecified)).await });
    let mut patient = server.client().await;
    let waiting =
        tokio::spawn(async move { patient.classify(request(TEXTS[0], pb::Lane::Bulk)).await });
    // Long enough for both to be in the queue: they are on loopback, and nothing is being read.
    tokio::time::sleep(Duration::from_millis(300)).await;
    may.send(()).unwrap();
    let next = batches.recv().await.unwrap();
    assert!(next.len() == 1 && next[0] != bulk, "{next:?} is the one that somebody waits for");
    may.send(()).unwrap();
    asked.await.unwrap().unwrap();
    assert!(!waiting.is_finished(), "bulk by its own wish waits behind the stream");
    drop(may);
    waiting.await.unwrap().unwrap();
    let mut count = 0;
    while let Some(reply) = replies.next().await {
        support::verdict(reply.unwrap());
        count += 1;
    }
    assert_eq!(count, 200, "nothing of the stream is lost");
}

#[tokio::test]
async fn what_is_late_is_never_read() {
    let (server, mut batches, may) = gated().await;
    let mut client = server.client().await;
    let mut first = server.client().await;
    let held =
        tokio::spawn(async move { first.classify(request(TEXTS[1], pb::Lane::Unspecified)).await });
    batches.recv().await.unwrap();
    let mut hurried = Request::new(request(TEXTS[5], pb::Lane::Unspecified));
    hurried.set_timeout(Duration::from_millis(50));
    // Whichever of the two ends of the connection says it first.
    let code = client.classify(hurried).await.unwrap_err().code();
    assert!(matches!(code, Code::DeadlineExceeded | Code::Cancelled), "{code:?}");
    may.send(()).unwrap();
    held.await.unwrap().unwrap();
    let after =
        tokio::spawn(
            async move { client.classify(request(TEXTS[0], pb::Lane::Unspecified)).await },
        );
    let lengths = batches.recv().await.unwrap();
    drop(may);
    after.await.unwrap().unwrap();
    let again = batches.try_recv();
    assert!(lengths.len() == 1 && again.is_err(), "{lengths:?}, {again:?}: only the last is read");
}
