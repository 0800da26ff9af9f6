//! A trust domain of a test's own: JWT-SVIDs by ES256 or PS256, right ones and wrong ones.

use anyhow::{Result, anyhow};
use aws_lc_rs::{
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PSS_SHA256, RsaKeyPair,
    },
};
use base64ct::{Base64UrlUnpadded, Encoding as _};
use serde_json::{Value, json};

/// A key that signs JWT-SVIDs.
pub struct SvidSigner {
    kid: String,
    key: Key,
}

enum Key {
    /// ES256.
    P256(EcdsaKeyPair),
    /// PS256, which Envoy cannot verify.
    Rsa(RsaKeyPair),
}

impl SvidSigner {
    /// A new key with this `kid`.
    pub fn new(kid: &str) -> Result<Self> {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)
            .map_err(|_unspecified| anyhow!("no key was made"))?;
        Ok(Self {
            kid: kid.to_owned(),
            key: Key::P256(pair),
        })
    }

    /// The same for PS256.
    pub fn pss(kid: &str) -> Result<Self> {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048)
            .map_err(|_unspecified| anyhow!("no key was made"))?;
        Ok(Self {
            kid: kid.to_owned(),
            key: Key::Rsa(pair),
        })
    }

    /// The public JWK, as a SPIFFE bundle holds it.
    pub fn jwk(&self) -> Value {
        match &self.key {
            Key::P256(pair) => {
                let point = pair.public_key().as_ref();
                let coordinate = |from, to| encoded(point.get(from..to).unwrap_or_default());
                json!({"kty": "EC", "crv": "P-256", "use": "jwt-svid", "kid": self.kid,
                       "x": coordinate(1, 33), "y": coordinate(33, 65)})
            }
            Key::Rsa(pair) => {
                let public = pair.public_key();
                let n = public.modulus().big_endian_without_leading_zero();
                let e = public.exponent().big_endian_without_leading_zero();
                json!({"kty": "RSA", "use": "jwt-svid", "kid": self.kid,
                       "n": encoded(n), "e": encoded(e)})
            }
        }
    }

    const fn algorithm(&self) -> &'static str {
        match self.key {
            Key::P256(_) => "ES256",
            Key::Rsa(_) => "PS256",
        }
    }

    /// Signing fails for want of randomness alone; a token without signature is then refused by everybody.
    fn signature(&self, input: &[u8]) -> String {
        let random = SystemRandom::new();
        match &self.key {
            Key::P256(pair) => pair.sign(&random, input).map(encoded).unwrap_or_default(),
            Key::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                let signed = pair.sign(&RSA_PSS_SHA256, &random, input, &mut signature);
                signed.map(|()| encoded(signature)).unwrap_or_default()
            }
        }
    }

    /// A JWT-SVID for five minutes.
    pub fn good(&self, id: &str, audience: &str) -> String {
        self.svid(|_, _| {}, id, audience)
    }

    /// The same, with header and claims changed before it is signed.
    pub fn svid(
        &self,
        change: impl FnOnce(&mut Value, &mut Value),
        id: &str,
        audience: &str,
    ) -> String {
        let now = jiff::Timestamp::now().as_second();
        let mut header = json!({"alg": self.algorithm(), "kid": self.kid, "typ": "JWT"});
        let mut claims = json!({"sub": id, "aud": [audience], "iat": now, "exp": now + 300});
        change(&mut header, &mut claims);
        let input = format!(
            "{}.{}",
            encoded(header.to_string()),
            encoded(claims.to_string())
        );
        let signature = self.signature(input.as_bytes());
        format!("{input}.{signature}")
    }
}

fn encoded(bytes: impl AsRef<[u8]>) -> String {
    Base64UrlUnpadded::encode_string(bytes.as_ref())
}
