//! gRPC: the only module that knows protobuf.
//!
//! The generated types (`pb`) stay in here: `convert` turns them into the domain's and back and is
//! where a client's bytes are checked, `reading` takes a message to its verdict, `status` is the one map from our errors to gRPC codes,
//! `access` admits calls and holds them to their deadlines, `call` is one of them and logs itself, `guard` and `tls` say who comes in,
//! `connection` gives up on silent clients, `health` answers health checks, `tally` counts labels, `routing` says
//! whether there is a crisis, `feedback` takes corrections, and `server` ties these to the pipeline. It may
//! depend on the domain, the pipeline and the server's configuration.

mod access;
mod call;
mod connection;
mod convert;
mod feedback;
mod guard;
mod health;
mod kpi;
#[doc(hidden)]
pub mod pb;
mod reading;
mod routing;
mod server;
mod status;
mod tally;
mod tls;

pub use convert::{MAX_BATCH_MESSAGES, check_request};
pub use guard::{Guard, GuardError};
pub use server::{ServeError, Served, Serving, run};
pub use tls::TlsError;
