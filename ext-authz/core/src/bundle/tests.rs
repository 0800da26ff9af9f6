//! The rules of SPIFFE Trust Domain and Bundle §4, X509-SVID §6 and JWT-SVID §6; each test names one.

use alloc::{format, vec, vec::Vec};

use base64ct::Base64UrlUnpadded;
use serde_json::json;

use super::*;
use crate::json::InvalidJson;

fn domain() -> TrustDomain {
    TrustDomain::parse("example.org").unwrap()
}

fn parse(document: &Value) -> Result<Bundle, InvalidBundle> {
    Bundle::parse(&domain(), document.to_string().as_bytes())
}

fn coordinate() -> String {
    Base64UrlUnpadded::encode_string(&[7; 32])
}

fn jwt_key() -> Value {
    json!({"kty": "EC", "use": "jwt-svid", "kid": "k", "crv": "P-256", "x": coordinate(), "y": coordinate()})
}

fn x509_entry() -> Value {
    json!({"kty": "EC", "use": "x509-svid", "crv": "P-256", "x": coordinate(), "y": coordinate(),
        "x5c": [Base64::encode_string(b"a certificate")]})
}

fn with(mut entry: Value, name: &str, value: Value) -> Value {
    entry[name] = value;
    entry
}

fn without(mut entry: Value, name: &str) -> Value {
    entry.as_object_mut().unwrap().remove(name);
    entry
}

/// Why one entry is ignored, beside one of each kind that are used.
fn ignored(entry: &Value) -> Option<UnusableKey> {
    let keys = json!({"keys": [jwt_key(), entry, x509_entry()]});
    let bundle = parse(&keys).unwrap();
    let used = bundle.jwt_keys().keys().len() + bundle.x509_authorities().len();
    assert_eq!(
        used + bundle.ignored().len(),
        3,
        "only that entry is ignored"
    );
    bundle.ignored().first().map(|ignored| ignored.reason)
}

#[test]
fn a_bundle_holds_jwt_keys_and_x509_authorities_apart() {
    let bundle = parse(&json!({
        "spiffe_sequence": u64::MAX, "spiffe_refresh_hint": 300, "keys": [x509_entry(), jwt_key()]
    }));
    let bundle = bundle.unwrap();
    assert_eq!(bundle.jwt_keys().keys().len(), 1);
    assert_eq!(bundle.x509_authorities(), [b"a certificate".to_vec()]);
    assert_eq!(bundle.sequence(), Some(u64::MAX), "64 bits at least");
    assert_eq!(bundle.refresh_hint(), Some(Duration::from_mins(5)));
    assert_eq!(bundle.ignored(), []);
}

#[test]
fn sequence_and_refresh_hint_may_be_absent() {
    let bundle = parse(&json!({"keys": []})).unwrap();
    assert_eq!((bundle.sequence(), bundle.refresh_hint()), (None, None));
}

#[test]
fn keys_may_be_empty_and_then_nothing_is_trusted() {
    assert_eq!(parse(&json!({"keys": []})), Ok(Bundle::default()));
}

#[test]
fn keys_must_be_there_and_be_an_array_of_objects() {
    for document in [
        json!({}),
        json!({"keys": null}),
        json!({"keys": {}}),
        json!({"keys": [jwt_key(), 1]}),
    ] {
        let refused = Err(InvalidBundle::KeySet(InvalidKeySet::NoKeys));
        assert_eq!(parse(&document), refused, "{document}");
    }
}

#[test]
fn a_sequence_or_hint_that_is_no_integer_refuses_the_bundle() {
    for value in [json!("1"), json!(1.5), json!(-1), json!(1e30), json!(null)] {
        let sequence = json!({"keys": [], "spiffe_sequence": value});
        assert_eq!(parse(&sequence), Err(InvalidBundle::Sequence), "{value}");
        let hint = json!({"keys": [], "spiffe_refresh_hint": value});
        assert_eq!(parse(&hint), Err(InvalidBundle::RefreshHint), "{value}");
    }
}

#[test]
fn a_missing_or_unknown_use_ignores_that_entry_alone_and_case_counts() {
    assert_eq!(
        ignored(&without(jwt_key(), "use")),
        Some(UnusableKey::SvidUse)
    );
    for usage in [
        "sig",
        "enc",
        "wit-svid",
        "JWT-SVID",
        "x509-SVID",
        "",
        "jwt-svid ",
    ] {
        let entry = with(jwt_key(), "use", json!(usage));
        assert_eq!(ignored(&entry), Some(UnusableKey::SvidUse), "{usage}");
    }
    let entry = with(jwt_key(), "use", json!(["jwt-svid"]));
    assert_eq!(ignored(&entry), Some(UnusableKey::SvidUse));
}

#[test]
fn a_missing_or_unknown_kty_ignores_that_entry_alone() {
    for entry in [jwt_key(), x509_entry()] {
        for kty in [
            json!("OKP"),
            json!("oct"),
            json!("ec"),
            json!(1),
            json!(null),
        ] {
            let entry = with(entry.clone(), "kty", kty);
            assert_eq!(ignored(&entry), Some(UnusableKey::KeyType), "{entry}");
        }
        assert_eq!(ignored(&without(entry, "kty")), Some(UnusableKey::KeyType));
    }
}

#[test]
fn a_jwt_svid_key_without_kid_is_ignored() {
    let entry = without(jwt_key(), "kid");
    assert_eq!(ignored(&entry), Some(UnusableKey::KeyIdMissing));
}

#[test]
fn of_two_jwt_svid_keys_with_one_kid_the_first_counts() {
    assert_eq!(ignored(&jwt_key()), Some(UnusableKey::DuplicateKeyId));
}

#[test]
fn an_x509_svid_entry_without_x5c_is_ignored() {
    for x5c in [json!([]), json!(null), json!("MIIB"), json!([1])] {
        let entry = with(x509_entry(), "x5c", x5c);
        assert_eq!(
            ignored(&entry),
            Some(UnusableKey::Malformed("x5c")),
            "{entry}"
        );
    }
    let entry = without(x509_entry(), "x5c");
    assert_eq!(ignored(&entry), Some(UnusableKey::Malformed("x5c")));
}

#[test]
fn of_several_values_of_x5c_all_but_the_first_are_not_read() {
    let (first, second) = (
        Base64::encode_string(b"first"),
        Base64::encode_string(b"second"),
    );
    let entry = with(x509_entry(), "x5c", json!([first, second]));
    let bundle = parse(&json!({ "keys": [entry] })).unwrap();
    assert_eq!(bundle.x509_authorities(), [b"first".to_vec()]);
}

#[test]
fn x5c_is_base64_with_its_padding_and_not_base64url() {
    for encoded in ["-_-_", "YQ", "YR==", "YQ==\n"] {
        let entry = with(x509_entry(), "x5c", json!([encoded]));
        assert_eq!(
            ignored(&entry),
            Some(UnusableKey::Malformed("x5c")),
            "{encoded}"
        );
    }
}

#[test]
fn an_x509_svid_entry_counts_by_its_certificate_alone() {
    let mut entry = with(
        x509_entry(),
        "kid",
        json!("not for the standard, and harmless"),
    );
    entry = without(without(entry, "x"), "y");
    assert_eq!(ignored(&entry), None);
}

#[test]
fn duplicate_members_refuse_the_bundle() {
    let twice = InvalidBundle::KeySet(InvalidKeySet::NotJson(InvalidJson::DuplicateMember));
    for text in [
        r#"{"keys": [], "keys": []}"#,
        r#"{"keys": [], "spiffe_sequence": 1, "spiffe_sequence": 2}"#,
        r#"{"keys": [{"use": "jwt-svid", "use": "x509-svid"}]}"#,
        r#"{"trust_domains": {"example.org": {"keys": []}, "example.org": {"keys": []}}}"#,
    ] {
        let refused = Bundle::parse(&domain(), text.as_bytes());
        assert_eq!(refused, Err(twice.clone()), "{text}");
    }
}

#[test]
fn a_bundle_that_publishes_a_private_key_is_refused_whole() {
    let private = with(jwt_key(), "d", json!(coordinate()));
    let refused = InvalidKeySet::PrivateKey {
        index: 1,
        member: "d",
    };
    assert_eq!(
        parse(&json!({"keys": [x509_entry(), private]})),
        Err(refused.clone().into())
    );
    let worse = json!({"keys": [x509_entry(), private], "spiffe_sequence": "one"});
    let refused_first = parse(&worse).expect_err("refused");
    assert_eq!(refused_first, refused.into());
    assert!(refused_first.publishes_private_key());
}

#[test]
fn a_bundle_is_bounded_in_bytes_and_in_keys() {
    let long = format!("{{\"keys\": []{}}}", " ".repeat(jwks::MAX_SET_BYTES));
    let refused = Bundle::parse(&domain(), long.as_bytes()).unwrap_err();
    assert_eq!(refused, InvalidKeySet::TooLarge(long.len()).into());
    let many: Vec<Value> = vec![jwt_key(); jwks::MAX_KEYS + 1];
    let refused = InvalidKeySet::TooMany(many.len());
    assert_eq!(parse(&json!({ "keys": many })), Err(refused.into()));
}

#[test]
fn of_a_map_of_bundles_the_one_of_the_trust_domain_is_taken_and_no_other() {
    let own = json!({"keys": [jwt_key()], "spiffe_sequence": 3});
    let map =
        json!({"trust_domains": {"example.org": own, "other.example": {"keys": [x509_entry()]}}});
    assert_eq!(parse(&map), parse(&own));
    for map in [
        json!({"trust_domains": {"other.example": own}}),
        json!({"trust_domains": {"Example.org": own}}),
        json!({"trust_domains": [own]}),
        json!({"trust_domains": {"example.org": []}}),
    ] {
        let missing = InvalidBundle::TrustDomainMissing("example.org".to_string());
        assert_eq!(parse(&map), Err(missing), "{map}");
    }
}

#[test]
fn a_document_that_is_a_bundle_and_a_map_is_refused() {
    let both = json!({"keys": [], "trust_domains": {}});
    assert_eq!(parse(&both), Err(InvalidBundle::Ambiguous));
}
