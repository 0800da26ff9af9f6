//! The way out, with an Envoy and an edge that are played.

use std::rc::Rc;

use attache_proto::token::v1::{
    Caller, Decision, FetchRequest, FetchResponse, Injection, Place, ReportRequest, ReportResponse,
    RevalidateRequest, RevalidateResponse, Revalidated, Scope, Transport, WatchResponse,
};
use prost::Message;
use serde_json::{Value, json};

use crate::{
    fake::{Answered, Called, Fake},
    host::{Buffer, ContextId},
    vm::{Action, Vm},
};

mod refused_reports;
mod token_requests;
mod versions;
mod warm;

const NOW: i64 = 1_800_000_000_000;
const PLUGIN: ContextId = 1;
const CLUSTER: &str = "outbound|443||api.example.com";

fn settings() -> Value {
    json!({"outbound": {
        "edge": {"cluster": "attache"},
        "caller": {"pod": {}},
        "targets": [{"cluster": CLUSTER, "target": "https://api.example.com"}],
        "inject": ["authorization", "x-api-key"],
    }})
}

struct Stage {
    vm: Vm<Fake>,
    next: ContextId,
    watch_call: u32,
}

impl Stage {
    fn open() -> Self {
        Self::with(&settings(), Fake::default())
    }

    fn with(settings: &Value, fake: Fake) -> Self {
        fake.now.set(NOW);
        fake.fill(Buffer::Configuration, settings.to_string().into_bytes());
        let properties = [
            ("plugin_vm_id", b"ours".to_vec()),
            ("xds.cluster_name", CLUSTER.into()),
        ];
        for (name, value) in properties {
            fake.properties
                .borrow_mut()
                .entry(name.to_owned())
                .or_insert(value);
        }
        let mut vm = Vm::new(fake);
        vm.on_create(PLUGIN, 0);
        assert!(vm.on_configure(PLUGIN), "{:?}", vm.host().logged);
        Self {
            vm,
            next: 100,
            watch_call: 0,
        }
    }

    /// Another worker of the same Envoy.
    fn beside(other: &Self) -> Self {
        let fake = Fake {
            shared: Rc::clone(&other.host().shared),
            versions: Rc::clone(&other.host().versions),
            seed: (other.host().seed.get() + 1).into(),
            ..Fake::default()
        };
        Self::with(&settings(), fake)
    }

    fn host(&self) -> &Fake {
        self.vm.host()
    }

    fn start_with(&mut self, headers: &[(&str, &[u8])]) -> (ContextId, Action) {
        self.next += 1;
        let stream = self.next;
        let usual: [(&str, &[u8]); 3] = [
            (":method", b"GET"),
            (":path", b"/v1/x"),
            (":authority", b"api.example.com"),
        ];
        let all: Vec<(&str, &[u8])> = usual
            .into_iter()
            .filter(|(name, _)| headers.iter().all(|(other, _)| other != name))
            .chain(headers.iter().copied())
            .collect();
        self.vm.on_create(stream, PLUGIN);
        self.host().request(stream, &all);
        let form = all.iter().any(|(name, _)| *name == "content-type");
        let action = self.vm.on_request(stream, !form);
        (stream, action)
    }

    fn start(&mut self, path: &str) -> (ContextId, Action) {
        self.start_with(&[(":path", path.as_bytes())])
    }

    /// The next call of this method.
    fn called(&self, method: &str) -> Option<Called> {
        let mut called = self.host().called.borrow_mut();
        let at = called.iter().position(|call| call.what.contains(method))?;
        Some(called.remove(at))
    }

    fn answer<M: Message>(&mut self, call: &Called, message: &M) {
        self.host()
            .fill(Buffer::GrpcMessage, message.encode_to_vec());
        self.host().context.set(PLUGIN);
        self.vm.on_grpc(PLUGIN, call.token);
    }

    /// Asks, and has the edge answer.
    fn warm(&mut self, path: &str, response: &FetchResponse) -> ContextId {
        let (stream, action) = self.start(path);
        assert_eq!(action, Action::Wait);
        let call = self.called("Fetch").expect("a question");
        self.answer(&call, response);
        stream
    }

    fn tick(&mut self) {
        self.host().context.set(PLUGIN);
        self.vm.on_tick(PLUGIN);
    }

    fn later(&self, millis: i64) {
        self.host().now.set(self.host().now.get() + millis);
    }

    fn authorization(&self, stream: ContextId) -> Vec<String> {
        self.host().header(stream, "authorization")
    }

    fn answered(&self, stream: ContextId) -> Option<Answered> {
        self.host().answered.borrow().get(&stream).cloned()
    }

    fn resumed(&self) -> Vec<ContextId> {
        self.host().resumed.borrow().clone()
    }

    fn end(&mut self, stream: ContextId) {
        self.host().context.set(stream);
        assert!(self.vm.on_done(stream));
    }

    fn watch(&mut self, revision: &str) {
        self.tick();
        if let Some(call) = self.called("stream Watch") {
            self.watch_call = call.token;
        }
        let call = Called {
            token: self.watch_call,
            what: String::new(),
            message: Vec::new(),
        };
        self.answer(
            &call,
            &WatchResponse {
                revision: revision.to_owned(),
                ..WatchResponse::default()
            },
        );
    }
}

fn scope(path: &str) -> Scope {
    Scope {
        caller: Caller::Listener.into(),
        host: "api.example.com".to_owned(),
        port: 443,
        transport: Transport::Tls.into(),
        methods: vec!["GET".to_owned()],
        path: path.to_owned(),
        from: NOW,
        until: NOW + 300_000,
        ..Scope::default()
    }
}

fn allowed(token: &str, path: &str) -> FetchResponse {
    FetchResponse {
        decision: Decision::Allowed.into(),
        decision_id: "evt_1".to_owned(),
        policy: "allow:a:b:read".to_owned(),
        inject: vec![Injection {
            place: Place::Header.into(),
            name: "authorization".to_owned(),
            value: format!("Bearer {token}"),
        }],
        revision: "r1".to_owned(),
        scope: Some(scope(path)),
        lease: b"lease".to_vec(),
        ..FetchResponse::default()
    }
}

#[test]
fn one_call_serves_all_that_wait_and_all_that_come_later() {
    let mut stage = Stage::open();
    let waiting: Vec<_> = (0..200).map(|n| stage.start(&format!("/v1/{n}"))).collect();
    assert!(waiting.iter().all(|(_, action)| *action == Action::Wait));
    let call = stage.called("Fetch").expect("a question");
    assert!(stage.called("Fetch").is_none());
    let asked = FetchRequest::decode(call.message.as_slice()).expect("a request");
    let asked = asked.call.expect("a call");
    assert_eq!(
        (&*asked.path, &*asked.target),
        ("/v1/0", "https://api.example.com")
    );
    stage.answer(&call, &allowed("t", "/v1"));
    assert_eq!(stage.resumed().len(), 200);
    for (stream, _) in &waiting {
        assert_eq!(stage.authorization(*stream), ["Bearer t"]);
    }
    let (stream, action) = stage.start("/v1/later?q=1");
    assert_eq!(action, Action::Continue);
    assert_eq!(stage.authorization(stream), ["Bearer t"]);
    assert!(stage.called("Fetch").is_none());
}

#[test]
fn a_client_that_goes_away_harms_nobody() {
    let mut stage = Stage::open();
    let (first, _) = stage.start("/v1/x");
    let (second, _) = stage.start("/v1/x");
    stage.host().headers.borrow_mut().remove(&first);
    stage.end(first);
    let call = stage.called("Fetch").expect("a question");
    stage.answer(&call, &allowed("t", "/v1"));
    assert_eq!(stage.resumed(), [second]);
    assert_eq!(stage.authorization(second), ["Bearer t"]);
}

#[test]
fn what_carries_credentials_is_removed_from_every_request() {
    let mut stage = Stage::open();
    stage.warm("/v1/x", &allowed("t", "/v1"));
    let (stream, action) = stage.start_with(&[
        ("authorization", b"Bearer mine"),
        ("authorization", b"Bearer mine too"),
        ("x-api-key", b"mine"),
        ("x-attache-anything", b"mine"),
    ]);
    assert_eq!(action, Action::Continue);
    assert_eq!(stage.authorization(stream), ["Bearer t"]);
    assert!(stage.host().header(stream, "x-api-key").is_empty());
    assert!(stage.host().header(stream, "x-attache-anything").is_empty());
    // Where no target is bound, too: a redirect comes here with what was attached before.
    let cluster = "elsewhere".into();
    stage
        .host()
        .properties
        .borrow_mut()
        .insert("xds.cluster_name".to_owned(), cluster);
    let (stream, action) = stage.start_with(&[("authorization", b"Bearer t")]);
    assert_eq!(action, Action::Wait);
    assert!(stage.authorization(stream).is_empty());
}

#[test]
fn what_is_not_in_the_scope_is_asked_about() {
    let mut stage = Stage::open();
    stage.warm("/v1/x", &allowed("t", "/v1"));
    let cases: [&[(&str, &[u8])]; 12] = [
        &[(":path", b"/v2")],
        &[(":path", b"/v10")],
        &[(":method", b"POST")],
        &[(":method", b"get")],
        &[(":path", b"/v1/../v1/x")],
        &[(":path", b"/v1/%2e%2e/x")],
        &[(":path", b"/v1//x")],
        &[(":path", b"/v1/\xff")],
        &[(":authority", b"other.example.com")],
        &[(":authority", b"api.example.com:8443")],
        &[("x-http-method-override", b"DELETE")],
        &[("x_api_key", b"mine")],
    ];
    for headers in cases {
        let (stream, action) = stage.start_with(headers);
        assert_eq!(action, Action::Wait, "{headers:?}");
        let call = stage.called("Fetch").expect("a question");
        stage.vm.on_grpc_close(PLUGIN, call.token, 14);
        let answered = stage.answered(stream).expect("an answer");
        assert_eq!(
            (answered.status, answered.code()),
            (503, "edge-unavailable")
        );
        assert!(stage.authorization(stream).is_empty());
    }
}

#[test]
fn nothing_is_sent_after_its_end_and_nothing_of_the_old_after_a_second() {
    let mut stage = Stage::open();
    let mut response = allowed("t", "/v1");
    response.credential_expires_at = NOW + 10_000;
    stage.warm("/v1/x", &response);
    stage.later(9_999);
    assert_eq!(stage.start("/v1/x").1, Action::Continue);
    stage.later(1);
    let (stream, action) = stage.start("/v1/x");
    assert_eq!(action, Action::Wait);
    assert!(stage.authorization(stream).is_empty());
    // A clock that was set back makes nothing good again.
    stage.later(-11_000);
    assert_eq!(stage.start("/v1/x").1, Action::Wait);
}

#[test]
fn a_denial_is_kept_for_five_seconds_and_reported() {
    let mut stage = Stage::open();
    let denied = FetchResponse {
        decision: Decision::Denied.into(),
        code: "no-policy".to_owned(),
        message: "no policy lets this workload make this call".to_owned(),
        inject: Vec::new(),
        ..allowed("", "/v1")
    };
    let first = stage.warm("/v1/x", &denied);
    let answered = stage.answered(first).expect("an answer");
    assert_eq!((answered.status, answered.code()), (403, "no-policy"));
    assert_eq!(answered.headers["x-attache-decision"], "evt_1");
    let (second, action) = stage.start("/v1/y");
    assert_eq!(action, Action::Wait);
    assert_eq!(stage.answered(second).expect("an answer").status, 403);
    assert!(stage.called("Fetch").is_none());
    stage.later(5_000);
    assert_eq!(stage.start("/v1/y").1, Action::Wait);
    assert!(stage.called("Fetch").is_some());
}

#[test]
fn an_answer_for_one_request_is_given_to_that_one_alone() {
    let mut stage = Stage::open();
    let streams = [
        stage.start("/v1/x").0,
        stage.start("/v1/x").0,
        stage.start("/v1/y").0,
    ];
    let once = |token: &str| FetchResponse {
        scope: None,
        lease: Vec::new(),
        ..allowed(token, "/v1")
    };
    let mut answers = 0;
    while let Some(call) = stage.called("Fetch") {
        answers += 1;
        stage.answer(&call, &once(&answers.to_string()));
    }
    assert_eq!(answers, 3);
    let mut tokens: Vec<_> = streams
        .iter()
        .flat_map(|stream| stage.authorization(*stream))
        .collect();
    tokens.sort();
    assert_eq!(tokens, ["Bearer 1", "Bearer 2", "Bearer 3"]);
    assert_eq!(stage.start("/v1/x").1, Action::Wait);
}

#[test]
fn details_are_told_when_the_edge_needs_them() {
    let mut stage = Stage::open();
    let (first, _) = stage.start("/v1/x?q=1");
    let call = stage.called("Fetch").expect("a question");
    let needed = FetchResponse {
        decision: Decision::DetailsNeeded.into(),
        scope: Some(scope("/v1")),
        ..FetchResponse::default()
    };
    stage.answer(&call, &needed);
    let once = FetchResponse {
        scope: None,
        lease: Vec::new(),
        ..allowed("t", "/v1")
    };
    let call = stage.called("Fetch").expect("a question with details");
    let details = |call: &Called| {
        let asked = FetchRequest::decode(call.message.as_slice()).expect("a request");
        asked.call.and_then(|call| call.details)
    };
    assert_eq!(details(&call).expect("details").query, "q=1");
    stage.answer(&call, &once);
    assert_eq!(stage.authorization(first), ["Bearer t"]);
    // From now on at once.
    stage.start_with(&[("x-other", b"\xff")]);
    let call = stage.called("Fetch").expect("a question");
    assert_eq!(details(&call).expect("details").headers[0].value, b"\xff");
    // An edge that asks again and again gets no further.
    stage.answer(&call, &needed);
    assert!(stage.called("Fetch").is_none());
}

#[test]
fn what_cannot_be_placed_lets_nothing_pass() {
    let mut wrong = vec![allowed("t", "/v1"); 4];
    wrong[0].inject[0].place = 99;
    wrong[1].inject[0].name = "x-not-listed".to_owned();
    wrong[2].inject[0].value = "a\r\nb".to_owned();
    wrong[3].inject[0].place = Place::Query.into();
    wrong[3].inject[0].value = "a&b=c".to_owned();
    for response in wrong {
        let mut stage = Stage::open();
        let stream = stage.warm("/v1/x", &response);
        let answered = stage.answered(stream).expect("an answer");
        assert_eq!(
            (answered.status, answered.code()),
            (503, "placement-unsupported")
        );
        assert!(stage.resumed().is_empty());
    }
}

#[test]
fn answers_that_cannot_be_read_let_nothing_pass() {
    for bytes in [b"\xff\xff".to_vec(), Vec::new(), vec![0x12, 0xff]] {
        let mut stage = Stage::open();
        let (stream, _) = stage.start("/v1/x");
        let call = stage.called("Fetch").expect("a question");
        stage.host().fill(Buffer::GrpcMessage, bytes);
        stage.vm.on_grpc(PLUGIN, call.token);
        assert_eq!(stage.answered(stream).expect("an answer").status, 503);
    }
}

#[test]
fn another_worker_waits_for_the_one_that_asks_and_gets_its_answer() {
    let mut one = Stage::open();
    let mut other = Stage::beside(&one);
    one.start("/v1/x");
    let (waiting, action) = other.start("/v1/y");
    assert_eq!(action, Action::Wait);
    assert!(other.called("Fetch").is_none());
    let call = one.called("Fetch").expect("a question");
    one.answer(&call, &allowed("t", "/v1"));
    other.tick();
    assert_eq!(other.resumed(), [waiting]);
    assert_eq!(other.authorization(waiting), ["Bearer t"]);
    assert!(other.called("Fetch").is_none());
}

#[test]
fn another_worker_takes_over_within_a_second() {
    let mut one = Stage::open();
    let mut other = Stage::beside(&one);
    one.start("/v1/x");
    other.start("/v1/y");
    // The first one traps: nobody answers its question.
    other.later(899);
    other.tick();
    assert!(other.called("Fetch").is_none());
    other.later(1);
    other.tick();
    assert!(other.called("Fetch").is_some());
}

#[test]
fn under_the_empty_vm_id_nothing_is_shared() {
    let fake = Fake::default();
    fake.properties
        .borrow_mut()
        .insert("plugin_vm_id".to_owned(), Vec::new());
    let mut stage = Stage::with(&settings(), fake);
    stage.warm("/v1/x", &allowed("t", "/v1"));
    assert_eq!(stage.start("/v1/x").1, Action::Continue);
    assert!(stage.host().shared.borrow().is_empty());
}

#[test]
fn a_slot_with_anothers_key_is_not_ours() {
    let mut one = Stage::open();
    one.warm("/v1/x", &allowed("t", "/v1"));
    // The same slots, as after a collision: their keys differ.
    let mut values = one.host().shared.borrow_mut();
    for (value, _) in values.values_mut() {
        for byte in value.iter_mut().filter(|byte| **byte == b'|') {
            *byte = b'/';
        }
    }
    drop(values);
    let mut other = Stage::beside(&one);
    assert_eq!(other.start("/v1/x").1, Action::Wait);
    assert!(other.called("Fetch").is_some());
}

#[test]
fn a_successor_is_asked_for_ahead_by_one_worker_while_the_old_one_serves() {
    let mut one = Stage::open();
    let mut response = allowed("old", "/v1");
    response.refresh_at = NOW + 1_000;
    one.warm("/v1/x", &response);
    let mut other = Stage::beside(&one);
    let (stream, _) = other.start("/v1/x");
    assert_eq!(other.authorization(stream), ["Bearer old"]);
    for stage in [&mut one, &mut other] {
        stage.later(1_000);
        stage.tick();
    }
    let call = one.called("Fetch").expect("a question");
    assert!(other.called("Fetch").is_none());
    assert_eq!(one.start("/v1/x").1, Action::Continue);
    let mut response = allowed("new", "/v1");
    response.scope.as_mut().expect("a scope").from = NOW + 1_000;
    one.answer(&call, &response);
    other.later(1_000);
    other.tick();
    for stage in [&mut one, &mut other] {
        let (stream, action) = stage.start("/v1/x");
        assert_eq!(action, Action::Continue);
        assert_eq!(stage.authorization(stream), ["Bearer new"]);
    }
    assert!(other.called("Fetch").is_none());
}

#[test]
fn the_main_threads_vm_asks_for_nothing() {
    let mut stage = Stage::open();
    for _ in 0..100 {
        stage.tick();
        stage.later(1_000);
    }
    assert!(stage.host().calls().is_empty());
}

#[test]
fn another_revision_drops_what_is_not_confirmed_within_a_second() {
    let mut stage = Stage::open();
    stage.warm("/v1/x", &allowed("t", "/v1"));
    stage.watch("r1");
    assert!(stage.called("Revalidate").is_none());
    stage.watch("r2");
    let call = stage.called("Revalidate").expect("a question");
    let request = RevalidateRequest::decode(call.message.as_slice()).expect("a request");
    assert_eq!(request.kept[0].lease, b"lease");
    stage.later(999);
    assert_eq!(stage.start("/v1/x").1, Action::Continue);
    stage.later(1);
    assert_eq!(stage.start("/v1/x").1, Action::Wait);
}

#[test]
fn what_is_confirmed_serves_on_and_what_is_not_goes_at_once() {
    for confirmed in [true, false] {
        let mut stage = Stage::open();
        stage.warm("/v1/x", &allowed("t", "/v1"));
        stage.watch("r2");
        let call = stage.called("Revalidate").expect("a question");
        let response = RevalidateResponse {
            revision: "r2".to_owned(),
            answers: vec![Revalidated {
                confirmed,
                scope: Some(scope("/v1")),
                lease: b"other".to_vec(),
                ..Revalidated::default()
            }],
            ..RevalidateResponse::default()
        };
        stage.answer(&call, &response);
        let expected = if confirmed {
            Action::Continue
        } else {
            Action::Wait
        };
        assert_eq!(stage.start("/v1/x").1, expected);
        stage.later(2_000);
        assert_eq!(stage.start("/v1/x").1, expected);
    }
}

#[test]
fn the_stream_is_opened_again_when_it_is_silent_or_over() {
    let mut stage = Stage::open();
    stage.start("/v1/x");
    stage.watch("r1");
    stage.later(2_999);
    stage.tick();
    assert!(stage.called("Watch").is_none());
    stage.later(1);
    stage.tick();
    let call = stage.called("Watch").expect("a new stream");
    assert_eq!(stage.host().cancelled.borrow().len(), 1);
    stage.vm.on_grpc_close(PLUGIN, call.token, 14);
    stage.later(250);
    stage.tick();
    assert!(stage.called("Watch").is_some());
}

#[test]
fn every_access_is_reported_until_it_is_acknowledged() {
    let mut stage = Stage::open();
    let first = stage.warm("/v1/x", &allowed("t", "/v1"));
    stage.end(first);
    for number in 0..300 {
        let (stream, _) = stage.start(&format!("/v1/{number}?q"));
        stage
            .host()
            .properties
            .borrow_mut()
            .insert("response.code".to_owned(), 200_i64.to_le_bytes().to_vec());
        stage.end(stream);
    }
    stage.tick();
    let call = stage.called("Report").expect("a report");
    let report = ReportRequest::decode(call.message.as_slice()).expect("a report");
    assert_eq!((report.accesses.len(), report.leases.len()), (256, 1));
    assert_eq!(report.accesses[1].path, "/v1/0");
    assert_eq!(report.accesses[1].status, 200);
    let numbers: Vec<u64> = report
        .accesses
        .iter()
        .map(|access| access.sequence)
        .collect();
    assert_eq!(numbers, (1..=256).collect::<Vec<u64>>());
    // The edge goes away: the same once more.
    stage.vm.on_grpc_close(PLUGIN, call.token, 14);
    stage.later(500);
    stage.tick();
    let call = stage.called("Report").expect("a report");
    let again = ReportRequest::decode(call.message.as_slice()).expect("a report");
    assert_eq!(again.accesses, report.accesses);
    stage.answer(
        &call,
        &ReportResponse {
            epoch: again.epoch,
            acknowledged: 256,
            ..ReportResponse::default()
        },
    );
    stage.later(500);
    stage.tick();
    let call = stage.called("Report").expect("the rest");
    let rest = ReportRequest::decode(call.message.as_slice()).expect("a report");
    assert_eq!(rest.accesses[0].sequence, 257);
    assert_eq!(rest.accesses.len(), 45);
}

#[test]
fn without_room_for_its_access_no_request_gets_a_credential() {
    for (when_full, expected) in [("refuse", 503), ("count", 0)] {
        let mut settings = settings();
        settings["outbound"]["audit"] = json!({"memory_bytes": 65_536, "when_full": when_full});
        let mut stage = Stage::with(&settings, Fake::default());
        let first = stage.warm("/v1/x", &allowed("t", "/v1"));
        stage.end(first);
        let mut last = 0;
        for _ in 0..1_000 {
            let (stream, _) = stage.start("/v1/x");
            last = stage.answered(stream).map_or(0, |answered| answered.status);
            stage.end(stream);
        }
        assert_eq!(last, expected);
    }
}

#[test]
fn without_accesses_nothing_is_reported_and_leases_still_are_asked_for() {
    let mut settings = settings();
    settings["outbound"]["audit"] = json!({"accesses": "leases-alone"});
    let mut stage = Stage::with(&settings, Fake::default());
    let first = stage.warm("/v1/x", &allowed("t", "/v1"));
    stage.end(first);
    for _ in 0..100_000 {
        let (stream, action) = stage.start("/v1/y");
        assert_eq!(action, Action::Continue);
        assert_eq!(stage.authorization(stream), ["Bearer t"]);
        stage.end(stream);
    }
    stage.tick();
    assert!(stage.called("Report").is_none());
    // What the first one was told stands in the edge's log; each further scope is asked for, and stands there too.
    assert_eq!(stage.start("/v2").1, Action::Wait);
    assert!(stage.called("Fetch").is_some());
    let logged = stage.host().logged.borrow();
    assert!(
        logged
            .iter()
            .any(|line| line.contains("not be in the audit log")),
        "{logged:?}"
    );
}

#[test]
fn by_default_every_access_is_recorded_and_nothing_warns() {
    let stage = Stage::open();
    assert!(stage.host().logged.borrow().is_empty());
}

/// How many accesses another worker tells of one that ended now.
fn told_by_another(ended: &Stage) -> u64 {
    let mut other = Stage::beside(ended);
    other.start("/v1/x");
    other.tick();
    other.later(15_000);
    other.start("/v1/x");
    other.tick();
    while let Some(call) = other.called("Report") {
        let report = ReportRequest::decode(call.message.as_slice()).expect("a report");
        if let Some(ended) = report.ended.first() {
            return ended.last_sequence;
        }
    }
    panic!("nobody told");
}

#[test]
fn what_a_worker_that_ended_answered_is_told_by_another() {
    let mut one = Stage::open();
    one.warm("/v1/x", &allowed("t", "/v1"));
    for _ in 0..3 {
        one.start("/v1/x");
    }
    one.tick();
    assert_eq!(told_by_another(&one), 4);
}

#[test]
fn of_a_worker_that_ended_between_two_ticks_never_too_few_are_told_and_few_too_many() {
    for answered in 1..40 {
        let mut one = Stage::open();
        one.warm("/v1/x", &allowed("t", "/v1"));
        for _ in 1..answered {
            one.start("/v1/x");
        }
        let told = told_by_another(&one);
        assert!(
            (answered..answered + 16).contains(&told),
            "{answered}: {told}"
        );
    }
}

#[test]
fn answering_from_memory_seldom_writes_what_workers_share() {
    let mut stage = Stage::open();
    stage.warm("/v1/x", &allowed("t", "/v1"));
    let before = stage.host().versions.get();
    for _ in 0..160 {
        stage.start("/v1/x");
    }
    assert_eq!(stage.host().versions.get() - before, 10);
}

#[test]
fn a_gateways_callers_do_not_get_each_others_answers() {
    let mut settings = settings();
    settings["outbound"]["caller"] = json!({"request": {"headers": ["x-attache-evidence"]}});
    let mut stage = Stage::with(&settings, Fake::default());
    let evidence = |who: &'static [u8]| [("x-attache-evidence", who)];
    let (first, _) = stage.start_with(&evidence(b"one"));
    let call = stage.called("Fetch").expect("a question");
    let asked = FetchRequest::decode(call.message.as_slice()).expect("a request");
    assert_eq!(asked.evidence.expect("evidence").headers[0].value, b"one");
    let mut response = allowed("t", "/v1");
    // The answer is for everybody: it is none for a gateway.
    stage.answer(&call, &response);
    assert_eq!(stage.authorization(first), ["Bearer t"]);
    let (_, action) = stage.start_with(&evidence(b"one"));
    assert_eq!(action, Action::Wait);
    let call = stage.called("Fetch").expect("a question");
    response.scope.as_mut().expect("a scope").caller = Caller::Evidence.into();
    stage.answer(&call, &response);
    let (stream, action) = stage.start_with(&evidence(b"one"));
    assert_eq!(action, Action::Continue);
    assert!(stage.host().header(stream, "x-attache-evidence").is_empty());
    assert_eq!(stage.start_with(&evidence(b"other")).1, Action::Wait);
    assert_eq!(stage.start_with(&[]).1, Action::Wait);
}
