//! The table of JWT-SVIDs through the .wasm in a real Envoy: the verdicts and codes that the server gives.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
};

use anyhow::{Context as _, Result};
use attache_proto::token::v1::{Decision, VerifyResponse};
use attache_tests::{
    authority::Authority,
    bootstrap::Bootstrap,
    client,
    envoy::Envoy,
    filter::{self, Connection},
    scripted_edge::ScriptedEdge,
    server::{Answer, Server, Site},
    target::Target,
    wait::until,
    workspace,
};
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, Response, body::Incoming};
use serde_json::{Value, json};
use tempfile::TempDir;

const HOST: &str = "orders.example";

/// The bundles of the table, each under its name.
struct Bundles(BTreeMap<String, String>);

impl Site for Bundles {
    async fn answer(&self, request: Request<Incoming>) -> Answer {
        let name = request.uri().path().trim_start_matches('/');
        let document = self.0.get(name).cloned().unwrap_or_default();
        Response::new(Full::from(document).boxed())
    }
}

fn text(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

/// As a proxy says it, which finds the bundle by what the token claims.
fn as_a_proxy_says(code: &str) -> &str {
    match code {
        "token-trust-domain-mismatch" => "trust-domain-unknown",
        "key-set-refused" => "keys-unavailable",
        other => other,
    }
}

/// The bootstrap for one bundle and one set of rules.
fn bootstrap(base: Bootstrap, bundles: SocketAddr, keys: &str, rules: &Value) -> Result<Bootstrap> {
    let domain = text(&rules["trust_domain"]);
    let configuration = json!({"inbound": {
        "audience": rules["audience"],
        "edge": {"cluster": "attache"},
        "trust_domains": [{"name": domain, "max_age_seconds": 31_536_000,
            "endpoint": {"cluster": "bundles", "authority": "bundles", "path": format!("/{keys}")}}],
        "allow": [{"spiffe_ids": [format!("spiffe://{domain}/*")], "methods": "any", "paths": "any"}],
    }});
    let mut clusters = base.settings()?["static_resources"]["clusters"].clone();
    clusters.as_array_mut().context("no clusters")?.push(json!({
        "name": "bundles", "type": "STATIC", "load_assignment": {"cluster_name": "bundles", "endpoints": [{
            "lb_endpoints": [{"endpoint": {"address": {"socket_address":
                {"address": "127.0.0.1", "port_value": bundles.port()}}}}]}]},
    }));
    let filter =
        "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config/http_filters/0";
    base.put(
        &format!("{filter}/typed_config/config/configuration/value"),
        Value::from(configuration.to_string()),
    )?
    .put("/static_resources/clusters", clusters)
}

/// What all groups of the table share.
struct Ground {
    table: Value,
    bundles: Server,
    edge: ScriptedEdge,
    application: Target,
    authority: Authority,
    directory: TempDir,
    wasm: PathBuf,
}

impl Ground {
    async fn lay() -> Result<Self> {
        let path = workspace::root().join("tests/vectors/jwt-svid.json");
        let table: Value = serde_json::from_str(&std::fs::read_to_string(path)?)?;
        let documents = table["keys"].as_object().context("no keys")?;
        let documents = documents
            .iter()
            .map(|(name, keys)| (name.clone(), text(keys)));
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let directory = tempfile::tempdir()?;
        Ok(Self {
            bundles: Server::start(any, None, Arc::new(Bundles(documents.collect()))).await?,
            edge: ScriptedEdge::start(&directory.path().join("edge.sock"))?,
            application: Target::plaintext().await?,
            authority: Authority::new("the tests' own authority")?,
            wasm: filter::wasm_for_tests().await?,
            directory,
            table,
        })
    }

    /// An Envoy for one bundle and one set of rules, and a connection to it.
    async fn envoy(&self, keys: &str, rules: &str) -> Result<(Envoy, Connection)> {
        let own = self
            .authority
            .issue(&[HOST])?
            .write(self.directory.path(), "service")?;
        let socket = self.directory.path().join("edge.sock");
        let (wasm, application) = (&self.wasm, self.application.address());
        let base = Bootstrap::filter_inbound(wasm, &socket, &own, application)?;
        let rules = &self.table["rules"][rules];
        let envoy = Envoy::start(bootstrap(base, self.bundles.address(), keys, rules)?).await?;
        let address = envoy.address("inbound").await?;
        let connection = Connection::open(address, &self.authority, HOST).await?;
        // Every VM has asked for its bundle, whether or not it could use the answer.
        until("the bundles", async || {
            let answered = envoy
                .stat("cluster.bundles.upstream_rq_completed")
                .await
                .ok()?;
            (answered >= 3).then_some(())
        })
        .await?;
        Ok((envoy, connection))
    }

    /// What Envoy says to the token of a case.
    async fn judge(&self, connection: &mut Connection, case: &Value) -> Result<String> {
        let subject = text(&case["expect"]["subject"]);
        self.edge.verify(move |_| {
            Ok(VerifyResponse {
                decision: Decision::Allowed.into(),
                spiffe_id: subject.clone(),
                until: i64::MAX,
                ..VerifyResponse::default()
            })
        });
        let mut request = client::get(HOST, "/v1/orders")?;
        let bearer = format!("Bearer {}", text(&case["token"]));
        request
            .headers_mut()
            .insert("authorization", bearer.parse()?);
        request
            .headers_mut()
            .insert("x-now", text(&case["now"]).parse()?);
        let reply = connection.ask(request).await?;
        let accepted = (reply.status == 200).then_some("accepted");
        Ok(accepted.or(reply.code()).unwrap_or("none").to_owned())
    }
}

#[tokio::test]
async fn every_jwt_svid_of_the_table_gets_its_verdict_in_envoy() -> Result<()> {
    let ground = Ground::lay().await?;
    let cases = ground.table["cases"].as_array().context("no cases")?;
    let group = |case: &Value| (text(&case["keys"]), text(&case["rules"]));
    let groups: BTreeSet<(String, String)> = cases.iter().map(group).collect();
    let (mut wrong, mut judged) = (Vec::new(), 0);
    for (keys, rules) in groups {
        let (envoy, mut connection) = ground.envoy(&keys, &rules).await?;
        let of_group = |case: &&Value| text(&case["keys"]) == keys && text(&case["rules"]) == rules;
        for case in cases.iter().filter(of_group) {
            let found = ground.judge(&mut connection, case).await?;
            let expected = case["expect"]["code"].as_str().unwrap_or("accepted");
            if found != as_a_proxy_says(expected) {
                wrong.push(format!("{}: {found}, not {expected}", text(&case["id"])));
            }
            judged += 1;
        }
        assert_eq!(envoy.messages().matches("trap").count(), 0);
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(judged >= 140, "{judged}");
    // RSASSA-PSS alone is the edge's.
    assert!((3..10).contains(&ground.edge.asked().verifications.len()));
    Ok(())
}
