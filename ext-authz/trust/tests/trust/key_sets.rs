//! Issuers that rotate, lie, stall and disappear.

use std::{sync::Arc, time::Duration};

use attache_core::time::Timestamp;
use attache_trust::{KeySource, ProviderConfig, ProviderStatus, Trust};
use axum::{
    body::Body,
    http::{Response, StatusCode, header},
};
use bytes::Bytes;
use futures::stream;
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};

use crate::{
    signer::{ISSUER, NOW, Signer, claims, evidence, jwks, oidc, trust, verdict, verdict_at, with},
    site::{Site, answer, vacant_address},
};

const UNAVAILABLE: &str = "keys-unavailable";
const UNKNOWN: &str = "token-key-unknown";

fn discovering(site: &Site) -> ProviderConfig {
    oidc("ci", &site.url, KeySource::Discovery)
}

fn status(trust: &Trust) -> ProviderStatus {
    let mut all = trust.status(NOW);
    assert_eq!(all.len(), 1);
    all.remove(0)
}

fn last_error(trust: &Trust) -> String {
    status(trust).last_error.expect("an error")
}

fn after(duration: Duration) -> Timestamp {
    NOW.plus(duration)
}

/// Tokens of one subject each, so that none is found in the cache of another.
fn token(signer: &Signer, kid: &str, issuer: &str, subject: &str) -> String {
    signer.sign(kid, &with(claims(issuer), "sub", subject))
}

/// A token that is good for a day, so that only keys grow old.
fn long_lived(signer: &Signer, kid: &str, issuer: &str) -> String {
    signer.sign(kid, &with(claims(issuer), "exp", NOW.as_seconds() + 86_000))
}

/// The verdict once the fetch that the token causes is done; nobody is made to wait for it.
async fn verdict_at_last(trust: &Trust, token: &str) -> &'static str {
    let judged = async {
        loop {
            match verdict(trust, token).await {
                UNAVAILABLE => tokio::task::yield_now().await,
                verdict => return verdict,
            }
        }
    };
    timeout(Duration::from_secs(20), judged)
        .await
        .expect("the keys are fetched in the end")
}

async fn attested_at_last(trust: &Trust, token: &str) {
    assert_eq!(verdict_at_last(trust, token).await, "attested");
}

#[tokio::test]
async fn keys_are_found_by_discovery() {
    let signer = Signer::new();
    let site = Site::start(&signer.jwks()).await;
    let trust = trust(vec![discovering(&site)]);
    assert_eq!(
        verdict(&trust, &signer.sign("rsa", &claims(&site.url))).await,
        "attested"
    );
    let status = status(&trust);
    assert_eq!(
        (status.usable, status.keys, status.last_error),
        (true, Some(3), None)
    );
    assert_eq!(status.key_age, Some(Duration::ZERO));
}

#[tokio::test]
async fn a_discovery_document_elsewhere_must_name_the_issuer_too() {
    let signer = Signer::new();
    let site = Site::start(&signer.jwks()).await;
    let url = format!("{}/.well-known/openid-configuration", site.url);
    let elsewhere = trust(vec![oidc(
        "ci",
        ISSUER,
        KeySource::DiscoveryUrl(url.clone()),
    )]);
    let good = signer.sign("rsa", &claims(ISSUER));
    assert_eq!(verdict(&elsewhere, &good).await, UNAVAILABLE);
    assert!(
        last_error(&elsewhere).contains("is of issuer"),
        "{}",
        last_error(&elsewhere)
    );
    assert_eq!(site.keys_asked(), 0);

    let document = json!({"issuer": ISSUER, "jwks_uri": site.keys_url()}).to_string();
    site.answer_discovery(answer(StatusCode::OK, document));
    attested_at_last(&elsewhere, &good).await;
}

#[tokio::test]
async fn a_discovery_document_that_is_not_one_gives_no_keys() {
    let signer = Signer::new();
    let site = Site::start(&signer.jwks()).await;
    let uri = |uri: &str| json!({"issuer": site.url, "jwks_uri": uri}).to_string();
    for (document, why) in [
        ("<html>".to_owned(), "not well-formed"),
        ("[]".to_owned(), "not a JSON object"),
        ("{}".to_owned(), "has no `issuer`"),
        (json!({"issuer": site.url}).to_string(), "has no `jwks_uri`"),
        (
            json!({"issuer": format!("{}/", site.url), "jwks_uri": site.keys_url()}).to_string(),
            "is of issuer",
        ),
        (
            format!(r#"{{"issuer":"{0}","issuer":"{0}"}}"#, site.url),
            "stands twice",
        ),
        (uri("http://keys.example/keys"), "only https"),
        (uri("file:///etc/passwd"), "absolute URL"),
        (uri("/keys"), "absolute URL"),
        (
            uri("http://user:hunter2@127.0.0.1/keys"),
            "user information",
        ),
    ] {
        site.answer_discovery(answer(StatusCode::OK, document.clone()));
        let trust = trust(vec![discovering(&site)]);
        let good = signer.sign("rsa", &claims(&site.url));
        assert_eq!(verdict(&trust, &good).await, UNAVAILABLE, "{document}");
        assert!(
            last_error(&trust).contains(why),
            "{document}: {}",
            last_error(&trust)
        );
        assert!(!last_error(&trust).contains("hunter2"));
    }
    assert_eq!(site.keys_asked(), 0);
}

#[tokio::test]
async fn answers_that_are_no_key_set_give_no_keys() {
    let signer = Signer::new();
    let site = Site::start(&signer.jwks()).await;
    let private = jwks(&[with(signer.rsa_jwk("rsa"), "d", "AQAB")]);
    let padded = format!("{}{}", signer.jwks(), " ".repeat(600 * 1024));
    for (status, body, why) in [
        (StatusCode::OK, "<html>".to_owned(), "not well-formed"),
        (StatusCode::OK, "{}".to_owned(), "no `keys`"),
        (StatusCode::OK, private, "private"),
        (StatusCode::OK, padded, "more than 524288 bytes"),
        (
            StatusCode::INTERNAL_SERVER_ERROR,
            signer.jwks(),
            "answers 500",
        ),
        (StatusCode::NO_CONTENT, String::new(), "answers 204"),
        (StatusCode::UNAUTHORIZED, signer.jwks(), "answers 401"),
    ] {
        site.answer_keys(answer(status, body));
        let trust = trust(vec![discovering(&site)]);
        assert_eq!(
            verdict(&trust, &signer.sign("rsa", &claims(&site.url))).await,
            UNAVAILABLE,
            "{why}"
        );
        assert!(
            last_error(&trust).contains(why),
            "{why}: {}",
            last_error(&trust)
        );
    }
}

#[tokio::test]
async fn an_answer_without_end_is_cut_off() {
    let signer = Signer::new();
    let site = Site::start(&signer.jwks()).await;
    site.answer_keys(Arc::new(|| {
        let spaces =
            stream::repeat_with(|| Ok::<_, std::io::Error>(Bytes::from_static(&[b' '; 4096])));
        Response::new(Body::from_stream(spaces))
    }));
    let trust = trust(vec![discovering(&site)]);
    assert_eq!(
        verdict(&trust, &signer.sign("rsa", &claims(&site.url))).await,
        UNAVAILABLE
    );
    assert!(
        last_error(&trust).contains("more than"),
        "{}",
        last_error(&trust)
    );
}

#[tokio::test]
async fn a_redirect_is_not_followed_even_to_good_keys() {
    let signer = Signer::new();
    let site = Site::start(&signer.jwks()).await;
    let elsewhere = format!("{}/elsewhere", site.url);
    let good = signer.sign("rsa", &claims(ISSUER));
    let direct = trust(vec![oidc(
        "ci",
        ISSUER,
        KeySource::JwksUrl(elsewhere.clone()),
    )]);
    assert_eq!(verdict(&direct, &good).await, "attested");

    for status in [StatusCode::FOUND, StatusCode::PERMANENT_REDIRECT] {
        let elsewhere = elsewhere.clone();
        site.answer_keys(Arc::new(move || {
            let redirect = Response::builder()
                .status(status)
                .header(header::LOCATION, &elsewhere);
            redirect.body(Body::empty()).expect("a response")
        }));
        let trust = trust(vec![oidc(
            "ci",
            ISSUER,
            KeySource::JwksUrl(site.keys_url()),
        )]);
        assert_eq!(verdict(&trust, &good).await, UNAVAILABLE);
        assert!(
            last_error(&trust).contains("redirects are not followed"),
            "{}",
            last_error(&trust)
        );
    }
}

#[tokio::test]
async fn while_the_issuer_is_away_the_last_good_keys_serve_until_their_age_limit() {
    let signer = Signer::new();
    let site = Site::start(&signer.jwks()).await;
    let mut config = discovering(&site);
    config.max_key_age = Duration::from_hours(6);
    let trust = trust(vec![config]);
    let first = long_lived(&signer, "rsa", &site.url);
    let second = long_lived(&signer, "rsa", &site.url);
    assert_eq!(verdict(&trust, &first).await, "attested");
    let issuer = site.url.clone();
    drop(site);

    let six_hours = after(Duration::from_hours(6));
    assert_eq!(verdict_at(&trust, &first, six_hours).await, "attested");
    let header = json!({"alg": "ES256", "kid": "p256"}).to_string();
    let fresh = with(claims(&issuer), "exp", NOW.as_seconds() + 86_000).to_string();
    let fresh = signer.sign_raw("ES256", &header, &fresh);
    assert_eq!(
        verdict_at(&trust, &fresh, six_hours).await,
        "attested",
        "not only from the cache"
    );

    // Not even a token that was verified before outlives the keys that proved it.
    let later = after(Duration::from_hours(6) + Duration::from_millis(1));
    assert_eq!(verdict_at(&trust, &first, later).await, UNAVAILABLE);
    assert_eq!(verdict_at(&trust, &second, later).await, UNAVAILABLE);
    assert!(!trust.status(later)[0].usable);
}

#[tokio::test]
async fn an_issuer_that_was_never_reached_makes_evidence_unavailable_until_it_comes() {
    let signer = Signer::new();
    let address = vacant_address().await;
    let issuer = format!("http://{address}");
    let trust = trust(vec![oidc("ci", &issuer, KeySource::Discovery)]);
    let good = signer.sign("rsa", &claims(&issuer));
    let started = Instant::now();
    assert_eq!(verdict(&trust, &good).await, UNAVAILABLE);
    assert!(
        started.elapsed() < Duration::from_secs(2),
        "a refused connection is an answer"
    );
    let state = status(&trust);
    assert_eq!(
        (state.usable, state.keys, state.key_age),
        (false, None, None)
    );
    assert!(state.last_error.expect("an error").contains("refused"));

    let _site = Site::start_at(&address, &signer.jwks()).await;
    let asked = Instant::now();
    assert_eq!(verdict(&trust, &good).await, UNAVAILABLE);
    assert!(
        asked.elapsed() < Duration::from_millis(100),
        "the next request causes a fetch, and does not wait for it"
    );
    attested_at_last(&trust, &good).await;
    assert_eq!(status(&trust).last_error, None);
}

#[tokio::test]
async fn requests_wait_for_a_silent_issuer_two_seconds_and_no_longer() {
    let signer = Signer::new();
    let silent = tokio::net::TcpListener::bind(("127.0.0.1", 0))
        .await
        .expect("a port");
    let issuer = format!("http://{}", silent.local_addr().expect("an address"));
    let trust = trust(vec![oidc("ci", &issuer, KeySource::Discovery)]);
    let started = Instant::now();
    assert_eq!(
        verdict(&trust, &signer.sign("rsa", &claims(&issuer))).await,
        UNAVAILABLE
    );
    let waited = started.elapsed();
    assert!(
        waited >= Duration::from_secs(2) && waited < Duration::from_secs(4),
        "{waited:?}"
    );
}

async fn all_at_once(trust: &Arc<Trust>, tokens: Vec<String>) -> Vec<&'static str> {
    let asking = tokens.into_iter().map(|token| {
        let trust = Arc::clone(trust);
        tokio::spawn(async move { verdict(&trust, &token).await })
    });
    futures::future::join_all(asking)
        .await
        .into_iter()
        .map(|joined| joined.expect("a verdict"))
        .collect()
}

#[tokio::test]
async fn the_first_requests_share_one_fetch() {
    let signer = Signer::new();
    let site = Site::start(&signer.jwks()).await;
    let trust = trust(vec![discovering(&site)]);
    let tokens = (0..50)
        .map(|at| token(&signer, "rsa", &site.url, &format!("s{at}")))
        .collect();
    assert_eq!(all_at_once(&trust, tokens).await, ["attested"; 50]);
    assert_eq!(site.keys_asked(), 1);
}

#[tokio::test]
async fn a_rotated_key_costs_one_refetch_for_a_hundred_callers() {
    let (old, new) = (Signer::new(), Signer::new());
    let site = Site::start(&jwks(&[old.rsa_jwk("old")])).await;
    let trust = trust(vec![discovering(&site)]);
    let before = token(&old, "old", &site.url, "before");
    assert_eq!(verdict(&trust, &before).await, "attested");
    assert_eq!(site.keys_asked(), 1);

    site.answer_keys(answer(StatusCode::OK, jwks(&[new.rsa_jwk("new")])));
    let tokens = (0..100)
        .map(|at| token(&new, "new", &site.url, &format!("s{at}")))
        .collect();
    let asked = Instant::now();
    assert_eq!(all_at_once(&trust, tokens).await, [UNAVAILABLE; 100]);
    assert!(
        asked.elapsed() < Duration::from_millis(500),
        "nobody waits for it"
    );
    attested_at_last(&trust, &token(&new, "new", &site.url, "after")).await;
    assert_eq!(site.keys_asked(), 2);
    // The old key is withdrawn; what it proved is not found again.
    assert_eq!(verdict(&trust, &before).await, UNKNOWN);
}

#[tokio::test]
async fn a_withdrawn_key_takes_along_what_it_verified_and_no_other_key_does() {
    let (kept, withdrawn) = (Signer::new(), Signer::new());
    let both = jwks(&[kept.rsa_jwk("kept"), withdrawn.rsa_jwk("withdrawn")]);
    let site = Site::start(&both).await;
    let trust = trust(vec![discovering(&site)]);
    let by_kept = evidence(&token(&kept, "kept", &site.url, "a"));
    let by_withdrawn = token(&withdrawn, "withdrawn", &site.url, "b");
    let first = trust.attest(&by_kept, NOW).await.expect("attested");
    assert_eq!(verdict(&trust, &by_withdrawn).await, "attested");

    site.answer_keys(answer(StatusCode::OK, jwks(&[kept.rsa_jwk("kept")])));
    let other = token(&kept, "other", &site.url, "s");
    assert_eq!(verdict_at_last(&trust, &other).await, UNKNOWN);
    assert_eq!(verdict(&trust, &by_withdrawn).await, UNKNOWN);
    let again = trust.attest(&by_kept, NOW).await.expect("attested");
    assert!(
        std::ptr::eq(first.spiffe_id(), again.spiffe_id()),
        "its key is still trusted, so it is not verified again"
    );
}

#[tokio::test]
async fn forged_kids_cause_no_more_than_one_refetch_in_ten_seconds() {
    let signer = Signer::new();
    let site = Site::start(&signer.jwks()).await;
    let trust = trust(vec![discovering(&site)]);
    assert_eq!(
        verdict(&trust, &token(&signer, "rsa", &site.url, "first")).await,
        "attested"
    );
    let tokens = (0..100)
        .map(|at| token(&signer, &format!("k{at}"), &site.url, "s"))
        .collect();
    assert_eq!(all_at_once(&trust, tokens).await, [UNAVAILABLE; 100]);
    let forged = token(&signer, "k", &site.url, "s");
    assert_eq!(verdict_at_last(&trust, &forged).await, UNKNOWN);
    assert_eq!(site.keys_asked(), 2);
    let started = Instant::now();
    for at in 0..20 {
        assert_eq!(
            verdict(&trust, &token(&signer, &format!("l{at}"), &site.url, "s")).await,
            UNKNOWN
        );
    }
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "no one waits for a fetch that will not come"
    );
    assert_eq!(site.keys_asked(), 2);
    assert_eq!(
        verdict(&trust, &token(&signer, "rsa", &site.url, "second")).await,
        "attested"
    );
}

#[tokio::test]
async fn a_set_that_is_refused_leaves_the_last_good_one() {
    let signer = Signer::new();
    let site = Site::start(&signer.jwks()).await;
    let trust = trust(vec![discovering(&site)]);
    assert_eq!(
        verdict(&trust, &token(&signer, "rsa", &site.url, "first")).await,
        "attested"
    );
    site.answer_keys(answer(StatusCode::OK, r#"{"keys":[1]}"#));
    let other = token(&signer, "other", &site.url, "s");
    assert_eq!(verdict_at_last(&trust, &other).await, UNKNOWN);
    assert!(
        last_error(&trust).contains("array of objects"),
        "{}",
        last_error(&trust)
    );
    assert_eq!(
        verdict(&trust, &token(&signer, "rsa", &site.url, "second")).await,
        "attested"
    );
}

#[tokio::test(start_paused = true)]
async fn a_published_private_key_drops_all_keys_and_what_they_proved_until_a_sound_set_is_there() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("keys.json");
    let signer = Signer::new();
    std::fs::write(&file, signer.jwks()).expect("a file");
    let trust = trust(vec![oidc("ci", ISSUER, KeySource::File(file.clone()))]);
    let seen = token(&signer, "rsa", ISSUER, "seen");
    assert_eq!(verdict(&trust, &seen).await, "attested");
    let leaking = jwks(&[with(signer.rsa_jwk("rsa"), "d", "AQAB")]);
    std::fs::write(&file, leaking).expect("a file");
    until(async || status(&trust).last_error.is_some()).await;
    assert!(last_error(&trust).contains("private"));
    assert_eq!(status(&trust).keys, Some(0));
    for token in [&seen, &token(&signer, "rsa", ISSUER, "fresh")] {
        assert_ne!(verdict(&trust, token).await, "attested");
    }
    let next = Signer::new();
    std::fs::write(&file, next.jwks()).expect("a file");
    until(async || status(&trust).last_error.is_none()).await;
    assert_eq!(
        verdict(&trust, &token(&next, "rsa", ISSUER, "next")).await,
        "attested"
    );
    assert_eq!(verdict(&trust, &seen).await, "token-signature-invalid");
}

/// Lets paused time run, and files be read in between.
async fn until(mut holds: impl AsyncFnMut() -> bool) {
    for _ in 0..200 {
        if holds().await {
            return;
        }
        sleep(Duration::from_millis(500)).await;
        tokio::task::spawn_blocking(|| ()).await.expect("a thread");
    }
    panic!("nothing changed");
}

#[tokio::test]
async fn an_edited_provider_keeps_its_keys_if_they_come_from_where_they_came_from() {
    let signer = Signer::new();
    let site = Site::start(&signer.jwks()).await;
    let trust = trust(vec![discovering(&site)]);
    let token = token(&signer, "rsa", &site.url, "s");
    assert_eq!(verdict(&trust, &token).await, "attested");
    site.answer_keys(answer(StatusCode::INTERNAL_SERVER_ERROR, ""));
    let edited = |edit: &dyn Fn(&mut ProviderConfig)| {
        let mut config = discovering(&site);
        edit(&mut config);
        trust.replace(vec![config]).expect("sound");
    };
    edited(&|config| config.max_lifetime = Duration::from_hours(2));
    assert_eq!(verdict(&trust, &token).await, "attested");
    // What the new rules refuse, they refuse for tokens that were verified before, too.
    edited(&|config| config.audience = "other".to_owned());
    assert_eq!(verdict(&trust, &token).await, "token-audience-mismatch");
    let folder = tempfile::tempdir().expect("a folder");
    let roots = vec![folder.path().to_owned()];
    edited(&|config| config.file_roots = Some(roots.clone()));
    assert_eq!(verdict(&trust, &token).await, UNAVAILABLE);
}

#[tokio::test]
async fn an_edited_provider_with_another_source_of_keys_has_none_yet() {
    let (signer, site) = (Signer::new(), vacant_address().await);
    let of = |keys| vec![oidc("ci", ISSUER, keys)];
    let trust = trust(of(KeySource::Inline(signer.jwks())));
    let token = signer.sign("rsa", &claims(ISSUER));
    assert_eq!(verdict(&trust, &token).await, "attested");
    let elsewhere = KeySource::JwksUrl(format!("http://{site}/keys"));
    trust.replace(of(elsewhere)).expect("sound");
    assert_eq!(verdict(&trust, &token).await, UNAVAILABLE);
}

#[tokio::test]
async fn an_empty_set_withdraws_every_key() {
    let signer = Signer::new();
    let site = Site::start(&signer.jwks()).await;
    let trust = trust(vec![discovering(&site)]);
    let first = token(&signer, "rsa", &site.url, "first");
    assert_eq!(verdict(&trust, &first).await, "attested");
    site.answer_keys(answer(StatusCode::OK, jwks(&[])));
    let other = token(&signer, "other", &site.url, "s");
    assert_eq!(verdict_at_last(&trust, &other).await, UNKNOWN);
    assert_eq!(verdict(&trust, &first).await, UNKNOWN);
}

#[tokio::test]
async fn a_key_that_is_no_point_of_its_curve_verifies_nothing() {
    let signer = Signer::new();
    let off_curve = with(
        signer.p256_jwk("p256"),
        "y",
        crate::signer::encoded(&[7; 32]),
    );
    let trust = trust(vec![oidc(
        "ci",
        ISSUER,
        KeySource::Inline(jwks(&[off_curve])),
    )]);
    let header = json!({"alg": "ES256", "kid": "p256"}).to_string();
    let token = signer.sign_raw("ES256", &header, &claims(ISSUER).to_string());
    assert_eq!(verdict(&trust, &token).await, "token-signature-invalid");
}

#[tokio::test]
async fn keys_in_the_configuration_never_age() {
    let signer = Signer::new();
    let trust = trust(vec![oidc("ci", ISSUER, KeySource::Inline(signer.jwks()))]);
    let years = after(Duration::from_hours(24 * 365 * 5));
    let now = years.as_seconds();
    let token = with(with(claims(ISSUER), "iat", now), "exp", now + 60);
    assert_eq!(
        verdict_at(&trust, &signer.sign("rsa", &token), years).await,
        "attested"
    );
    assert_eq!(
        verdict(&trust, &signer.sign("other", &claims(ISSUER))).await,
        UNKNOWN
    );
    assert_eq!(status(&trust).key_age, None);
}

#[tokio::test]
async fn a_verified_token_is_judged_by_the_time_of_each_request() {
    let signer = Signer::new();
    let trust = trust(vec![oidc("ci", ISSUER, KeySource::Inline(signer.jwks()))]);
    let token = signer.sign("rsa", &claims(ISSUER));
    let first = trust
        .attest(&evidence(&token), NOW)
        .await
        .expect("attested");
    let again = trust
        .attest(&evidence(&token), NOW)
        .await
        .expect("attested");
    assert!(
        std::ptr::eq(first.spiffe_id(), again.spiffe_id()),
        "the second answer comes from the cache"
    );
    assert_eq!(
        verdict_at(&trust, &token, after(Duration::from_mins(10))).await,
        "token-expired"
    );
    assert_eq!(
        verdict_at(
            &trust,
            &token,
            Timestamp::from_seconds(NOW.as_seconds() - 60)
        )
        .await,
        "token-not-yet-valid"
    );
    assert_eq!(verdict(&trust, &token).await, "attested");
}

#[tokio::test]
async fn a_cache_without_room_only_costs_time() {
    let signer = Signer::new();
    let mut settings = attache_trust::TrustSettings::new(Arc::new(|| NOW));
    settings.cache_bytes = 0;
    let trust = Trust::new(settings);
    trust
        .replace(vec![oidc("ci", ISSUER, KeySource::Inline(signer.jwks()))])
        .expect("a configuration");
    for _ in 0..3 {
        assert_eq!(
            verdict(&trust, &signer.sign("rsa", &claims(ISSUER))).await,
            "attested"
        );
    }
}

#[tokio::test]
async fn a_provider_that_did_not_change_keeps_its_keys() {
    let signer = Signer::new();
    let (first, second) = (
        Site::start(&signer.jwks()).await,
        Site::start(&signer.jwks()).await,
    );
    let kept = discovering(&first);
    let mut changed = oidc("other", &second.url, KeySource::Discovery);
    let trust = trust(vec![kept.clone(), changed.clone()]);
    let tokens = [&first, &second].map(|site| signer.sign("rsa", &claims(&site.url)));
    for token in &tokens {
        assert_eq!(verdict(&trust, token).await, "attested");
    }
    changed.audience = "somebody else".to_owned();
    trust.replace(vec![kept, changed]).expect("a configuration");
    assert_eq!(verdict(&trust, &tokens[0]).await, "attested");
    assert_eq!(
        verdict(&trust, &tokens[1]).await,
        "token-audience-mismatch",
        "not from the cache"
    );
    // It has its keys still, and fetches them again all the same.
    let asked_again = async {
        while second.keys_asked() < 2 {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(20), asked_again)
        .await
        .expect("a fetch");
    assert_eq!((first.keys_asked(), second.keys_asked()), (1, 2));

    trust.replace(Vec::new()).expect("a configuration");
    assert_eq!(verdict(&trust, &tokens[0]).await, "issuer-unknown");
    assert_eq!(trust.status(NOW), []);
}

#[tokio::test]
async fn a_refused_configuration_leaves_the_last_one_in_force() {
    let signer = Signer::new();
    let keys = KeySource::Inline(signer.jwks());
    let trust = trust(vec![oidc("ci", ISSUER, keys.clone())]);
    let twice = vec![
        oidc("ci", "https://a.example", keys.clone()),
        oidc("ci", "https://b.example", keys),
    ];
    assert!(trust.replace(twice).is_err());
    assert_eq!(
        verdict(&trust, &signer.sign("rsa", &claims(ISSUER))).await,
        "attested"
    );
}

#[tokio::test]
async fn each_issuer_is_proven_by_its_own_keys_alone() {
    let (a, b) = (Signer::new(), Signer::new());
    let provider =
        |name, issuer, signer: &Signer| oidc(name, issuer, KeySource::Inline(signer.jwks()));
    let trust = trust(vec![
        provider("a", "https://a.example", &a),
        provider("b", "https://b.example", &b),
    ]);
    assert_eq!(
        verdict(&trust, &a.sign("rsa", &claims("https://a.example"))).await,
        "attested"
    );
    assert_eq!(
        verdict(&trust, &a.sign("rsa", &claims("https://b.example"))).await,
        "token-signature-invalid"
    );
    assert_eq!(
        verdict(&trust, &a.sign("rsa", &claims("https://c.example"))).await,
        "issuer-unknown"
    );
}

#[tokio::test(start_paused = true)]
async fn a_file_is_read_again_when_it_changes() {
    let (old, new) = (Signer::new(), Signer::new());
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("keys.json");
    std::fs::write(&path, jwks(&[old.rsa_jwk("old")])).expect("a file");
    let trust = trust(vec![oidc("ci", ISSUER, KeySource::File(path.clone()))]);
    assert_eq!(
        verdict(&trust, &token(&old, "old", ISSUER, "a")).await,
        "attested"
    );

    // At once, because of the unknown kid.
    std::fs::write(&path, jwks(&[new.rsa_jwk("new")])).expect("a file");
    attested_at_last(&trust, &token(&new, "new", ISSUER, "b")).await;
    assert_eq!(
        verdict(&trust, &token(&old, "old", ISSUER, "c")).await,
        UNKNOWN
    );

    // Within five seconds, although no token asks for it.
    std::fs::write(&path, jwks(&[old.rsa_jwk("old"), new.rsa_jwk("new")])).expect("a file");
    sleep(Duration::from_secs(6)).await;
    assert_eq!(status(&trust).keys, Some(2));
    assert_eq!(
        verdict(&trust, &token(&old, "old", ISSUER, "d")).await,
        "attested"
    );

    // A file that is half written or gone leaves the last good keys.
    std::fs::write(&path, r#"{"keys":["#).expect("a file");
    sleep(Duration::from_secs(6)).await;
    assert!(
        last_error(&trust).contains("not well-formed"),
        "{}",
        last_error(&trust)
    );
    std::fs::remove_file(&path).expect("a file");
    sleep(Duration::from_mins(2)).await;
    assert!(
        last_error(&trust).contains("keys.json"),
        "{}",
        last_error(&trust)
    );
    assert_eq!(
        verdict(&trust, &token(&old, "old", ISSUER, "e")).await,
        "attested"
    );

    // And is found when it comes back, within the longest pause after failures.
    std::fs::write(&path, jwks(&[new.rsa_jwk("new")])).expect("a file");
    sleep(Duration::from_secs(61)).await;
    assert_eq!(
        (status(&trust).keys, status(&trust).last_error),
        (Some(1), None)
    );
}
