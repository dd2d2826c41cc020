//! What is written of a group, by column: names and values together, so that no format has another set. May depend
//! on `kpi`.

use crate::kpi::counts::Adjusted;
use crate::kpi::table::Moved;
use crate::kpi::{Change, Figures, Group};
use crate::message::Channel;

/// What stands in a column.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Cell {
    Text(Option<String>),
    Count(Option<u64>),
    Number(Option<f64>),
}

/// A column's name and value.
pub(super) type Column = (&'static str, fn(&Group) -> Cell);

fn count(value: u64) -> Cell {
    Cell::Count(Some(value))
}

fn adjusted(group: &Group, of: fn(&Adjusted) -> f64) -> Cell {
    Cell::Number(group.figures.adjusted.as_ref().map(of))
}

fn net(group: &Group, of: fn(crate::kpi::stats::Interval) -> f64) -> Cell {
    Cell::Number(group.figures.net.map(of))
}

fn moved(group: &Group, of: fn(&Change) -> Option<Moved>, what: fn(&Moved) -> f64) -> Cell {
    Cell::Number(group.change.as_ref().and_then(of).as_ref().map(what))
}

macro_rules! counted {
    ($name:literal, $field:ident) => {
        ($name, |g: &Group| {
            let Figures { $field, .. } = g.figures;
            count($field)
        })
    };
}

macro_rules! corrected {
    ($name:literal, $field:ident) => {
        ($name, |g: &Group| adjusted(g, |a| a.$field))
    };
}

/// A difference and how likely it is by chance.
macro_rules! changed {
    ($by:literal, $p:literal, $of:expr) => {{
        let by: Column = ($by, |g| moved(g, $of, |m| m.by));
        let p: Column = ($p, |g| moved(g, $of, |m| m.p_value));
        [by, p]
    }};
}

/// Every column. Those of the group itself, then counts, then figures, then changes.
pub(super) fn columns() -> Vec<Column> {
    let mut all: Vec<Column> = vec![
        ("period", |g| Cell::Text(g.period.clone())),
        ("from", |g| Cell::Text(g.span.map(|span| span.start.to_string()))),
        ("to", |g| Cell::Text(g.span.map(|span| span.end.to_string()))),
        ("channel", |g| Cell::Text(g.channel.map(|c| c.map_or("", Channel::name).to_owned()))),
        ("brand", |g| Cell::Text(g.brand.clone().map(Option::unwrap_or_default))),
        counted!("messages", messages),
        counted!("questions", questions),
        corrected!("questions_adjusted", questions),
        counted!("complaints", complaints),
        corrected!("complaints_adjusted", complaints),
        counted!("compliments", compliments),
        corrected!("compliments_adjusted", compliments),
        counted!("factual_errors", factual_errors),
        corrected!("factual_errors_adjusted", factual_errors),
        counted!("urgent", urgent),
        counted!("needs_review", needs_review),
        counted!("answerable", answerable),
        ("answered", |g| Cell::Count(g.figures.answered)),
        ("answered_share", |g| Cell::Number(g.figures.answered_share)),
        ("response_p50_s", |g| Cell::Number(g.figures.response_p50_s)),
        ("response_p90_s", |g| Cell::Number(g.figures.response_p90_s)),
        counted!("negative", negative),
        corrected!("negative_adjusted", negative),
        counted!("neutral", neutral),
        counted!("positive", positive),
        corrected!("positive_adjusted", positive),
        ("net_sentiment", |g| net(g, |i| i.value)),
        ("net_sentiment_low", |g| net(g, |i| i.low)),
        ("net_sentiment_high", |g| net(g, |i| i.high)),
        ("messages_change", |g| Cell::Number(g.change.map(|change| change.messages))),
    ];
    all.extend(changed!("questions_change", "questions_change_p", |c| Some(c.questions)));
    all.extend(changed!("complaints_change", "complaints_change_p", |c| Some(c.complaints)));
    all.extend(changed!("compliments_change", "compliments_change_p", |c| Some(c.compliments)));
    all.extend(changed!("factual_errors_change", "factual_errors_change_p", |c| Some(
        c.factual_errors
    )));
    all.extend(changed!("net_sentiment_change", "net_sentiment_change_p", |c| Some(c.net)));
    all.extend(changed!("answered_share_change", "answered_share_change_p", |c| c.answered));
    all
}
