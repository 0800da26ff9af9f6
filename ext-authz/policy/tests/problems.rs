//! What is told of a broken set, and what is not.
// `cfg(test)` tells clippy that a failed expectation is an answer here.
#![cfg(test)]

use attache_core::spiffe_id::TrustDomain;
use attache_policy::{
    Code, Problems, Report, Settings, Severity, Source, compile, document::TrustProvider,
    yaml::File,
};

const CLUSTER: &str = "
apiVersion: attache.dev/v1
kind: TrustProvider
metadata: {name: cluster}
spec: {type: kubernetes-service-account, issuer: https://kubernetes.default.svc.cluster.local}
";

fn settings() -> Settings {
    Settings {
        trust_domain: TrustDomain::parse("cluster.local").unwrap(),
        trust_providers: Vec::new(),
    }
}

fn source(name: &str, text: &str) -> Source {
    Source {
        name: name.to_owned(),
        text: text.as_bytes().to_vec(),
    }
}

fn refused(text: &str) -> Problems {
    compile(&[source("set.yaml", text)], &settings()).expect_err("a refused set")
}

#[test]
fn a_reference_to_a_refused_document_is_not_told_as_dangling() {
    let problems = refused(
        "
apiVersion: attache.dev/v1
kind: ServerWorkload
metadata: {name: api}
spec: {host: 'api:1'}
---
apiVersion: attache.dev/v1
kind: ClientWorkload
metadata: {name: web}
spec: {match: []}
---
apiVersion: attache.dev/v1
kind: AccessPolicy
metadata: {name: web-to-api}
spec: {client: web, server: api, actions: [read], effect: deny}
",
    );
    let codes: Vec<_> = problems.iter().map(|problem| problem.code).collect();
    assert_eq!(codes, [Code::InvalidHost, Code::Empty], "{problems}");
}

#[test]
fn the_problems_of_earlier_documents_are_told_beside_a_syntax_error() {
    let problems = refused("kind: Nothing\n---\nkind: {\n");
    assert!(
        problems
            .iter()
            .any(|problem| problem.code == Code::UnknownKind),
        "{problems}"
    );
    assert!(
        problems.iter().any(|problem| problem.code == Code::Syntax),
        "{problems}"
    );
    assert!(
        problems
            .iter()
            .all(|problem| problem.severity == Severity::Error)
    );
}

#[test]
fn a_name_taken_in_the_configuration_is_told_with_both_places() {
    let report = Report::new();
    let text = b"name: cluster\ntype: oidc\nissuer: https://one.example\n";
    let file = File::read("attache.yaml", text, &report);
    let mut settings = settings();
    settings.trust_providers.extend(
        file.documents()
            .filter_map(|at| TrustProvider::from_configuration(&at, &settings.trust_domain)),
    );
    let problems = compile(&[source("set.yaml", CLUSTER)], &settings).expect_err("a clash");
    let expected = "set.yaml:4:18: TrustProvider cluster: metadata.name: \
        the name \"cluster\" is already taken at attache.yaml:1; rename or remove one of them";
    assert_eq!(problems.to_string(), expected);
}
