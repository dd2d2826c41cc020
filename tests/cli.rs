//! The command line from the outside: the built program, real files, real pipes.
//!
//! What the model says of a message is not tested here, only that it is said completely, in order
//! and consistently. Depends on the binary, serde_json, csv and tempfile.

#[path = "cli/eval.rs"]
mod eval;
#[path = "cli/eval_card.rs"]
mod eval_card;
#[path = "cli/route.rs"]
mod route;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

const INTENTS: [&str; 4] = ["question", "complaint", "compliment", "factual_error"];
const SENTIMENTS: [&str; 3] = ["negative", "neutral", "positive"];

fn klankbord(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_klankbord"));
    command.args(args).stdin(Stdio::null());
    command
}

fn run(args: &[&str]) -> Output {
    klankbord(args).output().unwrap()
}

fn run_with_stdin(args: &[&str], input: &str) -> Output {
    let mut child = klankbord(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    let writer = thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    output
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn json_lines(output: &Output) -> Vec<Value> {
    stdout(output).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn file(directory: &TempDir, name: &str, bytes: impl AsRef<[u8]>) -> (PathBuf, String) {
    let path = directory.path().join(name);
    fs::write(&path, bytes).unwrap();
    let name = path.to_str().unwrap().to_owned();
    (path, name)
}

/// Messages of differing length, so that short ones could overtake long ones.
fn many(n: usize) -> String {
    (0..n)
        .map(|i| {
            let text = format!("bericht {i} {}", "over mijn pakket ".repeat(i * 7 % 13));
            json!({ "id": format!("m{i}"), "text": text }).to_string() + "\n"
        })
        .collect()
}

#[test]
fn arguments_are_answered_for_people_or_as_json() {
    let output = run(&["classify", "Waar blijft mijn pakket?", "Top geholpen!"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = stdout(&output);
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert!(lines[0].starts_with("1: ") && lines[1].starts_with("2: "), "{text}");
    assert!(!text.contains("pakket") && !text.contains('\u{1b}'), "{text}");

    let output = run(&["classify", "--with-text", "Waar is\u{1b}[2J het?"]);
    let text = stdout(&output);
    assert!(text.contains("Waar is [2J het?") && !text.contains('\u{1b}'), "{text}");

    let output = run(&["classify", "--json", "Waar blijft mijn pakket?"]);
    let answers = json_lines(&output);
    assert_eq!(answers.len(), 1);
    assert!(answers[0].get("line").is_none() && answers[0].get("text").is_none());
}

#[test]
fn spans_and_quotations_are_told_only_when_asked() {
    let text = "Dag. Hoe laat gaat de balie in Zwolle vandaag open?\n\nOp 3 mei 2026 om 14:02 schreef Jan:\n> Wat een zooi!";
    let plain = json_lines(&run(&["classify", "--json", text])).remove(0);
    assert!(plain.get("spans").is_none() && plain.get("quoted").is_none());
    let mut told = json_lines(&run(&["classify", "--json", "--spans", text])).remove(0);
    let told = told.as_object_mut().unwrap();
    let (spans, quoted) = (told.remove("spans").unwrap(), told.remove("quoted").unwrap());
    assert_eq!(&Value::Object(told.clone()), &plain, "the verdict stays the same");
    assert_eq!(quoted, json!([{ "start": text.find("Op 3").unwrap(), "end": text.len() }]));
    for span in spans.as_array().unwrap() {
        let at = |name: &str| usize::try_from(span[name].as_u64().unwrap()).unwrap();
        assert!(
            ["Dag.", "Hoe laat gaat de balie in Zwolle vandaag open?"]
                .contains(&&text[at("start")..at("end")]),
            "{span}"
        );
        assert!(INTENTS.contains(&span["intent"].as_str().unwrap()));
    }
}

#[test]
fn a_blank_argument_does_not_cost_the_others() {
    let output = run(&["classify", "--json", "een", " ", "drie"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(json_lines(&output).len(), 2);
    assert!(stderr(&output).contains("2: text: is empty"), "{}", stderr(&output));
}

#[test]
fn every_answer_has_the_shape_that_programs_rely_on() {
    let input = r#"{"id":"a","text":"Waar blijft mijn pakket?","lang":"nl","channel":"chat"}"#;
    let output = run_with_stdin(&["classify", "--with-text"], input);
    let answers = json_lines(&output);
    assert_eq!((output.status.code(), answers.len()), (Some(0), 1), "{}", stderr(&output));
    let answer = answers[0].as_object().unwrap();
    let mut keys: Vec<_> = answer.keys().map(String::as_str).collect();
    keys.sort_unstable();
    let mut expected = [
        "id",
        "line",
        "text",
        "channel",
        "intents",
        "primary",
        "urgent",
        "sentiment",
        "needs_review",
        "language",
        "tokens_read",
        "truncated",
        "context_read",
        "model",
    ];
    expected.sort_unstable();
    assert_eq!(keys, expected);
    assert_eq!((&answer["id"], &answer["line"]), (&json!("a"), &json!(1)));
    assert_eq!(answer["text"], "Waar blijft mijn pakket?");
    assert_eq!(answer["channel"], "chat");
    let mut holding = Vec::new();
    for label in INTENTS {
        let judgement = &answer["intents"][label];
        let probability = judgement["probability"].as_f64().unwrap();
        assert!((0.0..=1.0).contains(&probability));
        if judgement["holds"].as_bool().unwrap() {
            holding.push((probability, label));
        }
    }
    let primary = answer["primary"].as_str();
    assert_eq!(primary.is_some(), !holding.is_empty());
    assert!(primary.is_none_or(|p| holding.iter().any(|(_, label)| *label == p)));
    assert!(answer["urgent"]["holds"].is_boolean() && answer["urgent"]["probability"].is_number());
    let sentiment = &answer["sentiment"];
    let p = SENTIMENTS.map(|label| sentiment["probabilities"][label].as_f64().unwrap());
    assert!((p.iter().sum::<f64>() - 1.0).abs() < 1e-5, "{p:?}");
    assert!((sentiment["score"].as_f64().unwrap() - (p[2] - p[0])).abs() < 1e-6);
    assert!(SENTIMENTS.contains(&sentiment["label"].as_str().unwrap()));
    assert!(answer["tokens_read"].as_u64().unwrap() > 0);
    assert!(answer["model"]["version"].is_string() && answer["model"]["digest"].is_string());
}

#[test]
fn a_thousand_answers_keep_the_order() {
    let output = run_with_stdin(&["classify", "--input", "-"], &many(1000));
    let ids: Vec<_> =
        json_lines(&output).iter().map(|a| a["id"].as_str().unwrap().to_owned()).collect();
    let expected: Vec<_> = (0..1000).map(|i| format!("m{i}")).collect();
    assert_eq!(ids, expected);
}

#[test]
fn a_spreadsheet_goes_in_and_a_spreadsheet_comes_out() {
    let directory = TempDir::new().unwrap();
    let csv =
        "\u{feff}id;text;channel\r\n1;\"Waar is; mijn\r\n\"\"pakket\"\"?\";chat\r\n2;Prima;\r\n";
    let (_, input) = file(&directory, "in.csv", csv);
    let out = directory.path().join("out.csv");
    let args = ["classify", "-i", &input, "-o", out.to_str().unwrap(), "--with-text"];
    let output = run(&args);
    assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(0), ""));
    let mut reader = csv::Reader::from_path(&out).unwrap();
    let header: Vec<_> = reader.headers().unwrap().iter().map(str::to_owned).collect();
    let of = |row: &csv::StringRecord, name: &str| {
        row[header.iter().position(|h| h == name).unwrap()].to_owned()
    };
    let rows: Vec<_> = reader.records().map(Result::unwrap).collect();
    let read = rows.iter().map(|row| (of(row, "id"), of(row, "line"), of(row, "text")));
    assert_eq!(
        read.collect::<Vec<_>>(),
        [
            ("1".into(), "2".into(), "Waar is; mijn\r\n\"pakket\"?".into()),
            ("2".into(), "4".into(), "Prima".to_owned()),
        ]
    );
    // The same numbers as in JSON, digit for digit.
    let answers = json_lines(&run(&["classify", "--input", &input]));
    for (row, answer) in rows.iter().zip(&answers) {
        for label in INTENTS {
            let judgement = &answer["intents"][label];
            let cell: f32 = of(row, &format!("{label}_p")).parse().unwrap();
            assert_eq!(cell, judgement["probability"].as_f64().unwrap() as f32);
            assert_eq!(of(row, label), judgement["holds"].to_string());
        }
        assert_eq!(of(row, "primary"), answer["primary"].as_str().unwrap_or_default());
        assert_eq!(of(row, "sentiment"), answer["sentiment"]["label"].as_str().unwrap());
        for label in SENTIMENTS {
            let cell: f32 = of(row, &format!("{label}_p")).parse().unwrap();
            let p = answer["sentiment"]["probabilities"][label].as_f64().unwrap();
            assert_eq!(cell, p as f32);
        }
    }
}

#[test]
fn an_empty_file_gives_an_empty_answer() {
    let output = run_with_stdin(&["classify"], "");
    assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(0), ""));
    let output = run_with_stdin(&["classify", "--output-format", "csv"], "");
    assert!(stdout(&output).starts_with("id,primary,question,question_p,"));
    assert_eq!(stdout(&output).lines().count(), 1);
}

#[test]
fn bad_lines_are_reported_and_the_rest_is_done() {
    let input = "{\"id\":\"a\",\"text\":\"een\"}\n{\"text\":\"canary\"\n{\"id\":\"b\"}\n\
                 {\"id\":\"c\",\"text\":\"drie\"}\n";
    let output = run_with_stdin(&["classify"], input);
    assert_eq!(output.status.code(), Some(1));
    let ids: Vec<_> = json_lines(&output).iter().map(|a| a["id"].clone()).collect();
    assert_eq!(ids, ["a", "c"]);
    let errors = stderr(&output);
    assert!(errors.contains("line 2: not valid JSON"), "{errors}");
    assert!(errors.contains("line 3: text: is missing"), "{errors}");
    assert!(errors.contains("2 classified, 2 could not be"), "{errors}");
    assert!(!errors.contains("canary"), "{errors}");
}

#[test]
fn what_cannot_begin_says_why_and_ends_with_two() {
    let directory = TempDir::new().unwrap();
    let (path, input) = file(&directory, "in.jsonl", "{\"text\":\"een\"}\n");
    let (_, odd) = file(&directory, "in.dat", "");
    let (_, headless) = file(&directory, "in.csv", "body;id\n");
    let missing = directory.path().join("missing.jsonl");
    let missing = missing.to_str().unwrap();
    for (args, reason) in [
        (vec!["classify", "-i", missing], "missing.jsonl"),
        (vec!["eval", &input, missing], "missing.jsonl"),
        (vec!["classify", "-i", &odd], "--format"),
        (vec!["classify", "-i", &headless], "no column `text`"),
        (vec!["classify", "-i", &input, "-o", &input], "both input and output"),
        (vec!["classify", "tekst", "-i", &input], "cannot be used with"),
        (vec!["classify", "--model", missing, "tekst"], "missing.jsonl"),
        (vec!["eval"], "FILE"),
    ] {
        let output = run(&args);
        let errors = stderr(&output);
        assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(2), ""), "{args:?}");
        assert!(errors.starts_with("error: ") && errors.contains(reason), "{args:?}: {errors}");
    }
    assert_eq!(fs::read_to_string(path).unwrap(), "{\"text\":\"een\"}\n");
}

#[test]
fn an_output_closed_early_ends_it_quietly() {
    let mut child = klankbord(&["classify"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // More answers than a pipe holds, so that writing after the close is certain.
    let writer = thread::spawn(move || {
        let _ = stdin.write_all(many(2000).as_bytes());
    });
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert_eq!(serde_json::from_str::<Value>(&first).unwrap()["id"], "m0");
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""));
}

#[test]
fn an_answer_does_not_wait_for_the_next_message() {
    let mut child =
        klankbord(&["classify"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut answers = BufReader::new(child.stdout.take().unwrap()).lines();
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        while let Some(Ok(line)) = answers.next() {
            sender.send(line).unwrap();
        }
    });
    for id in ["a", "b"] {
        writeln!(stdin, "{}", json!({ "id": id, "text": "hoi" })).unwrap();
        // The limit is only there for a failing test to end.
        let line = receiver.recv_timeout(Duration::from_secs(120)).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&line).unwrap()["id"], id);
    }
    drop(stdin);
    assert!(child.wait().unwrap().success());
}
