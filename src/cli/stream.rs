//! Records through the pipeline: many under way at once, answers in the order of the records.
//!
//! Reading blocks, so it has a thread of its own: on a slow standard input the answers to what has
//! come in do not wait for what has not. May depend on `message`, `pipeline` and `record`.

use std::io;
use std::path::Path;
use std::thread::{self, JoinHandle};

use futures::StreamExt;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::batch::lane::Terms;
use crate::message::{Provenance, Verdict};
use crate::pipeline::{Arithmetic, LoadError, ModelInfo, Pipeline, PipelineError, Room};
use crate::record::{LabelledRecord, RecordError};

/// Messages under way at once: enough to fill batches, and a bound on memory.
const WINDOW: usize = 512;

/// Why nothing could be classified, or not all of it.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The threads that it takes did not start.
    #[error("cannot start")]
    Start(#[source] io::Error),
    /// The model did not load.
    #[error("cannot load the model")]
    Load(#[from] LoadError),
    /// The reader died; what came before it is done.
    #[error("reading stopped before the end")]
    Reader,
}

/// A record and what the model says of it.
#[derive(Debug)]
pub(super) struct Classified<T = ()> {
    pub(super) line: u64,
    /// What the caller wants to know it by.
    pub(super) tag: T,
    pub(super) record: LabelledRecord,
    pub(super) verdict: Verdict,
    /// Where it comes from, if that was asked.
    pub(super) provenance: Option<Provenance>,
}

/// What comes of one record.
pub(super) type Answer<T = ()> = Result<Classified<T>, RecordError>;

/// Whether to go on after some answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    GoOn,
    /// Nobody reads on; the records left are not classified.
    Stop,
}

/// The model, ready, and the runtime that it works on.
pub(super) struct Classifier {
    runtime: Runtime,
    pipeline: Pipeline,
    trace: bool,
}

impl Classifier {
    pub(super) fn load(
        (model, arithmetic): (Option<&Path>, Arithmetic),
    ) -> Result<Self, StreamError> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .map_err(StreamError::Start)?;
        let pipeline = {
            let _inside = runtime.enter();
            Pipeline::load_with(model, arithmetic, Room::default())?
        };
        Ok(Classifier { runtime, pipeline, trace: false })
    }

    /// Has every verdict say where it comes from.
    pub(super) fn with_provenance(self, trace: bool) -> Self {
        Classifier { trace, ..self }
    }

    /// The model that makes the verdicts.
    pub(super) fn model(&self) -> &ModelInfo {
        self.pipeline.model()
    }

    /// Classifies all of `records`, handing over answers in order, as many at once as are ready.
    pub(super) fn each<R>(
        &self,
        records: R,
        take: impl FnMut(Vec<Answer>) -> Then,
    ) -> Result<(), StreamError>
    where
        R: Iterator<Item = Result<(u64, LabelledRecord), RecordError>> + Send + 'static,
    {
        let tagged = records.map(|record| record.map(|(line, record)| (line, record, ())));
        self.each_tagged(tagged, take)
    }

    /// As [`Classifier::each`], each record with a tag that its answer has too.
    pub(super) fn each_tagged<R, T>(
        &self,
        records: R,
        mut take: impl FnMut(Vec<Answer<T>>) -> Then,
    ) -> Result<(), StreamError>
    where
        R: Iterator<Item = Result<(u64, LabelledRecord, T), RecordError>> + Send + 'static,
        T: Send + 'static,
    {
        let (sender, receiver) = mpsc::channel(WINDOW);
        let reader: JoinHandle<()> = thread::Builder::new()
            .name("reader".into())
            .spawn(move || {
                for record in records {
                    if sender.blocking_send(record).is_err() {
                        break;
                    }
                }
            })
            .map_err(StreamError::Start)?;
        let stopped = self.runtime.block_on(async {
            let mut answers = ReceiverStream::new(receiver)
                .map(|record| async {
                    let (line, record, tag) = record?;
                    self.answer(line, record, tag).await
                })
                .buffered(WINDOW)
                .ready_chunks(WINDOW);
            while let Some(ready) = answers.next().await {
                if take(ready) == Then::Stop {
                    return true;
                }
            }
            false
        });
        // A reader that waits for input which nobody wants is left behind; the process ends soon.
        if !stopped && reader.join().is_err() {
            return Err(StreamError::Reader);
        }
        Ok(())
    }

    async fn answer<T>(&self, line: u64, record: LabelledRecord, tag: T) -> Answer<T> {
        let failed = |reason: String| RecordError { line, reason };
        let message = record.message().map_err(|invalid| failed(invalid.to_string()))?;
        loop {
            let read = match self.trace {
                true => {
                    let traced = self.pipeline.trace(message.clone(), Terms::default()).await;
                    traced.map(|(verdict, provenance)| (verdict, Some(provenance)))
                }
                false => self.pipeline.classify(message.clone()).await.map(|v| (v, None)),
            };
            match read {
                Ok((verdict, provenance)) => {
                    return Ok(Classified { line, tag, record, verdict, provenance });
                }
                // The queue is ours alone, so what is in it is our own work and will be done.
                Err(PipelineError::Overloaded { retry_after }) => {
                    tokio::time::sleep(retry_after).await;
                }
                Err(error) => return Err(failed(error.to_string())),
            }
        }
    }
}
