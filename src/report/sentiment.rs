//! How the messages sound: shares of this month, net sentiment over the months.
//!
//! May depend on `chart`, `data`, `figure`, `number`, `page`, `paint`, `table`.

use maud::{Markup, html};

use super::chart::{NARROW, Row, Shape, WIDE};
use super::data::{MonthTotals, Totals};
use super::figure::Figure;
use super::number::{NONE, share};
use super::page::View;
use super::paint::Paint;
use super::table::{self, Table, text};
use super::words::fill;

impl View<'_> {
    pub(super) fn sentiment(self) -> Markup {
        let words = self.words;
        html! {
            section aria-labelledby="sentiment" {
                h2 #sentiment { (words.sentiment) }
                p { (words.net_note) }
                @if self.report.totals.messages == 0 {
                    p.none { (words.no_messages) }
                } @else {
                    (self.shares())
                }
                (self.net_chart())
                (self.net_table())
            }
        }
    }

    /// One bar of three parts with its numbers in words below it; the bar says nothing more.
    fn shares(self) -> Markup {
        let View { report, language, words } = self;
        let parts = self.sentiments().map(|(paint, name, count)| {
            (
                paint,
                name,
                count(&report.totals),
                share(count(&report.totals), report.totals.messages),
            )
        });
        html! {
            h3 { (words.sentiment_share) }
            div.shares aria-hidden="true" {
                @for (paint, _, count, _) in parts.iter().filter(|part| part.2 > 0) {
                    span class=(paint.name()) style={ "flex-grow:" (count) } {}
                }
            }
            ul.legend {
                @for (paint, name, count, part) in parts {
                    li {
                        span class={ "key " (paint.name()) } aria-hidden="true" { "■" } " "
                        (name) " " strong { (language.percent(part)) } " (" (language.count(count)) ")"
                    }
                }
            }
        }
    }

    fn net_chart(self) -> Markup {
        let View { report, language, words } = self;
        let (Some(first), Some(last)) = (report.months.first(), report.months.last()) else {
            return Markup::default();
        };
        if report.months.len() < 2 {
            return Markup::default();
        }
        // A month without messages has no sentiment, not that of zero.
        let values = |value: fn(&Totals) -> f64| -> Vec<Option<f64>> {
            let of =
                |month: &MonthTotals| (month.totals.messages > 0).then(|| value(&month.totals));
            report.months.iter().map(of).collect()
        };
        let band = Shape::Band(values(|totals| totals.net_low), values(|totals| totals.net_high));
        let chart = self.over_months(vec![Row {
            name: words.net.into(),
            values: values(|totals| totals.net),
            paint: Paint::Net,
            shape: band,
        }]);
        let [net, low, high] = self.net_and_interval(&last.totals);
        let description = fill(
            words.net_chart_text,
            &[&language.month(first.month), &language.month(last.month), &net, &low, &high],
        );
        let drawn = [chart.draw(WIDE), chart.draw(NARROW)];
        let title = words.net_chart;
        Figure { id: "net-chart", title, description: &description, legend: Vec::new(), drawn }
            .show()
    }

    fn net_and_interval(self, totals: &Totals) -> [String; 3] {
        match totals.messages {
            0 => [NONE; 3].map(str::to_owned),
            _ => [totals.net, totals.net_low, totals.net_high]
                .map(|value| self.language.signed(value, 2)),
        }
    }

    fn net_table(self) -> Markup {
        let View { report, language, words } = self;
        let rows = report.months.iter().map(|month| {
            let totals = &month.totals;
            let shares = self.sentiments().map(|(_, _, count)| {
                text(&language.percent(share(count(totals), totals.messages)))
            });
            let net = self.net_and_interval(totals).map(|cell| text(&cell));
            let name = language.month(month.month);
            table::Row::new(&name, shares.into_iter().chain(net).collect())
        });
        let columns = [
            words.month,
            words.negative,
            words.neutral,
            words.positive,
            words.net,
            words.low,
            words.high,
        ];
        let table = Table {
            caption: words.net_chart.into(),
            columns: columns.map(str::to_owned).into(),
            groups: Vec::new(),
            rows: rows.collect(),
        };
        html! { @if !report.months.is_empty() { (table.fold(words.figures, false)) } }
    }
}
