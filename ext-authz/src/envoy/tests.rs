use attache_core::spiffe_id::TrustDomain;
use attache_policy::{Settings, Source, compile};

use super::*;

const POLICIES: &str = r#"
apiVersion: attache.dev/v1
kind: TrustProvider
metadata: { name: cluster }
spec: { type: kubernetes-service-account, issuer: "https://cluster.example.com" }
---
apiVersion: attache.dev/v1
kind: ClientWorkload
metadata: { name: web }
spec: { match: [ { k8s.namespace: shop } ] }
---
apiVersion: attache.dev/v1
kind: ServerWorkload
metadata: { name: maps }
spec:
  host: maps.example.com
  authentication:
    method: several
    places: [ { method: header, name: X-Api-Key }, { method: query, name: key } ]
---
apiVersion: attache.dev/v1
kind: ServerWorkload
metadata: { name: books }
spec: { host: books.example.com }
---
apiVersion: attache.dev/v1
kind: ServerWorkload
metadata: { name: unused }
spec: { host: unused.example.com, authentication: { method: header, name: X-Unused } }
---
apiVersion: attache.dev/v1
kind: CredentialProvider
metadata: { name: maps-key }
spec: { type: api-key, hosts: [maps.example.com], key: "file:secrets/maps" }
---
apiVersion: attache.dev/v1
kind: CredentialProvider
metadata: { name: token }
spec: { type: oidc-token, audience: "https://books.example.com" }
---
apiVersion: attache.dev/v1
kind: AccessPolicy
metadata: { name: web-to-maps }
spec: { effect: allow, client: web, server: maps, trustProviders: [cluster], credentialProvider: maps-key, actions: [read] }
---
apiVersion: attache.dev/v1
kind: AccessPolicy
metadata: { name: web-to-books }
spec: { effect: allow, client: web, server: books, trustProviders: [cluster], credentialProvider: token, actions: [read] }
"#;

fn compiled() -> Compiled {
    let source = Source {
        name: "it.yaml".to_owned(),
        text: POLICIES.as_bytes().to_vec(),
    };
    let settings = Settings {
        trust_domain: TrustDomain::parse("cluster.local").unwrap(),
        trust_providers: Vec::new(),
    };
    compile(&[source], &settings).unwrap_or_else(|problems| panic!("{problems}"))
}

#[test]
fn the_expression_names_what_policies_inject_and_nothing_else() {
    let expression = expression(&touched(&compiled(), None));
    assert_eq!(
        expression,
        "^(authorization|x-api-key|x-attache-[a-z0-9-]+)$"
    );
}

#[test]
fn the_filter_is_that_of_the_bootstraps_and_tells_of_queries() {
    let compiled = compiled();
    let printed = filter("^(authorization|x-attache-[a-z0-9-]+)$", false);
    let bootstrap = include_str!("../../../envoy/egress-gateway.yaml");
    // Each setting stands in the bootstrap as it is printed, whatever their indentation.
    let settings = printed.lines().map(str::trim);
    for setting in settings.filter(|line| !line.starts_with('#')) {
        assert!(bootstrap.contains(setting), "{setting}");
    }
    assert!(carries_in_query(&compiled));
    assert!(filter("", true).contains("validate_mutations"));
    assert!(!printed.contains("validate_mutations"));
}

#[test]
fn a_bootstrap_is_checked_for_the_expression() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("envoy.yaml");
    let expression = "^(authorization|x-attache-[a-z0-9-]+)$";
    std::fs::write(&file, include_str!("../../../envoy/egress-gateway.yaml")).unwrap();
    assert_eq!(check(&file, expression).unwrap(), ExitCode::SUCCESS);
    let other = "^(x-api-key|x-attache-[a-z0-9-]+)$";
    assert_eq!(check(&file, other).unwrap(), ExitCode::FAILURE);
    assert!(check(&folder.path().join("missing"), other).is_err());
}
