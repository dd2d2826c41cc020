//! The colours of charts: what the chart library paints with, and how that becomes the page's.
//!
//! The library writes a fixed colour into each shape; rules of the style sheet select shapes by that
//! colour and give them a custom property of the page, so that charts follow light, dark and print.
//! May depend on the chart library.

use charts_rs::Color;

/// What something in a chart stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Paint {
    Question,
    Complaint,
    Compliment,
    FactualError,
    Negative,
    Neutral,
    Positive,
    Expected,
    Net,
    Median,
    Ninety,
    Axis,
    Grid,
    Label,
}

impl Paint {
    pub(super) const ALL: [Paint; 14] = [
        Paint::Question,
        Paint::Complaint,
        Paint::Compliment,
        Paint::FactualError,
        Paint::Negative,
        Paint::Neutral,
        Paint::Positive,
        Paint::Expected,
        Paint::Net,
        Paint::Median,
        Paint::Ninety,
        Paint::Axis,
        Paint::Grid,
        Paint::Label,
    ];

    /// The name of the page's custom property, without its dashes, and of the legend's class.
    pub(super) fn name(self) -> &'static str {
        match self {
            Paint::Question => "c-question",
            Paint::Complaint => "c-complaint",
            Paint::Compliment => "c-compliment",
            Paint::FactualError => "c-factual",
            Paint::Negative => "c-negative",
            Paint::Neutral => "c-neutral",
            Paint::Positive => "c-positive",
            Paint::Expected => "c-expected",
            Paint::Net => "c-net",
            Paint::Median => "c-median",
            Paint::Ninety => "c-ninety",
            Paint::Axis => "c-axis",
            Paint::Grid => "c-grid",
            Paint::Label => "c-label",
        }
    }

    /// What the library paints with: close enough to the page's light colours for a chart that is
    /// taken out of it, and no two alike.
    pub(super) fn color(self) -> Color {
        match self {
            Paint::Question => (0x00, 0x68, 0xA8),
            Paint::Complaint => (0xC8, 0x4B, 0x00),
            Paint::Compliment => (0x00, 0x80, 0x5E),
            Paint::FactualError => (0x9A, 0x4A, 0x86),
            Paint::Negative => (0xC8, 0x4B, 0x01),
            Paint::Neutral => (0x8A, 0x94, 0x9E),
            Paint::Positive => (0x00, 0x80, 0x5F),
            Paint::Expected => (0x6A, 0x50, 0x40),
            Paint::Net => (0x1F, 0x4E, 0x79),
            Paint::Median => (0x1F, 0x4E, 0x7A),
            Paint::Ninety => (0x7F, 0xA3, 0xC4),
            Paint::Axis => (0x9A, 0xA3, 0xAD),
            Paint::Grid => (0xE3, 0xE7, 0xEB),
            Paint::Label => (0x56, 0x60, 0x6A),
        }
        .into()
    }
}

/// The rules that give the library's colours the page's custom properties.
pub(super) fn rules() -> String {
    let rule = |paint: Paint| {
        let (hex, name) = (paint.color().hex(), paint.name());
        format!(
            ".chart [fill=\"{hex}\"]{{fill:var(--{name})}}\
             .chart [stroke=\"{hex}\"]{{stroke:var(--{name})}}\
             .key.{name}{{color:var(--{name})}}\n"
        )
    };
    Paint::ALL.map(rule).concat()
}
