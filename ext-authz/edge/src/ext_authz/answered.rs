//! `envoy.service.auth.v3.CheckResponse`, written from an answer. On the wire it is that of Envoy's own definitions,
//! field by field; a secret is copied into it from where it is kept, and nowhere else.

use std::{borrow::Cow, time::Duration};

use attache_core::{decision::Fault, event::Outcome};
use attache_credentials::{Credential, Injection};
use bytes::BytesMut;
use envoy_types::ext_authz::v3::pb::HeaderAppendAction;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};
use tonic::{Code, Status};

use super::{CODE_HEADER, DECISION_HEADER};
use crate::{
    answer::{Answer, Disposition, Forward},
    refusal::Refusal,
    server::Framed,
};

/// What Envoy is told.
pub(super) struct Answered<'a> {
    answer: &'a Answer,
    what: What<'a>,
}

enum What<'a> {
    Forward(&'a Forward),
    Refuse(Refused<'a>),
}

/// `DeniedHttpResponse`.
struct Refused<'a> {
    grpc: Code,
    http: i32,
    headers: Vec<(&'static str, Cow<'a, str>)>,
    body: String,
}

impl<'a> Answered<'a> {
    /// `answer`, to a caller who speaks gRPC or not.
    pub(super) fn new(answer: &'a Answer, is_grpc: bool) -> Self {
        let what = match &answer.disposition {
            Disposition::Forward(forward) => What::Forward(forward),
            Disposition::Refuse(refusal) => What::Refuse(Refused::new(answer, refusal, is_grpc)),
        };
        Self { answer, what }
    }

    /// The message, as it stands in a call.
    pub(super) fn framed(&self) -> Result<Framed, Status> {
        let mut counted = Message::counted();
        self.write(&mut counted);
        Framed::new(counted.length, |bytes| {
            self.write(&mut Message::written(bytes))
        })
    }

    fn write(&self, response: &mut Message<'_>) {
        match &self.what {
            What::Forward(forward) => {
                // `google.rpc.Status`, whose code 0 is none that is written.
                response.message(1, |_status| {});
                response.message(3, |ok| permit(ok, forward));
            }
            What::Refuse(refused) => {
                response.message(1, |status| status.number(1, i32::from(refused.grpc)));
                response.message(2, |denied| refused.write(denied));
            }
        }
        response.message(4, |metadata| self.metadata(metadata));
    }

    /// What Envoy's access log can print, under `envoy.filters.http.ext_authz`: a `google.protobuf.Struct`.
    fn metadata(&self, metadata: &mut Message<'_>) {
        let answer = self.answer;
        let outcome = match answer.outcome() {
            Outcome::Permitted => "permitted",
            Outcome::Denied => "denied",
            Outcome::Error => "error",
        };
        let code = match &answer.disposition {
            Disposition::Refuse(refusal) => Some(refusal.code()),
            Disposition::Forward(_) => None,
        };
        let fields = [
            ("decision_id", Some(answer.decision_id.as_str())),
            ("outcome", Some(outcome)),
            ("code", code),
            ("policy", answer.policy.as_deref()),
            ("workload", answer.workload.as_deref()),
        ];
        for (key, value) in fields {
            let Some(value) = value else { continue };
            metadata.message(1, |field| {
                field.text(1, key);
                field.message(2, |it| it.text(3, value));
            });
        }
    }
}

/// `OkHttpResponse`.
fn permit(ok: &mut Message<'_>, forward: &Forward) {
    let injection = forward.credential().map(Credential::injection);
    for (name, value) in injection.map_or(&[][..], Injection::headers) {
        ok.message(2, |option| header(option, name.as_str(), value.expose()));
    }
    for name in forward.remove() {
        ok.text(5, name);
    }
    // SECURITY: Envoy puts the value into the query as it is; it was encoded when it was made.
    for (name, value) in injection.map_or(&[][..], Injection::parameters) {
        ok.message(7, |parameter| {
            pair(parameter, name.as_str(), value.expose())
        });
    }
    for name in forward.remove_parameters() {
        ok.text(8, name);
    }
}

impl<'a> Refused<'a> {
    /// A denial answers 403, a fault 503. Both go as a denied response: an error response would pass under
    /// Envoy's `failure_mode_allow`.
    fn new(answer: &'a Answer, refusal: &Refusal, is_grpc: bool) -> Self {
        let (grpc, http) = match refusal {
            Refusal::Denied(_) => (Code::PermissionDenied, 403),
            Refusal::Unavailable(_) => (Code::Unavailable, 503),
        };
        let mut headers: Vec<(_, Cow<'a, str>)> = vec![
            (DECISION_HEADER, answer.decision_id.as_str().into()),
            (CODE_HEADER, refusal.code().into()),
        ];
        let retry_after = match refusal {
            Refusal::Unavailable(Fault::Overloaded) => Some(Duration::from_secs(1)),
            Refusal::Unavailable(_) => answer.retry_after,
            Refusal::Denied(_) => None,
        };
        if let Some(after) = retry_after {
            // RFC 9110 §10.2.3, in whole seconds.
            let seconds = after
                .as_secs()
                .saturating_add(u64::from(after.subsec_nanos() > 0));
            headers.push(("retry-after", seconds.max(1).to_string().into()));
        }
        // For a gRPC caller Envoy turns status and body into `grpc-status` and `grpc-message`.
        let body = if is_grpc {
            format!(
                "{}: {} ({})",
                refusal.code(),
                refusal.sentence(),
                answer.decision_id
            )
        } else {
            headers.push(("content-type", "application/json".into()));
            let body = serde_json::json!({
                "code": refusal.code(),
                "decision": answer.decision_id,
                "message": refusal.sentence(),
            });
            format!("{body}\n")
        };
        Self {
            grpc,
            http,
            headers,
            body,
        }
    }

    fn write(&self, denied: &mut Message<'_>) {
        // `envoy.type.v3.HttpStatus`.
        denied.message(1, |status| status.number(1, self.http));
        for (name, value) in &self.headers {
            denied.message(2, |option| header(option, name, value));
        }
        denied.text(3, &self.body);
    }
}

/// `envoy.config.core.v3.HeaderValueOption`.
fn header(option: &mut Message<'_>, name: &str, value: &str) {
    option.message(1, |header| pair(header, name, value));
    let action = HeaderAppendAction::OverwriteIfExistsOrAdd;
    option.number(3, i32::from(action));
}

/// A name and its value, as `HeaderValue` and `QueryParameter` have them.
fn pair(message: &mut Message<'_>, name: &str, value: &str) {
    message.text(1, name);
    message.text(2, value);
}

/// A message of protobuf that is written, or whose bytes are counted: before a message stands how long it is.
struct Message<'a> {
    into: Option<&'a mut BytesMut>,
    length: usize,
}

impl<'a> Message<'a> {
    const fn counted() -> Self {
        Self {
            into: None,
            length: 0,
        }
    }

    const fn written(into: &'a mut BytesMut) -> Self {
        Self {
            into: Some(into),
            length: 0,
        }
    }

    /// A field that is a text, even an empty one.
    fn text(&mut self, field: u32, text: &str) {
        self.begin(field, text.len());
        if let Some(into) = &mut self.into {
            into.extend_from_slice(text.as_bytes());
        }
    }

    /// A field that is a number.
    fn number(&mut self, field: u32, number: i32) {
        // Protobuf writes an `int32` as 64 bits with its sign.
        let number = i64::from(number).cast_unsigned();
        self.length += key_len(field) + encoded_len_varint(number);
        if let Some(into) = &mut self.into {
            encode_key(field, WireType::Varint, into);
            encode_varint(number, into);
        }
    }

    /// A field that is a message with what `write` puts into it, which is called more than once.
    fn message(&mut self, field: u32, write: impl Fn(&mut Message<'_>)) {
        let mut counted = Message::counted();
        write(&mut counted);
        self.begin(field, counted.length);
        if let Some(into) = &mut self.into {
            write(&mut Message::written(into));
        }
    }

    /// What stands before the bytes of a text or of a message.
    fn begin(&mut self, field: u32, length: usize) {
        let told = u64::try_from(length).unwrap_or(u64::MAX);
        self.length += key_len(field) + encoded_len_varint(told) + length;
        if let Some(into) = &mut self.into {
            encode_key(field, WireType::LengthDelimited, into);
            encode_varint(told, into);
        }
    }
}
