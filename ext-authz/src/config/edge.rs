//! The section `edge`.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use attache_core::header::HeaderName;
use attache_edge::settings::{
    Bind, DestinationRule, EdgeSettings, Enforcement, EvidenceSource, ListenerSettings,
    OverrideHeaders, TlsBind, UnixBind, Unmatched,
};
use attache_policy::{
    problem::Code,
    yaml::{At, Fields},
};

use super::{address, layers::Section, path};

/// The header that carries evidence unless the configuration names another.
const EVIDENCE_HEADER: &str = "x-attache-evidence";

/// No chain of proxies is longer.
const MAX_HOPS: u64 = 16;

/// What a listener is for; it decides which evidence counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Gateway,
    SidecarOutbound,
}

pub(super) fn lower(mut section: Section<'_>, base: &Path) -> Option<(EdgeSettings, Duration)> {
    let name = section.or("name", "edge".to_owned(), |at| at.text().map(str::to_owned));
    let outcomes = [
        ("deny", Unmatched::Deny),
        ("pass-without-credential", Unmatched::PassWithoutCredential),
    ];
    let unmatched = section.or("unmatched", Unmatched::Deny, |at| at.one_of(&outcomes));
    let observe = section.or("observe", false, |at| at.boolean());
    let answer_within = section.or("answer_within", Duration::from_millis(400), |at| {
        at.duration(0..=60)
    });
    let drain = section.or("drain", Duration::from_secs(10), |at| at.duration(0..=600));
    let listeners = match section.field("listeners") {
        None => default_listener().map(|listener| vec![listener]),
        Some(list) => list
            .some_list(|at| listener(at, base))
            .and_then(|listeners| distinct(&list, listeners)),
    };
    let enforcement = if observe? {
        Enforcement::Observe
    } else {
        Enforcement::Enforce
    };
    let settings = EdgeSettings {
        name: name?,
        unmatched: unmatched?,
        enforcement,
        answer_within: answer_within?,
        listeners: listeners?,
    };
    Some((settings, drain?))
}

fn default_listener() -> Option<ListenerSettings> {
    Some(ListenerSettings {
        name: "egress".to_owned(),
        bind: Bind::Unix(UnixBind {
            path: PathBuf::from("/run/attache/ext_authz.sock"),
            mode: 0o600,
            group: None,
            allowed_uids: own_uid(),
        }),
        evidence: EvidenceSource::Header(HeaderName::parse_evidence(EVIDENCE_HEADER).ok()?),
        destination: DestinationRule::VouchedByRoute,
        trusted_hops: 0,
        override_headers: OverrideHeaders::Deny,
    })
}

fn own_uid() -> Vec<u32> {
    vec![rustix::process::getuid().as_raw()]
}

fn distinct(list: &At<'_>, listeners: Vec<ListenerSettings>) -> Option<Vec<ListenerSettings>> {
    for (index, listener) in listeners.iter().enumerate() {
        if listeners
            .iter()
            .take(index)
            .any(|earlier| earlier.name == listener.name)
        {
            let message = format!("two listeners are named {:?}", listener.name);
            return list.refuse(Code::DuplicateName, message);
        }
    }
    Some(listeners)
}

fn listener(at: &At<'_>, base: &Path) -> Option<ListenerSettings> {
    let mut fields = at.fields()?;
    let name = fields.required("name", |at| at.text().map(str::to_owned));
    let roles = [
        ("gateway", Role::Gateway),
        ("sidecar-outbound", Role::SidecarOutbound),
    ];
    let role = fields.required("role", |at| at.one_of(&roles));
    let bind = bind(&mut fields, base);
    let evidence = evidence(&mut fields, role, base);
    let rules = [
        ("vouched-by-route", DestinationRule::VouchedByRoute),
        ("as-requested", DestinationRule::AsRequested),
    ];
    let destination = fields.or("destination", DestinationRule::VouchedByRoute, |at| {
        at.one_of(&rules)
    });
    let trusted_hops = fields.or("trusted_hops", 0, |at| {
        let hops = at.integer(0..=MAX_HOPS)?;
        usize::try_from(hops).ok()
    });
    let overrides = [
        ("deny", OverrideHeaders::Deny),
        ("strip", OverrideHeaders::Strip),
    ];
    let override_headers = fields.or("override_headers", OverrideHeaders::Deny, |at| {
        at.one_of(&overrides)
    });
    Some(ListenerSettings {
        name: name?,
        bind: bind?,
        evidence: evidence?,
        destination: destination?,
        trusted_hops: trusted_hops?,
        override_headers: override_headers?,
    })
}

fn evidence(fields: &mut Fields<'_>, role: Option<Role>, base: &Path) -> Option<EvidenceSource> {
    let Some(at) = fields.field("evidence") else {
        return match role? {
            Role::Gateway => HeaderName::parse_evidence(EVIDENCE_HEADER)
                .ok()
                .map(EvidenceSource::Header),
            Role::SidecarOutbound => fields.at().refuse_with(
                Code::MissingField,
                "a sidecar-outbound listener needs the pod's token",
                "write evidence: { token_file: /var/run/secrets/attache/token }",
            ),
        };
    };
    let mut evidence = at.fields()?;
    let header = evidence.optional("header", |at| at.parse(HeaderName::parse_evidence))?;
    let file = evidence.optional("token_file", |at| path(at, base))?;
    match (role?, header, file) {
        (Role::Gateway, Some(header), None) => Some(EvidenceSource::Header(header)),
        (Role::SidecarOutbound, None, Some(file)) => Some(EvidenceSource::TokenFile(file)),
        // SECURITY: the pod's own identity must not serve callers that only share a gateway with it.
        (Role::Gateway, ..) => at.refuse_with(
            Code::ConflictingFields,
            "a gateway takes evidence from each request",
            "write evidence: { header: x-attache-evidence } and nothing else",
        ),
        (Role::SidecarOutbound, ..) => at.refuse_with(
            Code::ConflictingFields,
            "a sidecar-outbound listener speaks for one pod by its token file",
            "write evidence: { token_file: PATH } and nothing else",
        ),
    }
}

fn bind(fields: &mut Fields<'_>, base: &Path) -> Option<Bind> {
    let unix = fields.optional("unix", |at| path(at, base))?;
    let tcp = fields.optional("tcp", address)?;
    let mode = fields.or("mode", 0o600, mode)?;
    let group = fields.optional("group", id)?;
    let uids = fields.or("allowed_uids", own_uid(), |at| at.some_list(id))?;
    let tls = fields.field("tls");
    let plaintext = fields.or("plaintext", false, At::boolean)?;
    match (unix, tcp) {
        (Some(_), None) if tls.is_some() || plaintext => fields.at().refuse(
            Code::ConflictingFields,
            "`tls` and `plaintext` belong to `tcp`",
        ),
        (Some(path), None) => Some(Bind::Unix(UnixBind {
            path,
            mode,
            group,
            allowed_uids: uids,
        })),
        (None, Some(address)) => match (tls, plaintext) {
            (Some(at), false) => tls_bind(&at, address, base),
            (None, true) => Some(Bind::Plaintext(address)),
            (None, false) => fields.at().refuse_with(
                Code::MissingField,
                "a TCP listener gives credentials to whoever reaches it",
                "add `tls` with client_ca and allowed, or say `plaintext: true`",
            ),
            (Some(_), true) => fields.at().refuse(
                Code::ConflictingFields,
                "`tls` and `plaintext: true` exclude each other",
            ),
        },
        (None, None) | (Some(_), Some(_)) => fields.at().refuse(
            Code::ConflictingFields,
            "write exactly one of `unix` and `tcp`",
        ),
    }
}

fn tls_bind(at: &At<'_>, address: SocketAddr, base: &Path) -> Option<Bind> {
    let mut fields = at.fields()?;
    let certificate = fields.required("certificate", |at| path(at, base));
    let key = fields.required("key", |at| path(at, base));
    let client_ca = fields.required("client_ca", |at| path(at, base));
    let allowed = fields.required("allowed", |at| {
        at.some_list(|name| name.text().map(str::to_owned))
    });
    let (certificate, key, client_ca) = (certificate?, key?, client_ca?);
    Some(Bind::Tls(TlsBind {
        address,
        certificate,
        key,
        client_ca,
        allowed: allowed?,
    }))
}

/// A file mode as chmod writes it, quoted: `"0660"`.
fn mode(at: &At<'_>) -> Option<u32> {
    at.parse(|text| {
        u32::from_str_radix(text, 8)
            .ok()
            .filter(|mode| *mode <= 0o777)
            .ok_or_else(|| format!("{text:?} is not a file mode; write it quoted, like \"0660\""))
    })
}

/// A user or group by its number.
fn id(at: &At<'_>) -> Option<u32> {
    at.integer(0..=u64::from(u32::MAX))
        .and_then(|id| u32::try_from(id).ok())
}
