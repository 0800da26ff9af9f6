//! Attaché's own protocols and the SPIFFE Workload API as Rust types, made from `attache/**/*.proto` and
//! `spiffe/*.proto`, where every field is documented.

/// `attache.access.v1`: may this workload make this call?
pub mod access {
    /// Version 1.
    pub mod v1 {
        include!(concat!(env!("OUT_DIR"), "/attache.access.v1.rs"));
    }
}

/// `attache.token.v1`: answers that may be kept, for a client in the proxy.
pub mod token {
    /// Version 1.
    pub mod v1 {
        include!(concat!(env!("OUT_DIR"), "/attache.token.v1.rs"));
    }
}

/// The SPIFFE Workload API, which has no package.
pub mod spiffe {
    include!(concat!(env!("OUT_DIR"), "/_.rs"));
}

/// The descriptors of our own protocols, for gRPC reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.binpb"));
