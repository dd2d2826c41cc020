//! Composes the stages: divide and tokenise, queue and batch, encode, label.
//!
//! Everything that classifies (server, command line, evaluation) goes through [`Pipeline`], so that
//! all of them say the same. Tokenising has threads of its own: it is never done on the caller's
//! thread, which may be one that serves many callers. May depend on everything but transport, the
//! command line and training.

mod info;
mod live;
mod load;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use metrics::{counter, histogram};
use rayon::{ThreadPool, ThreadPoolBuilder};
use tokio::sync::oneshot;

use crate::batch::lane::{Lane, Terms};
use crate::batch::plan::Budget;
use crate::batch::queue::{Bounds, Job, Permit, Queue, Refused, Unread};
use crate::batch::worker;
use crate::message::{Message, Provenance, Verdict};
use crate::model::engine::Engine;
use crate::model::labels::{Calibration, Logits};
use crate::model::windows::Window;
use crate::reading::Reading;
use crate::tokenise::{Tokeniser, Tokens};

pub use info::ModelInfo;
pub use live::Live;
pub use load::{Arithmetic, LoadError, Precision};

/// How much may be accepted and unanswered, and how much is read at once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Room {
    /// One ClassifyBatch with every field at its limit fits, or many of the usual kind.
    pub bounds: Bounds,
    /// What is read at once takes about so long, by the cost of a token as measured.
    pub batch_time: Duration,
}

impl Default for Room {
    fn default() -> Self {
        let wait = [Duration::from_secs(10), Duration::from_secs(60)];
        let bounds = Bounds { messages: 16 * 1024, bytes: 80 << 20, wait };
        Room { bounds, batch_time: Duration::from_millis(20) }
    }
}

impl Room {
    fn budget(&self) -> Budget {
        Budget { time: self.batch_time, least: 64, most: 2048, messages: 256 }
    }
}

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
    /// Its deadline passed before its turn came.
    #[error("the deadline has passed")]
    Expired,
}

impl From<Refused> for PipelineError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Full { retry_after } => PipelineError::Overloaded { retry_after },
            Refused::Closed => PipelineError::ShuttingDown,
        }
    }
}

/// Tokenise, batch, encode, label. Cheap to clone; all clones share one queue.
#[derive(Clone)]
pub struct Pipeline(Arc<Inner>);

struct Inner {
    queue: Arc<Queue>,
    /// By lane.
    tokenising: [ThreadPool; 2],
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
        Self::start_within(Room::default(), engine, tokeniser, calibration, info)
    }

    /// As [`Pipeline::start`], with the room chosen.
    ///
    /// # Errors
    /// As [`Pipeline::start`].
    pub fn start_within(
        room: Room,
        engine: Arc<dyn Engine>,
        tokeniser: Tokeniser,
        calibration: Calibration,
        info: ModelInfo,
    ) -> Result<Self, LoadError> {
        let queue = Queue::new(room.bounds);
        let threads = rayon::current_num_threads().div_ceil(2);
        // One by lane, so that who waits for an answer does not wait for bulk to be tokenised.
        let pool = |lane: Lane| {
            let name = move |index| format!("tokenise-{}-{index}", lane.name());
            ThreadPoolBuilder::new().num_threads(threads).thread_name(name).build()
        };
        let tokenising = [pool(Lane::Interactive)?, pool(Lane::Bulk)?];
        worker::start(&queue, engine, room.budget())?;
        let tokeniser = Arc::new(tokeniser);
        Ok(Pipeline(Arc::new(Inner { queue, tokenising, tokeniser, calibration, info })))
    }

    /// Whether a call may come in, or would wait too long. What belongs to one that came in is refused only where
    /// the queue is full.
    ///
    /// # Errors
    /// [`PipelineError::Overloaded`] or [`PipelineError::ShuttingDown`].
    pub fn ready(&self, lane: Lane) -> Result<(), PipelineError> {
        self.0.queue.ready(lane).map_err(Into::into)
    }

    /// Classifies one message, in the interactive lane and for as long as it takes. Dropping the future cancels
    /// the work that has not begun.
    ///
    /// # Errors
    /// [`PipelineError`] where the message is not accepted, or the model fails on it.
    pub async fn classify(&self, message: Message) -> Result<Verdict, PipelineError> {
        self.classify_on(message, Terms::default()).await
    }

    /// As [`Pipeline::classify`], on terms of choice.
    ///
    /// # Errors
    /// As [`Pipeline::classify`].
    pub async fn classify_on(
        &self,
        message: Message,
        terms: Terms,
    ) -> Result<Verdict, PipelineError> {
        self.read(message, terms, false).await.map(|(verdict, _)| verdict)
    }

    /// As [`Pipeline::classify_on`], and says where in the text the verdict comes from. The verdict is
    /// the same; it is about twice the work.
    ///
    /// # Errors
    /// As [`Pipeline::classify`].
    pub async fn trace(
        &self,
        message: Message,
        terms: Terms,
    ) -> Result<(Verdict, Provenance), PipelineError> {
        self.read(message, terms, true).await
    }

    async fn read(
        &self,
        message: Message,
        terms: Terms,
        trace: bool,
    ) -> Result<(Verdict, Provenance), PipelineError> {
        let inner = &self.0;
        let begun = Instant::now();
        // A text counts as often as it is read.
        let text = message.text().len() * if trace { 2 } else { 1 };
        let bytes = text + message.context().map_or(0, str::len);
        let permit = inner.queue.admit(bytes, terms.lane)?;
        let Reading { pieces, mut reach, quoted, sentences } =
            self.prepared(message, trace, terms.lane).await?;
        let of = |tokens: &Tokens| tokens.ids.len();
        let pieces_tokens = pieces.iter().map(|piece| of(&piece.tokens));
        permit.measured(pieces_tokens.chain(sentences.iter().map(|s| of(&s.tokens))).sum());
        reach.foreign = inner.info.is_foreign(reach.language);
        let (pieces, fresh): (Vec<_>, Vec<_>) =
            pieces.into_iter().map(|piece| (piece.tokens, piece.fresh)).unzip();
        let logits = self.logits(pieces, &permit, terms).await?;
        let windows: Vec<Window> =
            logits.into_iter().zip(fresh).map(|(logits, fresh)| Window { logits, fresh }).collect();
        let verdict = inner.calibration.document(&windows, reach, &inner.info.id);
        let verdict = verdict.ok_or_else(|| {
            tracing::error!("the model answered with something that is not a number");
            counter!("klankbord_worker_failures_total", "reason" => "not_a_number").increment(1);
            PipelineError::Failed
        })?;
        // Without an intent there is nothing to point at.
        let (mut ranges, mut tokens) = (Vec::new(), Vec::new());
        if verdict.primary.is_some() {
            (ranges, tokens) = sentences.into_iter().map(|s| (s.range, s.tokens)).unzip();
        }
        let logits = self.logits(tokens, &permit, terms).await?;
        let sentences: Vec<_> = ranges.into_iter().zip(logits).collect();
        let spans = inner.calibration.spans(&verdict, &sentences);
        histogram!("klankbord_message_seconds", "lane" => terms.lane.name())
            .record(begun.elapsed());
        Ok((verdict, Provenance { spans, quoted }))
    }

    /// What is to be read of a message, made on a thread for that.
    async fn prepared(
        &self,
        message: Message,
        trace: bool,
        lane: Lane,
    ) -> Result<Reading, PipelineError> {
        let inner = &self.0;
        let (told, reading) = oneshot::channel();
        let tokeniser = Arc::clone(&inner.tokeniser);
        let reads_context = inner.info.reads_context;
        inner.tokenising[lane as usize].spawn_fifo(move || {
            if told.is_closed() {
                counter!("klankbord_dropped_total", "reason" => "cancelled").increment(1);
                return;
            }
            let clock = Instant::now();
            if let Some(reading) = prepare(&tokeniser, &message, reads_context, trace) {
                histogram!("klankbord_tokenise_seconds").record(clock.elapsed());
                let _ = told.send(reading);
            }
        });
        // A channel closed without an answer means that its stage failed.
        reading.await.map_err(|_| PipelineError::Failed)
    }

    /// Logits of what belongs to one message, in order. Only so many wait in the queue at once, so
    /// that a long text takes turns with the messages of others.
    async fn logits(
        &self,
        pieces: Vec<Tokens>,
        permit: &Arc<Permit>,
        terms: Terms,
    ) -> Result<Vec<Logits>, PipelineError> {
        let read = |tokens: Tokens| async {
            let (reply, logits) = oneshot::channel();
            let (permit, since) = (Arc::clone(permit), Instant::now());
            self.0.queue.push(Job { tokens, reply, permit, terms, since });
            let logits = logits.await.map_err(|_| PipelineError::Failed)?;
            logits.map_err(|unread| match unread {
                Unread::Failed => PipelineError::Failed,
                Unread::Expired => PipelineError::Expired,
            })
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
