//! Configurations: good ones, and every problem of bad ones.

use serde_json::{Value, json};

use super::{Accesses, Rules, Settings, Source, TokenAfter, parse};

fn good() -> Value {
    json!({"inbound": {
        "audience": "https://b.example",
        "edge": {"cluster": "attache"},
        "trust_domains": [
            {"name": "cluster.local", "edge": {}},
            {"name": "other.example", "endpoint": {"cluster": "bundles", "authority": "other.example:8443", "path": "/bundle"}},
        ],
        "allow": [{"spiffe_ids": ["spiffe://cluster.local/ns/a/sa/b", "spiffe://other.example/ns/*"],
                   "methods": ["GET"], "paths": "any"}],
    }})
}

fn problems(settings: &Value) -> Vec<String> {
    match parse(settings.to_string().as_bytes()) {
        Ok(_) => panic!("{settings} is accepted"),
        Err(invalid) => invalid.0,
    }
}

#[test]
fn a_good_configuration_is_read_with_its_defaults() {
    let Ok(Settings::Inbound(inbound)) = parse(good().to_string().as_bytes()) else {
        panic!("refused");
    };
    assert_eq!(inbound.header.as_str(), "authorization");
    assert_eq!(inbound.token, TokenAfter::Strip);
    assert_eq!(inbound.trust_domains.len(), 2);
    assert!(matches!(inbound.trust_domains[0].source, Source::Edge));
}

#[test]
fn every_problem_is_named_at_once() {
    let mut settings = good();
    let inbound = &mut settings["inbound"];
    inbound["audience"] = json!(" x");
    inbound["header"] = json!("content_length");
    inbound["token"] = json!("keep");
    inbound["leeway_seconds"] = json!(1e9);
    inbound["trust_domains"][0]["name"] = json!("Cluster.Local");
    inbound["trust_domains"][1]["endpoint"]["path"] = json!("/a/../b");
    inbound["allow"][0]["methods"] = json!(["get"]);
    inbound["alow"] = json!([]);
    settings["outbond"] = json!({});
    let problems = problems(&settings);
    for place in [
        "inbound.audience",
        "inbound.header",
        "inbound.token",
        "inbound.leeway_seconds",
        "inbound.trust_domains[0].name",
        "inbound.trust_domains[1].endpoint.path",
        "inbound.allow[0].methods[0]",
        "inbound.alow",
        "outbond",
    ] {
        let place = format!("`{place}`");
        assert!(
            problems.iter().any(|problem| problem.starts_with(&place)),
            "{place}: {problems:#?}"
        );
    }
}

#[test]
fn nothing_that_narrows_may_be_left_out() {
    for name in ["spiffe_ids", "methods", "paths"] {
        let mut settings = good();
        settings["inbound"]["allow"][0]
            .as_object_mut()
            .expect("a rule")
            .remove(name);
        assert_eq!(
            problems(&settings),
            [format!("`inbound.allow[0].{name}`: it is required")]
        );
        settings["inbound"]["allow"][0][name] = json!([]);
        assert_eq!(problems(&settings).len(), 1, "{name}");
    }
}

#[test]
fn a_bundle_has_exactly_one_source() {
    let mut settings = good();
    settings["inbound"]["trust_domains"][0] = json!({"name": "cluster.local"});
    assert_eq!(problems(&settings).len(), 1);
    settings["inbound"]["trust_domains"][0] =
        json!({"name": "cluster.local", "edge": {}, "inline": {"keys": []}});
    assert!(!problems(&settings).is_empty());
}

#[test]
fn an_edge_as_source_must_be_named() {
    let mut settings = good();
    settings["inbound"]
        .as_object_mut()
        .expect("settings")
        .remove("edge");
    assert_eq!(
        problems(&settings),
        ["`inbound.trust_domains[0].edge`: `inbound.edge` must name the cluster of the edge"]
    );
}

#[test]
fn an_id_is_of_a_configured_trust_domain() {
    for id in [
        "spiffe://elsewhere.example/a",
        "spiffe://cluster.*/a",
        "spiffe://*/a",
        "*",
        "spiffe://cluster.local",
        "spiffe://cluster.local/a//b",
        "cluster.local/a",
    ] {
        let mut settings = good();
        settings["inbound"]["allow"][0]["spiffe_ids"] = json!([id]);
        assert_eq!(problems(&settings).len(), 1, "{id}");
    }
}

#[test]
fn a_trust_domain_stands_once() {
    let mut settings = good();
    settings["inbound"]["trust_domains"][1]["name"] = json!("cluster.local");
    settings["inbound"]["allow"][0]["spiffe_ids"] = json!(["spiffe://cluster.local/a"]);
    assert!(problems(&settings)[0].contains("`cluster.local` stands twice"));
}

#[test]
fn only_a_whole_word_turns_the_recording_of_accesses_off() {
    let with = |audit: Value| {
        json!({"outbound": {
            "edge": {"cluster": "attache"},
            "caller": {"pod": {}},
            "targets": [{"cluster": "api", "target": "https://api.example.com"}],
            "inject": ["authorization"],
            "audit": audit,
        }})
    };
    for (audit, expected) in [
        (json!({}), Accesses::Record),
        (
            json!({"accesses": "record", "when_full": "refuse"}),
            Accesses::Record,
        ),
        (json!({"accesses": "leases-alone"}), Accesses::LeasesAlone),
    ] {
        let Ok(Settings::Outbound(outbound)) = parse(with(audit).to_string().as_bytes()) else {
            panic!("refused");
        };
        assert_eq!(outbound.audit.accesses, expected);
    }
    for accesses in [json!(false), json!("none"), json!(""), json!(null)] {
        let problems = problems(&with(json!({"accesses": accesses})));
        assert!(
            problems[0].starts_with("`outbound.audit.accesses`"),
            "{problems:?}"
        );
    }
    let contradicts = json!({"accesses": "leases-alone", "when_full": "refuse"});
    assert!(problems(&with(contradicts))[0].starts_with("`outbound.audit`: where"));
}

#[test]
fn what_is_no_json_object_is_refused() {
    for text in [
        "",
        "[]",
        "{",
        "{}",
        "{\"inbound\":1}",
        "\x0a\x0e\x0a\x01a",
        "{\"inbound\":{},\"inbound\":{}}",
    ] {
        assert!(parse(text.as_bytes()).is_err(), "{text}");
    }
}

#[test]
fn exactly_one_says_what_callers_may_do() {
    let judge = json!({"target": "https://orders.example"});
    let mut settings = good();
    settings["inbound"]["judge"] = judge.clone();
    let both = problems(&settings);
    assert!(
        both[0].contains("exactly one of `allow` and `judge`"),
        "{both:?}"
    );
    let inbound = settings["inbound"].as_object_mut().unwrap();
    inbound.remove("allow");
    let Ok(Settings::Inbound(read)) = parse(settings.to_string().as_bytes()) else {
        panic!("refused");
    };
    let Rules::Edge(read) = read.rules else {
        panic!("no edge");
    };
    assert_eq!(read.evidence.as_str(), "x-attache-evidence");
    assert_eq!(read.target.written, "https://orders.example");
    for target in ["orders.example", "https://*.example", "https://a/b", ""] {
        settings["inbound"]["judge"]["target"] = json!(target);
        let found = problems(&settings);
        assert!(found[0].starts_with("`inbound.judge.target`"), "{found:?}");
    }
    settings["inbound"]["judge"] = judge;
    settings["inbound"].as_object_mut().unwrap().remove("edge");
    settings["inbound"]["trust_domains"] = json!([good()["inbound"]["trust_domains"][1]]);
    let found = problems(&settings);
    assert!(found[0].contains("`inbound.edge` must name"), "{found:?}");
}

#[test]
fn every_example_of_the_documentation_is_read() {
    let page = include_str!("../../../docs/filter.md");
    let blocks = page.split("```json\n").skip(1);
    let examples: Vec<&str> = blocks
        .filter_map(|rest| rest.split("\n```").next())
        .collect();
    assert!(examples.len() >= 3, "{examples:?}");
    for example in examples {
        if let Err(invalid) = parse(example.as_bytes()) {
            panic!("{example}: {invalid}");
        }
    }
}
