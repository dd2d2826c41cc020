//! Logging, metrics and traces. Logs go to standard error: lines for people on a terminal, JSON elsewhere.
//!
//! Message text never reaches a log. The crate's own events carry sizes, counts and codes only, and
//! the libraries below it are held to their warnings unless `KLANKBORD_LOG` names them. Records of
//! the `log` crate are not taken over at all: the tokenizer's would trace every character that it
//! normalises. A panic is logged with its place only, since its message may quote what it choked
//! on. This module depends on nothing else in the crate.

mod metrics;
pub mod traces;

use std::io::IsTerminal;

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};

pub use metrics::Metrics;
pub use traces::Traces;

/// Environment variable with the filter, in the syntax of `tracing_subscriber::EnvFilter`, such as
/// `klankbord=debug`.
pub const FILTER_VARIABLE: &str = "KLANKBORD_LOG";
const DEFAULT_FILTER: &str = "warn,klankbord=info";

/// How log events are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Human on a terminal, JSON otherwise.
    Auto,
    /// One line an event, for people.
    Human,
    /// One JSON object an event.
    Json,
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter in the environment cannot be read.
    #[error("the filter in {FILTER_VARIABLE} is not valid")]
    Filter(#[source] ParseError),
    /// Something else in this process has set it up.
    #[error("logging is already set up")]
    AlreadySet(#[source] TryInitError),
    /// There can be no traces.
    #[error("traces cannot be sent there")]
    Traces(#[source] opentelemetry_otlp::ExporterBuildError),
    /// Metrics could not be set up.
    #[error("metrics cannot be set up")]
    Metrics(#[source] metrics_exporter_prometheus::BuildError),
}

/// Sets up logging, and traces where there are to be any, for the whole process.
///
/// # Errors
/// [`TelemetryError`] where the filter is not valid, or where it was set up before.
pub fn init(format: LogFormat, traces: Option<&Traces>) -> Result<(), TelemetryError> {
    let filter = match std::env::var(FILTER_VARIABLE) {
        Ok(filter) if !filter.is_empty() => {
            EnvFilter::try_new(filter).map_err(TelemetryError::Filter)?
        }
        _ => EnvFilter::new(DEFAULT_FILTER),
    };
    let terminal = std::io::stderr().is_terminal();
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = match (format, terminal) {
        (LogFormat::Human, _) | (LogFormat::Auto, true) => {
            lines.with_ansi(terminal).with_target(false).boxed()
        }
        (LogFormat::Json, _) | (LogFormat::Auto, false) => lines.json().flatten_event(true).boxed(),
    };
    let registry = tracing_subscriber::registry().with(lines.with_filter(filter));
    registry.with(traces.map(Traces::layer)).try_init().map_err(TelemetryError::AlreadySet)?;
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let thread = std::thread::current().name().unwrap_or("unnamed").to_owned();
        tracing::error!(place, thread, "panic");
    }));
    Ok(())
}
