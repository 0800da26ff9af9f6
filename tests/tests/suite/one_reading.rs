//! A request has one reading, for policy and for whoever serves it: headers that ask for another method or
//! path, hosts named twice, and every spelling of a host, through Envoy.

use anyhow::Result;
use attache_tests::{
    attache::EdgePlan,
    bootstrap::Bootstrap,
    client::{self, Reply, with_evidence},
    quickstart::STRIPE,
    stage::{CHARGES, Script, Set, Stage},
};
use http::HeaderValue;

/// Headers by which some frameworks take another method or path.
const OVERRIDES: [(&str, &str); 5] = [
    ("X-HTTP-Method-Override", "DELETE"),
    ("X-HTTP-Method", "DELETE"),
    ("X-Method-Override", "DELETE"),
    ("X-Original-URL", "/v1/admin"),
    ("X-Rewrite-URL", "/v1/admin"),
];

/// A request with good evidence, of these header lines.
async fn raw(stage: &Stage, line: &str, headers: &str) -> Result<Reply> {
    let token = stage.payment_token()?;
    let request = format!(
        "{line} HTTP/1.1\r\n{headers}x-attache-evidence: {token}\r\nconnection: close\r\n\r\n"
    );
    client::raw(stage.address, request.as_bytes()).await
}

async fn charges(stage: &Stage, headers: &str) -> Result<(u16, Option<String>)> {
    let reply = raw(stage, "GET /v1/charges", headers).await?;
    Ok((reply.status, reply.code().map(str::to_owned)))
}

fn denied(code: &str) -> (u16, Option<String>) {
    (403, Some(code.to_owned()))
}

const PERMITTED: (u16, Option<String>) = (200, None);

#[tokio::test]
async fn a_header_that_overrides_method_or_path_is_denied() -> Result<()> {
    let stage = Stage::open().await?;
    for (name, value) in OVERRIDES {
        for name in [name.to_owned(), name.to_lowercase()] {
            let headers = format!("host: {STRIPE}\r\n{name}: {value}\r\n");
            let answer = charges(&stage, &headers).await?;
            assert_eq!(answer, denied("request-overridden"), "{name}");
        }
    }
    assert!(stage.set.stripe.received().is_empty());
    Ok(())
}

#[tokio::test]
async fn where_they_are_stripped_such_headers_do_not_reach_the_target() -> Result<()> {
    let plan = EdgePlan {
        listener: vec!["override_headers: strip".to_owned()],
        ..EdgePlan::default()
    };
    let set = Set::build(Script {
        plan,
        ..Script::default()
    })
    .await?;
    // As docs/envoy.md says.
    let bootstrap = set.bootstrap()?.replace(
        "^(authorization|x-attache-[a-z0-9-]+)$",
        "^(authorization|x-http-method(-override)?|x-method-override|x-(original|rewrite)-url|x-attache-[a-z0-9-]+)$",
    )?;
    let attache = set.installation.start().await?;
    let stage = set.open_behind(bootstrap, attache).await?;
    let lines = OVERRIDES.map(|(name, value)| format!("{name}: {value}\r\n{name}: again\r\n"));
    let headers = format!("host: {STRIPE}\r\n{}accept: text/plain\r\n", lines.concat());
    assert_eq!(charges(&stage, &headers).await?, PERMITTED);
    let received = stage.set.stripe.last()?;
    assert_eq!(
        (received.method.as_str(), received.target.as_str()),
        ("GET", CHARGES)
    );
    for (name, _) in OVERRIDES {
        assert!(received.values(&name.to_lowercase()).is_empty(), "{name}");
    }
    assert_eq!(received.values("accept"), ["text/plain"]);
    Ok(())
}

#[tokio::test]
async fn a_request_that_names_two_hosts_is_denied() -> Result<()> {
    let stage = Stage::open().await?;
    for (first, second) in [
        (STRIPE, "evil.example"),
        ("evil.example", STRIPE),
        (STRIPE, STRIPE),
    ] {
        let headers = format!("host: {first}\r\nhost: {second}\r\n");
        let answer = charges(&stage, &headers).await?;
        assert_eq!(answer, denied("host-ambiguous"), "{first} {second}");
    }
    // An address in the request line takes the place of Host (RFC 9112 §3.2.2), for Envoy and for policy.
    let reply = raw(&stage, "GET http://evil.example/v1/charges", &host(STRIPE)).await?;
    assert_eq!(reply.code(), Some("destination-not-vouched"));
    assert!(stage.set.stripe.received().is_empty());
    let line = "GET http://api.stripe.com/v1/charges";
    assert_eq!(raw(&stage, line, &host("evil.example")).await?.status, 200);
    let received = stage.set.stripe.last()?;
    assert_eq!(
        (received.authority.as_str(), received.values("host")),
        (STRIPE, vec![])
    );
    Ok(())
}

#[tokio::test]
async fn beside_an_authority_of_http2_a_host_means_nothing_and_goes_nowhere() -> Result<()> {
    let stage = Stage::open().await?;
    for named in ["evil.example", STRIPE] {
        let mut request = with_evidence(client::get(STRIPE, CHARGES)?, &stage.payment_token()?)?;
        let named = HeaderValue::from_static(named);
        request.headers_mut().insert("host", named);
        let reply = client::http2_as_it_is(stage.address, request).await?;
        assert_eq!(reply.status, 200, "{reply:?}");
        let received = stage.set.stripe.last()?;
        assert_eq!(received.authority, STRIPE);
        assert!(received.values("host").is_empty(), "{received:?}");
    }
    Ok(())
}

fn host(name: &str) -> String {
    format!("host: {name}\r\n")
}

#[tokio::test]
async fn a_host_is_the_same_in_every_case_and_with_a_default_port() -> Result<()> {
    let stage = Stage::open().await?;
    for name in ["API.Stripe.Com", "api.stripe.com:80", "api.stripe.com:443"] {
        assert_eq!(charges(&stage, &host(name)).await?, PERMITTED, "{name}");
        let event = stage.set.installation.last_event()?;
        assert_eq!(event["target_service"], STRIPE, "{name}");
    }
    let reached = stage.set.stripe.received().len();
    for (name, code) in [
        ("api.stripe.com:0443", "host-ambiguous"),
        ("api.stripe.com:", "host-ambiguous"),
        ("user@api.stripe.com", "host-ambiguous"),
        ("", "host-ambiguous"),
        // Envoy's routes know the name without the dot alone.
        ("api.stripe.com.", "destination-not-vouched"),
        ("api.stripe.com.:443", "destination-not-vouched"),
        ("api.stripe.com:8443", "destination-not-vouched"),
    ] {
        assert_eq!(charges(&stage, &host(name)).await?, denied(code), "{name}");
    }
    assert_eq!(stage.set.stripe.received().len(), reached);
    Ok(())
}

/// The bootstrap of `set`, whose one route takes every name and leads to `origin`.
fn one_route(set: &Set, origin: &str) -> Result<Bootstrap> {
    set.bootstrap()?
        .replace("domains: [\"*\"]", "domains: [nowhere.invalid]")?
        .replace(
            "domains: [api.stripe.com, \"api.stripe.com:80\", \"api.stripe.com:443\"]",
            "domains: [\"*\"]",
        )?
        .replace("https://api.stripe.com", origin)
}

#[tokio::test]
async fn a_trailing_dot_names_the_same_host_where_a_route_takes_it() -> Result<()> {
    let set = Set::build(Script::default()).await?;
    let bootstrap = one_route(&set, "https://api.stripe.com")?;
    let attache = set.installation.start().await?;
    let stage = set.open_behind(bootstrap, attache).await?;
    for name in ["api.stripe.com.", "API.STRIPE.COM.:443"] {
        // Policy allows it; Envoy then asks for a certificate of that very spelling.
        let (status, code) = charges(&stage, &host(name)).await?;
        assert_eq!((status, code), (503, None), "{name}");
        let event = stage.set.installation.last_event()?;
        assert_eq!(event["outcome"], "permitted", "{event}");
        assert_eq!(event["target_service"], STRIPE, "{name}");
    }
    assert!(stage.set.stripe.received().is_empty());
    for (name, code) in [
        ("api.stripe.com..", "host-ambiguous"),
        ("evil.example", "destination-mismatch"),
        ("api.stripe.com:8443", "destination-mismatch"),
    ] {
        assert_eq!(charges(&stage, &host(name)).await?, denied(code), "{name}");
    }
    Ok(())
}

const IPV6: &str = "\
apiVersion: attache.dev/v1
kind: ClientWorkload
metadata: { name: payments }
spec: { match: [{ k8s.namespace: production }] }
---
apiVersion: attache.dev/v1
kind: ServerWorkload
metadata: { name: by-address }
spec: { host: \"2001:DB8:0:0::1\" }
---
apiVersion: attache.dev/v1
kind: CredentialProvider
metadata: { name: token }
spec: { type: oidc-token, audience: \"https://by-address.example\", ttl: 300 }
---
apiVersion: attache.dev/v1
kind: AccessPolicy
metadata: { name: by-address }
spec: { effect: allow, client: payments, server: by-address, trustProviders: [cluster], credentialProvider: token, actions: [all] }
";

#[tokio::test]
async fn an_ipv6_address_is_the_same_host_in_every_spelling() -> Result<()> {
    let set = Set::build(Script {
        policies: vec![("by-address.yaml", IPV6.to_owned())],
        stripe_certificate: "2001:db8::1",
        ..Script::default()
    })
    .await?;
    let bootstrap = one_route(&set, "https://[2001:db8::1]")?;
    let attache = set.installation.start().await?;
    let stage = set.open_behind(bootstrap, attache).await?;
    // Envoy asks for a certificate of the spelling that the client chose; targets have one of the shortest.
    for (name, status) in [
        ("[2001:db8::1]", 200),
        ("[2001:DB8:0:0:0:0:0:1]:443", 503),
        ("[2001:0db8::0.0.0.1]:80", 503),
    ] {
        assert_eq!(
            charges(&stage, &host(name)).await?,
            (status, None),
            "{name}"
        );
        let event = stage.set.installation.last_event()?;
        assert_eq!(event["outcome"], "permitted", "{event}");
        assert_eq!(event["target_service"], "2001:db8::1", "{name}");
    }
    for (name, code) in [
        ("2001:db8::1", "host-ambiguous"),
        ("[2001:db8::1", "host-ambiguous"),
        ("[2001:db8::1%25eth0]", "host-ambiguous"),
        ("[::ffff:10.0.0.1]", "host-ambiguous"),
        ("[2001:db8::2]", "destination-mismatch"),
    ] {
        assert_eq!(charges(&stage, &host(name)).await?, denied(code), "{name}");
    }
    Ok(())
}
