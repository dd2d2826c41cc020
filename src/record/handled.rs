//! Messages as they were handled: when they came in and were answered, by which channel, and what was said of them.
//!
//! What `classify` writes is read here, and whatever has the same columns: verdicts with probabilities, labels that
//! a person gave, or a bare text that is still to be classified. May depend on `message`, `kpi`'s types not among
//! them, and on this module's parent.

mod json;
mod parquet;

use std::fs::File;
use std::io::{BufReader, stdin};
use std::path::Path;

use jiff::Timestamp;
use jiff::civil::DateTime;

use super::csv_rows::{Cells, Columns, boolean, cell, filled, intents, place};
use super::{Column, Format, OpenError, RecordError, Records, Rows, channel, sentiment};
use crate::message::{Channel, Intent, InvalidMessage, Language, Message, Sentiment};

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
    /// The message as the pipeline takes it.
    ///
    /// # Errors
    /// [`InvalidMessage`] where there is no text, or [`Message::new`] refuses it.
    pub fn message(&self) -> Result<Message, InvalidMessage> {
        let message = Message::new(self.id.as_str(), self.text.as_deref().unwrap_or_default())?
            .with_channel(self.channel)
            .with_language_hint(self.lang);
        match &self.context {
            Some(context) => message.with_context(context.as_str()),
            None => Ok(message),
        }
    }

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
    /// extension. Texts are kept only where there is nothing else, unless `with_text`.
    ///
    /// # Errors
    /// [`OpenError`] where it cannot be read, or no row could ever come of it.
    pub fn open(
        path: &Path,
        format: Option<Format>,
        renamed: &[Column],
        with_text: bool,
    ) -> Result<Self, OpenError> {
        let name = path.display().to_string();
        let is_parquet = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("parquet"));
        if is_parquet && format.is_none() {
            let file = File::open(path)
                .map_err(|source| OpenError::Read { path: name.clone(), source })?;
            let rows = parquet::ParquetRows::open(file, &name, renamed, with_text)?;
            return Ok(HandledRows(Kind::Parquet(rows)));
        }
        let object = match with_text {
            true => json::with_text,
            false => json::without_text,
        };
        let rows = if path.as_os_str() == "-" {
            let reader = Box::new(BufReader::new(stdin()));
            Rows::new(reader, &name, format.unwrap_or(Format::Jsonl), renamed, object)?
        } else {
            let (file, format) = Records::open_file(path, format)?;
            Rows::new(Box::new(BufReader::new(file)), &name, format, renamed, object)?
        };
        Ok(HandledRows(Kind::Text(Box::new(rows.keeping(with_text)))))
    }
}

impl Rows<Places> {
    fn keeping(mut self, with_text: bool) -> Self {
        if let super::Source::Csv(rows) = &mut self.source {
            rows.columns_mut().with_text = with_text;
        }
        self
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

/// Places of the columns.
struct Places {
    with_text: bool,
    id: Option<usize>,
    text: Option<usize>,
    context: Option<usize>,
    lang: Option<usize>,
    channel: Option<usize>,
    brand: Option<usize>,
    received_at: Option<usize>,
    answered_at: Option<usize>,
    /// A column for each intent, or one with the list of those that hold.
    each: [Option<usize>; 4],
    list: Option<usize>,
    sentiment: Option<usize>,
    urgent: Option<usize>,
    needs_review: Option<usize>,
    probabilities: [Option<usize>; 7],
}

impl Columns for Places {
    type Row = Handled;
    const NEEDED: &'static [&'static str] = &["text", "sentiment"];

    fn of(names: &[String]) -> Result<Self, String> {
        let place = |wanted: &str| place(names, wanted);
        let mut each = [None; 4];
        for (at, intent) in each.iter_mut().zip(Intent::ALL) {
            *at = place(intent.name())?;
        }
        let mut probabilities = [None; 7];
        for (at, name) in probabilities.iter_mut().zip(PROBABILITIES) {
            *at = place(name)?;
        }
        Ok(Places {
            with_text: true,
            id: place("id")?,
            text: place("text")?,
            context: place("context")?,
            lang: place("lang")?,
            channel: place("channel")?,
            brand: place("brand")?,
            received_at: place("received_at")?,
            answered_at: place("answered_at")?,
            each,
            list: place("intents")?,
            sentiment: place("sentiment")?,
            urgent: place("urgent")?,
            needs_review: place("needs_review")?,
            probabilities,
        })
    }

    fn row(&self, row: &Cells) -> Result<Handled, String> {
        let said = self.said(row)?;
        let wanted = self.with_text || said.is_none();
        let when = |at| filled(row, at).map(When::Text);
        Handled {
            id: self.id.filter(|_| wanted).map(|at| cell(row, at)).unwrap_or_default(),
            text: filled(row, self.text.filter(|_| wanted)),
            context: filled(row, self.context.filter(|_| wanted)),
            lang: filled(row, self.lang).map(|tag| Language::from_tag(tag.trim())),
            channel: filled(row, self.channel).map(|name| channel(&name)).transpose()?,
            brand: filled(row, self.brand).map(|brand| brand.trim().to_owned()),
            received_at: when(self.received_at),
            answered_at: when(self.answered_at),
            said,
        }
        .checked()
    }
}

impl Places {
    /// What the row says of its message: all labels, or none.
    fn said(&self, row: &Cells) -> Result<Option<Said>, String> {
        let Some(feeling) = filled(row, self.sentiment) else { return Ok(None) };
        let flag = |name: &str, at: Option<usize>| {
            filled(row, at).map(|word| boolean(name, &word)).transpose()
        };
        let intents = match filled(row, self.list) {
            Some(list) => intents(&list)?.map(|holds| holds == Some(true)),
            None => {
                let mut holds = [false; 4];
                for ((holds, at), intent) in holds.iter_mut().zip(self.each).zip(Intent::ALL) {
                    let Some(said) = flag(intent.name(), at)? else { return Ok(None) };
                    *holds = said;
                }
                holds
            }
        };
        let mut p = [0f32; 7];
        let mut complete = true;
        for ((value, at), name) in p.iter_mut().zip(self.probabilities).zip(PROBABILITIES) {
            match filled(row, at) {
                Some(text) => *value = probability(name, text.trim().parse().ok())?,
                None => complete = false,
            }
        }
        Ok(Some(Said {
            intents,
            sentiment: sentiment(&feeling)?,
            urgent: flag("urgent", self.urgent)?.unwrap_or(false),
            needs_review: flag("needs_review", self.needs_review)?.unwrap_or(false),
            probabilities: complete.then_some(parts(p)),
        }))
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
