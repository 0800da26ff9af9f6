//! An issuer with keys of its own, which signs whatever a test asks for.

use std::sync::Arc;

use attache_core::{
    attestation::{Attestation, ProviderKind},
    evidence::Evidence,
    secret::Secret,
    spiffe_id::TrustDomain,
    time::Timestamp,
};
use attache_trust::{KeySource, NotAttested, ProviderConfig, Trust, TrustSettings};
use aws_lc_rs::{
    rand::SystemRandom,
    rsa::KeySize,
    signature::{self, EcdsaKeyPair, EcdsaSigningAlgorithm, KeyPair as _, RsaKeyPair},
};
use base64ct::{Base64UrlUnpadded, Encoding as _};
use serde_json::{Value, json};

/// When all tests take place.
pub(crate) const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
/// The issuer of keys that stand in the configuration.
pub(crate) const ISSUER: &str = "https://issuer.example";

pub(crate) struct Signer {
    pub(crate) rsa: RsaKeyPair,
    pub(crate) p256: EcdsaKeyPair,
    pub(crate) p384: EcdsaKeyPair,
}

pub(crate) fn encoded(bytes: &[u8]) -> String {
    Base64UrlUnpadded::encode_string(bytes)
}

impl Signer {
    pub(crate) fn new() -> Self {
        let ec = |algorithm: &'static EcdsaSigningAlgorithm| {
            EcdsaKeyPair::generate(algorithm).expect("a key")
        };
        Self {
            rsa: RsaKeyPair::generate(KeySize::Rsa2048).expect("a key"),
            p256: ec(&signature::ECDSA_P256_SHA256_FIXED_SIGNING),
            p384: ec(&signature::ECDSA_P384_SHA384_FIXED_SIGNING),
        }
    }

    /// RFC 8017 §A.1.1: `n` of a 2048-bit key stands behind nine bytes of headers, `e` at the end.
    pub(crate) fn rsa_jwk(&self, kid: &str) -> Value {
        let der = self.rsa.public_key().as_ref();
        let (n, e) = (&der[9..265], &der[der.len() - 3..]);
        json!({"kty": "RSA", "use": "sig", "kid": kid, "n": encoded(n), "e": encoded(e)})
    }

    pub(crate) fn p256_jwk(&self, kid: &str) -> Value {
        ec_jwk("P-256", kid, self.p256.public_key().as_ref())
    }

    pub(crate) fn p384_jwk(&self, kid: &str) -> Value {
        ec_jwk("P-384", kid, self.p384.public_key().as_ref())
    }

    /// The keys `rsa`, `p256` and `p384`.
    pub(crate) fn jwks(&self) -> String {
        jwks(&[
            self.rsa_jwk("rsa"),
            self.p256_jwk("p256"),
            self.p384_jwk("p384"),
        ])
    }

    pub(crate) fn signature(&self, algorithm: &str, input: &[u8]) -> Vec<u8> {
        let rng = SystemRandom::new();
        let rsa = |encoding: &'static dyn signature::RsaEncoding| {
            let mut signature = vec![0; self.rsa.public_modulus_len()];
            self.rsa
                .sign(encoding, &rng, input, &mut signature)
                .expect("a signature");
            signature
        };
        let ec = |key: &EcdsaKeyPair| {
            key.sign(&rng, input)
                .expect("a signature")
                .as_ref()
                .to_vec()
        };
        match algorithm {
            "RS256" => rsa(&signature::RSA_PKCS1_SHA256),
            "RS384" => rsa(&signature::RSA_PKCS1_SHA384),
            "RS512" => rsa(&signature::RSA_PKCS1_SHA512),
            "PS256" => rsa(&signature::RSA_PSS_SHA256),
            "PS384" => rsa(&signature::RSA_PSS_SHA384),
            "PS512" => rsa(&signature::RSA_PSS_SHA512),
            "ES256" => ec(&self.p256),
            "ES384" => ec(&self.p384),
            other => panic!("no key for {other}"),
        }
    }

    /// Signs `header` and `payload`, which need not even be JSON, with `algorithm`.
    pub(crate) fn sign_raw(&self, algorithm: &str, header: &str, payload: &str) -> String {
        let input = format!(
            "{}.{}",
            encoded(header.as_bytes()),
            encoded(payload.as_bytes())
        );
        let signature = self.signature(algorithm, input.as_bytes());
        format!("{input}.{}", encoded(&signature))
    }

    /// A proper token of `claims` by RS256 and the key `kid`.
    pub(crate) fn sign(&self, kid: &str, claims: &Value) -> String {
        let header = json!({"alg": "RS256", "kid": kid, "typ": "JWT"}).to_string();
        self.sign_raw("RS256", &header, &claims.to_string())
    }
}

fn ec_jwk(curve: &str, kid: &str, point: &[u8]) -> Value {
    let (x, y) = point[1..].split_at((point.len() - 1) / 2);
    json!({"kty": "EC", "use": "sig", "kid": kid, "crv": curve, "x": encoded(x), "y": encoded(y)})
}

pub(crate) fn jwks(keys: &[Value]) -> String {
    json!({ "keys": keys }).to_string()
}

/// Claims of an ID token that is good at `NOW`.
pub(crate) fn claims(issuer: &str) -> Value {
    let now = NOW.as_seconds();
    json!({"iss": issuer, "sub": "build-42", "aud": "attache", "iat": now - 10, "exp": now + 600})
}

/// `claims` with one of them set to another value.
pub(crate) fn with(mut claims: Value, name: &str, value: impl Into<Value>) -> Value {
    claims[name] = value.into();
    claims
}

/// `claims` without one of them.
pub(crate) fn without(mut claims: Value, name: &str) -> Value {
    claims.as_object_mut().expect("claims").remove(name);
    claims
}

pub(crate) fn trust_domain() -> TrustDomain {
    TrustDomain::parse("cluster.local").expect("a trust domain")
}

pub(crate) fn oidc(name: &str, issuer: &str, keys: KeySource) -> ProviderConfig {
    ProviderConfig::new(name, ProviderKind::Oidc, issuer, keys, trust_domain())
}

pub(crate) fn trust(configs: Vec<ProviderConfig>) -> Arc<Trust> {
    let trust = Trust::new(TrustSettings::new(Arc::new(|| NOW)));
    trust
        .replace(configs)
        .unwrap_or_else(|invalid| panic!("{invalid}"));
    Arc::new(trust)
}

pub(crate) fn evidence(token: &str) -> Evidence {
    Evidence::Token(Secret::new(token.to_owned()))
}

pub(crate) fn code(outcome: &Result<Attestation, NotAttested>) -> &'static str {
    match outcome {
        Ok(_) => "attested",
        Err(NotAttested::Denied(reason)) => reason.code(),
        Err(NotAttested::Unavailable(fault)) => fault.code(),
    }
}

/// The verdict on a token at `now`.
pub(crate) async fn verdict_at(trust: &Trust, token: &str, now: Timestamp) -> &'static str {
    code(&trust.attest(&evidence(token), now).await)
}

pub(crate) async fn verdict(trust: &Trust, token: &str) -> &'static str {
    verdict_at(trust, token, NOW).await
}
