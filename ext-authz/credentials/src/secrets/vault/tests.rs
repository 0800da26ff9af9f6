use std::{
    pin::Pin,
    sync::atomic::{AtomicU64, Ordering::SeqCst},
};

use attache_policy::document::{Engine, SecretReference};
use serde_json::{Value, json};
use tokio::time;

use super::*;
use crate::{
    providers::{
        contract::{Log, NOW},
        peer::{Asked, Peer, Reply},
    },
    secrets::{SecretRoots, SecretStore, VaultRoot, VaultRoots},
};

const SECRET: &str = "canary-in-the-vault";
const KEEP: Duration = Duration::from_hours(1);
const READ_AGAIN: Duration = Duration::from_mins(5);

/// An edge whose tokens say for whom they are.
#[derive(Default)]
struct Edge {
    generation: AtomicU64,
}

impl EdgeIdentity for Edge {
    fn generation(&self) -> u64 {
        self.generation.load(SeqCst)
    }

    fn token<'a>(
        &'a self,
        audience: &'a str,
    ) -> Pin<Box<dyn Future<Output = Result<Secret, MintFailed>> + Send + 'a>> {
        let token = format!("canary-edge-for-{audience}");
        Box::pin(std::future::ready(Ok(Secret::new(token))))
    }
}

/// Every login gets another token, and only the newest one counts.
fn answer(asked: &Asked, logins: &AtomicU64, key: &Value) -> Reply {
    let path = asked.line.split(' ').nth(1).unwrap_or_default();
    if path.starts_with("/v1/auth/") {
        let number = logins.fetch_add(1, SeqCst) + 1;
        let auth = json!({"client_token": format!("hvs.canary-{number}"), "lease_duration": 600, "renewable": true});
        return Reply::json("200 OK", &json!({"auth": auth}));
    }
    let newest = format!("hvs.canary-{}", logins.load(SeqCst));
    if asked.header("x-vault-token") != Some(&newest) {
        return Reply::json("403 Forbidden", &json!({"errors": ["permission denied"]}));
    }
    match path {
        "/v1/kv/data/shop/maps" => Reply::json("200 OK", &json!({"data": {"data": {"key": key}}})),
        "/v1/old/maps" => Reply::json(
            "200 OK",
            &json!({"lease_duration": 60, "data": {"key": key}}),
        ),
        _ => Reply::json("404 Not Found", &json!({"errors": []})),
    }
}

struct Scene {
    peer: Peer,
    edge: Arc<Edge>,
    store: Arc<SecretStore>,
    logins: Arc<AtomicU64>,
}

async fn scene() -> Scene {
    let logins = Arc::new(AtomicU64::new(0));
    let (own, key) = (Arc::clone(&logins), json!(SECRET));
    let peer = Peer::start(move |asked| answer(asked, &own, &key)).await;
    let settings = VaultSettings {
        address: peer.url(),
        ca_file: None,
        namespace: Some("teams/shop".to_owned()),
        login: EdgeLogin::Jwt {
            mount: "jwt".to_owned(),
            role: "attache".to_owned(),
            audience: "https://vault.example".to_owned(),
        },
        read_again: READ_AGAIN,
        keep: KEEP,
    };
    let root = |engine, mount: &str, path: Option<&str>| VaultRoot {
        engine,
        mount: mount.to_owned(),
        path: path.map(str::to_owned),
    };
    let roots = SecretRoots {
        vault: VaultRoots::Below(vec![
            root(Engine::KvV2, "kv", Some("shop")),
            root(Engine::KvV1, "old", None),
        ]),
        ..SecretRoots::nothing()
    };
    let edge = Arc::new(Edge::default());
    let identity = Arc::clone(&edge) as Arc<dyn EdgeIdentity>;
    let reach = Reach::default().and_loopback();
    let vault = EdgeVault::new(settings, identity, reach, Arc::new(|| NOW));
    Scene {
        peer,
        edge,
        store: Arc::new(SecretStore::new(roots).with_vault(vault)),
        logins,
    }
}

fn maps() -> SecretReference {
    reference("kv/shop/maps")
}

fn reference(path: &str) -> SecretReference {
    SecretReference::Vault {
        path: path.to_owned(),
        field: "key".to_owned(),
    }
}

impl Scene {
    async fn text(&self, reference: &SecretReference) -> Option<String> {
        let secrets = self.store.current(&[reference]).await.ok()?;
        Some(secrets.secret(reference).ok()?.expose().to_owned())
    }

    fn reads(&self) -> usize {
        self.peer.count("GET")
    }

    /// The time passes at once.
    async fn later(&self, by: Duration) {
        time::pause();
        time::advance(by).await;
        time::resume();
    }

    /// Has what is due read again, and waits for that.
    async fn look(&self) {
        let before = self.reads();
        self.store.look().await;
        while self.store.is_reading() {
            tokio::task::yield_now().await;
        }
        assert!(self.reads() >= before);
    }

    fn says(&self, key: Value) {
        let own = Arc::clone(&self.logins);
        self.peer.says(move |asked| answer(asked, &own, &key));
    }
}

#[tokio::test]
async fn a_field_is_read_with_the_edges_own_login_once_for_all_who_wait() {
    let scene = scene().await;
    let asking = (0..50).map(|_| {
        let store = Arc::clone(&scene.store);
        tokio::spawn(async move { store.current(&[&maps()]).await.is_ok() })
    });
    for asked in asking.collect::<Vec<_>>() {
        assert!(asked.await.unwrap());
    }
    assert_eq!(scene.text(&maps()).await.as_deref(), Some(SECRET));
    let [login, read] = &scene.peer.asked()[..] else {
        panic!("two calls");
    };
    assert_eq!(login.line, "POST /v1/auth/jwt/login HTTP/1.1");
    let jwt = "canary-edge-for-https://vault.example";
    assert_eq!(login.json(), json!({"role": "attache", "jwt": jwt}));
    assert_eq!(read.line, "GET /v1/kv/data/shop/maps HTTP/1.1");
    assert_eq!(read.header("x-vault-namespace"), Some("teams/shop"));
    // The first version of KV by the same login.
    assert_eq!(
        scene.text(&reference("old/maps")).await.as_deref(),
        Some(SECRET)
    );
    assert_eq!(scene.peer.count("POST"), 1);
}

#[tokio::test]
async fn callers_that_go_away_do_not_take_the_reading_from_the_next() {
    let scene = scene().await;
    let well = scene.peer.script();
    scene.peer.says(|_| Reply::Nothing);
    let store = Arc::clone(&scene.store);
    let gone = tokio::spawn(async move { store.current(&[&maps()]).await.is_ok() });
    while scene.peer.asked().is_empty() {
        tokio::task::yield_now().await;
    }
    gone.abort();
    assert!(gone.await.is_err() && scene.store.is_reading());
    scene.peer.says(move |asked| well(asked));
    // The login that was begun is the one that is waited for, to its end.
    scene.later(Duration::from_secs(5)).await;
    assert_eq!(scene.text(&maps()).await, None);
    assert_eq!(scene.peer.count("POST"), 1);
}

#[tokio::test]
async fn it_is_read_again_before_its_interval_or_lease_is_over_and_a_change_is_another_version() {
    let scene = scene().await;
    for (reference, interval) in [
        (maps(), READ_AGAIN),
        (reference("old/maps"), Duration::from_secs(60)),
    ] {
        scene.says(json!("one"));
        assert_eq!(scene.text(&reference).await.as_deref(), Some("one"));
        let before = scene
            .store
            .current(&[&reference])
            .await
            .ok()
            .unwrap()
            .versions();
        let reads = scene.reads();
        scene.says(json!("two"));
        scene.later(interval / 5 * 3).await;
        scene.look().await;
        assert_eq!(
            (scene.text(&reference).await.as_deref(), scene.reads()),
            (Some("one"), reads)
        );
        scene.later(interval / 5 * 2).await;
        scene.look().await;
        assert_eq!(scene.text(&reference).await.as_deref(), Some("two"));
        let after = scene
            .store
            .current(&[&reference])
            .await
            .ok()
            .unwrap()
            .versions();
        assert_ne!(after, before);
    }
}

#[tokio::test]
async fn while_the_vault_is_away_or_answers_garbage_a_secret_serves_and_not_for_ever() {
    let scene = scene().await;
    assert_eq!(scene.text(&maps()).await.as_deref(), Some(SECRET));
    let garbage = |_: &Asked| Reply::of("200 OK", "content-type: text/html\r\n", SECRET);
    for minutes in [5, 20, 20] {
        scene.later(Duration::from_mins(minutes)).await;
        match minutes {
            5 => scene.peer.away(true),
            _ => {
                scene.peer.away(false);
                scene.peer.says(garbage);
            }
        }
        scene.look().await;
        assert_eq!(scene.text(&maps()).await.as_deref(), Some(SECRET));
    }
    let counts = |read, kept, unreadable| crate::SecretCounts {
        read,
        kept,
        unreadable,
    };
    assert_eq!(scene.store.counts(), counts(0, 1, 0));
    scene.later(Duration::from_mins(16)).await;
    assert_eq!(scene.text(&maps()).await, None);
    assert_eq!(scene.store.counts(), counts(0, 0, 1));
    // It is asked for again after a pause, and serves as soon as the Vault does.
    scene.says(json!("back"));
    scene.later(Duration::from_secs(6)).await;
    assert_eq!(scene.text(&maps()).await.as_deref(), Some("back"));
    assert_eq!(scene.store.counts(), counts(1, 0, 0));
}

#[tokio::test]
async fn what_the_vault_refuses_is_dropped_at_once_and_asked_for_again_after_a_pause() {
    for (what, reply) in [
        (
            "403",
            Reply::json("403 Forbidden", &json!({"errors": [SECRET]})),
        ),
        ("404", Reply::json("404 Not Found", &json!({"errors": []}))),
        (
            "another field",
            Reply::json("200 OK", &json!({"data": {"data": {"other": SECRET}}})),
        ),
    ] {
        let scene = scene().await;
        assert_eq!(scene.text(&maps()).await.as_deref(), Some(SECRET));
        let own = Arc::clone(&scene.logins);
        scene
            .peer
            .says(move |asked| match asked.line.starts_with("GET") {
                true => reply.clone(),
                false => answer(asked, &own, &Value::Null),
            });
        scene.later(READ_AGAIN).await;
        scene.look().await;
        let refused = scene.store.current(&[&maps()]).await.err().unwrap();
        assert_eq!(refused.fault, Fault::SecretUnavailable, "{what}");
        let pause = refused.retry_after.unwrap();
        assert!(pause <= Duration::from_secs(1), "{what}: {pause:?}");
        let reads = scene.reads();
        assert_eq!(scene.text(&maps()).await, None, "{what}");
        assert_eq!(scene.reads(), reads, "{what} is asked for again at once");
        scene.says(json!("again"));
        scene.later(Duration::from_secs(1)).await;
        assert_eq!(
            scene.text(&maps()).await.as_deref(),
            Some("again"),
            "{what}"
        );
    }
}

#[tokio::test]
async fn a_login_that_was_revoked_in_the_vault_or_whose_key_was_revoked_here_is_made_again() {
    let scene = scene().await;
    assert_eq!(scene.text(&maps()).await.as_deref(), Some(SECRET));
    // Another login makes ours void.
    scene.logins.fetch_add(1, SeqCst);
    assert_eq!(
        scene.text(&reference("old/maps")).await.as_deref(),
        Some(SECRET)
    );
    assert_eq!(scene.peer.count("POST /v1/auth/jwt/login"), 2);
    scene.edge.generation.fetch_add(1, SeqCst);
    scene.later(READ_AGAIN).await;
    scene.look().await;
    assert!(scene.peer.count("POST /v1/auth/jwt/login") > 2);
}

#[tokio::test]
async fn a_vault_that_takes_no_login_is_away_and_its_secrets_serve() {
    let scene = scene().await;
    assert_eq!(scene.text(&maps()).await.as_deref(), Some(SECRET));
    // It cannot fetch the keys of our issuer, and forgot the login that there was.
    scene
        .peer
        .says(|asked| match asked.line.starts_with("POST") {
            true => Reply::json(
                "400 Bad Request",
                &json!({"errors": ["error fetching keys"]}),
            ),
            false => Reply::json("403 Forbidden", &json!({"errors": ["permission denied"]})),
        });
    scene.later(READ_AGAIN).await;
    scene.look().await;
    assert!(scene.peer.count("POST") > 1);
    assert_eq!(scene.text(&maps()).await.as_deref(), Some(SECRET));
    scene.later(KEEP).await;
    assert_eq!(scene.text(&maps()).await, None);
}

#[tokio::test]
async fn whatever_happens_no_secret_is_told() {
    let log = Log::default();
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(log.clone())
        .with_ansi(false);
    use tracing_subscriber::layer::SubscriberExt as _;
    let guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));
    let scene = scene().await;
    assert!(scene.text(&maps()).await.is_some());
    scene.peer.says(|_| {
        Reply::json(
            "400 Bad Request",
            &json!({"errors": [SECRET, "canary-edge"]}),
        )
    });
    scene.later(READ_AGAIN).await;
    scene.look().await;
    assert!(scene.text(&reference("kv/shop/other")).await.is_none());
    scene.later(READ_AGAIN).await;
    scene.says(json!({"a": SECRET}));
    assert!(scene.text(&maps()).await.is_none());
    drop(guard);
    let log = log.text();
    assert!(!log.contains("canary"), "{log}");
}
