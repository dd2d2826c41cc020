//! Models: their files, the network, and what its numbers mean as labels.
//!
//! May depend on `machine`, `message` and `tokenise`, never on transport, queueing or the command line.

mod attend;
pub mod base;
pub mod bundle;
mod cursor;
pub mod encoder;
pub mod engine;
pub mod joined;
pub mod kernel;
pub mod labels;
pub mod net;
pub mod ops;
pub mod quantise;
mod rows;
mod scratch;
mod vector;
pub mod vocabulary;
pub mod weights;
pub mod windows;
mod words;
