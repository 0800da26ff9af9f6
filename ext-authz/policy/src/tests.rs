//! The crate as its users meet it: text in, decisions and problems out.

mod attestation;
mod certainty;
mod conditions;
mod decisions;
mod names;
mod page;
mod reference;
mod seeds;
mod svids;
mod told;

use attache_core::{
    attestation::{Agreement, Attestation, Proven, ProviderKind},
    attributes::{AttributeValue, Attributes},
    request::{Host, Request, RequestPath, Transport},
    spiffe_id::{SpiffeId, TrustDomain},
    time::Timestamp,
};

use crate::{Compiled, Context, Decision, Problems, Settings, Source, compile};

/// When every test decides.
const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

/// What most sets stand on.
const CLUSTER: &str = "
apiVersion: attache.dev/v1
kind: TrustProvider
metadata: {name: cluster}
spec:
  type: kubernetes-service-account
  issuer: https://kubernetes.default.svc.cluster.local
---
apiVersion: attache.dev/v1
kind: TrustProvider
metadata: {name: forge}
spec: {type: oidc, issuer: https://token.forge.example}
---
";

fn settings() -> Settings {
    let trust_domain = TrustDomain::parse("cluster.local").expect("a trust domain");
    Settings {
        trust_domain,
        trust_providers: Vec::new(),
    }
}

fn source(name: &str, text: &str) -> Source {
    Source {
        name: name.to_owned(),
        text: text.as_bytes().to_vec(),
    }
}

pub(crate) fn compiled(text: &str) -> Compiled {
    compile(&[source("set.yaml", text)], &settings())
        .unwrap_or_else(|problems| panic!("the set is refused:\n{problems}"))
}

fn refused(text: &str) -> Problems {
    match compile(&[source("set.yaml", text)], &settings()) {
        Ok(_) => panic!("the set is accepted"),
        Err(problems) => problems,
    }
}

/// A pod whose token the provider `cluster` verified.
pub(crate) fn pod(namespace: &str, account: &str) -> Attestation {
    let mut attributes = Attributes::new();
    attributes.set("k8s.namespace", namespace);
    attributes.set("k8s.serviceAccount", account);
    let domain = TrustDomain::parse("cluster.local").expect("a trust domain");
    let segments = ["ns", namespace, "sa", account];
    let spiffe_id = SpiffeId::of(&domain, segments).expect("a SPIFFE ID");
    let kind = ProviderKind::KubernetesServiceAccount;
    proven("cluster", kind, spiffe_id, attributes)
}

/// The same caller, whose evidence expires at `expiry`.
fn expiring(attestation: &Attestation, expires_at: Timestamp) -> Attestation {
    let mut proofs = attestation.proofs().map(|proof| {
        let (id, attributes) = (proof.spiffe_id.clone(), proof.attributes.clone());
        proven_until(&proof.provider, proof.kind, id, attributes, expires_at)
    });
    let first = proofs.next().expect("a proof");
    let others: Vec<Attestation> = proofs.collect();
    let together = first.together(&others, Agreement::NamedByPolicy);
    together.expect("evidence that agrees")
}

/// A workload whose token the provider `forge` verified.
fn build_job(claims: &[(&str, AttributeValue)]) -> Attestation {
    let mut attributes = Attributes::new();
    for (name, value) in claims {
        attributes.insert(format!("claims.{name}"), value.clone());
    }
    let spiffe_id = SpiffeId::parse("spiffe://cluster.local/forge/job").expect("a SPIFFE ID");
    proven("forge", ProviderKind::Oidc, spiffe_id, attributes)
}

pub(crate) fn proven(
    provider: &str,
    kind: ProviderKind,
    spiffe_id: SpiffeId,
    attributes: Attributes,
) -> Attestation {
    let expires_at = Timestamp::from_seconds(1_800_000_600);
    proven_until(provider, kind, spiffe_id, attributes, expires_at)
}

#[expect(
    clippy::disallowed_methods,
    reason = "a decision starts from an attestation, and no evidence is read here"
)]
fn proven_until(
    provider: &str,
    kind: ProviderKind,
    spiffe_id: SpiffeId,
    attributes: Attributes,
    expires_at: Timestamp,
) -> Attestation {
    Attestation::attested(Proven {
        provider: provider.into(),
        kind,
        spiffe_id,
        attributes,
        expires_at,
    })
}

/// Decides `GET https://host:port/path` and says the outcome in one line.
fn ask(set: &Compiled, caller: &Attestation, call: &str) -> String {
    let (method, url) = call.split_once(' ').expect("a method and a URL");
    let (scheme, rest) = url.split_once("://").expect("a scheme");
    let at = rest.find('/').expect("a path");
    let (authority, path) = rest.split_at(at);
    let (transport, usual) = match scheme {
        "https" => (Transport::Tls, 443),
        _ => (Transport::Plaintext, 80),
    };
    let (host, port) = match authority.split_once(':') {
        Some((host, port)) => (host, port.parse().expect("a port")),
        None => (authority, usual),
    };
    let host = Host::parse(host).expect("a host");
    let path = RequestPath::parse(path).expect("a path");
    let request = Request {
        host: &host,
        port,
        transport,
        method,
        path,
    };
    told(set.decide(caller, &request, &Context::at(NOW)).decision())
}

fn told(decision: &Decision<'_>) -> String {
    match decision {
        Decision::Allow(grant) => match grant.credential() {
            Some(provider) => {
                let header = grant.placements()[0].carrier.name();
                format!(
                    "{} with {} in {header}",
                    grant.policy_matched(),
                    provider.name
                )
            }
            None => format!("{} with nothing", grant.policy_matched()),
        },
        Decision::Deny(denial) => match denial.policy() {
            Some(policy) => format!("{} by {}", denial.reason().code(), policy.matched()),
            None => denial.reason().code().to_owned(),
        },
        Decision::Unavailable(fault) => fault.code().to_owned(),
    }
}
