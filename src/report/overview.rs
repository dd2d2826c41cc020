//! All figures of the month in one table, beside those of the month before.
//!
//! May depend on `data`, `number`, `page`, `table`.

use maud::{Markup, html};

use super::data::Totals;
use super::number::{NONE, share};
use super::page::View;
use super::table::{Row, Table, text};
use super::words::fill;
use crate::kpi::counts::Adjusted;

/// A count of some totals and its adjusted estimate.
type Count = (&'static str, fn(&Totals) -> u64, Option<fn(&Adjusted) -> f64>);

impl View<'_> {
    pub(super) fn overview(self) -> Markup {
        let View { report, language, words } = self;
        let kinds = [words.counted, words.of_all, words.adjusted];
        let mut months = vec![(language.month(report.period), &report.totals)];
        if let Some(before) = &report.before {
            months.push((self.previous(), before));
        }
        let columns = [words.measure].into_iter().chain(months.iter().flat_map(|_| kinds));
        let counts: [Count; 10] = [
            (words.messages, |t| t.messages, None),
            (words.questions, |t| t.questions, Some(|a| a.questions)),
            (words.complaints, |t| t.complaints, Some(|a| a.complaints)),
            (words.compliments, |t| t.compliments, Some(|a| a.compliments)),
            (words.factual_errors, |t| t.factual_errors, Some(|a| a.factual_errors)),
            (words.negative, |t| t.negative, Some(|a| a.negative)),
            (words.neutral, |t| t.neutral, None),
            (words.positive, |t| t.positive, Some(|a| a.positive)),
            (words.urgent, |t| t.urgent, None),
            (words.needs_review, |t| t.needs_review, None),
        ];
        let mut rows: Vec<Row> = counts
            .into_iter()
            .map(|(name, count, adjusted)| {
                let cells = |totals: &Totals| {
                    let estimate = adjusted.zip(totals.adjusted).map(|(get, all)| get(&all));
                    [
                        language.count(count(totals)),
                        language.percent(share(count(totals), totals.messages)),
                        estimate.map_or_else(|| NONE.into(), |n| language.decimal(n, 0)),
                    ]
                };
                self.row(name, &months, cells)
            })
            .collect();
        let dash = || NONE.to_owned();
        rows.push(self.row(words.answered, &months, |totals| match totals.answered_known {
            true => {
                let part = share(totals.answered, totals.answerable);
                [language.count(totals.answered), language.percent(part), dash()]
            }
            false => [dash(), dash(), dash()],
        }));
        rows.push(self.row(words.response, &months, |totals| {
            [language.duration(totals.response_p50_s), dash(), dash()]
        }));
        rows.push(self.row(words.response_90, &months, |totals| {
            [language.duration(totals.response_p90_s), dash(), dash()]
        }));
        rows.push(self.row(words.net, &months, |totals| [self.net(totals), dash(), dash()]));
        let names: Vec<&str> = months.iter().map(|(month, _)| month.as_str()).collect();
        let caption = match names[..] {
            [now, before] => fill(words.overview_caption, &[now, before]),
            _ => names.concat(),
        };
        let table = Table {
            caption,
            columns: columns.map(str::to_owned).collect(),
            groups: months.iter().map(|(month, _)| (month.clone(), kinds.len())).collect(),
            rows,
        };
        html! {
            section aria-labelledby="overview" {
                h2 #overview { (words.overview) }
                p { (words.overview_note) }
                (table.show())
            }
        }
    }

    /// Net sentiment of `totals`; a dash where there is nothing to feel.
    pub(super) fn net(self, totals: &Totals) -> String {
        match totals.messages {
            0 => NONE.into(),
            _ => self.language.signed(totals.net, 2),
        }
    }

    fn row(
        self,
        name: &str,
        months: &[(String, &Totals)],
        cells: impl Fn(&Totals) -> [String; 3],
    ) -> Row {
        let cells = months.iter().flat_map(|(_, totals)| cells(totals));
        Row::new(name, cells.map(|cell| text(&cell)).collect())
    }
}
