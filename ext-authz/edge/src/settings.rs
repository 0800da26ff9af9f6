//! What the configuration says about an edge, already understood: the binary reads the file.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

mod evidence;

pub use evidence::{EvidenceSource, IdPrefix, OwnSvid, PeerRule, RequestEvidence};

/// One edge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EdgeSettings {
    /// The edge's name in audit events.
    pub name: String,
    /// What happens to a request that no policy matches.
    pub unmatched: Unmatched,
    /// Whether decisions are carried out.
    pub enforcement: Enforcement,
    /// How long a decision may take.
    pub answer_within: Duration,
    /// How many calls may wait for their answers at once.
    pub max_calls_in_flight: usize,
    /// The ports that Envoy calls.
    pub listeners: Vec<ListenerSettings>,
}

/// What happens to a request that no policy matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unmatched {
    /// It is denied.
    Deny,
    /// It goes on as it is, without a credential, and is audited.
    PassWithoutCredential,
}

/// Whether decisions are carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enforcement {
    /// They are.
    Enforce,
    /// Everything is decided and audited, nothing is denied and nothing injected.
    Observe,
}

/// One port that Envoy calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerSettings {
    /// Its name in audit events.
    pub name: String,
    /// Where it listens and who may call.
    pub bind: Bind,
    /// Where the evidence of a call stands.
    pub evidence: EvidenceSource,
    /// How the destination of a call is known.
    pub destination: DestinationRule,
    /// How many proxies of ours stand before Envoy, so that the caller's address is that many from the right
    /// of `x-forwarded-for`. 0: it is the peer of Envoy's connection.
    pub trusted_hops: usize,
    /// What happens to headers by which a client overrides method or path.
    pub override_headers: OverrideHeaders,
}

/// Where a listener listens and who may call it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bind {
    /// A unix socket; the kernel names the peer.
    Unix(UnixBind),
    /// TCP with mutual TLS.
    Tls(TlsBind),
    /// TCP without protection: whoever reaches it gets credentials.
    Plaintext(SocketAddr),
}

/// A unix socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnixBind {
    /// Its path.
    pub path: PathBuf,
    /// Its file mode.
    pub mode: u32,
    /// The group that owns it, by number; the process's own if `None`.
    pub group: Option<u32>,
    /// The user ids that may call.
    pub allowed_uids: Vec<u32>,
}

/// TCP with mutual TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsBind {
    /// Where it listens.
    pub address: SocketAddr,
    /// Our certificate chain, PEM.
    pub certificate: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
    /// The authorities that issue the callers' certificates, PEM.
    pub client_ca: PathBuf,
    /// The URI and DNS names, any one of which a caller's certificate must carry.
    pub allowed: Vec<String>,
}

/// What happens to a request with a header by which some applications take another method or path than the
/// one that policy saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OverrideHeaders {
    /// It is denied.
    Deny,
    /// The header is removed.
    Strip,
}

/// How the destination of a call is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DestinationRule {
    /// Envoy's route names it (`context_extensions`, key `attache.target`), and the client's `Host` must agree.
    VouchedByRoute,
    /// The client's `Host` is taken for it: only where Envoy verifies the upstream against that name.
    AsRequested,
}
