//! Composes the stages: divide and tokenise, queue and batch, encode, label.
//!
//! Everything that classifies (server, command line, evaluation) goes through [`Pipeline`], so that
//! all of them say the same. Tokenising has threads of its own: it is never done on the caller's
//! thread, which may be one that serves many callers. May depend on everything but transport, the
//! command line and training.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use rayon::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};
use tokio::sync::oneshot;

use crate::batch::plan::Budget;
use crate::batch::queue::{Bounds, Job, Permit, Queue, Refused};
use crate::batch::worker;
use crate::message::{Language, Message, ModelId, Provenance, Verdict};
use crate::model::bundle::{Bundle, BundleError, Manifest};
use crate::model::encoder::{Encoder, EncoderError};
use crate::model::engine::Engine;
use crate::model::kernel::Kernel;
use crate::model::labels::{Calibration, Logits};
use crate::model::net::{Mode, Net, NetError};
use crate::model::windows::Window;
use crate::reading::Reading;
use crate::tokenise::{Tokeniser, Tokens};

/// How much may be accepted and unanswered: one ClassifyBatch with every field at its limit, or many
/// of the usual kind.
const BOUNDS: Bounds = Bounds { messages: 16 * 1024, bytes: 64 << 20 };
/// How much is read at once: as much as takes 20 ms, by the cost of a token as measured.
const BUDGET: Budget =
    Budget { time: Duration::from_millis(20), least: 64, most: 2048, messages: 256 };

/// How much of one message waits in the queue at once: enough windows to keep every core busy.
const AT_ONCE: usize = 16;

/// Why a valid message got no verdict.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PipelineError {
    /// The queue is full.
    #[error("the queue is full; try again in {} ms", retry_after.as_millis())]
    Overloaded { retry_after: Duration },
    /// The service is shutting down and takes no new work.
    #[error("the service is shutting down")]
    ShuttingDown,
    /// The model failed on this very message.
    #[error("the model failed on this message")]
    Failed,
}

/// Why a pipeline cannot start.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The model's files are missing or wrong.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The network cannot be made of them.
    #[error(transparent)]
    Net(#[from] NetError),
    /// The int8 encoder cannot be made of them.
    #[error(transparent)]
    Encoder(#[from] EncoderError),
    /// The CPU lacks what was asked for.
    #[error("this CPU or system has no kernel {asked}; it has {}", list(.available))]
    NoKernel { asked: String, available: Vec<Kernel> },
    /// The system gives no threads.
    #[error("cannot start threads: {0}")]
    Threads(#[from] std::io::Error),
    /// The system gives no threads to tokenise on.
    #[error("cannot start threads: {0}")]
    Pool(#[from] ThreadPoolBuildError),
}

/// Arithmetic of the layers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Precision {
    /// Products in int8, the rest in f32.
    #[default]
    Int8,
    /// The network as it can be trained, to compare with.
    F32,
}

/// How the model is to be run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Arithmetic {
    /// Arithmetic of the layers.
    pub precision: Precision,
    /// What does the int8 products; the fastest where not said.
    pub kernel: Option<Kernel>,
}

/// What GetModel tells: identity and what a client needs to read the verdicts.
#[derive(Clone, Debug)]
pub struct ModelInfo {
    pub id: Arc<ModelId>,
    /// Name of the model, e.g. `nl-en`.
    pub name: String,
    /// BCP 47 tags of the languages that it was trained for.
    pub languages: Vec<String>,
    /// Most tokens that it reads at once.
    pub max_tokens: usize,
    /// Probability from which each intent holds, in the order of `Intent::ALL`.
    pub intent_thresholds: [f32; 4],
    /// The same for messages in a language that has its own, by BCP 47 tag.
    pub thresholds_by_language: Vec<(&'static str, [f32; 4])>,
    /// Probability from which `urgent` holds.
    pub urgent_threshold: f32,
    /// Data sets that it was trained on, by name.
    pub trained_on: Vec<String>,
    /// Whether it reads the post that a message replies to.
    pub reads_context: bool,
}

impl ModelInfo {
    /// Whether the model was not trained for a language that is known.
    pub fn is_foreign(&self, language: Language) -> bool {
        let trained = self.languages.iter().any(|tag| {
            tag.eq_ignore_ascii_case(language.tag()) || Language::from_tag(tag) == language
        });
        language != Language::Undetermined && !trained
    }

    fn new(manifest: &Manifest, id: &Arc<ModelId>) -> Self {
        ModelInfo {
            id: Arc::clone(id),
            name: manifest.name.clone(),
            languages: manifest.languages.clone(),
            max_tokens: manifest.architecture.positions,
            thresholds_by_language: manifest.calibration.thresholds.iter().collect(),
            intent_thresholds: manifest.calibration.intents.map(|label| label.threshold),
            urgent_threshold: manifest.calibration.urgent.threshold,
            trained_on: manifest.trained_on.clone(),
            reads_context: manifest.reads_context,
        }
    }
}

/// Tokenise, batch, encode, label. Cheap to clone; all clones share one queue.
#[derive(Clone)]
pub struct Pipeline(Arc<Inner>);

struct Inner {
    queue: Arc<Queue>,
    tokenising: ThreadPool,
    tokeniser: Arc<Tokeniser>,
    calibration: Calibration,
    info: ModelInfo,
}

/// With the last clone goes the worker, once it has answered what waits.
impl Drop for Inner {
    fn drop(&mut self) {
        self.queue.end();
    }
}

impl Pipeline {
    /// Loads the model in `dir` (or the one that comes with the program) and starts the threads.
    ///
    /// # Errors
    /// [`LoadError`] saying which file is wrong and what to do.
    pub fn load(dir: Option<&Path>) -> Result<Self, LoadError> {
        Self::load_with(dir, Arithmetic::default())
    }

    /// As [`Pipeline::load`], with the arithmetic chosen.
    ///
    /// # Errors
    /// As [`Pipeline::load`].
    pub fn load_with(dir: Option<&Path>, arithmetic: Arithmetic) -> Result<Self, LoadError> {
        let bundle = Bundle::load_classifier(&Bundle::find(dir)?)?;
        let Bundle { manifest, id, weights, tokeniser, .. } = bundle;
        let architecture = manifest.architecture;
        let kernel = arithmetic.kernel.unwrap_or_else(Kernel::best);
        let available = Kernel::available();
        if !available.contains(&kernel) {
            return Err(LoadError::NoKernel { asked: spelt(kernel), available });
        }
        let engine: Arc<dyn Engine> = match arithmetic.precision {
            Precision::F32 => {
                Arc::new(Net::new(architecture, &weights.to_full(), Mode::Inference)?)
            }
            Precision::Int8 => {
                let encoder = Encoder::with_kernel(architecture, &weights, kernel)?;
                tracing::info!(kernel = encoder.kernel().name(), "int8 encoder");
                Arc::new(encoder)
            }
        };
        drop(weights);
        let info = ModelInfo::new(&manifest, &id);
        Self::start(engine, tokeniser, manifest.calibration, info)
    }

    /// Starts a pipeline around any engine.
    ///
    /// # Errors
    /// [`LoadError::Threads`] or [`LoadError::Pool`] where the system gives no threads.
    pub fn start(
        engine: Arc<dyn Engine>,
        tokeniser: Tokeniser,
        calibration: Calibration,
        info: ModelInfo,
    ) -> Result<Self, LoadError> {
        let queue = Queue::new(BOUNDS);
        let threads = rayon::current_num_threads().div_ceil(2);
        let tokenising = ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|index| format!("tokenise-{index}"))
            .build()?;
        worker::start(&queue, engine, BUDGET)?;
        let tokeniser = Arc::new(tokeniser);
        Ok(Pipeline(Arc::new(Inner { queue, tokenising, tokeniser, calibration, info })))
    }

    /// Classifies one message. Dropping the future cancels the work that has not begun.
    ///
    /// # Errors
    /// [`PipelineError`] where the message is not accepted, or the model fails on it.
    pub async fn classify(&self, message: Message) -> Result<Verdict, PipelineError> {
        self.read(message, false).await.map(|(verdict, _)| verdict)
    }

    /// As [`Pipeline::classify`], and says where in the text the verdict comes from. The verdict is
    /// the same; it is about twice the work.
    ///
    /// # Errors
    /// As [`Pipeline::classify`].
    pub async fn trace(&self, message: Message) -> Result<(Verdict, Provenance), PipelineError> {
        self.read(message, true).await
    }

    async fn read(
        &self,
        message: Message,
        trace: bool,
    ) -> Result<(Verdict, Provenance), PipelineError> {
        let inner = &self.0;
        // A text counts as often as it is read.
        let text = message.text().len() * if trace { 2 } else { 1 };
        let bytes = text + message.context().map_or(0, str::len);
        let permit = inner.queue.admit(bytes).map_err(|refused| match refused {
            Refused::Full { retry_after } => PipelineError::Overloaded { retry_after },
            Refused::Closed => PipelineError::ShuttingDown,
        })?;
        let (told, reading) = oneshot::channel();
        let tokeniser = Arc::clone(&inner.tokeniser);
        let reads_context = inner.info.reads_context;
        inner.tokenising.spawn_fifo(move || {
            if told.is_closed() {
                return;
            }
            if let Some(reading) = prepare(&tokeniser, &message, reads_context, trace) {
                let _ = told.send(reading);
            }
        });
        // A channel closed without an answer means that its stage failed.
        let reading = reading.await.map_err(|_| PipelineError::Failed)?;
        let Reading { pieces, mut reach, quoted, sentences } = reading;
        reach.foreign = inner.info.is_foreign(reach.language);
        let (pieces, fresh): (Vec<_>, Vec<_>) =
            pieces.into_iter().map(|piece| (piece.tokens, piece.fresh)).unzip();
        let logits = self.logits(pieces, &permit).await?;
        let windows: Vec<Window> =
            logits.into_iter().zip(fresh).map(|(logits, fresh)| Window { logits, fresh }).collect();
        let verdict = inner.calibration.document(&windows, reach, &inner.info.id);
        let verdict = verdict.ok_or_else(|| {
            tracing::error!("the model answered with something that is not a number");
            PipelineError::Failed
        })?;
        // Without an intent there is nothing to point at.
        let (mut ranges, mut tokens) = (Vec::new(), Vec::new());
        if verdict.primary.is_some() {
            (ranges, tokens) = sentences.into_iter().map(|s| (s.range, s.tokens)).unzip();
        }
        let logits = self.logits(tokens, &permit).await?;
        let sentences: Vec<_> = ranges.into_iter().zip(logits).collect();
        let spans = inner.calibration.spans(&verdict, &sentences);
        Ok((verdict, Provenance { spans, quoted }))
    }

    /// Logits of what belongs to one message, in order. Only so many wait in the queue at once, so
    /// that a long text takes turns with the messages of others.
    async fn logits(
        &self,
        pieces: Vec<Tokens>,
        permit: &Arc<Permit>,
    ) -> Result<Vec<Logits>, PipelineError> {
        let read = |tokens: Tokens| async {
            let (reply, logits) = oneshot::channel();
            self.0.queue.push(Job { tokens, reply, permit: Arc::clone(permit) });
            let logits = logits.await.map_err(|_| PipelineError::Failed)?;
            logits.map_err(|_| PipelineError::Failed)
        };
        stream::iter(pieces).map(read).buffered(AT_ONCE).try_collect().await
    }

    /// The model that makes the verdicts.
    pub fn model(&self) -> &ModelInfo {
        &self.0.info
    }

    /// Takes no more work and returns when all that was accepted is answered.
    pub async fn shutdown(&self) {
        self.0.queue.close();
        self.0.queue.idle().await;
    }
}

/// A kernel as the command line has it.
fn spelt(kernel: Kernel) -> String {
    let value = clap::ValueEnum::to_possible_value(&kernel);
    value.map_or_else(String::new, |value| value.get_name().to_owned())
}

fn list(kernels: &[Kernel]) -> String {
    kernels.iter().copied().map(spelt).collect::<Vec<_>>().join(", ")
}

/// What is to be read of a message; `None` where the library fails.
fn prepare(
    tokeniser: &Tokeniser,
    message: &Message,
    reads_context: bool,
    trace: bool,
) -> Option<Reading> {
    // A fault in a library must cost one message, not the process.
    let reading =
        catch_unwind(AssertUnwindSafe(|| Reading::of(message, tokeniser, reads_context, trace)));
    let Ok(Ok(reading)) = reading else {
        tracing::error!(bytes = message.text().len(), "a message could not be tokenised");
        return None;
    };
    Some(reading)
}
