//! `klankbord eval`: the model measured against labelled messages, file by file.
//!
//! May depend on `eval`, `message`, `perturb`, `record`, and on `cli`'s stream.

mod card;
mod chart;
mod page;
mod robust;
#[cfg(test)]
mod tests;
mod text;

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::stream::{Classified, Classifier, Then};
use super::{Outcome, SOME_FAILED};
use crate::eval::Targets;
use crate::eval::card::{Card, Counts};
use crate::eval::negation::NegationReport;
use crate::eval::slices::Traits;
use crate::eval::worst::{Worst, surest_miss};
use crate::message::Verdict;
use crate::model::bundle::Bundle;
use crate::pipeline::Arithmetic;
use crate::record::{Format, LabelledRecord, Records};

use robust::{Readings, Robustness};

/// Misses that the page shows, a file.
const MISSES: usize = 30;

/// Arguments of `eval`.
#[derive(Debug, Args)]
pub struct EvalArgs {
    /// Files of labelled messages, JSON lines or CSV; `-` is standard input
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Format of the files [default: by the extension; JSON lines on standard input]
    #[arg(long)]
    format: Option<Format>,
    /// Print JSON: one object for one file, for several a list with the name of each
    #[arg(long)]
    json: bool,
    /// Write a page with charts as well, in one file that needs no network. It shows the text of the
    /// worst misses: keep it where the messages may be kept
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write what is measured into this model card too, with the digests of the model, in place of what it had
    #[arg(long, value_name = "FILE")]
    card: Option<PathBuf>,
    /// Read each message again in other spellings, and count the labels that flip; takes up to eight
    /// times as long
    #[arg(long)]
    robust: bool,
}

/// What was measured could not be handed over.
#[derive(Debug, thiserror::Error)]
enum WriteError {
    #[error("cannot write standard output")]
    Stdout(#[source] io::Error),
    #[error("cannot write {path}")]
    Page { path: String, source: io::Error },
}

/// One file, measured.
#[derive(Serialize)]
struct FileReport {
    file: String,
    #[serde(flatten)]
    card: Card,
    /// Only the page shows them: they hold message text.
    #[serde(skip)]
    misses: Worst<Miss>,
}

/// A message with a wrong label.
struct Miss {
    line: u64,
    id: String,
    text: String,
    targets: Targets,
    verdict: Verdict,
}

/// Evaluates; see [`EvalArgs`].
pub(super) fn run(args: EvalArgs, model: (Option<&Path>, Arithmetic)) -> Outcome {
    // All of them are opened first: a wrong name in the last must not show after an hour's work.
    let opened: Vec<(String, Records)> = args
        .files
        .iter()
        .map(|path| Ok((path.display().to_string(), Records::open(path, args.format)?)))
        .collect::<Result<_, crate::record::OpenError>>()?;
    let page = args.html.as_deref().map(Page::open).transpose()?;
    let manifest = Bundle::manifest(&Bundle::find(model.0)?)?;
    let classifier = Classifier::load(model)?;
    let mut failed = 0_u64;
    let negations = match args.robust {
        true => Some(robust::negations(&classifier, &mut failed)?),
        false => None,
    };
    let mut reports = Vec::new();
    for (file, records) in opened {
        reports.push(measure(&classifier, file, records, negations, page.is_some(), &mut failed)?);
    }
    if let Some(page) = page {
        page.write(&page::page(&reports, classifier.model()).into_string())?;
    }
    if let Some(path) = &args.card {
        let arithmetic = &classifier.model().kernel;
        card::write(path, &manifest, arithmetic, &reports)
            .map_err(|source| WriteError::Page { path: path.display().to_string(), source })?;
    }
    match print(&reports, args.json) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        Err(error) => return Err(WriteError::Stdout(error).into()),
    }
    Ok(if failed > 0 { ExitCode::from(SOME_FAILED) } else { ExitCode::SUCCESS })
}

/// Reads one file to its end. With `negations` its messages are read in other spellings too; they
/// are the same for every file, and each report has them.
fn measure(
    classifier: &Classifier,
    file: String,
    records: Records,
    negations: Option<NegationReport>,
    with_misses: bool,
    failed: &mut u64,
) -> Result<FileReport, super::stream::StreamError> {
    let mut counts = Counts::default();
    let mut robustness = Robustness::default();
    let mut misses = Worst::new(if with_misses { MISSES } else { 0 });
    classifier.each_tagged(Readings::new(records, negations.is_some()), |answers| {
        for answer in answers {
            match answer {
                Ok(Classified { line, tag: Some(change), verdict, .. }) => {
                    robustness.changed(line, change, &verdict);
                }
                Ok(Classified { line, tag: None, record, verdict, .. }) => {
                    let targets = targets(&record);
                    counts.add(&targets, traits(&record, &verdict), &verdict);
                    if negations.is_some() {
                        robustness.plain(line, &verdict);
                    }
                    if let Some(how_bad) = surest_miss(&targets, &verdict) {
                        let LabelledRecord { id, text, .. } = record;
                        misses.add(how_bad, || Miss { line, id, text, targets, verdict });
                    }
                }
                Err(error) => {
                    *failed += 1;
                    eprintln!("error: {file}: {error}");
                }
            }
        }
        Then::GoOn
    })?;
    let card = counts.card(negations.map(|negations| robustness.report(negations)));
    Ok(FileReport { file, card, misses })
}

fn targets(record: &LabelledRecord) -> Targets {
    let LabelledRecord { intents, sentiment, urgent, .. } = record;
    Targets { intents: *intents, sentiment: *sentiment, urgent: *urgent }
}

fn traits(record: &LabelledRecord, verdict: &Verdict) -> Traits {
    Traits {
        language: record.lang.unwrap_or(verdict.language),
        channel: record.channel,
        characters: record.text.chars().count(),
    }
}

/// The file that the page goes to.
struct Page {
    file: File,
    path: String,
}

impl Page {
    /// Opens it before the work begins, for the same reason as the input. What is in it stays until
    /// there is something to put in its place.
    fn open(path: &Path) -> Result<Self, WriteError> {
        let name = path.display().to_string();
        match OpenOptions::new().write(true).create(true).truncate(false).open(path) {
            Ok(file) => Ok(Page { file, path: name }),
            Err(source) => Err(WriteError::Page { path: name, source }),
        }
    }

    fn write(mut self, page: &str) -> Result<(), WriteError> {
        // A pipe has no length to set; only a file can hold an older page.
        let is_file = self.file.metadata().is_ok_and(|metadata| metadata.is_file());
        let emptied = if is_file { self.file.set_len(0) } else { Ok(()) };
        emptied
            .and_then(|()| self.file.write_all(page.as_bytes()))
            .map_err(|source| WriteError::Page { path: self.path, source })
    }
}

fn print(reports: &[FileReport], json: bool) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    if json {
        match reports {
            [one] => serde_json::to_writer_pretty(&mut stdout, &one.card)?,
            several => serde_json::to_writer_pretty(&mut stdout, several)?,
        }
        writeln!(stdout)?;
    } else {
        for (at, report) in reports.iter().enumerate() {
            let gap = if at > 0 { "\n" } else { "" };
            write!(stdout, "{gap}{report}")?;
        }
    }
    stdout.flush()
}
