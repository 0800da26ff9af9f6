//! Tokens: what is parsed is a compact JWS of one reading, what is verified keeps every rule, and the
//! real keys verify only what was really signed.

use core::time::Duration;
use std::{collections::HashSet, sync::LazyLock};

use attache_core::{
    jwks::{Key, KeySet},
    jwt::{Algorithm, RejectedToken, Rules, Unverified, Verified, VerifySignature},
    time::Timestamp,
};
use attache_trust::AwsLc;
use base64ct::{Base64UrlUnpadded, Encoding as _};
use serde_json::Value;

const NOW: i64 = 1_800_000_000;
const RULES: Rules<'_> = Rules {
    issuer: "https://issuer.example",
    audience: "attache",
    algorithms: &Algorithm::ALL,
    max_lifetime: Duration::from_hours(24),
    leeway: Duration::from_secs(30),
};

/// The issuer of the table in `tests/vectors`, and what its keys really signed.
struct Issuer {
    keys: KeySet,
    verifier: AwsLc,
    signed: HashSet<String>,
}

static ISSUER: LazyLock<Issuer> = LazyLock::new(|| {
    let table: Value =
        serde_json::from_str(include_str!("../../vectors/oidc.json")).expect("the table");
    let keys = KeySet::parse(table["keys"]["issuer"].to_string().as_bytes()).expect("its keys");
    let tokens = table["cases"].as_array().expect("cases").iter();
    let tokens = tokens.filter_map(|case| case["token"].as_str()?.rsplit_once('.'));
    Issuer {
        verifier: AwsLc::prepared(&keys, &Algorithm::ALL),
        keys,
        signed: tokens.map(|(input, _)| input.to_owned()).collect(),
    }
});

/// Claims are the fuzzer's to invent, signatures are not: this one believes all of them.
struct Believing;

impl VerifySignature for Believing {
    fn verify(&self, algorithm: Algorithm, key: &Key, _input: &[u8], _signature: &[u8]) -> bool {
        assert!(key.fits(algorithm), "asked about a key that does not fit");
        true
    }
}

/// The input as a token; or, if it begins with `{`, as header and payload on a line each, which is how the
/// fuzzer gets beneath base64url.
pub fn holds(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else {
        return;
    };
    let Some((header, payload)) = text.split_once('\n').filter(|_| text.starts_with('{')) else {
        return of_token(text);
    };
    let encode = |part: &str| Base64UrlUnpadded::encode_string(part.as_bytes());
    of_token(&format!("{}.{}.AAAA", encode(header), encode(payload)));
}

fn of_token(token: &str) {
    let unverified = match Unverified::parse(token) {
        Ok(unverified) => unverified,
        Err(rejected) => return coded(&rejected, token),
    };
    let now = Timestamp::from_seconds(NOW);
    let (header, claims) = one_reading(token, &unverified);
    let Issuer {
        keys,
        verifier,
        signed,
    } = &*ISSUER;
    match unverified.verify(keys, &RULES, &Believing, now) {
        Ok(verified) => keeps_every_rule(&verified, &header, &claims),
        Err(rejected) => coded(&rejected, token),
    }
    if unverified.verify(keys, &RULES, verifier, now).is_ok() {
        let input = token.rsplit_once('.').expect("three parts").0;
        assert!(signed.contains(input), "forged: {token}");
    }
}

/// A lenient reader finds the same in it.
fn one_reading(token: &str, unverified: &Unverified<'_>) -> (Value, Value) {
    let parts: Vec<_> = token.split('.').collect();
    assert_eq!(parts.len(), 3);
    let mut decoded = Vec::new();
    for part in &parts {
        let bytes = Base64UrlUnpadded::decode_vec(part).expect("base64url");
        assert_eq!(
            Base64UrlUnpadded::encode_string(&bytes),
            *part,
            "two spellings"
        );
        decoded.push(bytes);
    }
    let read = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).expect("JSON");
    let (header, claims) = (read(&decoded[0]), read(&decoded[1]));
    assert_eq!(header["alg"], unverified.algorithm().name());
    assert_eq!(header["kid"].as_str(), unverified.key_id());
    assert_eq!(claims["iss"].as_str(), unverified.issuer());
    for name in ["crit", "b64", "jku", "jwk", "x5u", "x5c"] {
        assert!(header.get(name).is_none(), "{name}");
    }
    (header, claims)
}

fn keeps_every_rule(verified: &Verified, header: &Value, claims: &Value) {
    assert!(
        header
            .get("typ")
            .is_none_or(|typ| typ == "JWT" || typ == "JOSE")
    );
    assert_eq!(claims["iss"], RULES.issuer);
    let audience = &claims["aud"];
    let listed = audience
        .as_array()
        .is_some_and(|all| all.iter().any(|one| one == "attache"));
    assert!(audience == "attache" || listed, "{audience}");
    let now = NOW as f64;
    let exp = claims["exp"].as_f64().expect("exp");
    assert!(exp > now, "expired at {exp}");
    for start in ["nbf", "iat"] {
        let start = claims
            .get(start)
            .map(|value| value.as_f64().expect("a number"));
        assert!(
            start.is_none_or(|start| start < now + 30.001),
            "not yet: {start:?}"
        );
    }
    let start = claims
        .get("iat")
        .or(claims.get("nbf"))
        .and_then(Value::as_f64);
    let lifetime = exp - start.expect("a beginning");
    assert!(lifetime < 86_400.002, "lives {lifetime} s");
    assert_eq!(
        verified.subject(),
        claims.get("sub").and_then(Value::as_str)
    );
    assert!(verified.expires_at().as_seconds() as f64 <= exp);
}

fn coded(rejected: &RejectedToken, token: &str) {
    assert!(rejected.code().starts_with("token-"));
    // SECURITY: a reason is logged, and must never carry the token.
    let told = format!("{rejected} {rejected:?} {}", rejected.sentence());
    assert!(token.len() < 16 || !told.contains(token), "{told}");
}
