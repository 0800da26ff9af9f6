//! Keys and authorities in PEM (RFC 7468), for those who have neither a key set nor a bundle.

use attache_core::jwks::{InvalidKeySet, KeySet};
use base64ct::{Base64UrlUnpadded, Encoding as _};
use rustls_pki_types::pem::{PemObject as _, SectionKind};
use serde_json::{Value, json};
use thiserror::Error;
use x509_parser::{
    oid_registry::{OID_EC_P256, OID_NIST_EC_P384, OID_NIST_EC_P521},
    prelude::{FromDer as _, SubjectPublicKeyInfo, X509Certificate},
    public_key::PublicKey,
};

#[cfg(test)]
mod tests;

/// Why PEM gives no keys.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InvalidPem {
    /// Not PEM, or cut off.
    #[error("it is not PEM")]
    Malformed,
    /// SECURITY: whoever reads it can sign, so that nothing it signed is proof.
    #[error("it holds a private key; keep the public one there, and replace the pair")]
    PrivateKey,
    /// Nothing of what is asked for.
    #[error("it holds no {0}")]
    Missing(&'static str),
    /// A key of another type than those of a key set.
    #[error("key {0} is neither RSA nor on P-256, P-384 or P-521, or it is no key")]
    Key(usize),
    /// What a key set may not be.
    #[error(transparent)]
    Set(#[from] InvalidKeySet),
}

/// The public keys in `PUBLIC KEY` and `CERTIFICATE` sections, held to the rules of a key set. PEM names no key: a
/// single one is taken for the one that `key_id` names, which is the caller's word; of several only a token without
/// `kid` can find one.
pub fn key_set(pem: &[u8], key_id: Option<&str>) -> Result<KeySet, InvalidPem> {
    let mut keys = Vec::new();
    for (index, section) in sections(pem)?.into_iter().enumerate() {
        let key = match &section {
            (SectionKind::PublicKey, der) => SubjectPublicKeyInfo::from_der(der)
                .ok()
                .filter(|(rest, _)| rest.is_empty())
                .and_then(|(_, key)| jwk(&key)),
            (SectionKind::Certificate, der) => X509Certificate::from_der(der)
                .ok()
                .and_then(|(_, certificate)| jwk(certificate.public_key())),
            _ => continue,
        };
        keys.push(key.ok_or(InvalidPem::Key(index))?);
    }
    if keys.is_empty() {
        return Err(InvalidPem::Missing("public key"));
    }
    if let ([Value::Object(only)], Some(key_id)) = (keys.as_mut_slice(), key_id) {
        only.insert("kid".to_owned(), key_id.into());
    }
    Ok(KeySet::parse(
        json!({ "keys": keys }).to_string().as_bytes(),
    )?)
}

/// The certificates in `CERTIFICATE` sections, in DER; what else stands there is passed over.
pub fn certificates(pem: &[u8]) -> Result<Vec<Vec<u8>>, InvalidPem> {
    let sections = sections(pem)?.into_iter();
    let certificates = sections.filter(|(kind, _)| *kind == SectionKind::Certificate);
    let certificates: Vec<_> = certificates.map(|(_, der)| der).collect();
    if certificates.is_empty() {
        return Err(InvalidPem::Missing("certificate"));
    }
    Ok(certificates)
}

fn sections(pem: &[u8]) -> Result<Vec<(SectionKind, Vec<u8>)>, InvalidPem> {
    let sections = <(SectionKind, Vec<u8>)>::pem_slice_iter(pem);
    let sections: Vec<_> = sections
        .collect::<Result<_, _>>()
        .map_err(|_malformed| InvalidPem::Malformed)?;
    let is_private = |kind: SectionKind| {
        matches!(
            kind,
            SectionKind::RsaPrivateKey | SectionKind::PrivateKey | SectionKind::EcPrivateKey
        )
    };
    if sections.iter().any(|(kind, _)| is_private(*kind)) {
        return Err(InvalidPem::PrivateKey);
    }
    Ok(sections)
}

fn jwk(key: &SubjectPublicKeyInfo<'_>) -> Option<Value> {
    let text = |bytes: &[u8]| Base64UrlUnpadded::encode_string(bytes);
    if let PublicKey::RSA(rsa) = key.parsed().ok()? {
        let (n, e) = (text(rsa.modulus), text(rsa.exponent));
        return Some(json!({"kty": "RSA", "n": n, "e": e}));
    }
    let curve = key.algorithm.parameters.as_ref()?.as_oid().ok()?;
    let curves = [
        (OID_EC_P256, "P-256", 32),
        (OID_NIST_EC_P384, "P-384", 48),
        (OID_NIST_EC_P521, "P-521", 66),
    ];
    let (_, curve, bytes) = curves.into_iter().find(|(oid, ..)| *oid == curve)?;
    // SEC 1 §2.3.3: uncompressed.
    let point = key.subject_public_key.data.strip_prefix(&[4])?;
    let (x, y) = point.split_at_checked(bytes)?;
    Some(json!({"kty": "EC", "crv": curve, "x": text(x), "y": text(y)}))
}
