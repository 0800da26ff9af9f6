//! JWTs made by hand: right ones, and every kind of wrong one.

use anyhow::{Result, anyhow};
use aws_lc_rs::{
    encoding::AsDer as _,
    hmac,
    rand::SystemRandom,
    rsa::{KeyPair, KeySize},
    signature::{KeyPair as _, RSA_PKCS1_SHA256},
};
use base64ct::{Base64, Base64UrlUnpadded, Encoding as _};
use serde_json::{Value, json};

/// An RSA key with its `kid`.
#[derive(Debug)]
pub struct RsaKey {
    kid: String,
    pair: KeyPair,
}

impl RsaKey {
    /// A new key of 2048 bits.
    pub fn generate(kid: &str) -> Result<Self> {
        let pair = KeyPair::generate(KeySize::Rsa2048)
            .map_err(|_unspecified| anyhow!("no key was made"))?;
        Ok(Self {
            kid: kid.to_owned(),
            pair,
        })
    }

    /// The public JWK.
    pub fn jwk(&self) -> Value {
        let public = self.pair.public_key();
        let encode = Base64UrlUnpadded::encode_string;
        json!({
            "kty": "RSA",
            "use": "sig",
            "alg": "RS256",
            "kid": self.kid,
            "n": encode(public.modulus().big_endian_without_leading_zero()),
            "e": encode(public.exponent().big_endian_without_leading_zero()),
        })
    }

    /// The public key as SubjectPublicKeyInfo, PEM.
    pub fn public_pem(&self) -> Result<String> {
        let der = self
            .pair
            .public_key()
            .as_der()
            .map_err(|_unspecified| anyhow!("the key has no DER form"))?;
        let text = Base64::encode_string(der.as_ref());
        let lines: Vec<&str> = text
            .as_bytes()
            .chunks(64)
            .filter_map(|line| str::from_utf8(line).ok())
            .collect();
        Ok(format!(
            "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
            lines.join("\n")
        ))
    }

    /// `claims`, signed RS256 under this key's `kid`.
    pub fn sign(&self, claims: &Value) -> Result<String> {
        self.sign_under(&self.header(), claims)
    }

    /// `claims` under any `header`, signed RS256.
    pub fn sign_under(&self, header: &Value, claims: &Value) -> Result<String> {
        let input = signing_input(header, claims);
        let mut signature = vec![0; self.pair.public_modulus_len()];
        self.pair
            .sign(
                &RSA_PKCS1_SHA256,
                &SystemRandom::new(),
                input.as_bytes(),
                &mut signature,
            )
            .map_err(|_unspecified| anyhow!("no signature was made"))?;
        Ok(with_signature(&input, &signature))
    }

    fn header(&self) -> Value {
        json!({ "alg": "RS256", "typ": "JWT", "kid": self.kid })
    }

    /// `claims`, made wrong in one way. `self` is the key that the issuer publishes.
    pub fn forge(&self, forgery: Forgery, claims: &Value) -> Result<String> {
        let mut header = self.header();
        match forgery {
            Forgery::ForeignKey => Self::generate(&self.kid)?.sign(claims),
            Forgery::UnknownKey => Self::generate("nobody-knows-me")?.sign(claims),
            Forgery::None => {
                header["alg"] = "none".into();
                Ok(with_signature(&signing_input(&header, claims), &[]))
            }
            Forgery::HmacWithPublicKey => {
                header["alg"] = "HS256".into();
                let input = signing_input(&header, claims);
                let key = hmac::Key::new(hmac::HMAC_SHA256, self.public_pem()?.as_bytes());
                Ok(with_signature(
                    &input,
                    hmac::sign(&key, input.as_bytes()).as_ref(),
                ))
            }
            Forgery::OtherAlgorithm => {
                header["alg"] = "ES256".into();
                self.sign_under(&header, claims)
            }
            Forgery::EmbeddedKey => {
                let own = Self::generate("embedded")?;
                let header = json!({ "alg": "RS256", "kid": "embedded", "jwk": own.jwk() });
                own.sign_under(&header, claims)
            }
            Forgery::KeySetUrl => {
                header["jku"] = "https://attacker.example/keys".into();
                self.sign_under(&header, claims)
            }
            Forgery::Critical => {
                header["crit"] = json!(["exp"]);
                self.sign_under(&header, claims)
            }
            Forgery::ClaimsChanged => {
                let honest = self.sign(claims)?;
                let signature = honest.rsplit('.').next().unwrap_or_default();
                let mut raised = claims.clone();
                raised["sub"] = "system:serviceaccount:kube-system:cluster-admin".into();
                Ok(format!("{}.{signature}", signing_input(&header, &raised)))
            }
        }
    }
}

/// A way in which a token can be wrong although its claims look right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forgery {
    /// Signed with another key under the published `kid`.
    ForeignKey,
    /// Signed with another key under a `kid` that nobody published.
    UnknownKey,
    /// `alg: none`, without signature (RFC 8725 §2.1).
    None,
    /// HS256, keyed with the published public key (RFC 8725 §2.1: key confusion).
    HmacWithPublicKey,
    /// The header says ES256, the key is RSA.
    OtherAlgorithm,
    /// The key comes along in the header (`jwk`).
    EmbeddedKey,
    /// The header says where to fetch the key (`jku`).
    KeySetUrl,
    /// A header that must be understood (`crit`).
    Critical,
    /// The claims were changed after signing.
    ClaimsChanged,
}

fn signing_input(header: &Value, claims: &Value) -> String {
    let part = |value: &Value| Base64UrlUnpadded::encode_string(value.to_string().as_bytes());
    format!("{}.{}", part(header), part(claims))
}

fn with_signature(input: &str, signature: &[u8]) -> String {
    format!("{input}.{}", Base64UrlUnpadded::encode_string(signature))
}
