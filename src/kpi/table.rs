//! Counts by period, channel and brand, with what changed from one period to the next. May depend on `message` and
//! on the rest of `kpi`.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::str::FromStr;

use jiff::tz::TimeZone;

use super::Entry;
use super::counts::{Counts, Figures};
use super::crisis::{Episode, Watch};
use super::period::{Calendar, Period, TimeError, Unit, hour_once};
use super::stats::{same_net, same_share};
use crate::message::{Channel, Intent, Prevalence, Sentiment};

/// What to count by; as text, names with commas between them: `month,channel,brand`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Grouping {
    pub period: Option<Unit>,
    pub channel: bool,
    pub brand: bool,
}

impl FromStr for Grouping {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut found = Grouping::default();
        for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            let again = match name {
                "channel" => std::mem::replace(&mut found.channel, true),
                "brand" => std::mem::replace(&mut found.brand, true),
                _ => match Unit::from_name(name) {
                    Some(unit) => found.period.replace(unit).is_some(),
                    None => {
                        let units = Unit::ALL.map(Unit::name).join(", ");
                        return Err(format!("`{name}` is none of {units}, channel, brand"));
                    }
                },
            };
            if again {
                return Err(format!(
                    "`{name}` is one too many: a period, channel and brand, each once"
                ));
            }
        }
        Ok(found)
    }
}

/// Most hours in which messages may have come in: some forty years.
const MOST_HOURS: usize = 350_000;

/// Why an entry is not counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableError {
    /// Its time is needed.
    NoTime(Unit),
    /// Its time is beyond the calendar.
    Time(TimeError),
    /// It was answered before it came in.
    Answered,
    /// There are too many groups to keep.
    TooManyGroups(usize),
    /// There are too many hours to keep.
    TooManyHours,
}

impl TableError {
    /// The field that is wrong.
    pub fn field(&self) -> &'static str {
        match self {
            TableError::NoTime(_) | TableError::Time(_) | TableError::TooManyHours => "received_at",
            TableError::Answered => "answered_at",
            TableError::TooManyGroups(_) => "brand",
        }
    }

    /// What is wrong with it.
    pub fn reason(&self) -> String {
        match self {
            TableError::NoTime(unit) => format!("is missing, and messages are counted by {unit}"),
            TableError::Time(error) => error.to_string(),
            TableError::Answered => "is before received_at".into(),
            TableError::TooManyGroups(most) => {
                format!("makes more than {most} groups; count by fewer things")
            }
            TableError::TooManyHours => {
                format!("is in one hour more than the {MOST_HOURS} that are kept")
            }
        }
    }
}

impl fmt::Display for TableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field(), self.reason())
    }
}

impl From<TimeError> for TableError {
    fn from(error: TimeError) -> Self {
        TableError::Time(error)
    }
}

/// A group by numbers: the period, the channel (or that there is none), the brand's place in the list.
type Key = (Option<Period>, Option<Option<Channel>>, Option<Option<usize>>);

/// Counts by group.
#[derive(Clone, Debug)]
pub struct Table {
    by: Grouping,
    calendar: Calendar,
    most: usize,
    brands: Vec<String>,
    places: HashMap<String, usize>,
    groups: HashMap<Key, Counts>,
    total: Counts,
    watch: Watch,
    answers_known: bool,
}

/// One group.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Group {
    /// Name of the period, where messages are counted by one.
    pub period: Option<String>,
    /// When it began and ended.
    pub span: Option<Period>,
    /// Where messages are counted by channel; `Some(None)` are those of an unknown one.
    pub channel: Option<Option<Channel>>,
    /// Where messages are counted by brand; `Some(None)` are those without.
    pub brand: Option<Option<String>>,
    pub figures: Figures,
    /// Against the period before, where there is one with messages.
    pub change: Option<Change>,
}

/// How a group differs from the same group one period earlier. Each p is how likely a difference of that size is
/// where nothing changed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Change {
    /// More messages than before, as a share of those.
    pub messages: f64,
    /// Shares of the messages: now less before.
    pub questions: Moved,
    pub complaints: Moved,
    pub compliments: Moved,
    pub factual_errors: Moved,
    /// Net sentiment: now less before.
    pub net: Moved,
    /// Share of questions and complaints that were answered: now less before.
    pub answered: Option<Moved>,
}

/// A difference.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moved {
    pub by: f64,
    pub p_value: f64,
}

impl Moved {
    /// Unlikely (p < 0.05) where nothing changed.
    pub fn significant(&self) -> bool {
        self.p_value < 0.05
    }
}

impl Change {
    /// Between two groups; `None` where either is empty.
    pub fn between(now: &Counts, before: &Counts, answers_known: bool) -> Option<Self> {
        let (n, m) = (now.messages, before.messages);
        let share = |now: (u64, u64), before: (u64, u64)| {
            let by = now.0 as f64 / now.1 as f64 - before.0 as f64 / before.1 as f64;
            same_share(now, before).map(|p_value| Moved { by, p_value })
        };
        let [questions, complaints, compliments, factual_errors] =
            std::array::from_fn(|i| share((now.intents[i], n), (before.intents[i], m)));
        let nets = |c: &Counts| (c.sentiments[2], c.sentiments[0], c.messages);
        let (net, net_before) = (now.net()?, before.net()?);
        let p_value = same_net(nets(now), nets(before))?;
        let answered = |c: &Counts| (c.answered, c.answerable);
        Some(Change {
            messages: n as f64 / m as f64 - 1.0,
            questions: questions?,
            complaints: complaints?,
            compliments: compliments?,
            factual_errors: factual_errors?,
            net: Moved { by: net.value - net_before.value, p_value },
            answered: share(answered(now), answered(before)).filter(|_| answers_known),
        })
    }
}

impl Table {
    /// An empty table of at most `most` groups; periods are those of `zone`.
    pub fn new(by: Grouping, zone: TimeZone, most: usize) -> Self {
        Table {
            by,
            calendar: Calendar::new(zone, by.period.unwrap_or(Unit::Month)),
            most,
            brands: Vec::new(),
            places: HashMap::new(),
            groups: HashMap::new(),
            total: Counts::default(),
            watch: Watch::default(),
            answers_known: false,
        }
    }

    /// Counts one message.
    ///
    /// # Errors
    /// [`TableError`]; the message is not counted then.
    pub fn add(&mut self, entry: &Entry) -> Result<(), TableError> {
        if let (Some(received), Some(answered)) = (entry.received_at, entry.answered_at)
            && answered < received
        {
            return Err(TableError::Answered);
        }
        let period = match (self.by.period, entry.received_at) {
            (None, _) => None,
            (Some(_), Some(time)) => Some(self.calendar.period(time)?),
            (Some(unit), None) => return Err(TableError::NoTime(unit)),
        };
        let brand = match (self.by.brand, &entry.brand) {
            (false, _) => None,
            (true, None) => Some(None),
            (true, Some(brand)) => Some(Some(self.place(brand)?)),
        };
        let key = (period, self.by.channel.then_some(entry.channel), brand);
        let hour = entry.received_at.and_then(|time| hour_once(time, self.calendar.zone()));
        if hour.is_some_and(|hour| !self.watch.has(hour)) && self.watch.len() >= MOST_HOURS {
            return Err(TableError::TooManyHours);
        }
        let full = self.groups.len() >= self.most;
        let group = match self.groups.get_mut(&key) {
            Some(group) => group,
            None if full => return Err(TableError::TooManyGroups(self.most)),
            None => self.groups.entry(key).or_default(),
        };
        group.add(entry);
        self.total.add(entry);
        if let Some(hour) = hour {
            let negative = entry.labels.sentiment == Sentiment::Negative;
            self.watch.add(hour, entry.labels.has(Intent::Complaint), negative);
        }
        self.answers_known |= entry.answered_at.is_some();
        Ok(())
    }

    /// Hours that look like a crisis; none where messages have no times.
    pub fn crises(&mut self) -> Vec<Episode> {
        self.watch.episodes()
    }

    /// What is counted by the hour.
    pub fn watch(&self) -> &Watch {
        &self.watch
    }

    /// Its time zone.
    pub fn zone(&self) -> &TimeZone {
        self.calendar.zone()
    }

    /// The figures of all messages together.
    pub fn figures(&self, priors: Option<&Prevalence>) -> Figures {
        self.total.figures(priors, self.answers_known)
    }

    /// Every group, by period, channel and brand, with its figures and changes.
    pub fn groups(&mut self, priors: Option<&Prevalence>) -> Vec<Group> {
        let name = |brand: usize| self.brands[brand].as_str();
        let mut ordered = BTreeMap::new();
        for (key, counts) in &self.groups {
            let channel = key.1.map(|channel| channel.map(|channel| channel as usize));
            ordered.insert((key.0, channel, key.2.map(|brand| brand.map(name))), (*key, counts));
        }
        let mut calendar = self.calendar.clone();
        let mut all = Vec::with_capacity(ordered.len());
        for ((span, _, brand), (key, counts)) in ordered {
            let earlier = span.and_then(|span| calendar.before(span).ok());
            let before = earlier.and_then(|span| self.groups.get(&(Some(span), key.1, key.2)));
            all.push(Group {
                period: span.map(|span| calendar.name(span)),
                span,
                channel: key.1,
                brand: brand.map(|brand| brand.map(str::to_owned)),
                figures: counts.figures(priors, self.answers_known),
                change: before
                    .and_then(|before| Change::between(counts, before, self.answers_known)),
            });
        }
        all
    }

    fn place(&mut self, brand: &str) -> Result<usize, TableError> {
        if let Some(place) = self.places.get(brand) {
            return Ok(*place);
        }
        if self.brands.len() >= self.most {
            return Err(TableError::TooManyGroups(self.most));
        }
        self.brands.push(brand.to_owned());
        self.places.insert(brand.to_owned(), self.brands.len() - 1);
        Ok(self.brands.len() - 1)
    }
}
