//! Client assertions of OAuth token requests (RFC 7523 §2.2): each made for one request, with a `jti` of its own, and
//! kept nowhere.

use attache_proto::token::v1 as proto;
use tonic::Status;

use super::{
    PROTOCOL,
    asked::Asked,
    service::{TokensService, check_protocol},
};
use crate::{
    answer::{Answer, Disposition},
    keeping::Keeping,
    refusal::Refusal,
    wanted::{Purpose, Wanted},
};

/// `client_assertion_type` of a JWT (RFC 7523 §2.2).
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

impl TokensService {
    pub(super) async fn assert(
        &self,
        request: proto::AssertionRequest,
    ) -> Result<proto::AssertionResponse, Status> {
        check_protocol(request.protocol)?;
        if request.client_id.is_empty() {
            return Err(Status::invalid_argument("client_id is missing"));
        }
        let call = request.call;
        let call = call.ok_or_else(|| Status::invalid_argument("call is missing"))?;
        let asked = Asked::new(
            proto::Purpose::Attach,
            request.evidence,
            call,
            &self.listener,
        )?;
        // SECURITY: the answer is about this one request, of which policy may read all.
        if asked.keeping() != Keeping::Never {
            let message = "details: an assertion is made for one request; send all of it";
            return Err(Status::invalid_argument(message));
        }
        let wanted = Wanted {
            purpose: Purpose::Assert,
            keeping: Keeping::Never,
            client_id: Some(&request.client_id),
        };
        let answer = self
            .edge
            .answer_for(wanted, &self.listener, &asked.question(), None)
            .await;
        Ok(asserted(answer))
    }
}

fn asserted(answer: Answer) -> proto::AssertionResponse {
    let mut response = proto::AssertionResponse {
        protocol: PROTOCOL,
        decision_id: answer.decision_id.into(),
        observed: answer.observed,
        ..proto::AssertionResponse::default()
    };
    match &answer.disposition {
        Disposition::Forward(forward) => {
            response.decision = i32::from(proto::Decision::Allowed);
            response.remove = forward.remove().iter().map(ToString::to_string).collect();
            if let Some(credential) = forward.credential() {
                credential.token().clone_into(&mut response.assertion);
                ASSERTION_TYPE.clone_into(&mut response.assertion_type);
                let lifetime = credential.lifetime();
                response.expires_at = lifetime.map_or(0, |it| it.expires_at.as_millis());
            }
        }
        Disposition::Refuse(refusal) => {
            response.decision = i32::from(match refusal {
                Refusal::Denied(_) => proto::Decision::Denied,
                Refusal::Unavailable(_) => proto::Decision::Unavailable,
            });
            refusal.code().clone_into(&mut response.code);
            refusal.sentence().clone_into(&mut response.message);
        }
    }
    response
}
