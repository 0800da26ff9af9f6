//! A trust domain of a test's own: JWT-SVIDs by ES256, right ones and wrong ones.

use anyhow::{Result, anyhow};
use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use base64ct::{Base64UrlUnpadded, Encoding as _};
use serde_json::{Value, json};

/// A key that signs JWT-SVIDs.
pub struct SvidSigner {
    kid: String,
    pair: EcdsaKeyPair,
}

impl SvidSigner {
    /// A new key with this `kid`.
    pub fn new(kid: &str) -> Result<Self> {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)
            .map_err(|_unspecified| anyhow!("no key was made"))?;
        Ok(Self {
            kid: kid.to_owned(),
            pair,
        })
    }

    /// The public JWK, as a SPIFFE bundle holds it.
    pub fn jwk(&self) -> Value {
        let point = self.pair.public_key().as_ref();
        let coordinate = |from, to| encoded(point.get(from..to).unwrap_or_default());
        json!({"kty": "EC", "crv": "P-256", "use": "jwt-svid", "kid": self.kid,
               "x": coordinate(1, 33), "y": coordinate(33, 65)})
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
        let mut header = json!({"alg": "ES256", "kid": self.kid, "typ": "JWT"});
        let mut claims = json!({"sub": id, "aud": [audience], "iat": now, "exp": now + 300});
        change(&mut header, &mut claims);
        let input = format!(
            "{}.{}",
            encoded(header.to_string()),
            encoded(claims.to_string())
        );
        let signature = self.pair.sign(&SystemRandom::new(), input.as_bytes());
        // Signing fails for want of randomness alone; a token without signature is then refused by everybody.
        let signature = signature.map(encoded).unwrap_or_default();
        format!("{input}.{signature}")
    }
}

fn encoded(bytes: impl AsRef<[u8]>) -> String {
    Base64UrlUnpadded::encode_string(bytes.as_ref())
}
