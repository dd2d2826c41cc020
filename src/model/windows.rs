//! From the logits of a long text's windows to one verdict.
//!
//! A question in one paragraph is a question, however much else is said, so intents and urgency are
//! looked for; sentiment is of the whole, so it is averaged. May depend on: `message`,
//! `model::labels`.

use std::ops::Range;
use std::sync::Arc;

use super::labels::{Calibration, Judged, LabelCalibration, Logits, Reach};
use crate::message::{Intent, Judgement, ModelId, Span, Verdict};

/// What the model said of one window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Window {
    /// Its logits.
    pub logits: Logits,
    /// Tokens that it has and the window before does not.
    pub fresh: usize,
}

/// Up to so many windows, the most probable one decides by itself.
const FEW: usize = 4;
/// What the last window's sentiment counts more: complaints and reviews conclude at the end.
const LAST: f32 = 2.0;
/// What the first window's sentiment counts more: many begin with what it is about.
const FIRST: f32 = 1.5;
/// A window that gives a sentiment this much is of one mind. Two such windows against each other are
/// for a person to weigh.
const CERTAIN: f32 = 0.8;

impl Calibration {
    /// The verdict that `windows` amount to; that of a single one is [`Calibration::verdict`].
    /// `None` where there are none or a logit is not a number.
    ///
    /// An intent has the probability of its most probable window. Looking in many places finds
    /// chance hits too, so with more than four windows its log odds are lowered by half of
    /// `ln(windows / 4)`: Bonferroni's correction, halved because windows overlap and speak of the
    /// same matter. They are not lowered below those of the second window, for two that say the
    /// same are no chance.
    pub fn document(
        &self,
        windows: &[Window],
        reach: Reach,
        model: &Arc<ModelId>,
    ) -> Option<Verdict> {
        if let [window] = windows {
            return self.verdict(&window.logits, reach, model);
        }
        if windows.is_empty() || windows.iter().any(|w| w.logits.iter().any(|z| !z.is_finite())) {
            return None;
        }
        let logits = |index: usize| windows.iter().map(move |window| window.logits[index]);
        let sentiments: Vec<[f32; 3]> =
            windows.iter().map(|window| self.sentiment(&window.logits)).collect();
        let most = |index: usize| sentiments.iter().map(|s| s[index]).fold(0.0, f32::max);
        let read = self.in_language(reach.language);
        let judged = Judged {
            intents: std::array::from_fn(|i| found(&read[i], logits(i))),
            urgent: self.urgent.judge(logits(7).fold(f32::MIN, f32::max)),
            sentiment: mean(windows, &sentiments),
            divided: most(0) >= CERTAIN && most(2) >= CERTAIN,
        };
        Some(self.conclude(judged, reach, model))
    }

    /// The `sentences`, each with what the model said of it alone, that carry an intent of `verdict`.
    ///
    /// Where none reaches an intent's threshold by itself, it is in several of them; the one that
    /// comes closest is named, with the probability that it has.
    pub fn spans(&self, verdict: &Verdict, sentences: &[(Range<usize>, Logits)]) -> Vec<Span> {
        let read = self.in_language(verdict.language);
        let mut spans = Vec::new();
        for intent in Intent::ALL.into_iter().filter(|&intent| verdict.intent(intent).holds) {
            let label = &read[intent as usize];
            let judged: Vec<(&Range<usize>, Judgement)> = sentences
                .iter()
                .map(|(range, logits)| (range, label.judge(logits[intent as usize])))
                .filter(|(_, judgement)| judgement.probability.is_finite())
                .collect();
            let most = judged.iter().map(|(_, j)| j.probability).fold(0.0, f32::max);
            let none = judged.iter().all(|(_, judgement)| !judgement.holds);
            let named = judged.into_iter().filter(|(_, j)| match none {
                true => j.probability >= most,
                false => j.holds,
            });
            spans.extend(named.map(|(range, judgement)| Span {
                range: range.clone(),
                intent,
                probability: judgement.probability,
            }));
        }
        spans.sort_by_key(|span| (span.range.start, span.intent as usize));
        spans
    }
}

/// An intent, looked for in all windows; see [`Calibration::document`].
fn found(label: &LabelCalibration, logits: impl ExactSizeIterator<Item = f32>) -> Judgement {
    let excess = (logits.len() as f32 / FEW as f32).max(1.0).ln();
    let (mut first, mut second) = (f32::MIN, f32::MIN);
    for logit in logits {
        if logit > first {
            (first, second) = (logit, first);
        } else {
            second = second.max(logit);
        }
    }
    label.judge((first - 0.5 * excess / label.scale).max(second))
}

/// Mean of the windows' sentiments by what each adds to the text, its ends counted more.
fn mean(windows: &[Window], sentiments: &[[f32; 3]]) -> [f32; 3] {
    let last = windows.len() - 1;
    let (mut sum, mut weights) = ([0f32; 3], 0f32);
    for (index, (window, sentiment)) in windows.iter().zip(sentiments).enumerate() {
        let place = match index {
            0 => FIRST,
            _ if index == last => LAST,
            _ => 1.0,
        };
        let weight = place * window.fresh.max(1) as f32;
        weights += weight;
        for (sum, probability) in sum.iter_mut().zip(sentiment) {
            *sum += weight * probability;
        }
    }
    sum.map(|total| total / weights)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::message::{Language, Sentiment};

    fn verdict(windows: &[Window]) -> Option<Verdict> {
        let model = Arc::new(ModelId { version: "1".into(), digest: "d".into() });
        let language = Language::Dutch;
        let reach = Reach {
            tokens_read: 3,
            truncated: false,
            context_read: false,
            language,
            foreign: false,
        };
        Calibration::default().document(windows, reach, &model)
    }

    fn saying(logits: Logits) -> Window {
        Window { logits, fresh: 100 }
    }

    #[test]
    fn one_question_counts_and_a_hint_among_many_windows_counts_less() {
        let nothing = saying([-5.0; 8]);
        let question = |z: f32| saying([z, -5.0, -5.0, -5.0, 0.0, 3.0, 0.0, -5.0]);
        let few = verdict(&[nothing, question(1.0), nothing]).unwrap();
        assert!(few.intents[0].holds && !few.intents[1].holds);
        let mut many = vec![nothing; 40];
        many.push(question(1.0));
        assert!(!verdict(&many).unwrap().intents[0].holds, "one hint in 41 windows");
        many.push(question(1.0));
        assert_eq!(verdict(&many).unwrap().intents[0], few.intents[0], "two are no chance");
        many.push(question(4.0));
        assert!(verdict(&many).unwrap().intents[0].holds);
    }

    #[test]
    fn the_end_decides_a_divided_sentiment_which_is_for_review() {
        let glad = saying([-5.0, -5.0, -5.0, -5.0, -4.0, 0.0, 4.0, -5.0]);
        let sad = saying([-5.0, -5.0, -5.0, -5.0, 4.0, 0.0, -4.0, -5.0]);
        let ends_sad = verdict(&[glad, sad]).unwrap();
        assert!(ends_sad.sentiment == Sentiment::Negative && ends_sad.needs_review);
        assert_eq!(verdict(&[sad, glad]).unwrap().sentiment, Sentiment::Positive);
        assert!(!verdict(&[glad, glad]).unwrap().needs_review);
    }

    #[test]
    fn spans_are_the_sentences_that_hold_or_the_one_that_comes_closest() {
        let calibration = Calibration::default();
        let said =
            |question: f32, complaint: f32| [question, complaint, -5.0, -5.0, 0.0, 3.0, 0.0, -5.0];
        let verdict = verdict(&[saying(said(2.0, 2.0))]).unwrap();
        let sentences =
            [(0..3, said(1.0, -3.0)), (4..9, said(2.0, -1.0)), (9..12, said(-9.0, -2.0))];
        let found = calibration.spans(&verdict, &sentences);
        let found: Vec<_> = found.into_iter().map(|s| (s.range, s.intent)).collect();
        let expected =
            [(0..3, Intent::Question), (4..9, Intent::Question), (4..9, Intent::Complaint)];
        assert_eq!(found, expected);
        assert!(calibration.spans(&verdict, &[]).is_empty());
    }

    #[test]
    fn nothing_is_said_of_no_windows_or_of_no_numbers() {
        assert_eq!(verdict(&[]), None);
        assert_eq!(verdict(&[saying([0.0; 8]), saying([f32::NAN; 8])]), None);
    }

    proptest! {
        #[test]
        fn probabilities_are_probabilities_within_those_of_the_windows(
            logits in prop::collection::vec(prop::array::uniform8(-50f32..50.0), 1..80),
        ) {
            let windows: Vec<_> = logits.iter().map(|l| saying(*l)).collect();
            let v = verdict(&windows).unwrap();
            let alone: Vec<_> = windows.iter().map(|w| verdict(&[*w]).unwrap()).collect();
            for i in 0..4 {
                let most = alone.iter().map(|v| v.intents[i].probability).fold(0.0, f32::max);
                prop_assert!((0.0..=most).contains(&v.intents[i].probability));
            }
            let urgent = alone.iter().map(|v| v.urgent.probability).fold(0.0, f32::max);
            prop_assert_eq!(v.urgent.probability, urgent);
            prop_assert!((v.sentiment_probabilities.iter().sum::<f32>() - 1.0).abs() < 1e-4);
        }
    }
}
