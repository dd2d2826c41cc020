//! The page as a whole: its head, what it is about, and its sections in order.
//!
//! The templates escape all that is put in them; names, words and messages are written by strangers.
//! The same report makes the same page. May depend on all of the report.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::data::{Language, Month, Report};
use super::number::share;
use super::paint;
use super::words::{Words, fill};

const STYLE: &str = include_str!("page.css");
/// Nothing is fetched, whatever a message says: the style above is all that a browser may use.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";

/// The page about `report`, a whole HTML document.
pub fn page(report: &Report) -> String {
    let view = View { report, language: report.language, words: report.language.words() };
    view.page().into_string()
}

/// A report in the language in which it is shown.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    pub(super) report: &'a Report,
    pub(super) language: Language,
    pub(super) words: &'static Words,
}

impl View<'_> {
    fn page(self) -> Markup {
        let View { report, language, words } = self;
        let month = language.month(report.period);
        let whose = report.organisation.as_deref().map(|name| format!("{name} · "));
        html! {
            (DOCTYPE)
            html lang=(language.tag()) {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    meta http-equiv="Content-Security-Policy" content=(POLICY);
                    meta name="referrer" content="no-referrer";
                    title { (whose.unwrap_or_default()) (words.report) " " (month) }
                    style { (PreEscaped(STYLE)) (PreEscaped(paint::rules())) }
                }
                body {
                    header {
                        @if let Some(name) = &report.organisation { p.whose dir="auto" { (name) } }
                        h1 { (words.report) " " span { (month) } }
                        p.about {
                            span { (fill(words.made, &[&report.made])) }
                            span { (fill(words.zone, &[&report.time_zone])) }
                        }
                        @if report.samples.is_some() { p.about { (words.private) } }
                    }
                    main {
                        (self.lead(&month))
                        (self.headline())
                        (self.by_day())
                        (self.by_month())
                        (self.sentiment())
                        (self.channels())
                        (self.brands())
                        (self.responses())
                        (self.rising())
                        (self.crises())
                        (self.samples())
                        (self.overview())
                    }
                    footer { (self.method()) }
                }
            }
        }
    }

    /// The month in two or three sentences.
    fn lead(self, month: &str) -> Markup {
        let View { report, language, words } = self;
        let totals = &report.totals;
        let percent = language.percent(share(totals.complaints, totals.messages));
        let days: Vec<String> =
            report.crises.iter().map(|crisis| language.day(crisis.day, report.period)).collect();
        html! {
            p.lead {
                @if totals.messages == 0 {
                    (fill(words.lead_none, &[month]))
                } @else {
                    (fill(words.lead, &[month, &language.count(totals.messages), &percent]))
                }
                @if !days.is_empty() {
                    " " strong { (fill(words.lead_crises, &[&language.list(&days)])) }
                } @else if report.crisis_watch && totals.messages > 0 {
                    " " (words.lead_calm)
                }
                @if report.previous.is_none() { " " (words.lead_alone) }
            }
        }
    }

    /// The name of the month that is compared with, as it stands in a sentence.
    pub(super) fn previous(self) -> String {
        let name = |month: Month| self.language.month(month);
        self.report.previous.map_or_else(|| self.words.month_before.to_owned(), name)
    }
}
