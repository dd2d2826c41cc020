//! What a report is made of: plain numbers and texts, already counted and tested.
//!
//! May depend on the domain and on what `kpi` counts.

use crate::kpi::counts::Adjusted;
use crate::message::{Intent, Sentiment};

/// One month of webcare.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// The language that the page is written in.
    pub language: Language,
    /// Whose webcare it is.
    pub organisation: Option<String>,
    /// The month that is reported.
    pub period: Month,
    /// The month that it is compared with; absent where there is none.
    pub previous: Option<Month>,
    /// The zone that days and hours are counted in, such as `Europe/Amsterdam`.
    pub time_zone: String,
    /// The date on which the report was made, as it is to be read.
    pub made: String,
    /// The model that labelled the messages.
    pub model: Option<Model>,
    /// Counts of the whole month.
    pub totals: Totals,
    /// Counts of the month that it is compared with.
    pub before: Option<Totals>,
    /// What changed against the month before, a measure at most once.
    pub changes: Vec<Change>,
    /// Every day of the month, in order.
    pub days: Vec<Day>,
    /// The last months in order, at most 13, the reported one last.
    pub months: Vec<MonthTotals>,
    /// Counts by channel, in the order in which they are to be shown.
    pub channels: Vec<Part>,
    /// Counts by brand, in the order in which they are to be shown.
    pub brands: Vec<Part>,
    /// Words that rose among complaints, the most striking first; absent if no texts were given.
    pub words: Option<Vec<RisingWord>>,
    /// Days that look like a crisis, in order.
    pub crises: Vec<CrisisDay>,
    /// Whether there is enough history to tell a crisis at all.
    pub crisis_watch: bool,
    /// Messages to show as examples; absent if the page may hold no texts.
    pub samples: Option<Vec<Sample>>,
}

/// A language that a page can be written in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Language {
    /// Dutch.
    #[default]
    Dutch,
    /// English.
    English,
}

/// A month of a year.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Month {
    /// Such as 2026.
    pub year: u16,
    /// 1 is January.
    pub month: u8,
}

/// The model that labelled the messages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Model {
    /// Its version.
    pub version: String,
    /// The digest of its files.
    pub digest: String,
}

/// Counts of some messages. A message may have several intents, and has one sentiment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Totals {
    /// All messages.
    pub messages: u64,
    /// Messages with a question.
    pub questions: u64,
    /// Messages with a complaint.
    pub complaints: u64,
    /// Messages with a compliment.
    pub compliments: u64,
    /// Messages that state something that is not so.
    pub factual_errors: u64,
    /// Messages that cannot wait.
    pub urgent: u64,
    /// Messages of which the model is too unsure.
    pub needs_review: u64,
    /// Messages of negative sentiment.
    pub negative: u64,
    /// Messages of neutral sentiment.
    pub neutral: u64,
    /// Messages of positive sentiment.
    pub positive: u64,
    /// The same counts, corrected for the errors that the model is known to make.
    pub adjusted: Option<Adjusted>,
    /// Messages that ask for an answer: questions and complaints.
    pub answerable: u64,
    /// Those of them that got one.
    pub answered: u64,
    /// Whether answers are known at all.
    pub answered_known: bool,
    /// Seconds within which half of the answers came.
    pub response_p50_s: Option<f64>,
    /// Seconds within which nine in ten of the answers came.
    pub response_p90_s: Option<f64>,
    /// Net sentiment, (positive - negative) / messages, in [-1, 1].
    pub net: f64,
    /// Lower end of its 95% interval.
    pub net_low: f64,
    /// Upper end of its 95% interval.
    pub net_high: f64,
}

/// How a measure changed against the month before.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Change {
    /// Of what.
    pub measure: Measure,
    /// This month, in the measure's unit.
    pub now: f64,
    /// The month before, in the measure's unit.
    pub before: f64,
    /// The chance of a difference like this if nothing changed; absent where it was not tested.
    pub p_value: Option<f64>,
}

/// What can change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// Number of messages.
    Messages,
    /// Share of the messages with a complaint, in [0, 1].
    Complaints,
    /// Share of the messages with a question, in [0, 1].
    Questions,
    /// Share of the messages with a compliment, in [0, 1].
    Compliments,
    /// Share of the messages with a factual error, in [0, 1].
    FactualErrors,
    /// Share of the questions and complaints that got an answer, in [0, 1].
    Answered,
    /// Median response time in seconds.
    Response,
    /// Net sentiment, in [-1, 1].
    Net,
}

/// Counts of one day.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Day {
    /// Day of the month, from 1.
    pub day: u8,
    /// 0 is Monday.
    pub weekday: u8,
    /// All messages.
    pub messages: u64,
    /// Messages with a question.
    pub questions: u64,
    /// Messages with a complaint.
    pub complaints: u64,
    /// Messages with a compliment.
    pub compliments: u64,
    /// Messages that state something that is not so.
    pub factual_errors: u64,
    /// Messages of negative sentiment.
    pub negative: u64,
    /// Messages of neutral sentiment.
    pub neutral: u64,
    /// Messages of positive sentiment.
    pub positive: u64,
    /// Complaints that a day like this has otherwise; absent where there is too little history.
    pub expected_complaints: Option<f64>,
    /// Whether the day looks like a crisis.
    pub crisis: bool,
}

/// Counts of one month.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct MonthTotals {
    /// Which.
    pub month: Month,
    /// Its counts.
    pub totals: Totals,
}

/// Counts of one channel or brand.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Part {
    /// Its name, as strangers may have written it.
    pub name: String,
    /// Its counts.
    pub totals: Totals,
}

/// A word that complaints have more often than before.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RisingWord {
    /// The word, as strangers wrote it.
    pub word: String,
    /// Complaints with it this month.
    pub now: u64,
    /// Complaints with it in the three months before.
    pub before: u64,
    /// Complaints with it this month if nothing had changed.
    pub expected: f64,
    /// How striking the rise is.
    pub score: f64,
}

/// A day that looks like a crisis.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CrisisDay {
    /// Day of the month, from 1.
    pub day: u8,
    /// The hour, by the clock, in which it starts.
    pub from_hour: u8,
    /// The hour, by the clock, at which it is over; 24 is the end of the day.
    pub to_hour: u8,
    /// Complaints in those hours.
    pub observed: u64,
    /// Complaints that those hours have otherwise.
    pub expected: f64,
}

/// A message as an example.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Day of the month, from 1.
    pub day: u8,
    /// Where it came in.
    pub channel: Option<String>,
    /// What it was labelled.
    pub intents: Vec<Intent>,
    /// What it was labelled.
    pub sentiment: Sentiment,
    /// Its text, as a stranger wrote it.
    pub text: String,
}
