#![expect(
    clippy::disallowed_methods,
    reason = "what follows from proofs is tested here, not the proving"
)]

use alloc::string::ToString as _;

use super::*;
use crate::attributes::AttributeValue;

fn proven(provider: &str, id: &str, attributes: &[(&str, &str)], expires: i64) -> Attestation {
    let mut all = Attributes::new();
    for (name, value) in attributes {
        all.set((*name).to_string(), value);
    }
    Attestation::attested(Proven {
        provider: provider.into(),
        kind: ProviderKind::SpiffeJwt,
        spiffe_id: SpiffeId::parse(id).expect("a SPIFFE ID"),
        attributes: all,
        expires_at: Timestamp::from_seconds(expires),
    })
}

const WEB: &str = "spiffe://cluster.local/ns/shop/sa/web";
const JOB: &str = "spiffe://cluster.local/ns/shop/sa/job";

#[test]
fn two_proofs_of_one_workload_prove_what_each_of_them_does_and_hold_until_the_first_ends() {
    let cluster = proven("cluster", WEB, &[("k8s.namespace", "shop")], 20);
    let mesh = proven("mesh", WEB, &[("spiffe.path", "/ns/shop/sa/web")], 10);
    let both = cluster.together([&mesh], Agreement::OneWorkload).unwrap();
    assert!(both.is_by_several() && both.is_one_workload());
    assert_eq!(both.spiffe_id().as_str(), WEB);
    assert_eq!(both.provider(), "cluster");
    assert_eq!(both.expires_at(), Timestamp::from_seconds(10));
    let names: Vec<&str> = both.attributes().iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["k8s.namespace", "spiffe.path"]);
    let by_whom = |name: &str| {
        let mut proofs = both.proofs();
        let proof = proofs.find(|proof| proof.attributes.value(name).is_some());
        proof.map(|proof| proof.provider.clone())
    };
    assert_eq!(by_whom("k8s.namespace").as_deref(), Some("cluster"));
    assert_eq!(by_whom("spiffe.path").as_deref(), Some("mesh"));
}

#[test]
fn proofs_of_two_workloads_agree_only_where_the_policy_names_both() {
    let (web, job) = (proven("cluster", WEB, &[], 9), proven("mesh", JOB, &[], 9));
    let refused = web.together([&job], Agreement::OneWorkload);
    let disagreement = refused.expect_err("two workloads");
    assert_eq!(
        disagreement.to_string(),
        "the evidence proves two workloads, spiffe://cluster.local/ns/shop/sa/web and \
         spiffe://cluster.local/ns/shop/sa/job"
    );
    let both = web.together([&job], Agreement::NamedByPolicy).unwrap();
    assert!(!both.is_one_workload());
    assert_eq!(both.spiffe_id().as_str(), WEB);
}

#[test]
fn an_attribute_that_two_prove_differently_has_both_values() {
    let one = proven("a", WEB, &[("claims.team", "red"), ("claims.x", "same")], 9);
    let other = proven(
        "b",
        WEB,
        &[("claims.team", "blue"), ("claims.x", "same")],
        9,
    );
    let both = one.together([&other], Agreement::OneWorkload).unwrap();
    let value = |name: &str| both.attributes().value(name).cloned();
    let teams = AttributeValue::many(["red", "blue"]);
    assert_eq!(value("claims.team"), Some(teams));
    assert_eq!(value("claims.x"), Some(AttributeValue::One("same".into())));
}

#[test]
fn narrowed_to_some_providers_nothing_of_the_others_remains() {
    let cluster = proven("cluster", WEB, &[("k8s.namespace", "shop")], 20);
    let mesh = proven("mesh", WEB, &[("spiffe.path", "/ns/shop/sa/web")], 10);
    let both = cluster.together([&mesh], Agreement::OneWorkload).unwrap();
    let narrow = both.narrowed(|provider| provider == "mesh").unwrap();
    assert_eq!(narrow.provider(), "mesh");
    assert!(narrow.attributes().value("k8s.namespace").is_none());
    assert!(narrow.attributes().value("spiffe.path").is_some());
    assert!(both.narrowed(|_| true).is_none());
    assert!(both.narrowed(|_| false).is_none());
    assert!(cluster.narrowed(|provider| provider == "cluster").is_none());
}

#[test]
fn two_pieces_of_one_provider_never_make_one_workload() {
    let web = proven("gh", WEB, &[("claims.env", "prod")], 9);
    let same = proven("gh", WEB, &[("claims.env", "dev")], 9);
    let job = proven("gh", JOB, &[], 9);
    let mesh = proven("mesh", WEB, &[], 9);
    for agreement in [Agreement::OneWorkload, Agreement::NamedByPolicy] {
        for others in [[&same, &mesh], [&mesh, &same]] {
            let refused = web.together(others, agreement).expect_err("one provider");
            assert_eq!(refused, Disagreement::OneProvider("gh".to_string()));
        }
    }
    let refused = web.together([&job], Agreement::NamedByPolicy);
    assert_eq!(
        refused.expect_err("one provider").to_string(),
        "the trust provider gh verified two pieces of the evidence, show one of them"
    );
}

#[test]
fn what_a_workload_has_once_is_not_proven_with_two_values() {
    let one = proven("a", WEB, &[("k8s.namespace", "pay")], 9);
    let other = proven("b", WEB, &[("k8s.namespace", "dev")], 9);
    for agreement in [Agreement::OneWorkload, Agreement::NamedByPolicy] {
        let refused = one.together([&other], agreement).expect_err("two values");
        assert_eq!(
            refused.to_string(),
            "the evidence proves two values of k8s.namespace"
        );
    }
    // Two IDs are what `NamedByPolicy` is for, under whatever name they stand.
    let one = proven("a", WEB, &[(SPIFFE_ID, WEB)], 9);
    let other = proven("b", JOB, &[(SPIFFE_ID, JOB)], 9);
    assert!(one.together([&other], Agreement::NamedByPolicy).is_ok());
}
