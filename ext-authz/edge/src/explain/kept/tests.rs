use attache_core::{
    attributes::{AttributeValue, Attributes},
    spiffe_id::TrustDomain,
};
use attache_policy::{Compiled, Settings, Source, compile};

use super::{MAX_ATTRIBUTES, MAX_BYTES, attributes};

fn set(documents: &str) -> Compiled {
    let trust_domain = TrustDomain::parse("cluster.local").unwrap();
    let settings = Settings {
        trust_domain,
        trust_providers: Vec::new(),
    };
    let source = Source {
        name: "set.yaml".to_owned(),
        text: documents.as_bytes().to_vec(),
    };
    compile(&[source], &settings).unwrap_or_else(|problems| panic!("{problems}"))
}

const SET: &str = "
apiVersion: attache.dev/v1
kind: TrustProvider
metadata: {name: forge}
spec: {type: oidc, issuer: https://forge.example}
---
apiVersion: attache.dev/v1
kind: ClientWorkload
metadata: {name: team}
spec: {match: [{claims.team: red}, {claims.groups: 'admins-*'}]}
---
apiVersion: attache.dev/v1
kind: ServerWorkload
metadata: {name: api}
spec: {host: api.test}
---
apiVersion: attache.dev/v1
kind: AccessCondition
metadata: {name: trusted}
spec: {cel: '\"claims.level\" in attributes && attributes[\"claims.level\"] == \"high\"'}
---
apiVersion: attache.dev/v1
kind: AccessPolicy
metadata: {name: team-to-api}
spec: {effect: allow, client: team, server: api, trustProviders: [forge], actions: [read], conditions: [trusted]}
";

fn named(attributes: &Attributes) -> Vec<&str> {
    attributes.iter().map(|(name, _)| name).collect()
}

#[test]
fn what_a_selector_or_an_expression_asks_about_is_kept_and_nothing_else() {
    let mut proven = Attributes::new();
    for name in ["claims.email", "claims.team", "claims.level", "claims.high"] {
        proven.set(name, "value");
    }
    let groups = AttributeValue::Many(vec!["a".into(), "b".into()]);
    proven.insert("claims.groups", groups.clone());
    let kept = attributes(&proven, &set(SET));
    assert_eq!(
        named(&kept),
        ["claims.groups", "claims.level", "claims.team"]
    );
    assert_eq!(kept.value("claims.groups"), Some(&groups));
}

#[test]
fn what_is_too_long_is_left_out_whole() {
    let mut proven = Attributes::new();
    proven.set("claims.team", &"x".repeat(MAX_BYTES));
    proven.set("claims.level", &"x".repeat(MAX_BYTES + 1));
    proven.insert(
        "claims.groups",
        AttributeValue::Many(vec!["".into(); MAX_BYTES]),
    );
    let kept = attributes(&proven, &set(SET));
    assert_eq!(named(&kept), ["claims.team"]);
}

#[test]
fn no_more_attributes_are_kept_than_an_event_holds() {
    let claims = |count: usize| (0..count).map(|number| format!("claims.c{number}"));
    let asked: Vec<_> = claims(64).map(|claim| format!("{{{claim}: x}}")).collect();
    let documents = SET.replace("{claims.team: red}", &asked.join(", "));
    let mut proven = Attributes::new();
    claims(64).for_each(|claim| proven.set(claim, "x"));
    let kept = attributes(&proven, &set(&documents));
    assert_eq!(named(&kept).len(), MAX_ATTRIBUTES);
}
