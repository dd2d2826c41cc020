//! Clients that mean harm, or are broken: whatever they do, the others are served.
//!
//! `KLANKBORD_HOSTILE=10000 cargo test --release --test hostile` opens and drops so many connections.

mod support;

use std::time::Duration;

use klankbord::config::ServerConfig;
use klankbord::message::MAX_TEXT_BYTES;
use klankbord::rpc::pb;
use klankbord::rpc::pb::classifier_client::ClassifierClient;
use support::{Running, TEXTS, item, message, patient};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;

/// A frame of HTTP/2 (RFC 9113, section 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A header by its name, without compression (RFC 7541, section 6.2.2).
fn header(name: &[u8], value: &[u8]) -> Vec<u8> {
    let length = |text: &[u8]| u8::try_from(text.len()).unwrap();
    [&[0x00, length(name)], name, &[length(value)], value].concat()
}

/// The head of a call to Classify.
fn call() -> Vec<u8> {
    [
        header(b":method", b"POST"),
        header(b":scheme", b"http"),
        header(b":path", b"/klankbord.v1.Classifier/Classify"),
        header(b":authority", b"localhost"),
        header(b"content-type", b"application/grpc"),
        header(b"te", b"trailers"),
    ]
    .concat()
}

async fn greeted(server: &Running) -> TcpStream {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).await.unwrap();
    stream
}

/// Writes until the server has had enough, or all is written.
async fn pour(stream: &mut TcpStream, bytes: &[u8]) {
    for part in bytes.chunks(1 << 14) {
        let written = tokio::time::timeout(Duration::from_secs(5), stream.write_all(part)).await;
        if !matches!(written, Ok(Ok(()))) {
            return;
        }
    }
}

async fn serves(server: &Running) {
    let request =
        pb::ClassifyRequest { message: Some(message("", TEXTS[0])), ..Default::default() };
    server.client().await.classify(request).await.unwrap();
}

#[tokio::test]
async fn frames_that_are_none() {
    let server = Running::start(patient()).await;
    let mut open = Vec::new();
    for bytes in [
        // Half a frame: its head says more than there is.
        frame(DATA, 0, 1, &[0; 64])[..20].to_vec(),
        // A length beyond what may be.
        [&[0xff, 0xff, 0xff, HEADERS, END_HEADERS, 0, 0, 0, 1][..], &[0; 100]].concat(),
        // Of no stream that there is, of a kind that there is not.
        frame(DATA, 0, 77, b"data"),
        frame(0xee, 0xff, 0, &[1; 300]),
        // Headers that do not decode.
        frame(HEADERS, END_HEADERS, 1, &[0xff; 40]),
        // A message whose length does not fit what comes.
        [
            frame(HEADERS, END_HEADERS, 1, &call()),
            frame(DATA, 1, 1, &[0, 0xff, 0xff, 0xff, 0xff, 1, 2, 3]),
        ]
        .concat(),
        // A message that is no protobuf.
        [
            frame(HEADERS, END_HEADERS, 1, &call()),
            frame(DATA, 1, 1, &[0, 0, 0, 0, 5, 0xff, 0xff, 0xff, 0xff, 0xff]),
        ]
        .concat(),
    ] {
        let mut stream = greeted(&server).await;
        pour(&mut stream, &bytes).await;
        open.push(stream);
    }
    serves(&server).await;
    drop(open);
    serves(&server).await;
    server.stop().await.unwrap().unwrap();
}

#[tokio::test]
async fn headers_without_end() {
    let server = Running::start(patient()).await;
    let mut stream = greeted(&server).await;
    // Never END_HEADERS (CVE-2024-27983 and others).
    let mut bytes = frame(HEADERS, 0, 1, &call());
    for n in 0..2000 {
        let more = header(format!("x-{n}").as_bytes(), &[b'x'; 100]);
        bytes.extend(frame(CONTINUATION, 0, 1, &more));
    }
    pour(&mut stream, &bytes).await;
    serves(&server).await;

    // Headers above the limit are refused; the connection may live on.
    let mut client = server.client().await;
    let large = || {
        let mut request = Request::new(pb::GetModelRequest {});
        request.metadata_mut().insert("x-large", "x".repeat(20_000).parse().unwrap());
        request
    };
    client.get_model(large()).await.unwrap_err();
    serves(&server).await;
    server.stop().await.unwrap().unwrap();
}

#[tokio::test]
async fn calls_that_are_reset_at_once() {
    let server = Running::start(patient()).await;
    let mut stream = greeted(&server).await;
    let mut bytes = Vec::new();
    for n in 0..20_000u32 {
        bytes.extend(frame(HEADERS, END_HEADERS, 2 * n + 1, &call()));
        bytes.extend(frame(RST_STREAM, 0, 2 * n + 1, &8u32.to_be_bytes()));
    }
    pour(&mut stream, &bytes).await;
    // The server has ended it: what is left to read has an end.
    let mut rest = Vec::new();
    let end = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut rest)).await;
    assert!(end.is_ok(), "the connection is still open after 20,000 resets");
    serves(&server).await;
    server.stop().await.unwrap().unwrap();
}

#[tokio::test]
async fn connections_by_the_hundred() {
    let count = std::env::var("KLANKBORD_HOSTILE").map_or(500, |count| count.parse().unwrap());
    let config = ServerConfig::of([("limits.max_connections", "64")]).unwrap();
    let server = Running::start(config).await;
    for _ in 0..count / 50 {
        let mut open = Vec::new();
        for n in 0..50 {
            let mut stream = TcpStream::connect(server.address).await.unwrap();
            // Some say hello, some begin to, some nothing.
            let _ = stream.write_all(&PREFACE[..[0, 10, PREFACE.len()][n % 3]]).await;
            open.push(stream);
        }
    }
    // The last of them are being cleared away.
    let mut served = false;
    for _ in 0..100 {
        let endpoint = format!("http://{}", server.address);
        if let Ok(mut client) = ClassifierClient::connect(endpoint).await
            && client.get_model(pb::GetModelRequest {}).await.is_ok()
        {
            served = true;
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(served);
    server.stop().await.unwrap().unwrap();
}

#[tokio::test]
async fn a_connection_too_many_is_closed_and_the_others_live() {
    let config = ServerConfig::of([("limits.max_connections", "2")]).unwrap();
    let server = Running::start(config).await;
    let mut first = server.client().await;
    let second = greeted(&server).await;
    let mut third = TcpStream::connect(server.address).await.unwrap();
    let mut nothing = Vec::new();
    let closed = tokio::time::timeout(Duration::from_secs(10), third.read_to_end(&mut nothing));
    // Closed, if need be by a reset.
    let _ = closed.await.unwrap();
    first.get_model(pb::GetModelRequest {}).await.unwrap();
    drop(second);
}

#[tokio::test]
async fn streams_that_are_never_read() {
    let server = Running::start(ServerConfig::default()).await;
    let mut open = Vec::new();
    for _ in 0..8 {
        let mut client = server.client().await;
        let (send, requests) = tokio::sync::mpsc::channel(1);
        let replies = client.classify_stream(ReceiverStream::new(requests)).await.unwrap();
        let writer = tokio::spawn(async move {
            for n in 0..2000 {
                if send.send(item(&n.to_string(), TEXTS[5])).await.is_err() {
                    return;
                }
            }
        });
        open.push((replies, writer));
    }
    for _ in 0..20 {
        serves(&server).await;
    }
    drop(open);
    serves(&server).await;
}

#[tokio::test]
async fn texts_that_try_the_libraries() {
    let server = Running::start(ServerConfig::default()).await;
    let mut client = server.client().await;
    let fill = |piece: &str| piece.repeat(MAX_TEXT_BYTES / piece.len());
    for text in [
        fill("😀"),
        fill("👩‍👩‍👧‍👦"),
        fill("\u{200b}"),
        format!("a{}", fill("\u{200b}\u{200c}\u{200d}")),
        format!("e{}", fill("\u{301}")[..30_000].to_owned()),
        fill("\u{202e}abc\u{2066}"),
        format!("hallo\0{}", "\0".repeat(1000)),
        fill("a"),
        fill("a b "),
        fill("\n"),
        fill("> "),
        fill(".!?"),
        fill("\u{feff}x"),
        fill("ﷺ"),
    ] {
        for spans in [false, true] {
            let message = Some(message("", text.clone()));
            let request = pb::ClassifyRequest { message, spans, lane: 0 };
            match client.classify(request).await {
                Ok(_) => {}
                Err(status) => assert_eq!(status.code(), Code::InvalidArgument, "{status:?}"),
            }
        }
    }
    // A surrogate by itself is no UTF-8; a channel and a lane that there are not count as none.
    let lone = Some(message("", vec![b'a', 0xed, 0xa0, 0x80]));
    let refused =
        client.classify(pb::ClassifyRequest { message: lone, ..Default::default() }).await;
    assert_eq!(refused.unwrap_err().code(), Code::InvalidArgument);
    let odd = pb::Message { channel: 99, ..message("", TEXTS[0]) };
    let request = pb::ClassifyRequest { message: Some(odd), spans: false, lane: -7 };
    client.classify(request).await.unwrap();
    serves(&server).await;
}

/// The kind of each frame that comes, until the server ends the connection.
async fn kinds(stream: &mut TcpStream) -> Vec<u8> {
    let mut kinds = Vec::new();
    let mut head = [0; 9];
    while stream.read_exact(&mut head).await.is_ok() {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut rest = vec![0; length as usize];
        if stream.read_exact(&mut rest).await.is_err() {
            break;
        }
        kinds.push(head[3]);
    }
    kinds
}

#[tokio::test]
async fn an_old_connection_is_told_to_go_and_then_gone() {
    const GOAWAY: u8 = 7;
    let config = ServerConfig::of([
        ("limits.max_connection_age_s", "1"),
        ("limits.max_connection_age_grace_s", "1"),
    ]);
    let server = Running::start(config.unwrap()).await;
    let mut stream = greeted(&server).await;
    // A call whose request never comes would keep it open for ever.
    stream.write_all(&frame(HEADERS, END_HEADERS, 1, &call())).await.unwrap();
    let kinds = tokio::time::timeout(Duration::from_secs(20), kinds(&mut stream)).await.unwrap();
    assert!(kinds.contains(&GOAWAY), "{kinds:?}");
    serves(&server).await;
}
