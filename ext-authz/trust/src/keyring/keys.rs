//! One set of keys, as it verifies.

use attache_core::{
    attestation::ProviderKind,
    certificate::{CertificateChain, RejectedCertificate},
    jwks::{Curve, Key, KeySet, MAX_KEYS, Material},
    jwt::Algorithm,
    time::Timestamp,
};
use aws_lc_rs::digest;

use crate::{
    aws_lc::AwsLc,
    sequences::Entries,
    x509::{self, Authorities, VerifiedCertificate},
};

/// A hash of each key and of each authority, by which they are known after a restart.
pub(super) fn entries(set: &KeySet, authorities: Option<&Authorities>) -> Entries {
    let authorities = authorities.into_iter().flat_map(Authorities::distinct);
    let keys = set.keys().iter().map(distinct);
    let hashes = keys.chain(authorities).map(|parts| hash(&parts));
    hashes.collect()
}

/// All that makes a key another one. Laid down in a file: an order that changed would make all keys new.
fn distinct(key: &Key) -> Vec<Vec<u8>> {
    let text = |text: Option<&str>| text.unwrap_or_default().as_bytes().to_vec();
    let kid = text(key.key_id());
    let alg = text(key.algorithm().map(Algorithm::name));
    match key.material() {
        Material::Rsa { n, e } => vec![b"RSA".to_vec(), kid, alg, n.clone(), e.clone()],
        Material::Ec { curve, x, y } => {
            let bits = match curve {
                Curve::P256 => "P-256",
                Curve::P384 => "P-384",
                Curve::P521 => "P-521",
            };
            vec![bits.as_bytes().to_vec(), kid, alg, x.clone(), y.clone()]
        }
    }
}

/// Of each part with its length, so that no two lists are the same bytes.
fn hash(parts: &[Vec<u8>]) -> String {
    let mut hash = digest::Context::new(&digest::SHA256);
    for part in parts {
        let length = u64::try_from(part.len()).unwrap_or(u64::MAX);
        hash.update(&length.to_be_bytes());
        hash.update(part);
    }
    let hash = hash.finish();
    let hex = hash.as_ref().iter().map(|byte| format!("{byte:02x}"));
    hex.collect()
}

/// One set of keys, ready to verify.
pub(crate) struct Keys {
    pub(crate) set: KeySet,
    pub(crate) verifier: AwsLc,
    /// Grows with every change of the set.
    pub(crate) epoch: u64,
    /// A number for each key of the set, which no other key of this issuer ever has: what a key proved is
    /// remembered under it. A withdrawn key takes that along, even if it comes back; all others keep theirs.
    numbers: Vec<u64>,
    /// The X.509 authorities, if they are a trust domain's.
    pub(crate) authorities: Option<Authorities>,
    /// The epoch in which they last changed: what one of them proved is remembered under it.
    pub(crate) authorities_since: u64,
}

impl Keys {
    /// `set` and `authorities` after `before`.
    pub(super) fn after(
        before: Option<&Self>,
        set: KeySet,
        authorities: Option<Authorities>,
        algorithms: &[Algorithm],
    ) -> Self {
        let epoch = before.map_or(1, |before| before.epoch.saturating_add(1));
        let kept = |key: &Key| before.and_then(|before| before.number(key));
        let most = u64::try_from(MAX_KEYS).unwrap_or(u64::MAX);
        let new = (epoch.saturating_mul(most)..).take(set.keys().len());
        let numbers = set.keys().iter().zip(new);
        let same = before.filter(|before| before.authorities == authorities);
        Self {
            authorities_since: same.map_or(epoch, |before| before.authorities_since),
            authorities,
            numbers: numbers.map(|(key, new)| kept(key).unwrap_or(new)).collect(),
            verifier: AwsLc::prepared(&set, algorithms),
            set,
            epoch,
        }
    }

    /// No keys at all, after these.
    pub(super) fn withdrawn(&self, algorithms: &[Algorithm]) -> Self {
        let none = |own: &Authorities| Authorities::new(own.trust_domain().clone(), []);
        let authorities = self.authorities.as_ref().map(none);
        Self::after(Some(self), KeySet::default(), authorities, algorithms)
    }

    /// The number of `key`; `None` if it is not in the set.
    pub(crate) fn number(&self, key: &Key) -> Option<u64> {
        let place = self.set.keys().iter().position(|own| own == key)?;
        self.numbers.get(place).copied()
    }

    /// Holds an X.509-SVID against the authorities; without any, nothing is trusted.
    pub(crate) fn verify_certificate(
        &self,
        chain: &CertificateChain,
        now: Timestamp,
    ) -> Result<VerifiedCertificate, RejectedCertificate> {
        let authorities = self.authorities.as_ref();
        x509::verify(
            chain,
            authorities.ok_or(RejectedCertificate::Untrusted)?,
            now,
        )
    }

    /// How many may vouch for the evidence that a provider of `kind` reads.
    pub(crate) fn count(&self, kind: ProviderKind) -> usize {
        match &self.authorities {
            Some(authorities) if kind == ProviderKind::SpiffeX509 => authorities.count(),
            Some(_) | None => self.set.keys().len(),
        }
    }

    /// What of the set may not vouch, and why.
    pub(crate) fn ignored(&self) -> Vec<String> {
        let authorities = self.authorities.iter().flat_map(Authorities::ignored);
        let authorities = authorities.map(ToString::to_string);
        let keys = self.set.ignored().iter().map(ToString::to_string);
        keys.chain(authorities).collect()
    }
}
