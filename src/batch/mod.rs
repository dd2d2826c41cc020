//! Batching: which messages are read together, and when.
//!
//! `plan` decides, `lane` says who goes first, `queue` holds accepted messages, `worker` reads them. Batches form by
//! back-pressure: while one is read the next ones gather, and a lone message starts at once; there
//! is no timer. May depend on `tokenise` and `model`; never on transport or the command line.

pub mod lane;
pub mod plan;
pub mod queue;
pub mod worker;
