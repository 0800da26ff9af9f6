//! The edge's policies on the way in: one call for all that its answer covers, and the application sees who calls.

use attache_proto::token::v1::{
    Caller, FetchRequest, FetchResponse, Purpose, ReportRequest, Scope, Transport,
};

use super::*;

fn settings(signer: &Signer) -> Value {
    json!({"inbound": {
        "audience": "https://b.example",
        "edge": {"cluster": "attache"},
        "trust_domains": [{"name": "cluster.local", "inline": signer.bundle("k")}],
        "judge": {"target": "https://b.example"},
    }})
}

fn allowed() -> FetchResponse {
    FetchResponse {
        protocol: 1,
        decision: Decision::Allowed.into(),
        decision_id: "evt_1".to_owned(),
        revision: "r1".to_owned(),
        remove: vec!["x-attache-evidence".to_owned(), "authorization".to_owned()],
        scope: Some(Scope {
            caller: Caller::Evidence.into(),
            host: "b.example".to_owned(),
            port: 443,
            transport: Transport::Tls.into(),
            methods: vec!["GET".to_owned()],
            path: "/v1".to_owned(),
            from: NOW * 1000,
            until: (NOW + 300) * 1000,
            ..Scope::default()
        }),
        lease: b"lease".to_vec(),
        ..FetchResponse::default()
    }
}

impl Stage {
    fn shows(&mut self, token: &str, more: &[(&str, &[u8])]) -> (ContextId, Action) {
        let value = format!("Bearer {token}");
        let mut headers: Vec<(&str, &[u8])> = vec![
            ("authorization", value.as_bytes()),
            (":authority", b"orders.ns.svc:8080"),
        ];
        headers.extend(more);
        self.start(&headers)
    }

    fn fetched(&self) -> Option<(u32, FetchRequest)> {
        let calls = self.vm.host().calls();
        let call = calls.iter().find(|call| call.what == "Fetch by attache")?;
        Some((
            call.token,
            FetchRequest::decode(call.message.as_slice()).unwrap(),
        ))
    }

    fn says(&mut self, call: u32, response: &FetchResponse) {
        let bytes = response.encode_to_vec();
        self.vm.host().fill(Buffer::GrpcMessage, bytes);
        self.vm.host().context.set(PLUGIN);
        self.vm.on_grpc(PLUGIN, call);
    }

    fn seen(&self, stream: ContextId, name: &str) -> Vec<String> {
        self.vm.host().header(stream, name)
    }
}

#[test]
fn one_answer_of_the_edge_lets_all_in_that_it_covers() {
    let signer = Signer::new();
    let mut stage = Stage::open(&settings(&signer));
    let token = signer.good();
    let forged: [(&str, &[u8]); 2] = [
        ("x-attache-spiffe-id", b"forged"),
        ("x_attache_spiffe_id", b"forged"),
    ];
    let (first, action) = stage.shows(&token, &forged);
    assert_eq!(action, Action::Wait);
    let (second, _) = stage.shows(&token, &[(":path", b"/v1/y")]);
    let (call, asked) = stage.fetched().expect("a question");
    assert_eq!(asked.purpose(), Purpose::Judge);
    let shown = asked.evidence.unwrap().headers;
    assert_eq!(shown[0].name, "x-attache-evidence");
    assert_eq!(shown[0].value, token.as_bytes());
    // Whatever name it was called by, it is this service.
    let told = asked.call.unwrap();
    assert_eq!(
        (told.authority.as_str(), told.target.as_str()),
        ("b.example", "https://b.example")
    );
    stage.says(call, &allowed());
    assert_eq!(*stage.vm.host().resumed.borrow(), [first, second]);
    let (third, action) = stage.shows(&token, &[]);
    assert_eq!(action, Action::Continue);
    assert!(stage.fetched().is_none());
    for stream in [first, second, third] {
        assert_eq!(stage.seen(stream, "x-attache-spiffe-id"), [ID]);
        assert!(stage.seen(stream, "x_attache_spiffe_id").is_empty());
        assert!(stage.seen(stream, "authorization").is_empty());
        let state = (stream, "attache.spiffe_id".to_owned());
        assert!(stage.vm.host().states.borrow().contains_key(&state));
    }
    // Each is reported.
    for stream in [first, second, third] {
        assert!(stage.vm.on_done(stream));
    }
    stage.vm.host().context.set(PLUGIN);
    stage.vm.on_tick(PLUGIN);
    let calls = stage.vm.host().calls();
    let report = calls.iter().find(|call| call.what.starts_with("Report"));
    let report = ReportRequest::decode(report.unwrap().message.as_slice()).unwrap();
    assert_eq!(report.accesses.len(), 3);
    assert!(calls.iter().any(|call| call.what.contains("Watch")));
}

#[test]
fn a_token_that_may_be_passed_on_is_not_removed_by_the_edges_word() {
    let signer = Signer::new();
    let mut settings = settings(&signer);
    settings["inbound"]["token"] = json!("pass");
    let mut stage = Stage::open(&settings);
    let (stream, _) = stage.shows(&signer.good(), &[]);
    let (call, _) = stage.fetched().expect("a question");
    stage.says(call, &allowed());
    assert_eq!(stage.seen(stream, "authorization").len(), 1);
}

#[test]
fn another_callers_answer_is_nobody_elses() {
    let signer = Signer::new();
    let mut stage = Stage::open(&settings(&signer));
    stage.shows(&signer.good(), &[]);
    let (call, _) = stage.fetched().expect("a question");
    stage.says(call, &allowed());
    let other = signer.token(|_, claims| claims["sub"] = json!("spiffe://cluster.local/ns/a/sa/c"));
    assert_eq!(stage.shows(&other, &[]).1, Action::Wait);
    let (_, asked) = stage.fetched().expect("a question of its own");
    assert_eq!(asked.evidence.unwrap().headers[0].value, other.as_bytes());
}

#[test]
fn refusals_are_told_as_rfc_6750_says() {
    let cases = [
        (
            Decision::Denied,
            "no-policy",
            403,
            Some("insufficient_scope"),
        ),
        (
            Decision::Denied,
            "token-expired",
            401,
            Some("invalid_token"),
        ),
        (Decision::Unavailable, "keys-unavailable", 503, None),
    ];
    for (decision, code, status, error) in cases {
        let signer = Signer::new();
        let mut stage = Stage::open(&settings(&signer));
        let (stream, _) = stage.shows(&signer.good(), &[]);
        let (call, _) = stage.fetched().expect("a question");
        let response = FetchResponse {
            decision: decision.into(),
            code: code.to_owned(),
            scope: None,
            lease: Vec::new(),
            ..allowed()
        };
        stage.says(call, &response);
        let answered = stage.answer(stream);
        assert_eq!((answered.status, answered.code()), (status, code));
        let challenge = answered.headers.get("www-authenticate");
        let told = error.map(|error| format!("error=\"{error}\""));
        match (challenge, told) {
            (Some(challenge), Some(told)) => assert!(challenge.contains(&told), "{challenge}"),
            (challenge, told) => assert_eq!(challenge, told.as_ref()),
        }
        assert_eq!(answered.headers["x-attache-decision"], "evt_1");
        assert!(stage.vm.host().resumed.borrow().is_empty());
    }
}

#[test]
fn a_token_that_is_not_good_is_refused_without_a_call() {
    let signer = Signer::new();
    let mut stage = Stage::open(&settings(&signer));
    let expired = signer.token(|_, claims| claims["exp"] = json!(NOW - 1));
    let (stream, _) = stage.shows(&expired, &[]);
    assert_eq!(stage.answer(stream).code(), "token-expired");
    let foreign = Signer::new().good();
    let (stream, _) = stage.shows(&foreign, &[]);
    assert_eq!(stage.answer(stream).code(), "token-signature-invalid");
    assert!(stage.fetched().is_none());
}

#[test]
fn a_request_with_two_readings_is_told_in_full_without_what_the_application_never_sees() {
    let signer = Signer::new();
    let mut stage = Stage::open(&settings(&signer));
    let more: [(&str, &[u8]); 3] = [
        ("x-http-method-override", b"DELETE"),
        ("x-attache-evidence", b"other"),
        ("x-other", b"kept"),
    ];
    stage.shows(&signer.good(), &more);
    let (_, asked) = stage.fetched().expect("a question");
    let told = asked.call.unwrap().details.expect("details").headers;
    let names: Vec<&str> = told.iter().map(|line| line.name.as_str()).collect();
    assert_eq!(
        names,
        ["x-attache-evidence", "x-http-method-override", "x-other"]
    );
    assert_eq!(told[0].value, signer_of(&asked.evidence));
}

fn signer_of(evidence: &Option<attache_proto::token::v1::Evidence>) -> Vec<u8> {
    evidence.as_ref().unwrap().headers[0].value.clone()
}

#[test]
fn an_edge_that_is_away_lets_nobody_in_that_it_did_not_judge() {
    let signer = Signer::new();
    let mut stage = Stage::open(&settings(&signer));
    let (stream, _) = stage.shows(&signer.good(), &[]);
    let (call, _) = stage.fetched().expect("a question");
    stage.vm.on_grpc_close(PLUGIN, call, 14);
    assert_eq!(stage.answer(stream).code(), "edge-unavailable");
}
