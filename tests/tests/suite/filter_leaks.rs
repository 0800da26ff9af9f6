//! Ways by which a credential could reach somebody else, tried in a real Envoy: other callers of one gateway, a
//! redirect to another host, and clusters whose names are no names to Envoy.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, Result, ensure};
use attache_proto::token::v1::{Caller, Decision, Evidence, FetchRequest, FetchResponse, Scope};
use attache_tests::{
    authority::{Authority, Identity},
    bootstrap::Bootstrap,
    client::{self, Reply},
    filter,
    outbound_stage::{OutboundStage, allowed, request},
    quickstart::STRIPE,
    server::{Answer, Server, Site},
    target::Target,
};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::Status;

const CHAIN: &str = "/static_resources/listeners/0/filter_chains/0";
const GATEWAY: &str = "gateway.example";
const POD: &str = "\"caller\": { \"pod\": {} }";

/// Who shows evidence gets a token that names it; nobody else gets any.
fn for_each_caller(request: &FetchRequest) -> Result<FetchResponse, Status> {
    let shown = request.evidence.clone().unwrap_or_default();
    let name = match shown {
        Evidence { principal, .. } if !principal.is_empty() => principal,
        Evidence { headers, .. } => headers
            .iter()
            .map(|line| String::from_utf8_lossy(&line.value).into_owned())
            .collect(),
    };
    let answer = allowed(request, &name, Duration::from_secs(300), "revision-1");
    let scope = answer.scope.clone().map(|scope| Scope {
        caller: Caller::Evidence.into(),
        ..scope
    });
    Ok(if name.is_empty() {
        FetchResponse {
            decision: Decision::Denied.into(),
            code: "evidence-missing".to_owned(),
            inject: Vec::new(),
            lease: Vec::new(),
            scope: None,
            ..answer
        }
    } else {
        FetchResponse { scope, ..answer }
    })
}

#[tokio::test]
async fn a_second_caller_of_a_gateway_gets_nothing_of_the_firsts() -> Result<()> {
    let stage = OutboundStage::open_with(|bootstrap| {
        let caller = "\"caller\": { \"request\": { \"headers\": [\"x-attache-evidence\"] } }";
        bootstrap.replace(POD, caller)
    })
    .await?;
    stage.edge.fetch(for_each_caller);
    for _ in 0..8 {
        for name in ["anna", "berta"] {
            let evidence: [(&str, &[u8]); 1] = [("x-attache-evidence", name.as_bytes())];
            assert_eq!(stage.ask_with("/v1/x", &evidence).await?.status, 200);
            let received = stage.stripe.last()?;
            assert_eq!(received.bearer().as_deref(), Some(name));
            ensure!(received.values("x-attache-evidence").is_empty());
        }
        let nobody = stage.ask("/v1/x").await?;
        assert_eq!(
            (nobody.status, nobody.code()),
            (403, Some("evidence-missing"))
        );
        let both: [(&str, &[u8]); 2] = [
            ("x-attache-evidence", b"anna"),
            ("x-attache-evidence", b"berta"),
        ];
        // Two are another caller than either, and the edge's matter.
        let reply = stage.ask_with("/v1/x", &both).await?;
        if reply.status == 200 {
            assert_eq!(stage.stripe.last()?.bearer().as_deref(), Some("annaberta"));
        }
        // Whoever says who it is shows nothing.
        let claims: [(&str, &[u8]); 1] = [("x-forwarded-client-cert", b"URI=anna")];
        assert_eq!(stage.ask_with("/v1/x", &claims).await?.status, 403);
    }
    ensure!(stage.edge.asked().fetches.len() < 60, "nothing is kept");
    Ok(())
}

/// The listener takes certificates of the authority, and refuses all others.
fn with_mutual_tls(bootstrap: Bootstrap, own: (&str, &str), roots: &str) -> Result<Bootstrap> {
    let bootstrap = bootstrap.replace(
        POD,
        "\"caller\": { \"request\": { \"peer_certificate\": \"verified\" } }",
    )?;
    let mut chain = bootstrap
        .settings()?
        .pointer(CHAIN)
        .cloned()
        .context("no chain")?;
    chain["transport_socket"] = json!({
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
            "require_client_certificate": true,
            "common_tls_context": {
                "tls_certificates": [{"certificate_chain": {"filename": own.0}, "private_key": {"filename": own.1}}],
                "validation_context": {"trusted_ca": {"filename": roots}}
            }
        }
    });
    bootstrap.put(CHAIN, chain)
}

async fn ask_as(stage: &OutboundStage, who: Option<&Identity>) -> Result<Reply> {
    let config = stage.authority.client(who, &["http/1.1"])?;
    let stream = TcpStream::connect(stage.address).await?;
    let name = ServerName::try_from(GATEWAY)?;
    let stream = TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await?;
    client::http1_over(stream, client::get(STRIPE, "/v1/x")?).await
}

#[tokio::test]
async fn a_gateways_caller_is_the_peer_that_envoy_verified() -> Result<()> {
    let wasm = filter::wasm().await?;
    let stage = OutboundStage::open_by(&wasm, |folder, authority, bootstrap| {
        let own = authority.issue(&[GATEWAY])?.write(folder, "gateway")?;
        let text = |path: &std::path::Path| path.display().to_string();
        let own = (text(&own.certificate), text(&own.key));
        with_mutual_tls(bootstrap, (&own.0, &own.1), &text(&folder.join("ca.crt")))
    })
    .await?;
    stage.edge.fetch(for_each_caller);
    let workload = |name: &str| format!("spiffe://cluster.local/ns/shop/sa/{name}");
    for _ in 0..6 {
        for name in ["anna", "berta"] {
            let identity = stage.authority.issue(&[&workload(name)])?;
            let reply = ask_as(&stage, Some(&identity)).await?;
            assert_eq!(reply.status, 200, "{reply:?}");
            let bearer = stage.stripe.last()?.bearer();
            assert_eq!(bearer, Some(workload(name)));
        }
    }
    let before = stage.stripe.received().len();
    ensure!(ask_as(&stage, None).await.is_err(), "without a certificate");
    let stranger = Authority::new("somebody else")?.issue(&[&workload("anna")])?;
    ensure!(ask_as(&stage, Some(&stranger)).await.is_err());
    assert_eq!(stage.stripe.received().len(), before);
    Ok(())
}

/// Sends everybody elsewhere.
struct Redirecting {
    seen: std::sync::Mutex<Vec<Option<String>>>,
}

impl Site for Redirecting {
    async fn answer(&self, request: Request<Incoming>) -> Answer {
        let shown = request.headers().get("authorization");
        let shown = shown.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        self.seen
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .push(shown);
        let mut response = Response::new(Full::new(Bytes::new()).boxed());
        *response.status_mut() = http::StatusCode::FOUND;
        let elsewhere = http::HeaderValue::from_static("http://elsewhere.example/v1/stolen");
        response.headers_mut().insert("location", elsewhere);
        response
    }
}

fn cluster(name: &str, address: std::net::SocketAddr) -> Value {
    json!({
        "name": name,
        "type": "STATIC",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": {
            "address": {"socket_address": {"address": address.ip().to_string(), "port_value": address.port()}}
        }}]}]}
    })
}

/// What our bootstraps do not do: Envoy itself follows the target's redirect to another host.
fn following(bootstrap: Bootstrap, target: Value, other: Value) -> Result<Bootstrap> {
    let mut settings = bootstrap.settings()?;
    let clusters = "/static_resources/clusters";
    let all = settings.pointer_mut(clusters).and_then(Value::as_array_mut);
    let all = all.context("no clusters")?;
    all.truncate(1);
    all.extend([target, other]);
    let hosts = format!("{CHAIN}/filters/0/typed_config/route_config/virtual_hosts");
    let list = settings.pointer_mut(&hosts).and_then(Value::as_array_mut);
    let list = list.context("no hosts")?;
    let route = json!({
        "match": {"prefix": "/"},
        "route": {"cluster": "outbound|443||api.stripe.com", "internal_redirect_policy": {
            "max_internal_redirects": 2, "redirect_response_codes": [302], "allow_cross_scheme_redirect": true
        }}
    });
    list.get_mut(1).context("no target")?["routes"] = json!([route]);
    list.push(json!({
        "name": "elsewhere", "domains": ["elsewhere.example"],
        "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "elsewhere"}}]
    }));
    let (clusters_value, hosts_value) = (
        settings.pointer(clusters).cloned().context("no clusters")?,
        settings.pointer(&hosts).cloned().context("no hosts")?,
    );
    bootstrap
        .put(clusters, clusters_value)?
        .put(&hosts, hosts_value)
}

#[tokio::test]
async fn a_redirect_to_another_host_takes_no_credential_along() -> Result<()> {
    let site = Arc::new(Redirecting {
        seen: std::sync::Mutex::default(),
    });
    let any = "127.0.0.1:0".parse()?;
    let target = Server::start(any, None, Arc::clone(&site)).await?;
    let other = Target::plaintext().await?;
    for elsewhere in ["pass", "ask"] {
        let (to, from) = (
            cluster("outbound|443||api.stripe.com", target.address()),
            cluster("elsewhere", other.address()),
        );
        let stage = OutboundStage::open_with(|bootstrap| {
            let setting = format!("{POD},\n                        \"elsewhere\": \"{elsewhere}\"");
            // Without that header Envoy would find no route for the redirect.
            let removed = "request_headers_to_remove: [x-forwarded-proto, x-forwarded-prefix, x-forwarded-protocol]";
            let bootstrap = bootstrap.replace(POD, &setting)?;
            let bootstrap = bootstrap.replace(removed, "request_headers_to_remove: [x-forwarded-prefix]")?;
            following(bootstrap, to, from)
        })
        .await?;
        stage.edge.fetch(|request| {
            let call = request.call.clone().unwrap_or_default();
            let answer = allowed(request, "secret", Duration::from_secs(300), "revision-1");
            Ok(if call.authority == STRIPE {
                answer
            } else {
                FetchResponse {
                    decision: Decision::Denied.into(),
                    code: "destination-not-vouched".to_owned(),
                    inject: Vec::new(),
                    lease: Vec::new(),
                    scope: None,
                    ..answer
                }
            })
        });
        for _ in 0..4 {
            let reply = stage.ask("/v1/x").await?;
            let expected = if elsewhere == "pass" { 200 } else { 403 };
            assert_eq!(reply.status, expected, "{reply:?}");
        }
        let seen = site
            .seen
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .clone();
        ensure!(
            seen.iter()
                .all(|shown| shown.as_deref() == Some("Bearer secret")),
            "{seen:?}"
        );
    }
    let received = other.received();
    assert_eq!(received.len(), 4, "what passes without a credential");
    for request in received {
        assert_eq!(request.target, "/v1/stolen");
        ensure!(request.values("authorization").is_empty(), "{request:?}");
    }
    Ok(())
}

#[tokio::test]
async fn an_edge_whose_cluster_reads_as_protobuf_is_a_cluster_like_any_other() -> Result<()> {
    // Sent alone, Envoy 1.40 takes each of them for a message, and ends itself.
    for name in ["envoy", "authz-srv"] {
        let stage = OutboundStage::open_with(|bootstrap| {
            bootstrap
                .replace(
                    "{ \"cluster\": \"attache\" }",
                    &format!("{{ \"cluster\": \"{name}\" }}"),
                )?
                .replace("- name: attache\n", &format!("- name: {name}\n"))?
                .replace(
                    "cluster_name: attache\n",
                    &format!("cluster_name: {name}\n"),
                )
        })
        .await?;
        for _ in 0..8 {
            assert_eq!(stage.ask("/v1/x").await?.status, 200, "{name}");
        }
        let reply = client::http1(stage.address, request(STRIPE, "/v9/x", &[])?).await?;
        assert_eq!(reply.status, 200);
        assert_eq!(stage.envoy.messages(), "");
    }
    Ok(())
}
