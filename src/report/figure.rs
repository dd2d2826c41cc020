//! A chart on the page: its title, its legend, the drawing for wide and for narrow screens.
//!
//! May depend on `chart`, `paint`.

use maud::{Markup, PreEscaped, html};

use super::chart::{Row, Shape};
use super::paint::Paint;

/// A chart with all that says what it shows.
pub(super) struct Figure<'a> {
    /// Unlike that of any other figure on the page.
    pub(super) id: &'a str,
    pub(super) title: &'a str,
    /// What a reader who cannot see the chart is told.
    pub(super) description: &'a str,
    pub(super) legend: Vec<Markup>,
    /// Drawn for wide and for narrow screens.
    pub(super) drawn: [Option<String>; 2],
}

impl Figure<'_> {
    pub(super) fn show(&self) -> Markup {
        html! {
            figure {
                figcaption { (self.title) }
                @if self.legend.len() > 1 {
                    ul.legend { @for entry in &self.legend { li { (entry) } } }
                }
                @for (svg, width) in self.drawn.iter().zip(["wide", "narrow"]) {
                    @if let Some(svg) = svg { div class={ "chart " (width) } { (self.svg(svg, width)) } }
                }
            }
        }
    }

    /// The drawing with its name and description, which the library leaves out.
    fn svg(&self, svg: &str, width: &str) -> Markup {
        let id = format!("{}-{width}", self.id);
        let Some((open, rest)) = svg.strip_prefix("<svg ").and_then(|svg| svg.split_once('>'))
        else {
            return Markup::default();
        };
        html! {
            (PreEscaped(format!(
                "<svg role=\"img\" aria-labelledby=\"{id}-title {id}-desc\" {open}>"
            )))
            title id={ (id) "-title" } { (self.title) }
            desc id={ (id) "-desc" } { (self.description) }
            (PreEscaped(rest))
        }
    }
}

/// Legend of `rows`: each with its mark as the chart draws it.
pub(super) fn legend(rows: &[Row]) -> Vec<Markup> {
    rows.iter().map(|row| key(row.paint, mark(&row.shape), &row.name)).collect()
}

/// A legend's entry. The mark is a letter, so that it prints and grows like text.
pub(super) fn key(paint: Paint, mark: &str, name: &str) -> Markup {
    html! { span class={ "key " (paint.name()) } aria-hidden="true" { (mark) } " " (name) }
}

fn mark(shape: &Shape) -> &'static str {
    match shape {
        Shape::Stack | Shape::Bar | Shape::Square => "■",
        Shape::Circle | Shape::Band(..) => "●",
        Shape::Diamond => "◆",
        Shape::Triangle => "▲",
        Shape::Dashed => "╌╌",
    }
}
