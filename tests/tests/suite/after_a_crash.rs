//! `kill -9` under load, again and again: keys, policies and every event of an answered call are there.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use anyhow::{Context as _, Result};
use attache_tests::{
    client::{self, with_evidence},
    quickstart::STRIPE,
    stage::Stage,
    verify,
    wait::until,
};
use tokio::task::JoinSet;

const KILLS: usize = 100;
const CALLERS: usize = 4;
/// Answers between a start and the next kill.
const ANSWERS: usize = 8;

/// What the callers were told.
#[derive(Default)]
struct Told {
    stop: AtomicBool,
    answers: AtomicUsize,
    permitted: Mutex<Vec<String>>,
    denied: Mutex<Vec<String>>,
}

impl Told {
    fn note(&self, list: &Mutex<Vec<String>>, what: String) {
        list.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(what);
        self.answers.fetch_add(1, Ordering::Relaxed);
    }
}

/// Asks without pause, each time for another path; every third call is one to be denied.
async fn ask_on(
    address: SocketAddr,
    caller: usize,
    good: String,
    bad: String,
    told: Arc<Told>,
) -> Result<()> {
    for number in 0.. {
        if told.stop.load(Ordering::Relaxed) {
            break;
        }
        let denied = number % 3 == 2;
        let path = format!("/v1/charges/{caller}-{number}");
        let request = with_evidence(
            client::get(STRIPE, &path)?,
            if denied { &bad } else { &good },
        )?;
        let Ok(reply) = client::http1(address, request).await else {
            continue;
        };
        match (reply.status, reply.header("x-attache-decision")) {
            (200, _) => told.note(&told.permitted, path),
            (403, Some(decision)) => told.note(&told.denied, decision.to_owned()),
            // While Attaché is down, Envoy answers.
            (503, None) => tokio::task::yield_now().await,
            other => anyhow::bail!("{other:?} for {path}: {reply:?}"),
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_was_answered_is_lost_by_a_hundred_kills() -> Result<()> {
    let mut stage = Stage::open().await?;
    let (good, bad) = (
        stage.payment_token()?,
        stage.set.cluster.token("staging", "payment-svc")?,
    );
    assert_eq!(stage.charges(&good).await?.status, 200);
    let first_token = stage
        .set
        .stripe
        .last()?
        .bearer()
        .context("no bearer token")?;
    let first_keys = stage.published_keys().await?;
    let told = Arc::new(Told::default());
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        callers.spawn(ask_on(
            stage.address,
            caller,
            good.clone(),
            bad.clone(),
            Arc::clone(&told),
        ));
    }
    for kill in 0..KILLS {
        let goal = told.answers.load(Ordering::Relaxed) + ANSWERS;
        until(&format!("answers before kill {kill}"), async || {
            (told.answers.load(Ordering::Relaxed) >= goal).then_some(())
        })
        .await
        .with_context(|| stage.attache.process.errors())?;
        stage.attache.process.kill()?;
        stage.attache = stage.set.installation.launch()?;
    }
    stage.attache.ready().await?;
    told.stop.store(true, Ordering::Relaxed);
    while let Some(caller) = callers.join_next().await {
        caller??;
    }
    check_events(&stage, &told)?;
    // The same keys, with their successors by now, so the first token still verifies; and the same policies, so
    // it is still minted.
    let keys = stage.published_keys().await?;
    let listed = |set: &serde_json::Value| set["keys"].as_array().cloned().unwrap_or_default();
    assert!(
        listed(&first_keys)
            .iter()
            .all(|key| listed(&keys).contains(key)),
        "{keys}"
    );
    let issuer = stage.set.installation.issuer();
    verify::claims(&first_token, &keys, &issuer, "https://api.stripe.com")?;
    assert_eq!(stage.charges(&good).await?.status, 200);
    Ok(())
}

fn check_events(stage: &Stage, told: &Told) -> Result<()> {
    let events = stage.set.installation.events()?;
    let field = |name: &str| {
        let values = events.iter().filter_map(|event| event.get(name)?.as_str());
        values.collect::<BTreeSet<_>>()
    };
    let (paths, ids) = (field("request_path"), field("event_id"));
    let permitted = told
        .permitted
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    let denied = told.denied.lock().unwrap_or_else(PoisonError::into_inner);
    assert!(
        permitted.len() > KILLS && denied.len() > KILLS,
        "{} {}",
        permitted.len(),
        denied.len()
    );
    let lost: Vec<_> = permitted
        .iter()
        .filter(|path| !paths.contains(path.as_str()))
        .collect();
    assert!(lost.is_empty(), "permitted and not recorded: {lost:?}");
    let lost: Vec<_> = denied
        .iter()
        .filter(|id| !ids.contains(id.as_str()))
        .collect();
    assert!(lost.is_empty(), "denied and not recorded: {lost:?}");
    Ok(())
}
