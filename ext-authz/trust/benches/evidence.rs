//! What it costs to judge a token: verified for the first time, by algorithm, and found again. The figures
//! decide whether signatures may be verified on the threads that serve requests. `cargo bench -p attache-trust`

#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a benchmark that cannot be set up has nothing to say"
)]

use std::{sync::Arc, time::Duration};

use attache_core::{
    attestation::ProviderKind, evidence::Evidence, jwt::Algorithm, secret::Secret,
    spiffe_id::TrustDomain, time::Timestamp,
};
use attache_trust::{KeySource, ProviderConfig, Trust, TrustSettings};
use aws_lc_rs::{
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
        EcdsaSigningAlgorithm, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
    },
};
use base64ct::{Base64UrlUnpadded, Encoding as _};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

fn main() {
    divan::main();
}

fn encoded(bytes: &[u8]) -> String {
    Base64UrlUnpadded::encode_string(bytes)
}

/// From what is signed to its signature.
type Sign = Box<dyn Fn(&[u8]) -> Vec<u8>>;

/// A key by its JWK, and what it signs with.
struct Signer {
    algorithm: &'static str,
    jwk: Value,
    sign: Sign,
}

fn rsa(size: KeySize) -> Signer {
    let key = RsaKeyPair::generate(size).expect("a key");
    let public = key.public_key();
    let n = public.modulus().big_endian_without_leading_zero().to_vec();
    let e = public.exponent().big_endian_without_leading_zero().to_vec();
    Signer {
        algorithm: "RS256",
        jwk: json!({"kty": "RSA", "kid": "k", "n": encoded(&n), "e": encoded(&e)}),
        sign: Box::new(move |input| {
            let mut signature = vec![0; key.public_modulus_len()];
            key.sign(
                &RSA_PKCS1_SHA256,
                &SystemRandom::new(),
                input,
                &mut signature,
            )
            .expect("a signature");
            signature
        }),
    }
}

fn ec(algorithm: &'static EcdsaSigningAlgorithm, name: &'static str, curve: &str) -> Signer {
    let key = EcdsaKeyPair::generate(algorithm).expect("a key");
    let point = key.public_key().as_ref();
    let (x, y) = point.get(1..).expect("a point").split_at(point.len() / 2);
    Signer {
        algorithm: name,
        jwk: json!({"kty": "EC", "crv": curve, "kid": "k", "x": encoded(x), "y": encoded(y)}),
        sign: Box::new(move |input| {
            let signature = key.sign(&SystemRandom::new(), input).expect("a signature");
            signature.as_ref().to_vec()
        }),
    }
}

struct Setting {
    runtime: Runtime,
    trust: Trust,
    evidence: Evidence,
}

impl Setting {
    fn new(signer: &Signer, cache_bytes: u64) -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let _entered = runtime.enter();
        let domain = TrustDomain::parse("cluster.local").expect("a trust domain");
        let keys = KeySource::Inline(json!({"keys": [signer.jwk]}).to_string());
        let issuer = "https://issuer.example";
        let mut config = ProviderConfig::new("ci", ProviderKind::Oidc, issuer, keys, domain);
        config.algorithms = Algorithm::ALL.to_vec();
        let mut settings = TrustSettings::new(Arc::new(|| NOW));
        settings.cache_bytes = cache_bytes;
        let trust = Trust::new(settings);
        trust.replace(vec![config]).expect("a configuration");
        let until = NOW.plus(Duration::from_mins(10)).as_seconds();
        let claims = json!({
            "iss": issuer, "sub": "build-42", "aud": "attache",
            "iat": NOW.as_seconds(), "exp": until,
        });
        let header = json!({"alg": signer.algorithm, "kid": "k", "typ": "JWT"});
        let parts = [header, claims].map(|part| encoded(part.to_string().as_bytes()));
        let input = parts.join(".");
        let token = format!("{input}.{}", encoded(&(signer.sign)(input.as_bytes())));
        drop(_entered);
        Self {
            runtime,
            trust,
            evidence: Evidence::Token(Secret::new(token)),
        }
    }

    fn attest(&self) {
        let attested = self
            .runtime
            .block_on(self.trust.attest(&self.evidence, NOW));
        attested.unwrap_or_else(|why| panic!("{why:?}"));
    }
}

fn bench(bencher: divan::Bencher<'_, '_>, signer: &Signer, cache_bytes: u64) {
    let setting = Setting::new(signer, cache_bytes);
    setting.attest();
    bencher.bench_local(|| setting.attest());
}

#[divan::bench]
fn first_rsa_2048(bencher: divan::Bencher<'_, '_>) {
    bench(bencher, &rsa(KeySize::Rsa2048), 0);
}

#[divan::bench]
fn first_rsa_4096(bencher: divan::Bencher<'_, '_>) {
    bench(bencher, &rsa(KeySize::Rsa4096), 0);
}

/// The largest key that is accepted.
#[divan::bench]
fn first_rsa_8192(bencher: divan::Bencher<'_, '_>) {
    bench(bencher, &rsa(KeySize::Rsa8192), 0);
}

#[divan::bench]
fn first_es256(bencher: divan::Bencher<'_, '_>) {
    bench(
        bencher,
        &ec(&ECDSA_P256_SHA256_FIXED_SIGNING, "ES256", "P-256"),
        0,
    );
}

#[divan::bench]
fn first_es384(bencher: divan::Bencher<'_, '_>) {
    bench(
        bencher,
        &ec(&ECDSA_P384_SHA384_FIXED_SIGNING, "ES384", "P-384"),
        0,
    );
}

#[divan::bench]
fn again(bencher: divan::Bencher<'_, '_>) {
    bench(bencher, &rsa(KeySize::Rsa2048), 1 << 20);
}
