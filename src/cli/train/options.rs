//! The options of `train`: their limits, defaults and record.
//!
//! May depend on: `batch::plan`, `machine`, `model`, `train`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::{TrainArgs, TrainError, stem};
use crate::batch::plan::Limits;
use crate::machine::bf16::{Bf16, PANEL};
use crate::model::base::Architecture;
use crate::model::net::Precision;
use crate::train::fit::FitSettings;
use crate::train::optimiser::AdamSettings;

/// What the products of training are made in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Products {
    /// bf16 where the CPU has AVX-512 BF16, else f32
    Auto,
    /// Factors rounded to bf16, sums in f32: faster
    Bf16,
    /// All in f32: the same on every CPU of a kind
    F32,
}

/// What the products are made in on this CPU, for a network of these sizes.
pub(super) fn precision(
    args: &TrainArgs,
    architecture: &Architecture,
) -> Result<Precision, TrainError> {
    let fits = [architecture.hidden, architecture.ffn].iter().all(|n| n.is_multiple_of(PANEL));
    let refuse = |reason| Err(TrainError::Option { option: "products", reason });
    match (args.products, Bf16::new()) {
        (Products::Auto | Products::Bf16, Some(bf16)) if fits => Ok(Precision::Bf16(bf16)),
        (Products::Auto | Products::F32, _) => Ok(Precision::F32),
        (Products::Bf16, None) => refuse("this CPU has no AVX-512 BF16"),
        (Products::Bf16, Some(_)) => refuse("the layers' sizes are no multiples of 64"),
    }
}

/// Passes over the data; `tuned` where training goes on from a trained model.
fn epochs(args: &TrainArgs, tuned: bool) -> usize {
    args.epochs.unwrap_or(if tuned { 3 } else { 4 })
}

/// The height of the learning rate.
fn rate(args: &TrainArgs, tuned: bool) -> f64 {
    args.rate.unwrap_or(if tuned { 5e-5 } else { 1.5e-4 })
}

pub(super) fn check(args: &TrainArgs) -> Result<(), TrainError> {
    let at_least_one = [
        ("epochs", epochs(args, true)),
        ("batch-tokens", args.batch_tokens),
        ("batch-messages", args.batch_messages),
        ("patience", args.patience),
    ];
    let shares = [
        ("dropout", args.dropout),
        ("smoothing", args.smoothing.into()),
        ("warm-up", args.warm_up),
        ("weight-decay", args.weight_decay),
        ("rate", rate(args, true)),
        ("average", args.average),
        ("varied", args.varied),
        ("hold-out", args.hold_out.unwrap_or(0.0)),
    ];
    let positive = [
        ("rate", rate(args, true)),
        ("clip", args.clip),
        ("head-factor", args.head_factor),
        ("layer-decay", args.layer_decay),
    ];
    let refuse = |option, reason| Err(TrainError::Option { option, reason });
    if let Some((option, _)) = at_least_one.into_iter().find(|(_, value)| *value == 0) {
        return refuse(option, "must be at least 1");
    }
    if let Some((option, _)) = shares.into_iter().find(|(_, v)| !(0.0..1.0).contains(v)) {
        return refuse(option, "must be at least 0 and under 1");
    }
    if let Some((option, _)) = positive.into_iter().find(|(_, v)| !(*v > 0.0 && v.is_finite())) {
        return refuse(option, "must be above 0");
    }
    if !(args.auxiliary_weight >= 0.0 && args.auxiliary_weight.is_finite()) {
        return refuse("auxiliary-weight", "must not be negative");
    }
    if !(args.agree >= 0.0 && args.agree.is_finite()) {
        return refuse("agree", "must not be negative");
    }
    if args.agree > 0.0 && args.varied == 0.0 {
        return refuse("agree", "needs --varied: messages that are read both ways");
    }
    if args.max_tokens < 3 {
        return refuse("max-tokens", "must be at least 3");
    }
    Ok(())
}

pub(super) fn settings(args: &TrainArgs, precision: Precision, tuned: bool) -> FitSettings {
    FitSettings {
        precision,
        epochs: epochs(args, tuned),
        batch: Limits { tokens: args.batch_tokens, messages: args.batch_messages },
        warm_up: args.warm_up,
        dropout: args.dropout,
        smoothing: args.smoothing,
        seed: args.seed,
        patience: args.patience,
        adam: AdamSettings {
            rate: rate(args, tuned),
            head_factor: args.head_factor,
            weight_decay: args.weight_decay,
            clip: args.clip,
            layer_decay: args.layer_decay,
            average: args.average,
        },
        varied: args.varied,
        agree: args.agree,
        words: args.train_words,
        auxiliary_take: args.auxiliary_take,
    }
}

/// What would have to be given again to train the same model.
pub(super) fn recipe(
    args: &TrainArgs,
    settings: &FitSettings,
    tuned: bool,
    replayed: &[PathBuf],
) -> BTreeMap<String, String> {
    let products = match settings.precision {
        Precision::F32 => "f32",
        Precision::Bf16(_) => "bf16",
    };
    let stems = |paths: &[PathBuf]| paths.iter().map(|p| stem(p)).collect::<Vec<_>>().join(", ");
    [
        ("from", stem(&args.from)),
        ("data", stems(&args.data)),
        ("auxiliary", stems(&args.auxiliary)),
        ("labels", stems(&args.labels)),
        ("replay", stems(replayed)),
        ("by-language", args.by_language.to_string()),
        ("hold-out", args.hold_out.map_or_else(String::new, |share| share.to_string())),
        ("auxiliary-weight", args.auxiliary_weight.to_string()),
        ("auxiliary-take", args.auxiliary_take.to_string()),
        ("dev", stems(&args.dev)),
        ("epochs", epochs(args, tuned).to_string()),
        ("rate", rate(args, tuned).to_string()),
        ("head-factor", args.head_factor.to_string()),
        ("warm-up", args.warm_up.to_string()),
        ("weight-decay", args.weight_decay.to_string()),
        ("clip", args.clip.to_string()),
        ("dropout", args.dropout.to_string()),
        ("smoothing", args.smoothing.to_string()),
        ("layer-decay", args.layer_decay.to_string()),
        ("average", args.average.to_string()),
        ("varied", args.varied.to_string()),
        ("agree", args.agree.to_string()),
        ("train-words", args.train_words.to_string()),
        ("batch-tokens", args.batch_tokens.to_string()),
        ("batch-messages", args.batch_messages.to_string()),
        ("max-tokens", args.max_tokens.to_string()),
        ("patience", args.patience.to_string()),
        ("products", products.to_owned()),
        ("seed", args.seed.to_string()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}
