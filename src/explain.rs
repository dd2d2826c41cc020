//! Why a label: what each word adds to it, by leaving it out and reading the message again.
//!
//! Leave-one-out (Li et al. 2016, "Understanding neural networks through representation erasure",
//! <https://arxiv.org/abs/1612.08220>) needs nothing of a model but its verdicts, so it explains the very
//! engine that serves, context and calibration included. It costs as many readings as there are words.
//! May depend on: `message`, `pipeline`.

use std::ops::Range;

use futures::future::try_join_all;

use crate::message::{Intent, Message, Sentiment, Verdict};
use crate::pipeline::{Pipeline, PipelineError};

/// Most parts that a message is taken apart into, so most readings more that an explanation costs. Words of
/// longer ones go together.
pub const MAX_PARTS: usize = 64;
/// Stands for a message of which nothing is left.
const NOTHING: &str = "…";
/// Keeps the logarithm of the odds of a certainty finite: some 14.
const LEAST: f32 = 1e-6;

/// One decision of a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Label {
    Intent(Intent),
    Sentiment(Sentiment),
    Urgent,
}

impl Label {
    /// By its name on the wire: `complaint`, `negative`, `urgent`.
    pub fn from_name(name: &str) -> Option<Self> {
        let intent = Intent::from_name(name).map(Label::Intent);
        let sentiment = || Sentiment::from_name(name).map(Label::Sentiment);
        intent.or_else(sentiment).or_else(|| (name == "urgent").then_some(Label::Urgent))
    }

    /// Inverse of [`Label::from_name`].
    pub fn name(self) -> &'static str {
        match self {
            Label::Intent(intent) => intent.name(),
            Label::Sentiment(sentiment) => sentiment.name(),
            Label::Urgent => "urgent",
        }
    }

    /// All names.
    pub fn names() -> impl Iterator<Item = &'static str> {
        let intents = Intent::ALL.map(Intent::name).into_iter();
        intents.chain(Sentiment::ALL.map(Sentiment::name)).chain(["urgent"])
    }

    /// What a verdict gives it.
    pub fn probability(self, verdict: &Verdict) -> f32 {
        match self {
            Label::Intent(intent) => verdict.intent(intent).probability,
            Label::Sentiment(sentiment) => verdict.sentiment_probabilities[sentiment as usize],
            Label::Urgent => verdict.urgent.probability,
        }
    }
}

/// What one part of a message adds to a label.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// Where it lies, in bytes of the text.
    pub range: Range<usize>,
    /// By how much the log-odds of the label fall without it; below 0 where it speaks against the label.
    pub weight: f32,
}

/// Why a label has its probability.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    pub label: Label,
    pub verdict: Verdict,
    /// In the order of the text.
    pub parts: Vec<Part>,
}

/// Explains one label of a message. Its parts are read as messages of their own, in whatever batches come.
///
/// # Errors
/// As [`Pipeline::classify`].
pub async fn explain(
    pipeline: &Pipeline,
    message: Message,
    label: Label,
) -> Result<Explanation, PipelineError> {
    let parts = parts(message.text());
    let without = parts.iter().map(|part| {
        let rest = leave_out(message.text(), part);
        // A message without one of its words is as valid as with it; were it not, it adds nothing.
        let rest = message.clone().with_text(rest);
        async move {
            match rest {
                Ok(rest) => pipeline.classify(rest).await.map(Some),
                Err(_) => Ok(None),
            }
        }
    });
    let without = try_join_all(without).await?;
    let verdict = pipeline.classify(message).await?;
    let whole = log_odds(label.probability(&verdict));
    let weigh = |(range, rest): (Range<usize>, Option<Verdict>)| Part {
        range,
        weight: rest.map_or(0.0, |rest| whole - log_odds(label.probability(&rest))),
    };
    Ok(Explanation { label, parts: parts.into_iter().zip(without).map(weigh).collect(), verdict })
}

/// How many readings an explanation of a text takes.
pub fn readings(text: &str) -> usize {
    parts(text).len() + 1
}

fn log_odds(probability: f32) -> f32 {
    let p = probability.clamp(LEAST, 1.0 - LEAST);
    (p / (1.0 - p)).ln()
}

/// Words, or where there are more than [`MAX_PARTS`] runs of neighbouring ones, white space left out.
fn parts(text: &str) -> Vec<Range<usize>> {
    let mut words: Vec<Range<usize>> = Vec::new();
    for (at, c) in text.char_indices() {
        let end = at + c.len_utf8();
        match words.last_mut() {
            _ if c.is_whitespace() => {}
            Some(word) if word.end == at => word.end = end,
            _ => words.push(at..end),
        }
    }
    let together = words.len().div_ceil(MAX_PARTS).max(1);
    words.chunks(together).map(|run| run[0].start..run[run.len() - 1].end).collect()
}

fn leave_out(text: &str, part: &Range<usize>) -> String {
    let (before, after) = (text[..part.start].trim_end(), text[part.end..].trim_start());
    match (before.is_empty(), after.is_empty()) {
        (true, true) => NOTHING.to_owned(),
        (false, false) => format!("{before} {after}"),
        _ => format!("{before}{after}"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_word_is_left_out_with_its_space() {
        let text = "  Top  geholpen 👏\n";
        let found = parts(text);
        let words: Vec<&str> = found.iter().map(|part| &text[part.clone()]).collect();
        assert_eq!(words, ["Top", "geholpen", "👏"]);
        assert_eq!(leave_out(text, &found[0]), "geholpen 👏\n");
        assert_eq!(leave_out(text, &found[1]), "  Top 👏\n");
        assert_eq!(leave_out("Top", &(0..3)), NOTHING);
    }

    #[test]
    fn labels_go_by_their_names() {
        for name in Label::names() {
            assert_eq!(Label::from_name(name).unwrap().name(), name);
        }
        assert_eq!(Label::from_name("klacht"), None);
    }

    proptest! {
        #[test]
        fn parts_hold_every_word_and_are_few(text in "(\\PC|[ \n]){0,400}") {
            let found = parts(&text);
            prop_assert!(found.len() <= MAX_PARTS);
            let (mut kept, mut end) = (String::new(), 0);
            for part in &found {
                prop_assert!(part.start >= end && part.end > part.start);
                kept.push_str(&text[part.clone()]);
                end = part.end;
            }
            kept.retain(|c| !c.is_whitespace());
            prop_assert_eq!(kept, text.chars().filter(|c| !c.is_whitespace()).collect::<String>());
        }
    }
}
