//! Klankbord reads customer messages and says what they are and how they feel.
//!
//! Map of the house (who may use whom is held by `tests/layout.rs`):
//! - [`message`]: the domain, which depends on nothing;
//! - [`tokenise`], [`language`]: from text to what a model reads, and which language it is;
//! - [`document`], [`reading`]: what of a text is the sender's own, and in which pieces it is read;
//! - [`machine`]: tiles and vectors of the CPU, mapped files, the heap: the only `unsafe` code;
//! - [`model`]: models on disk, the network, and what its numbers mean as labels;
//! - [`batch`]: which messages are read together, and when;
//! - [`pipeline`]: the one way by which anything is classified;
//! - [`explain`]: what each word adds to a label;
//! - [`route`]: what is to be done with a message, by a policy over its verdict;
//! - [`feedback`]: corrections of verdicts, kept;
//! - [`kpi`]: counts for those who report, and when they look like a crisis;
//! - [`report`]: the monthly report as a page;
//! - [`rpc`]: the only place that knows protobuf and gRPC;
//! - [`record`]: messages and their labels on disk (JSON lines, CSV);
//! - [`perturb`]: the same message written another way;
//! - [`eval`]: how good the verdicts are, given the labels;
//! - [`train`]: labelled messages to a model;
//! - [`config`]: the server's configuration, valid by construction;
//! - [`bearer`]: who may call;
//! - [`telemetry`]: logs and metrics, which never show what people wrote;
//! - [`admin`]: metrics and probes over HTTP;
//! - [`cli`]: one file a subcommand.
//!
//! A message's verdict does not depend on its batch: no padding, and every product sums in an order
//! that its neighbours do not change.

#![deny(unsafe_code)]

pub mod admin;
pub mod batch;
pub mod bearer;
pub mod cli;
pub mod config;
pub mod document;
pub mod eval;
pub mod explain;
pub mod feedback;
pub mod kpi;
pub mod language;
pub mod machine;
pub mod message;
pub mod model;
pub mod perturb;
pub mod pipeline;
pub mod reading;
pub mod record;
pub mod report;
pub mod route;
pub mod rpc;
pub mod telemetry;
pub mod tokenise;
pub mod train;
