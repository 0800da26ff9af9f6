//! Which crate may depend on which: a new edge is a visible decision. ARCHITECTURE.md says why.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};

/// Each crate and the crates of ours that it may depend on, dev-dependencies apart.
const ALLOWED: [(&str, &[&str]); 13] = [
    ("attache-core", &[]),
    ("attache-two-headers", &[]),
    ("chrono-tz", &[]),
    ("attache-proto", &[]),
    ("attache-policy", &["attache-core"]),
    ("attache-outbound", &["attache-core"]),
    (
        "attache-trust",
        &["attache-core", "attache-outbound", "attache-proto"],
    ),
    ("attache-issuer", &["attache-core", "attache-trust"]),
    (
        "attache-credentials",
        &["attache-core", "attache-outbound", "attache-policy"],
    ),
    (
        "attache-edge",
        &[
            "attache-core",
            "attache-credentials",
            "attache-policy",
            "attache-proto",
            "attache-trust",
        ],
    ),
    ("attache-filter", &["attache-core", "attache-proto"]),
    (
        "attache-control",
        &[
            "attache-core",
            "attache-issuer",
            "attache-policy",
            "attache-proto",
            "attache-trust",
        ],
    ),
    (
        "attache",
        &[
            "attache-control",
            "attache-core",
            "attache-credentials",
            "attache-edge",
            "attache-issuer",
            "attache-outbound",
            "attache-policy",
            "attache-proto",
            "attache-trust",
        ],
    ),
];

/// What must not come in by any way: I/O and runtimes where there are none.
const KEPT_OUT: [(&str, &[&str]); 2] = [
    (
        "attache-core",
        &[
            "tokio",
            "hyper",
            "reqwest",
            "aws-lc-rs",
            "rustix",
            "getrandom",
        ],
    ),
    (
        "attache-policy",
        &["tokio", "hyper", "reqwest", "aws-lc-rs", "rustix"],
    ),
];

fn metadata() -> Result<Metadata> {
    let manifest = attache_tests::workspace::root().join("Cargo.toml");
    Ok(MetadataCommand::new()
        .manifest_path(manifest)
        .other_options(vec!["--offline".into()])
        .exec()?)
}

fn ours(package: &Package) -> BTreeSet<&str> {
    package
        .dependencies
        .iter()
        .filter(|dependency| dependency.kind != DependencyKind::Development)
        .map(|dependency| dependency.name.as_str())
        .filter(|name| name.starts_with("attache"))
        .collect()
}

#[test]
fn crates_depend_on_each_other_only_as_the_architecture_allows() -> Result<()> {
    let metadata = metadata()?;
    let allowed: BTreeMap<&str, BTreeSet<&str>> = ALLOWED
        .iter()
        .map(|(name, to)| (*name, to.iter().copied().collect()))
        .collect();
    for package in metadata.workspace_packages() {
        let name = package.name.as_str();
        if name == "attache-tests" {
            continue;
        }
        let allowed = allowed.get(name);
        assert!(
            allowed.is_some(),
            "{name} is not in the table: add it with what it may depend on"
        );
        let actual = ours(package);
        let unexpected: Vec<_> = actual
            .difference(allowed.unwrap_or(&BTreeSet::new()))
            .copied()
            .collect();
        assert!(
            unexpected.is_empty(),
            "{name} may not depend on {unexpected:?}"
        );
    }
    Ok(())
}

#[test]
fn nothing_depends_on_the_tests() -> Result<()> {
    for package in metadata()?.workspace_packages() {
        let used = package
            .dependencies
            .iter()
            .any(|dependency| dependency.name == "attache-tests");
        assert!(!used, "{}", package.name);
    }
    Ok(())
}

#[test]
fn the_kernel_and_policy_reach_no_network_no_clock_and_no_runtime() -> Result<()> {
    let metadata = metadata()?;
    let resolve = metadata
        .resolve
        .as_ref()
        .ok_or_else(|| anyhow::anyhow!("no resolve"))?;
    for (name, kept_out) in KEPT_OUT {
        let root = metadata
            .packages
            .iter()
            .find(|package| package.name.as_str() == name);
        let root = root.ok_or_else(|| anyhow::anyhow!("no package {name}"))?;
        let mut open = vec![root.id.clone()];
        let mut seen = BTreeSet::new();
        while let Some(id) = open.pop() {
            let Some(node) = resolve.nodes.iter().find(|node| node.id == id) else {
                continue;
            };
            for dependency in &node.deps {
                let normal = dependency
                    .dep_kinds
                    .iter()
                    .any(|kind| kind.kind == DependencyKind::Normal);
                if normal && seen.insert(dependency.name.replace('_', "-")) {
                    open.push(dependency.pkg.clone());
                }
            }
        }
        assert!(!seen.is_empty(), "{name}");
        let reached: Vec<_> = kept_out.iter().filter(|out| seen.contains(**out)).collect();
        assert!(reached.is_empty(), "{name} reaches {reached:?}");
    }
    Ok(())
}
