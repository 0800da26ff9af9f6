use std::{future::pending, net::SocketAddr, path::Path, time::Duration};

use attache_core::{spiffe_id::TrustDomain, time::Timestamp};
use attache_issuer::{
    IssuerConfig, SealingKey, UnusableKeys,
    config::{Environment, IssuerUrl},
};
use attache_trust::{Trust, TrustSettings};
use reqwest::{Client, Method, Response};
use serde_json::Value;
use tokio::net::TcpListener;

use super::*;
use crate::{server::serve, store::Store};

const NOW: Timestamp = Timestamp::from_seconds(1_781_000_000);

async fn open(store: &Path, url: &str, sealing_key: &str) -> Result<Issuer, UnusableKeys> {
    let store = Store::open(store)
        .await
        .unwrap_or_else(|error| panic!("{error}"));
    let url = IssuerUrl::parse(url).unwrap();
    let trust_domain = TrustDomain::parse("cluster.local").unwrap();
    let config = IssuerConfig::new(url, Environment::parse("test").unwrap(), trust_domain);
    let sealing_key = SealingKey::parse(sealing_key).unwrap();
    let trust = Arc::new(Trust::new(TrustSettings::new(Arc::new(|| NOW))));
    Issuer::open(Arc::new(store), sealing_key, config, trust, NOW).await
}

fn sealing_key(first: &str) -> String {
    format!("{first}{}", "5c".repeat(31))
}

/// Serves the documents of a new issuer whose URL has `path`.
async fn publish(path: &str) -> (SocketAddr, String) {
    let directory = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let url = format!("http://{address}{path}");
    let issuer = open(&directory.path().join("a.db"), &url, &sealing_key("a1"))
        .await
        .unwrap();
    let routes = router(Arc::new(issuer), None);
    tokio::spawn(serve(listener, routes, pending(), Duration::ZERO));
    (address, url)
}

async fn ask(method: Method, url: &str) -> Response {
    Client::builder()
        .no_proxy()
        .build()
        .unwrap()
        .request(method, url)
        .send()
        .await
        .unwrap()
}

async fn read(url: &str) -> Value {
    let answer = ask(Method::GET, url).await;
    assert_eq!(answer.status(), 200, "{url}");
    serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap()
}

fn header<'a>(answer: &'a Response, name: &str) -> Option<&'a str> {
    answer
        .headers()
        .get(name)
        .map(|value| value.to_str().unwrap())
}

#[tokio::test]
async fn a_client_finds_the_keys_from_the_issuers_url_alone() {
    for path in ["", "/attache/tenant-1"] {
        let (_, url) = publish(path).await;
        let document = read(&format!("{url}/.well-known/openid-configuration")).await;
        assert_eq!(document["issuer"], url);
        let keys = read(document["jwks_uri"].as_str().unwrap()).await;
        let algorithms: Vec<_> = keys["keys"]
            .as_array()
            .unwrap()
            .iter()
            .map(|key| key["alg"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(algorithms, ["RS256", "ES256"]);
    }
}

#[tokio::test]
async fn the_documents_are_json_that_may_be_kept_for_five_minutes() {
    let (_, url) = publish("").await;
    for path in [DISCOVERY_PATH, KEYS_PATH, BUNDLE_PATH] {
        for method in [Method::GET, Method::HEAD] {
            let answer = ask(method.clone(), &format!("{url}{path}")).await;
            assert_eq!(answer.status(), 200);
            assert_eq!(header(&answer, "content-type"), Some("application/json"));
            assert_eq!(
                header(&answer, "cache-control"),
                Some("public, max-age=300")
            );
            let length: usize = header(&answer, "content-length").unwrap().parse().unwrap();
            let body = answer.bytes().await.unwrap();
            assert!(length > 0);
            assert_eq!(body.len(), if method == Method::HEAD { 0 } else { length });
        }
    }
}

#[tokio::test]
async fn the_documents_are_only_read() {
    let (_, url) = publish("").await;
    for path in [DISCOVERY_PATH, KEYS_PATH, BUNDLE_PATH] {
        for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS] {
            let answer = ask(method, &format!("{url}{path}")).await;
            assert_eq!(answer.status(), 405);
            assert_eq!(header(&answer, "allow"), Some("GET,HEAD"));
            let body: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
            assert_eq!(body["error"], "method-not-allowed");
        }
    }
}

#[tokio::test]
async fn nothing_else_is_here() {
    let (address, url) = publish("/tenant").await;
    let origin = format!("http://{address}");
    for url in [
        format!("{origin}/"),
        format!("{origin}/keys"),
        format!("{origin}/.well-known/openid-configuration"),
        format!("{url}/"),
        format!("{url}/keys/"),
        format!("{url}/token"),
        format!("{url}/%2e%2e/keys"),
    ] {
        let answer = ask(Method::GET, &url).await;
        assert_eq!(answer.status(), 404, "{url}");
        assert_eq!(header(&answer, "content-type"), Some("application/json"));
        assert_eq!(header(&answer, "cache-control"), None);
        let body: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
        assert_eq!(body["error"], "not-found");
    }
}

const URL: &str = "https://attache.example.com";

#[tokio::test]
async fn the_keys_in_the_file_outlive_the_process() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("attache.db");
    let before = open(&path, URL, &sealing_key("a1")).await.unwrap().jwks();
    assert_eq!(
        open(&path, URL, &sealing_key("a1")).await.unwrap().jwks(),
        before
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn issuers_that_start_at_once_on_one_file_publish_the_same_keys() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("attache.db");
    let mut openings = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let path = path.clone();
        openings.spawn(async move { open(&path, URL, &sealing_key("a1")).await.unwrap().jwks() });
    }
    let published = openings.join_all().await;
    assert!(published.iter().all(|jwks| *jwks == published[0]));
}

#[tokio::test]
async fn a_wrong_sealing_key_is_refused_and_the_right_one_still_works() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("attache.db");
    let before = open(&path, URL, &sealing_key("a1")).await.unwrap().jwks();
    let refused = open(&path, URL, &sealing_key("b2")).await.err().unwrap();
    assert!(
        matches!(refused, UnusableKeys::WrongSealingKey { .. }),
        "{refused}"
    );
    assert_eq!(
        open(&path, URL, &sealing_key("a1")).await.unwrap().jwks(),
        before
    );
}
