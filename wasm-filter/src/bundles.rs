//! The keys that verify JWT-SVIDs, by trust domain: where they come from, how they are kept fresh, and when
//! they are too old. Each VM holds its own, and a VM that holds none yet refuses.

use core::time::Duration;

use attache_core::{bundle::Bundle, jwks::KeySet, spiffe_id::TrustDomain, time::Timestamp};
use attache_proto::token::v1::{BundlesRequest, BundlesResponse};
use prost::Message as _;

use crate::{
    config::{Inbound, Source, TrustedDomain},
    host::{Buffer, Host, Level, Map, Method},
    message::{Headers, Protected},
};

/// The edge's service.
pub(crate) const TOKENS: &str = "attache.token.v1.Tokens";
/// What the filter speaks.
pub(crate) const PROTOCOL: u32 = 1;

/// How long a fetch may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often a bundle without a hint is fetched again.
const USUAL_PACE: Duration = Duration::from_secs(300);
/// The bounds of what a hint may ask for.
const PACES: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(3600));
/// The first and the longest pause after a failure; doubled in between.
const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(30));
/// Longest answer read, in bytes: a map of bundles, or the edge's all.
const MAX_ANSWER: usize = 2 * attache_core::jwks::MAX_SET_BYTES;

/// The bundles of all trust domains of a plugin.
pub(crate) struct Bundles {
    domains: Vec<Domain>,
    feeds: Vec<Feed>,
}

/// A trust domain and what is known of it.
pub(crate) struct Domain {
    name: TrustDomain,
    max_age: Duration,
    held: Option<Held>,
    /// Grows whenever its keys change, so that what was verified by other keys is verified again.
    generation: u64,
}

struct Held {
    bundle: Bundle,
    usable_until: Option<Timestamp>,
}

/// One source of bundles.
struct Feed {
    from: From,
    due_at: Option<Timestamp>,
    failures: u32,
    pending: Option<u32>,
}

enum From {
    Endpoint {
        domain: usize,
        cluster: String,
        authority: String,
        path: String,
    },
    Edge {
        domains: Vec<usize>,
        cluster: String,
        version: String,
    },
}

/// Whether the keys of a trust domain can be used.
pub(crate) enum Keys<'a> {
    /// They can.
    Usable(&'a Domain, &'a KeySet),
    /// They were never fetched, or are too old.
    Unavailable,
    /// The trust domain is not configured.
    Unknown,
}

impl Bundles {
    pub(crate) fn new(settings: &Inbound) -> Self {
        let mut feeds = Vec::new();
        let mut of_edge = Vec::new();
        for (index, domain) in settings.trust_domains.iter().enumerate() {
            match &domain.source {
                Source::Inline(_) => {}
                Source::Edge => of_edge.push(index),
                Source::Endpoint {
                    cluster,
                    authority,
                    path,
                } => feeds.push(Feed::new(From::Endpoint {
                    domain: index,
                    cluster: cluster.clone(),
                    authority: authority.clone(),
                    path: path.clone(),
                })),
            }
        }
        if let (Some(cluster), false) = (&settings.edge, of_edge.is_empty()) {
            feeds.push(Feed::new(From::Edge {
                domains: of_edge,
                cluster: cluster.clone(),
                version: String::new(),
            }));
        }
        let domains = settings.trust_domains.iter().map(Domain::new).collect();
        Self { domains, feeds }
    }

    /// The keys of a trust domain.
    pub(crate) fn keys(&self, name: &str, now: Timestamp) -> Keys<'_> {
        let Some(domain) = self.domain(name) else {
            return Keys::Unknown;
        };
        let usable = |held: &&Held| held.usable_until.is_none_or(|until| now < until);
        match domain.held.as_ref().filter(usable) {
            Some(held) => Keys::Usable(domain, held.bundle.jwt_keys()),
            None => Keys::Unavailable,
        }
    }

    fn domain(&self, name: &str) -> Option<&Domain> {
        self.domains
            .iter()
            .find(|domain| domain.name.as_str() == name)
    }

    /// Whether all of them were fetched once.
    pub(crate) fn complete(&self) -> bool {
        self.domains.iter().all(|domain| domain.held.is_some())
    }

    /// Asks every source that is due.
    pub(crate) fn tick<H: Host>(&mut self, host: &H, now: Timestamp) {
        for feed in &mut self.feeds {
            if feed.pending.is_none() && feed.due_at.is_none_or(|due| now >= due) {
                feed.ask(host, now);
            }
        }
    }

    /// Takes the answer of a bundle endpoint; `false` if the token is none of ours.
    pub(crate) fn on_http<H: Host>(&mut self, host: &H, token: u32, now: Timestamp) -> bool {
        let Some(feed) = awaiting(&mut self.feeds, token) else {
            return false;
        };
        let From::Endpoint { domain, .. } = &feed.from else {
            return true;
        };
        let answer = endpoint_answer(host);
        let outcome = answer.and_then(|document| {
            let domain = self.domains.get_mut(*domain);
            domain.map_or(Ok(None), |domain| domain.take(&document, None, now))
        });
        feed.settle(host, outcome, now);
        true
    }

    /// Takes the edge's answer; `false` if the token is none of ours.
    #[inline(never)]
    pub(crate) fn on_grpc<H: Host>(&mut self, host: &H, token: u32, now: Timestamp) -> bool {
        let Some(feed) = awaiting(&mut self.feeds, token) else {
            return false;
        };
        let From::Edge {
            domains, version, ..
        } = &mut feed.from
        else {
            return true;
        };
        let message = host.bytes(Buffer::GrpcMessage, MAX_ANSWER);
        let outcome = match BundlesResponse::decode(message.as_slice()) {
            Err(_garbage) => Err("the edge's answer is no BundlesResponse".to_owned()),
            Ok(answer) => {
                let outcome = take_all(&mut self.domains, domains, &answer, now);
                if outcome.is_ok() {
                    version.clone_from(&answer.version);
                }
                outcome
            }
        };
        feed.settle(host, outcome, now);
        true
    }

    /// A gRPC call ended without an answer; `false` if the token is none of ours.
    pub(crate) fn on_failure<H: Host>(&mut self, host: &H, token: u32, now: Timestamp) -> bool {
        let Some(feed) = awaiting(&mut self.feeds, token) else {
            return false;
        };
        feed.settle(host, Err("the edge did not answer".to_owned()), now);
        true
    }
}

/// The feed whose call this is, which waits no longer.
fn awaiting(feeds: &mut [Feed], token: u32) -> Option<&mut Feed> {
    let feed = feeds.iter_mut().find(|feed| feed.pending == Some(token))?;
    feed.pending = None;
    Some(feed)
}

impl Domain {
    fn new(settings: &TrustedDomain) -> Self {
        let held = match &settings.source {
            Source::Inline(bundle) => Some(Held {
                bundle: (**bundle).clone(),
                usable_until: None,
            }),
            Source::Endpoint { .. } | Source::Edge => None,
        };
        Self {
            name: settings.name.clone(),
            max_age: settings.max_age,
            held,
            generation: 0,
        }
    }

    pub(crate) const fn name(&self) -> &TrustDomain {
        &self.name
    }

    pub(crate) const fn generation(&self) -> u64 {
        self.generation
    }

    /// Takes a document in, and says how soon the next one is wanted.
    fn take(
        &mut self,
        document: &[u8],
        until: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Option<Duration>, String> {
        let bundle = match Bundle::parse(&self.name, document) {
            Ok(bundle) => bundle,
            Err(invalid) => {
                // SECURITY: whoever read that document can sign for the domain.
                if invalid.publishes_private_key() {
                    self.drop_keys();
                }
                return Err(format!("`{}`: {invalid}", self.name.as_str()));
            }
        };
        let hint = bundle.refresh_hint();
        let changed = |held: &Held| held.bundle.jwt_keys() != bundle.jwt_keys();
        if self.held.as_ref().is_none_or(changed) {
            self.generation = self.generation.saturating_add(1);
        }
        let oldest = now.plus(self.max_age);
        self.held = Some(Held {
            bundle,
            usable_until: Some(until.map_or(oldest, |until| until.min(oldest))),
        });
        Ok(hint)
    }

    fn drop_keys(&mut self) {
        self.held = None;
        self.generation = self.generation.saturating_add(1);
    }
}

impl Feed {
    const fn new(from: From) -> Self {
        Self {
            from,
            due_at: None,
            failures: 0,
            pending: None,
        }
    }

    fn ask<H: Host>(&mut self, host: &H, now: Timestamp) {
        let asked = match &self.from {
            From::Endpoint {
                cluster,
                authority,
                path,
                ..
            } => host.get(cluster, authority, path, PATIENCE),
            From::Edge {
                cluster, version, ..
            } => {
                let request = BundlesRequest {
                    protocol: PROTOCOL,
                    version: version.clone(),
                };
                let method = Method {
                    cluster,
                    service: TOKENS,
                    method: "Bundles",
                };
                host.call(method, &request.encode_to_vec(), PATIENCE)
            }
        };
        match asked {
            Ok(token) => self.pending = Some(token),
            Err(failure) => {
                let outcome = Err(format!("Envoy refused the call with status {}", failure.0));
                self.settle(host, outcome, now);
            }
        }
    }

    /// Plans the next fetch.
    fn settle<H: Host>(
        &mut self,
        host: &H,
        outcome: Result<Option<Duration>, String>,
        now: Timestamp,
    ) {
        let pause = match outcome {
            Ok(hint) => {
                self.failures = 0;
                hint.unwrap_or(USUAL_PACE).clamp(PACES.0, PACES.1)
            }
            Err(reason) => {
                let text = format!("attache: no bundle from {}: {reason}", self.from);
                host.log(Level::Warn, &text);
                let doubled = 1_u32.checked_shl(self.failures.min(16)).unwrap_or(1);
                self.failures = self.failures.saturating_add(1);
                PAUSES.0.saturating_mul(doubled).min(PAUSES.1)
            }
        };
        self.due_at = Some(now.plus(pause));
    }
}

impl core::fmt::Display for From {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Endpoint {
                cluster,
                authority,
                path,
                ..
            } => write!(f, "{authority}{path} by cluster `{cluster}`"),
            Self::Edge { cluster, .. } => write!(f, "the edge by cluster `{cluster}`"),
        }
    }
}

/// The document that a bundle endpoint sent.
fn endpoint_answer<H: Host>(host: &H) -> Result<Vec<u8>, String> {
    let serialised = host.headers(Map::CalloutHeaders).unwrap_or_default();
    let headers = Headers::read(&serialised, &Protected::default());
    // Redirects are not followed: no source of keys is.
    match headers.as_ref().and_then(|headers| headers.text(":status")) {
        Some("200") => Ok(host.bytes(Buffer::HttpCallout, MAX_ANSWER)),
        Some(status) => Err(format!("it answered with status {status}")),
        None => Err("it did not answer".to_owned()),
    }
}

/// Takes what the edge says of the domains that come from it. A domain that it does not name is not trusted.
fn take_all(
    domains: &mut [Domain],
    of_edge: &[usize],
    answer: &BundlesResponse,
    now: Timestamp,
) -> Result<Option<Duration>, String> {
    let pace = Some(Duration::from_secs(u64::from(answer.refresh_after)));
    let pace = pace.filter(|pace| !pace.is_zero());
    let mut problem = None;
    for index in of_edge {
        let Some(domain) = domains.get_mut(*index) else {
            continue;
        };
        if answer.unchanged {
            let oldest = now.plus(domain.max_age);
            if let Some(held) = &mut domain.held {
                held.usable_until = Some(oldest);
            }
            continue;
        }
        let mut all = answer.bundles.iter();
        match all.find(|bundle| bundle.trust_domain == domain.name.as_str()) {
            None => domain.drop_keys(),
            Some(bundle) => {
                let until = bundle.usable_until;
                let until = (until != 0).then(|| Timestamp::from_millis(until));
                let taken = domain.take(&bundle.document, until, now);
                problem = problem.or(taken.err());
            }
        }
    }
    problem.map_or(Ok(pace), Err)
}
