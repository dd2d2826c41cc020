//! Accepted messages waiting to be read, first come first served, bounded.
//!
//! A message counts against the bounds from the moment it is accepted, before it is tokenised, until
//! its answer is delivered or nobody waits for it any more. May depend on: `batch::plan`,
//! `tokenise`, `model::labels`.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};

use super::plan::{Budget, Cost, Limits, fits};
use crate::model::labels::Logits;
use crate::tokenise::Tokens;

/// How much may be accepted and not yet answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Most messages.
    pub messages: usize,
    /// Most bytes of text in all.
    pub bytes: usize,
}

/// The model gave no answer for this very message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failed;

/// A tokenised message and who waits for its logits.
pub struct Job {
    /// What to read.
    pub tokens: Tokens,
    /// Where the answer goes; closed when nobody waits any more.
    pub reply: oneshot::Sender<Result<Logits, Failed>>,
    /// Its place among the accepted; the windows of a long text share one.
    pub permit: Arc<Permit>,
}

/// Why a message is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// A bound is reached; there should be room after this long.
    Full { retry_after: Duration },
    /// No more work is taken.
    Closed,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    /// Tokens of those jobs.
    tokens: usize,
    /// Accepted and not yet answered: messages, bytes.
    messages: usize,
    bytes: usize,
    /// Messages per second that the worker has lately done; 0 before the first batch.
    rate: f64,
    /// What a token has lately cost the thread that read it.
    cost: Cost,
    /// No new messages are accepted.
    closed: bool,
    /// The worker should end once nothing waits.
    ended: bool,
}

/// The queue between callers and the worker.
pub struct Queue {
    state: Mutex<State>,
    arrived: Condvar,
    idle: Notify,
    bounds: Bounds,
}

/// A message's place among the accepted; given up when dropped.
pub struct Permit {
    queue: Arc<Queue>,
    bytes: usize,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.queue.lock();
        state.messages -= 1;
        state.bytes -= self.bytes;
        if state.messages == 0 {
            self.queue.idle.notify_waiters();
        }
    }
}

impl Queue {
    /// An open, empty queue.
    pub fn new(bounds: Bounds) -> Arc<Self> {
        let state = Mutex::default();
        Arc::new(Queue { state, arrived: Condvar::new(), idle: Notify::new(), bounds })
    }

    /// Accepts a message with `bytes` of text, or says why not. A message larger than the bound on
    /// bytes is accepted when it is alone, so that none is refused for ever.
    ///
    /// # Errors
    /// [`Refused`] where a bound is reached or the queue is closed.
    pub fn admit(self: &Arc<Self>, bytes: usize) -> Result<Arc<Permit>, Refused> {
        let mut state = self.lock();
        if state.closed {
            return Err(Refused::Closed);
        }
        let fits = state.bytes.saturating_add(bytes) <= self.bounds.bytes || state.messages == 0;
        if state.messages >= self.bounds.messages || !fits {
            return Err(Refused::Full { retry_after: retry_after(&state) });
        }
        state.messages += 1;
        state.bytes += bytes;
        Ok(Arc::new(Permit { queue: Arc::clone(self), bytes }))
    }

    /// Hands an accepted, tokenised message to the worker.
    pub fn push(&self, job: Job) {
        let mut state = self.lock();
        state.tokens += job.tokens.ids.len();
        state.jobs.push_back(job);
        drop(state);
        self.arrived.notify_one();
    }

    /// The next batch, of messages that somebody still waits for; blocks until there is one.
    /// `None` once the queue has ended and nothing waits.
    ///
    /// A batch is no more than an equal share for each of `callers`, so that a few messages are
    /// read by all of them at once instead of by the first to come.
    /// How much that is follows from the `budget` and from what a token has lately cost.
    pub fn next(&self, budget: Budget, callers: usize) -> Option<Vec<Job>> {
        loop {
            let mut state = self.lock();
            while state.jobs.is_empty() {
                if state.ended {
                    return None;
                }
                state = self.arrived.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            let share = state.tokens.div_ceil(callers.max(1));
            let limits = budget.limits(state.cost.per_token());
            let limits = Limits { tokens: limits.tokens.min(share), ..limits };
            let (mut batch, mut cancelled, mut tokens) = (Vec::new(), Vec::new(), 0);
            while let Some(job) = state.jobs.front() {
                let length = job.tokens.ids.len();
                let waited_for = !job.reply.is_closed();
                if waited_for && !fits(batch.len(), tokens, length, limits) {
                    break;
                }
                state.tokens -= length;
                let Some(job) = state.jobs.pop_front() else { break };
                if waited_for {
                    tokens += length;
                    batch.push(job);
                } else {
                    cancelled.push(job);
                }
            }
            // Dropping a job takes the lock to give up its place, so it must be free by then.
            drop(state);
            drop(cancelled);
            if !batch.is_empty() {
                return Some(batch);
            }
        }
    }

    /// Notes that one of `callers` threads took so long for a batch: for the size of the next ones, and
    /// for the advice on when to try again.
    pub fn note(&self, (messages, tokens): (usize, usize), took: Duration, callers: usize) {
        let rate = (messages * callers) as f64 / took.as_secs_f64().max(1e-6);
        let mut state = self.lock();
        state.rate = if state.rate > 0.0 { 0.8 * state.rate + 0.2 * rate } else { rate };
        state.cost.note(tokens, took);
    }

    /// Accepts nothing more; what was accepted is still answered.
    pub fn close(&self) {
        self.lock().closed = true;
    }

    /// Closes, and lets the worker end once nothing waits.
    pub fn end(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.ended = true;
        self.arrived.notify_all();
    }

    /// Waits until every accepted message is answered or given up.
    pub async fn idle(&self) {
        loop {
            let notified = self.idle.notified();
            tokio::pin!(notified);
            // Registered before the look, so that no notice falls between the two.
            notified.as_mut().enable();
            if self.lock().messages == 0 {
                return;
            }
            notified.await;
        }
    }

    /// Messages accepted and not yet answered.
    pub fn accepted(&self) -> usize {
        self.lock().messages
    }

    /// The state, even after a panic elsewhere: every change to it is complete in itself.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// When half of what is accepted should be done, at the rate of late. Windows of long texts wait as
/// jobs of their own.
fn retry_after(state: &State) -> Duration {
    let waiting = state.messages.max(state.jobs.len()) as f64;
    let seconds = if state.rate > 0.0 { waiting / 2.0 / state.rate } else { 1.0 };
    Duration::from_secs_f64(seconds.clamp(0.05, 30.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(count: usize) -> Tokens {
        Tokens::new(vec![1; count])
    }

    type Reply = oneshot::Receiver<Result<Logits, Failed>>;

    fn push(queue: &Arc<Queue>, length: usize) -> Reply {
        let (reply, answer) = oneshot::channel();
        let permit = queue.admit(10).ok().unwrap();
        queue.push(Job { tokens: tokens(length), reply, permit });
        answer
    }

    const BOUNDS: Bounds = Bounds { messages: 3, bytes: 100 };
    const BUDGET: Budget =
        Budget { time: Duration::from_millis(10), least: 20, most: 40, messages: 8 };

    #[test]
    fn gives_out_in_order_within_limits_and_ends() {
        let queue = Queue::new(BOUNDS);
        let _answers: Vec<_> = [9, 10, 5].map(|n| push(&queue, n)).into();
        let lengths = |batch: Vec<Job>| -> Vec<usize> {
            batch.iter().map(|job| job.tokens.ids.len()).collect()
        };
        assert_eq!(queue.next(BUDGET, 1).map(lengths), Some(vec![9, 10]));
        queue.end();
        assert_eq!(queue.next(BUDGET, 1).map(lengths), Some(vec![5]));
        assert!(queue.next(BUDGET, 1).is_none());
        assert_eq!(queue.admit(1).err(), Some(Refused::Closed));
    }

    #[test]
    fn batches_grow_as_far_as_measured_cost_allows() {
        let queue = Queue::new(Bounds { messages: 100, bytes: 10_000 });
        let _answers: Vec<_> = (0..60).map(|_| push(&queue, 5)).collect();
        let tokens = || queue.next(BUDGET, 1).unwrap().len() * 5;
        assert_eq!(tokens(), 20, "nothing is measured yet");
        queue.note((4, 20), Duration::from_micros(20 * 300), 1);
        assert_eq!(tokens(), 30, "10 ms at 0.3 ms a token, in whole messages");
        for _ in 0..50 {
            queue.note((4, 20), Duration::from_micros(20), 1);
        }
        assert_eq!(tokens(), 40);
    }

    #[test]
    fn refuses_over_its_bounds_and_says_when_to_come_back() {
        let queue = Queue::new(BOUNDS);
        let first = queue.admit(60).ok();
        assert!(matches!(queue.admit(60), Err(Refused::Full { .. })), "by bytes");
        let _rest = [queue.admit(20).ok(), queue.admit(20).ok()];
        queue.note((3, 30), Duration::from_secs(1), 1);
        let Err(Refused::Full { retry_after }) = queue.admit(0) else { panic!("by messages") };
        assert_eq!(retry_after, Duration::from_millis(500));
        drop(first);
        assert!(queue.admit(20).is_ok());
    }

    #[test]
    fn a_message_larger_than_the_bound_is_accepted_alone() {
        let queue = Queue::new(BOUNDS);
        let large = queue.admit(1_000);
        assert!(large.is_ok());
        assert!(matches!(queue.admit(1), Err(Refused::Full { .. })));
    }

    #[test]
    fn what_nobody_waits_for_is_not_read_and_gives_up_its_place() {
        let queue = Queue::new(BOUNDS);
        drop(push(&queue, 5));
        let _kept = push(&queue, 6);
        let batch = queue.next(BUDGET, 1).unwrap();
        assert_eq!(batch.len(), 1);
        assert_eq!(batch[0].tokens.ids.len(), 6);
        assert_eq!(queue.accepted(), 1);
    }

    #[test]
    fn places_of_the_cancelled_are_free_even_if_nothing_else_waits() {
        let queue = Queue::new(BOUNDS);
        drop(push(&queue, 5));
        queue.end();
        assert!(queue.next(BUDGET, 1).is_none());
        assert_eq!(queue.accepted(), 0);
    }

    #[tokio::test]
    async fn idle_comes_when_the_last_is_answered() {
        let queue = Queue::new(BOUNDS);
        queue.idle().await;
        let permit = queue.admit(1).ok().unwrap();
        let waiting = tokio::spawn({
            let queue = Arc::clone(&queue);
            async move { queue.idle().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(permit);
        waiting.await.unwrap();
    }
}
