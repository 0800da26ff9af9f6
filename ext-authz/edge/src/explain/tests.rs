use std::{path::PathBuf, sync::Arc};

use attache_core::{
    attributes::Attributes,
    event::{Mode, Outcome},
    header::HeaderName,
    secret::Secret,
    spiffe_id::TrustDomain,
    time::Timestamp,
};
use attache_policy::{Compiled, Nowhere, Settings, Source, compile};
use attache_trust::{Trust, TrustSettings};

use super::{
    Call, Caller, Explained, Explainer, Proof, Stage, Token, TokenWanted, Unexplainable,
    Verification,
};
use crate::settings::{
    Bind, DestinationRule, Enforcement, EvidenceSource, ListenerSettings, OverrideHeaders,
    UnixBind, Unmatched,
};

mod tokens;

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

const SET: &str = "
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
spec: {match: [{k8s.namespace: shop, k8s.serviceAccount: web}]}
---
apiVersion: attache.dev/v1
kind: ServerWorkload
metadata: {name: api}
spec: {host: api.test, authentication: {method: header, name: x-key}}
---
apiVersion: attache.dev/v1
kind: CredentialProvider
metadata: {name: token}
spec: {type: oidc-token, audience: api}
---
apiVersion: attache.dev/v1
kind: AccessCondition
metadata: {name: from-germany}
spec: {geography: {countries: [DE]}}
---
apiVersion: attache.dev/v1
kind: AccessPolicy
metadata: {name: web-to-api}
spec: {effect: allow, client: web, server: api, trustProviders: [cluster], actions: [read], credentialProvider: token}
---
apiVersion: attache.dev/v1
kind: AccessPolicy
metadata: {name: not-from-germany}
spec: {effect: deny, mode: dry-run, client: web, server: api, actions: [all], conditions: [from-germany]}
";

/// Who may call without evidence.
const OPEN: &str = "
apiVersion: attache.dev/v1
kind: ClientWorkload
metadata: {name: probe}
spec: {match: [{unproven.sourceAddress: 10.0.0.7}]}
---
apiVersion: attache.dev/v1
kind: ServerWorkload
metadata: {name: status}
spec: {host: status.test}
---
apiVersion: attache.dev/v1
kind: AccessPolicy
metadata: {name: probe-to-status}
spec: {effect: allow, client: probe, server: status, attestation: none, actions: [read]}
";

fn set() -> Compiled {
    let trust_domain = TrustDomain::parse("cluster.local").unwrap();
    let settings = Settings {
        trust_domain,
        trust_providers: Vec::new(),
    };
    let source = |name: &str, text: &str| Source {
        name: name.to_owned(),
        text: text.as_bytes().to_vec(),
    };
    let sources = [
        source("set.yaml", SET),
        source("open.yaml", OPEN),
        source("tokens.yaml", tokens::SET),
    ];
    compile(&sources, &settings).unwrap_or_else(|problems| panic!("{problems}"))
}

fn listener(evidence: EvidenceSource) -> ListenerSettings {
    let path = PathBuf::from("unused.sock");
    ListenerSettings {
        name: "egress".to_owned(),
        bind: Bind::Unix(UnixBind {
            path,
            mode: 0o600,
            group: None,
            allowed_uids: vec![],
        }),
        evidence,
        destination: DestinationRule::VouchedByRoute,
        trusted_hops: 0,
        override_headers: OverrideHeaders::Deny,
    }
}

fn by_header() -> ListenerSettings {
    listener(EvidenceSource::header(
        HeaderName::parse_evidence("x-attache-evidence").unwrap(),
    ))
}

fn caller(written: &[(&str, &str)]) -> Caller {
    let mut attributes = Attributes::new();
    for (name, value) in written {
        attributes.set((*name).to_owned(), value);
    }
    Caller::Attributes {
        trust_provider: None,
        attributes,
    }
}

fn web() -> Caller {
    caller(&[("k8s.namespace", "shop"), ("k8s.serviceAccount", "web")])
}

/// `GET https://api.test/v1` by `caller`.
fn call(caller: Caller) -> Call {
    Call {
        method: "GET".to_owned(),
        target: "/v1?q=1".to_owned(),
        authority: "api.test".to_owned(),
        origin: "https://api.test:443".to_owned(),
        headers: Vec::new(),
        source: None,
        country: None,
        at: None,
        listener: None,
        policies: None,
        token: None,
        caller,
    }
}

async fn explain_by(
    listener: &ListenerSettings,
    unmatched: Unmatched,
    enforcement: Enforcement,
    call: &Call,
) -> Result<Explained, Unexplainable> {
    let (policies, trust) = (set(), Trust::new(TrustSettings::new(Arc::new(|| NOW))));
    let explainer = Explainer {
        policies: &policies,
        trust: &trust,
        geography: &Nowhere,
        listener,
        unmatched,
        enforcement,
    };
    explainer.explain(call, NOW).await
}

async fn explain(call: &Call) -> Explained {
    explain_by(&by_header(), Unmatched::Deny, Enforcement::Enforce, call)
        .await
        .unwrap()
}

fn code(explained: &Explained) -> Option<&str> {
    explained.verdict.code.as_deref()
}

#[tokio::test]
async fn a_permit_tells_the_call_the_caller_and_the_credential() {
    let told = explain(&call(web())).await;
    assert_eq!(
        (told.verdict.outcome, told.stage, told.mode),
        (Outcome::Permitted, Stage::Policy, Mode::Enforce)
    );
    assert_eq!(
        (
            told.call.host.as_str(),
            told.call.port,
            told.call.path.as_str()
        ),
        ("api.test", Some(443), "/v1")
    );
    assert_eq!(told.call.at, NOW);
    let caller = told.caller.unwrap();
    assert_eq!(
        (caller.proof, caller.trust_provider.as_str()),
        (Proof::Supposed, "cluster")
    );
    assert_eq!(caller.spiffe_id, "spiffe://cluster.local/ns/shop/sa/web");
    assert_eq!(
        told.verdict.credential.unwrap().header.as_deref(),
        Some("x-key")
    );
}

#[expect(clippy::too_many_lines, reason = "one stage after the other")]
#[tokio::test]
async fn each_stage_that_settles_a_call_is_named() {
    let with = |change: fn(&mut Call)| {
        let mut call = call(web());
        change(&mut call);
        call
    };
    let header = |name: &str| vec![(name.to_owned(), "x".to_owned())];
    for (call, stage, expected) in [
        (
            with(|it| it.target = "/a/..%2f".to_owned()),
            Stage::Request,
            "path-ambiguous",
        ),
        (
            with(|it| it.authority = "two words".to_owned()),
            Stage::Request,
            "host-ambiguous",
        ),
        (
            with(|it| it.method = "TRACE".to_owned()),
            Stage::Request,
            "method-refused",
        ),
        (
            with(|it| it.origin = "https://other.test".to_owned()),
            Stage::Request,
            "destination-mismatch",
        ),
        (
            Call {
                headers: header("x_key"),
                ..call(web())
            },
            Stage::Headers,
            "header-ambiguous",
        ),
        (
            Call {
                headers: header("x-original-url"),
                ..call(web())
            },
            Stage::Headers,
            "request-overridden",
        ),
        (
            call(Caller::Request {}),
            Stage::Evidence,
            "evidence-missing",
        ),
        (
            call(Caller::Unproven {
                said: Attributes::new(),
            }),
            Stage::Evidence,
            "evidence-missing",
        ),
        (
            with(|it| it.method = "POST".to_owned()),
            Stage::Policy,
            "no-policy",
        ),
    ] {
        let told = explain(&call).await;
        assert_eq!(
            (told.stage, code(&told)),
            (stage, Some(expected)),
            "{call:?}"
        );
        assert_eq!(told.policy.is_some(), stage == Stage::Policy, "{call:?}");
    }
}

#[tokio::test]
async fn what_no_policy_matches_passes_where_the_edge_lets_it() {
    let elsewhere = Call {
        authority: "elsewhere.test".to_owned(),
        origin: "https://elsewhere.test".to_owned(),
        ..call(Caller::Request {})
    };
    let unmatched_here = Call {
        method: "POST".to_owned(),
        ..call(web())
    };
    for call in [elsewhere, unmatched_here] {
        let pass = Unmatched::PassWithoutCredential;
        let told = explain_by(&by_header(), pass, Enforcement::Enforce, &call)
            .await
            .unwrap();
        assert_eq!(
            (told.stage, code(&told)),
            (Stage::Unmatched, Some("unmatched-passed")),
            "{call:?}"
        );
        assert_eq!(told.verdict.outcome, Outcome::Permitted);
        assert_eq!(told.verdict.credential, None);
    }
}

#[tokio::test]
async fn an_observing_edge_is_told_beside_the_verdict() {
    let denied = Call {
        method: "POST".to_owned(),
        ..call(web())
    };
    let told = explain_by(&by_header(), Unmatched::Deny, Enforcement::Observe, &denied)
        .await
        .unwrap();
    assert_eq!(
        (told.mode, told.verdict.outcome),
        (Mode::Observe, Outcome::Denied)
    );
}

/// A token that nobody signed.
fn jwt(claims: &str) -> Token {
    use base64ct::{Base64UrlUnpadded, Encoding as _};
    let part = |text: &str| Base64UrlUnpadded::encode_string(text.as_bytes());
    Token(Secret::new(format!(
        "{}.{}.{}",
        part(r#"{"alg":"RS256"}"#),
        part(claims),
        part("s")
    )))
}

const JOB: &str = r#"{"iss":"https://forge.example","sub":"job-1","team":"red"}"#;

#[tokio::test]
async fn evidence_that_is_not_verified_is_told_as_such_and_never_repeated() {
    let skip = Caller::Evidence {
        token: jwt(JOB),
        verification: Verification::Skip,
    };
    let told = explain(&call(skip)).await;
    let caller = told.caller.as_ref().unwrap();
    assert_eq!(
        (caller.proof, caller.spiffe_id.as_str()),
        (
            Proof::Unverified,
            "spiffe://cluster.local/oidc/forge/sub/job-1"
        )
    );
    let secret = jwt(JOB);
    let signature = secret.0.expose().rsplit('.').next().unwrap().to_owned();
    for text in [serde_json::to_string(&told).unwrap(), format!("{told:?}")] {
        assert!(
            !text.contains(secret.0.expose()) && !text.contains(&format!(".{signature}")),
            "{text}"
        );
    }
    // Verified, the same token is worth nothing: no key of its issuer is known.
    let verify = Caller::Evidence {
        token: jwt(JOB),
        verification: Verification::Verify,
    };
    let told = explain(&call(verify)).await;
    assert_eq!(
        (told.stage, code(&told), told.caller.is_some()),
        (Stage::Evidence, Some("issuer-unknown"), false)
    );
}

#[tokio::test]
async fn evidence_stands_where_the_listener_looks_for_it() {
    let skip = || Caller::Evidence {
        token: jwt(JOB),
        verification: Verification::Skip,
    };
    let mut call = call(skip());
    // It takes the place of the request's own.
    call.headers = vec![("x-attache-evidence".to_owned(), "another".to_owned())];
    assert_eq!(explain(&call).await.caller.unwrap().trust_provider, "forge");
    // A pod's own token file is read as for a real request.
    let sidecar = listener(EvidenceSource::TokenFile(PathBuf::from("no-such-file")));
    call.caller = Caller::Request {};
    call.headers.clear();
    let told = explain_by(&sidecar, Unmatched::Deny, Enforcement::Enforce, &call)
        .await
        .unwrap();
    assert_eq!(
        (told.stage, code(&told)),
        (Stage::Evidence, Some("evidence-unreadable"))
    );
}

#[tokio::test]
async fn a_country_that_is_said_stands_in_for_the_database() {
    let mut call = call(web());
    call.source = Some("192.0.2.1".parse().unwrap());
    for (country, would_be) in [("DE", Outcome::Denied), ("FR", Outcome::Permitted)] {
        call.country = Some(country.to_owned());
        let told = explain(&call).await;
        assert_eq!(
            told.policy.unwrap().would_be.unwrap().outcome,
            would_be,
            "{country}"
        );
    }
    call.country = Some("Germany".to_owned());
    let refused = explain_by(&by_header(), Unmatched::Deny, Enforcement::Enforce, &call).await;
    assert!(matches!(refused, Err(Unexplainable::Country(code)) if code == "Germany"));
}

#[tokio::test]
async fn a_caller_that_cannot_be_is_not_explained() {
    let unknown = Caller::Attributes {
        trust_provider: Some("clutser".to_owned()),
        attributes: Attributes::new(),
    };
    for (caller, told) in [
        (unknown, "cluster, forge"),
        (caller(&[]), "cluster, forge"),
        (caller(&[("k8s.namespace", "shop")]), "k8s.serviceAccount"),
        (
            caller(&[("k8s.namespace", "shop"), ("claims.sub", "a")]),
            "none of the fitting type",
        ),
    ] {
        let call = call(caller);
        let refused = explain_by(&by_header(), Unmatched::Deny, Enforcement::Enforce, &call).await;
        let refused = refused.unwrap_err().to_string();
        assert!(refused.contains(told), "{told}: {refused}");
    }
}

#[tokio::test]
async fn a_recorded_caller_whose_provider_is_gone_would_not_be_known_any_more() {
    let Caller::Attributes { attributes, .. } = web() else {
        panic!("attributes")
    };
    let by = |trust_provider: &str| {
        call(Caller::Recorded {
            trust_provider: trust_provider.to_owned(),
            also_by: Vec::new(),
            spiffe_id: "spiffe://cluster.local/ns/shop/sa/web".to_owned(),
            attributes: attributes.clone(),
        })
    };
    assert_eq!(
        explain(&by("cluster")).await.verdict.outcome,
        Outcome::Permitted
    );
    let told = explain(&by("gone")).await;
    assert_eq!(
        (told.stage, code(&told)),
        (Stage::Evidence, Some("issuer-unknown"))
    );
}

#[test]
fn a_question_is_read_as_it_was_written() {
    let mut asked = call(Caller::Evidence {
        token: jwt(JOB),
        verification: Verification::Skip,
    });
    asked.source = Some("2001:db8::1".parse().unwrap());
    asked.at = Some(NOW);
    let text = serde_json::to_string(&asked).unwrap();
    let read: Call = serde_json::from_str(&text).unwrap();
    assert_eq!(serde_json::to_string(&read).unwrap(), text);
    let Caller::Evidence { token: read, .. } = &read.caller else {
        panic!("evidence")
    };
    assert_eq!(read.0.expose(), jwt(JOB).0.expose());
    // Not in a log, though.
    assert!(!format!("{asked:?}").contains(jwt(JOB).0.expose()));
    assert!(serde_json::from_str::<Call>(&text.replace("\"method\"", "\"methud\"")).is_err());
}

#[tokio::test]
async fn a_caller_without_evidence_is_explained_by_the_policies_for_such_callers() {
    let probe = |caller: Caller, source: &str| Call {
        authority: "status.test".to_owned(),
        origin: "https://status.test:443".to_owned(),
        source: source.parse().ok(),
        ..call(caller)
    };
    let mut said = Attributes::new();
    said.set("unproven.sourceAddress", "10.0.0.7");
    // As a request would find it, and as the audit log tells.
    for call in [
        probe(Caller::Request {}, "10.0.0.7"),
        probe(Caller::Unproven { said }, "10.9.9.9"),
    ] {
        let told = explain(&call).await;
        assert_eq!(told.stage, Stage::Policy, "{call:?}");
        let verdict = &told.verdict;
        assert_eq!(verdict.outcome, Outcome::Permitted, "{call:?}");
        let matched = verdict.policy_matched.as_deref();
        assert_eq!(matched, Some("allow:probe:status:read"));
        assert!(verdict.credential.is_none() && told.caller.is_none());
    }
    let stranger = explain(&probe(Caller::Request {}, "10.0.0.8")).await;
    assert_eq!(stranger.stage, Stage::Evidence);
    assert_eq!(code(&stranger), Some("evidence-missing"));
    let mut writing = probe(Caller::Request {}, "10.0.0.7");
    writing.method = "POST".to_owned();
    assert_eq!(code(&explain(&writing).await), Some("evidence-missing"));
}
