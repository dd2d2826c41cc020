//! A two-layer base encoder with a handful of words, made on the spot.

use std::collections::BTreeMap;
use std::path::Path;

use klankbord::model::base::{Architecture, Vocabulary};
use klankbord::model::bundle::{Bundle, Manifest};
use klankbord::model::labels::Calibration;
use klankbord::model::vocabulary::tokenizer_json;
use klankbord::model::weights::{Weights, Words};

const WORDS: [&str; 16] = [
    "waar", "wanneer", "hoe", "blijft", "stuk", "kapot", "slecht", "top", "dank", "fijn", "klopt",
    "niet", "onjuist", "de", "trein", "pakket",
];

/// Writes a base encoder without heads to `dir`.
pub fn write_base(dir: &Path) {
    let mut pieces: Vec<(String, f32)> =
        ["<s>", "<pad>", "</s>", "<unk>"].map(|mark| (mark.to_owned(), 0.0)).into();
    pieces.push(("▁".into(), -4.0));
    pieces.extend(WORDS.iter().map(|word| (format!("▁{word}"), -5.0)));
    pieces.extend("abcdefghijklmnopqrstuvwxyz".chars().map(|c| (c.to_string(), -9.0)));
    let normalisation = BTreeMap::from([('\u{1}', String::new()), ('\u{200b}', " ".into())]);
    let vocabulary = Vocabulary { pieces, normalisation };
    let ids: Vec<usize> = (0..vocabulary.pieces.len()).collect();
    let tokenizer = tokenizer_json(&vocabulary, &ids).unwrap().to_string();

    let architecture = Architecture {
        hidden: 64,
        layers: 2,
        heads: 4,
        ffn: 128,
        vocabulary: ids.len(),
        positions: 64,
        token_types: 2,
        epsilon: 1e-12,
    };
    let mut noise = Noise(7);
    let (c, f) = (architecture.hidden, architecture.ffn);
    let mut tensors = BTreeMap::new();
    let mut add = |name: String, shape: Vec<usize>, noise: &mut Noise| {
        let count = shape.iter().product();
        let values = match name.as_str() {
            n if n.ends_with("LayerNorm.weight") => vec![1.0; count],
            n if n.ends_with("bias") => vec![0.0; count],
            _ => noise.take(count),
        };
        tensors.insert(name, (shape, values));
    };
    add("embeddings.position_embeddings.weight".into(), vec![64, c], &mut noise);
    add("embeddings.token_type_embeddings.weight".into(), vec![2, c], &mut noise);
    let mut affine = |name: String, o: usize, i: usize, noise: &mut Noise| {
        let shape = if i == 0 { vec![o] } else { vec![o, i] };
        add(format!("{name}.weight"), shape, noise);
        add(format!("{name}.bias"), vec![o], noise);
    };
    affine("embeddings.LayerNorm".into(), c, 0, &mut noise);
    for layer in 0..architecture.layers {
        for (name, o, i) in [
            ("attention.self.query", c, c),
            ("attention.self.key", c, c),
            ("attention.self.value", c, c),
            ("attention.output.dense", c, c),
            ("attention.output.LayerNorm", c, 0),
            ("intermediate.dense", f, c),
            ("output.dense", c, f),
            ("output.LayerNorm", c, 0),
        ] {
            affine(format!("encoder.layer.{layer}.{name}"), o, i, &mut noise);
        }
    }
    let words = Words::Full(noise.take(ids.len() * c));
    let manifest = Manifest {
        format: 0,
        name: "tiny".into(),
        version: "base".into(),
        architecture,
        languages: Vec::new(),
        logits: Vec::new(),
        calibration: Calibration::default(),
        trained_on: Vec::new(),
        reads_context: false,
        recipe: BTreeMap::new(),
        files: BTreeMap::new(),
    };
    let weights = Weights { words, ints: BTreeMap::new(), tensors };
    Bundle::write(dir, manifest, &weights, tokenizer.as_bytes(), false).unwrap();
}

/// Small numbers, the same each time (xorshift).
struct Noise(u64);

impl Noise {
    fn take(&mut self, count: usize) -> Vec<f32> {
        let mut next = || {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            (self.0 >> 40) as f32 / (1u64 << 24) as f32 - 0.5
        };
        (0..count).map(|_| next() * 0.3).collect()
    }
}
