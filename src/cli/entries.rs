//! Files of handled messages to what is counted of them; what has no labels yet is classified on the way.
//!
//! May depend on `kpi`, `record`, the pipeline, and on `cli`'s stream.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::SOME_FAILED;
use super::stream::{Classified, Classifier, StreamError, Then};
use crate::kpi::period::{place, read_time_after, zone};
use crate::kpi::{Entry, Labels, Probabilities};
use crate::pipeline::Arithmetic;
use crate::record::{
    Column, Format, Handled, HandledRows, LabelledRecord, OpenError, RecordError, Said, When,
};

/// Messages that are classified together.
const TOGETHER: usize = 8192;

/// Files of messages, and how they are read.
#[derive(Debug, Args)]
pub struct Entries {
    /// Files of messages, JSON lines, CSV or Parquet: with labels, as `classify` writes them, or without, to be
    /// classified now; `-` is standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Where days and months begin, and what times without an offset are of
    #[arg(long, default_value = "Europe/Amsterdam", value_name = "ZONE", value_parser = zone)]
    time_zone: TimeZone,
    /// What a column is called, as in `--column received_at=Ontvangen`; may be repeated
    #[arg(long, value_name = "FIELD=HEADER")]
    column: Vec<Column>,
    /// Format of the input [default: by the file's extension; JSON lines on standard input]
    #[arg(long)]
    format: Option<Format>,
}

/// One message of a file.
pub(super) struct Read {
    pub(super) entry: Entry,
    pub(super) text: Option<String>,
}

/// The model that classifies what has no labels, and how it is run.
type Model<'a> = (Option<&'a Path>, Arithmetic);

/// How reading ended: messages that were read, and those that could not be.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ended {
    pub(super) read: u64,
    pub(super) failed: u64,
}

impl Ended {
    /// The exit code; says how many could not be counted, where there are such.
    pub(super) fn code(self) -> ExitCode {
        if self.failed == 0 {
            return ExitCode::SUCCESS;
        }
        eprintln!("{} counted, {} could not be", self.read, self.failed);
        ExitCode::from(SOME_FAILED)
    }
}

/// Why files cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum EntriesError {
    /// One cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// What is not labelled cannot be classified.
    #[error(transparent)]
    Stream(#[from] StreamError),
}

impl Entries {
    /// The time zone that was chosen.
    pub(super) fn zone(&self) -> &TimeZone {
        &self.time_zone
    }

    /// Reads all files, in no particular order within one. What `take` refuses, and what cannot be read, is
    /// told on standard error by file and line.
    pub(super) fn each(
        &self,
        model: Model,
        mut take: impl FnMut(Read) -> Result<(), String>,
    ) -> Result<Ended, EntriesError> {
        let mut ended = Ended::default();
        let mut classifier = None;
        for path in &self.files {
            let mut note = |line: u64, outcome: Result<(), String>| match outcome {
                Ok(()) => ended.read += 1,
                Err(reason) => {
                    ended.failed += 1;
                    let error = RecordError { line, reason };
                    eprintln!("error: {}: {error}", path.display());
                }
            };
            let mut unlabelled = Vec::new();
            let rows = HandledRows::open(path, self.format, &self.column)?;
            for row in rows {
                match row {
                    Ok((line, row)) if row.said.is_none() => unlabelled.push((line, row)),
                    Ok((line, row)) => {
                        let said = row.said.map(labels);
                        let read = self.read(row, said);
                        note(line, read.and_then(&mut take));
                    }
                    Err(RecordError { line, reason }) => note(line, Err(reason)),
                }
                if unlabelled.len() >= TOGETHER {
                    self.classify((model, &mut classifier), &mut unlabelled, &mut note, &mut take)?;
                }
            }
            self.classify((model, &mut classifier), &mut unlabelled, &mut note, &mut take)?;
        }
        Ok(ended)
    }

    fn classify(
        &self,
        (model, classifier): (Model, &mut Option<Classifier>),
        rows: &mut Vec<(u64, Handled)>,
        note: &mut impl FnMut(u64, Result<(), String>),
        take: &mut impl FnMut(Read) -> Result<(), String>,
    ) -> Result<(), StreamError> {
        if rows.is_empty() {
            return Ok(());
        }
        if classifier.is_none() {
            *classifier = Some(Classifier::load(model)?);
        }
        let Some(classifier) = classifier else { return Ok(()) };
        let records = std::mem::take(rows).into_iter().map(|(line, mut row)| {
            let text = row.text.take().unwrap_or_default();
            let record = LabelledRecord {
                context: row.context.take(),
                lang: row.lang,
                channel: row.channel,
                ..LabelledRecord::unlabelled(row.id.as_str(), text)
            };
            Ok((line, record, row))
        });
        classifier.each_tagged(records, |answers| {
            for answer in answers {
                match answer {
                    Ok(Classified { line, tag, record, verdict, .. }) => {
                        let row = Handled { text: Some(record.text), ..tag };
                        let read = self.read(row, Some(Labels::from(&verdict)));
                        note(line, read.and_then(&mut *take));
                    }
                    Err(RecordError { line, reason }) => note(line, Err(reason)),
                }
            }
            Then::GoOn
        })
    }

    fn read(&self, row: Handled, labels: Option<Labels>) -> Result<Read, String> {
        let labels = labels.ok_or("has no labels")?;
        let Handled { channel, brand, received_at, answered_at, text, .. } = row;
        let received_at = self.time("received_at", received_at, None)?;
        let answered_at = self.time("answered_at", answered_at, received_at)?;
        let entry = Entry { received_at, answered_at, channel, brand, labels };
        Ok(Read { entry, text })
    }

    fn time(
        &self,
        field: &str,
        when: Option<When>,
        earlier: Option<Timestamp>,
    ) -> Result<Option<Timestamp>, String> {
        let read = |when| match when {
            When::Instant(time) => Ok(time),
            When::Text(text) => read_time_after(&text, &self.time_zone, earlier),
            When::Local(local) => place(local, &self.time_zone, earlier),
        };
        when.map(read).transpose().map_err(|error| format!("{field}: {error}"))
    }
}

fn labels(said: Said) -> Labels {
    let Said { intents, sentiment, urgent, needs_review, probabilities } = said;
    let probabilities =
        probabilities.map(|(intents, sentiment)| Probabilities { intents, sentiment });
    Labels { intents, sentiment, urgent, needs_review, probabilities }
}
