use std::path::PathBuf;

use attache_core::spiffe_id::TrustDomain;
use attache_credentials::{VaultRoot, VaultRoots};
use attache_policy::{Settings, Source, compile, document::Engine};

use super::*;

fn judged(key: &str, roots: &SecretRoots) -> Result<(), String> {
    let documents = format!(
        r#"
apiVersion: attache.dev/v1
kind: TrustProvider
metadata: {{ name: cluster }}
spec: {{ type: kubernetes-service-account, issuer: "https://cluster.example.com" }}
---
apiVersion: attache.dev/v1
kind: ClientWorkload
metadata: {{ name: web }}
spec: {{ match: [ {{ k8s.namespace: shop }} ] }}
---
apiVersion: attache.dev/v1
kind: ServerWorkload
metadata: {{ name: maps }}
spec: {{ host: maps.example.com }}
---
apiVersion: attache.dev/v1
kind: CredentialProvider
metadata: {{ name: maps-key }}
spec: {{ type: api-key, hosts: [maps.example.com], key: "{key}" }}
---
apiVersion: attache.dev/v1
kind: AccessPolicy
metadata: {{ name: web-to-maps }}
spec: {{ effect: allow, client: web, server: maps, trustProviders: [cluster], credentialProvider: maps-key, actions: [read] }}
"#
    );
    let source = Source {
        name: "it.yaml".to_owned(),
        text: documents.into_bytes(),
    };
    let settings = Settings {
        trust_domain: TrustDomain::parse("cluster.local").unwrap(),
        trust_providers: Vec::new(),
    };
    let compiled = compile(&[source], &settings).unwrap_or_else(|problems| panic!("{problems}"));
    check(&compiled, roots).map_err(|foreign| foreign.to_string())
}

fn root(engine: Engine, mount: &str, path: Option<&str>) -> VaultRoot {
    VaultRoot {
        engine,
        mount: mount.to_owned(),
        path: path.map(str::to_owned),
    }
}

#[test]
fn documents_refer_to_secrets_under_the_configured_roots_alone() {
    let roots = SecretRoots {
        base: PathBuf::from("/etc/attache"),
        folders: vec![PathBuf::from("/etc/attache/secrets")],
        variables: vec!["ATTACHE_SECRET_".to_owned()],
        mounted: PathBuf::from("/var/run/secrets/attache"),
        vault: VaultRoots::Below(vec![
            root(Engine::KvV2, "kv", Some("attache")),
            root(Engine::KvV1, "old/kv", None),
        ]),
    };
    for allowed in [
        "file:secrets/maps",
        "file:/etc/attache/secrets/a/b",
        "env:ATTACHE_SECRET_MAPS",
        "kubernetes:maps/key",
        "vault:kv/attache/maps#key",
        "vault:kv/attache#key",
        "vault:old/kv/maps#key",
    ] {
        assert_eq!(judged(allowed, &roots), Ok(()), "{allowed}");
    }
    for foreign in [
        "file:/etc/shadow",
        "file:attache.yaml",
        "file:secrets-too/maps",
        "env:PATH",
        "env:AWS_SECRET_ACCESS_KEY",
        "env:ATTACHE_SECRET_",
        "vault:kv/maps#key",
        "vault:kv/attache-too/maps#key",
        "vault:kv/data/attache/maps#key",
        "vault:old/maps#key",
        "vault:sys/seal#key",
    ] {
        let refused = judged(foreign, &roots).unwrap_err();
        let told = ["is not for documents", foreign, "it.yaml"];
        assert!(told.iter().all(|word| refused.contains(word)), "{refused}");
    }
}

#[test]
fn without_a_vault_and_with_the_path_of_its_api_the_way_out_is_told() {
    let none = SecretRoots::nothing();
    let told = judged("vault:kv/maps#key", &none).unwrap_err();
    assert!(told.contains("secrets.vault"), "{told}");
    let roots = SecretRoots {
        vault: VaultRoots::Below(vec![root(Engine::KvV2, "kv", Some("maps"))]),
        ..SecretRoots::nothing()
    };
    let told = judged("vault:kv/data/maps#key", &roots).unwrap_err();
    assert!(told.contains("without `data/`"), "{told}");
    let told = judged("vault:kv/shop#key", &roots).unwrap_err();
    assert!(
        told.contains("kv/maps") && told.contains("secrets.vault.roots"),
        "{told}"
    );
    assert_eq!(
        judged("vault:kv/shop#key", &SecretRoots::everything()),
        Ok(())
    );
}
