use super::*;

/// Who may hold a token, and where it would be good.
pub(super) const SET: &str = "
apiVersion: attache.dev/v1
kind: ServerWorkload
metadata: {name: books}
spec: {host: books.test}
---
apiVersion: attache.dev/v1
kind: ServerWorkload
metadata: {name: shelves}
spec: {host: '*.shelves.test', port: 8443}
---
apiVersion: attache.dev/v1
kind: CredentialProvider
metadata: {name: books-token}
spec: {type: oidc-token, audience: books}
---
apiVersion: attache.dev/v1
kind: CredentialProvider
metadata: {name: shelves-token}
spec: {type: oidc-token, audience: shelves}
---
apiVersion: attache.dev/v1
kind: AccessPolicy
metadata: {name: web-to-books}
spec: {effect: allow, client: web, server: books, trustProviders: [cluster], actions: [all], credentialProvider: books-token}
---
apiVersion: attache.dev/v1
kind: AccessPolicy
metadata: {name: web-to-shelves}
spec: {effect: allow, client: web, server: shelves, trustProviders: [cluster], actions: [all], credentialProvider: shelves-token}
---
apiVersion: attache.dev/v1
kind: AccessPolicy
metadata: {name: no-closed-shelves}
spec: {effect: deny, client: web, server: shelves, actions: [{name: closed, methods: [PUT], paths: [/closed]}]}
";

fn token(audience: Option<&str>, resource: Option<&str>, caller: Caller) -> Call {
    Call {
        token: Some(TokenWanted {
            audience: audience.map(str::to_owned),
            resource: resource.map(str::to_owned),
        }),
        ..call(caller)
    }
}

#[tokio::test]
async fn a_token_for_the_callers_own_hands_is_explained_by_the_call_that_it_rests_on() {
    let told = explain(&token(Some("books"), None, web())).await;
    let given = told.verdict.credential.as_ref().expect("a token");
    assert_eq!(
        (told.stage, told.verdict.outcome, given.provider.as_str()),
        (Stage::Policy, Outcome::Permitted, "books-token")
    );
    let rests_on = |told: &Explained| {
        let call = told
            .token
            .clone()
            .expect("a token")
            .rests_on
            .expect("a call");
        (
            call.method,
            format!("{}:{}{}", call.host, call.port, call.path),
        )
    };
    assert_eq!(rests_on(&told), (None, "books.test:443/".to_owned()));

    // One call of the target is denied, which only a host says that no policy names.
    let resource = Some("https://top.shelves.test:8443");
    let told = explain(&token(None, resource, web())).await;
    assert_eq!(code(&told), Some("denied-by-policy"));
    assert_eq!(told.verdict.policy.as_deref(), Some("no-closed-shelves"));
    let put = Some("PUT".to_owned());
    assert_eq!(
        rests_on(&told),
        (put, "top.shelves.test:8443/closed".to_owned())
    );
    let policies = &told.policy.as_ref().expect("policies").policies;
    assert_eq!(policies[0].policy, "no-closed-shelves");

    // Reading alone is too narrow, and the call that is not allowed is told.
    let told = explain(&token(Some("api"), None, web())).await;
    assert_eq!(code(&told), Some("policy-too-narrow"));
    assert_eq!(told.verdict.policy.as_deref(), Some("web-to-api"));
    assert_eq!(rests_on(&told), (None, "api.test:443/".to_owned()));

    let told = explain(&token(Some("nowhere"), None, web())).await;
    assert_eq!(code(&told), Some("no-policy"));
    assert_eq!(told.token.expect("a token").rests_on, None);
}

#[tokio::test]
async fn what_is_said_of_a_token_must_be_whole() {
    for (audience, resource, caller, expected) in [
        (None, None, web(), Err("say whom the token is for")),
        (
            None,
            Some("https://a.test/v1"),
            web(),
            Err("a resource is the origin"),
        ),
        (
            Some("books"),
            None,
            Caller::Request {},
            Ok("evidence-missing"),
        ),
    ] {
        let call = token(audience, resource, caller);
        let told = explain_by(
            &by_header(),
            Unmatched::PassWithoutCredential,
            Enforcement::Observe,
            &call,
        )
        .await;
        match (told, expected) {
            (Ok(told), Ok(expected)) => {
                assert_eq!((code(&told), told.mode), (Some(expected), Mode::Enforce));
            }
            (Err(error), Err(expected)) => {
                assert!(error.to_string().contains(expected), "{error}");
            }
            (told, expected) => panic!("{expected:?}: {told:?}"),
        }
    }
}
