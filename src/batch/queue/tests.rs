//! Tests of the queue: bounds, order, advice, deadlines. May depend on what the queue does.

use super::*;

fn tokens(count: usize) -> Tokens {
    Tokens::new(vec![1; count])
}

type Reply = oneshot::Receiver<Result<Logits, Unread>>;

fn push(queue: &Arc<Queue>, length: usize) -> Reply {
    let (reply, answer) = oneshot::channel();
    let permit = queue.admit(10, Lane::Interactive).ok().unwrap();
    let (terms, since) = (Terms::default(), Instant::now());
    queue.push(Job { tokens: tokens(length), reply, permit, terms, since });
    answer
}

const BOUNDS: Bounds =
    Bounds { messages: 3, bytes: 100, wait: [Duration::from_secs(1), Duration::MAX] };
const BUDGET: Budget = Budget { time: Duration::from_millis(10), least: 20, most: 40, messages: 8 };

#[test]
fn gives_out_in_order_within_limits_and_ends() {
    let queue = Queue::new(BOUNDS);
    let _answers: Vec<_> = [9, 10, 5].map(|n| push(&queue, n)).into();
    let lengths =
        |batch: Vec<Job>| -> Vec<usize> { batch.iter().map(|job| job.tokens.ids.len()).collect() };
    assert_eq!(queue.next(BUDGET, 1).map(lengths), Some(vec![9, 10]));
    queue.end();
    assert_eq!(queue.next(BUDGET, 1).map(lengths), Some(vec![5]));
    assert!(queue.next(BUDGET, 1).is_none());
    assert_eq!(queue.admit(1, Lane::Interactive).err(), Some(Refused::Closed));
}

#[test]
fn batches_grow_as_far_as_measured_cost_allows() {
    let queue = Queue::new(Bounds { messages: 100, bytes: 10_000, ..BOUNDS });
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
    let first = queue.admit(60, Lane::Interactive).ok();
    assert!(matches!(queue.admit(60, Lane::Interactive), Err(Refused::Full { .. })), "by bytes");
    let _rest = [queue.admit(20, Lane::Interactive).ok(), queue.admit(20, Lane::Interactive).ok()];
    queue.note((3, 30), Duration::from_secs(1), 1);
    let Err(Refused::Full { retry_after }) = queue.admit(0, Lane::Interactive) else {
        panic!("by messages")
    };
    assert_eq!(retry_after, Duration::from_millis(500));
    drop(first);
    assert!(queue.admit(20, Lane::Interactive).is_ok());
}

#[test]
fn a_message_larger_than_the_bound_is_accepted_alone() {
    let queue = Queue::new(BOUNDS);
    let large = queue.admit(1_000, Lane::Interactive);
    assert!(large.is_ok());
    assert!(matches!(queue.admit(1, Lane::Interactive), Err(Refused::Full { .. })));
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
    let permit = queue.admit(1, Lane::Interactive).ok().unwrap();
    let waiting = tokio::spawn({
        let queue = Arc::clone(&queue);
        async move { queue.idle().await }
    });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    drop(permit);
    waiting.await.unwrap();
}
#[test]
fn bulk_leaves_room_for_who_waits_for_an_answer() {
    let queue = Queue::new(Bounds { messages: 8, bytes: 800, ..BOUNDS });
    let _bulk: Vec<_> = (0..7).map(|_| queue.admit(1, Lane::Bulk).ok().unwrap()).collect();
    assert!(matches!(queue.admit(1, Lane::Bulk), Err(Refused::Full { .. })));
    let _one = queue.admit(1, Lane::Interactive).ok().unwrap();
    assert!(matches!(queue.admit(1, Lane::Interactive), Err(Refused::Full { .. })));
}

#[test]
fn a_call_that_would_wait_too_long_is_told_how_much_too_long() {
    let queue = Queue::new(Bounds { messages: 100, bytes: 1 << 20, ..BOUNDS });
    let bulk = queue.admit(30_000, Lane::Bulk).ok().unwrap();
    let interactive = queue.admit(9_000, Lane::Interactive).ok().unwrap();
    assert_eq!(queue.ready(Lane::Interactive), Ok(()), "nothing is measured yet");
    queue.note((1, 1), Duration::from_millis(1), 1);
    interactive.measured(3_000);
    let retry_after = Duration::from_secs(2);
    assert_eq!(queue.ready(Lane::Interactive), Err(Refused::Full { retry_after }));
    assert_eq!(queue.ready(Lane::Bulk), Ok(()));
    interactive.measured(900);
    assert_eq!(queue.ready(Lane::Interactive), Ok(()), "bulk is not in its way");
    drop((bulk, interactive));
    assert_eq!(queue.lock().tokens, [0, 0]);
}
