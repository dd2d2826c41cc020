//! Watches the messages of a running server for a crisis, and remembers the weeks before in a file.
//!
//! What is remembered are counts by the hour, no messages. May depend on the rest of `kpi`.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use metrics::gauge;
use serde::{Deserialize, Serialize};

use super::crisis::{Finding, Hour, Series, Watch};
use super::period::{hour_once, local_hour};

/// Counts of the running hour and of the weeks before it. Clones watch together.
#[derive(Clone, Debug)]
pub struct Sentinel {
    zone: TimeZone,
    file: Option<PathBuf>,
    watch: Arc<Mutex<Watch>>,
    writing: Arc<Mutex<()>>,
}

/// One hour in the file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    /// Local hour, as [`local_hour`] numbers it.
    hour: i64,
    messages: u64,
    complaints: u64,
    negative: u64,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    crisis: bool,
}

impl Sentinel {
    /// Goes on from what `file` remembers; without one it begins anew whenever the program does.
    ///
    /// # Errors
    /// Where the file is there and cannot be read.
    pub fn open(zone: TimeZone, file: Option<&Path>) -> io::Result<Self> {
        let mut watch = Watch::default();
        let text = file.map(fs::read_to_string).transpose();
        let text = match text {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            text => text?,
        };
        for line in text.iter().flat_map(|text| text.lines()) {
            let Kept { hour, messages, complaints, negative, crisis } = serde_json::from_str(line)?;
            watch.restore(hour, Hour { messages, complaints, negative }, crisis);
        }
        let watch = Arc::new(Mutex::new(watch));
        Ok(Sentinel { zone, file: file.map(Path::to_owned), watch, writing: Arc::default() })
    }

    fn watch(&self) -> MutexGuard<'_, Watch> {
        // Counts are whole between any two of its operations.
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts one message that came in at `now`.
    pub fn count(&self, now: Timestamp, complaint: bool, negative: bool) {
        if let Some(hour) = hour_once(now, &self.zone) {
            self.watch().add(hour, complaint, negative);
        }
    }

    /// Judges the running hour, and the one before it, and shows what it finds as metrics; `None` without
    /// two weeks of history.
    pub fn judge(&self, now: Timestamp) -> Option<[Finding; 2]> {
        let hour = local_hour(now, &self.zone);
        let mut watch = self.watch();
        // An hour that has just begun proves nothing yet; a crisis does not end with the hour.
        let before = watch.judge(hour - 1);
        let found = watch.judge(hour);
        watch.forget_before(hour);
        drop(watch);
        let Some(both) = found.zip(before) else {
            for series in Series::ALL {
                gauge!("klankbord_crisis_suspected", "series" => series.name()).set(0.0);
            }
            return None;
        };
        for (now, before) in both.0.into_iter().zip(both.1) {
            let series = now.series.name();
            let crisis = if now.crisis || before.crisis { 1.0 } else { 0.0 };
            gauge!("klankbord_crisis_suspected", "series" => series).set(crisis);
            gauge!("klankbord_hour_observed", "series" => series).set(now.observed as f64);
            gauge!("klankbord_hour_expected", "series" => series).set(now.expected);
        }
        found
    }

    /// Writes what it remembers to its file, whole or not at all.
    ///
    /// # Errors
    /// Where that cannot be done.
    pub fn keep(&self) -> io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let mut text = Vec::new();
        for (hour, Hour { messages, complaints, negative }, crisis) in self.watch().hours() {
            let kept = Kept { hour, messages, complaints, negative, crisis };
            serde_json::to_writer(&mut text, &kept)?;
            text.push(b'\n');
        }
        // One at a time: a last time at the end may meet the one before it.
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut beside = file.clone().into_os_string();
        beside.push(".new");
        let mut new = fs::File::create(&beside)?;
        new.write_all(&text)?;
        new.sync_all()?;
        fs::rename(&beside, file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kpi::period::{read_time, zone};

    #[test]
    fn a_crisis_shows_in_its_first_hour_also_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("hours.jsonl");
        let zone = zone("Europe/Amsterdam").unwrap();
        let sentinel = Sentinel::open(zone.clone(), Some(&file)).unwrap();
        let start = read_time("2026-10-01 00:30", &zone).unwrap().as_second();
        let at = |hour: i64| Timestamp::from_second(start + hour * 3600).unwrap();
        for hour in 0..19 * 24 + 10 {
            for message in 0..4 {
                sentinel.count(at(hour), message == 0, message == 0);
            }
            assert_eq!(sentinel.judge(at(hour)).is_some(), hour > 14 * 24, "{hour}");
        }
        sentinel.keep().unwrap();
        let sentinel = Sentinel::open(zone.clone(), Some(&file)).unwrap();
        let now = at(19 * 24 + 10);
        (0..4).for_each(|_| sentinel.count(now, true, true));
        assert!(!sentinel.judge(now).unwrap()[0].crisis, "four are no crisis");
        (0..20).for_each(|_| sentinel.count(now, true, true));
        assert!(sentinel.judge(now).unwrap()[0].crisis);
        sentinel.keep().unwrap();
        assert!(fs::read_to_string(&file).unwrap().contains("\"crisis\":true"));
    }

    #[test]
    fn a_file_that_is_none_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("hours.jsonl");
        fs::write(&file, "{\"hour\":1}\n").unwrap();
        assert!(Sentinel::open(TimeZone::UTC, Some(&file)).is_err());
        assert!(Sentinel::open(TimeZone::UTC, Some(&folder.path().join("none"))).is_ok());
        Sentinel::open(TimeZone::UTC, None).unwrap().keep().unwrap();
    }
}
