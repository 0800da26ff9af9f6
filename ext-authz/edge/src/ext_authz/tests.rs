use attache_core::decision::{DenyReason, Fault};
use envoy_types::{
    ext_authz::v3::pb::{CheckResponse, DeniedHttpResponse, HttpResponse},
    pb::envoy::{
        config::core::v3::{HeaderMap, HeaderValue},
        service::auth::v3::{AttributeContext, attribute_context},
    },
};
use prost::Message as _;

use super::{question, response};
use crate::{
    answer::{Answer, Disposition, Forward, Removal},
    refusal::Refusal,
    server::DESCRIPTORS,
};

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
        decision_id: "evt_1".to_owned(),
        policy: Some("allow:a:b:read".to_owned()),
        workload: None,
        policy_revision: String::new(),
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
    let attributes = asked(attribute_context::HttpRequest {
        header_map: Some(map),
        ..Default::default()
    });
    let question = question(&attributes, 0).unwrap();
    assert_eq!(question.headers, [("a", &b"1"[..]), ("a", b"\xff")]);
}

#[test]
fn joined_headers_are_read_where_envoy_sends_no_raw_ones() {
    let headers = [("x-attache-evidence".to_owned(), "t".to_owned())].into();
    let attributes = asked(attribute_context::HttpRequest {
        headers,
        ..Default::default()
    });
    assert_eq!(
        question(&attributes, 0).unwrap().headers,
        [("x-attache-evidence", &b"t"[..])]
    );
}

#[test]
fn what_is_no_http_request_is_no_question() {
    assert!(question(&AttributeContext::default(), 0).is_none());
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
