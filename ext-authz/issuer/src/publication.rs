//! The two documents by which anyone verifies our tokens: the JWK set (RFC 7517 §5) and the
//! discovery document (OpenID Connect Discovery 1.0 §3).

use attache_core::jwt::Algorithm;
use serde_json::{Value, json};

use crate::config::IssuerUrl;

/// Where the discovery document lies under the issuer's URL (Discovery §4).
pub const DISCOVERY_PATH: &str = "/.well-known/openid-configuration";
/// Where the JWK set lies under the issuer's URL.
pub const KEYS_PATH: &str = "/keys";

/// The claims of our tokens, in their order.
const CLAIMS: [&str; 7] = ["iss", "sub", "aud", "iat", "nbf", "exp", "jti"];

/// The discovery document.
///
/// It has no `authorization_endpoint` and no `token_endpoint`: nobody logs in here, and tokens leave
/// only against evidence, so an endpoint would be a promise that is not kept. Kubernetes and GitHub
/// publish their workload issuers the same way, and client libraries read them (RFC 8414 §2 asks for
/// the endpoints only where a grant type uses them).
pub(crate) fn discovery_document(url: &IssuerUrl, algorithms: &[Algorithm]) -> Vec<u8> {
    let names: Vec<_> = algorithms
        .iter()
        .map(|algorithm| algorithm.name())
        .collect();
    let document = json!({
        "issuer": url.as_str(),
        "jwks_uri": format!("{url}{KEYS_PATH}"),
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": names,
        "claims_supported": CLAIMS,
    });
    document.to_string().into_bytes()
}

/// The JWK set. Order carries no meaning: verifiers choose by `kid`.
pub(crate) fn jwks(keys: &[Value]) -> Vec<u8> {
    json!({ "keys": keys }).to_string().into_bytes()
}
