//! Routing over gRPC: verdicts say where messages go, tags count, a crisis reroutes, a policy can change.

mod support;

use klankbord::config::ServerConfig;
use klankbord::rpc::pb;
use klankbord::rpc::pb::routing_client::RoutingClient;
use support::{Running, TEXTS, message};
use tonic::Code;
use tonic_types::StatusExt as _;

const POLICY: &str = r#"
[queues.crisis]
[queues.vip]
[queues.care]
[crisis]
complaints = 3
within = "1h"

[[rules]]
name = "storm"
crisis = true
any = ["complaint"]
queue = "crisis"
priority = 1
reply_within = "30m"
tone = "rustig"

[[rules]]
name = "vip"
tags = ["vip"]
queue = "vip"
reply_within = "5m"

[[rules]]
name = "rest"
queue = "care"
handling = "auto"
"#;

async fn start() -> (Running, tempfile::NamedTempFile) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), POLICY).unwrap();
    let config = ServerConfig::of([("routing.policy", file.path().to_str().unwrap())]).unwrap();
    (Running::start(config).await, file)
}

async fn route(server: &Running, text: &str, tags: &[&str]) -> pb::Route {
    let tags = tags.iter().map(|tag| tag.as_bytes().to_vec()).collect();
    let message = Some(pb::Message { tags, ..message("", text) });
    let request = pb::ClassifyRequest { message, ..Default::default() };
    let reply = server.client().await.classify(request).await.unwrap().into_inner();
    reply.verdict.unwrap().route.expect("there is a policy")
}

#[tokio::test]
async fn verdicts_say_where_messages_go_and_a_crisis_changes_it() {
    let (server, _file) = start().await;
    let mut routing = RoutingClient::new(server.channel().await);
    let mode = |mode: pb::CrisisMode| pb::SetCrisisRequest { mode: mode.into() };
    let complaint = TEXTS[1];

    let found = route(&server, complaint, &[]).await;
    assert_eq!((found.rule.as_str(), found.queue.as_str(), found.crisis), ("rest", "care", false));
    assert_eq!(found.handling(), pb::Handling::Auto);
    assert_eq!(
        (found.priority, found.reply_within_s, found.why.as_str()),
        (3, 0, "no other rule fits")
    );
    let found = route(&server, complaint, &["goud", "vip"]).await;
    assert_eq!((found.rule.as_str(), found.reply_within_s), ("vip", 300));

    // The third complaint in an hour is a crisis by itself.
    let found = route(&server, complaint, &["vip"]).await;
    assert_eq!((found.rule.as_str(), found.crisis, found.priority), ("storm", true, 1));
    assert_eq!(found.tone, "rustig");
    assert!(found.why.contains("complaint") && found.why.contains("crisis"), "{}", found.why);
    let state =
        routing.get_crisis(pb::GetCrisisRequest {}).await.unwrap().into_inner().crisis.unwrap();
    assert_eq!((state.active, state.recent_messages, state.recent_complaints), (true, 3, 3));
    assert_eq!(state.mode(), pb::CrisisMode::Automatic);

    // A person has the last word.
    routing.set_crisis(mode(pb::CrisisMode::Off)).await.unwrap();
    assert_eq!(route(&server, complaint, &[]).await.rule, "rest");
    let state = routing.set_crisis(mode(pb::CrisisMode::On)).await.unwrap().into_inner().crisis;
    assert!(state.unwrap().active);
    assert_eq!(route(&server, TEXTS[0], &[]).await.rule, "rest", "a question goes on as ever");
    let wrong = routing.set_crisis(mode(pb::CrisisMode::Unspecified)).await.unwrap_err();
    assert_eq!(wrong.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn tags_have_bounds_and_need_not_be_there() {
    let (server, _file) = start().await;
    let mut client = server.client().await;
    let long = "x".repeat(65);
    for tags in [vec![long.into_bytes()], vec![b"a".to_vec(); 17], vec![vec![0xff]]] {
        let message = Some(pb::Message { tags, ..message("", TEXTS[0]) });
        let request = pb::ClassifyRequest { message, ..Default::default() };
        let refused = client.classify(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        let details = refused.get_details_bad_request().unwrap();
        assert_eq!(details.field_violations[0].field, "message.tags");
    }
    assert_eq!(route(&server, TEXTS[0], &[]).await.rule, "rest");
}

#[tokio::test]
async fn without_a_policy_there_is_no_route() {
    let server = Running::start(ServerConfig::default()).await;
    let request =
        pb::ClassifyRequest { message: Some(message("", TEXTS[0])), ..Default::default() };
    let reply = server.client().await.classify(request).await.unwrap().into_inner();
    assert_eq!(reply.verdict.unwrap().route, None);
    let mut routing = RoutingClient::new(server.channel().await);
    let refused = routing.get_crisis(pb::GetCrisisRequest {}).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
}
