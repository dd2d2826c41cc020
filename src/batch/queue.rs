//! Accepted messages waiting to be read, in two lanes, bounded.
//!
//! A message counts against the bounds from the moment it is accepted, before it is tokenised, until
//! its answer is delivered or nobody waits for it any more. No token is shorter than a byte, so the bound
//! on bytes is one on tokens. May depend on: `batch::{lane, plan}`, `tokenise`, `model::labels`.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use metrics::{counter, gauge, histogram};
use tokio::sync::{Notify, oneshot};

use super::lane::{Lane, Lanes, Taken, Terms};
use super::plan::{Budget, Cost, Limits};
use crate::model::labels::Logits;
use crate::tokenise::Tokens;

/// Of text that is not tokenised yet; in Dutch and English it is a little more.
const BYTES_A_TOKEN: usize = 4;

/// How much may be accepted and not yet answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Most messages. Bulk may have seven in eight of them.
    pub messages: usize,
    /// Most bytes of text in all. Bulk may have seven in eight of them.
    pub bytes: usize,
    /// Longest that a call may expect to wait in the interactive and in the bulk lane; one that would wait longer
    /// is refused as it comes in.
    pub wait: [Duration; 2],
}

impl Bounds {
    /// Most messages and bytes that may be accepted when one more of a lane comes.
    fn of(&self, lane: Lane) -> (usize, usize) {
        let part = |all: usize| all - all / 8;
        match lane {
            Lane::Interactive => (self.messages, self.bytes),
            Lane::Bulk => (part(self.messages), part(self.bytes)),
        }
    }
}

/// Why a job has no logits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unread {
    /// The model gave no answer for this very message.
    Failed,
    /// The deadline passed before its turn came.
    Expired,
}

/// A tokenised message and who waits for its logits.
pub struct Job {
    /// What to read.
    pub tokens: Tokens,
    /// Where the answer goes; closed when nobody waits any more.
    pub reply: oneshot::Sender<Result<Logits, Unread>>,
    /// Its place among the accepted; the windows of a long text share one.
    pub permit: Arc<Permit>,
    /// On what terms it is read.
    pub terms: Terms,
    /// Since when it waits.
    pub since: Instant,
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
    lanes: Lanes,
    /// Accepted and not yet answered: messages and bytes in all.
    messages: usize,
    bytes: usize,
    /// Of those, messages by lane, and tokens; of one that is not tokenised yet, a guess.
    by_lane: [usize; 2],
    tokens: [usize; 2],
    /// Messages per second that the worker has lately done; 0 before the first batch.
    rate: f64,
    /// What a token has lately cost the thread that read it.
    cost: Cost,
    /// No new messages are accepted.
    closed: bool,
    /// The worker should end once nothing waits.
    ended: bool,
    /// Threads that read.
    callers: usize,
}

impl State {
    /// Shows how much of a lane is accepted, and how much text in all.
    fn show(&self, lane: Lane) {
        let messages = self.by_lane[lane as usize] as f64;
        gauge!("klankbord_queue_messages", "lane" => lane.name()).set(messages);
        gauge!("klankbord_queue_bytes").set(self.bytes as f64);
    }
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
    lane: Lane,
    bytes: usize,
    tokens: AtomicUsize,
}

impl Permit {
    /// Says how many tokens there really are to read.
    pub fn measured(&self, tokens: usize) {
        let mut state = self.queue.lock();
        let before = self.tokens.swap(tokens, Ordering::Relaxed);
        let all = &mut state.tokens[self.lane as usize];
        *all = *all - before + tokens;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.queue.lock();
        state.messages -= 1;
        state.bytes -= self.bytes;
        state.by_lane[self.lane as usize] -= 1;
        state.tokens[self.lane as usize] -= self.tokens.load(Ordering::Relaxed);
        state.show(self.lane);
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

    /// Whether a call may come in: what it would have to wait for must not take longer than its lane allows.
    /// What belongs to a call that came in is not refused for the time that it takes.
    ///
    /// # Errors
    /// [`Refused`] where it would wait too long or the queue is closed.
    pub fn ready(&self, lane: Lane) -> Result<(), Refused> {
        let state = self.lock();
        if state.closed {
            return Err(Refused::Closed);
        }
        let Some(cost) = state.cost.per_token() else { return Ok(()) };
        let [interactive, bulk] = state.tokens;
        let ahead = match lane {
            Lane::Interactive => interactive,
            Lane::Bulk => interactive + bulk,
        };
        let wait = cost.mul_f64(ahead as f64 / state.callers.max(1) as f64);
        match wait.checked_sub(self.bounds.wait[lane as usize]) {
            Some(over) if !over.is_zero() => {
                let retry_after = over.clamp(Duration::from_millis(10), Duration::from_secs(60));
                Err(Refused::Full { retry_after })
            }
            _ => Ok(()),
        }
    }

    /// Accepts a message with `bytes` of text, or says why not. A message larger than the bound on
    /// bytes is accepted when it is alone, so that none is refused for ever.
    ///
    /// # Errors
    /// [`Refused`] where a bound is reached or the queue is closed.
    pub fn admit(self: &Arc<Self>, bytes: usize, lane: Lane) -> Result<Arc<Permit>, Refused> {
        let mut state = self.lock();
        if state.closed {
            return Err(Refused::Closed);
        }
        let (most_messages, most_bytes) = self.bounds.of(lane);
        let fits = state.bytes.saturating_add(bytes) <= most_bytes || state.messages == 0;
        if state.messages >= most_messages || !fits {
            return Err(Refused::Full { retry_after: retry_after(&state) });
        }
        state.messages += 1;
        state.bytes += bytes;
        state.by_lane[lane as usize] += 1;
        let guess = bytes.div_ceil(BYTES_A_TOKEN);
        state.tokens[lane as usize] += guess;
        state.show(lane);
        Ok(Arc::new(Permit { queue: Arc::clone(self), lane, bytes, tokens: guess.into() }))
    }

    /// Hands an accepted, tokenised message to the worker.
    pub fn push(&self, job: Job) {
        self.lock().lanes.push(job);
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
            while state.lanes.is_empty() {
                if state.ended {
                    return None;
                }
                state = self.arrived.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            state.callers = callers;
            let limits = budget.limits(state.cost.per_token());
            let lane = state.lanes.turn(limits);
            let share = state.lanes.tokens(lane).div_ceil(callers.max(1));
            let limits = Limits { tokens: limits.tokens.min(share), ..limits };
            let now = Instant::now();
            let Taken { batch, cancelled, expired } = state.lanes.take(lane, limits, now);
            // Dropping a job takes the lock to give up its place, so it must be free by then.
            drop(state);
            let dropped = [("cancelled", &cancelled), ("expired", &expired)];
            for (reason, jobs) in dropped.into_iter().filter(|(_, jobs)| !jobs.is_empty()) {
                counter!("klankbord_dropped_total", "reason" => reason)
                    .increment(jobs.len() as u64);
            }
            for job in expired {
                let _ = job.reply.send(Err(Unread::Expired));
            }
            for job in &batch {
                let wait = now.saturating_duration_since(job.since);
                histogram!("klankbord_queue_wait_seconds", "lane" => job.terms.lane.name())
                    .record(wait);
            }
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
    let waiting = state.messages as f64;
    let seconds = if state.rate > 0.0 { waiting / 2.0 / state.rate } else { 1.0 };
    Duration::from_secs_f64(seconds.clamp(0.05, 30.0))
}

#[cfg(test)]
mod tests;
