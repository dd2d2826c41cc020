//! Takes batches off the queue and has the model read them.
//!
//! A batch that fails or panics is read again message by message, so that only the culprit goes
//! without an answer. May depend on: `batch`, `model`, `tokenise`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Instant;

use metrics::{counter, histogram};
use rayon::ThreadPoolBuilder;

use super::plan::Budget;
use super::queue::{Job, Queue, Unread};
use crate::model::engine::Engine;
use crate::model::labels::Logits;
use crate::tokenise::Tokens;

/// Starts the threads that read, as many as the engine wants; they end when the queue does.
///
/// # Errors
/// Where the system gives no threads.
pub fn start(
    queue: &Arc<Queue>,
    engine: Arc<dyn Engine>,
    budget: Budget,
) -> std::io::Result<Vec<JoinHandle<()>>> {
    let callers = engine.callers();
    let one = |index: usize| {
        let (queue, engine) = (Arc::clone(queue), Arc::clone(&engine));
        Builder::new().name(format!("encode-{index}")).spawn(move || {
            // A pool of this thread alone, so that products do not spread over rayon's own: the
            // cores are busy with batches already. Where that cannot be, it is only slower.
            let _own = (callers > 1)
                .then(|| ThreadPoolBuilder::new().num_threads(1).use_current_thread().build());
            while let Some(batch) = queue.next(budget, callers) {
                let tokens = batch.iter().map(|job| job.tokens.ids.len()).sum();
                let (size, clock) = ((batch.len(), tokens), Instant::now());
                serve(&*engine, batch);
                let took = clock.elapsed();
                queue.note(size, took, callers);
                histogram!("klankbord_encode_seconds").record(took);
                histogram!("klankbord_batch_messages").record(size.0 as f64);
                histogram!("klankbord_batch_tokens").record(size.1 as f64);
            }
        })
    };
    (0..callers).map(one).collect()
}

/// Reads a batch and answers each of its messages.
fn serve(engine: &dyn Engine, batch: Vec<Job>) {
    let tokens: Vec<&Tokens> = batch.iter().map(|job| &job.tokens).collect();
    let answers: Vec<Result<Logits, Unread>> = match read(engine, &tokens) {
        Some(logits) => logits.into_iter().map(Ok).collect(),
        None if tokens.len() == 1 => vec![Err(Unread::Failed)],
        None => {
            tracing::warn!(messages = tokens.len(), "a batch failed; reading its messages alone");
            let alone = |tokens: &&Tokens| read(engine, &[*tokens]).and_then(|mut l| l.pop());
            tokens.iter().map(|tokens| alone(tokens).ok_or(Unread::Failed)).collect()
        }
    };
    for (job, answer) in batch.into_iter().zip(answers) {
        let Job { reply, permit, .. } = job;
        // Nobody may be waiting by now; that is their right.
        let _ = reply.send(answer);
        drop(permit);
    }
}

/// Logits of each message, or nothing if the model fails, panics, or miscounts.
fn read(engine: &dyn Engine, tokens: &[&Tokens]) -> Option<Vec<Logits>> {
    let result = catch_unwind(AssertUnwindSafe(|| engine.logits(tokens)));
    let reason = match result {
        Ok(Ok(logits)) if logits.len() == tokens.len() => return Some(logits),
        Ok(Ok(_)) => {
            tracing::error!("the model answered another number of messages than it was given");
            "miscount"
        }
        Ok(Err(error)) => {
            tracing::error!(%error, "the model failed");
            "error"
        }
        Err(_) => {
            tracing::error!("the model panicked");
            "panic"
        }
    };
    counter!("klankbord_worker_failures_total", "reason" => reason).increment(1);
    None
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;
    use crate::batch::lane::{Lane, Terms};
    use crate::batch::queue::Bounds;
    use crate::model::engine::EngineError;

    /// Panics at token 13, fails at token 14, miscounts at 15; else tells how many tokens it read.
    struct Touchy;

    impl Engine for Touchy {
        fn callers(&self) -> usize {
            2
        }

        fn logits(&self, batch: &[&Tokens]) -> Result<Vec<Logits>, EngineError> {
            let has = |id: u32| batch.iter().any(|tokens| tokens.ids.contains(&id));
            assert!(!has(13), "unlucky");
            if has(14) {
                return Err(EngineError("out of sorts".into()));
            }
            let of = |tokens: &&Tokens| [tokens.ids.len() as f32; 8];
            Ok(batch.iter().map(of).skip(usize::from(has(15))).collect())
        }
    }

    #[test]
    fn a_culprit_fails_alone_and_the_worker_lives_on() {
        let queue =
            Queue::new(Bounds { messages: 100, bytes: 100, wait: [std::time::Duration::MAX; 2] });
        let ask = |ids: Vec<u32>| {
            let (reply, answer) = oneshot::channel();
            let permit = queue.admit(0, Lane::Bulk).ok().unwrap();
            let terms = Terms { lane: Lane::Bulk, deadline: None };
            queue.push(Job {
                tokens: Tokens::new(ids),
                reply,
                permit,
                terms,
                since: Instant::now(),
            });
            answer
        };
        let asked: Vec<_> =
            [vec![1, 2], vec![13], vec![3], vec![14, 14], vec![15], vec![4, 5, 6]].map(ask).into();
        let time = std::time::Duration::from_secs(1);
        let budget = Budget { time, least: 100, most: 100, messages: 100 };
        let worker = start(&queue, Arc::new(Touchy), budget).unwrap();
        let answers: Vec<_> = asked.into_iter().map(|a| a.blocking_recv().unwrap()).collect();
        let failed = Err(Unread::Failed);
        let read = |n: f32| Ok([n; 8]);
        assert_eq!(answers, [read(2.0), failed, read(1.0), failed, failed, read(3.0)]);
        assert_eq!(ask(vec![7]).blocking_recv().unwrap(), read(1.0));
        queue.end();
        for thread in worker {
            thread.join().unwrap();
        }
        assert_eq!(queue.accepted(), 0);
    }
}
