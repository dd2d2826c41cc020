//! What each word adds to a label, from outside: over gRPC and on the command line.

mod support;

use std::process::Command;

use klankbord::config::ServerConfig;
use klankbord::rpc::pb::explain_request::Label;
use klankbord::rpc::pb::{self};
use serde_json::Value;
use support::{Running, message};
use tonic::Code;

const TEXT: &str = "De trein had vandaag wéér vertraging, waardeloos.";

#[tokio::test]
async fn words_that_carry_a_label_weigh_most_and_the_verdict_is_the_usual_one() {
    let server = Running::start(ServerConfig::default()).await;
    let mut client = server.client().await;
    let asked = |label| pb::ExplainRequest { message: Some(message("m1", TEXT)), label };
    let explain = asked(Some(Label::Intent(pb::Intent::Complaint.into())));
    let reply = client.explain(explain).await.unwrap().into_inner();
    let request = pb::ClassifyRequest { message: Some(message("m1", TEXT)), spans: false, lane: 0 };
    let verdict = client.classify(request).await.unwrap().into_inner().verdict;
    assert_eq!(reply.verdict, verdict);
    let words: Vec<&str> =
        reply.words.iter().map(|word| &TEXT[word.start as usize..word.end as usize]).collect();
    assert_eq!(words, TEXT.split(' ').collect::<Vec<_>>());
    assert!(reply.words.iter().all(|word| word.weight.is_finite()));
    // Without the verdict on the delay little is left to complain of.
    let heaviest = reply.words.iter().max_by(|a, b| a.weight.total_cmp(&b.weight)).unwrap();
    let heaviest = &TEXT[heaviest.start as usize..heaviest.end as usize];
    assert!(["wéér", "vertraging,", "waardeloos."].contains(&heaviest), "{heaviest}");

    let other = [Some(Label::Urgent(true)), Some(Label::Sentiment(pb::Sentiment::Negative.into()))];
    for label in other {
        assert!(client.explain(asked(label)).await.is_ok());
    }
    for label in [None, Some(Label::Urgent(false)), Some(Label::Intent(99)), Some(Label::Intent(0))]
    {
        let refused = client.explain(asked(label)).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(refused.message().starts_with("label: "), "{}", refused.message());
    }
    let empty = pb::ExplainRequest { message: None, label: Some(Label::Urgent(true)) };
    assert_eq!(client.explain(empty).await.unwrap_err().message(), "message: is missing");
}

#[test]
fn the_command_line_says_it_for_people_and_in_json() {
    let run = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_klankbord"));
        command.arg("explain").args(args).output().unwrap()
    };
    let done = run(&[TEXT, "--label", "negative", "--json"]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let line: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(line["label"], "negative");
    assert_eq!(line["words"].as_array().unwrap().len(), 7);
    assert_eq!(line["words"][1]["text"], "trein");
    let done = run(&[TEXT]);
    let told = String::from_utf8_lossy(&done.stdout).into_owned();
    assert_eq!(told.lines().count(), 8, "{told}");
    assert!(!run(&["   "]).status.success());
    assert!(!run(&[TEXT, "--label", "klacht"]).status.success());
}
