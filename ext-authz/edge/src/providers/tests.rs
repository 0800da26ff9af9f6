use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

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

#[test]
fn a_link_that_leads_out_of_the_roots_is_refused_and_one_within_them_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let (root, secret) = (folder.path().join("root"), folder.path().join("secret"));
    fs::create_dir_all(root.join("team")).unwrap();
    for file in [&secret, &root.join("keys")] {
        fs::write(file, "{}").unwrap();
    }
    symlink(&secret, root.join("outside")).unwrap();
    symlink("keys", root.join("inside")).unwrap();
    let roots = [root.clone()];
    let refused = |name: &str| {
        let file = root.join(name).display().to_string();
        of(&compiled(&file), &roots).is_err()
    };
    assert!(refused("outside"));
    assert!(refused("team/../../secret"));
    assert!(!refused("inside"));
    assert!(!refused("team/../keys"));
    let provider = of(
        &compiled(&root.join("inside").display().to_string()),
        &roots,
    );
    // For what the link leads to by the time that it is read.
    assert_eq!(provider.unwrap()[0].file_roots.as_deref(), Some(&roots[..]));
}

fn svids(bundle: &str) -> Compiled {
    let text = format!(
        "apiVersion: attache.dev/v1\nkind: TrustProvider\nmetadata: {{ name: mesh }}\nspec:\n  type: spiffe-x509\n  trustDomain: example.org\n  bundle: {{ {bundle} }}\n"
    );
    let source = Source {
        name: "/etc/attache/policies/trust.yaml".to_owned(),
        text: text.into(),
    };
    let settings = Settings {
        trust_domain: TrustDomain::parse("cluster.local").unwrap(),
        trust_providers: vec![],
    };
    attache_policy::compile(&[source], &settings).unwrap()
}

#[test]
fn a_document_cannot_have_the_server_read_any_bundle_or_call_any_socket() {
    let roots = [
        PathBuf::from("/etc/attache/policies"),
        PathBuf::from("/run/spire"),
    ];
    let endpoint =
        "url: https://a.example, endpointSpiffeId: spiffe://example.org/a, endpointBundleFile:";
    for inside in [
        "file: bundle.json".to_owned(),
        "workloadApi: unix:///run/spire/agent.sock".to_owned(),
        format!("{endpoint} first.json"),
    ] {
        let providers = of(&svids(&inside), &roots).unwrap();
        assert!(attache_trust::check(&providers).is_ok(), "{inside}");
        assert_eq!(providers[0].trust_domain.as_str(), "example.org");
    }
    for outside in [
        "file: /etc/shadow".to_owned(),
        "workloadApi: /run/docker.sock".to_owned(),
        format!("{endpoint} /etc/shadow"),
    ] {
        let refused = of(&svids(&outside), &roots).unwrap_err().to_string();
        assert!(refused.contains("file_roots"), "{refused}");
    }
}
