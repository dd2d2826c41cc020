//! The types generated from `proto/klankbord/v1`, and the descriptors that reflection shows.
//!
//! Private to the crate's gRPC side, but for tests and clients written in Rust. The strings of
//! [`Message`] are bytes here: `build.rs` tells why.

#![allow(clippy::all, clippy::pedantic, missing_docs, rustdoc::all)]

use std::fmt;

tonic::include_proto!("klankbord.v1");

/// The encoded `google.protobuf.FileDescriptorSet` of the contract, imports included.
pub const FILE_DESCRIPTOR_SET: &[u8] =
    include_bytes!(concat!(env!("OUT_DIR"), "/klankbord.v1.bin"));

/// Shows sizes only: what people wrote must not reach logs by way of `{:?}`.
impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("text_bytes", &self.text.len())
            .field("context_bytes", &self.context.len())
            .finish_non_exhaustive()
    }
}
