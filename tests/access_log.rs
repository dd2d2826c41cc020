//! What the log tells of a call, and what it never tells.
//!
//! One test in a file of its own, since it sets the logging of the whole process: everything that
//! any crate traces is caught, far more than the service logs when it runs.

mod support;

use std::io;
use std::sync::{Arc, Mutex};

use futures::StreamExt as _;
use klankbord::config::ServerConfig;
use klankbord::message::MAX_TEXT_BYTES;
use klankbord::rpc::pb;
use serde_json::Value;
use support::{CANARY, Running, item, message};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request};
use tracing_subscriber::fmt::MakeWriter;

/// Keeps all that is logged, and passes on the access log.
#[derive(Clone)]
struct Caught {
    all: Arc<Mutex<Vec<u8>>>,
    calls: mpsc::UnboundedSender<Value>,
}

impl io::Write for Caught {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.all.lock().unwrap().extend_from_slice(line);
        let event: Value = serde_json::from_slice(line)?;
        if event["target"] == "klankbord::access" {
            let _ = self.calls.send(event);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Caught {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// Method, code and number of messages of the next call that is logged.
async fn next(calls: &mut mpsc::UnboundedReceiver<Value>) -> (String, String, u64) {
    let event = calls.recv().await.unwrap();
    assert!(event["elapsed_us"].is_u64());
    let text = |key: &str| event[key].as_str().unwrap().to_owned();
    (text("method"), text("code"), event["items"].as_u64().unwrap())
}

#[tokio::test]
async fn every_call_is_logged_once_and_no_text_ever() {
    let (send, mut calls) = mpsc::unbounded_channel();
    let caught = Caught { all: Arc::default(), calls: send };
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_max_level(tracing::Level::TRACE)
        .with_writer(caught.clone())
        .init();
    // The tokenizer traces single characters by way of `log`, where no search would find them.
    assert_eq!(log::max_level(), log::LevelFilter::Off, "nothing takes over the records of `log`");
    let server = Running::start(ServerConfig::default()).await;
    let mut client = server.client().await;
    let logged = |method: &str, code: &str, items| {
        (format!("klankbord.v1.Classifier/{method}"), code.to_owned(), items)
    };

    let request = pb::ClassifyRequest {
        message: Some(pb::Message { context: CANARY.into(), ..message(CANARY, CANARY) }),
        spans: false,
        lane: 0,
    };
    assert!(!format!("{request:?}").contains(CANARY), "nor by way of Debug");
    client.classify(request).await.unwrap();
    assert_eq!(next(&mut calls).await, logged("Classify", "Ok", 1));

    let mut broken = CANARY.as_bytes().to_vec();
    broken.push(0xff);
    let too_long = CANARY.repeat(MAX_TEXT_BYTES / CANARY.len() + 1);
    let request =
        pb::ClassifyRequest { message: Some(message("", too_long.clone())), spans: false, lane: 0 };
    client.classify(request).await.unwrap_err();
    assert_eq!(next(&mut calls).await, logged("Classify", "InvalidArgument", 1));
    let messages = vec![message("", broken), message("", CANARY)];
    client
        .classify_batch(pb::ClassifyBatchRequest { messages, spans: false, lane: 0 })
        .await
        .unwrap();
    assert_eq!(next(&mut calls).await, logged("ClassifyBatch", "Ok", 2));

    // Too large to be read: the service itself never sees it, the log does.
    let messages = vec![message("", too_long); 600];
    client
        .classify_batch(pb::ClassifyBatchRequest { messages, spans: false, lane: 0 })
        .await
        .unwrap_err();
    assert_eq!(next(&mut calls).await, logged("ClassifyBatch", "OutOfRange", 0));

    // A caller that goes away in the middle of a call.
    let (send, requests) = mpsc::channel(1);
    let mut replies =
        client.classify_stream(ReceiverStream::new(requests)).await.unwrap().into_inner();
    send.send(item("", CANARY)).await.unwrap();
    replies.next().await.unwrap().unwrap();
    drop((send, replies, client));
    let (method, code, items) = next(&mut calls).await;
    assert_eq!((method.as_str(), items), ("klankbord.v1.Classifier/ClassifyStream", 1));
    assert_ne!(code, "Ok");

    // A caller whose deadline passes while its stream is open.
    let mut client = server.client().await;
    let (_send, requests) = mpsc::channel(1);
    let mut request = Request::new(ReceiverStream::new(requests));
    request.metadata_mut().insert("grpc-timeout", "500m".parse().unwrap());
    let mut replies = client.classify_stream(request).await.unwrap().into_inner();
    let end = replies.next().await.unwrap().unwrap_err();
    assert_eq!(end.code(), Code::DeadlineExceeded);
    assert_eq!(next(&mut calls).await, logged("ClassifyStream", "DeadlineExceeded", 0));

    server.stop().await.unwrap().unwrap();
    let all = String::from_utf8(caught.all.lock().unwrap().clone()).unwrap();
    assert!(all.contains("h2::"), "the libraries below were traced too");
    assert!(!all.contains(CANARY), "text in a log");
}
