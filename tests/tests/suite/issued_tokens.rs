//! Tokens that workloads take into their own hands, accepted by libraries that are not ours: OIDC tokens and
//! JWT-SVIDs, by the key set and by the bundle.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use attache_tests::{
    attache::{Attache, EdgePlan, published},
    client,
    forgery::Forgery,
    peers,
    stage::{Script, Set},
};
use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use serde_json::{Value, json};
use tokio::task::JoinSet;

const AUDIENCE: &str = "https://api.stripe.com";
const SVID_AUDIENCE: &str = "spiffe://cluster.local/ns/production/sa/books";
const PAYMENT: &str = "spiffe://cluster.local/ns/production/sa/payment-svc";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

const POLICIES: &str = r#"
apiVersion: attache.dev/v1
kind: ClientWorkload
metadata: {name: payments}
spec: {match: [{k8s.namespace: production, k8s.serviceAccount: payment-svc}]}
---
apiVersion: attache.dev/v1
kind: ServerWorkload
metadata: {name: books}
spec: {host: books.example.com}
---
apiVersion: attache.dev/v1
kind: ServerWorkload
metadata: {name: shelves}
spec: {host: shelves.example.com}
---
apiVersion: attache.dev/v1
kind: CredentialProvider
metadata: {name: books-svid}
spec:
  type: jwt-svid
  audience: spiffe://cluster.local/ns/production/sa/books
  claims: {pod: "{k8s.podName}", team: "{k8s.namespace}/payments"}
---
apiVersion: attache.dev/v1
kind: AccessPolicy
metadata: {name: payments-to-books}
spec: {effect: allow, client: payments, server: books, trustProviders: [cluster], credentialProvider: books-svid, actions: [all]}
---
apiVersion: attache.dev/v1
kind: CredentialProvider
metadata: {name: shelves-token}
spec: {type: oidc-token, audience: shelves}
---
apiVersion: attache.dev/v1
kind: AccessPolicy
metadata: {name: payments-to-shelves}
spec: {effect: allow, client: payments, server: shelves, trustProviders: [cluster], credentialProvider: shelves-token, actions: [read]}
---
apiVersion: attache.dev/v1
kind: ServerWorkload
metadata: {name: desks}
spec: {host: desks.example.com}
---
apiVersion: attache.dev/v1
kind: CredentialProvider
metadata: {name: desks-token}
spec: {type: oidc-token, audience: desks}
---
apiVersion: attache.dev/v1
kind: AccessCondition
metadata: {name: at-home}
spec: {source: {ranges: [127.0.0.0/8]}}
---
apiVersion: attache.dev/v1
kind: AccessPolicy
metadata: {name: payments-to-desks}
spec: {effect: allow, client: payments, server: desks, trustProviders: [cluster], credentialProvider: desks-token, conditions: [at-home], actions: [all]}
"#;

/// A running server that exchanges tokens; no Envoy is needed.
async fn server() -> Result<(Set, Attache)> {
    server_with(&[]).await
}

/// The same with more settings of its issuer.
async fn server_with(settings: &[&str]) -> Result<(Set, Attache)> {
    let mut issuer = vec!["token_endpoint: true".to_owned()];
    issuer.extend(settings.iter().map(|&setting| setting.to_owned()));
    let set = Set::build(Script {
        plan: EdgePlan {
            issuer,
            ..EdgePlan::default()
        },
        policies: vec![("issued.yaml", POLICIES.to_owned())],
        ..Script::default()
    })
    .await?;
    let attache = set.installation.start().await?;
    Ok((set, attache))
}

/// Evidence of one pod of payment-svc.
fn pod(set: &Set, name: &str) -> Result<String> {
    let mut claims = set.cluster.claims("production", "payment-svc");
    let uid = format!("2f0d5c44-8a74-4e1d-a4ea-{:0>12}", name.len());
    let bound_to = claims.pointer_mut("/kubernetes.io");
    let bound_to = bound_to.and_then(Value::as_object_mut);
    let bound_to = bound_to.context("no ServiceAccount's claims")?;
    bound_to.insert("pod".to_owned(), json!({ "name": name, "uid": uid }));
    set.cluster.sign(&claims)
}

/// What `attache explain --event` says of an access of the token endpoint.
fn explained(set: &Set, event: &Value) -> Result<Value> {
    let id = event["event_id"].as_str().context("no id")?;
    let output = set
        .installation
        .run(&["explain", "--output", "json", "--event", id])?;
    ensure!(output.status.success(), "{output:?}");
    let explained: Value = serde_json::from_slice(&output.stdout)?;
    assert_eq!(explained["verdict"]["code"], event["code"], "{explained}");
    // The text form comes, too.
    let text = set.installation.run(&["explain", "--event", id])?;
    let text = String::from_utf8(text.stdout)?;
    ensure!(text.contains("in the caller's own hands"), "{text}");
    Ok(explained)
}

async fn ask(set: &Set, fields: &[(&str, &str)]) -> Result<(u16, Value)> {
    ask_through(set, fields, "127.0.0.1").await
}

/// Asks as a proxy does that saw `seen`.
async fn ask_through(set: &Set, fields: &[(&str, &str)], seen: &str) -> Result<(u16, Value)> {
    let form = form_urlencoded::Serializer::new(String::new())
        .extend_pairs(fields)
        .finish();
    let address = set.installation.issuer_address();
    let request = Request::post("/token")
        .header("host", address.to_string())
        .header("content-type", "application/x-www-form-urlencoded")
        .header("x-forwarded-for", seen)
        .body(Full::new(Bytes::from(form)))?;
    let reply = client::http1(address, request).await?;
    ensure!(
        reply.header("cache-control") == Some("no-store"),
        "{reply:?}"
    );
    Ok((reply.status, reply.json()?))
}

#[tokio::test]
async fn libraries_that_are_not_ours_take_our_tokens() -> Result<()> {
    let (set, _attache) = server().await?;
    let issuer = set.installation.issuer();
    let evidence = pod(&set, "payment-a")?;
    let arguments = [issuer.as_str(), &evidence, AUDIENCE, SVID_AUDIENCE];
    let found = peers::node("token-client.mjs", &arguments).await?;
    assert_eq!(
        found["metadata"]["token_endpoint"],
        format!("{issuer}/token")
    );
    let grants = json!([TOKEN_EXCHANGE, JWT_BEARER]);
    assert_eq!(found["metadata"]["grant_types_supported"], grants);
    let (token, svid) = (&found["exchanged"], &found["asserted"]);
    assert_eq!(token["issued_token_type"], JWT);
    assert_eq!(token["header"]["alg"], "RS256");
    assert_eq!(svid["header"]["alg"], "ES256");
    for one in [token, svid] {
        assert_eq!(one["claims"]["sub"], PAYMENT);
        assert!(one["header"]["kid"].is_string());
    }
    assert_eq!(svid["claims"]["pod"], "payment-a");
    assert_eq!(svid["claims"]["team"], "production/payments");
    let lifetime = |claims: &Value| claims["exp"].as_i64().zip(claims["iat"].as_i64());
    let lifetime = lifetime(&svid["claims"]).map(|(exp, iat)| exp - iat);
    assert_eq!(lifetime, Some(300), "a JWT-SVID lives for five minutes");
    assert_eq!(
        (&found["refusal"]["error"], &found["refusal"]["status"]),
        (&json!("invalid_grant"), &json!(400))
    );
    let (token, svid) = (token["token"].as_str(), svid["token"].as_str());
    let (token, svid) = token.zip(svid).context("no tokens")?;
    let arguments = [
        &issuer,
        "cluster.local",
        AUDIENCE,
        token,
        SVID_AUDIENCE,
        svid,
    ];
    let found = peers::python("issued.py", &arguments).await?;
    for library in ["joserfc", "pyjwt"] {
        for claims in found[library].as_array().context("no claims")? {
            assert_eq!(claims["sub"], PAYMENT, "{library}");
        }
    }
    let spiffe = &found["spiffe"];
    assert_eq!(spiffe["id"], PAYMENT);
    assert_eq!(spiffe["audience"], json!([SVID_AUDIENCE]));
    assert_eq!(spiffe["wrong_audience"], "InvalidTokenError");
    let kids = |document: &Value| -> BTreeSet<String> {
        let keys = document["keys"].as_array().into_iter().flatten();
        keys.filter_map(|key| key["kid"].as_str().map(str::to_owned))
            .collect()
    };
    let authorities: BTreeSet<String> = serde_json::from_value(spiffe["authorities"].clone())?;
    assert_eq!(authorities, kids(&found["bundle"]));
    assert_eq!(found["bundle"]["spiffe_refresh_hint"], 300);
    assert!(found["bundle"]["spiffe_sequence"].is_u64());
    Ok(())
}

#[tokio::test]
async fn an_exchange_is_decided_and_recorded_like_a_call() -> Result<()> {
    let (set, _attache) = server().await?;
    let evidence = pod(&set, "payment-a")?;
    let asked = [
        ("grant_type", JWT_BEARER),
        ("assertion", &evidence),
        ("resource", "https://books.example.com"),
    ];
    let (status, answer) = ask(&set, &asked).await?;
    assert_eq!(status, 200, "{answer}");
    let event = set.installation.last_event()?;
    assert_eq!(event["workload_svid"], PAYMENT);
    assert_eq!(event["target_service"], "books.example.com");
    assert_eq!(event["policy_matched"], "allow:payments:books:all");
    assert_eq!(event["listener"], "token-endpoint");
    assert_eq!(
        (&event["request_method"], &event["request_path"]),
        (&json!("POST"), &json!("/token"))
    );
    assert_eq!(
        (&event["token_issued"], &event["audience"]),
        (&json!(true), &json!(SVID_AUDIENCE))
    );
    assert!(
        event["source_address"]
            .as_str()
            .is_some_and(|address| address.starts_with("127.0.0.1:"))
    );
    let request =
        json!({"audience": null, "resource": "https://books.example.com:443", "address": null});
    assert_eq!(event["token_request"], request);
    let told = explained(&set, &event)?;
    assert_eq!(told["event"]["differs"], false, "{told}");
    assert_eq!(
        told["verdict"]["policy_matched"],
        "allow:payments:books:all"
    );
    assert_eq!(told["token"]["rests_on"]["host"], "books.example.com");
    assert!(
        !event
            .to_string()
            .contains(answer["access_token"].as_str().context("no token")?)
    );
    Ok(())
}

#[tokio::test]
async fn an_exchange_that_is_denied_says_why_and_is_recorded() -> Result<()> {
    let (set, _attache) = server().await?;
    let evidence = pod(&set, "payment-a")?;
    let forged = set
        .cluster
        .forge(Forgery::ForeignKey, "production", "payment-svc")?;
    for (fields, error, code) in [
        (
            vec![("assertion", &*evidence), ("audience", "shelves")],
            "invalid_target",
            "policy-too-narrow",
        ),
        (
            vec![("assertion", &evidence), ("audience", "nobody")],
            "invalid_target",
            "no-policy",
        ),
        (
            vec![("assertion", &forged), ("audience", AUDIENCE)],
            "invalid_grant",
            "token-signature-invalid",
        ),
    ] {
        let mut asked = vec![("grant_type", JWT_BEARER)];
        asked.extend(fields);
        let (status, answer) = ask(&set, &asked).await?;
        assert_eq!((status, &answer["error"]), (400, &json!(error)), "{answer}");
        assert_eq!(answer["code"], code, "{answer}");
        let event = set
            .installation
            .event(answer["decision"].as_str().context("no id")?)
            .await?;
        assert_eq!(
            (&event["outcome"], &event["code"]),
            (&json!("denied"), &json!(code))
        );
        assert_eq!(event["token_issued"], false);
        let told = explained(&set, &event)?;
        // Whether evidence would be accepted today is not known: no event keeps it.
        let differs = match code {
            "token-signature-invalid" => json!(null),
            _ => json!(false),
        };
        assert_eq!(told["event"]["differs"], differs, "{told}");
    }
    Ok(())
}

#[tokio::test]
async fn two_pods_of_one_service_account_never_receive_each_others_token() -> Result<()> {
    let (set, _attache) = server().await?;
    let set = std::sync::Arc::new(set);
    let mut asking = JoinSet::new();
    // As many at once as one address may.
    for number in 0..16 {
        let set = std::sync::Arc::clone(&set);
        let name = format!("payment-{}", ["a", "bb"][number % 2]);
        let evidence = pod(&set, &name)?;
        asking.spawn(async move {
            let asked = [
                ("grant_type", TOKEN_EXCHANGE),
                ("subject_token", &*evidence),
                ("subject_token_type", JWT),
                ("audience", SVID_AUDIENCE),
            ];
            Ok::<_, anyhow::Error>((name, ask(&set, &asked).await?))
        });
    }
    let keys = published(set.installation.issuer_address(), "/keys").await?;
    let mut ids = BTreeSet::new();
    while let Some(answer) = asking.join_next().await {
        let (name, (status, answer)) = answer??;
        assert_eq!(status, 200, "{answer}");
        let token = answer["access_token"].as_str().context("no token")?;
        let issuer = set.installation.issuer();
        let claims = attache_tests::verify::claims(token, &keys, &issuer, SVID_AUDIENCE)?;
        assert_eq!(claims["pod"], *name);
        ids.insert((name, claims["jti"].to_string()));
    }
    assert_eq!(ids.len(), 2, "one token for each pod: {ids:?}");
    Ok(())
}

#[tokio::test]
async fn an_address_counts_only_where_the_configuration_says_whose_it_is() -> Result<()> {
    // From here, and from elsewhere by the word of a proxy.
    for (settings, here, elsewhere) in [
        (
            [].as_slice(),
            json!("condition-unavailable"),
            json!("condition-unavailable"),
        ),
        (&["trusted_hops: 0"], json!(null), json!(null)),
        (
            &["trusted_hops: 1"],
            json!(null),
            json!("condition-not-met"),
        ),
    ] {
        let (set, _attache) = server_with(settings).await?;
        let evidence = pod(&set, "payment-a")?;
        let asked = [
            ("grant_type", JWT_BEARER),
            ("assertion", &*evidence),
            ("audience", "desks"),
        ];
        for (seen, code) in [("127.0.0.1", here), ("192.0.2.1", elsewhere)] {
            let (_, answer) = ask_through(&set, &asked, seen).await?;
            assert_eq!(answer["code"], code, "{settings:?} {seen}: {answer}");
            let event = set.installation.last_event()?;
            let told = explained(&set, &event)?;
            assert_eq!(told["event"]["differs"], false, "{told}");
            assert_eq!(answer["access_token"].is_string(), code.is_null());
        }
    }
    Ok(())
}

#[tokio::test]
async fn without_its_setting_there_is_no_token_endpoint() -> Result<()> {
    let set = Set::build(Script::default()).await?;
    let _attache = set.installation.start().await?;
    let address = set.installation.issuer_address();
    let request = Request::post("/token")
        .header("host", "attache")
        .body(Full::default())?;
    assert_eq!(client::http1(address, request).await?.status, 404);
    let discovery = published(address, "/.well-known/openid-configuration").await?;
    assert!(discovery.get("token_endpoint").is_none(), "{discovery}");
    Ok(())
}
