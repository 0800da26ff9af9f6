//! OAuth token requests: their header is held back until the form has come, the edge makes a client assertion for
//! this one request, and the form goes on with it. Nothing of that is kept.

use core::time::Duration;
use std::rc::Rc;

use attache_core::{decision::Fault, time::Timestamp};
use attache_proto::token::v1::{AssertionRequest, AssertionResponse, Decision};
use prost::Message as _;

use super::{AUDIT_STATE, Outbound, asking::edge_unavailable, flights::Waiter, seen::Seen};
use crate::{
    bundles::{PROTOCOL, TOKENS},
    form::{self, Form, MAX_FORM, NoForm},
    host::{Buffer, ContextId, Host, Method},
    ids::ByContext,
    inbound::{Verdict, broken},
    message::Headers,
    metrics::Count,
    refusal::Refusal,
};

/// Most token requests at once in one VM.
const MOST: usize = 1024;
/// How long a form may take to come. A proxy that does not give bodies to the filter never gives one.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest answer that is read, in bytes.
const MAX_ANSWER: usize = 64 * 1024;

/// The forms of requests that wait, and the token requests among them.
#[derive(Default)]
pub(super) struct Forms {
    /// Requests whose bodies come here.
    held: ByContext<Held>,
    requests: Vec<TokenRequest>,
}

/// How much of a body is there.
#[derive(Clone, Copy, Debug, Default)]
struct Held {
    length: usize,
    /// Nothing more comes.
    whole: bool,
}

/// A token request that waits.
struct TokenRequest {
    waiter: Waiter,
    since: Timestamp,
    /// For its assertion; without a call, for its form.
    call: Option<u32>,
}

impl Forms {
    /// A request's header came: whether its body is wanted too, if it waits.
    pub(super) fn begin(&mut self, stream: ContextId, headers: &Headers<'_>, ends: bool) {
        if form::may_be(headers) && !ends {
            self.held.insert(stream, Held::default());
        }
    }

    /// Whether the request's body is held back here.
    pub(super) fn holds(&self, stream: ContextId) -> bool {
        self.held.contains_key(&stream)
    }

    /// The request waits no longer, or is gone.
    pub(super) fn forget(&mut self, stream: ContextId) {
        // Most requests hold nothing here.
        if !self.held.is_empty() {
            self.held.remove(&stream);
        }
        self.requests
            .retain(|request| request.waiter.stream != stream);
    }

    fn take(&mut self, wanted: impl Fn(&TokenRequest) -> bool) -> Option<TokenRequest> {
        let index = self.requests.iter().position(wanted)?;
        Some(self.requests.swap_remove(index))
    }
}

impl Outbound {
    /// A part of a body came, of which `length` bytes are held now; whether the request still waits.
    pub(crate) fn on_body<H: Host>(
        &mut self,
        host: &H,
        stream: ContextId,
        length: usize,
        ends: bool,
    ) -> Verdict {
        self.running.set(stream);
        let Some(held) = self.forms.held.get_mut(&stream) else {
            return Verdict::Pass;
        };
        held.length = length;
        held.whole |= ends;
        let reads = |request: &TokenRequest| request.waiter.stream == stream;
        let waits = self
            .forms
            .requests
            .iter()
            .any(|request| reads(request) && request.call.is_none());
        if !waits || (!ends && length <= MAX_FORM) {
            return Verdict::Wait;
        }
        let asked = match self.forms.take(reads) {
            Some(_) if length > MAX_FORM => Err(refusal(NoForm::TooLarge)),
            Some(request) => self.ask_assertion(host, request.waiter),
            None => return Verdict::Wait,
        };
        match asked {
            Ok(verdict) => verdict,
            Err(refusal) => {
                self.metrics.refused(host, refusal.code());
                self.forms.forget(stream);
                Verdict::Refuse(refusal)
            }
        }
    }

    /// Policy wants an assertion in the form of the request that runs.
    pub(super) fn expect_form<H: Host>(
        &mut self,
        host: &H,
        waiter: Waiter,
    ) -> Result<Verdict, Refusal> {
        let headers =
            Headers::read(&waiter.serialised, self.plan.protected()).ok_or_else(broken)?;
        form::check(&headers).map_err(refusal)?;
        drop(headers);
        match self.forms.held.get(&waiter.stream) {
            None => Err(refusal(NoForm::Malformed("the token request is empty"))),
            Some(held) if held.length > MAX_FORM => Err(refusal(NoForm::TooLarge)),
            Some(held) if held.whole => self.ask_assertion(host, waiter),
            Some(_) => {
                self.wait(host, waiter, None)?;
                Ok(Verdict::Wait)
            }
        }
    }

    fn wait<H: Host>(
        &mut self,
        host: &H,
        waiter: Waiter,
        call: Option<u32>,
    ) -> Result<(), Refusal> {
        if self.forms.requests.len() >= MOST {
            return Err(Refusal::fault(Fault::Overloaded));
        }
        let since = host.now();
        self.forms.requests.push(TokenRequest {
            waiter,
            since,
            call,
        });
        Ok(())
    }

    /// Asks for the assertion of the request that runs, whose form is there.
    #[inline(never)]
    fn ask_assertion<H: Host>(&mut self, host: &H, waiter: Waiter) -> Result<Verdict, Refusal> {
        let plan = Rc::clone(&self.plan);
        let seen = Seen::read(&plan, &waiter).ok_or_else(broken)?;
        let body = host.bytes(Buffer::RequestBody, MAX_FORM.saturating_add(1));
        let form = Form::read(&body, seen.headers()).map_err(refusal)?;
        let mut question = seen.question(Vec::new());
        question.call.details = Some(seen.details(super::asking::source(host)));
        let request = AssertionRequest {
            protocol: PROTOCOL,
            evidence: question.evidence,
            call: Some(question.call),
            client_id: form.client().to_owned(),
        };
        drop(seen);
        let method = Method {
            cluster: &plan.settings.edge,
            service: TOKENS,
            method: "Assertion",
        };
        let called = self.as_plugin(host, || {
            host.call(method, &request.encode_to_vec(), plan.settings.patience)
        });
        let call = called.map_err(|_failure| edge_unavailable())?;
        self.wait(host, waiter, Some(call))?;
        Ok(Verdict::Wait)
    }

    /// An assertion came; `false` if the token is of none.
    #[inline(never)]
    pub(super) fn on_assertion<H: Host>(&mut self, host: &H, token: u32) -> bool {
        let Some(request) = self.forms.take(|request| request.call == Some(token)) else {
            return false;
        };
        let bytes = host.bytes(Buffer::GrpcMessage, MAX_ANSWER);
        let stream = request.waiter.stream;
        if host.act_as(stream).is_err() {
            return true;
        }
        self.running.set(stream);
        let response = AssertionResponse::decode(bytes.as_slice());
        let outcome = response
            .map_err(|_garbage| edge_unavailable())
            .and_then(|response| self.assert(host, &request.waiter, &response));
        self.end(host, stream, outcome);
        true
    }

    /// There is no assertion; `false` if the token is of none.
    pub(super) fn on_no_assertion<H: Host>(&mut self, host: &H, token: u32) -> bool {
        let Some(request) = self.forms.take(|request| request.call == Some(token)) else {
            return false;
        };
        self.end(host, request.waiter.stream, Err(edge_unavailable()));
        true
    }

    /// Puts the assertion into the request that runs.
    #[inline(never)]
    fn assert<H: Host>(
        &self,
        host: &H,
        waiter: &Waiter,
        response: &AssertionResponse,
    ) -> Result<(), Refusal> {
        match response.decision() {
            Decision::Allowed => {}
            Decision::Denied => return Err(Refusal::of_assertion(403, response)),
            Decision::Unavailable => return Err(Refusal::of_assertion(503, response)),
            Decision::Unspecified | Decision::DetailsNeeded | Decision::AssertionNeeded => {
                return Err(edge_unavailable());
            }
        }
        let headers =
            Headers::read(&waiter.serialised, self.plan.protected()).ok_or_else(broken)?;
        let audit = serde_json::json!({"decision_id": response.decision_id}).to_string();
        host.set_state(AUDIT_STATE, audit.as_bytes())
            .map_err(|_failure| broken())?;
        let present = |name: &&String| headers.values(name).next().is_some();
        for name in response.remove.iter().filter(present) {
            host.remove_header(name.as_bytes())
                .map_err(|_failure| broken())?;
        }
        if response.assertion.is_empty() {
            return Ok(());
        }
        // SECURITY: what ends a field would begin another of somebody else's choice.
        let over = Timestamp::from_millis(response.expires_at) <= host.now();
        if over || !form::is_assertion(&response.assertion) {
            return Err(edge_unavailable());
        }
        let body = host.bytes(Buffer::RequestBody, MAX_FORM.saturating_add(1));
        let form = Form::read(&body, &headers).map_err(refusal)?;
        let rewritten = form.with(&response.assertion_type, &response.assertion);
        self.metrics.count(Count::Assertion);
        replace(host, &body, &rewritten).ok_or_else(broken)
    }

    /// Ends token requests whose form does not come.
    pub(super) fn tick_forms<H: Host>(&mut self, host: &H, now: Timestamp) {
        let late = |request: &TokenRequest| {
            request.call.is_none() && (now.since(request.since) >= PATIENCE || now < request.since)
        };
        while let Some(request) = self.forms.take(late) {
            let refusal = Refusal::unsent(
                408,
                "token-request-incomplete",
                "the form of the token request did not come in time",
            );
            self.end(host, request.waiter.stream, Err(refusal));
        }
    }
}

/// Puts another body in the place of the one that is there.
///
/// SECURITY: all of it at once with its length. A body that is longer than its `content-length` would be the next
/// request on the connection for the target.
fn replace<H: Host>(host: &H, old: &[u8], new: &str) -> Option<()> {
    host.replace_body(old.len(), new.as_bytes()).ok()?;
    for name in ["authorization", "transfer-encoding"] {
        host.remove_header(name.as_bytes()).ok()?;
    }
    let length = new.len().to_string();
    host.set_header("content-length", length.as_bytes()).ok()
}

fn refusal(no: NoForm) -> Refusal {
    let (status, code, sentence) = no.told();
    Refusal::unsent(status, code, sentence)
}
