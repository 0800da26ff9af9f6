//! Client assertions over `attache.token.v1.Tokens`: each for one token request of its caller, and for nothing else.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use attache_proto::token::v1::{AssertionRequest, Call, Decision, Details, Header};
use attache_tests::{
    attache::{Attache, published},
    authorize,
    client::EVIDENCE,
    kept::{attaching, evidence, fetch, tokens},
    stage::{Script, Set},
    verify,
};
use envoy_types::ext_authz::v3::pb::HttpResponse;
use tonic::Code;

const CALLER: &str = "spiffe://cluster.local/ns/production/sa/payment-svc";

/// The quick start's service proves itself to an authorization server.
const LOGIN: &str = r#"apiVersion: attache.dev/v1
kind: ServerWorkload
metadata: {name: login}
spec: {host: login.example, authentication: {method: client-assertion}}
---
apiVersion: attache.dev/v1
kind: CredentialProvider
metadata: {name: login-assertion}
spec: {type: client-assertion, audience: "https://login.example"}
---
apiVersion: attache.dev/v1
kind: AccessPolicy
metadata: {name: login}
spec:
  client: payment-service
  server: login
  effect: allow
  trustProviders: [cluster]
  credentialProvider: login-assertion
  actions: [all]
"#;

struct Running {
    set: Set,
    _attache: Attache,
    token: String,
}

impl Running {
    async fn open() -> Result<Self> {
        let mut script = Script::default();
        script.policies.push(("login.yaml", LOGIN.to_owned()));
        let set = Set::build(script).await?;
        let token = set.cluster.token("production", "payment-svc")?;
        let attache = set.installation.start().await?;
        Ok(Self {
            set,
            _attache: attache,
            token,
        })
    }
}

/// The token request of the pod's application, told in full.
fn login(token: &str) -> Call {
    let details = Details {
        headers: vec![Header {
            name: EVIDENCE.to_owned(),
            value: token.as_bytes().to_vec(),
        }],
        ..Details::default()
    };
    Call {
        authority: "login.example".to_owned(),
        target: "https://login.example".to_owned(),
        method: "POST".to_owned(),
        path: "/token".to_owned(),
        details: Some(details),
    }
}

fn asking(client_id: &str, token: &str, call: Call) -> AssertionRequest {
    AssertionRequest {
        protocol: 1,
        evidence: evidence(token),
        call: Some(call),
        client_id: client_id.to_owned(),
    }
}

#[tokio::test]
async fn a_client_assertion_is_made_for_one_request_and_for_its_caller_alone() -> Result<()> {
    let edge = Running::open().await?;
    let mut client = tokens(&edge.set.installation.socket()).await?;
    let keys = published(edge.set.installation.issuer_address(), "/keys").await?;
    let mut ids = BTreeSet::new();
    for _ in 0..2 {
        let asked = asking(CALLER, &edge.token, login(&edge.token));
        let answer = client.assertion(asked).await?.into_inner();
        assert_eq!(answer.decision(), Decision::Allowed, "{}", answer.code);
        ensure!(answer.assertion_type.ends_with(":jwt-bearer"));
        let claims = verify::claims(&answer.assertion, &keys, CALLER, "https://login.example")?;
        assert_eq!(claims["sub"], CALLER);
        ids.insert(claims["jti"].to_string());
        let event = edge.set.installation.event(&answer.decision_id).await?;
        assert_eq!(event["token_id"], claims["jti"]);
    }
    assert_eq!(ids.len(), 2);
    let other = asking("somebody", &edge.token, login(&edge.token));
    let other = client.assertion(other).await?.into_inner();
    assert_eq!(
        (other.decision(), other.code.as_str()),
        (Decision::Denied, "client-id-mismatch")
    );
    ensure!(other.assertion.is_empty());
    let untold = Call {
        details: None,
        ..login(&edge.token)
    };
    let untold = asking(CALLER, &edge.token, untold);
    let refused = client.assertion(untold).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    Ok(())
}

#[tokio::test]
async fn who_fetches_is_told_to_ask_for_an_assertion_and_is_given_nothing() -> Result<()> {
    let edge = Running::open().await?;
    let client = tokens(&edge.set.installation.socket()).await?;
    let untold = Call {
        details: None,
        ..login(&edge.token)
    };
    let attached = fetch(&client, attaching(evidence(&edge.token), untold)).await?;
    assert_eq!(attached.decision(), Decision::AssertionNeeded);
    ensure!(attached.inject.is_empty() && attached.lease.is_empty());
    let scope = attached.scope.context("no scope")?;
    assert_eq!((&*scope.host, &*scope.path), ("login.example", "/"));
    ensure!(attached.remove.iter().any(|name| name == "authorization"));
    let told = attaching(evidence(&edge.token), login(&edge.token));
    let alone = fetch(&client, told).await?;
    assert_eq!(alone.decision(), Decision::AssertionNeeded);
    ensure!(alone.scope.is_none());
    Ok(())
}

#[tokio::test]
async fn no_header_carries_a_client_assertion() -> Result<()> {
    let edge = Running::open().await?;
    let channel = authorize::over_unix(&edge.set.installation.socket()).await?;
    let headers = [(EVIDENCE, &*edge.token)];
    let question = authorize::calling("login.example", "POST", "/token", &headers);
    let answer = authorize::check(channel, question).await?;
    let Some(HttpResponse::DeniedResponse(denied)) = answer.http_response else {
        anyhow::bail!("{answer:?}");
    };
    ensure!(
        denied.body.contains("credential-not-encodable"),
        "{denied:?}"
    );
    Ok(())
}
