use attache_core::{
    attestation::ProviderKind,
    attributes::{AttributeValue, Attributes},
    decision::DenyReason,
    evidence::Evidence,
    jwt::RejectedToken,
    pattern::{Pattern, Requirement},
    secret::Secret,
    spiffe_id::{SpiffeId, TrustDomain},
};

use super::{Naming, NotSupposable, Voucher, recorded, supposed, unverified};

fn attributes(written: &[(&str, &str)]) -> Attributes {
    let mut attributes = Attributes::new();
    for (name, value) in written {
        attributes.set((*name).to_owned(), value);
    }
    attributes
}

fn domain() -> TrustDomain {
    TrustDomain::parse("cluster.local").unwrap()
}

fn naming(kind: ProviderKind, domain: &TrustDomain) -> Naming<'_> {
    Naming {
        provider: "them",
        kind,
        trust_domain: domain,
        template: None,
        cluster: None,
        only: &[],
        shares_with: &[],
    }
}

const POD: [(&str, &str); 2] = [("k8s.namespace", "shop"), ("k8s.serviceAccount", "web")];

#[test]
fn attributes_yield_the_identity_that_evidence_would() {
    let domain = domain();
    let cluster = naming(ProviderKind::KubernetesServiceAccount, &domain);
    let pod = supposed(cluster, &attributes(&POD)).unwrap();
    assert_eq!(
        pod.spiffe_id.as_str(),
        "spiffe://cluster.local/ns/shop/sa/web"
    );
    let forge = naming(ProviderKind::Oidc, &domain);
    let job = supposed(forge, &attributes(&[("claims.sub", "job-1")])).unwrap();
    assert_eq!(
        job.spiffe_id.as_str(),
        "spiffe://cluster.local/oidc/them/sub/job-1"
    );
}

#[test]
fn a_caller_that_no_evidence_could_prove_is_refused() {
    let domain = domain();
    let cluster = naming(ProviderKind::KubernetesServiceAccount, &domain);
    let forge = naming(ProviderKind::Oidc, &domain);
    let with = |more: (&str, &str)| {
        let mut all = attributes(&POD);
        all.set(more.0.to_owned(), more.1);
        all
    };
    assert_eq!(
        supposed(cluster, &attributes(&POD[..1])).unwrap_err(),
        NotSupposable::Missing("k8s.serviceAccount".to_owned())
    );
    assert!(matches!(
        supposed(cluster, &with(("claims.team", "red"))).unwrap_err(),
        NotSupposable::Foreign { attribute, .. } if attribute == "claims.team"
    ));
    assert!(matches!(
        supposed(forge, &attributes(&POD)).unwrap_err(),
        NotSupposable::Foreign { .. }
    ));
    assert!(matches!(
        supposed(
            cluster,
            &with(("spiffe.id", "spiffe://cluster.local/ns/shop/sa/other"))
        )
        .unwrap_err(),
        NotSupposable::OtherSpiffeId { .. }
    ));
    assert!(matches!(
        supposed(cluster, &with(("spiffe.id", "shop/web"))).unwrap_err(),
        NotSupposable::InvalidSpiffeId(_)
    ));
    let mut list = attributes(&POD);
    list.insert("k8s.namespace", AttributeValue::Many(vec!["shop".into()]));
    assert_eq!(
        supposed(cluster, &list).unwrap_err(),
        NotSupposable::List("k8s.namespace".to_owned())
    );
}

#[test]
fn an_identity_that_is_written_stands_in_for_what_it_comes_of() {
    let domain = domain();
    let forge = naming(ProviderKind::Oidc, &domain);
    let written = attributes(&[("spiffe.id", "spiffe://cluster.local/oidc/them/sub/a")]);
    let job = supposed(forge, &written).unwrap();
    assert_eq!(
        job.spiffe_id.as_str(),
        "spiffe://cluster.local/oidc/them/sub/a"
    );
    // It is the attestation's own, and no attribute beside.
    assert_eq!(job.attributes.iter().count(), 0);
}

#[test]
fn a_token_that_nobody_signed_is_read_for_those_who_ask_for_it() {
    use base64ct::{Base64UrlUnpadded, Encoding as _};
    let part = |text: &str| Base64UrlUnpadded::encode_string(text.as_bytes());
    let claims = r#"{"iss":"https://forge.example","sub":"a","aud":"other","exp":1,"team":"red"}"#;
    let token = format!(
        "{}.{}.{}",
        part(r#"{"alg":"RS256"}"#),
        part(claims),
        part("no signature")
    );
    let evidence = Evidence::Token(Secret::new(token));
    let domain = domain();
    let by_issuer = |voucher: Voucher<'_>| {
        let is_forge = voucher == Voucher::Issuer("https://forge.example");
        is_forge.then(|| naming(ProviderKind::Oidc, &domain))
    };
    let proven = unverified(&evidence, by_issuer).unwrap();
    assert_eq!(
        proven.spiffe_id.as_str(),
        "spiffe://cluster.local/oidc/them/sub/a"
    );
    assert_eq!(
        proven.attributes.value("claims.team"),
        Some(&AttributeValue::One("red".into()))
    );
    assert_eq!(
        unverified(&evidence, |_| None).unwrap_err(),
        DenyReason::IssuerUnknown
    );
    let nothing = Evidence::Token(Secret::new("nothing".to_owned()));
    assert!(matches!(
        unverified(&nothing, by_issuer).unwrap_err(),
        DenyReason::EvidenceRejected(RejectedToken::Malformed(_))
    ));
}

#[test]
fn what_the_audit_log_does_not_keep_is_not_held_against_a_recorded_caller() {
    let domain = domain();
    let requirement = |attribute: &str, value: &str| Requirement {
        attribute: attribute.to_owned(),
        patterns: vec![Pattern::parse(value)],
    };
    let only = [vec![
        requirement("claims.team", "red"),
        requirement("claims.org", "acme"),
    ]];
    let forge = Naming {
        only: &only,
        ..naming(ProviderKind::Oidc, &domain)
    };
    let id = SpiffeId::parse("spiffe://cluster.local/oidc/them/sha256/00ff").unwrap();
    let job = recorded(forge, &id, &attributes(&[("claims.org", "acme")])).unwrap();
    assert_eq!((&job.spiffe_id, job.attributes.iter().count()), (&id, 1));
    let other = recorded(forge, &id, &attributes(&[("claims.org", "other")]));
    assert_eq!(other.unwrap_err(), DenyReason::NotVouchedFor);
    // Of several provers each has proven what is its own.
    let cluster = naming(ProviderKind::KubernetesServiceAccount, &domain);
    let together = [POD.as_slice(), &[("claims.org", "acme")]].concat();
    let pod = recorded(cluster, &id, &attributes(&together)).unwrap();
    assert_eq!(
        pod.spiffe_id.as_str(),
        "spiffe://cluster.local/ns/shop/sa/web"
    );
    assert_eq!(pod.attributes.value("claims.org"), None);
    let foreign = SpiffeId::parse("spiffe://other/x").unwrap();
    let mesh = recorded(
        naming(ProviderKind::SpiffeX509, &domain),
        &foreign,
        &attributes(&[]),
    );
    assert_eq!(mesh.unwrap_err(), DenyReason::TrustDomainUnknown);
}
