use std::collections::HashSet;

use attache_core::{
    attestation::{Proven, ProviderKind},
    attributes::{AttributeValue, Attributes},
    header::HeaderName,
    spiffe_id::TrustDomain,
    time::Timestamp,
};
use attache_policy::{
    Settings, Source, compile,
    document::{Carrier, Form, Part},
};

use super::*;

/// Each differs from the first in one thing, or from another in where one text ends and the next begins.
const DOCUMENTS: [&str; 30] = [
    "type: jwt-svid, audience: ab",
    "type: oidc-token, audience: ab",
    "type: jwt-svid, audience: a",
    "type: jwt-svid, audience: [a, b]",
    "type: jwt-svid, audience: [b, a]",
    "type: jwt-svid, audience: ab, ttl: 301",
    "type: jwt-svid, audience: ab, algorithm: RS256",
    r#"type: jwt-svid, audience: ab, claims: { pod: "{k8s.podName}" }"#,
    r#"type: jwt-svid, audience: ab, claims: { pods: "{k8s.podName}" }"#,
    r#"type: jwt-svid, audience: ab, claims: { pod: "{k8s.podName}", team: x }"#,
    r#"type: jwt-svid, audience: ab, claims: { pod: "{k8s.podName}t", eam: x }"#,
    "type: api-key, hosts: [a.example], key: 'file:ab'",
    "type: api-key, hosts: [a.example], key: 'file:a'",
    "type: api-key, hosts: [a.example], key: 'file:a/b'",
    "type: api-key, hosts: [a.example], key: 'file:/a/b'",
    "type: api-key, hosts: [a.example], key: 'file:/ab'",
    r#"type: vault, hosts: [a.example], address: "https://v.example", login: { method: jwt, role: "{k8s.podName}", audience: v }, secret: { mount: kv, path: a, field: b }"#,
    r#"type: vault, hosts: [a.example], address: "https://v.example", login: { method: jwt, role: r, audience: v }, secret: { mount: kv, path: "{k8s.podName}", field: b }"#,
    r#"type: oauth2-token-exchange, hosts: [a.example], tokenEndpoint: "https://t.example/t", subjectToken: { type: evidence }, scopes: ["{k8s.podName}"]"#,
    r#"type: oauth2-token-exchange, hosts: [a.example], tokenEndpoint: "https://t.example/t", subjectToken: { type: evidence }, audience: "{k8s.podName}""#,
    r#"type: oauth2-token-exchange, hosts: [a.example], tokenEndpoint: "https://t.example/t", subjectToken: { type: evidence }, resource: ["https://r.example/{k8s.podName}"]"#,
    r#"type: oauth2-token-exchange, hosts: [a.example], tokenEndpoint: "https://t.example/t", subjectToken: { type: evidence }, clientId: "{k8s.podName}", clientAuthentication: { method: jwt-svid }"#,
    r#"type: oauth2-client-credentials, hosts: [a.example], tokenEndpoint: "https://t.example/t", clientAuthentication: { method: jwt-svid }, scopes: ["{k8s.podName}"]"#,
    r#"type: oauth2-client-credentials, hosts: [a.example], tokenEndpoint: "https://t.example/t", clientAuthentication: { method: jwt-svid }, clientId: "{k8s.podName}""#,
    r#"type: kubernetes-token, hosts: [a.example], apiServer: "https://k.example", token: 'file:t', namespace: "{k8s.podName}", serviceAccount: s, audience: b"#,
    r#"type: kubernetes-token, hosts: [a.example], apiServer: "https://k.example", token: 'file:t', namespace: n, serviceAccount: "{k8s.podName}", audience: b"#,
    r#"type: kubernetes-token, hosts: [a.example], apiServer: "https://k.example", token: 'file:t', namespace: n, serviceAccount: s, audience: b"#,
    "type: static-headers, hosts: [a.example], headers: [ { name: x-a, value: 'file:ab' } ]",
    "type: static-headers, hosts: [a.example], headers: [ { name: x-aa, value: 'file:b' } ]",
    "type: static-headers, hosts: [a.example], headers: [ { name: x-a, value: 'file:a' }, { name: x-b, value: 'file:b' } ]",
];

/// The kinds of [`DOCUMENTS`], in their order.
fn kinds() -> Vec<CredentialKind> {
    let mut text = String::from(
        r"
apiVersion: attache.dev/v1
kind: TrustProvider
metadata: { name: cluster }
spec: { type: kubernetes-service-account, issuer: 'https://cluster.example' }
---
apiVersion: attache.dev/v1
kind: ClientWorkload
metadata: { name: anyone }
spec: { match: [ { k8s.namespace: production } ] }
",
    );
    for (at, document) in DOCUMENTS.iter().enumerate() {
        let authentication = if document.contains("static-headers") {
            ", authentication: { method: provider-headers }"
        } else {
            ""
        };
        text.push_str(&format!(
            "---
apiVersion: attache.dev/v1
kind: CredentialProvider
metadata: {{ name: p{at:02} }}
spec: {{ {document} }}
---
apiVersion: attache.dev/v1
kind: ServerWorkload
metadata: {{ name: s{at} }}
spec: {{ host: a.example, port: {port}{authentication} }}
---
apiVersion: attache.dev/v1
kind: AccessPolicy
metadata: {{ name: a{at} }}
spec: {{ effect: allow, client: anyone, server: s{at}, trustProviders: [cluster], credentialProvider: p{at:02}, actions: [all] }}
",
            port = 8000 + at
        ));
    }
    let source = Source {
        name: "policies.yaml".to_owned(),
        text: text.into_bytes(),
    };
    let settings = Settings {
        trust_domain: TrustDomain::parse("cluster.local").unwrap(),
        trust_providers: Vec::new(),
    };
    let compiled = compile(&[source], &settings).unwrap_or_else(|problems| panic!("{problems}"));
    let mut providers = compiled.credential_providers().to_vec();
    providers.sort_by(|one, other| one.name.cmp(&other.name));
    let kinds = providers.iter().map(|provider| provider.kind.clone());
    kinds.collect()
}

fn attestation(attributes: &[(&str, AttributeValue)]) -> Attestation {
    let mut proven = Attributes::new();
    for (name, value) in attributes {
        proven.insert((*name).to_owned(), value.clone());
    }
    #[expect(
        clippy::disallowed_methods,
        reason = "a key asks for an attestation, trust is not here"
    )]
    Attestation::attested(Proven {
        provider: "cluster".into(),
        kind: ProviderKind::KubernetesServiceAccount,
        spiffe_id: SpiffeId::parse("spiffe://td/caller").unwrap(),
        attributes: proven,
        expires_at: Timestamp::from_seconds(0),
    })
}

fn header(name: &str, prefix: &str) -> Placement {
    Placement {
        carrier: Carrier::Header(HeaderName::parse(name).unwrap()),
        form: Form::Plain {
            prefix: prefix.to_owned(),
            part: Part::Token,
        },
    }
}

/// Asserts that no two are the same, and that none begins another.
fn assert_apart(keys: &[Vec<u8>]) {
    let different: HashSet<_> = keys.iter().collect();
    assert_eq!(different.len(), keys.len());
    for (at, key) in keys.iter().enumerate() {
        let others = keys.iter().enumerate().filter(|(other, _)| *other != at);
        for (other, longer) in others {
            assert!(!longer.starts_with(key), "{at} begins {other}");
        }
    }
}

#[test]
fn documents_that_differ_have_keys_that_differ() {
    let (caller, nobody) = (
        SpiffeId::parse("spiffe://td/caller").unwrap(),
        attestation(&[]),
    );
    let kinds = kinds();
    assert_eq!(kinds.len(), DOCUMENTS.len());
    let keys = kinds.iter().map(|kind| {
        let key = Key::of(&parts(&caller, kind), &nobody);
        key.bytes().to_vec()
    });
    assert_apart(&keys.collect::<Vec<_>>());
}

fn parts<'a>(spiffe_id: &'a SpiffeId, kind: &'a CredentialKind) -> Parts<'a> {
    Parts {
        spiffe_id,
        trust_provider: "cluster",
        provider: "provider",
        kind,
        placements: &[],
        issuer: "issuer",
        versions: &[1, 2],
        generation: 1,
    }
}

#[test]
fn each_thing_that_makes_a_difference_is_in_the_key() {
    let (caller, other) = ("spiffe://td/caller", "spiffe://td/calle");
    let [caller, other] = [caller, other].map(|id| SpiffeId::parse(id).unwrap());
    let (kinds, nobody) = (kinds(), attestation(&[]));
    let usual = parts(&caller, &kinds[0]);
    let (bearer, basic) = (
        header("authorization", "Bearer "),
        header("authorization", ""),
    );
    let both = [bearer.clone(), basic.clone()];
    let all = [
        parts(&caller, &kinds[0]),
        Parts {
            spiffe_id: &other,
            ..usual
        },
        Parts {
            trust_provider: "clusters",
            ..usual
        },
        Parts {
            trust_provider: "clusterp",
            provider: "rovider",
            ..usual
        },
        Parts {
            placements: &[bearer],
            ..usual
        },
        Parts {
            placements: &[basic],
            ..usual
        },
        Parts {
            placements: &both,
            ..usual
        },
        Parts {
            issuer: "issue",
            ..usual
        },
        Parts {
            versions: &[1],
            ..usual
        },
        Parts {
            versions: &[2, 1],
            ..usual
        },
        Parts {
            generation: 2,
            ..usual
        },
    ];
    let keys = all
        .iter()
        .map(|parts| Key::of(parts, &nobody).bytes().to_vec());
    assert_apart(&keys.collect::<Vec<_>>());
}

#[test]
fn whatever_field_reads_an_attribute_tells_callers_apart_by_it() {
    let caller = SpiffeId::parse("spiffe://td/caller").unwrap();
    let [one, other] =
        ["a", "b"].map(|pod| attestation(&[("k8s.podName", AttributeValue::One(pod.into()))]));
    for (document, kind) in DOCUMENTS.iter().zip(&kinds()) {
        let parts = parts(&caller, kind);
        let differ = Key::of(&parts, &one).bytes() != Key::of(&parts, &other).bytes();
        assert_eq!(differ, document.contains("{k8s.podName}"), "{document}");
    }
}

#[test]
fn what_the_document_reads_of_the_caller_is_in_the_key_and_nothing_else() {
    let caller = SpiffeId::parse("spiffe://td/caller").unwrap();
    let kinds = kinds();
    let (reads, reads_nothing) = (parts(&caller, &kinds[7]), parts(&caller, &kinds[0]));
    let [one, several, other] = [
        AttributeValue::One("a".into()),
        AttributeValue::Many(vec!["a".into()]),
        AttributeValue::One("ab".into()),
    ];
    let callers = [
        attestation(&[]),
        attestation(&[("k8s.podName", one.clone())]),
        attestation(&[("k8s.podName", several)]),
        attestation(&[("k8s.podName", other)]),
    ];
    let keys = callers
        .each_ref()
        .map(|caller| Key::of(&reads, caller).bytes().to_vec());
    assert_apart(&keys);
    let [of_nobody, of_one] = [&callers[0], &callers[1]].map(|it| Key::of(&reads_nothing, it));
    assert_eq!(of_nobody.bytes(), of_one.bytes());
    let elsewhere = attestation(&[("k8s.podName", one.clone()), ("k8s.nodeName", one)]);
    assert_eq!(Key::of(&reads, &elsewhere).bytes(), keys[1]);
}
