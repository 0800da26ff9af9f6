//! Variables that name a proxy and do not count: whoever set them should know.

use std::ffi::OsString;

use attache_outbound::{Proxy, Reach};
use tracing::warn;

/// Those that HTTP clients read.
const VARIABLES: [&str; 6] = [
    "HTTPS_PROXY",
    "https_proxy",
    "HTTP_PROXY",
    "http_proxy",
    "ALL_PROXY",
    "all_proxy",
];

/// Warns of a proxy that the environment names and the configuration does not want.
pub(crate) fn tell_if_unused(reach: &Reach) {
    let set = unused(reach.proxy(), |name| std::env::var_os(name));
    if let Some(variable) = set {
        warn!(
            variable,
            "calls do not go through the proxy that the environment names; write `proxy: environment` in the section `outbound` if they should"
        );
    }
}

fn unused(proxy: Proxy, variable: impl Fn(&str) -> Option<OsString>) -> Option<&'static str> {
    if proxy == Proxy::Environment {
        return None;
    }
    let is_set = |name: &&str| variable(name).is_some_and(|value| !value.is_empty());
    VARIABLES.into_iter().find(is_set)
}

#[cfg(test)]
mod tests;
