//! The way in: who calls, by a JWT-SVID for this service, and whether they may make this request. The
//! application gets the caller's SPIFFE ID in `x-attache-spiffe-id`, and never one that a client wrote.

use core::time::Duration;
use std::rc::Rc;

use attache_core::{
    decision::{DenyReason, Fault},
    jwt::{MAX_TOKEN_BYTES, RejectedToken, SvidRules, Unverified, Validity},
    request::{AmbiguousRequest, RequestPath, goes_around_policy, is_method},
    spiffe_id::SpiffeId,
    time::Timestamp,
};

use crate::{
    admission::Admission,
    bundles::{Bundles, Keys},
    config::{self, Narrowed, Rules},
    host::{ContextId, Host, Level, Map},
    memory::Memory,
    message::Headers,
    outbound::{Outbound, Plan, Shown},
    refusal::Refusal,
    signature::{ByEnvoy, is_known_to_envoy},
};

mod asked;
#[cfg(test)]
mod tests;

use self::asked::{Asked, Found};

/// A plugin on the way in.
pub(crate) struct Inbound {
    settings: config::Inbound,
    bundles: Bundles,
    verified: Memory<Vec<u8>, Rc<Caller>>,
    asked: Asked,
    admission: Rc<Admission>,
    /// Where the edge's policies say what callers may do.
    judging: Option<Box<Outbound>>,
}

/// Who was proven by a token, and how long that holds.
pub(crate) struct Caller {
    spiffe_id: SpiffeId,
    validity: Validity,
    /// Of the trust domain whose keys proved it.
    generation: u64,
}

/// What becomes of a request.
pub(crate) enum Verdict {
    /// It goes on; its header was changed already.
    Pass,
    /// It waits, and is resumed or answered later.
    Wait,
    /// It ends here.
    Refuse(Refusal),
}

/// Why a request does not go on now.
enum Stop {
    Refused(Refusal),
    /// The edge must say what the token proves.
    AskEdge,
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl Inbound {
    /// Bundles are fetched from the first tick on, for a configuration that is only tried has none.
    pub(crate) const FIRST_TICK: Duration = Duration::from_millis(20);
    const TICK: Duration = Duration::from_secs(1);

    /// `text` is the configuration as it is written.
    #[inline(never)]
    pub(crate) fn new<H: Host>(
        host: &H,
        plugin: ContextId,
        settings: config::Inbound,
        text: &[u8],
    ) -> Self {
        let admission = Rc::new(Admission::new(settings.header.clone(), settings.token));
        let judging = match &settings.rules {
            Rules::Listed(_) => None,
            Rules::Edge(judge) => {
                let plan = Plan::judging(judge, Rc::clone(&admission), settings.memory);
                Some(Box::new(Outbound::with(host, plugin, plan, text)))
            }
        };
        Self {
            admission,
            judging,
            bundles: Bundles::new(&settings),
            verified: Memory::of_bytes(settings.memory),
            asked: Asked::default(),
            settings,
        }
    }

    /// Whether the plugin ended.
    pub(crate) fn on_tick<H: Host>(&mut self, host: &H) -> bool {
        let incomplete = !self.bundles.complete();
        self.bundles.tick(host, host.now());
        let period = if incomplete {
            Self::FIRST_TICK.saturating_mul(5)
        } else {
            Self::TICK
        };
        host.tick_every(period);
        let judging = self.judging.as_mut();
        judging.is_some_and(|judging| judging.on_tick(host))
    }

    /// A request is over, with its response's status.
    pub(crate) fn on_end<H: Host>(&mut self, host: &H, stream: ContextId) {
        if let Some(judging) = &mut self.judging {
            judging.on_end(host, stream);
        }
    }

    /// Whether the plugin may end now.
    pub(crate) fn on_done<H: Host>(&mut self, host: &H) -> bool {
        let judging = self.judging.as_mut();
        judging.is_none_or(|judging| judging.on_done(host))
    }

    pub(crate) fn on_http<H: Host>(&mut self, host: &H, token: u32) {
        self.bundles.on_http(host, token, host.now());
    }

    #[inline(never)]
    pub(crate) fn on_grpc<H: Host>(&mut self, host: &H, token: u32) {
        if self.bundles.on_grpc(host, token, host.now()) {
            return;
        }
        if let Some(found) = self.asked.answered(host, token) {
            self.settle(host, found);
        } else if let Some(judging) = &mut self.judging {
            judging.on_grpc(host, token);
        }
    }

    pub(crate) fn on_grpc_close<H: Host>(&mut self, host: &H, token: u32, status: u32) {
        if self.bundles.on_failure(host, token, host.now()) {
            return;
        }
        if let Some(found) = self.asked.failed(token) {
            self.settle(host, found);
        } else if let Some(judging) = &mut self.judging {
            judging.on_grpc_close(host, token, status);
        }
    }

    /// Judges the request that runs.
    #[inline(never)]
    pub(crate) fn on_request<H: Host>(&mut self, host: &H, stream: ContextId) -> Verdict {
        match self.judge(host, stream) {
            Ok(verdict) => verdict,
            Err(refusal) => Verdict::Refuse(refusal),
        }
    }

    fn judge<H: Host>(&mut self, host: &H, stream: ContextId) -> Result<Verdict, Refusal> {
        let serialised = host
            .headers(Map::RequestHeaders)
            .map_err(|_failure| broken())?;
        let headers = Headers::read(&serialised, &self.admission.protected).ok_or_else(broken)?;
        let token = self.shown(&headers)?;
        match self.caller(host, token, host.now()) {
            Ok(caller) => {
                let decided = self.decide(host, stream, &headers, token, &caller);
                host.give_back(serialised);
                decided
            }
            Err(Stop::Refused(refusal)) => Err(refusal),
            Err(Stop::AskEdge) => {
                let edge = self.settings.edge.as_deref();
                let edge =
                    edge.ok_or_else(|| Refusal::token(RejectedToken::AlgorithmNotAllowed))?;
                let token = core::str::from_utf8(token).map_err(|_failure| broken())?;
                self.asked
                    .ask(host, edge, token, &self.settings.audience, stream)?;
                Ok(Verdict::Wait)
            }
        }
    }

    /// Lets the requests go on, or end, that waited for the edge.
    #[inline(never)]
    fn settle<H: Host>(&mut self, host: &H, found: Found) {
        let now = host.now();
        let caller = found.caller.and_then(|proven| {
            let Keys::Usable(domain, _) = self.bundles.keys(proven.spiffe_id.trust_domain(), now)
            else {
                return Err(Refusal::fault(Fault::KeysUnavailable));
            };
            let generation = domain.generation();
            Ok(Rc::new(Caller {
                spiffe_id: proven.spiffe_id,
                validity: Validity::window(now, proven.until),
                generation,
            }))
        });
        let token = found.token.into_bytes();
        if let Ok(caller) = &caller {
            self.remember(token.clone(), caller);
        }
        for stream in found.waiting {
            // It may be gone.
            if host.act_as(stream).is_err() {
                continue;
            }
            let outcome = caller
                .clone()
                .and_then(|caller| self.go_on(host, stream, &token, &caller));
            let told = match outcome {
                Ok(Verdict::Pass) => host.resume(),
                Ok(Verdict::Wait) => Ok(()),
                Ok(Verdict::Refuse(refusal)) | Err(refusal) => refusal.answer(host),
            };
            if told.is_err() {
                host.log(
                    Level::Error,
                    "attache: Envoy did not go on with a request that waited",
                );
            }
        }
    }

    fn go_on<H: Host>(
        &mut self,
        host: &H,
        stream: ContextId,
        token: &[u8],
        caller: &Caller,
    ) -> Result<Verdict, Refusal> {
        let serialised = host
            .headers(Map::RequestHeaders)
            .map_err(|_failure| broken())?;
        let headers = Headers::read(&serialised, &self.admission.protected).ok_or_else(broken)?;
        self.decide(host, stream, &headers, token, caller)
    }

    /// Whether the caller may make the request that runs, which goes on then.
    fn decide<H: Host>(
        &mut self,
        host: &H,
        stream: ContextId,
        headers: &Headers<'_>,
        token: &[u8],
        caller: &Caller,
    ) -> Result<Verdict, Refusal> {
        if let Some(judging) = &mut self.judging {
            let shown = Shown {
                token: token.to_vec(),
                caller: caller.spiffe_id.as_str().to_owned(),
            };
            return judging.admit(host, stream, shown);
        }
        self.check_request(headers, &caller.spiffe_id)?;
        let caller = caller.spiffe_id.as_str();
        let admitted = self.admission.admit(host, headers, caller);
        admitted.map(|()| Verdict::Pass).ok_or_else(broken)
    }

    /// The one token of the request.
    fn shown<'a>(&self, headers: &Headers<'a>) -> Result<&'a [u8], Refusal> {
        let name = self.settings.header.as_str();
        let mut values = headers.values(name);
        let value = values.next().ok_or_else(Refusal::missing)?;
        if values.next().is_some() || are_joined(value) {
            return Err(Refusal::malformed(&DenyReason::EvidenceAmbiguous));
        }
        if name != "authorization" {
            return Ok(value);
        }
        after_scheme(value).ok_or_else(Refusal::missing)
    }

    /// Who the token proves, from memory if it was verified before.
    fn caller<H: Host>(
        &mut self,
        host: &H,
        token: &[u8],
        now: Timestamp,
    ) -> Result<Rc<Caller>, Stop> {
        if let Some(caller) = self.verified.look(token, Rc::clone) {
            let keys = self.bundles.keys(caller.spiffe_id.trust_domain(), now);
            let same = matches!(&keys, Keys::Usable(domain, _) if domain.generation() == caller.generation);
            match caller.validity.holds_at(now) {
                Ok(()) if same => return Ok(caller),
                Ok(()) => {}
                Err(rejected) => {
                    self.verified.remove(token);
                    return Err(Refusal::token(rejected).into());
                }
            }
        }
        let caller = Rc::new(self.verify(host, token, now)?);
        self.remember(token.to_vec(), &caller);
        Ok(caller)
    }

    fn remember(&mut self, token: Vec<u8>, caller: &Rc<Caller>) {
        let size = token.len().saturating_add(caller.spiffe_id.as_str().len());
        let size = size.saturating_add(size_of::<Caller>());
        self.verified.insert(token, Rc::clone(caller), size);
    }

    #[inline(never)]
    fn verify<H: Host>(&self, host: &H, token: &[u8], now: Timestamp) -> Result<Caller, Stop> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(Refusal::token(RejectedToken::TooLarge).into());
        }
        let text = core::str::from_utf8(token)
            .map_err(|_bytes| Refusal::token(RejectedToken::Malformed("not text")))?;
        let unverified = Unverified::parse(text).map_err(Refusal::token)?;
        let claimed = unverified.claimed_spiffe_id().map_err(Refusal::token)?;
        let (domain, keys) = match self.bundles.keys(claimed.trust_domain(), now) {
            Keys::Usable(domain, keys) => (domain, keys),
            Keys::Unavailable => return Err(Refusal::fault(Fault::KeysUnavailable).into()),
            Keys::Unknown => {
                return Err(Refusal::untrusted(&DenyReason::TrustDomainUnknown).into());
            }
        };
        let rules = SvidRules {
            trust_domain: domain.name(),
            audience: &self.settings.audience,
            max_lifetime: self.settings.max_lifetime,
            leeway: self.settings.leeway,
        };
        let algorithm = unverified.algorithm();
        let verified = unverified.verify_svid(keys, &rules, &ByEnvoy(host), now);
        match verified {
            Ok(verified) => Ok(Caller {
                spiffe_id: verified.spiffe_id().clone(),
                validity: verified.token().validity(),
                generation: domain.generation(),
            }),
            Err(RejectedToken::SignatureInvalid) if !is_known_to_envoy(algorithm) => {
                Err(Stop::AskEdge)
            }
            Err(rejected) => Err(Refusal::token(rejected).into()),
        }
    }

    /// Whether the configuration lets the caller do what is asked.
    fn check_request(&self, headers: &Headers<'_>, caller: &SpiffeId) -> Result<(), Refusal> {
        let ambiguous = |what| Refusal::forbidden(&DenyReason::RequestAmbiguous(what));
        let method = headers.method().filter(|method| is_method(method));
        let method = method.ok_or_else(|| ambiguous(AmbiguousRequest::Method))?;
        if goes_around_policy(method) {
            return Err(Refusal::forbidden(&DenyReason::MethodRefused));
        }
        if headers.survey().overrides {
            return Err(Refusal::forbidden(&DenyReason::RequestOverridden));
        }
        let target = headers.path().unwrap_or_default();
        let path = RequestPath::parse(target).map_err(ambiguous)?;
        let Rules::Listed(listed) = &self.settings.rules else {
            return Err(Refusal::forbidden(&DenyReason::NoPolicy));
        };
        let allowed = listed.iter().any(|rule| {
            rule.spiffe_ids
                .iter()
                .any(|pattern| pattern.matches(caller.as_str()))
                && includes(&rule.methods, |listed| listed == method)
                && includes(&rule.paths, |prefix| prefix.covers(path))
        });
        if allowed {
            Ok(())
        } else {
            Err(Refusal::forbidden(&DenyReason::NoPolicy))
        }
    }
}

/// What stands behind `Bearer`: the scheme in any case, then a space (RFC 9110 §11.1).
fn after_scheme(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(7)?;
    let bearer = scheme.eq_ignore_ascii_case(b"bearer ");
    bearer.then_some(token.trim_ascii_start())
}

/// Whether these are several values of one name, which Envoy joins by a comma.
fn are_joined(value: &[u8]) -> bool {
    // Looked for by words of the machine, not byte by byte as below: a token is long, and has none.
    if !value.contains(&b',') {
        return false;
    }
    let mut parts = value.split(|byte| *byte == b',').skip(1);
    parts.any(|part| after_scheme(part.trim_ascii()).is_some())
}

fn includes<T>(narrowed: &Narrowed<T>, meant: impl Fn(&T) -> bool) -> bool {
    match narrowed {
        Narrowed::Any => true,
        Narrowed::These(items) => items.iter().any(meant),
    }
}

/// Envoy did not do what it always does.
pub(crate) fn broken() -> Refusal {
    Refusal::unavailable(
        "proxy-failed",
        "the proxy did not do what it was asked; try again",
    )
}
