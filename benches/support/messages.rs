//! The messages of `benches/data`, how long they are for the model, and what they cost it.
//!
//! May depend on the crate's public items.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use klankbord::message::Message;
use klankbord::model::bundle::Bundle;
use klankbord::model::kernel::Kernel;
use klankbord::pipeline::{Arithmetic, Pipeline, Precision, Room};
use klankbord::tokenise::Tokeniser;

use super::quick;

/// Multiply-adds of a token's products in all layers.
const PRODUCTS: usize = LAYERS * (384 * 1152 + 384 * 384 + 2 * 384 * 1536);
const LAYERS: usize = 12;
/// How many of a bulk are in the pipeline at once.
const WINDOW: usize = 1024;

/// Multiply-adds of a message of so many tokens: products and attention.
pub fn macs(tokens: usize) -> f64 {
    (tokens * (PRODUCTS + LAYERS * 2 * tokens * 384)) as f64
}

/// Where the model is that comes with the sources.
pub fn model() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("models/nl-en")
}

/// The model, read.
pub fn bundle() -> Bundle {
    Bundle::load_classifier(&model()).expect("the model loads")
}

/// The pipeline around it, in int8.
pub fn pipeline(kernel: Kernel) -> Pipeline {
    let arithmetic = Arithmetic { precision: Precision::Int8, kernel: Some(kernel) };
    Pipeline::load_with(Some(&model()), arithmetic, Room::default()).expect("the pipeline starts")
}

/// Messages and their lengths in tokens, in the order in which they arrive.
#[derive(Clone)]
pub struct Messages {
    pub messages: Vec<Message>,
    pub lengths: Vec<usize>,
}

impl Messages {
    /// Reads them; the first `KLANKBORD_BENCH_TAKE` of them where that is set.
    pub fn read(tokeniser: &Tokeniser) -> Self {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/data/messages.jsonl");
        let take = std::env::var("KLANKBORD_BENCH_TAKE").ok();
        let take = take.map(|n| n.parse().expect("KLANKBORD_BENCH_TAKE is a number"));
        let take = take.unwrap_or(if quick() { 400 } else { usize::MAX });
        let text = std::fs::read_to_string(path).expect("the messages are there");
        let messages: Vec<_> = text.lines().take(take).map(message).collect();
        let length = |m: &Message| tokeniser.encode(m.text()).expect("it can be read").ids.len();
        let lengths = messages.iter().map(length).collect();
        Messages { messages, lengths }
    }

    /// The first `count`.
    pub fn first(&self, count: usize) -> Self {
        let count = count.min(self.messages.len());
        Messages {
            messages: self.messages[..count].to_vec(),
            lengths: self.lengths[..count].to_vec(),
        }
    }

    pub fn count(&self) -> usize {
        self.messages.len()
    }

    /// Tokens of all.
    pub fn tokens(&self) -> usize {
        self.lengths.iter().sum()
    }

    /// Multiply-adds of all.
    pub fn macs(&self) -> f64 {
        self.lengths.iter().map(|&length| macs(length)).sum()
    }

    /// The first whose length is nearest to 32 tokens, the mean.
    pub fn typical(&self) -> &Message {
        let near = |&index: &usize| self.lengths[index].abs_diff(32);
        let index = (0..self.count()).min_by_key(near).expect("there are messages");
        &self.messages[index]
    }

    /// Has the pipeline classify all of them, handed over in order; how long it took.
    pub async fn through(&self, pipeline: &Pipeline) -> Duration {
        let messages = self.messages.clone();
        let start = Instant::now();
        let verdicts = futures::stream::iter(messages)
            .map(|message| pipeline.classify(message))
            .buffer_unordered(WINDOW);
        verdicts.for_each(async |verdict| assert!(verdict.is_ok(), "no verdict")).await;
        start.elapsed()
    }
}

fn message(line: &str) -> Message {
    let record: serde_json::Value = serde_json::from_str(line).expect("a line is an object");
    let field = |name: &str| record[name].as_str().expect("a field is a string").to_owned();
    Message::new(field("id"), field("text")).expect("a message is valid")
}
