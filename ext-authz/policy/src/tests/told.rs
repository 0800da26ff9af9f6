//! What is told of dry-run policies that would contradict others, and of tests that name what does not exist.

use super::{CLUSTER, compiled, refused};
use crate::{Code, Problems};

const GROUND: &str = r#"
apiVersion: attache.dev/v1
kind: ClientWorkload
metadata: {name: shop}
spec: {match: [{k8s.namespace: shop}]}
---
apiVersion: attache.dev/v1
kind: ClientWorkload
metadata: {name: web}
spec: {match: [{k8s.namespace: shop, k8s.serviceAccount: web}]}
---
apiVersion: attache.dev/v1
kind: ServerWorkload
metadata: {name: api}
spec: {host: api.example}
---
apiVersion: attache.dev/v1
kind: CredentialProvider
metadata: {name: one}
spec: {type: oidc-token, audience: one}
---
apiVersion: attache.dev/v1
kind: CredentialProvider
metadata: {name: two}
spec: {type: oidc-token, audience: two}
---
"#;

fn allow(name: &str, client: &str, credential: &str, mode: &str) -> String {
    format!(
        "---\napiVersion: attache.dev/v1\nkind: AccessPolicy\nmetadata: {{name: {name}}}\n\
         spec: {{effect: allow, mode: {mode}, client: {client}, server: api, trustProviders: [cluster], \
         credentialProvider: {credential}, actions: [all]}}\n"
    )
}

fn warnings(policies: &[String]) -> Problems {
    let set = compiled(&format!("{CLUSTER}{GROUND}{}", policies.concat()));
    set.warnings().clone()
}

#[test]
fn a_dry_run_policy_that_would_contradict_another_is_told_of_and_refuses_nothing() {
    let enforced = allow("a", "shop", "one", "enforce");
    for (other, word) in [
        (allow("b", "shop", "two", "dry-run"), "to the same client"),
        (allow("b", "web", "two", "dry-run"), "to callers of both"),
    ] {
        // In whichever order they stand.
        for policies in [
            [enforced.clone(), other.clone()],
            [other.clone(), enforced.clone()],
        ] {
            let told = warnings(&policies);
            assert_eq!(told.warning_count(), 1, "{told}");
            let told = told.to_string();
            assert!(told.contains("AccessPolicy b: metadata.name"), "{told}");
            assert!(
                told.contains("would grant another credential than a ("),
                "{told}"
            );
            assert!(
                told.contains(word) && told.contains("if it were enforced"),
                "{told}"
            );
        }
    }
    for silent in [
        allow("b", "shop", "one", "dry-run"),
        allow("b", "web", "one", "dry-run"),
    ] {
        let told = warnings(&[enforced.clone(), silent]);
        assert!(told.is_empty(), "{told}");
    }
    let told = warnings(&[
        allow("a", "shop", "one", "dry-run"),
        allow("b", "shop", "two", "dry-run"),
    ]);
    assert_eq!(told.warning_count(), 1, "two that are rehearsed: {told}");
}

#[test]
fn an_expression_that_reads_nothing_is_told_of() {
    for (expression, code) in [
        ("true", Code::MatchesEverything),
        ("1 == 1 || request.port == 1", Code::MatchesEverything),
        ("'a' == 'b'", Code::NeverOpens),
    ] {
        let condition = format!(
            "apiVersion: attache.dev/v1\nkind: AccessCondition\nmetadata: {{name: it}}\nspec: {{cel: \"{expression}\"}}\n"
        );
        let set = compiled(&condition);
        let told: Vec<Code> = set.warnings().iter().map(|it| it.code).collect();
        let reads = expression.contains("request");
        assert_eq!(
            told,
            if reads { vec![] } else { vec![code] },
            "{expression}"
        );
    }
}

fn test_of(case: &str) -> String {
    let policy = allow("known", "shop", "one", "enforce");
    let request = "request: {host: api.example, method: GET, path: /}";
    format!(
        "{CLUSTER}{GROUND}{policy}---\napiVersion: attache.dev/v1\nkind: PolicyTest\nmetadata: {{name: it}}\n\
         spec:\n  cases:\n    - attributes: {{k8s.namespace: shop, k8s.serviceAccount: web}}\n      {request}\n      \
         {case}\n"
    )
}

#[test]
fn a_test_that_names_a_policy_or_provider_which_does_not_exist_is_refused() {
    for sound in [
        "expect: {outcome: permitted, policy: known}",
        "expect: {outcome: permitted, policy: \"allow:shop:api:all\"}",
        "expect: {outcome: permitted}\n      trustProvider: cluster",
    ] {
        let set = compiled(&test_of(sound));
        assert!(set.warnings().is_empty(), "{}", set.warnings());
    }
    for (broken, place, message) in [
        (
            "expect: {outcome: permitted, policy: knwon}",
            "spec.cases[0].expect.policy",
            "no policy named \"knwon\"; did you mean \"known\"?",
        ),
        (
            "expect: {outcome: permitted, policy: \"allow:shop:api:al\"}",
            "spec.cases[0].expect.policy",
            "no policy named \"allow:shop:api:al\"; did you mean \"allow:shop:api:all\"?",
        ),
        (
            "expect: {outcome: permitted, policy: other/known}",
            "spec.cases[0].expect.policy",
            "no policy named \"other/known\"",
        ),
        (
            "expect: {outcome: permitted}\n      trustProvider: clustre",
            "spec.cases[0].trustProvider",
            "no TrustProvider named \"clustre\"; did you mean \"cluster\"?",
        ),
    ] {
        let told = refused(&test_of(broken));
        assert_eq!(told.error_count(), 1, "{told}");
        let told = told.to_string();
        assert!(told.contains(place) && told.contains(message), "{told}");
    }
}
