//! Credentials that are fetched from others, through the real Envoy, by the very examples of the documentation: from a
//! certified authorization server, a real API server, and a server of the shape of a Vault.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result, ensure};
use attache_tests::{
    attache::{EdgePlan, PATIENT},
    authority::Authority,
    authorization_server::AuthorizationServer,
    canaries,
    client::{self, Reply, with_evidence},
    collector::Collector,
    kubernetes::{ISSUER, Kubernetes},
    quickstart::STRIPE,
    stage::{Script, Set, Stage},
    vault::{self, Vault},
    verify,
    wait::until,
    workspace,
};
use serde_json::json;
use tokio::time::Instant;

/// The caller of the quick start.
const CALLER: &str = "spiffe://cluster.local/ns/production/sa/payment-svc";
const BOOKS: &str = "https://books.example.com";

/// The first example of a section of the documentation, for the stage's own target.
fn example(section: &str) -> Result<String> {
    let page = fs::read_to_string(workspace::root().join("docs/credentials.md"))?;
    let heading = format!("\n## `{section}`\n");
    let (_, section) = page.split_once(&heading).context("no such section")?;
    let (_, example) = section.split_once("\n```yaml\n").context("no example")?;
    let (example, _) = example.split_once("\n```").context("no end")?;
    Ok(example.replace("books.example.com", STRIPE))
}

/// Who may call `/NAME` of the target, with the credential of provider `NAME`.
fn policy(name: &str, authentication: &str) -> String {
    format!(
        "
---
apiVersion: attache.dev/v1
kind: ClientWorkload
metadata: {{ name: callers-of-{name} }}
spec: {{ match: [ {{ k8s.namespace: production, k8s.serviceAccount: payment-svc }} ] }}
---
apiVersion: attache.dev/v1
kind: ServerWorkload
metadata: {{ name: target-of-{name} }}
spec: {{ host: {STRIPE}, paths: [/{name}], authentication: {authentication} }}
---
apiVersion: attache.dev/v1
kind: AccessPolicy
metadata: {{ name: {name} }}
spec: {{ effect: allow, client: callers-of-{name}, server: target-of-{name}, trustProviders: [cluster], credentialProvider: {name}, actions: [all] }}
"
    )
}

/// A stage that may call peers on this machine.
async fn set(authority: Authority) -> Result<(Set, Collector)> {
    let collector = Collector::start().await?;
    let script = Script {
        plan: EdgePlan {
            settings: vec![
                "outbound: { allow_networks: [127.0.0.0/8] }".to_owned(),
                canaries::traced(&collector),
            ],
            ..EdgePlan::default()
        },
        ..Script::default()
    };
    let set = Set::build_with(script, authority).await?;
    fs::create_dir(set.installation.directory().join("secrets"))?;
    Ok((set, collector))
}

/// Starts both, and Envoy traces; it lets through the headers that the targets here take.
async fn open(set: Set, collector: &Collector) -> Result<Stage> {
    let bootstrap = set.patient_bootstrap()?.replace(
        "^(authorization|x-attache-[a-z0-9-]+)$",
        "^(authorization|x-api-key|x-vault-token|x-attache-[a-z0-9-]+)$",
    )?;
    let bootstrap = canaries::tracing(bootstrap, collector)?;
    let mut environment = canaries::loudly();
    environment.arg(PATIENT);
    let mut attache = set.installation.launch_under(environment)?;
    attache.ready().await?;
    set.open_behind(bootstrap, attache).await
}

/// The secrets are in nothing that is written down or told.
async fn clean(stage: Stage, collector: &Collector, secrets: &[&str]) -> Result<()> {
    canaries::are_nowhere(stage, collector, secrets, &["secrets"]).await
}

fn secret(set: &Set, name: &str, text: &str) -> Result<()> {
    let file = set.installation.directory().join("secrets").join(name);
    Ok(fs::write(file, text)?)
}

async fn call(stage: &Stage, path: &str) -> Result<Reply> {
    let request = with_evidence(client::get(STRIPE, path)?, &stage.payment_token()?)?;
    client::http1(stage.address, request).await
}

/// The bearer token that the target got.
async fn bearer(stage: &Stage, path: &str) -> Result<String> {
    let reply = call(stage, path).await?;
    ensure!(
        reply.status == 200,
        "{reply:?}: {}",
        stage.attache.process.errors()
    );
    stage.set.stripe.last()?.bearer().context("no bearer token")
}

fn authority() -> Result<Authority> {
    Authority::new("the tests' own authority")
}

/// A certified authorization server whose one client is the caller's SPIFFE ID with our issuer's keys.
async fn server(set: &Set, directory: &std::path::Path) -> Result<AuthorizationServer> {
    let keys = format!("http://{}/keys", set.installation.issuer_address());
    AuthorizationServer::start(CALLER, &keys, BOOKS, directory).await
}

#[tokio::test]
async fn a_certified_server_gives_a_token_for_our_svid_and_refuses_the_assertion_a_second_time()
-> Result<()> {
    let ((set, collector), directory) = (set(authority()?).await?, tempfile::tempdir()?);
    let server = server(&set, directory.path()).await?;
    let documents = example("oauth2-client-credentials")?;
    let documents = documents.replace("https://login.example.com", &server.issuer());
    let documents = documents + &policy("books-token", "{ method: bearer }");
    set.installation.policy("books.yaml", &documents)?;
    let stage = open(set, &collector).await?;

    let token = bearer(&stage, "/books-token").await?;
    let claims = verify::claims(&token, &server.keys().await?, &server.issuer(), BOOKS)?;
    assert_eq!(claims["client_id"], CALLER);
    assert_eq!(claims["scope"], "books.read");
    // It is kept: the server is not asked again.
    assert_eq!(bearer(&stage, "/books-token").await?, token);
    let requests = server.requests();
    let [request] = &requests[..] else {
        anyhow::bail!("{requests:?}");
    };
    assert_eq!(request["status"], 200, "{request}");

    let assertion = request["asked"]["client_assertion"].as_str();
    let assertion = assertion.context("no assertion")?;
    let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
    let replayed = [
        ("grant_type", "client_credentials"),
        ("client_assertion_type", kind),
        ("client_assertion", assertion),
    ];
    let refused = server.ask(&replayed).await?;
    assert_eq!(refused.status, 401, "{refused:?}");
    assert_eq!(refused.json()?["error"], "invalid_client");

    let event = stage.set.installation.last_event()?;
    assert_eq!(event["credential_provider"], "books-token", "{event}");
    clean(stage, &collector, &[&token, assertion]).await
}

#[tokio::test]
async fn what_an_authorization_server_refuses_is_a_503_with_its_code() -> Result<()> {
    let ((set, collector), directory) = (set(authority()?).await?, tempfile::tempdir()?);
    let server = server(&set, directory.path()).await?;
    let documents = example("oauth2-client-credentials")?;
    let documents = documents.replace("https://login.example.com", &server.issuer());
    // It knows this scope, but not for this client.
    let documents = documents.replace("books.read", "books.write");
    let documents = documents + &policy("books-token", "{ method: bearer }");
    secret(&set, "ledger-client", "canary-client")?;
    let ledger = policy("ledger-token", "{ method: bearer }");
    let provider = format!(
        "apiVersion: attache.dev/v1\nkind: CredentialProvider\nmetadata: {{ name: ledger-token }}\n\
         spec: {{ type: oauth2-client-credentials, hosts: [{STRIPE}], issuer: \"{}\", clientId: shop, \
         clientAuthentication: {{ method: client-secret-basic, secret: \"file:secrets/ledger-client\" }} }}\n",
        server.issuer()
    );
    // The documentation's own of that name is for another host.
    let documents = documents.replace("name: ledger-token", "name: other-ledger-token");
    set.installation.policy("books.yaml", &documents)?;
    set.installation
        .policy("ledger.yaml", &(provider + &ledger))?;
    let stage = open(set, &collector).await?;
    for (path, code) in [
        ("/books-token", "oauth-invalid-scope"),
        ("/ledger-token", "oauth-invalid-client"),
    ] {
        let reply = call(&stage, path).await?;
        assert_eq!((reply.status, reply.code()), (503, Some(code)), "{reply:?}");
    }
    assert!(stage.set.stripe.received().is_empty());
    clean(stage, &collector, &[]).await
}

#[tokio::test]
async fn a_token_of_ours_is_exchanged_for_one_of_the_server() -> Result<()> {
    let ((set, collector), directory) = (set(authority()?).await?, tempfile::tempdir()?);
    let server = server(&set, directory.path()).await?;
    let documents = example("oauth2-token-exchange")?;
    let documents = documents.replace("https://login.example.com", &server.issuer());
    // This server knows every client.
    let subject = "  subjectToken:";
    let client = format!("  clientAuthentication: {{method: jwt-svid}}\n{subject}");
    let documents =
        documents.replace(subject, &client) + &policy("books-exchange", "{ method: bearer }");
    set.installation.policy("books.yaml", &documents)?;
    let stage = open(set, &collector).await?;
    let token = bearer(&stage, "/books-exchange").await?;
    ensure!(!token.is_empty());
    let requests = server.requests();
    let [request] = &requests[..] else {
        anyhow::bail!("{requests:?}");
    };
    assert_eq!(request["status"], 200, "{request}");
    let keys = stage.published_keys().await?;
    let subject = request["asked"]["subject_token"].as_str();
    let subject = subject.context("no subject token")?;
    let issuer = stage.set.installation.issuer();
    let claims = verify::claims(subject, &keys, &issuer, &server.issuer())?;
    assert_eq!(claims["sub"], CALLER);
    clean(stage, &collector, &[&token, subject]).await
}

/// A stage before a Vault that holds one secret, and what the documentation says of it.
async fn vaulted() -> Result<(Set, Vault, Collector)> {
    let (set, collector) = set(authority()?).await?;
    let issuer = (set.installation.issuer_address(), set.installation.issuer());
    let vault = Vault::start(&set.authority, issuer, CALLER).await?;
    vault.put("kv/books/production", json!({"key": "canary-books-key"}));
    secret(&set, "ca.pem", &set.authority.pem())?;
    let documents = example("vault")?;
    let address = "  address: https://vault.example.com:8200";
    let ours = format!("  address: \"{}\"\n  caFile: secrets/ca.pem", vault.url());
    let documents = documents.replace(address, &ours).replace(
        "hosts: [vault.example.com]",
        &format!("hosts: [vault.example.com, {STRIPE}]"),
    );
    let documents = documents.replace("env:ATTACHE_SECRET_VAULT", "file:secrets/secret-id");
    secret(&set, "secret-id", vault::SECRET_ID)?;
    let documents = documents
        + &policy("books-key", "{ method: header, name: X-Api-Key }")
        + &policy("vault-token", "{ method: header, name: X-Vault-Token }");
    set.installation.policy("vault.yaml", &documents)?;
    Ok((set, vault, collector))
}

#[tokio::test]
async fn a_secret_of_a_vault_and_the_vaults_own_token_stand_where_their_targets_take_them()
-> Result<()> {
    let (set, vault, collector) = vaulted().await?;
    let stage = open(set, &collector).await?;
    let reply = call(&stage, "/books-key").await?;
    assert_eq!(
        reply.status,
        200,
        "{reply:?}: {}",
        stage.attache.process.errors()
    );
    let received = stage.set.stripe.last()?;
    assert_eq!(received.values("x-api-key"), ["canary-books-key"]);
    let reply = call(&stage, "/vault-token").await?;
    assert_eq!(
        reply.status,
        200,
        "{reply:?}: {}",
        stage.attache.process.errors()
    );
    let received = stage.set.stripe.last()?;
    assert_eq!(received.values("x-vault-token"), ["hvs.canary-login-1"]);
    let expected = [
        "POST /v1/auth/jwt/login",
        "GET /v1/kv/data/books/production",
        "POST /v1/auth/approle/login",
    ];
    assert_eq!(vault.requests(), expected);
    clean(stage, &collector, &[]).await
}

#[tokio::test]
async fn a_vault_that_is_away_is_a_code_and_one_that_is_back_is_used_within_seconds() -> Result<()>
{
    let (set, mut vault, collector) = vaulted().await?;
    vault.stop();
    let stage = open(set, &collector).await?;
    for _ in 0..3 {
        let reply = call(&stage, "/books-key").await?;
        let code = Some("provider-unreachable");
        assert_eq!((reply.status, reply.code()), (503, code), "{reply:?}");
    }
    let event = stage.set.installation.last_event()?;
    assert_eq!(event["code"], "provider-unreachable", "{event}");
    vault.resume().await?;
    let back = Instant::now();
    until("the Vault to be used again", async || {
        let reply = call(&stage, "/books-key").await.ok()?;
        (reply.status == 200).then_some(())
    })
    .await?;
    assert!(
        back.elapsed() < Duration::from_secs(10),
        "{:?}",
        back.elapsed()
    );
    Ok(())
}

#[tokio::test]
async fn a_real_api_server_gives_the_token_of_the_named_account_and_of_no_other() -> Result<()> {
    let (set, collector) = set(authority()?).await?;
    let cluster = Kubernetes::start(&set.authority).await?;
    for name in ["edge", "books-reader", "admin"] {
        cluster.workload("production", name).await?;
    }
    cluster
        .may_create_tokens("production", "edge", "books-reader")
        .await?;
    let shown = cluster.token("production", "edge", &[]).await?;
    secret(&set, "kube-token", &shown)?;
    secret(&set, "kube-ca.pem", &set.authority.pem())?;
    let documents = example("kubernetes-token")?;
    let documents = documents.replace("https://kube.example.com", &cluster.url());
    let other = documents
        .replace("name: other-cluster", "name: admin")
        .replace("serviceAccount: books-reader", "serviceAccount: admin");
    let documents = documents
        + &policy("other-cluster", "{ method: bearer }")
        + "---\n"
        + &other
        + &policy("admin", "{ method: bearer }");
    set.installation.policy("books.yaml", &documents)?;
    let stage = open(set, &collector).await?;
    let token = bearer(&stage, "/other-cluster").await?;
    let claims = verify::claims(&token, &cluster.keys().await?, ISSUER, "books")?;
    assert_eq!(
        claims["sub"],
        "system:serviceaccount:production:books-reader"
    );
    let seconds = claims["exp"].as_i64().zip(claims["iat"].as_i64());
    assert_eq!(seconds.map(|(exp, iat)| exp - iat), Some(600));
    let reply = call(&stage, "/admin").await?;
    let code = Some("provider-refused");
    assert_eq!((reply.status, reply.code()), (503, code), "{reply:?}");
    let printed = stage.attache.process.errors() + &stage.attache.process.output();
    assert!(
        printed.contains("the API server answers 403: Forbidden"),
        "{printed}"
    );
    clean(stage, &collector, &[&token, &shown]).await
}
