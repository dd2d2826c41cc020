//! `klankbord quantize`: a trained model's weights to int8, for serving.

use std::path::PathBuf;

use clap::Args;

use crate::model::bundle::{Bundle, BundleError};
use crate::model::encoder::{Encoder, EncoderError};
use crate::model::engine::EngineError;
use crate::model::net::{Mode, Net, NetError};
use crate::record::{OpenError, Records};
use crate::tokenise::{TokeniseError, Tokens};
use crate::train::compress::{CompressError, compress};
use crate::train::corpus::{CorpusError, load};
use crate::train::fit::{evaluate, predict};

/// Turn the weights of a trained model into int8, for serving.
#[derive(Args, Debug)]
pub struct QuantizeArgs {
    /// Folder of the trained model.
    #[arg(long, value_name = "DIR")]
    from: PathBuf,
    /// Folder to write.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Messages to choose roundings by, JSON lines or CSV; not ones to measure the model with.
    #[arg(long, value_name = "FILE", required = true)]
    messages: PathBuf,
    /// How many of them, from the first on.
    #[arg(long, default_value_t = 768)]
    count: usize,
    /// Labelled messages to compare the result with f32 on.
    #[arg(long, value_name = "FILE")]
    compare: Vec<PathBuf>,
    /// Version of the result [default: that of the trained model, with `+int8`]
    #[arg(long)]
    version: Option<String>,
}

/// Why weights could not be quantised.
#[derive(Debug, thiserror::Error)]
pub enum QuantizeError {
    /// A model cannot be read or written.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// A file of messages cannot be read.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A record in it is wrong.
    #[error("{}: {reason}", path.display())]
    Record { path: PathBuf, reason: String },
    /// A message cannot be tokenised.
    #[error(transparent)]
    Tokenise(#[from] TokeniseError),
    /// The weights cannot be quantised.
    #[error(transparent)]
    Compress(#[from] CompressError),
    /// A file of labelled messages cannot be used.
    #[error(transparent)]
    Corpus(#[from] CorpusError),
    /// A network cannot be made or run.
    #[error(transparent)]
    Net(#[from] NetError),
    /// The int8 encoder cannot be made.
    #[error(transparent)]
    Encoder(#[from] EncoderError),
    /// A network cannot read.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// Runs the command; returns what to tell the user.
///
/// # Errors
/// [`QuantizeError`] naming the file or tensor and what is wrong with it.
pub fn run(args: &QuantizeArgs) -> Result<String, QuantizeError> {
    let Bundle { mut manifest, weights, tokeniser, tokenizer_json, .. } =
        Bundle::load_classifier(&args.from)?;
    let (architecture, full) = (manifest.architecture, weights.to_full());
    let mut messages = Vec::new();
    for record in Records::open(&args.messages, None)?.take(args.count) {
        let path = || args.messages.clone();
        let (_, record) = record
            .map_err(|error| QuantizeError::Record { path: path(), reason: error.to_string() })?;
        messages.push(tokeniser.encode(&record.text)?);
    }
    let messages: Vec<&Tokens> = messages.iter().collect();
    let pressed = compress(architecture, &full, &messages)?;

    let version = format!("{}+int8", manifest.version);
    manifest.version = args.version.clone().unwrap_or(version);
    let name = args.messages.file_stem().unwrap_or_default().to_string_lossy();
    let by = format!("int8 by {} messages of {name}", messages.len());
    manifest.recipe.insert("quantize".into(), by);
    Bundle::write(&args.out, manifest.clone(), &pressed, &tokenizer_json, false)?;

    let mut told = format!("int8 model written to {}", args.out.display());
    if !args.compare.is_empty() {
        let net = Net::new(architecture, &full, Mode::Inference)?;
        let encoder = Encoder::new(architecture, &pressed)?;
        for path in &args.compare {
            let examples = load(path, &tokeniser, architecture.positions, 1.0, &[])?;
            let (before, after) = (predict(&net, &examples)?, predict(&encoder, &examples)?);
            let gaps =
                before.iter().flatten().zip(after.iter().flatten()).map(|(a, b)| (a - b).abs());
            let gap = gaps.sum::<f32>() / before.as_flattened().len().max(1) as f32;
            told += &format!("\n{}: mean difference of logits {gap:.4}", path.display());
            for (kind, logits) in [("f32", &before), ("int8", &after)] {
                let report = evaluate(&manifest.calibration, &examples, logits).report();
                let intents = report.intents.macro_f1;
                let sentiment = report.sentiment.map_or(f64::NAN, |s| s.macro_f1);
                told += &format!(
                    "\n  {kind:<4} macro-F1 intents {intents:.4} sentiment {sentiment:.4}"
                );
            }
        }
    }
    Ok(told)
}
