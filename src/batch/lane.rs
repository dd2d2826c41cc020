//! The two lanes in which accepted messages wait, and which of them goes next.
//!
//! Interactive work goes first. Bulk does not starve: while both wait, of the tokens that are read at least
//! one in [`BULK_SHARE`] is bulk's, give or take a batch. Within a lane it is first come, first served.
//! May depend on: `batch::plan`, `batch::queue`.

use std::collections::VecDeque;
use std::time::Instant;

use super::plan::{Limits, fits};
use super::queue::Job;

/// One in so many tokens is bulk's, at least, while both lanes wait.
pub const BULK_SHARE: usize = 5;

/// How soon an answer is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Lane {
    /// Somebody, or a router, waits for it.
    #[default]
    Interactive,
    /// One of many, for a file or a stream.
    Bulk,
}

impl Lane {
    /// Name as in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Lane::Interactive => "interactive",
            Lane::Bulk => "bulk",
        }
    }
}

/// On what terms a message is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    pub lane: Lane,
    /// When its answer is of no more use.
    pub deadline: Option<Instant>,
}

/// What came off the lanes.
#[derive(Default)]
pub(super) struct Taken {
    /// What is to be read together.
    pub batch: Vec<Job>,
    /// What nobody waits for any more.
    pub cancelled: Vec<Job>,
    /// What is wanted no more, since its deadline has passed.
    pub expired: Vec<Job>,
}

#[derive(Default)]
struct Line {
    jobs: VecDeque<Job>,
    /// Tokens of those jobs.
    tokens: usize,
}

/// Jobs that wait.
#[derive(Default)]
pub(super) struct Lanes {
    lines: [Line; 2],
    /// Interactive tokens that were read while bulk waited, and that bulk has not made up for yet.
    owed: usize,
}

impl Lanes {
    pub fn push(&mut self, job: Job) {
        let line = &mut self.lines[job.terms.lane as usize];
        line.tokens += job.tokens.ids.len();
        line.jobs.push_back(job);
    }

    pub fn is_empty(&self) -> bool {
        self.lines.iter().all(|line| line.jobs.is_empty())
    }

    /// Tokens that wait in a lane.
    pub fn tokens(&self, lane: Lane) -> usize {
        self.lines[lane as usize].tokens
    }

    /// The lane that the next batch, of at most so much, comes from.
    pub fn turn(&self, limits: Limits) -> Lane {
        let [interactive, bulk] = &self.lines;
        let due = (BULK_SHARE - 1) * limits.tokens.min(bulk.tokens);
        match (interactive.jobs.is_empty(), bulk.jobs.is_empty()) {
            (false, true) => Lane::Interactive,
            (false, false) if self.owed < due => Lane::Interactive,
            _ => Lane::Bulk,
        }
    }

    /// The next batch of a lane, within `limits`; empty where all that waited there is wanted no more.
    pub fn take(&mut self, lane: Lane, limits: Limits, now: Instant) -> Taken {
        let line = &mut self.lines[lane as usize];
        let (mut taken, mut tokens) = (Taken::default(), 0);
        while let Some(job) = line.jobs.front() {
            let length = job.tokens.ids.len();
            let cancelled = job.reply.is_closed();
            let expired = job.terms.deadline.is_some_and(|deadline| deadline <= now);
            if !cancelled && !expired && !fits(taken.batch.len(), tokens, length, limits) {
                break;
            }
            line.tokens -= length;
            let Some(job) = line.jobs.pop_front() else { break };
            if expired {
                taken.expired.push(job);
            } else if cancelled {
                taken.cancelled.push(job);
            } else {
                tokens += length;
                taken.batch.push(job);
            }
        }
        let bulk_waits = !self.lines[Lane::Bulk as usize].jobs.is_empty();
        self.owed = match lane {
            _ if !bulk_waits => 0,
            Lane::Interactive => self.owed.saturating_add(tokens),
            Lane::Bulk => self.owed.saturating_sub((BULK_SHARE - 1) * tokens),
        };
        taken
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use proptest::prelude::*;
    use tokio::sync::oneshot;

    use super::super::queue::{Bounds, Queue};
    use super::*;
    use crate::tokenise::Tokens;

    const MANY: Bounds =
        Bounds { messages: usize::MAX, bytes: usize::MAX, wait: [Duration::MAX; 2] };

    /// A job of so many tokens; its answer is waited for as long as the test lives.
    fn job(queue: &Arc<Queue>, tokens: usize, terms: Terms) -> Job {
        let (reply, answer) = oneshot::channel();
        std::mem::forget(answer);
        let permit = queue.admit(0, terms.lane).ok().unwrap();
        Job { tokens: Tokens::new(vec![1; tokens]), reply, permit, terms, since: Instant::now() }
    }

    fn lane(lane: Lane) -> Terms {
        Terms { lane, deadline: None }
    }

    /// Tokens of the next batch, and its lane.
    fn next(lanes: &mut Lanes, limits: Limits) -> (Lane, usize) {
        let lane = lanes.turn(limits);
        let taken = lanes.take(lane, limits, Instant::now());
        assert!(taken.batch.iter().all(|job| job.terms.lane == lane));
        (lane, taken.batch.iter().map(|job| job.tokens.ids.len()).sum())
    }

    proptest! {
        /// Both lanes never run dry: bulk gets its part and no more than that, whatever the lengths.
        #[test]
        fn bulk_gets_its_part_and_interactive_the_rest(
            lengths in prop::collection::vec((1usize..60, 1usize..60), 40..80),
            most in 60usize..400,
        ) {
            let queue = Queue::new(MANY);
            let mut lanes = Lanes::default();
            let limits = Limits { tokens: most, messages: usize::MAX };
            let mut read = [0usize; 2];
            for round in 0..200 {
                for (interactive, bulk) in &lengths[round % 20..round % 20 + 20] {
                    lanes.push(job(&queue, *interactive, lane(Lane::Interactive)));
                    lanes.push(job(&queue, *bulk, lane(Lane::Bulk)));
                }
                let (lane, tokens) = next(&mut lanes, limits);
                prop_assert!(round > 0 || lane == Lane::Interactive, "interactive goes first");
                read[lane as usize] += tokens;
                let fair = (read[0] + read[1]) as f64 / BULK_SHARE as f64;
                let gap = read[Lane::Bulk as usize] as f64 - fair;
                prop_assert!(gap.abs() <= most as f64, "{:?} after {}", read, round);
            }
        }
    }

    #[test]
    fn bulk_alone_has_it_all_and_owes_nothing_for_it() {
        let queue = Queue::new(MANY);
        let mut lanes = Lanes::default();
        let limits = Limits { tokens: 10, messages: 10 };
        for _ in 0..3 {
            lanes.push(job(&queue, 10, lane(Lane::Bulk)));
        }
        assert_eq!(next(&mut lanes, limits), (Lane::Bulk, 10));
        assert_eq!(next(&mut lanes, limits), (Lane::Bulk, 10));
        lanes.push(job(&queue, 10, lane(Lane::Interactive)));
        assert_eq!(next(&mut lanes, limits), (Lane::Interactive, 10), "it need not wait");
        assert_eq!(next(&mut lanes, limits), (Lane::Bulk, 10));
        assert!(lanes.is_empty());
    }

    #[test]
    fn what_is_late_or_given_up_costs_nothing() {
        let queue = Queue::new(MANY);
        let mut lanes = Lanes::default();
        let limits = Limits { tokens: 10, messages: 10 };
        let now = Instant::now();
        let due = |after| Terms { deadline: Some(now + after), ..Terms::default() };
        lanes.push(job(&queue, 9, due(Duration::ZERO)));
        let mut given_up = job(&queue, 9, Terms::default());
        given_up.reply = oneshot::channel().0;
        lanes.push(given_up);
        lanes.push(job(&queue, 8, due(Duration::from_secs(60))));
        let taken = lanes.take(Lane::Interactive, limits, now);
        let lengths = |jobs: &[Job]| jobs.iter().map(|j| j.tokens.ids.len()).collect::<Vec<_>>();
        assert_eq!((taken.expired.len(), taken.cancelled.len()), (1, 1));
        assert_eq!(lengths(&taken.batch), [8]);
        assert!(lanes.is_empty() && lanes.tokens(Lane::Interactive) == 0);
    }
}
