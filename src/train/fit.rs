//! The training loop: epochs over shuffled batches of like length, dev scores, early stop.
//!
//! Everything random follows from the seed, the epoch and the step, so that a resumed run does what
//! the uninterrupted one would have done. May depend on: `batch::plan`, `model`, `eval`, `train`.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::checkpoint::{self, CheckpointError, Position};
use super::corpus::Example;
use super::loss::Target;
use super::optimiser::{AdamSettings, AdamW, schedule};
use super::step::{Noise, Reading, gradients};
use crate::batch::plan::{Limits, by_length};
use crate::eval::{Evaluation, Targets};
use crate::message::ModelId;
use crate::model::base::Architecture;
use crate::model::engine::{Engine, EngineError};
use crate::model::labels::{Calibration, LOGITS, Logits, Reach};
use crate::model::net::{Mode, Net, NetError, Precision};
use crate::model::weights::{Weights, WeightsError};
use crate::tokenise::{TokeniseError, Tokeniser, Tokens};

/// Messages sorted by length together, in batches' worth: large enough to give batches of like
/// length, small enough that batches differ from epoch to epoch.
const SORTED_TOGETHER: usize = 16;
/// File with the best weights so far.
const BEST: &str = "best.safetensors";
/// Sets the random numbers of variation apart from those of the order.
const VARIED: u64 = 0x5f3c_9a17_02d4_88e1;

/// How to train.
#[derive(Clone, Debug)]
pub struct FitSettings {
    pub epochs: usize,
    pub batch: Limits,
    /// Share of all steps over which the learning rate rises.
    pub warm_up: f64,
    /// Share of hidden values zeroed in training.
    pub dropout: f64,
    /// Label smoothing.
    pub smoothing: f32,
    pub seed: u64,
    /// Stop after this many epochs without a better dev score.
    pub patience: usize,
    pub adam: AdamSettings,
    /// Train the word embeddings too.
    pub words: bool,
    /// What the products are made in.
    pub precision: Precision,
    /// How many of the auxiliary examples each epoch draws.
    pub auxiliary_take: usize,
    /// Share of the messages that each epoch reads written another way (`perturb`).
    pub varied: f64,
    /// Where above 0, those are read as they are as well, and this is how much it counts that the two
    /// readings disagree.
    pub agree: f32,
}

/// What to train and test on.
pub struct Data {
    /// Every epoch sees all of these.
    pub main: Vec<Example>,
    /// Every epoch sees another sample of these.
    pub auxiliary: Vec<Example>,
    /// Files to score on, by name.
    pub dev: Vec<(String, Vec<Example>)>,
    /// What turns messages that are written another way into tokens.
    pub tokeniser: Arc<Tokeniser>,
}

/// What a run tells while it goes on.
pub enum Event<'a> {
    /// Steps in all, and those done before (a resumed run).
    Start { steps: usize, done: usize },
    /// One step is done.
    Step { loss: f32, messages: usize },
    /// An epoch is done, with the scores on each dev file and their mean.
    Epoch { epoch: usize, scores: &'a [(String, f64, f64)], mean: f64, best: bool },
}

/// How a run ended.
pub enum Outcome {
    /// With these weights, the best on the dev files (or the last, without any).
    Finished(Box<Weights>),
    /// Stopped on request; `--resume` goes on.
    Interrupted,
}

/// Why a run failed.
#[derive(Debug, thiserror::Error)]
pub enum FitError {
    /// The network cannot be made or run.
    #[error(transparent)]
    Net(#[from] NetError),
    /// The network cannot read.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// State cannot be saved or taken up.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The best weights cannot be saved or read.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// A message written another way cannot be tokenised.
    #[error(transparent)]
    Tokenise(#[from] TokeniseError),
}

impl From<candle_core::Error> for FitError {
    fn from(error: candle_core::Error) -> Self {
        FitError::Net(error.into())
    }
}

/// Trains a network from weights `start`, whose model has the digest `from`, and keeps its state in `dir`.
///
/// # Errors
/// [`FitError`] where files cannot be written, or the loss ceases to be a number.
#[allow(clippy::too_many_arguments, reason = "each is one thing the caller alone knows")]
pub fn fit(
    architecture: Architecture,
    (start, from): (&Weights, &str),
    data: &Data,
    settings: &FitSettings,
    dir: &Path,
    resume: bool,
    stop: &AtomicBool,
    mut tell: impl FnMut(Event),
) -> Result<Outcome, FitError> {
    let mode = Mode::Training { words: settings.words, precision: settings.precision };
    let net = Net::new(architecture, start, mode)?;
    let mut optimiser = AdamW::new(net.parameters(), settings.adam)?;
    let plans: Vec<_> = (0..settings.epochs).map(|e| epoch_batches(data, settings, e)).collect();
    let total: usize = plans.iter().map(Vec::len).sum();
    let run = run_digest(data, settings, from);
    let mut at = Position { epoch: 0, step: 0, best: None, stale: 0, run: run.clone() };
    if resume {
        at = checkpoint::resume(dir, &net, &mut optimiser, &run)?;
    }
    let mut done: usize = plans[..at.epoch].iter().map(Vec::len).sum::<usize>() + at.step;
    tell(Event::Start { steps: total, done });
    let warm_up = (total as f64 * settings.warm_up) as usize;
    while at.epoch < settings.epochs && at.stale < settings.patience {
        let varied = varied(data, settings, at.epoch)?;
        for batch in &plans[at.epoch][at.step..] {
            if stop.load(Ordering::Relaxed) {
                checkpoint::save(dir, &net, &optimiser, &at)?;
                return Ok(Outcome::Interrupted);
            }
            let FitSettings { dropout, smoothing, agree, seed, .. } = *settings;
            let read = batch.iter().map(|&i| {
                let Example { tokens, target, .. } = data.example(i);
                let target = *target;
                match &varied[i] {
                    Some(other) if agree > 0.0 => Reading { tokens, again: Some(other), target },
                    other => {
                        Reading { tokens: other.as_ref().unwrap_or(tokens), again: None, target }
                    }
                }
            });
            let read: Vec<_> = read.collect();
            let noise = Noise { dropout, smoothing, agree, seed, step: done as u64 };
            let (loss, gradients) = gradients(&net, &read, &noise)?;
            let rate = schedule(done, warm_up, total);
            optimiser.step(net.parameters(), &gradients, rate)?;
            done += 1;
            at.step += 1;
            tell(Event::Step { loss, messages: batch.len() });
        }
        at = Position { epoch: at.epoch + 1, step: 0, ..at };
        let weights = match optimiser.averages() {
            Some(values) => net.weights_of(&values),
            None => net.weights()?,
        };
        let scores = dev_scores(&Net::new(architecture, &weights, Mode::Inference)?, &data.dev)?;
        let mean =
            scores.iter().map(|(_, intents, sentiment)| (intents + sentiment) / 2.0).sum::<f64>()
                / scores.len().max(1) as f64;
        let best = scores.is_empty() || at.best.is_none_or(|best| mean > best);
        if best {
            (at.best, at.stale) = (Some(mean), 0);
            let bytes = weights.write(architecture.hidden, false)?;
            let path = dir.join(BEST);
            checkpoint::write_whole(&path, &bytes)
                .map_err(|source| CheckpointError::Io { path, source })?;
        } else {
            at.stale += 1;
        }
        tell(Event::Epoch { epoch: at.epoch, scores: &scores, mean, best });
        checkpoint::save(dir, &net, &optimiser, &at)?;
    }
    let path = dir.join(BEST);
    let bytes = std::fs::read(&path)
        .map_err(|source| CheckpointError::Io { path: path.clone(), source })?;
    let weights = Weights::read(&bytes, &architecture)?;
    Ok(Outcome::Finished(Box::new(weights)))
}

impl Data {
    /// Main examples come first, auxiliary ones after.
    fn example(&self, index: usize) -> &Example {
        self.main.get(index).unwrap_or_else(|| &self.auxiliary[index - self.main.len()])
    }
}

/// Removes the state of a run whose model is safely written.
pub fn clean(dir: &Path) {
    checkpoint::remove(dir);
    // A file left behind costs disk space, nothing else.
    let _ = std::fs::remove_file(dir.join(BEST));
}

/// The batches of one epoch, in order: examples by index.
fn epoch_batches(data: &Data, settings: &FitSettings, epoch: usize) -> Vec<Vec<usize>> {
    let mut rng = ChaCha8Rng::seed_from_u64(settings.seed);
    rng.set_stream(epoch as u64 + 1);
    let mut auxiliary: Vec<usize> =
        (0..data.auxiliary.len()).map(|i| data.main.len() + i).collect();
    auxiliary.shuffle(&mut rng);
    auxiliary.truncate(settings.auxiliary_take);
    let mut order: Vec<usize> = (0..data.main.len()).chain(auxiliary).collect();
    order.shuffle(&mut rng);
    let length = |index: usize| data.example(index).tokens.ids.len();
    let mean = order.iter().map(|&i| length(i)).sum::<usize>().div_ceil(order.len().max(1)).max(1);
    let per_batch = (settings.batch.tokens / mean).clamp(1, settings.batch.messages);
    let mut batches = Vec::new();
    for part in order.chunks(SORTED_TOGETHER * per_batch) {
        let lengths: Vec<usize> = part.iter().map(|&i| length(i)).collect();
        for batch in by_length(&lengths, settings.batch) {
            batches.push(batch.into_iter().map(|i| part[i]).collect());
        }
    }
    batches.shuffle(&mut rng);
    batches
}

/// The messages of one epoch that are read written another way, by their index.
fn varied(
    data: &Data,
    settings: &FitSettings,
    epoch: usize,
) -> Result<Vec<Option<Tokens>>, TokeniseError> {
    let count = data.main.len() + data.auxiliary.len();
    let one = |index: usize| {
        let mut random = ChaCha8Rng::seed_from_u64(settings.seed ^ VARIED);
        random.set_stream((epoch * count + index) as u64);
        match random.random_bool(settings.varied) {
            true => data.example(index).varied(&data.tokeniser, &mut random),
            false => Ok(None),
        }
    };
    (0..count).into_par_iter().map(one).collect()
}

/// What a run is made of: data, options, and the model it starts from.
fn run_digest(data: &Data, settings: &FitSettings, from: &str) -> String {
    let mut digest = Sha256::new();
    digest.update(format!("{from} {settings:?}"));
    let dev = data.dev.iter().flat_map(|(_, examples)| examples);
    for example in data.main.iter().chain(&data.auxiliary).chain(dev) {
        digest.update(format!("{:?} {:?}", example.tokens.ids, example.target));
    }
    digest.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// Macro-F1 of intents and of sentiment on each dev file, uncalibrated.
fn dev_scores(
    net: &Net,
    dev: &[(String, Vec<Example>)],
) -> Result<Vec<(String, f64, f64)>, EngineError> {
    let calibration = Calibration::default();
    let score = |(name, examples): &(String, Vec<Example>)| {
        let report = evaluate(&calibration, examples, &predict(net, examples)?).report();
        let sentiment = report.sentiment.map_or(0.0, |s| s.macro_f1);
        Ok((name.clone(), report.intents.macro_f1, sentiment))
    };
    dev.iter().map(score).collect()
}

/// The verdicts that `calibration` make of `logits`, held against the examples' labels.
pub fn evaluate(calibration: &Calibration, examples: &[Example], logits: &[Logits]) -> Evaluation {
    let mut evaluation = Evaluation::new();
    evaluate_more(&mut evaluation, calibration, examples.iter().zip(logits));
    evaluation
}

/// Adds the verdicts on more messages to those that are counted.
pub(super) fn evaluate_more<'a>(
    evaluation: &mut Evaluation,
    calibration: &Calibration,
    messages: impl Iterator<Item = (&'a Example, &'a Logits)>,
) {
    let model = Arc::new(ModelId { version: String::new(), digest: String::new() });
    for (example, logits) in messages {
        let Target { intents, sentiment, urgent, .. } = example.target;
        let reach = Reach {
            tokens_read: 0,
            truncated: false,
            context_read: false,
            language: example.language,
            foreign: false,
        };
        if let Some(verdict) = calibration.verdict(logits, reach, &model) {
            evaluation.add(&Targets { intents, sentiment, urgent }, &verdict);
        }
    }
}

/// Logits of every example, in order.
///
/// # Errors
/// Where the engine fails.
pub fn predict(engine: &dyn Engine, examples: &[Example]) -> Result<Vec<Logits>, EngineError> {
    let lengths: Vec<usize> = examples.iter().map(|e| e.tokens.ids.len()).collect();
    let mut logits = vec![[0f32; LOGITS]; examples.len()];
    for batch in by_length(&lengths, Limits { tokens: 1024, messages: 256 }) {
        let tokens: Vec<&Tokens> = batch.iter().map(|&i| &examples[i].tokens).collect();
        for (&index, found) in batch.iter().zip(engine.logits(&tokens)?) {
            logits[index] = found;
        }
    }
    Ok(logits)
}
