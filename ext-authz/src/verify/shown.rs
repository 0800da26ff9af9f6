//! What is to be verified, from a file or standard input: a token, or certificates in PEM.

use std::{
    fs,
    io::{self, Read as _},
    path::Path,
};

use anyhow::{Context as _, bail};
use attache_core::{certificate::MAX_CHAIN_BYTES, jwt::MAX_TOKEN_BYTES, secret::Secret};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};

/// Longest text read: base64 takes a third more, and a longer one is told to be too long by its rules.
const MAX_BYTES: usize = 2 * MAX_CHAIN_BYTES + MAX_TOKEN_BYTES;

/// How a certificate begins (RFC 7468 §5.1); text may stand before it.
const BEGIN: &str = "-----BEGIN CERTIFICATE-----";

/// What a caller would show.
pub(super) enum Shown {
    /// Whatever is no certificate.
    Token(Secret),
    /// In DER, leaf first.
    Chain(Vec<Vec<u8>>),
}

pub(super) fn read(path: &Path) -> anyhow::Result<Shown> {
    // SECURITY: neither the error nor the history of the next command should repeat it.
    if is_token(path) && !path.exists() {
        bail!(
            "the argument looks like a token; put it into a file, or send it to standard input and write -"
        );
    }
    let text = Secret::new(text(path, MAX_BYTES)?);
    // A file ends with a line end; what else stands around a token makes it another one.
    let shown = text.expose();
    let shown = shown.strip_suffix('\n').unwrap_or(shown);
    let shown = shown.strip_suffix('\r').unwrap_or(shown);
    if shown.trim().is_empty() {
        bail!("{} holds neither a token nor a certificate", path.display());
    }
    if !shown.contains(BEGIN) {
        return Ok(Shown::Token(Secret::new(shown.to_owned())));
    }
    let certificates = CertificateDer::pem_slice_iter(shown.as_bytes());
    let chain: Result<Vec<_>, _> = certificates
        .map(|certificate| certificate.map(|der| der.to_vec()))
        .collect();
    let chain = chain.with_context(|| format!("{} is not PEM", path.display()))?;
    Ok(Shown::Chain(chain))
}

/// The text of a file, or of standard input; what follows the first `most` bytes is left.
pub(super) fn text(path: &Path, most: usize) -> anyhow::Result<String> {
    let most = u64::try_from(most)?;
    let mut text = String::new();
    let read = if path == Path::new("-") {
        io::stdin().lock().take(most).read_to_string(&mut text)
    } else {
        fs::File::open(path).and_then(|file| file.take(most).read_to_string(&mut text))
    };
    read.with_context(|| format!("cannot read {}", path.display()))?;
    Ok(text)
}

/// `eyJ` is `{"` in base64url: what every JWT begins with.
fn is_token(path: &Path) -> bool {
    let text = path.to_str().unwrap_or_default();
    text.starts_with("eyJ") && text.contains('.')
}
