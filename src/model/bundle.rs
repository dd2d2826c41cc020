//! A model on disk: one folder with a manifest, weights and a tokenizer, verified before use.
//!
//! The manifest names every other file with its size and SHA-256; the model's own digest is that of
//! the manifest, so it stands for weights, tokenizer and thresholds together. May depend on:
//! `machine`, `message`, `tokenise`, `model::{base, labels, weights}`.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::base::Architecture;
use super::labels::{Calibration, logit_names};
use super::weights::{Weights, WeightsError};
use crate::machine::map::Mapped;
use crate::message::ModelId;
use crate::tokenise::{TokeniseError, Tokeniser};

/// File that describes the others.
pub const MANIFEST: &str = "manifest.json";
/// File with the weights.
pub const WEIGHTS: &str = "model.safetensors";
/// File with the tokenizer.
pub const TOKENIZER: &str = "tokenizer.json";
/// What to do about a damaged model.
const REMEDY: &str =
    "restore the folder from the release (`git checkout -- models`), or train again";
/// Version of the manifest's own form.
const FORMAT: u32 = 1;

/// Where a model came from and how to read it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of this form.
    pub format: u32,
    /// Name of the model.
    pub name: String,
    /// Version of the model.
    pub version: String,
    /// Sizes of the network.
    pub architecture: Architecture,
    /// BCP 47 tags of the languages that it was trained for.
    pub languages: Vec<String>,
    /// Names of the logits in order; empty for a base encoder, which has no heads.
    pub logits: Vec<String>,
    /// Calibration and thresholds.
    pub calibration: Calibration,
    /// What it was trained on, by file or set.
    pub trained_on: Vec<String>,
    /// How it was trained: options as given.
    pub recipe: BTreeMap<String, String>,
    /// Whether it was trained on replies with the posts that they reply to.
    #[serde(default)]
    pub reads_context: bool,
    /// Every other file.
    pub files: BTreeMap<String, FileDigest>,
}

/// Size and digest of a file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileDigest {
    pub bytes: u64,
    /// SHA-256, hex.
    pub sha256: String,
}

impl FileDigest {
    fn of(bytes: &[u8]) -> Self {
        FileDigest { bytes: bytes.len() as u64, sha256: hex(&Sha256::digest(bytes)) }
    }
}

/// Why a model cannot be used or written.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// No folder with a manifest was found.
    #[error("no model found: looked for {MANIFEST} in {}; name a model folder with --model DIR", list(.0))]
    NotFound(Vec<PathBuf>),
    /// A file that the manifest names cannot be read.
    #[error("{}: {source}; {REMEDY}", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    /// A file or folder cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Io { path: PathBuf, source: std::io::Error },
    /// The manifest is not one.
    #[error("{}: {reason}; {REMEDY}", path.display())]
    Manifest { path: PathBuf, reason: String },
    /// A file is not the one that the manifest names.
    #[error("{} is not the file that {MANIFEST} names: {reason}; {REMEDY}", path.display())]
    Tampered { path: PathBuf, reason: String },
    /// The weights do not fit the manifest.
    #[error("{}: {source}; {REMEDY}", path.display())]
    Weights { path: PathBuf, source: WeightsError },
    /// The tokenizer does not work or fit.
    #[error("{0}; {REMEDY}")]
    Tokenizer(#[from] TokeniseError),
    /// Tokenizer and weights are not of one model.
    #[error("{}: tokenizer has {pieces} pieces, the weights have {rows} rows; {REMEDY}", path.display())]
    Mismatch { path: PathBuf, pieces: usize, rows: usize },
    /// It has no heads, so it gives no labels.
    #[error("{} is a base encoder without labels; train it first (`klankbord train --from …`)", .0.display())]
    NoHeads(PathBuf),
}

/// A verified model.
pub struct Bundle {
    /// What the manifest says.
    pub manifest: Manifest,
    /// Version and digest.
    pub id: Arc<ModelId>,
    /// All weights.
    pub weights: Weights,
    /// Its tokenizer.
    pub tokeniser: Tokeniser,
    /// `tokenizer.json` as it is, to write it on.
    pub tokenizer_json: Vec<u8>,
}

impl Bundle {
    /// Reads and verifies the model in `dir`.
    ///
    /// # Errors
    /// [`BundleError`] naming the file, what is wrong with it and what to do.
    pub fn load(dir: &Path) -> Result<Self, BundleError> {
        Self::load_by(dir, Mapped::open)
    }

    /// Only the manifest of the model in `dir`, and which model that is; its other files are not looked at.
    ///
    /// # Errors
    /// [`BundleError`] where there is none, or it is wrong.
    pub fn manifest(dir: &Path) -> Result<(Manifest, ModelId), BundleError> {
        let path = dir.join(MANIFEST);
        if !path.is_file() {
            return Err(BundleError::NotFound(vec![dir.to_owned()]));
        }
        let bytes = read(&path)?;
        let manifest = parse_manifest(&path, &bytes)?;
        let version = manifest.version.clone();
        Ok((manifest, ModelId { version, digest: hex(&Sha256::digest(&bytes)) }))
    }

    /// As [`Bundle::load`], for files that somebody may shorten meanwhile: nothing is mapped.
    ///
    /// # Errors
    /// As [`Bundle::load`].
    pub fn load_apart(dir: &Path) -> Result<Self, BundleError> {
        Self::load_by(dir, |path| fs::read(path))
    }

    fn load_by<B: Deref<Target = [u8]>>(
        dir: &Path,
        open: impl Fn(&Path) -> std::io::Result<B>,
    ) -> Result<Self, BundleError> {
        let (manifest, id) = Self::manifest(dir)?;
        // Nothing of the map is kept: whatever happens to the file later, the model stays as it is.
        let weights_bytes = verified(dir, WEIGHTS, &manifest, open)?;
        let tokenizer_json = verified(dir, TOKENIZER, &manifest, |path| fs::read(path))?;
        let architecture = &manifest.architecture;
        let weights = Weights::read(&weights_bytes, architecture)
            .map_err(|source| BundleError::Weights { path: dir.join(WEIGHTS), source })?;
        let path = dir.join(TOKENIZER);
        let tokeniser = Tokeniser::new(&tokenizer_json, &path, architecture.positions)?;
        let (pieces, rows) = (tokeniser.vocabulary(), architecture.vocabulary);
        if pieces != rows {
            return Err(BundleError::Mismatch { path, pieces, rows });
        }
        Ok(Bundle { manifest, id: Arc::new(id), weights, tokeniser, tokenizer_json })
    }

    /// As [`Bundle::load`], but only for a model that gives labels.
    ///
    /// # Errors
    /// [`BundleError::NoHeads`] for a base encoder, else as [`Bundle::load`].
    pub fn load_classifier(dir: &Path) -> Result<Self, BundleError> {
        Self::load(dir)?.classifier(dir)
    }

    /// Itself, if it gives labels; `dir` is where it is from.
    ///
    /// # Errors
    /// [`BundleError::NoHeads`] for a base encoder.
    pub fn classifier(self, dir: &Path) -> Result<Self, BundleError> {
        match self.manifest.logits.is_empty() {
            true => Err(BundleError::NoHeads(dir.to_owned())),
            false => Ok(self),
        }
    }

    /// Writes a model to `dir`; `manifest.files` is filled in. The manifest comes last, so a folder
    /// whose writing was cut short is never taken for a model.
    ///
    /// # Errors
    /// [`BundleError::Io`] naming the file, [`BundleError::Weights`] where they cannot be written.
    pub fn write(
        dir: &Path,
        mut manifest: Manifest,
        weights: &Weights,
        tokenizer_json: &[u8],
        compact: bool,
    ) -> Result<(), BundleError> {
        let path = dir.join(WEIGHTS);
        let weights = weights
            .write(manifest.architecture.hidden, compact)
            .map_err(|source| BundleError::Weights { path, source })?;
        manifest.format = FORMAT;
        manifest.files = [(WEIGHTS, weights.as_slice()), (TOKENIZER, tokenizer_json)]
            .map(|(name, bytes)| (name.to_owned(), FileDigest::of(bytes)))
            .into();
        put(dir, &manifest, &[(WEIGHTS, &weights[..]), (TOKENIZER, tokenizer_json)])
    }

    /// Writes the model in `from` to `dir`, which may be the same, with another manifest: its other files stay as they are,
    /// byte for byte.
    ///
    /// # Errors
    /// As [`Bundle::load`] where a file is not the one that the manifest names, [`BundleError::Io`] where one cannot be
    /// written.
    pub fn write_as(from: &Path, dir: &Path, manifest: &Manifest) -> Result<(), BundleError> {
        let files = [WEIGHTS, TOKENIZER].map(|name| {
            let open = |path: &Path| fs::read(path);
            verified(from, name, manifest, open).map(|bytes| (name, bytes))
        });
        let files = files.into_iter().collect::<Result<Vec<_>, _>>()?;
        let files: Vec<(&str, &[u8])> =
            files.iter().map(|(name, bytes)| (*name, bytes.as_slice())).collect();
        put(dir, manifest, &files)
    }

    /// The folder of the model to use: `chosen`, or else `models/nl-en` in the working directory,
    /// beside the binary, or in a folder above it.
    ///
    /// # Errors
    /// [`BundleError::NotFound`] naming every place looked at.
    pub fn find(chosen: Option<&Path>) -> Result<PathBuf, BundleError> {
        const DEFAULT: &str = "models/nl-en";
        if let Some(dir) = chosen {
            return Ok(dir.to_owned());
        }
        let mut places = vec![PathBuf::from(DEFAULT)];
        let binary = std::env::current_exe().ok();
        places.extend(binary.iter().flat_map(|b| b.ancestors().skip(1)).map(|a| a.join(DEFAULT)));
        match places.iter().find(|dir| dir.join(MANIFEST).is_file()) {
            Some(dir) => Ok(dir.clone()),
            None => Err(BundleError::NotFound(places)),
        }
    }
}

/// Writes files and the manifest that names them.
fn put(dir: &Path, manifest: &Manifest, files: &[(&str, &[u8])]) -> Result<(), BundleError> {
    let mut json = serde_json::to_vec_pretty(manifest).map_err(|error| BundleError::Manifest {
        path: dir.join(MANIFEST),
        reason: error.to_string(),
    })?;
    json.push(b'\n');
    fs::create_dir_all(dir).map_err(|source| BundleError::Io { path: dir.to_owned(), source })?;
    for (name, bytes) in files.iter().copied().chain([(MANIFEST, json.as_slice())]) {
        // By renaming: a program that has the old file mapped keeps it whole.
        let (path, new) = (dir.join(name), dir.join(format!("{name}.new")));
        let written = fs::write(&new, bytes).and_then(|()| fs::rename(&new, &path));
        written.map_err(|source| BundleError::Io { path, source })?;
    }
    Ok(())
}

fn parse_manifest(path: &Path, bytes: &[u8]) -> Result<Manifest, BundleError> {
    let wrong = |reason: String| BundleError::Manifest { path: path.to_owned(), reason };
    let manifest: Manifest = serde_json::from_slice(bytes).map_err(|e| wrong(e.to_string()))?;
    if manifest.format != FORMAT {
        return Err(wrong(format!("format {} is not known, only {FORMAT}", manifest.format)));
    }
    if !manifest.architecture.is_sound() {
        return Err(wrong("the sizes of the network are out of range".into()));
    }
    if !manifest.logits.is_empty() && manifest.logits != logit_names() {
        let (found, known) = (manifest.logits.join(", "), logit_names().join(", "));
        return Err(wrong(format!("logits are {found}; this program reads {known}")));
    }
    if !manifest.calibration.are_sound() {
        return Err(wrong("calibration or thresholds are out of range".into()));
    }
    Ok(manifest)
}

fn verified<B: Deref<Target = [u8]>>(
    dir: &Path,
    name: &str,
    manifest: &Manifest,
    open: impl Fn(&Path) -> std::io::Result<B>,
) -> Result<B, BundleError> {
    let path = dir.join(name);
    let Some(expected) = manifest.files.get(name) else {
        let reason = format!("{name} is not listed");
        return Err(BundleError::Manifest { path: dir.join(MANIFEST), reason });
    };
    let bytes = match open(&path) {
        Ok(bytes) => bytes,
        Err(source) => return Err(BundleError::Unreadable { path, source }),
    };
    let found = FileDigest::of(&bytes);
    let reason = if found.bytes != expected.bytes {
        format!("it has {} bytes instead of {}", found.bytes, expected.bytes)
    } else if found.sha256 != expected.sha256 {
        format!("its SHA-256 is {} instead of {}", found.sha256, expected.sha256)
    } else {
        return Ok(bytes);
    };
    Err(BundleError::Tampered { path, reason })
}

fn read(path: &Path) -> Result<Vec<u8>, BundleError> {
    fs::read(path).map_err(|source| BundleError::Unreadable { path: path.to_owned(), source })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn list(places: &[PathBuf]) -> String {
    places.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(", ")
}
