//! Training from the outside, with a network small enough to learn in seconds.

#[path = "support/tiny.rs"]
mod tiny;

use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

fn klankbord() -> Command {
    Command::new(env!("CARGO_BIN_EXE_klankbord"))
}

/// Made-up messages whose words give their labels away; `part` picks others of the same kind.
fn write_messages(path: &Path, part: usize) {
    let mut file = std::fs::File::create(path).unwrap();
    let things = ["de trein", "pakket", "de pakket trein", "trein"];
    for index in 0..48 {
        let thing = things[(index / 4 + part) % 4];
        let (text, intents, sentiment) = match index % 4 {
            0 => (format!("waar blijft {thing}"), json!(["question"]), "neutral"),
            1 => (format!("{thing} kapot slecht"), json!(["complaint"]), "negative"),
            2 => (format!("top dank fijn {thing}"), json!(["compliment"]), "positive"),
            _ => (format!("klopt niet onjuist {thing}"), json!(["factual_error"]), "neutral"),
        };
        let urgent = index % 8 == 1;
        let record = json!({"id": index.to_string(), "text": text, "intents": intents,
            "sentiment": sentiment, "urgent": urgent});
        writeln!(file, "{record}").unwrap();
    }
    // A partly labelled one: nothing is known of what it leaves out.
    writeln!(file, "{}", json!({"text": "dank", "intents_some": ["compliment"], "not": []}))
        .unwrap();
}

struct Bench {
    dir: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        tiny::write_base(&dir.path().join("base"));
        write_messages(&dir.path().join("train.jsonl"), 0);
        write_messages(&dir.path().join("dev.jsonl"), 1);
        Bench { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn train(&self, out: &str, options: &[&str]) -> Command {
        let mut command = klankbord();
        command.arg("train").arg("--from").arg(self.path("base"));
        command.arg("--data").arg(self.path("train.jsonl"));
        command.arg("--dev").arg(self.path("dev.jsonl"));
        command.arg("--out").arg(self.path(out)).args(["--epochs", "12", "--rate", "0.003"]);
        command.args(["--batch-tokens", "64", "--patience", "99"]).args(options);
        command
    }

    fn digest(&self, model: &str) -> Value {
        let manifest = std::fs::read(self.path(model).join("manifest.json")).unwrap();
        serde_json::from_slice::<Value>(&manifest).unwrap()["files"].clone()
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn learns_what_there_is_to_learn_and_the_same_each_time() {
    let bench = Bench::new();
    for (out, options) in [("a", &[][..]), ("b", &[]), ("c", &["--train-words"])] {
        let done = bench.train(out, options).output().unwrap();
        assert!(done.status.success(), "{}", said(&done));
        let evaluated = klankbord()
            .args(["eval", "--json", "--model"])
            .arg(bench.path(out))
            .arg(bench.path("dev.jsonl"))
            .output()
            .unwrap();
        assert!(evaluated.status.success(), "{}", said(&evaluated));
        let report: Value = serde_json::from_slice(&evaluated.stdout).unwrap();
        assert_eq!(report["n"], 49);
        let (intents, sentiment) =
            (&report["intents"]["macro_f1"], &report["sentiment"]["macro_f1"]);
        assert!(intents.as_f64().unwrap() > 0.9, "{report}");
        assert!(sentiment.as_f64().unwrap() > 0.9, "{report}");
    }
    assert_eq!(bench.digest("a"), bench.digest("b"), "same seed, data and options");
    assert_ne!(bench.digest("a"), bench.digest("c"), "trained words change the model");
    // What was trained can be trained on: users fine-tune from here.
    let mut further = klankbord();
    further.arg("train").arg("--from").arg(bench.path("a"));
    further.arg("--data").arg(bench.path("train.jsonl")).arg("--out").arg(bench.path("d"));
    let done = further.args(["--epochs", "1"]).output().unwrap();
    assert!(done.status.success(), "{}", said(&done));
}

#[cfg(unix)]
#[test]
fn interrupted_and_resumed_is_as_if_never_interrupted() {
    let bench = Bench::new();
    let whole = bench.train("whole", &[]).output().unwrap();
    assert!(whole.status.success(), "{}", said(&whole));

    let mut child = bench.train("parts", &[]).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().contains("49 messages to train on"));
    // Well into the run, and before its end.
    assert!(lines.by_ref().any(|line| line.unwrap().contains("epoch 3:")));
    let kill = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(kill.success());
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    assert_eq!(child.wait().unwrap().code(), Some(2), "{rest:?}");
    assert!(rest.last().unwrap().contains("--resume goes on"), "{rest:?}");
    assert!(!bench.path("parts/manifest.json").exists());

    let other = bench.train("parts", &["--resume", "--seed", "2"]).output().unwrap();
    assert!(said(&other).contains("made with other data or options"), "{}", said(&other));
    let resumed = bench.train("parts", &["--resume"]).output().unwrap();
    assert!(resumed.status.success(), "{}", said(&resumed));
    assert_eq!(bench.digest("parts"), bench.digest("whole"));
    assert!(!bench.path("parts/checkpoint.safetensors").exists());
}

#[test]
fn what_cannot_be_trained_on_is_refused_with_the_reason() {
    let bench = Bench::new();
    let refused = |data: &str, options: &[&str]| {
        std::fs::write(bench.path("bad.jsonl"), data).unwrap();
        let mut command = bench.train("out", options);
        let done = command.arg("--data").arg(bench.path("bad.jsonl")).output().unwrap();
        assert_eq!(done.status.code(), Some(2));
        said(&done)
    };
    let unknown = refused("{\"text\":\"x\",\"intents\":[\"praise\"]}\n", &[]);
    assert!(unknown.contains("1 of 1 records") && unknown.contains("praise"), "{unknown}");
    assert!(refused("{\"text\":\"geheim\"}\n", &[]).contains("no labelled record"));
    assert!(refused("", &["--epochs", "0"]).contains("--epochs"));
    let none = bench.train("out", &["--from"]).arg(bench.path("nowhere")).output().unwrap();
    assert!(!none.status.success());
}
