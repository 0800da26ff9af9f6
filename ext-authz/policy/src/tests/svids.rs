//! Trust providers of SPIFFE trust domains, as documents say them.

use std::path::PathBuf;

use attache_core::{attestation::ProviderKind, spiffe_id::SpiffeId};

use super::{compiled, refused};
use crate::{
    document::{BundleSource, KeySource},
    problem::Code,
};

fn provider(kind: &str, fields: &str) -> String {
    format!(
        "apiVersion: attache.dev/v1\nkind: TrustProvider\nmetadata: {{name: {kind}}}\nspec:\n  type: {kind}\n{fields}\n---\n"
    )
}

fn source(fields: &str) -> BundleSource {
    let text = provider(
        "spiffe-x509",
        &format!("  trustDomain: example.org\n  bundle: {{{fields}}}"),
    );
    let compiled = compiled(&text);
    let KeySource::Bundle(source) = &compiled.trust_providers()[0].keys else {
        panic!("no bundle: {text}");
    };
    source.clone()
}

fn problem(kind: &str, fields: &str) -> String {
    refused(&provider(kind, fields)).to_string()
}

#[test]
fn a_bundle_comes_from_a_file_an_endpoint_or_a_workload_api() {
    assert_eq!(
        source("file: bundle.json"),
        BundleSource::File("bundle.json".into())
    );
    let web = BundleSource::HttpsWeb("https://spire.example/b".to_owned());
    assert_eq!(source("url: https://spire.example/b"), web);
    let spiffe = source(
        "url: https://spire.example/b, endpointSpiffeId: spiffe://example.org/server, endpointBundleFile: first.json",
    );
    let expected = BundleSource::HttpsSpiffe {
        url: "https://spire.example/b".to_owned(),
        endpoint_id: SpiffeId::parse("spiffe://example.org/server").unwrap(),
        bundle_file: "first.json".into(),
    };
    assert_eq!(spiffe, expected);
    let socket = BundleSource::WorkloadApi(PathBuf::from("/run/agent.sock"));
    assert_eq!(source("workloadApi: unix:///run/agent.sock"), socket);
    assert_eq!(source("workloadApi: /run/agent.sock"), socket);
}

#[test]
fn both_kinds_of_svid_of_one_trust_domain_have_a_provider_each() {
    let fields = "  trustDomain: example.org\n  bundle: {file: bundle.json}";
    let set = compiled(&(provider("spiffe-jwt", fields) + &provider("spiffe-x509", fields)));
    let kinds: Vec<_> = set.trust_providers().iter().map(|one| one.kind).collect();
    assert_eq!(kinds, [ProviderKind::SpiffeJwt, ProviderKind::SpiffeX509]);
    let twin = provider("spiffe-jwt", fields).replace("{name: spiffe-jwt}", "{name: twin}");
    let told = refused(&(provider("spiffe-jwt", fields) + &twin)).to_string();
    assert!(told.contains("spiffe://example.org"), "{told}");
}

#[test]
fn a_trust_domain_and_a_bundle_must_be_written() {
    let told = problem("spiffe-x509", "  bundle: {file: bundle.json}");
    assert!(told.contains("trustDomain"), "{told}");
    let told = problem("spiffe-x509", "  trustDomain: example.org");
    assert!(told.contains("bundle"), "{told}");
    let told = problem(
        "spiffe-jwt",
        "  trustDomain: Example.org\n  bundle: {file: b}",
    );
    assert!(told.contains("example.org"), "{told}");
}

#[test]
fn exactly_one_way_to_the_bundle_is_written() {
    for bundle in [
        "{}",
        "{file: b, url: \"https://a.example\"}",
        "{url: \"https://a.example\", endpointSpiffeId: \"spiffe://example.org/a\"}",
        "{endpointSpiffeId: \"spiffe://example.org/a\", endpointBundleFile: b}",
        "{url: \"http://127.0.0.1/b\"}",
        "{url: \"https://u:p@a.example/b\"}",
        "{workloadApi: \"tcp://127.0.0.1:8081\"}",
        "{workloadApi: run/agent.sock}",
        "{url: \"https://a.example\", endpointSpiffeId: \"spiffe://example.org\", endpointBundleFile: b}",
    ] {
        let fields = format!("  trustDomain: example.org\n  bundle: {bundle}");
        let told = problem("spiffe-x509", &fields);
        assert!(told.contains("set.yaml"), "{bundle}: {told}");
    }
}

#[test]
fn fields_of_other_kinds_are_unknown() {
    for field in [
        "issuer: https://a.example",
        "algorithms: [RS256]",
        "spiffeId: a",
        "keys: {discovery: true}",
    ] {
        let fields = format!("  trustDomain: example.org\n  bundle: {{file: b}}\n  {field}");
        let told = problem("spiffe-jwt", &fields);
        assert!(told.contains(field.split(':').next().unwrap()), "{told}");
    }
    let fields = "  trustDomain: example.org\n  bundle: {file: b}\n  audience: a";
    assert!(
        problem("spiffe-x509", fields).contains("audience"),
        "a certificate has none"
    );
    let fields = "  trustDomain: example.org\n  bundle: {file: b}\n  caFile: ca.pem";
    assert!(
        problem("spiffe-jwt", fields).contains("caFile"),
        "for https_web alone"
    );
}

#[test]
fn a_provider_vouches_by_what_its_kind_of_svid_proves() {
    let with = |name: &str| {
        format!(
            "  trustDomain: example.org\n  bundle: {{file: b}}\n  match: [{{{name}: \"/a/*\"}}]"
        )
    };
    let set = compiled(&provider("spiffe-x509", &with("spiffe.path")));
    assert_eq!(set.trust_providers()[0].only.len(), 1);
    assert!(problem("spiffe-x509", &with("claims.team")).contains("claims.team"));
    assert!(problem("spiffe-jwt", &with("k8s.namespace")).contains("k8s.namespace"));
    let set = compiled(&provider("spiffe-jwt", &with("claims.team")));
    assert_eq!(set.trust_providers()[0].only.len(), 1);
}

#[test]
fn a_workload_identity_names_a_spiffe_id() {
    let identity = |id: &str| {
        let fields = "  trustDomain: example.org\n  bundle: {file: b}";
        provider("spiffe-x509", fields)
            + &format!(
                "apiVersion: attache.dev/v1\nkind: WorkloadIdentity\nmetadata: {{name: payment}}\nspec:\n  attestation: {{type: spiffe-x509, spiffeId: \"{id}\"}}\n"
            )
    };
    let _ = compiled(&identity("spiffe://example.org/ns/shop/sa/payment"));
    assert!(
        refused(&identity("spiffe://Example.org/a"))
            .to_string()
            .contains("Example.org")
    );
}

/// A cluster and the SVIDs of its mesh in one trust domain, each with what it says of the other.
fn mesh(of_cluster: &str, of_svids: &str) -> String {
    let cluster = "apiVersion: attache.dev/v1\nkind: TrustProvider\nmetadata: {name: cluster}\nspec:\n  \
                   type: kubernetes-service-account\n  issuer: https://cluster.example\n";
    let svids = "  trustDomain: cluster.local\n  bundle: {file: b}\n";
    format!("{cluster}{of_cluster}\n---\n")
        + &provider("spiffe-x509", &format!("{svids}{of_svids}"))
}

#[test]
fn a_cluster_and_its_mesh_share_identities_if_both_say_so() {
    let said = |name: &str| format!("  sharesIdentitiesWith: [{name}]");
    let set = compiled(&mesh(&said("spiffe-x509"), &said("cluster")));
    let told: Vec<_> = set
        .trust_providers()
        .iter()
        .map(|one| one.shares_identities_with.as_slice())
        .collect();
    assert_eq!(told, [["spiffe-x509"], ["cluster"]]);
    // Whoever may write one of the documents only, or none, gains no other's workloads by it.
    for (of_cluster, of_svids) in [
        (String::new(), String::new()),
        (said("spiffe-x509"), String::new()),
        (String::new(), said("cluster")),
    ] {
        let problems = refused(&mesh(&of_cluster, &of_svids));
        let codes: Vec<_> = problems.iter().map(|problem| problem.code).collect();
        assert_eq!(codes, [Code::ProviderCollision], "{problems}");
    }
}

#[test]
fn what_a_provider_shares_identities_with_is_one_document_and_no_other_of_that_name() {
    let of = |namespace: &str, text: String| {
        text.replace(
            "{name: spiffe-x509}",
            &format!("{{name: mesh, namespace: {namespace}}}"),
        )
    };
    let cluster = "  sharesIdentitiesWith: [platform/mesh]";
    let svids = "  sharesIdentitiesWith: [cluster]";
    let set = compiled(&of("platform", mesh(cluster, svids)));
    let cluster_says = &set.trust_providers()[0].shares_identities_with;
    assert_eq!(cluster_says.as_slice(), ["platform/mesh"]);
    let told = refused(&of("team", mesh(cluster, svids))).to_string();
    assert!(told.contains("platform/mesh"), "{told}");
}

#[test]
fn sharing_with_one_provider_is_not_sharing_with_another() {
    let third = "---\napiVersion: attache.dev/v1\nkind: TrustProvider\nmetadata: {name: forge}\nspec:\n  type: oidc\n  \
                 issuer: https://forge.example\n  spiffeId: ns/{claims.ns}/sa/{claims.sa}\n  \
                 sharesIdentitiesWith: [cluster]\n";
    let said = |name: &str| format!("  sharesIdentitiesWith: [{name}]");
    let set = mesh(&said("spiffe-x509"), &said("cluster"));
    let problems = refused(&(set + third));
    let codes: Vec<_> = problems.iter().map(|problem| problem.code).collect();
    // One-sided to the cluster, and unsaid to the mesh.
    assert_eq!(codes, [Code::ProviderCollision; 2], "{problems}");
}

#[test]
fn the_mesh_that_the_page_shows_is_sound() {
    let page = include_str!("../../../../docs/spiffe.md");
    let (_, section) = page.split_once("\n## A mesh and its cluster").unwrap();
    let (_, example) = section.split_once("```yaml\n").unwrap();
    let (example, _) = example.split_once("```").unwrap();
    assert_eq!(compiled(example).trust_providers().len(), 2);
}

#[test]
fn so_many_providers_that_comparing_them_takes_long_are_refused() {
    let provider = |number: usize| {
        format!(
            "apiVersion: attache.dev/v1\nkind: TrustProvider\nmetadata: {{name: p{number}}}\n\
             spec: {{type: oidc, issuer: https://p{number}.example, trustDomain: p{number}.example}}\n---\n"
        )
    };
    let set = |count: usize| (0..count).map(provider).collect::<String>();
    assert_eq!(compiled(&set(1000)).trust_providers().len(), 1000);
    let problems = refused(&set(1002));
    let codes: Vec<Code> = problems.iter().map(|problem| problem.code).collect();
    assert_eq!(codes, [Code::OutOfRange; 2], "{problems}");
}
