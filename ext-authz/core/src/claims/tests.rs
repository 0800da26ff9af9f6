use alloc::{string::ToString as _, vec};
use core::time::Duration;

use super::*;
use crate::{
    attestation::{Proven, ProviderKind},
    attributes::Attributes,
    spiffe_id::SpiffeId,
    time::Timestamp,
};

fn attestation() -> Attestation {
    let mut attributes = Attributes::new();
    attributes.set("k8s.namespace", "production");
    attributes.set("k8s.podName", "payment-7d9");
    attributes.set("spiffe.id", "spiffe://evil.example/claimed");
    attributes.insert(
        "claims.groups",
        AttributeValue::Many(vec!["a".into(), "b".into()]),
    );
    attributes.set("claims.long", &"x".repeat(MAX_VALUE_BYTES + 1));
    #[expect(
        clippy::disallowed_methods,
        reason = "claims are made of an attestation; trust is not here"
    )]
    Attestation::attested(Proven {
        provider: "cluster".into(),
        kind: ProviderKind::KubernetesServiceAccount,
        spiffe_id: SpiffeId::parse("spiffe://cluster.local/ns/production/sa/payment").unwrap(),
        attributes,
        expires_at: Timestamp::from_seconds(0).plus(Duration::from_secs(60)),
    })
}

fn rendered(text: &str) -> Result<AttributeValue, UnavailableClaim> {
    let template = Template::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    let claims = CustomClaims::of([("it".to_owned(), template)]).unwrap();
    let rendered = claims.render(&attestation())?;
    Ok(rendered.iter().next().unwrap().1.clone())
}

fn one(text: &str) -> AttributeValue {
    AttributeValue::One(text.into())
}

#[test]
fn attributes_in_braces_become_their_values() {
    for (template, value) in [
        ("plain", "plain"),
        ("", ""),
        ("{k8s.namespace}", "production"),
        ("{k8s.namespace}/{k8s.podName}", "production/payment-7d9"),
        ("in {k8s.namespace}!", "in production!"),
        ("{{k8s.namespace}}", "{k8s.namespace}"),
        ("{{{k8s.namespace}}}", "{production}"),
        ("}}{{", "}{"),
    ] {
        assert_eq!(rendered(template), Ok(one(value)), "{template}");
    }
}

#[test]
fn the_spiffe_id_is_the_attestations_own() {
    let expected = one("spiffe://cluster.local/ns/production/sa/payment");
    assert_eq!(rendered("{spiffe.id}"), Ok(expected));
}

#[test]
fn a_list_stays_a_list_alone_and_is_refused_within_a_text() {
    let list = AttributeValue::Many(vec!["a".into(), "b".into()]);
    assert_eq!(rendered("{claims.groups}"), Ok(list));
    let within = rendered("groups: {claims.groups}");
    assert!(matches!(within, Err(UnavailableClaim::Several { .. })));
}

#[test]
fn a_claim_whose_attribute_is_not_proven_is_never_left_out() {
    for template in ["{k8s.nodeName}", "on {k8s.nodeName}"] {
        let refused = rendered(template).unwrap_err().to_string();
        let expected = "it: the attribute k8s.nodeName is not proven of this caller";
        assert_eq!(refused, expected);
    }
}

#[test]
fn a_value_that_fits_into_no_header_is_refused() {
    assert!(matches!(
        rendered("{claims.long}"),
        Err(UnavailableClaim::TooLong { .. })
    ));
}

#[test]
fn braces_that_enclose_no_attribute_are_refused() {
    for text in [
        "{", "}", "{}", "a{", "a}b", "{a", "{a{b}", "{{{", "}}}", "{a}}", "{{a}",
    ] {
        assert_eq!(
            Template::parse(text),
            Err(InvalidTemplate::Braces),
            "{text}"
        );
    }
}

#[test]
fn long_templates_and_control_characters_are_refused() {
    let long = "x".repeat(MAX_TEMPLATE_BYTES + 1);
    assert_eq!(Template::parse(&long), Err(InvalidTemplate::TooLong));
    for text in ["a\nb", "\0", "{a\r}", "\u{85}"] {
        assert_eq!(
            Template::parse(text),
            Err(InvalidTemplate::Control),
            "{text:?}"
        );
    }
}

#[test]
fn registered_claims_and_odd_names_cannot_be_set() {
    let template = || Template::parse("x").unwrap();
    for name in RESERVED {
        let refused = CustomClaims::of([(name.to_owned(), template())]);
        assert_eq!(refused, Err(InvalidClaimName::Reserved), "{name}");
    }
    for name in ["Sub", "AUD", "sUb_Id", "Client_ID"] {
        let refused = CustomClaims::of([(name.to_owned(), template())]);
        assert_eq!(refused, Err(InvalidClaimName::Reserved), "{name}");
    }
    let long = "n".repeat(MAX_NAME_BYTES + 1);
    for name in ["", "a b", "ü", "a\n", &long] {
        let refused = CustomClaims::of([(name.to_owned(), template())]);
        assert_eq!(refused, Err(InvalidClaimName::Malformed), "{name:?}");
    }
    for name in ["team", "https://acme.example/team", "subject"] {
        assert!(
            CustomClaims::of([(name.to_owned(), template())]).is_ok(),
            "{name}"
        );
    }
}

#[test]
fn the_attributes_that_are_read_are_told() {
    let template = Template::parse("{{x}} {k8s.podName} in {k8s.namespace}").unwrap();
    let read: Vec<&str> = template.attributes().collect();
    assert_eq!(read, ["k8s.podName", "k8s.namespace"]);
}

#[test]
fn an_attribute_in_a_path_is_a_part_of_one_segment_and_leads_nowhere_else() {
    let path_of = |value: &str| {
        let mut attributes = Attributes::new();
        attributes.set("claims.team", value);
        #[expect(
            clippy::disallowed_methods,
            reason = "paths are made of an attestation; trust is not here"
        )]
        let caller = Attestation::attested(Proven {
            provider: "cluster".into(),
            kind: ProviderKind::Oidc,
            spiffe_id: SpiffeId::parse("spiffe://cluster.local/ns/a/sa/b").unwrap(),
            attributes,
            expires_at: Timestamp::from_seconds(60),
        });
        let template = Template::parse("shop/{claims.team}/key").unwrap();
        template.path("path", &caller)
    };
    assert_eq!(path_of("a-b_c.d@e"), Ok("shop/a-b_c.d@e/key".to_owned()));
    for value in [
        "", ".", "..", "...", "a/b", "/", "../..", "a\\b", "a?b", "a#b", "%2e%2e", "a b", "a\n",
        "\u{e4}",
    ] {
        let refused = path_of(value);
        assert!(
            matches!(refused, Err(UnavailableClaim::NotASegment { .. })),
            "{value:?}: {refused:?}"
        );
    }
    let several = Template::parse("{claims.groups}").unwrap();
    assert!(several.path("path", &attestation()).is_err());
    let unproven = Template::parse("{claims.nobody}").unwrap();
    assert!(unproven.path("path", &attestation()).is_err());
}
