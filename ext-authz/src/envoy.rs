//! `attache envoy DIR`: the part of Envoy's configuration that depends on policies: which headers Attaché may set
//! and remove.

use std::{collections::BTreeSet, path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use attache_core::request::OVERRIDES;
use attache_edge::settings::OverrideHeaders;
use attache_policy::{Compiled, document::Carrier};
use clap::Args;

use crate::{config::Config, explain::directory};

/// What Attaché touches of its own accord: evidence in our header, and imitations of our headers.
const OWN: &str = "x-attache-[a-z0-9-]+";

/// Print Envoy's ext_authz filter for a directory of policies, with the headers that they need.
///
/// `decoder_header_mutation_rules` lets Attaché set and remove those headers alone that the policies inject or that
/// carry evidence; anything else stops the request with 500. Print it again when policies put a credential into a
/// header that is not in it yet: `--check FILE` tells whether a bootstrap needs that.
///
/// Exit codes: 0 printed, or the file allows every header; 1 it lacks some, or the policies are refused; 2 wrong
/// usage.
#[derive(Debug, Args)]
pub(crate) struct EnvoyArgs {
    /// The directory of policies.
    directory: PathBuf,
    /// The configuration that the edge runs with: it says in which headers evidence comes.
    #[arg(long, env = "ATTACHE_CONFIG")]
    config: Option<PathBuf>,
    /// Print the regular expression alone.
    #[arg(long, conflicts_with = "check")]
    expression: bool,
    /// Tell whether this bootstrap of Envoy has the expression; print nothing else.
    #[arg(long, value_name = "FILE")]
    check: Option<PathBuf>,
}

pub(crate) fn run(args: &EnvoyArgs) -> anyhow::Result<ExitCode> {
    let config = args.config.as_deref().map(Config::load).transpose()?;
    let source = directory::source(&args.directory, config.as_ref())?;
    let (compiled, _providers) = source.load()?;
    let expression = expression(&touched(&compiled, config.as_ref()));
    if let Some(file) = &args.check {
        return check(file, &expression);
    }
    if args.expression {
        return crate::print(&format!("{expression}\n"));
    }
    crate::print(&filter(&expression, carries_in_query(&compiled)))
}

/// The headers that Attaché sets or removes, beside [`OWN`].
fn touched(compiled: &Compiled, config: Option<&Config>) -> BTreeSet<String> {
    let injected = compiled.injectable().iter().filter_map(Carrier::header);
    let mut touched: BTreeSet<String> = injected.map(|name| name.as_str().to_owned()).collect();
    for listener in config.iter().flat_map(|config| &config.edge.listeners) {
        touched.extend(listener.evidence.headers().map(str::to_owned));
        if listener.override_headers == OverrideHeaders::Strip {
            touched.extend(OVERRIDES.map(str::to_owned));
        }
    }
    touched.retain(|name| !name.starts_with("x-attache-"));
    touched
}

/// Names of headers are letters, digits and `-`, which mean themselves in a regular expression.
fn expression(touched: &BTreeSet<String>) -> String {
    let mut names: Vec<&str> = touched.iter().map(String::as_str).collect();
    names.push(OWN);
    format!("^({})$", names.join("|"))
}

fn carries_in_query(compiled: &Compiled) -> bool {
    let mut injectable = compiled.injectable().iter();
    injectable.any(|carrier| carrier.parameter().is_some())
}

fn check(file: &std::path::Path, expression: &str) -> anyhow::Result<ExitCode> {
    let text = std::fs::read_to_string(file);
    let text = text.with_context(|| format!("cannot read {}", file.display()))?;
    if text.contains(&format!("regex: \"{expression}\"")) {
        return crate::print("the bootstrap allows the headers of the policies, and no other\n");
    }
    crate::print(&format!(
        "allow_expression is not that of the policies; write\n  allow_expression: {{ regex: \"{expression}\" }}\n"
    ))?;
    Ok(ExitCode::FAILURE)
}

/// As in the bootstraps under `envoy/`, which docs/envoy.md explains.
fn filter(expression: &str, carries_in_query: bool) -> String {
    let about_queries = if carries_in_query {
        "    # Policies put credentials into queries: leave `validate_mutations` out, which refuses encoded values, and log\n    \
         # no query (docs/envoy.md).\n"
    } else {
        ""
    };
    format!(
        "\
- name: envoy.filters.http.ext_authz
  typed_config:
    \"@type\": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz
    transport_api_version: V3
    stat_prefix: attache
    grpc_service: {{ envoy_grpc: {{ cluster_name: attache }}, timeout: 0.5s }}
    # No answer from Attaché is never a permit.
    failure_mode_allow: false
    status_on_error: {{ code: ServiceUnavailable }}
    encode_raw_headers: true
    include_peer_certificate: true
    include_tls_session: true
{about_queries}    \
    # What Attaché may set or remove: every injectable header, evidence, and our own.
    decoder_header_mutation_rules:
      disallow_all: true
      allow_expression: {{ regex: \"{expression}\" }}
      disallow_is_error: true
"
    )
}

#[cfg(test)]
mod tests;
