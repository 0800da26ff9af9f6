use alloc::{borrow::ToOwned, vec};

use super::*;
use crate::{attributes::AttributeValue, spiffe_id::TrustDomain};

#[test]
fn a_star_stands_for_any_run_of_characters() {
    for (pattern, value) in [
        ("a*", "a"),
        ("a*", "a/b:c"),
        ("*a", "ba"),
        ("a*b*c", "a-b-b-c"),
        ("a**c", "abc"),
        ("*", ""),
    ] {
        assert!(Pattern::parse(pattern).matches(value), "{pattern} {value}");
    }
    for (pattern, value) in [
        ("a", "aa"),
        ("a*", "ba"),
        ("a*a", "a"),
        ("a*b*b", "ab"),
        ("A*", "a"),
        ("a.c", "abc"),
    ] {
        assert!(!Pattern::parse(pattern).matches(value), "{pattern} {value}");
    }
}

fn requires(attribute: &str, patterns: &[&str]) -> Requirement {
    Requirement {
        attribute: attribute.to_owned(),
        patterns: patterns.iter().map(|text| Pattern::parse(text)).collect(),
    }
}

#[test]
fn an_entry_needs_all_of_its_requirements_and_a_list_needs_one_entry() {
    let domain = TrustDomain::parse("td").expect("a trust domain");
    let id = SpiffeId::of(&domain, ["a"]).expect("an ID");
    let mut attributes = Attributes::new();
    attributes.set("github.repositoryOwner", "acme");
    let groups = AttributeValue::Many(vec!["x".into(), "ops-1".into()]);
    attributes.insert("claims.groups", groups);
    let vouched = |only: &[Vec<Requirement>]| vouched_for(only, &id, &attributes);
    let owner = |names: &[&str]| requires("github.repositoryOwner", names);
    assert!(vouched(&[]));
    assert!(vouched(&[vec![owner(&["other", "acme"])]]));
    assert!(vouched(&[vec![
        owner(&["ac*"]),
        requires("claims.groups", &["ops-*"])
    ]]));
    assert!(vouched(&[
        vec![owner(&["other"])],
        vec![requires(SPIFFE_ID, &["spiffe://td/*"])]
    ]));
    assert!(!vouched(&[vec![owner(&["other"])]]));
    assert!(!vouched(&[vec![
        owner(&["acme"]),
        requires("github.ref", &["*"])
    ]]));
    assert!(!vouched(&[vec![requires(SPIFFE_ID, &["spiffe://td/b"])]]));
}
