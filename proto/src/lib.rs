//! Attaché's own protocols as Rust types, made from `attache/**/*.proto`, where every field is documented.

/// `attache.access.v1`: may this workload make this call?
pub mod access {
    /// Version 1.
    pub mod v1 {
        include!(concat!(env!("OUT_DIR"), "/attache.access.v1.rs"));
    }
}

/// All descriptors, for gRPC reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.binpb"));
