//! `klankbord soup`: the mean of models that were trained from the same base, as one model.
//!
//! Runs that differ by seed, data or options end in the same valley, and the middle of it is a better place than any of
//! its slopes, at the cost of one model (Wortsman et al. 2022, "Model soups", <https://arxiv.org/abs/2203.05482>). May
//! depend on: `model`, `train`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;

use super::stem;
use crate::model::bundle::{Bundle, BundleError, Manifest, TOKENIZER};
use crate::model::labels::{Calibration, Logits};
use crate::model::net::{Mode, Net, NetError};
use crate::model::weights::{Weights, WeightsError, Words};
use crate::tokenise::Tokeniser;
use crate::train::corpus::{CorpusError, Example, load};
use crate::train::fit::{FitError, predict};
use crate::train::tune::{Measured, tune};

/// Average models that were trained from the same base encoder.
#[derive(Args, Debug)]
pub struct SoupArgs {
    /// Folders of the models, two or more
    #[arg(required = true, num_args = 2.., value_name = "DIR")]
    models: Vec<PathBuf>,
    /// File of labelled messages to fit calibration and thresholds on, never trained on; may be repeated
    #[arg(long, value_name = "FILE", required = true)]
    dev: Vec<PathBuf>,
    /// Folder to write the model to
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Name of the model; the folder's name where not given
    #[arg(long)]
    name: Option<String>,
    /// Version of the model
    #[arg(long, default_value = "0.1.0")]
    version: String,
}

/// Why there is no model.
#[derive(Debug, thiserror::Error)]
pub enum SoupError {
    /// A model cannot be read or written.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// A dev file cannot be used.
    #[error(transparent)]
    Corpus(#[from] CorpusError),
    /// The network of the means cannot be run.
    #[error(transparent)]
    Net(#[from] NetError),
    /// Nor be asked.
    #[error(transparent)]
    Fit(#[from] FitError),
    /// The weights cannot be written.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// Two models are not of one kind.
    #[error("{} is not of one kind with the first: its {what} differ", path.display())]
    Differs { path: PathBuf, what: &'static str },
    /// A model is not one that can be averaged.
    #[error("{} holds int8 weights; average the models that they were made from", .0.display())]
    Int8(PathBuf),
}

/// Averages; returns what to tell the user.
///
/// # Errors
/// [`SoupError`] saying what is wrong and where.
pub fn run(args: &SoupArgs) -> Result<String, SoupError> {
    let mut sum: Option<Sum> = None;
    for path in &args.models {
        let bundle = Bundle::load_classifier(path)?;
        match &mut sum {
            None => sum = Some(Sum::of(path, bundle)?),
            Some(sum) => sum.add(path, bundle)?,
        }
    }
    // The command line has two at least.
    let Some(Sum { mut manifest, tokeniser, tokenizer_json, weights, sets, recipe, count }) = sum
    else {
        return Err(BundleError::NotFound(args.models.clone()).into());
    };
    let architecture = manifest.architecture;
    let mean = mean(weights, count);
    let bytes = mean.write(architecture.hidden, true)?;
    // What ships is what is calibrated: through the compact form and back.
    let shipped = Weights::read(&bytes, &architecture)?;
    let net = Net::new(architecture, &shipped, Mode::Inference)?;
    let mut dev: Vec<(Vec<Example>, Vec<Logits>)> = Vec::new();
    for path in &args.dev {
        let examples = load(path, &tokeniser, architecture.positions, 1.0, &[])?;
        let logits = predict(&net, &examples).map_err(FitError::from)?;
        dev.push((examples, logits));
    }
    let files: Vec<Measured> =
        dev.iter().map(|(examples, logits)| examples.iter().zip(logits).collect()).collect();
    let stems =
        |paths: &[PathBuf]| paths.iter().map(|path| stem(path)).collect::<Vec<_>>().join(", ");
    manifest.calibration = tune(&files, &Calibration::default(), false);
    manifest.name = args.name.clone().unwrap_or_else(|| stem(&args.out));
    manifest.version = args.version.clone();
    manifest.trained_on = sets;
    manifest.recipe = recipe;
    manifest.recipe.insert("dev".to_owned(), stems(&args.dev));
    std::fs::create_dir_all(&args.out)
        .map_err(|source| BundleError::Io { path: args.out.clone(), source })?;
    Tokeniser::new(&tokenizer_json, Path::new(TOKENIZER), architecture.positions)
        .map_err(BundleError::from)?;
    Bundle::write(&args.out, manifest, &shipped, &tokenizer_json, true)?;
    let out = args.out.display();
    Ok(format!("{count} models averaged in {out}; try `klankbord eval --model {out} FILE`"))
}

/// Models so far.
struct Sum {
    manifest: Manifest,
    tokeniser: Tokeniser,
    tokenizer_json: Vec<u8>,
    weights: Weights,
    /// What they were trained on, each once.
    sets: Vec<String>,
    /// How each was trained, behind its number.
    recipe: BTreeMap<String, String>,
    count: usize,
}

impl Sum {
    fn of(path: &Path, bundle: Bundle) -> Result<Self, SoupError> {
        let Bundle { manifest, id, weights, tokeniser, tokenizer_json } = bundle;
        if !weights.ints.is_empty() {
            return Err(SoupError::Int8(path.to_owned()));
        }
        let (sets, recipe) = (manifest.trained_on.clone(), numbered(&manifest, &id.digest, 1));
        Ok(Sum { manifest, tokeniser, tokenizer_json, weights, sets, recipe, count: 1 })
    }

    fn add(&mut self, path: &Path, bundle: Bundle) -> Result<(), SoupError> {
        let differs = |what| SoupError::Differs { path: path.to_owned(), what };
        let Bundle { manifest, id, weights, tokenizer_json, .. } = bundle;
        if !weights.ints.is_empty() {
            return Err(SoupError::Int8(path.to_owned()));
        }
        if manifest.architecture != self.manifest.architecture {
            return Err(differs("sizes"));
        }
        if tokenizer_json != self.tokenizer_json {
            return Err(differs("vocabularies"));
        }
        let hidden = manifest.architecture.hidden;
        if weights.words != self.weights.words {
            let mut ours = self.weights.words.to_full(hidden);
            add(&mut ours, &weights.words.to_full(hidden), 1.0 / self.count as f32);
            // Kept as a mean at all times: those that share one have it unrounded.
            let share = self.count as f32 / (self.count + 1) as f32;
            ours.iter_mut().for_each(|value| *value *= share);
            self.weights.words = Words::Full(ours);
        }
        if weights.tensors.len() != self.weights.tensors.len() {
            return Err(differs("weights"));
        }
        for (name, (shape, values)) in &mut self.weights.tensors {
            let Some((_, theirs)) = weights.tensors.get(name).filter(|(own, _)| own == shape)
            else {
                return Err(differs("weights"));
            };
            add(values, theirs, 1.0);
        }
        self.manifest.reads_context |= manifest.reads_context;
        for set in &manifest.trained_on {
            if !self.sets.contains(set) {
                self.sets.push(set.clone());
            }
        }
        self.count += 1;
        self.recipe.extend(numbered(&manifest, &id.digest, self.count));
        Ok(())
    }
}

/// How a model was trained, and which it is, behind its number.
fn numbered(manifest: &Manifest, digest: &str, number: usize) -> BTreeMap<String, String> {
    let own = manifest.recipe.iter().map(|(option, value)| (option.as_str(), value.as_str()));
    own.chain([("digest", digest)])
        .map(|(option, value)| (format!("{number}.{option}"), value.to_owned()))
        .collect()
}

fn add(ours: &mut [f32], theirs: &[f32], share: f32) {
    ours.iter_mut().zip(theirs).for_each(|(ours, theirs)| *ours += share * theirs);
}

/// The mean of summed weights; the words are one already.
fn mean(mut weights: Weights, count: usize) -> Weights {
    for (_, values) in weights.tensors.values_mut() {
        values.iter_mut().for_each(|value| *value /= count as f32);
    }
    weights
}
