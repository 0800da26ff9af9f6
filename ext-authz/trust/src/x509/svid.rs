//! The rules of a leaf (X509-SVID §2 to §5.2): who is named, and that it is no authority.

use attache_core::{
    certificate::{CertificateChain, RejectedCertificate},
    jwks::MIN_RSA_BITS,
    spiffe_id::SpiffeId,
};
use x509_parser::{
    oid_registry::{
        OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_NIST_EC_P384, OID_NIST_EC_P521,
        OID_PKCS1_RSAENCRYPTION, OID_SIG_ED25519,
    },
    prelude::{GeneralName, SubjectPublicKeyInfo, X509Certificate, X509Version},
    public_key::PublicKey,
};

use super::authority::uri;

/// The tag of a URI among alternative names (RFC 5280 §4.2.1.6).
const URI_TAG: u32 = 6;

/// The SPIFFE ID that a chain's leaf claims, whoever issued it: good for finding the authorities that may
/// prove it, for nothing else.
pub fn named(chain: &CertificateChain) -> Result<SpiffeId, RejectedCertificate> {
    workload(&super::parsed(chain.leaf())?)
}

/// The SPIFFE ID of a leaf that keeps all the rules which need no authority.
pub(super) fn workload(leaf: &X509Certificate<'_>) -> Result<SpiffeId, RejectedCertificate> {
    if leaf.version() != X509Version::V3 {
        return Err(RejectedCertificate::Malformed("not of version 3"));
    }
    not_an_authority(leaf)?;
    let id = only_uri(leaf)?;
    let id = SpiffeId::parse(id).map_err(|_broken_rule| RejectedCertificate::SpiffeId)?;
    // X509-SVID §3.1: a leaf's ID has a path; a trust domain's own ID is an authority's.
    if id.path().is_empty() {
        return Err(RejectedCertificate::SpiffeId);
    }
    check_key_usage(leaf)?;
    check_extended_key_usage(leaf)?;
    if !is_accepted(leaf.public_key()) {
        return Err(RejectedCertificate::AlgorithmNotAllowed);
    }
    Ok(id)
}

fn not_an_authority(leaf: &X509Certificate<'_>) -> Result<(), RejectedCertificate> {
    let constraints = leaf
        .basic_constraints()
        .map_err(|_malformed| RejectedCertificate::Malformed("basic constraints"))?;
    if constraints.is_some_and(|constraints| constraints.value.ca) {
        return Err(RejectedCertificate::AuthorityAsLeaf);
    }
    Ok(())
}

/// X509-SVID §2: any number of other names, and exactly one URI.
fn only_uri<'c>(leaf: &'c X509Certificate<'_>) -> Result<&'c str, RejectedCertificate> {
    let malformed = RejectedCertificate::Malformed("subject alternative name");
    let names = leaf
        .subject_alternative_name()
        .map_err(|_malformed| malformed.clone())?;
    let names = names.ok_or(RejectedCertificate::UriCount(0))?;
    for name in &names.value.general_names {
        // SECURITY: a name that one reader cannot read may be the one that another goes by.
        if let GeneralName::Invalid(tag, _) = name {
            let is_uri = tag.0 == URI_TAG;
            return Err(if is_uri {
                RejectedCertificate::SpiffeId
            } else {
                malformed
            });
        }
    }
    let uris: Vec<_> = names.value.general_names.iter().filter_map(uri).collect();
    let [uri] = uris.as_slice() else {
        return Err(RejectedCertificate::UriCount(uris.len()));
    };
    // RFC 5280 §4.1.2.6, X509-SVID §3.1.
    if leaf.subject().iter().next().is_none() && !names.critical {
        return Err(RejectedCertificate::SanNotCritical);
    }
    Ok(uri)
}

/// X509-SVID §4.3 and §5.2.
fn check_key_usage(leaf: &X509Certificate<'_>) -> Result<(), RejectedCertificate> {
    let usage = leaf
        .key_usage()
        .map_err(|_malformed| RejectedCertificate::Malformed("key usage"))?;
    let usage = usage.ok_or(RejectedCertificate::KeyUsage("it has none"))?;
    let broken = if usage.value.key_cert_sign() {
        "keyCertSign is set"
    } else if usage.value.crl_sign() {
        "cRLSign is set"
    } else if !usage.value.digital_signature() {
        "digitalSignature is not set"
    } else if !usage.critical {
        "it is not critical"
    } else {
        return Ok(());
    };
    Err(RejectedCertificate::KeyUsage(broken))
}

/// X509-SVID §4.4: none, or both purposes.
fn check_extended_key_usage(leaf: &X509Certificate<'_>) -> Result<(), RejectedCertificate> {
    let usage = leaf
        .extended_key_usage()
        .map_err(|_malformed| RejectedCertificate::Malformed("extended key usage"))?;
    match usage {
        Some(usage) if !(usage.value.server_auth && usage.value.client_auth) => {
            Err(RejectedCertificate::ExtendedKeyUsage)
        }
        Some(_) | None => Ok(()),
    }
}

/// Whether a key is of a kind that may sign: path validation looks at the signatures on certificates, and so
/// never at the leaf's own key.
pub(super) fn is_accepted(key: &SubjectPublicKeyInfo<'_>) -> bool {
    let algorithm = &key.algorithm.algorithm;
    if *algorithm == OID_PKCS1_RSAENCRYPTION {
        return matches!(key.parsed(), Ok(PublicKey::RSA(rsa)) if rsa.key_size() >= MIN_RSA_BITS);
    }
    if *algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY {
        let curve = key.algorithm.parameters.as_ref();
        let curve = curve.and_then(|curve| curve.as_oid().ok());
        return curve.is_some_and(|curve| {
            [OID_EC_P256, OID_NIST_EC_P384, OID_NIST_EC_P521].contains(&curve)
        });
    }
    *algorithm == OID_SIG_ED25519
}
