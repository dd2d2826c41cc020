//! `klankbord eval` from the outside, against the answers of `klankbord classify`.
//!
//! Depends on what `tests/cli.rs` does.

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{INTENTS, SENTIMENTS, file, json_lines, run, stderr, stdout};

/// Sixty messages, most with all labels, some with a few, some with none.
fn labelled() -> Vec<Value> {
    (0..60_usize)
        .map(|i| {
            let text = format!("Bericht {i}: waarom is lijn {} weer te laat?", i * 37 % 101);
            let mut record = json!({ "id": i.to_string(), "text": text });
            let held: Vec<_> = (0..4).filter(|b| (i >> b) & 1 == 1).map(|b| INTENTS[b]).collect();
            match i % 5 {
                0 => {}
                1 => {
                    record["intents_some"] = json!([INTENTS[i % 4]]);
                    record["not"] = json!([INTENTS[(i + 1) % 4]]);
                }
                _ => record["intents"] = json!(held),
            }
            if i % 3 > 0 {
                record["sentiment"] = json!(SENTIMENTS[i * 5 % 3]);
            }
            record
        })
        .collect()
}

/// Whether the label holds in the record; `None` where the record does not say.
fn truth(record: &Value, label: &str) -> Option<bool> {
    let has = |key: &str| record[key].as_array().map(|list| list.contains(&json!(label)));
    has("intents")
        .or_else(|| has("intents_some").filter(|has| *has))
        .or_else(|| has("not").filter(|has| *has).map(|_| false))
}

fn close(got: &Value, expected: f64, what: &str) {
    let got = got.as_f64().unwrap_or_else(|| panic!("{what} is no number"));
    assert!((got - expected).abs() < 1e-6, "{what}: {got}, recomputed {expected}");
}

#[test]
fn eval_agrees_with_what_classify_says() {
    let directory = TempDir::new().unwrap();
    let records = labelled();
    let lines: Vec<_> = records.iter().map(Value::to_string).collect();
    let (_, name) = file(&directory, "labelled.jsonl", lines.join("\n"));
    let answers = json_lines(&run(&["classify", "-i", &name]));
    let output = run(&["eval", "--json", &name]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["n"], 60);
    assert_eq!(report["urgent"], Value::Null);

    let mut f1s = 0.0;
    for label in INTENTS {
        let known: Vec<_> = records
            .iter()
            .zip(&answers)
            .filter_map(|(record, answer)| Some((truth(record, label)?, &answer["intents"][label])))
            .map(|(t, j)| {
                (t, j["holds"] == true, f64::from(j["probability"].as_f64().unwrap() as f32))
            })
            .collect();
        let count = |t: bool, h: bool| known.iter().filter(|k| (k.0, k.1) == (t, h)).count() as f64;
        let over = |part: f64, whole: f64| if whole > 0.0 { part / whole } else { 0.0 };
        let hit = count(true, true);
        let precision = over(hit, hit + count(false, true));
        let recall = over(hit, hit + count(true, false));
        let f1 = over(2.0 * precision * recall, precision + recall);
        f1s += f1;
        let mut ece = 0.0;
        for bin in 0..15 {
            let (low, high) = (f64::from(bin) / 15.0, f64::from(bin + 1) / 15.0);
            let inside = known.iter().filter(|k| (k.2 > low || bin == 0) && k.2 <= high);
            let gap: f64 = inside.map(|k| k.2 - f64::from(u8::from(k.0))).sum();
            ece += gap.abs() / known.len() as f64;
        }
        let got = &report["intents"][label];
        close(&got["precision"], precision, label);
        close(&got["recall"], recall, label);
        close(&got["f1"], f1, label);
        close(&got["ece"], ece, label);
        assert_eq!(got["support"], hit as u64 + count(true, false) as u64);
    }
    close(&report["intents"]["macro_f1"], f1s / 4.0, "macro F1");

    let said: Vec<_> = records
        .iter()
        .zip(&answers)
        .filter(|(record, _)| record["sentiment"].is_string())
        .map(|(record, answer)| (&record["sentiment"], &answer["sentiment"]["label"]))
        .collect();
    let right = said.iter().filter(|(a, b)| a == b).count() as f64;
    close(&report["sentiment"]["accuracy"], right / said.len() as f64, "accuracy");
    assert!(report["sentiment"]["macro_f1"].is_number() && report["sentiment"]["ece"].is_number());
    for label in SENTIMENTS {
        for other in SENTIMENTS {
            let pairs = said.iter().filter(|(a, b)| **a == label && **b == other).count();
            assert_eq!(report["sentiment"]["confusion"][label][other], pairs);
        }
    }
}

#[test]
fn eval_prints_each_file_and_goes_on_after_a_bad_line() {
    let directory = TempDir::new().unwrap();
    let (_, one) = file(&directory, "one.jsonl", "{\"text\":\"een\",\"intents\":[]}\n{\n");
    let (_, two) = file(&directory, "two.csv", "text,urgent\ntwee,true\ndrie,\n");
    let output = run(&["eval", "--json", &one, &two]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("one.jsonl: line 2: not valid JSON"), "{}", stderr(&output));
    let reports: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&reports[0]["file"], &reports[0]["n"]), (&json!(one), &json!(1)));
    assert_eq!((&reports[1]["file"], &reports[1]["n"]), (&json!(two), &json!(2)));
    assert_eq!(reports[1]["urgent"]["labelled"], 1);
    let text = stdout(&run(&["eval", &one, &two]));
    assert!(
        text.contains("one.jsonl: 1 messages") && text.contains("two.csv: 2 messages"),
        "{text}"
    );
    assert!(INTENTS.iter().all(|label| text.contains(label)), "{text}");
}
