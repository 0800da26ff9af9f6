//! Failure drills: whatever a provider's peer does, there is one stable code, what the peer asks for is kept, nothing
//! secret is told, and the next call after it came to itself gives a credential.

use std::{
    sync::{Arc, atomic::Ordering::SeqCst},
    time::Duration,
};

use attache_core::decision::{Fault, OauthError};
use attache_policy::document::CredentialKind;
use serde_json::json;
use tracing_subscriber::layer::SubscriberExt as _;

use super::{
    contract::{Log, NOW},
    kubernetes, oauth2,
    peer::{Asked, Files, GIVEN, ISSUED, Issuer, Peer, Reply, Wanting},
    vault,
};
use crate::provider::{Cause, NotObtained, Provide};

/// A provider of each kind before a peer that is in order.
struct Drilled {
    provider: Box<dyn Provide>,
    wanting: Wanting,
    issuer: Arc<Issuer>,
    peer: Peer,
    _files: Files,
}

type Kind = &'static str;

const KINDS: [Kind; 4] = [
    "oauth2-client-credentials",
    "oauth2-token-exchange",
    "vault",
    "kubernetes-token",
];

async fn drilled(kind: Kind) -> Drilled {
    let files = Files::new();
    let issuer = Arc::new(Issuer::default());
    let (provider, parameters, peer): (Box<dyn Provide>, CredentialKind<String>, Peer) = match kind
    {
        "oauth2-client-credentials" => {
            let peer = oauth2::tests::server().await;
            let parameters = oauth2::tests::by_secret(&files, &peer);
            (Box::new(oauth2::tests::provider(&issuer)), parameters, peer)
        }
        "oauth2-token-exchange" => {
            let peer = oauth2::tests::server().await;
            let parameters = oauth2::tests::exchange(&peer);
            (Box::new(oauth2::tests::provider(&issuer)), parameters, peer)
        }
        "vault" => {
            let peer = vault::tests::server().await;
            let parameters = vault::tests::by_role(&files, &peer);
            (Box::new(vault::tests::provider(&issuer)), parameters, peer)
        }
        _ => {
            let peer = kubernetes::tests::server().await;
            let parameters = kubernetes::tests::there(&files, &peer);
            (Box::new(kubernetes::tests::provider()), parameters, peer)
        }
    };
    Drilled {
        wanting: files.wanted(&parameters).await,
        provider,
        issuer,
        peer,
        _files: files,
    }
}

type Misbehaviour = (&'static str, Reply, Fault);

/// What each peer does that gives no answer, and the code.
fn unwell() -> Vec<Misbehaviour> {
    let echo =
        json!({"error": format!("{ISSUED} and {GIVEN}"), "errors": [GIVEN], "message": GIVEN});
    vec![
        ("slow", Reply::Nothing, Fault::ProviderTimeout),
        (
            "broken",
            Reply::of("500 Internal Server Error", "", ISSUED),
            Fault::ProviderFailed,
        ),
        (
            "overloaded",
            Reply::of("503 Service Unavailable", "retry-after: 7\r\n", ISSUED),
            Fault::ProviderFailed,
        ),
        (
            "asked too often",
            Reply::of("429 Too Many Requests", "retry-after: 7\r\n", ISSUED),
            Fault::ProviderFailed,
        ),
        (
            "refusing",
            Reply::json("403 Forbidden", &echo),
            Fault::ProviderRefused,
        ),
    ]
}

/// What each peer answers that is no answer, and the code.
fn garbled() -> Vec<Misbehaviour> {
    let json = "content-type: application/json\r\n";
    let huge = format!("{{\"access_token\": \"{}\"}}", "a".repeat(200_000));
    vec![
        (
            "talking garbage",
            Reply::of("200 OK", json, "{\"access_token\": \"canary-issued"),
            Fault::ProviderAnswerInvalid,
        ),
        (
            "saying things twice",
            Reply::of("200 OK", json, "{\"auth\": {}, \"auth\": {}}"),
            Fault::ProviderAnswerInvalid,
        ),
        (
            "answering nothing",
            Reply::of("200 OK", json, "{}"),
            Fault::ProviderAnswerInvalid,
        ),
        (
            "a proxy's page",
            Reply::of("200 OK", "content-type: text/html\r\n", "<p>canary-issued"),
            Fault::ProviderAnswerInvalid,
        ),
        (
            "huge",
            Reply::of("200 OK", json, &huge),
            Fault::ProviderAnswerInvalid,
        ),
        (
            "somewhere else",
            Reply::of(
                "307 Temporary Redirect",
                "location: http://127.0.0.1:1/\r\n",
                "",
            ),
            Fault::ProviderAnswerInvalid,
        ),
        (
            "without content",
            Reply::of("204 No Content", "", ""),
            Fault::ProviderAnswerInvalid,
        ),
    ]
}

/// The fault, and that neither it nor the log tells a secret.
async fn refused(drilled: &Drilled) -> NotObtained {
    let log = Log::default();
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(log.clone())
        .with_ansi(false);
    let guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));
    let refused = drilled.provider.obtain(&drilled.wanting.at(NOW)).await;
    drop(guard);
    let why = refused.err().expect("no credential");
    let log = log.text();
    for secret in [GIVEN, ISSUED] {
        assert!(!log.contains(secret), "{log}");
    }
    why
}

#[tokio::test]
async fn whatever_a_peer_does_has_its_code_and_is_over_when_the_peer_is_well_again() {
    for kind in KINDS {
        let drilled = drilled(kind).await;
        let well = drilled.peer.script();
        for (what, reply, fault) in unwell().into_iter().chain(garbled()) {
            drilled.peer.says(move |_: &Asked| reply.clone());
            let why = refused(&drilled).await;
            assert_eq!(why.cause, Cause::Broken(fault), "{kind} is {what}");
            let is_asked = what == "overloaded" || what == "asked too often";
            let pause = is_asked.then_some(Duration::from_secs(7));
            assert_eq!(why.retry_after, pause, "{kind} is {what}");
            let again = Arc::clone(&well);
            drilled.peer.says(move |asked: &Asked| again(asked));
            let given = drilled.provider.obtain(&drilled.wanting.at(NOW)).await;
            assert!(given.is_ok(), "{kind} was {what}: {:?}", given.err());
            // A login that was kept must not answer in the peer's place.
            drilled.issuer.generation.fetch_add(1, SeqCst);
        }
    }
}

#[tokio::test]
async fn a_peer_that_is_away_or_has_no_name_is_unreachable() {
    for kind in KINDS {
        let drilled = drilled(kind).await;
        drilled.peer.away(true);
        let why = refused(&drilled).await;
        assert_eq!(why.fault(), Fault::ProviderUnreachable, "{kind}");
        drilled.peer.away(false);
        let given = drilled.provider.obtain(&drilled.wanting.at(NOW)).await;
        assert!(given.is_ok(), "{kind}: {:?}", given.err());
    }
}

#[tokio::test]
async fn a_name_that_no_server_knows_is_unreachable_and_an_address_of_ours_is_not_called() {
    let (files, issuer) = (Files::new(), Arc::new(Issuer::default()));
    for (provider, at) in [
        (
            oauth2::tests::provider(&issuer),
            "https://nobody.invalid/token",
        ),
        (oauth2::tests::careful(&issuer), "https://127.0.0.1:1/token"),
        (
            oauth2::tests::careful(&issuer),
            "https://169.254.169.254/token",
        ),
    ] {
        let parameters = oauth2::tests::at(&files, at);
        let wanting = files.wanted(&parameters).await;
        let refused = provider.obtain(&wanting.at(NOW)).await;
        let fault = refused.err().map(NotObtained::fault);
        assert_eq!(fault, Some(Fault::ProviderUnreachable), "{at}");
    }
}

#[test]
fn every_code_of_an_authorization_server_is_one_of_ours() {
    for error in OauthError::ALL {
        let code = error.name().replace('_', "-");
        assert_eq!(error.code(), format!("oauth-{code}"));
    }
}
