//! The headline figures, each with its change against the month before.
//!
//! May depend on `data`, `figure`, `number`, `page`, `paint`, `words`.

use maud::{Markup, html};

use super::data::{Change, Measure};
use super::number::{NONE, share};
use super::page::View;
use super::paint::Paint;
use super::words::fill;

/// Below this chance a change is called significant.
pub(super) const SIGNIFICANT: f64 = 0.05;

/// One figure with what it stands for.
struct Card {
    measure: Measure,
    name: &'static str,
    value: String,
    note: String,
    /// The mark and colour that charts show it by.
    key: Option<(Paint, &'static str)>,
}

impl View<'_> {
    pub(super) fn headline(self) -> Markup {
        html! {
            section aria-labelledby="headline" {
                h2 #headline { (self.words.headline) }
                ul.cards { @for card in self.cards() { li { (self.card(&card)) } } }
            }
        }
    }

    fn cards(self) -> [Card; 8] {
        let View { report, language, words } = self;
        let totals = &report.totals;
        let of_messages = |count: u64| match share(count, totals.messages) {
            Some(part) => fill(words.of_messages, &[&language.percent(Some(part))]),
            None => NONE.into(),
        };
        let intent = |measure, name, count, paint, mark| Card {
            measure,
            name,
            value: language.count(count),
            note: of_messages(count),
            key: Some((paint, mark)),
        };
        let plain = |measure, name, value, note| Card { measure, name, value, note, key: None };
        let per_day = match report.days.len() {
            0 => NONE.into(),
            days => language.decimal(totals.messages as f64 / days as f64, 1),
        };
        let (answered, of_answerable) = if totals.answered_known {
            let counts = [totals.answered, totals.answerable].map(|count| language.count(count));
            (
                language.percent(share(totals.answered, totals.answerable)),
                fill(words.of_answerable, &[&counts[0], &counts[1]]),
            )
        } else {
            (NONE.into(), words.answers_unknown.into())
        };
        let response = totals.response_p50_s;
        let half = if response.is_some() { words.half_within } else { words.no_responses };
        let (net, interval) = if totals.messages > 0 {
            let [net, low, high] = [totals.net, totals.net_low, totals.net_high]
                .map(|value| language.signed(value, 2));
            (net, fill(words.interval, &[&low, &high]))
        } else {
            (NONE.into(), NONE.into())
        };
        [
            plain(
                Measure::Messages,
                words.messages,
                language.count(totals.messages),
                fill(words.per_day, &[&per_day]),
            ),
            intent(Measure::Complaints, words.complaints, totals.complaints, Paint::Complaint, "●"),
            intent(Measure::Questions, words.questions, totals.questions, Paint::Question, "■"),
            intent(
                Measure::Compliments,
                words.compliments,
                totals.compliments,
                Paint::Compliment,
                "◆",
            ),
            intent(
                Measure::FactualErrors,
                words.factual_errors,
                totals.factual_errors,
                Paint::FactualError,
                "▲",
            ),
            plain(Measure::Answered, words.answered, answered, of_answerable),
            plain(Measure::Response, words.response, language.duration(response), half.into()),
            plain(Measure::Net, words.net, net, interval),
        ]
    }

    fn card(self, card: &Card) -> Markup {
        let change = self.report.changes.iter().find(|change| change.measure == card.measure);
        html! {
            h3 {
                @if let Some((paint, mark)) = card.key {
                    span class={ "key " (paint.name()) } aria-hidden="true" { (mark) } " "
                }
                (card.name)
            }
            p.value { (card.value) }
            p.note { (card.note) }
            @if let (Some(change), Some(_)) = (change, self.report.previous) {
                (self.change(*change))
            }
        }
    }

    /// What changed, and whether that may be chance; in words, since colour alone says nothing.
    fn change(self, change: Change) -> Markup {
        let View { language, words, .. } = self;
        let (now, before) = (change.now, change.before);
        let difference = now - before;
        let (text, was) = match change.measure {
            Measure::Messages => {
                let relative = (before > 0.0).then(|| difference / before * 100.0);
                let text = relative.map(|part| format!("{}%", language.signed(part, 1)));
                (text, language.decimal(before, 0))
            }
            Measure::Response => {
                let sign = if difference < 0.0 { "−" } else { "+" };
                let size = language.duration(Some(difference.abs()));
                (Some(format!("{sign}{size}")), language.duration(Some(before)))
            }
            Measure::Net => (Some(language.signed(difference, 2)), language.signed(before, 2)),
            _ => (
                Some(format!("{} {}", language.signed(difference * 100.0, 1), words.points)),
                language.percent(Some(before)),
            ),
        };
        let text = text.filter(|_| difference.is_finite());
        let arrow = match difference {
            d if d > 0.0 => "↑ ",
            d if d < 0.0 => "↓ ",
            _ => "",
        };
        html! {
            p.change {
                strong {
                    @match text {
                        Some(_) if difference == 0.0 => (words.same),
                        Some(text) => { span.arrow aria-hidden="true" { (arrow) } (text) }
                        None => (NONE),
                    }
                }
                " " span { (fill(words.against, &[&self.previous()])) " (" (fill(words.was, &[&was])) ")" }
            }
            @if let Some(p) = change.p_value.filter(|p| p.is_finite()) {
                p.test.sure[p < SIGNIFICANT] {
                    @if p < SIGNIFICANT { (words.significant) } @else { (words.not_significant) }
                    " (" (language.p_value(p)) ")"
                }
            }
        }
    }
}
