//! Why a workload gets a token into its own hands, or not: [`crate::exchange`], told instead of carried out.

use attache_core::{decision::DenyReason, event::Mode, time::Timestamp, token::TokenTarget};
use attache_policy::{Context, Geography, explain::TokenAsked};

use super::{
    Call, Caller, Explained, Explainer, Stage, TokenTold, TokenWanted, USUAL_POLICIES,
    Unexplainable,
    caller::{Known, Nobody},
};
use crate::exchange::LISTENER;

impl Explainer<'_> {
    pub(super) async fn explain_token(
        &self,
        call: &Call,
        wanted: &TokenWanted,
        at: Timestamp,
        geography: &dyn Geography,
    ) -> Result<Explained, Unexplainable> {
        let target = wanted.resource.as_deref().map(TokenTarget::parse);
        let target = target.transpose()?;
        if target.is_none() && wanted.audience.is_none() {
            return Err(Unexplainable::TokenForNobody);
        }
        let source = call.source.map(|source| source.to_canonical());
        let mut explained = Explained {
            // No listener of Envoy's is asked, and whoever asks is told, whatever the edge observes.
            listener: LISTENER.to_owned(),
            mode: Mode::Enforce,
            token: Some(TokenTold {
                audience: wanted.audience.clone(),
                resource: target.as_ref().map(ToString::to_string),
                rests_on: None,
            }),
            ..self.begin(call, source, at)
        };
        let missing = DenyReason::EvidenceMissing;
        if matches!(call.caller, Caller::Request {}) {
            return Ok(explained.refused(Stage::Evidence, &missing.into()));
        }
        let known = match self.caller(call, &self.question(call), at).await {
            Ok((known, told)) => {
                explained.caller = told;
                known
            }
            Err(Nobody::Impossible(unexplainable)) => return Err(unexplainable),
            Err(Nobody::Refused(refusal)) => {
                return Ok(explained.refused(Stage::Evidence, &refusal));
            }
        };
        let context = Context {
            now: at,
            source,
            geography,
            query: "",
            headers: None,
        };
        let asked = TokenAsked {
            audience: wanted.audience.as_deref(),
            target: target.as_ref(),
        };
        let (policies, limit) = (self.policies, call.policies.unwrap_or(USUAL_POLICIES));
        let told = match &known {
            Known::Proven(caller) => policies.explain_hand_out(caller, asked, &context, limit),
            Known::Supposed(caller) => caller.explain_hand_out(policies, asked, &context, limit),
            Known::Unproven(_) => {
                return Ok(explained.refused(Stage::Evidence, &missing.into()));
            }
        };
        if let Some(token) = &mut explained.token {
            token.rests_on = told.rests_on;
        }
        explained.verdict = told.explanation.verdict.clone();
        explained.policy = Some(told.explanation);
        Ok(explained)
    }
}
