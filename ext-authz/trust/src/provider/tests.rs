use super::*;

fn trust_domain(name: &str) -> TrustDomain {
    TrustDomain::parse(name).expect("a trust domain")
}

fn oidc(name: &str, issuer: &str) -> ProviderConfig {
    let keys = KeySource::Discovery;
    ProviderConfig::new(name, ProviderKind::Oidc, issuer, keys, trust_domain("td"))
}

fn cluster(name: &str, issuer: &str, domain: &str) -> ProviderConfig {
    let kind = ProviderKind::KubernetesServiceAccount;
    let keys = KeySource::JwksUrl("https://kubernetes.default.svc/openid/v1/jwks".to_owned());
    ProviderConfig::new(name, kind, issuer, keys, trust_domain(domain))
}

fn problems(configs: &[ProviderConfig]) -> Vec<ProviderProblem> {
    let invalid = check(configs)
        .err()
        .map(|invalid| invalid.0)
        .unwrap_or_default();
    invalid.into_iter().map(|invalid| invalid.problem).collect()
}

fn changed(change: impl FnOnce(&mut ProviderConfig)) -> Vec<ProviderProblem> {
    let mut config = oidc("ci", "https://issuer.example");
    change(&mut config);
    problems(&[config])
}

#[test]
fn the_defaults_are_sound() {
    let config = oidc("ci", "https://issuer.example");
    assert_eq!(config.audience, "attache");
    assert_eq!(config.algorithms, [Algorithm::Rs256, Algorithm::Es256]);
    assert_eq!(config.max_lifetime, Duration::from_hours(24));
    assert_eq!(config.max_key_age, Duration::from_hours(24));
    assert_eq!(
        problems(&[config, cluster("cluster", "https://cluster.example", "td")]),
        []
    );
}

#[test]
fn what_would_make_a_rule_void_is_a_problem() {
    assert_eq!(
        changed(|config| config.audience.clear()),
        [ProviderProblem::AudienceEmpty]
    );
    assert_eq!(
        changed(|config| config.algorithms.clear()),
        [ProviderProblem::AlgorithmsEmpty]
    );
    for lifetime in [Duration::ZERO, Duration::from_secs(86_401)] {
        assert_eq!(
            changed(|config| config.max_lifetime = lifetime),
            [ProviderProblem::MaxLifetime]
        );
    }
    let leeway = Duration::from_secs(301);
    assert_eq!(
        changed(|config| config.leeway = leeway),
        [ProviderProblem::Leeway]
    );
    assert_eq!(
        changed(|config| config.max_key_age = Duration::ZERO),
        [ProviderProblem::MaxKeyAge]
    );
    let mut nameless = oidc("ci", "");
    nameless.keys = KeySource::JwksUrl("https://issuer.example/keys".to_owned());
    assert_eq!(problems(&[nameless]), [ProviderProblem::IssuerEmpty]);
}

#[test]
fn a_name_can_stand_in_a_spiffe_id() {
    for name in ["ci", "build/ci", "a.b-c_d"] {
        assert_eq!(changed(|config| config.name = name.to_owned()), []);
    }
    let long = "a".repeat(508);
    for name in [
        "",
        "/",
        "a/",
        "/a",
        "a/b/c",
        "..",
        "a/..",
        "a b",
        "é",
        "a:b",
        long.as_str(),
    ] {
        assert_eq!(
            changed(|config| config.name = name.to_owned()),
            [ProviderProblem::Name],
            "{name:?}"
        );
    }
}

#[test]
fn names_and_issuers_are_unique() {
    let found = problems(&[
        oidc("a", "https://i.example"),
        oidc("a", "https://j.example"),
    ]);
    assert_eq!(found, [ProviderProblem::DuplicateName]);
    let found = problems(&[
        oidc("a", "https://i.example"),
        oidc("b", "https://i.example"),
    ]);
    assert_eq!(found, [ProviderProblem::DuplicateIssuer("a".to_owned())]);
}

#[test]
fn two_clusters_cannot_name_the_same_workload() {
    let first = cluster("first", "https://one.example", "td");
    let shared = problems(&[
        first.clone(),
        cluster("second", "https://two.example", "td"),
    ]);
    assert_eq!(shared, [ProviderProblem::SameIds("first".to_owned())]);
    assert_eq!(
        problems(&[first, cluster("second", "https://two.example", "other")]),
        []
    );
}

#[test]
fn the_api_servers_own_audience_is_no_audience_of_ours() {
    let with = |audience: &str| {
        let mut config = cluster("c", "https://oidc.eks.example/id/1", "td");
        config.audience = audience.to_owned();
        problems(&[config])
    };
    for audience in [
        "https://oidc.eks.example/id/1",
        "https://oidc.eks.example/id/1/",
        "https://kubernetes.default.svc",
        "https://Kubernetes.default.svc.cluster.local",
        "https://kubernetes.default.svc:443/",
        "kubernetes.default.svc",
    ] {
        assert_eq!(
            with(audience),
            [ProviderProblem::AudienceOfApiServer(audience.to_owned())]
        );
    }
    for audience in [
        "attache",
        "https://attache.example",
        "https://kubernetes.default.svcx",
    ] {
        assert_eq!(with(audience), [], "{audience}");
    }
    // An OIDC issuer may well be its own audience.
    assert_eq!(
        changed(|config| config.audience = config.issuer.clone()),
        []
    );
}

#[test]
fn a_password_in_a_url_is_not_repeated() {
    let url = KeySource::JwksUrl("https://user:hunter2@issuer.example/keys".to_owned());
    let invalid = check(&[ProviderConfig {
        keys: url,
        ..oidc("ci", "https://issuer.example")
    }]);
    let text = invalid.expect_err("refused").to_string();
    assert!(
        !text.contains("hunter2") && text.contains("trust provider `ci`"),
        "{text}"
    );
}

#[test]
fn inline_keys_must_be_a_key_set() {
    let inline = |text: &str| {
        let keys = KeySource::Inline(text.to_owned());
        problems(&[ProviderConfig {
            keys,
            ..oidc("ci", "https://issuer.example")
        }])
    };
    assert_eq!(inline(r#"{"keys":[]}"#), []);
    assert_eq!(
        inline("{}"),
        [ProviderProblem::InlineKeys(
            attache_core::jwks::InvalidKeySet::NoKeys
        )]
    );
}

#[test]
fn discovery_is_under_the_issuer_without_its_last_slash() {
    let url = |issuer| oidc("ci", issuer).discovery_url();
    let expected = "https://issuer.example/tenant/.well-known/openid-configuration";
    assert_eq!(url("https://issuer.example/tenant"), expected);
    assert_eq!(url("https://issuer.example/tenant/"), expected);
}

#[test]
fn all_problems_are_told_at_once() {
    let mut broken = oidc("a b", "http://issuer.example");
    broken.audience.clear();
    broken.algorithms.clear();
    let text = check(&[broken.clone(), broken])
        .expect_err("refused")
        .to_string();
    for part in [
        "its name must be",
        "audience is empty",
        "no algorithm",
        "only https",
        "same issuer",
        "has its name",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
}
