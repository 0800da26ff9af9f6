//! `attache verify`: the verdict on a token or a certificate chain, by keys in a file or by the trust
//! providers of a server. What is verified is never printed, only what it proves.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context as _, bail};
use attache_core::{
    bundle::Bundle,
    certificate::{CertificateChain, RejectedCertificate},
    jwks::{KeySet, MAX_SET_BYTES},
    jwt::{Algorithm, RejectedToken, Rules, SvidRules, Unverified},
    secret::Secret,
    spiffe_id::TrustDomain,
    time::Timestamp,
};
use attache_edge::clock;
use attache_policy::problem::printable;
use attache_trust::{
    AwsLc, pem,
    x509::{self, Authorities},
};
use clap::{Args, ValueEnum};

use self::{
    shown::Shown,
    told::{Proof, Report},
};
use crate::explain::parse_time;

mod by_providers;
mod shown;
mod told;

#[cfg(test)]
mod tests;

/// The arguments or the files cannot be used.
const UNUSABLE: u8 = 2;
/// Longest bundle and key set read, with room to tell that it is too long.
const MAX_KEYS_BYTES: usize = MAX_SET_BYTES + 1;

/// Verify a token or a certificate chain, and say what it proves or which rule it breaks.
///
/// The keys are those of an issuer (--jwks), of a SPIFFE trust domain (--bundle), or those of the trust
/// providers of a server's configuration (--config, --policies), which are fetched then.
///
/// The token is read from a file or from standard input and never printed. Do not write it on the command
/// line: the history of the shell would keep it.
///
/// Exit codes: 0 accepted; 1 rejected, or its keys cannot be had: the code tells which; 2 the arguments are
/// wrong, or a file cannot be read or used.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct VerifyArgs {
    /// A file with a token, or with certificates in PEM, leaf first; - for standard input.
    #[arg(value_name = "FILE")]
    evidence: PathBuf,
    /// A JWK Set (RFC 7517), or public keys or certificates in PEM: the token must be an ID token of --issuer.
    ///
    /// A single key in PEM is taken for the one that the token's `kid` names.
    #[arg(long, value_name = "FILE", requires = "issuer", conflicts_with_all = ["bundle", "policies"])]
    jwks: Option<PathBuf>,
    /// A SPIFFE bundle, a map of them, or authorities in PEM (for a JWT-SVID, public keys): the evidence must be an
    /// SVID of --trust-domain.
    #[arg(
        long,
        value_name = "FILE",
        requires = "trust_domain",
        conflicts_with = "policies"
    )]
    bundle: Option<PathBuf>,
    /// The configuration whose trust providers vouch, with those of its policies.
    #[arg(long, value_name = "FILE", env = "ATTACHE_CONFIG")]
    config: Option<PathBuf>,
    /// The directory of policies whose trust providers vouch; that of the configuration unless it is given.
    #[arg(long, value_name = "DIR")]
    policies: Option<PathBuf>,
    /// What `iss` must be, byte for byte; with --jwks.
    #[arg(long, value_name = "TEXT", requires = "jwks")]
    issuer: Option<String>,
    /// The trust domain that the bundle is of, such as example.org; with --bundle.
    #[arg(long, value_name = "NAME", requires = "bundle", value_parser = TrustDomain::parse)]
    trust_domain: Option<TrustDomain>,
    /// One of `aud`, byte for byte; with --jwks and --bundle. Several times for several, one of which is enough.
    #[arg(long = "audience", value_name = "TEXT", default_values = ["attache"])]
    audiences: Vec<String>,
    /// An algorithm that the issuer may use, with --jwks; several times for several.
    #[arg(long = "algorithm", value_name = "NAME", value_parser = parse_algorithm, default_values = ["RS256", "ES256"])]
    algorithms: Vec<Algorithm>,
    /// Longest life of a token, in seconds; with --jwks and --bundle.
    #[arg(long, value_name = "SECONDS", default_value_t = 86_400)]
    max_lifetime: u64,
    /// How far `nbf` and `iat` may lie ahead, in seconds; with --jwks and --bundle.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    leeway: u64,
    /// The moment at which it is judged, such as 2026-06-14T03:47:22Z; now unless it is given.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    at: Option<Timestamp>,
    /// Text for people, or one JSON object for programs.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

const EXAMPLES: &str = "\
Examples:
  attache verify token.jwt --jwks keys.json --issuer https://issuer.example --audience attache
  attache verify svid.pem --bundle bundle.json --trust-domain example.org
  kubectl create token checkout --audience attache | attache verify - --config attache.yaml";

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Output {
    /// The verdict, its code and its reason; what was proven, a line each.
    Text,
    /// `{"verdict", "code", "reason", "at", "proven", "notes"}`.
    Json,
}

pub(crate) fn run(args: &VerifyArgs) -> anyhow::Result<ExitCode> {
    let report = match args.report() {
        Ok(report) => report,
        Err(error) => {
            let told = format!("attache: {}\n", printable(&format!("{error:#}")));
            std::io::Write::write_all(&mut std::io::stderr(), told.as_bytes())?;
            return Ok(ExitCode::from(UNUSABLE));
        }
    };
    crate::print(&match args.output {
        Output::Text => report.text(),
        Output::Json => serde_json::to_string_pretty(&report)? + "\n",
    })?;
    Ok(if report.is_accepted() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

impl VerifyArgs {
    /// The error is about arguments and files; the verdict on the evidence is in the report.
    fn report(&self) -> anyhow::Result<Report> {
        let at = self.at.unwrap_or_else(clock::now);
        if let (Some(path), Some(issuer)) = (&self.jwks, &self.issuer) {
            let text = shown::text(path, MAX_KEYS_BYTES)?;
            let Shown::Token(token) = shown::read(&self.evidence)? else {
                bail!("certificates are verified with --bundle, not with --jwks")
            };
            let keys = if is_pem(&text) {
                pem_keys(&text, &token)
            } else {
                KeySet::parse(text.as_bytes()).map_err(Into::into)
            };
            let keys = keys.with_context(|| format!("{} cannot be used", path.display()))?;
            return Ok(self.id_token(&token, &keys, issuer, at));
        }
        if let (Some(path), Some(domain)) = (&self.bundle, &self.trust_domain) {
            let text = shown::text(path, MAX_KEYS_BYTES)?;
            let evidence = shown::read(&self.evidence)?;
            let report = if is_pem(&text) {
                self.svid_by_pem(evidence, &text, domain, at)
            } else {
                Bundle::parse(domain, text.as_bytes())
                    .map(|bundle| self.svid(evidence, &bundle, domain, at))
                    .map_err(Into::into)
            };
            return report.with_context(|| format!("{} cannot be used", path.display()));
        }
        if self.config.is_none() && self.policies.is_none() {
            bail!(
                "name the keys: --jwks FILE with --issuer, --bundle FILE with --trust-domain, or the \
                 trust providers of a server with --config FILE or --policies DIR"
            );
        }
        let evidence = shown::read(&self.evidence)?;
        by_providers::report(
            self.config.as_deref(),
            self.policies.as_deref(),
            evidence,
            at,
        )
    }

    fn id_token(&self, token: &Secret, keys: &KeySet, issuer: &str, at: Timestamp) -> Report {
        let verify = |token: &Unverified<'_>, audience: &str| {
            let rules = Rules {
                issuer,
                audience,
                algorithms: &self.algorithms,
                max_lifetime: Duration::from_secs(self.max_lifetime),
                leeway: Duration::from_secs(self.leeway),
            };
            token.verify(keys, &rules, &AwsLc::default(), at)
        };
        let verified = Unverified::parse(token.expose())
            .and_then(|token| self.for_one_audience(|audience| verify(&token, audience)))
            // OpenID Connect Core §2: `sub` is required.
            .and_then(|verified| match verified.subject() {
                Some(_) => Ok(verified),
                None => Err(RejectedToken::ClaimMissing("sub")),
            });
        let proof = verified.map(|verified| Proof::id_token(&verified));
        Report::new(
            at,
            proof.map_err(|rejected| (rejected.code(), rejected.to_string())),
        )
        .noting(keys.ignored())
    }

    /// Which audience is asked for is the last question but one, so that a refusal for another reason is the same
    /// for each.
    fn for_one_audience<T>(
        &self,
        verify: impl Fn(&str) -> Result<T, RejectedToken>,
    ) -> Result<T, RejectedToken> {
        let mut verdicts = self.audiences.iter().map(|audience| verify(audience));
        let mismatch = Err(RejectedToken::AudienceMismatch);
        let settled =
            verdicts.find(|verdict| !matches!(verdict, Err(RejectedToken::AudienceMismatch)));
        settled.unwrap_or(mismatch)
    }

    fn svid(
        &self,
        evidence: Shown,
        bundle: &Bundle,
        domain: &TrustDomain,
        at: Timestamp,
    ) -> Report {
        let report = match evidence {
            Shown::Token(token) => self.jwt_svid(&token, bundle.jwt_keys(), domain, at),
            Shown::Chain(chain) => x509_svid(chain, bundle.x509_authorities(), domain, at),
        };
        report.noting(bundle.ignored())
    }

    fn svid_by_pem(
        &self,
        evidence: Shown,
        text: &str,
        domain: &TrustDomain,
        at: Timestamp,
    ) -> anyhow::Result<Report> {
        Ok(match evidence {
            Shown::Token(token) => self.jwt_svid(&token, &pem_keys(text, &token)?, domain, at),
            Shown::Chain(chain) => {
                x509_svid(chain, &pem::certificates(text.as_bytes())?, domain, at)
            }
        })
    }

    fn jwt_svid(
        &self,
        token: &Secret,
        keys: &KeySet,
        trust_domain: &TrustDomain,
        at: Timestamp,
    ) -> Report {
        let verify = |token: &Unverified<'_>, audience: &str| {
            let rules = SvidRules {
                trust_domain,
                audience,
                max_lifetime: Duration::from_secs(self.max_lifetime),
                leeway: Duration::from_secs(self.leeway),
            };
            token.verify_svid(keys, &rules, &AwsLc::default(), at)
        };
        let verified = Unverified::parse(token.expose())
            .and_then(|token| self.for_one_audience(|audience| verify(&token, audience)));
        let proof = verified.map(|verified| Proof::jwt_svid(&verified));
        Report::new(
            at,
            proof.map_err(|rejected| (rejected.code(), rejected.to_string())),
        )
    }
}

/// RFC 7468 §2; JSON has no such line.
fn is_pem(text: &str) -> bool {
    text.lines().any(|line| line.starts_with("-----BEGIN "))
}

/// PEM names no key, and who names the file means the key for this token.
fn pem_keys(text: &str, token: &Secret) -> anyhow::Result<KeySet> {
    let token = Unverified::parse(token.expose()).ok();
    let key_id = token.as_ref().and_then(Unverified::key_id);
    Ok(pem::key_set(text.as_bytes(), key_id)?)
}

fn x509_svid(
    chain: Vec<Vec<u8>>,
    authorities: &[Vec<u8>],
    trust_domain: &TrustDomain,
    at: Timestamp,
) -> Report {
    let authorities = authorities.iter().map(Vec::as_slice);
    let authorities = Authorities::new(trust_domain.clone(), authorities);
    let proof = CertificateChain::new(chain)
        .map_err(RejectedCertificate::from)
        .and_then(|chain| x509::verify(&chain, &authorities, at))
        .map(|verified| Proof::x509_svid(&verified));
    Report::new(
        at,
        proof.map_err(|rejected| (rejected.code(), rejected.to_string())),
    )
    .noting(authorities.ignored())
}

fn parse_algorithm(name: &str) -> anyhow::Result<Algorithm> {
    let known = || {
        let names: Vec<_> = Algorithm::ALL.into_iter().map(Algorithm::name).collect();
        format!("not an algorithm; known: {}", names.join(", "))
    };
    Algorithm::from_name(name).with_context(known)
}
