//! What was measured, as one HTML page that needs nothing else: no script, no network.
//!
//! The templates escape all that is put in them; messages are written by strangers. The same
//! measurement makes the same page, so that pages can be laid side by side. May depend on `eval`,
//! `message`, `pipeline`.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::chart;
use super::text::{number, percent};
use super::{FileReport, Miss};
use crate::eval::by_label::{ByLabel, LABELS, sureness, wrong};
use crate::eval::consistency::{ConsistencyReport, SURE};
use crate::eval::curve::{CurvePoint, CurveReport};
use crate::eval::flips::RobustnessReport;
use crate::eval::slices::{SMALL, SliceReport, SlicesReport};
use crate::eval::worst::Worst;
use crate::eval::{BinReport, BinaryReport, Report, SentimentReport};
use crate::message::{Intent, Sentiment};
use crate::pipeline::ModelInfo;

const STYLE: &str = include_str!("page.css");
/// Nothing is fetched, whatever a message says: the style above is all that a browser may use.
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

/// The page about `reports`.
pub(super) fn page(reports: &[FileReport], model: &ModelInfo) -> Markup {
    let title = format!("Evaluation of {} {}", model.name, model.id.version);
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="referrer" content="no-referrer";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    h1 { (title) }
                    p.soft.digest {
                        "Model digest " (model.id.digest) ". Measured by klankbord "
                        (env!("CARGO_PKG_VERSION")) "."
                    }
                    p.soft { "This page shows the text of messages: keep it where they may be kept." }
                }
                @for report in reports { (file(report)) }
            }
        }
    }
}

fn file(FileReport { file, card, misses }: &FileReport) -> Markup {
    html! {
        section {
            h2 { (file) }
            (summary(&card.report, &card.review_curve))
            (labels(&card.report))
            (reliability(&card.report))
            @if let Some(sentiment) = &card.report.sentiment { (confusion(sentiment)) }
            (slices(&card.slices))
            (review(&card.review_curve))
            (consistency(&card.consistency))
            @if let Some(robustness) = &card.robustness { (robust(robustness)) }
            (worst(misses))
        }
    }
}

fn summary(report: &Report, curve: &CurveReport) -> Markup {
    let any_wrong = (curve.messages > 0).then(|| curve.wrong as f64 / curve.messages as f64);
    html! {
        dl {
            div { dt { "messages" } dd { (report.n) } }
            div { dt { "macro F1, four intents" } dd { (number(Some(report.intents.macro_f1))) } }
            @if let Some(sentiment) = &report.sentiment {
                div { dt { "macro F1, sentiment" } dd { (number(Some(sentiment.macro_f1))) } }
            }
            @if let Some(exact) = report.intents.exact_match {
                div { dt { "all four intents right" } dd { (percent(Some(exact))) } }
            }
            div { dt { "some label wrong" } dd { (percent(any_wrong)) } }
            div { dt { "needs review" } dd { (percent(report.needs_review)) } }
        }
    }
}

fn labels(report: &Report) -> Markup {
    let intents = Intent::ALL.map(|intent| (intent.name(), report.intents.of(intent)));
    let urgent = report.urgent.as_ref().map(|urgent| ("urgent", urgent));
    html! {
        h3 { "Labels" }
        div.wide { table {
            (head(&["label", "precision", "recall", "F1", "ECE", "support", "labelled"]))
            tbody {
                @for (name, label) in intents.into_iter().chain(urgent) {
                    @let BinaryReport { precision, recall, f1, ece, support, labelled, .. } = label;
                    tr {
                        th scope="row" { (name) }
                        @for value in [precision, recall, f1, ece] { td { (number(Some(*value))) } }
                        td { (support) } td { (labelled) }
                    }
                }
            }
        } }
        @if let Some(sentiment) = &report.sentiment {
            p {
                "Sentiment: accuracy " (number(Some(sentiment.accuracy))) ", macro F1 "
                (number(Some(sentiment.macro_f1))) ", ECE " (number(Some(sentiment.ece))) ", labelled "
                (sentiment.labelled) "."
            }
        }
        p.soft { "ECE is the expected calibration error, in 15 bins of equal width." }
    }
}

fn reliability(report: &Report) -> Markup {
    let mut charts: Vec<(&str, &[BinReport])> =
        Intent::ALL.map(|intent| (intent.name(), report.intents.of(intent).bins.as_slice())).into();
    charts.extend(report.sentiment.iter().map(|label| ("sentiment", label.bins.as_slice())));
    charts.extend(report.urgent.iter().map(|label| ("urgent", label.bins.as_slice())));
    charts.retain(|(_, bins)| bins.iter().any(|bin| bin.n > 0));
    html! {
        @if !charts.is_empty() {
            h3 { "Reliability" }
            p {
                "How often a label is right, by the probability that is given. On the dashed line "
                "probabilities are as good as their word; a larger dot is more messages."
            }
            div.charts {
                @for (name, bins) in &charts {
                    figure { (chart::reliability(name, bins)) figcaption { (name) } }
                }
            }
            details {
                summary { "Reliability in figures" }
                div.wide { table {
                    (head(&["label", "above", "up to", "messages", "mean probability", "share right"]))
                    tbody {
                        @for (name, bins) in &charts {
                            @for bin in bins.iter().filter(|bin| bin.n > 0) {
                                tr {
                                    th scope="row" { (name) }
                                    td { (percent(Some(bin.above))) } td { (percent(Some(bin.upto))) }
                                    td { (bin.n) }
                                    td { (percent(bin.mean_probability)) } td { (percent(bin.share_right)) }
                                }
                            }
                        }
                    }
                } }
            }
        }
    }
}

fn confusion(sentiment: &SentimentReport) -> Markup {
    html! {
        h3 { "Sentiment as labelled and as said" }
        div.wide { table {
            (head(&["labelled", "said negative", "said neutral", "said positive"]))
            tbody {
                @for label in Sentiment::ALL {
                    @let row = sentiment.confusion.of(label);
                    @let cells = [row.negative, row.neutral, row.positive];
                    @let total = cells.iter().sum::<u64>().max(1) as f64;
                    tr {
                        th scope="row" { (label.name()) }
                        @for count in cells {
                            td.heat style={ "--share:" (format!("{:.3}", count as f64 / total)) } { (count) }
                        }
                    }
                }
            }
        } }
    }
}

fn slices(slices: &SlicesReport) -> Markup {
    let SlicesReport { language, channel, characters } = slices;
    let mut columns = vec!["part", "messages", "intents, mean"];
    columns.extend(LABELS);
    html! {
        h3 { "F1 by part of the messages" }
        p {
            "A mean is over the labels that occur in a part or are said in it. A part of fewer than "
            (SMALL) " messages is marked with a star: its numbers are mostly chance."
        }
        div.wide { table {
            (head(&columns))
            tbody {
                @for (name, parts) in
                    [("by language", language), ("by channel", channel), ("by characters", characters)]
                {
                    tr.group { th colspan=(columns.len()) { (name) } }
                    @for part in parts { (slice(part)) }
                }
            }
        } }
    }
}

fn slice(part: &SliceReport) -> Markup {
    html! {
        tr.small[part.small] {
            th scope="row" { (part.name) @if part.small { " *" } }
            td { (part.n) }
            td { (number(part.macro_f1)) }
            @for f1 in part.f1.all() { td { (number(*f1)) } }
        }
    }
}

fn review(curve: &CurveReport) -> Markup {
    let mut columns = vec!["looked at", "messages", "any label"];
    columns.extend(LABELS);
    html! {
        @if curve.messages > 0 {
            h3 { "Review" }
            p {
                (curve.wrong) " of " (curve.messages) " messages have a wrong intent or sentiment. A "
                "person who looks at the most doubtful sees this share of them; the dashed line is "
                "looking at random, the square is what needs_review asks for."
            }
            figure.one { (chart::review(curve)) }
            div.wide { table {
                caption { "Share of the errors that is seen" }
                (head(&columns))
                tbody {
                    @for point in &curve.points { (point_row(&percent(Some(point.share)), point)) }
                    @let name = format!("needs_review, {}", percent(Some(curve.needs_review.share)));
                    (point_row(&name, &curve.needs_review))
                }
            } }
        }
    }
}

fn point_row(name: &str, point: &CurvePoint) -> Markup {
    html! {
        tr {
            th scope="row" { (name) }
            td { (point.flagged) }
            td { (percent(point.caught)) }
            @for caught in point.caught_by_label.all() { td { (percent(*caught)) } }
        }
    }
}

fn consistency(report: &ConsistencyReport) -> Markup {
    let rows = [
        ("compliment and negative, no complaint", report.negative_compliment),
        ("complaint and positive, no compliment", report.positive_complaint),
    ];
    html! {
        h3 { "Contradictions" }
        p {
            "Verdicts that are sure (" (percent(Some(f64::from(SURE)))) " or more) of two labels that "
            "do not go together: " (report.contradictory) " (" (percent(report.share)) ")."
        }
        div.wide { table {
            (head(&["contradiction", "verdicts", "without needs_review"]))
            tbody {
                @for (name, counts) in rows {
                    tr { th scope="row" { (name) } td { (counts.verdicts) } td { (counts.without_review) } }
                }
            }
        } }
    }
}

fn robust(report: &RobustnessReport) -> Markup {
    let mut columns = vec!["change", "messages", "labels", "flipped", "share"];
    columns.extend(LABELS);
    let negations = &report.negations;
    html! {
        h3 { "Robustness" }
        p {
            "Labels that come out otherwise when the same message is written another way; at most "
            (percent(Some(report.target))) " is the target."
        }
        div.wide { table {
            (head(&columns))
            tbody {
                @for change in &report.changes {
                    tr {
                        th scope="row" { (change.change) }
                        td { (change.messages) } td { (change.decisions) } td { (change.flipped) }
                        td.over[change.within_target == Some(false)] { (percent(change.share)) }
                        @for share in change.by_label.all() { td { (percent(*share)) } }
                    }
                }
            }
        } }
        p { "Pairs of sentences of which one denies the other, and both must be labelled rightly:" }
        div.wide { table {
            (head(&["language", "pairs", "both right", "labelled alike"]))
            tbody {
                @for (name, counts) in [("nl", negations.dutch), ("en", negations.english)] {
                    tr {
                        th scope="row" { (name) }
                        td { (counts.pairs) } td { (counts.right) } td { (counts.unmoved) }
                    }
                }
            }
        } }
    }
}

fn worst(misses: &Worst<Miss>) -> Markup {
    html! {
        @if misses.iter().next().is_some() {
            h3 { "Worst misses" }
            p { "The messages of which the model was surest of something wrong, the worst first." }
            ol.misses {
                @for (_, miss) in misses.iter() {
                    li {
                        p.soft {
                            "line " (miss.line)
                            @if !miss.id.is_empty() { ", id " (miss.id) }
                            @if miss.verdict.needs_review { ", needs review" }
                        }
                        blockquote dir="auto" { (miss.text) }
                        @for what in said(miss) { div { (what) } }
                    }
                }
            }
        }
    }
}

/// What is wrong with a verdict, a line for each label.
fn said(miss: &Miss) -> Vec<String> {
    let (wrong, sure) = (wrong(&miss.targets, &miss.verdict), sureness(&miss.verdict));
    let names = ByLabel::from_fn(|at| match (at, miss.targets.sentiment) {
        (4, Some(label)) => {
            format!("sentiment {}, not {}", miss.verdict.sentiment.name(), label.name())
        }
        (4, None) => String::new(),
        (intent, _) if miss.verdict.intents[intent].holds => {
            format!("{}, which it is not", LABELS[intent])
        }
        (intent, _) => format!("no {}, which it is", LABELS[intent]),
    });
    let all = names.all().into_iter().zip(wrong.all()).zip(sure.all());
    all.filter(|((_, wrong), _)| **wrong == Some(true))
        .map(|((name, _), sure)| format!("said: {name} ({})", percent(Some(*sure))))
        .collect()
}

fn head(columns: &[&str]) -> Markup {
    html! { thead { tr { @for column in columns { th scope="col" { (column) } } } } }
}
