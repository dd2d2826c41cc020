//! The int8 encoder against its oracle, the f32 network, on held-out messages.
//!
//! `tests/data/dev_written.jsonl` was written for this project and is never trained on.

use std::path::Path;
use std::sync::OnceLock;

use klankbord::message::Intent;
use klankbord::model::bundle::Bundle;
use klankbord::model::encoder::Encoder;
use klankbord::model::engine::Engine;
use klankbord::model::labels::{LOGITS, Logits};
use klankbord::model::net::{Mode, Net};
use klankbord::tokenise::Tokens;
use klankbord::train::corpus::{Example, load};
use klankbord::train::fit::{evaluate, predict};
use proptest::prelude::*;

struct Both {
    bundle: Bundle,
    examples: Vec<Example>,
    oracle: Vec<Logits>,
    encoder: Encoder,
}

fn both() -> &'static Both {
    static BOTH: OnceLock<Both> = OnceLock::new();
    BOTH.get_or_init(|| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let bundle = Bundle::load_classifier(&root.join("models/nl-en")).unwrap();
        let file = root.join("tests/data/dev_written.jsonl");
        let examples = load(&file, &bundle.tokeniser, 512, 1.0).unwrap();
        let (architecture, weights) = (bundle.manifest.architecture, &bundle.weights);
        let net = Net::new(architecture, weights, Mode::Inference).unwrap();
        let oracle = predict(&net, &examples).unwrap();
        let encoder = Encoder::new(architecture, weights).unwrap();
        Both { bundle, examples, oracle, encoder }
    })
}

#[test]
fn labels_probabilities_and_scores_are_those_of_the_oracle() {
    let Both { bundle, examples, oracle, encoder } = both();
    let tokens: Vec<&Tokens> = examples.iter().map(|e| &e.tokens).collect();
    let ours: Vec<Logits> =
        tokens.chunks(16).flat_map(|batch| encoder.logits(batch).unwrap()).collect();
    let calibration = &bundle.manifest.calibration;
    println!("kernels: {:?}", encoder.kernels());
    let (mut gaps, mut flips) = ([0f64; LOGITS], 0);
    for (a, b) in ours.iter().zip(oracle) {
        let labels = calibration.intents.iter().zip([0, 1, 2, 3]);
        for (label, index) in labels.chain([(&calibration.urgent, 7)]) {
            let (a, b) = (label.judge(a[index]), label.judge(b[index]));
            gaps[index] += f64::from((a.probability - b.probability).abs());
            let near = (b.probability - label.threshold).abs() < 0.02;
            flips += usize::from(a.holds != b.holds && !near);
        }
        let (a, b) = (calibration.sentiment(a), calibration.sentiment(b));
        for class in 0..3 {
            gaps[4 + class] += f64::from((a[class] - b[class]).abs());
        }
    }
    let gaps = gaps.map(|gap| gap / examples.len() as f64);
    println!("mean absolute difference of probability by logit: {gaps:.4?}; flips: {flips}");
    assert!(gaps.iter().all(|gap| *gap < 0.01), "{gaps:?}");
    let judged = |logits: &[Logits]| evaluate(calibration, examples, logits).report();
    let (a, b) = (judged(&ours), judged(oracle));
    println!("macro-F1 {:.4} against {:.4}", a.intents.macro_f1, b.intents.macro_f1);
    assert!(a.intents.macro_f1 > b.intents.macro_f1 - 0.005);
    for intent in Intent::ALL {
        let (a, b) = (a.intents.of(intent).f1, b.intents.of(intent).f1);
        assert!((a - b).abs() < 0.01, "{}: {a} against {b}", intent.name());
    }
    assert!(flips * 200 <= examples.len(), "{flips} labels differ away from their threshold");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Random ids of lengths at and around the tiles of the kernels, in random company.
    #[test]
    fn bit_identical_in_any_company(
        lengths in prop::collection::vec(
            prop::sample::select(vec![2usize, 3, 7, 8, 13, 14, 15, 31, 32, 33, 63, 64, 65, 200]),
            1..7,
        ),
        seed in any::<u32>(),
    ) {
        let encoder = &both().encoder;
        let mut state = seed | 1;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            4 + (state >> 8) % 60_000
        };
        let messages: Vec<Tokens> = lengths
            .iter()
            .map(|&n| Tokens { ids: (0..n).map(|_| next()).collect(), truncated: false })
            .collect();
        let alone: Vec<Logits> =
            messages.iter().map(|m| encoder.logits(&[m]).unwrap()[0]).collect();
        let mut order: Vec<usize> = (0..messages.len()).collect();
        order.rotate_left(seed as usize % messages.len());
        let batch: Vec<&Tokens> = order.iter().map(|&i| &messages[i]).collect();
        let single = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        for together in [encoder.logits(&batch).unwrap(), single.install(|| encoder.logits(&batch).unwrap())] {
            for (&i, found) in order.iter().zip(&together) {
                prop_assert_eq!(found, &alone[i]);
            }
        }
    }
}

#[test]
fn the_longest_message_is_read_and_ids_out_of_range_are_refused() {
    let encoder = &both().encoder;
    let tokens = |ids: Vec<u32>| Tokens { ids, truncated: false };
    let longest = encoder.logits(&[&tokens(vec![5; 512])]).unwrap();
    assert!(longest[0].iter().all(|z| z.is_finite()));
    assert!(encoder.logits(&[&tokens(vec![5; 513])]).is_err());
    assert!(encoder.logits(&[&tokens(vec![5, 69_412])]).is_err());
    assert!(encoder.logits(&[&tokens(vec![5, 6])]).is_ok(), "it goes on after an error");
    assert!(encoder.logits(&[]).unwrap().is_empty());
}
