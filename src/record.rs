//! Records on disk: one JSON object a line, or one CSV row, to and from the domain.
//!
//! Classifying, evaluating and training all read through here, so that a file means the same to
//! each. Two rules shape it. One bad line costs that line only: it is reported by number and the
//! reading goes on. And memory does not grow with the file: a line has a limit, so that a file
//! without line ends, or a quote that never closes, cannot be read into memory whole. Reasons name
//! fields and label names, never message text, since they end up in terminals and logs.
//!
//! May depend on `message` only.

mod csv_rows;
mod handled;
mod json_lines;
mod lines;
#[cfg(test)]
mod tests;

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use crate::message::{Channel, Intent, InvalidMessage, Language, Message, Sentiment};

pub use handled::{Handled, HandledRows, Said, When};

use csv_rows::{Columns, CsvRows, Labelled};
use json_lines::JsonLines;
use lines::Lines;

/// One message with what is known of its labels. Without labels it is just a message.
#[derive(Clone, Debug, PartialEq)]
pub struct LabelledRecord {
    /// The file's id; may be empty.
    pub id: String,
    /// The message as the person typed it.
    pub text: String,
    /// The post that it replies to.
    pub context: Option<String>,
    /// Language that the file says it is in.
    pub lang: Option<Language>,
    /// Where it was written.
    pub channel: Option<Channel>,
    /// Free word for the kind of organisation.
    pub sector: Option<String>,
    /// In the order of [`Intent::ALL`]; `None` where unknown.
    pub intents: [Option<bool>; 4],
    /// `None` where unknown.
    pub sentiment: Option<Sentiment>,
    /// Whether a person must look now; `None` where unknown.
    pub urgent: Option<bool>,
    /// False where another reader could have labelled it otherwise.
    pub sure: bool,
    /// Set that it came from.
    pub origin: Option<String>,
    /// When it came in, as the file has it.
    pub received_at: Option<String>,
    /// When it was answered, as the file has it.
    pub answered_at: Option<String>,
    /// A word of the user's own.
    pub brand: Option<String>,
}

impl LabelledRecord {
    /// A message without labels.
    pub fn unlabelled(id: impl Into<String>, text: impl Into<String>) -> Self {
        LabelledRecord {
            id: id.into(),
            text: text.into(),
            context: None,
            lang: None,
            channel: None,
            sector: None,
            intents: [None; 4],
            sentiment: None,
            urgent: None,
            sure: true,
            origin: None,
            received_at: None,
            answered_at: None,
            brand: None,
        }
    }

    /// The message as the pipeline takes it, without its labels.
    ///
    /// # Errors
    /// [`InvalidMessage`] where [`Message::new`] refuses it.
    pub fn message(&self) -> Result<Message, InvalidMessage> {
        let message = Message::new(self.id.as_str(), self.text.as_str())?
            .with_channel(self.channel)
            .with_language_hint(self.lang);
        match &self.context {
            Some(context) => message.with_context(context.as_str()),
            None => Ok(message),
        }
    }
}

/// How records are written in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// One JSON object a line.
    Jsonl,
    /// Rows under a header; the delimiter (comma, semicolon or tab) is read off the header.
    Csv,
    /// Rows under a header, separated by tabs.
    Tsv,
}

impl Format {
    /// By the file's extension; `None` where it says nothing.
    pub fn of(path: &Path) -> Option<Self> {
        match path.extension().and_then(OsStr::to_str)?.to_ascii_lowercase().as_str() {
            "jsonl" | "ndjson" => Some(Format::Jsonl),
            "csv" => Some(Format::Csv),
            "tsv" => Some(Format::Tsv),
            _ => None,
        }
    }
}

/// A column of a CSV file that goes by a name of its own: `text=Bericht`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// What we call it.
    pub field: String,
    /// What the header calls it, in lower case.
    pub header: String,
}

/// What a column can hold.
const FIELDS: [&str; 11] = [
    "text",
    "id",
    "channel",
    "lang",
    "context",
    "intents",
    "sentiment",
    "urgent",
    "received_at",
    "answered_at",
    "brand",
];

impl std::str::FromStr for Column {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (field, header) = text.split_once('=').ok_or("say FIELD=HEADER, as text=Bericht")?;
        let (field, header) = (plain(field), header.trim().to_lowercase());
        if !FIELDS.contains(&field.as_str()) || header.is_empty() {
            return Err(format!("FIELD is one of {}", FIELDS.join(", ")));
        }
        Ok(Column { field, header })
    }
}

/// Why one line or row gave no record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct RecordError {
    /// Line that the record begins on, from 1.
    pub line: u64,
    /// What is wrong with it, without quoting message text.
    pub reason: String,
}

/// Why a file cannot be read at all.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It cannot be opened, or its header cannot be read.
    #[error("cannot read {path}")]
    Read { path: String, source: io::Error },
    /// The extension does not tell the format.
    #[error("{path}: the extension does not tell the format; say --format jsonl, csv or tsv")]
    UnknownFormat { path: String },
    /// A CSV file whose header cannot be used.
    #[error("{path}: {reason}")]
    Header { path: String, reason: String },
}

/// Reads records one by one.
pub struct Records(Rows<Labelled>);

/// Rows of one kind, in one of the text formats.
struct Rows<C: Columns> {
    source: Source<C>,
    /// After the source itself failed there is nothing more to read.
    ended: bool,
}

enum Source<C: Columns> {
    Jsonl(JsonLines<C::Row>),
    Csv(Box<CsvRows<C>>),
}

impl<C: Columns> Rows<C> {
    /// Opens a file, or standard input for `-`; `object` says what a JSON object means.
    fn open(
        path: &Path,
        format: Option<Format>,
        renamed: &[Column],
        object: fn(&[u8]) -> Result<C::Row, String>,
    ) -> Result<Self, OpenError> {
        let name = path.display().to_string();
        if path.as_os_str() == "-" {
            let reader = Box::new(BufReader::new(io::stdin()));
            return Self::new(reader, &name, format.unwrap_or(Format::Jsonl), renamed, object);
        }
        let (file, format) = Records::open_file(path, format)?;
        Self::new(Box::new(BufReader::new(file)), &name, format, renamed, object)
    }

    fn new(
        reader: Box<dyn BufRead + Send>,
        name: &str,
        format: Format,
        renamed: &[Column],
        object: fn(&[u8]) -> Result<C::Row, String>,
    ) -> Result<Self, OpenError> {
        let lines = Lines::new(reader);
        let source = match format {
            Format::Jsonl => Source::Jsonl(JsonLines::new(lines, object)),
            Format::Csv => Source::Csv(CsvRows::new(lines, name, None, renamed)?.into()),
            Format::Tsv => Source::Csv(CsvRows::new(lines, name, Some(b'\t'), renamed)?.into()),
        };
        Ok(Rows { source, ended: false })
    }
}

impl Records {
    /// Opens a file, or standard input for `-` (JSON lines unless `format` says otherwise).
    ///
    /// # Errors
    /// [`OpenError`] where it cannot be read, or no record could ever come of it.
    pub fn open(path: &Path, format: Option<Format>) -> Result<Self, OpenError> {
        Self::open_renamed(path, format, &[])
    }

    /// As [`Records::open`], with columns of a CSV file that go by names of their own.
    ///
    /// # Errors
    /// As [`Records::open`], and where the header lacks such a name.
    pub fn open_renamed(
        path: &Path,
        format: Option<Format>,
        renamed: &[Column],
    ) -> Result<Self, OpenError> {
        Rows::open(path, format, renamed, json_lines::labelled).map(Records)
    }

    /// The file and its format, for who wants to watch the reading (a progress bar).
    ///
    /// # Errors
    /// [`OpenError`] where it cannot be opened, or its format is not known.
    pub fn open_file(path: &Path, format: Option<Format>) -> Result<(File, Format), OpenError> {
        let name = path.display().to_string();
        let Some(format) = format.or_else(|| Format::of(path)) else {
            return Err(OpenError::UnknownFormat { path: name });
        };
        let open = || {
            let file = File::open(path)?;
            // Opening a directory succeeds; reading it does not.
            if file.metadata()?.is_dir() {
                return Err(io::ErrorKind::IsADirectory.into());
            }
            Ok(file)
        };
        match open() {
            Ok(file) => Ok((file, format)),
            Err(source) => Err(OpenError::Read { path: name, source }),
        }
    }

    /// Reads from anything; `name` is what errors call it.
    ///
    /// # Errors
    /// [`OpenError`] where a CSV header is missing or lacks the column `text`.
    pub fn from_reader(
        reader: Box<dyn BufRead + Send>,
        name: &str,
        format: Format,
    ) -> Result<Self, OpenError> {
        Rows::new(reader, name, format, &[], json_lines::labelled).map(Records)
    }
}

/// What a reader of one format found next.
enum Next<T> {
    Record(u64, T),
    Bad(u64, String),
    End,
}

impl<C: Columns> Iterator for Rows<C> {
    type Item = Result<(u64, C::Row), RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let (next, line) = match &mut self.source {
            Source::Jsonl(rows) => (rows.next(), rows.line()),
            Source::Csv(rows) => (rows.next(), rows.line()),
        };
        match next {
            Ok(Next::Record(line, record)) => Some(Ok((line, record))),
            Ok(Next::Bad(line, reason)) => Some(Err(RecordError { line, reason })),
            Ok(Next::End) => {
                self.ended = true;
                None
            }
            Err(error) => {
                self.ended = true;
                let reason = format!("cannot be read, nor what follows it: {error}");
                Some(Err(RecordError { line: line + 1, reason }))
            }
        }
    }
}

impl Iterator for Records {
    type Item = Result<(u64, LabelledRecord), RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(self.0.next()?.and_then(|(line, record)| match record.message() {
            Ok(_) => Ok((line, *record)),
            Err(invalid) => Err(RecordError { line, reason: invalid.to_string() }),
        }))
    }
}

fn intent(field: &str, name: &str) -> Result<Intent, String> {
    Intent::from_name(&plain(name)).ok_or_else(|| unknown(field, name))
}

fn sentiment(name: &str) -> Result<Sentiment, String> {
    Sentiment::from_name(&plain(name)).ok_or_else(|| unknown("sentiment", name))
}

fn channel(name: &str) -> Result<Channel, String> {
    Channel::from_name(&plain(name)).ok_or_else(|| unknown("channel", name))
}

fn plain(name: &str) -> String {
    name.trim().to_ascii_lowercase()
}

/// Names the value only where it looks like a name: in a row whose columns have shifted the value
/// is a piece of somebody's message.
fn unknown(field: &str, value: &str) -> String {
    let name = value.trim();
    let is_name = name.len() <= 24
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
    if is_name {
        format!("{field}: unknown name `{name}`")
    } else {
        format!("{field}: holds something that is not a label name")
    }
}

/// The full set of intents: those named hold, the others do not.
fn full_set(holding: &[Intent]) -> [Option<bool>; 4] {
    Intent::ALL.map(|intent| Some(holding.contains(&intent)))
}
