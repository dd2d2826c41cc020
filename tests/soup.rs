//! Averages of models, thresholds fitted anew, and the card that `eval` writes, from the outside.

#[path = "support/tiny.rs"]
mod tiny;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use klankbord::model::bundle::Bundle;
use klankbord::model::weights::Weights;

fn klankbord(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_klankbord")).args(args).output().unwrap()
}

fn done(args: &[&str]) -> String {
    let output = klankbord(args);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{args:?}: {told}");
    String::from_utf8(output.stdout).unwrap()
}

/// A message for each label, and its contrary.
fn write_messages(path: &Path) {
    let mut lines = String::new();
    for at in 0..48 {
        let (text, intents, sentiment) = match at % 4 {
            0 => ("waar blijft de trein", "question", "neutral"),
            1 => ("pakket kapot slecht", "complaint", "negative"),
            2 => ("top dank fijn", "compliment", "positive"),
            _ => ("klopt niet onjuist", "factual_error", "neutral"),
        };
        lines.push_str(&format!(
            "{{\"text\":\"{text} {at}\",\"intents\":[\"{intents}\"],\"sentiment\":\"{sentiment}\"}}\n"
        ));
    }
    std::fs::write(path, lines).unwrap();
}

struct Models {
    folder: tempfile::TempDir,
}

impl Models {
    /// A base, and two models that were trained from it with other seeds.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        tiny::write_base(&folder.path().join("base"));
        let models = Models { folder };
        write_messages(&models.path("train.jsonl"));
        for seed in ["1", "2"] {
            let (base, data, out) =
                (models.name("base"), models.name("train.jsonl"), models.name(seed));
            done(&[
                "train", "--from", &base, "--data", &data, "--dev", &data, "--out", &out,
                "--epochs", "2", "--rate", "0.003", "--seed", seed,
            ]);
        }
        models
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn name(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    fn soup(&self, models: &[&str], out: &str) -> Output {
        let (dev, out) = (self.name("train.jsonl"), self.name(out));
        let names: Vec<String> = models.iter().map(|model| self.name(model)).collect();
        let mut args = vec!["soup"];
        args.extend(names.iter().map(String::as_str));
        args.extend(["--dev", &dev, "--out", &out]);
        klankbord(&args)
    }

    fn weights(&self, name: &str) -> Weights {
        Bundle::load(&self.path(name)).unwrap().weights
    }
}

#[test]
fn a_soup_is_the_mean_of_its_models() {
    let models = Models::new();
    for (parts, out) in [
        (&["1", "2"][..], "half"),
        (&["1", "1", "1", "2"][..], "quarter"),
        (&["2", "2"][..], "same"),
    ] {
        let made = models.soup(parts, out);
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }
    let [one, two, half, quarter, same] =
        ["1", "2", "half", "quarter", "same"].map(|name| models.weights(name));
    let mut differ = 0;
    for (name, (shape, a)) in &one.tensors {
        let of = |weights: &Weights| weights.get(name, shape).unwrap().to_vec();
        let all = a.iter().zip(of(&two)).zip(of(&half)).zip(of(&quarter)).zip(of(&same));
        for ((((a, b), half), quarter), same) in all {
            // Weights are written in f16.
            let near = |x: f32, y: f32| (x - y).abs() <= 1e-3 * y.abs().max(1e-2);
            assert!(near(half, (a + b) / 2.0), "{name}: {half} of {a} and {b}");
            assert!(near(quarter, a * 0.75 + b * 0.25), "{name}: {quarter} of {a} and {b}");
            assert_eq!(same, b, "{name}");
            differ += usize::from(*a != b);
        }
    }
    assert!(differ > 1000, "two seeds make two models");
    let (manifest, _) = Bundle::manifest(&models.path("quarter")).unwrap();
    assert_eq!(manifest.trained_on, ["train"]);
    assert_eq!(
        (manifest.recipe["1.seed"].as_str(), manifest.recipe["4.seed"].as_str()),
        ("1", "2")
    );
    assert!(manifest.calibration.prevalence.is_some_and(|p| p.intents == [0.25; 4]));
}

#[test]
fn what_cannot_be_averaged_is_named() {
    let models = Models::new();
    let (from, out, data) = (models.name("1"), models.name("int8"), models.name("train.jsonl"));
    done(&["quantize", "--from", &from, "--out", &out, "--messages", &data]);
    for (parts, what) in [(["1", "int8"], "holds int8 weights"), (["1", "base"], "no heads")] {
        let refused = models.soup(&parts, "none");
        let told = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(refused.status.code() == Some(2) && !models.path("none").exists(), "{told}");
        assert!(told.contains(what) || what == "no heads" && told.contains("base"), "{told}");
    }
}

/// The weights stay byte for byte, in f16 and in int8; what is read of them changes, and says where it comes from.
#[test]
fn tuning_changes_how_a_model_is_read_and_nothing_else() {
    let models = Models::new();
    let (one, int8, data) = (models.name("1"), models.name("int8"), models.name("train.jsonl"));
    done(&["quantize", "--from", &one, "--out", &int8, "--messages", &data]);
    // Other words for the columns, and every label another than the model has learnt.
    let csv = models.path("turned.csv");
    let mut rows = String::from("Bericht;Soort;Toon;lang\n");
    for at in 0..48 {
        rows += match at % 4 {
            0 => "waar blijft de trein;complaint;negative;nl\n",
            1 => "pakket kapot slecht;question;neutral;nl\n",
            2 => "top dank fijn;factual_error;neutral;nl\n",
            _ => "klopt niet onjuist;compliment;positive;nl\n",
        };
    }
    std::fs::write(&csv, rows).unwrap();
    let turned = csv.display().to_string();
    let columns =
        ["--column", "text=Bericht", "--column", "intents=Soort", "--column", "sentiment=Toon"];
    for from in ["1", "int8"] {
        let (model, out) = (models.name(from), models.name("tuned"));
        let args = ["tune", "--from", &model, "--out", &out, "--version", "7", "--by-language"];
        let tuned = klankbord(&[&args[..], &["--dev", &turned], &columns].concat());
        let told = String::from_utf8_lossy(&tuned.stderr).into_owned();
        assert!(tuned.status.success(), "{told}");
        assert!(told.contains("turned (48 messages): macro-F1 of intents"), "{told}");
        assert!(told.contains("probability from which it holds\n  question "), "{told}");
        let [(before, old), (after, new)] =
            [from, "tuned"].map(|name| Bundle::manifest(&models.path(name)).unwrap());
        assert_eq!(before.files, after.files);
        for name in before.files.keys() {
            let read = |model: &str| std::fs::read(models.path(model).join(name)).unwrap();
            assert!(read(from) == read("tuned"), "{name}");
        }
        assert_ne!(before.calibration, after.calibration);
        assert!(after.calibration.are_sound() && old.digest != new.digest && new.version == "7");
        assert_eq!(after.recipe["tune"], "turned, by language");
    }
    // In place, too; and what cannot be tuned is left as it is.
    let out = models.name("tuned");
    done(&["tune", "--from", &out, "--out", &out, "--dev", &data, "--version", "8"]);
    let (manifest, _) = Bundle::manifest(&models.path("tuned")).unwrap();
    assert!(manifest.version == "8" && manifest.recipe["tune"] == "train, by language");
    assert!(Bundle::load_classifier(&models.path("tuned")).is_ok());
    for (from, what) in [("base", "is a base encoder without labels"), ("none", "no model found")] {
        let (from, out) = (models.name(from), models.name("refused"));
        let refused =
            klankbord(&["tune", "--from", &from, "--out", &out, "--dev", &data, "--version", "1"]);
        let told = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(
            told.contains(what)
                && refused.status.code() == Some(2)
                && !models.path("refused").exists(),
            "{what}: {told}"
        );
    }
}

#[test]
fn the_card_has_the_digests_and_what_eval_prints() {
    let models = Models::new();
    let (card, data, model) =
        (models.path("CARD.md"), models.name("train.jsonl"), models.name("1"));
    std::fs::write(&card, "# A model\n").unwrap();
    let args = ["--model", &model, "--precision", "f32", "eval", &data, "--card"];
    let name = card.display().to_string();
    let printed = done(&[&args[..], &[&name]].concat());
    let first = std::fs::read_to_string(&card).unwrap();
    let (manifest, id) = Bundle::manifest(&models.path("1")).unwrap();
    assert!(first.starts_with("# A model\n") && first.contains(&id.digest));
    assert!(manifest.files.values().all(|file| first.contains(&file.sha256)));
    let shown = printed.strip_prefix(&data).unwrap();
    assert!(first.contains(&format!("$ klankbord eval train.jsonl\ntrain.jsonl{shown}")));
    assert!(
        !first.contains(&models.folder.path().display().to_string()),
        "no path of this machine"
    );
    done(&[&args[..], &[&name]].concat());
    assert_eq!(std::fs::read_to_string(&card).unwrap(), first, "the same is written in its place");
}
