//! Counts to the plain numbers of a report. May depend on `kpi` and `report`.

use std::collections::BTreeMap;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

use super::Counted;
use crate::kpi::crisis::{Episode, Series, Watch};
use crate::kpi::period::hour_of;
use crate::kpi::words::Words;
use crate::kpi::{Change, Entry, Figures, Group};
use crate::message::{Channel, Intent, Prevalence};
use crate::report::{self, CrisisDay, Day, Measure, Month, MonthTotals, Part, Report, Totals};

/// Months shown, the reported one among them: a year and the same month of the year before.
const MONTHS: usize = 13;
/// Months before the reported one that words are held against.
const TRAILING: i32 = 3;
/// Words shown.
const WORDS: usize = 20;

/// A report and the name of its month.
pub(super) struct Filled {
    pub(super) report: Report,
    pub(super) month: String,
}

/// The month of a name like `2026-10`.
pub(super) fn month(name: &str) -> Option<Month> {
    let (year, month) = name.split_once('-')?;
    let digits = year.len() == 4 && month.len() == 2;
    let (year, month) = (year.parse().ok()?, month.parse().ok()?);
    (digits && (1..=12).contains(&month)).then_some(Month { year, month })
}

/// Name of the month in which a message came in.
pub(super) fn month_of(time: Timestamp, zone: &TimeZone) -> String {
    let date = zone.to_datetime(time).date();
    format!("{:04}-{:02}", date.year(), date.month())
}

fn totals(figures: &Figures) -> Totals {
    let (net, net_low, net_high) =
        figures.net.map_or((0.0, 0.0, 0.0), |net| (net.value, net.low, net.high));
    Totals {
        messages: figures.messages,
        questions: figures.questions,
        complaints: figures.complaints,
        compliments: figures.compliments,
        factual_errors: figures.factual_errors,
        urgent: figures.urgent,
        needs_review: figures.needs_review,
        negative: figures.negative,
        neutral: figures.neutral,
        positive: figures.positive,
        adjusted: figures.adjusted,
        answerable: figures.answerable,
        answered: figures.answered.unwrap_or(0),
        answered_known: figures.answered.is_some(),
        response_p50_s: figures.response_p50_s,
        response_p90_s: figures.response_p90_s,
        net,
        net_low,
        net_high,
    }
}

/// Fills a report on `asked`, or on the last month that there is; `None` where it has no messages.
pub(super) fn fill(
    counted: &mut Counted,
    priors: Option<&Prevalence>,
    asked: Option<&str>,
) -> Option<Filled> {
    let groups = counted.months.groups(priors);
    let at = match asked {
        Some(name) => groups.iter().position(|group| group.period.as_deref() == Some(name))?,
        None => groups.len().checked_sub(1)?,
    };
    let name = groups[at].period.clone()?;
    let now = month(&name)?;
    let shown = &groups[at.saturating_sub(MONTHS - 1)..=at];
    let months = shown.iter().filter_map(|group| {
        let month = month(group.period.as_deref()?)?;
        Some(MonthTotals { month, totals: totals(&group.figures) })
    });
    // A change is against the month before; one that had no messages is none.
    let before = groups[at].change.and_then(|_| at.checked_sub(1)).map(|at| &groups[at]);
    let changes =
        before.zip(groups[at].change).map(|(b, c)| changes(&groups[at].figures, &b.figures, &c));
    let episodes = counted.months.crises();
    let watch = counted.months.watch();
    let first = Date::new(i16::try_from(now.year).ok()?, i8::try_from(now.month).ok()?, 1).ok()?;
    let of_month = |group: &&Group| group.period.as_deref() == Some(&name);
    let channels = counted.channels.groups(priors);
    let channels = channels.iter().filter(of_month).map(|group| Part {
        name: group.channel.flatten().map_or("-", Channel::name).to_owned(),
        totals: totals(&group.figures),
    });
    let brands = counted.brands.groups(priors);
    let brands = brands.iter().filter(of_month).map(|group| Part {
        name: group.brand.clone().flatten().unwrap_or_else(|| "-".into()),
        totals: totals(&group.figures),
    });
    let report = Report {
        period: now,
        previous: before.and_then(|group| month(group.period.as_deref()?)),
        made: zoned_today(counted.months.zone()),
        totals: totals(&groups[at].figures),
        before: before.map(|group| totals(&group.figures)),
        changes: changes.unwrap_or_default(),
        days: days(&counted.days.groups(None), watch, first, &episodes),
        months: months.collect(),
        channels: ordered(channels.collect()),
        brands: ordered(brands.collect()),
        words: words(&counted.words, &name),
        crises: crisis_days(watch, first, &episodes),
        crisis_watch: watch.can_judge(hour_at(first.last_of_month(), 23)),
        samples: samples(counted, &name),
        ..Report::default()
    };
    Some(Filled { report, month: name })
}

fn zoned_today(zone: &TimeZone) -> String {
    zone.to_datetime(Timestamp::now()).date().to_string()
}

/// The largest first.
fn ordered(mut parts: Vec<Part>) -> Vec<Part> {
    parts.sort_by(|a, b| b.totals.messages.cmp(&a.totals.messages).then(a.name.cmp(&b.name)));
    parts
}

fn changes(now: &Figures, before: &Figures, change: &Change) -> Vec<report::Change> {
    let share = |count: u64, of: &Figures| count as f64 / of.messages.max(1) as f64;
    let shares = |measure, of: fn(&Figures) -> u64, p: f64| {
        let (now, before) = (share(of(now), now), share(of(before), before));
        Some(report::Change { measure, now, before, p_value: Some(p) })
    };
    let plain = |measure, now: Option<f64>, before: Option<f64>, p_value| {
        Some(report::Change { measure, now: now?, before: before?, p_value })
    };
    let count = |of: &Figures| Some(of.messages as f64);
    let net = |of: &Figures| of.net.map(|net| net.value);
    let answered = change.answered.map(|moved| moved.p_value);
    [
        plain(Measure::Messages, count(now), count(before), None),
        shares(Measure::Complaints, |f| f.complaints, change.complaints.p_value),
        shares(Measure::Questions, |f| f.questions, change.questions.p_value),
        shares(Measure::Compliments, |f| f.compliments, change.compliments.p_value),
        shares(Measure::FactualErrors, |f| f.factual_errors, change.factual_errors.p_value),
        plain(Measure::Answered, now.answered_share, before.answered_share, answered),
        plain(Measure::Response, now.response_p50_s, before.response_p50_s, None),
        plain(Measure::Net, net(now), net(before), Some(change.net.p_value)),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Number of a local hour, as `kpi::period::local_hour` has it.
fn hour_at(date: Date, hour: i64) -> i64 {
    let days = date.since(Date::constant(1970, 1, 1)).map_or(0, |span| span.get_days());
    i64::from(days) * 24 + hour
}

fn days(groups: &[Group], watch: &Watch, first: Date, episodes: &[Episode]) -> Vec<Day> {
    let mut counted: BTreeMap<&str, &Figures> = BTreeMap::new();
    for group in groups {
        if let Some(period) = &group.period {
            counted.insert(period, &group.figures);
        }
    }
    let last = first.last_of_month();
    let dates = (0..i64::from(last.day())).filter_map(|after| first.checked_add(after.days()).ok());
    dates
        .map(|date| {
            let nothing = Figures::default();
            let figures = counted.get(date.to_string().as_str()).copied().unwrap_or(&nothing);
            let hours = hour_at(date, 0)..=hour_at(date, 23);
            let expected = hours.clone().map(|at| watch.expected(at, Series::Complaints));
            let crisis = episodes.iter().any(|e| e.from <= *hours.end() && e.to >= *hours.start());
            Day {
                day: u8::try_from(date.day()).unwrap_or(1),
                weekday: u8::try_from(date.weekday().to_monday_zero_offset()).unwrap_or(0),
                messages: figures.messages,
                questions: figures.questions,
                complaints: figures.complaints,
                compliments: figures.compliments,
                factual_errors: figures.factual_errors,
                negative: figures.negative,
                neutral: figures.neutral,
                positive: figures.positive,
                expected_complaints: expected.sum(),
                crisis,
            }
        })
        .collect()
}

/// The days of the month that have an hour of a crisis.
fn crisis_days(watch: &Watch, first: Date, episodes: &[Episode]) -> Vec<CrisisDay> {
    let complaints: BTreeMap<i64, u64> =
        watch.hours().map(|(at, hour, _)| (at, hour.complaints)).collect();
    let (begin, end) = (hour_at(first, 0), hour_at(first.last_of_month(), 23));
    let mut found = Vec::new();
    for Episode { from, to, .. } in episodes {
        let mut at = (*from).max(begin);
        let to = (*to).min(end);
        while at <= to {
            let last = to.min(at.div_euclid(24) * 24 + 23);
            let Some((date, hour)) = hour_of(at) else { break };
            let expected = (at..=last).filter_map(|at| watch.expected(at, Series::Complaints));
            found.push(CrisisDay {
                day: u8::try_from(date.day()).unwrap_or(1),
                from_hour: u8::try_from(hour).unwrap_or(0),
                to_hour: u8::try_from(last.rem_euclid(24) + 1).unwrap_or(24),
                observed: (at..=last).filter_map(|at| complaints.get(&at)).sum(),
                expected: expected.sum(),
            });
            at = last + 1;
        }
    }
    found
}

/// Words that rose against the months before; `None` where there are no texts.
fn words(by_month: &BTreeMap<String, Words>, name: &str) -> Option<Vec<report::RisingWord>> {
    let now = by_month.get(name)?;
    let mut before = Words::default();
    let Month { year, month } = month(name)?;
    let first = i32::from(year) * 12 + i32::from(month) - 1 - TRAILING;
    let first = format!("{:04}-{:02}", first.div_euclid(12), first.rem_euclid(12) + 1);
    let earlier = by_month.range(first..name.to_owned());
    earlier.for_each(|(_, words)| before.merge(words));
    let risen = now.risen(&before, WORDS).into_iter().map(|rising| report::RisingWord {
        word: rising.word,
        now: rising.now,
        before: rising.before,
        expected: rising.expected,
        score: rising.score,
    });
    Some(risen.collect())
}

fn samples(counted: &Counted, name: &str) -> Option<Vec<report::Sample>> {
    if counted.samples == 0 {
        return None;
    }
    let mut chosen: Vec<&(Entry, String)> =
        counted.chosen.get(name).map_or(Vec::new(), |(_, kept)| kept.iter().collect());
    chosen.sort_by_key(|(entry, _)| entry.received_at);
    let zone = counted.months.zone();
    let sample = |(entry, text): &(Entry, String)| report::Sample {
        day: entry
            .received_at
            .map_or(1, |time| u8::try_from(zone.to_datetime(time).date().day()).unwrap_or(1)),
        channel: entry.channel.map(|channel| channel.name().to_owned()),
        intents: Intent::ALL.into_iter().filter(|intent| entry.labels.has(*intent)).collect(),
        sentiment: entry.labels.sentiment,
        text: text.clone(),
    };
    Some(chosen.into_iter().map(sample).collect())
}
