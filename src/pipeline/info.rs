//! What is told of a model to whoever reads its verdicts. May depend on the domain and on `model::bundle`.

use std::sync::Arc;

use crate::message::{Language, ModelId, Prevalence};
use crate::model::bundle::Manifest;

/// What GetModel tells: identity and what a client needs to read the verdicts.
#[derive(Clone, Debug)]
pub struct ModelInfo {
    pub id: Arc<ModelId>,
    /// Name of the model, e.g. `nl-en`.
    pub name: String,
    /// BCP 47 tags of the languages that it was trained for.
    pub languages: Vec<String>,
    /// Most tokens that it reads at once.
    pub max_tokens: usize,
    /// Probability from which each intent holds, in the order of `Intent::ALL`.
    pub intent_thresholds: [f32; 4],
    /// The same for messages in a language that has its own, by BCP 47 tag.
    pub thresholds_by_language: Vec<(&'static str, [f32; 4])>,
    /// Probability from which `urgent` holds.
    pub urgent_threshold: f32,
    /// Data sets that it was trained on, by name.
    pub trained_on: Vec<String>,
    /// What does the products of its layers.
    pub kernel: String,
    /// Whether it reads the post that a message replies to.
    pub reads_context: bool,
    /// How common each label is where its probabilities were calibrated.
    pub prevalence: Option<Prevalence>,
}

impl ModelInfo {
    /// Whether the model was not trained for a language that is known.
    pub fn is_foreign(&self, language: Language) -> bool {
        let trained = self.languages.iter().any(|tag| {
            tag.eq_ignore_ascii_case(language.tag()) || Language::from_tag(tag) == language
        });
        language != Language::Undetermined && !trained
    }

    pub(super) fn new(manifest: &Manifest, id: &Arc<ModelId>, kernel: String) -> Self {
        ModelInfo {
            id: Arc::clone(id),
            name: manifest.name.clone(),
            languages: manifest.languages.clone(),
            max_tokens: manifest.architecture.positions,
            thresholds_by_language: manifest.calibration.thresholds.iter().collect(),
            intent_thresholds: manifest.calibration.intents.map(|label| label.threshold),
            urgent_threshold: manifest.calibration.urgent.threshold,
            trained_on: manifest.trained_on.clone(),
            kernel,
            reads_context: manifest.reads_context,
            prevalence: manifest.calibration.prevalence,
        }
    }
}
