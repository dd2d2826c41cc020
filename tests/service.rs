//! The contract, from outside: over TCP, through a generated client.

mod support;

use std::collections::BTreeMap;

use futures::StreamExt as _;
use klankbord::config::ServerConfig;
use klankbord::message::{MAX_ID_BYTES, MAX_TEXT_BYTES};
use klankbord::rpc::MAX_BATCH_MESSAGES;
use klankbord::rpc::pb::classify_batch_result::Result as BatchOutcome;
use klankbord::rpc::pb::classify_stream_response::Result as StreamOutcome;
use klankbord::rpc::pb::{self, classifier_client::ClassifierClient};
use support::{CANARY, Running, TEXTS, item, message, verdict};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_types::{RpcStatusExt as _, StatusExt as _};

type Client = ClassifierClient<Channel>;

async fn classify(client: &mut Client, message: pb::Message) -> Result<pb::Verdict, Status> {
    let request = pb::ClassifyRequest { message: Some(message), spans: false, lane: 0 };
    let reply = client.classify(request).await?.into_inner();
    Ok(reply.verdict.expect("a reply has a verdict"))
}

async fn batch(
    client: &mut Client,
    messages: Vec<pb::Message>,
) -> Result<Vec<BatchOutcome>, Status> {
    let reply = client
        .classify_batch(pb::ClassifyBatchRequest { messages, spans: false, lane: 0 })
        .await?
        .into_inner();
    Ok(reply.results.into_iter().map(|r| r.result.expect("one of the two is set")).collect())
}

fn own_messages() -> Vec<pb::Message> {
    TEXTS.iter().enumerate().map(|(i, text)| message(&format!("m{i}"), *text)).collect()
}

/// The field and the reason of an item that was refused.
fn violation(outcome: &BatchOutcome) -> (String, String) {
    let BatchOutcome::Error(status) = outcome else { panic!("not refused: {outcome:?}") };
    assert_eq!(status.code, i32::from(Code::InvalidArgument));
    let found = status.get_details_bad_request().expect("details");
    let violation = found.field_violations.into_iter().next().expect("a violation");
    assert_eq!(status.message, format!("{}: {}", violation.field, violation.description));
    (violation.field, violation.description)
}

#[tokio::test]
async fn alone_in_a_batch_or_on_a_stream_a_message_gets_the_same_verdict() {
    let server = Running::start(ServerConfig::default()).await;
    let mut client = server.client().await;
    let mut alone = Vec::new();
    for message in own_messages() {
        alone.push(classify(&mut client, message).await.unwrap());
    }

    let together = batch(&mut client, own_messages()).await.unwrap();
    let together: Vec<_> = together
        .into_iter()
        .map(|outcome| match outcome {
            BatchOutcome::Verdict(verdict) => verdict,
            BatchOutcome::Error(status) => panic!("{status:?}"),
        })
        .collect();
    assert_eq!(together, alone, "order kept, every bit the same");

    let requests = own_messages().into_iter().map(|message| pb::ClassifyStreamRequest {
        message: Some(message),
        spans: false,
        lane: 0,
    });
    let stream = client.classify_stream(tokio_stream::iter(requests)).await.unwrap().into_inner();
    let replies: BTreeMap<_, _> =
        stream.map(|reply| reply.unwrap()).map(|reply| (reply.index, reply)).collect().await;
    assert_eq!(replies.len(), alone.len(), "one reply for each request");
    for ((index, reply), alone) in replies.into_iter().zip(alone) {
        assert_eq!(reply.id, format!("m{index}"));
        assert_eq!(verdict(reply), alone);
    }
}

#[tokio::test]
async fn a_verdict_is_complete_and_within_its_ranges() {
    let server = Running::start(ServerConfig::default()).await;
    let mut client = server.client().await;
    let model = client.get_model(pb::GetModelRequest {}).await.unwrap().into_inner();
    let (model, limits) = (model.model.unwrap(), model.limits.unwrap());
    assert_eq!(limits.max_batch_messages as usize, MAX_BATCH_MESSAGES);
    assert_eq!(limits.max_text_bytes as usize, MAX_TEXT_BYTES);
    assert_eq!(limits.max_request_bytes, 16 << 20);
    assert!(!model.name.is_empty() && !model.languages.is_empty() && model.max_tokens > 2);
    let probability = |p: f32| assert!((0.0..=1.0).contains(&p), "{p}");

    for message in own_messages() {
        let id = String::from_utf8(message.id.clone()).unwrap();
        let verdict = classify(&mut client, message).await.unwrap();
        assert_eq!(verdict.id, id);
        let order = [
            pb::Intent::Question,
            pb::Intent::Complaint,
            pb::Intent::Compliment,
            pb::Intent::FactualError,
        ];
        assert!(verdict.intents.iter().map(|i| i.intent()).eq(order));
        let mut best = (0.0, pb::Intent::None);
        for (intent, threshold) in verdict.intents.iter().zip(&model.intent_thresholds) {
            assert_eq!(intent.intent, threshold.intent);
            probability(intent.probability);
            assert_eq!(intent.holds, intent.probability >= threshold.threshold);
            if intent.holds && intent.probability > best.0 {
                best = (intent.probability, intent.intent());
            }
        }
        assert_eq!(verdict.primary_intent(), best.1);
        let urgent = verdict.urgent.unwrap();
        probability(urgent.probability);
        assert_eq!(urgent.holds, urgent.probability >= model.urgent_threshold);

        let sentiment = verdict.sentiment.unwrap();
        let all = [sentiment.negative, sentiment.neutral, sentiment.positive];
        all.into_iter().for_each(probability);
        assert!((all.iter().sum::<f32>() - 1.0).abs() < 1e-5);
        let most = all.into_iter().fold(0.0, f32::max);
        let named = all[usize::try_from(sentiment.sentiment).unwrap() - 1];
        assert_eq!(named, most);
        assert_eq!(sentiment.score, sentiment.positive - sentiment.negative);

        assert!(["nl", "en", "und"].contains(&verdict.language.as_str()));
        assert!(verdict.tokens_read > 2 && verdict.tokens_read <= model.max_tokens);
        assert!(!verdict.truncated && !verdict.context_read);
        let made_by = verdict.model.unwrap();
        assert_eq!(Some(&made_by), model.id.as_ref());
        assert!(made_by.digest.len() == 64 && !made_by.version.is_empty());
    }
}

#[tokio::test]
async fn bad_items_are_refused_with_their_field_and_good_neighbours_are_answered() {
    let server = Running::start(ServerConfig::default()).await;
    let mut client = server.client().await;
    let mut broken = CANARY.as_bytes().to_vec();
    broken.push(0xff);
    let long = CANARY.repeat(MAX_TEXT_BYTES / CANARY.len() + 1);
    let long_id = "i".repeat(MAX_ID_BYTES + 1);
    let good = || message("good", TEXTS[0]);
    let messages = vec![
        good(),
        message("1", ""),
        message("2", " \t\r\n\u{a0}"),
        message("3", long.clone()),
        message("4", broken.clone()),
        pb::Message { id: broken.clone(), ..good() },
        pb::Message { context: broken.clone(), ..good() },
        pb::Message { language_hint: broken, ..good() },
        message(&long_id, TEXTS[0]),
        pb::Message { context: long.clone().into(), ..good() },
        good(),
    ];
    let results = batch(&mut client, messages).await.unwrap();
    let alone = classify(&mut client, good()).await.unwrap();
    assert_eq!(results[0], BatchOutcome::Verdict(alone.clone()));
    assert_eq!(results[10], BatchOutcome::Verdict(alone));

    let too_long = format!("is {} bytes long; the limit is {MAX_TEXT_BYTES}", long.len());
    let not_utf8 = format!("is not valid UTF-8 from byte {}", CANARY.len());
    let id_too_long = format!("is 257 bytes long; the limit is {MAX_ID_BYTES}");
    let expected = [
        ("text", "is empty"),
        ("text", "is empty"),
        ("text", &too_long),
        ("text", &not_utf8),
        ("id", &not_utf8),
        ("context", &not_utf8),
        ("language_hint", &not_utf8),
        ("id", &id_too_long),
        ("context", &too_long),
    ];
    for (index, (field, reason)) in (1..).zip(expected) {
        let place = format!("messages[{index}].{field}");
        assert_eq!(violation(&results[index]), (place, reason.to_owned()));
    }
    assert!(!format!("{results:?}").contains(CANARY), "no error quotes the text");
}

#[tokio::test]
async fn the_longest_text_that_is_allowed_is_answered() {
    let server = Running::start(ServerConfig::default()).await;
    let mut client = server.client().await;
    let verdict =
        classify(&mut client, message("", "a ".repeat(MAX_TEXT_BYTES / 2))).await.unwrap();
    assert!(verdict.tokens_read > 2);
}

#[tokio::test]
async fn a_unary_error_carries_its_details() {
    let server = Running::start(ServerConfig::default()).await;
    let mut client = server.client().await;
    let missing = client
        .classify(pb::ClassifyRequest { message: None, spans: false, lane: 0 })
        .await
        .unwrap_err();
    let blank = classify(&mut client, message("1", " ")).await.unwrap_err();
    for (status, field) in [(missing, "message"), (blank, "message.text")] {
        assert_eq!(status.code(), Code::InvalidArgument);
        let details = status.get_details_bad_request().unwrap();
        assert_eq!(details.field_violations[0].field, field);
    }
}

#[tokio::test]
async fn batches_are_held_to_their_limit() {
    let server = Running::start(ServerConfig::default()).await;
    let mut client = server.client().await;
    assert_eq!(batch(&mut client, vec![]).await.unwrap(), vec![]);

    let many = |n| vec![message("", "ok"); n];
    let most = batch(&mut client, many(MAX_BATCH_MESSAGES)).await.unwrap();
    assert_eq!(most.len(), MAX_BATCH_MESSAGES);
    assert!(most.iter().all(|outcome| matches!(outcome, BatchOutcome::Verdict(_))));

    let refused = batch(&mut client, many(MAX_BATCH_MESSAGES + 1)).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    let details = refused.get_details_bad_request().unwrap();
    assert_eq!(details.field_violations[0].field, "messages");
}

#[tokio::test]
async fn unknown_values_and_hints_are_tolerated() {
    let server = Running::start(ServerConfig::default()).await;
    let mut client = server.client().await;
    let plain = classify(&mut client, message("1", TEXTS[1])).await.unwrap();
    for channel in [4_711, -1, i32::MAX] {
        let odd = pb::Message { channel, ..message("1", TEXTS[1]) };
        assert_eq!(classify(&mut client, odd).await.unwrap(), plain);
    }
    let hinted = pb::Message { language_hint: "x-klingon".into(), ..message("1", TEXTS[1]) };
    classify(&mut client, hinted).await.unwrap();
}

#[tokio::test]
async fn a_request_above_the_limit_is_refused_and_the_connection_lives_on() {
    let config = ServerConfig::of([("limits.max_request_bytes", "131072")]).unwrap();
    let server = Running::start(config).await;
    let mut client = server.client().await;
    let messages = vec![message("", "x".repeat(MAX_TEXT_BYTES)); 5];
    let refused = batch(&mut client, messages).await.unwrap_err();
    assert_eq!(refused.code(), Code::OutOfRange);
    classify(&mut client, message("", TEXTS[0])).await.unwrap();
}

#[tokio::test]
async fn a_bad_item_does_not_end_a_stream() {
    let server = Running::start(ServerConfig::default()).await;
    let mut client = server.client().await;
    let requests = vec![
        item("first", TEXTS[0]),
        item("blank", ""),
        pb::ClassifyStreamRequest { message: None, spans: false, lane: 0 },
        pb::ClassifyStreamRequest {
            message: Some(pb::Message {
                id: vec![0xff],
                text: b"x".to_vec(),
                ..Default::default()
            }),
            spans: false,
            lane: 0,
        },
        item("last", TEXTS[2]),
    ];
    let stream = client.classify_stream(tokio_stream::iter(requests)).await.unwrap().into_inner();
    let mut replies: Vec<_> = stream.map(|reply| reply.unwrap()).collect().await;
    replies.sort_by_key(|reply| reply.index);
    let seen: Vec<_> = replies.iter().map(|r| (r.index, r.id.as_str())).collect();
    assert_eq!(seen, [(0, "first"), (1, "blank"), (2, ""), (3, ""), (4, "last")]);
    let fields = [None, Some("message.text"), Some("message"), Some("message.id"), None];
    for (reply, field) in replies.iter().zip(fields) {
        match (&reply.result, field) {
            (Some(StreamOutcome::Verdict(_)), None) => {}
            (Some(StreamOutcome::Error(status)), Some(field)) => {
                let details = status.get_details_bad_request().unwrap();
                assert_eq!(details.field_violations[0].field, field);
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn spans_are_told_where_asked_and_the_verdict_stays_the_same() {
    let server = Running::start(ServerConfig::default()).await;
    let mut client = server.client().await;
    let text = "Dag é. Hoe laat gaat de balie in Zwolle vandaag open? Ik kom met de trein.\n\n\
                Op 3 mei 2026 om 14:02 schreef Jan:\n> Dit is echt waardeloos!";
    let plain = classify(&mut client, message("1", text)).await.unwrap();
    assert!(plain.spans.is_empty() && plain.quoted.is_empty());

    let request = pb::ClassifyRequest { message: Some(message("1", text)), spans: true, lane: 0 };
    let told = client.classify(request).await.unwrap().into_inner().verdict.unwrap();
    let cut = |start: u32, end: u32| &text[start as usize..end as usize];
    assert_eq!(told.quoted.len(), 1);
    assert!(cut(told.quoted[0].start, told.quoted[0].end).starts_with("Op 3 mei"));
    let asked: Vec<_> = told.spans.iter().filter(|s| s.intent() == pb::Intent::Question).collect();
    assert!(asked.iter().any(|s| cut(s.start, s.end).starts_with("Hoe laat")), "{told:?}");
    let verdict = pb::Verdict { spans: vec![], quoted: vec![], ..told.clone() };
    assert_eq!(verdict, plain);

    let request =
        pb::ClassifyBatchRequest { messages: vec![message("1", text)], spans: true, lane: 0 };
    let reply = client.classify_batch(request).await.unwrap().into_inner();
    assert_eq!(reply.results[0].result, Some(BatchOutcome::Verdict(told.clone())));
    let request =
        pb::ClassifyStreamRequest { message: Some(message("1", text)), spans: true, lane: 0 };
    let stream = client.classify_stream(tokio_stream::iter([request])).await.unwrap();
    let reply = stream.into_inner().next().await.unwrap().unwrap();
    assert_eq!(support::verdict(reply), told);
}

/// The caller writes until the transport takes no more, and reads nothing. Nobody else notices,
/// and every reply is there once it does read.
#[tokio::test]
async fn a_slow_reader_slows_only_itself() {
    let config = ServerConfig::of([("limits.stream_window", "2")]).unwrap();
    let server = Running::start(config).await;
    let (mut slow, mut other) = (server.client().await, server.client().await);
    let (send, requests) = tokio::sync::mpsc::channel(1);
    let mut stream =
        slow.classify_stream(ReceiverStream::new(requests)).await.unwrap().into_inner();
    let count = 64;
    let writer = tokio::spawn(async move {
        for index in 0..count {
            send.send(item(&index.to_string(), TEXTS[index % TEXTS.len()])).await.unwrap();
        }
    });
    for text in TEXTS {
        classify(&mut other, message("", text)).await.unwrap();
    }
    let mut seen = vec![false; count];
    while let Some(reply) = stream.next().await {
        let reply = reply.unwrap();
        assert_eq!(reply.id, reply.index.to_string());
        let index = usize::try_from(reply.index).unwrap();
        assert!(!std::mem::replace(&mut seen[index], true), "two replies to {index}");
        verdict(reply);
    }
    writer.await.unwrap();
    assert!(seen.into_iter().all(|seen| seen));
}

#[tokio::test]
async fn a_call_too_many_is_told_when_to_come_back() {
    let server = Running::start(ServerConfig::of([("limits.max_calls", "1")]).unwrap()).await;
    let (mut first, mut second) = (server.client().await, server.client().await);
    let (send, requests) = tokio::sync::mpsc::channel(1);
    let mut open = first.classify_stream(ReceiverStream::new(requests)).await.unwrap().into_inner();

    let refused = classify(&mut second, message("", TEXTS[0])).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert!(refused.get_details_retry_info().unwrap().retry_delay.is_some());

    drop(send);
    assert!(open.next().await.is_none());
    // The place is free once the server, too, is done with the stream.
    while let Err(status) = classify(&mut second, message("", TEXTS[0])).await {
        assert_eq!(status.code(), Code::ResourceExhausted);
    }
}
