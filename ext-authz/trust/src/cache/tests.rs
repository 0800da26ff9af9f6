use attache_core::{
    attestation::{Proven, ProviderKind},
    attributes::Attributes,
    jwks::{Key, KeySet},
    jwt::{Algorithm, Rules, Unverified, VerifySignature},
    spiffe_id::SpiffeId,
};
use base64ct::{Base64UrlUnpadded, Encoding as _};

use super::*;

const NOW: Timestamp = Timestamp::from_seconds(1_000_000);

struct Anything;

impl VerifySignature for Anything {
    fn verify(&self, _: Algorithm, _: &Key, _: &[u8], _: &[u8]) -> bool {
        true
    }
}

/// Good from `NOW` for a minute.
fn validity() -> Validity {
    lasting(Duration::from_mins(1))
}

/// Good from `NOW` for so long.
fn lasting(long: Duration) -> Validity {
    let encode = |text: &str| Base64UrlUnpadded::encode_string(text.as_bytes());
    let (begin, end) = (NOW.as_seconds(), NOW.plus(long).as_seconds());
    let claims = format!(r#"{{"iss":"i","aud":"attache","nbf":{begin},"exp":{end}}}"#);
    let token = format!("{}.{}.", encode(r#"{"alg":"ES256"}"#), encode(&claims));
    let coordinate = encode(&"x".repeat(32));
    let set = format!(
        r#"{{"keys":[{{"kty":"EC","crv":"P-256","x":"{coordinate}","y":"{coordinate}"}}]}}"#
    );
    let keys = KeySet::parse(set.as_bytes()).expect("a set");
    let rules = Rules {
        issuer: "i",
        audience: "attache",
        algorithms: &[Algorithm::Es256],
        max_lifetime: Duration::from_hours(48),
        leeway: Duration::ZERO,
    };
    let unverified = Unverified::parse(&token).unwrap_or_else(|error| panic!("{error}"));
    let verified = unverified.verify(&keys, &rules, &Anything, NOW);
    verified
        .unwrap_or_else(|error| panic!("{error}"))
        .validity()
}

#[expect(
    clippy::disallowed_methods,
    reason = "the cache does not look into what it keeps"
)]
fn attestation(attribute: &str) -> Attestation {
    let mut attributes = Attributes::new();
    attributes.set("claims.x", attribute);
    Attestation::attested(Proven {
        provider: "p".into(),
        kind: ProviderKind::Oidc,
        spiffe_id: SpiffeId::parse("spiffe://td/x").expect("an ID"),
        attributes,
        expires_at: NOW,
    })
}

/// A token, and what proves it.
type Seen = (Shown, Proof);

fn seen(revision: u64, key: u64, token: &str) -> Seen {
    (Shown::token(token), Proof { revision, key })
}

fn entry(proof: Proof, attestation: Attestation) -> Entry {
    Entry {
        proof,
        claimed: None,
        attestation,
        validity: validity(),
    }
}

fn keep(cache: &VerifiedTokens, (shown, proof): Seen, attribute: &str) {
    cache.keep(shown, entry(proof, attestation(attribute)), NOW);
}

fn finds(cache: &VerifiedTokens, (shown, proof): &Seen, now: Timestamp) -> bool {
    cache.find(shown, now, |_| Some(*proof)).is_some()
}

#[test]
fn a_token_is_found_under_its_provider_its_key_and_its_whole_text() {
    let cache = VerifiedTokens::new(1 << 20);
    keep(&cache, seen(1, 1, "token"), "a");
    assert!(finds(&cache, &seen(1, 1, "token"), NOW));
    for other in [
        seen(2, 1, "token"),
        seen(1, 2, "token"),
        seen(1, 1, "tokem"),
        seen(1, 1, "token."),
        seen(1, 1, ""),
    ] {
        assert!(!finds(&cache, &other, NOW));
    }
}

#[test]
fn evidence_of_one_kind_is_not_taken_for_another_nor_certificates_that_are_cut_otherwise() {
    let chain = |certificates: &[&[u8]]| {
        let certificates = certificates.iter().map(|bytes| bytes.to_vec()).collect();
        Shown::chain(&CertificateChain::new(certificates).expect("a chain"))
    };
    let all = [
        Shown::token("ab"),
        chain(&[b"ab"]),
        chain(&[b"a", b"b"]),
        chain(&[b"b", b"a"]),
        chain(&[b"ab", b"a"]),
    ];
    for (number, one) in all.iter().enumerate() {
        let same = all.iter().filter(|other| *other == one);
        assert_eq!(same.count(), 1, "{number}");
    }
}

#[test]
fn a_token_is_not_found_outside_its_validity() {
    let cache = VerifiedTokens::new(1 << 20);
    let at = |seconds: i64| Timestamp::from_seconds(1_000_000 + seconds);
    for (seconds, found) in [(-1, false), (0, true), (59, true), (60, false)] {
        keep(&cache, seen(1, 1, "token"), "a");
        assert_eq!(
            finds(&cache, &seen(1, 1, "token"), at(seconds)),
            found,
            "{seconds}"
        );
    }
}

#[test]
fn what_is_kept_stays_within_its_bytes() {
    let limit = 64 * 1024;
    let cache = VerifiedTokens::new(limit);
    for at in 0..1_000 {
        let token = format!("{at}{}", "x".repeat(1_000));
        keep(&cache, seen(1, 1, &token), &"y".repeat(1_000));
    }
    assert!(cache.0.weight() <= limit, "{}", cache.0.weight());
    assert!(!cache.0.is_empty(), "the cache keeps something");
}

#[test]
fn an_entry_weighs_at_least_its_texts() {
    let (_shown, proof) = seen(1, 1, "token");
    let weighed = weight(&entry(proof, attestation(&"a".repeat(7_000))));
    assert!((7_000..9_000).contains(&weighed), "{weighed}");
}

#[test]
fn entries_of_dropped_providers_are_freed() {
    let cache = VerifiedTokens::new(1 << 20);
    keep(&cache, seen(1, 1, "old"), "a");
    keep(&cache, seen(2, 1, "new"), "a");
    cache.retain(&[2]);
    assert_eq!(cache.0.len(), 1);
    assert!(finds(&cache, &seen(2, 1, "new"), NOW));
}

#[test]
fn what_expired_is_freed_though_nobody_asks_for_it() {
    let cache = VerifiedTokens::new(1 << 20);
    keep(&cache, seen(1, 1, "token"), "a");
    cache.sweep(NOW.plus(Duration::from_secs(59)));
    assert_eq!(cache.0.len(), 1);
    cache.sweep(NOW.plus(Duration::from_secs(60)));
    assert!(cache.0.is_empty());
}

#[test]
fn what_nobody_showed_for_an_hour_is_freed() {
    let cache = VerifiedTokens::new(1 << 20);
    let (shown, proof) = seen(1, 1, "token");
    let long = Entry {
        validity: lasting(Duration::from_hours(24)),
        ..entry(proof, attestation("a"))
    };
    cache.keep(shown, long, NOW);
    let shown_again = NOW.plus(Duration::from_mins(30));
    assert!(finds(&cache, &seen(1, 1, "token"), shown_again));
    cache.sweep(NOW.plus(Duration::from_mins(89)));
    assert_eq!(cache.0.len(), 1, "it was shown after half an hour");
    cache.sweep(NOW);
    cache.sweep(NOW.plus(Duration::from_mins(60)));
    assert!(cache.0.is_empty(), "the clock was set back after that");
}
