//! How the month went by day, and how it stands among the months before it.
//!
//! May depend on `chart`, `data`, `figure`, `number`, `page`, `paint`, `table`.

use maud::{Markup, html};

use super::chart::{Columns, Highlight, NARROW, Row, Shape, WIDE};
use super::data::{Day, Totals};
use super::figure::{Figure, key, legend};
use super::number::NONE;
use super::page::View;
use super::paint::Paint;
use super::table::{self, Table, text};
use super::words::fill;

/// A sentiment's colour, name and count.
type Mood = (Paint, &'static str, fn(&Totals) -> u64);

impl View<'_> {
    pub(super) fn by_day(self) -> Markup {
        let View { report, words, .. } = self;
        html! {
            section aria-labelledby="days" {
                h2 #days { (words.by_day) }
                @if report.days.iter().all(|day| day.messages == 0) {
                    p.none { (words.no_messages) }
                } @else {
                    (self.sentiment_by_day())
                    (self.intents_by_day())
                    (self.day_table().fold(words.figures, false))
                }
            }
        }
    }

    /// What every chart over days has: days as labels, weekends and crises set apart.
    fn over_days(self, rows: Vec<Row>) -> Columns {
        let days = &self.report.days;
        let highlight = |day: &Day| Highlight { weekend: day.weekday >= 5, crisis: day.crisis };
        Columns {
            labels: days.iter().map(|day| day.day.to_string()).collect(),
            rows,
            highlights: days.iter().map(highlight).collect(),
            language: self.language,
        }
    }

    fn day_row(
        self,
        name: &str,
        paint: Paint,
        shape: Shape,
        value: impl Fn(&Day) -> Option<f64>,
    ) -> Row {
        Row {
            name: name.into(),
            values: self.report.days.iter().map(value).collect(),
            paint,
            shape,
        }
    }

    fn day_figure(
        self,
        id: &str,
        title: &str,
        rows: Vec<Row>,
        text: &str,
        most: fn(&Day) -> u64,
    ) -> Markup {
        let View { report, language, words } = self;
        let chart = self.over_days(rows);
        // Of days alike the first.
        let top = report.days.iter().rev().max_by_key(|day| most(day));
        let name = |day: &Day| language.day(day.day, report.period);
        let (count, day) =
            top.map_or_else(Default::default, |day| (language.count(most(day)), name(day)));
        let mut legend = legend(&chart.rows);
        legend.push(html! { span.key.weekend aria-hidden="true" { "■" } " " (words.weekend) });
        let crises: Vec<String> = report.days.iter().filter(|day| day.crisis).map(name).collect();
        let mut description = fill(text, &[&language.month(report.period), &count, &day]);
        if !crises.is_empty() {
            let marked = fill(words.crisis_mark, &[&language.list(&crises)]);
            description = format!("{description} {marked}.");
            legend.push(html! { span.key.crisis-key aria-hidden="true" { "▼" } " " (marked) });
        }
        let drawn = [chart.draw(WIDE), chart.draw(NARROW)];
        Figure { id, title, description: &description, legend, drawn }.show()
    }

    fn sentiment_by_day(self) -> Markup {
        let words = self.words;
        let rows = vec![
            self.day_row(words.negative, Paint::Negative, Shape::Stack, |day| {
                Some(day.negative as f64)
            }),
            self.day_row(words.neutral, Paint::Neutral, Shape::Stack, |day| {
                Some(day.neutral as f64)
            }),
            self.day_row(words.positive, Paint::Positive, Shape::Stack, |day| {
                Some(day.positive as f64)
            }),
        ];
        self.day_figure("day-sentiment", words.sentiment_by_day, rows, words.day_chart, |day| {
            day.messages
        })
    }

    fn intents_by_day(self) -> Markup {
        let words = self.words;
        let mut rows = vec![
            self.day_row(words.compliments, Paint::Compliment, Shape::Diamond, |day| {
                Some(day.compliments as f64)
            }),
            self.day_row(words.questions, Paint::Question, Shape::Square, |day| {
                Some(day.questions as f64)
            }),
        ];
        if self.report.days.iter().any(|day| day.expected_complaints.is_some()) {
            rows.push(self.day_row(
                words.expected_complaints,
                Paint::Expected,
                Shape::Dashed,
                |day| day.expected_complaints,
            ));
        }
        // Last, so that no other line lies over it.
        rows.push(self.day_row(words.complaints, Paint::Complaint, Shape::Circle, |day| {
            Some(day.complaints as f64)
        }));
        self.day_figure("day-intents", words.intents_by_day, rows, words.line_chart, |day| {
            day.complaints
        })
    }

    fn day_table(self) -> Table {
        let View { report, language, words } = self;
        let rows = report.days.iter().map(|day| {
            let counts = [
                day.messages,
                day.questions,
                day.complaints,
                day.compliments,
                day.factual_errors,
                day.negative,
                day.neutral,
                day.positive,
            ];
            let mut cells: Vec<Markup> = counts.map(|count| text(&language.count(count))).into();
            let expected = day.expected_complaints.map(|expected| language.decimal(expected, 1));
            cells.insert(3, text(expected.as_deref().unwrap_or(NONE)));
            let name = html! {
                (language.weekday(day.weekday)) " " (day.day)
                @if day.crisis { " " strong { "▼ " (words.crisis) } }
            };
            table::Row { name, cells, marked: day.crisis }
        });
        let columns = [
            words.day,
            words.messages,
            words.questions,
            words.complaints,
            words.expected_complaints,
            words.compliments,
            words.factual_errors,
            words.negative,
            words.neutral,
            words.positive,
        ];
        Table {
            caption: format!("{}, {}", words.by_day, language.month(report.period)),
            columns: columns.map(str::to_owned).into(),
            groups: Vec::new(),
            rows: rows.collect(),
        }
    }

    pub(super) fn by_month(self) -> Markup {
        let View { report, language, words } = self;
        let (Some(first), Some(last)) = (report.months.first(), report.months.last()) else {
            return Markup::default();
        };
        let row = |name: &str, paint, shape, count: fn(&Totals) -> u64| Row {
            name: name.into(),
            values: report.months.iter().map(|month| Some(count(&month.totals) as f64)).collect(),
            paint,
            shape,
        };
        let rows = vec![
            row(words.factual_errors, Paint::FactualError, Shape::Triangle, |t| t.factual_errors),
            row(words.compliments, Paint::Compliment, Shape::Diamond, |t| t.compliments),
            row(words.questions, Paint::Question, Shape::Square, |t| t.questions),
            row(words.complaints, Paint::Complaint, Shape::Circle, |t| t.complaints),
        ];
        let chart = self.over_months(rows);
        let description = fill(
            words.month_chart_text,
            &[
                &language.month(first.month),
                &language.month(last.month),
                &language.count(last.totals.complaints),
            ],
        );
        let figure = Figure {
            id: "months-chart",
            title: words.month_chart,
            description: &description,
            legend: legend(&chart.rows),
            drawn: [chart.draw(WIDE), chart.draw(NARROW)],
        };
        let rows = report.months.iter().map(|month| {
            table::Row::new(&language.month(month.month), self.part_cells(&month.totals))
        });
        let table = Table {
            caption: format!("{}. {}", words.by_month, words.adjusted_key),
            columns: self.part_columns(words.month),
            groups: Vec::new(),
            rows: rows.collect(),
        };
        html! {
            section aria-labelledby="months" {
                h2 #months { (words.by_month) }
                @if report.months.len() > 1 { (figure.show()) }
                (table.fold(words.figures, false))
            }
        }
    }

    /// What every chart over months has.
    pub(super) fn over_months(self, rows: Vec<Row>) -> Columns {
        let name = |month| self.language.month_short(month);
        Columns {
            labels: self.report.months.iter().map(|month| name(month.month)).collect(),
            rows,
            highlights: Vec::new(),
            language: self.language,
        }
    }

    /// The three sentiments, in the order in which every stack has them.
    pub(super) fn sentiments(self) -> [Mood; 3] {
        [
            (Paint::Negative, self.words.negative, |totals| totals.negative),
            (Paint::Neutral, self.words.neutral, |totals| totals.neutral),
            (Paint::Positive, self.words.positive, |totals| totals.positive),
        ]
    }

    pub(super) fn sentiment_legend(self) -> Vec<Markup> {
        self.sentiments().map(|(paint, name, _)| key(paint, "■", name)).into()
    }
}
