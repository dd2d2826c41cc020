//! `klankbord train`: labelled messages to a model folder.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use crate::batch::plan::Limits;
use crate::model::bundle::{Bundle, BundleError, Manifest, TOKENIZER};
use crate::model::labels::{Calibration, logit_names};
use crate::model::net::{Mode, Net, NetError};
use crate::model::weights::Weights;
use crate::tokenise::Tokeniser;
use crate::train::corpus::{CorpusError, Example, load};
use crate::train::fit::{Data, Event, FitError, FitSettings, Outcome, clean, fit, predict};
use crate::train::optimiser::AdamSettings;
use crate::train::tune::tune;

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
    /// Passes over the data.
    #[arg(long, default_value_t = 4)]
    epochs: usize,
    /// Learning rate of the layers at its height.
    #[arg(long, default_value_t = 1.5e-4)]
    rate: f64,
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
    /// Train the word embeddings too (slower, and needs more data).
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
    /// Same seed, data and options: same model.
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
    check(args)?;
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    ctrlc::set_handler(move || flag.store(true, Ordering::Relaxed))?;

    let Bundle { manifest: base, id, weights, tokeniser, tokenizer_json, .. } =
        Bundle::load(&args.from)?;
    let tokeniser = Arc::new(tokeniser);
    let architecture = base.architecture;
    let mut weights = weights.to_full().into_owned();
    if base.logits.is_empty() {
        weights.add_heads(architecture.hidden, args.seed);
    }
    let limit = args.max_tokens.min(architecture.positions);
    let read = |paths: &[PathBuf], weight: f32, limit: usize| -> Result<Vec<Example>, TrainError> {
        let parts = paths.iter().map(|path| load(path, &tokeniser, limit, weight));
        Ok(parts.collect::<Result<Vec<_>, _>>()?.concat())
    };
    let data = Data {
        main: read(&args.data, 1.0, limit)?,
        auxiliary: read(&args.auxiliary, args.auxiliary_weight, limit)?,
        dev: args
            .dev
            .iter()
            .map(|path| {
                let examples = read(std::slice::from_ref(path), 1.0, architecture.positions)?;
                Ok((stem(path), examples))
            })
            .collect::<Result<_, TrainError>>()?,
        tokeniser: Arc::clone(&tokeniser),
    };
    eprintln!(
        "{} messages to train on, {} auxiliary, {} to test on",
        data.main.len(),
        data.auxiliary.len(),
        data.dev.iter().map(|(_, examples)| examples.len()).sum::<usize>()
    );
    let replies = data.main.iter().chain(&data.auxiliary).any(|e| e.tokens.has_context());
    std::fs::create_dir_all(&args.out)
        .map_err(|source| BundleError::Io { path: args.out.clone(), source })?;
    let mut progress = Progress::new();
    let outcome = fit(
        architecture,
        (&weights, &id.digest),
        &data,
        &settings(args),
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
    let dev: Vec<Example> = data.dev.into_iter().flat_map(|(_, examples)| examples).collect();
    let calibration = match dev.is_empty() {
        true => Calibration::default(),
        false => tune(&dev, &predict(&net, &dev).map_err(FitError::from)?),
    };
    let manifest = Manifest {
        format: 0,
        name: args.name.clone().unwrap_or_else(|| stem(&args.out)),
        version: args.version.clone(),
        architecture,
        languages: args.languages.clone(),
        logits: logit_names().map(str::to_owned).into(),
        calibration,
        trained_on: args.data.iter().chain(&args.auxiliary).map(|path| stem(path)).collect(),
        recipe: recipe(args),
        reads_context: base.reads_context || replies,
        files: BTreeMap::new(),
    };
    // Proof that what was written can be read back with its tokenizer.
    Tokeniser::new(&tokenizer_json, Path::new(TOKENIZER), architecture.positions)
        .map_err(BundleError::from)?;
    Bundle::write(&args.out, manifest, &shipped, &tokenizer_json, compact)?;
    clean(&args.out);
    Ok(format!("model written to {}; try `klankbord eval --model {0} FILE`", args.out.display()))
}

fn check(args: &TrainArgs) -> Result<(), TrainError> {
    let at_least_one = [
        ("epochs", args.epochs),
        ("batch-tokens", args.batch_tokens),
        ("batch-messages", args.batch_messages),
        ("patience", args.patience),
    ];
    let shares = [
        ("dropout", args.dropout),
        ("smoothing", args.smoothing.into()),
        ("warm-up", args.warm_up),
        ("weight-decay", args.weight_decay),
        ("rate", args.rate),
        ("average", args.average),
        ("varied", args.varied),
    ];
    let positive = [
        ("rate", args.rate),
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
    if args.max_tokens < 3 {
        return refuse("max-tokens", "must be at least 3");
    }
    Ok(())
}

fn settings(args: &TrainArgs) -> FitSettings {
    FitSettings {
        epochs: args.epochs,
        batch: Limits { tokens: args.batch_tokens, messages: args.batch_messages },
        warm_up: args.warm_up,
        dropout: args.dropout,
        smoothing: args.smoothing,
        seed: args.seed,
        patience: args.patience,
        adam: AdamSettings {
            rate: args.rate,
            head_factor: args.head_factor,
            weight_decay: args.weight_decay,
            clip: args.clip,
            layer_decay: args.layer_decay,
            average: args.average,
        },
        varied: args.varied,
        words: args.train_words,
        auxiliary_take: args.auxiliary_take,
    }
}

/// What would have to be given again to train the same model.
fn recipe(args: &TrainArgs) -> BTreeMap<String, String> {
    let stems = |paths: &[PathBuf]| paths.iter().map(|p| stem(p)).collect::<Vec<_>>().join(", ");
    [
        ("from", stem(&args.from)),
        ("data", stems(&args.data)),
        ("auxiliary", stems(&args.auxiliary)),
        ("auxiliary-weight", args.auxiliary_weight.to_string()),
        ("auxiliary-take", args.auxiliary_take.to_string()),
        ("dev", stems(&args.dev)),
        ("epochs", args.epochs.to_string()),
        ("rate", args.rate.to_string()),
        ("head-factor", args.head_factor.to_string()),
        ("warm-up", args.warm_up.to_string()),
        ("weight-decay", args.weight_decay.to_string()),
        ("clip", args.clip.to_string()),
        ("dropout", args.dropout.to_string()),
        ("smoothing", args.smoothing.to_string()),
        ("layer-decay", args.layer_decay.to_string()),
        ("average", args.average.to_string()),
        ("varied", args.varied.to_string()),
        ("train-words", args.train_words.to_string()),
        ("batch-tokens", args.batch_tokens.to_string()),
        ("batch-messages", args.batch_messages.to_string()),
        ("max-tokens", args.max_tokens.to_string()),
        ("patience", args.patience.to_string()),
        ("seed", args.seed.to_string()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

/// A bar on a terminal, a line now and then elsewhere.
struct Progress {
    bar: ProgressBar,
    plain: bool,
    begun: Instant,
    said: Instant,
    loss: f32,
    messages: usize,
    done: usize,
    total: usize,
}

impl Progress {
    fn new() -> Self {
        let plain = !std::io::stderr().is_terminal();
        let bar = if plain { ProgressBar::hidden() } else { ProgressBar::new(0) };
        if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} {msg} eta {eta}") {
            bar.set_style(style);
        }
        let now = Instant::now();
        Progress { bar, plain, begun: now, said: now, loss: 0.0, messages: 0, done: 0, total: 0 }
    }

    fn tell(&mut self, event: Event) {
        match event {
            Event::Start { steps, done } => {
                (self.total, self.done, self.begun) = (steps, done, Instant::now());
                self.bar.set_length(steps as u64);
                self.bar.set_position(done as u64);
            }
            Event::Step { loss, messages } => {
                self.done += 1;
                self.messages += messages;
                let pace = 0.02f32.max(1.0 / self.done as f32);
                self.loss += pace * (loss - self.loss);
                let rate = self.messages as f64 / self.begun.elapsed().as_secs_f64();
                self.bar.set_message(format!("loss {:.3}, {rate:.0} messages/s", self.loss));
                self.bar.inc(1);
                if self.plain && self.said.elapsed() > Duration::from_secs(20) {
                    self.said = Instant::now();
                    let (done, total, loss) = (self.done, self.total, self.loss);
                    eprintln!("step {done}/{total}: loss {loss:.3}, {rate:.1} messages/s");
                }
            }
            Event::Epoch { epoch, scores, mean, best } => {
                let each: Vec<String> = scores
                    .iter()
                    .map(|(name, intents, sentiment)| {
                        format!("{name} intents {intents:.3} sentiment {sentiment:.3}")
                    })
                    .collect();
                let mark = if best { " (best)" } else { "" };
                let line = format!("epoch {epoch}: dev {mean:.4}{mark}; {}", each.join("; "));
                self.bar.suspend(|| eprintln!("{line}"));
            }
        }
    }
}
