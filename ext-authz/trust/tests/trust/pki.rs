//! An authority of a trust domain, which issues whatever certificate a test asks for.

use attache_core::{
    certificate::{CertificateChain, RejectedCertificate},
    spiffe_id::TrustDomain,
};
use attache_trust::x509::{self, Authorities, VerifiedCertificate};
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType, date_time_ymd,
};

use crate::signer::NOW;

pub(crate) const ID: &str = "spiffe://cluster.local/ns/shop/sa/payment";

/// A signing certificate and its key.
pub(crate) struct Authority {
    pub(crate) der: Vec<u8>,
    issuer: Issuer<'static, KeyPair>,
}

/// What a signing certificate says unless a test changes it. Valid from the day before [`NOW`] to the day after.
pub(crate) fn signing(name: &str) -> CertificateParams {
    let mut params = dated(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// What an X.509-SVID of `id` says unless a test changes it.
pub(crate) fn svid(id: &str) -> CertificateParams {
    let mut params = dated("");
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = vec![uri(id)];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    params
}

fn dated(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.not_before = date_time_ymd(2027, 1, 14);
    params.not_after = date_time_ymd(2027, 1, 16);
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

pub(crate) fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().expect("ASCII"))
}

/// `extension` in DER under 2.5.29.`arc`.
pub(crate) fn extension(arc: u64, critical: bool, der: &[u8]) -> CustomExtension {
    let mut extension = CustomExtension::from_oid_content(&[2, 5, 29, arc], der.to_vec());
    extension.set_criticality(critical);
    extension
}

impl Authority {
    /// Self-signed.
    pub(crate) fn root(params: CertificateParams) -> Self {
        let key = KeyPair::generate().expect("a key");
        let der = params
            .self_signed(&key)
            .expect("a certificate")
            .der()
            .to_vec();
        let issuer = Issuer::new(params, key);
        Self { der, issuer }
    }

    pub(crate) fn named(name: &str) -> Self {
        Self::root(signing(name))
    }

    /// Another authority below this one.
    pub(crate) fn below(&self, params: CertificateParams) -> Self {
        let key = KeyPair::generate().expect("a key");
        let der = params
            .signed_by(&key, &self.issuer)
            .expect("a certificate")
            .der()
            .to_vec();
        let issuer = Issuer::new(params, key);
        Self { der, issuer }
    }

    /// A certificate with a key of its own, which is thrown away.
    pub(crate) fn issue(&self, params: &CertificateParams) -> Vec<u8> {
        self.issue_for(params, &KeyPair::generate().expect("a key"))
    }

    pub(crate) fn issue_for(
        &self,
        params: &CertificateParams,
        key: &impl rcgen::PublicKeyData,
    ) -> Vec<u8> {
        params
            .signed_by(key, &self.issuer)
            .expect("a certificate")
            .der()
            .to_vec()
    }
}

pub(crate) fn authorities(domain: &str, certificates: &[&Authority]) -> Authorities {
    let domain = TrustDomain::parse(domain).expect("a trust domain");
    Authorities::new(domain, certificates.iter().map(|one| one.der.as_slice()))
}

pub(crate) fn chain(certificates: &[&[u8]]) -> CertificateChain {
    let certificates = certificates.iter().map(|one| one.to_vec()).collect();
    CertificateChain::new(certificates).expect("a chain")
}

/// The verdict of the authorities of `cluster.local` at [`NOW`].
pub(crate) fn judge(
    certificates: &[&[u8]],
    trusted: &[&Authority],
) -> Result<VerifiedCertificate, RejectedCertificate> {
    let authorities = authorities("cluster.local", trusted);
    x509::verify(&chain(certificates), &authorities, NOW)
}
