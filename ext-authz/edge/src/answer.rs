//! What a listener tells its caller, in the words of no protocol.

use std::time::Duration;

use attache_core::{decision::Fault, event::Outcome, time::Timestamp};
use attache_credentials::{Credential, Held, Injection};
use compact_str::CompactString;

use crate::{
    keeping::{Kept, Needs},
    refusal::Refusal,
};

/// The answer to one request.
pub struct Answer {
    /// The id of the audit event that records the access.
    pub decision_id: CompactString,
    /// `<effect>:<client>:<server>:<action>` of the policy that decided, if one did.
    pub policy: Option<CompactString>,
    /// The caller's SPIFFE ID, if it was proven.
    pub workload: Option<CompactString>,
    /// The revision of the policy set that decided; empty if none was asked.
    pub policy_revision: CompactString,
    /// Until when the same question has the same answer under that revision; `None` if it must not be
    /// kept, or if nobody asked.
    pub valid_until: Option<Timestamp>,
    /// How long to wait before asking again after a fault, if that is known.
    pub retry_after: Option<Duration>,
    /// Whether the edge only observes, and lets pass what policy denies.
    pub observed: bool,
    /// If the asker may keep the answer: for which requests.
    pub kept: Option<Box<Kept>>,
    /// If nothing was given, for whoever asks has to come again: with what, or for what.
    pub needs: Option<Box<Needs>>,
    /// For whoever keeps answers: the headers that must not reach the target as the client sent them.
    pub protected: Vec<String>,
    /// What happens to the request.
    pub disposition: Disposition,
}

/// What happens to a request.
pub enum Disposition {
    /// It goes on to its target.
    Forward(Forward),
    /// It ends here.
    Refuse(Refusal),
}

/// How a request goes on.
pub struct Forward {
    credential: Option<Held<Credential>>,
    remove: Vec<CompactString>,
    remove_parameters: Vec<CompactString>,
}

/// What of a request must not reach its target as the client sent it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Removal<'q> {
    /// Names of headers, in lower case.
    pub(crate) headers: Vec<&'q str>,
    /// Names of parameters of the query, as they were sent.
    pub(crate) parameters: Vec<&'q str>,
}

impl Answer {
    /// It is in the journal, under this id.
    pub(crate) fn recorded_as(&mut self, event_id: CompactString) {
        if let Some(kept) = &mut self.kept {
            kept.event.event_id.clone_from(&event_id);
        }
        self.decision_id = event_id;
    }

    /// No event, no credential, and nothing to keep.
    pub(crate) fn is_not_recorded(&mut self) {
        self.kept = None;
        self.disposition = Disposition::Refuse(Fault::AuditUnavailable.into());
    }

    /// What the caller sees.
    pub const fn outcome(&self) -> Outcome {
        match &self.disposition {
            Disposition::Forward(_) => Outcome::Permitted,
            Disposition::Refuse(Refusal::Denied(_)) => Outcome::Denied,
            Disposition::Refuse(Refusal::Unavailable(_)) => Outcome::Error,
        }
    }
}

impl Forward {
    /// With a credential, and without `removal` as the client sent it.
    pub(crate) fn with(credential: Option<Held<Credential>>, removal: &Removal<'_>) -> Self {
        let injection = credential.as_ref().map(|credential| credential.injection());
        let headers = injection.map_or(&[][..], Injection::headers);
        let parameters = injection.map_or(&[][..], Injection::parameters);
        // Envoy removes after it sets: what is injected must not stand in the list. Setting replaces
        // every value that the client sent under that name.
        let is_set = |name: &&&str| headers.iter().any(|(set, _)| set.as_str() == **name);
        let remove = removal.headers.iter().filter(|name| !is_set(name));
        let is_set = |name: &&&str| parameters.iter().any(|(set, _)| set.as_str() == **name);
        let remove_parameters = removal.parameters.iter().filter(|name| !is_set(name));
        Self {
            remove: remove.copied().map(CompactString::from).collect(),
            remove_parameters: remove_parameters
                .copied()
                .map(CompactString::from)
                .collect(),
            credential,
        }
    }

    /// As it came, but for these headers.
    pub(crate) fn removing<'n>(headers: impl Iterator<Item = &'n str>) -> Self {
        Self {
            credential: None,
            remove: headers.map(CompactString::from).collect(),
            remove_parameters: Vec::new(),
        }
    }

    /// What is attached.
    pub fn credential(&self) -> Option<&Credential> {
        self.credential.as_deref()
    }

    /// The headers that are taken out, in lower case.
    pub fn remove(&self) -> &[CompactString] {
        &self.remove
    }

    /// The parameters of the query that are taken out, by their names as they were sent.
    pub fn remove_parameters(&self) -> &[CompactString] {
        &self.remove_parameters
    }
}
