//! What follows from a verdict. Depends on nothing but the domain.

use super::{Intent, Judgement, Verdict};

/// The model's own chance that some label is wrong, in [0, 1], as if labels were independent: 1 minus the product
/// of the probabilities of all that is said. Urgency has no say. `sentiment` are probabilities.
pub fn doubt_of(intents: &[Judgement; 4], sentiment: &[f32; 3]) -> f32 {
    let said = |judged: &Judgement| match judged.holds {
        true => judged.probability,
        false => 1.0 - judged.probability,
    };
    let felt = sentiment.iter().copied().fold(0.0, f32::max);
    (1.0 - intents.iter().map(said).product::<f32>() * felt).clamp(0.0, 1.0)
}

impl Verdict {
    /// The judgement on one intent.
    pub fn intent(&self, intent: Intent) -> Judgement {
        self.intents[intent as usize]
    }

    /// p(positive) - p(negative), in [-1, 1].
    pub fn sentiment_score(&self) -> f32 {
        self.sentiment_probabilities[2] - self.sentiment_probabilities[0]
    }

    /// The model's own chance that some label of it is wrong: see [`doubt_of`].
    pub fn doubt(&self) -> f32 {
        doubt_of(&self.intents, &self.sentiment_probabilities)
    }
}
