//! Answers that whoever asks may give again: how far one reaches, and what is noted of it on the way.
//!
//! INVARIANT: an answer that may be kept holds for every request of its region; one that read what was not told
//! is no answer at all.

use std::time::Duration;

use attache_core::{
    decision::{DenyReason, Fault},
    event::Event,
    freshness::Lifetime,
    scope::{Caller, Methods, Paths, Region, Scope},
    time::Timestamp,
};

use crate::{question::Asked, refusal::Refusal};

#[cfg(test)]
mod tests;

/// How long a refusal may be kept: what it was refused for may be put right at any moment.
pub const MAX_REFUSAL: Duration = Duration::from_secs(5);

/// Most bytes of texts that a kept answer's region and request have, so that its lease is no burden.
const MAX_BYTES: usize = 3 * 1024;

/// Whether the answer may be given again by whoever asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keeping {
    /// It is about this request alone.
    Never,
    /// Of the request only what stands in a region is told; the answer is for all requests of it.
    Region,
}

/// The state of an edge that answers depend on. Equal or not; 0 before anything was decided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Revision {
    /// Counts changes of the policies in force and of the trust providers.
    pub step: u64,
    /// Counts revocations of signing keys.
    pub generation: u64,
}

/// An answer that may be kept, after it was recorded.
pub struct Kept {
    /// For which requests and how long. Its caller is not set.
    pub region: Region,
    /// What was recorded of it.
    pub event: Box<Event>,
    /// Under what it was decided.
    pub revision: Revision,
}

/// Why nothing was decided for whoever asks, who comes again for each request by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Policy reads what was not told. The request for which that is known.
    Details(Region),
    /// Policy has an assertion made for each request. For which requests that is known; `None`: this one.
    Assertion(Option<Region>),
}

/// How far an answer reaches, as far as is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Reach {
    /// This request alone.
    #[default]
    Once,
    /// Nowhere: it depends on what was not told.
    Untold,
    /// All requests of a region.
    Region(Box<Region>),
}

/// What is noted while an answer is found.
#[derive(Default)]
pub(crate) struct Noted {
    pub(crate) revision: Revision,
    reach: Reach,
    /// The request itself as a region.
    narrowest: Option<Box<Region>>,
    /// The headers that must not reach the target as the client sent them, present or not.
    pub(crate) protected: Vec<String>,
    asserts: bool,
}

impl Noted {
    /// What is asked, in its one reading.
    pub(crate) fn asked(&mut self, asked: &Asked<'_>, now: Timestamp) {
        let request = asked.request();
        self.narrowest = Some(Box::new(Region {
            revision: String::new(),
            caller: Caller::Listener(String::new()),
            host: request.host.clone(),
            port: request.port,
            transport: request.transport,
            methods: Methods::These(vec![request.method.to_owned()]),
            paths: Paths::Exactly(request.path.spelled().into_owned()),
            holds: Lifetime::starting(now, MAX_REFUSAL),
        }));
    }

    /// A decision begins; what an earlier one found is forgotten.
    pub(crate) fn begin(&mut self, revision: Revision) {
        self.revision = revision;
        self.reach = Reach::Once;
        self.protected.clear();
        self.asserts = false;
    }

    /// The decision holds for `scope`. Whether that can be said of a request that was told in part.
    pub(crate) fn reaches(&mut self, scope: Scope) -> bool {
        self.reach = match scope {
            Scope::Once => Reach::Untold,
            Scope::Region(region) => Reach::Region(region),
        };
        self.reach != Reach::Untold
    }

    /// The decision would read what was not told.
    pub(crate) fn untold(&mut self) {
        self.reach = Reach::Untold;
    }

    /// Policy allows the request with an assertion of its own. The fault ends its stages; nobody sees it.
    pub(crate) const fn assertion(&mut self) -> Fault {
        self.asserts = true;
        Fault::CredentialNotEncodable
    }

    /// What the asker has to come again with or for, for each request by itself.
    pub(crate) fn needs(&self) -> Option<Needs> {
        if self.asserts {
            return Some(Needs::Assertion(self.region(&Ok(()))));
        }
        // The request itself, for which that is known for a while.
        let narrowest = self.narrowest.as_deref().cloned();
        let narrowest = narrowest.filter(|_| self.reach == Reach::Untold);
        narrowest.map(Needs::Details)
    }

    /// The region of an answer that ends so; `None` if it must not be kept.
    pub(crate) fn region<T>(&self, verdict: &Result<T, Refusal>) -> Option<Region> {
        let region = match (&self.reach, verdict) {
            (Reach::Region(region), Ok(_)) => Some(Region::clone(region)),
            (Reach::Region(region), Err(Refusal::Denied(_))) => Some(shortened(region)),
            // What proves nothing here proves nothing for the same request a moment later.
            (Reach::Once, Err(Refusal::Denied(reason))) if is_of_evidence(reason) => {
                self.narrowest.as_deref().cloned()
            }
            _not_kept => None,
        };
        let narrowest = self.narrowest.as_ref()?;
        let bytes = region.as_ref().map(bytes)?.saturating_add(bytes(narrowest));
        region.filter(|_| bytes <= MAX_BYTES)
    }
}

/// How many bytes a region's texts take.
fn bytes(region: &Region) -> usize {
    let (Methods::These(methods) | Methods::AllBut(methods)) = &region.methods;
    let methods: usize = methods.iter().map(String::len).sum();
    let paths = match &region.paths {
        Paths::Exactly(path) => path.len(),
        Paths::Under { prefix, except } => {
            let except: usize = except.iter().map(|prefix| prefix.as_str().len()).sum();
            except.saturating_add(prefix.as_str().len())
        }
    };
    methods.saturating_add(paths)
}

fn shortened(region: &Region) -> Region {
    let mut region = region.clone();
    let most = region.holds.issued_at.plus(MAX_REFUSAL);
    region.holds.expires_at = region.holds.expires_at.min(most);
    region
}

/// Whether a refusal follows from the evidence and the time alone.
const fn is_of_evidence(reason: &DenyReason) -> bool {
    matches!(
        reason,
        DenyReason::EvidenceMissing
            | DenyReason::EvidenceRejected(_)
            | DenyReason::CertificateRejected(_)
            | DenyReason::IssuerUnknown
            | DenyReason::TrustDomainUnknown
            | DenyReason::NotVouchedFor
            | DenyReason::WorkloadUnnameable
    )
}
