//! From a trained model to one of the user's own: what is held out, what is mixed in, what it brought.
//!
//! A few hundred messages of one organisation teach its words and, alone, unteach the rest. So messages
//! like those that the model was trained on are mixed in (replay: Robins 1995, "Catastrophic forgetting,
//! rehearsal and pseudorehearsal"), and a sample of both kinds is measured before and after.
//! May depend on: `model`, `train`.

use std::path::{Path, PathBuf};

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use crate::model::engine::{Engine, EngineError};
use crate::model::labels::Calibration;
use crate::train::corpus::Example;
use crate::train::cross::Scores;
use crate::train::fit::{evaluate, predict};

/// Folder of messages to mix in, beside a model's.
const CORPUS: &str = "corpus";
/// Messages mixed in for each of the user's own.
const PER_OWN: usize = 2;
/// Of those that could be mixed in, how many are held out to see what is forgotten.
const MEASURED: usize = 300;

/// What of some data is trained on, and what measures it.
/// Without a share, all in the order as they came.
pub(super) fn held_out(mut examples: Vec<Example>, share: f64, seed: u64) -> [Vec<Example>; 2] {
    if share == 0.0 {
        return [examples, Vec::new()];
    }
    examples.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
    let held = (examples.len() as f64 * share).round() as usize;
    let rest = examples.split_off(held.min(examples.len()));
    [rest, examples]
}

/// Messages to mix in, and how many of them each epoch draws.
pub(super) struct Replay {
    pub examples: Vec<Example>,
    pub measured: Vec<Example>,
    pub take: usize,
}

impl Replay {
    /// The files of the folder `corpus` beside the model in `from`, in the order of their names.
    pub fn beside(from: &Path) -> Vec<PathBuf> {
        // A path such as `.` has no parent to speak of until it is spelt out.
        let Ok(from) = from.canonicalize() else { return Vec::new() };
        let folder = from.with_file_name(CORPUS);
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
        files.retain(|file| file.extension().is_some_and(|e| e == "jsonl" || e == "csv"));
        files.sort();
        files
    }

    pub fn new(examples: Vec<Example>, own: usize, seed: u64) -> Self {
        let share = MEASURED as f64 / (examples.len().max(1) as f64);
        let [examples, measured] = held_out(examples, share.min(0.2), seed);
        Replay { take: (PER_OWN * own).min(examples.len()), examples, measured }
    }
}

/// Files that are measured before and after.
pub(super) struct Trials {
    before: Vec<Scores>,
}

impl Trials {
    pub fn before(
        engine: &dyn Engine,
        calibration: &Calibration,
        dev: &[(String, Vec<Example>)],
    ) -> Result<Self, EngineError> {
        Ok(Trials { before: scores(engine, calibration, dev)? })
    }

    /// A table for people: macro-F1 before and after.
    pub fn after(
        &self,
        engine: &dyn Engine,
        calibration: &Calibration,
        dev: &[(String, Vec<Example>)],
    ) -> Result<String, EngineError> {
        let mut table =
            String::from("measured on messages that were not trained on, before -> after\n");
        let after = scores(engine, calibration, dev)?;
        for ((name, examples), (before, after)) in dev.iter().zip(self.before.iter().zip(&after)) {
            table += &Scores::compared(name, examples.len(), *before, *after);
        }
        Ok(table)
    }
}

fn scores(
    engine: &dyn Engine,
    calibration: &Calibration,
    dev: &[(String, Vec<Example>)],
) -> Result<Vec<Scores>, EngineError> {
    dev.iter()
        .map(|(_, examples)| {
            Ok(Scores::of(&evaluate(calibration, examples, &predict(engine, examples)?)))
        })
        .collect()
}
