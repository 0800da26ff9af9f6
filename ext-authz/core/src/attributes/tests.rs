use alloc::{collections::BTreeSet, vec::Vec};

use super::{presets::Form, *};
use crate::attestation::ProviderKind;

#[test]
fn no_attribute_is_proven_by_kinds_that_do_not_share_it() {
    for attribute in fixed().filter(|name| *name != SPIFFE_ID) {
        let kinds = ProviderKind::ALL
            .into_iter()
            .filter(|kind| kind.proves(attribute));
        let kinds: Vec<_> = kinds.collect();
        let svids = [ProviderKind::SpiffeJwt, ProviderKind::SpiffeX509];
        assert!(kinds.len() == 1 || kinds == svids, "{attribute}: {kinds:?}");
    }
}

#[test]
fn what_an_issuer_merely_claims_is_never_an_attribute_of_another_kind() {
    for kind in [ProviderKind::Oidc, ProviderKind::SpiffeJwt] {
        for foreign in [
            "k8s.namespace",
            "github.repository",
            "aws.roleArn",
            "claims",
            "claims.",
        ] {
            assert!(!kind.proves(foreign), "{foreign}");
        }
        assert!(kind.proves("claims.k8s.namespace"));
    }
}

#[test]
fn each_table_has_a_name_space_and_no_attribute_or_claim_twice() {
    for kind in ProviderKind::ALL {
        let rows = kind.mapped();
        let Some(first) = rows.first() else { continue };
        let space = first.attribute.split('.').next().expect("a name space");
        let mut names = BTreeSet::new();
        let mut claims = BTreeSet::new();
        for row in rows {
            assert_eq!(
                row.attribute.split('.').next(),
                Some(space),
                "{}",
                row.attribute
            );
            assert!(
                names.insert(row.attribute) && claims.insert(row.claim),
                "{}",
                row.attribute
            );
            let family = matches!(row.form, Form::Members | Form::Prefixed);
            assert_eq!(row.attribute.ends_with('.'), family, "{}", row.attribute);
        }
        let subject = kind.subject().expect("a subject");
        assert!(
            rows.iter()
                .any(|row| row.attribute == subject && row.claim == "sub")
        );
    }
}

#[test]
fn families_take_any_name_behind_their_dot_and_none_without() {
    let kind = ProviderKind::GithubActions;
    assert!(kind.proves("github.repositoryProperty.team"));
    assert!(!kind.proves("github.repositoryProperty."));
    assert!(!kind.proves("github.repositoryProperty"));
    assert!(is_known("aws.principalTag.env") && !is_known("aws.requestTag.env"));
}

#[test]
fn only_claims_and_lists_have_several_values() {
    assert!(is_single("k8s.namespace") && is_single("github.repository") && is_single(SPIFFE_ID));
    assert!(
        is_single("claims.sub") && !is_single("claims.groups") && !is_single("gitlab.groupsDirect")
    );
}

#[test]
fn attributes_stand_in_the_order_of_their_names_each_once() {
    let mut attributes = Attributes::new();
    for (name, value) in [("b", "1"), ("c", "2"), ("a", "3"), ("b", "4")] {
        attributes.set(name, value);
    }
    let written = r#"{"a":"3","b":"4","c":"2"}"#;
    assert_eq!(serde_json::to_string(&attributes).unwrap(), written);
    assert_eq!(
        attributes.value("b"),
        Some(&AttributeValue::One("4".into()))
    );
    assert_eq!(attributes.value("d"), None);
    let read: Attributes = serde_json::from_str(r#"{"c":"2","b":"0","a":"3","b":"4"}"#).unwrap();
    assert_eq!(read, attributes);
    let some = attributes.some(1, |name, _| name != "a");
    assert_eq!(serde_json::to_string(&some).unwrap(), r#"{"b":"4"}"#);
}
