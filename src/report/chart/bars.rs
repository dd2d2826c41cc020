//! Bars by name, from the left: the library draws the bars, this file writes the texts beside them.
//!
//! May depend on `chart`, `data`, `paint` and the chart library.

use charts_rs::{Box, HorizontalBarChart};
use maud::{Markup, html};

use super::super::data::Language;
use super::super::paint::Paint;
use super::{Row, Size, UNDER, dress, localise, range, series, value_axis};

/// Room above the first bar.
const BARS_TOP: f32 = 4.0;

/// Rows over names, as bars from the left.
pub(in crate::report) struct Bars {
    pub(in crate::report) labels: Vec<String>,
    pub(in crate::report) rows: Vec<Row>,
    /// What stands behind each label's bars: one text for a stack, one for each row otherwise.
    pub(in crate::report) ends: Vec<Vec<String>>,
    pub(in crate::report) language: Language,
}

impl Bars {
    /// The chart as SVG; absent where the library cannot draw it.
    pub(in crate::report) fn draw(&self, size: Size) -> Option<String> {
        // The library counts names from the bottom, readers from the top.
        let rows = self.rows.iter().map(|row| {
            let mut series = series(row, size);
            series.data.reverse();
            series
        });
        let blank = vec![String::new(); self.labels.len()];
        let mut chart = HorizontalBarChart::new(rows.collect(), blank);
        let (low, high, steps) = range(&self.rows, size.steps);
        let axis = chart.y_axis_configs.first_mut()?;
        *axis = value_axis(axis.clone(), size, (low, high, steps));
        chart.base.width = size.width;
        chart.base.height = self.height(size);
        chart.base.margin =
            Box { left: size.names, top: BARS_TOP, right: size.ends, bottom: UNDER };
        chart.base.x_axis.height = size.below;
        // The library places names by the width that another font would give them.
        chart.base.y_axis_hidden = true;
        dress(&mut chart.base, &self.rows, size);
        let svg = localise(&chart.svg().ok()?, self.language);
        let (svg, end) = svg.rsplit_once("</svg>")?;
        Some(format!("{svg}{}</svg>{end}", self.texts(size, high).into_string()))
    }

    fn height(&self, size: Size) -> f32 {
        BARS_TOP + size.row * self.labels.len() as f32 + size.below + UNDER
    }

    /// Where the middle of bar `bar` of `bars` is, of the name at `at`.
    pub(in crate::report) fn middle(&self, at: usize, bar: usize, bars: usize, size: Size) -> f32 {
        let bars = bars.max(1) as f32;
        // The library's own margin above and below, and gap between bars.
        let height = (size.row - 10.0 - 3.0 * (bars - 1.0)) / bars;
        BARS_TOP + size.row * at as f32 + 5.0 + (height + 3.0) * bar as f32 + height / 2.0
    }

    /// Names before the bars, numbers behind them.
    fn texts(&self, size: Size, high: f64) -> Markup {
        let label = Paint::Label.color().hex();
        let value = |row: &Row, at: usize| {
            row.values.get(at).copied().flatten().filter(|value| value.is_finite())
        };
        let reach = |at: usize, bar: usize, bars: usize| {
            let length = match bars {
                0 | 1 => self.rows.iter().filter_map(|row| value(row, at)).sum(),
                _ => self.rows.get(bar).and_then(|row| value(row, at)).unwrap_or_default(),
            };
            size.names
                + (length / high) as f32 * (size.width - size.names - size.ends)
                + size.font * 0.5
        };
        html! {
            @for (at, name) in self.labels.iter().enumerate() {
                text x=(size.names - size.font * 0.6) y=(self.middle(at, 0, 1, size)) dy=".35em"
                    text-anchor="end" font-size=(size.font) fill=(label)
                { (shorten(name, size.letters)) }
                @let ends = self.ends.get(at).map_or(&[][..], Vec::as_slice);
                @for (bar, end) in ends.iter().enumerate() {
                    text x=(format!("{:.1}", reach(at, bar, ends.len())))
                        y=(self.middle(at, bar, ends.len(), size)) dy=".35em"
                        font-size=(size.font) fill=(label)
                    { (end) }
                }
            }
        }
    }
}

/// At most `most` characters, the last a dot of what is left out.
fn shorten(name: &str, most: usize) -> String {
    if name.chars().count() <= most {
        return name.to_owned();
    }
    let kept: String = name.chars().take(most.saturating_sub(1)).collect();
    format!("{}…", kept.trim_end())
}
