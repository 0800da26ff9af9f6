use alloc::{format, string::ToString as _};

use super::*;
use crate::attributes::Attributes;

const KIND: ProviderKind = ProviderKind::GithubActions;

fn domain() -> TrustDomain {
    TrustDomain::parse("cluster.local").expect("a trust domain")
}

fn template(text: &str) -> IdTemplate {
    IdTemplate::parse(text, KIND).unwrap_or_else(|invalid| panic!("{text}: {invalid}"))
}

fn named(text: &str, repository_id: &str) -> Result<String, NotDerivable> {
    let mut attributes = Attributes::new();
    attributes.set("github.repositoryId", repository_id);
    let id = template(text).spiffe_id(&domain(), |name| attributes.value(name))?;
    Ok(id.as_str().to_owned())
}

#[test]
fn a_workload_gets_the_path_with_its_attributes_filled_in() {
    assert_eq!(
        named("ci/repo-{github.repositoryId}.x/build", "42").expect("an ID"),
        "spiffe://cluster.local/ci/repo-42.x/build"
    );
}

#[test]
fn a_template_is_read_back_as_it_was_written() {
    for text in [
        "a/{github.sha}",
        "x-{github.ref}-y/b",
        "{github.repositoryProperty.team}",
    ] {
        assert_eq!(template(text).to_string(), text);
    }
}

#[test]
fn a_value_that_is_no_segment_gives_no_id() {
    for value in ["", ".", "..", "a/b", "a b", "é", "%2f", "a\\b", "{x}"] {
        for text in ["r/{github.repositoryId}", "r/x{github.repositoryId}y"] {
            let refused = named(text, value).expect_err(value);
            assert!(
                matches!(refused, NotDerivable::Value { .. }),
                "{value:?}: {refused}"
            );
        }
    }
    let long = "a".repeat(crate::spiffe_id::MAX_ID_BYTES);
    assert!(matches!(
        named("r/{github.repositoryId}", &long),
        Err(NotDerivable::Whole(_))
    ));
}

#[test]
fn an_attribute_that_is_missing_or_a_list_gives_no_id() {
    let mut attributes = Attributes::new();
    let template = template("{github.sha}");
    let derived = |attributes: &Attributes| {
        template
            .spiffe_id(&domain(), |name| attributes.value(name))
            .expect_err("none")
    };
    assert_eq!(
        derived(&attributes),
        NotDerivable::Missing("github.sha".to_owned())
    );
    attributes.insert("github.sha", AttributeValue::Many(vec!["a".into()]));
    assert_eq!(
        derived(&attributes),
        NotDerivable::Several("github.sha".to_owned())
    );
}

#[test]
fn what_would_name_two_workloads_alike_or_nothing_is_no_template() {
    let why = |text: &str| IdTemplate::parse(text, KIND).expect_err(text);
    for text in ["/a/{github.sha}", "spiffe://td/{github.sha}"] {
        assert_eq!(why(text), InvalidTemplate::NotAPath);
    }
    for text in ["{github.sha", "{}", "a}{github.sha}", "{a{github.sha}}"] {
        assert!(matches!(why(text), InvalidTemplate::Braces(_)), "{text}");
    }
    for text in ["{github.actor}-{github.sha}", "{github.actor}{github.sha}"] {
        assert!(
            matches!(why(text), InvalidTemplate::TwoInOneSegment(_)),
            "{text}"
        );
    }
    for text in [
        "",
        "a//{github.sha}",
        "{github.sha}/",
        "é/{github.sha}",
        "a b/{github.sha}",
        "../{github.sha}",
        "github.sha}",
    ] {
        assert!(matches!(why(text), InvalidTemplate::Segment(_)), "{text}");
    }
    for text in ["ci", "ci/build"] {
        assert_eq!(why(text), InvalidTemplate::NoAttribute);
    }
    for text in [
        "{k8s.namespace}",
        "{claims.sub}",
        "{github.sHa}",
        "{spiffe.id}",
        "{github.repositoryProperty.}",
    ] {
        assert!(
            matches!(why(text), InvalidTemplate::Foreign { .. }),
            "{text}"
        );
    }
    let long = format!("{{github.sha}}/{}", "a".repeat(MAX_TEMPLATE_BYTES));
    assert_eq!(why(&long), InvalidTemplate::TooLong(long.len()));
    let kind = ProviderKind::KubernetesServiceAccount;
    let only_cluster = IdTemplate::parse("{k8s.cluster}/x", kind);
    assert_eq!(only_cluster, Err(InvalidTemplate::NoAttribute));
}

#[test]
fn templates_meet_if_one_path_can_come_of_both() {
    for (one, two) in [
        ("a/{github.sha}", "a/{github.ref}"),
        ("a/{github.sha}", "{github.sha}/b"),
        ("a-{github.sha}", "a-b{github.sha}"),
        ("{github.sha}-a", "x{github.ref}a"),
        ("{github.sha}/a", "{github.ref}/a"),
    ] {
        assert!(template(one).can_meet(&template(two)), "{one} {two}");
        assert!(template(two).can_meet(&template(one)), "{two} {one}");
    }
    for (one, two) in [
        ("a/{github.sha}", "b/{github.sha}"),
        ("a/{github.sha}", "a/{github.sha}/c"),
        ("a-{github.sha}", "b-{github.sha}"),
        ("{github.sha}-a", "{github.sha}-b"),
        ("a{github.sha}/x", "a/{github.sha}"),
    ] {
        assert!(!template(one).can_meet(&template(two)), "{one} {two}");
        assert!(!template(two).can_meet(&template(one)), "{two} {one}");
    }
}

fn cluster<'p>(
    domain: &'p TrustDomain,
    template: Option<&'p IdTemplate>,
    cluster: &'p str,
) -> Naming<'p> {
    Naming {
        provider: "cluster",
        kind: ProviderKind::KubernetesServiceAccount,
        trust_domain: domain,
        template,
        cluster: Some(cluster),
        only: &[],
        shares_with: &[],
    }
}

#[test]
fn two_clusters_of_one_domain_meet_unless_their_ids_hold_the_cluster() {
    let (domain, other) = (
        domain(),
        TrustDomain::parse("other").expect("a trust domain"),
    );
    let telling = "c/{k8s.cluster}/ns/{k8s.namespace}/sa/{k8s.serviceAccount}";
    let telling = IdTemplate::parse(telling, ProviderKind::KubernetesServiceAccount);
    let telling = telling.expect("a template");
    assert!(cluster(&domain, None, "a").can_meet(&cluster(&domain, None, "b")));
    assert!(!cluster(&domain, None, "a").can_meet(&cluster(&other, None, "a")));
    let telling = Some(&telling);
    assert!(!cluster(&domain, telling, "a").can_meet(&cluster(&domain, telling, "b")));
    assert!(cluster(&domain, telling, "a").can_meet(&cluster(&domain, telling, "a")));
    assert!(!cluster(&domain, telling, "a").can_meet(&cluster(&domain, None, "b")));
}

fn oidc<'p>(
    domain: &'p TrustDomain,
    provider: &'p str,
    template: Option<&'p IdTemplate>,
) -> Naming<'p> {
    Naming {
        provider,
        kind: ProviderKind::Oidc,
        trust_domain: domain,
        template,
        cluster: None,
        only: &[],
        shares_with: &[],
    }
}

#[test]
fn subjects_meet_nothing_but_a_template_that_imitates_them() {
    let domain = domain();
    assert!(!oidc(&domain, "a", None).can_meet(&oidc(&domain, "b", None)));
    assert!(!oidc(&domain, "a", None).can_meet(&cluster(&domain, None, "c")));
    let read = |text| IdTemplate::parse(text, ProviderKind::Oidc).expect("a template");
    let pods = read("ns/{claims.ns}/sa/{claims.sa}");
    assert!(oidc(&domain, "b", Some(&pods)).can_meet(&cluster(&domain, None, "c")));
    for (text, meets) in [
        ("oidc/a/sub/{claims.team}", true),
        ("oidc/{claims.x}/sha256/{claims.team}", true),
        ("oidc/a/{claims.team}", false),
        ("ns/{claims.ns}/sa/{claims.sa}", false),
    ] {
        let template = read(text);
        let other = oidc(&domain, "b", Some(&template));
        assert_eq!(other.can_meet(&oidc(&domain, "a", None)), meets, "{text}");
    }
}

#[test]
fn svids_can_have_any_id_of_their_domain() {
    let domain = domain();
    let svid = |kind| Naming {
        provider: "mesh",
        kind,
        trust_domain: &domain,
        template: None,
        cluster: None,
        only: &[],
        shares_with: &[],
    };
    let (jwt, x509) = (
        svid(ProviderKind::SpiffeJwt),
        svid(ProviderKind::SpiffeX509),
    );
    assert!(jwt.can_meet(&cluster(&domain, None, "c")));
    assert!(cluster(&domain, None, "c").can_meet(&x509));
    assert!(!jwt.can_meet(&x509), "one workload, two kinds of SVID");
}

#[test]
fn two_providers_share_identities_only_if_both_say_so() {
    let domain = domain();
    let (pods, mesh) = (["mesh".to_owned()], ["cluster".to_owned()]);
    let other = ["other".to_owned()];
    let cluster = |shares_with| Naming {
        shares_with,
        ..cluster(&domain, None, "c")
    };
    let svids = |shares_with| Naming {
        provider: "mesh",
        kind: ProviderKind::SpiffeX509,
        trust_domain: &domain,
        template: None,
        cluster: None,
        only: &[],
        shares_with,
    };
    assert!(!cluster(&pods).collides_with(&svids(&mesh)));
    assert!(!svids(&mesh).collides_with(&cluster(&pods)));
    for (pods, mesh) in [
        (&[][..], &[][..]),
        (&pods[..], &[][..]),
        (&[][..], &mesh[..]),
        (&pods[..], &other[..]),
        (&other[..], &mesh[..]),
    ] {
        let (cluster, svids) = (cluster(pods), svids(mesh));
        assert!(cluster.collides_with(&svids), "{pods:?} {mesh:?}");
        assert!(svids.collides_with(&cluster), "{pods:?} {mesh:?}");
    }
}

#[test]
fn an_id_is_of_a_provider_that_can_make_it() {
    let domain = domain();
    let id = |text: &str| SpiffeId::parse(text).expect(text);
    let pods = cluster(&domain, None, "c");
    let builds = oidc(&domain, "ci", None);
    assert!(pods.can_name(&id("spiffe://cluster.local/ns/a/sa/b")));
    assert!(!builds.can_name(&id("spiffe://cluster.local/ns/a/sa/b")));
    assert!(builds.can_name(&id("spiffe://cluster.local/oidc/ci/sub/x")));
    for other in [
        "spiffe://cluster.local/oidc/ci/sub/x",
        "spiffe://cluster.local/ns/a/sa/b/c",
        "spiffe://cluster.local",
        "spiffe://other/ns/a/sa/b",
    ] {
        assert!(!pods.can_name(&id(other)), "{other}");
    }
}
