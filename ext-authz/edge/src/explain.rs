//! Why a call is answered as it is: the stages of [`crate::pipeline`] up to the decision, told instead of
//! carried out. Nothing is recorded, no credential is obtained, and nothing leaves but words.

use std::net::IpAddr;

use attache_core::{
    decision::DenyReason,
    event::{Mode, Outcome},
    time::Timestamp,
    token::InvalidTarget,
};
use attache_policy::{
    Compiled, Context, Country, Geography, Location,
    explain::{Explanation, Verdict},
};
use attache_trust::{NotSupposable, Trust};
use thiserror::Error;

use crate::{
    clock,
    entrance::{Entered, enter},
    peer::Peer,
    pipeline::Edge,
    question::{Asked, Question},
    settings::{Enforcement, ListenerSettings, Unmatched},
    source,
};

pub use self::{
    call::{Call, Caller, Token, TokenWanted, Verification},
    told::{CallTold, CallerTold, Explained, Proof, Stage, TokenTold},
};

use self::caller::{Known, Nobody};

mod call;
mod caller;
pub(crate) mod kept;
mod token;
mod told;

#[cfg(test)]
mod tests;

/// How many policies an explanation tells of, unless more are asked for.
const USUAL_POLICIES: usize = 8;

/// All that an explanation is made from.
pub struct Explainer<'e> {
    /// The policy set.
    pub policies: &'e Compiled,
    /// Who verifies evidence.
    pub trust: &'e Trust,
    /// Where addresses are.
    pub geography: &'e dyn Geography,
    /// The listener that would be asked.
    pub listener: &'e ListenerSettings,
    /// What happens to a request that no policy matches.
    pub unmatched: Unmatched,
    /// Whether decisions are carried out.
    pub enforcement: Enforcement,
}

/// Why there is nothing to explain.
#[derive(Debug, Error)]
pub enum Unexplainable {
    /// Not a country code.
    #[error("{0:?} is not the code of a country; write two letters of ISO 3166-1: DE, FR, US")]
    Country(String),
    /// A name that nothing has.
    #[error("there is no trust provider {name:?}; {known}")]
    Provider {
        /// As it was written.
        name: String,
        /// Those that there are.
        known: String,
    },
    /// None or several would fit.
    #[error("name the trust provider that would prove these attributes; {0}")]
    ProviderMissing(String),
    /// No provider proves such attributes.
    #[error("no evidence could prove these attributes: {0}")]
    Attributes(#[from] NotSupposable),
    /// A name that nothing has.
    #[error("there is no listener {0:?}")]
    Listener(String),
    /// Not where a token can be used.
    #[error(transparent)]
    Resource(#[from] InvalidTarget),
    /// Nothing is said of the token.
    #[error("say whom the token is for (its audience), where it is used (a resource), or both")]
    TokenForNobody,
}

/// One address, wherever somebody says that it is.
struct SaidToBe(Country);

impl Geography for SaidToBe {
    fn locate(&self, _address: IpAddr) -> Option<Location> {
        // The end of the year 9999: a supposition does not grow old.
        let good_until = Timestamp::from_seconds(253_402_300_799);
        Some(Location {
            country: self.0,
            good_until,
        })
    }
}

impl Edge {
    /// Explains what this edge would answer now.
    pub(crate) async fn explain(
        &self,
        listeners: &[ListenerSettings],
        call: &Call,
    ) -> Result<Explained, Unexplainable> {
        let wanted = call.listener.as_deref();
        let mut named = listeners
            .iter()
            .filter(|listener| wanted.is_none_or(|wanted| wanted == listener.name));
        let unknown = || Unexplainable::Listener(wanted.unwrap_or_default().to_owned());
        let explainer = Explainer {
            policies: &self.live.compiled(),
            trust: &self.trust,
            geography: &*self.geography,
            listener: named.next().ok_or_else(unknown)?,
            unmatched: self.unmatched,
            enforcement: self.enforcement,
        };
        explainer.explain(call, clock::now()).await
    }
}

impl Explainer<'_> {
    /// Explains a call that is made at `now`, unless it says when.
    pub async fn explain(&self, call: &Call, now: Timestamp) -> Result<Explained, Unexplainable> {
        let at = call.at.unwrap_or(now);
        let country = call.country.as_deref().map(|code| {
            Country::parse(code).ok_or_else(|| Unexplainable::Country(code.to_owned()))
        });
        let said_to_be = country.transpose()?.map(SaidToBe);
        let geography = match &said_to_be {
            Some(said_to_be) => said_to_be as &dyn Geography,
            None => self.geography,
        };
        match &call.token {
            Some(wanted) => self.explain_token(call, wanted, at, geography).await,
            None => self.explain_call(call, at, geography).await,
        }
    }

    async fn explain_call(
        &self,
        call: &Call,
        at: Timestamp,
        geography: &dyn Geography,
    ) -> Result<Explained, Unexplainable> {
        let question = self.question(call);
        let mut explained = self.begin(call, question.address, at);
        let asked = match question.understand(self.listener.destination) {
            Ok(asked) => asked,
            Err(refusal) => return Ok(explained.refused(Stage::Request, &refusal)),
        };
        explained.call.understood(&asked.request());
        let entered = enter(
            self.unmatched,
            self.policies,
            self.listener,
            &question,
            &asked,
        );
        let passes = match entered {
            Ok(entered) => matches!(entered, Entered::Unmatched(_)),
            Err(refusal) => return Ok(explained.refused(Stage::Headers, &refusal)),
        };
        let known = match self.caller(call, &question, at).await {
            // What passes anyway is not held against policies for callers without evidence.
            Ok((Known::Unproven(_), _)) if passes => None,
            Ok((known, told)) => {
                explained.caller = told;
                Some(known)
            }
            Err(Nobody::Impossible(unexplainable)) => return Err(unexplainable),
            Err(Nobody::Refused(_)) if passes => None,
            Err(Nobody::Refused(refusal)) => {
                return Ok(explained.refused(Stage::Evidence, &refusal));
            }
        };
        let context = Context {
            now: at,
            source: question.address,
            geography,
            query: question.query(),
            headers: question.known_headers(),
        };
        let limit = call.policies.unwrap_or(USUAL_POLICIES);
        let policy = known.map(|known| self.decide(&known, &asked, &context, limit));
        let nobodys = policy.as_ref().filter(|policy| policy.is_of_nobody());
        if let Some(nobodys) = nobodys {
            let would_be = nobodys.would_be.is_some();
            let missing = explained.refused(Stage::Evidence, &DenyReason::EvidenceMissing.into());
            return Ok(Explained {
                policy: policy.filter(|_| would_be),
                ..missing
            });
        }
        Ok(self.conclude(explained, policy, passes))
    }

    fn question<'c>(&self, call: &'c Call) -> Question<'c> {
        let headers = call.headers.iter();
        let headers = headers.map(|(name, value)| (name.as_str(), value.as_bytes()));
        let headers: Vec<(&str, &[u8])> = headers.collect();
        let forwarded = || source::address(None, &headers, self.listener.trusted_hops);
        let address = call.source.map(|source| source.to_canonical());
        let address = address.or_else(forwarded);
        Question {
            method: &call.method,
            target: &call.target,
            authority: &call.authority,
            headers,
            headers_are_known: true,
            vouched: Some(&call.origin),
            source: None,
            address,
            peer: Peer::default(),
            given: None,
        }
    }

    fn decide(
        &self,
        known: &Known,
        asked: &Asked<'_>,
        context: &Context<'_>,
        limit: usize,
    ) -> Explanation {
        let (policies, request) = (self.policies, asked.request());
        match known {
            Known::Proven(caller) => policies.explain(caller, &request, context, limit),
            Known::Supposed(caller) => caller.explain(policies, &request, context, limit),
            Known::Unproven(said) => policies.explain_unproven(said, &request, context),
        }
    }

    fn begin(&self, call: &Call, source: Option<IpAddr>, at: Timestamp) -> Explained {
        Explained {
            verdict: Verdict::passed_unmatched(),
            stage: Stage::Policy,
            mode: match self.enforcement {
                Enforcement::Enforce => Mode::Enforce,
                Enforcement::Observe => Mode::Observe,
            },
            listener: self.listener.name.clone(),
            policy_revision: self.policies.revision().to_owned(),
            call: CallTold::asked(call, source, at),
            token: None,
            caller: None,
            policy: None,
        }
    }

    fn conclude(
        &self,
        mut explained: Explained,
        mut policy: Option<Explanation>,
        passes: bool,
    ) -> Explained {
        let would_be = policy.as_mut().and_then(|policy| policy.would_be.as_mut());
        if let Some(would_be) = would_be.filter(|it| it.policy.is_none())
            && self.unmatched == Unmatched::PassWithoutCredential
        {
            would_be.outcome = Outcome::Permitted;
        }
        if passes {
            explained.stage = Stage::Unmatched;
        } else if let Some(policy) = &policy {
            let verdict = &policy.verdict;
            let unmatched = verdict.outcome == Outcome::Denied && verdict.policy.is_none();
            if unmatched && self.unmatched == Unmatched::PassWithoutCredential {
                explained.stage = Stage::Unmatched;
            } else {
                explained.verdict = verdict.clone();
            }
        }
        explained.policy = policy;
        explained
    }
}
