//! An answer of the edge: what it does to a request, and for which requests and how long it may be kept.

use core::cell::Cell;
use std::rc::Rc;

use attache_core::{
    freshness::Lifetime,
    header::is_header_value,
    request::{Host as HostName, PathPrefix, Request, Transport as How},
    scope::{Caller, Methods, Paths, Region, Scope},
    time::Timestamp,
};
use attache_proto::token::v1::{
    Caller as WireCaller, Decision, FetchResponse, Place, Revalidated, Scope as WireScope,
    Transport,
};

use super::{flights::Question, seen::Plan};
use crate::refusal::Refusal;

/// Longest lease that is kept, in bytes.
const MAX_LEASE: usize = 4096;
/// How long a denial is kept at most, whatever the edge says.
const MAX_DENIAL: core::time::Duration = core::time::Duration::from_secs(5);

/// What an answer does to a request.
pub(super) enum Does {
    /// It goes on.
    Pass(Passing),
    /// It ends.
    Refuse(Refusal),
    /// The edge must see all of it.
    NeedsDetails,
    /// It is a token request, for which the edge makes an assertion.
    NeedsAssertion,
}

/// How a request goes on.
pub(super) struct Passing {
    /// Headers that go, beside those that every request is stripped of.
    pub(super) remove: Vec<String>,
    pub(super) headers: Vec<(String, String)>,
    /// Parameters of the query, percent-encoded.
    pub(super) query: Vec<(String, String)>,
    /// Parameters that go, by their names as the query spells them.
    pub(super) remove_parameters: Vec<String>,
}

/// An answer that may be given again.
pub(super) struct Kept {
    pub(super) does: Does,
    scope: Scope,
    /// The edge's state under which it holds.
    pub(super) revision: String,
    /// By which its use is reported; empty where nothing is reported.
    pub(super) lease: Rc<[u8]>,
    /// What the access log may print.
    pub(super) audit: Rc<[u8]>,
    credential_expires_at: Option<Timestamp>,
    refresh_at: Option<Timestamp>,
    /// What was asked, to ask it again.
    pub(super) question: Rc<Question>,
    /// As it came, for other workers.
    pub(super) response: Rc<FetchResponse>,
    used: Cell<bool>,
    stale_since: Cell<Option<Timestamp>>,
    next_try_at: Cell<Option<Timestamp>>,
}

impl Kept {
    /// What of an answer may be kept; `None` if nothing.
    #[inline(never)]
    pub(super) fn of(
        response: &Rc<FetchResponse>,
        question: &Rc<Question>,
        plan: &Plan,
    ) -> Option<Self> {
        let scope = response.scope.as_ref()?;
        let decision = response.decision();
        let reported = !matches!(
            decision,
            Decision::DetailsNeeded | Decision::AssertionNeeded
        );
        let lease: Rc<[u8]> = response.lease.as_slice().into();
        // Without a lease its use could not be recorded.
        if lease.len() > MAX_LEASE || lease.is_empty() == reported {
            return None;
        }
        if decision == Decision::Unavailable || decision == Decision::Unspecified {
            return None;
        }
        let longest = (decision == Decision::Denied).then_some(MAX_DENIAL);
        let wants = match question.evidence {
            Some(_) => WireCaller::Evidence,
            None => WireCaller::Listener,
        };
        let of_caller = scope.caller() == wants;
        let scope = region(scope, longest).filter(|_| of_caller)?;
        let moment = |millis| (millis != 0).then(|| Timestamp::from_millis(millis));
        Some(Self {
            does: Does::of(response, plan),
            scope,
            revision: response.revision.clone(),
            lease,
            audit: audit(response).into(),
            credential_expires_at: moment(response.credential_expires_at),
            refresh_at: moment(response.refresh_at),
            question: Rc::clone(question),
            response: Rc::clone(response),
            used: Cell::new(false),
            stale_since: Cell::new(None),
            next_try_at: Cell::new(None),
        })
    }

    /// Whether it is the answer to `request` at `now`.
    pub(super) fn answers(&self, request: &Request<'_>, now: Timestamp) -> bool {
        self.holds_at(now) && self.scope.covers("", &everybody(), request, now)
    }

    /// Whether it may be given at all at `now`.
    pub(super) fn holds_at(&self, now: Timestamp) -> bool {
        let Scope::Region(region) = &self.scope else {
            return false;
        };
        let good = |until: Option<Timestamp>| until.is_none_or(|until| now < until);
        // A second is how long the answer of a policy that was replaced may still be given.
        let stale_until = self.stale_since.get().map(|since| since.plus(super::GRACE));
        now < region.holds.expires_at && good(self.credential_expires_at) && good(stale_until)
    }

    /// Whether both are about the same requests, so that the newer takes the other's place.
    pub(super) fn replaces(&self, other: &Self) -> bool {
        match (&self.scope, &other.scope) {
            (Scope::Region(ours), Scope::Region(theirs)) => {
                ours.methods == theirs.methods && ours.paths == theirs.paths
            }
            (Scope::Once, _) | (_, Scope::Once) => false,
        }
    }

    /// Whether its time to be asked again has come.
    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        self.refresh_at.is_some_and(|at| now >= at)
    }

    pub(super) fn mark_used(&self) {
        self.used.set(true);
    }

    /// Marks it as one of an older state. A denial goes at once.
    pub(super) fn mark_stale(&self, now: Timestamp) {
        if self.stale_since.get().is_none() {
            let since = match self.does {
                Does::Pass(_) => now,
                Does::Refuse(_) | Does::NeedsDetails | Does::NeedsAssertion => {
                    Timestamp::from_millis(0)
                }
            };
            self.stale_since.set(Some(since));
        }
    }

    pub(super) fn is_stale(&self) -> bool {
        self.stale_since.get().is_some()
    }

    /// Whether its successor is wanted: it is old, somebody used it, and nobody tried within the last second.
    pub(super) fn wants_successor(&self, now: Timestamp) -> bool {
        let due = self.is_due(now) && self.used.get();
        due && self.holds_at(now) && self.next_try_at.get().is_none_or(|at| now >= at)
    }

    pub(super) fn tried(&self, now: Timestamp) {
        self.next_try_at.set(Some(now.plus(super::GRACE)));
    }

    /// What it takes in memory, about, in bytes.
    pub(super) fn size(&self) -> usize {
        use prost::Message as _;
        let response = self.response.encoded_len().saturating_mul(2);
        response
            .saturating_add(self.question.size())
            .saturating_add(size_of::<Self>())
    }

    /// The same answer, as the edge confirmed it.
    #[inline(never)]
    pub(super) fn confirmed(
        &self,
        found: &Revalidated,
        revision: &str,
        plan: &Plan,
    ) -> Option<Self> {
        let mut response = (*self.response).clone();
        response.scope = Some(found.scope.clone()?);
        response.lease.clone_from(&found.lease);
        response.decision_id.clone_from(&found.decision_id);
        response.policy.clone_from(&found.policy);
        response.policy_revision.clone_from(&found.policy_revision);
        response.remove.clone_from(&found.remove);
        response.refresh_at = found.refresh_at;
        revision.clone_into(&mut response.revision);
        let confirmed = Self::of(&Rc::new(response), &self.question, plan)?;
        confirmed.used.set(self.used.get());
        Some(confirmed)
    }
}

impl Does {
    /// What a response does. What cannot be done is refused: a credential that is put elsewhere than policy says
    /// is none.
    pub(super) fn of(response: &FetchResponse, plan: &Plan) -> Self {
        match response.decision() {
            Decision::Allowed => {
                passing(response, plan).map_or_else(|| Self::Refuse(unsupported()), Self::Pass)
            }
            Decision::Denied => Self::Refuse(Refusal::of_edge(403, response)),
            Decision::Unavailable => Self::Refuse(Refusal::of_edge(503, response)),
            Decision::DetailsNeeded => Self::NeedsDetails,
            Decision::AssertionNeeded => Self::NeedsAssertion,
            Decision::Unspecified => Self::Refuse(Refusal::of_edge(403, response)),
        }
    }
}

fn unsupported() -> Refusal {
    Refusal::unavailable(
        "placement-unsupported",
        "the credential has a place that this proxy cannot put it into",
    )
}

fn passing(response: &FetchResponse, plan: &Plan) -> Option<Passing> {
    let mut passing = Passing {
        remove: Vec::new(),
        headers: Vec::new(),
        query: Vec::new(),
        remove_parameters: response.remove_parameters.clone(),
    };
    for injection in &response.inject {
        let (name, value) = (injection.name.clone(), injection.value.clone());
        match injection.place() {
            Place::Header => {
                // SECURITY: what is not on the list would survive a redirect to another host.
                let listed = plan
                    .settings
                    .inject
                    .iter()
                    .any(|header| header.as_str() == name);
                if !listed || !is_header_value(&value) {
                    return None;
                }
                passing.headers.push((name, value));
            }
            Place::Query => {
                let plain = |text: &str| {
                    text.bytes()
                        .all(|byte| byte.is_ascii_graphic() && !b"&#?=".contains(&byte))
                };
                let value_plain = value
                    .bytes()
                    .all(|byte| byte.is_ascii_graphic() && !b"&#".contains(&byte));
                if name.is_empty() || !plain(&name) || !value_plain {
                    return None;
                }
                passing.query.push((name, value));
            }
            Place::Unspecified => return None,
        }
    }
    // What is set takes the place of all of its name.
    let set = |name: &String| passing.headers.iter().any(|(set, _)| set == name);
    let others = response.remove.iter();
    let others = others.filter(|name| !plan.strips(name) && !set(name));
    passing.remove = others.cloned().collect();
    Some(passing)
}

/// The caller stands in the key that answers are kept under; in their scopes everybody is the same one.
fn everybody() -> Caller {
    Caller::Listener(String::new())
}

fn region(scope: &WireScope, longest: Option<core::time::Duration>) -> Option<Scope> {
    let transport = match scope.transport() {
        Transport::Tls => How::Tls,
        Transport::Plaintext => How::Plaintext,
        Transport::Unspecified => return None,
    };
    let methods = scope.methods.clone();
    let prefix = |text: &String| PathPrefix::parse(text).ok();
    let paths = if scope.exactly {
        Paths::Exactly(scope.path.clone())
    } else {
        let except: Option<Vec<PathPrefix>> = scope.except.iter().map(prefix).collect();
        Paths::Under {
            prefix: prefix(&scope.path)?,
            except: except?,
        }
    };
    let issued_at = Timestamp::from_millis(scope.from);
    let until = Timestamp::from_millis(scope.until);
    let longest = longest.unwrap_or(attache_core::scope::MAX_VALIDITY);
    Some(Scope::Region(Box::new(Region {
        revision: String::new(),
        caller: everybody(),
        host: HostName::parse(&scope.host).ok()?,
        port: u16::try_from(scope.port).ok()?,
        transport,
        methods: if scope.all_but {
            Methods::AllBut(methods)
        } else {
            Methods::These(methods)
        },
        paths,
        holds: Lifetime {
            issued_at,
            expires_at: until.min(issued_at.plus(longest)),
        },
    })))
}

/// What users' access logs may print: nothing secret.
fn audit(response: &FetchResponse) -> Vec<u8> {
    serde_json::json!({
        "decision_id": response.decision_id,
        "policy": response.policy,
        "workload": response.workload,
        "token_id": response.token_id,
        "code": response.code,
        "policy_revision": response.policy_revision,
    })
    .to_string()
    .into_bytes()
}
