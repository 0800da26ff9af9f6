//! Other people's credentials through the real Envoy: each stands where its target takes it, what the client sent in
//! the same place never arrives, and no secret is written down anywhere.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use attache_tests::{
    attache::{EdgePlan, Installation},
    canaries,
    client::{self, Reply, with_evidence},
    collector::{Collector, Received, text},
    quickstart::STRIPE,
    stage::{Script, Set, Stage},
    target,
};

/// What stands in each secret. Each holds the word that the last test looks for.
const SECRETS: [(&str, &str); 5] = [
    ("key", "canary&key=1 +%/é"),
    ("ssws", "canary-ssws"),
    ("password", "canary-password:with:colons"),
    ("first", "canary-first"),
    ("second", "canary-second"),
];

const POLICIES: &str = r#"
apiVersion: attache.dev/v1
kind: ClientWorkload
metadata: { name: payments }
spec: { match: [ { k8s.namespace: production, k8s.serviceAccount: payment-svc } ] }
---
apiVersion: attache.dev/v1
kind: CredentialProvider
metadata: { name: key }
spec: { type: api-key, hosts: [api.stripe.com], key: "file:secrets/key" }
---
apiVersion: attache.dev/v1
kind: CredentialProvider
metadata: { name: ssws }
spec: { type: api-key, hosts: [api.stripe.com], key: "file:secrets/ssws" }
---
apiVersion: attache.dev/v1
kind: CredentialProvider
metadata: { name: login }
spec: { type: username-password, hosts: [api.stripe.com], username: shop, password: "file:secrets/password" }
---
apiVersion: attache.dev/v1
kind: CredentialProvider
metadata: { name: headers }
spec:
  type: static-headers
  hosts: ["*.stripe.com"]
  headers:
    - { name: DD-API-KEY, value: "file:secrets/first" }
    - { name: DD-APPLICATION-KEY, value: "file:secrets/second", prefix: "Key " }
    - { name: X-Account, text: "4711" }
"#;

/// The path, its `authentication` and its credential provider.
const TARGETS: [(&str, &str, &str); 7] = [
    ("by-query", "{ method: query, name: key }", "key"),
    ("by-ssws", "{ method: ssws }", "ssws"),
    ("by-basic", "{ method: basic }", "login"),
    (
        "by-header",
        "{ method: header, name: X-Api-Key, prefix: 'Key ' }",
        "ssws",
    ),
    (
        "by-several",
        "{ method: several, places: [ { method: header, name: X-User, part: username }, { method: query, name: key, part: password }, { method: basic } ] }",
        "login",
    ),
    ("by-headers", "{ method: provider-headers }", "headers"),
    ("broken", "{ method: header, name: X-Api-Key }", "key"),
];

fn policies() -> String {
    let targets = TARGETS.map(|(name, authentication, provider)| {
        format!(
            "---\napiVersion: attache.dev/v1\nkind: ServerWorkload\nmetadata: {{ name: {name} }}\n\
             spec: {{ host: api.stripe.com, paths: [/{name}], authentication: {authentication} }}\n\
             ---\napiVersion: attache.dev/v1\nkind: AccessPolicy\nmetadata: {{ name: {name} }}\n\
             spec: {{ effect: allow, client: payments, server: {name}, trustProviders: [cluster], \
             credentialProvider: {provider}, actions: [all] }}\n"
        )
    });
    POLICIES.to_owned() + &targets.concat()
}

fn write_secrets(installation: &Installation) -> Result<()> {
    let folder = installation.directory().join("secrets");
    fs::create_dir_all(&folder)?;
    for (name, secret) in SECRETS {
        fs::write(folder.join(name), format!("{secret}\n"))?;
    }
    Ok(())
}

/// What `attache envoy` prints for the policies of `set`.
fn expression(installation: &Installation) -> Result<String> {
    let policies = installation.policies().display().to_string();
    let printed = installation.run(&["envoy", &policies, "--expression"])?;
    let errors = String::from_utf8_lossy(&printed.stderr);
    ensure!(printed.status.success(), "attache envoy: {errors}");
    Ok(String::from_utf8(printed.stdout)?.trim().to_owned())
}

/// The quick start beside these targets, behind an Envoy that lets through what `attache envoy` says.
async fn open() -> Result<Stage> {
    open_with(None).await
}

/// The same with traces of both, if somebody takes them, and the log at its finest level.
async fn open_with(collector: Option<&Collector>) -> Result<Stage> {
    let settings = collector.map(canaries::traced).into_iter().collect();
    let set = Set::build(Script {
        plan: EdgePlan {
            settings,
            ..EdgePlan::default()
        },
        policies: vec![("credentials.yaml", policies())],
        ..Script::default()
    })
    .await?;
    write_secrets(&set.installation)?;
    let bootstrap = set.bootstrap()?;
    let mut bootstrap = bootstrap.replace(
        "^(authorization|x-attache-[a-z0-9-]+)$",
        &expression(&set.installation)?,
    )?;
    if let Some(collector) = collector {
        bootstrap = canaries::tracing(bootstrap, collector)?;
    }
    let mut attache = set.installation.launch_under(canaries::loudly())?;
    attache.ready().await?;
    set.open_behind(bootstrap, attache).await
}

async fn get(stage: &Stage, path: &str) -> Result<target::Received> {
    let request = with_evidence(client::get(STRIPE, path)?, &stage.payment_token()?)?;
    let reply = client::http1(stage.address, request).await?;
    ensure!(reply.status == 200, "{path}: {reply:?}");
    stage.set.stripe.last()
}

/// A request of these lines, as they are.
async fn raw(stage: &Stage, target: &str, headers: &str) -> Result<Reply> {
    let token = stage.payment_token()?;
    let request = format!(
        "GET {target} HTTP/1.1\r\nhost: {STRIPE}\r\n{headers}x-attache-evidence: {token}\r\n\
         connection: close\r\n\r\n"
    );
    client::raw(stage.address, request.as_bytes()).await
}

const KEY_IN_QUERY: &str = "key=canary%26key%3D1%20%2B%25%2F%C3%A9";
const BASIC: &str = "Basic c2hvcDpjYW5hcnktcGFzc3dvcmQ6d2l0aDpjb2xvbnM=";

#[tokio::test]
async fn each_credential_stands_where_its_target_takes_it() -> Result<()> {
    let stage = open().await?;
    let expected = expression(&stage.set.installation)?;
    assert_eq!(
        expected,
        "^(authorization|dd-api-key|dd-application-key|x-account|x-api-key|x-user|x-attache-[a-z0-9-]+)$"
    );
    let by_query = get(&stage, "/by-query").await?;
    assert_eq!(by_query.target, format!("/by-query?{KEY_IN_QUERY}"));
    assert!(by_query.values("authorization").is_empty());
    let with_others = get(&stage, "/by-query?a=1&b=%20x").await?;
    assert_eq!(
        with_others.target,
        format!("/by-query?a=1&b=%20x&{KEY_IN_QUERY}")
    );
    let by_ssws = get(&stage, "/by-ssws").await?;
    assert_eq!(by_ssws.values("authorization"), ["SSWS canary-ssws"]);
    let by_basic = get(&stage, "/by-basic").await?;
    assert_eq!(by_basic.values("authorization"), [BASIC]);
    let by_header = get(&stage, "/by-header").await?;
    assert_eq!(by_header.values("x-api-key"), ["Key canary-ssws"]);
    let by_several = get(&stage, "/by-several").await?;
    assert_eq!(by_several.values("x-user"), ["shop"]);
    assert_eq!(by_several.values("authorization"), [BASIC]);
    assert_eq!(
        by_several.target,
        "/by-several?key=canary-password%3Awith%3Acolons"
    );
    let by_headers = get(&stage, "/by-headers").await?;
    assert_eq!(by_headers.values("dd-api-key"), ["canary-first"]);
    assert_eq!(
        by_headers.values("dd-application-key"),
        ["Key canary-second"]
    );
    assert_eq!(by_headers.values("x-account"), ["4711"]);
    Ok(())
}

#[tokio::test]
async fn a_clients_own_value_of_an_injected_parameter_never_arrives_in_any_spelling() -> Result<()>
{
    let stage = open().await?;
    let sent = "a=1&key=mine&KEY=mine&Key=mine&%6bey=mine&k%65y=mine&%4B%45%59=mine&key[]=mine&key%5B%5D=mine\
                &key[0]=mine&+key=mine&key%20=mine&key&key=&%6b%65%79&b=2&monkey=3";
    for path in ["/by-query", "/v1/charges"] {
        let reply = raw(&stage, &format!("{path}?{sent}"), "").await?;
        assert_eq!(reply.status, 200, "{reply:?}");
        let target = stage.set.stripe.last()?.target;
        assert!(!target.contains("mine"), "{target}");
        let (_, query) = target.split_once('?').context("a query")?;
        let mut names: Vec<&str> = query
            .split('&')
            .map(|pair| pair.split_once('=').map_or(pair, |(name, _)| name))
            .collect();
        names.sort_unstable();
        let injected = path == "/by-query";
        let expected = if injected {
            vec!["a", "b", "key", "monkey"]
        } else {
            vec!["a", "b", "monkey"]
        };
        assert_eq!(names, expected, "{target}");
        assert_eq!(target.contains(KEY_IN_QUERY), injected, "{target}");
    }
    // Where only some applications would see it, nothing is sent.
    let before = stage.set.stripe.received().len();
    for hidden in ["a=1;key=mine", "a;%6bey=mine", "a=1;KEY"] {
        let reply = raw(&stage, &format!("/by-query?{hidden}"), "").await?;
        assert_eq!(
            (reply.status, reply.code()),
            (403, Some("parameter-ambiguous")),
            "{hidden}"
        );
    }
    assert_eq!(stage.set.stripe.received().len(), before);
    Ok(())
}

#[tokio::test]
async fn a_clients_own_value_of_an_injected_header_never_arrives_in_any_case_or_number()
-> Result<()> {
    let stage = open().await?;
    let names = [
        "authorization",
        "dd-api-key",
        "dd-application-key",
        "x-account",
        "x-api-key",
        "x-user",
    ];
    let lines = names.map(|name| {
        let upper = name.to_uppercase();
        format!("{name}: mine\r\n{upper}: mine\r\n{name}:\r\n{name}: mine, mine\r\n")
    });
    let lines = lines.concat() + "accept: text/plain\r\n";
    for (path, injected) in [
        ("/by-query", vec![]),
        ("/by-header", vec!["x-api-key"]),
        (
            "/by-headers",
            vec!["dd-api-key", "dd-application-key", "x-account"],
        ),
        ("/by-several", vec!["authorization", "x-user"]),
        ("/v1/charges", vec!["authorization"]),
    ] {
        let reply = raw(&stage, path, &lines).await?;
        assert_eq!(reply.status, 200, "{path}: {reply:?}");
        let received = stage.set.stripe.last()?;
        for name in names {
            let values = received.values(name);
            let expected = usize::from(injected.contains(&name));
            assert_eq!(values.len(), expected, "{path} {name}: {values:?}");
            assert!(
                !values.concat().contains("mine"),
                "{path} {name}: {values:?}"
            );
        }
        assert_eq!(received.values("accept"), ["text/plain"]);
    }
    Ok(())
}

#[tokio::test]
async fn over_http2_the_same_holds_and_an_underscore_is_refused() -> Result<()> {
    let stage = open().await?;
    let token = stage.payment_token()?;
    let target = "/by-several?KEY=mine&key=mine&%6bey=mine";
    let mut request = with_evidence(client::get(STRIPE, target)?, &token)?;
    let mine = http::HeaderValue::from_static("mine");
    for name in ["authorization", "x-user", "x-api-key", "dd-api-key"] {
        request.headers_mut().append(name, mine.clone());
        request.headers_mut().append(name, mine.clone());
    }
    let reply = client::http2(stage.address, request).await?;
    assert_eq!(reply.status, 200, "{reply:?}");
    let received = stage.set.stripe.last()?;
    let shown = format!("{received:?}");
    assert!(!shown.contains("mine"), "{shown}");
    assert_eq!(received.values("authorization"), [BASIC]);
    let before = stage.set.stripe.received().len();
    for name in ["x_api-key", "X_API_KEY", "dd_api_key", "x_user"] {
        let refused = raw(&stage, "/by-header", &format!("{name}: mine\r\n")).await?;
        assert!([400, 403].contains(&refused.status), "{name}: {refused:?}");
        let mut request = with_evidence(client::get(STRIPE, "/by-header")?, &token)?;
        let lower: http::HeaderName = name.to_lowercase().parse()?;
        request.headers_mut().insert(lower, mine.clone());
        // Envoy resets the stream, or answers.
        if let Ok(refused) = client::http2(stage.address, request).await {
            assert!([400, 403].contains(&refused.status), "{name}: {refused:?}");
        }
    }
    assert_eq!(stage.set.stripe.received().len(), before);
    Ok(())
}

#[tokio::test]
async fn what_cannot_be_injected_is_a_503_with_its_code_and_reaches_nobody() -> Result<()> {
    let stage = open().await?;
    let secrets = stage.set.installation.directory().join("secrets");
    // `é` cannot stand in a header.
    let reply = raw(&stage, "/broken", "").await?;
    assert_eq!(
        (reply.status, reply.code()),
        (503, Some("credential-not-encodable"))
    );
    fs::remove_file(secrets.join("ssws"))?;
    let reply = raw(&stage, "/by-ssws", "").await?;
    assert_eq!(
        (reply.status, reply.code()),
        (503, Some("secret-unavailable"))
    );
    assert!(stage.set.stripe.received().is_empty());
    fs::write(secrets.join("ssws"), "canary-again")?;
    let again = attache_tests::wait::until("the secret to be used again", async || {
        get(&stage, "/by-ssws").await.ok()
    })
    .await?;
    assert_eq!(again.values("authorization"), ["SSWS canary-again"]);
    Ok(())
}

#[tokio::test]
async fn no_secret_is_in_logs_events_metrics_spans_explanations_the_store_or_envoys_access_log()
-> Result<()> {
    let collector = Collector::start().await?;
    let stage = open_with(Some(&collector)).await?;
    for (path, ..) in TARGETS.iter().filter(|(path, ..)| *path != "broken") {
        get(&stage, &format!("/{path}?a=b")).await?;
    }
    assert_eq!(raw(&stage, "/broken", "").await?.status, 503);
    let line = stage
        .envoy
        .logged("the last call", |line| line["path"] == "/broken")
        .await?;
    assert_eq!(line["code"], "credential-not-encodable");
    let events = stage.set.installation.events()?;
    let by_query = events.iter().find(|event| event["policy"] == "by-query");
    let by_query = by_query.context("an event of the query")?;
    assert_eq!(by_query["credential_provider"], "key");
    assert_eq!(by_query["token_issued"], false);
    // Envoy's spans tell the path, and of no query.
    let told = |one: &Received| text(&one.span.attributes, "http.path");
    let span = collector
        .span("the path", |one| told(one).as_deref() == Some("/by-query"))
        .await?;
    assert_eq!(span.service, "envoy");
    canaries::are_nowhere(stage, &collector, &[], &["secrets"]).await
}
