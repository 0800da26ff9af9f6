//! Requests that are answered from memory: what they cost, and that nothing is taken for known that is not.

use super::*;

/// What Envoy is asked for one warm request and at its end.
fn asked(stage: &mut Stage, headers: &[(&str, &[u8])]) -> (u32, u32) {
    let before = stage.host().asked.get();
    let (stream, action) = stage.start_with(headers);
    assert_eq!(action, Action::Continue);
    assert_eq!(stage.authorization(stream), ["Bearer t"]);
    let between = stage.host().asked.get();
    stage.end(stream);
    (between - before, stage.host().asked.get() - between)
}

#[test]
fn a_warm_request_costs_few_calls_of_envoy() {
    let bare: &[(&str, &[u8])] = &[];
    let with_authorization: &[(&str, &[u8])] = &[("authorization", b"Bearer mine")];
    for headers in [bare, with_authorization] {
        let mut stage = Stage::open();
        let stream = stage.warm("/v1/x", &allowed("t", "/v1"));
        stage.end(stream);
        // Time, cluster and header; the state and the credential. At the end, status and time.
        assert_eq!(asked(&mut stage, headers), (5, 2));
    }
    let mut settings = settings();
    settings["outbound"]["audit"] = json!({"accesses": "leases-alone"});
    let mut stage = Stage::with(&settings, Fake::default());
    stage.warm("/v1/x", &allowed("t", "/v1"));
    assert_eq!(asked(&mut stage, &[]), (5, 0));
    // Whatever else is removed is one more.
    assert_eq!(asked(&mut stage, &[("x-attache-a", b"")]), (6, 0));
}

#[test]
fn headers_are_removed_however_many_there_are() {
    let mut stage = Stage::open();
    stage.warm("/v1/x", &allowed("t", "/v1"));
    let names = ["a", "b", "c", "d", "e", "f", "g"].map(|end| format!("x-attache-{end}"));
    let headers: Vec<(&str, &[u8])> = names
        .iter()
        .chain(&names)
        .map(|name| (name.as_str(), b"mine".as_slice()))
        .collect();
    let (stream, action) = stage.start_with(&headers);
    assert_eq!(action, Action::Continue);
    for name in &names {
        assert!(stage.host().header(stream, name).is_empty(), "{name}");
    }
}

#[test]
fn the_edge_names_headers_that_go_besides() {
    let mut stage = Stage::open();
    let response = FetchResponse {
        remove: vec![
            "authorization".to_owned(),
            "x-api-key".to_owned(),
            "x-other".to_owned(),
        ],
        ..allowed("t", "/v1")
    };
    stage.warm("/v1/x", &response);
    let (stream, _) = stage.start_with(&[
        ("authorization", b"Bearer mine"),
        ("x-api-key", b"mine"),
        ("x-other", b"mine"),
        ("x-another", b"mine"),
    ]);
    assert_eq!(stage.authorization(stream), ["Bearer t"]);
    assert!(stage.host().header(stream, "x-api-key").is_empty());
    assert!(stage.host().header(stream, "x-other").is_empty());
    assert_eq!(stage.host().header(stream, "x-another"), ["mine"]);
}

#[test]
fn a_name_that_is_known_for_one_target_is_not_for_another() {
    let other = "outbound|443||other.example.com";
    let mut settings = settings();
    settings["outbound"]["targets"] = json!([
        {"cluster": CLUSTER, "target": "https://api.example.com"},
        {"cluster": other, "target": "https://other.example.com"},
    ]);
    let mut stage = Stage::with(&settings, Fake::default());
    stage.warm("/v1/x", &allowed("t", "/v1"));
    // The route leads to the other target, whatever the client calls it.
    let cluster = ("xds.cluster_name".to_owned(), other.into());
    stage.host().properties.borrow_mut().extend([cluster]);
    for _ in 0..2 {
        let (stream, action) = stage.start("/v1/x");
        assert_eq!(action, Action::Wait);
        assert!(stage.authorization(stream).is_empty());
    }
}

#[test]
fn a_target_is_known_by_each_name_that_means_it() {
    let mut stage = Stage::open();
    stage.warm("/v1/x", &allowed("t", "/v1"));
    for authority in ["api.example.com", "API.example.com.", "api.example.com:443"] {
        for _ in 0..2 {
            let (stream, action) = stage.start_with(&[(":authority", authority.as_bytes())]);
            assert_eq!(action, Action::Continue, "{authority}");
            assert_eq!(stage.authorization(stream), ["Bearer t"]);
        }
    }
    let (_, action) = stage.start_with(&[(":authority", b"api.example.com:444")]);
    assert_eq!(action, Action::Wait);
    let (_, action) = stage.start_with(&[("host", b"other.example.com")]);
    assert_eq!(action, Action::Wait);
}

#[test]
fn a_plugin_that_ended_lets_nothing_pass() {
    let mut stage = Stage::open();
    let stream = stage.warm("/v1/x", &allowed("t", "/v1"));
    stage.end(stream);
    // There is something left to report.
    assert!(!stage.vm.on_done(PLUGIN));
    assert_eq!(stage.start("/v1/x").1, Action::Continue);
    stage.later(10_000);
    stage.tick();
    assert!(stage.host().finished.get());
    let (stream, action) = stage.start("/v1/x");
    assert_eq!(action, Action::Wait);
    assert_eq!(
        stage.answered(stream).expect("an answer").code(),
        "proxy-failed"
    );
}
