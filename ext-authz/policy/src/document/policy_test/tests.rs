use attache_core::{event::Outcome, spiffe_id::TrustDomain};

use super::{PolicyTest, policy_tests};
use crate::{Problems, Settings, Source, compile};

fn settings() -> Settings {
    Settings {
        trust_domain: TrustDomain::parse("cluster.local").unwrap(),
        trust_providers: Vec::new(),
    }
}

fn document(cases: &str) -> Source {
    let head =
        "apiVersion: attache.dev/v1\nkind: PolicyTest\nmetadata: {name: t, namespace: shop}\n";
    let text = format!("{head}spec:\n  cases:\n{cases}");
    Source {
        name: "t.yaml".to_owned(),
        text: text.into_bytes(),
    }
}

fn read(cases: &str) -> PolicyTest {
    let mut tests = policy_tests(&[document(cases)], &settings()).unwrap();
    assert_eq!(tests.len(), 1);
    tests.remove(0)
}

fn problems(cases: &str) -> Problems {
    let told = policy_tests(&[document(cases)], &settings()).unwrap_err();
    // A server refuses the same, in the same words.
    assert_eq!(compile(&[document(cases)], &settings()).unwrap_err(), told);
    told
}

const CASE: &str = "    - attributes: {k8s.namespace: shop}
      request: {host: a.test, method: GET, path: /}
      expect: {outcome: denied}
";

#[test]
fn what_is_not_written_has_its_default() {
    let test = read(CASE);
    let [case] = test.cases.as_slice() else {
        panic!("{test:?}")
    };
    assert_eq!((case.name.as_str(), case.place.line), ("case 1", 6));
    assert_eq!(case.call.port, 443);
    assert_eq!(
        (case.expect.outcome, &case.expect.policy),
        (Outcome::Denied, &None)
    );
    let plain = read(&CASE.replace("path: /", "path: /, transport: plaintext"));
    assert_eq!(plain.cases[0].call.port, 80);
}

#[test]
fn a_request_that_can_be_read_in_two_ways_is_a_case_like_others() {
    let test = read(
        &CASE
            .replace("path: /", "path: /a/..%2f")
            .replace("a.test", "'no host'"),
    );
    assert_eq!(test.cases[0].call.path, "/a/..%2f");
    assert_eq!(test.cases[0].call.host, "no host");
}

#[test]
fn the_policy_is_named_by_its_document_or_by_what_matched() {
    let test = read(CASE);
    let (name, matched) = (Some("shop/p"), Some("allow:c:s:read"));
    for expected in ["p", "shop/p", "allow:c:s:read"] {
        assert!(test.means(expected, name, matched), "{expected}");
    }
    for expected in ["q", "lab/p", "allow:c:s:write", "read", ""] {
        assert!(!test.means(expected, name, matched), "{expected}");
    }
    // A global document of the name is one, too; nothing at all is none.
    assert!(test.means("p", Some("p"), None));
    assert!(!test.means("p", None, None));
}

#[test]
fn a_mistake_in_a_test_is_told_with_its_place_and_the_way_out() {
    for (cases, told) in [
        (
            CASE.replace("k8s.namespace", "k8s.namespase"),
            "did you mean \"k8s.namespace\"?",
        ),
        (
            CASE.replace("outcome: denied", "outcome: refused"),
            "refused",
        ),
        (
            CASE.replace("outcome: denied", "outcome: permitted, code: no-policy"),
            "has no code",
        ),
        (
            CASE.replace("outcome: denied", "outcome: denied, code: no-polcy"),
            "did you mean \"no-policy\"?",
        ),
        (
            CASE.replace("outcome: denied", "outcome: denied, code: token-expired"),
            "write one of no-policy",
        ),
        (
            CASE.replace("outcome: denied", "outcome: error, code: no-policy"),
            "`outcome: denied`",
        ),
        (
            CASE.replace("path: /", "path: /, at: noon"),
            "2026-06-15T08:30:00Z",
        ),
        (
            CASE.replace("path: /", "path: /, source: '10.0.0.1:80'"),
            "without port",
        ),
        (
            CASE.replace("path: /", "path: /, source: 10.0.0.1, country: Germany"),
            "ISO 3166-1",
        ),
        (CASE.replace("path: /", "path: /, country: DE"), "source"),
        (CASE.replace("method: GET, ", ""), "method"),
        (CASE.replace("expect:", "expects:"), "expect"),
        ("    []\n".to_owned(), "empty"),
    ] {
        let problems = problems(&cases).to_string();
        assert!(
            problems.contains(told) && problems.contains("t.yaml:"),
            "{told}: {problems}"
        );
    }
}

#[test]
fn two_tests_of_one_name_are_told() {
    let twice = [
        document(CASE),
        Source {
            name: "u.yaml".to_owned(),
            ..document(CASE)
        },
    ];
    let problems = compile(&twice, &settings()).unwrap_err().to_string();
    assert!(problems.contains("already taken"), "{problems}");
}

#[test]
fn a_server_takes_no_notice_of_a_test() {
    let set = compile(&[document(CASE)], &settings()).unwrap();
    assert_eq!(set.policy_count(), 0);
    assert!(set.warnings().is_empty(), "{}", set.warnings());
    assert!(!set.asks_about("k8s.namespace"));
}
