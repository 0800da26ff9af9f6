//! Where the evidence of a call stands, and whose word counts for it.

use std::path::PathBuf;

use attache_core::{attestation::Agreement, header::HeaderName, spiffe_id::SpiffeId};

pub use crate::own_svid::OwnSvid;

/// Where the evidence of a call stands. It follows from the listener's role: the pod's own identity
/// serves only a `sidecar-outbound` listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EvidenceSource {
    /// Role `gateway`: each request brings its own.
    Request(RequestEvidence),
    /// Role `sidecar-outbound`: the edge speaks for one pod, whose projected token stands in this file.
    TokenFile(PathBuf),
    /// Role `sidecar-outbound`: the edge speaks for one pod, whose SVID a Workload API gives.
    WorkloadApi(OwnSvid),
}

/// What a request may bring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestEvidence {
    /// A token in this header.
    pub header: Option<HeaderName>,
    /// The certificate of Envoy's peer, and what proxies forward of theirs; `None` if neither counts.
    pub peer: Option<PeerRule>,
    /// When several pieces agree.
    pub agreement: Agreement,
}

/// Whose word on certificates counts. That such a rule stands on a listener declares that the Envoys which
/// ask there verify their clients' certificates against a SPIFFE bundle.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerRule {
    /// The proxies that may speak for their own clients, by `x-forwarded-client-cert`.
    pub proxies: Vec<SpiffeId>,
    /// The URI names one of which must stand in `By` of what a proxy wrote; any, if empty.
    pub written_by: Vec<String>,
    /// The SPIFFE IDs that Envoy and its proxies may name without showing a certificate. They prove nothing.
    pub names_unproven: Vec<IdPrefix>,
}

/// A SPIFFE ID and all that lie below it, by segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdPrefix(pub SpiffeId);

impl EvidenceSource {
    /// A token in a header of each request, and nothing else.
    pub const fn header(name: HeaderName) -> Self {
        Self::Request(RequestEvidence::header(name))
    }
}

impl RequestEvidence {
    /// A token in a header, and nothing else.
    pub const fn header(name: HeaderName) -> Self {
        Self {
            header: Some(name),
            peer: None,
            agreement: Agreement::OneWorkload,
        }
    }
}

impl IdPrefix {
    /// Whether the identifier is this one or lies below it.
    pub fn covers(&self, id: &SpiffeId) -> bool {
        let rest = id.as_str().strip_prefix(self.0.as_str());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}
