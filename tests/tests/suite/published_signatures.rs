//! Wycheproof's signatures of every algorithm that is ours, through our reading of keys and our verifier.
//! Where the verdicts differ, it is told why.

use std::collections::BTreeSet;

use anyhow::{Result, anyhow};
use attache_core::{
    jwks::KeySet,
    jwt::{Algorithm, VerifySignature as _},
};
use attache_trust::AwsLc;
use base64ct::{Base64UrlUnpadded, Encoding as _};
use serde_json::{Value, json};
use wycheproof::{TestResult, ecdsa, rsa_pkcs1_verify as pkcs1, rsa_pss_verify as pss};

/// What came of the cases of one set.
#[derive(Default)]
struct Held {
    cases: usize,
    wrong: Vec<String>,
    /// Sound signatures, or ones that a verifier may accept, that are refused, by their kind.
    refused: BTreeSet<String>,
}

impl Held {
    /// A `flag` of the case that explains a difference is noted; one without any is wrong.
    fn hold(&mut self, name: &str, expected: TestResult, accepted: bool, flags: &str) {
        self.cases += 1;
        match (expected, accepted) {
            (TestResult::Valid, true) | (TestResult::Invalid, false) => {}
            (TestResult::Valid | TestResult::Acceptable, false) => {
                self.refused.insert(flags.to_owned());
            }
            (TestResult::Invalid | TestResult::Acceptable, true) => {
                self.wrong.push(format!("{name} is accepted: {flags}"));
            }
        }
    }

    fn all_of(self, cases: usize, refused: &[&str]) {
        assert!(self.wrong.is_empty(), "{:#?}", self.wrong);
        assert!(self.cases >= cases, "{} cases", self.cases);
        let found: Vec<_> = self.refused.iter().map(String::as_str).collect();
        assert_eq!(found, refused);
    }
}

fn verifies(jwk: &Value, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
    let set = json!({ "keys": [jwk] }).to_string();
    let set = KeySet::parse(set.as_bytes()).expect("a set");
    let key = set.keys().first().filter(|key| key.fits(algorithm));
    key.is_some_and(|key| AwsLc::default().verify(algorithm, key, message, signature))
}

fn rsa_jwk(n: &[u8], e: &[u8]) -> Value {
    let encode = Base64UrlUnpadded::encode_string;
    json!({"kty": "RSA", "n": encode(n), "e": encode(e)})
}

fn load<S>(loaded: Result<S, wycheproof::WycheproofError>) -> Result<S> {
    loaded.map_err(|error| anyhow!("{error:?}"))
}

#[test]
fn signatures_by_ecdsa_are_judged_as_published() -> Result<()> {
    use ecdsa::TestName::{
        EcdsaSecp256r1Sha256P1363, EcdsaSecp384r1Sha384P1363, EcdsaSecp521r1Sha512P1363,
    };
    let mut held = Held::default();
    for (name, algorithm, curve) in [
        (EcdsaSecp256r1Sha256P1363, Algorithm::Es256, "P-256"),
        (EcdsaSecp384r1Sha384P1363, Algorithm::Es384, "P-384"),
        (EcdsaSecp521r1Sha512P1363, Algorithm::Es512, "P-521"),
    ] {
        for group in load(ecdsa::TestSet::load(name))?.test_groups {
            // The uncompressed point: 0x04, x, y.
            let (x, y) = group.key.key[1..].split_at(group.key.key.len() / 2);
            let encode = Base64UrlUnpadded::encode_string;
            let jwk = json!({"kty": "EC", "crv": curve, "x": encode(x), "y": encode(y)});
            for test in &group.tests {
                let accepted = verifies(&jwk, algorithm, &test.msg, &test.sig);
                let name = format!("{algorithm:?} {} ({})", test.tc_id, test.comment);
                held.hold(&name, test.result, accepted, &format!("{:?}", test.flags));
            }
        }
    }
    held.all_of(800, &[]);
    Ok(())
}

#[test]
fn signatures_by_pkcs1_are_judged_as_published() -> Result<()> {
    use pkcs1::TestName;
    let mut held = Held::default();
    for (name, algorithm) in [
        (TestName::Rsa2048Sha256, Algorithm::Rs256),
        (TestName::Rsa3072Sha256, Algorithm::Rs256),
        (TestName::Rsa4096Sha256, Algorithm::Rs256),
        (TestName::Rsa8192Sha256, Algorithm::Rs256),
        (TestName::Rsa2048Sha384, Algorithm::Rs384),
        (TestName::Rsa3072Sha384, Algorithm::Rs384),
        (TestName::Rsa4096Sha384, Algorithm::Rs384),
        (TestName::Rsa8192Sha384, Algorithm::Rs384),
        (TestName::Rsa2048Sha512, Algorithm::Rs512),
        (TestName::Rsa3072Sha512, Algorithm::Rs512),
        (TestName::Rsa4096Sha512, Algorithm::Rs512),
        (TestName::Rsa8192Sha512, Algorithm::Rs512),
    ] {
        for group in load(pkcs1::TestSet::load(name))?.test_groups {
            let jwk = rsa_jwk(&group.key.n, &group.key.e);
            for test in &group.tests {
                let accepted = verifies(&jwk, algorithm, &test.msg, &test.sig);
                let name = format!("{name:?} {} ({})", test.tc_id, test.comment);
                held.hold(&name, test.result, accepted, &format!("{:?}", test.flags));
            }
        }
    }
    // A DigestInfo without NULL may be accepted (RFC 8017 §9.2, note 2); it is refused here, as by most. Keys
    // with an exponent of 3 are refused, whatever they signed.
    let refused = [
        "[EdgeCaseSignature, SmallPublicKey]",
        "[MissingNull]",
        "[SmallSignature, SmallPublicKey]",
    ];
    held.all_of(3000, &refused);
    Ok(())
}

#[test]
fn signatures_by_pss_are_judged_as_published() -> Result<()> {
    use pss::TestName;
    let mut held = Held::default();
    for (name, algorithm) in [
        (TestName::RsaPss2048Sha256Mgf1SaltLen32, Algorithm::Ps256),
        (TestName::RsaPss3072Sha256Mgf1SaltLen32, Algorithm::Ps256),
        (TestName::RsaPss4096Sha256Mgf1SaltLen32, Algorithm::Ps256),
        (TestName::RsaPss2048Sha384Mgf1SaltLen48, Algorithm::Ps384),
        (TestName::RsaPss4096Sha384Mgf1SaltLen48, Algorithm::Ps384),
        (TestName::RsaPss4096Sha512Mgf1SaltLen64, Algorithm::Ps512),
    ] {
        for group in load(pss::TestSet::load(name))?.test_groups {
            let jwk = rsa_jwk(&group.key.n, &group.key.e);
            for test in &group.tests {
                let accepted = verifies(&jwk, algorithm, &test.msg, &test.sig);
                let name = format!("{name:?} {} ({})", test.tc_id, test.comment);
                held.hold(&name, test.result, accepted, &format!("{:?}", test.flags));
            }
        }
    }
    held.all_of(700, &[]);
    Ok(())
}

/// RFC 7518 §3.5: the salt is as long as the hash. What others call sound with another salt is refused, and
/// what they call unsound because its salt has that length is accepted.
#[test]
fn a_salt_of_another_length_than_the_hash_is_refused() -> Result<()> {
    use pss::TestName;
    let mut accepted = Vec::new();
    for (name, algorithm) in [
        (TestName::RsaPss2048Sha256Mgf1SaltLen0, Algorithm::Ps256),
        (TestName::RsaPss4096Sha512Mgf1SaltLen32, Algorithm::Ps512),
    ] {
        for group in load(pss::TestSet::load(name))?.test_groups {
            let jwk = rsa_jwk(&group.key.n, &group.key.e);
            for test in &group.tests {
                if verifies(&jwk, algorithm, &test.msg, &test.sig) {
                    accepted.push(format!("{algorithm:?}: {}", test.comment));
                }
            }
        }
    }
    assert_eq!(accepted, ["Ps256: s_len changed to 32"]);
    Ok(())
}
