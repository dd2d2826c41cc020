//! What the machine itself is asked for: tiles and vectors of the CPU, files in memory, the heap.
//!
//! The only place in the crate where `unsafe` is allowed (`tests/layout.rs` holds that); every block
//! says why it is sound, and every function that leaves here is safe to call with any arguments.
//! Depends on nothing in the crate.

#![allow(unsafe_code)]

pub mod amx;
pub mod bf16;
pub mod heap;
mod lines;
pub mod map;
pub mod vnni;

pub use lines::Lines;
