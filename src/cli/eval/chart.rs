//! Charts as inline SVG: reliability diagrams and the review curve.
//!
//! Colours come from the page's style sheet, so that a chart follows its light or dark. Each is
//! described in words, and the page has its table beside it. May depend on `eval`.

use maud::{Markup, html};

use super::text::percent;
use crate::eval::BinReport;
use crate::eval::curve::CurveReport;

/// Inside of a chart, in SVG units; around it is room for the axes.
const SIZE: f64 = 220.0;
const LEFT: f64 = 46.0;
const TOP: f64 = 10.0;
const VIEW: &str = "0 0 280 278";

/// Place of a share along the horizontal axis.
fn x(share: f64) -> String {
    format!("{:.1}", LEFT + share * SIZE)
}

/// Place of a share along the vertical axis, which SVG counts downward.
fn y(share: f64) -> String {
    format!("{:.1}", TOP + (1.0 - share) * SIZE)
}

/// What both kinds of chart have: the grid, the diagonal, the axes' names.
fn frame(across: &str, up: &str, content: &Markup) -> Markup {
    html! {
        @for step in 0..=4 {
            @let at = f64::from(step) / 4.0;
            line.grid x1=(x(0.0)) x2=(x(1.0)) y1=(y(at)) y2=(y(at)) {}
            line.grid x1=(x(at)) x2=(x(at)) y1=(y(0.0)) y2=(y(1.0)) {}
            text.tick x=(x(0.0)) dx="-6" y=(y(at)) dy="4" text-anchor="end" { (tick(at)) }
            text.tick x=(x(at)) y=(y(0.0)) dy="16" text-anchor="middle" { (tick(at)) }
        }
        line.diagonal x1=(x(0.0)) y1=(y(0.0)) x2=(x(1.0)) y2=(y(1.0)) {}
        text.axis x=(x(0.5)) y=(y(0.0)) dy="36" text-anchor="middle" { (across) }
        text.axis x=(-(TOP + SIZE / 2.0)) y="12" transform="rotate(-90)" text-anchor="middle" {
            (up)
        }
        (content)
    }
}

fn tick(share: f64) -> String {
    format!("{:.0}%", share * 100.0)
}

/// How often a label of some probability holds: on the diagonal, as often as is said.
pub(super) fn reliability(name: &str, bins: &[BinReport]) -> Markup {
    let n: u64 = bins.iter().map(|bin| bin.n).sum();
    let filled: Vec<(f64, f64, u64)> = bins
        .iter()
        .filter_map(|bin| Some((bin.mean_probability?, bin.share_right?, bin.n)))
        .collect();
    let dots = html! {
        polyline.series points=(points(filled.iter().map(|(p, right, _)| (*p, *right)))) {}
        @for (p, right, count) in &filled {
            // The area stands for the number of messages.
            @let radius = 2.5 + 9.0 * (*count as f64 / n as f64).sqrt();
            circle.dot cx=(x(*p)) cy=(y(*right)) r=(format!("{radius:.1}")) {
                title { (percent(Some(*p))) " said, " (percent(Some(*right))) " right, of " (count) }
            }
        }
    };
    html! {
        svg viewBox=(VIEW) role="img"
            aria-label={ "Reliability of " (name) ": share right by probability, in " (filled.len()) " bins" }
        { (frame("probability", "share right", &dots)) }
    }
}

/// Share of the wrong messages that is seen by who looks at the most doubtful.
pub(super) fn review(curve: &CurveReport) -> Markup {
    let inner = curve.points.iter().filter_map(|point| Some((point.share, point.caught?)));
    let line = [(0.0, 0.0)].into_iter().chain(inner.clone()).chain([(1.0, 1.0)]);
    let marked = curve.needs_review;
    let content = html! {
        polyline.series points=(points(line)) {}
        @for (share, caught) in inner {
            circle.dot cx=(x(share)) cy=(y(caught)) r="3.5" {
                title { (percent(Some(caught))) " caught at " (percent(Some(share))) }
            }
        }
        @if let Some(caught) = marked.caught {
            // On the left of the mark where there is no room on its right.
            @let (dx, anchor) = if marked.share > 0.5 { ("-9", "end") } else { ("9", "start") };
            rect.mark x=(x(marked.share)) y=(y(caught)) width="9" height="9"
                transform="translate(-4.5 -4.5)" {}
            text.tick x=(x(marked.share)) y=(y(caught)) dx=(dx) dy="14" text-anchor=(anchor) {
                "needs_review"
            }
        }
    };
    html! {
        svg viewBox=(VIEW) role="img"
            aria-label="Share of the wrong messages caught, by share of the messages looked at"
        { (frame("messages looked at", "wrong messages caught", &content)) }
    }
}

fn points(places: impl Iterator<Item = (f64, f64)>) -> String {
    let places: Vec<String> =
        places.map(|(across, up)| format!("{},{}", x(across), y(up))).collect();
    places.join(" ")
}
