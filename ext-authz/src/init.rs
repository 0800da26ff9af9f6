//! `attache init DIR`: a commented starting set for a user's own service: configuration, policies, Envoy
//! bootstrap. The bootstrap is the repository's own, cut to one target.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, bail, ensure};
use attache_core::request::Host;
use clap::Args;

const CONFIGURATION: &str = include_str!("init/attache.yaml");
const POLICIES: &str = include_str!("init/policies.yaml");
const BOOTSTRAP: &str = include_str!("../../envoy/egress-gateway.yaml");

/// Write a commented configuration, policies and an Envoy bootstrap for your own service.
///
/// Nothing that exists is overwritten. Exit codes: 0 written, 1 not.
#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// The folder to write; made if missing.
    directory: PathBuf,
    /// The host that your service calls.
    #[arg(long, default_value = "api.example.com")]
    target: String,
    /// The namespace of your service's pods.
    #[arg(long, default_value = "default")]
    namespace: String,
    /// The ServiceAccount of your service's pods.
    #[arg(long, default_value = "my-service")]
    service_account: String,
    /// The issuer of the cluster's ServiceAccount tokens.
    #[arg(long, default_value = "https://kubernetes.default.svc.cluster.local")]
    cluster_issuer: String,
}

pub(crate) fn run(args: &InitArgs) -> anyhow::Result<ExitCode> {
    let target = Host::parse(&args.target).with_context(|| {
        format!(
            "--target {:?}: write a host name such as api.example.com",
            args.target
        )
    })?;
    for (option, name) in [
        ("--namespace", &args.namespace),
        ("--service-account", &args.service_account),
    ] {
        ensure!(
            is_name(name),
            "{option} {name:?}: write a Kubernetes name: a-z, 0-9 and `-`"
        );
    }
    let issuer = &args.cluster_issuer;
    let plain = issuer.bytes().all(|byte| byte.is_ascii_graphic()) && issuer.starts_with("http");
    ensure!(plain, "--cluster-issuer {issuer:?}: write a URL");
    let directory = std::path::absolute(&args.directory)?;
    let shown = directory.display().to_string();
    // It stands in YAML and in commands.
    let plain = |letter: char| letter.is_alphanumeric() || " /._-+@~'".contains(letter);
    ensure!(
        shown.chars().all(plain),
        "{shown:?}: name a folder without special characters"
    );
    let files = [
        (
            "attache.yaml",
            fill(CONFIGURATION, args, &target, &directory),
        ),
        (
            "policies/policies.yaml",
            fill(POLICIES, args, &target, &directory),
        ),
        ("envoy.yaml", bootstrap(&target, &directory)?),
    ];
    let existing: Vec<_> = files
        .iter()
        .map(|(name, _)| directory.join(name))
        .filter(|path| path.exists())
        .collect();
    if !existing.is_empty() {
        let existing: Vec<_> = existing
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        bail!(
            "nothing written, for these exist: {}; remove them or name another folder",
            existing.join(", ")
        );
    }
    for (name, text) in &files {
        write(&directory.join(name), text)?;
    }
    crate::print(&next(&directory, &target))
}

/// A DNS label (RFC 1123), as Kubernetes names namespaces and ServiceAccounts.
fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&name.len())
        && name.bytes().all(plain)
        && !name.starts_with('-')
        && !name.ends_with('-')
}

fn fill(template: &str, args: &InitArgs, target: &Host, directory: &Path) -> String {
    template
        .replace("@DIR@", &directory.display().to_string())
        .replace("@NAMESPACE@", &args.namespace)
        .replace("@SERVICE_ACCOUNT@", &args.service_account)
        .replace("@CLIENT@", &args.service_account)
        .replace("@SERVER@", &target.as_str().replace(['.', '_', ':'], "-"))
        .replace("@TARGET@", target.as_str())
        .replace("@ISSUER@", &args.cluster_issuer)
}

/// The repository's egress gateway, for one target and with its sockets in `directory`.
fn bootstrap(target: &Host, directory: &Path) -> anyhow::Result<String> {
    let first_of_two = cut(
        BOOTSTRAP,
        "            - name: internal-api\n",
        "\n  clusters:\n",
    )
    .and_then(|text| cut(&text, "  - name: internal-api\n", ""))
    .context("the built-in bootstrap has no second target to cut")?;
    let data = directory.join("data");
    Ok(first_of_two
        .replace("api.stripe.com", target.as_str())
        .replace("stripe-api", "target")
        .replace("/run/attache/", &format!("{}/", data.display())))
}

/// `text` without what lies from `from` up to `to` (or to its end, if `to` is empty).
fn cut(text: &str, from: &str, to: &str) -> Option<String> {
    let (before, rest) = text.split_once(from)?;
    let after = if to.is_empty() {
        ""
    } else {
        rest.get(rest.find(to)?..)?
    };
    Some(format!("{}\n{after}", before.trim_end()))
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let context = || format!("cannot write {}", path.display());
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(context)?;
    }
    let created: io::Result<fs::File> = fs::File::create_new(path);
    created
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(context)
}

fn next(directory: &Path, target: &Host) -> String {
    let (shown, target) = (directory.display().to_string(), target.as_str());
    let bare = |letter: char| letter.is_ascii_alphanumeric() || "/._-+@~".contains(letter);
    // As a shell takes it.
    let directory = if shown.chars().all(bare) {
        shown
    } else {
        format!("'{}'", shown.replace('\'', r"'\''"))
    };
    format!(
        "\
Wrote {directory}: attache.yaml, policies/policies.yaml, envoy.yaml. Next:

  attache validate --config {directory}/attache.yaml {directory}/policies
  attache test --config {directory}/attache.yaml {directory}/policies
  attache serve --config {directory}/attache.yaml
  envoy -c {directory}/envoy.yaml
  attache status --config {directory}/attache.yaml

Then ask through Envoy, with a token of your pod (kubectl create token SERVICE_ACCOUNT --audience attache):

  curl -H \"x-attache-evidence: $TOKEN\" -x http://127.0.0.1:10000 http://{target}/
  attache audit --config {directory}/attache.yaml
"
    )
}

#[cfg(test)]
mod tests;
