use std::{fs, path::Path, process::ExitCode};

use serde_json::Value;
use tempfile::TempDir;

use super::{Output, Tally, TestArgs, Tried, report, run, try_all};

const SET: &str = "
apiVersion: attache.dev/v1
kind: TrustProvider
metadata: {name: cluster}
spec: {type: kubernetes-service-account, issuer: https://cluster.example}
---
apiVersion: attache.dev/v1
kind: ClientWorkload
metadata: {name: web}
spec: {match: [{k8s.namespace: shop, k8s.serviceAccount: web}]}
---
apiVersion: attache.dev/v1
kind: ServerWorkload
metadata: {name: api}
spec: {host: api.test}
---
apiVersion: attache.dev/v1
kind: ServerWorkload
metadata: {name: night}
spec: {host: night.test}
---
apiVersion: attache.dev/v1
kind: AccessCondition
metadata: {name: at-night}
spec: {time: {timeZone: UTC, windows: [{days: [mon, tue, wed, thu, fri, sat, sun], from: '22:00', to: '05:00'}]}}
---
apiVersion: attache.dev/v1
kind: AccessCondition
metadata: {name: from-germany}
spec: {geography: {countries: [DE]}}
---
apiVersion: attache.dev/v1
kind: AccessPolicy
metadata: {name: web-to-api}
spec: {effect: allow, client: web, server: api, trustProviders: [cluster], actions: [read], conditions: [from-germany]}
---
apiVersion: attache.dev/v1
kind: AccessPolicy
metadata: {name: web-at-night}
spec: {effect: allow, client: web, server: night, trustProviders: [cluster], actions: [all], conditions: [at-night]}
";

const HEAD: &str = "
---
apiVersion: attache.dev/v1
kind: PolicyTest
metadata: {name: shop}
spec:
  cases:
";

fn case(name: &str, host: &str, more: &str, expect: &str) -> String {
    format!(
        "    - name: {name}
      attributes: {{k8s.namespace: shop, k8s.serviceAccount: web}}
      request: {{host: {host}, method: GET, path: /{more}}}
      expect: {{{expect}}}
"
    )
}

fn folder(cases: &[String]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let tests = if cases.is_empty() {
        String::new()
    } else {
        format!("{HEAD}{}", cases.concat())
    };
    fs::write(folder.path().join("set.yaml"), format!("{SET}{tests}")).unwrap();
    folder
}

fn args(folder: &Path, output: Output) -> TestArgs {
    TestArgs {
        directory: folder.to_path_buf(),
        config: None,
        only: None,
        output,
    }
}

fn tried(cases: &[String]) -> Vec<Tried> {
    try_all(&args(folder(cases).path(), Output::Text)).unwrap()
}

fn difference(case: String) -> String {
    match tried(&[case]).remove(0).result {
        Tally::Passed => "passed".to_owned(),
        Tally::Failed(differences, _) => differences.join("; "),
        Tally::Impossible(why) => why,
    }
}

const GERMAN: &str = ", source: 192.0.2.1, country: DE";

#[test]
fn a_case_passes_when_all_that_is_written_is_so() {
    for (more, expect) in [
        (GERMAN, "outcome: permitted"),
        (GERMAN, "outcome: permitted, policy: web-to-api"),
        (GERMAN, "outcome: permitted, policy: 'allow:web:api:read'"),
        (
            ", source: 192.0.2.1, country: FR",
            "outcome: denied, code: condition-not-met, policy: web-to-api",
        ),
        ("", "outcome: denied, code: condition-unavailable"),
        ("..%2f", "outcome: denied, code: path-ambiguous"),
        (
            ", transport: plaintext, port: 443, source: 192.0.2.1, country: DE",
            "outcome: denied, code: destination-plaintext",
        ),
    ] {
        assert_eq!(
            difference(case("it", "api.test", more, expect)),
            "passed",
            "{more} {expect}"
        );
    }
}

#[test]
fn each_difference_of_a_failing_case_is_told() {
    let told = difference(case(
        "it",
        "api.test",
        GERMAN,
        "outcome: denied, code: no-policy, policy: web-at-night",
    ));
    assert_eq!(
        told,
        "outcome: expected denied, actual permitted; code: expected no-policy, actual none; \
         policy: expected web-at-night, actual web-to-api (allow:web:api:read)"
    );
    let told = difference(case(
        "it",
        "elsewhere.test",
        "",
        "outcome: denied, policy: web-to-api",
    ));
    assert_eq!(told, "policy: expected web-to-api, actual none");
}

#[test]
fn a_case_that_would_pass_by_day_and_fail_by_night_is_refused_until_it_says_when() {
    let told = difference(case("it", "night.test", "", "outcome: denied"));
    assert!(told.contains("depends on the time"), "{told}");
    let by_day = case(
        "it",
        "night.test",
        ", at: '2026-06-15T12:00:00Z'",
        "outcome: denied, code: condition-not-met",
    );
    assert_eq!(difference(by_day), "passed");
    let by_night = case(
        "it",
        "night.test",
        ", at: '2026-06-15T23:00:00Z'",
        "outcome: permitted",
    );
    assert_eq!(difference(by_night), "passed");
}

#[test]
fn a_caller_that_no_evidence_could_prove_fails_its_case() {
    let one = case("it", "api.test", GERMAN, "outcome: permitted");
    for (changed, told) in [
        (one.replace("k8s.namespace: shop, ", ""), "k8s.namespace"),
        (
            one.replace("k8s.namespace: shop", "claims.team: red"),
            "name the trust provider",
        ),
    ] {
        let difference = difference(changed);
        assert!(difference.contains(told), "{told}: {difference}");
    }
}

#[test]
fn a_case_that_names_what_the_set_has_not_is_a_problem_of_the_set() {
    let one = case("it", "api.test", GERMAN, "outcome: permitted, policy: web");
    let other = one.replace("attributes:", "trustProvider: clutser\n      attributes:");
    let folder = folder(&[one, other]);
    let refused = try_all(&args(folder.path(), Output::Text)).err().unwrap();
    let told = refused.to_string();
    assert!(told.contains("no policy named \"web\""), "{told}");
    assert!(told.contains("did you mean \"cluster\"?"), "{told}");
}

fn code(cases: &[String], only: Option<&str>) -> ExitCode {
    let folder = folder(cases);
    let args = TestArgs {
        only: only.map(str::to_owned),
        ..args(folder.path(), Output::Text)
    };
    run(&args).unwrap()
}

#[test]
fn the_exit_code_tells_a_failed_case_from_a_set_that_cannot_be_tested() {
    let good = case("good", "api.test", GERMAN, "outcome: permitted");
    let bad = case("bad", "api.test", GERMAN, "outcome: denied");
    assert_eq!(code(std::slice::from_ref(&good), None), ExitCode::SUCCESS);
    assert_eq!(code(&[good.clone(), bad.clone()], None), ExitCode::FAILURE);
    assert_eq!(code(&[good.clone(), bad], Some("good")), ExitCode::SUCCESS);
    // Nothing that is tested must not look like everything passed.
    assert_eq!(code(&[], None), ExitCode::from(2));
    assert_eq!(
        code(std::slice::from_ref(&good), Some("nothing")),
        ExitCode::from(2)
    );
    assert_eq!(
        code(&[good.replace("outcome", "outcom")], None),
        ExitCode::from(2)
    );
}

/// One case that passes and one that fails, with a name that XML could be broken by.
fn two() -> Vec<Tried> {
    tried(&[
        case("good", "api.test", GERMAN, "outcome: permitted"),
        case("'<b> & \"c\"'", "api.test", GERMAN, "outcome: denied"),
    ])
}

#[test]
fn the_text_ends_with_the_counts_and_explains_what_failed() {
    let text = report::text(&two()).unwrap();
    assert!(text.ends_with("\n1 passed, 1 failed\n"), "{text}");
    assert!(text.contains("ok   shop: good\n"), "{text}");
    assert!(text.contains("FAIL shop: <b> & \"c\"\n"), "{text}");
    assert!(
        text.contains("set.yaml:") && text.contains("PERMITTED by allow:web:api:read"),
        "{text}"
    );
}

#[test]
fn the_json_has_every_case_with_its_explanation() {
    let report: Value = serde_json::from_str(&report::json(&two()).unwrap()).unwrap();
    assert_eq!(
        (&report["passed"], &report["failed"]),
        (&1.into(), &1.into())
    );
    let [good, bad] = report["cases"].as_array().unwrap().as_slice() else {
        panic!("{report}")
    };
    assert_eq!(
        (&good["result"], &good["explanation"]),
        (&"passed".into(), &Value::Null)
    );
    assert_eq!(bad["result"], "failed");
    assert_eq!(bad["explanation"]["verdict"]["outcome"], "permitted");
    assert!(bad["line"].as_u64() > good["line"].as_u64(), "{report}");
}

#[test]
fn the_junit_report_escapes_what_xml_would_read() {
    let report = report::junit(&two()).unwrap();
    assert!(
        report.contains("<testsuites name=\"attache test\" tests=\"2\" failures=\"1\">"),
        "{report}"
    );
    assert!(
        report.contains("name=\"&lt;b&gt; &amp; &quot;c&quot;\""),
        "{report}"
    );
    assert_eq!(report.matches("<failure ").count(), 1, "{report}");
    assert_eq!(report.matches("<testcase ").count(), 2, "{report}");
}
