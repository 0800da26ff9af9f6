//! The manifests for Istio: what they say of the filter runs in Envoy, word by word, and nothing in them undoes what
//! the filter relies on.

use std::{fs, net::SocketAddr};

use anyhow::{Context as _, Result};
use attache_tests::{
    authority::Authority,
    bootstrap::{Bootstrap, documents},
    envoy::Envoy,
    filter, workspace,
};
use serde_json::Value;

const MANIFESTS: [&str; 6] = [
    "ext-authz-inbound.yaml",
    "ext-authz-outbound.yaml",
    "filter-inbound.yaml",
    "filter-outbound.yaml",
    "targets-over-tls.yaml",
    "wasm-plugin.yaml",
];

/// The filter in a bootstrap.
const FILTER: &str =
    "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config/http_filters/0";

fn manifest(name: &str) -> Result<Vec<Value>> {
    let path = workspace::root().join("istio").join(name);
    documents(&fs::read_to_string(&path)?).with_context(|| format!("istio/{name}"))
}

fn patches(name: &str) -> Result<Vec<Value>> {
    let documents = manifest(name)?;
    let patches = documents
        .first()
        .and_then(|one| one["spec"]["configPatches"].as_array().cloned());
    patches.with_context(|| format!("istio/{name} patches nothing"))
}

/// The filter as an EnvoyFilter inserts it.
fn inserted(name: &str) -> Result<Value> {
    let patches = patches(name)?;
    let filter = patches
        .iter()
        .find(|patch| patch["applyTo"] == "HTTP_FILTER");
    Ok(filter.context("no HTTP_FILTER")?["patch"]["value"].clone())
}

fn text_of(filter: &Value) -> Result<&str> {
    let text = filter
        .pointer("/typed_config/config/configuration/value")
        .and_then(Value::as_str);
    text.context("no configuration")
}

/// Whether Envoy takes this text as the plugin's configuration.
async fn runs(bootstrap: &str, configuration: &str) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let authority = Authority::new("the tests' own authority")?;
    let roots = directory.path().join("ca.crt");
    authority.write(&roots)?;
    let own = authority
        .issue(&["orders.example"])?
        .write(directory.path(), "service")?;
    let wasm = filter::wasm().await?;
    let (socket, nowhere) = (
        directory.path().join("s"),
        SocketAddr::from(([127, 0, 0, 1], 9)),
    );
    let bootstrap = match bootstrap {
        "filter-inbound.yaml" => Bootstrap::filter_inbound(&wasm, &socket, &own, nowhere)?,
        _ => Bootstrap::filter_outbound(&wasm, &socket, &roots, nowhere)?,
    };
    let place = format!("{FILTER}/typed_config/config/configuration/value");
    Envoy::validate(&bootstrap.put(&place, Value::from(configuration))?)
}

#[tokio::test]
async fn the_filters_configurations_run_in_envoy() -> Result<()> {
    for name in ["filter-inbound.yaml", "filter-outbound.yaml"] {
        let filter = inserted(name)?;
        let configuration: Value = serde_json::from_str(text_of(&filter)?)?;
        runs(name, &configuration.to_string()).await?;
    }
    let plugin = manifest("wasm-plugin.yaml")?;
    let configuration = plugin[0]["spec"]["pluginConfig"].to_string();
    runs("filter-inbound.yaml", &configuration).await
}

#[test]
fn the_filter_reloads_has_a_vm_of_its_own_and_stands_in_listed_listeners_only() -> Result<()> {
    for name in ["filter-inbound.yaml", "filter-outbound.yaml"] {
        let config = inserted(name)?["typed_config"]["config"].clone();
        let bootstrap = Bootstrap::read(name)?.settings()?;
        let ours = bootstrap
            .pointer(&format!("{FILTER}/typed_config/config"))
            .context("no filter")?;
        for member in [
            "name",
            "failure_policy",
            "reload_config",
            "allow_on_headers_stop_iteration",
            "vm_config",
        ] {
            assert_eq!(config[member], ours[member], "istio/{name}: {member}");
        }
        assert_eq!(config["failure_policy"], "FAIL_RELOAD");
        assert_eq!(config["vm_config"]["vm_id"], "attache-filter-v1");
    }
    for name in [
        "filter-inbound.yaml",
        "filter-outbound.yaml",
        "ext-authz-outbound.yaml",
    ] {
        for patch in patches(name)?
            .iter()
            .filter(|patch| patch["applyTo"] == "HTTP_FILTER")
        {
            assert!(
                patch["match"]["listener"]["portNumber"].is_u64(),
                "istio/{name}"
            );
        }
    }
    assert_eq!(
        manifest("wasm-plugin.yaml")?[0]["spec"]["failStrategy"],
        "FAIL_RELOAD"
    );
    Ok(())
}

#[test]
fn ext_authz_is_what_the_sidecars_bootstrap_has() -> Result<()> {
    let ours = Bootstrap::read("sidecar.yaml")?.settings()?;
    let ours = ours.pointer(FILTER).context("no filter")?;
    assert_eq!(inserted("ext-authz-outbound.yaml")?, *ours);
    let text = fs::read_to_string(workspace::root().join("istio/ext-authz-inbound.yaml"))?;
    for line in ["timeout: 0.5s", "statusOnError: \"503\"", "failOpen: false"] {
        assert!(text.contains(line), "{line}");
    }
    Ok(())
}

/// Every key of every object, wherever it stands.
fn keys(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (key, value) in members {
                found.push(key.clone());
                keys(value, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| keys(item, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn nothing_in_them_moves_or_copies_a_request_behind_a_decision() -> Result<()> {
    let mut names = Vec::new();
    for entry in fs::read_dir(workspace::root().join("istio"))? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    assert_eq!(names, MANIFESTS);
    for name in MANIFESTS {
        let mut found = Vec::new();
        for document in manifest(name)? {
            keys(&document, &mut found);
        }
        for forbidden in [
            "mirror",
            "mirrors",
            "request_mirror_policies",
            "internal_redirect_policy",
            "clear_route_cache",
            "headers",
            "failOpen",
        ] {
            assert!(
                !found.iter().any(|key| key == forbidden),
                "istio/{name}: {forbidden}"
            );
        }
        let text = fs::read_to_string(workspace::root().join("istio").join(name))?;
        assert!(text.starts_with("# Shows: "), "istio/{name}");
        assert!(
            !text.contains("PassthroughCluster") && !text.contains("ORIGINAL_DST"),
            "istio/{name}"
        );
    }
    Ok(())
}

#[test]
fn a_target_proves_its_name() -> Result<()> {
    let documents = manifest("targets-over-tls.yaml")?;
    let host = &documents[0]["spec"]["hosts"][0];
    let tls = &documents[1]["spec"]["trafficPolicy"]["portLevelSettings"][0]["tls"];
    assert_eq!(tls["mode"], "SIMPLE");
    assert_eq!(tls["sni"], *host);
    assert_eq!(tls["subjectAltNames"][0], *host);
    assert_eq!(tls["caCertificates"], "system");
    Ok(())
}
