use alloc::{string::ToString as _, vec};

use super::*;
use crate::{request::RequestPath, secret::Secret};

const DECIDED: Timestamp = Timestamp::from_seconds(1_000);

fn prefix(text: &str) -> PathPrefix {
    PathPrefix::parse(text).expect("a prefix")
}

fn listener() -> Caller {
    Caller::Listener("sidecar".to_string())
}

fn region() -> Region {
    Region {
        revision: "5f3c".to_string(),
        caller: listener(),
        host: Host::parse("api.example.com").expect("a host"),
        port: 443,
        transport: Transport::Tls,
        methods: Methods::These(vec!["GET".to_string(), "HEAD".to_string()]),
        paths: Paths::Under {
            prefix: prefix("/v1"),
            except: vec![prefix("/v1/secret"), prefix("/v1/caf%C3%A9")],
        },
        holds: Lifetime::starting(DECIDED, MAX_VALIDITY),
    }
}

struct Call {
    revision: &'static str,
    caller: Caller,
    host: &'static str,
    port: u16,
    transport: Transport,
    method: &'static str,
    path: &'static str,
    now: Timestamp,
}

fn call() -> Call {
    Call {
        revision: "5f3c",
        caller: listener(),
        host: "API.example.com.",
        port: 443,
        transport: Transport::Tls,
        method: "GET",
        path: "/v1/x?q=1",
        now: DECIDED,
    }
}

fn covers(region: Region, call: &Call) -> bool {
    let host = Host::parse(call.host).expect("a host");
    let request = Request {
        host: &host,
        port: call.port,
        transport: call.transport,
        method: call.method,
        path: RequestPath::parse(call.path).expect("a path"),
    };
    Scope::Region(Box::new(region)).covers(call.revision, &call.caller, &request, call.now)
}

#[test]
fn a_region_covers_what_agrees_in_everything() {
    assert!(covers(region(), &call()));
    for path in ["/v1", "/v1/", "/v1/secrets", "/v1/cafe", "/v1/x%40y"] {
        assert!(covers(region(), &Call { path, ..call() }), "{path}");
    }
    let method = "HEAD";
    assert!(covers(region(), &Call { method, ..call() }));
}

/// What is made different, and how.
type Change = (&'static str, fn(&mut Call));

const CHANGES: [Change; 14] = [
    ("revision", |call| call.revision = "5f3d"),
    ("caller", |call| {
        call.caller = Caller::Listener("sidecar2".to_string())
    }),
    ("kind of caller", |call| {
        call.caller = Caller::Evidence(Evidence::Token(Secret::new("sidecar".to_string())))
    }),
    ("host", |call| call.host = "a.api.example.com"),
    ("port", |call| call.port = 8443),
    ("transport", |call| call.transport = Transport::Plaintext),
    ("method", |call| call.method = "POST"),
    ("case of the method", |call| call.method = "get"),
    ("path", |call| call.path = "/v10"),
    ("exception", |call| call.path = "/v1/secret"),
    ("below an exception", |call| call.path = "/v1/secret/x"),
    ("another spelling of an exception", |call| {
        call.path = "/v1/caf%c3%a9"
    }),
    ("after its end", |call| {
        call.now = DECIDED.plus(MAX_VALIDITY)
    }),
    ("before it was decided", |call| {
        call.now = Timestamp::from_millis(DECIDED.as_millis() - 1)
    }),
];

#[test]
fn a_region_covers_nothing_that_differs_in_one_thing() {
    for (what, change) in CHANGES {
        let mut call = call();
        assert!(covers(region(), &call));
        change(&mut call);
        assert!(!covers(region(), &call), "{what}");
    }
}

#[test]
fn once_covers_nothing_not_even_the_call_itself() {
    let host = Host::parse("api.example.com").expect("a host");
    let request = Request {
        host: &host,
        port: 443,
        transport: Transport::Tls,
        method: "GET",
        path: RequestPath::parse("/").expect("a path"),
    };
    assert!(!Scope::Once.covers("5f3c", &listener(), &request, DECIDED));
}

#[test]
fn evidence_is_compared_whole_and_never_shown() {
    let evidence = |text: &str| Caller::Evidence(Evidence::Token(Secret::new(text.to_string())));
    assert_eq!(evidence("e30.e30.c2ln"), evidence("e30.e30.c2ln"));
    for other in [
        "e30.e30.c2lo",
        "e30.e30.c2l",
        "e30.e30.c2lnn",
        "",
        "E30.e30.c2ln",
    ] {
        assert_ne!(evidence("e30.e30.c2ln"), evidence(other), "{other}");
    }
    let shown = alloc::format!("{:?}", evidence("e30.e30.c2ln"));
    assert_eq!(shown, "Evidence(..)");
}

#[test]
fn all_methods_but_some_never_means_one_that_is_refused_before_policy_is_asked() {
    let methods = Methods::AllBut(vec!["POST".to_string()]);
    for (method, inside) in [
        ("GET", true),
        ("PURGE", true),
        ("POST", false),
        ("CONNECT", false),
        ("TRACE", false),
        ("TRACK", false),
        ("post", false),
        ("Get", false),
        ("", false),
        ("GET ", false),
        ("ABCDEFGHIJKLMNOPQRSTUVWXYZ123456", true),
        ("ABCDEFGHIJKLMNOPQRSTUVWXYZ1234567", false),
    ] {
        assert_eq!(methods.contain(method), inside, "{method}");
    }
}

#[test]
fn one_exact_path_is_compared_in_its_one_spelling() {
    let exactly = |path: &'static str| Region {
        paths: Paths::Exactly(
            RequestPath::parse(path)
                .expect("a path")
                .spelled()
                .into_owned(),
        ),
        ..region()
    };
    for (kept, asked, inside) in [
        ("/v1/a%40b", "/v1/a@b", true),
        ("/v1/a@b", "/v1/a%40b?x", true),
        ("/v1/a", "/v1/a/", false),
        ("/v1/a", "/v1/a/b", false),
        ("/v1/a/", "/v1/a/", true),
    ] {
        let call = Call {
            path: asked,
            ..call()
        };
        assert_eq!(covers(exactly(kept), &call), inside, "{kept} {asked}");
    }
}
