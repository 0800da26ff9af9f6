//! The revision of a policy set: a hash of what it was made from, so that equal sets are called equal
//! on every edge.

use std::fmt::Write as _;

use attache_core::spiffe_id::TrustDomain;
use sha2::{Digest, Sha256};

use crate::{
    compile::{Settings, Source},
    document::{KeySource, TrustProvider},
};

/// How many bytes of the hash are kept; it names a revision and proves nothing.
const KEPT_BYTES: usize = 8;

/// 16 hex digits. The order of sources and of providers does not matter; every name and byte does.
pub(super) fn revision(sources: &[Source], settings: &Settings) -> String {
    let mut hash = Sha256::new();
    let Settings {
        trust_domain,
        trust_providers,
    } = settings;
    part(&mut hash, trust_domain.as_str().as_bytes());
    let mut providers: Vec<&TrustProvider> = trust_providers.iter().collect();
    providers.sort_by(|one, other| one.name.cmp(&other.name));
    for provider in providers {
        trust_provider(&mut hash, provider);
    }
    let mut files: Vec<(&str, &[u8])> = sources
        .iter()
        .map(|source| (source.name.as_str(), source.text.as_slice()))
        .collect();
    files.sort_unstable();
    for (name, text) in files {
        part(&mut hash, b"file");
        part(&mut hash, name.as_bytes());
        part(&mut hash, text);
    }
    hash.finalize()
        .iter()
        .take(KEPT_BYTES)
        .fold(String::new(), |mut hex, byte| {
            // Writing to a String cannot fail.
            let _ = write!(hex, "{byte:02x}");
            hex
        })
}

fn trust_provider(hash: &mut Sha256, provider: &TrustProvider) {
    // Taken apart, so that a new field cannot be forgotten here. Where it was written does not count.
    let TrustProvider {
        name,
        kind,
        issuer,
        audience,
        algorithms,
        keys,
        trust_domain,
        ca_file,
        cluster,
        spiffe_id,
        only,
        // What `partners` means.
        shares_identities_with: _,
        partners,
        place: _,
    } = provider;
    let (source, location) = match keys {
        KeySource::Discovery => ("discovery", String::new()),
        KeySource::DiscoveryUrl(url) => ("discoveryUrl", url.clone()),
        KeySource::JwksUrl(url) => ("jwksUrl", url.clone()),
        KeySource::File(file) => ("jwksFile", file.display().to_string()),
        KeySource::Inline(text) => ("jwks", text.clone()),
        KeySource::InCluster => ("inCluster", String::new()),
        KeySource::ApiServer { url, token_file } => {
            ("apiServer", format!("{url} {}", token_file.display()))
        }
        KeySource::Bundle(source) => source.told(),
    };
    let algorithms: Vec<&str> = algorithms
        .iter()
        .map(|algorithm| algorithm.name())
        .collect();
    let ca_file = ca_file
        .as_ref()
        .map(|file| file.display().to_string())
        .unwrap_or_default();
    let texts = [
        "provider",
        name,
        kind.name(),
        issuer,
        audience,
        &algorithms.join(" "),
        source,
        &location,
        TrustDomain::as_str(trust_domain),
        &ca_file,
    ];
    texts.iter().for_each(|text| part(hash, text.as_bytes()));
    let template = spiffe_id.as_ref().map(ToString::to_string);
    part(hash, template.unwrap_or_default().as_bytes());
    part(hash, cluster.as_deref().unwrap_or_default().as_bytes());
    part(hash, format!("{only:?}").as_bytes());
    for partner in partners {
        let namespace = partner.namespace.as_deref().unwrap_or_default();
        part(hash, b"partner");
        part(hash, namespace.as_bytes());
        part(hash, partner.name.as_bytes());
    }
}

/// With its length, so that no two lists of parts are the same bytes.
fn part(hash: &mut Sha256, bytes: &[u8]) {
    let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    hash.update(length.to_be_bytes());
    hash.update(bytes);
}
