//! One CSV row a record, under a header row.
//!
//! The csv crates split a row into fields; where a row begins and ends is found here. Left to
//! itself the reader counts lines by its own lights, and a quote that never closes takes the whole
//! rest of the file into memory as one field. May depend on `message` and this module's parent.

use std::io;

use csv_core::{ReadRecordResult, Reader, ReaderBuilder, Terminator};

use super::lines::{Lines, MAX_LINE_BYTES, Step};
use super::{Column, LabelledRecord, Next, OpenError, channel, full_set, intent, sentiment};
use crate::message::Language;

/// What the columns of one kind of file mean; columns that it does not know are ignored.
pub(super) trait Columns: Sized {
    type Row;
    /// A header has at least one of these; the first is the one that is missed otherwise.
    const NEEDED: &'static [&'static str];

    /// By the names of the header.
    fn of(names: &[String]) -> Result<Self, String>;

    /// What one row says, as many cells as there are names, all of it UTF-8.
    fn row(&self, row: &Cells) -> Result<Self::Row, String>;
}

pub(super) struct CsvRows<C> {
    lines: Lines,
    frame: Vec<u8>,
    delimiter: u8,
    cells: Cells,
    count: usize,
    columns: C,
}

/// Places of the columns of labelled records.
pub(super) struct Labelled {
    text: usize,
    id: Option<usize>,
    channel: Option<usize>,
    lang: Option<usize>,
    context: Option<usize>,
    intents: Option<usize>,
    sentiment: Option<usize>,
    urgent: Option<usize>,
    received_at: Option<usize>,
    answered_at: Option<usize>,
    brand: Option<usize>,
}

impl<C: Columns> CsvRows<C> {
    /// Reads the header. Without `delimiter`, that one is taken which shows a column that is needed:
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
            .filter(|(_, names)| names.iter().any(|name| C::NEEDED.contains(&name.as_str())))
            .max_by_key(|(_, names)| names.len())
            .ok_or_else(|| {
                let first = C::NEEDED.first().copied().unwrap_or_default();
                let own = renamed.iter().find(|column| column.field == first);
                let name = own.map_or(first, |column| &column.header);
                header(&format!("the header row has no column `{name}`"))
            })?;
        if let Some(missing) = renamed.iter().find(|column| !names.contains(&column.field)) {
            return Err(header(&format!("the header row has no column `{}`", missing.header)));
        }
        let columns = C::of(&names).map_err(|reason| header(&reason))?;
        let cells = Cells::new(delimiter);
        Ok(CsvRows { lines, frame, delimiter, cells, count: names.len(), columns })
    }

    pub(super) fn line(&self) -> u64 {
        self.lines.line()
    }

    pub(super) fn next(&mut self) -> io::Result<Next<C::Row>> {
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
            return Ok(match self.row() {
                Ok(record) => Next::Record(first, record),
                Err(reason) => Next::Bad(first, reason),
            });
        }
    }

    fn row(&mut self) -> Result<C::Row, String> {
        // Delimiters and quotes are ASCII, so no character straddles two fields.
        if let Err(error) = std::str::from_utf8(&self.frame) {
            return Err(format!("not valid UTF-8 at byte {}", error.valid_up_to() + 1));
        }
        self.cells.split(&self.frame);
        let found = self.cells.count;
        if found != self.count {
            return Err(format!("has {found} fields; the header has {}", self.count));
        }
        self.columns.row(&self.cells)
    }

    /// Gives up on the row, not on the rows that it seemed to swallow.
    fn never_closed(&mut self, line: u64, first_end: usize) -> Next<C::Row> {
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

/// The fields of one row. Made once and filled anew for each row: setting up the splitting costs more than the
/// splitting.
pub(super) struct Cells {
    reader: Reader,
    text: Vec<u8>,
    ends: Vec<usize>,
    count: usize,
}

impl Cells {
    fn new(delimiter: u8) -> Self {
        let reader =
            ReaderBuilder::new().delimiter(delimiter).terminator(Terminator::Any(b'\n')).build();
        Cells { reader, text: Vec::new(), ends: vec![0; 32], count: 0 }
    }

    /// Splits one row, its line end left out.
    fn split(&mut self, frame: &[u8]) {
        let frame = frame.strip_suffix(b"\n").unwrap_or(frame);
        let mut rest = frame.strip_suffix(b"\r").unwrap_or(frame);
        self.reader.reset();
        // What comes out is never longer than what goes in.
        self.text.resize(self.text.len().max(rest.len() + 1), 0);
        self.count = 0;
        let mut written = 0;
        loop {
            let (result, read, wrote, ends) = self.reader.read_record(
                rest,
                &mut self.text[written..],
                &mut self.ends[self.count..],
            );
            rest = &rest[read..];
            written += wrote;
            self.count += ends;
            match result {
                // No more input follows, and the reader is told so by giving it none.
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull => self.text.resize(self.text.len() * 2, 0),
                ReadRecordResult::OutputEndsFull => self.ends.resize(self.ends.len() * 2, 0),
                ReadRecordResult::Record | ReadRecordResult::End => return,
            }
        }
    }

    fn get(&self, at: usize) -> &[u8] {
        let from = at.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.text[from..self.ends[at]]
    }
}

/// What we call a column. One by our own name whose place another one takes is none of ours.
pub(super) fn ours(name: &str, renamed: &[Column]) -> String {
    let name = name.trim().to_lowercase();
    match renamed.iter().find(|column| column.header == name) {
        Some(column) => column.field.clone(),
        None if renamed.iter().any(|column| column.field == name) => String::new(),
        None => name,
    }
}

/// Names of the columns as we call them.
fn header_names(frame: &[u8], delimiter: u8, renamed: &[Column]) -> Vec<String> {
    let mut row = Cells::new(delimiter);
    row.split(frame);
    (0..row.count).map(|at| ours(&String::from_utf8_lossy(row.get(at)), renamed)).collect()
}

/// The place of a column; `None` where the header has none of that name.
pub(super) fn place(names: &[String], wanted: &str) -> Result<Option<usize>, String> {
    let mut places = names.iter().enumerate().filter(|(_, name)| *name == wanted);
    let first = places.next().map(|(at, _)| at);
    match places.next() {
        Some(_) => Err(format!("the header row has more than one column `{wanted}`")),
        None => Ok(first),
    }
}

/// What a cell holds.
pub(super) fn cell(row: &Cells, at: usize) -> String {
    String::from_utf8_lossy(row.get(at)).into_owned()
}

/// What a cell holds, unless that is nothing.
pub(super) fn filled(row: &Cells, at: Option<usize>) -> Option<String> {
    at.map(|at| cell(row, at)).filter(|value| !value.trim().is_empty())
}

impl Columns for Labelled {
    type Row = Box<LabelledRecord>;
    const NEEDED: &'static [&'static str] = &["text"];

    fn of(names: &[String]) -> Result<Self, String> {
        let place = |wanted: &str| place(names, wanted);
        Ok(Labelled {
            text: place("text")?.ok_or("the header row has no column `text`")?,
            id: place("id")?,
            channel: place("channel")?,
            lang: place("lang")?,
            context: place("context")?,
            intents: place("intents")?,
            sentiment: place("sentiment")?,
            urgent: place("urgent")?,
            // Only passed on: two of them are no reason to refuse the file.
            received_at: place("received_at").ok().flatten(),
            answered_at: place("answered_at").ok().flatten(),
            brand: place("brand").ok().flatten(),
        })
    }

    fn row(&self, row: &Cells) -> Result<Self::Row, String> {
        let filled = |at| filled(row, at);
        let id = self.id.map(|at| cell(row, at)).unwrap_or_default();
        Ok(Box::new(LabelledRecord {
            context: filled(self.context),
            lang: filled(self.lang).map(|tag| Language::from_tag(tag.trim())),
            channel: filled(self.channel).map(|name| channel(&name)).transpose()?,
            intents: match filled(self.intents) {
                Some(list) => intents(&list)?,
                None => [None; 4],
            },
            sentiment: filled(self.sentiment).map(|name| sentiment(&name)).transpose()?,
            urgent: filled(self.urgent).map(|word| boolean("urgent", &word)).transpose()?,
            received_at: filled(self.received_at),
            answered_at: filled(self.answered_at),
            brand: filled(self.brand),
            ..LabelledRecord::unlabelled(id, cell(row, self.text))
        }))
    }
}

/// An empty cell is an unknown label, as in every other column; `none` says that none holds.
pub(super) fn intents(list: &str) -> Result<[Option<bool>; 4], String> {
    if matches!(list.trim().to_ascii_lowercase().as_str(), "none" | "[]") {
        return Ok(full_set(&[]));
    }
    let names = list.split([';', '|', ',', ' ', '\t']).filter(|name| !name.is_empty());
    let holding: Vec<_> = names.map(|name| intent("intents", name)).collect::<Result<_, _>>()?;
    Ok(full_set(&holding))
}

pub(super) fn boolean(field: &str, word: &str) -> Result<bool, String> {
    match word.trim().to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "ja" | "waar" => Ok(true),
        "false" | "0" | "no" | "nee" | "onwaar" => Ok(false),
        _ => Err(format!("{field}: is neither true nor false")),
    }
}
