//! What a plugin on the way out is told: which cluster leads to which target, who is the caller, and which
//! headers carry credentials.

use core::time::Duration;

use attache_core::{header::HeaderName, origin::Origin};

use super::{
    edge,
    fields::{At, Fields},
};

/// Most targets of one plugin.
const MAX_TARGETS: usize = 1024;
/// Most injectable headers.
const MAX_HEADERS: usize = 32;

/// The settings of the way out.
#[derive(Debug)]
pub struct Outbound {
    /// The cluster of the edge.
    pub edge: String,
    /// Who calls.
    pub caller: CallerFrom,
    /// Which cluster leads where.
    pub targets: Vec<Target>,
    /// What becomes of a request whose cluster is none of the targets'.
    pub elsewhere: Elsewhere,
    /// The headers that any policy could inject: removed from every request, before anything else.
    pub inject: Vec<HeaderName>,
    /// How long a request waits for the edge at most.
    pub patience: Duration,
    /// How much memory kept answers may take in one VM, in bytes.
    pub memory: usize,
    /// The ring of accesses that wait to be recorded.
    pub audit: Audit,
}

/// Where the filter learns who calls.
#[derive(Debug)]
pub enum CallerFrom {
    /// The pod: the edge's listener speaks for it, and nothing that a request says counts.
    Pod,
    /// Each request shows it, on the listener of a gateway.
    Request {
        /// The headers that carry evidence on the edge's listener.
        headers: Vec<HeaderName>,
        /// Whether the peer's certificate counts.
        peer: PeerCertificate,
    },
}

/// Whether the certificate of the connection's peer is evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerCertificate {
    /// It is: the listener verifies it against a list of authorities.
    Verified,
    /// It is not.
    Ignored,
}

/// One cluster and the target behind it.
#[derive(Clone, Debug)]
pub struct Target {
    /// The Envoy cluster, by its whole name.
    pub cluster: String,
    /// The origin that it leads to.
    pub origin: Origin,
    /// The same as it is written.
    pub written: String,
}

/// What becomes of a request to a cluster that is bound to no target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Elsewhere {
    /// The edge is asked, which refuses and records it.
    Ask,
    /// It goes on without a credential.
    Pass,
}

/// How accesses that were answered from memory are recorded.
#[derive(Clone, Copy, Debug)]
pub struct Audit {
    /// Whether they are.
    pub accesses: Accesses,
    /// How much memory they may take until the edge acknowledged them, in bytes.
    pub memory: usize,
    /// What happens when there is no room.
    pub when_full: WhenFull,
}

/// Whether a request that was answered from memory stands in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accesses {
    /// Each of them does.
    Record,
    /// None does: the log has what the edge was asked, and nothing of how its answers were used.
    LeasesAlone,
}

/// What happens to a request whose access could not be recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// It ends with 503.
    Refuse,
    /// It goes on, and the loss is counted.
    Count,
}

#[inline(never)]
pub(super) fn read(fields: &Fields<'_>) -> Option<Outbound> {
    let edge_cluster = fields.required("edge", edge);
    let caller = fields.required("caller", caller);
    let targets = fields.required("targets", targets);
    let elsewhere = fields.or("elsewhere", Elsewhere::Ask, |at| {
        at.word(&[("ask", Elsewhere::Ask), ("pass", Elsewhere::Pass)])
    });
    let inject = fields.required("inject", headers);
    let patience = fields.or("patience_ms", 1000, |at| at.number(50, 10_000));
    let memory = fields.or("memory_bytes", 8 << 20, |at| at.number(1 << 20, 256 << 20));
    let audit = fields.or("audit", Audit::default(), audit);
    fields.finish();
    Some(Outbound {
        edge: edge_cluster?,
        caller: caller?,
        targets: targets?,
        elsewhere: elsewhere?,
        inject: inject?,
        patience: Duration::from_millis(patience?),
        memory: usize::try_from(memory?).ok()?,
        audit: audit?,
    })
}

impl Default for Audit {
    fn default() -> Self {
        Self {
            accesses: Accesses::Record,
            memory: 4 << 20,
            when_full: WhenFull::Refuse,
        }
    }
}

/// `{"pod": {}}` or `{"request": {"headers": […], "peer_certificate": "verified"}}`.
#[inline(never)]
fn caller(at: &At<'_>) -> Option<CallerFrom> {
    let fields = at.fields()?;
    let pod = fields.optional("pod", |at| {
        at.fields()?.finish();
        Some(CallerFrom::Pod)
    });
    let request = fields.optional("request", |at| {
        let fields = at.fields()?;
        let headers = fields.or("headers", Vec::new(), headers);
        let peer = fields.or("peer_certificate", PeerCertificate::Ignored, |at| {
            at.word(&[
                ("verified", PeerCertificate::Verified),
                ("ignored", PeerCertificate::Ignored),
            ])
        });
        fields.finish();
        let (headers, peer) = (headers?, peer?);
        if headers.is_empty() && peer == PeerCertificate::Ignored {
            return fields.problem("nothing would be evidence: name `headers`, or say that `peer_certificate` is `verified`");
        }
        Some(CallerFrom::Request { headers, peer })
    });
    fields.finish();
    if fields.has("pod") == fields.has("request") {
        return fields.problem("exactly one of `pod` and `request` says who calls");
    }
    pod.or(request)
}

#[inline(never)]
fn targets(at: &At<'_>) -> Option<Vec<Target>> {
    let targets = at.list(target)?;
    if targets.len() > MAX_TARGETS {
        return at.problem(&format!("at most {MAX_TARGETS} targets are taken"));
    }
    for (index, target) in targets.iter().enumerate() {
        let mut earlier = targets.iter().take(index);
        if earlier.any(|other| other.cluster == target.cluster) {
            return at.problem(&format!("the cluster `{}` stands twice", target.cluster));
        }
    }
    Some(targets)
}

#[inline(never)]
fn target(at: &At<'_>) -> Option<Target> {
    let fields = at.fields()?;
    let cluster = fields.required("cluster", |at| {
        let name = super::cluster(at)?;
        // SECURITY: where these lead is the client's word alone.
        if [
            "PassthroughCluster",
            "InboundPassthroughCluster",
            "BlackHoleCluster",
        ]
        .contains(&name.as_str())
        {
            return at.problem(&format!(
                "`{name}` leads wherever the client says; no credential goes there"
            ));
        }
        Some(name)
    });
    let origin = fields.required("target", |at| {
        let text = at.text()?;
        let origin = Origin::parse(text).map(|origin| (origin, text.to_owned()));
        origin.or_else(|| {
            at.problem(&format!(
                "`{text}` is no origin like `https://api.example.com`"
            ))
        })
    });
    fields.finish();
    let (origin, written) = origin?;
    Some(Target {
        cluster: cluster?,
        origin,
        written,
    })
}

fn headers(at: &At<'_>) -> Option<Vec<HeaderName>> {
    let headers = at.list(|at| {
        let parsed = HeaderName::parse_evidence(at.text()?);
        parsed
            .or_else(|invalid| at.problem(&invalid.to_string()).ok_or(()))
            .ok()
    })?;
    if headers.len() > MAX_HEADERS {
        return at.problem(&format!("at most {MAX_HEADERS} headers are taken"));
    }
    Some(headers)
}

#[inline(never)]
fn audit(at: &At<'_>) -> Option<Audit> {
    let fields = at.fields()?;
    let memory = fields.or("memory_bytes", 4 << 20, |at| at.number(65_536, 256 << 20));
    let when_full = fields.or("when_full", WhenFull::Refuse, |at| {
        at.word(&[("refuse", WhenFull::Refuse), ("count", WhenFull::Count)])
    });
    let accesses = fields.or("accesses", Accesses::Record, |at| {
        at.word(&[
            ("record", Accesses::Record),
            ("leases-alone", Accesses::LeasesAlone),
        ])
    });
    let needless = fields.has("memory_bytes") || fields.has("when_full");
    if accesses == Some(Accesses::LeasesAlone) && needless {
        return fields.problem(
            "where `accesses` is `leases-alone` nothing waits to be recorded: leave out `memory_bytes` and `when_full`",
        );
    }
    fields.finish();
    Some(Audit {
        accesses: accesses?,
        memory: usize::try_from(memory?).ok()?,
        when_full: when_full?,
    })
}
