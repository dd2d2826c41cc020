//! What was measured, as text for people.
//!
//! May depend on `eval` and `message`.

use std::fmt::{self, Display, Formatter};

use super::FileReport;
use crate::eval::by_label::LABELS;
use crate::eval::consistency::ConsistencyReport;
use crate::eval::curve::{CurvePoint, CurveReport};
use crate::eval::flips::RobustnessReport;
use crate::eval::slices::{SMALL, SliceReport, SlicesReport};
use crate::eval::{BinaryReport, ConfusionRow, Report};
use crate::message::{Intent, Sentiment};

impl Display for FileReport {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        labels(f, &self.file, &self.card.report)?;
        curve(f, &self.card.review_curve)?;
        slices(f, &self.card.slices)?;
        consistency(f, &self.card.consistency)?;
        self.card.robustness.as_ref().map_or(Ok(()), |robustness| robust(f, robustness))
    }
}

fn labels(f: &mut Formatter<'_>, file: &str, report: &Report) -> fmt::Result {
    let Report { n, intents, sentiment, urgent, needs_review } = report;
    writeln!(f, "{file}: {n} messages")?;
    writeln!(f, "  label          precision  recall      F1     ECE  support  labelled")?;
    for intent in Intent::ALL {
        binary(f, intent.name(), intents.of(intent))?;
    }
    if let Some(urgent) = urgent {
        binary(f, "urgent", urgent)?;
    }
    writeln!(f, "  macro F1 of the four intents {:.4}", intents.macro_f1)?;
    if let Some(exact) = intents.exact_match {
        writeln!(f, "  all four right {exact:.4} of {}", intents.fully_labelled)?;
    }
    if let Some(sentiment) = sentiment {
        writeln!(
            f,
            "  sentiment: accuracy {:.4}, macro F1 {:.4}, ECE {:.4}, labelled {}",
            sentiment.accuracy, sentiment.macro_f1, sentiment.ece, sentiment.labelled
        )?;
        writeln!(f, "    labelled  | said negative  neutral  positive")?;
        for label in Sentiment::ALL {
            let ConfusionRow { negative, neutral, positive } = sentiment.confusion.of(label);
            writeln!(f, "    {:<9} | {negative:>13} {neutral:>8} {positive:>9}", label.name())?;
        }
    }
    if let Some(share) = needs_review {
        writeln!(f, "  needs review {share:.4}")?;
    }
    Ok(())
}

fn binary(f: &mut Formatter<'_>, name: &str, report: &BinaryReport) -> fmt::Result {
    let BinaryReport { precision, recall, f1, ece, support, labelled, bins: _ } = report;
    writeln!(
        f,
        "  {name:<14} {precision:>9.4} {recall:>7.4} {f1:>7.4} {ece:>7.4} {support:>8} {labelled:>9}"
    )
}

fn curve(f: &mut Formatter<'_>, curve: &CurveReport) -> fmt::Result {
    if curve.messages == 0 {
        return Ok(());
    }
    let CurveReport { messages, wrong, points, needs_review, .. } = curve;
    writeln!(f, "  review: {wrong} of {messages} messages have a wrong intent or sentiment")?;
    write!(f, "    of the most doubtful {:>12}", "any label")?;
    LABELS.iter().try_for_each(|label| write!(f, " {label:>13}"))?;
    writeln!(f)?;
    for point in points {
        caught(f, &format!("{} caught", percent(Some(point.share))), point)?;
    }
    caught(f, &format!("needs review ({})", percent(Some(needs_review.share))), needs_review)
}

fn caught(f: &mut Formatter<'_>, name: &str, point: &CurvePoint) -> fmt::Result {
    write!(f, "    {name:<20} {:>12}", percent(point.caught))?;
    let labels = point.caught_by_label;
    labels.all().into_iter().try_for_each(|share| write!(f, " {:>13}", percent(*share)))?;
    writeln!(f)
}

fn slices(f: &mut Formatter<'_>, slices: &SlicesReport) -> fmt::Result {
    let SlicesReport { language, channel, characters } = slices;
    if language.is_empty() {
        return Ok(());
    }
    write!(f, "  {:<16} {:>7} {:>8}", "F1 by part", "n", "intents")?;
    LABELS.iter().try_for_each(|label| write!(f, " {label:>13}"))?;
    writeln!(f)?;
    for (name, parts) in [("language", language), ("channel", channel), ("characters", characters)]
    {
        writeln!(f, "   {name}")?;
        parts.iter().try_for_each(|part| slice(f, part))?;
    }
    match [language, channel, characters].into_iter().flatten().any(|slice| slice.small) {
        true => writeln!(f, "    * under {SMALL} messages: mostly chance"),
        false => Ok(()),
    }
}

fn slice(f: &mut Formatter<'_>, slice: &SliceReport) -> fmt::Result {
    let mark = if slice.small { "*" } else { "" };
    let name = format!("{}{mark}", slice.name);
    write!(f, "    {name:<14} {:>7} {:>8}", slice.n, number(slice.macro_f1))?;
    slice.f1.all().into_iter().try_for_each(|f1| write!(f, " {:>13}", number(*f1)))?;
    writeln!(f)
}

fn consistency(f: &mut Formatter<'_>, report: &ConsistencyReport) -> fmt::Result {
    let ConsistencyReport { contradictory, share, without_review, .. } = report;
    if share.is_none() {
        return Ok(());
    }
    writeln!(
        f,
        "  contradictory verdicts {contradictory} ({}), without needs review {without_review}",
        percent(*share)
    )
}

fn robust(f: &mut Formatter<'_>, report: &RobustnessReport) -> fmt::Result {
    let RobustnessReport { target, changes, negations } = report;
    writeln!(f, "  written another way       messages  labels  flipped   share")?;
    for change in changes {
        let mark = if change.within_target == Some(false) { "  over target" } else { "" };
        writeln!(
            f,
            "    {:<24} {:>7} {:>7} {:>8} {:>7}{mark}",
            change.change,
            change.messages,
            change.decisions,
            change.flipped,
            percent(change.share)
        )?;
    }
    writeln!(f, "    target: at most {} of the labels", percent(Some(*target)))?;
    writeln!(
        f,
        "  sentence and denial: {} of {} pairs right ({}), {} labelled alike",
        negations.right,
        negations.pairs,
        percent(negations.share),
        negations.unmoved
    )
}

/// A share in percent; a dash where there is nothing to take a share of.
pub(super) fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| "-".into(), |share| format!("{:.1}%", share * 100.0))
}

/// A score in [0, 1]; a dash where there is none.
pub(super) fn number(score: Option<f64>) -> String {
    score.map_or_else(|| "-".into(), |score| format!("{score:.4}"))
}
