//! `klankbord kpi`: how many messages of which kind, how fast they were answered, how people felt, what changed.
//!
//! May depend on `kpi`, `record`, `model::bundle`, and on `cli`'s entries.

mod columns;
mod text;
mod write;

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::entries::{Entries, EntriesError};
use super::{Outcome, SOME_FAILED};
use crate::kpi::counts::Priors;
use crate::kpi::period::{NoZone, hour_of, zone};
use crate::kpi::{Grouping, Table};
use crate::message::ModelId;
use crate::model::bundle::{Bundle, BundleError};
use crate::pipeline::Arithmetic;
use crate::record::{Column, Format};

/// Groups kept at once: some 10 KB each.
const MOST_GROUPS: usize = 40_000;

/// How figures are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum KpiFormat {
    /// A table for people
    Text,
    /// Rows under a header
    Csv,
    /// One document with the groups, the total and what looks like a crisis
    Json,
    /// Columns for data tools
    Parquet,
}

/// Arguments of `kpi`.
#[derive(Debug, Args)]
pub struct KpiArgs {
    /// Files of messages, JSON lines, CSV or Parquet: with labels, as `classify` writes them, or without, to be
    /// classified now; `-` is standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// What to count by: a period (hour, day, week, month, quarter, year), channel, brand
    #[arg(long, default_value = "month", value_name = "THINGS")]
    by: Grouping,
    /// Where days and months begin, and what times without an offset are of
    #[arg(long, default_value = "Europe/Amsterdam", value_name = "ZONE")]
    time_zone: String,
    /// What a column is called, as in `--column received_at=Ontvangen`; may be repeated
    #[arg(long, value_name = "FIELD=HEADER")]
    column: Vec<Column>,
    /// Format of the input [default: by the file's extension; JSON lines on standard input]
    #[arg(long)]
    input_format: Option<Format>,
    /// Write here rather than to standard output
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Format of the output [default: by the extension of --output, else text]
    #[arg(long, value_name = "FORMAT")]
    format: Option<KpiFormat>,
}

/// Why nothing was counted.
#[derive(Debug, thiserror::Error)]
enum KpiError {
    /// There is no such time zone.
    #[error("--time-zone: {0}")]
    Zone(#[from] NoZone),
    /// The files cannot be read.
    #[error(transparent)]
    Entries(#[from] EntriesError),
    /// The model that says how common labels are cannot be read.
    #[error(transparent)]
    Model(#[from] BundleError),
    /// The output cannot be written.
    #[error("cannot write {name}")]
    Write { name: String, source: io::Error },
}

/// What the model says that the counts are corrected by, and which model that is.
pub(super) fn priors(model: Option<&Path>) -> Result<(Option<Priors>, ModelId), BundleError> {
    let (manifest, id) = Bundle::manifest(&Bundle::find(model)?)?;
    let known = manifest.calibration.prevalence;
    Ok((known.map(|p| Priors { intents: p.intents, sentiment: p.sentiment }), id))
}

/// Counts; see [`KpiArgs`].
pub(super) fn run(args: &KpiArgs, model: (Option<&Path>, Arithmetic)) -> Outcome {
    Ok(count(args, model)?)
}

fn count(args: &KpiArgs, model: (Option<&Path>, Arithmetic)) -> Result<ExitCode, KpiError> {
    let zone = zone(&args.time_zone)?;
    let priors = match priors(model.0) {
        // What has labels can be counted without it.
        Err(BundleError::NotFound(_)) if model.0.is_none() => None,
        found => found?.0,
    };
    let mut table = Table::new(args.by, zone.clone(), MOST_GROUPS);
    let (format, renamed) = (args.input_format, args.column.as_slice());
    let entries = Entries { format, renamed, zone, with_text: false, model };
    let ended = entries
        .each(&args.files, |read| table.add(&read.entry).map_err(|error| error.to_string()))?;
    let name = args.output.as_ref().map_or("standard output".into(), |p| p.display().to_string());
    let written = (|| {
        let mut sink: Box<dyn Write + Send> = match &args.output {
            Some(path) => Box::new(BufWriter::new(File::create(path)?)),
            None => Box::new(BufWriter::new(io::stdout())),
        };
        write::write(&mut table, priors.as_ref(), chosen(args), &mut sink)?;
        sink.flush()
    })();
    match written {
        // Whoever reads has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        written => written.map_err(|source| KpiError::Write { name, source })?,
    }
    if ended.failed > 0 {
        eprintln!("{} counted, {} could not be", ended.read, ended.failed);
        return Ok(ExitCode::from(SOME_FAILED));
    }
    Ok(ExitCode::SUCCESS)
}

fn chosen(args: &KpiArgs) -> KpiFormat {
    let extension = || args.output.as_ref()?.extension()?.to_str().map(str::to_ascii_lowercase);
    args.format.unwrap_or(match extension().as_deref() {
        Some("csv") => KpiFormat::Csv,
        Some("json") => KpiFormat::Json,
        Some("parquet") => KpiFormat::Parquet,
        _ => KpiFormat::Text,
    })
}

/// A local hour as people write it.
pub(super) fn spelt(hour: i64) -> String {
    hour_of(hour).map_or_else(String::new, |(day, hour)| format!("{day} {hour:02}:00"))
}
