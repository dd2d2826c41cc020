//! Training from the outside, with a network small enough to learn in seconds.

#[path = "support/tiny.rs"]
mod tiny;

use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use klankbord::batch::plan::Limits;
use klankbord::model::bundle::Bundle;
use klankbord::model::joined::Joined;
use klankbord::model::net::{Mode, Net, Precision};
use klankbord::model::ops::Dropout;
use klankbord::train::corpus::load;
use klankbord::train::fit::{Data, Event, FitSettings, Outcome, fit};
use klankbord::train::loss::JointLoss;
use klankbord::train::optimiser::AdamSettings;
use klankbord::train::step::{Noise, Reading, gradients};
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

    fn train(&self, out: &str, epochs: &str) -> Command {
        let mut command = klankbord();
        command.arg("train").arg("--from").arg(self.path("base"));
        command.arg("--data").arg(self.path("train.jsonl"));
        command.arg("--dev").arg(self.path("dev.jsonl"));
        command.arg("--out").arg(self.path(out)).args(["--epochs", epochs, "--rate", "0.003"]);
        command.args(["--batch-tokens", "64", "--patience", "100000"]);
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
        let done = bench.train(out, "12").args(options).output().unwrap();
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
    assert!(!bench.path("a/checkpoint.safetensors").exists(), "nothing is left lying about");
    assert!(!bench.path("a/best.safetensors").exists(), "nothing is left lying about");
    // What was trained can be trained on: users fine-tune from here.
    let mut further = klankbord();
    further.arg("train").arg("--from").arg(bench.path("a"));
    further.arg("--data").arg(bench.path("train.jsonl")).arg("--out").arg(bench.path("d"));
    let done = further.args(["--epochs", "1"]).output().unwrap();
    assert!(done.status.success(), "{}", said(&done));
}

/// From a trained model on, with a spreadsheet of one's own: columns by other names, a share held out,
/// the corpus beside the model mixed in, and what it brought is said.
#[test]
fn a_model_of_ones_own_is_measured_before_and_after() {
    let bench = Bench::new();
    assert!(bench.train("a", "8").output().unwrap().status.success());
    std::fs::create_dir(bench.path("corpus")).unwrap();
    std::fs::copy(bench.path("train.jsonl"), bench.path("corpus/general.jsonl")).unwrap();
    let mut rows = String::from("Bericht;Soort;Gevoel;text\n");
    for index in 0..40 {
        let (text, kind, mood) = match index % 2 {
            0 => ("waar blijft trein", "question", "neutral"),
            _ => ("trein kapot", "complaint", "negative"),
        };
        rows.push_str(&format!("{text} {index};{kind};{mood};an internal note\n"));
    }
    std::fs::write(bench.path("mine.csv"), &rows).unwrap();
    let tune = |file: &str| {
        let mut command = klankbord();
        command.arg("train").arg("--from").arg(bench.path("a")).arg("--data").arg(bench.path(file));
        command.args(["--column", "text=Bericht", "--column", "intents=Soort"]);
        command.args(["--column", "sentiment=gevoel", "--out"]).arg(bench.path("mine"));
        command.output().unwrap()
    };
    let done = tune("mine.csv");
    assert!(done.status.success(), "{}", said(&done));
    let told = said(&done);
    assert!(told.contains("held out (8 messages)"), "{told}");
    assert!(told.contains("mixed in, held out (") && told.contains(" -> "), "{told}");
    let manifest = std::fs::read(bench.path("mine/manifest.json")).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    assert_eq!(manifest["trained_on"], json!(["mine", "general"]));

    // A row that cannot be read is named by its line, and nothing is trained on the rest.
    std::fs::write(bench.path("bad.csv"), format!("{rows}te weinig;question\n")).unwrap();
    let refused = tune("bad.csv");
    assert!(!refused.status.success() && said(&refused).contains("line 42"), "{}", said(&refused));
    std::fs::write(bench.path("other.csv"), "tekst;Soort\na;question\n").unwrap();
    let refused = tune("other.csv");
    assert!(said(&refused).contains("no column `bericht`"), "{}", said(&refused));
}

/// Trains in this process; told to stop after `stop_after` epochs, or not at all.
fn fit_here(
    bench: &Bench,
    out: &str,
    seed: u64,
    resume: bool,
    stop_after: usize,
) -> Result<Outcome, String> {
    let bundle = Bundle::load(&bench.path("base")).unwrap();
    let mut weights = bundle.weights;
    weights.add_heads(bundle.manifest.architecture.hidden, 1);
    let tokeniser = Arc::new(bundle.tokeniser);
    let read = |file: &str| load(&bench.path(file), &tokeniser, 64, 1.0, &[]).unwrap();
    let data = Data {
        main: read("train.jsonl"),
        auxiliary: Vec::new(),
        dev: vec![("dev".into(), read("dev.jsonl"))],
        tokeniser: Arc::clone(&tokeniser),
    };
    let adam = AdamSettings {
        rate: 3e-3,
        head_factor: 10.0,
        weight_decay: 0.01,
        clip: 1.0,
        layer_decay: 0.95,
        average: 0.9,
    };
    let settings = FitSettings {
        epochs: 6,
        batch: Limits { tokens: 64, messages: 32 },
        warm_up: 0.1,
        dropout: 0.1,
        smoothing: 0.0,
        seed,
        patience: 99,
        adam,
        words: false,
        auxiliary_take: 0,
        varied: 0.5,
        agree: 0.5,
        precision: Precision::F32,
    };
    let dir = bench.path(out);
    std::fs::create_dir_all(&dir).unwrap();
    let (stop, mut steps) = (AtomicBool::new(false), 0);
    let tell = |event: Event| {
        // In the middle of an epoch, where there is most to get wrong.
        if matches!(event, Event::Step { .. }) {
            steps += 1;
            stop.store(steps == stop_after * 7 + 3, Ordering::Relaxed);
        }
    };
    let stop = &stop;
    let architecture = bundle.manifest.architecture;
    let from = (&weights, bundle.id.digest.as_str());
    fit(architecture, from, &data, &settings, &dir, resume, stop, tell).map_err(|e| e.to_string())
}

#[test]
fn interrupted_and_resumed_is_as_if_never_interrupted() {
    const NEVER: usize = 1_000;
    let bench = Bench::new();
    let Outcome::Finished(whole) = fit_here(&bench, "whole", 1, false, NEVER).unwrap() else {
        panic!("nothing interrupted it")
    };
    assert!(matches!(fit_here(&bench, "parts", 1, false, 2).unwrap(), Outcome::Interrupted));
    let other = fit_here(&bench, "parts", 2, true, NEVER).err().unwrap();
    assert!(other.contains("made with other data or options"), "{other}");
    let Outcome::Finished(parts) = fit_here(&bench, "parts", 1, true, NEVER).unwrap() else {
        panic!("nothing interrupted it")
    };
    assert!(parts.tensors == whole.tensors, "bit for bit");
}

#[cfg(unix)]
#[test]
fn ctrl_c_saves_the_state_and_says_how_to_go_on() {
    let bench = Bench::new();
    let mut train = bench.train("out", "100000");
    let mut child = train.stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(lines.by_ref().any(|line| line.unwrap().contains("epoch 1:")));
    let kill = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(kill.success());
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    assert_eq!(child.wait().unwrap().code(), Some(2), "{rest:?}");
    assert!(rest.last().unwrap().contains("--resume goes on"), "{rest:?}");
    assert!(!bench.path("out/manifest.json").exists());
    assert!(bench.path("out/checkpoint.safetensors").exists());
}

#[test]
fn what_cannot_be_trained_on_is_refused_with_the_reason() {
    let bench = Bench::new();
    let refused = |from: &str, data: &str, options: &[&str]| {
        std::fs::write(bench.path("bad.jsonl"), data).unwrap();
        let mut command = klankbord();
        command.arg("train").arg("--from").arg(bench.path(from)).args(options);
        command.arg("--data").arg(bench.path("bad.jsonl")).arg("--out").arg(bench.path("out"));
        let done = command.output().unwrap();
        assert_eq!(done.status.code(), Some(2));
        said(&done)
    };
    let unknown = refused("base", "{\"text\":\"x\",\"intents\":[\"praise\"]}\n", &[]);
    assert!(unknown.contains("1 of 1 records") && unknown.contains("praise"), "{unknown}");
    assert!(refused("base", "{\"text\":\"geheim\"}\n", &[]).contains("no labelled record"));
    let epochs = refused("base", "", &["--epochs", "0"]);
    assert!(epochs.contains("--epochs: must be at least 1"), "{epochs}");
    let clip = refused("base", "", &["--clip=-1"]);
    assert!(clip.contains("--clip: must be above 0"), "{clip}");
    let agree = refused("base", "", &["--agree", "1"]);
    assert!(agree.contains("--agree: needs --varied"), "{agree}");
    let agree = refused("base", "", &["--agree=-1", "--varied", "0.5"]);
    assert!(agree.contains("--agree: must not be negative"), "{agree}");
    assert!(refused("nowhere", "", &[]).contains("no model found"));
}

/// The parts that a batch is walked in add up to the batch.
#[test]
fn a_batch_in_parts_gives_the_gradients_of_the_whole() {
    let bench = Bench::new();
    let bundle = Bundle::load(&bench.path("base")).unwrap();
    let mut weights = bundle.weights;
    weights.add_heads(bundle.manifest.architecture.hidden, 1);
    let examples = load(&bench.path("train.jsonl"), &bundle.tokeniser, 64, 1.0, &[]).unwrap();
    let mode = Mode::Training { words: true, precision: Precision::F32 };
    let net = Net::new(bundle.manifest.architecture, &weights, mode).unwrap();
    let noise = Noise { dropout: 0.0, smoothing: 0.1, agree: 0.5, seed: 3, step: 5 };
    for count in [1, 2, 7] {
        // Every third is read another way as well: as the message that follows it.
        let readings = examples[..count].iter().enumerate().map(|(at, example)| Reading {
            tokens: &example.tokens,
            again: (at % 3 == 0).then(|| &examples[at + 1].tokens),
            target: example.target,
        });
        let readings: Vec<_> = readings.collect();
        let (loss, gradients) = gradients(&net, &readings, &noise).unwrap();
        let (mut tokens, mut targets, mut twins) = (Vec::new(), Vec::new(), Vec::new());
        for Reading { tokens: first, again, mut target } in readings {
            tokens.push(first);
            if let Some(again) = again {
                twins.push(tokens.len());
                tokens.push(again);
                target.weight /= 2.0;
                targets.push(target);
            }
            targets.push(target);
        }
        let whole = JointLoss { targets, twins, agree: 0.5, of: count, smoothing: 0.1 };
        let no_dropout = Dropout::new(0.0, 0);
        let (expected, whole) = net
            .gradients(&net.lay_out().unwrap(), &Joined::new(tokens), &no_dropout, whole)
            .unwrap();
        assert!((loss - expected).abs() < 1e-5, "{count}: {loss} vs {expected}");
        for (at, (ours, theirs)) in gradients.iter().zip(&whole).enumerate() {
            let values = |t: &Option<candle_core::Tensor>| {
                t.as_ref().map(|t| t.flatten_all().unwrap().to_vec1::<f32>().unwrap())
            };
            let (ours, theirs) = (values(ours).unwrap(), values(theirs).unwrap());
            let gap = ours.iter().zip(&theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(gap < 1e-5, "{count} messages, parameter {at}: {gap}");
            assert!(theirs.iter().any(|value| *value != 0.0), "parameter {at} gets none");
        }
    }
}

/// Labels by id stand in for those that the texts' own file has.
#[test]
fn labels_of_another_file_are_trained_on() {
    let bench = Bench::new();
    // Every label of the file is wrong; the labels by id are right.
    let right = std::fs::read_to_string(bench.path("train.jsonl")).unwrap();
    let (mut wrong, mut labels) = (String::new(), String::new());
    for line in right.lines().take(48) {
        let mut record: Value = serde_json::from_str(line).unwrap();
        let text = record["text"].clone();
        record["text"] = json!("-");
        labels.push_str(&format!("{record}\n"));
        let id = &record["id"];
        wrong.push_str(&format!(
            "{}\n",
            json!({"id": id, "text": text, "intents_some": ["question"]})
        ));
    }
    wrong.push_str("{\"id\":\"more\",\"text\":\"waar blijft\",\"intents\":[\"question\"]}\n");
    std::fs::write(bench.path("other.jsonl"), &wrong).unwrap();
    std::fs::write(bench.path("labels.jsonl"), &labels).unwrap();
    std::fs::write(bench.path("one.jsonl"), right.lines().next().unwrap()).unwrap();
    let train = |labels: &str| {
        let mut command = klankbord();
        command.arg("train").arg("--from").arg(bench.path("base"));
        command
            .arg("--data")
            .arg(bench.path("one.jsonl"))
            .arg("--dev")
            .arg(bench.path("dev.jsonl"));
        command.arg("--auxiliary").arg(bench.path("other.jsonl"));
        command.arg("--labels").arg(bench.path(labels)).arg("--out").arg(bench.path("out"));
        command.args(["--epochs", "12", "--rate", "0.003", "--batch-tokens", "64"]);
        command.args(["--patience", "100"]).output().unwrap()
    };
    let done = train("labels.jsonl");
    assert!(done.status.success(), "{}", said(&done));
    assert!(said(&done).contains("49 messages to train on, 1 auxiliary"), "{}", said(&done));
    let mut eval = klankbord();
    eval.args(["eval", "--json", "--model"]).arg(bench.path("out")).arg(bench.path("dev.jsonl"));
    let report: Value = serde_json::from_slice(&eval.output().unwrap().stdout).unwrap();
    assert!(report["intents"]["macro_f1"].as_f64().unwrap() > 0.9, "{report}");
    for (file, text, reason) in [
        (
            "a.jsonl",
            labels.replace("\"id\":\"3\"", "\"id\":\"x\""),
            "1 of the ids are in no --auxiliary file",
        ),
        ("b.jsonl", labels.replace("\"id\":\"3\"", "\"id\":\"2\""), "line 4: id: was there before"),
        ("c.jsonl", "{\"text\":\"-\",\"intents\":[]}".to_owned(), "line 1: id: is missing"),
        (
            "d.jsonl",
            "{\"id\":\"1\",\"text\":\"-\"}".to_owned(),
            "line 1: intents: no label is told",
        ),
    ] {
        std::fs::write(bench.path(file), text).unwrap();
        let refused = train(file);
        assert_eq!(refused.status.code(), Some(2), "{file}");
        assert!(said(&refused).contains(reason), "{file}: {}", said(&refused));
    }
}
