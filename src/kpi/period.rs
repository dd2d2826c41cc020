//! Periods of the calendar in a time zone: hours, days, weeks (ISO 8601), months, quarters and years as people
//! there live them, days of 23 and 25 hours among them.
//!
//! Depends on nothing else in the crate.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, ToSpan};

/// Periods remembered at once; whoever counts more of them pays for looking them up again.
const REMEMBERED: usize = 4096;

/// Length of a period.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unit {
    Hour,
    Day,
    /// From Monday on.
    Week,
    Month,
    Quarter,
    Year,
}

impl Unit {
    /// All units, from short to long.
    pub const ALL: [Unit; 6] =
        [Unit::Hour, Unit::Day, Unit::Week, Unit::Month, Unit::Quarter, Unit::Year];

    /// Name as on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Unit::Hour => "hour",
            Unit::Day => "day",
            Unit::Week => "week",
            Unit::Month => "month",
            Unit::Quarter => "quarter",
            Unit::Year => "year",
        }
    }

    /// Inverse of [`Unit::name`].
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|unit| unit.name() == name)
    }
}

/// One period: from `start` up to, not including, `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Period {
    pub start: Timestamp,
    pub end: Timestamp,
}

/// Why a time cannot be read, or not placed. Never quotes the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TimeError {
    /// It is written in no way that we know.
    #[error(
        "is not a time such as 2026-03-29T14:05:00+02:00, 2026-03-29 14:05 or 29-03-2026 14:05"
    )]
    Unknown,
    /// It is beyond the years that calendars are kept for.
    #[error("is too far from today")]
    TooFar,
}

/// A time zone and what is known of its calendar.
#[derive(Clone, Debug)]
pub struct Calendar {
    zone: TimeZone,
    unit: Unit,
    /// Ends of the periods met lately, by their starts: most messages fall into one of them.
    known: BTreeMap<Timestamp, Timestamp>,
}

/// A name that is no time zone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no time zone of the IANA database, as Europe/Amsterdam is")]
pub struct NoZone(pub String);

/// The time zone of this name, as in the IANA database.
///
/// # Errors
/// [`NoZone`] where there is none.
pub fn zone(name: &str) -> Result<TimeZone, NoZone> {
    TimeZone::get(name).map_err(|_| NoZone(name.to_owned()))
}

impl Calendar {
    /// Of periods of this length.
    pub fn new(zone: TimeZone, unit: Unit) -> Self {
        Calendar { zone, unit, known: BTreeMap::new() }
    }

    /// Its time zone.
    pub fn zone(&self) -> &TimeZone {
        &self.zone
    }

    /// The period that `time` falls into.
    ///
    /// # Errors
    /// [`TimeError::TooFar`] within a period of the end of time.
    pub fn period(&mut self, time: Timestamp) -> Result<Period, TimeError> {
        if let Some((&start, &end)) = self.known.range(..=time).next_back()
            && time < end
        {
            return Ok(Period { start, end });
        }
        let period = self.compute(time)?;
        if self.known.len() >= REMEMBERED {
            self.known.clear();
        }
        self.known.insert(period.start, period.end);
        Ok(period)
    }

    /// The period before another.
    ///
    /// # Errors
    /// As [`Calendar::period`].
    pub fn before(&mut self, period: Period) -> Result<Period, TimeError> {
        let last = period.start.checked_sub(1.nanosecond()).map_err(|_| TimeError::TooFar)?;
        self.period(last)
    }

    /// A period's name: `2026-10-25T02+01:00`, `2026-10-25`, `2026-W43`, `2026-10`, `2026-Q4`, `2026`.
    pub fn name(&self, period: Period) -> String {
        let start = period.start.to_zoned(self.zone.clone());
        let date = start.date();
        match self.unit {
            Unit::Hour => start.strftime("%Y-%m-%dT%H%:z").to_string(),
            Unit::Day => date.to_string(),
            Unit::Week => {
                let week = date.iso_week_date();
                format!("{:04}-W{:02}", week.year(), week.week())
            }
            Unit::Month => format!("{:04}-{:02}", date.year(), date.month()),
            Unit::Quarter => format!("{:04}-Q{}", date.year(), (date.month() + 2) / 3),
            Unit::Year => format!("{:04}", date.year()),
        }
    }

    fn compute(&self, time: Timestamp) -> Result<Period, TimeError> {
        let far = |_| TimeError::TooFar;
        let local = time.to_zoned(self.zone.clone());
        if self.unit == Unit::Hour {
            // The hour that the clock of the moment shows: of the two from 2 to 3 each is one.
            let into = i64::from(local.minute()) * 60 + i64::from(local.second());
            let whole = Timestamp::from_second(time.as_second().saturating_sub(
                // Seconds are counted down from 0 before 1970.
                into + i64::from(time.subsec_nanosecond() < 0),
            ));
            let start = whole.map_err(far)?;
            return Ok(Period { start, end: start.checked_add(1.hour()).map_err(far)? });
        }
        let date = local.date();
        let first = |date: Date| date.first_of_month();
        let (from, length) = match self.unit {
            Unit::Hour | Unit::Day => (date, 1.day()),
            Unit::Week => {
                let back = i64::from(date.weekday().to_monday_zero_offset());
                (date.checked_sub(back.days()).map_err(far)?, 7.days())
            }
            Unit::Month => (first(date), 1.month()),
            Unit::Quarter => {
                let back = i64::from((date.month() - 1) % 3);
                (first(date).checked_sub(back.months()).map_err(far)?, 3.months())
            }
            Unit::Year => (date.first_of_year(), 1.year()),
        };
        let at = |date: Date| -> Result<Timestamp, TimeError> {
            Ok(date.to_zoned(self.zone.clone()).map_err(far)?.timestamp())
        };
        Ok(Period { start: at(from)?, end: at(from.checked_add(length).map_err(far)?)? })
    }
}

/// The hour of the clock on the wall: days since 1970-01-01 times 24, and the hour.
pub fn local_hour(time: Timestamp, zone: &TimeZone) -> i64 {
    (time.as_second() + i64::from(zone.to_offset(time).seconds())).div_euclid(3600)
}

/// As [`local_hour`], but `None` in the second of the two hours that the clock shows alike when it is put back: together they
/// would look like one that is twice as busy.
pub fn hour_once(time: Timestamp, zone: &TimeZone) -> Option<i64> {
    let before = time.checked_sub(1.hour()).ok()?;
    let put_back = zone.to_offset(before).seconds() > zone.to_offset(time).seconds();
    (!put_back).then(|| local_hour(time, zone))
}

/// The day and the hour that [`local_hour`] numbers; `None` beyond the calendar.
pub fn hour_of(local: i64) -> Option<(Date, i8)> {
    let after = Span::new().try_days(local.div_euclid(24)).ok()?;
    let day = Date::constant(1970, 1, 1).checked_add(after).ok()?;
    Some((day, i8::try_from(local.rem_euclid(24)).ok()?))
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The moment at which the clocks of `zone` show `local`: of two the first, unless that would be before `earlier`.
///
/// # Errors
/// [`TimeError::TooFar`].
pub fn place(
    local: DateTime,
    zone: &TimeZone,
    earlier: Option<Timestamp>,
) -> Result<Timestamp, TimeError> {
    let found = zone.to_ambiguous_timestamp(local);
    let first = found.compatible().map_err(|_| TimeError::TooFar)?;
    match earlier.is_some_and(|earlier| first < earlier) {
        true => found.later().map_err(|_| TimeError::TooFar),
        false => Ok(first),
    }
}

/// A time of which the year is written out: `26` is not meant as that of the emperor Tiberius.
fn lately(local: DateTime) -> Result<DateTime, TimeError> {
    if local.year() < 1000 { Err(TimeError::Unknown) } else { Ok(local) }
}

/// Reads a time: RFC 3339 and what ISO 8601 has like it, the day first as Dutch spreadsheets have it
/// (`29-03-2026 14:05`), or seconds or milliseconds since 1970. What names no offset is of `zone`; of an hour
/// that comes twice it is the first, and in one that the clock skips it is as much later.
///
/// # Errors
/// [`TimeError`].
pub fn read_time(text: &str, zone: &TimeZone) -> Result<Timestamp, TimeError> {
    read_time_after(text, zone, None)
}

/// As [`read_time`], but of an hour that comes twice it is the second, where it would be before `earlier` otherwise.
///
/// # Errors
/// [`TimeError`].
pub fn read_time_after(
    text: &str,
    zone: &TimeZone,
    earlier: Option<Timestamp>,
) -> Result<Timestamp, TimeError> {
    let text = text.trim();
    if text.bytes().all(|b| b.is_ascii_digit()) && [9, 10, 11, 13].contains(&text.len()) {
        let number: i64 = text.parse().map_err(|_| TimeError::Unknown)?;
        // Twelve digits would be milliseconds of the last century, or a date without its marks.
        let read = match text.len() {
            13 => Timestamp::from_millisecond(number),
            _ => Timestamp::from_second(number),
        };
        return read.map_err(|_| TimeError::TooFar);
    }
    let placed = |local| place(local, zone, earlier);
    // Spreadsheets leave the seconds out of an offset's neighbour too: 2026-03-29T14:05+02:00 is read as well.
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    if let Ok(local) = text.parse::<DateTime>() {
        return placed(local);
    }
    for format in ["%d-%m-%Y %H:%M:%S", "%d-%m-%Y %H:%M", "%d-%m-%YT%H:%M:%S"] {
        if let Ok(local) = DateTime::strptime(format, text) {
            return lately(local).and_then(placed);
        }
    }
    match Date::strptime("%d-%m-%Y", text) {
        Ok(date) => lately(date.at(0, 0, 0, 0)).and_then(placed),
        Err(_) => Err(TimeError::Unknown),
    }
}
