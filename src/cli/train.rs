//! `klankbord train`: labelled messages to a model folder, or a trained model to one of your own.
//!
//! May depend on: `machine`, `model`, `record`, `tokenise`, `train`.

mod options;
mod own;
mod progress;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Args;

use super::stem;
use crate::machine::heap::keep_freed;
use crate::model::bundle::{Bundle, BundleError, Manifest, TOKENIZER};
use crate::model::labels::logit_names;
use crate::model::net::{Mode, Net, NetError};
use crate::model::weights::Weights;
use crate::record::Column;
use crate::tokenise::Tokeniser;
use crate::train::corpus::{CorpusError, Example, Labels, load};
use crate::train::fit::{Data, FitError, Outcome, clean, fit, predict};
use crate::train::tune::{Measured, tune};

use own::{Replay, Trials, held_out};
use progress::Progress;

/// Train a model on labelled messages, from a base encoder or from a trained model.
#[derive(Args, Debug)]
pub struct TrainArgs {
    /// Model folder to start from: an imported base encoder or a trained model.
    #[arg(long, value_name = "DIR")]
    from: PathBuf,
    /// File of labelled messages (JSONL or CSV) to train on; may be repeated.
    #[arg(long, value_name = "FILE", required = true)]
    data: Vec<PathBuf>,
    /// File of which each epoch draws a sample, for sets that are large or less like the messages
    /// to come; may be repeated.
    #[arg(long, value_name = "FILE")]
    auxiliary: Vec<PathBuf>,
    /// File of labels by id (records as in --data, whose texts are not read) in place of those that the
    /// --auxiliary files have; the messages are then trained on like --data; may be repeated.
    #[arg(long, value_name = "FILE", requires = "auxiliary")]
    labels: Vec<PathBuf>,
    /// Weight of an auxiliary message in the loss.
    #[arg(long, default_value_t = 0.3)]
    auxiliary_weight: f32,
    /// Auxiliary messages drawn for each epoch.
    #[arg(long, default_value_t = 3000)]
    auxiliary_take: usize,
    /// File of labelled messages to choose the best epoch, calibration and thresholds by, never
    /// trained on; may be repeated.
    #[arg(long, value_name = "FILE")]
    dev: Vec<PathBuf>,
    /// Share of the data that is never trained on and measures what training brought, where there is
    /// no --dev [default: 0.2 from a trained model, else 0]
    #[arg(long, value_name = "SHARE")]
    hold_out: Option<f64>,
    /// File of messages like those that the model was trained on, mixed in so that it forgets nothing; may
    /// be repeated [default: from a trained model, the files of the folder `corpus` beside it]
    #[arg(long, value_name = "FILE", conflicts_with = "auxiliary")]
    replay: Vec<PathBuf>,
    /// Mix in nothing.
    #[arg(long, conflicts_with = "replay")]
    no_replay: bool,
    /// What a column of the CSV files is called, as in `--column text=Bericht`; may be repeated.
    #[arg(long, value_name = "FIELD=HEADER")]
    column: Vec<Column>,
    /// Choose thresholds for each language, too: worth it where what is common in one is rare in another,
    /// and there are enough messages of both to choose by
    #[arg(long)]
    by_language: bool,
    /// Folder to write the model to.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Name of the model; the folder's name where not given.
    #[arg(long)]
    name: Option<String>,
    /// Version of the model.
    #[arg(long, default_value = "0.1.0")]
    version: String,
    /// Languages it is for, as BCP 47 tags.
    #[arg(long, value_delimiter = ',', default_value = "nl,en")]
    languages: Vec<String>,
    /// Passes over the data [default: 4, from a trained model 3]
    #[arg(long)]
    epochs: Option<usize>,
    /// Learning rate of the layers at its height [default: 1.5e-4, from a trained model 5e-5]
    #[arg(long)]
    rate: Option<f64>,
    /// The heads' learning rate as a multiple of --rate.
    #[arg(long, default_value_t = 10.0)]
    head_factor: f64,
    /// Share of the steps over which the learning rate rises.
    #[arg(long, default_value_t = 0.06)]
    warm_up: f64,
    /// Weight decay.
    #[arg(long, default_value_t = 0.01)]
    weight_decay: f64,
    /// Gradients are clipped to this norm.
    #[arg(long, default_value_t = 1.0)]
    clip: f64,
    /// Dropout in the layers.
    #[arg(long, default_value_t = 0.1)]
    dropout: f64,
    /// Label smoothing.
    #[arg(long, default_value_t = 0.0)]
    smoothing: f32,
    /// Each layer's learning rate as a share of that of the layer above it.
    #[arg(long, default_value_t = 1.0)]
    layer_decay: f64,
    /// Give the moving average of the weights, with this decay a step; 0 gives the last weights.
    #[arg(long, default_value_t = 0.0)]
    average: f64,
    /// Share of the messages that each epoch reads written another way: lower case, typos, other names.
    #[arg(long, default_value_t = 0.0)]
    varied: f64,
    /// Read those messages as they are as well, and let it count that much that the two readings disagree
    /// (R-Drop); 0 reads them the other way only.
    #[arg(long, default_value_t = 0.0)]
    agree: f32,
    /// Train the word embeddings too (slower, and needs more data and memory).
    #[arg(long)]
    train_words: bool,
    /// Most tokens of one batch.
    #[arg(long, default_value_t = 512)]
    batch_tokens: usize,
    /// Most messages of one batch.
    #[arg(long, default_value_t = 32)]
    batch_messages: usize,
    /// Longer messages are cut to this many tokens in training.
    #[arg(long, default_value_t = 256)]
    max_tokens: usize,
    /// Stop after this many epochs without a better dev score.
    #[arg(long, default_value_t = 2)]
    patience: usize,
    /// What the matrix products are made in
    #[arg(long, value_enum, default_value_t = options::Products::Auto)]
    products: options::Products,
    /// Same seed, data, options and kind of CPU: same model.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Go on with an interrupted run in the output folder.
    #[arg(long)]
    resume: bool,
    /// Write f32 weights instead of int8 word embeddings and f16 layers.
    #[arg(long)]
    full_precision: bool,
}

/// Why training failed.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// A model cannot be read or written.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// A data file cannot be used.
    #[error(transparent)]
    Corpus(#[from] CorpusError),
    /// The run itself failed.
    #[error(transparent)]
    Fit(#[from] FitError),
    /// The trained network cannot be run.
    #[error(transparent)]
    Net(#[from] NetError),
    /// Ctrl-C cannot be caught.
    #[error("cannot catch Ctrl-C: {0}")]
    Signal(#[from] ctrlc::Error),
    /// Stopped on request.
    #[error("interrupted; the same command with --resume goes on")]
    Interrupted,
    /// An option is out of range.
    #[error("--{option}: {reason}")]
    Option { option: &'static str, reason: &'static str },
}

/// Runs the command; returns what to tell the user.
///
/// # Errors
/// [`TrainError`] saying what is wrong and where.
pub fn run(args: &TrainArgs) -> Result<String, TrainError> {
    options::check(args)?;
    // Where it cannot be, training is slower, and otherwise the same.
    let _ = keep_freed();
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    ctrlc::set_handler(move || flag.store(true, Ordering::Relaxed))?;

    let Bundle { manifest: base, id, weights, tokeniser, tokenizer_json, .. } =
        Bundle::load(&args.from)?;
    let tokeniser = Arc::new(tokeniser);
    let architecture = base.architecture;
    let precision = options::precision(args, &architecture)?;
    let mut weights = weights.to_full().into_owned();
    // From a trained model on, or from a base encoder up.
    let tuned = !base.logits.is_empty();
    if !tuned {
        weights.add_heads(architecture.hidden, args.seed);
    }
    let limit = args.max_tokens.min(architecture.positions);
    let read = |paths: &[PathBuf], weight: f32, limit: usize| -> Result<Vec<Example>, TrainError> {
        let parts = paths.iter().map(|path| load(path, &tokeniser, limit, weight, &args.column));
        Ok(parts.collect::<Result<Vec<_>, _>>()?.concat())
    };
    let mut dev = Vec::new();
    for path in &args.dev {
        let examples = read(std::slice::from_ref(path), 1.0, architecture.positions)?;
        dev.push((stem(path), examples));
    }
    let share = args.hold_out.unwrap_or(if tuned && dev.is_empty() { 0.2 } else { 0.0 });
    let mut main = read(&args.data, 1.0, limit)?;
    let (mut auxiliary, mut labels) = (Vec::new(), Labels::read(&args.labels)?);
    for path in &args.auxiliary {
        let weight = args.auxiliary_weight;
        let [labelled, others] = labels.load(path, &tokeniser, limit, weight, &args.column)?;
        main.extend(labelled);
        auxiliary.extend(others);
    }
    labels.all_used()?;
    let [main, held] = held_out(main, share, args.seed);
    if !held.is_empty() {
        dev.push(("held out".to_owned(), held));
    }
    let mut settings = options::settings(args, precision, tuned);
    let beside = tuned && args.auxiliary.is_empty() && !args.no_replay;
    let replayed = match args.replay.is_empty() && beside {
        true => Replay::beside(&args.from),
        false => args.replay.clone(),
    };
    if !replayed.is_empty() {
        // Not through the renamed columns, which are those of the user's own files.
        let parts = replayed.iter().map(|path| load(path, &tokeniser, limit, 1.0, &[]));
        let all = parts.collect::<Result<Vec<_>, _>>()?.concat();
        let replay = Replay::new(all, main.len(), args.seed);
        settings.auxiliary_take = replay.take;
        auxiliary = replay.examples;
        dev.push(("mixed in, held out".to_owned(), replay.measured));
    } else if beside {
        eprintln!(
            "nothing is mixed in: there is no folder `corpus` beside the model; see --replay"
        );
    }
    let data = Data { main, auxiliary, dev, tokeniser: Arc::clone(&tokeniser) };
    eprintln!(
        "{} messages to train on, {} auxiliary, {} to test on",
        data.main.len(),
        data.auxiliary.len(),
        data.dev.iter().map(|(_, examples)| examples.len()).sum::<usize>()
    );
    let trials = match tuned {
        true => {
            let net = Net::new(architecture, &weights, Mode::Inference)?;
            Some(Trials::before(&net, &base.calibration, &data.dev).map_err(FitError::from)?)
        }
        false => None,
    };
    let replies = data.main.iter().chain(&data.auxiliary).any(|e| e.tokens.has_context());
    std::fs::create_dir_all(&args.out)
        .map_err(|source| BundleError::Io { path: args.out.clone(), source })?;
    let mut progress = Progress::new();
    let outcome = fit(
        architecture,
        (&weights, &id.digest),
        &data,
        &settings,
        &args.out,
        args.resume,
        &stop,
        |event| progress.tell(event),
    )?;
    let Outcome::Finished(weights) = outcome else { return Err(TrainError::Interrupted) };

    // What ships is what is calibrated: through the compact form and back.
    let compact = !args.full_precision;
    let bytes = weights.write(architecture.hidden, compact).map_err(FitError::from)?;
    let shipped = Weights::read(&bytes, &architecture).map_err(FitError::from)?;
    drop((bytes, weights));
    let net = Net::new(architecture, &shipped, Mode::Inference)?;
    let logits = data.dev.iter().map(|(_, examples)| predict(&net, examples));
    let logits = logits.collect::<Result<Vec<_>, _>>().map_err(FitError::from)?;
    let files = data.dev.iter().zip(&logits);
    let files: Vec<Measured> =
        files.map(|((_, examples), logits)| examples.iter().zip(logits).collect()).collect();
    let calibration = tune(&files, &base.calibration, args.by_language);
    let measured = match &trials {
        Some(trials) => trials.after(&net, &calibration, &data.dev).map_err(FitError::from)?,
        None => String::new(),
    };
    let manifest = Manifest {
        format: 0,
        name: args.name.clone().unwrap_or_else(|| stem(&args.out)),
        version: args.version.clone(),
        architecture,
        languages: args.languages.clone(),
        logits: logit_names().map(str::to_owned).into(),
        calibration,
        trained_on: trained_on(args, &replayed),
        recipe: options::recipe(args, &settings, tuned, &replayed),
        reads_context: base.reads_context || replies,
        files: BTreeMap::new(),
    };
    // Proof that what was written can be read back with its tokenizer.
    Tokeniser::new(&tokenizer_json, Path::new(TOKENIZER), architecture.positions)
        .map_err(BundleError::from)?;
    Bundle::write(&args.out, manifest, &shipped, &tokenizer_json, compact)?;
    clean(&args.out);
    Ok(format!(
        "{measured}model written to {}; try `klankbord eval --model {0} FILE`",
        args.out.display()
    ))
}

/// Names of the sets, each once.
fn trained_on(args: &TrainArgs, replayed: &[PathBuf]) -> Vec<String> {
    let mut names = Vec::new();
    for name in args
        .data
        .iter()
        .chain(&args.auxiliary)
        .chain(&args.labels)
        .chain(replayed)
        .map(|path| stem(path))
    {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}
