//! `klankbord explain`: what each word of a message adds to a label.
//!
//! May depend on: `explain`, `message`, `pipeline`.

use std::io::{self, IsTerminal, Write};
use std::path::Path;

use clap::Args;
use serde::Serialize;

use crate::explain::{Explanation, Label, explain};
use crate::message::{InvalidMessage, Message};
use crate::pipeline::{Arithmetic, LoadError, Pipeline, PipelineError, Room};

/// Arguments of `explain`.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// The message
    text: String,
    /// The label to explain [default: the primary intent, or the sentiment where there is none]
    #[arg(long, value_parser = clap::builder::PossibleValuesParser::new(Label::names()))]
    label: Option<String>,
    /// The post that it replies to
    #[arg(long)]
    context: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Why nothing was explained.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    /// The model cannot be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The message is none.
    #[error(transparent)]
    Invalid(#[from] InvalidMessage),
    /// The model gave no verdict.
    #[error(transparent)]
    Pipeline(#[from] PipelineError),
    /// The runtime cannot start, or standard output takes nothing.
    #[error("cannot write standard output")]
    Io(#[from] io::Error),
}

#[derive(Serialize)]
struct Line<'a> {
    label: &'static str,
    probability: f32,
    words: Vec<Word<'a>>,
}

#[derive(Serialize)]
struct Word<'a> {
    text: &'a str,
    start: usize,
    end: usize,
    weight: f32,
}

/// Explains; see [`ExplainArgs`].
///
/// # Errors
/// [`ExplainError`] saying what stands in the way.
pub fn run(
    args: &ExplainArgs,
    (dir, arithmetic): (Option<&Path>, Arithmetic),
) -> Result<(), ExplainError> {
    let mut message = Message::new("", args.text.as_str())?;
    if let Some(context) = &args.context {
        message = message.with_context(context.as_str())?;
    }
    let pipeline = Pipeline::load_with(dir, arithmetic, Room::default())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let asked = args.label.as_deref().and_then(Label::from_name);
    let explained = runtime.block_on(async {
        let label = match asked {
            Some(label) => label,
            None => {
                let verdict = pipeline.classify(message.clone()).await?;
                verdict.primary.map_or(Label::Sentiment(verdict.sentiment), Label::Intent)
            }
        };
        explain(&pipeline, message, label).await
    })?;
    let Explanation { label, verdict, parts } = explained;
    let word = |part: crate::explain::Part| {
        let (start, end) = (part.range.start, part.range.end);
        Word { text: &args.text[part.range], start, end, weight: part.weight }
    };
    let line = Line {
        label: label.name(),
        probability: label.probability(&verdict),
        words: parts.into_iter().map(word).collect(),
    };
    let mut out = io::stdout().lock();
    if args.json {
        return Ok(writeln!(out, "{}", serde_json::to_string(&line).map_err(io::Error::from)?)?);
    }
    let colour = out.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    writeln!(out, "{} {:.0}%", line.label, 100.0 * line.probability)?;
    let most = line.words.iter().map(|word| word.weight.abs()).fold(f32::MIN_POSITIVE, f32::max);
    for word in &line.words {
        let bar = "█".repeat((16.0 * word.weight.abs() / most).round() as usize);
        let (on, off) = match (colour, word.weight < 0.0) {
            (false, _) => ("", ""),
            (true, false) => ("\x1b[32m", "\x1b[0m"),
            (true, true) => ("\x1b[31m", "\x1b[0m"),
        };
        writeln!(out, "{:+6.2}  {on}{bar:<16}{off}  {}", word.weight, word.text)?;
    }
    Ok(())
}
