//! Saves where a training run stands, so that it can go on after an interruption.
//!
//! May depend on: `model::net`, `train::optimiser`, `safetensors`.

use std::collections::HashMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use candle_core::{CpuStorage, Device, InplaceOp2, Layout, Tensor};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use super::optimiser::{AdamW, Moments, values_of};
use crate::model::net::Net;

/// File in the output folder that holds the run's state.
const FILE: &str = "checkpoint.safetensors";

/// Why a checkpoint cannot be written or used.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The file cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: std::io::Error },
    /// It is not a checkpoint of this run.
    #[error("{}: {reason}; start anew without --resume", path.display())]
    Foreign { path: PathBuf, reason: String },
    /// The tensor library failed.
    #[error("the tensor library failed: {0}")]
    Tensor(#[from] candle_core::Error),
}

/// Where a run stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Position {
    /// Epochs done.
    pub epoch: usize,
    /// Steps done in the epoch at hand.
    pub step: usize,
    /// Best dev score so far, where one was measured.
    pub best: Option<f64>,
    /// Epochs since then.
    pub stale: usize,
    /// Digest of data order and options; a run goes on only under the same.
    pub run: String,
}

/// Writes the state of a run to `dir`, replacing the one before as a whole.
///
/// # Errors
/// [`CheckpointError::Io`] naming the file.
pub fn save(
    dir: &Path,
    net: &Net,
    optimiser: &AdamW,
    position: &Position,
) -> Result<(), CheckpointError> {
    let (steps, moments) = optimiser.state();
    let mut parts: Vec<(String, Vec<u8>)> = Vec::new();
    let bytes = |values: &[f32]| values.iter().flat_map(|v| v.to_le_bytes()).collect();
    for (index, (parameter, moments)) in net.parameters().iter().zip(&moments).enumerate() {
        parts.push((format!("value.{index}"), bytes(&values_of(&parameter.tensor)?)));
        parts.push((format!("first.{index}"), bytes(&moments.first)));
        parts.push((format!("second.{index}"), bytes(&moments.second)));
        if !moments.average.is_empty() {
            parts.push((format!("average.{index}"), bytes(&moments.average)));
        }
    }
    let mut notes = HashMap::from([
        ("epoch".to_owned(), position.epoch.to_string()),
        ("step".to_owned(), position.step.to_string()),
        ("stale".to_owned(), position.stale.to_string()),
        ("steps".to_owned(), steps.to_string()),
        ("run".to_owned(), position.run.clone()),
    ]);
    notes.extend(position.best.map(|best| ("best".to_owned(), best.to_string())));
    let path = dir.join(FILE);
    let wrong = |reason: String| CheckpointError::Foreign { path: path.clone(), reason };
    let views = parts
        .iter()
        .map(|(name, bytes)| Ok((name, TensorView::new(Dtype::F32, vec![bytes.len() / 4], bytes)?)))
        .collect::<Result<Vec<_>, safetensors::SafeTensorError>>()
        .map_err(|e| wrong(e.to_string()))?;
    let data = safetensors::serialize(views, Some(notes)).map_err(|e| wrong(e.to_string()))?;
    write_whole(&path, &data).map_err(|source| CheckpointError::Io { path: path.clone(), source })
}

/// Takes up the state of a run in `dir`; `run` must be the digest that it was saved with.
///
/// # Errors
/// [`CheckpointError`] where there is none, or it belongs to another run.
pub fn resume(
    dir: &Path,
    net: &Net,
    optimiser: &mut AdamW,
    run: &str,
) -> Result<Position, CheckpointError> {
    let path = dir.join(FILE);
    let data =
        fs::read(&path).map_err(|source| CheckpointError::Io { path: path.clone(), source })?;
    let wrong = |reason: String| CheckpointError::Foreign { path: path.clone(), reason };
    let file = SafeTensors::deserialize(&data).map_err(|e| wrong(e.to_string()))?;
    let (_, header) = SafeTensors::read_metadata(&data).map_err(|e| wrong(e.to_string()))?;
    let notes = header.metadata().clone().unwrap_or_default();
    let note = |name: &str| -> Result<usize, CheckpointError> {
        let value = notes.get(name).and_then(|v| v.parse().ok());
        value.ok_or_else(|| wrong(format!("it does not say {name}")))
    };
    if notes.get("run").map(String::as_str) != Some(run) {
        return Err(wrong("it was made with other data or options".into()));
    }
    let read = |name: String, length: usize| -> Result<Vec<f32>, CheckpointError> {
        let view = file.tensor(&name).map_err(|e| wrong(e.to_string()))?;
        let (values, _) = view.data().as_chunks();
        let values: Vec<f32> = values.iter().map(|b| f32::from_le_bytes(*b)).collect();
        match values.len() == length {
            true => Ok(values),
            false => Err(wrong(format!("{name} has {} values, not {length}", values.len()))),
        }
    };
    let mut moments = Vec::new();
    for (index, parameter) in net.parameters().iter().enumerate() {
        let length = parameter.tensor.elem_count();
        let value =
            Tensor::from_vec(read(format!("value.{index}"), length)?, length, &Device::Cpu)?;
        parameter.tensor.inplace_op2(&value, &Overwrite)?;
        let first = read(format!("first.{index}"), length)?;
        let second = read(format!("second.{index}"), length)?;
        // The options are the same, so an average is there exactly where one is kept.
        let average = match file.tensor("average.0") {
            Ok(_) => read(format!("average.{index}"), length)?,
            Err(_) => Vec::new(),
        };
        moments.push(Moments { first, second, average });
    }
    let steps = i32::try_from(note("steps")?).map_err(|e| wrong(e.to_string()))?;
    optimiser.restore(steps, moments);
    let best = notes.get("best").and_then(|best| best.parse().ok());
    let (epoch, step, stale) = (note("epoch")?, note("step")?, note("stale")?);
    Ok(Position { epoch, step, best, stale, run: run.to_owned() })
}

/// Removes the state of a finished run.
pub fn remove(dir: &Path) {
    // A file left behind costs disk space, nothing else.
    let _ = fs::remove_file(dir.join(FILE));
}

/// Writes a file so that there is the old one or the new one, never half of it.
///
/// # Errors
/// As the file system has it.
pub fn write_whole(path: &Path, data: &[u8]) -> std::io::Result<()> {
    let part = path.with_extension("part");
    let mut file = fs::File::create(&part)?;
    file.write_all(data)?;
    // On disk before its name is, or a power cut could leave an empty file under the old name.
    file.sync_all()?;
    fs::rename(part, path)
}

/// Copies values over those of a trained tensor.
struct Overwrite;

impl InplaceOp2 for Overwrite {
    fn name(&self) -> &'static str {
        "overwrite"
    }

    fn cpu_fwd(
        &self,
        to: &mut CpuStorage,
        _to_layout: &Layout,
        from: &CpuStorage,
        _from_layout: &Layout,
    ) -> candle_core::Result<()> {
        match (to, from) {
            (CpuStorage::F32(to), CpuStorage::F32(from)) if to.len() == from.len() => {
                to.copy_from_slice(from);
                Ok(())
            }
            _ => candle_core::bail!("overwrite: values do not fit"),
        }
    }
}
