//! `vault:` references, through the real Envoy: fields of a Vault that the edge's configuration names, read with the
//! edge's own login; what becomes of them when they change there, and when the Vault is away or says no.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result, ensure};
use attache_tests::{
    attache::{EdgePlan, PATIENT},
    authority::Authority,
    canaries,
    client::{self, Reply, with_evidence},
    collector::Collector,
    quickstart::STRIPE,
    stage::{Script, Set, Stage},
    vault::{self, Mood, Vault},
    wait::until,
    workspace,
};
use serde_json::json;
use tokio::time::{Instant, sleep};

const CALLER: &str = "spiffe://cluster.local/ns/production/sa/payment-svc";

/// How often secrets are read again here, and how long they serve without.
const READ_AGAIN: Duration = Duration::from_secs(1);
const KEEP: Duration = Duration::from_secs(4);

const POLICIES: &str = r#"
apiVersion: attache.dev/v1
kind: ClientWorkload
metadata: { name: callers }
spec: { match: [ { k8s.namespace: production, k8s.serviceAccount: payment-svc } ] }
---
apiVersion: attache.dev/v1
kind: CredentialProvider
metadata: { name: old-login }
spec: { type: username-password, hosts: [api.stripe.com], username: shop, password: "vault:old/books#password" }
---
apiVersion: attache.dev/v1
kind: ServerWorkload
metadata: { name: key }
spec: { host: api.stripe.com, paths: [/key], authentication: { method: header, name: Authorization } }
---
apiVersion: attache.dev/v1
kind: ServerWorkload
metadata: { name: login }
spec: { host: api.stripe.com, paths: [/login], authentication: { method: basic } }
---
apiVersion: attache.dev/v1
kind: AccessPolicy
metadata: { name: to-key }
spec: { effect: allow, client: callers, server: key, trustProviders: [cluster], credentialProvider: books-api-key, actions: [all] }
---
apiVersion: attache.dev/v1
kind: AccessPolicy
metadata: { name: to-login }
spec: { effect: allow, client: callers, server: login, trustProviders: [cluster], credentialProvider: old-login, actions: [all] }
---
"#;

/// The examples of a language in the section about references into a Vault.
fn example(language: &str) -> Result<String> {
    let page = fs::read_to_string(workspace::root().join("docs/credentials.md"))?;
    let (_, section) = page
        .split_once("\n### In a Vault\n")
        .context("no such section")?;
    let (_, example) = section
        .split_once(&format!("\n```{language}\n"))
        .context("no example")?;
    Ok(example.split_once("\n```").context("no end")?.0.to_owned())
}

/// `secrets` as the documentation shows it, as one setting, for the Vault of this test.
fn settings(vault: &Vault, login: Option<&str>) -> Result<String> {
    let section = example("text")?;
    let address = "https://vault.example.com:8200";
    let (read_again, keep) = (READ_AGAIN.as_secs(), KEEP.as_secs());
    let section = section
        .replace(address, &format!("{}\n    ca_file: ca.crt", vault.url()))
        .replace("read_again: 5m", &format!("read_again: {read_again}s"))
        .replace("keep: 1h", &format!("keep: {keep}s"));
    let usual = "login: {method: jwt, role: attache, audience: \"https://vault.example.com\"}";
    ensure!(section.contains(usual), "{section}");
    Ok(section.replace(usual, login.unwrap_or(usual)))
}

/// A stage before a Vault with two secrets, whose log is at its finest level.
async fn vaulted(login: Option<&str>, patience: &[&str]) -> Result<(Stage, Vault, Collector)> {
    let collector = Collector::start().await?;
    let authority = Authority::new("the tests' own authority")?;
    let script = Script {
        plan: EdgePlan {
            settings: vec![
                "outbound: { allow_networks: [127.0.0.0/8] }".to_owned(),
                canaries::traced(&collector),
            ],
            ..EdgePlan::default()
        },
        policies: vec![("vault.yaml", policies_with("#key", "#key")?)],
        ..Script::default()
    };
    let set = Set::build_with(script, authority).await?;
    let issuer = (set.installation.issuer_address(), set.installation.issuer());
    let vault = Vault::start(&set.authority, issuer, CALLER).await?;
    vault.put("kv/attache/books", json!({"key": "canary-books-key"}));
    vault.put("old/books", json!({"password": "canary-password"}));
    let directory = set.installation.directory();
    fs::write(directory.join("vault-secret-id"), vault::SECRET_ID)?;
    let config = fs::read_to_string(set.installation.config())?;
    let config = format!("{config}\n{}\n", settings(&vault, login)?);
    fs::write(set.installation.config(), config)?;
    // A proxy that nobody asked for does not count: nothing listens there.
    let mut environment = canaries::loudly();
    environment.arg("HTTPS_PROXY=http://127.0.0.1:1");
    environment.args(patience);
    let mut attache = set.installation.launch_under(environment)?;
    attache.ready().await?;
    let bootstrap = canaries::tracing(set.patient_bootstrap()?, &collector)?;
    let stage = set.open_behind(bootstrap, attache).await?;
    Ok((stage, vault, collector))
}

async fn call(stage: &Stage, path: &str) -> Result<Reply> {
    let request = with_evidence(client::get(STRIPE, path)?, &stage.payment_token()?)?;
    client::http1(stage.address, request).await
}

/// The policies with another reference in place of one of theirs.
fn policies_with(known: &str, reference: &str) -> Result<String> {
    let documents = POLICIES.to_owned() + &example("yaml")?;
    ensure!(documents.contains(known), "{documents}");
    let documents = documents.replace("books.example.com", STRIPE);
    Ok(documents.replace(known, reference))
}

/// What the target got as `Authorization`.
async fn given(stage: &Stage, path: &str) -> Option<String> {
    let reply = call(stage, path).await.ok()?;
    let received = (reply.status == 200).then(|| stage.set.stripe.last())?;
    Some(received.ok()?.values("authorization").concat())
}

async fn gives(stage: &Stage, path: &str, expected: &str) -> Result<()> {
    let found = until(&format!("{path} with {expected}"), async || {
        (given(stage, path).await? == expected).then_some(())
    })
    .await;
    found.with_context(|| {
        let log = stage.attache.process.errors();
        let lines: Vec<_> = log.lines().filter(|it| it.contains("WARN")).collect();
        lines.join("\n")
    })
}

/// No secret is anywhere but where it belongs.
async fn clean(stage: Stage, collector: &Collector) -> Result<()> {
    canaries::are_nowhere(stage, collector, &[], &["vault-secret-id"]).await
}

#[tokio::test]
async fn fields_of_both_versions_of_kv_are_read_by_one_login_of_the_edge_and_read_again()
-> Result<()> {
    let (stage, vault, collector) = vaulted(None, &[PATIENT]).await?;
    gives(&stage, "/key", "canary-books-key").await?;
    gives(&stage, "/login", "Basic c2hvcDpjYW5hcnktcGFzc3dvcmQ=").await?;
    let logins = |vault: &Vault| {
        let requests = vault.requests();
        requests.iter().filter(|it| it.starts_with("POST")).count()
    };
    let status = String::from_utf8(stage.set.installation.run(&["status"])?.stdout)?;
    let told = "secrets          2 read, 0 kept while their Vault is away, 0 unreadable";
    ensure!(status.contains(told), "{status}");
    assert_eq!(vault.requests()[0], "POST /v1/auth/jwt/login");
    assert_eq!(logins(&vault), 1);
    let event = stage.set.installation.last_event()?;
    assert_eq!(event["credential_provider"], "old-login", "{event}");
    let before = Instant::now();
    vault.put("kv/attache/books", json!({"key": "canary-rotated"}));
    gives(&stage, "/key", "canary-rotated").await?;
    assert!(before.elapsed() < READ_AGAIN * 5, "{:?}", before.elapsed());
    assert_eq!(logins(&vault), 1);
    let log = stage.attache.process.errors();
    assert!(log.contains("HTTPS_PROXY"), "{log}");
    clean(stage, &collector).await
}

#[tokio::test]
async fn an_approle_of_the_edge_logs_in_with_the_secret_of_a_file() -> Result<()> {
    let login = "login: {method: approle, role_id: shop, secret_id_file: vault-secret-id}";
    let (stage, vault, collector) = vaulted(Some(login), &[PATIENT]).await?;
    gives(&stage, "/key", "canary-books-key").await?;
    assert_eq!(vault.requests()[0], "POST /v1/auth/approle/login");
    clean(stage, &collector).await
}

#[tokio::test]
async fn a_vault_that_is_away_or_talks_garbage_fails_no_call_until_its_secrets_are_too_old()
-> Result<()> {
    let (stage, mut vault, collector) = vaulted(None, &[PATIENT]).await?;
    gives(&stage, "/key", "canary-books-key").await?;
    vault.is(Mood::Garbage);
    sleep(READ_AGAIN * 2).await;
    let reply = call(&stage, "/key").await?;
    assert_eq!(reply.status, 200, "{reply:?}");
    vault.is(Mood::Well);
    vault.stop();
    let away = Instant::now();
    let told = || stage.attache.process.errors();
    until("the log to tell", async || {
        told()
            .contains("a secret cannot be read again")
            .then_some(())
    })
    .await?;
    if away.elapsed() < KEEP / 2 {
        assert_eq!(call(&stage, "/key").await?.status, 200);
    }
    let reply = until("its end", async || {
        let reply = call(&stage, "/key").await.ok()?;
        (reply.status == 503).then_some(reply)
    })
    .await?;
    assert_eq!(reply.code(), Some("secret-unavailable"), "{reply:?}");
    vault.resume().await?;
    let back = Instant::now();
    gives(&stage, "/key", "canary-books-key").await?;
    assert!(
        back.elapsed() < Duration::from_secs(10),
        "{:?}",
        back.elapsed()
    );
    clean(stage, &collector).await
}

#[tokio::test]
async fn what_the_vault_forbids_or_lost_is_dropped_at_once_and_a_slow_one_has_its_code()
-> Result<()> {
    // Recording takes no time of the call's.
    let hasty = [
        "ATTACHE_EDGE_ANSWER_WITHIN=1s",
        "ATTACHE_AUDIT_DURABILITY=background",
    ];
    let (stage, vault, collector) = vaulted(None, &hasty).await?;
    vault.is(Mood::Slow);
    // Login and reading take two seconds, and the call has less.
    let reply = call(&stage, "/key").await?;
    let code = Some("secret-unavailable");
    assert_eq!((reply.status, reply.code()), (503, code), "{reply:?}");
    gives(&stage, "/key", "canary-books-key").await?;
    vault.is(Mood::Forbidding);
    let reply = until("the refusal", async || {
        let reply = call(&stage, "/key").await.ok()?;
        (reply.status == 503).then_some(reply)
    })
    .await?;
    assert_eq!(reply.code(), code, "{reply:?}");
    let log = stage.attache.process.errors();
    ensure!(log.contains("the Vault answers 403"), "{log}");
    vault.is(Mood::Well);
    gives(&stage, "/key", "canary-books-key").await?;
    clean(stage, &collector).await
}

#[tokio::test]
async fn documents_name_nothing_in_the_vault_but_what_the_configuration_lists() -> Result<()> {
    let (stage, vault, _collector) = vaulted(None, &[PATIENT]).await?;
    let installation = &stage.set.installation;
    let policies = installation.policies();
    for (reference, told) in [
        ("vault:kv/others/books#key", "kv/attache"),
        ("vault:kv/data/attache/books#key", "vault kv get"),
        ("vault:secret/books#key", "secrets.vault.roots"),
    ] {
        let known = "vault:old/books#password";
        installation.policy("vault.yaml", &policies_with(known, reference)?)?;
        let judged = installation.run(&["validate", &policies.display().to_string()])?;
        let printed = String::from_utf8_lossy(&judged.stdout);
        ensure!(!judged.status.success(), "{printed}");
        for word in ["foreign-secret", told] {
            ensure!(printed.contains(word), "{printed}");
        }
    }
    assert_eq!(vault.requests().len(), 0);
    Ok(())
}
