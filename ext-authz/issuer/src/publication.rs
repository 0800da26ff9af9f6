//! The documents by which anyone verifies our tokens: the JWK set (RFC 7517 §5), the discovery document
//! (OpenID Connect Discovery 1.0 §3), and the SPIFFE bundle (SPIFFE Trust Domain and Bundle §4).

use std::sync::Arc;

use attache_core::jwt::Algorithm;
use serde_json::{Map, Value, json};

use crate::{config::IssuerConfig, rotation::DOCUMENTS_MAX_AGE};

/// Where the discovery document lies under the issuer's URL (Discovery §4).
pub const DISCOVERY_PATH: &str = "/.well-known/openid-configuration";
/// Where the JWK set lies under the issuer's URL.
pub const KEYS_PATH: &str = "/keys";
/// Where the SPIFFE bundle lies under the issuer's URL.
pub const BUNDLE_PATH: &str = "/bundle";
/// Where tokens are exchanged under the issuer's URL, if they are.
pub const TOKEN_PATH: &str = "/token";

/// Evidence as `subject_token` (RFC 8693 §2.1).
pub const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
/// Evidence as `assertion` (RFC 7523 §2.1).
pub const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// The registered claims of our tokens, in their order.
const CLAIMS: [&str; 7] = ["iss", "sub", "aud", "iat", "nbf", "exp", "jti"];

/// What is published of one ring.
pub(crate) struct Documents {
    /// The JWK set.
    pub(crate) jwks: Arc<[u8]>,
    /// The SPIFFE bundle.
    pub(crate) bundle: Arc<[u8]>,
}

/// The documents of `keys`. Order carries no meaning: verifiers choose by `kid`.
pub(crate) fn documents(keys: &[Value], sequence: u64) -> Documents {
    let jwks = json!({ "keys": keys });
    let bundle = json!({
        "keys": keys.iter().map(for_svids).collect::<Vec<_>>(),
        "spiffe_sequence": sequence,
        "spiffe_refresh_hint": DOCUMENTS_MAX_AGE.as_secs(),
    });
    Documents {
        jwks: jwks.to_string().into_bytes().into(),
        bundle: bundle.to_string().into_bytes().into(),
    }
}

/// The same key as a bundle names it (Trust Domain and Bundle §4.2.2).
fn for_svids(jwk: &Value) -> Value {
    let mut jwk = jwk.clone();
    if let Some(usage) = jwk.get_mut("use") {
        *usage = Value::from("jwt-svid");
    }
    jwk
}

/// The discovery document.
///
/// It has no `authorization_endpoint`: nobody logs in here. Kubernetes and GitHub publish their workload
/// issuers the same way, and client libraries read them (RFC 8414 §2 asks for the endpoints only where a
/// grant type uses them). `token_endpoint` and its grant types are there while tokens are exchanged.
pub(crate) fn discovery_document(config: &IssuerConfig, algorithms: &[Algorithm]) -> Vec<u8> {
    let url = &config.url;
    let names: Vec<_> = algorithms
        .iter()
        .map(|algorithm| algorithm.name())
        .collect();
    let mut document = Map::new();
    let mut say = |name: &str, value: Value| document.insert(name.to_owned(), value);
    say("issuer", Value::from(url.as_str()));
    say("jwks_uri", Value::from(format!("{url}{KEYS_PATH}")));
    say("response_types_supported", json!(["id_token"]));
    say("subject_types_supported", json!(["public"]));
    say("id_token_signing_alg_values_supported", json!(names));
    say("claims_supported", json!(CLAIMS));
    if config.token_endpoint {
        say("token_endpoint", Value::from(format!("{url}{TOKEN_PATH}")));
        say("token_endpoint_auth_methods_supported", json!(["none"]));
        say("grant_types_supported", json!([TOKEN_EXCHANGE, JWT_BEARER]));
    }
    Value::Object(document).to_string().into_bytes()
}
