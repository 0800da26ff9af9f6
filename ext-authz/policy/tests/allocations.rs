//! A decision allocates nothing. Alone in its process, so that no other test is counted.

#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "what the test is made of must be there"
)]

use std::alloc::System;

use attache_core::{
    attestation::{Attestation, Proven, ProviderKind},
    attributes::Attributes,
    request::{Host, Request, RequestPath, Transport},
    spiffe_id::{SpiffeId, TrustDomain},
    time::Timestamp,
};
use attache_policy::{Compiled, Context, Decision, Settings, Source, compile};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const SET: &str = "
apiVersion: attache.dev/v1
kind: TrustProvider
metadata: {name: cluster}
spec: {type: kubernetes-service-account, issuer: https://cluster.example}
---
apiVersion: attache.dev/v1
kind: ClientWorkload
metadata: {name: web}
spec: {match: [{k8s.namespace: shop, k8s.serviceAccount: 'web-*'}]}
---
apiVersion: attache.dev/v1
kind: ServerWorkload
metadata: {name: api}
spec: {host: api.example.com, paths: [/v1, /v2]}
---
apiVersion: attache.dev/v1
kind: ServerWorkload
metadata: {name: all}
spec: {host: '*.example.com'}
---
apiVersion: attache.dev/v1
kind: AccessCondition
metadata: {name: hours}
spec: {time: {timeZone: Europe/Berlin, windows: [{days: [mon, tue, wed, thu, fri, sat, sun], from: '00:00', to: '24:00'}]}}
---
apiVersion: attache.dev/v1
kind: AccessCondition
metadata: {name: inside}
spec: {source: {ranges: [10.0.0.0/8]}}
---
apiVersion: attache.dev/v1
kind: CredentialProvider
metadata: {name: token}
spec: {type: oidc-token, audience: api}
---
apiVersion: attache.dev/v1
kind: AccessPolicy
metadata: {name: a}
spec: {effect: allow, client: web, server: api, trustProviders: [cluster], credentialProvider: token, conditions: [hours, inside], actions: [read, write]}
---
apiVersion: attache.dev/v1
kind: AccessPolicy
metadata: {name: b}
spec: {effect: allow, client: web, server: all, trustProviders: [cluster], actions: [all]}
---
apiVersion: attache.dev/v1
kind: AccessPolicy
metadata: {name: c}
spec: {effect: deny, mode: dry-run, client: web, server: api, actions: [write]}
---
apiVersion: attache.dev/v1
kind: AccessPolicy
metadata: {name: d}
spec: {effect: deny, client: web, server: api, actions: [{name: archive, methods: [GET], paths: [/v1/archive]}]}
";

fn set() -> Compiled {
    let source = Source {
        name: "set.yaml".to_owned(),
        text: SET.as_bytes().to_vec(),
    };
    let settings = Settings {
        trust_domain: TrustDomain::parse("cluster.local").expect("a trust domain"),
        trust_providers: Vec::new(),
    };
    compile(&[source], &settings).unwrap_or_else(|problems| panic!("{problems}"))
}

#[expect(
    clippy::disallowed_methods,
    reason = "a decision starts from an attestation, and no evidence is read here"
)]
fn caller() -> Attestation {
    let mut attributes = Attributes::new();
    attributes.set("k8s.namespace", "shop");
    attributes.set("k8s.serviceAccount", "web-eu");
    Attestation::attested(Proven {
        provider: "cluster".into(),
        kind: ProviderKind::KubernetesServiceAccount,
        spiffe_id: SpiffeId::parse("spiffe://cluster.local/ns/shop/sa/web-eu").expect("an ID"),
        attributes,
        expires_at: Timestamp::from_seconds(1_800_003_600),
    })
}

#[test]
fn a_decision_allocates_nothing() {
    let (set, caller) = (set(), caller());
    let hosts = ["api.example.com", "b.example.com", "example.net"];
    let hosts = hosts.map(|host| Host::parse(host).expect("a host"));
    let context = Context {
        source: Some([10, 0, 0, 1].into()),
        ..Context::at(Timestamp::from_seconds(1_800_000_000))
    };
    let mut outcomes = [0, 0];
    let region = Region::new(ALLOCATOR);
    for host in &hosts {
        for method in ["GET", "POST", "PURGE"] {
            for path in ["/v1/x", "/v1/archive", "/v2", "/v3"] {
                let Ok(path) = RequestPath::parse(path) else {
                    continue;
                };
                let request = Request {
                    host,
                    port: 443,
                    transport: Transport::Tls,
                    method,
                    path,
                };
                match set.decide(&caller, &request, &context).decision() {
                    Decision::Allow(_) => outcomes[0] += 1,
                    Decision::Deny(_) | Decision::Unavailable(_) => outcomes[1] += 1,
                }
            }
        }
    }
    let change = region.change();
    assert_eq!(
        (change.allocations, change.reallocations),
        (0, 0),
        "{change:?}"
    );
    assert_eq!(outcomes, [23, 13]);
}
