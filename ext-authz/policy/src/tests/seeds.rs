use attache_core::{
    decision::{DenyReason, Mismatch},
    request::{Host, Request, RequestPath, Transport},
    time::Timestamp,
    token::TokenForm,
};

use super::{CLUSTER, NOW, ask, pod, settings, source};
use crate::{
    Code, Compiled, Context, Decision, Severity, Source, compile, document::TrustProvider,
    problem::Report, yaml::File,
};

const REGISTRATION: &[u8] = include_bytes!("../../fixtures/seeds/workload-registration.yaml");
const POLICY: &[u8] = include_bytes!("../../fixtures/seeds/credential-policy.yaml");

fn quick_start() -> Vec<Source> {
    let file = |name: &str, text: &[u8]| Source {
        name: name.to_owned(),
        text: text.to_vec(),
    };
    vec![
        file("workload-registration.yaml", REGISTRATION),
        file("policy.yaml", POLICY),
    ]
}

fn with_cluster() -> Compiled {
    let mut sources = quick_start();
    sources.push(source("cluster.yaml", CLUSTER));
    compile(&sources, &settings()).expect("the quick start compiles")
}

#[test]
fn the_quick_start_loads_byte_for_byte_and_grants_what_it_says() {
    let set = with_cluster();
    assert!(set.warnings().is_empty(), "{}", set.warnings());
    let caller = pod("production", "payment-svc");
    let host = Host::parse("api.stripe.com").unwrap();
    let path = RequestPath::parse("/v1/charges").unwrap();
    let transport = Transport::Tls;
    let request = Request {
        host: &host,
        port: 443,
        transport,
        method: "POST",
        path,
    };
    let Decision::Allow(grant) = set
        .decide(&caller, &request, &Context::at(NOW))
        .into_decision()
    else {
        panic!("denied")
    };
    assert_eq!(
        grant.policy_matched(),
        "allow:payment-service:stripe-api:all"
    );
    assert_eq!(grant.policy(), "payment-to-stripe");
    assert_eq!(grant.placements()[0].carrier.name(), "authorization");
    assert_eq!(grant.placements()[0].prefix(), "Bearer ");
    assert_eq!(grant.valid_until(), Timestamp::from_seconds(1_800_000_300));
    assert_eq!(grant.revision(), set.revision());
    assert_eq!(grant.attestation().spiffe_id(), caller.spiffe_id());
    let provider = grant.credential().expect("a credential");
    let plan = provider.kind.token_plan().unwrap();
    assert_eq!(plan.form, TokenForm::OidcToken);
    assert_eq!(plan.audiences, ["https://api.stripe.com"]);
    assert_eq!(plan.ttl.as_secs(), 300);
    assert_eq!(plan.algorithm.name(), "RS256");
    assert!(plan.claims.is_empty());
}

#[test]
fn the_wrong_namespace_is_denied_with_what_was_expected_and_what_was_proven() {
    let set = with_cluster();
    let caller = pod("staging", "payment-svc");
    let host = Host::parse("api.stripe.com").unwrap();
    let path = RequestPath::parse("/v1/charges").unwrap();
    let transport = Transport::Tls;
    let request = Request {
        host: &host,
        port: 443,
        transport,
        method: "POST",
        path,
    };
    let Decision::Deny(denial) = set
        .decide(&caller, &request, &Context::at(NOW))
        .into_decision()
    else {
        panic!("not denied")
    };
    let expected = Mismatch {
        attribute: "k8s.namespace".to_owned(),
        expected: "production".to_owned(),
        actual: Some("staging".to_owned()),
    };
    assert_eq!(denial.reason(), &DenyReason::AttributeMismatch(expected));
    assert!(denial.policy().is_none());
}

#[test]
fn a_workload_identity_that_nothing_proves_is_a_warning_and_denied() {
    let set = compile(&quick_start(), &settings()).expect("a warning refuses nothing");
    let warnings: Vec<_> = set.warnings().iter().collect();
    let [warning] = warnings.as_slice() else {
        panic!("{}", set.warnings())
    };
    assert_eq!(
        (warning.severity, warning.code),
        (Severity::Warning, Code::Unproven)
    );
    let text = warning.to_string();
    let beginning = "workload-registration.yaml:9:11: warning: \
        WorkloadIdentity production/payment-service: spec.attestation.type: no trust provider";
    assert!(text.starts_with(beginning), "{text}");
    let answer = ask(
        &set,
        &pod("production", "payment-svc"),
        "POST https://api.stripe.com/v1/charges",
    );
    assert_eq!(
        answer,
        "trust-provider-not-accepted by allow:payment-service:stripe-api:all"
    );
}

#[test]
fn a_provider_of_the_configuration_proves_a_workload_identity() {
    let report = Report::new();
    let entry = b"name: cluster\ntype: kubernetes-service-account\nissuer: https://kubernetes.default.svc\n";
    let file = File::read("attache.yaml", entry, &report);
    let mut settings = settings();
    let provider = file
        .documents()
        .find_map(|at| TrustProvider::from_configuration(&at, &settings.trust_domain))
        .expect("a trust provider");
    assert_eq!(provider.audience, "attache");
    settings.trust_providers.push(provider);
    let set = compile(&quick_start(), &settings).expect("the quick start compiles");
    assert!(set.warnings().is_empty());
    assert_eq!(set.trust_providers().len(), 1);
    let call = "POST https://api.stripe.com/v1/charges";
    let answer = ask(&set, &pod("production", "payment-svc"), call);
    assert!(
        answer.starts_with("allow:payment-service:stripe-api:all"),
        "{answer}"
    );
}

#[test]
fn the_target_is_that_of_the_audience_and_no_other() {
    let set = with_cluster();
    let caller = pod("production", "payment-svc");
    assert_eq!(
        ask(&set, &caller, "GET https://api.stripe.com:8443/"),
        "no-policy"
    );
    assert_eq!(ask(&set, &caller, "GET https://stripe.com/"), "no-policy");
    let plaintext = ask(&set, &caller, "GET http://api.stripe.com:443/");
    assert_eq!(
        plaintext,
        "destination-plaintext by allow:payment-service:stripe-api:all"
    );
    let host = Host::parse("api.stripe.com").unwrap();
    let target = set.target(&host, 443).expect("a target");
    let injectable: Vec<_> = target.injectable().iter().map(|name| name.name()).collect();
    assert_eq!(injectable, ["authorization"]);
    assert!(set.target(&host, 80).is_none());
}
