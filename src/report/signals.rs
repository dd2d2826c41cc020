//! What asks for attention: words that rose, days that look like a crisis, messages as examples.
//!
//! May depend on `data`, `figure`, `number`, `page`, `paint`, `table`.

use maud::{Markup, html};

use super::data::{CrisisDay, Sample};
use super::figure::key;
use super::number::NONE;
use super::page::View;
use super::paint::Paint;
use super::table::{Row, Table, text};
use crate::message::{Intent, Sentiment};

impl View<'_> {
    pub(super) fn rising(self) -> Markup {
        let View { report, language, words } = self;
        let rising = report.words.as_deref();
        let rows = rising.unwrap_or_default().iter().map(|word| {
            let cells = [
                language.count(word.now),
                language.count(word.before),
                language.decimal(word.expected, 1),
                language.decimal(word.score, 1),
            ];
            Row::new(&word.word, cells.map(|cell| text(&cell)).into())
        });
        let columns = [words.word, words.now, words.before_words, words.expected, words.score];
        let table = Table {
            caption: words.words_caption.into(),
            columns: columns.map(str::to_owned).into(),
            groups: Vec::new(),
            rows: rows.collect(),
        };
        html! {
            section aria-labelledby="words" {
                h2 #words { (words.words) }
                @match rising {
                    None => p.none { (words.no_texts) },
                    Some([]) => p.none { (words.no_words) },
                    Some(_) => { p { (words.words_text) } (table.show()) }
                }
            }
        }
    }

    pub(super) fn crises(self) -> Markup {
        let View { report, language, words } = self;
        let cells = |crisis: &CrisisDay| {
            let times = (crisis.expected > 0.0).then(|| crisis.observed as f64 / crisis.expected);
            let times = times.map_or_else(|| NONE.into(), |times| language.decimal(times, 1));
            [
                format!("{:02}:00–{:02}:00", crisis.from_hour, crisis.to_hour),
                language.count(crisis.observed),
                language.decimal(crisis.expected, 1),
                times,
            ]
        };
        let rows = report.crises.iter().map(|crisis| {
            let name = format!("▼ {}", language.day(crisis.day, report.period));
            Row::new(&name, cells(crisis).map(|cell| text(&cell)).into())
        });
        let columns = [words.day, words.hours_of_day, words.seen, words.expected, words.times];
        let table = Table {
            caption: words.crises_caption.into(),
            columns: columns.map(str::to_owned).into(),
            groups: Vec::new(),
            rows: rows.collect(),
        };
        html! {
            section aria-labelledby="crises" {
                h2 #crises { (words.crises) }
                @if !report.crises.is_empty() {
                    p { (words.crises_text) }
                    (table.show())
                } @else if report.crisis_watch {
                    p.none { (words.no_crises) }
                } @else {
                    p.none { (words.no_history) }
                }
            }
        }
    }

    pub(super) fn samples(self) -> Markup {
        html! {
            @if let Some(samples) = &self.report.samples {
                section aria-labelledby="samples" {
                    h2 #samples { (self.words.samples) }
                    @if samples.is_empty() { p.none { (self.words.no_samples) } }
                    ul.samples { @for sample in samples { li { (self.sample(sample)) } } }
                }
            }
        }
    }

    fn sample(self, sample: &Sample) -> Markup {
        let View { report, language, words } = self;
        let intent = |intent: Intent| match intent {
            Intent::Question => key(Paint::Question, "■", words.question),
            Intent::Complaint => key(Paint::Complaint, "●", words.complaint),
            Intent::Compliment => key(Paint::Compliment, "◆", words.compliment),
            Intent::FactualError => key(Paint::FactualError, "▲", words.factual_error),
        };
        let sentiment = match sample.sentiment {
            Sentiment::Negative => words.negative,
            Sentiment::Neutral => words.neutral,
            Sentiment::Positive => words.positive,
        };
        html! {
            blockquote dir="auto" { (sample.text) }
            p.labels {
                span { (language.day(sample.day, report.period)) }
                @if let Some(channel) = &sample.channel { span dir="auto" { (channel) } }
                @for one in &sample.intents { span { (intent(*one)) } }
                span { (words.sentiment) ": " (sentiment) }
            }
        }
    }
}
