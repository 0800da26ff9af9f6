//! `private_key_jwt`: an assertion that a client signs with a key of its own (RFC 7523 §2.2, §3).

use attache_core::{decision::Fault, jwt::Algorithm, secret::Secret, time::Timestamp};
use aws_lc_rs::{
    rand::{self, SystemRandom},
    signature::{self, EcdsaKeyPair, RsaKeyPair},
};
use base64ct::{Base64UrlUnpadded, Encoding as _};
use rustls_pki_types::{PrivatePkcs8KeyDer, pem::PemObject as _};
use serde_json::json;
use tokio::task::spawn_blocking;

use crate::providers::calls::Failure;

/// How long an assertion lives. A minute bears clocks that differ; a server that refuses replays keeps it no longer.
const SECONDS: i64 = 60;

/// What an assertion is to say.
pub(super) struct Asked {
    pub(super) client_id: String,
    pub(super) audience: String,
    pub(super) key_id: Option<String>,
    pub(super) algorithm: Algorithm,
    pub(super) now: Timestamp,
}

/// Signed on the blocking threads: parsing and signing with RSA takes milliseconds.
pub(super) async fn signed(asked: Asked, key: Secret) -> Result<Secret, Failure> {
    let signed = spawn_blocking(move || sign(&asked, &key)).await;
    signed.map_err(|_ended| Failure::from(Fault::CredentialUnavailable))?
}

fn sign(asked: &Asked, key: &Secret) -> Result<Secret, Failure> {
    let mut random = [0; 16];
    let unsigned =
        |_no_cause| Failure::new(Fault::CredentialUnavailable, "no assertion was signed");
    rand::fill(&mut random).map_err(unsigned)?;
    let mut header = json!({"typ": "JWT", "alg": asked.algorithm.name()});
    if let (Some(key_id), Some(header)) = (&asked.key_id, header.as_object_mut()) {
        header.insert("kid".to_owned(), key_id.as_str().into());
    }
    let iat = asked.now.as_seconds();
    let claims = json!({
        "iss": asked.client_id,
        "sub": asked.client_id,
        "aud": asked.audience,
        "iat": iat,
        "nbf": iat,
        "exp": iat.saturating_add(SECONDS),
        "jti": Base64UrlUnpadded::encode_string(&random),
    });
    let part = |text: String| Base64UrlUnpadded::encode_string(text.as_bytes());
    let mut token = format!("{}.{}", part(header.to_string()), part(claims.to_string()));
    let signature = signature(asked.algorithm, key, token.as_bytes())?;
    token.push('.');
    token.push_str(&Base64UrlUnpadded::encode_string(&signature));
    Ok(Secret::new(token))
}

/// SECURITY: what is wrong with a key is not told in the words of its parser, which may repeat it.
fn signature(algorithm: Algorithm, key: &Secret, input: &[u8]) -> Result<Vec<u8>, Failure> {
    let unusable = || {
        let told = format!(
            "the client's key is no private key for {} in PEM, PKCS#8",
            algorithm.name()
        );
        Failure::new(Fault::SecretUnavailable, told)
    };
    let der = PrivatePkcs8KeyDer::from_pem_slice(key.expose().as_bytes());
    let der = der.map_err(|_malformed| unusable())?;
    let der = der.secret_pkcs8_der();
    let random = SystemRandom::new();
    if algorithm == Algorithm::Rs256 {
        let pair = RsaKeyPair::from_pkcs8(der).map_err(|_malformed| unusable())?;
        let mut signature = vec![0; pair.public_modulus_len()];
        let signed = pair.sign(&signature::RSA_PKCS1_SHA256, &random, input, &mut signature);
        signed.map_err(|_no_cause| unusable())?;
        return Ok(signature);
    }
    if algorithm == Algorithm::Es256 {
        let curve = &signature::ECDSA_P256_SHA256_FIXED_SIGNING;
        let pair = EcdsaKeyPair::from_pkcs8(curve, der).map_err(|_malformed| unusable())?;
        let signed = pair.sign(&random, input).map_err(|_no_cause| unusable())?;
        return Ok(signed.as_ref().to_vec());
    }
    Err(unusable())
}
