//! Messages, services and descriptors generated from `proto/`: here `lfbm.v1`, and the Open
//! Inference Protocol in [`inference`].

#![forbid(unsafe_code)]
// What prost generates: a score is larger than an error, and boxes would be part of the interface.
#![allow(missing_docs, clippy::doc_markdown, clippy::large_enum_variant)]

tonic::include_proto!("lfbm.v1");

/// The name of an enumeration's value without what all of its values begin with, in small letters, as JSON has it;
/// none for the unspecified one.
pub fn short_name(name: &str, prefix: &str) -> Option<String> {
    let name = name.strip_prefix(prefix)?;
    (name != "UNSPECIFIED").then(|| name.to_ascii_lowercase())
}

/// The Open Inference Protocol.
pub mod inference {
    tonic::include_proto!("inference");
}

/// The encoded `FileDescriptorSet` of both, for server reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
