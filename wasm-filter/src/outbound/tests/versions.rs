//! An edge of a neighbouring version: what is new is ignored, what is missing has its careful meaning.

use super::*;

/// Fields 900 and 901, which nobody has yet.
const NEWS: [u8; 9] = [0xa2, 0x38, 0x02, b'h', b'i', 0xa8, 0x38, 0x96, 0x01];

impl Stage {
    fn answer_with_news<M: Message>(&mut self, call: &Called, message: &M) {
        let bytes = [message.encode_to_vec(), NEWS.to_vec()].concat();
        self.host().fill(Buffer::GrpcMessage, bytes);
        self.host().context.set(PLUGIN);
        self.vm.on_grpc(PLUGIN, call.token);
    }
}

#[test]
fn a_newer_edge_is_understood_as_far_as_it_is_known() {
    let mut stage = Stage::open();
    let (stream, _) = stage.start("/v1/x");
    let call = stage.called("Fetch").expect("a question");
    let newer = FetchResponse {
        protocol: 2,
        ..allowed("t", "/v1")
    };
    stage.answer_with_news(&call, &newer);
    assert_eq!(stage.authorization(stream), ["Bearer t"]);
    stage.end(stream);
    stage.tick();
    let call = stage.called("Report").expect("a report");
    let report = ReportRequest::decode(call.message.as_slice()).unwrap();
    let acknowledged = ReportResponse {
        epoch: report.epoch,
        acknowledged: 1,
        ..ReportResponse::default()
    };
    stage.answer_with_news(&call, &acknowledged);
    stage.later(600);
    stage.tick();
    assert!(stage.called("Report").is_none(), "it was acknowledged");
}

#[test]
fn a_decision_a_place_or_a_caller_that_is_not_known_lets_nothing_pass() {
    let changes: [fn(&mut FetchResponse); 3] = [
        |response| response.decision = 6,
        |response| response.inject[0].place = 3,
        |response| response.scope.as_mut().unwrap().caller = 3,
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let mut stage = Stage::open();
        let mut response = allowed("t", "/v1");
        change(&mut response);
        let stream = stage.warm("/v1/x", &response);
        if number == 2 {
            // Of this request it is the answer; it is nobody else's.
            assert_eq!(stage.resumed(), [stream]);
            assert_eq!(stage.start("/v1/x").1, Action::Wait);
        } else {
            assert!(stage.resumed().is_empty());
            assert_eq!(stage.answered(stream).unwrap().status, 503);
        }
    }
}

#[test]
fn an_older_edge_that_says_less_is_kept_less() {
    // No lease, no times of a refresh, no token's id.
    let mut stage = Stage::open();
    let older = FetchResponse {
        lease: Vec::new(),
        token_id: String::new(),
        refresh_at: 0,
        ..allowed("t", "/v1")
    };
    let stream = stage.warm("/v1/x", &older);
    assert_eq!(stage.authorization(stream), ["Bearer t"]);
    assert_eq!(
        stage.start("/v1/x").1,
        Action::Wait,
        "its use could not be recorded"
    );
}
