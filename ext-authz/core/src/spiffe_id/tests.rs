use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;

#[test]
fn an_id_is_its_trust_domain_and_its_path() {
    let id = SpiffeId::parse("spiffe://cluster.local/ns/production/sa/payment-svc").expect("an ID");
    assert_eq!(id.trust_domain(), "cluster.local");
    assert_eq!(id.path(), "/ns/production/sa/payment-svc");
    assert_eq!(
        id.to_string(),
        "spiffe://cluster.local/ns/production/sa/payment-svc"
    );

    let domain = SpiffeId::parse("spiffe://a_b-c.1").expect("a trust domain's own ID");
    assert_eq!((domain.trust_domain(), domain.path()), ("a_b-c.1", ""));
}

#[test]
fn dots_within_a_segment_and_any_case_are_legal_in_a_path() {
    for text in [
        "spiffe://td/...",
        "spiffe://td/.x",
        "spiffe://td/A/b_C-9.",
        "spiffe://1.2.3.4/x",
    ] {
        assert!(SpiffeId::parse(text).is_ok(), "{text}");
    }
}

#[test]
fn uppercase_is_refused_not_folded() {
    assert_eq!(
        SpiffeId::parse("Spiffe://td/x"),
        Err(InvalidSpiffeId::Scheme)
    );
    assert_eq!(
        SpiffeId::parse("SPIFFE://td/x"),
        Err(InvalidSpiffeId::Scheme)
    );
    assert_eq!(
        SpiffeId::parse("spiffe://TD/x"),
        Err(InvalidSpiffeId::TrustDomain("TD".to_string()))
    );
}

#[test]
fn what_spiffe_id_forbids_is_refused() {
    for text in [
        "",
        "spiffe:",
        "spiffe://",
        "spiffe:///x",
        "http://td/x",
        " spiffe://td",
        "spiffe://td:80/x",
        "spiffe://user@td/x",
        "spiffe://td/",
        "spiffe://td//x",
        "spiffe://td/x/",
        "spiffe://td/.",
        "spiffe://td/..",
        "spiffe://td/a/../b",
        "spiffe://td/a%20b",
        "spiffe://t%64/a",
        "spiffe://td/a?b",
        "spiffe://td/a#b",
        "spiffe://td?x",
        "spiffe://td#x",
        "spiffe://td/a b",
        "spiffe://té/x",
        "spiffe://td/é",
        "spiffe://td/a\0",
        "spiffe://td/a\n",
    ] {
        assert!(SpiffeId::parse(text).is_err(), "{text:?}");
    }
}

#[test]
fn lengths_end_at_255_and_2048_bytes() {
    assert!(TrustDomain::parse(&"a".repeat(255)).is_ok());
    assert!(TrustDomain::parse(&"a".repeat(256)).is_err());
    let of_length =
        |length: usize| format!("spiffe://td/{}", "a".repeat(length - "spiffe://td/".len()));
    assert!(SpiffeId::parse(&of_length(2048)).is_ok());
    assert_eq!(
        SpiffeId::parse(&of_length(2049)),
        Err(InvalidSpiffeId::TooLong(2049))
    );
}

#[test]
fn a_segment_cannot_bring_a_slash_of_its_own() {
    let domain = TrustDomain::parse("td").expect("a trust domain");
    let of = |segments: &[&str]| SpiffeId::of(&domain, segments.iter().copied());
    assert_eq!(
        of(&["ns", "a"]).map(|id| id.to_string()),
        Ok("spiffe://td/ns/a".to_string())
    );
    for segment in ["a/sa/b", "", ".", "..", "a%2fb", "a:b"] {
        assert_eq!(
            of(&["ns", segment]),
            Err(InvalidSpiffeId::Segment(segment.to_string())),
            "{segment:?}"
        );
    }
    assert!(matches!(
        of(&["a".repeat(2048).as_str()]),
        Err(InvalidSpiffeId::TooLong(_))
    ));
}

proptest! {
    #[test]
    fn parsing_never_panics_and_what_parses_splits_exactly(text in "(spiffe://)?[a-z./%:@-]{0,40}|\\PC*") {
        if let Ok(id) = SpiffeId::parse(&text) {
            prop_assert_eq!(format!("spiffe://{}{}", id.trust_domain(), id.path()), text.as_str());
            prop_assert!(TrustDomain::parse(id.trust_domain()).is_ok());
        }
        let _ = TrustDomain::parse(&text);
    }

    #[test]
    fn different_segments_make_different_ids(a in segments(), b in segments()) {
        let domain = TrustDomain::parse("td").expect("a trust domain");
        let of = |all: &[String]| SpiffeId::of(&domain, all.iter().map(String::as_str)).expect("an ID");
        prop_assert_eq!(of(&a) == of(&b), a == b);
    }
}

fn segments() -> impl Strategy<Value = Vec<String>> {
    proptest::collection::vec("[a-zA-Z0-9_-]{1,3}", 0..4)
}
