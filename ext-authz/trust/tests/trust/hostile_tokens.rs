//! Tokens that an attacker may send, one row each, with the code that the caller and the audit see.

use attache_trust::{KeySource, Trust};
use aws_lc_rs::{
    hmac,
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use base64ct::{Base64UrlUnpadded, Encoding as _};
use serde_json::{Value, json};

use crate::signer::{ISSUER, NOW, Signer, claims, encoded, oidc, trust, verdict, with, without};

struct Row {
    name: String,
    token: String,
    code: &'static str,
}

fn row(name: impl Into<String>, token: impl Into<String>, code: &'static str) -> Row {
    Row {
        name: name.into(),
        token: token.into(),
        code,
    }
}

fn good_claims() -> Value {
    claims(ISSUER)
}

fn provider(signer: &Signer) -> std::sync::Arc<Trust> {
    trust(vec![oidc("ci", ISSUER, KeySource::Inline(signer.jwks()))])
}

/// RS256 with these header members beside or instead of the proper ones.
fn header(signer: &Signer, changes: &Value) -> String {
    let mut header = json!({"alg": "RS256", "kid": "rsa", "typ": "JWT"});
    for (name, value) in changes.as_object().expect("members") {
        header[name] = value.clone();
    }
    signer.sign_raw("RS256", &header.to_string(), &good_claims().to_string())
}

fn replace_signature(token: &str, signature: &[u8]) -> String {
    let (input, _) = token.rsplit_once('.').expect("a token");
    format!("{input}.{}", encoded(signature))
}

async fn judge(trust: &Trust, signer: &Signer, rows: &[Row]) {
    let oracle = Oracle::of(signer);
    let mut wrong = Vec::new();
    for Row { name, token, code } in rows {
        let found = verdict(trust, token).await;
        if found != *code {
            wrong.push(format!("{name}: {found}, not {code}"));
        }
        if found == "attested" {
            assert!(
                oracle.verifies(token),
                "{name}: jsonwebtoken refuses its signature"
            );
        }
        if found == "token-signature-invalid" {
            assert!(
                !oracle.verifies(token),
                "{name}: jsonwebtoken accepts its signature"
            );
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// What another implementation says about signatures.
struct Oracle(Vec<jsonwebtoken::jwk::Jwk>);

impl Oracle {
    fn of(signer: &Signer) -> Self {
        let set: jsonwebtoken::jwk::JwkSet = serde_json::from_str(&signer.jwks()).expect("a set");
        Self(set.keys)
    }

    /// Whether a key of the token's `kid`, or any key where it has none, made its signature.
    fn verifies(&self, token: &str) -> bool {
        let header = jsonwebtoken::decode_header(token).expect("a header");
        let named =
            |jwk: &&jsonwebtoken::jwk::Jwk| header.kid.is_none() || header.kid == jwk.common.key_id;
        self.0.iter().filter(named).any(|jwk| {
            let key = jsonwebtoken::DecodingKey::from_jwk(jwk).expect("a key");
            let (input, signature) = token.rsplit_once('.').expect("a token");
            let verified =
                jsonwebtoken::crypto::verify(signature, input.as_bytes(), &key, header.alg);
            verified.unwrap_or(false)
        })
    }
}

#[expect(clippy::too_many_lines, reason = "a table of cases")]
#[tokio::test]
async fn tokens_that_keep_every_rule_are_attested() {
    let signer = Signer::new();
    let mut config = oidc("ci", ISSUER, KeySource::Inline(signer.jwks()));
    config.algorithms = attache_core::jwt::Algorithm::ALL.to_vec();
    let trust = trust(vec![config]);
    let by = |alg: &str, kid: &str| {
        let header = json!({"alg": alg, "kid": kid}).to_string();
        row(
            alg,
            signer.sign_raw(alg, &header, &good_claims().to_string()),
            "attested",
        )
    };
    let mut rows = vec![by("ES256", "p256"), by("ES384", "p384")];
    rows.extend(["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"].map(|alg| by(alg, "rsa")));
    let good = |name: &str, claims: Value| row(name, signer.sign("rsa", &claims), "attested");
    let now = NOW.as_seconds();
    rows.extend([
        good(
            "several audiences",
            with(good_claims(), "aud", json!(["other", "attache"])),
        ),
        good(
            "nbf within the leeway",
            with(good_claims(), "nbf", now + 30),
        ),
        good(
            "iat within the leeway",
            with(good_claims(), "iat", now + 30),
        ),
        good(
            "exp in the next second",
            with(good_claims(), "exp", now + 1),
        ),
        good(
            "exp with a fraction",
            with(good_claims(), "exp", 1_800_000_000.25),
        ),
        good(
            "24 h to the second",
            with(good_claims(), "exp", now - 10 + 86_400),
        ),
        good(
            "nbf instead of iat",
            with(without(good_claims(), "iat"), "nbf", now),
        ),
        good(
            "unknown claims",
            with(good_claims(), "https://example.com/roles", json!(["a"])),
        ),
        row(
            "typ JOSE",
            header(&signer, &json!({"typ": "JOSE"})),
            "attested",
        ),
        row(
            "unknown header",
            header(&signer, &json!({"x5t": "abc", "ver": 1})),
            "attested",
        ),
    ]);
    let no_kid = json!({"alg": "ES256"}).to_string();
    let no_kid = signer.sign_raw("ES256", &no_kid, &good_claims().to_string());
    rows.push(row("no kid, one key fits", no_kid, "attested"));
    judge(&trust, &signer, &rows).await;
}

#[tokio::test]
async fn a_token_of_another_implementation_is_attested() {
    let signer = Signer::new();
    let pkcs8 = signer.p256.to_pkcs8v1().expect("PKCS#8");
    let key = jsonwebtoken::EncodingKey::from_ec_der(pkcs8.as_ref());
    let mut header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::ES256);
    header.kid = Some("p256".to_owned());
    let token = jsonwebtoken::encode(&header, &good_claims(), &key).expect("a token");
    assert_eq!(verdict(&provider(&signer), &token).await, "attested");
}

fn algorithm_rows(signer: &Signer) -> Vec<Row> {
    let payload = good_claims().to_string();
    let not_allowed = "token-algorithm-not-allowed";
    let mut rows = Vec::new();
    for alg in [
        "none", "None", "NONE", "nOnE", "HS256", "HS384", "HS512", "EdDSA", "ES512", "ES256K",
        "RSA-OAEP", "rs256", "",
    ] {
        let token = header(signer, &json!({"alg": alg}));
        rows.push(row(format!("alg {alg:?}"), token, not_allowed));
    }
    for alg in ["none", "None", "NONE"] {
        let input = encoded(json!({"alg": alg}).to_string().as_bytes());
        let token = format!("{input}.{}.", encoded(payload.as_bytes()));
        rows.push(row(format!("unsigned, alg {alg}"), token, not_allowed));
    }
    // The classic key confusion: the public key, which everyone has, as HMAC secret.
    let der = signer.rsa.public_key().as_ref();
    let pem = format!(
        "-----BEGIN RSA PUBLIC KEY-----\n{}\n-----END RSA PUBLIC KEY-----\n",
        encoded(der)
    );
    for (name, secret) in [
        ("DER", der),
        ("PEM", pem.as_bytes()),
        ("JWK", signer.jwks().as_bytes()),
    ] {
        let head = json!({"alg": "HS256", "kid": "rsa"}).to_string();
        let input = format!(
            "{}.{}",
            encoded(head.as_bytes()),
            encoded(payload.as_bytes())
        );
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), input.as_bytes());
        let token = format!("{input}.{}", encoded(tag.as_ref()));
        rows.push(row(
            format!("HS256 with the RSA public key as {name}"),
            token,
            not_allowed,
        ));
    }
    for alg in ["RS384", "PS256", "ES384"] {
        let kid = if alg == "ES384" { "p384" } else { "rsa" };
        let head = json!({"alg": alg, "kid": kid}).to_string();
        let token = signer.sign_raw(alg, &head, &payload);
        rows.push(row(
            format!("{alg}, sound but not in the list"),
            token,
            not_allowed,
        ));
    }
    rows.push(row(
        "alg is a number",
        header(signer, &json!({"alg": 256})),
        "token-malformed",
    ));
    rows.push(row(
        "alg is a list",
        header(signer, &json!({"alg": ["RS256"]})),
        "token-malformed",
    ));
    rows
}

fn header_rows(signer: &Signer) -> Vec<Row> {
    let not_allowed = "token-header-not-allowed";
    let own = Signer::new();
    let mut rows = Vec::new();
    for changes in [
        json!({"crit": ["exp"]}),
        json!({"crit": []}),
        json!({"crit": ["b64"], "b64": false}),
        json!({"b64": true}),
        json!({"jku": "http://127.0.0.1/keys"}),
        json!({"jku": format!("{ISSUER}/keys")}),
        json!({"x5u": "https://attacker.example/chain.pem"}),
        json!({"x5c": ["MIIB"]}),
        json!({"jwk": own.rsa_jwk("rsa")}),
        json!({"jwk": null}),
        json!({"typ": "at+jwt"}),
        json!({"typ": "wit+jwt"}),
        json!({"typ": "dpop+jwt"}),
        json!({"typ": "jwt"}),
        json!({"typ": null}),
        json!({"typ": ["JWT"]}),
    ] {
        rows.push(row(
            format!("header {changes}"),
            header(signer, &changes),
            not_allowed,
        ));
    }
    // The attacker's own key in the header, and the signature that it makes.
    let head = json!({"alg": "RS256", "kid": "rsa", "jwk": own.rsa_jwk("rsa")}).to_string();
    let forged = own.sign_raw("RS256", &head, &good_claims().to_string());
    rows.push(row("embedded key that verifies", forged, not_allowed));
    rows
}

fn key_rows(signer: &Signer) -> Vec<Row> {
    let payload = good_claims().to_string();
    let unknown = "token-key-unknown";
    let mut rows = Vec::new();
    for kid in [
        "",
        "RSA",
        "rsa ",
        "rsa\0",
        "../../etc/passwd",
        "rsa' OR '1'='1",
        "/dev/null",
        "p512",
    ] {
        rows.push(row(
            format!("kid {kid:?}"),
            header(signer, &json!({"kid": kid})),
            unknown,
        ));
    }
    for kid in [json!(7), json!(null), json!(["rsa"])] {
        rows.push(row(
            format!("kid {kid}"),
            header(signer, &json!({"kid": kid})),
            "token-malformed",
        ));
    }
    for (alg, kid) in [("RS256", "p256"), ("ES256", "rsa"), ("ES256", "p384")] {
        let head = json!({"alg": alg, "kid": kid}).to_string();
        let token = signer.sign_raw(alg, &head, &payload);
        rows.push(row(
            format!("{alg} by the key {kid}"),
            token,
            "token-key-mismatch",
        ));
    }
    rows
}

#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn signature_rows(signer: &Signer) -> Vec<Row> {
    let payload = good_claims().to_string();
    let invalid = "token-signature-invalid";
    let head = json!({"alg": "ES256", "kid": "p256"}).to_string();
    let ec = signer.sign_raw("ES256", &head, &payload);
    let (input, _) = ec.rsplit_once('.').expect("a token");
    let fixed = signer.signature("ES256", input.as_bytes());
    let pkcs8 = signer.p256.to_pkcs8v1().expect("PKCS#8");
    let der_key =
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8.as_ref()).expect("a key");
    let der = der_key
        .sign(&SystemRandom::new(), input.as_bytes())
        .expect("a signature");
    let padded = [&[0], &fixed[..32], &[0], &fixed[32..]].concat();
    let swapped = [&fixed[32..], &fixed[..32]].concat();
    let order = [
        0xffff_ffff_0000_0000_ffff_ffff_ffff_ffff_u128,
        0xbce6_faad_a717_9e84_f3b9_cac2_fc63_2551,
    ];
    let order = order.map(u128::to_be_bytes).concat();
    let rs = signer.sign("rsa", &good_claims());
    let (rs_input, _) = rs.rsplit_once('.').expect("a token");
    let rsa = signer.signature("RS256", rs_input.as_bytes());
    let other = Signer::new().sign("rsa", &good_claims());
    let altered = with(good_claims(), "sub", "admin").to_string();
    let mut parts = rs.split('.');
    let (rs_head, _, rs_sig) = (
        parts.next().expect("3"),
        parts.next().expect("3"),
        parts.next().expect("3"),
    );
    vec![
        row("no signature", replace_signature(&rs, b""), invalid),
        row("no EC signature", replace_signature(&ec, b""), invalid),
        row("all zero", replace_signature(&ec, &[0; 64]), invalid),
        row(
            "r = s = 1",
            replace_signature(&ec, &[&[0; 31][..], &[1], &[0; 31], &[1]].concat()),
            invalid,
        ),
        row(
            "r = s = n",
            replace_signature(&ec, &[order.clone(), order].concat()),
            invalid,
        ),
        row(
            "DER instead of r‖s",
            replace_signature(&ec, der.as_ref()),
            invalid,
        ),
        row(
            "r‖s one byte short",
            replace_signature(&ec, &fixed[..63]),
            invalid,
        ),
        row(
            "r‖s one byte long",
            replace_signature(&ec, &[&fixed[..], &[0]].concat()),
            invalid,
        ),
        row(
            "r‖s with leading zeros",
            replace_signature(&ec, &padded),
            invalid,
        ),
        row("s‖r", replace_signature(&ec, &swapped), invalid),
        row(
            "r‖s of P-384 length",
            replace_signature(&ec, &[7; 96]),
            invalid,
        ),
        row(
            "RSA, one byte short",
            replace_signature(&rs, &rsa[..255]),
            invalid,
        ),
        row(
            "RSA, a leading zero",
            replace_signature(&rs, &[&[0], &rsa[..]].concat()),
            invalid,
        ),
        row("RSA, all zero", replace_signature(&rs, &[0; 256]), invalid),
        row(
            "RSA, all ones",
            replace_signature(&rs, &[0xff; 256]),
            invalid,
        ),
        row(
            "PSS for PKCS #1",
            replace_signature(&rs, &signer.signature("PS256", rs_input.as_bytes())),
            invalid,
        ),
        row(
            "SHA-384 for SHA-256",
            replace_signature(&rs, &signer.signature("RS384", rs_input.as_bytes())),
            invalid,
        ),
        row("another issuer's key of that kid", other, invalid),
        row(
            "another payload",
            format!("{rs_head}.{}.{rs_sig}", encoded(altered.as_bytes())),
            invalid,
        ),
    ]
}

/// `token` with the unused bits of its last character set: the same bytes to a lenient reader.
fn with_loose_bits(token: &str) -> String {
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let last = token.chars().last().expect("a token");
    let at = alphabet.find(last).expect("base64url");
    let loose = alphabet.chars().nth(at + 1).expect("unused bits are zero");
    let mut token = token.to_owned();
    token.pop();
    token.push(loose);
    token
}

#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn encoding_rows(signer: &Signer) -> Vec<Row> {
    let malformed = "token-malformed";
    let good = signer.sign("rsa", &good_claims());
    let parts: Vec<_> = good.split('.').collect();
    let general = json!({"payload": parts[1], "signatures": [{"protected": parts[0], "signature": parts[2]}]});
    let flat = json!({"payload": parts[1], "protected": parts[0], "signature": parts[2]});
    let standard = good.replace('-', "+").replace('_', "/");
    assert_ne!(
        standard, good,
        "a 256-byte signature without `-` and `_` does not occur"
    );
    let twice = |text: &str| signer.sign_raw("RS256", r#"{"alg":"RS256","kid":"rsa"}"#, text);
    let head = |text: &str| signer.sign_raw("RS256", text, &good_claims().to_string());
    let claims = good_claims().to_string();
    let appended = |more: &str| claims.replacen('{', &format!("{{{more},"), 1);
    let deep = format!(r#""x":{}1{}"#, "[".repeat(40), "]".repeat(40));
    let sized = |length: usize| with(good_claims(), "x", "a".repeat(length));
    vec![
        row("empty", "", malformed),
        row("two dots", "..", malformed),
        row("one part", parts[0], malformed),
        row("two parts", format!("{}.{}", parts[0], parts[1]), malformed),
        row("four parts", format!("{good}.{}", parts[2]), malformed),
        row(
            "JWE of five parts",
            format!("{0}.{1}.{1}.{1}.{1}", parts[0], parts[1]),
            malformed,
        ),
        row("general JSON serialisation", general.to_string(), malformed),
        row("flattened JSON serialisation", flat.to_string(), malformed),
        row("Bearer prefix", format!("Bearer {good}"), malformed),
        row("space before", format!(" {good}"), malformed),
        row("line end after", format!("{good}\n"), malformed),
        row("padding", format!("{good}=="), malformed),
        row("padded header", good.replacen('.', "=.", 1), malformed),
        row("standard base64", standard, malformed),
        row("unused bits set", with_loose_bits(&good), malformed),
        row("NUL after", format!("{good}\0"), malformed),
        row("not ASCII", format!("{good}é"), malformed),
        row(
            "header twice alg",
            head(r#"{"alg":"none","alg":"RS256","kid":"rsa"}"#),
            malformed,
        ),
        row(
            "header twice kid",
            head(r#"{"alg":"RS256","kid":"x","kid":"rsa"}"#),
            malformed,
        ),
        row("header without alg", head(r#"{"kid":"rsa"}"#), malformed),
        row("header is a list", head(r#"["alg","RS256"]"#), malformed),
        row("header is no JSON", head("alg=RS256"), malformed),
        row(
            "payload twice sub",
            twice(&appended(r#""sub":"admin""#)),
            malformed,
        ),
        row(
            "payload twice iss by escape",
            twice(&appended(r#""\u0069ss":"https://issuer.example""#)),
            malformed,
        ),
        row(
            "payload twice deep",
            twice(&appended(r#""x":{"a":1,"a":2}"#)),
            malformed,
        ),
        row("payload is a list", twice("[]"), malformed),
        row("payload is a string", twice(r#""iss""#), malformed),
        row("payload is no JSON", twice("iss=x"), malformed),
        row("payload is empty", twice(""), malformed),
        row(
            "payload with more after it",
            twice(&format!("{claims}{{}}")),
            malformed,
        ),
        row(
            "payload with a byte order mark",
            twice(&format!("\u{feff}{claims}")),
            malformed,
        ),
        row("payload too deep", twice(&appended(&deep)), malformed),
        row(
            "payload with a lone surrogate",
            twice(&appended(r#""x":"\ud800""#)),
            malformed,
        ),
        row(
            "payload with an endless number",
            twice(&appended(r#""x":1e999"#)),
            malformed,
        ),
        row(
            "20 KiB",
            signer.sign("rsa", &sized(15 * 1024)),
            "token-too-large",
        ),
        row("1 MiB of dots", ".".repeat(1024 * 1024), "token-too-large"),
        row(
            "a token in a token",
            twice(&format!("\"{good}\"")),
            malformed,
        ),
    ]
}

#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn claim_rows(signer: &Signer) -> Vec<Row> {
    let now = NOW.as_seconds();
    let mut rows = Vec::new();
    let mut add = |name: &str, value: Value, code| {
        let title = format!("{name} {value}");
        rows.push(row(
            title,
            signer.sign("rsa", &with(good_claims(), name, value)),
            code,
        ));
    };
    let malformed = "token-claim-malformed";
    for name in ["exp", "nbf", "iat"] {
        for value in [
            json!("1800000600"),
            json!(-1),
            json!(-1.5),
            json!(1e300),
            json!(u64::MAX),
            json!(i64::MIN),
            json!(true),
            json!(null),
            json!([1_800_000_600]),
            json!({}),
        ] {
            add(name, value, malformed);
        }
    }
    add("exp", json!(0), "token-expired");
    add("exp", json!(now), "token-expired");
    add("exp", json!(now - 1), "token-expired");
    add("exp", json!(1_799_999_999.999), "token-expired");
    add("nbf", json!(now + 31), "token-not-yet-valid");
    add("iat", json!(now + 31), "token-not-yet-valid");
    add("exp", json!(now - 10 + 25 * 3600), "token-lives-too-long");
    add("exp", json!(253_402_300_799_u64), "token-lives-too-long");
    for issuer in [
        "https://issuer.example/",
        "https://ISSUER.example",
        "http://issuer.example",
        "",
        "https://issuer.example\0",
    ] {
        add("iss", json!(issuer), "issuer-unknown");
    }
    for issuer in [
        json!([ISSUER]),
        json!(null),
        json!({"iss": ISSUER}),
        json!(1),
    ] {
        add("iss", issuer, malformed);
    }
    for audience in [
        json!("Attache"),
        json!("attache "),
        json!(""),
        json!("*"),
        json!("other"),
        json!(["other", "attach"]),
    ] {
        add("aud", audience, "token-audience-mismatch");
    }
    for audience in [
        json!([]),
        json!(null),
        json!(1),
        json!({"attache": true}),
        json!(["attache", 1]),
        json!([["attache"]]),
    ] {
        add("aud", audience, malformed);
    }
    for subject in [json!(""), json!(null), json!(42), json!(["build-42"])] {
        add("sub", subject, malformed);
    }
    for name in ["iss", "aud", "exp", "sub", "iat"] {
        let token = signer.sign("rsa", &without(good_claims(), name));
        rows.push(row(format!("no {name}"), token, "token-claim-missing"));
    }
    rows
}

#[tokio::test]
async fn no_hostile_token_is_attested_and_each_is_told_why() {
    let signer = Signer::new();
    let trust = provider(&signer);
    let rows: Vec<_> = [
        algorithm_rows,
        header_rows,
        key_rows,
        signature_rows,
        encoding_rows,
        claim_rows,
    ]
    .into_iter()
    .flat_map(|rows| rows(&signer))
    .collect();
    assert!(rows.len() >= 150, "{} rows", rows.len());
    assert!(rows.iter().all(|row| row.code != "attested"));
    judge(&trust, &signer, &rows).await;
    // The table would prove nothing if the provider refused everything.
    assert_eq!(
        verdict(&trust, &signer.sign("rsa", &good_claims())).await,
        "attested"
    );
}

#[tokio::test]
async fn no_single_changed_character_is_attested() {
    let signer = Signer::new();
    let trust = provider(&signer);
    let head = json!({"alg": "ES256", "kid": "p256"}).to_string();
    let good = signer.sign_raw("ES256", &head, &good_claims().to_string());
    for at in 0..good.len() {
        for other in ["A", "-", ".", "="] {
            let mut changed = good.clone();
            changed.replace_range(at..=at, other);
            let expected = if changed == good {
                "attested"
            } else {
                verdict(&trust, &changed).await
            };
            assert_eq!(
                expected == "attested",
                changed == good,
                "character {at} as {other}: {changed}"
            );
        }
    }
    assert!(Base64UrlUnpadded::decode_vec(good.split('.').next().expect("a part")).is_ok());
}
