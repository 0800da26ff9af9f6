//! Forms of OAuth token requests: held back, rewritten once, and never let go undecided.

use attache_proto::token::v1::{AssertionRequest, AssertionResponse};

use super::*;

const BODY: &str = "grant_type=client_credentials&client_id=a&client_secret=placeholder";
const REWRITTEN: &str =
    "grant_type=client_credentials&client_id=a&client_assertion_type=jwt&client_assertion=a.b.c";
const FORM: [(&str, &[u8]); 3] = [
    (":method", b"POST"),
    (":path", b"/token"),
    ("content-type", b"application/x-www-form-urlencoded"),
];

/// What `Fetch` says of the requests below `/token`.
fn needed() -> FetchResponse {
    let scope = Scope {
        methods: vec!["POST".to_owned()],
        ..scope("/token")
    };
    FetchResponse {
        decision: Decision::AssertionNeeded.into(),
        revision: "r1".to_owned(),
        remove: vec!["authorization".to_owned()],
        scope: Some(scope),
        ..FetchResponse::default()
    }
}

fn assertion() -> AssertionResponse {
    AssertionResponse {
        protocol: 1,
        decision: Decision::Allowed.into(),
        decision_id: "evt_2".to_owned(),
        assertion: "a.b.c".to_owned(),
        assertion_type: "jwt".to_owned(),
        expires_at: NOW + 60_000,
        remove: vec!["authorization".to_owned()],
        ..AssertionResponse::default()
    }
}

impl Stage {
    /// A token request whose header is there.
    fn token_request(&mut self, more: &[(&str, &[u8])]) -> (ContextId, Action) {
        let headers: Vec<_> = FORM.iter().chain(more).copied().collect();
        self.start_with(&headers)
    }

    /// A part of its body; Envoy shows all that it holds.
    fn body(&mut self, stream: ContextId, body: &str, ends: bool) -> Action {
        self.host()
            .fill(Buffer::RequestBody, body.as_bytes().to_vec());
        self.host().context.set(stream);
        self.vm.on_body(stream, body.len(), ends)
    }

    fn sent(&self) -> String {
        let bytes = crate::host::Host::bytes(self.host(), Buffer::RequestBody, usize::MAX);
        String::from_utf8(bytes).unwrap()
    }

    /// Knows from the edge that `/token` takes assertions.
    fn knowing() -> Self {
        let mut stage = Self::open();
        let (stream, action) = stage.token_request(&[]);
        assert_eq!(action, Action::Hold);
        let call = stage.called("Fetch").expect("a question");
        stage.answer(&call, &needed());
        stage.end(stream);
        assert!(stage.called("Assertion").is_none(), "without its form");
        stage
    }

    fn refused(&self, stream: ContextId) -> (u32, String) {
        let answered = self.answered(stream).expect("an answer");
        (answered.status, answered.code().to_owned())
    }
}

#[test]
fn a_form_goes_on_with_its_assertion_and_its_length() {
    let mut stage = Stage::knowing();
    let (stream, action) = stage.token_request(&[
        ("content-length", b"67"),
        ("authorization", b"Bearer x"),
        ("transfer-encoding", b"chunked"),
    ]);
    assert_eq!(action, Action::Hold);
    assert!(stage.called("Fetch").is_none(), "it is known");
    // In one-byte parts, each of which is held.
    for end in 1..BODY.len() {
        let part = BODY.get(..end).unwrap();
        assert_eq!(stage.body(stream, part, false), Action::Hold);
    }
    assert!(stage.called("Assertion").is_none());
    assert_eq!(stage.body(stream, BODY, true), Action::Hold);
    let call = stage.called("Assertion").expect("a question");
    let asked = AssertionRequest::decode(call.message.as_slice()).unwrap();
    assert_eq!(asked.client_id, "a");
    let told = asked.call.unwrap();
    assert_eq!(told.path, "/token");
    assert!(told.details.is_some());
    stage.answer(&call, &assertion());
    assert_eq!(stage.resumed(), [stream]);
    assert_eq!(stage.sent(), REWRITTEN);
    let length = REWRITTEN.len().to_string();
    assert_eq!(stage.host().header(stream, "content-length"), [length]);
    for gone in ["authorization", "transfer-encoding"] {
        assert!(stage.host().header(stream, gone).is_empty(), "{gone}");
    }
    // Another request asks for another one.
    let (other, _) = stage.token_request(&[]);
    stage.body(other, BODY, true);
    assert!(stage.called("Assertion").is_some());
    // The requests were told by the edge's own events.
    stage.end(stream);
    stage.tick();
    assert!(stage.called("Report").is_none());
}

#[test]
fn a_cold_form_waits_for_both_whichever_comes_last() {
    for body_first in [true, false] {
        let mut stage = Stage::open();
        let (stream, action) = stage.token_request(&[]);
        assert_eq!(action, Action::Hold);
        let call = stage.called("Fetch").expect("a question");
        if body_first {
            assert_eq!(stage.body(stream, BODY, true), Action::Hold);
            stage.answer(&call, &needed());
        } else {
            stage.answer(&call, &needed());
            assert_eq!(stage.body(stream, BODY, true), Action::Hold);
        }
        let call = stage.called("Assertion").expect("a question");
        stage.answer(&call, &assertion());
        assert_eq!(stage.resumed(), [stream]);
        assert_eq!(stage.sent(), REWRITTEN);
    }
}

#[test]
fn a_form_of_another_target_waits_with_its_body_and_goes_on_as_it_came() {
    let mut stage = Stage::open();
    let (stream, _) = stage.token_request(&[]);
    assert_eq!(stage.body(stream, "a=1", false), Action::Hold);
    let call = stage.called("Fetch").expect("a question");
    let mut answer = allowed("t", "/token");
    answer.scope.as_mut().unwrap().methods = vec!["POST".to_owned()];
    stage.answer(&call, &answer);
    assert_eq!(stage.resumed(), [stream]);
    assert_eq!(stage.authorization(stream), ["Bearer t"]);
    assert_eq!(stage.body(stream, "a=1&b=2", true), Action::Continue);
    assert_eq!(stage.sent(), "a=1&b=2");
}

#[test]
fn a_request_that_is_no_form_waits_as_a_whole() {
    let mut stage = Stage::open();
    let json: [(&str, &[u8]); 2] = [(":method", b"POST"), ("content-type", b"application/json")];
    assert_eq!(stage.start_with(&json).1, Action::Wait);
    let large: [(&str, &[u8]); 1] = [("content-length", b"70000")];
    assert_eq!(stage.token_request(&large).1, Action::Wait);
}

#[test]
fn trailers_end_a_form_and_nothing_lets_it_go_before() {
    let mut stage = Stage::knowing();
    let (stream, _) = stage.token_request(&[]);
    assert_eq!(stage.body(stream, BODY, false), Action::Hold);
    stage.host().context.set(stream);
    assert_eq!(stage.vm.on_trailers(stream), Action::Hold);
    let call = stage.called("Assertion").expect("a question");
    stage.answer(&call, &assertion());
    assert_eq!(stage.resumed(), [stream]);
    let (other, _) = stage.start_with(&[]);
    assert_eq!(stage.vm.on_trailers(other), Action::Continue);
}

/// Headers, a body, and what the caller is told.
type Case<'a> = (&'a [(&'a str, &'a [u8])], &'a str, u32, &'a str);

#[test]
fn what_cannot_be_rewritten_does_not_go_on() {
    let mut stage = Stage::knowing();
    let empty = stage.start_with(&[FORM[0], FORM[1]]);
    assert_eq!(empty.1, Action::Wait);
    assert_eq!(
        stage.refused(empty.0),
        (400, "token-request-malformed".to_owned())
    );
    let cases: [Case<'_>; 6] = [
        (
            &[("content-encoding", b"gzip")],
            "",
            415,
            "token-request-encoded",
        ),
        (
            &[("content-length", b"99999")],
            "",
            413,
            "token-request-too-large",
        ),
        (&[], "", 400, "token-request-malformed"),
        (
            &[],
            "client_id=a&client_secret=b&client_secret=c",
            400,
            "token-request-malformed",
        ),
        (&[], "grant_type=x", 400, "client-id-missing"),
        (
            &[("authorization", b"Basic !")],
            "client_id=a",
            400,
            "token-request-malformed",
        ),
    ];
    for (headers, body, status, code) in cases {
        let (stream, action) = stage.token_request(headers);
        if action == Action::Hold {
            assert_eq!(stage.body(stream, body, true), Action::Hold);
        }
        assert_eq!(stage.refused(stream), (status, code.to_owned()), "{body}");
    }
    let (stream, _) = stage.token_request(&[]);
    let long = "a".repeat(64 * 1024 + 1);
    assert_eq!(stage.body(stream, &long, false), Action::Hold);
    assert_eq!(
        stage.refused(stream),
        (413, "token-request-too-large".to_owned())
    );
    assert!(stage.called("Assertion").is_none());
    assert!(stage.resumed().is_empty());
}

#[test]
fn a_form_that_grew_too_long_before_it_was_known_for_one_is_refused_at_once() {
    let mut stage = Stage::open();
    let (stream, _) = stage.token_request(&[]);
    let long = "a".repeat(64 * 1024 + 1);
    assert_eq!(stage.body(stream, &long, false), Action::Hold);
    let call = stage.called("Fetch").expect("a question");
    stage.answer(&call, &needed());
    assert_eq!(
        stage.refused(stream),
        (413, "token-request-too-large".to_owned())
    );
}

#[test]
fn a_form_that_does_not_come_ends_its_request() {
    let mut stage = Stage::knowing();
    let (stream, _) = stage.token_request(&[]);
    stage.body(stream, "grant", false);
    stage.later(9_000);
    stage.tick();
    assert!(stage.answered(stream).is_none());
    stage.later(1_000);
    stage.tick();
    assert_eq!(
        stage.refused(stream),
        (408, "token-request-incomplete".to_owned())
    );
}

#[test]
fn the_edges_refusals_and_its_silence_end_the_request() {
    let answers = [
        (
            AssertionResponse {
                decision: Decision::Denied.into(),
                code: "client-id-mismatch".to_owned(),
                ..assertion()
            },
            (403, "client-id-mismatch"),
        ),
        (
            AssertionResponse {
                decision: Decision::Unavailable.into(),
                code: "credential-unavailable".to_owned(),
                ..assertion()
            },
            (503, "credential-unavailable"),
        ),
        (
            AssertionResponse {
                decision: 77,
                ..assertion()
            },
            (503, "edge-unavailable"),
        ),
        (
            AssertionResponse {
                assertion: "a&client_id=b".to_owned(),
                ..assertion()
            },
            (503, "edge-unavailable"),
        ),
        (
            AssertionResponse {
                expires_at: NOW,
                ..assertion()
            },
            (503, "edge-unavailable"),
        ),
    ];
    for (answer, (status, code)) in answers {
        let mut stage = Stage::knowing();
        let (stream, _) = stage.token_request(&[]);
        stage.body(stream, BODY, true);
        let call = stage.called("Assertion").expect("a question");
        stage.answer(&call, &answer);
        assert_eq!(stage.refused(stream), (status, code.to_owned()));
        assert!(stage.resumed().is_empty());
    }
    let mut stage = Stage::knowing();
    let (stream, _) = stage.token_request(&[]);
    stage.body(stream, BODY, true);
    let call = stage.called("Assertion").expect("a question");
    stage.vm.on_grpc_close(PLUGIN, call.token, 14);
    assert_eq!(stage.refused(stream), (503, "edge-unavailable".to_owned()));
}

#[test]
fn where_policy_says_nothing_of_an_assertion_any_more_the_form_goes_on_as_it_came() {
    let mut stage = Stage::knowing();
    let (stream, _) = stage.token_request(&[("authorization", b"Basic YTpi")]);
    stage.body(stream, BODY, true);
    let call = stage.called("Assertion").expect("a question");
    let answer = AssertionResponse {
        assertion: String::new(),
        ..assertion()
    };
    stage.answer(&call, &answer);
    assert_eq!(stage.resumed(), [stream]);
    assert_eq!(stage.sent(), BODY);
    assert!(stage.authorization(stream).is_empty());
}

#[test]
fn a_client_that_goes_away_in_between_is_forgotten() {
    let mut stage = Stage::knowing();
    let (stream, _) = stage.token_request(&[]);
    stage.body(stream, BODY, true);
    let call = stage.called("Assertion").expect("a question");
    stage.end(stream);
    stage.host().headers.borrow_mut().remove(&stream);
    stage.answer(&call, &assertion());
    assert!(stage.resumed().is_empty());
    assert_eq!(stage.sent(), BODY);
}

#[test]
fn a_new_revision_has_the_edge_asked_again() {
    let mut stage = Stage::knowing();
    stage.watch("r1");
    stage.watch("r2");
    let (_, action) = stage.token_request(&[]);
    assert_eq!(action, Action::Hold);
    assert!(stage.called("Fetch").is_some());
}
