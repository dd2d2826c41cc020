//! The page: whatever strangers write, it stays text.

use std::sync::Arc;

use super::*;
use crate::message::{Judgement, Language, ModelId, Sentiment};
use crate::pipeline::ModelInfo;

const HOSTILE: &str =
    "</blockquote><script src='https://evil.example/x'></script> \"a\" & 'b' <img src=x>";

fn model() -> ModelInfo {
    ModelInfo {
        kernel: String::new(),
        id: Arc::new(ModelId { version: "1".into(), digest: "0".into() }),
        name: HOSTILE.into(),
        languages: Vec::new(),
        max_tokens: 128,
        thresholds_by_language: Vec::new(),
        intent_thresholds: [0.5; 4],
        urgent_threshold: 0.5,
        trained_on: Vec::new(),
        reads_context: false,
        prevalence: None,
    }
}

fn verdict() -> Verdict {
    let judged = Judgement { probability: 0.9, holds: true };
    Verdict {
        intents: [judged; 4],
        primary: None,
        urgent: judged,
        sentiment: Sentiment::Negative,
        sentiment_probabilities: [0.8, 0.1, 0.1],
        needs_review: false,
        language: Language::Dutch,
        tokens_read: 3,
        truncated: false,
        context_read: false,
        model: model().id,
    }
}

fn report() -> FileReport {
    let intents = [Some(false), Some(true), None, None];
    let targets = Targets { intents, sentiment: Some(Sentiment::Neutral), urgent: None };
    let mut counts = Counts::default();
    let mut misses = Worst::new(MISSES);
    let record = LabelledRecord::unlabelled(HOSTILE, HOSTILE);
    counts.add(&targets, traits(&record, &verdict()), &verdict());
    let LabelledRecord { id, text, .. } = record;
    misses.add(0.9, || Miss { line: 1, id, text, targets, verdict: verdict() });
    FileReport { file: HOSTILE.into(), card: counts.card(None), misses }
}

#[test]
fn what_strangers_write_stays_text() {
    let page = page::page(&[report()], &model()).into_string();
    for markup in ["<script", "<img"] {
        assert!(!page.contains(markup), "{markup}: {page}");
    }
    assert_eq!(page.matches("</blockquote>").count(), 1, "only our own: {page}");
    // File name, model's name (title and head), id and text.
    assert_eq!(page.matches("&lt;/blockquote&gt;&lt;script src='https:").count(), 5, "{page}");
    assert!(page.contains("&quot;a&quot; &amp; 'b'"));
    assert!(page.contains("said: question, which it is not (90.0%)"));
    assert!(page.contains("said: sentiment negative, not neutral (80.0%)"));
}

#[test]
fn the_text_names_each_part() {
    let text = report().to_string();
    for part in ["1 messages", "of the most doubtful", "needs review (0.0%)", "F1 by part", "nl*"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert_eq!(text.matches("evil").count(), 1, "the file's name, not the message: {text}");
    assert!(text.contains("contradictory verdicts 0 (0.0%), without needs review 0"), "{text}");
}

#[test]
fn a_page_is_replaced_only_by_a_page() {
    let directory = tempfile::TempDir::new().unwrap();
    let path = directory.path().join("page.html");
    std::fs::write(&path, "a longer page, from before").unwrap();
    let page = Page::open(&path).unwrap();
    assert!(std::fs::read_to_string(&path).unwrap().ends_with("from before"));
    page.write("new").unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "new");
    assert!(Page::open(&directory.path().join("no/page.html")).is_err());
}
