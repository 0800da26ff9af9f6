use attache_core::{
    attributes::AttributeValue,
    decision::DenyReason,
    request::{Host, Request, RequestPath, Transport},
    time::Timestamp,
};

use super::{CLUSTER, NOW, ask, build_job, compiled, pod, settings, source};
use crate::{Compiled, Context, Decision, compile};

const PAYMENTS: &str = "
apiVersion: attache.dev/v1
kind: ClientWorkload
metadata: {name: payments}
spec:
  match:
    - k8s.namespace: production
      k8s.serviceAccount: [payment-svc, 'refund-*']
    - claims.repository: acme/payments
---
apiVersion: attache.dev/v1
kind: ServerWorkload
metadata: {name: ledger}
spec: {host: ledger.example.com, paths: [/v1, /status]}
---
apiVersion: attache.dev/v1
kind: ServerWorkload
metadata: {name: partners}
spec:
  host: '*.example.com'
  authentication: {method: header, name: X-Partner-Token}
---
apiVersion: attache.dev/v1
kind: ServerWorkload
metadata: {name: lab}
spec: {host: lab.internal, port: 8080, tls: plaintext-allowed}
---
apiVersion: attache.dev/v1
kind: CredentialProvider
metadata: {name: ledger-token}
spec: {type: oidc-token, audience: ledger}
---
apiVersion: attache.dev/v1
kind: CredentialProvider
metadata: {name: partner-token}
spec: {type: oidc-token, audience: partners, ttl: 5m, algorithm: ES256}
---
apiVersion: attache.dev/v1
kind: AccessPolicy
metadata: {name: payments-to-ledger}
spec:
  client: payments
  server: ledger
  trustProviders: [cluster, forge]
  credentialProvider: ledger-token
  actions:
    - read
    - {name: book, methods: [POST], paths: [/v1/entries]}
  effect: allow
---
apiVersion: attache.dev/v1
kind: AccessPolicy
metadata: {name: no-archive}
spec: {client: payments, server: ledger, actions: [{name: archive, methods: [GET, POST], paths: [/v1/archive]}], effect: deny}
---
apiVersion: attache.dev/v1
kind: AccessPolicy
metadata: {name: payments-to-partners}
spec: {client: payments, server: partners, trustProviders: [cluster], credentialProvider: partner-token, actions: [all], effect: allow}
---
apiVersion: attache.dev/v1
kind: AccessPolicy
metadata: {name: payments-to-lab}
spec: {client: payments, server: lab, trustProviders: [cluster], actions: [all], effect: allow}
";

fn payments() -> Compiled {
    compiled(&format!("{CLUSTER}{PAYMENTS}"))
}

#[test]
fn each_call_is_decided_as_the_table_says() {
    let set = payments();
    let caller = pod("production", "payment-svc");
    let read = "allow:payments:ledger:read with ledger-token in authorization";
    let book = "allow:payments:ledger:book with ledger-token in authorization";
    let partners = "allow:payments:partners:all with partner-token in x-partner-token";
    for (call, expected) in [
        // An action's methods, compared byte by byte.
        ("GET https://ledger.example.com/v1/entries", read),
        ("POST https://ledger.example.com/v1/entries", book),
        ("POST https://ledger.example.com/v1/entries/7", book),
        ("get https://ledger.example.com/v1/entries", partners),
        // Prefixes match by segment, on the server workload and on the action.
        ("GET https://ledger.example.com/v1", read),
        ("GET https://ledger.example.com/v10", partners),
        ("GET https://ledger.example.com/status/db", read),
        ("POST https://ledger.example.com/v1/entries7", partners),
        // A deny wins over a more specific and a less specific allow.
        (
            "GET https://ledger.example.com/v1/archive",
            "denied-by-policy by deny:payments:ledger:archive",
        ),
        (
            "POST https://ledger.example.com/v1/archive/2020",
            "denied-by-policy by deny:payments:ledger:archive",
        ),
        ("GET https://ledger.example.com/v1/archives", read),
        // A suffix covers every depth below it, never itself.
        ("GET https://a.example.com/", partners),
        ("GET https://a.b.example.com/x", partners),
        ("GET https://example.com/", "no-policy"),
        ("GET https://notexample.com/", "no-policy"),
        // Ports are part of the target, and so is TLS unless plaintext is allowed.
        ("GET https://ledger.example.com:8443/v1", "no-policy"),
        (
            "GET http://ledger.example.com:443/v1",
            "destination-plaintext by allow:payments:ledger:read",
        ),
        (
            "GET http://lab.internal:8080/",
            "allow:payments:lab:all with nothing",
        ),
        (
            "GET https://lab.internal:8080/",
            "allow:payments:lab:all with nothing",
        ),
        ("GET http://lab.internal/", "no-policy"),
    ] {
        assert_eq!(ask(&set, &caller, call), expected, "{call}");
    }
}

#[test]
fn an_entry_asks_for_all_its_attributes_and_any_of_their_values() {
    let set = payments();
    let call = "GET https://ledger.example.com/v1";
    for (caller, allowed) in [
        (pod("production", "payment-svc"), true),
        (pod("production", "refund-eu"), true),
        (pod("production", "refund-"), true),
        (pod("production", "refund"), false),
        (pod("production", "my-refund-eu"), false),
        (pod("staging", "payment-svc"), false),
        (pod("production", "payment-svc2"), false),
    ] {
        let answer = ask(&set, &caller, call);
        let told = format!("{}: {answer}", caller.spiffe_id());
        assert_eq!(answer.starts_with("allow:"), allowed, "{told}");
        assert_eq!(answer == "attribute-mismatch", !allowed, "{told}");
    }
}

#[test]
fn a_list_of_claims_matches_by_any_one() {
    let set = payments();
    let call = "GET https://ledger.example.com/v1";
    let one = AttributeValue::One("acme/payments".into());
    let many = AttributeValue::Many(vec!["acme/web".into(), "acme/payments".into()]);
    for value in [one, many] {
        let answer = ask(&set, &build_job(&[("repository", value)]), call);
        assert_eq!(
            answer,
            "allow:payments:ledger:read with ledger-token in authorization"
        );
    }
    let other = AttributeValue::Many(vec!["acme/web".into()]);
    assert_eq!(
        ask(&set, &build_job(&[("repository", other)]), call),
        "attribute-mismatch"
    );
}

#[test]
fn claims_never_stand_for_what_a_provider_proves() {
    let set = payments();
    let text = |text: &str| AttributeValue::One(text.into());
    let imposter = build_job(&[
        ("k8s.namespace", text("production")),
        ("k8s.serviceAccount", text("payment-svc")),
        ("namespace", text("production")),
    ]);
    assert_eq!(
        ask(&set, &imposter, "GET https://ledger.example.com/v1"),
        "attribute-mismatch"
    );
}

#[test]
fn a_provider_that_the_policy_does_not_list_proves_nothing() {
    let set = payments();
    let caller = build_job(&[("repository", AttributeValue::One("acme/payments".into()))]);
    assert_eq!(
        ask(&set, &caller, "GET https://a.example.com/"),
        "trust-provider-not-accepted by allow:payments:partners:all"
    );
    // The deny lists no provider and applies whoever proved the caller.
    assert_eq!(
        ask(&set, &caller, "GET https://ledger.example.com/v1/archive"),
        "denied-by-policy by deny:payments:ledger:archive"
    );
}

fn denial(set: &Compiled, namespace: &str, account: &str, host: &str) -> DenyReason {
    let caller = pod(namespace, account);
    let host = Host::parse(host).unwrap();
    let path = RequestPath::parse("/v1").unwrap();
    let transport = Transport::Tls;
    let request = Request {
        host: &host,
        port: 443,
        transport,
        method: "GET",
        path,
    };
    let decided = set.decide(&caller, &request, &Context::at(NOW));
    let Decision::Deny(denial) = decided.into_decision() else {
        panic!("not denied")
    };
    denial.into_reason()
}

#[test]
fn a_mismatch_names_the_nearest_attribute_with_what_was_expected_and_proven() {
    let set = payments();
    let told = |namespace, account| {
        let reason = denial(&set, namespace, account, "ledger.example.com");
        let DenyReason::AttributeMismatch(it) = reason else {
            panic!("{reason:?}")
        };
        (it.attribute, it.expected, it.actual)
    };
    let mismatch = |attribute: &str, expected: &str, actual: Option<&str>| {
        (
            attribute.to_owned(),
            expected.to_owned(),
            actual.map(ToOwned::to_owned),
        )
    };
    let values = "payment-svc or refund-*";
    assert_eq!(
        told("staging", "payment-svc"),
        mismatch("k8s.namespace", "production", Some("staging"))
    );
    assert_eq!(
        told("production", "web"),
        mismatch("k8s.serviceAccount", values, Some("web"))
    );
    // Both attributes of the first entry fail, but only one of the second.
    assert_eq!(
        told("staging", "web"),
        mismatch("claims.repository", "acme/payments", None)
    );
}

#[test]
fn a_target_that_no_policy_names_is_no_policy_and_not_a_mismatch() {
    let set = payments();
    assert_eq!(
        denial(&set, "staging", "web", "elsewhere.test"),
        DenyReason::NoPolicy
    );
}

#[test]
fn a_known_client_on_another_path_is_no_policy_and_not_a_mismatch() {
    let set = compiled(&format!(
        "{CLUSTER}{}",
        "
apiVersion: attache.dev/v1
kind: ClientWorkload
metadata: {name: web}
spec: {match: [{k8s.serviceAccount: web}]}
---
apiVersion: attache.dev/v1
kind: ServerWorkload
metadata: {name: api}
spec: {host: api.test, paths: [/v1]}
---
apiVersion: attache.dev/v1
kind: AccessPolicy
metadata: {name: web-to-api}
spec: {client: web, server: api, trustProviders: [cluster], actions: [read], effect: allow}
"
    ));
    let caller = pod("any", "web");
    assert_eq!(ask(&set, &caller, "GET https://api.test/v2"), "no-policy");
    assert_eq!(ask(&set, &caller, "POST https://api.test/v1"), "no-policy");
    assert_eq!(
        ask(&set, &pod("any", "other"), "GET https://api.test/v2"),
        "attribute-mismatch"
    );
}

#[test]
fn the_spiffe_id_is_the_attestations_own_and_no_attribute() {
    let set = compiled(&format!(
        "{CLUSTER}{}",
        "
apiVersion: attache.dev/v1
kind: ClientWorkload
metadata: {name: web}
spec: {match: [{spiffe.id: 'spiffe://cluster.local/ns/*/sa/web'}, {spiffe.id: spiffe://cluster.local/ns/shop/sa/cart}]}
---
apiVersion: attache.dev/v1
kind: ServerWorkload
metadata: {name: api}
spec: {host: api.test}
---
apiVersion: attache.dev/v1
kind: AccessPolicy
metadata: {name: web-to-api}
spec: {client: web, server: api, trustProviders: [cluster, forge], actions: [read], effect: allow}
"
    ));
    let call = "GET https://api.test/";
    assert_eq!(
        ask(&set, &pod("shop", "web"), call),
        "allow:web:api:read with nothing"
    );
    assert_eq!(
        ask(&set, &pod("shop", "cart"), call),
        "allow:web:api:read with nothing"
    );
    assert_eq!(ask(&set, &pod("shop", "webx"), call), "attribute-mismatch");
    let mut attributes = pod("shop", "cart").attributes().clone();
    attributes.set("spiffe.id", "spiffe://cluster.local/ns/shop/sa/cart");
    let web = pod("shop", "other");
    let imposter = super::proven("cluster", web.kind(), web.spiffe_id().clone(), attributes);
    assert_eq!(ask(&set, &imposter, call), "attribute-mismatch");
}

const TWO_CLIENTS: &str = "
apiVersion: attache.dev/v1
kind: ClientWorkload
metadata: {name: by-namespace}
spec: {match: [{k8s.namespace: shop}]}
---
apiVersion: attache.dev/v1
kind: ClientWorkload
metadata: {name: by-account}
spec: {match: [{k8s.serviceAccount: cart}]}
---
apiVersion: attache.dev/v1
kind: ServerWorkload
metadata: {name: api}
spec: {host: api.test}
---
apiVersion: attache.dev/v1
kind: CredentialProvider
metadata: {name: one}
spec: {type: oidc-token, audience: one}
---
apiVersion: attache.dev/v1
kind: CredentialProvider
metadata: {name: two}
spec: {type: oidc-token, audience: AUDIENCE}
---
apiVersion: attache.dev/v1
kind: AccessPolicy
metadata: {name: b-policy}
spec: {client: by-namespace, server: api, trustProviders: [cluster], credentialProvider: one, actions: [all], effect: allow}
---
apiVersion: attache.dev/v1
kind: AccessPolicy
metadata: {name: a-policy}
spec: {client: by-account, server: api, trustProviders: [cluster], credentialProvider: two, actions: [all], effect: allow}
";

#[test]
fn equal_allows_with_different_credentials_grant_nothing() {
    let set = compiled(&format!(
        "{CLUSTER}{}",
        TWO_CLIENTS.replace("AUDIENCE", "two")
    ));
    let call = "GET https://api.test/";
    assert_eq!(ask(&set, &pod("shop", "cart"), call), "credential-conflict");
    let alone = "allow:by-namespace:api:all with one in authorization";
    assert_eq!(ask(&set, &pod("shop", "web"), call), alone);
}

#[test]
fn equal_allows_with_equal_credentials_agree_and_the_first_by_name_is_told() {
    let set = compiled(&format!(
        "{CLUSTER}{}",
        TWO_CLIENTS.replace("AUDIENCE", "one")
    ));
    let first = "allow:by-account:api:all with two in authorization";
    assert_eq!(
        ask(&set, &pod("shop", "cart"), "GET https://api.test/"),
        first
    );
}

#[test]
fn expired_evidence_allows_nothing() {
    let set = payments();
    let caller = pod("production", "payment-svc");
    let host = Host::parse("ledger.example.com").unwrap();
    let path = RequestPath::parse("/v1").unwrap();
    let transport = Transport::Tls;
    let request = Request {
        host: &host,
        port: 443,
        transport,
        method: "GET",
        path,
    };
    let expiry = caller.expires_at();
    let before = Timestamp::from_millis(expiry.as_millis() - 1);
    let decided = set.decide(&caller, &request, &Context::at(before));
    assert!(matches!(decided.decision(), Decision::Allow(_)));
    let decided = set.decide(&caller, &request, &Context::at(expiry));
    let Decision::Deny(denial) = decided.into_decision() else {
        panic!("not denied")
    };
    assert_eq!(denial.reason().code(), "token-expired");
}

#[test]
fn a_target_knows_every_header_that_could_be_injected_whoever_calls() {
    let set = payments();
    let injectable = |host: &str| {
        let host = Host::parse(host).unwrap();
        let target = set.target(&host, 443)?;
        Some(
            target
                .injectable()
                .iter()
                .map(|name| name.name())
                .collect::<Vec<_>>(),
        )
    };
    assert_eq!(
        injectable("ledger.example.com"),
        Some(vec!["authorization", "x-partner-token"])
    );
    assert_eq!(injectable("a.example.com"), Some(vec!["x-partner-token"]));
    assert_eq!(injectable("example.com"), None);
    let host = Host::parse("lab.internal").unwrap();
    assert_eq!(
        set.target(&host, 8080)
            .map(|target| target.injectable().len()),
        Some(0)
    );
    let all: Vec<_> = set.injectable().iter().map(|name| name.name()).collect();
    assert_eq!(all, ["authorization", "x-partner-token"]);
}

#[test]
fn the_revision_follows_names_bytes_and_settings_but_not_their_order() {
    let (one, two) = (source("a.yaml", CLUSTER), source("b.yaml", PAYMENTS));
    let revision = |sources: &[crate::Source], settings: &crate::Settings| {
        compile(sources, settings)
            .expect("a set")
            .revision()
            .to_owned()
    };
    let first = revision(&[one.clone(), two.clone()], &settings());
    assert_eq!(first, revision(&[two.clone(), one.clone()], &settings()));
    assert_eq!(first.len(), 16);
    let mut longer = two.clone();
    longer.text.push(b'\n');
    let mut renamed = two.clone();
    renamed.name.push('x');
    let mut elsewhere = settings();
    elsewhere.trust_domain = attache_core::spiffe_id::TrustDomain::parse("other").unwrap();
    for (sources, settings) in [
        ([one.clone(), longer], settings()),
        ([one.clone(), renamed], settings()),
        ([one, two], elsewhere),
    ] {
        assert_ne!(first, revision(&sources, &settings));
    }
}

#[test]
fn one_of_several_equal_allows_that_demands_tls_is_enough() {
    let policy = |name: &str, tls: &str| {
        format!(
            "---
apiVersion: attache.dev/v1
kind: ServerWorkload
metadata: {{name: {name}}}
spec: {{host: api.test, port: 8080, tls: {tls}}}
---
apiVersion: attache.dev/v1
kind: AccessPolicy
metadata: {{name: {name}}}
spec: {{client: web, server: {name}, trustProviders: [cluster], actions: [all], effect: allow}}
"
        )
    };
    let client = "---
apiVersion: attache.dev/v1
kind: ClientWorkload
metadata: {name: web}
spec: {match: [{k8s.serviceAccount: web}]}
";
    let call = "GET http://api.test:8080/";
    for (first, second) in [
        ("required", "plaintext-allowed"),
        ("plaintext-allowed", "required"),
    ] {
        let (first, second) = (policy("a", first), policy("b", second));
        let set = compiled(&format!("{CLUSTER}{client}{first}{second}"));
        let denied = "destination-plaintext by allow:web:a:all";
        assert_eq!(ask(&set, &pod("any", "web"), call), denied);
    }
}
