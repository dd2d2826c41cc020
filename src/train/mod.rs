//! Training: labelled records in, a model folder out.
//!
//! `corpus` reads and tokenises, `fit` runs the epochs with `loss` and `optimiser`, `checkpoint`
//! survives interruption, `tune` fits calibration and thresholds, `cross` says what they are worth. May depend on everything but
//! transport and queueing.

pub mod checkpoint;
pub mod compress;
pub mod corpus;
pub mod cross;
pub mod fit;
pub mod loss;
pub mod optimiser;
pub mod step;
mod triangle;
pub mod tune;
