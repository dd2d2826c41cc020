//! What the eye needs: contrast in light and dark, marks where the library draws, colours that
//! become the page's.

use super::chart::{Bars, Columns, Highlight, NARROW, Row, Shape, Size, WIDE};
use super::paint::Paint;
use super::*;

const STYLE: &str = include_str!("../page.css");

/// The colour that the style sheet gives to `name`, in light or in dark.
fn color(name: &str, dark: bool) -> [f64; 3] {
    let (light_rules, rest) = STYLE.split_once("@media").unwrap();
    let rules = if dark { rest.split_once("* {").unwrap().0 } else { light_rules };
    let value = rules.split(&format!("--{name}: #")).nth(1);
    let value = value.unwrap_or_else(|| panic!("no colour {name}, dark: {dark}"));
    [0, 2, 4].map(|at| f64::from(u8::from_str_radix(&value[at..at + 2], 16).unwrap()) / 255.0)
}

/// Relative luminance as WCAG 2 has it.
fn luminance(color: [f64; 3]) -> f64 {
    let linear = |c: f64| if c <= 0.04045 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) };
    let [red, green, blue] = color.map(linear);
    0.2126 * red + 0.7152 * green + 0.0722 * blue
}

fn contrast(a: [f64; 3], b: [f64; 3]) -> f64 {
    let (a, b) = (luminance(a) + 0.05, luminance(b) + 0.05);
    a.max(b) / a.min(b)
}

#[test]
fn colours_stand_out_in_light_and_dark() {
    assert!((contrast([0.0; 3], [1.0; 3]) - 21.0).abs() < 1e-9);
    for dark in [false, true] {
        let paper = color("paper", dark);
        for text in ["ink", "soft", "accent", "c-label"] {
            for ground in ["paper", "panel", "c-weekend", "c-crisis"] {
                // Nothing soft or accented is written on the colour of a crisis.
                if ground == "c-crisis" && text != "ink" {
                    continue;
                }
                let found = contrast(color(text, dark), color(ground, dark));
                assert!(found >= 4.5, "{text} on {ground}, dark {dark}: {found:.2}");
            }
        }
        for paint in Paint::ALL {
            // Lines that only lead the eye may be faint.
            if matches!(paint, Paint::Grid | Paint::Axis) {
                continue;
            }
            let found = contrast(color(paint.name(), dark), paper);
            assert!(found >= 3.0, "{}, dark {dark}: {found:.2}", paint.name());
        }
        assert!(contrast(color("c-crisis-mark", dark), paper) >= 4.5);
    }
}

#[test]
fn every_colour_of_a_chart_becomes_one_of_the_page() {
    let page = page(&report(Language::Dutch));
    let mut colors: Vec<String> = Paint::ALL.map(|paint| paint.color().hex()).into();
    colors.sort();
    colors.dedup();
    assert_eq!(colors.len(), Paint::ALL.len(), "no two alike");
    let (style, body) = page.split_once("</style>").unwrap();
    for attribute in ["fill=\"", "stroke=\""] {
        for (at, _) in body.match_indices(attribute) {
            let value = body[at + attribute.len()..].split('"').next().unwrap();
            assert!(
                value == "none" || colors.iter().any(|color| color == value),
                "{attribute}{value}: the page cannot make it dark"
            );
            if value != "none" {
                assert!(style.contains(&format!("[{attribute}{value}\"]")), "{value}");
            }
        }
    }
}

/// The numbers of `attribute` in the elements of `svg` that hold `within`.
fn numbers(svg: &str, within: &str, attribute: &str) -> Vec<f32> {
    let elements = svg.split('<').filter(|element| element.contains(within));
    let value = |element: &str| {
        element.split(&format!(" {attribute}=\"")).nth(1)?.split('"').next()?.parse().ok()
    };
    elements.filter_map(value).collect()
}

fn row(values: &[f64], paint: Paint, shape: Shape) -> Row {
    Row { name: "row".into(), values: values.iter().copied().map(Some).collect(), paint, shape }
}

#[test]
fn days_are_marked_where_the_library_draws_them() {
    for size in [WIDE, NARROW] {
        let values: Vec<f64> = (1..=31).map(f64::from).collect();
        let columns = Columns {
            labels: (1..=31).map(|day| day.to_string()).collect(),
            rows: vec![row(&values, Paint::Negative, Shape::Stack)],
            highlights: vec![Highlight { weekend: true, crisis: true }; 31],
            language: Language::Dutch,
        };
        let svg = columns.draw(size).unwrap();
        let bar = format!("fill=\"{}\"", Paint::Negative.color().hex());
        let (left, width) = (numbers(&svg, &bar, "x"), numbers(&svg, &bar, "width"));
        assert_eq!(left.len(), 31);
        for (at, (left, width)) in left.iter().zip(&width).enumerate() {
            let (middle, _) = columns.place(at, size);
            assert!((left + width / 2.0 - middle).abs() < 1.0, "day {at}: {left} {middle}");
            assert!(*width > 6.0, "a bar of {width} is not seen");
        }
        assert_eq!(svg.matches("class=\"weekend\"").count(), 31);
        assert_eq!(svg.matches("class=\"crisis-mark\"").count(), 31);
    }
}

fn bars(shape: fn() -> Shape, size: Size) -> (Bars, String) {
    let rows = vec![
        row(&[9.0, 5.0, 2.0], Paint::Median, shape()),
        row(&[8.0, 4.0, 1.0], Paint::Ninety, shape()),
    ];
    let labels = ["one", "two", "three"].map(str::to_owned).into();
    let bars = Bars { labels, rows, ends: Vec::new(), language: Language::Dutch };
    let svg = bars.draw(size).unwrap();
    (bars, svg)
}

#[test]
fn names_stand_beside_their_bars() {
    for size in [WIDE, NARROW] {
        for (shape, count) in [((|| Shape::Stack) as fn() -> Shape, 1), (|| Shape::Bar, 2)] {
            let (bars, svg) = bars(shape, size);
            for (bar, paint) in [(0, Paint::Median), (count - 1, Paint::Ninety)] {
                let found = format!("fill=\"{}\"", paint.color().hex());
                let tops = numbers(&svg, &found, "y");
                let heights = numbers(&svg, &found, "height");
                assert_eq!(tops.len(), 3);
                for (at, (top, height)) in tops.iter().rev().zip(&heights).enumerate() {
                    let middle = bars.middle(at, bar, count, size);
                    assert!((top + height / 2.0 - middle).abs() < 1.0, "{at}: {top} {middle}");
                }
                let lengths = numbers(&svg, &found, "width");
                assert!(
                    lengths[2] > lengths[0],
                    "the first name's bar is the longest: {lengths:?}"
                );
            }
        }
    }
}
