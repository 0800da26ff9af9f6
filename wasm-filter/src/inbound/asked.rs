//! Tokens that Envoy cannot verify (RSASSA-PSS): the edge does, once for all requests that show the same one.

use core::time::Duration;

use attache_core::{decision::Fault, jwt::Unverified, spiffe_id::SpiffeId, time::Timestamp};
use attache_proto::token::v1::{Decision, VerifyRequest, VerifyResponse};
use prost::Message as _;

use crate::{
    bundles::{PROTOCOL, TOKENS},
    host::{Buffer, ContextId, Host, Method},
    refusal::Refusal,
};

/// How long the edge may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// Most tokens that are asked about at once, and most requests that wait.
const MOST: usize = 64;
const MOST_WAITING: usize = 4096;
/// How long the edge's word is kept at most: the filter does not hear when it takes it back.
const KEPT: Duration = Duration::from_secs(60);
const MAX_ANSWER: usize = 64 * 1024;

/// The tokens that the edge is asked about.
#[derive(Default)]
pub(super) struct Asked(Vec<Question>);

struct Question {
    call: u32,
    token: String,
    waiting: Vec<ContextId>,
}

/// What the edge found, and who waits for it.
pub(super) struct Found {
    pub(super) token: String,
    pub(super) waiting: Vec<ContextId>,
    pub(super) caller: Result<Proven, Refusal>,
}

/// Who was proven, and until when.
pub(super) struct Proven {
    pub(super) spiffe_id: SpiffeId,
    pub(super) until: Timestamp,
}

impl Asked {
    /// Has the request wait for the edge's word on its token.
    pub(super) fn ask<H: Host>(
        &mut self,
        host: &H,
        cluster: &str,
        token: &str,
        audience: &str,
        stream: ContextId,
    ) -> Result<(), Refusal> {
        let waiting = self.0.iter().map(|question| question.waiting.len());
        if waiting.fold(0_usize, usize::saturating_add) >= MOST_WAITING {
            return Err(Refusal::fault(Fault::Overloaded));
        }
        if let Some(same) = self.0.iter_mut().find(|question| question.token == token) {
            same.waiting.push(stream);
            return Ok(());
        }
        if self.0.len() >= MOST {
            return Err(Refusal::fault(Fault::Overloaded));
        }
        let request = VerifyRequest {
            protocol: PROTOCOL,
            token: token.to_owned(),
            audiences: vec![audience.to_owned()],
        };
        let method = Method {
            cluster,
            service: TOKENS,
            method: "Verify",
        };
        // Envoy makes it a call of the plugin, so that it outlives the request that asked first.
        let call = host.call(method, &request.encode_to_vec(), PATIENCE);
        let call = call.map_err(|_failure| edge_unavailable())?;
        self.0.push(Question {
            call,
            token: token.to_owned(),
            waiting: vec![stream],
        });
        Ok(())
    }

    pub(super) fn answered<H: Host>(&mut self, host: &H, call: u32) -> Option<Found> {
        let question = self.take(call)?;
        let message = host.bytes(Buffer::GrpcMessage, MAX_ANSWER);
        let answer = VerifyResponse::decode(message.as_slice());
        let caller = answer
            .map_err(|_garbage| edge_unavailable())
            .and_then(|answer| proven(&question.token, &answer, host.now()));
        Some(Found {
            token: question.token,
            waiting: question.waiting,
            caller,
        })
    }

    pub(super) fn failed(&mut self, call: u32) -> Option<Found> {
        let question = self.take(call)?;
        Some(Found {
            token: question.token,
            waiting: question.waiting,
            caller: Err(edge_unavailable()),
        })
    }

    fn take(&mut self, call: u32) -> Option<Question> {
        let index = self.0.iter().position(|question| question.call == call)?;
        Some(self.0.swap_remove(index))
    }
}

fn proven(token: &str, answer: &VerifyResponse, now: Timestamp) -> Result<Proven, Refusal> {
    match answer.decision() {
        Decision::Allowed => {
            let claimed = Unverified::parse(token).and_then(|token| token.claimed_spiffe_id());
            // SECURITY: the edge's word is about this token, or it is none.
            let spiffe_id = claimed.ok().filter(|id| id.as_str() == answer.spiffe_id);
            Ok(Proven {
                spiffe_id: spiffe_id.ok_or_else(edge_unavailable)?,
                until: Timestamp::from_millis(answer.until).min(now.plus(KEPT)),
            })
        }
        Decision::Denied => Err(Refusal::by_edge(401, &answer.code, &answer.message)),
        Decision::Unspecified
        | Decision::Unavailable
        | Decision::DetailsNeeded
        | Decision::AssertionNeeded => Err(Refusal::by_edge(503, &answer.code, &answer.message)),
    }
}

/// The edge gave no answer that can be used.
pub(super) fn edge_unavailable() -> Refusal {
    Refusal::unavailable(
        "edge-unavailable",
        "the edge that decides cannot be reached; try again",
    )
}
