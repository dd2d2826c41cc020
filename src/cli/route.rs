//! `klankbord route`: what a routing policy would do with messages, without doing it.
//!
//! May depend on: `message`, `record`, `route` and the pipeline.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use serde::Serialize;

use super::SOME_FAILED;
use super::stream::{Classified, Classifier, StreamError, Then};
use crate::pipeline::Arithmetic;
use crate::record::{OpenError, Records};
use crate::route::{Facts, Policy, PolicyError, Rule};

/// Arguments of `route`.
#[derive(Debug, clap::Args)]
pub struct RouteArgs {
    /// The policy, TOML; `examples/webcare.toml` is one
    #[arg(long, value_name = "FILE")]
    pub policy: PathBuf,
    /// Messages, JSON lines or CSV; without it the policy is only checked
    pub messages: Option<PathBuf>,
    /// As in a crisis
    #[arg(long)]
    pub crisis: bool,
    /// A tag that all messages have, as a caller would give it
    #[arg(long = "tag", value_name = "TAG")]
    pub tags: Vec<String>,
    /// Print where each message goes, and why, as JSON lines
    #[arg(long)]
    pub json: bool,
}

/// Why nothing was routed.
#[derive(Debug, thiserror::Error)]
pub enum RouteError {
    /// The policy is wrong.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The messages cannot be read.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// They cannot be classified.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// Standard output takes nothing.
    #[error("cannot write standard output")]
    Io(#[from] io::Error),
}

#[derive(Serialize)]
struct Line<'a> {
    line: u64,
    #[serde(skip_serializing_if = "str::is_empty")]
    id: &'a str,
    rule: &'a str,
    queue: &'a str,
    priority: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply_within_s: Option<u64>,
    handling: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    tone: Option<&'a str>,
    why: String,
}

/// Routes; see [`RouteArgs`].
///
/// # Errors
/// [`RouteError`] saying what stands in the way.
pub fn run(args: &RouteArgs, model: (Option<&Path>, Arithmetic)) -> Result<ExitCode, RouteError> {
    let policy = Policy::read(&args.policy)?;
    let mut out = io::stdout().lock();
    let Some(messages) = &args.messages else {
        let (rules, queues) = (policy.rules.len(), policy.queues.len());
        writeln!(out, "{rules} rules and {queues} queues, nothing wrong with them")?;
        return Ok(ExitCode::SUCCESS);
    };
    let records = Records::open(messages, None)?;
    let classifier = Classifier::load(model)?;
    let mut counts = vec![0usize; policy.rules.len()];
    let (mut failed, mut broken) = (0usize, None);
    classifier.each(records, |answers| {
        for answer in answers {
            let told = match answer {
                Ok(classified) => told(args, &policy, &classified, &mut counts, &mut out),
                Err(error) => {
                    failed += 1;
                    eprintln!("{error}");
                    Ok(())
                }
            };
            if let Err(error) = told {
                broken = Some(error);
                return Then::Stop;
            }
        }
        Then::GoOn
    })?;
    if let Some(error) = broken {
        return Err(error.into());
    }
    if !args.json {
        table(&policy, &counts, &mut out)?;
    }
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::from(SOME_FAILED) })
}

fn told(
    args: &RouteArgs,
    policy: &Policy,
    classified: &Classified,
    counts: &mut [usize],
    out: &mut impl Write,
) -> io::Result<()> {
    let Classified { line, record, verdict, .. } = classified;
    let facts = Facts { verdict, channel: record.channel, tags: &args.tags, crisis: args.crisis };
    let (at, rule) = policy.route(&facts);
    counts[at] += 1;
    if !args.json {
        return Ok(());
    }
    let line = Line {
        line: *line,
        id: &record.id,
        rule: &rule.name,
        queue: &rule.queue,
        priority: rule.priority,
        reply_within_s: rule.reply_within.map(|time| time.as_secs()),
        handling: rule.handling.name(),
        tone: rule.tone.as_deref(),
        why: rule.when.why(&facts),
    };
    writeln!(out, "{}", serde_json::to_string(&line).map_err(io::Error::from)?)
}

/// How many went where.
fn table(policy: &Policy, counts: &[usize], out: &mut impl Write) -> io::Result<()> {
    let all = counts.iter().sum::<usize>().max(1);
    let width = |of: fn(&Rule) -> &str, least: usize| {
        policy.rules.iter().map(|rule| of(rule).chars().count()).max().unwrap_or(0).max(least)
    };
    let (rule_width, queue_width) = (width(|rule| &rule.name, 4), width(|rule| &rule.queue, 5));
    writeln!(
        out,
        "{:rule_width$}  {:queue_width$}  priority  within  handling  messages  share",
        "rule", "queue"
    )?;
    for (rule, count) in policy.rules.iter().zip(counts) {
        let within = rule.reply_within.map_or_else(|| "-".to_owned(), spelt);
        let share = 100.0 * *count as f64 / all as f64;
        writeln!(
            out,
            "{:rule_width$}  {:queue_width$}  {:>8}  {within:>6}  {:>8}  {count:>8}  {share:>4.1}%",
            rule.name,
            rule.queue,
            rule.priority,
            rule.handling.name()
        )?;
    }
    Ok(())
}

/// A time as a policy has it.
fn spelt(time: Duration) -> String {
    let seconds = time.as_secs();
    let units = [(86_400, "d"), (3600, "h"), (60, "m")];
    let unit = units.into_iter().find(|(size, _)| seconds.is_multiple_of(*size));
    unit.map_or_else(|| format!("{seconds}s"), |(size, name)| format!("{}{name}", seconds / size))
}
