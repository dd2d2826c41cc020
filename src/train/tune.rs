//! Calibration and thresholds, fitted on dev messages that were not trained on.
//!
//! May depend on: `message`, `model::labels`, `train::corpus`.

use super::corpus::Example;
use crate::message::{Language, Prevalence, Sentiment, doubt_of};
use crate::model::labels::{ByLanguage, Calibration, LabelCalibration, Logits};

/// Share of messages that may be flagged for review.
const REVIEWED: f64 = 0.15;

/// Share of messages that may be flagged because they could be urgent, among those.
const REVIEWED_URGENT: f64 = 0.02;

/// Labelled messages of one file, each with what the network gives for it.
pub type Measured<'a> = Vec<(&'a Example, &'a Logits)>;

/// The logit at `index` of each message of a file of which `label` is known.
fn known(
    file: &Measured,
    index: usize,
    label: &dyn Fn(&Example) -> Option<bool>,
) -> Vec<(f32, bool)> {
    file.iter().filter_map(|(e, z)| label(e).map(|holds| (z[index], holds))).collect()
}

/// Fits how each logit is read: Platt scaling for probabilities, the threshold with the best F1,
/// a temperature for sentiment, the doubt above which review is asked for, of [`REVIEWED`] of the
/// messages at most. Probabilities are fitted on the messages of all files alike, thresholds so that
/// the mean of the files' F1 is best: each stands for a kind of message, and a large file must not choose for a
/// small one. Of what the examples are too few for, `before` stays. With `by_language`, or where it was done
/// before, thresholds are fitted in each language too.
pub fn tune(files: &[Measured], before: &Calibration, by_language: bool) -> Calibration {
    let of_files =
        |index: usize, label: &dyn Fn(&Example) -> Option<bool>| -> Vec<Vec<(f32, bool)>> {
            files.iter().map(|file| known(file, index, label)).collect()
        };
    let intents = std::array::from_fn(|i| {
        calibrate(&of_files(i, &|e: &Example| e.target.intents[i])).unwrap_or(before.intents[i])
    });
    let urgent = calibrate(&of_files(7, &|e: &Example| e.target.urgent)).unwrap_or(before.urgent);
    let by_language = by_language || before.thresholds != ByLanguage::default();
    let in_language = |language: Language| {
        let all = std::array::from_fn(|i| {
            let own = |e: &Example| e.target.intents[i].filter(|_| e.language == language);
            threshold(&intents[i], &of_files(i, &own)).unwrap_or(intents[i].threshold)
        });
        let mut messages = files.iter().flatten();
        (by_language && messages.any(|(e, _)| e.language == language)).then_some(all)
    };
    let thresholds = ByLanguage {
        nl: in_language(Language::Dutch).or(before.thresholds.nl),
        en: in_language(Language::English).or(before.thresholds.en),
    };
    let pairs = files.concat();
    let sentiments: Vec<_> = pairs
        .iter()
        .filter_map(|(e, z)| e.target.sentiment.map(|s| ([z[4], z[5], z[6]], s)))
        .collect();
    let mut calibration = Calibration {
        intents,
        thresholds,
        urgent,
        sentiment_temperature: temperature(&sentiments).unwrap_or(before.sentiment_temperature),
        review_margin: urgent_margin(&urgent, pairs.iter().map(|(_, z)| *z))
            .unwrap_or(before.review_margin),
        review_doubt: before.review_doubt,
        prevalence: prevalence(&pairs).or(before.prevalence),
    };
    calibration.review_doubt = doubt(&calibration, &pairs).or(before.review_doubt);
    calibration
}

/// How common each label is among those that have it told; `None` where one is told of none.
fn prevalence(pairs: &[(&Example, &Logits)]) -> Option<Prevalence> {
    let share = |label: &dyn Fn(&Example) -> Option<bool>| {
        let told: Vec<bool> = pairs.iter().filter_map(|(e, _)| label(e)).collect();
        let holding = told.iter().filter(|holds| **holds).count();
        (!told.is_empty()).then(|| holding as f64 / told.len() as f64)
    };
    let mut intents = [0.0; 4];
    for (i, value) in intents.iter_mut().enumerate() {
        *value = share(&|e| e.target.intents[i])?;
    }
    let mut sentiment = [0.0; 3];
    for (value, each) in sentiment.iter_mut().zip(Sentiment::ALL) {
        *value = share(&|e| e.target.sentiment.map(|s| s == each))?;
    }
    Some(Prevalence { intents, sentiment })
}

/// Platt scaling and the threshold with the best F1 for one yes/no logit, of each file's messages.
fn calibrate(files: &[Vec<(f32, bool)>]) -> Option<LabelCalibration> {
    let pairs = files.concat();
    enough(&pairs)?;
    let (scale, shift) = platt(&pairs);
    let fitted = LabelCalibration { scale, shift, threshold: 0.5 };
    Some(LabelCalibration { threshold: threshold(&fitted, files)?, ..fitted })
}

/// How many of the examples hold; `None` where there is but a handful of either kind: a fit would say more
/// about them than about the label.
fn enough(pairs: &[(f32, bool)]) -> Option<usize> {
    let positives = pairs.iter().filter(|(_, holds)| *holds).count();
    (positives >= 10 && pairs.len() - positives >= 10).then_some(positives)
}

/// The threshold with the best mean over the files of F1, for a logit that is read so. Files with too few examples are
/// taken together; `None` where all of them together have.
fn threshold(fitted: &LabelCalibration, files: &[Vec<(f32, bool)>]) -> Option<f32> {
    let (large, small): (Vec<_>, Vec<_>) = files.iter().partition(|file| enough(file).is_some());
    let rest = small.into_iter().flatten().copied().collect::<Vec<_>>();
    let groups: Vec<(&[(f32, bool)], usize)> = large
        .into_iter()
        .map(Vec::as_slice)
        .chain([rest.as_slice()])
        .filter_map(|file| Some((file, enough(file)?)))
        .collect();
    if groups.is_empty() {
        return None;
    }
    let mut judged: Vec<(f32, bool, usize)> = Vec::new();
    for (group, (pairs, _)) in groups.iter().enumerate() {
        judged.extend(pairs.iter().map(|(z, holds)| (fitted.judge(*z).probability, *holds, group)));
    }
    judged.sort_by(|a, b| b.0.total_cmp(&a.0));
    // F1 at a threshold between each neighbouring two; averaged over neighbouring cuts, since the
    // single best cut owes its place to chance.
    let (mut hits, mut said) = (vec![0usize; groups.len()], vec![0usize; groups.len()]);
    let scores: Vec<f64> = judged
        .iter()
        .map(|&(_, holds, group)| {
            hits[group] += usize::from(holds);
            said[group] += 1;
            let counts = groups.iter().zip(hits.iter().zip(&said));
            let f1s = counts.map(|((_, positives), (hits, said))| {
                2.0 * *hits as f64 / (said + positives) as f64
            });
            f1s.sum::<f64>() / groups.len() as f64
        })
        .collect();
    let reach = (judged.len() / 50).max(1);
    let smooth = |index: usize| {
        let around = &scores[index.saturating_sub(reach)..(index + reach + 1).min(scores.len())];
        around.iter().sum::<f64>() / around.len() as f64
    };
    let best = (0..judged.len()).max_by(|&a, &b| smooth(a).total_cmp(&smooth(b))).unwrap_or(0);
    let next = judged.get(best + 1).map_or(0.0, |judged| judged.0);
    Some(((judged[best].0 + next) / 2.0).clamp(0.1, 0.9))
}

/// Scale and shift with the least logistic loss, by Newton's method, with Platt's smoothed targets.
fn platt(pairs: &[(f32, bool)]) -> (f32, f32) {
    let positives = pairs.iter().filter(|(_, holds)| *holds).count() as f64;
    let negatives = pairs.len() as f64 - positives;
    let (high, low) = ((positives + 1.0) / (positives + 2.0), 1.0 / (negatives + 2.0));
    let loss = |a: f64, b: f64| -> f64 {
        let one = |(z, holds): &(f32, bool)| {
            let (x, y) = (a * f64::from(*z) + b, if *holds { high } else { low });
            x.max(0.0) - x * y + (-x.abs()).exp().ln_1p()
        };
        pairs.iter().map(one).sum()
    };
    let (mut a, mut b) = (1f64, 0f64);
    for _ in 0..50 {
        let (mut ga, mut gb, mut haa, mut hab, mut hbb) = (0.0, 0.0, 1e-9, 0.0, 1e-9);
        for (z, holds) in pairs {
            let z = f64::from(*z);
            let p = 1.0 / (1.0 + (-(a * z + b)).exp());
            let (d, w) = (p - if *holds { high } else { low }, p * (1.0 - p));
            (ga, gb) = (ga + d * z, gb + d);
            (haa, hab, hbb) = (haa + w * z * z, hab + w * z, hbb + w);
        }
        let determinant = haa * hbb - hab * hab;
        let (da, db) = ((hbb * ga - hab * gb) / determinant, (haa * gb - hab * ga) / determinant);
        let before = loss(a, b);
        let mut step = 1.0;
        while step > 1e-6 && loss(a - step * da, b - step * db) > before {
            step /= 2.0;
        }
        (a, b) = (a - step * da, b - step * db);
        if (step * da).abs() + (step * db).abs() < 1e-7 {
            break;
        }
    }
    // A logit that ranks the wrong way round must not be turned about in silence.
    if a > 0.0 { (a as f32, b as f32) } else { (1.0, 0.0) }
}

/// The temperature with the least cross-entropy, by golden-section search over its logarithm.
fn temperature(pairs: &[([f32; 3], Sentiment)]) -> Option<f32> {
    if pairs.len() < 30 {
        return None;
    }
    let loss = |log_t: f64| -> f64 {
        let t = log_t.exp();
        let one = |(z, s): &([f32; 3], Sentiment)| {
            let z = z.map(|z| f64::from(z) / t);
            let most = z.iter().copied().fold(f64::MIN, f64::max);
            most + z.iter().map(|z| (z - most).exp()).sum::<f64>().ln() - z[*s as usize]
        };
        pairs.iter().map(one).sum()
    };
    let ratio = (5f64.sqrt() - 1.0) / 2.0;
    let (mut low, mut high) = (-2f64, 2f64);
    while high - low > 1e-4 {
        let (a, b) = (high - ratio * (high - low), low + ratio * (high - low));
        if loss(a) < loss(b) { high = b } else { low = a }
    }
    Some(((low + high) / 2.0).exp() as f32)
}

/// The margin around the threshold of urgency that takes in [`REVIEWED_URGENT`] of the messages at most; `None`
/// without messages. Where urgency is rare and its threshold low, a fixed margin would take in nearly all.
fn urgent_margin<'a>(
    urgent: &LabelCalibration,
    logits: impl Iterator<Item = &'a Logits>,
) -> Option<f32> {
    let gap = |z: &Logits| (urgent.judge(z[7]).probability - urgent.threshold).abs();
    let mut gaps: Vec<f32> = logits.map(gap).collect();
    gaps.sort_by(f32::total_cmp);
    let most = Calibration::default().review_margin;
    gaps.get((gaps.len() as f64 * REVIEWED_URGENT) as usize).map(|gap| gap.min(most))
}

/// The doubt above which are as many messages as make up [`REVIEWED`] with those that urgency asks review for;
/// `None` without messages.
fn doubt(calibration: &Calibration, messages: &[(&Example, &Logits)]) -> Option<f32> {
    let mut doubts: Vec<f32> = Vec::new();
    for (example, z) in messages {
        if calibration.is_near(&calibration.urgent, calibration.urgent.judge(z[7])) {
            continue;
        }
        let read = calibration.in_language(example.language);
        let intents = std::array::from_fn(|i| read[i].judge(z[i]));
        doubts.push(doubt_of(&intents, &calibration.sentiment(z)));
    }
    doubts.sort_by(|a, b| b.total_cmp(a));
    let near = messages.len() - doubts.len();
    let left = ((messages.len() as f64 * REVIEWED) as usize).saturating_sub(near);
    doubts.get(left).map(|doubt| doubt.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::ModelId;
    use crate::model::labels::Reach;
    use crate::train::loss::Target;

    #[test]
    fn platt_finds_the_true_scale_and_shift() {
        // Labels drawn at their exact rate from p = 1 / (1 + exp(-(2 z - 1))).
        let mut pairs = Vec::new();
        for step in -20..=20 {
            let z = step as f32 / 10.0;
            let p = 1.0 / (1.0 + (-(2.0 * z - 1.0)).exp());
            let positives = (p * 1000.0).round() as usize;
            pairs.extend((0..1000).map(|i| (z, i < positives)));
        }
        let (scale, shift) = platt(&pairs);
        assert!((scale - 2.0).abs() < 0.02 && (shift + 1.0).abs() < 0.02, "{scale} {shift}");
    }

    fn example(urgent: bool) -> Example {
        let target = Target {
            intents: [Some(false); 4],
            sentiment: Some(Sentiment::Neutral),
            urgent: Some(urgent),
            weight: 1.0,
        };
        Example::unread(target)
    }

    /// Review is asked for of a share of the messages, also where urgency is rare and its threshold low, and of none
    /// where all are alike.
    #[test]
    fn review_is_asked_for_of_no_more_than_its_share() {
        let examples: Vec<Example> = (0..400).map(|i| example(i % 40 == 0)).collect();
        let reviewed = |logits: &[Logits]| {
            let files = [examples.iter().zip(logits).collect()];
            let calibration = tune(&files, &Calibration::default(), false);
            assert!(calibration.are_sound());
            let model = std::sync::Arc::new(ModelId { version: "1".into(), digest: "d".into() });
            let reach = Reach {
                tokens_read: 3,
                truncated: false,
                context_read: false,
                language: Language::Undetermined,
                foreign: false,
            };
            let verdict = |z: &Logits| calibration.verdict(z, reach, &model).unwrap();
            logits.iter().filter(|z| verdict(z).needs_review).count()
        };
        let spread: Vec<Logits> = (0..400)
            .map(|i| {
                let (at, urgent) = (i as f32 / 100.0, ((i * 7) % 400) as f32 / 200.0 - 4.0);
                [-at, -4.0, -4.0, -4.0, 0.0, 4.0, 0.0, urgent]
            })
            .collect();
        let found = reviewed(&spread);
        assert!((45..=60).contains(&found), "{found} of 400");
        assert_eq!(reviewed(&vec![[-4.0, -4.0, -4.0, -4.0, 0.0, 4.0, 0.0, -4.0]; 400]), 0);
    }

    #[test]
    fn temperature_finds_how_much_too_sure_the_logits_are() {
        let mut pairs = Vec::new();
        for (sentiment, count) in
            [(Sentiment::Negative, 600), (Sentiment::Neutral, 300), (Sentiment::Positive, 100)]
        {
            let z = [0.6f32.ln() * 3.0, 0.3f32.ln() * 3.0, 0.1f32.ln() * 3.0];
            pairs.extend((0..count).map(|_| (z, sentiment)));
        }
        let t = temperature(&pairs).unwrap();
        assert!((t - 3.0).abs() < 0.01, "{t}");
    }

    #[test]
    fn thresholds_lie_where_f1_is_best_and_few_examples_change_nothing() {
        let pairs: Vec<(f32, bool)> =
            (0..400).map(|i| (i as f32 / 100.0 - 2.0, i >= 300)).collect();
        let fitted = calibrate(std::slice::from_ref(&pairs)).unwrap();
        let held = pairs.iter().filter(|(z, _)| fitted.judge(*z).holds).count();
        assert!((90..=110).contains(&held), "{held} held, 100 do");
        assert_eq!(calibrate(&[pairs[296..304].to_vec()]), None);
        // Too few apart, enough together.
        let parts: Vec<Vec<(f32, bool)>> = pairs[276..324].chunks(4).map(<[_]>::to_vec).collect();
        let held = calibrate(&parts)
            .map(|fitted| pairs[276..324].iter().filter(|(z, _)| fitted.judge(*z).holds).count());
        assert!(held.is_some_and(|held| (20..=28).contains(&held)), "{held:?} held, 24 do");
    }

    /// Where the label begins at one logit in a large file and at another in a small one, taken together the large one
    /// decides; so that the files count alike, the threshold lies between.
    #[test]
    fn a_large_file_does_not_choose_for_a_small_one() {
        let file = |n: usize, to: f32, from: f32| -> Vec<(f32, bool)> {
            let logits = (0..n).map(|i| -4.0 + (to + 4.0) * i as f32 / n as f32);
            logits.map(|z| (z, z >= from)).collect()
        };
        let files = [file(2000, 4.0, 1.0), file(100, 1.0, 0.0)];
        let f1 = |fitted: &LabelCalibration, file: &[(f32, bool)]| {
            let of = |f: &dyn Fn(bool, bool) -> bool| {
                file.iter().filter(|(z, holds)| f(fitted.judge(*z).holds, *holds)).count() as f64
            };
            2.0 * of(&|said, holds| said && holds) / (of(&|said, _| said) + of(&|_, holds| holds))
        };
        let mean = |fitted: &LabelCalibration| {
            files.iter().map(|file| f1(fitted, file)).sum::<f64>() / 2.0
        };
        let alike = calibrate(&files).unwrap();
        let together = calibrate(&[files.concat()]).unwrap();
        assert!(mean(&alike) > mean(&together) + 0.1, "{alike:?} {together:?}");
        let all = files.concat();
        assert!(f1(&together, &all) > f1(&alike, &all));
    }

    /// A language that has thresholds of its own keeps them up to date, also where nobody asks for them again: they would
    /// stand in the way of new ones.
    #[test]
    fn thresholds_by_language_are_fitted_again() {
        let of = |language: Language, from: i32| -> Vec<(Example, Logits)> {
            let one = |i: i32| {
                let mut example = example(false);
                (example.language, example.target.intents) = (language, [Some(i >= from); 4]);
                (example, [i as f32 / 10.0; 8])
            };
            (-50..50).map(one).collect()
        };
        let (examples, logits): (Vec<Example>, Vec<Logits>) =
            [of(Language::Dutch, -10), of(Language::English, 10)].concat().into_iter().unzip();
        let files = [examples.iter().zip(&logits).collect()];
        let plain = tune(&files, &Calibration::default(), false);
        assert_eq!(plain.thresholds, ByLanguage::default());
        let own = tune(&files, &plain, true);
        let held = |language: Language| {
            let read = own.in_language(language)[2];
            (-50..50).filter(|i| read.judge(*i as f32 / 10.0).holds).count()
        };
        let (dutch, english) = (held(Language::Dutch), held(Language::English));
        assert!(dutch.abs_diff(60) < 5 && english.abs_diff(40) < 5, "{dutch} {english}");
        let stale = ByLanguage { nl: Some([0.9; 4]), en: Some([0.9; 4]) };
        let again = tune(&files, &Calibration { thresholds: stale, ..plain }, false);
        assert_eq!(again.thresholds, own.thresholds);
    }
}
