//! From logits to labels: calibration, thresholds, abstention.
//!
//! Probabilities are Platt-scaled logits (Platt 1999, "Probabilistic outputs for support vector
//! machines"), sentiment a softmax at a temperature (Guo et al. 2017,
//! <https://arxiv.org/abs/1706.04599>). May depend on: `message`.

use std::sync::Arc;

use crate::message::{Intent, Judgement, Language, ModelId, Prevalence, Sentiment, Verdict};

/// Number of logits that a network gives: four intents, three sentiments, urgent.
pub const LOGITS: usize = 8;

/// Probability from which labels can contradict each other.
const STRONG: f32 = 0.7;

/// The raw numbers of one message, in the order of [`logit_names`].
pub type Logits = [f32; LOGITS];

/// Names of the logits in order, as the manifest must list them.
pub fn logit_names() -> [&'static str; LOGITS] {
    let [a, b, c, d] = Intent::ALL.map(Intent::name);
    let [e, f, g] = Sentiment::ALL.map(Sentiment::name);
    [a, b, c, d, e, f, g, "urgent"]
}

/// How one yes/no logit is read: `p = 1 / (1 + exp(-(scale·z + shift)))`, holds from `threshold`.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LabelCalibration {
    /// Factor on the logit; above 0.
    pub scale: f32,
    /// Added to it.
    pub shift: f32,
    /// Probability from which the label holds, in [0, 1].
    pub threshold: f32,
}

impl Default for LabelCalibration {
    fn default() -> Self {
        LabelCalibration { scale: 1.0, shift: 0.0, threshold: 0.5 }
    }
}

impl LabelCalibration {
    /// Reads one logit.
    pub fn judge(&self, logit: f32) -> Judgement {
        let probability = 1.0 / (1.0 + (-(self.scale * logit + self.shift)).exp());
        Judgement { probability, holds: probability >= self.threshold }
    }

    fn is_sound(&self) -> bool {
        self.scale.is_finite()
            && self.scale > 0.0
            && self.shift.is_finite()
            && (0.0..=1.0).contains(&self.threshold)
    }
}

/// How a model's logits are read.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// In the order of [`Intent::ALL`].
    pub intents: [LabelCalibration; 4],
    /// Thresholds of the intents for messages in a known language, in place of those above: what is common
    /// in the messages of one is rare in those of another.
    #[serde(default, skip_serializing_if = "ByLanguage::is_empty")]
    pub thresholds: ByLanguage,
    pub urgent: LabelCalibration,
    /// Sentiment logits are divided by this before the softmax.
    pub sentiment_temperature: f32,
    /// A probability nearer to its threshold than this asks for review, as does a most probable
    /// sentiment that leads by less. Of urgency only, where `review_doubt` is given.
    pub review_margin: f32,
    /// [`Verdict::doubt`] above which review is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub review_doubt: Option<f32>,
    /// How common each label is where the probabilities were calibrated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prevalence: Option<Prevalence>,
}

/// Thresholds of the intents, in the order of [`Intent::ALL`], for each language that has its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ByLanguage {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nl: Option<[f32; 4]>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub en: Option<[f32; 4]>,
}

impl ByLanguage {
    fn is_empty(&self) -> bool {
        self.nl.is_none() && self.en.is_none()
    }

    /// Those that there are, by BCP 47 tag.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, [f32; 4])> {
        [("nl", self.nl), ("en", self.en)].into_iter().filter_map(|(tag, all)| Some((tag, all?)))
    }

    fn of(&self, language: Language) -> Option<[f32; 4]> {
        match language {
            Language::Dutch => self.nl,
            Language::English => self.en,
            Language::Other(_) | Language::Undetermined => None,
        }
    }
}

impl Default for Calibration {
    fn default() -> Self {
        Calibration {
            intents: [LabelCalibration::default(); 4],
            thresholds: ByLanguage::default(),
            urgent: LabelCalibration::default(),
            sentiment_temperature: 1.0,
            review_margin: 0.1,
            review_doubt: None,
            prevalence: None,
        }
    }
}

/// What a verdict says beside the labels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reach {
    /// Tokens read.
    pub tokens_read: u32,
    /// The text's end was not read.
    pub truncated: bool,
    /// The post that it replies to was read with it.
    pub context_read: bool,
    /// Detected language.
    pub language: Language,
    /// It is one that the model was not trained for.
    pub foreign: bool,
}

/// Every label of a message, before it is a verdict.
pub(super) struct Judged {
    pub(super) intents: [Judgement; 4],
    pub(super) urgent: Judgement,
    /// In the order of [`Sentiment::ALL`].
    pub(super) sentiment: [f32; 3],
    /// Parts of the message contradict each other.
    pub(super) divided: bool,
}

impl Calibration {
    /// Whether every number can be used.
    pub fn are_sound(&self) -> bool {
        let temperature = self.sentiment_temperature;
        self.intents.iter().chain([&self.urgent]).all(LabelCalibration::is_sound)
            && [self.thresholds.nl, self.thresholds.en]
                .iter()
                .flatten()
                .flatten()
                .all(|threshold| (0.0..=1.0).contains(threshold))
            && self
                .prevalence
                .iter()
                .flat_map(|p| p.intents.iter().chain(&p.sentiment))
                .all(|share| (0.0..=1.0).contains(share))
            && temperature.is_finite()
            && temperature > 0.0
            && (0.0..=1.0).contains(&self.review_margin)
            && self.review_doubt.is_none_or(|doubt| (0.0..=1.0).contains(&doubt))
    }

    /// How the intents are read in a message of that language.
    pub fn in_language(&self, language: Language) -> [LabelCalibration; 4] {
        let mut read = self.intents;
        for (read, threshold) in read.iter_mut().zip(self.thresholds.of(language).iter().flatten())
        {
            read.threshold = *threshold;
        }
        read
    }

    /// The verdict that `logits` amount to; `None` where a logit is not a number, for then nothing
    /// can be said.
    pub fn verdict(&self, logits: &Logits, reach: Reach, model: &Arc<ModelId>) -> Option<Verdict> {
        if logits.iter().any(|z| !z.is_finite()) {
            return None;
        }
        let read = self.in_language(reach.language);
        let judged = Judged {
            intents: std::array::from_fn(|i| read[i].judge(logits[i])),
            urgent: self.urgent.judge(logits[7]),
            sentiment: self.sentiment(logits),
            divided: false,
        };
        Some(self.conclude(judged, reach, model))
    }

    /// The verdict that judgements amount to.
    pub(super) fn conclude(&self, judged: Judged, reach: Reach, model: &Arc<ModelId>) -> Verdict {
        let Judged { intents, urgent, sentiment: probabilities, divided } = judged;
        let mut ranked = [0, 1, 2];
        ranked.sort_by(|&a, &b| probabilities[b].total_cmp(&probabilities[a]));
        let lead = probabilities[ranked[0]] - probabilities[ranked[1]];
        let read = self.in_language(reach.language);
        let close = || {
            intents.iter().zip(&read).any(|(j, r)| self.is_near(r, *j)) || lead < self.review_margin
        };
        let primary =
            Intent::ALL.into_iter().filter(|&i| intents[i as usize].holds).max_by(|&a, &b| {
                intents[a as usize].probability.total_cmp(&intents[b as usize].probability)
            });
        let mut verdict = Verdict {
            intents,
            primary,
            urgent,
            sentiment: Sentiment::ALL[ranked[0]],
            sentiment_probabilities: probabilities,
            needs_review: false,
            language: reach.language,
            tokens_read: reach.tokens_read,
            truncated: reach.truncated,
            context_read: reach.context_read,
            model: Arc::clone(model),
        };
        verdict.needs_review = self.review_doubt.map_or_else(close, |most| verdict.doubt() > most)
            || self.is_near(&self.urgent, urgent)
            || divided
            || reach.foreign
            || contradicts(&intents, &probabilities);
        verdict
    }

    /// Whether a judgement could as well have gone the other way.
    pub(crate) fn is_near(&self, own: &LabelCalibration, judged: Judgement) -> bool {
        (judged.probability - own.threshold).abs() < self.review_margin
    }

    /// Probabilities of the sentiments, in the order of [`Sentiment::ALL`].
    pub fn sentiment(&self, logits: &Logits) -> [f32; 3] {
        let logits = [logits[4], logits[5], logits[6]];
        let most = logits.iter().copied().fold(f32::MIN, f32::max);
        let exp = logits.map(|z| ((z - most) / self.sentiment_temperature).exp());
        let sum: f32 = exp.iter().sum();
        exp.map(|e| e / sum)
    }
}

/// Whether labels that the model is sure of do not go together: strong praise said with displeasure that
/// nothing is complained of, or a strong complaint said with joy that nothing is praised for.
fn contradicts(intents: &[Judgement; 4], sentiments: &[f32; 3]) -> bool {
    let strong = |intent: Intent| intents[intent as usize].probability >= STRONG;
    let holds = |intent: Intent| intents[intent as usize].holds;
    let felt = |sentiment: Sentiment| sentiments[sentiment as usize] >= STRONG;
    (strong(Intent::Compliment) && felt(Sentiment::Negative) && !holds(Intent::Complaint))
        || (strong(Intent::Complaint) && felt(Sentiment::Positive) && !holds(Intent::Compliment))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(calibration: &Calibration, logits: &Logits) -> Option<Verdict> {
        let model = Arc::new(ModelId { version: "1".into(), digest: "d".into() });
        let reach = Reach {
            tokens_read: 3,
            truncated: false,
            context_read: false,
            language: Language::Dutch,
            foreign: false,
        };
        calibration.verdict(logits, reach, &model)
    }

    fn verdict(logits: Logits) -> Option<Verdict> {
        read(&Calibration::default(), &logits)
    }

    #[test]
    fn reads_logits_as_independent_labels_and_one_sentiment() {
        let v = verdict([3.0, 2.0, -4.0, -4.0, 2.0, 0.0, -2.0, 0.05]).unwrap();
        assert!(v.intents[0].holds && v.intents[1].holds && !v.intents[2].holds);
        assert_eq!(v.primary, Some(Intent::Question));
        assert!((v.intents[0].probability - 0.952_574).abs() < 1e-5);
        assert_eq!(v.sentiment, Sentiment::Negative);
        assert!(v.urgent.holds && v.needs_review, "urgent is a hair above its threshold");
        assert_eq!(verdict([-3.0; 8]).unwrap().primary, None);
    }

    #[test]
    fn a_language_can_have_thresholds_of_its_own() {
        let thresholds = ByLanguage { nl: Some([0.7; 4]), en: None };
        let calibration = Calibration { thresholds, ..Calibration::default() };
        assert!(calibration.are_sound());
        let holds = |language| calibration.in_language(language)[1].judge(0.5).holds;
        assert!(!holds(Language::Dutch), "0.62 is under 0.7");
        assert!(holds(Language::English) && holds(Language::Undetermined));
        let written = serde_json::to_string(&calibration).unwrap();
        assert_eq!(serde_json::from_str::<Calibration>(&written).unwrap(), calibration);
        assert!(!serde_json::to_string(&Calibration::default()).unwrap().contains("thresholds"));
        let thresholds = ByLanguage { nl: Some([1.7; 4]), en: None };
        assert!(!Calibration { thresholds, ..calibration }.are_sound());
    }

    /// Each label fairly sure, but not all of them together: what the margin of no single one sees.
    #[test]
    fn doubt_adds_up_over_the_labels() {
        let doubtful = [1.4, 1.4, -1.4, -1.4, 2.0, 0.0, 0.0, -6.0];
        let asks = |review_doubt: Option<f32>, logits: &Logits| {
            let calibration = Calibration { review_doubt, ..Calibration::default() };
            read(&calibration, logits).unwrap().needs_review
        };
        assert!(!asks(None, &doubtful), "no label is near its threshold");
        assert!(asks(Some(0.5), &doubtful) && !asks(Some(0.9), &doubtful));
        assert!(!asks(Some(0.5), &[4.0, -4.0, -4.0, -4.0, 0.0, 6.0, 0.0, -6.0]));
        let near_urgent = [4.0, -4.0, -4.0, -4.0, 0.0, 6.0, 0.0, 0.05];
        assert!(asks(Some(0.9), &near_urgent), "urgency has a margin of its own");
        assert!(!Calibration { review_doubt: Some(1.5), ..Calibration::default() }.are_sound());
    }

    #[test]
    fn contradictory_labels_ask_for_review() {
        // Far from every threshold, so that nothing else asks for it.
        let praise = |complaint: f32, negative: f32| {
            verdict([-4.0, complaint, 4.0, -4.0, negative, 0.0, -negative, -4.0]).unwrap()
        };
        assert!(praise(-4.0, 4.0).needs_review);
        assert!(!praise(4.0, 4.0).needs_review, "a complaint explains it");
        assert!(!praise(-4.0, -4.0).needs_review);
        let glad = verdict([-4.0, 4.0, -4.0, -4.0, -4.0, 0.0, 4.0, -4.0]).unwrap();
        assert!(glad.needs_review, "a complaint told with joy");
    }

    #[test]
    fn nothing_is_said_of_what_is_not_a_number() {
        for bad in [f32::NAN, f32::INFINITY] {
            let mut logits = [0.0; 8];
            logits[5] = bad;
            assert_eq!(verdict(logits), None);
        }
    }

    proptest! {
        #[test]
        fn probabilities_are_probabilities(logits in prop::array::uniform8(-1e4f32..1e4)) {
            let v = verdict(logits).unwrap();
            for judged in v.intents.iter().chain([&v.urgent]) {
                prop_assert!((0.0..=1.0).contains(&judged.probability));
            }
            prop_assert!((v.sentiment_probabilities.iter().sum::<f32>() - 1.0).abs() < 1e-5);
            prop_assert!((-1.0..=1.0).contains(&v.sentiment_score()));
            prop_assert_eq!(v.primary.is_some(), v.intents.iter().any(|j| j.holds));
        }
    }
}
