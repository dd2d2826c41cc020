//! `klankbord kpi`: how many messages of which kind, how fast they were answered, how people felt, what changed.
//!
//! May depend on `kpi`, `model::bundle`, and on `cli`'s entries.

mod columns;
mod text;
mod write;

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::Outcome;
use super::entries::{Entries, EntriesError, Read};
use crate::kpi::period::hour_of;
use crate::kpi::{Grouping, Table};
use crate::message::{ModelId, Prevalence};
use crate::model::bundle::{Bundle, BundleError};
use crate::pipeline::Arithmetic;

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
    #[command(flatten)]
    entries: Entries,
    /// What to count by: a period (hour, day, week, month, quarter, year), channel, brand
    #[arg(long, default_value = "month", value_name = "THINGS")]
    by: Grouping,
    /// Write here rather than to standard output
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Format of the output [default: by the extension of --output, else text]
    #[arg(long, value_name = "FORMAT")]
    output_format: Option<KpiFormat>,
}

/// Why nothing was counted.
#[derive(Debug, thiserror::Error)]
enum KpiError {
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

/// How common labels were where the model's probabilities were calibrated, and which model that is.
pub(super) fn prevalence(
    model: Option<&Path>,
) -> Result<(Option<Prevalence>, ModelId), BundleError> {
    let (manifest, id) = Bundle::manifest(&Bundle::find(model)?)?;
    Ok((manifest.calibration.prevalence, id))
}

/// Counts; see [`KpiArgs`].
pub(super) fn run(args: &KpiArgs, model: (Option<&Path>, Arithmetic)) -> Outcome {
    Ok(count(args, model)?)
}

fn count(args: &KpiArgs, model: (Option<&Path>, Arithmetic)) -> Result<ExitCode, KpiError> {
    let priors = match prevalence(model.0) {
        // What has labels can be counted without it.
        Err(BundleError::NotFound(_)) if model.0.is_none() => None,
        found => found?.0,
    };
    let mut table = Table::new(args.by, args.entries.zone().clone(), MOST_GROUPS);
    let add = |read: Read| table.add(&read.entry).map_err(|error| error.to_string());
    let ended = args.entries.each(model, add)?;
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
    Ok(ended.code())
}

fn chosen(args: &KpiArgs) -> KpiFormat {
    let extension = || args.output.as_ref()?.extension()?.to_str().map(str::to_ascii_lowercase);
    args.output_format.unwrap_or(match extension().as_deref() {
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
