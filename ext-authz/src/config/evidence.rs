//! `evidence` of a listener: where it stands, and whose word counts for it.

use std::path::Path;

use attache_core::{
    attestation::Agreement, audience::is_audience, header::HeaderName, spiffe_id::SpiffeId,
};
use attache_edge::settings::{Bind, EvidenceSource, IdPrefix, OwnSvid, PeerRule, RequestEvidence};
use attache_policy::{
    problem::Code,
    yaml::{At, Fields},
};

use super::path;

/// The header that carries evidence unless the configuration names another.
const HEADER: &str = "x-attache-evidence";

/// The audience of trust providers that name none.
const AUDIENCE: &str = "attache";

/// What a listener is for; it decides which evidence counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Gateway,
    SidecarOutbound,
}

/// What counts on a gateway that says nothing of it: a token in our header.
pub(super) fn usual() -> Option<EvidenceSource> {
    let name = HeaderName::parse_evidence(HEADER).ok()?;
    Some(EvidenceSource::header(name))
}

/// Reads the field of a listener.
pub(super) fn evidence(
    fields: &mut Fields<'_>,
    role: Option<Role>,
    bind: Option<&Bind>,
    base: &Path,
) -> Option<EvidenceSource> {
    let Some(at) = fields.field("evidence") else {
        return match role? {
            Role::Gateway => usual(),
            Role::SidecarOutbound => fields.at().refuse_with(
                Code::MissingField,
                "a sidecar-outbound listener needs the pod's own evidence",
                "write evidence: { token_file: /var/run/secrets/attache/token }",
            ),
        };
    };
    match role? {
        Role::Gateway => of_requests(&at, bind),
        Role::SidecarOutbound => of_the_pod(&at, base),
    }
}

fn of_requests(at: &At<'_>, bind: Option<&Bind>) -> Option<EvidenceSource> {
    let mut fields = at.fields()?;
    let header = fields.optional("header", |at| at.parse(HeaderName::parse_evidence));
    let peer = fields.optional("peer", |at| peer(at, bind));
    let agreements = [
        ("one-workload", Agreement::OneWorkload),
        ("named-by-policy", Agreement::NamedByPolicy),
    ];
    let agreement = fields.or("agreement", Agreement::OneWorkload, |at| {
        at.one_of(&agreements)
    });
    // SECURITY: the pod's own identity must not serve callers that only share a gateway with it.
    for own in ["token_file", "workload_api"] {
        if let Some(at) = fields.field(own) {
            return at.refuse_with(
                Code::ConflictingFields,
                "a gateway takes evidence from each request",
                "write `header`, `peer` or both",
            );
        }
    }
    let (header, peer, agreement) = (header?, peer?, agreement?);
    if header.is_none() && peer.is_none() {
        return at.refuse_with(
            Code::MissingField,
            "no evidence would count",
            "write evidence: { header: x-attache-evidence }, or `peer`, or both",
        );
    }
    Some(EvidenceSource::Request(RequestEvidence {
        header,
        peer,
        agreement,
    }))
}

fn peer(at: &At<'_>, bind: Option<&Bind>) -> Option<PeerRule> {
    let mut fields = at.fields()?;
    let verified = fields.required("envoy_verifies_spiffe", |at| {
        if at.boolean()? {
            return Some(());
        }
        at.refuse_with(
            Code::InvalidValue,
            "certificates that Envoy does not verify prove nothing",
            "have Envoy verify its clients against a SPIFFE bundle, or leave `peer` out",
        )
    });
    let proxies = fields.or("proxies", Vec::new(), |at| at.some_list(workload));
    let written_by = fields.or("written_by", Vec::new(), |at| {
        at.some_list(|at| at.text().map(str::to_owned))
    });
    let names_unproven = fields.or("names_unproven", Vec::new(), |at| {
        at.some_list(|at| at.parse(SpiffeId::parse).map(IdPrefix))
    });
    if matches!(bind, Some(Bind::Plaintext(_))) {
        return at.refuse_with(
            Code::ConflictingFields,
            "on plaintext TCP anybody can say which certificate Envoy saw",
            "listen on a unix socket, or on TCP with `tls`",
        );
    }
    verified?;
    Some(PeerRule {
        proxies: proxies?,
        written_by: written_by?,
        names_unproven: names_unproven?,
    })
}

/// The SPIFFE ID of a workload, not of a whole trust domain.
fn workload(at: &At<'_>) -> Option<SpiffeId> {
    let id = at.parse(SpiffeId::parse)?;
    if id.path().is_empty() {
        return at.refuse_with(
            Code::InvalidValue,
            format!("{id} is a trust domain, not a workload"),
            "name the proxy itself: spiffe://cluster.local/ns/edge/sa/gateway",
        );
    }
    Some(id)
}

fn of_the_pod(at: &At<'_>, base: &Path) -> Option<EvidenceSource> {
    let mut fields = at.fields()?;
    let file = fields.optional("token_file", |at| path(at, base));
    let agent = fields.optional("workload_api", |at| workload_api(at, base));
    for foreign in ["header", "peer", "agreement"] {
        if let Some(at) = fields.field(foreign) {
            return at.refuse_with(
                Code::ConflictingFields,
                "a sidecar-outbound listener speaks for one pod; what a request says of itself does not count",
                "write evidence: { token_file: PATH } and nothing else",
            );
        }
    }
    match (file?, agent?) {
        (Some(file), None) => Some(EvidenceSource::TokenFile(file)),
        (None, Some(own)) => Some(EvidenceSource::WorkloadApi(own)),
        (None, None) => at.refuse_with(
            Code::MissingField,
            "a sidecar-outbound listener needs the pod's own evidence",
            "write evidence: { token_file: /var/run/secrets/attache/token }, or `workload_api`",
        ),
        (Some(_), Some(_)) => at.refuse(
            Code::ConflictingFields,
            "`token_file` and `workload_api` exclude each other",
        ),
    }
}

/// Which SVID a Workload API is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Svid {
    Jwt,
    X509,
}

/// The agent that gives the pod its SVID.
fn workload_api(at: &At<'_>, base: &Path) -> Option<OwnSvid> {
    let mut fields = at.fields()?;
    let socket = fields.required("socket", |at| path(at, base));
    let svid = fields.or("svid", Svid::Jwt, |at| {
        at.one_of(&[("jwt", Svid::Jwt), ("x509", Svid::X509)])
    });
    let audience = fields.or("audience", AUDIENCE.to_owned(), |at| {
        if svid == Some(Svid::X509) {
            return at.refuse_with(
                Code::ConflictingFields,
                "a certificate is made for nobody in particular",
                "leave `audience` out, or write `svid: jwt`",
            );
        }
        let audience = at.text()?;
        if is_audience(audience) {
            return Some(audience.to_owned());
        }
        at.refuse(Code::InvalidValue, format!("{audience:?} is no audience"))
    });
    let id = fields.optional("spiffe_id", workload);
    let (socket, audience, id) = (socket?, audience?, id?);
    Some(match svid? {
        Svid::Jwt => OwnSvid::jwt(socket, audience, id),
        Svid::X509 => OwnSvid::x509(socket, id),
    })
}
