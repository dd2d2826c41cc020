//! Compiles `proto/` into the types of `src/rpc/pb.rs`, without `protoc`.
//!
//! Two things come out of it, both in `OUT_DIR`: Rust code, and the file descriptor set that server
//! reflection shows to clients. They differ in one place. Protobuf says that a `string` is UTF-8,
//! and the decoder refuses a whole request over one bad byte in one of its messages; a batch would
//! lose all its answers to one broken neighbour. So the code is generated as if the strings of
//! `klankbord.v1.Message` were `bytes`, which are the same on the wire, and `src/rpc/convert.rs`
//! checks them one message at a time. Clients, and reflection, keep seeing `string`.

use std::error::Error;
use std::path::{Path, PathBuf};

use prost_types::FileDescriptorSet;
use prost_types::field_descriptor_proto::Type;

const PACKAGE: &str = "klankbord.v1";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let out = PathBuf::from(std::env::var("OUT_DIR")?);

    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_imports(true).include_source_info(true);
    compiler.open_file(Path::new("klankbord/v1/klankbord.proto"))?;
    std::fs::write(out.join("klankbord.v1.bin"), compiler.encode_file_descriptor_set())?;

    let mut descriptors = compiler.file_descriptor_set();
    read_strings_as_bytes(&mut descriptors, "Message")?;
    tonic_prost_build::configure()
        .extern_path(".google.rpc", "::tonic_types::pb")
        // A derived `Debug` would print what people wrote; `src/rpc/pb.rs` has one that does not.
        .skip_debug(["klankbord.v1.Message"])
        .compile_fds(descriptors)?;
    Ok(())
}

/// Makes every `string` field of `message` a `bytes` field.
fn read_strings_as_bytes(set: &mut FileDescriptorSet, message: &str) -> Result<(), String> {
    let message = set
        .file
        .iter_mut()
        .filter(|file| file.package() == PACKAGE)
        .flat_map(|file| &mut file.message_type)
        .find(|candidate| candidate.name() == message)
        .ok_or_else(|| format!("no message {message} in {PACKAGE}"))?;
    for field in message.field.iter_mut().filter(|field| field.r#type() == Type::String) {
        field.set_type(Type::Bytes);
    }
    Ok(())
}
