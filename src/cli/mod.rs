//! The command line: one file a subcommand, and what they share.
//!
//! Exit codes: 0 when all went well, 1 when some messages could not be done, 2 when the work could
//! not begin or not end. May depend on every layer; no layer depends on it.

mod classify;
mod entries;
mod eval;
mod explain;
mod import;
mod kpi;
mod output;
mod quantize;
mod reload;
mod report;
mod route;
mod serve;
mod settings;
mod soup;
mod stream;
mod token;
mod train;
mod tune;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::model::kernel::Kernel;
use crate::pipeline::{Arithmetic, Precision};

/// Says what customer messages are: question, complaint, compliment, factual error; how they feel;
/// whether a person must look now.
#[derive(Debug, Parser)]
#[command(name = "klankbord", version, max_term_width = 100)]
pub struct Cli {
    /// Directory of the model [default: the one that comes with the program]
    #[arg(long, global = true, env = "KLANKBORD_MODEL", value_name = "DIR")]
    pub model: Option<PathBuf>,
    /// Arithmetic of the model's layers [default: int8]
    #[arg(long, global = true, env = "KLANKBORD_PRECISION", value_enum)]
    pub precision: Option<Precision>,
    /// What does the int8 products [default: the fastest that this CPU has]
    #[arg(long, global = true, env = "KLANKBORD_KERNEL", value_enum)]
    pub kernel: Option<Kernel>,
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve verdicts over gRPC
    Serve(settings::SettingsArgs),
    /// Print the effective configuration of the server, and where each value comes from
    Config(settings::SettingsArgs),
    /// Make a bearer token for a caller
    Token(token::TokenArgs),
    /// Label messages given as arguments, in a file or on standard input
    Classify(classify::ClassifyArgs),
    /// Say what each word of a message adds to a label
    Explain(explain::ExplainArgs),
    /// Say what a routing policy would do with messages, or whether anything is wrong with it
    Route(route::RouteArgs),
    /// Count messages by period, channel and brand: kinds, answers, sentiment, changes, crises
    Kpi(kpi::KpiArgs),
    /// Make the report of a month: one HTML file
    Report(report::ReportArgs),
    /// Measure the model against labelled messages
    Eval(eval::EvalArgs),
    /// Train a model on labelled messages, from a base encoder or from a trained model
    Train(Box<train::TrainArgs>),
    /// Average models that were trained from the same base encoder
    Soup(soup::SoupArgs),
    /// Fit a trained model's calibration and thresholds on labelled messages, without training
    Tune(tune::TuneArgs),
    /// Turn the weights of a trained model into int8, for serving
    Quantize(quantize::QuantizeArgs),
    /// Take over a base encoder: prune its vocabulary, write safetensors and tokenizer.json
    Import(import::ImportArgs),
}

/// How a subcommand ends: an exit code, or why it could not begin or not end.
pub type Outcome = Result<ExitCode, Box<dyn Error + Send + Sync>>;

/// Exit code when some messages could not be done.
const SOME_FAILED: u8 = 1;
/// Exit code when the work could not begin, or its output not be written; clap has it too, for
/// arguments that make no sense.
const NOT_DONE: u8 = 2;

/// Runs one subcommand to its end.
pub fn run(cli: Cli) -> ExitCode {
    let flags = flags(&cli);
    let precision = cli.precision.unwrap_or_default();
    let arithmetic = Arithmetic { precision, kernel: cli.kernel };
    let model = (cli.model.as_deref(), arithmetic);
    let outcome = match cli.command {
        Command::Serve(args) => done(serve::run(&args, &flags)),
        Command::Config(args) => done(serve::print(&args, &flags)),
        Command::Token(args) => done(token::run(&args)),
        Command::Classify(args) => classify::run(args, model),
        Command::Explain(args) => done(explain::run(&args, model)),
        Command::Route(args) => route::run(&args, model).map_err(Into::into),
        Command::Kpi(args) => kpi::run(&args, model),
        Command::Report(args) => report::run(&args, model),
        Command::Eval(args) => eval::run(args, model),
        Command::Train(args) => told(train::run(&args)),
        Command::Soup(args) => told(soup::run(&args)),
        Command::Tune(args) => told(tune::run(&args)),
        Command::Quantize(args) => told(quantize::run(&args)),
        Command::Import(args) => told(import::run(&args)),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("error: {}", chain(error.as_ref()));
        ExitCode::from(NOT_DONE)
    })
}

/// The model's settings that were given, by flag.
fn flags(cli: &Cli) -> Vec<(&'static str, String)> {
    fn name<T: clap::ValueEnum>(value: &T) -> String {
        value.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }
    let path = cli.model.as_ref().map(|path| ("model", path.to_string_lossy().into_owned()));
    let precision = cli.precision.as_ref().map(|value| ("precision", name(value)));
    let kernel = cli.kernel.as_ref().map(|value| ("kernel", name(value)));
    path.into_iter().chain(precision).chain(kernel).collect()
}

/// The outcome of a command that says for itself what it does.
fn done<E: Error + Send + Sync + 'static>(result: Result<(), E>) -> Outcome {
    result.map(|()| ExitCode::SUCCESS).map_err(Into::into)
}

/// The outcome of a command that ends with a line to tell.
fn told<E: Error + Send + Sync + 'static>(result: Result<String, E>) -> Outcome {
    result
        .map(|line| {
            eprintln!("{line}");
            ExitCode::SUCCESS
        })
        .map_err(Into::into)
}

/// A file's name without its folder and ending: what models and tables call a set of messages.
fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

/// The error and its causes on one line.
fn chain(error: &dyn Error) -> String {
    let mut shown = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        // Some errors repeat their cause in their own words.
        if !shown.contains(&text) {
            shown.push_str(": ");
            shown.push_str(&text);
        }
        cause = error.source();
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    #[test]
    fn the_arguments_are_consistent() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn the_settings_know_the_names_of_what_can_be_chosen() {
        use crate::config::{Kind, Setting};
        use crate::telemetry::LogFormat;

        fn names<T: clap::ValueEnum>() -> Vec<String> {
            let values = T::value_variants().iter().filter_map(clap::ValueEnum::to_possible_value);
            values.map(|value| value.get_name().to_owned()).collect()
        }
        for (key, names) in [
            ("model.precision", names::<Precision>()),
            ("model.kernel", names::<Kernel>()),
            ("telemetry.log_format", names::<LogFormat>()),
        ] {
            let Some(Kind::Choice(choices)) = Setting::find(key).map(|s| s.kind) else {
                panic!("{key}")
            };
            let mut known: Vec<_> = choices.iter().map(ToString::to_string).collect();
            let mut names = names;
            known.sort();
            names.sort();
            assert_eq!(known, names, "{key}");
        }
    }

    #[test]
    fn a_chain_names_each_cause_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot start")]
        struct Outer(#[source] io::Error);
        let error = Outer(io::Error::other(io::Error::other("disk is gone")));
        assert_eq!(chain(&error), "cannot start: disk is gone");
    }
}
