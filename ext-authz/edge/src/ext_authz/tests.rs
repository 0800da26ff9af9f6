use attache_core::decision::{DenyReason, Fault};
use envoy_types::{
    ext_authz::v3::pb::{CheckRequest, CheckResponse, DeniedHttpResponse, HttpResponse},
    pb::{
        envoy::{
            config::core::v3::{
                Address, HeaderMap, HeaderValue, Pipe, SocketAddress, address,
                socket_address::PortSpecifier,
            },
            service::auth::v3::{AttributeContext, attribute_context},
        },
        google::protobuf::value::Kind,
    },
};
use prost::Message as _;

use super::{
    TARGET_EXTENSION,
    answered::Answered,
    asked::{Asked, Entry, Socket},
};
use crate::{
    answer::{Answer, Disposition, Forward, Removal},
    question::Question,
    refusal::Refusal,
    server::DESCRIPTORS,
    source,
};

/// What Envoy sends.
fn sent(attributes: &AttributeContext) -> Vec<u8> {
    let attributes = Some(attributes.clone());
    CheckRequest { attributes }.encode_to_vec()
}

/// How it is read here.
fn question(sent: &[u8]) -> Option<Question<'_>> {
    super::question(Asked::read(sent).unwrap(), 0).unwrap()
}

/// What is answered, as Envoy reads it.
fn response(answer: &Answer, is_grpc: bool) -> CheckResponse {
    let framed = Answered::new(answer, is_grpc).framed().unwrap();
    let (prefix, message) = framed.bytes().split_first_chunk::<5>().unwrap();
    assert_eq!(prefix[0], 0);
    let told = u32::from_be_bytes(prefix[1..].try_into().unwrap());
    assert_eq!(usize::try_from(told).unwrap(), message.len());
    CheckResponse::decode(message).unwrap()
}

fn asked(http: attribute_context::HttpRequest) -> AttributeContext {
    let request = attribute_context::Request {
        http: Some(http),
        ..Default::default()
    };
    AttributeContext {
        request: Some(request),
        ..Default::default()
    }
}

fn answer(disposition: Disposition) -> Answer {
    Answer {
        decision_id: "evt_1".into(),
        policy: Some("allow:a:b:read".into()),
        workload: None,
        policy_revision: "".into(),
        valid_until: None,
        retry_after: None,
        observed: false,
        kept: None,
        needs: None,
        protected: Vec::new(),
        disposition,
    }
}

fn denied(response: CheckResponse) -> DeniedHttpResponse {
    let Some(HttpResponse::DeniedResponse(denied)) = response.http_response else {
        panic!("{response:?}");
    };
    denied
}

fn headers(denied: &DeniedHttpResponse) -> Vec<(&str, &str)> {
    let headers = denied
        .headers
        .iter()
        .filter_map(|option| option.header.as_ref());
    headers
        .map(|header| (header.key.as_str(), header.value.as_str()))
        .collect()
}

#[test]
fn raw_headers_keep_duplicates_and_bytes_apart() {
    let header = |key: &str, raw: &[u8]| HeaderValue {
        key: key.to_owned(),
        value: String::new(),
        raw_value: raw.to_vec(),
    };
    let map = HeaderMap {
        headers: vec![header("a", b"1"), header("a", b"\xff")],
    };
    let attributes = sent(&asked(attribute_context::HttpRequest {
        header_map: Some(map),
        ..Default::default()
    }));
    let question = question(&attributes).unwrap();
    assert_eq!(question.headers, [("a", &b"1"[..]), ("a", b"\xff")]);
}

#[test]
fn joined_headers_are_read_where_envoy_sends_no_raw_ones() {
    let headers = [("x-attache-evidence".to_owned(), "t".to_owned())].into();
    let attributes = sent(&asked(attribute_context::HttpRequest {
        headers,
        ..Default::default()
    }));
    assert_eq!(
        question(&attributes).unwrap().headers,
        [("x-attache-evidence", &b"t"[..])]
    );
}

#[test]
fn what_is_no_http_request_is_no_question() {
    let nothing = sent(&AttributeContext::default());
    assert!(question(&nothing).is_none());
}

fn socket(port_specifier: Option<PortSpecifier>) -> address::Address {
    address::Address::SocketAddress(SocketAddress {
        protocol: 0,
        address: "192.0.2.7".to_owned(),
        resolver_name: "unread".to_owned(),
        ipv4_compat: true,
        network_namespace_filepath: String::new(),
        port_specifier,
    })
}

fn peer(address: address::Address) -> attribute_context::Peer {
    attribute_context::Peer {
        address: Some(Address {
            address: Some(address),
        }),
        service: "never read".to_owned(),
        labels: [("never".to_owned(), "read".to_owned())].into(),
        principal: "spiffe://example.org/a".to_owned(),
        certificate: "-----BEGIN".to_owned(),
    }
}

#[test]
fn everything_that_envoy_says_of_a_request_is_read_where_it_stands() {
    let mut attributes = asked(attribute_context::HttpRequest {
        id: "7".to_owned(),
        method: "PATCH".to_owned(),
        path: "/a?b".to_owned(),
        host: "api.example:8443".to_owned(),
        scheme: "https".to_owned(),
        query: "unread".to_owned(),
        fragment: "unread".to_owned(),
        size: 7,
        protocol: "HTTP/2".to_owned(),
        body: "unread".to_owned(),
        raw_body: b"\xff".to_vec(),
        ..Default::default()
    });
    attributes.context_extensions = [
        ("attache.other".to_owned(), "unread".to_owned()),
        (
            TARGET_EXTENSION.to_owned(),
            "https://api.example".to_owned(),
        ),
    ]
    .into();
    let ports = [
        (Some(PortSpecifier::PortValue(4711)), 4711),
        (Some(PortSpecifier::NamedPort("https".to_owned())), 0),
        (None, 0),
    ];
    for (port, told) in ports {
        attributes.source = Some(peer(socket(port)));
        let attributes = sent(&attributes);
        let question = question(&attributes).unwrap();
        assert_eq!(question.method, "PATCH");
        assert_eq!(question.target, "/a?b");
        assert_eq!(question.authority, "api.example:8443");
        assert_eq!(question.vouched, Some("https://api.example"));
        let from = source::text("192.0.2.7", told);
        assert_eq!(question.source, Some(from));
        assert_eq!(question.peer.principal, "spiffe://example.org/a");
        assert_eq!(question.peer.certificate, "-----BEGIN");
    }
    // An address of another kind is none that could be told.
    attributes.source = Some(peer(address::Address::Pipe(Pipe::default())));
    let attributes = sent(&attributes);
    let question = question(&attributes).unwrap();
    assert_eq!(question.source, None);
}

#[test]
fn of_two_entries_with_one_name_the_last_counts_as_in_any_map() {
    let attributes = sent(&asked(attribute_context::HttpRequest::default()));
    let mut asked = Asked::read(&attributes).unwrap();
    let entry = |key: &'static str, value: &'static str| Entry {
        key: key.as_bytes(),
        value: value.as_bytes(),
    };
    asked.extensions = vec![
        entry(TARGET_EXTENSION, "https://one.example"),
        entry(TARGET_EXTENSION, "https://two.example"),
        entry("attache.other", "https://three.example"),
    ];
    asked.http.as_mut().unwrap().joined = vec![entry("a", "1"), entry("b", "2"), entry("a", "3")];
    let question = super::question(asked, 0).unwrap().unwrap();
    assert_eq!(question.vouched, Some("https://two.example"));
    let mut headers = question.headers;
    headers.sort_unstable();
    assert_eq!(headers, [("a", &b"3"[..]), ("b", b"2")]);
}

#[test]
fn what_must_be_a_text_and_is_none_is_no_question() {
    type Spoil = fn(&mut Asked<'_>, &'static [u8]);
    let spoil: [Spoil; 8] = [
        |asked, bytes| asked.http.as_mut().unwrap().method = bytes,
        |asked, bytes| asked.http.as_mut().unwrap().path = bytes,
        |asked, bytes| asked.http.as_mut().unwrap().host = bytes,
        |asked, bytes| {
            let (key, value) = (bytes, &b"v"[..]);
            asked.http.as_mut().unwrap().joined = vec![Entry { key, value }];
        },
        |asked, bytes| {
            let (key, value) = (TARGET_EXTENSION.as_bytes(), bytes);
            asked.extensions = vec![Entry { key, value }];
        },
        |asked, bytes| asked.source.principal = bytes,
        |asked, bytes| asked.source.certificate = bytes,
        |asked, bytes| {
            asked.source.socket = Some(Socket {
                address: bytes,
                port: 1,
            })
        },
    ];
    let attributes = sent(&asked(attribute_context::HttpRequest::default()));
    for (number, spoil) in spoil.into_iter().enumerate() {
        let mut asked = Asked::read(&attributes).unwrap();
        spoil(&mut asked, b"text");
        assert!(super::question(asked, 0).is_ok(), "{number}");
        let mut asked = Asked::read(&attributes).unwrap();
        spoil(&mut asked, b"\xc3");
        assert!(super::question(asked, 0).is_err(), "{number}");
    }
}

#[test]
fn a_denial_is_403_and_a_fault_503_and_both_stay_denied_under_failure_mode_allow() {
    let refusals = [
        (Refusal::Denied(DenyReason::NoPolicy), 7, 403, "no-policy"),
        (
            Refusal::Unavailable(Fault::AuditUnavailable),
            14,
            503,
            "audit-unavailable",
        ),
    ];
    for (refusal, grpc, status, code) in refusals {
        let response = response(&answer(Disposition::Refuse(refusal)), false);
        assert_eq!(response.status.as_ref().unwrap().code, grpc);
        let denied = denied(response);
        assert_eq!(denied.status.as_ref().unwrap().code, status);
        assert!(headers(&denied).contains(&("x-attache-code", code)));
        assert!(headers(&denied).contains(&("x-attache-decision", "evt_1")));
        let body: serde_json::Value = serde_json::from_str(&denied.body).unwrap();
        assert_eq!(
            (&body["code"], &body["decision"]),
            (&code.into(), &"evt_1".into())
        );
    }
}

#[test]
fn an_edge_with_too_many_calls_says_when_to_try_again() {
    let refusal = Refusal::Unavailable(Fault::Overloaded);
    for is_grpc in [false, true] {
        let denied = denied(response(
            &answer(Disposition::Refuse(refusal.clone())),
            is_grpc,
        ));
        assert_eq!(denied.status.as_ref().unwrap().code, 503);
        assert!(headers(&denied).contains(&("x-attache-code", "overloaded")));
        assert!(headers(&denied).contains(&("retry-after", "1")));
    }
    let refusal = Refusal::Unavailable(Fault::KeysUnavailable);
    let denied = denied(response(&answer(Disposition::Refuse(refusal)), false));
    assert!(
        headers(&denied)
            .iter()
            .all(|(name, _)| *name != "retry-after")
    );
}

#[test]
fn a_grpc_caller_gets_a_sentence_and_no_content_type() {
    let refusal = Refusal::Denied(DenyReason::NoPolicy);
    let denied = denied(response(&answer(Disposition::Refuse(refusal)), true));
    assert!(denied.body.contains("no-policy") && denied.body.contains("evt_1"));
    assert!(
        headers(&denied)
            .iter()
            .all(|(name, _)| *name != "content-type")
    );
}

#[test]
fn headers_are_removed_from_a_request_that_goes_on() {
    let removal = Removal {
        headers: vec!["authorization", "x-attache-evidence"],
        parameters: vec!["key", "%6bey"],
    };
    let forward = Forward::with(None, &removal);
    let response = response(&answer(Disposition::Forward(forward)), false);
    assert_eq!(response.status.as_ref().unwrap().code, 0);
    let Some(HttpResponse::OkResponse(ok)) = response.http_response else {
        panic!()
    };
    assert_eq!(
        ok.headers_to_remove,
        ["authorization", "x-attache-evidence"]
    );
    assert_eq!(ok.query_parameters_to_remove, ["key", "%6bey"]);
    assert!(ok.headers.is_empty() && ok.query_parameters_to_set.is_empty());
}

#[test]
fn the_proxys_access_log_is_told_what_was_decided() {
    let told = |disposition: Disposition| {
        let metadata = response(&answer(disposition), false).dynamic_metadata;
        let fields = metadata.unwrap().fields.into_iter();
        let texts = fields.map(|(name, value)| match value.kind {
            Some(Kind::StringValue(text)) => format!("{name}={text}"),
            other => panic!("{name} is {other:?}"),
        });
        let mut texts: Vec<_> = texts.collect();
        texts.sort_unstable();
        texts
    };
    let removal = Removal::default();
    let permitted = told(Disposition::Forward(Forward::with(None, &removal)));
    let policy = "policy=allow:a:b:read";
    assert_eq!(
        permitted,
        ["decision_id=evt_1", "outcome=permitted", policy]
    );
    let denied = told(Disposition::Refuse(DenyReason::NoPolicy.into()));
    let code = "code=no-policy";
    assert_eq!(
        denied,
        [code, "decision_id=evt_1", "outcome=denied", policy]
    );
}

#[test]
fn reflection_knows_every_field_that_the_service_has() {
    let set = prost_types::FileDescriptorSet::decode(DESCRIPTORS).unwrap();
    let file = |name: &str| set.file.iter().find(|file| file.name() == name).unwrap();
    let service = &file("envoy/service/auth/v3/external_auth.proto").service[0];
    assert_eq!(
        (service.name(), service.method[0].name()),
        ("Authorization", "Check")
    );
    for file in &set.file {
        for dependency in &file.dependency {
            assert!(
                set.file.iter().any(|other| other.name() == dependency),
                "{dependency}"
            );
        }
    }
}
