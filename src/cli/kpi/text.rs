//! Figures as a table for people. May depend on `kpi`.

use std::io::{self, Write};

use super::spelt;
use crate::kpi::counts::Adjusted;
use crate::kpi::crisis::Episode;
use crate::kpi::table::Moved;
use crate::kpi::{Change, Figures, Group, Table};
use crate::message::{Channel, Prevalence};

/// Longest brand that is shown whole.
const BRAND: usize = 24;

/// One line on a crisis.
pub(super) fn crisis(crisis: &Episode) -> String {
    let Episode { from, to, series, observed, expected } = crisis;
    let series = series.name();
    format!(
        "looks like a crisis: {} to {}: {observed} {series}, {expected:.0} expected",
        spelt(*from),
        spelt(*to + 1)
    )
}

/// A count with its correction.
fn count(value: u64, adjusted: Option<f64>) -> String {
    adjusted.map_or_else(|| value.to_string(), |adjusted| format!("{value} (~{adjusted:.0})"))
}

/// A share that moved, in points; with a star where that is no accident.
fn moved(moved: Option<Moved>) -> String {
    let star = |m: &Moved| if m.significant() { "*" } else { "" };
    moved.map_or_else(|| "-".into(), |m| format!("{:+.1}{}", m.by * 100.0, star(&m)))
}

fn time(seconds: Option<f64>) -> String {
    let Some(seconds) = seconds else { return "-".into() };
    match seconds {
        s if s < 60.0 => format!("{s:.0}s"),
        s if s < 3600.0 => format!("{:.0}m", s / 60.0),
        s if s < 172_800.0 => format!("{:.1}h", s / 3600.0),
        s => format!("{:.1}d", s / 86_400.0),
    }
}

/// The cells of one line, the group's own names first.
fn cells(names: Vec<String>, figures: &Figures, change: Option<&Change>) -> Vec<String> {
    let adjusted = |of: fn(&Adjusted) -> f64| figures.adjusted.as_ref().map(of);
    let percent = |share: Option<f64>| share.map_or("-".into(), |s| format!("{:.0}%", s * 100.0));
    let net = figures.net.map_or("-".into(), |net| {
        format!("{:+.2} ({:+.2} to {:+.2})", net.value, net.low, net.high)
    });
    let mut all = names;
    all.extend([
        figures.messages.to_string(),
        count(figures.questions, adjusted(|a| a.questions)),
        count(figures.complaints, adjusted(|a| a.complaints)),
        moved(change.map(|change| change.complaints)),
        count(figures.compliments, adjusted(|a| a.compliments)),
        count(figures.factual_errors, adjusted(|a| a.factual_errors)),
        percent(figures.answered_share),
        time(figures.response_p50_s),
        time(figures.response_p90_s),
        count(figures.negative, adjusted(|a| a.negative)),
        count(figures.positive, adjusted(|a| a.positive)),
        net,
        moved(change.map(|change| change.net)),
    ]);
    all
}

const HEADS: [&str; 13] = [
    "messages",
    "questions",
    "complaints",
    "change",
    "compliments",
    "errors",
    "answered",
    "p50",
    "p90",
    "negative",
    "positive",
    "net sentiment",
    "change",
];

/// Writes the table, the total under it, and what looks like a crisis.
pub(super) fn write(
    table: &Table,
    groups: &[Group],
    priors: Option<&Prevalence>,
    crises: &[Episode],
    sink: &mut dyn Write,
) -> io::Result<()> {
    let first = groups.first();
    let keys = [
        ("period", first.is_some_and(|group| group.period.is_some())),
        ("channel", first.is_some_and(|group| group.channel.is_some())),
        ("brand", first.is_some_and(|group| group.brand.is_some())),
    ];
    let shown = |all: [String; 3]| -> Vec<String> {
        all.into_iter().zip(keys).filter(|(_, (_, shown))| *shown).map(|(name, _)| name).collect()
    };
    let heads = shown(keys.map(|(name, _)| name.to_owned()));
    let by = heads.len();
    let mut lines = vec![heads.into_iter().chain(HEADS.map(str::to_owned)).collect::<Vec<_>>()];
    for group in groups {
        let brand = group.brand.clone().flatten().unwrap_or_else(|| "-".into());
        let brand = brand.chars().map(|c| if c.is_control() { ' ' } else { c }).take(BRAND);
        let names = [
            group.period.clone().unwrap_or_default(),
            group.channel.flatten().map_or("-", Channel::name).to_owned(),
            brand.collect(),
        ];
        lines.push(cells(shown(names), &group.figures, group.change.as_ref()));
    }
    if groups.len() > 1 {
        let mut names = vec![String::new(); by];
        if let Some(first) = names.first_mut() {
            *first = "all".into();
        }
        lines.push(cells(names, &table.figures(priors), None));
    }
    let wide = |at: usize| lines.iter().map(|line| line[at].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..by + HEADS.len()).map(wide).collect();
    for line in &lines {
        let mut row = String::new();
        for (at, (cell, width)) in line.iter().zip(&widths).enumerate() {
            match at < by {
                true => row.push_str(&format!("{cell:width$}  ")),
                false => row.push_str(&format!("{cell:>width$}  ")),
            }
        }
        writeln!(sink, "{}", row.trim_end())?;
    }
    if groups.iter().any(|group| group.figures.adjusted.is_some()) {
        writeln!(sink, "(~) corrected for the model's known errors; * p < 0.05, in points")?;
    }
    for episode in crises {
        writeln!(sink, "{}", crisis(episode))?;
    }
    Ok(())
}
