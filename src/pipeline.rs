//! Composes the stages: tokenise, queue and batch, encode, label.
//!
//! Everything that classifies (server, command line, evaluation) goes through [`Pipeline`], so that
//! all of them say the same. Tokenising has threads of its own: it is never done on the caller's
//! thread, which may be one that serves many callers. May depend on everything but transport, the
//! command line and training.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rayon::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};
use tokio::sync::oneshot;

use crate::batch::plan::Budget;
use crate::batch::queue::{Bounds, Job, Queue, Refused};
use crate::batch::worker;
use crate::language;
use crate::message::{Language, Message, ModelId, Verdict};
use crate::model::bundle::{Bundle, BundleError, Manifest};
use crate::model::encoder::{Encoder, EncoderError};
use crate::model::engine::Engine;
use crate::model::kernel::Kernel;
use crate::model::labels::{Calibration, Reach};
use crate::model::net::{Mode, Net, NetError};
use crate::tokenise::{TokeniseError, Tokeniser, Tokens};

/// How much may be accepted and unanswered: one ClassifyBatch with every field at its limit, or many
/// of the usual kind.
const BOUNDS: Bounds = Bounds { messages: 16 * 1024, bytes: 64 << 20 };
/// How much is read at once: as much as takes 20 ms, by the cost of a token as measured.
const BUDGET: Budget =
    Budget { time: Duration::from_millis(20), least: 64, most: 2048, messages: 256 };

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
    /// Most tokens of one message that it reads.
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

    /// Classifies one message. Dropping the future cancels the work if it has not begun.
    ///
    /// # Errors
    /// [`PipelineError`] where the message is not accepted, or the model fails on it.
    pub async fn classify(&self, message: Message) -> Result<Verdict, PipelineError> {
        let inner = &self.0;
        let bytes = message.text().len() + message.context().map_or(0, str::len);
        let permit = inner.queue.admit(bytes).map_err(|refused| match refused {
            Refused::Full { retry_after } => PipelineError::Overloaded { retry_after },
            Refused::Closed => PipelineError::ShuttingDown,
        })?;
        let (reply, logits) = oneshot::channel();
        let (told, reach) = oneshot::channel();
        let (queue, tokeniser) = (Arc::clone(&inner.queue), Arc::clone(&inner.tokeniser));
        let reads_context = inner.info.reads_context;
        inner.tokenising.spawn_fifo(move || {
            if reply.is_closed() {
                return;
            }
            let Some((tokens, reach)) = prepare(&tokeniser, &message, reads_context) else {
                return;
            };
            let _ = told.send(reach);
            queue.push(Job { tokens, reply, permit });
        });
        // A channel closed without an answer means that its stage failed.
        let mut reach = reach.await.map_err(|_| PipelineError::Failed)?;
        reach.foreign = inner.info.is_foreign(reach.language);
        let logits = logits.await.map_err(|_| PipelineError::Failed)?;
        let logits = logits.map_err(|_| PipelineError::Failed)?;
        let verdict = inner.calibration.verdict(&logits, reach, &inner.info.id);
        verdict.ok_or_else(|| {
            tracing::error!("the model answered with something that is not a number");
            PipelineError::Failed
        })
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

/// Tokens of a message and what its verdict will say of the reading; `None` where the library fails.
fn prepare(
    tokeniser: &Tokeniser,
    message: &Message,
    reads_context: bool,
) -> Option<(Tokens, Reach)> {
    let context = message.context().filter(|_| reads_context);
    // A fault in a library must cost one message, not the process.
    let encoded = catch_unwind(AssertUnwindSafe(|| {
        let language = language::detect(message.text(), message.language_hint());
        let tokens = match context {
            Some(context) => tokeniser.encode_reply(message.text(), context)?,
            None => tokeniser.encode(message.text())?,
        };
        Ok::<_, TokeniseError>((tokens, language))
    }));
    let Ok(Ok((tokens, language))) = encoded else {
        tracing::error!(bytes = message.text().len(), "a message could not be tokenised");
        return None;
    };
    let tokens_read = u32::try_from(tokens.own).unwrap_or(u32::MAX);
    let (truncated, context_read) = (tokens.truncated, tokens.has_context());
    let reach = Reach { tokens_read, truncated, context_read, language, foreign: false };
    Some((tokens, reach))
}
