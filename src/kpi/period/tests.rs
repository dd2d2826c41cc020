//! Times as people write them, and the two days a year on which the clock is put.

use super::*;
use proptest::prelude::*;

fn amsterdam() -> TimeZone {
    zone("Europe/Amsterdam").unwrap()
}

fn at(text: &str) -> Timestamp {
    read_time(text, &amsterdam()).unwrap()
}

#[test]
fn times_are_read_as_people_write_them() {
    let noon = at("2026-03-01T11:00:00Z");
    for text in [
        "2026-03-01T12:00:00+01:00",
        "2026-03-01T12:00+01:00",
        "2026-03-01 12:00:00",
        "2026-03-01 12:00",
        "2026-03-01T12:00:00.000",
        "01-03-2026 12:00",
        "1-3-2026 12:00:00",
        " 2026-03-01 11:00:00Z ",
        "1772362800",
        "1772362800000",
    ] {
        assert_eq!(read_time(text, &amsterdam()), Ok(noon), "{text}");
    }
    assert_eq!(at("2026-03-01"), at("01-03-2026 00:00"));
    for text in [
        "",
        "gisteren",
        "3/1/2026 12:00",
        "2026-13-01",
        "12:00",
        "-5",
        "99",
        "29-03-26",
        "29-03-26 14:05",
        "202603291405",
    ] {
        assert_eq!(read_time(text, &amsterdam()), Err(TimeError::Unknown), "{text}");
    }
}

#[test]
fn summer_time_neither_skips_nor_doubles_an_hour() {
    let mut hours = Calendar::new(amsterdam(), Unit::Hour);
    let mut named = |text| {
        let period = hours.period(at(text)).unwrap();
        hours.name(period)
    };
    assert_eq!(named("2026-10-25T00:30:00Z"), "2026-10-25T02+02:00");
    assert_eq!(named("2026-10-25T01:30:00Z"), "2026-10-25T02+01:00");
    assert_eq!(named("2026-03-29T00:59:59.9Z"), "2026-03-29T01+01:00");
    assert_eq!(named("2026-03-29T01:00:00Z"), "2026-03-29T03+02:00");
    let mut days = Calendar::new(amsterdam(), Unit::Day);
    for (text, hours) in [("2026-03-29 12:00", 23), ("2026-10-25 12:00", 25), ("2026-06-01", 24)] {
        let day = days.period(at(text)).unwrap();
        assert_eq!(day.end.duration_since(day.start).as_hours(), hours, "{text}");
    }
    // What the clock skips counts as an hour later, what it shows twice as the first time.
    assert_eq!(at("2026-03-29 02:30"), at("2026-03-29T01:30:00Z"));
    assert_eq!(at("2026-10-25 02:30"), at("2026-10-25T00:30:00Z"));
}

#[test]
fn an_answer_in_the_hour_that_comes_twice_is_no_earlier_than_its_question() {
    let asked = at("2026-10-25 02:50");
    let answered = read_time_after("2026-10-25 02:10", &amsterdam(), Some(asked)).unwrap();
    assert_eq!(answered.duration_since(asked).as_secs(), 20 * 60);
    let before = read_time_after("2026-10-24 02:10", &amsterdam(), Some(asked)).unwrap();
    assert!(before < asked);
}

#[test]
fn periods_have_the_names_of_the_calendar() {
    for (unit, time, name, before) in [
        (Unit::Day, "2026-01-01T00:00:00+01:00", "2026-01-01", "2025-12-31"),
        (Unit::Week, "2027-01-03 23:59", "2026-W53", "2026-W52"),
        (Unit::Month, "2026-03-31T23:30:00Z", "2026-04", "2026-03"),
        (Unit::Quarter, "2026-11-22 10:00", "2026-Q4", "2026-Q3"),
        (Unit::Year, "2026-12-31T23:30:00Z", "2027", "2026"),
    ] {
        let mut calendar = Calendar::new(amsterdam(), unit);
        let period = calendar.period(at(time)).unwrap();
        assert_eq!(calendar.name(period), name);
        let earlier = calendar.before(period).unwrap();
        assert_eq!(calendar.name(earlier), before);
        assert_eq!(earlier.end, period.start);
    }
    assert_eq!(zone("Europe/Amsterdamm").unwrap_err().0, "Europe/Amsterdamm");
}

#[test]
fn hours_are_those_of_the_wall() {
    let hour = local_hour(at("2026-07-01T22:30:00Z"), &amsterdam());
    assert_eq!(hour_of(hour), Some((Date::constant(2026, 7, 2), 0)));
    let (first, second) = (at("2026-10-25T00:30:00Z"), at("2026-10-25T01:30:00Z"));
    assert_eq!(local_hour(first, &amsterdam()), local_hour(second, &amsterdam()));
    assert!(hour_once(first, &amsterdam()).is_some() && hour_once(second, &amsterdam()).is_none());
    assert!(hour_once(at("2026-10-25T02:00:00Z"), &amsterdam()).is_some());
    assert!(hour_once(at("2026-03-29T01:30:00Z"), &amsterdam()).is_some());
    assert_eq!(hour_of(-1), Some((Date::constant(1969, 12, 31), 23)));
    assert_eq!(hour_of(i64::MAX / 2), None);
}

proptest! {
    #[test]
    fn every_moment_is_in_its_period_and_periods_meet(
        seconds in prop::collection::vec(-3_000_000_000i64..8_000_000_000, 1..40),
        unit in prop::sample::select(&Unit::ALL[..]),
        place in prop::sample::select(&["Europe/Amsterdam", "UTC", "America/St_Johns", "Asia/Kathmandu"][..]),
    ) {
        let mut calendar = Calendar::new(zone(place).unwrap(), unit);
        for second in seconds {
            let time = Timestamp::from_second(second).unwrap();
            let period = calendar.period(time).unwrap();
            prop_assert!(period.start <= time && time < period.end);
            // What is remembered is what is computed.
            prop_assert_eq!(period, calendar.compute(time).unwrap());
            let before = calendar.before(period).unwrap();
            prop_assert!(before.end == period.start, "{before:?} {period:?}");
        }
    }
}
