//! Stored secrets from the file to the request: injected where the target takes them, dropped when they change,
//! and in no log.

use std::fs;

use attache_core::spiffe_id::TrustDomain;
use attache_policy::{Compiled, Source, compile};

use super::*;
use crate::{injection::Injection, providers::contract::Log, secrets::SecretRoots};

const POLICIES: &str = r#"
apiVersion: attache.dev/v1
kind: TrustProvider
metadata: { name: cluster }
spec: { type: kubernetes-service-account, issuer: "https://cluster.example.com" }
---
apiVersion: attache.dev/v1
kind: ClientWorkload
metadata: { name: anyone }
spec: { match: [ { k8s.namespace: production } ] }
---
apiVersion: attache.dev/v1
kind: AccessPolicy
metadata: { name: to-maps }
spec: { effect: allow, client: anyone, server: maps, trustProviders: [cluster], credentialProvider: maps-key, actions: [all] }
---
apiVersion: attache.dev/v1
kind: AccessPolicy
metadata: { name: to-ledger }
spec: { effect: allow, client: anyone, server: ledger, trustProviders: [cluster], credentialProvider: ledger-login, actions: [all] }
---
apiVersion: attache.dev/v1
kind: AccessPolicy
metadata: { name: to-metrics }
spec: { effect: allow, client: anyone, server: metrics, trustProviders: [cluster], credentialProvider: metrics-keys, actions: [all] }
---
"#;

const PAGE: &str = include_str!("../../../../../docs/credentials.md");

/// The policies of this test beside the examples of the page.
fn policies() -> Compiled {
    let fenced = PAGE.split("\n```yaml\n").skip(1);
    let examples = fenced.map(|rest| rest.split("\n```").next().unwrap());
    let text = POLICIES.to_owned() + &examples.collect::<Vec<_>>().join("\n---\n");
    let source = Source {
        name: "it.yaml".to_owned(),
        text: text.into_bytes(),
    };
    let settings = attache_policy::Settings {
        trust_domain: TrustDomain::parse("cluster.local").unwrap(),
        trust_providers: Vec::new(),
    };
    compile(&[source], &settings).unwrap_or_else(|problems| panic!("{problems}"))
}

struct Place {
    credentials: Credentials,
    secrets: Arc<SecretStore>,
    policies: Compiled,
    folder: tempfile::TempDir,
}

const SECRETS: [(&str, &str); 4] = [
    ("maps", "canary&maps=1"),
    ("ledger", "canary-ledger"),
    ("metrics-api", "canary-metrics-api"),
    ("metrics-application", "canary-metrics-application"),
];

fn place() -> Place {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("secrets")).unwrap();
    let roots = SecretRoots {
        base: folder.path().to_owned(),
        folders: vec![folder.path().join("secrets")],
        ..SecretRoots::nothing()
    };
    let secrets = Arc::new(SecretStore::new(roots));
    let mint = TestMint::new();
    let place = Place {
        credentials: Credentials::new(
            mint,
            Arc::clone(&secrets),
            Reach::default(),
            Settings::default(),
        ),
        secrets,
        policies: policies(),
        folder,
    };
    SECRETS
        .iter()
        .for_each(|(name, secret)| place.write(name, secret));
    place
}

impl Place {
    fn write(&self, name: &str, secret: &str) {
        fs::write(self.folder.path().join("secrets").join(name), secret).unwrap();
    }

    async fn injected(&self, host: &str) -> Result<Vec<String>, Fault> {
        let given = call(&self.credentials, &self.policies, PAYMENTS, host, NOW).await?;
        Ok(shown(given.unwrap().injection()))
    }
}

fn shown(injection: &Injection) -> Vec<String> {
    let headers = injection.headers().iter();
    let headers = headers.map(|(name, value)| format!("{}: {}", name.as_str(), value.expose()));
    let parameters = injection.parameters().iter();
    let parameters =
        parameters.map(|(name, value)| format!("?{}={}", name.as_str(), value.expose()));
    headers.chain(parameters).collect()
}

#[tokio::test]
async fn the_examples_of_the_page_are_injected_as_it_says() {
    let place = place();
    assert_eq!(
        place.injected("maps.example.com").await.unwrap(),
        ["?key=canary%26maps%3D1"]
    );
    assert_eq!(
        place.injected("ledger.example.com").await.unwrap(),
        ["authorization: Basic c2hvcDpjYW5hcnktbGVkZ2Vy"]
    );
    assert_eq!(
        place.injected("api.metrics.example.com").await.unwrap(),
        [
            "dd-api-key: canary-metrics-api",
            "dd-application-key: canary-metrics-application",
            "x-account: 4711"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_rotated_secret_is_used_and_the_old_one_dropped_and_a_missing_one_is_a_fault() {
    let place = place();
    let host = "maps.example.com";
    assert_eq!(
        place.injected(host).await.unwrap(),
        ["?key=canary%26maps%3D1"]
    );
    place.write("maps", "rotated");
    place.secrets.look().await;
    assert_eq!(place.injected(host).await.unwrap(), ["?key=rotated"]);
    fs::remove_file(place.folder.path().join("secrets/maps")).unwrap();
    place.secrets.look().await;
    assert_eq!(place.injected(host).await, Err(Fault::SecretUnavailable));
    place.write("maps", "again");
    place.secrets.look().await;
    assert_eq!(place.injected(host).await.unwrap(), ["?key=again"]);
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_cannot_stand_in_a_header_is_a_fault_and_its_successor_is_used_at_once() {
    let place = place();
    let host = "api.metrics.example.com";
    place.write("metrics-api", "two\nlines");
    assert_eq!(
        place.injected(host).await,
        Err(Fault::CredentialNotEncodable)
    );
    place.write("metrics-api", "one-line");
    place.secrets.look().await;
    assert_eq!(
        place.injected(host).await.unwrap()[0],
        "dd-api-key: one-line"
    );
}

#[tokio::test]
async fn no_secret_is_in_the_log_at_its_finest_level() {
    let log = Log::default();
    let layer = tracing_subscriber::fmt::layer().with_writer(log.clone());
    use tracing_subscriber::layer::SubscriberExt as _;
    let guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));
    let place = place();
    for host in [
        "maps.example.com",
        "ledger.example.com",
        "api.metrics.example.com",
    ] {
        place.injected(host).await.unwrap();
    }
    for (name, _) in SECRETS {
        place.write(name, "canary\nof two lines");
    }
    place.secrets.look().await;
    for host in ["ledger.example.com", "api.metrics.example.com"] {
        place.injected(host).await.unwrap_err();
    }
    drop(guard);
    let log = log.text();
    assert!(log.contains("a secret changed"), "{log}");
    assert!(!log.contains("canary"), "{log}");
}
