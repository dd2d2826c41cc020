//! `klankbord report`: the month as one HTML page.
//!
//! May depend on `kpi`, `report`, and on `cli`'s entries.

mod fill;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use rand::RngExt as _;
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;

use super::Outcome;
use super::entries::{Entries, EntriesError, Read};
use super::kpi::prevalence;
use crate::kpi::words::Words;
use crate::kpi::{Entry, Grouping, Table, Unit};
use crate::message::Intent;
use crate::model::bundle::BundleError;
use crate::pipeline::Arithmetic;
use crate::report::{Language, page};

/// Groups kept at once by each table.
const MOST_GROUPS: usize = 20_000;

/// Language of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum PageLanguage {
    /// Dutch
    Nl,
    /// English
    En,
}

/// Arguments of `report`.
#[derive(Debug, Args)]
pub struct ReportArgs {
    #[command(flatten)]
    entries: Entries,
    /// The month, as in 2026-10 [default: the last one in the files]
    #[arg(long, value_name = "YYYY-MM")]
    month: Option<String>,
    /// Whose messages these are
    #[arg(long, value_name = "NAME")]
    organisation: Option<String>,
    /// Language of the page
    #[arg(long, value_enum, default_value = "nl")]
    language: PageLanguage,
    /// Show so many of the month's messages, chosen by lot: personal data of the people who wrote them
    #[arg(long, default_value_t = 0, value_name = "N")]
    samples: usize,
    /// File to write [default: webcare-YYYY-MM.html]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
enum ReportError {
    /// The files cannot be read.
    #[error(transparent)]
    Entries(#[from] EntriesError),
    /// The model that says how common labels are cannot be read.
    #[error(transparent)]
    Model(#[from] BundleError),
    /// There is nothing to report on.
    #[error("no message came in within {0}")]
    NoMonth(String),
    /// What was asked for is no month.
    #[error("--month: {0} is not a month such as 2026-10")]
    Month(String),
    /// The page cannot be written.
    #[error("cannot write {}", .path.display())]
    Write { path: PathBuf, source: io::Error },
}

/// Everything counted in one reading of the files.
struct Counted {
    months: Table,
    days: Table,
    channels: Table,
    brands: Table,
    /// Words of the complaints, by month.
    words: BTreeMap<String, Words>,
    /// Messages chosen by lot, by month, and of how many.
    chosen: BTreeMap<String, (u64, Vec<(Entry, String)>)>,
    samples: usize,
    random: ChaCha8Rng,
}

impl Counted {
    fn new(args: &ReportArgs) -> Self {
        let zone = args.entries.zone();
        let table = |unit, channel, brand| {
            let by = Grouping { period: Some(unit), channel, brand };
            Table::new(by, zone.clone(), MOST_GROUPS)
        };
        Counted {
            months: table(Unit::Month, false, false),
            days: table(Unit::Day, false, false),
            channels: table(Unit::Month, true, false),
            brands: table(Unit::Month, false, true),
            words: BTreeMap::new(),
            chosen: BTreeMap::new(),
            samples: args.samples,
            // By lot, but by the same lot for the same files.
            random: ChaCha8Rng::seed_from_u64(1),
        }
    }

    fn add(&mut self, Read { entry, text }: Read) -> Result<(), String> {
        // What one refuses the first refuses already; but there may be more brands than are kept, and the rest still counts.
        for table in [&mut self.months, &mut self.days, &mut self.channels] {
            table.add(&entry).map_err(|error| error.to_string())?;
        }
        let _ = self.brands.add(&entry);
        let (Some(text), Some(time)) = (text, entry.received_at) else { return Ok(()) };
        let month = fill::month_of(time, self.months.zone());
        let words = self.words.entry(month.clone()).or_default();
        if entry.labels.has(Intent::Complaint) {
            words.add(&text);
        }
        if self.samples > 0 {
            // Each of the messages is as likely to stay as any other (Vitter 1985, algorithm R).
            let (seen, kept) = self.chosen.entry(month).or_default();
            *seen += 1;
            if kept.len() < self.samples {
                kept.push((entry, text));
            } else if let Ok(place) = usize::try_from(self.random.random_range(0..*seen))
                && place < self.samples
            {
                kept[place] = (entry, text);
            }
        }
        Ok(())
    }
}

/// Writes the report; see [`ReportArgs`].
pub(super) fn run(args: &ReportArgs, model: (Option<&Path>, Arithmetic)) -> Outcome {
    Ok(report(args, model)?)
}

fn report(args: &ReportArgs, model: (Option<&Path>, Arithmetic)) -> Result<ExitCode, ReportError> {
    let mut counted = Counted::new(args);
    if let Some(month) = &args.month
        && fill::month(month).is_none()
    {
        return Err(ReportError::Month(month.clone()));
    }
    let (priors, id) = prevalence(model.0)?;
    let ended = args.entries.each(model, |read| counted.add(read))?;
    let language = match args.language {
        PageLanguage::Nl => Language::Dutch,
        PageLanguage::En => Language::English,
    };
    let asked = args.month.as_deref();
    let nothing = || ReportError::NoMonth(asked.unwrap_or("any month").to_owned());
    let mut filled = fill::fill(&mut counted, priors.as_ref(), asked).ok_or_else(nothing)?;
    filled.report.language = language;
    filled.report.organisation = args.organisation.clone();
    filled.report.time_zone = args.entries.zone().iana_name().unwrap_or_default().to_owned();
    filled.report.model = Some(crate::report::Model { version: id.version, digest: id.digest });
    let fill::Filled { report, month } = filled;
    let path = args.output.clone().unwrap_or_else(|| format!("webcare-{month}.html").into());
    fs::write(&path, page(&report))
        .map_err(|source| ReportError::Write { path: path.clone(), source })?;
    eprintln!("{month}: {} messages, in {}", report.totals.messages, path.display());
    Ok(ended.code())
}
