//! `klankbord classify`: verdicts on messages given as arguments, in a file or on standard input.
//!
//! May depend on `record`, and on `cli`'s stream and output.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::output::{Output, OutputFormat};
use super::stream::{Answer, Classified, Classifier, Then};
use super::{Outcome, SOME_FAILED};
use crate::pipeline::Arithmetic;
use crate::record::{Format, LabelledRecord, OpenError, RecordError, Records};

/// Arguments of `classify`.
#[derive(Debug, Args)]
pub struct ClassifyArgs {
    /// Messages; without any, standard input is read
    #[arg(value_name = "TEXT", conflicts_with = "input")]
    texts: Vec<String>,
    /// File of messages, JSON lines or CSV; `-` is standard input
    #[arg(long, short, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Format of the input [default: by the file's extension; JSON lines on standard input]
    #[arg(long, conflicts_with = "texts")]
    format: Option<Format>,
    /// Write here rather than to standard output
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Format of the output [default: text for arguments, CSV for --output *.csv, else JSON lines]
    #[arg(long, value_name = "FORMAT")]
    output_format: Option<OutputFormat>,
    /// Short for --output-format jsonl
    #[arg(long, conflicts_with = "output_format")]
    json: bool,
    /// Repeat each message in the output
    #[arg(long)]
    with_text: bool,
    /// Say which sentences carry the intents (`spans`) and what is quoted or signature (`quoted`), in
    /// bytes of the text; JSON lines only
    #[arg(long)]
    spans: bool,
}

impl ClassifyArgs {
    fn output_format(&self) -> OutputFormat {
        if self.json {
            return OutputFormat::Jsonl;
        }
        let by_extension = || {
            let path = self.output.as_deref()?;
            match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
                "csv" => Some(OutputFormat::Csv),
                "jsonl" | "ndjson" => Some(OutputFormat::Jsonl),
                "txt" => Some(OutputFormat::Text),
                _ => None,
            }
        };
        self.output_format.or_else(by_extension).unwrap_or(match self.texts.is_empty() {
            true => OutputFormat::Jsonl,
            false => OutputFormat::Text,
        })
    }
}

/// Why nothing was classified.
#[derive(Debug, thiserror::Error)]
enum ClassifyError {
    /// Neither arguments nor a file, and nothing is piped in.
    #[error("nothing to classify: give messages as arguments, --input FILE, or pipe them in")]
    Nothing,
    /// Opening the output would empty the input.
    #[error("{} is both input and output", .0.display())]
    SameFile(PathBuf),
    /// The output cannot be opened or written.
    #[error("cannot write {name}")]
    Write { name: String, source: io::Error },
}

/// Classifies; see [`ClassifyArgs`].
pub(super) fn run(args: ClassifyArgs, model: (Option<&Path>, Arithmetic)) -> Outcome {
    let format = args.output_format();
    // Everything that can be refused is refused before the output, perhaps a file that somebody
    // still wants, is opened.
    let source = Source::open(&args)?;
    let classifier = Classifier::load(model)?.with_provenance(args.spans);
    let to_terminal = args.output.is_none() && io::stdout().is_terminal();
    let name = args.output.as_ref().map_or("standard output".into(), |p| p.display().to_string());
    let failed = |source| ClassifyError::Write { name: name.clone(), source };
    let sink: Box<dyn Write> = match &args.output {
        Some(path) => Box::new(BufWriter::new(File::create(path).map_err(failed)?)),
        None => Box::new(BufWriter::new(io::stdout().lock())),
    };
    let mut output = Output::new(sink, format)
        .with_text(args.with_text)
        .with_line(source.is_file)
        .with_colour(to_terminal && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()));
    let bar = source.bar;
    if to_terminal {
        // The verdicts themselves show the progress; a bar would tear through them.
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    let mut work = Work { name: source.name, bar: &bar, done: 0, failed: 0, broken: None };
    let ended = classifier.each(source.records, |answers| work.take(&mut output, answers));
    if work.broken.is_none() {
        work.broken = output.finish().err();
    }
    bar.finish_and_clear();
    match work.broken {
        // Whoever reads has seen enough (`| head`). That is no error.
        Some(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(ExitCode::SUCCESS),
        Some(error) => return Err(failed(error).into()),
        None => {}
    }
    ended?;
    if work.failed > 0 {
        eprintln!("{} classified, {} could not be", work.done, work.failed);
        return Ok(ExitCode::from(SOME_FAILED));
    }
    Ok(ExitCode::SUCCESS)
}

type RecordIter = Box<dyn Iterator<Item = Result<(u64, LabelledRecord), RecordError>> + Send>;

/// Where the messages come from.
struct Source {
    records: RecordIter,
    name: String,
    is_file: bool,
    bar: ProgressBar,
}

impl Source {
    fn open(args: &ClassifyArgs) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        if !args.texts.is_empty() {
            let texts = args.texts.clone().into_iter().zip(1..);
            let records = texts.map(|(text, n)| Ok((n, LabelledRecord::unlabelled("", text))));
            let bar = ProgressBar::hidden();
            let name = "arguments".into();
            return Ok(Source { records: Box::new(records), name, is_file: false, bar });
        }
        let stdin = args.input.as_deref().is_none_or(|path| path.as_os_str() == "-");
        if args.input.is_none() && io::stdin().is_terminal() {
            return Err(ClassifyError::Nothing.into());
        }
        let (records, name, bar) = match args.input.as_deref().filter(|_| !stdin) {
            None => {
                let records = Records::open(Path::new("-"), args.format)?;
                let template = "{spinner} {msg} ({elapsed})";
                (records, "standard input".to_owned(), bar(None, template))
            }
            Some(path) => {
                let name = path.display().to_string();
                if args.output.as_deref().is_some_and(|output| same_file(path, output)) {
                    return Err(ClassifyError::SameFile(path.to_owned()).into());
                }
                let (file, format) = Records::open_file(path, args.format)?;
                let length = file
                    .metadata()
                    .map_err(|source| OpenError::Read { path: name.clone(), source })?
                    .len();
                let bar = bar(Some(length), "{bar:30} {percent:>3}% {msg} (left: {eta})");
                let reader = Box::new(BufReader::new(bar.wrap_read(file)));
                (Records::from_reader(reader, &name, format)?, name, bar)
            }
        };
        Ok(Source { records: Box::new(records), name, is_file: true, bar })
    }
}

fn same_file(a: &Path, b: &Path) -> bool {
    match (fs::canonicalize(a), fs::canonicalize(b)) {
        (Ok(a), Ok(b)) => a == b,
        _ => false,
    }
}

/// A bar on standard error; it shows only where that is a terminal.
fn bar(length: Option<u64>, template: &str) -> ProgressBar {
    let style =
        ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner());
    ProgressBar::with_draw_target(length, ProgressDrawTarget::stderr()).with_style(style)
}

/// What has been done so far.
struct Work<'a> {
    name: String,
    bar: &'a ProgressBar,
    done: u64,
    failed: u64,
    /// Why the output takes no more.
    broken: Option<io::Error>,
}

impl Work<'_> {
    fn take(&mut self, output: &mut Output, answers: Vec<Answer>) -> Then {
        for answer in answers {
            let written = match answer {
                Ok(classified) => self.write(output, &classified),
                Err(error) => {
                    self.failed += 1;
                    let name = &self.name;
                    self.bar.suspend(|| eprintln!("error: {name}: {error}"));
                    Ok(())
                }
            };
            if let Err(error) = written {
                self.broken = Some(error);
                return Then::Stop;
            }
        }
        self.bar.set_message(format!("{} messages", self.done));
        // Nothing else is ready, so somebody may be waiting for what is.
        match output.flush() {
            Ok(()) => Then::GoOn,
            Err(error) => {
                self.broken = Some(error);
                Then::Stop
            }
        }
    }

    fn write(&mut self, output: &mut Output, classified: &Classified) -> io::Result<()> {
        self.done += 1;
        output.write(classified)
    }
}
