//! Messages as they were handled: when they came in and were answered, by which channel, and what was said of them.
//!
//! What `classify` writes is read here, and whatever has the same columns: verdicts with probabilities, labels that
//! a person gave, or a bare text that is still to be classified. May depend on `message` and on this module's
//! parent.

mod json;
mod parquet;

use std::collections::HashMap;
use std::path::Path;

use jiff::Timestamp;
use jiff::civil::DateTime;

use super::csv_rows::{Cells, Columns, boolean, filled, intents, place};
use super::{Column, Format, OpenError, RecordError, Rows, channel, sentiment};
use crate::message::{Channel, Intent, Language, Sentiment};

/// Longest brand, in bytes.
const MAX_BRAND_BYTES: usize = 256;

/// A moment, as far as a file tells it.
#[derive(Clone, Debug, PartialEq)]
pub enum When {
    /// As somebody wrote it down.
    Text(String),
    /// A moment, whatever the place.
    Instant(Timestamp),
    /// What a clock showed, somewhere.
    Local(DateTime),
}

/// What was said of a message.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Said {
    /// In the order of [`Intent::ALL`].
    pub intents: [bool; 4],
    pub sentiment: Sentiment,
    pub urgent: bool,
    pub needs_review: bool,
    /// Probabilities of the intents and of the sentiments, where there are all of them.
    pub probabilities: Option<([f32; 4], [f32; 3])>,
}

/// One message as it was handled.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Handled {
    pub id: String,
    pub text: Option<String>,
    pub context: Option<String>,
    pub lang: Option<Language>,
    pub channel: Option<Channel>,
    pub brand: Option<String>,
    pub received_at: Option<When>,
    pub answered_at: Option<When>,
    /// What was said of it; without, it has a text.
    pub said: Option<Said>,
}

impl Handled {
    fn checked(self) -> Result<Self, String> {
        if self.said.is_none() && self.text.is_none() {
            return Err("text: is missing, and so are the labels".into());
        }
        if self.brand.as_ref().is_some_and(|brand| brand.len() > MAX_BRAND_BYTES) {
            return Err(format!("brand: is longer than {MAX_BRAND_BYTES} bytes"));
        }
        Ok(self)
    }
}

/// Reads messages as they were handled, one by one.
pub struct HandledRows(Kind);

enum Kind {
    Text(Box<Rows<Places>>),
    Parquet(parquet::ParquetRows),
}

impl HandledRows {
    /// Opens a file, or standard input for `-` (JSON lines unless `format` says otherwise). Parquet goes by its
    /// extension.
    ///
    /// # Errors
    /// [`OpenError`] where it cannot be read, or no row could ever come of it.
    pub fn open(
        path: &Path,
        format: Option<Format>,
        renamed: &[Column],
    ) -> Result<Self, OpenError> {
        let is_parquet = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("parquet"));
        Ok(HandledRows(match is_parquet && format.is_none() {
            true => Kind::Parquet(parquet::ParquetRows::open(path, renamed)?),
            false => Kind::Text(Box::new(Rows::open(path, format, renamed, json::handled)?)),
        }))
    }
}

impl Iterator for HandledRows {
    /// The row's line, or its number in a Parquet file, from 1.
    type Item = Result<(u64, Handled), RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.0 {
            Kind::Text(rows) => rows.next(),
            Kind::Parquet(rows) => rows.next(),
        }
    }
}

/// A file has at least one of these columns; the first is the one that is missed otherwise.
const NEEDED: &[&str] = &["text", "sentiment"];
/// All columns that are read, but for the probabilities.
const COLUMNS: [&str; 16] = [
    "id",
    "text",
    "context",
    "lang",
    "channel",
    "brand",
    "received_at",
    "answered_at",
    "intents",
    "sentiment",
    "urgent",
    "needs_review",
    "question",
    "complaint",
    "compliment",
    "factual_error",
];
/// Names of the probabilities' columns: the intents', then the sentiments'.
const PROBABILITIES: [&str; 7] = [
    "question_p",
    "complaint_p",
    "compliment_p",
    "factual_error_p",
    "negative_p",
    "neutral_p",
    "positive_p",
];

/// A row of a table, whatever the format: what it has under the names that we have for its columns. Nothing where there
/// is no such column, or it is empty here.
trait Table {
    fn text(&self, name: &str) -> Result<Option<String>, String>;

    fn id(&self) -> Result<Option<String>, String> {
        self.text("id")
    }

    fn flag(&self, name: &str) -> Result<Option<bool>, String> {
        self.text(name)?.map(|word| boolean(name, &word)).transpose()
    }

    fn number(&self, name: &str) -> Result<Option<f32>, String> {
        let number = |text: String| probability(name, text.trim().parse().ok());
        self.text(name)?.map(number).transpose()
    }

    fn when(&self, name: &str) -> Result<Option<When>, String> {
        Ok(self.text(name)?.map(When::Text))
    }

    /// What the row says.
    fn handled(&self) -> Result<Handled, String> {
        Handled {
            id: self.id()?.unwrap_or_default(),
            text: self.text("text")?,
            context: self.text("context")?,
            lang: self.text("lang")?.map(|tag| Language::from_tag(tag.trim())),
            channel: self.text("channel")?.map(|name| channel(&name)).transpose()?,
            brand: self.text("brand")?.map(|brand| brand.trim().to_owned()),
            received_at: self.when("received_at")?,
            answered_at: self.when("answered_at")?,
            said: self.said()?,
        }
        .checked()
    }

    /// What it says of its message: all labels, or none.
    fn said(&self) -> Result<Option<Said>, String> {
        let Some(feeling) = self.text("sentiment")? else { return Ok(None) };
        let intents = match self.text("intents")? {
            Some(list) => intents(&list)?.map(|holds| holds == Some(true)),
            None => {
                let mut holds = [false; 4];
                for (holds, intent) in holds.iter_mut().zip(Intent::ALL) {
                    let Some(said) = self.flag(intent.name())? else { return Ok(None) };
                    *holds = said;
                }
                holds
            }
        };
        let mut p = [0f32; 7];
        let mut complete = true;
        for (value, name) in p.iter_mut().zip(PROBABILITIES) {
            match self.number(name)? {
                Some(number) => *value = number,
                None => complete = false,
            }
        }
        Ok(Some(Said {
            intents,
            sentiment: sentiment(&feeling)?,
            urgent: self.flag("urgent")?.unwrap_or(false),
            needs_review: self.flag("needs_review")?.unwrap_or(false),
            probabilities: complete.then_some(parts(p)),
        }))
    }
}

/// Places of the columns of a CSV file.
struct Places(HashMap<&'static str, usize>);

impl Columns for Places {
    type Row = Handled;
    const NEEDED: &'static [&'static str] = NEEDED;

    fn of(names: &[String]) -> Result<Self, String> {
        let mut places = HashMap::new();
        for name in COLUMNS.into_iter().chain(PROBABILITIES) {
            if let Some(at) = place(names, name)? {
                places.insert(name, at);
            }
        }
        Ok(Places(places))
    }

    fn row(&self, cells: &Cells) -> Result<Handled, String> {
        CsvRow { places: &self.0, cells }.handled()
    }
}

struct CsvRow<'a> {
    places: &'a HashMap<&'static str, usize>,
    cells: &'a Cells,
}

impl Table for CsvRow<'_> {
    fn text(&self, name: &str) -> Result<Option<String>, String> {
        Ok(filled(self.cells, self.places.get(name).copied()))
    }
}

/// Intents' probabilities and sentiments'.
fn parts([a, b, c, d, e, f, g]: [f32; 7]) -> ([f32; 4], [f32; 3]) {
    ([a, b, c, d], [e, f, g])
}

/// A probability that is one.
fn probability(name: &str, value: Option<f32>) -> Result<f32, String> {
    value
        .filter(|p| (0.0..=1.0).contains(p))
        .ok_or_else(|| format!("{name}: is no probability from 0 to 1"))
}
