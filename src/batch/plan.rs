//! Which messages go together. Pure: lengths, limits and costs in, groups out. Depends on nothing.

use std::time::Duration;

/// How much one batch may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most tokens in all. A longer message goes alone.
    pub tokens: usize,
    /// Most messages.
    pub messages: usize,
}

/// How long a batch may take, whatever the machine and the model.
///
/// A message that comes alone waits for at most one batch that is being read, then for its own; so
/// this is what the slowest of interactive answers are made of while others keep the cores busy.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Budget {
    /// Time for one batch.
    pub time: Duration,
    /// Fewest tokens, however slow the machine: less would waste its time on the weights.
    pub least: usize,
    /// Most tokens, however fast.
    pub most: usize,
    /// Most messages.
    pub messages: usize,
}

impl Budget {
    /// What fits, at `cost` a token; the fewest as long as nothing is measured.
    pub fn limits(&self, cost: Option<Duration>) -> Limits {
        let fit = |cost: Duration| self.time.as_secs_f64() / cost.as_secs_f64().max(1e-12);
        let tokens = cost.map_or(self.least, |cost| fit(cost) as usize);
        Limits { tokens: tokens.min(self.most).max(self.least), messages: self.messages }
    }
}

/// The cost of a token, from batches as they are read.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost(Option<f64>);

impl Cost {
    /// Takes into account that `tokens` took so long: one part in eight, so that a single slow batch
    /// (another process had the core) changes little.
    pub fn note(&mut self, tokens: usize, took: Duration) {
        let seconds = took.as_secs_f64() / tokens.max(1) as f64;
        self.0 = Some(self.0.map_or(seconds, |before| before + (seconds - before) / 8.0));
    }

    /// Of one token; `None` before the first batch.
    pub fn per_token(&self) -> Option<Duration> {
        self.0.map(Duration::from_secs_f64)
    }
}

/// Whether a message of `length` tokens goes with a batch that has so many `messages` and `tokens`.
///
/// The first one always does, so that every message gets its turn.
pub fn fits(messages: usize, tokens: usize, length: usize, limits: Limits) -> bool {
    messages == 0 || (messages < limits.messages && tokens.saturating_add(length) <= limits.tokens)
}

/// How many from the front of a queue, whose messages have these lengths, go together.
///
/// At least one if there is any, so that every message gets its turn.
pub fn front(lengths: impl IntoIterator<Item = usize>, limits: Limits) -> usize {
    let (mut tokens, mut count) = (0usize, 0);
    for length in lengths {
        if !fits(count, tokens, length, limits) {
            break;
        }
        tokens = tokens.saturating_add(length);
        count += 1;
    }
    count
}

/// Splits all messages into batches of like length: every index once, shortest first.
pub fn by_length(lengths: &[usize], limits: Limits) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.sort_by_key(|&index| lengths[index]);
    let mut batches = Vec::new();
    let mut rest = order.as_slice();
    while !rest.is_empty() {
        let (batch, tail) = rest.split_at(front(rest.iter().map(|&i| lengths[i]), limits));
        batches.push(batch.to_vec());
        rest = tail;
    }
    batches
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_message_goes_once_within_limits(
            lengths in prop::collection::vec(0usize..600, 0..200),
            tokens in 1usize..2000,
            messages in 1usize..64,
        ) {
            let limits = Limits { tokens, messages };
            let batches = by_length(&lengths, limits);
            let mut seen: Vec<usize> = batches.concat();
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..lengths.len()).collect::<Vec<_>>());
            for batch in &batches {
                let sum: usize = batch.iter().map(|&i| lengths[i]).sum();
                prop_assert!(!batch.is_empty() && batch.len() <= messages);
                prop_assert!(sum <= tokens || batch.len() == 1);
            }
            let sorted: Vec<usize> = batches.concat().iter().map(|&i| lengths[i]).collect();
            prop_assert!(sorted.is_sorted());
        }

        #[test]
        fn a_batch_takes_its_time_and_no_more(micros in 1u64..10_000, millis in 1u64..100) {
            let time = Duration::from_millis(millis);
            let budget = Budget { time, least: 4, most: 5_000, messages: 9 };
            let cost = Duration::from_micros(micros);
            let Limits { tokens, messages } = budget.limits(Some(cost));
            prop_assert_eq!(messages, 9);
            prop_assert!((4..=5_000).contains(&tokens));
            prop_assert!(tokens == 4 || cost * tokens as u32 <= time + Duration::from_micros(1));
            prop_assert!(tokens == 5_000 || cost * (tokens as u32 + 1) >= time);
        }

        #[test]
        fn cost_settles_on_what_is_measured(
            first in 1u64..1_000_000, then in 1u64..1_000_000, tokens in 1usize..500,
        ) {
            let mut cost = Cost::default();
            prop_assert_eq!(cost.per_token(), None);
            cost.note(tokens, Duration::from_micros(first));
            for _ in 0..120 {
                cost.note(tokens, Duration::from_micros(then));
            }
            let (found, truth) = (cost.per_token().unwrap().as_secs_f64(), then as f64 * 1e-6 / tokens as f64);
            prop_assert!((found - truth).abs() <= 2e-9 + truth * 0.2 , "{} {}", found, truth);
        }

        #[test]
        fn batches_are_as_full_as_they_may_be(
            lengths in prop::collection::vec(1usize..100, 2..100),
            tokens in 100usize..400,
        ) {
            let limits = Limits { tokens, messages: usize::MAX };
            for pair in by_length(&lengths, limits).windows(2) {
                let sum: usize = pair[0].iter().map(|&i| lengths[i]).sum();
                prop_assert!(sum + lengths[pair[1][0]] > tokens, "the next one would have fitted");
            }
        }
    }

    #[test]
    fn front_takes_a_long_message_alone_and_nothing_from_nothing() {
        let limits = Limits { tokens: 10, messages: 3 };
        assert_eq!(front([50, 1], limits), 1);
        assert_eq!(front([1, 1, 1, 1], limits), 3);
        assert_eq!(front([5, 5, 1], limits), 2);
        assert_eq!(front([], limits), 0);
    }
}
