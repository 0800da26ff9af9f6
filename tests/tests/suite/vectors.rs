//! The table of tokens in `tests/vectors`: each with its verdict and code, by the rules of `core` and the
//! signatures of aws-lc-rs. Its README says how the files are read.

use std::{collections::BTreeMap, fs, process::Command, time::Duration};

use anyhow::{Context as _, Result};
use attache_core::{
    bundle::Bundle,
    certificate::{CertificateChain, RejectedCertificate},
    jwks::KeySet,
    jwt::{Algorithm, RejectedToken, Rules, SvidRules, Unverified},
    spiffe_id::TrustDomain,
    time::Timestamp,
};
use attache_tests::workspace;
use attache_trust::{
    AwsLc,
    x509::{self, Authorities},
};
use base64ct::{Base64, Encoding as _};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table<R> {
    kind: String,
    rules: BTreeMap<String, R>,
    keys: BTreeMap<String, Value>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    id: String,
    says: String,
    kind: String,
    keys: String,
    rules: String,
    /// Seconds since 1970.
    now: i64,
    /// Compact JWS.
    #[serde(default)]
    token: String,
    /// Certificates in DER, base64, leaf first.
    #[serde(default)]
    chain: Vec<String>,
    expect: Verdict,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "verdict", rename_all = "lowercase", deny_unknown_fields)]
enum Verdict {
    Accepted { subject: String },
    Rejected { code: String },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OidcRules {
    issuer: String,
    audience: String,
    algorithms: Vec<String>,
    max_lifetime: u64,
    leeway: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JwtSvidRules {
    trust_domain: String,
    audience: String,
    max_lifetime: u64,
    leeway: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct X509SvidRules {
    trust_domain: String,
}

impl Verdict {
    fn accepted(subject: &str) -> Self {
        let subject = subject.to_owned();
        Self::Accepted { subject }
    }

    fn rejected(code: &str) -> Self {
        let code = code.to_owned();
        Self::Rejected { code }
    }
}

fn table<R: DeserializeOwned>(file: &str) -> Result<Table<R>> {
    let path = workspace::root().join("tests/vectors").join(file);
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    Ok(serde_json::from_str(&text)?)
}

impl<R> Table<R> {
    /// Holds each case against `judge`, which gets the text of the keys; all that differ are told at once.
    fn hold(&self, least: usize, judge: impl Fn(&Case, &str, &R) -> Verdict) {
        assert!(self.cases.len() >= least, "{} cases", self.cases.len());
        let mut wrong = Vec::new();
        for case in &self.cases {
            assert_eq!(case.kind, self.kind, "{}", case.id);
            let keys = &self.keys[&case.keys];
            let keys = keys
                .as_str()
                .map_or_else(|| keys.to_string(), str::to_owned);
            let found = judge(case, &keys, &self.rules[&case.rules]);
            if found != case.expect {
                let Case {
                    id, says, expect, ..
                } = case;
                wrong.push(format!("{id}: {found:?}, not {expect:?}: {says}"));
            }
        }
        assert!(wrong.is_empty(), "{} wrong: {wrong:#?}", wrong.len());
    }
}

/// The verdict on an ID token, whose `sub` OpenID Connect Core §2 requires.
fn oidc(case: &Case, keys: &str, rules: &OidcRules) -> Verdict {
    let algorithms = rules
        .algorithms
        .iter()
        .map(|name| Algorithm::from_name(name));
    let algorithms: Vec<_> = algorithms
        .map(|known| known.expect("an algorithm"))
        .collect();
    let Ok(keys) = KeySet::parse(keys.as_bytes()) else {
        return Verdict::rejected("key-set-refused");
    };
    let rules = Rules {
        issuer: &rules.issuer,
        audience: &rules.audience,
        algorithms: &algorithms,
        max_lifetime: Duration::from_secs(rules.max_lifetime),
        leeway: Duration::from_secs(rules.leeway),
    };
    let now = Timestamp::from_seconds(case.now);
    let verified = Unverified::parse(&case.token)
        .and_then(|token| token.verify(&keys, &rules, &AwsLc::default(), now));
    match verified.as_ref().map(|verified| verified.subject()) {
        Ok(Some(subject)) => Verdict::accepted(subject),
        Ok(None) => Verdict::rejected(RejectedToken::ClaimMissing("sub").code()),
        Err(rejected) => Verdict::rejected(rejected.code()),
    }
}

fn jwt_svid(case: &Case, keys: &str, rules: &JwtSvidRules) -> Verdict {
    let trust_domain = TrustDomain::parse(&rules.trust_domain).expect("a trust domain");
    let Ok(bundle) = Bundle::parse(&trust_domain, keys.as_bytes()) else {
        return Verdict::rejected("key-set-refused");
    };
    let rules = SvidRules {
        trust_domain: &trust_domain,
        audience: &rules.audience,
        max_lifetime: Duration::from_secs(rules.max_lifetime),
        leeway: Duration::from_secs(rules.leeway),
    };
    let now = Timestamp::from_seconds(case.now);
    let verified = Unverified::parse(&case.token)
        .and_then(|token| token.verify_svid(bundle.jwt_keys(), &rules, &AwsLc::default(), now));
    match verified {
        Ok(verified) => Verdict::accepted(verified.spiffe_id().as_str()),
        Err(rejected) => Verdict::rejected(rejected.code()),
    }
}

fn x509_svid(case: &Case, keys: &str, rules: &X509SvidRules) -> Verdict {
    let trust_domain = TrustDomain::parse(&rules.trust_domain).expect("a trust domain");
    let Ok(bundle) = Bundle::parse(&trust_domain, keys.as_bytes()) else {
        return Verdict::rejected("key-set-refused");
    };
    let authorities = bundle.x509_authorities().iter().map(Vec::as_slice);
    let authorities = Authorities::new(trust_domain, authorities);
    let chain = case
        .chain
        .iter()
        .map(|der| Base64::decode_vec(der).expect("base64"));
    let verified = CertificateChain::new(chain.collect())
        .map_err(RejectedCertificate::from)
        .and_then(|chain| x509::verify(&chain, &authorities, Timestamp::from_seconds(case.now)));
    match verified {
        Ok(verified) => Verdict::accepted(verified.spiffe_id().as_str()),
        Err(rejected) => Verdict::rejected(rejected.code()),
    }
}

#[test]
fn every_id_token_of_the_table_gets_its_verdict() -> Result<()> {
    table("oidc.json")?.hold(400, oidc);
    Ok(())
}

#[test]
fn every_jwt_svid_of_the_table_gets_its_verdict() -> Result<()> {
    table("jwt-svid.json")?.hold(140, jwt_svid);
    Ok(())
}

#[test]
fn every_x509_svid_of_the_table_gets_its_verdict() -> Result<()> {
    table("x509-svid.json")?.hold(120, x509_svid);
    Ok(())
}

fn run_generator(script: &str, arguments: &[&str]) -> Result<()> {
    let folder = workspace::root().join("tests/vectors/generator");
    let run = Command::new(workspace::python())
        .args(["-B", "-W", "ignore"])
        .arg(folder.join(script))
        .args(arguments)
        .output()?;
    let told = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{script}: {told}");
    Ok(())
}

/// Another program wrote the table; what it writes today must be what is here.
#[test]
fn the_table_is_what_its_generator_writes() -> Result<()> {
    run_generator("generate.py", &["--check"])
}

#[test]
fn other_implementations_accept_what_the_table_accepts_or_it_is_told_why_not() -> Result<()> {
    run_generator("cross_check.py", &[])
}
