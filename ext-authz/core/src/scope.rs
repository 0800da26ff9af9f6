//! Where and until when an answer holds, so that one kept for later is never another than a fresh one.
//!
//! INVARIANT: a scope may be narrower than the truth, never wider.

use alloc::{boxed::Box, string::String, vec::Vec};
use core::{fmt, time::Duration};

use crate::{
    evidence::Evidence,
    freshness::{Freshness, Lifetime},
    request::{Host, PathPrefix, Request, RequestPath, Transport, goes_around_policy, is_method},
    time::Timestamp,
};

#[cfg(test)]
mod tests;

/// How long any answer may be kept.
pub const MAX_VALIDITY: Duration = Duration::from_secs(300);

/// How many prefixes may be cut out of a scope; where there are more, the scope is narrower.
pub const MAX_EXCEPTIONS: usize = 16;

/// Which calls get the same answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// This call alone: something was read of it that no scope names. The answer is not kept.
    Once,
    /// All calls of a region.
    Region(Box<Region>),
}

/// The calls that are decided alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    /// Of the policy set.
    pub revision: String,
    /// Who calls.
    pub caller: Caller,
    /// Where to.
    pub host: Host,
    /// On which port.
    pub port: u16,
    /// How it is carried there.
    pub transport: Transport,
    /// With which methods.
    pub methods: Methods,
    /// On which paths.
    pub paths: Paths,
    /// From when until when.
    pub holds: Lifetime,
}

/// A caller, as far as an answer may be given again.
#[derive(Clone, PartialEq, Eq)]
pub enum Caller {
    /// Who shows exactly this evidence, compared whole.
    Evidence(Evidence),
    /// Who calls through the listener of this name, which is configured with an identity.
    Listener(String),
}

/// A set of methods, compared byte by byte (RFC 9110 §9.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Methods {
    /// These.
    These(Vec<String>),
    /// All but these. What is no method, and what goes around policy, is never meant.
    AllBut(Vec<String>),
}

/// A set of paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Paths {
    /// What lies under `prefix` and under none of `except`.
    Under {
        /// Matches by segment.
        prefix: PathPrefix,
        /// At most [`MAX_EXCEPTIONS`].
        except: Vec<PathPrefix>,
    },
    /// One path, in the spelling of [`RequestPath::spelled`].
    Exactly(String),
}

impl Scope {
    /// Whether the answer holds for `request` of `caller` at `now`, while the policy set `revision` is
    /// in force. The query does not matter: an answer that looked at it is [`Scope::Once`].
    ///
    /// SECURITY: it is about requests whose headers are read as an edge reads them. Whoever keeps answers asks
    /// again for a request with `upgrade`, with a header that [`overrides_request`], or with a header by which
    /// it would imitate evidence, a credential or one of ours.
    ///
    /// [`overrides_request`]: crate::request::overrides_request
    pub fn covers(
        &self,
        revision: &str,
        caller: &Caller,
        request: &Request<'_>,
        now: Timestamp,
    ) -> bool {
        let Self::Region(region) = self else {
            return false;
        };
        region.holds_at(now)
            && region.revision == revision
            && region.port == request.port
            && region.transport == request.transport
            && region.host == *request.host
            && region.methods.contain(request.method)
            && region.paths.contain(request.path)
            && region.caller == *caller
    }
}

impl Region {
    /// A clock that was set back to before the decision makes it unusable, for a time window may have
    /// been closed then.
    fn holds_at(&self, now: Timestamp) -> bool {
        now >= self.holds.issued_at && self.holds.at(now) != Freshness::Expired
    }
}

impl Methods {
    /// Whether the method is one of them.
    pub fn contain(&self, method: &str) -> bool {
        let listed = |methods: &Vec<String>| methods.iter().any(|listed| listed.as_str() == method);
        match self {
            Self::These(methods) => listed(methods),
            // INVARIANT: what is refused before policy is asked lies in no scope.
            Self::AllBut(methods) => {
                is_method(method) && !goes_around_policy(method) && !listed(methods)
            }
        }
    }
}

impl Paths {
    /// Whether the path is one of them.
    pub fn contain(&self, path: RequestPath<'_>) -> bool {
        match self {
            Self::Under { prefix, except } => {
                prefix.covers(path) && !except.iter().any(|prefix| prefix.covers(path))
            }
            Self::Exactly(spelled) => path.spelled() == spelled.as_str(),
        }
    }
}

/// The evidence is not shown.
impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Evidence(_) => f.write_str("Evidence(..)"),
            Self::Listener(name) => f.debug_tuple("Listener").field(name).finish(),
        }
    }
}
