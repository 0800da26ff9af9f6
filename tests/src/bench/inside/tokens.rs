//! Tokens: verified, by key sets of any size, and minted; beside the bare signatures of aws-lc-rs.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::{Context as _, Result, anyhow, ensure};
use attache_control::Store;
use attache_core::{
    attestation::ProviderKind,
    claims::CustomClaims,
    evidence::Evidence,
    jwt::Algorithm,
    secret::Secret,
    spiffe_id::TrustDomain,
    time::Timestamp,
    token::{TokenForm, TokenPlan},
};
use attache_issuer::{Issuer, IssuerConfig, MintOrder, SealingKey, config, rotation};
use attache_trust::{KeySource, ProviderConfig, Trust, TrustSettings};
use aws_lc_rs::{
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair,
        RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RsaKeyPair, RsaPublicKeyComponents,
        UnparsedPublicKey,
    },
};
use base64ct::{Base64UrlUnpadded, Encoding as _};
use serde_json::{Value, json};
use tokio::{runtime::Handle, time::interval};

use super::{Told, Work, wait};
use crate::{
    bench::{progress::tell, sets},
    forgery::RsaKey,
    svid::SvidSigner,
};

const ISSUER: &str = "https://issuer.example";
/// Sizes of key sets.
const KEYS: [usize; 3] = [1, 10, 100];

pub(super) async fn works(directory: &Path) -> Result<Vec<Work>> {
    let rsa = RsaKey::generate("key")?;
    let ec = SvidSigner::new("key")?;
    let mut works = vec![
        raw_rsa(&rsa)?,
        verification("verify-rs256", "verify-rs256-raw", &Shown::by_rsa(&rsa)?, 0)?,
        raw_ec(&ec)?,
        verification("verify-es256", "verify-es256-raw", &Shown::by_ec(&ec), 0)?,
        verification(
            "verify-cached",
            "verify-es256-raw",
            &Shown::by_ec(&ec),
            1 << 20,
        )?,
    ];
    for count in KEYS {
        works.extend(key_sets(count)?);
    }
    works.extend(minting(directory).await?);
    Ok(works)
}

/// A token of an OIDC issuer, and the keys that its issuer publishes.
#[derive(Clone)]
struct Shown {
    token: String,
    keys: Vec<Value>,
}

impl Shown {
    fn by_rsa(key: &RsaKey) -> Result<Self> {
        Ok(Self {
            token: key.sign(&claims())?,
            keys: vec![key.jwk()],
        })
    }

    fn by_ec(signer: &SvidSigner) -> Self {
        let token = signer.svid(|_, said| *said = claims(), "", "");
        Self {
            token,
            keys: vec![public(signer)],
        }
    }

    fn evidence(&self) -> Evidence {
        Evidence::Token(Secret::new(self.token.clone()))
    }

    fn provider(&self) -> Result<ProviderConfig> {
        let keys = KeySource::Inline(json!({ "keys": self.keys }).to_string());
        let domain = TrustDomain::parse("cluster.local")?;
        let mut config = ProviderConfig::new("ci", ProviderKind::Oidc, ISSUER, keys, domain);
        config.algorithms = Algorithm::ALL.to_vec();
        Ok(config)
    }

    fn trust(&self, cache_bytes: u64) -> Result<Trust> {
        let mut settings = TrustSettings::new(Arc::new(now));
        settings.cache_bytes = cache_bytes;
        let trust = Trust::new(settings);
        trust.replace(vec![self.provider()?])?;
        Ok(trust)
    }

    /// What is signed, and its signature.
    fn parts(&self) -> Result<(String, Vec<u8>)> {
        let (input, signature) = self.token.rsplit_once('.').context("no token")?;
        let signature = Base64UrlUnpadded::decode_vec(signature)?;
        Ok((input.to_owned(), signature))
    }
}

fn now() -> Timestamp {
    Timestamp::from_millis(jiff::Timestamp::now().as_millisecond())
}

fn claims() -> Value {
    let iat = now().as_seconds();
    json!({ "iss": ISSUER, "sub": "build-42", "aud": "attache", "iat": iat, "exp": iat + 4 * 3600 })
}

/// The key of an OIDC issuer; `use: jwt-svid` is a trust domain's.
fn public(signer: &SvidSigner) -> Value {
    let mut jwk = signer.jwk();
    jwk["use"] = json!("sig");
    jwk
}

fn attest(trust: &Trust, runtime: &Handle, evidence: &Evidence, at: Timestamp) -> Result<()> {
    let attested = wait(runtime, trust.attest(evidence, at));
    let attested = attested.map_err(|why| anyhow!("the token is refused: {why:?}"))?;
    ensure!(
        !attested.spiffe_id().as_str().is_empty(),
        "nobody is proven"
    );
    Ok(())
}

fn verification(name: &str, floor: &'static str, shown: &Shown, cache_bytes: u64) -> Result<Work> {
    let (trust, evidence, at) = (shown.trust(cache_bytes)?, shown.evidence(), now());
    let runtime = Handle::current();
    Ok(Work::new(name, Some(floor), Told::Time, move || {
        attest(&trust, &runtime, &evidence, at)
    }))
}

fn raw_rsa(key: &RsaKey) -> Result<Work> {
    let (input, signature) = Shown::by_rsa(key)?.parts()?;
    let jwk = key.jwk();
    let part = |name: &str| Base64UrlUnpadded::decode_vec(jwk[name].as_str().unwrap_or_default());
    let key = RsaPublicKeyComponents {
        n: part("n")?,
        e: part("e")?,
    };
    Ok(Work::new("verify-rs256-raw", None, Told::Time, move || {
        key.verify(&RSA_PKCS1_2048_8192_SHA256, input.as_bytes(), &signature)
            .map_err(|_unspecified| anyhow!("the signature is refused"))
    }))
}

fn raw_ec(signer: &SvidSigner) -> Result<Work> {
    let (input, signature) = Shown::by_ec(signer).parts()?;
    let jwk = signer.jwk();
    let part = |name: &str| Base64UrlUnpadded::decode_vec(jwk[name].as_str().unwrap_or_default());
    // An uncompressed point (SEC 1 §2.3.3).
    let point = [vec![4], part("x")?, part("y")?].concat();
    let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
    Ok(Work::new("verify-es256-raw", None, Told::Time, move || {
        key.verify(input.as_bytes(), &signature)
            .map_err(|_unspecified| anyhow!("the signature is refused"))
    }))
}

/// A token by the last of `count` keys: first seen, and when its keys are taken into use.
fn key_sets(count: usize) -> Result<[Work; 2]> {
    let signers = (0..count).map(|number| SvidSigner::new(&format!("key-{number}")));
    let signers = signers.collect::<Result<Vec<_>>>()?;
    let mut shown = Shown::by_ec(signers.last().context("no key")?);
    shown.keys = signers.iter().map(public).collect();
    let name = format!("jwks-{count}");
    let first = verification(&name, "jwks-1", &shown, 0)?;
    let first = Work {
        floor: (count > 1).then_some("jwks-1"),
        ..first
    };
    let (trust, config) = (shown.trust(0)?, shown.provider()?);
    let runtime = Handle::current();
    let taken = Work::new(
        format!("jwks-{count}-taken"),
        (count > 1).then_some("jwks-1-taken"),
        Told::Time,
        move || {
            let _entered = runtime.enter();
            trust.replace(Vec::new())?;
            Ok(trust.replace(vec![config.clone()])?)
        },
    );
    Ok([first, taken])
}

/// Minting as a call has it done: the evidence is verified again, and known. The floor signs as many bytes.
async fn minting(directory: &Path) -> Result<Vec<Work>> {
    let cluster = RsaKey::generate("cluster-key-1")?;
    let at = now();
    let evidence = cluster.sign(&sets::claims(ISSUER, "team-0", "app-0"))?;
    let trust = Trust::new(TrustSettings::new(Arc::new(now)));
    trust.replace(vec![ProviderConfig::new(
        "cluster",
        ProviderKind::KubernetesServiceAccount,
        ISSUER,
        KeySource::Inline(json!({ "keys": [cluster.jwk()] }).to_string()),
        TrustDomain::parse("cluster.local")?,
    )])?;
    let store = Store::open(&directory.join("keys.db")).await?;
    let (sealing_key, _text) = SealingKey::generate()?;
    let url = config::IssuerUrl::parse("https://attache.example.com")?;
    let environment = config::Environment::parse("bench")?;
    let config = IssuerConfig::new(url, environment, TrustDomain::parse("cluster.local")?);
    let issuer = Issuer::open(Arc::new(store), sealing_key, config, Arc::new(trust), at).await?;
    let issuer = Arc::new(issuer);
    tokio::spawn(keep_reading(Arc::clone(&issuer)));
    let evidence = Evidence::Token(Secret::new(evidence));
    let mut works = Vec::new();
    for (algorithm, name, floor) in [
        (Algorithm::Rs256, "mint-rs256", "sign-rs256"),
        (Algorithm::Es256, "mint-es256", "sign-es256"),
    ] {
        let plan = plan(algorithm);
        let minted = issuer
            .mint(
                MintOrder {
                    evidence: &evidence,
                    plan: &plan,
                },
                at,
            )
            .await?;
        let token = minted.token.expose();
        let (input, _signature) = token.rsplit_once('.').context("no token")?;
        works.push(signature(floor, algorithm, input.to_owned())?);
        let (issuer, evidence) = (Arc::clone(&issuer), evidence.clone());
        let runtime = Handle::current();
        works.push(Work::new(name, Some(floor), Told::Rate, move || {
            let order = MintOrder {
                evidence: &evidence,
                plan: &plan,
            };
            let minted = wait(&runtime, issuer.mint(order, at))?;
            ensure!(minted.token.expose().len() > 100, "no token was minted");
            Ok(())
        }));
    }
    Ok(works)
}

/// Looks into the store of the keys now and then, as a server does: an issuer that has not read it for a minute signs
/// nothing, and several rounds take longer.
async fn keep_reading(issuer: Arc<Issuer>) {
    let mut now_and_then = interval(rotation::PACE);
    loop {
        now_and_then.tick().await;
        if let Err(error) = issuer.turn(now()).await {
            tell(&format!("inside: {error}"));
        }
    }
}

fn plan(algorithm: Algorithm) -> TokenPlan {
    TokenPlan {
        form: TokenForm::OidcToken,
        audiences: vec!["https://svc.example.com".to_owned()],
        ttl: Duration::from_secs(900),
        algorithm,
        claims: CustomClaims::default(),
    }
}

fn signature(name: &str, algorithm: Algorithm, input: String) -> Result<Work> {
    let random = SystemRandom::new();
    if algorithm == Algorithm::Rs256 {
        let key = RsaKeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048)
            .map_err(|_unspecified| anyhow!("no key was made"))?;
        let mut signature = vec![0; key.public_modulus_len()];
        return Ok(Work::new(name, None, Told::Rate, move || {
            key.sign(&RSA_PKCS1_SHA256, &random, input.as_bytes(), &mut signature)
                .map_err(|_unspecified| anyhow!("no signature was made"))
        }));
    }
    let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)
        .map_err(|_unspecified| anyhow!("no key was made"))?;
    Ok(Work::new(name, None, Told::Rate, move || {
        let signed = key.sign(&random, input.as_bytes());
        signed.map_err(|_unspecified| anyhow!("no signature was made"))?;
        Ok(())
    }))
}
