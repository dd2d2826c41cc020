//! `klankbord eval --html --json --robust` from the outside.
//!
//! Depends on what `tests/cli.rs` does.

use std::fs;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{INTENTS, file, run, stderr, stdout};

/// Messages of our own; the labels of the hostile one are all wrong, so that it is shown.
fn messages() -> Vec<Value> {
    let hostile =
        "Top! <script src=\"https://evil.example/x.js\"></script><img src='http://evil.example'>";
    vec![
        json!({ "id": "a", "text": "Wanneer gaat de balie in Zwolle open, Sanne?", "lang": "nl",
            "channel": "chat", "intents": ["question"], "sentiment": "neutral", "urgent": false }),
        json!({ "text": "Wat een slechte service, al drie weken geen antwoord!!", "channel": "email",
            "intents": ["complaint"], "sentiment": "negative" }),
        json!({ "text": "Thank you so much, great help today 👏", "lang": "en",
            "intents": ["compliment"], "sentiment": "positive" }),
        json!({ "id": "x\"><b>", "text": hostile, "channel": "chat",
            "intents": ["question", "complaint", "factual_error"], "sentiment": "negative" }),
        json!({ "text": "ok" }),
    ]
}

#[test]
fn the_card_is_complete_and_the_page_needs_nothing_else() {
    let directory = TempDir::new().unwrap();
    let lines: Vec<_> = messages().iter().map(Value::to_string).collect();
    let (_, name) = file(&directory, "messages.jsonl", lines.join("\n"));
    let path = directory.path().join("page.html");
    let page = path.to_str().unwrap();
    let output = run(&["eval", "--html", page, "--json", "--robust", &name]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(!stderr(&output).contains("Zwolle"), "{}", stderr(&output));
    assert!(!stdout(&output).contains("Zwolle"), "text is for the page only");

    let card: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(card["n"], 5);
    assert_eq!(card["intents"]["question"]["bins"].as_array().unwrap().len(), 15);
    assert_eq!(card["sentiment"]["bins"].as_array().unwrap().len(), 15);
    assert_eq!(card["review_curve"]["messages"], 4);
    assert!(card["review_curve"]["wrong"].as_u64().unwrap() >= 1);
    assert_eq!(card["review_curve"]["points"].as_array().unwrap().len(), 6);
    assert!(card["review_curve"]["needs_review"]["caught"].is_number());
    for kind in ["language", "channel", "characters"] {
        let slices = card["slices"][kind].as_array().unwrap();
        assert_eq!(slices.iter().map(|slice| slice["n"].as_u64().unwrap()).sum::<u64>(), 5);
        assert!(slices.iter().all(|slice| slice["small"] == true));
    }
    assert!(card["consistency"]["contradictory"].is_number());
    let changes = card["robustness"]["changes"].as_array().unwrap();
    let changed = |name: &str| {
        let found = changes.iter().find(|change| change["change"] == name);
        found.map(|change| change["messages"].as_u64().unwrap())
    };
    assert_eq!((changes.len(), changed("lower case"), changed("no emoji")), (8, Some(4), Some(1)));
    assert_eq!(card["robustness"]["negations"]["pairs"], 36);

    let page = fs::read_to_string(&path).unwrap();
    assert!(page.starts_with("<!DOCTYPE html>") && page.contains("prefers-color-scheme: dark"));
    for outside in
        ["<script", "<img", "<link", "<iframe", "<b>", "src=\"", "href=", "url(", "@import"]
    {
        assert!(!page.contains(outside), "{outside}");
    }
    assert!(page.contains("&lt;script src=&quot;https://evil.example/x.js&quot;&gt;"));
    assert!(INTENTS.iter().all(|label| page.contains(label)) && page.contains("<svg"));

    let again = run(&["eval", "--json", "--robust", &name]);
    assert_eq!(stdout(&again), stdout(&output), "the changes are the same each time");
    let text = stdout(&run(&["eval", "--robust", &name]));
    for part in ["of the most doubtful", "by part", "contradictory", "lower case", "36 pairs"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let plain: Value = serde_json::from_slice(&run(&["eval", "--json", &name]).stdout).unwrap();
    assert!(plain.get("robustness").is_none());
    assert_eq!(plain["review_curve"], card["review_curve"]);
}

#[test]
fn a_page_that_cannot_be_written_is_said_before_the_work() {
    let directory = TempDir::new().unwrap();
    let (_, name) = file(&directory, "one.jsonl", "{\"text\":\"een\"}\n");
    let page = directory.path().join("missing/page.html");
    let output = run(&["eval", "--html", page.to_str().unwrap(), &name]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("cannot write") && stdout(&output).is_empty());
}
