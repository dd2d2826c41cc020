//! `klankbord tune`: calibration and thresholds of a trained model, fitted anew on labelled messages. The weights
//! stay as they are, so it takes seconds.
//!
//! May depend on: `model`, `record`, `train`.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Args;

use super::stem;
use crate::message::Intent;
use crate::model::bundle::{Bundle, BundleError};
use crate::model::encoder::{Encoder, EncoderError};
use crate::model::engine::{Engine, EngineError};
use crate::model::labels::{Calibration, Logits};
use crate::model::net::{Mode, Net, NetError};
use crate::record::Column;
use crate::train::corpus::{CorpusError, Example, load};
use crate::train::cross::{Scores, cross_validate};
use crate::train::fit::{evaluate, predict};
use crate::train::tune::{Measured, tune};

/// Fit a trained model's calibration and thresholds on labelled messages, without training.
#[derive(Args, Debug)]
pub struct TuneArgs {
    /// Folder of the trained model.
    #[arg(long, value_name = "DIR")]
    from: PathBuf,
    /// File of labelled messages that the model was not trained on, JSON lines or CSV; may be repeated. Files count
    /// alike, whatever their size: give each kind of message its own
    #[arg(long, value_name = "FILE", required = true)]
    dev: Vec<PathBuf>,
    /// What a column of the CSV files is called, as in `--column text=Bericht`; may be repeated.
    #[arg(long, value_name = "FIELD=HEADER")]
    column: Vec<Column>,
    /// Choose thresholds for each language, too. Once done, it is done again each time
    #[arg(long)]
    by_language: bool,
    /// Folder to write the model to.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Version of the result.
    #[arg(long)]
    version: String,
}

/// Why a model was not tuned.
#[derive(Debug, thiserror::Error)]
pub enum TuneError {
    /// A model cannot be read or written.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// A file of labelled messages cannot be used.
    #[error(transparent)]
    Corpus(#[from] CorpusError),
    /// The network cannot be made.
    #[error(transparent)]
    Net(#[from] NetError),
    /// The int8 encoder cannot be made.
    #[error(transparent)]
    Encoder(#[from] EncoderError),
    /// The model cannot read.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// One file: its name, what is known of its messages, and what the network gives for them.
struct File {
    name: String,
    examples: Vec<Example>,
    logits: Vec<Logits>,
}

/// Runs the command; returns what to tell the user.
///
/// # Errors
/// [`TuneError`] naming the file and what is wrong with it.
pub fn run(args: &TuneArgs) -> Result<String, TuneError> {
    let Bundle { mut manifest, weights, tokeniser, .. } = Bundle::load_classifier(&args.from)?;
    let architecture = manifest.architecture;
    // As it is served: a model in int8 is calibrated in int8.
    let engine: Box<dyn Engine> = match weights.ints.is_empty() {
        true => Box::new(Net::new(architecture, &weights, Mode::Inference)?),
        false => Box::new(Encoder::new(architecture, &weights)?),
    };
    let mut files = Vec::new();
    for path in &args.dev {
        let examples = load(path, &tokeniser, architecture.positions, 1.0, &args.column)?;
        let logits = predict(engine.as_ref(), &examples)?;
        files.push(File { name: stem(path), examples, logits });
    }
    let measured: Vec<Measured> =
        files.iter().map(|file| file.examples.iter().zip(&file.logits).collect()).collect();
    let before = manifest.calibration;
    let after = tune(&measured, &before, args.by_language);
    let held = cross_validate(&measured, &before, args.by_language);

    let names: Vec<&str> = files.iter().map(|file| file.name.as_str()).collect();
    let by = if after.thresholds.iter().next().is_some() { ", by language" } else { "" };
    manifest.recipe.insert("tune".into(), names.join(", ") + by);
    manifest.calibration = after;
    manifest.version.clone_from(&args.version);
    Bundle::write_as(&args.from, &args.out, &manifest)?;
    Ok(format!(
        "{}{}model written to {out}; try `klankbord eval --model {out} FILE`",
        compared(&files, &before, &held),
        thresholds(&after),
        out = args.out.display(),
    ))
}

/// A table for people: macro-F1 as it was and on messages that the new thresholds were not fitted on.
fn compared(files: &[File], before: &Calibration, held: &[Scores]) -> String {
    let mut table = String::from(
        "as it was -> in five parts, each read with what was fitted on the other four (ten shuffles)\n",
    );
    for (file, after) in files.iter().zip(held) {
        let was = Scores::of(&evaluate(before, &file.examples, &file.logits));
        table += &Scores::compared(&file.name, file.examples.len(), was, *after);
    }
    table
}

/// The thresholds, one intent a line.
fn thresholds(calibration: &Calibration) -> String {
    let mut told = String::from("probability from which it holds\n");
    for intent in Intent::ALL {
        let index = intent as usize;
        let own = calibration.thresholds.iter();
        let own = own.map(|(tag, all)| format!(", {tag} {:.2}", all[index])).collect::<String>();
        let all = calibration.intents[index].threshold;
        // Writing to a string cannot fail.
        let _ = writeln!(told, "  {:<13} {all:.2}{own}", intent.name());
    }
    told
}
