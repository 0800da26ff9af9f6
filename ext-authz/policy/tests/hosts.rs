//! A host in a document is the host on the wire, however the document spells it.
// `cfg(test)` tells clippy that a failed expectation is an answer here.
#![cfg(test)]

use attache_core::{request::Host, spiffe_id::TrustDomain};
use attache_policy::{Code, Problems, Settings, Source, compile};

/// Whether a policy for the host `written` is about a call to `wire`; the problems if it does not load.
fn is_about(written: &str, wire: &str) -> Result<bool, Problems> {
    let text = format!(
        "apiVersion: attache.dev/v1
kind: ClientWorkload
metadata: {{name: web}}
spec: {{match: [{{k8s.namespace: shop}}]}}
---
apiVersion: attache.dev/v1
kind: ServerWorkload
metadata: {{name: api}}
spec: {{host: '{written}'}}
---
apiVersion: attache.dev/v1
kind: AccessPolicy
metadata: {{name: web-to-api}}
spec: {{effect: deny, client: web, server: api, actions: [all]}}
"
    );
    let source = Source {
        name: "set.yaml".to_owned(),
        text: text.into_bytes(),
    };
    let settings = Settings {
        trust_domain: TrustDomain::parse("cluster.local").unwrap(),
        trust_providers: Vec::new(),
    };
    let compiled = compile(&[source], &settings)?;
    assert!(compiled.warnings().is_empty(), "{}", compiled.warnings());
    let wire = Host::parse(wire).unwrap();
    Ok(compiled.target(&wire, 443).is_some())
}

#[test]
fn a_host_is_known_in_every_spelling() {
    for (written, wire) in [
        ("api.example.com", "API.example.COM."),
        ("Api.Example.Com.", "api.example.com"),
        ("*.Example.com", "a.b.example.com"),
        ("10.0.0.1", "10.0.0.1"),
        ("::1", "[0:0:0:0:0:0:0:1]"),
        ("[2001:0DB8:0:0::1]", "2001:db8::1"),
        ("2001:db8::0.0.0.1", "2001:db8::1"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER.Example", "XN--BCHER-KVA.example"),
        ("bu\u{308}cher.example", "xn--bcher-kva.example"),
        ("XN--BCHER-KVA.example", "xn--bcher-kva.example"),
        ("*.bücher.example", "api.xn--bcher-kva.example"),
        ("straße.example", "xn--strae-oqa.example"),
        ("電話.example", "xn--722ax0w.example"),
        ("日本語カタカナ.example", "xn--lcka3d1b3769bcvb2w6i.example"),
    ] {
        assert!(is_about(written, wire).unwrap(), "{written} {wire}");
    }
}

#[test]
fn a_host_is_no_other() {
    for (written, wire) in [
        ("straße.example", "strasse.example"),
        ("bücher.example", "bucher.example"),
        ("*.example.com", "example.com"),
        ("*.example.com", "badexample.com"),
        ("10.0.0.1", "10.0.0.10"),
    ] {
        assert!(!is_about(written, wire).unwrap(), "{written} {wire}");
    }
}

#[test]
fn an_address_that_others_read_differently_is_refused() {
    for written in [
        "::ffff:10.0.0.1",
        "010.0.0.1",
        "0x0a000001",
        "167772161",
        "10.1",
        "fe80::1%25eth0",
        "[::1",
        "::1]",
        "1.2.3.4.5",
    ] {
        let problems = is_about(written, "10.0.0.1").expect_err(written);
        let codes: Vec<_> = problems.iter().map(|problem| problem.code).collect();
        assert_eq!(codes, [Code::InvalidHost], "{written}: {problems}");
    }
}
