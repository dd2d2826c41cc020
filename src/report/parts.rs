//! Channels and brands: how much of what came in where, and how fast it was answered.
//!
//! May depend on `chart`, `data`, `figure`, `number`, `page`, `paint`, `table`.

use maud::{Markup, html};

use super::chart::{Bars, NARROW, Row, Shape, WIDE};
use super::data::{Part, Totals};
use super::figure::{Figure, legend};
use super::number::{NONE, share};
use super::page::View;
use super::paint::Paint;
use super::table::{self, Table, text};
use super::words::fill;

/// Bars that a chart has at most; the table has all.
const MOST: usize = 12;

impl View<'_> {
    pub(super) fn channels(self) -> Markup {
        let words = self.words;
        html! {
            section aria-labelledby="channels" {
                h2 #channels { (words.by_channel) }
                (self.parts("channels-chart", words.channel_chart, words.channel, &self.report.channels))
            }
        }
    }

    /// One brand is the whole, which has been shown already.
    pub(super) fn brands(self) -> Markup {
        let words = self.words;
        html! {
            @if self.report.brands.len() > 1 {
                section aria-labelledby="brands" {
                    h2 #brands { (words.by_brand) }
                    (self.parts("brands-chart", words.brand_chart, words.brand, &self.report.brands))
                }
            }
        }
    }

    /// The largest of `parts`, the largest first.
    fn largest(self, parts: &[Part], size: fn(&Totals) -> f64) -> Vec<&Part> {
        let mut parts: Vec<_> = parts.iter().filter(|part| size(&part.totals) > 0.0).collect();
        parts.sort_by(|a, b| size(&b.totals).total_cmp(&size(&a.totals)));
        parts.truncate(MOST);
        parts
    }

    /// `name`, or what stands for none.
    fn name(self, name: &str) -> &str {
        if name.trim().is_empty() { self.words.unnamed } else { name }
    }

    fn parts(self, id: &str, title: &str, what: &str, parts: &[Part]) -> Markup {
        let View { language, words, .. } = self;
        let largest = self.largest(parts, |totals| totals.messages as f64);
        let rows = self.sentiments().map(|(paint, name, count)| Row {
            name: name.into(),
            values: largest.iter().map(|part| Some(count(&part.totals) as f64)).collect(),
            paint,
            shape: Shape::Stack,
        });
        let labels = largest.iter().map(|part| self.name(&part.name).to_owned()).collect();
        let counts = largest.iter().map(|part| vec![language.count(part.totals.messages)]);
        let chart = Bars { labels, rows: rows.into(), ends: counts.collect(), language };
        let top = largest.first().map(|part| (self.name(&part.name), part.totals.messages));
        let description =
            top.map(|(name, count)| fill(words.part_chart, &[name, &language.count(count)]));
        let rows = parts
            .iter()
            .map(|part| table::Row::new(self.name(&part.name), self.part_cells(&part.totals)));
        let table = Table {
            caption: format!("{title}. {}", words.adjusted_key),
            columns: self.part_columns(what),
            groups: Vec::new(),
            rows: rows.collect(),
        };
        html! {
            @if let Some(description) = description {
                (Figure {
                    id,
                    title,
                    description: &description,
                    legend: self.sentiment_legend(),
                    drawn: [chart.draw(WIDE), chart.draw(NARROW)],
                }.show())
                @if parts.len() > largest.len() {
                    @let counts = [largest.len(), parts.len()].map(|count| language.count(count as u64));
                    p.soft { (fill(words.largest, &[&counts[0], &counts[1]])) }
                }
            } @else {
                p.none { (words.no_messages) }
            }
            @if !parts.is_empty() { (table.fold(words.figures, true)) }
        }
    }

    pub(super) fn part_columns(self, what: &str) -> Vec<String> {
        let words = self.words;
        let names = [
            what,
            words.messages,
            words.questions,
            words.complaints,
            words.complaint_share,
            words.compliments,
            words.factual_errors,
            words.negative,
            words.neutral,
            words.positive,
            words.answered,
            words.net_short,
        ];
        names.map(str::to_owned).into()
    }

    /// Cells of a row about `totals`, adjusted counts beside raw ones.
    pub(super) fn part_cells(self, totals: &Totals) -> Vec<Markup> {
        let language = self.language;
        let adjusted = totals.adjusted.as_ref();
        let both = |count: u64, estimate: Option<f64>| {
            html! {
                (language.count(count))
                @if let Some(estimate) = estimate {
                    " " span.estimate { "≈ " (language.decimal(estimate, 0)) }
                }
            }
        };
        let answered = match totals.answered_known {
            true => language.percent(share(totals.answered, totals.answerable)),
            false => NONE.into(),
        };
        vec![
            both(totals.messages, None),
            both(totals.questions, adjusted.map(|all| all.questions)),
            both(totals.complaints, adjusted.map(|all| all.complaints)),
            text(&language.percent(share(totals.complaints, totals.messages))),
            both(totals.compliments, adjusted.map(|all| all.compliments)),
            both(totals.factual_errors, adjusted.map(|all| all.factual_errors)),
            both(totals.negative, adjusted.map(|all| all.negative)),
            both(totals.neutral, None),
            both(totals.positive, adjusted.map(|all| all.positive)),
            text(&answered),
            text(&self.net(totals)),
        ]
    }

    pub(super) fn responses(self) -> Markup {
        let View { report, language, words } = self;
        let median = |totals: &Totals| totals.response_p50_s;
        let slow = self.largest(&report.channels, |t| t.response_p50_s.unwrap_or_default());
        let seconds =
            slow.iter().flat_map(|part| [part.totals.response_p50_s, part.totals.response_p90_s]);
        let most = seconds.flatten().filter(|most| most.is_finite()).fold(0.0, f64::max);
        let (unit, divisor) = match most {
            most if most < 2.0 * 3600.0 => (words.minutes, 60.0),
            most if most < 3.0 * 86_400.0 => (words.hours, 3600.0),
            _ => (words.days_unit, 86_400.0),
        };
        let row = |name: &str, paint, value: fn(&Totals) -> Option<f64>| Row {
            name: name.into(),
            values: slow.iter().map(|part| value(&part.totals).map(|s| s / divisor)).collect(),
            paint,
            shape: Shape::Bar,
        };
        let rows = vec![
            row(words.median, Paint::Median, median),
            row(words.ninety, Paint::Ninety, |totals| totals.response_p90_s),
        ];
        let labels = slow.iter().map(|part| self.name(&part.name).to_owned()).collect();
        let ends = slow.iter().map(|part| {
            let Totals { response_p50_s, response_p90_s, .. } = part.totals;
            [response_p50_s, response_p90_s].map(|seconds| language.duration(seconds)).into()
        });
        let chart = Bars { labels, rows, ends: ends.collect(), language };
        let title = fill(words.response_chart, &[unit]);
        let description = slow.first().map(|part| {
            let duration = language.duration(median(&part.totals));
            fill(words.response_chart_text, &[self.name(&part.name), &duration])
        });
        let cells = |totals: &Totals| {
            [language.duration(totals.response_p50_s), language.duration(totals.response_p90_s)]
                .map(|cell| text(&cell))
                .into()
        };
        let rows = report.channels.iter();
        let rows = rows.map(|part| table::Row::new(self.name(&part.name), cells(&part.totals)));
        let table = Table {
            caption: words.response_times.into(),
            columns: [words.channel, words.median, words.ninety].map(str::to_owned).into(),
            groups: Vec::new(),
            rows: rows.collect(),
        };
        html! {
            section aria-labelledby="responses" {
                h2 #responses { (words.response_times) }
                @if let Some(description) = description {
                    (Figure {
                        id: "responses-chart",
                        title: &title,
                        description: &description,
                        legend: legend(&chart.rows),
                        drawn: [chart.draw(WIDE), chart.draw(NARROW)],
                    }.show())
                    (table.fold(words.figures, false))
                } @else {
                    p.none { (words.no_responses) }
                }
            }
        }
    }
}
