//! X.509-SVIDs: what an authority of the table vouches for was really signed, and is named in one way.

use std::{collections::HashSet, sync::LazyLock};

use attache_core::{
    bundle::Bundle, certificate::CertificateChain, spiffe_id::TrustDomain, time::Timestamp,
};
use attache_trust::x509::{self, Authorities, GivenSvid};
use base64ct::{Base64, Encoding as _};
use serde_json::Value;

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

/// The trust domain of the table in `tests/vectors`, and all certificates of it.
struct Domain {
    authorities: Authorities,
    /// What stands beneath the signatures: an ECDSA signature has a twin, what it signs has none.
    signed: HashSet<Vec<u8>>,
}

static DOMAIN: LazyLock<Domain> = LazyLock::new(|| {
    let table: Value =
        serde_json::from_str(include_str!("../../vectors/x509-svid.json")).expect("the table");
    let bundle = table["keys"]["domains"].to_string();
    let bundle = Bundle::parse(&trust_domain(), bundle.as_bytes()).expect("a bundle");
    let authorities = bundle.x509_authorities().iter().map(Vec::as_slice);
    let cases = table["cases"].as_array().expect("cases").iter();
    let chains = cases.flat_map(|case| case["chain"].as_array().expect("a chain"));
    let certificates = chains.map(|der| {
        let der = der.as_str().expect("base64");
        Base64::decode_vec(der).expect("base64")
    });
    Domain {
        authorities: Authorities::new(trust_domain(), authorities),
        signed: certificates.filter_map(|der| signed_part(&der)).collect(),
    }
});

fn trust_domain() -> TrustDomain {
    TrustDomain::parse("example.org").expect("a trust domain")
}

/// The input as certificates, one after the other.
pub fn holds(input: &[u8]) {
    let mut certificates = Vec::new();
    let mut rest = input;
    while let Some((one, after)) = element(rest) {
        certificates.push(one.to_vec());
        rest = after;
    }
    if !rest.is_empty() {
        certificates.push(rest.to_vec());
    }
    // Other tags may be longer than a byte, which `element` does not read.
    let sequences = certificates.iter().all(|one| one.starts_with(&[0x30]));
    if sequences && rest.is_empty() {
        as_authorities(input, certificates.len());
    }
    // Nothing is its own key, however an agent wraps it.
    assert!(GivenSvid::read(input, input).is_err());
    let Ok(chain) = CertificateChain::new(certificates) else {
        return;
    };
    let named = x509::named(&chain);
    if let Ok(id) = &named {
        let name = id.as_str().as_bytes();
        let found = chain.leaf().windows(name.len()).any(|bytes| bytes == name);
        assert!(
            found && !id.path().is_empty(),
            "{id} is not in the certificate"
        );
    }
    let verified = match x509::verify(&chain, &DOMAIN.authorities, NOW) {
        Ok(verified) => verified,
        Err(rejected) => return assert!(rejected.code().starts_with("certificate-")),
    };
    assert_eq!(named.as_ref(), Ok(verified.spiffe_id()));
    assert_eq!(verified.spiffe_id().trust_domain(), "example.org");
    assert!(verified.expires_at() > NOW && verified.validity().holds_at(NOW).is_ok());
    let part = signed_part(chain.leaf()).expect("a certificate");
    assert!(DOMAIN.signed.contains(&part), "forged");
}

/// As a bundle's certificates, none is lost and none is invented.
fn as_authorities(input: &[u8], count: usize) {
    if let Ok(authorities) = Authorities::concatenated(trust_domain(), input) {
        assert_eq!(authorities.count() + authorities.ignored().len(), count);
    }
}

/// The first DER element, if its length fits, and what follows it.
fn element(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (head, length) = header(der)?;
    der.split_at_checked(head.checked_add(length)?)
}

fn header(der: &[u8]) -> Option<(usize, usize)> {
    let first = usize::from(*der.get(1)?);
    if first < 0x80 {
        return Some((2, first));
    }
    let bytes = der
        .get(2..2 + (first & 0x7f))
        .filter(|bytes| bytes.len() <= 4)?;
    let length = bytes
        .iter()
        .fold(0, |length, byte| length << 8 | usize::from(*byte));
    Some((2 + bytes.len(), length))
}

/// TBSCertificate (RFC 5280 §4.1).
fn signed_part(der: &[u8]) -> Option<Vec<u8>> {
    let (head, _) = header(der)?;
    Some(element(der.get(head..)?)?.0.to_vec())
}
