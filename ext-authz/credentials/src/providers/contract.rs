//! The suite that every credential provider is held to. A provider's tests make a [`Fixture`] and call [`holds`].

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use attache_core::{freshness::Freshness, time::Timestamp};
use attache_policy::document::{Consistence, Part};
use tracing_subscriber::{fmt::MakeWriter, layer::SubscriberExt as _};

use crate::provider::{Obtained, Provide, Wanted};

/// One provider with its peer.
pub(crate) struct Fixture<'f> {
    pub(crate) provider: &'f dyn Provide,
    /// What is wanted at a moment; equal but for that.
    pub(crate) wanted: &'f dyn Fn(Timestamp) -> Wanted,
    /// What its credentials consist of.
    pub(crate) consistence: Consistence,
    /// Every secret that it is given, and every one that it gives.
    pub(crate) canaries: &'f [&'f str],
    /// Takes the peer away, or brings it back; `None` if there is nobody to be away.
    pub(crate) away: Option<&'f dyn Fn(bool)>,
}

/// The moment at which the suite begins.
pub(crate) const NOW: Timestamp = Timestamp::from_seconds(1_781_000_000);

/// Holds a provider to all that every provider promises.
pub(crate) async fn holds(fixture: &Fixture<'_>) {
    let log = Log::default();
    let subscriber = tracing_subscriber::registry().with(
        tracing_subscriber::fmt::layer()
            .with_writer(log.clone())
            .with_ansi(false),
    );
    // For the futures that are polled on this thread, which are all of them.
    let guard = tracing::subscriber::set_default(subscriber);
    gives_what_it_says(fixture).await;
    is_good_when_it_comes(fixture).await;
    tells_when_its_peer_is_away(fixture).await;
    drop(guard);
    let log = log.text();
    for canary in fixture.canaries {
        assert!(!log.contains(canary), "a secret is in the log: {log}");
    }
}

async fn obtained(fixture: &Fixture<'_>, now: Timestamp) -> Obtained {
    let wanted = (fixture.wanted)(now);
    let obtained = fixture.provider.obtain(&wanted).await;
    obtained.unwrap_or_else(|why| panic!("{why:?}"))
}

/// What it gives is of the kind that policies were compiled for.
async fn gives_what_it_says(fixture: &Fixture<'_>) {
    let obtained = obtained(fixture, NOW).await;
    assert_eq!(obtained.material.consistence(), fixture.consistence);
    if fixture.consistence == Consistence::Token {
        let token = obtained.material.part(&Part::Token).unwrap();
        assert!(!token.expose().is_empty());
    }
    if let Some(id) = &obtained.id {
        let is_secret = |canary: &&&str| id.contains(**canary);
        assert!(!fixture.canaries.iter().any(|it| is_secret(&it)), "{id}");
    }
}

/// What has a lifetime is good at the moment at which it was wanted.
async fn is_good_when_it_comes(fixture: &Fixture<'_>) {
    for now in [NOW, NOW.plus(Duration::from_hours(1))] {
        let lifetime = obtained(fixture, now).await.lifetime;
        let freshness = lifetime.map(|lifetime| lifetime.at(now));
        assert!(
            matches!(freshness, None | Some(Freshness::Fresh)),
            "{lifetime:?} at {now:?}"
        );
    }
}

/// A peer that is away is a fault, and the next call after it is back gives a credential.
async fn tells_when_its_peer_is_away(fixture: &Fixture<'_>) {
    let Some(away) = fixture.away else {
        return;
    };
    away(true);
    let wanted = (fixture.wanted)(NOW);
    let refused = fixture.provider.obtain(&wanted).await;
    assert!(refused.is_err(), "a credential of a peer that is away");
    away(false);
    obtained(fixture, NOW).await;
}

/// What was logged.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    pub(crate) fn text(&self) -> String {
        let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'w> MakeWriter<'w> for Log {
    type Writer = Self;

    fn make_writer(&'w self) -> Self {
        self.clone()
    }
}
