//! More calls than an edge takes, with the clock in the test's hands: how long each one waits is exact, whatever
//! this machine does besides.

use std::{
    collections::HashMap,
    future::Future,
    path::Path,
    pin::Pin,
    sync::{Arc, OnceLock},
};

use attache_core::{
    claims::RenderedClaims,
    freshness::Lifetime,
    header::HeaderName,
    secret::Secret,
    spiffe_id::{SpiffeId, TrustDomain},
};
use attache_credentials::{
    Credentials, Mint, MintFailed, Minted, Order, SecretRoots, SecretStore, VaultRoots,
};
use attache_policy::{Nowhere, Settings, Source, compile};
use attache_trust::{Trust, TrustSettings};
use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use base64ct::{Base64UrlUnpadded, Encoding as _};
use tokio::{task::JoinSet, time::sleep};

use super::*;
use crate::{
    journal::{Durability, JournalConfig},
    peer::Peer,
    providers,
    settings::{Bind, DestinationRule, EvidenceSource, OverrideHeaders, UnixBind},
};

/// How many calls the edge takes at once.
const CAPACITY: usize = 8;
/// How long a credential takes.
const SLOW: Duration = Duration::from_millis(50);
const HEADER: &str = "x-attache-evidence";

const SET: &str = "
apiVersion: attache.dev/v1
kind: TrustProvider
metadata: {name: ci}
spec: {type: oidc, issuer: https://ci.example, keys: {jwks: 'KEYS'}}
---
apiVersion: attache.dev/v1
kind: ClientWorkload
metadata: {name: jobs}
spec: {match: [{spiffe.id: 'spiffe://cluster.local/oidc/ci/sub/*'}]}
---
apiVersion: attache.dev/v1
kind: ServerWorkload
metadata: {name: api}
spec: {host: api.test}
---
apiVersion: attache.dev/v1
kind: CredentialProvider
metadata: {name: token}
spec: {type: oidc-token, audience: api}
---
apiVersion: attache.dev/v1
kind: AccessPolicy
metadata: {name: jobs-to-api}
spec: {effect: allow, client: jobs, server: api, trustProviders: [ci], actions: [read], credentialProvider: token}
";

/// Takes its time for each workload.
struct SlowMint(OnceLock<HashMap<String, SpiffeId>>);

impl Mint for SlowMint {
    fn issuer(&self) -> &str {
        "https://attache.test"
    }

    fn generation(&self) -> u64 {
        0
    }

    fn mint<'a>(
        &'a self,
        order: &'a Order,
    ) -> Pin<Box<dyn Future<Output = Result<Minted, MintFailed>> + Send + 'a>> {
        Box::pin(async move {
            sleep(SLOW).await;
            let attache_core::evidence::Evidence::Token(token) = &order.evidence else {
                return Err(MintFailed::EvidenceRefused("no token"));
            };
            let known = self.0.get().and_then(|known| known.get(token.expose()));
            let spiffe_id = known.ok_or(MintFailed::EvidenceRefused("unknown"))?.clone();
            Ok(Minted {
                token: Secret::new("token".to_owned()),
                token_id: "tok_1".to_owned(),
                spiffe_id,
                claims: RenderedClaims::default(),
                lifetime: Lifetime::starting(order.now, Duration::from_secs(300)),
            })
        })
    }
}

/// Signs evidence of any number of workloads.
struct Issuer(EcdsaKeyPair);

impl Issuer {
    fn new() -> Self {
        Self(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    fn keys(&self) -> String {
        let point = self.0.public_key().as_ref();
        let part = |range| Base64UrlUnpadded::encode_string(point.get(range).unwrap());
        let (x, y) = (part(1..33), part(33..65));
        format!(
            r#"{{"keys":[{{"kty":"EC","crv":"P-256","alg":"ES256","use":"sig","kid":"1","x":"{x}","y":"{y}"}}]}}"#
        )
    }

    fn token(&self, subject: &str) -> String {
        let now = clock::now().as_seconds();
        let expires = now + 3600;
        let encode = |text: &str| Base64UrlUnpadded::encode_string(text.as_bytes());
        let header = encode(r#"{"alg":"ES256","kid":"1"}"#);
        let claims = encode(&format!(
            r#"{{"iss":"https://ci.example","sub":"{subject}","aud":"attache","iat":{now},"exp":{expires}}}"#
        ));
        let input = format!("{header}.{claims}");
        let signature = self.0.sign(&SystemRandom::new(), input.as_bytes()).unwrap();
        let signature = Base64UrlUnpadded::encode_string(signature.as_ref());
        format!("{input}.{signature}")
    }
}

struct Scene {
    edge: Edge,
    listener: ListenerSettings,
    tokens: Vec<String>,
    _folder: tempfile::TempDir,
}

fn listener() -> ListenerSettings {
    ListenerSettings {
        name: "egress".to_owned(),
        bind: Bind::Unix(UnixBind {
            path: "unused.sock".into(),
            mode: 0o600,
            group: None,
            allowed_uids: vec![],
        }),
        evidence: EvidenceSource::header(HeaderName::parse_evidence(HEADER).unwrap()),
        destination: DestinationRule::VouchedByRoute,
        trusted_hops: 0,
        override_headers: OverrideHeaders::Deny,
    }
}

fn credentials(folder: &Path, known: HashMap<String, SpiffeId>) -> Credentials {
    let secrets = SecretStore::new(SecretRoots {
        base: folder.to_path_buf(),
        folders: vec![],
        variables: vec![],
        mounted: folder.to_path_buf(),
        vault: VaultRoots::Below(Vec::new()),
    });
    let mint = Arc::new(SlowMint(OnceLock::from(known)));
    let settings = attache_credentials::Settings::default();
    Credentials::new(
        mint,
        Arc::new(secrets),
        attache_credentials::Reach::default(),
        settings,
    )
}

fn kept_answers(folder: &Path) -> Arc<Tokens> {
    let (key, audit) = (folder.join("lease.key"), folder.join("audit"));
    Arc::new(Tokens::open(&key, &audit, None, clock::now()).unwrap())
}

/// An edge before a slow mint, and the evidence of as many workloads as there will be calls: none finds a credential
/// in memory.
fn scene(calls: usize) -> Scene {
    let folder = tempfile::tempdir().unwrap();
    let issuer = Issuer::new();
    let settings = Settings {
        trust_domain: TrustDomain::parse("cluster.local").unwrap(),
        trust_providers: Vec::new(),
    };
    let source = Source {
        name: "set.yaml".to_owned(),
        text: SET.replace("KEYS", &issuer.keys()).into_bytes(),
    };
    let policies = compile(&[source], &settings).unwrap_or_else(|problems| panic!("{problems}"));
    let trust = Arc::new(Trust::new(TrustSettings::new(Arc::new(clock::now))));
    trust
        .replace(providers::of(&policies, &[]).unwrap())
        .unwrap();
    let known: HashMap<String, SpiffeId> = (0..calls)
        .map(|number| {
            let id = format!("spiffe://cluster.local/oidc/ci/sub/job-{number}");
            let token = issuer.token(&format!("job-{number}"));
            (token, SpiffeId::parse(&id).unwrap())
        })
        .collect();
    let tokens = known.keys().cloned().collect();
    let credentials = credentials(folder.path(), known);
    // In the background, for a thread that writes is outside of the test's clock.
    let journal = Journal::open(JournalConfig {
        durability: Durability::Background,
        queue: 1 << 16,
        ..JournalConfig::new(folder.path().join("audit"))
    });
    let edge = Edge {
        name: "edge".to_owned(),
        unmatched: Unmatched::Deny,
        enforcement: Enforcement::Enforce,
        answer_within: Duration::from_millis(400),
        live: Arc::new(Live::new(policies)),
        trust,
        geography: Arc::new(Nowhere),
        credentials,
        journal: journal.unwrap(),
        calls: Calls::at_most(CAPACITY),
        metrics: Metrics::default(),
        tokens: kept_answers(folder.path()),
        traces: None,
    };
    Scene {
        edge,
        listener: listener(),
        tokens,
        _folder: folder,
    }
}

/// What became of a call, and how long it took by the test's clock.
type Answered = (Option<&'static str>, Duration);

impl Scene {
    async fn call(&self, token: &str) -> Answered {
        let question = Question {
            method: "GET",
            target: "/v1",
            authority: "api.test",
            headers: vec![(HEADER, token.as_bytes())],
            headers_are_known: true,
            vouched: Some("https://api.test"),
            source: None,
            address: None,
            peer: Peer::default(),
            given: None,
        };
        let began = Instant::now();
        let answer = self.edge.answer(&self.listener, &question, None).await;
        let code = match answer.disposition {
            Disposition::Refuse(refusal) => Some(refusal.code()),
            Disposition::Forward(_) => None,
        };
        (code, began.elapsed())
    }

    /// `callers` at once, each asking again as soon as it was answered, or a while after it was turned away.
    async fn load(self: &Arc<Self>, callers: usize) -> Vec<Answered> {
        let mut tasks = JoinSet::new();
        let share = self.tokens.len() / callers;
        for caller in 0..callers {
            let scene = Arc::clone(self);
            tasks.spawn(async move {
                let own = scene.tokens.iter().skip(caller * share).take(share);
                let mut answers = Vec::new();
                for token in own {
                    let answer = scene.call(token).await;
                    if answer.0.is_some() {
                        sleep(Duration::from_millis(5)).await;
                    }
                    answers.push(answer);
                }
                answers
            });
        }
        tasks.join_all().await.into_iter().flatten().collect()
    }
}

fn p99(answers: &[Answered]) -> Duration {
    let permitted = answers.iter().filter(|(code, _)| code.is_none());
    let mut times: Vec<_> = permitted.map(|(_, took)| *took).collect();
    times.sort_unstable();
    *times.get(times.len() * 99 / 100).unwrap()
}

#[tokio::test(start_paused = true)]
async fn at_three_times_capacity_what_is_taken_is_as_fast_as_ever_and_the_rest_is_turned_away_at_once()
 {
    let unloaded = Arc::new(scene(200)).load(CAPACITY).await;
    assert!(
        unloaded.iter().all(|(code, _)| code.is_none()),
        "{unloaded:?}"
    );

    let scene = Arc::new(scene(3000));
    let answers = scene.load(3 * CAPACITY).await;
    let (taken, turned_away): (Vec<Answered>, Vec<Answered>) = answers
        .iter()
        .copied()
        .partition(|(code, _)| code.is_none());
    assert!(
        taken.len() > 100 && turned_away.len() > 100,
        "{}",
        taken.len()
    );
    assert!(p99(&answers) <= 2 * p99(&unloaded), "{:?}", p99(&answers));
    for (code, took) in turned_away {
        assert_eq!(code, Some("overloaded"));
        assert!(took <= Duration::from_millis(1), "{took:?}");
    }
    assert_eq!(scene.edge.calls.in_flight(), 0);
}
