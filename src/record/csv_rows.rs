//! One CSV row a record, under a header row.
//!
//! The csv crate splits a row into fields; where a row begins and ends is found here. Left to
//! itself the crate counts lines by its own lights, and a quote that never closes takes the whole
//! rest of the file into memory as one field. May depend on `message` and this module's parent.

use std::io;

use csv::{ByteRecord, ReaderBuilder, Terminator};

use super::lines::{Lines, MAX_LINE_BYTES, Step};
use super::{Column, LabelledRecord, Next, OpenError, channel, full_set, intent, sentiment};
use crate::message::Language;

pub(super) struct CsvRows {
    lines: Lines,
    frame: Vec<u8>,
    delimiter: u8,
    columns: Columns,
}

/// Place of each column that we know; others are ignored.
struct Columns {
    count: usize,
    text: usize,
    id: Option<usize>,
    channel: Option<usize>,
    lang: Option<usize>,
    context: Option<usize>,
    intents: Option<usize>,
    sentiment: Option<usize>,
    urgent: Option<usize>,
}

impl CsvRows {
    /// Reads the header. Without `delimiter`, that one is taken which shows a column `text`:
    /// spreadsheets write a semicolon wherever the comma is the decimal mark.
    pub(super) fn new(
        mut lines: Lines,
        name: &str,
        delimiter: Option<u8>,
        renamed: &[Column],
    ) -> Result<Self, OpenError> {
        let path = name.to_owned();
        let header = |reason: &str| OpenError::Header { path: path.clone(), reason: reason.into() };
        let mut frame = Vec::new();
        while frame.trim_ascii().is_empty() {
            frame.clear();
            match lines.read_into(&mut frame) {
                Ok(Step::Line) => {}
                Ok(Step::End) => return Err(header("has no header row")),
                Ok(Step::TooLong) => return Err(header("the header row is too long")),
                Err(source) => return Err(OpenError::Read { path, source }),
            }
        }
        if std::str::from_utf8(&frame).is_err() {
            return Err(header("the header row is not valid UTF-8; save the file as UTF-8"));
        }
        let candidates = delimiter.map_or(vec![b',', b';', b'\t'], |one| vec![one]);
        let (delimiter, names) = candidates
            .into_iter()
            .map(|delimiter| (delimiter, header_names(&frame, delimiter, renamed)))
            .filter(|(_, names)| names.iter().any(|name| name == "text"))
            .max_by_key(|(_, names)| names.len())
            .ok_or_else(|| {
                let text = renamed.iter().find(|column| column.field == "text");
                let name = text.map_or("text", |column| &column.header);
                header(&format!("the header row has no column `{name}`"))
            })?;
        if let Some(missing) = renamed.iter().find(|column| !names.contains(&column.field)) {
            return Err(header(&format!("the header row has no column `{}`", missing.header)));
        }
        let columns = Columns::of(&names).map_err(|reason| header(&reason))?;
        Ok(CsvRows { lines, frame, delimiter, columns })
    }

    pub(super) fn line(&self) -> u64 {
        self.lines.line()
    }

    pub(super) fn next(&mut self) -> io::Result<Next> {
        loop {
            self.frame.clear();
            let first = self.lines.line() + 1;
            let (mut scan, mut first_end) = (Scan::FieldStart, 0);
            loop {
                let begin = self.frame.len();
                match self.lines.read_into(&mut self.frame)? {
                    Step::End if begin == 0 => return Ok(Next::End),
                    Step::TooLong => {
                        let reason = format!("longer than {MAX_LINE_BYTES} bytes");
                        return Ok(Next::Bad(first, reason));
                    }
                    Step::End => return Ok(self.never_closed(first, first_end)),
                    Step::Line => {}
                }
                if begin == 0 {
                    first_end = self.frame.len();
                }
                scan = scan.over(&self.frame[begin..], self.delimiter);
                if scan != Scan::Quoted {
                    break;
                }
                if self.frame.len() > MAX_LINE_BYTES {
                    return Ok(self.never_closed(first, first_end));
                }
            }
            if self.frame.trim_ascii().is_empty() {
                continue;
            }
            return Ok(match self.columns.record(&self.frame, self.delimiter) {
                Ok(record) => Next::Record(first, Box::new(record)),
                Err(reason) => Next::Bad(first, reason),
            });
        }
    }

    /// Gives up on the row, not on the rows that it seemed to swallow.
    fn never_closed(&mut self, line: u64, first_end: usize) -> Next {
        self.lines.go_back(line, &self.frame[first_end..]);
        Next::Bad(line, "opens a quoted field that is never closed".into())
    }
}

/// Where in a row we are; tells a line end inside quotes from one that ends the row.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scan {
    FieldStart,
    Plain,
    Quoted,
    /// After a quote inside quotes: the end of them, or the first half of an escaped quote.
    QuoteInQuotes,
}

impl Scan {
    fn over(self, bytes: &[u8], delimiter: u8) -> Self {
        bytes.iter().fold(self, |state, &byte| match (state, byte) {
            (Scan::FieldStart, b'"') | (Scan::QuoteInQuotes, b'"') => Scan::Quoted,
            (Scan::Quoted, b'"') => Scan::QuoteInQuotes,
            (Scan::Quoted, _) => Scan::Quoted,
            (_, byte) if byte == delimiter || byte == b'\n' => Scan::FieldStart,
            _ => Scan::Plain,
        })
    }
}

/// Splits one row, its line end left out.
fn fields(frame: &[u8], delimiter: u8) -> Result<ByteRecord, String> {
    let frame = frame.strip_suffix(b"\n").unwrap_or(frame);
    let frame = frame.strip_suffix(b"\r").unwrap_or(frame);
    let mut reader = ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(delimiter)
        .terminator(Terminator::Any(b'\n'))
        .buffer_capacity(frame.len().max(1))
        .from_reader(frame);
    let mut row = ByteRecord::new();
    reader.read_byte_record(&mut row).map_err(|_| "not a CSV row".to_owned())?;
    Ok(row)
}

/// Names of the columns as we call them. A column by our own name whose place another one takes is none
/// of ours.
fn header_names(frame: &[u8], delimiter: u8, renamed: &[Column]) -> Vec<String> {
    let row = fields(frame, delimiter).unwrap_or_default();
    let ours = |name: String| match renamed.iter().find(|column| column.header == name) {
        Some(column) => column.field.clone(),
        None if renamed.iter().any(|column| column.field == name) => String::new(),
        None => name,
    };
    row.iter().map(|name| ours(String::from_utf8_lossy(name).trim().to_lowercase())).collect()
}

impl Columns {
    fn of(names: &[String]) -> Result<Self, String> {
        let place = |wanted: &str| {
            let mut places = names.iter().enumerate().filter(|(_, name)| *name == wanted);
            let first = places.next().map(|(at, _)| at);
            match places.next() {
                Some(_) => Err(format!("the header row has more than one column `{wanted}`")),
                None => Ok(first),
            }
        };
        Ok(Columns {
            count: names.len(),
            text: place("text")?.ok_or("the header row has no column `text`")?,
            id: place("id")?,
            channel: place("channel")?,
            lang: place("lang")?,
            context: place("context")?,
            intents: place("intents")?,
            sentiment: place("sentiment")?,
            urgent: place("urgent")?,
        })
    }

    fn record(&self, frame: &[u8], delimiter: u8) -> Result<LabelledRecord, String> {
        // Delimiters and quotes are ASCII, so no character straddles two fields.
        if let Err(error) = std::str::from_utf8(frame) {
            return Err(format!("not valid UTF-8 at byte {}", error.valid_up_to() + 1));
        }
        let row = fields(frame, delimiter)?;
        if row.len() != self.count {
            return Err(format!("has {} fields; the header has {}", row.len(), self.count));
        }
        let cell = |at: usize| String::from_utf8_lossy(&row[at]).into_owned();
        let filled = |at: Option<usize>| at.map(cell).filter(|value| !value.trim().is_empty());
        let id = self.id.map(cell).unwrap_or_default();
        Ok(LabelledRecord {
            context: filled(self.context),
            lang: filled(self.lang).map(|tag| Language::from_tag(tag.trim())),
            channel: filled(self.channel).map(|name| channel(&name)).transpose()?,
            intents: match filled(self.intents) {
                Some(list) => intents(&list)?,
                None => [None; 4],
            },
            sentiment: filled(self.sentiment).map(|name| sentiment(&name)).transpose()?,
            urgent: filled(self.urgent).map(|word| boolean("urgent", &word)).transpose()?,
            ..LabelledRecord::unlabelled(id, cell(self.text))
        })
    }
}

/// An empty cell is an unknown label, as in every other column; `none` says that none holds.
fn intents(list: &str) -> Result<[Option<bool>; 4], String> {
    if matches!(list.trim().to_ascii_lowercase().as_str(), "none" | "[]") {
        return Ok(full_set(&[]));
    }
    let names = list.split([';', '|', ',', ' ', '\t']).filter(|name| !name.is_empty());
    let holding: Vec<_> = names.map(|name| intent("intents", name)).collect::<Result<_, _>>()?;
    Ok(full_set(&holding))
}

fn boolean(field: &str, word: &str) -> Result<bool, String> {
    match word.trim().to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "ja" | "waar" => Ok(true),
        "false" | "0" | "no" | "nee" | "onwaar" => Ok(false),
        _ => Err(format!("{field}: is neither true nor false")),
    }
}
