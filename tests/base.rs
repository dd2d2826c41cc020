//! The base encoder's real file, imported and asked what it knows.
//!
//! The file is 72 MB and not in the repository: `KLANKBORD_BASE` names it (`models/README.md` says
//! how to get it; `.ci/run` does). Without it these tests say so and pass, unless
//! `KLANKBORD_REQUIRE_BASE=1`.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use klankbord::model::bundle::Bundle;
use klankbord::model::joined::Joined;
use klankbord::model::net::{Mode, Net};

fn base_file() -> Option<PathBuf> {
    let path = std::env::var_os("KLANKBORD_BASE").map(PathBuf::from).filter(|p| p.is_file());
    if path.is_none() {
        let required = std::env::var_os("KLANKBORD_REQUIRE_BASE").is_some_and(|v| v == "1");
        assert!(!required, "KLANKBORD_BASE names no file, and this run requires it");
        println!("skipped: KLANKBORD_BASE names no base encoder file");
    }
    path
}

fn import(file: &Path, keep: Option<&Path>, out: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_klankbord"));
    command.arg("import").arg(file).arg("--out").arg(out);
    if let Some(keep) = keep {
        command.arg("--keep").arg(keep);
    }
    command.output().unwrap()
}

/// Mean token vectors of the imported encoder, as sentence embeddings.
fn embeddings(texts: &[&str]) -> Option<Vec<Vec<f32>>> {
    let file = base_file()?;
    let dir = tempfile::tempdir().unwrap();
    let done = import(&file, None, dir.path());
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let bundle = Bundle::load(dir.path()).unwrap();
    let mut weights = bundle.weights;
    weights.add_heads(bundle.manifest.architecture.hidden, 1);
    let net = Net::new(bundle.manifest.architecture, &weights, Mode::Inference).unwrap();
    let tokens: Vec<_> = texts.iter().map(|text| bundle.tokeniser.encode(text).unwrap()).collect();
    let batch = Joined::new(&tokens);
    Some(net.embed(&batch).unwrap().to_vec2().unwrap())
}

fn cosine(a: &[f32], b: &[f32]) -> f32 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

#[test]
fn translations_lie_near_and_strangers_apart() {
    let texts = [
        "query: Waar blijft mijn pakketje? Ik wacht al drie dagen.",
        "query: Where is my parcel? I have been waiting for three days.",
        "query: De trein heeft alweer twintig minuten vertraging.",
        "query: The train is twenty minutes late again.",
        "query: Heel erg bedankt voor de snelle hulp!",
        "query: Thank you very much for the quick help!",
    ];
    let Some(vectors) = embeddings(&texts) else { return };
    for pair in 0..3 {
        let near = cosine(&vectors[2 * pair], &vectors[2 * pair + 1]);
        println!("translations: {near:.3}");
        assert!(near > 0.85, "{}: {near}", texts[2 * pair]);
        for other in (0..6).filter(|other| other / 2 != pair) {
            let apart = cosine(&vectors[2 * pair], &vectors[other]);
            println!("strangers: {apart:.3}");
            assert!(apart < near - 0.03, "{} / {}: {apart}", texts[2 * pair], texts[other]);
        }
    }
}

#[test]
fn broken_files_are_refused_with_what_and_where() {
    let Some(file) = base_file() else { return };
    let whole = std::fs::read(file).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let refused = |data: &[u8], keep: Option<&str>| {
        let path = dir.path().join("base.bin");
        std::fs::write(&path, data).unwrap();
        let keep = keep.map(|text| {
            let path = dir.path().join("keep.txt");
            std::fs::write(&path, text).unwrap();
            path
        });
        let done = import(&path, keep.as_deref(), &dir.path().join("out"));
        assert_eq!(done.status.code(), Some(2));
        assert!(!dir.path().join("out/manifest.json").exists());
        String::from_utf8(done.stderr).unwrap()
    };
    for (length, what) in [
        (3, "not an E5S1 file"),
        (30, "cut short"),
        (5_000_000, "cut short"),
        (70_000_000, "cut short: tensor"),
    ] {
        let said = refused(&whole[..length], None);
        assert!(said.contains(what) && said.contains("base.bin"), "{length}: {said}");
    }
    let mut changed = whole.clone();
    changed[8..12].copy_from_slice(&(-5i32).to_le_bytes());
    assert!(refused(&changed, None).contains("hidden size at byte 8: is -5"));
    changed = whole.clone();
    changed[4] = 9;
    assert!(refused(&changed, None).contains("version 9"));
    assert!(refused(&whole, Some("4\n5\nzes\n")).contains("line 3: is not a number"));
    assert!(refused(&whole, Some("4\n4\n")).contains("line 2: stands there twice"));
    assert!(refused(&whole, Some("900000\n")).contains("line 1: is beyond the vocabulary"));
}

#[test]
fn keeping_the_pieces_of_the_shipped_model_gives_its_tokenizer() {
    let Some(file) = base_file() else { return };
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/nl-en/tokenizer.json");
    let dir = tempfile::tempdir().unwrap();
    let done = import(&file, Some(&shipped), dir.path());
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let (ours, theirs) = (dir.path().join("tokenizer.json"), std::fs::read(&shipped).unwrap());
    assert!(std::fs::read(ours).unwrap() == theirs, "byte for byte");

    // By ids: the marks come first, then what the list names, in its order.
    let list = dir.path().join("ids.txt");
    std::fs::write(&list, "6\n\n4\n3\n").unwrap();
    let done = import(&file, Some(&list), dir.path());
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let json: serde_json::Value =
        serde_json::from_slice(&std::fs::read(dir.path().join("tokenizer.json")).unwrap()).unwrap();
    let pieces = json["model"]["vocab"].as_array().unwrap();
    let names: Vec<&str> = pieces.iter().map(|piece| piece[0].as_str().unwrap()).collect();
    assert_eq!(names[4..], ["▁", ","]);
    assert_eq!(Bundle::load(dir.path()).unwrap().manifest.architecture.vocabulary, 6);
}
