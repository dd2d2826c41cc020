//! Which messages go together. Pure: lengths and limits in, groups out. Depends on nothing.

/// How much one batch may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most tokens in all. A longer message goes alone.
    pub tokens: usize,
    /// Most messages.
    pub messages: usize,
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
