//! gRPC: the only module that knows protobuf.
//!
//! The generated types (`pb`) stay in here: `convert` turns them into the domain's and back and is
//! where a client's bytes are checked, `status` is the one map from our errors to gRPC codes,
//! `access` admits calls, holds them to their deadlines and logs them, `connection` gives up on
//! silent clients, `health` answers health checks, and `server` ties these to the pipeline. It may
//! depend on the domain, the pipeline and the server's configuration.

mod access;
mod connection;
mod convert;
mod health;
#[doc(hidden)]
pub mod pb;
mod server;
mod status;

pub use convert::MAX_BATCH_MESSAGES;
pub use server::{ServeError, Served, run};
