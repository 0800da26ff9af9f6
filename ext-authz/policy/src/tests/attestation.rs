//! Whose proof a policy asks for: one provider's, each one's, or nobody's.

use attache_core::{
    attestation::{Agreement, Attestation, ProviderKind},
    attributes::{Attributes, unproven},
    evidence::Evidence,
    request::{Host, Request, RequestPath, Transport},
    secret::Secret,
    spiffe_id::SpiffeId,
};

use super::{NOW, ask, compiled as set, pod, proven, refused};
use crate::{Compiled, Context, Decision};

const DOCUMENTS: &str = "
apiVersion: attache.dev/v1
kind: TrustProvider
metadata: {name: cluster}
spec: {type: kubernetes-service-account, issuer: https://cluster.example}
---
apiVersion: attache.dev/v1
kind: TrustProvider
metadata: {name: forge}
spec: {type: oidc, issuer: https://forge.example}
---
apiVersion: attache.dev/v1
kind: ClientWorkload
metadata: {name: web}
spec: {match: [{k8s.serviceAccount: web}]}
---
apiVersion: attache.dev/v1
kind: ClientWorkload
metadata: {name: red}
spec: {match: [{claims.team: red}]}
---
apiVersion: attache.dev/v1
kind: ClientWorkload
metadata: {name: neighbour}
spec: {match: [{unproven.sourceAddress: '10.1.*'}]}
---
apiVersion: attache.dev/v1
kind: ServerWorkload
metadata: {name: api}
spec: {host: api.example}
---
apiVersion: attache.dev/v1
kind: CredentialProvider
metadata: {name: token}
spec: {type: oidc-token, audience: api}
";

fn policy(name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: attache.dev/v1\nkind: AccessPolicy\nmetadata: {{name: {name}}}\nspec: {{server: api, actions: [read], {spec}}}\n"
    )
}

fn with(policies: &[String]) -> Compiled {
    set(&(DOCUMENTS.to_owned() + &policies.concat()))
}

/// A token of the forge about `id`.
fn by_forge(id: &SpiffeId, team: &str) -> Attestation {
    let mut attributes = Attributes::new();
    attributes.set("claims.team", team);
    proven("forge", ProviderKind::Oidc, id.clone(), attributes)
}

fn web_twice(team: &str) -> Attestation {
    let web = pod("shop", "web");
    let same = by_forge(web.spiffe_id(), team);
    web.together([&same], Agreement::OneWorkload).unwrap()
}

fn web_and_job(team: &str) -> Attestation {
    let job = SpiffeId::parse("spiffe://cluster.local/forge/job").unwrap();
    let web = pod("shop", "web");
    web.together([&by_forge(&job, team)], Agreement::NamedByPolicy)
        .unwrap()
}

const CALL: &str = "GET https://api.example/";

#[test]
fn any_takes_one_proof_and_all_takes_each() {
    let spec = |demand: &str| {
        let providers = "trustProviders: [cluster, forge], credentialProvider: token";
        format!("effect: allow, client: web, {providers}{demand}")
    };
    for demand in ["", ", attestation: any"] {
        let any = with(&[policy("p", &spec(demand))]);
        let permitted = "allow:web:api:read with token in authorization";
        assert_eq!(ask(&any, &pod("shop", "web"), CALL), permitted);
        assert_eq!(ask(&any, &web_twice("red"), CALL), permitted);
    }
    let all = with(&[policy("p", &spec(", attestation: all"))]);
    assert_eq!(
        ask(&all, &pod("shop", "web"), CALL),
        "trust-provider-not-accepted by allow:web:api:read"
    );
    assert_eq!(
        ask(&all, &web_twice("red"), CALL),
        "allow:web:api:read with token in authorization"
    );
}

#[test]
fn what_a_provider_proves_that_the_policy_does_not_name_does_not_count() {
    let spec = |names: &str| format!("effect: allow, client: red, trustProviders: [{names}]");
    for (names, told) in [
        ("forge", "allow:red:api:read with nothing"),
        ("cluster, forge", "allow:red:api:read with nothing"),
        // The forge's word alone makes the caller a member of the team.
        ("cluster", "no-policy"),
    ] {
        let compiled = with(&[policy("p", &spec(names))]);
        assert_eq!(ask(&compiled, &web_twice("red"), CALL), told, "{names}");
    }
    // A deny goes by whatever was proven.
    let allow = "effect: allow, client: web, trustProviders: [cluster]";
    let deny = "effect: deny, client: red, trustProviders: [cluster]";
    let compiled = with(&[policy("allow", allow), policy("deny", deny)]);
    assert_eq!(
        ask(&compiled, &web_twice("red"), CALL),
        "denied-by-policy by deny:red:api:read"
    );
    assert_eq!(
        ask(&compiled, &web_twice("blue"), CALL),
        "allow:web:api:read with nothing"
    );
}

#[test]
fn two_workloads_pass_only_where_the_policy_names_who_proved_each() {
    let spec = |rest: &str| format!("effect: allow, client: web, {rest}");
    let refused = "trust-provider-not-accepted by allow:web:api:read";
    for (rest, told) in [
        ("trustProviders: [cluster, forge]", refused),
        ("trustProviders: [cluster], attestation: all", refused),
        (
            "trustProviders: [cluster, forge], attestation: all",
            "allow:web:api:read with nothing",
        ),
    ] {
        let compiled = with(&[policy("p", &spec(rest))]);
        assert_eq!(ask(&compiled, &web_and_job("red"), CALL), told, "{rest}");
    }
    // A deny needs no agreement.
    let all = spec("trustProviders: [cluster, forge], attestation: all");
    let deny = "effect: deny, client: red, trustProviders: [forge]";
    let compiled = with(&[policy("a", &all), policy("d", deny)]);
    assert_eq!(
        ask(&compiled, &web_and_job("red"), CALL),
        "denied-by-policy by deny:red:api:read"
    );
}

/// What a caller without evidence is told.
fn admit(set: &Compiled, address: &str, method: &str, transport: Transport) -> String {
    let mut said = Attributes::new();
    said.set(unproven::SOURCE_ADDRESS, address);
    let host = Host::parse("api.example").unwrap();
    let request = Request {
        host: &host,
        port: 443,
        transport,
        method,
        path: RequestPath::parse("/").unwrap(),
    };
    let context = Context {
        source: address.parse().ok(),
        ..Context::at(NOW)
    };
    match set.admit(&said, &request, &context).answer() {
        Ok(policy) => policy.matched().to_owned(),
        Err(turned) => turned.reason.code().to_owned(),
    }
}

#[test]
fn a_caller_without_evidence_passes_by_a_policy_that_asks_for_none() {
    let allow = policy("p", "effect: allow, attestation: none, client: neighbour");
    let compiled = with(std::slice::from_ref(&allow));
    let tls = Transport::Tls;
    assert_eq!(
        admit(&compiled, "10.1.2.3", "GET", tls),
        "allow:neighbour:api:read"
    );
    assert_eq!(admit(&compiled, "10.2.2.3", "GET", tls), "evidence-missing");
    assert_eq!(
        admit(&compiled, "10.1.2.3", "POST", tls),
        "evidence-missing"
    );
    assert_eq!(
        admit(&compiled, "10.1.2.3", "GET", Transport::Plaintext),
        "destination-plaintext"
    );
    // Who is proven is judged by what is proven.
    assert_eq!(ask(&compiled, &pod("shop", "web"), CALL), "no-policy");
}

#[test]
fn a_deny_and_a_condition_hold_for_callers_without_evidence_too() {
    let allow = policy(
        "a",
        "effect: allow, attestation: none, client: neighbour, conditions: [near]",
    );
    let near = "---\napiVersion: attache.dev/v1\nkind: AccessCondition\nmetadata: {name: near}\nspec: {source: {ranges: [10.1.2.0/24]}}\n";
    let tls = Transport::Tls;
    let compiled = with(&[near.to_owned(), allow.clone()]);
    assert_eq!(
        admit(&compiled, "10.1.2.3", "GET", tls),
        "allow:neighbour:api:read"
    );
    assert_eq!(
        admit(&compiled, "10.1.3.3", "GET", tls),
        "condition-not-met"
    );
    for demand in ["", "attestation: none, "] {
        let deny = policy("d", &format!("effect: deny, {demand}client: neighbour"));
        let compiled = with(&[near.to_owned(), allow.clone(), deny]);
        assert_eq!(admit(&compiled, "10.1.2.3", "GET", tls), "denied-by-policy");
    }
}

#[test]
fn a_policy_for_the_unproven_that_is_only_rehearsed_lets_nobody_pass() {
    let spec = "effect: allow, mode: dry-run, attestation: none, client: neighbour";
    let compiled = with(&[policy("p", spec)]);
    let tls = Transport::Tls;
    assert_eq!(admit(&compiled, "10.1.2.3", "GET", tls), "evidence-missing");
}

#[test]
fn nothing_is_attached_for_a_caller_without_evidence() {
    let spec = "effect: allow, attestation: none, client: neighbour, credentialProvider: token";
    let problems = refused(&(DOCUMENTS.to_owned() + &policy("p", spec)));
    assert!(problems.to_string().contains("nobody proved"), "{problems}");
}

#[test]
fn a_deny_that_asks_for_every_proof_does_not_load() {
    let spec = "effect: deny, client: web, trustProviders: [cluster, forge], attestation: all";
    let problems = refused(&(DOCUMENTS.to_owned() + &policy("p", spec)));
    assert_eq!(problems.error_count(), 1, "{problems}");
    assert!(
        problems.to_string().contains("escapes a deny"),
        "{problems}"
    );
}

#[test]
fn a_grant_tells_of_the_caller_what_its_policys_providers_proved_and_rests_on_their_evidence() {
    let spec = |names: &str| format!("effect: allow, client: web, trustProviders: [{names}]");
    let token = |text: &str| Evidence::Token(Secret::new(text.to_owned()));
    let pieces = vec![token("of the forge"), token("of the cluster")];
    let shown = Evidence::together(pieces, Agreement::OneWorkload).unwrap();
    let web = pod("shop", "web");
    let by_forge = by_forge(web.spiffe_id(), "red");
    let caller = by_forge.together([&web], Agreement::OneWorkload).unwrap();
    let host = Host::parse("api.example").unwrap();
    let request = Request {
        host: &host,
        port: 443,
        transport: Transport::Tls,
        method: "GET",
        path: RequestPath::parse("/").unwrap(),
    };
    for (names, provider, team, counted) in [
        ("cluster", "cluster", false, token("of the cluster")),
        ("cluster, forge", "forge", true, shown.clone()),
    ] {
        let compiled = with(&[policy("p", &spec(names))]);
        let decided = compiled.decide(&caller, &request, &Context::at(NOW));
        let Decision::Allow(grant) = decided.into_decision() else {
            panic!("{names}: no grant");
        };
        assert_eq!(grant.attestation().provider(), provider);
        let attributes = grant.attestation().attributes();
        assert_eq!(attributes.value("claims.team").is_some(), team, "{names}");
        let evidence = grant.evidence(&shown).expect("the caller's evidence");
        assert!(evidence == counted, "{names}");
        // What is not the caller's evidence is not guessed at.
        assert_eq!(grant.evidence(&token("else")).is_some(), team, "{names}");
    }
}
