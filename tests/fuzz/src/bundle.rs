//! SPIFFE bundles: every entry is a key, an authority or ignored for a reason, and a bundle says the same
//! alone and in a map of bundles.

use attache_core::{bundle::Bundle, spiffe_id::TrustDomain};
use attache_trust::x509::Authorities;
use serde_json::{Value, json};

use super::jwks::strong;

/// The input as a bundle document.
pub fn holds(input: &[u8]) {
    let domain = TrustDomain::parse("example.org").expect("a trust domain");
    let Ok(bundle) = Bundle::parse(&domain, input) else {
        return;
    };
    let lenient: Value =
        serde_json::from_slice(input).expect("what the strict reader takes is JSON");
    let document = lenient
        .get("trust_domains")
        .map_or(&lenient, |map| &map["example.org"]);
    let entries = document["keys"].as_array().expect("keys");
    let (keys, authorities) = (bundle.jwt_keys().keys(), bundle.x509_authorities());
    assert_eq!(
        keys.len() + authorities.len() + bundle.ignored().len(),
        entries.len()
    );
    for key in keys {
        assert!(key.key_id().is_some(), "a key that no JWT-SVID can name");
        strong(key);
    }
    let of = |usage: &str| entries.iter().filter(|entry| entry["use"] == usage).count();
    assert!(keys.len() <= of("jwt-svid") && authorities.len() <= of("x509-svid"));
    assert_eq!(bundle.sequence(), document["spiffe_sequence"].as_u64());
    let read = Authorities::new(domain.clone(), authorities.iter().map(Vec::as_slice));
    assert_eq!(read.count() + read.ignored().len(), authorities.len());
    // The map nests deeper and is longer, which may be too much; it is never another bundle.
    let map = json!({ "trust_domains": { "example.org": document } }).to_string();
    if let Ok(mapped) = Bundle::parse(&domain, map.as_bytes()) {
        assert_eq!(mapped, bundle);
    }
    let other = TrustDomain::parse("other.example").expect("a trust domain");
    assert!(
        Bundle::parse(&other, map.as_bytes()).is_err(),
        "keys of another trust domain"
    );
}
