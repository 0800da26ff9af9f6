//! The section `secrets`: where documents may refer to secrets.

use std::path::{Path, PathBuf};

use attache_credentials::{SecretRoots, VaultRoots, VaultSettings};
use attache_policy::{
    problem::{Code, quoted},
    yaml::At,
};

use super::{layers::Section, path, vault};

/// What the names of variables begin with, unless the file says otherwise.
const USUAL_PREFIX: &str = "ATTACHE_SECRET_";

/// Where Secrets are mounted, unless the file says otherwise.
const USUAL_MOUNT: &str = "/var/run/secrets/attache/secrets";

pub(super) fn lower(
    mut section: Section<'_>,
    base: &Path,
) -> Option<(SecretRoots, Option<VaultSettings>)> {
    let usual_folders = || Some(vec![base.join("secrets")]);
    let folders = section
        .field("file_roots")
        .map_or_else(usual_folders, |list| list.list(|at| path(at, base)));
    let usual_prefixes = || Some(vec![USUAL_PREFIX.to_owned()]);
    let variables = section
        .field("env_prefixes")
        .map_or_else(usual_prefixes, |list| list.list(prefix));
    let mounted = section.or("kubernetes_root", PathBuf::from(USUAL_MOUNT), |at| {
        path(at, base)
    });
    let vault = vault::lower(section.section("vault"), base);
    let (vault, in_vault) = vault?.unzip();
    let roots = SecretRoots {
        base: base.to_path_buf(),
        folders: folders?,
        variables: variables?,
        mounted: mounted?,
        vault: VaultRoots::Below(in_vault.unwrap_or_default()),
    };
    Some((roots, vault))
}

/// SECURITY: a short prefix is soon one of variables that somebody else put there.
fn prefix(at: &At<'_>) -> Option<String> {
    let text = at.text()?;
    let inside = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if text.len() >= 4 && text.bytes().all(inside) {
        return Some(text.to_owned());
    }
    let message = format!("{} is no beginning of names of variables", quoted(text));
    let way_out = "write at least four letters, digits and `_`, such as ATTACHE_SECRET_";
    at.refuse_with(Code::InvalidValue, message, way_out)
}
