use std::{fs, path::Path, process::ExitCode};

use clap::Parser as _;
use serde_json::Value;

use super::{Report, VerifyArgs, run};
use crate::{Cli, Command};

/// The tables of `tests/vectors`.
const TABLES: [&str; 3] = [
    include_str!("../../../tests/vectors/oidc.json"),
    include_str!("../../../tests/vectors/jwt-svid.json"),
    include_str!("../../../tests/vectors/x509-svid.json"),
];

/// What a file cannot show: nothing, and what ends with one more line end.
const NOT_IN_A_FILE: [&str; 3] = ["oidc/empty", "oidc/line-end", "x509-svid/empty"];

fn parsed(arguments: &[String]) -> VerifyArgs {
    let line = ["attache", "verify"].into_iter().map(str::to_owned);
    let cli = Cli::try_parse_from(line.chain(arguments.iter().cloned()));
    let Command::Verify(args) = cli.unwrap_or_else(|wrong| panic!("{wrong}")).command else {
        panic!("another command");
    };
    args
}

/// The command line for a case, whose evidence and keys become files in `folder`.
fn arguments(folder: &Path, table: &Value, case: &Value) -> Vec<String> {
    let (evidence, keys) = (folder.join("evidence"), folder.join("keys"));
    let shown = match case["token"].as_str() {
        Some(token) => format!("{token}\n"),
        None => pem(&case["chain"]),
    };
    fs::write(&evidence, shown).expect("a file");
    let of_case = &table["keys"][case["keys"].as_str().expect("a name")];
    let text = of_case
        .as_str()
        .map_or_else(|| of_case.to_string(), str::to_owned);
    fs::write(&keys, text).expect("a file");
    let rules = &table["rules"][case["rules"].as_str().expect("a name")];
    let at = jiff::Timestamp::from_second(case["now"].as_i64().expect("seconds")).expect("a time");
    let (evidence, keys) = (evidence.display().to_string(), keys.display().to_string());
    let mut line = vec![evidence, "--at".to_owned(), at.to_string()];
    match rules["issuer"].as_str() {
        Some(issuer) => line.extend(["--jwks", &keys, "--issuer", issuer].map(str::to_owned)),
        None => {
            let domain = rules["trust_domain"].as_str().expect("a trust domain");
            line.extend(["--bundle", &keys, "--trust-domain", domain].map(str::to_owned));
        }
    }
    for algorithm in rules["algorithms"].as_array().into_iter().flatten() {
        let name = algorithm.as_str().expect("a name");
        line.extend(["--algorithm", name].map(str::to_owned));
    }
    line
}

fn pem(chain: &Value) -> String {
    let chain = chain.as_array().expect("certificates").iter();
    let pem = chain.map(|der| {
        let der = der.as_str().expect("base64");
        format!("-----BEGIN CERTIFICATE-----\n{der}\n-----END CERTIFICATE-----\n")
    });
    pem.collect()
}

/// Verdict, and subject or code, as the table writes them.
fn verdict(report: &Report) -> Value {
    let told = serde_json::to_value(report).expect("JSON");
    let proven = &told["proven"];
    match told["verdict"].as_str() {
        Some("accepted") => {
            let id = proven.get("spiffe_id").or(proven.get("subject"));
            serde_json::json!({"verdict": "accepted", "subject": id})
        }
        _ => serde_json::json!({"verdict": "rejected", "code": told["code"]}),
    }
}

#[test]
fn the_command_gives_the_verdicts_of_the_table_and_never_prints_a_token() {
    let folder = tempfile::tempdir().expect("a folder");
    for table in TABLES {
        let table: Value = serde_json::from_str(table).expect("a table");
        for case in table["cases"].as_array().expect("cases") {
            let id = case["id"].as_str().expect("an id");
            if NOT_IN_A_FILE.contains(&id) {
                continue;
            }
            let args = parsed(&arguments(folder.path(), &table, case));
            let (found, told) = match args.report() {
                Ok(report) => (verdict(&report), report.text()),
                // A key set that cannot be used is no verdict on the evidence.
                Err(error) => (
                    serde_json::json!({"verdict": "rejected", "code": "key-set-refused"}),
                    format!("{error:#}"),
                ),
            };
            assert_eq!(found, case["expect"], "{id}: {told}");
            let token = case["token"].as_str().unwrap_or_default();
            assert!(token.len() < 16 || !told.contains(token), "{id}: {told}");
            assert!(!told.contains(['\u{1b}', '\0']), "{id}: {told:?}");
        }
    }
}

#[test]
fn accepted_is_0_rejected_is_1_and_what_cannot_be_used_is_2() {
    let folder = tempfile::tempdir().expect("a folder");
    let table: Value = serde_json::from_str(TABLES[0]).expect("a table");
    let code = |id: &str| {
        let mut cases = table["cases"].as_array().expect("cases").iter();
        let case = cases.find(|case| case["id"] == id).expect("a case");
        let code = run(&parsed(&arguments(folder.path(), &table, case))).expect("an answer");
        format!("{code:?}")
    };
    let expected = |code: u8| format!("{:?}", ExitCode::from(code));
    assert_eq!(code("oidc/plain"), expected(0));
    assert_eq!(code("oidc/exp-now"), expected(1));
    assert_eq!(code("oidc/keys-private-rsa"), expected(2));
}

#[test]
fn a_token_on_the_command_line_is_refused_and_not_repeated() {
    let token = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.c2ln";
    let line = [token, "--policies", "/nonexistent"].map(str::to_owned);
    let error = parsed(&line).report().expect_err("no verdict");
    let told = format!("{error:#}");
    assert!(told.contains("standard input"), "{told}");
    assert!(!told.contains(token), "{told}");
}

#[test]
fn without_keys_nothing_is_judged() {
    let mut args = parsed(&[
        "evidence".to_owned(),
        "--policies".to_owned(),
        "p".to_owned(),
    ]);
    (args.policies, args.config) = (None, None);
    let told = args.report().expect_err("no verdict").to_string();
    assert!(told.contains("--jwks FILE"), "{told}");
}

#[test]
fn the_trust_providers_of_a_directory_give_the_attributes_they_prove() {
    let folder = tempfile::tempdir().expect("a folder");
    let table: Value = serde_json::from_str(TABLES[0]).expect("a table");
    let keys = serde_json::to_string(&table["keys"]["issuer"].to_string()).expect("a text");
    let provider = format!(
        "apiVersion: attache.dev/v1\nkind: TrustProvider\nmetadata: {{name: ci}}\nspec:\n  type: oidc\n  \
         issuer: https://issuer.example\n  keys: {{jwks: {keys}}}\n"
    );
    let policies = folder.path().join("policies");
    fs::create_dir(&policies).expect("a folder");
    fs::write(policies.join("providers.yaml"), provider).expect("a file");
    let mut cases = table["cases"].as_array().expect("cases").iter();
    let good = cases
        .find(|case| case["id"] == "oidc/plain")
        .expect("a case");
    let token = folder.path().join("token.jwt");
    fs::write(&token, good["token"].as_str().expect("a token")).expect("a file");
    let report_at = |at: &str| {
        let (token, policies) = (token.display().to_string(), policies.display().to_string());
        let line = [&token, "--policies", &policies, "--at", at].map(str::to_owned);
        let report = parsed(&line).report();
        serde_json::to_value(report.unwrap_or_else(|error| panic!("{error:#}"))).expect("JSON")
    };
    let accepted = report_at("2027-01-15T08:00:00Z");
    assert_eq!(accepted["verdict"], "accepted", "{accepted:#}");
    assert_eq!(accepted["proven"]["provider"], "ci", "{accepted:#}");
    let attributes = &accepted["proven"]["attributes"];
    assert_eq!(attributes["claims.sub"], "build-42", "{accepted:#}");
    assert_eq!(report_at("2027-01-16T08:00:00Z")["code"], "token-expired");
}

fn case<'t>(table: &'t Value, id: &str) -> &'t Value {
    let mut cases = table["cases"].as_array().expect("cases").iter();
    cases.find(|case| case["id"] == id).expect(id)
}

/// The verdict on evidence in a file, by keys in a file, with more arguments.
fn judged(evidence: &str, keys: &str, more: &[&str]) -> Value {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).expect("a file");
        path.display().to_string()
    };
    let (evidence, keys) = (file("evidence", evidence), file("keys", keys));
    let named = more.iter().map(|word| word.replace("KEYS", &keys));
    let line = [
        evidence,
        "--at".to_owned(),
        "2027-01-15T08:00:00Z".to_owned(),
    ];
    let line: Vec<String> = line.into_iter().chain(named).collect();
    match parsed(&line).report() {
        Ok(report) => verdict(&report),
        Err(error) => Value::String(format!("{error:#}")),
    }
}

/// RFC 5480 §2: a P-256 key.
fn public_key_pem(jwk: &Value) -> String {
    use base64ct::{Base64, Base64UrlUnpadded, Encoding as _};
    let head = [
        0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08,
        0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04,
    ];
    let coordinate = |name: &str| {
        Base64UrlUnpadded::decode_vec(jwk[name].as_str().expect("a text")).expect("base64url")
    };
    let der = [&head[..], &coordinate("x"), &coordinate("y")].concat();
    let lines = Base64::encode_string(&der);
    let (one, other) = lines.split_at(64);
    format!("-----BEGIN PUBLIC KEY-----\n{one}\n{other}\n-----END PUBLIC KEY-----\n")
}

#[test]
fn keys_and_authorities_may_stand_in_pem() {
    let [tokens, svids, chains] = TABLES.map(|table| {
        let table: Value = serde_json::from_str(table).expect("a table");
        table
    });
    let keys = &tokens["keys"]["issuer"]["keys"];
    let mut keys = keys.as_array().expect("keys").iter();
    let key = public_key_pem(keys.find(|key| key["kid"] == "p256").expect("a key"));
    let good = case(&tokens, "oidc/plain-ec");
    let token = good["token"].as_str().expect("a token");
    let of_issuer = ["--jwks", "KEYS", "--issuer", "https://issuer.example"];
    assert_eq!(judged(token, &key, &of_issuer), good["expect"]);
    // Of two keys neither is the one that the token names.
    let two = judged(token, &key.repeat(2), &of_issuer);
    assert_eq!(two["code"], "token-key-unknown", "{two}");
    let wrong = case(&tokens, "oidc/es256-zero");
    let token = wrong["token"].as_str().expect("a token");
    assert_eq!(judged(token, &key, &of_issuer), wrong["expect"]);

    let domain = "example.org";
    let of_domain = ["--bundle", "KEYS", "--trust-domain", domain];
    let bundle = |table: &Value| table["keys"]["domains"]["trust_domains"][domain]["keys"].clone();
    let root = pem(&bundle(&chains)[0]["x5c"]);
    for id in [
        "x509-svid/intermediate",
        "x509-svid/two-uris",
        "x509-svid/of-nobody",
    ] {
        let case = case(&chains, id);
        assert_eq!(
            judged(&pem(&case["chain"]), &root, &of_domain),
            case["expect"],
            "{id}"
        );
    }
    let key = public_key_pem(&bundle(&svids)[0]);
    for id in [
        "jwt-svid/plain",
        "jwt-svid/without-kid",
        "jwt-svid/aud-other",
    ] {
        let case = case(&svids, id);
        let token = case["token"].as_str().expect("a token");
        assert_eq!(judged(token, &key, &of_domain), case["expect"], "{id}");
    }
    let private = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    let told = judged(token, private, &of_issuer).to_string();
    assert!(told.contains("private key"), "{told}");
}

#[test]
fn one_of_several_audiences_is_enough() {
    let tokens: Value = serde_json::from_str(TABLES[0]).expect("a table");
    let keys = tokens["keys"]["issuer"].to_string();
    let judge = |id: &str, audiences: &[&str]| {
        let token = case(&tokens, id)["token"].as_str().expect("a token");
        let mut line = vec!["--jwks", "KEYS", "--issuer", "https://issuer.example"];
        line.extend(
            audiences
                .iter()
                .flat_map(|audience| ["--audience", audience]),
        );
        judged(token, &keys, &line)
    };
    let accepted = case(&tokens, "oidc/plain")["expect"].clone();
    assert_eq!(judge("oidc/plain", &["other", "attache"]), accepted);
    assert_eq!(judge("oidc/plain", &["attache", "other"]), accepted);
    let none = judge("oidc/plain", &["other", "another"]);
    assert_eq!(none["code"], "token-audience-mismatch");
    let expired = judge("oidc/exp-now", &["other", "attache"]);
    assert_eq!(expired["code"], "token-expired");
}
