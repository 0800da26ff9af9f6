use std::path::{Path, PathBuf};

use attache_core::spiffe_id::TrustDomain;
use attache_policy::{Compiled, Settings, Source};
use attache_trust::KeySource;

use super::of;

fn compiled(file: &str) -> Compiled {
    let text = format!(
        "apiVersion: attache.dev/v1\nkind: TrustProvider\nmetadata: {{ name: cluster }}\nspec:\n  type: kubernetes-service-account\n  issuer: https://cluster.example\n  keys: {{ jwksFile: {file} }}\n"
    );
    let source = Source {
        name: "/etc/attache/policies/trust.yaml".to_owned(),
        text: text.into(),
    };
    let trust_domain = TrustDomain::parse("cluster.local").unwrap();
    attache_policy::compile(
        &[source],
        &Settings {
            trust_domain,
            trust_providers: vec![],
        },
    )
    .unwrap()
}

#[test]
fn a_relative_file_starts_at_the_folder_of_its_document() {
    let roots = [PathBuf::from("/etc/attache/policies")];
    let providers = of(&compiled("keys/cluster.jwks"), &roots).unwrap();
    let expected = Path::new("/etc/attache/policies/keys/cluster.jwks");
    assert_eq!(providers[0].keys, KeySource::File(expected.to_path_buf()));
}

#[test]
fn a_document_cannot_have_the_server_read_any_file() {
    let roots = [
        PathBuf::from("/etc/attache/policies"),
        PathBuf::from("/var/run/secrets"),
    ];
    assert!(of(&compiled("/var/run/secrets/cluster.jwks"), &roots).is_ok());
    for file in [
        "/etc/shadow",
        "../sealing.key",
        "/var/run/secrets/../../../etc/shadow",
        "/var/run/secretsx/a",
    ] {
        let refused = of(&compiled(file), &roots).unwrap_err().to_string();
        assert!(
            refused.contains("trust.yaml") && refused.contains("file_roots"),
            "{refused}"
        );
    }
}
