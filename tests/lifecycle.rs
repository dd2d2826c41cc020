//! From start to stop: health, reflection, shutdown, and the binary itself.

mod support;

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Command, Stdio};
use std::sync::{Mutex, mpsc};

use futures::StreamExt as _;
use klankbord::config::ServerConfig;
use klankbord::model::engine::{Engine, EngineError};
use klankbord::model::labels::Logits;
use klankbord::rpc::pb::classifier_client::ClassifierClient;
use klankbord::rpc::{Served, pb};
use klankbord::tokenise::Tokens;
use prost::Message as _;
use prost_types::FileDescriptorProto;
use prost_types::field_descriptor_proto::Type;
use support::{Running, TEXTS, item, message, patient, verdict};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_reflection::pb::v1::{FileDescriptorResponse, ServerReflectionRequest};
use tonic_types::StatusExt as _;

const SERVICE: &str = "klankbord.v1.Classifier";

fn named(service: &str) -> HealthCheckRequest {
    HealthCheckRequest { service: service.into() }
}

#[tokio::test]
async fn health_is_serving_until_shutdown_begins() {
    let server = Running::start(patient()).await;
    let mut health = HealthClient::new(server.channel().await);
    let mut watches = Vec::new();
    for service in ["", SERVICE] {
        let checked = health.check(named(service)).await.unwrap().into_inner();
        assert_eq!(checked.status(), ServingStatus::Serving);
        let mut watch = health.watch(named(service)).await.unwrap().into_inner();
        let first = watch.message().await.unwrap().unwrap();
        assert_eq!(first.status(), ServingStatus::Serving);
        watches.push(watch);
    }
    let unknown = health.check(named("klankbord.v1.Nobody")).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);

    let served = server.stop();
    for mut watch in watches {
        let last = watch.message().await.unwrap().unwrap();
        assert_eq!(last.status(), ServingStatus::NotServing);
        assert!(watch.message().await.unwrap().is_none(), "the stream ends");
    }
    served.await.unwrap().unwrap();
}

async fn reflect(server: &Running, request: MessageRequest) -> MessageResponse {
    let mut client = ServerReflectionClient::new(server.channel().await);
    let request = ServerReflectionRequest { host: String::new(), message_request: Some(request) };
    let replies = client.server_reflection_info(tokio_stream::iter([request])).await.unwrap();
    let mut replies: Streaming<_> = replies.into_inner();
    replies.message().await.unwrap().unwrap().message_response.unwrap()
}

#[tokio::test]
async fn reflection_shows_the_contract_as_it_is_written() {
    let server = Running::start(ServerConfig::default()).await;
    let listed = reflect(&server, MessageRequest::ListServices(String::new())).await;
    let MessageResponse::ListServicesResponse(listed) = listed else { panic!("{listed:?}") };
    let names: Vec<_> = listed.service.iter().map(|s| s.name.as_str()).collect();
    assert!(names.contains(&SERVICE) && names.contains(&"grpc.health.v1.Health"), "{names:?}");

    let symbol = MessageRequest::FileContainingSymbol("klankbord.v1.Message".into());
    let file = reflect(&server, symbol).await;
    let MessageResponse::FileDescriptorResponse(file) = file else { panic!("{file:?}") };
    let FileDescriptorResponse { file_descriptor_proto } = file;
    let file = FileDescriptorProto::decode(file_descriptor_proto[0].as_slice()).unwrap();
    let shown = file.message_type.iter().find(|m| m.name() == "Message").unwrap();
    let text = shown.field.iter().find(|f| f.name() == "text").unwrap();
    assert_eq!(text.r#type(), Type::String, "clients see a string");
}

/// Opens a stream, sends as many messages as there are texts and waits until the server is known to
/// have read them all; gives back what is still to come.
async fn all_read(
    client: &mut ClassifierClient<Channel>,
) -> (
    tokio::sync::mpsc::Sender<pb::ClassifyStreamRequest>,
    Streaming<pb::ClassifyStreamResponse>,
    usize,
) {
    let (send, requests) = tokio::sync::mpsc::channel(TEXTS.len());
    let replies = client.classify_stream(ReceiverStream::new(requests)).await.unwrap();
    let mut replies = replies.into_inner();
    for (index, text) in TEXTS.iter().enumerate() {
        send.send(item(&index.to_string(), *text)).await.unwrap();
    }
    let mut seen = 0;
    loop {
        let reply = replies.message().await.unwrap().unwrap();
        seen += 1;
        // The server reads in order: a reply to the last means that it has read them all.
        if reply.index + 1 == TEXTS.len() as u64 {
            return (send, replies, TEXTS.len() - seen);
        }
    }
}

/// Reads replies up to the end of the stream.
async fn rest(mut replies: Streaming<pb::ClassifyStreamResponse>) -> (usize, Status) {
    let mut count = 0;
    while let Some(reply) = replies.next().await {
        match reply {
            Ok(reply) => drop(verdict(reply)),
            Err(status) => return (count, status),
        }
        count += 1;
    }
    panic!("the stream ended as if the caller had been done");
}

#[tokio::test]
async fn shutdown_finishes_what_was_read_from_an_open_stream() {
    let server = Running::start(patient()).await;
    let mut client = server.client().await;
    let (_send, replies, to_come) = all_read(&mut client).await;
    let served = server.stop();
    let (came, end) = rest(replies).await;
    assert_eq!(came, to_come, "no reply is lost");
    assert_eq!(end.code(), Code::Unavailable);
    assert!(end.get_details_retry_info().unwrap().retry_delay.is_some());
    served.await.unwrap().unwrap();
}

#[tokio::test]
async fn shutdown_does_not_wait_for_idle_connections() {
    let server = Running::start(patient()).await;
    let mut client = server.client().await;
    // Connections that never get as far as HTTP/2: one says nothing, one stops half-way.
    let mut mute = TcpStream::connect(server.address).await.unwrap();
    let mut halting = TcpStream::connect(server.address).await.unwrap();
    halting.write_all(b"PRI * HTTP/2").await.unwrap();
    // The server speaks first on each, so that these are known to be accepted.
    for stream in [&mut mute, &mut halting] {
        stream.read_u8().await.unwrap();
    }
    let request =
        pb::ClassifyRequest { message: Some(message("", TEXTS[0])), spans: false, lane: 0 };
    client.classify(request).await.unwrap();
    server.stop().await.unwrap().unwrap();
    drop((client, mute, halting));
}

#[tokio::test]
async fn shutdown_leaves_behind_a_call_that_outlives_the_drain_timeout() {
    let config = ServerConfig::of([("server.drain_timeout_s", "0")]).unwrap();
    let server = Running::start(config).await;
    let mut client = ServerReflectionClient::new(server.channel().await);
    // A stream on which nothing is asked, and that its caller never ends.
    let asked = tokio_stream::pending::<ServerReflectionRequest>();
    let open = client.server_reflection_info(asked).await.unwrap();
    server.stop().await.unwrap().unwrap();
    drop(open);
}

#[test]
fn the_binary_finishes_accepted_work_on_sigterm() {
    let mut server = Command::new(env!("CARGO_BIN_EXE_klankbord"))
        .args(["serve", "--listen", "127.0.0.1:0", "--drain-timeout-s", "3600"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("listening on ").expect("the bound address").to_owned();

    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let mut client = ClassifierClient::connect(format!("http://{address}")).await.unwrap();
        let (_send, replies, to_come) = all_read(&mut client).await;
        let id = server.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        let (came, end) = rest(replies).await;
        assert_eq!((came, end.code()), (to_come, Code::Unavailable));
    });
    assert!(server.wait().unwrap().success());
    let mut log = String::new();
    server.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    // Not a terminal: every line is JSON.
    let events: Vec<serde_json::Value> =
        log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let call = events.iter().find(|event| event["message"] == "call").expect("an access log");
    assert_eq!(call["method"], "klankbord.v1.Classifier/ClassifyStream");
    assert_eq!(call["items"], TEXTS.len());
}

#[test]
fn a_bad_setting_is_found_before_anything_binds() {
    for (flag, value) in [("--stream-window", "0"), ("--max-request-bytes", "1000")] {
        let run = Command::new(env!("CARGO_BIN_EXE_klankbord"))
            .args(["serve", "--listen", "127.0.0.1:0", flag, value])
            .output()
            .unwrap();
        assert!(!run.status.success() && run.stdout.is_empty());
        let said = String::from_utf8(run.stderr).unwrap();
        assert!(said.contains(flag) && said.contains("it must be a whole number from"), "{said}");
    }
}

/// Says that it has begun, and does not end while the test holds on to the other end.
struct Stuck(UnboundedSender<()>, Mutex<mpsc::Receiver<()>>);

impl Engine for Stuck {
    fn callers(&self) -> usize {
        1
    }

    fn logits(&self, batch: &[&Tokens]) -> Result<Vec<Logits>, EngineError> {
        let _ = self.0.send(());
        let _ = self.1.lock().unwrap().recv();
        Ok(vec![[0.0; 8]; batch.len()])
    }
}

#[tokio::test]
async fn a_call_that_takes_too_long_is_left_behind_when_told_to_stop() {
    let (release, held) = mpsc::channel();
    let (begin, mut begun) = unbounded_channel();
    let config = ServerConfig::of([("server.drain_timeout_s", "0.05")]).unwrap();
    let server = Running::around(Stuck(begin, Mutex::new(held)), config).await;
    let mut client = server.client().await;
    let request =
        pb::ClassifyRequest { message: Some(message("1", TEXTS[0])), spans: false, lane: 0 };
    let call = tokio::spawn(async move { client.classify(request).await });
    begun.recv().await.unwrap();
    let served = server.stop();
    assert_eq!(served.await.unwrap().unwrap(), Served::Overdue);
    drop(release);
    // Its answer may still come, or the connection be gone: either way it ends.
    let _ = call.await.unwrap();
}
