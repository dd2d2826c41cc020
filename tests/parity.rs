//! The int8 encoder against its oracle, the f32 network, on held-out messages.
//!
//! `tests/data/dev_written.jsonl` was written for this project and is never trained on.

use std::path::Path;
use std::sync::OnceLock;

use klankbord::message::Intent;
use klankbord::model::bundle::Bundle;
use klankbord::model::encoder::Encoder;
use klankbord::model::engine::Engine;
use klankbord::model::joined::Joined;
use klankbord::model::kernel::Kernel;
use klankbord::model::labels::{LOGITS, Logits};
use klankbord::model::net::{Mode, Net};
use klankbord::tokenise::Tokens;
use klankbord::train::corpus::{Example, load};
use klankbord::train::fit::{evaluate, predict};
use proptest::prelude::*;

struct Both {
    bundle: Bundle,
    examples: Vec<Example>,
    net: Net,
    oracle: Vec<Logits>,
    encoder: Encoder,
}

fn bundle(name: &str) -> Bundle {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    Bundle::load_classifier(&root.join("models").join(name)).unwrap()
}

/// The model that ships, and as its oracle the network that it was made of.
fn both() -> &'static Both {
    static BOTH: OnceLock<Both> = OnceLock::new();
    BOTH.get_or_init(|| {
        let (bundle, source) = (bundle("nl-en"), bundle("nl-en-f16"));
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/dev_written.jsonl");
        let examples = load(&file, &bundle.tokeniser, 512, 1.0, &[]).unwrap();
        let architecture = bundle.manifest.architecture;
        let net = Net::new(architecture, &source.weights, Mode::Inference).unwrap();
        let oracle = predict(&net, &examples).unwrap();
        let encoder = Encoder::new(architecture, &bundle.weights).unwrap();
        Both { bundle, examples, net, oracle, encoder }
    })
}

#[test]
fn labels_probabilities_and_scores_are_those_of_the_oracle() {
    let Both { bundle, examples, oracle, encoder, .. } = both();
    let ours = predict(encoder, examples).unwrap();
    let calibration = &bundle.manifest.calibration;
    println!("kernel: {}", encoder.kernel().name());
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
    assert_eq!(flips, 0, "labels differ away from their threshold");
    let judged = |logits: &[Logits]| evaluate(calibration, examples, logits).report();
    let (a, b) = (judged(&ours), judged(oracle));
    println!("macro-F1 {:.4} against {:.4}", a.intents.macro_f1, b.intents.macro_f1);
    assert!(a.intents.macro_f1 > b.intents.macro_f1 - 0.005);
    let (a_sentiment, b_sentiment) = (a.sentiment.unwrap(), b.sentiment.unwrap());
    println!("sentiment {:.4} against {:.4}", a_sentiment.macro_f1, b_sentiment.macro_f1);
    assert!(a_sentiment.macro_f1 > b_sentiment.macro_f1 - 0.005);
    for intent in Intent::ALL {
        let (a, b) = (a.intents.of(intent).f1, b.intents.of(intent).f1);
        assert!((a - b).abs() < 0.01, "{}: {a} against {b}", intent.name());
    }
}

/// Where the int8 network leaves the oracle, layer by layer: at no layer far, and nowhere suddenly.
#[test]
fn hidden_states_follow_the_oracle_layer_by_layer() {
    let Both { examples, net, encoder, .. } = both();
    let tokens: Vec<&Tokens> = examples.iter().take(24).map(|e| &e.tokens).collect();
    let ours = encoder.hidden_states(&tokens).unwrap();
    let batch = Joined::new(tokens.iter().copied());
    let oracle = net.hidden_states(&batch).unwrap();
    assert_eq!((ours.len(), oracle.len()), (13, 13));
    let square = |values: &[f32]| values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>();
    let mut before = 0.0;
    for (layer, (ours, oracle)) in ours.iter().zip(&oracle).enumerate() {
        assert_eq!(ours.len(), oracle.len());
        let gap: Vec<f32> = ours.iter().zip(oracle).map(|(a, b)| a - b).collect();
        let error = (square(&gap) / square(oracle)).sqrt();
        println!("after layer {layer}: relative error {error:.5}");
        // Embeddings are not quantised anew; each layer adds its share.
        assert!(if layer == 0 { error < 1e-4 } else { error < 0.08 }, "layer {layer}: {error}");
        assert!(error < before + 0.02, "layer {layer}: {error} after {before}");
        before = error;
    }
}

/// A post that a message replies to is read as a second segment, whose tokens change the verdict by what
/// the message takes from them only.
#[test]
fn a_context_is_read_as_the_oracle_reads_it() {
    let Both { examples, net, encoder, .. } = both();
    let (mut gap, mut moved) = (0f32, 0f32);
    for pair in examples.iter().take(60).map(|e| &e.tokens).collect::<Vec<_>>().chunks_exact(2) {
        let (alone, context) = (pair[0].clone().cut(200), pair[1].clone().cut(200));
        let reply = alone.clone().with_context(&context, 512);
        assert!(reply.has_context() && reply.own == alone.ids.len());
        let read = |tokens: &Tokens| encoder.logits(&[tokens]).unwrap()[0];
        let (found, before) = (read(&reply), read(&alone));
        let oracle = net.logits(&[&reply]).unwrap()[0];
        let mean = |a: &[f32], b: &[f32]| {
            a.iter().zip(b).map(|(a, b)| (a - b).abs()).sum::<f32>() / a.len() as f32
        };
        gap += mean(&found, &oracle) / 30.0;
        moved += mean(&found, &before) / 30.0;
    }
    println!("mean logit difference to the oracle {gap:.4}; a context moves a logit by {moved:.3}");
    assert!(gap < 0.1 && moved > 2.0 * gap, "{gap}, {moved}");
}

/// Ids that no tokenizer would give, the same for the same seed. Of some the end is a context.
fn messages(lengths: &[usize], seed: u32) -> Vec<Tokens> {
    let mut state = seed | 1;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        4 + (state >> 8) % 60_000
    };
    let one = |&n: &usize| {
        let ids: Vec<u32> = (0..n).map(|_| next()).collect();
        Tokens { own: n - n % 4 * n / 8, ids, truncated: false }
    };
    lengths.iter().map(one).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Lengths at and around the tiles and chunks of the kernels, in random company and order, on
    /// one thread and on another one with a pool of two.
    #[test]
    fn bit_identical_in_any_company(
        lengths in prop::collection::vec(
            prop::sample::select(
                vec![1usize, 2, 3, 7, 8, 13, 14, 15, 16, 17, 31, 32, 33, 63, 64, 65, 200],
            ),
            1..7,
        ),
        seed in any::<u32>(),
    ) {
        let encoder = &both().encoder;
        let messages = messages(&lengths, seed);
        let alone: Vec<Logits> =
            messages.iter().map(|m| encoder.logits(&[m]).unwrap()[0]).collect();
        let mut order: Vec<usize> = (0..messages.len()).collect();
        order.rotate_left(seed as usize % messages.len());
        let batch: Vec<&Tokens> = order.iter().map(|&i| &messages[i]).collect();
        let two = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
        for together in
            [encoder.logits(&batch).unwrap(), two.install(|| encoder.logits(&batch).unwrap())]
        {
            for (&i, found) in order.iter().zip(&together) {
                prop_assert_eq!(found, &alone[i]);
            }
        }
    }
}

/// Sums are exact and the rest is rounded alike, so kernels do not differ in a single bit; but where
/// the vector unit must be spared its overflow, its weights are coarser.
#[test]
fn every_kernel_of_this_cpu_gives_the_same_bits() {
    let Both { bundle, encoder, .. } = both();
    let messages = messages(&[1, 2, 15, 16, 17, 33, 64, 65, 130], 5);
    let batch: Vec<&Tokens> = messages.iter().collect();
    let architecture = bundle.manifest.architecture;
    let of = |kernel| {
        let encoder = Encoder::with_kernel(architecture, &bundle.weights, kernel).unwrap();
        assert_eq!(encoder.kernel(), kernel);
        encoder.logits(&batch).unwrap()
    };
    let portable = of(Kernel::Portable);
    for kernel in Kernel::available() {
        let found = of(kernel);
        let gaps =
            found.iter().flatten().zip(portable.iter().flatten()).map(|(a, b)| (a - b).abs());
        let gap = gaps.fold(0f32, f32::max);
        println!("ran {}: largest difference of a logit from portable {gap:e}", kernel.name());
        if kernel.is_exact() {
            assert_eq!(found, portable, "{}", kernel.name());
        } else {
            assert!(gap < 1.0, "{}: {gap}", kernel.name());
        }
    }
    assert_eq!(encoder.kernel(), Kernel::best());
}

#[test]
fn the_longest_message_is_read_and_ids_out_of_range_are_refused() {
    let encoder = &both().encoder;
    let tokens = Tokens::new;
    let longest = encoder.logits(&[&tokens(vec![5; 512])]).unwrap();
    assert!(longest[0].iter().all(|z| z.is_finite()));
    assert!(encoder.logits(&[&tokens(vec![5; 513])]).is_err());
    assert!(encoder.logits(&[&tokens(vec![5, 69_412])]).is_err());
    assert!(encoder.logits(&[&tokens(Vec::new())]).is_err());
    assert!(encoder.logits(&[&tokens(vec![5, 6])]).is_ok(), "it goes on after an error");
    assert!(encoder.logits(&[]).unwrap().is_empty());
}

/// After it has read as much once, a thread allocates nothing to read again.
#[test]
fn a_warm_thread_allocates_nothing() {
    let encoder = &both().encoder;
    let messages = messages(&[5, 64, 17, 100, 2], 9);
    let batch: Vec<&Tokens> = messages.iter().collect();
    let mut logits = Vec::with_capacity(2 * batch.len());
    encoder.logits_into(&batch, &mut logits).unwrap();
    let cold = allocation_counter::measure(|| drop(std::hint::black_box(vec![0u8; 100])));
    assert_eq!(cold.count_total, 1, "the counter counts");
    let warm = allocation_counter::measure(|| encoder.logits_into(&batch, &mut logits).unwrap());
    assert_eq!(logits[..batch.len()], logits[batch.len()..]);
    if encoder.kernel() != Kernel::Vectors {
        assert_eq!(warm.count_total, 0);
    } else {
        // What rten-gemm allocates for itself in each product.
        println!("{}: {} allocations", encoder.kernel().name(), warm.count_total);
    }
}
