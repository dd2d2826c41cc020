//! Verdicts as text for people, JSON lines or CSV for programs.
//!
//! May depend on `message`, `record`, and on `cli::stream` for what it writes.

use std::io::{self, Write};
use std::ops::Range;

use clap::builder::styling::{AnsiColor, Style};
use serde::Serialize;

use super::stream::Classified;
use crate::message::{Channel, Intent, Judgement, Span, Verdict};
use crate::record::LabelledRecord;

/// How verdicts are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum OutputFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Jsonl,
    /// Rows under a header.
    Csv,
}

/// Writes verdicts, one after the other.
pub(super) struct Output {
    sink: Box<dyn Write>,
    format: OutputFormat,
    with_text: bool,
    /// Records come out of a file, so line numbers mean something.
    with_line: bool,
    colour: bool,
    begun: bool,
}

impl Output {
    pub(super) fn new(sink: Box<dyn Write>, format: OutputFormat) -> Self {
        let (with_text, with_line, colour) = (false, false, false);
        Output { sink, format, with_text, with_line, colour, begun: false }
    }

    pub(super) fn with_text(self, with_text: bool) -> Self {
        Output { with_text, ..self }
    }

    pub(super) fn with_line(self, with_line: bool) -> Self {
        Output { with_line, ..self }
    }

    pub(super) fn with_colour(self, colour: bool) -> Self {
        Output { colour, ..self }
    }

    pub(super) fn write(&mut self, classified: &Classified) -> io::Result<()> {
        match self.format {
            OutputFormat::Text => self.text(classified),
            OutputFormat::Jsonl => {
                let line = JsonLine::of(classified, self.with_line, self.with_text);
                serde_json::to_writer(&mut self.sink, &line)?;
                self.sink.write_all(b"\n")
            }
            OutputFormat::Csv => {
                self.csv_header()?;
                let Classified { line, record, verdict, .. } = classified;
                let values = COLUMNS.iter().map(|(_, value)| value(verdict));
                let kept = KEPT.iter().map(|(_, value)| value(record).unwrap_or_default());
                let line = line.to_string();
                self.csv_row(record.id.clone(), values, kept, line, record.text.clone())
            }
        }
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }

    /// Ends the output. A CSV file has its header even where it has no rows.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        if self.format == OutputFormat::Csv {
            self.csv_header()?;
        }
        self.sink.flush()
    }

    fn csv_header(&mut self) -> io::Result<()> {
        if self.begun {
            return Ok(());
        }
        self.begun = true;
        let names = COLUMNS.iter().map(|(name, _)| (*name).to_owned());
        let kept = KEPT.iter().map(|(name, _)| (*name).to_owned());
        self.csv_row("id".into(), names, kept, "line".into(), "text".into())
    }

    fn csv_row(
        &mut self,
        id: String,
        values: impl Iterator<Item = String>,
        kept: impl Iterator<Item = String>,
        line: String,
        text: String,
    ) -> io::Result<()> {
        let mut cells = vec![id];
        cells.extend(values);
        if self.with_line {
            cells.extend(kept);
        }
        cells.extend(self.with_line.then_some(line));
        cells.extend(self.with_text.then_some(text));
        // Row by row into memory, so that an error of the sink arrives with its own kind.
        let mut row = csv::Writer::from_writer(Vec::new());
        row.write_record(cells).map_err(io::Error::other)?;
        let bytes = row.into_inner().map_err(|error| io::Error::other(error.to_string()))?;
        self.sink.write_all(&bytes)
    }

    fn text(&mut self, classified: &Classified) -> io::Result<()> {
        let Classified { line, record, verdict, .. } = classified;
        let paint = |style: Style, text: String| match self.colour {
            true => format!("{style}{text}{style:#}"),
            false => text,
        };
        let name = match record.id.as_str() {
            "" => line.to_string(),
            id => printable(id),
        };
        let bold = Style::new().bold();
        let dim = Style::new().dimmed();
        let alarm = AnsiColor::Red.on_default().bold();
        let mut holding: Vec<_> =
            Intent::ALL.into_iter().filter(|intent| verdict.intent(*intent).holds).collect();
        holding.sort_by(|a, b| {
            verdict.intent(*b).probability.total_cmp(&verdict.intent(*a).probability)
        });
        let intents: Vec<_> = holding
            .iter()
            .map(|intent| {
                let percent = percent(verdict.intent(*intent).probability);
                format!("{} {percent}", paint(bold, intent.name().replace('_', " ")))
            })
            .collect();
        let intents = match intents.is_empty() {
            true => "no intent".to_owned(),
            false => intents.join(", "),
        };
        let chosen = verdict.sentiment_probabilities[verdict.sentiment as usize];
        let mut parts = vec![intents, format!("{} {}", verdict.sentiment.name(), percent(chosen))];
        if verdict.urgent.holds {
            let urgent = format!("URGENT {}", percent(verdict.urgent.probability));
            parts.push(paint(alarm, urgent));
        }
        if verdict.needs_review {
            parts.push(paint(AnsiColor::Yellow.on_default(), "needs review".into()));
        }
        if verdict.truncated {
            let read = format!("only the first {} tokens were read", verdict.tokens_read);
            parts.push(paint(AnsiColor::Yellow.on_default(), read));
        }
        let head = paint(dim, format!("{name}:"));
        writeln!(self.sink, "{head} {}", parts.join(" | "))?;
        if self.with_text {
            writeln!(self.sink, "   {}", paint(dim, printable(&record.text)))?;
        }
        Ok(())
    }
}

/// On one line, and without what could steer a terminal: strangers wrote it.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn percent(probability: f32) -> String {
    format!("{:.0}%", probability * 100.0)
}

#[derive(Serialize)]
struct JsonLine<'a> {
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    received_at: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    answered_at: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    channel: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    brand: Option<&'a str>,
    intents: JsonIntents,
    primary: Option<&'static str>,
    urgent: JsonJudgement,
    sentiment: JsonSentiment,
    needs_review: bool,
    language: &'static str,
    tokens_read: u32,
    truncated: bool,
    context_read: bool,
    model: JsonModel<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    spans: Option<Vec<JsonSpan>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    quoted: Option<Vec<JsonRange>>,
}

#[derive(Serialize)]
struct JsonSpan {
    start: usize,
    end: usize,
    intent: &'static str,
    probability: f32,
}

#[derive(Serialize)]
struct JsonRange {
    start: usize,
    end: usize,
}

#[derive(Serialize)]
struct JsonIntents {
    question: JsonJudgement,
    complaint: JsonJudgement,
    compliment: JsonJudgement,
    factual_error: JsonJudgement,
}

#[derive(Serialize)]
struct JsonJudgement {
    probability: f32,
    holds: bool,
}

#[derive(Serialize)]
struct JsonSentiment {
    label: &'static str,
    probabilities: JsonProbabilities,
    score: f32,
}

#[derive(Serialize)]
struct JsonProbabilities {
    negative: f32,
    neutral: f32,
    positive: f32,
}

#[derive(Serialize)]
struct JsonModel<'a> {
    version: &'a str,
    digest: &'a str,
}

impl From<Judgement> for JsonJudgement {
    fn from(judgement: Judgement) -> Self {
        JsonJudgement { probability: judgement.probability, holds: judgement.holds }
    }
}

impl JsonSpan {
    fn of(span: &Span) -> Self {
        let (Range { start, end }, intent) = (span.range.clone(), span.intent.name());
        JsonSpan { start, end, intent, probability: span.probability }
    }
}

impl JsonRange {
    fn of(range: &Range<usize>) -> Self {
        JsonRange { start: range.start, end: range.end }
    }
}

impl<'a> JsonLine<'a> {
    fn of(classified: &'a Classified, with_line: bool, with_text: bool) -> Self {
        let Classified { line, record, verdict, provenance, .. } = classified;
        let [negative, neutral, positive] = verdict.sentiment_probabilities;
        JsonLine {
            id: &record.id,
            line: with_line.then_some(*line),
            text: with_text.then_some(&record.text),
            received_at: record.received_at.as_deref(),
            answered_at: record.answered_at.as_deref(),
            channel: record.channel.map(Channel::name),
            brand: record.brand.as_deref(),
            intents: JsonIntents {
                question: verdict.intent(Intent::Question).into(),
                complaint: verdict.intent(Intent::Complaint).into(),
                compliment: verdict.intent(Intent::Compliment).into(),
                factual_error: verdict.intent(Intent::FactualError).into(),
            },
            primary: verdict.primary.map(Intent::name),
            urgent: verdict.urgent.into(),
            sentiment: JsonSentiment {
                label: verdict.sentiment.name(),
                probabilities: JsonProbabilities { negative, neutral, positive },
                score: verdict.sentiment_score(),
            },
            needs_review: verdict.needs_review,
            language: verdict.language.tag(),
            tokens_read: verdict.tokens_read,
            truncated: verdict.truncated,
            context_read: verdict.context_read,
            model: JsonModel { version: &verdict.model.version, digest: &verdict.model.digest },
            spans: provenance.as_ref().map(|e| e.spans.iter().map(JsonSpan::of).collect()),
            quoted: provenance.as_ref().map(|e| e.quoted.iter().map(JsonRange::of).collect()),
        }
    }
}

/// What a file says of its messages and `kpi` counts by, by column.
type Kept = (&'static str, fn(&LabelledRecord) -> Option<String>);

/// Such columns go from the input to the output, where the input is a file.
const KEPT: [Kept; 4] = [
    ("received_at", |r| r.received_at.clone()),
    ("answered_at", |r| r.answered_at.clone()),
    ("channel", |r| r.channel.map(|channel| channel.name().to_owned())),
    ("brand", |r| r.brand.clone()),
];

/// Name and value of one CSV column.
type Column = (&'static str, fn(&Verdict) -> String);

/// Columns of a verdict; names and values together, so that header and rows cannot drift apart.
const COLUMNS: [Column; 20] = [
    ("primary", |v| v.primary.map_or("", Intent::name).into()),
    ("question", |v| v.intent(Intent::Question).holds.to_string()),
    ("question_p", |v| v.intent(Intent::Question).probability.to_string()),
    ("complaint", |v| v.intent(Intent::Complaint).holds.to_string()),
    ("complaint_p", |v| v.intent(Intent::Complaint).probability.to_string()),
    ("compliment", |v| v.intent(Intent::Compliment).holds.to_string()),
    ("compliment_p", |v| v.intent(Intent::Compliment).probability.to_string()),
    ("factual_error", |v| v.intent(Intent::FactualError).holds.to_string()),
    ("factual_error_p", |v| v.intent(Intent::FactualError).probability.to_string()),
    ("sentiment", |v| v.sentiment.name().into()),
    ("negative_p", |v| v.sentiment_probabilities[0].to_string()),
    ("neutral_p", |v| v.sentiment_probabilities[1].to_string()),
    ("positive_p", |v| v.sentiment_probabilities[2].to_string()),
    ("score", |v| v.sentiment_score().to_string()),
    ("urgent", |v| v.urgent.holds.to_string()),
    ("urgent_p", |v| v.urgent.probability.to_string()),
    ("needs_review", |v| v.needs_review.to_string()),
    ("language", |v| v.language.tag().into()),
    ("tokens_read", |v| v.tokens_read.to_string()),
    ("truncated", |v| v.truncated.to_string()),
];
