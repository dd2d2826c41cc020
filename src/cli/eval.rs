//! `klankbord eval`: the model measured against labelled messages, file by file.
//!
//! May depend on `eval`, `message`, `record`, and on `cli`'s stream.

use std::fmt::{self, Display};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::stream::{Classifier, Then};
use super::{Outcome, SOME_FAILED};
use crate::eval::{BinaryReport, ConfusionRow, Evaluation, Report, Targets};
use crate::message::{Intent, Sentiment};
use crate::pipeline::Arithmetic;
use crate::record::{Format, Records};

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
}

/// The report could not be printed.
#[derive(Debug, thiserror::Error)]
#[error("cannot write standard output")]
struct WriteError(#[source] io::Error);

#[derive(Serialize)]
struct FileReport {
    file: String,
    #[serde(flatten)]
    report: Report,
}

/// Evaluates; see [`EvalArgs`].
pub(super) fn run(args: EvalArgs, model: (Option<&Path>, Arithmetic)) -> Outcome {
    // All of them are opened first: a wrong name in the last must not show after an hour's work.
    let opened: Vec<(String, Records)> = args
        .files
        .iter()
        .map(|path| Ok((path.display().to_string(), Records::open(path, args.format)?)))
        .collect::<Result<_, crate::record::OpenError>>()?;
    let classifier = Classifier::load(model)?;
    let mut failed = 0_u64;
    let mut reports = Vec::new();
    for (file, records) in opened {
        let mut evaluation = Evaluation::new();
        classifier.each(records, |answers| {
            for answer in answers {
                match answer {
                    Ok(classified) => {
                        let record = &classified.record;
                        let targets = Targets {
                            intents: record.intents,
                            sentiment: record.sentiment,
                            urgent: record.urgent,
                        };
                        evaluation.add(&targets, &classified.verdict);
                    }
                    Err(error) => {
                        failed += 1;
                        eprintln!("error: {file}: {error}");
                    }
                }
            }
            Then::GoOn
        })?;
        reports.push(FileReport { file, report: evaluation.report() });
    }
    match print(&reports, args.json) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        Err(error) => return Err(WriteError(error).into()),
    }
    Ok(if failed > 0 { ExitCode::from(SOME_FAILED) } else { ExitCode::SUCCESS })
}

fn print(reports: &[FileReport], json: bool) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    if json {
        match reports {
            [one] => serde_json::to_writer_pretty(&mut stdout, &one.report)?,
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

impl Display for FileReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { n, intents, sentiment, urgent, needs_review } = &self.report;
        writeln!(f, "{}: {n} messages", self.file)?;
        writeln!(f, "  label          precision  recall      F1     ECE  support  labelled")?;
        for intent in Intent::ALL {
            binary(f, intent.name(), intents.of(intent))?;
        }
        if let Some(urgent) = urgent {
            binary(f, "urgent", urgent)?;
        }
        writeln!(f, "  macro F1 of the four intents {:.4}", intents.macro_f1)?;
        if let Some(exact) = intents.exact_match {
            writeln!(f, "  all four right {exact:.4} of {}", intents.fully_labelled)?;
        }
        if let Some(sentiment) = sentiment {
            writeln!(
                f,
                "  sentiment: accuracy {:.4}, macro F1 {:.4}, ECE {:.4}, labelled {}",
                sentiment.accuracy, sentiment.macro_f1, sentiment.ece, sentiment.labelled
            )?;
            writeln!(f, "    labelled  | said negative  neutral  positive")?;
            for label in Sentiment::ALL {
                let ConfusionRow { negative, neutral, positive } = sentiment.confusion.of(label);
                writeln!(f, "    {:<9} | {negative:>13} {neutral:>8} {positive:>9}", label.name())?;
            }
        }
        if let Some(share) = needs_review {
            writeln!(f, "  needs review {share:.4}")?;
        }
        Ok(())
    }
}

fn binary(f: &mut fmt::Formatter<'_>, name: &str, report: &BinaryReport) -> fmt::Result {
    let BinaryReport { precision, recall, f1, ece, support, labelled } = report;
    writeln!(
        f,
        "  {name:<14} {precision:>9.4} {recall:>7.4} {f1:>7.4} {ece:>7.4} {support:>8} {labelled:>9}"
    )
}
