use std::collections::BTreeSet;

use super::{refused, settings, source};
use crate::{Code, Problems, Severity, Source, compile};

/// A broken set, and every line that is said about it. The lines are read by people: change them with
/// care, and say what to do in each.
const BROKEN: [(&str, &[u8]); 5] = [
    (
        "documents.yaml",
        include_bytes!("../../fixtures/broken/documents.yaml"),
    ),
    (
        "policies.yaml",
        include_bytes!("../../fixtures/broken/policies.yaml"),
    ),
    (
        "providers.yaml",
        include_bytes!("../../fixtures/broken/providers.yaml"),
    ),
    (
        "syntax.yaml",
        include_bytes!("../../fixtures/broken/syntax.yaml"),
    ),
    (
        "workloads.yaml",
        include_bytes!("../../fixtures/broken/workloads.yaml"),
    ),
];
const EXPECTED: &str = include_str!("../../fixtures/broken/expected.txt");

fn broken() -> Problems {
    let file = |(name, text): &(&str, &[u8])| Source {
        name: (*name).into(),
        text: text.to_vec(),
    };
    let sources: Vec<_> = BROKEN.iter().map(file).collect();
    compile(&sources, &settings()).expect_err("a broken set")
}

#[test]
fn every_problem_of_a_broken_set_is_told_in_one_run() {
    let problems = broken().to_string();
    for (told, expected) in problems.lines().zip(EXPECTED.lines()) {
        assert_eq!(told, expected);
    }
    assert_eq!(
        problems.lines().count(),
        EXPECTED.lines().count(),
        "{problems}"
    );
}

#[test]
fn the_broken_set_shows_thirty_kinds_of_problems_each_with_its_place() {
    let problems = broken();
    let codes: BTreeSet<Code> = problems.iter().map(|problem| problem.code).collect();
    assert!(codes.len() >= 30, "{codes:?}");
    for problem in problems.iter() {
        let place = &problem.place;
        assert!(place.line > 0 && place.column > 0, "{problem}");
        assert!(
            !place.path.is_empty() || problem.code.is_of_a_file(),
            "{problem}"
        );
    }
}

impl Code {
    /// Told before there is a document to speak of.
    fn is_of_a_file(self) -> bool {
        [Self::Syntax, Self::Tag, Self::DuplicateKey].contains(&self)
    }
}

#[test]
fn a_problem_does_not_repeat_what_may_be_a_secret() {
    let problems = broken().to_string();
    assert!(!problems.contains("hunter2"), "{problems}");
    assert!(!problems.contains("user:secret"), "{problems}");
    assert!(!problems.contains("c2VjcmV0"), "{problems}");
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
    let report = crate::Report::new();
    let text = b"name: cluster\ntype: oidc\nissuer: https://one.example\n";
    let file = crate::yaml::File::read("attache.yaml", text, &report);
    let mut settings = settings();
    settings
        .trust_providers
        .extend(file.documents().filter_map(|at| {
            crate::document::TrustProvider::from_configuration(&at, &settings.trust_domain)
        }));
    let problems = compile(&[source("set.yaml", super::CLUSTER)], &settings).expect_err("a clash");
    let expected = "set.yaml:4:18: TrustProvider cluster: metadata.name: \
        the name \"cluster\" is already taken at attache.yaml:1; rename or remove one of them";
    assert_eq!(problems.to_string(), expected);
}
