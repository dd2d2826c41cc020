//! Charts as SVG, drawn by the chart library: here columns and lines over time.
//!
//! A chart is drawn twice, for wide and for narrow screens, since text in an SVG shrinks with it.
//! May depend on `data`, `paint` and the chart library.

mod bars;

use charts_rs::{BarChart, Box, Color, Series, SeriesBand, SeriesCategory};
use charts_rs::{Symbol, XAxisConfig, YAxisConfig};

use super::data::Language;
use super::paint::Paint;

pub(super) use bars::Bars;

/// How large a chart is drawn, in its own units.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    width: f32,
    height: f32,
    font: f32,
    /// Width of lines.
    line: f32,
    /// Half the size of the mark on a point.
    mark: f32,
    /// Room for the numbers of the upright axis.
    axis: f32,
    /// Room above the plot, where days are marked.
    above: f32,
    /// Room below the plot, for the names of days and months.
    below: f32,
    /// Room for the half of the last name that is beyond its place.
    right: f32,
    /// Room for names beside their bars.
    names: f32,
    /// Characters that fit there.
    letters: usize,
    /// Room for numbers behind the bars.
    ends: f32,
    /// Height of one name's bars.
    row: f32,
    /// Parts that the range of an axis is split into, at most about.
    steps: f64,
}

pub(super) const WIDE: Size = Size {
    width: 860.0,
    height: 270.0,
    font: 12.0,
    line: 2.0,
    mark: 3.4,
    axis: 48.0,
    above: 18.0,
    below: 26.0,
    right: 6.0,
    names: 190.0,
    letters: 24,
    ends: 80.0,
    row: 36.0,
    steps: 5.0,
};
/// Twice the size at which it is shown: the library keeps ten units between the bars of two days,
/// and in smaller units than these nothing would be left of the bars.
pub(super) const NARROW: Size = Size {
    width: 680.0,
    height: 460.0,
    font: 22.0,
    line: 4.0,
    mark: 5.2,
    axis: 84.0,
    above: 30.0,
    below: 52.0,
    right: 30.0,
    names: 184.0,
    letters: 13,
    ends: 140.0,
    row: 68.0,
    steps: 4.0,
};

/// Room below the lowest text.
const UNDER: f32 = 2.0;

/// One row of numbers along an axis.
pub(super) struct Row {
    pub(super) name: String,
    pub(super) values: Vec<Option<f64>>,
    pub(super) paint: Paint,
    pub(super) shape: Shape,
}

/// How a row is drawn; what stands on colour alone cannot be told apart by everyone.
pub(super) enum Shape {
    /// Stacked upon the rows before it.
    Stack,
    /// Side by side with the other rows.
    Bar,
    Circle,
    Square,
    Diamond,
    Triangle,
    Dashed,
    /// A line with a band around it, from the lower to the upper ends.
    Band(Vec<Option<f64>>, Vec<Option<f64>>),
}

/// What stands out at a place along the axis.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Highlight {
    pub(super) weekend: bool,
    pub(super) crisis: bool,
}

/// Rows over days or months.
pub(super) struct Columns {
    pub(super) labels: Vec<String>,
    pub(super) rows: Vec<Row>,
    /// One for each label, or none.
    pub(super) highlights: Vec<Highlight>,
    pub(super) language: Language,
}

impl Columns {
    /// The chart as SVG; absent where the library cannot draw it.
    pub(super) fn draw(&self, size: Size) -> Option<String> {
        let rows = self.rows.iter().map(|row| series(row, size)).collect();
        let mut chart = BarChart::new(rows, self.labels.clone());
        let (low, high, steps) = range(&self.rows, size.steps);
        let axis = chart.y_axis_configs.first_mut()?;
        *axis = value_axis(axis.clone(), size, (low, high, steps));
        axis.width = Some(size.axis);
        chart.base.width = size.width;
        chart.base.height = size.height;
        chart.base.margin = Box { left: 0.0, top: size.above, right: size.right, bottom: UNDER };
        chart.base.x_axis.height = size.below;
        // Without this the left end of the axis would not be where the highlights take it to be.
        chart.base.x_axis.boundary_gap = Some(true);
        dress(&mut chart.base, &self.rows, size);
        let svg = chart.svg().ok()?;
        Some(self.highlight(localise(&svg, self.language), size))
    }

    /// Where the middle of the place `at` is, and how wide a place is.
    pub(super) fn place(&self, at: usize, size: Size) -> (f32, f32) {
        let width = (size.width - size.axis - size.right) / self.labels.len().max(1) as f32;
        (size.axis + width * (at as f32 + 0.5), width)
    }

    /// Puts bands for weekends and marks for crises behind what the library drew.
    fn highlight(&self, svg: String, size: Size) -> String {
        let bottom = size.height - UNDER - size.below;
        let mut shapes = String::new();
        for (at, highlight) in self.highlights.iter().enumerate() {
            let (middle, width) = self.place(at, size);
            let left = middle - width / 2.0;
            let band = |class: &str| {
                format!(
                    "<rect class=\"{class}\" x=\"{left:.1}\" y=\"{}\" width=\"{width:.1}\" \
                     height=\"{:.1}\"/>",
                    size.above,
                    bottom - size.above
                )
            };
            if highlight.weekend {
                shapes.push_str(&band("weekend"));
            }
            if highlight.crisis {
                shapes.push_str(&band("crisis"));
                let half = (width / 2.0).min(size.mark * 1.6);
                shapes.push_str(&format!(
                    "<path class=\"crisis-mark\" d=\"M{middle:.1} {:.1}l{half:.1} {:.1}h{:.1}z\"/>",
                    size.above - 3.0,
                    half * -1.7,
                    -2.0 * half
                ));
            }
        }
        match svg.split_once('>') {
            Some((open, rest)) if !shapes.is_empty() => format!("{open}>{shapes}{rest}"),
            _ => svg,
        }
    }
}

/// What all charts have in common: the page's type and colours, and no title or legend of their own.
fn dress(chart: &mut charts_rs::ChartBase, rows: &[Row], size: Size) {
    chart.background_color = Color::transparent();
    chart.font_family = "system-ui".into();
    chart.legend.show = Some(false);
    chart.series.colors = rows.iter().map(|row| row.paint.color()).collect();
    chart.series.stroke_width = size.line;
    chart.grid.stroke_color = Paint::Grid.color();
    let XAxisConfig { stroke_color, font, name_gap, .. } = &mut chart.x_axis;
    *name_gap = size.font * 0.6;
    *stroke_color = Paint::Axis.color();
    font.size = size.font;
    font.color = Paint::Label.color();
}

fn value_axis(axis: YAxisConfig, size: Size, (low, high, steps): (f64, f64, usize)) -> YAxisConfig {
    let mut axis = axis;
    axis.font.size = size.font;
    axis.font.color = Paint::Label.color();
    axis.stroke_color = Color::transparent();
    axis.min = Some(low as f32);
    axis.max = Some(high as f32);
    axis.split_number = steps;
    axis.formatter = Some("{t}".into());
    axis
}

fn series(row: &Row, size: Size) -> Series {
    let values = |values: &[Option<f64>]| -> Vec<Option<f32>> {
        let finite = |value: &Option<f64>| value.filter(|value| value.is_finite());
        values.iter().map(|value| finite(value).map(|value| value as f32)).collect()
    };
    let mut series = Series::new_nullable(row.name.clone(), values(&row.values));
    let mark = |symbol: fn(f32, Option<Color>) -> Symbol, scale: f32| {
        symbol(size.mark * scale, Some(row.paint.color()))
    };
    let symbol = match &row.shape {
        Shape::Stack => {
            series.stack = Some("all".into());
            return series;
        }
        Shape::Bar => return series,
        Shape::Circle => mark(Symbol::Circle, 1.0),
        Shape::Square => mark(Symbol::Rect, 0.9),
        Shape::Diamond => mark(Symbol::Diamond, 1.35),
        Shape::Triangle => mark(Symbol::Triangle, 1.35),
        Shape::Dashed => {
            series.stroke_dash_array = Some(format!("{},{}", size.line * 2.5, size.line * 2.0));
            Symbol::None
        }
        Shape::Band(lower, upper) => {
            series.band = Some(SeriesBand {
                lower: values(lower),
                upper: values(upper),
                ..SeriesBand::default()
            });
            mark(Symbol::Circle, 1.0)
        }
    };
    series.category = Some(SeriesCategory::Line);
    series.symbol = Some(symbol);
    series
}

/// A round range that holds all of `rows` and zero, and the number of its equal, round parts.
fn range(rows: &[Row], steps: f64) -> (f64, f64, usize) {
    let (mut low, mut high) = (0.0_f64, 0.0_f64);
    let mut see = |value: f64| {
        if value.is_finite() {
            low = low.min(value);
            high = high.max(value);
        }
    };
    let places = rows.iter().map(|row| row.values.len()).max().unwrap_or(0);
    for at in 0..places {
        let value = |row: &Row| row.values.get(at).copied().flatten();
        let stacked = rows.iter().filter(|row| matches!(row.shape, Shape::Stack));
        see(stacked.filter_map(value).sum());
        rows.iter().filter_map(value).for_each(&mut see);
    }
    for row in rows {
        if let Shape::Band(lower, upper) = &row.shape {
            lower.iter().chain(upper).flatten().copied().for_each(&mut see);
        }
    }
    // Counts have no parts; what stays below one, such as net sentiment, has tenths.
    let least = if low.abs().max(high) > 1.0 { 1.0 } else { 0.1 };
    let rough = ((high - low) / steps).max(least / 10.0);
    let power = 10.0_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|unit| unit * power);
    let step = step.into_iter().find(|step| *step >= rough * 0.999).unwrap_or(10.0 * power);
    let step = step.max(least);
    let (below, above) = ((low / step).floor(), (high / step).ceil());
    let above = if above > below { above } else { below + 1.0 };
    (below * step, above * step, (above - below) as usize)
}

/// The numbers of an axis as the language writes them; the library knows `1,234.5` only.
fn localise(svg: &str, language: Language) -> String {
    let (thousands, point) = language.marks();
    let mut parts = svg.split("</text>").peekable();
    let mut text = String::with_capacity(svg.len());
    while let Some(part) = parts.next() {
        let start = part.rfind('>').map_or(0, |at| at + 1);
        let (before, inside) = part.split_at(start);
        let number = parts.peek().is_some()
            && inside.trim().bytes().all(|byte| byte.is_ascii_digit() || b",.-".contains(&byte));
        text.push_str(before);
        for letter in inside.chars() {
            text.push(match letter {
                ',' if number => thousands,
                '.' if number => point,
                '-' if number => '−',
                other => other,
            });
        }
        if parts.peek().is_some() {
            text.push_str("</text>");
        }
    }
    text
}
