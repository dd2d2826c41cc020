//! Replies with the posts that they reply to: 80 of them, written for this test, whose labels the post decides.

use klankbord::message::{Intent, Message, Verdict};
use klankbord::pipeline::Pipeline;
use serde_json::Value;

fn replies() -> Vec<Value> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/replies.jsonl");
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Of the four intents, how many are right.
fn right(verdict: &Verdict, record: &Value) -> usize {
    let named = record["intents"].as_array().unwrap();
    let holds = |intent: Intent| named.iter().any(|name| name == intent.name());
    Intent::ALL.into_iter().filter(|i| verdict.intent(*i).holds == holds(*i)).count()
}

#[tokio::test]
async fn a_reply_is_read_in_the_light_of_its_post() {
    let pipeline = Pipeline::load(None).unwrap();
    assert!(pipeline.model().reads_context);
    let (mut with, mut without, mut moved) = (0, 0, 0);
    for record in replies() {
        let bare = Message::new("", record["text"].as_str().unwrap()).unwrap();
        let post = record["context"].as_str().unwrap();
        let reply = bare.clone().with_context(post).unwrap();
        let (alone, answered) =
            (pipeline.classify(bare).await.unwrap(), pipeline.classify(reply).await.unwrap());
        assert!(answered.context_read && !alone.context_read);
        with += right(&answered, &record);
        without += right(&alone, &record);
        moved += usize::from(alone.sentiment_probabilities != answered.sentiment_probabilities);
    }
    // Of 320 labels; guessing that none holds gets 252 of them right.
    assert!(
        with >= without + 12 && with > 252,
        "{with} labels right with the posts, {without} without"
    );
    assert_eq!(moved, 80);
}
