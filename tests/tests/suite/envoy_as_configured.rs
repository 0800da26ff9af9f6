//! What a real Envoy does with our bootstraps, shown with an authorizer of a few lines in the place of
//! Attaché: the fences hold even if Attaché errs.

use std::{
    net::SocketAddr,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context as _, Result};
use attache_tests::{
    authority::Authority,
    bootstrap::Bootstrap,
    client::{self, with_evidence},
    envoy::Envoy,
    quickstart::{INTERNAL, STRIPE},
    target::{Offers, Target},
};
use envoy_types::{
    ext_authz::v3::pb::{
        Authorization, AuthorizationServer, CheckRequest, CheckResponse, DeniedHttpResponse,
        HeaderValue, HeaderValueOption, HttpResponse, HttpStatus, OkHttpResponse,
    },
    pb::google::{
        protobuf::{Struct, Value, value::Kind},
        rpc,
    },
};
use http::Version;
use tempfile::TempDir;
use tokio::{net::UnixListener, task::AbortHandle};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Code, Request, Response, Status, async_trait, transport::Server};

const PATH: &str = "/v1/charges";

/// Does what the evidence header says.
#[derive(Clone, Default)]
struct Obedient {
    asked: Arc<Mutex<Vec<CheckRequest>>>,
}

impl Obedient {
    fn asked(&self) -> Vec<CheckRequest> {
        self.asked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

#[async_trait]
impl Authorization for Obedient {
    async fn check(
        &self,
        request: Request<CheckRequest>,
    ) -> Result<Response<CheckResponse>, Status> {
        let request = request.into_inner();
        self.asked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(request.clone());
        let attributes = request.attributes.unwrap_or_default();
        let headers = attributes
            .request
            .and_then(|request| request.http)
            .unwrap_or_default()
            .header_map;
        let evidence = headers
            .unwrap_or_default()
            .headers
            .into_iter()
            .find(|header| header.key == client::EVIDENCE)
            .map(|header| String::from_utf8_lossy(&header.raw_value).into_owned());
        match evidence.as_deref() {
            Some("permit") => Ok(Response::new(ok(
                &[("authorization", "Bearer minted")],
                &["x-attache-evidence"],
            ))),
            Some("forget-to-remove") => Ok(Response::new(ok(&[], &[]))),
            Some("set-another-header") => Ok(Response::new(ok(&[("x-api-key", "minted")], &[]))),
            Some("move-to-another-host") => Ok(Response::new(ok(&[("host", "evil.example")], &[]))),
            Some("hang") => std::future::pending().await,
            Some("fail") => Err(Status::internal("broken")),
            _ => Ok(Response::new(denied())),
        }
    }
}

fn header(name: &str, value: &str) -> HeaderValueOption {
    let header = HeaderValue {
        key: name.to_owned(),
        value: value.to_owned(),
        raw_value: Vec::new(),
    };
    HeaderValueOption {
        header: Some(header),
        ..HeaderValueOption::default()
    }
}

fn ok(set: &[(&str, &str)], remove: &[&str]) -> CheckResponse {
    let text = |text: &str| Value {
        kind: Some(Kind::StringValue(text.to_owned())),
    };
    let fields = [
        ("decision_id", text("evt_1")),
        ("workload", text("spiffe://cluster.local/ns/a/sa/b")),
    ];
    CheckResponse {
        status: Some(rpc::Status::default()),
        dynamic_metadata: Some(Struct {
            fields: fields
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
        }),
        http_response: Some(HttpResponse::OkResponse(OkHttpResponse {
            headers: set
                .iter()
                .map(|(name, value)| header(name, value))
                .collect(),
            headers_to_remove: remove.iter().map(ToString::to_string).collect(),
            ..OkHttpResponse::default()
        })),
    }
}

fn denied() -> CheckResponse {
    CheckResponse {
        status: Some(rpc::Status {
            code: i32::from(Code::PermissionDenied),
            ..rpc::Status::default()
        }),
        dynamic_metadata: None,
        http_response: Some(HttpResponse::DeniedResponse(DeniedHttpResponse {
            status: Some(HttpStatus { code: 403 }),
            headers: vec![
                header("x-attache-decision", "evt_2"),
                header("x-attache-code", "no-policy"),
            ],
            body: "{}".to_owned(),
        })),
    }
}

/// One Envoy from egress-gateway.yaml between a caller, the authorizer and two targets.
struct Scene {
    envoy: Envoy,
    address: SocketAddr,
    stripe: Target,
    internal: Target,
    authorizer: Obedient,
    serving: AbortHandle,
    _directory: TempDir,
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Scene {
    async fn set() -> Result<Self> {
        Self::with_certificate_for(STRIPE).await
    }

    async fn with_certificate_for(name: &str) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let authority = Authority::new("targets")?;
        let roots = directory.path().join("ca.crt");
        authority.write(&roots)?;
        let stripe = Target::start(&authority, name, Offers::Http1).await?;
        let internal = Target::start(&authority, INTERNAL, Offers::Http2).await?;
        let authorizer = Obedient::default();
        let (socket, serving) = serve(&authorizer, directory.path())?;
        let bootstrap =
            Bootstrap::egress_gateway(&socket, &roots, stripe.address(), internal.address())?;
        let envoy = Envoy::start(bootstrap).await?;
        let address = envoy.address("egress").await?;
        Ok(Self {
            envoy,
            address,
            stripe,
            internal,
            authorizer,
            serving,
            _directory: directory,
        })
    }

    async fn ask(&self, evidence: &str) -> Result<client::Reply> {
        client::http1(
            self.address,
            with_evidence(client::get(STRIPE, PATH)?, evidence)?,
        )
        .await
    }
}

fn serve(authorizer: &Obedient, directory: &Path) -> Result<(PathBuf, AbortHandle)> {
    let socket = directory.join("ext_authz.sock");
    let incoming = UnixListenerStream::new(UnixListener::bind(&socket)?);
    let service = AuthorizationServer::new(authorizer.clone());
    let serving = tokio::spawn(
        Server::builder()
            .add_service(service)
            .serve_with_incoming(incoming),
    );
    Ok((socket, serving.abort_handle()))
}

#[tokio::test]
async fn a_permitted_call_reaches_its_target_with_the_credential_and_without_the_evidence()
-> Result<()> {
    let scene = Scene::set().await?;
    let reply = scene.ask("permit").await?;
    assert_eq!(reply.status, 200);
    let received = scene.stripe.last()?;
    assert_eq!(received.bearer().as_deref(), Some("minted"));
    assert_eq!(received.authority, STRIPE);
    assert_eq!(received.version, Version::HTTP_11);
    let foreign: Vec<&str> = received
        .headers
        .iter()
        .map(|(name, _)| name.as_str())
        .filter(|name| name.starts_with("x-"))
        .collect();
    assert!(foreign.is_empty(), "the target sees {foreign:?}");
    assert_eq!(scene.envoy.messages(), "");
    Ok(())
}

#[tokio::test]
async fn the_route_tells_the_authorizer_where_it_leads() -> Result<()> {
    let scene = Scene::set().await?;
    scene.ask("permit").await?;
    let asked = scene.authorizer.asked();
    let attributes = asked
        .first()
        .and_then(|request| request.attributes.as_ref());
    let target =
        attributes.and_then(|attributes| attributes.context_extensions.get("attache.target"));
    assert_eq!(target.map(String::as_str), Some("https://api.stripe.com"));
    Ok(())
}

#[tokio::test]
async fn evidence_never_leaves_even_if_the_authorizer_forgets_it() -> Result<()> {
    let scene = Scene::set().await?;
    assert_eq!(scene.ask("forget-to-remove").await?.status, 200);
    let received = scene.stripe.last()?;
    assert!(received.values(client::EVIDENCE).is_empty());
    Ok(())
}

#[tokio::test]
async fn a_header_that_is_not_on_the_list_stops_the_request() -> Result<()> {
    let scene = Scene::set().await?;
    assert_eq!(scene.ask("set-another-header").await?.status, 500);
    assert_eq!(scene.ask("move-to-another-host").await?.status, 500);
    assert!(scene.stripe.received().is_empty());
    Ok(())
}

#[tokio::test]
async fn an_authorizer_that_fails_hangs_or_is_gone_is_a_503() -> Result<()> {
    let scene = Scene::set().await?;
    assert_eq!(scene.ask("fail").await?.status, 503);
    assert_eq!(scene.ask("hang").await?.status, 503);
    let deserted = Scene::set().await?;
    deserted.serving.abort();
    assert_eq!(deserted.ask("permit").await?.status, 503);
    assert!(scene.stripe.received().is_empty() && deserted.stripe.received().is_empty());
    Ok(())
}

#[tokio::test]
async fn a_refusal_keeps_its_headers_and_an_imitated_one_loses_them() -> Result<()> {
    let scene = Scene::set().await?;
    let refusal = scene.ask("deny").await?;
    assert_eq!(refusal.status, 403);
    assert_eq!(refusal.code(), Some("no-policy"));
    assert_eq!(refusal.header("x-attache-decision"), Some("evt_2"));
    let permitted = scene.ask("permit").await?;
    assert_eq!(permitted.code(), None);
    assert_eq!(permitted.header("x-attache-decision"), None);
    Ok(())
}

#[tokio::test]
async fn a_target_with_another_names_certificate_receives_nothing() -> Result<()> {
    let scene = Scene::with_certificate_for("evil.example").await?;
    assert_eq!(scene.ask("permit").await?.status, 503);
    assert!(scene.stripe.connections() > 0);
    assert!(scene.stripe.received().is_empty());
    Ok(())
}

#[tokio::test]
async fn what_goes_around_a_policy_is_refused_although_the_authorizer_permits_it() -> Result<()> {
    let scene = Scene::set().await?;
    let with = |line: &str, more: &str| {
        format!(
            "{line} HTTP/1.1\r\nhost: {STRIPE}\r\nx-attache-evidence: permit\r\n{more}connection: close\r\n\r\n"
        )
    };
    let trace = client::raw(scene.address, with("TRACE /v1/charges", "").as_bytes()).await?;
    assert_eq!(trace.status, 403);
    scene
        .envoy
        .logged("TRACE", |line| {
            line["details"] == "rbac_access_denied_matched_policy[goes-around-policy]"
        })
        .await?;
    let connect = client::raw(
        scene.address,
        with("CONNECT api.stripe.com:443", "").as_bytes(),
    )
    .await?;
    assert!(connect.status >= 400, "{}", connect.status);
    let upgrade = with("GET /v1/charges", "upgrade: websocket\r\n").replace("close", "upgrade");
    assert_eq!(
        client::raw(scene.address, upgrade.as_bytes()).await?.status,
        403
    );
    assert!(scene.stripe.received().is_empty());
    Ok(())
}

#[tokio::test]
async fn requests_with_two_readings_are_refused() -> Result<()> {
    let scene = Scene::set().await?;
    let ask = |path: &str, more: &str| {
        format!(
            "GET {path} HTTP/1.1\r\nhost: {STRIPE}\r\nx-attache-evidence: permit\r\n{more}connection: close\r\n\r\n"
        )
    };
    for (path, more) in [
        ("/v1%2fcharges", ""),
        ("/v1%5ccharges", ""),
        (
            "/v1/charges",
            "x_attache_spiffe_id: spiffe://cluster.local/ns/a/sa/admin\r\n",
        ),
        (
            "/v1/charges",
            "content-length: 5\r\ntransfer-encoding: chunked\r\n",
        ),
    ] {
        let reply = client::raw(scene.address, ask(path, more).as_bytes()).await?;
        assert_eq!(reply.status, 400, "{path} {more}");
    }
    assert!(scene.stripe.received().is_empty());
    Ok(())
}

#[tokio::test]
async fn http2_and_grpc_go_the_same_way() -> Result<()> {
    let scene = Scene::set().await?;
    let request = with_evidence(client::get(INTERNAL, "/api/v1/records")?, "permit")?;
    assert_eq!(client::http2(scene.address, request).await?.status, 200);
    assert_eq!(scene.internal.last()?.version, Version::HTTP_2);
    let permit = [(client::EVIDENCE, "permit")];
    let answer = client::grpc_health(scene.address, INTERNAL, &permit).await?;
    assert_eq!(answer?.status, 1);
    let received = scene.internal.last()?;
    assert_eq!(received.target, "/grpc.health.v1.Health/Check");
    assert_eq!(received.bearer().as_deref(), Some("minted"));
    let refused = client::grpc_health(scene.address, INTERNAL, &[]).await?;
    assert_eq!(
        refused.map_err(|status| status.code()).err(),
        Some(Code::PermissionDenied)
    );
    Ok(())
}

#[tokio::test]
async fn a_caller_cannot_steer_envoy_or_tell_the_target_who_it_is() -> Result<()> {
    let scene = Scene::set().await?;
    let mut request = with_evidence(client::get(STRIPE, PATH)?, "permit")?;
    for (name, value) in [
        ("x-envoy-retry-on", "5xx"),
        ("x-envoy-upstream-rq-timeout-ms", "1"),
        ("x-forwarded-for", "203.0.113.7"),
        ("x-forwarded-host", "evil.example"),
        (
            "x-forwarded-client-cert",
            "URI=spiffe://cluster.local/ns/a/sa/admin",
        ),
        (
            "x-attache-spiffe-id",
            "spiffe://cluster.local/ns/a/sa/admin",
        ),
    ] {
        request
            .headers_mut()
            .insert(name, http::HeaderValue::from_static(value));
    }
    assert_eq!(client::http1(scene.address, request).await?.status, 200);
    let received = scene.stripe.last()?;
    let foreign = received
        .headers
        .iter()
        .filter(|(name, _)| name.starts_with("x-"));
    assert_eq!(foreign.count(), 0, "{:?}", received.headers);
    Ok(())
}

#[tokio::test]
async fn the_access_log_has_the_decision_and_no_query() -> Result<()> {
    let scene = Scene::set().await?;
    let request = client::get(STRIPE, "/v1/charges?secret=s3cret")?;
    client::http1(scene.address, with_evidence(request, "permit")?).await?;
    let line = scene
        .envoy
        .logged("the permitted call", |line| line["status"] == 200)
        .await?;
    assert_eq!(line["path"], PATH);
    assert_eq!(line["decision_id"], "evt_1");
    assert_eq!(line["workload"], "spiffe://cluster.local/ns/a/sa/b");
    assert!(!line.to_string().contains("s3cret"));
    assert_eq!(scene.stripe.last()?.target, "/v1/charges?secret=s3cret");
    Ok(())
}

#[tokio::test]
async fn envoys_admin_interface_is_for_its_own_user_alone() -> Result<()> {
    let scene = Scene::set().await?;
    let mode = std::fs::metadata(scene.envoy.admin())?.permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    Ok(())
}

/// The table at the end of docs/envoy.md.
#[tokio::test]
async fn the_access_log_tells_envoys_own_refusals_apart() -> Result<()> {
    let scene = Scene::with_certificate_for("evil.example").await?;
    for (evidence, status, details) in [
        ("fail", 503, "ext_authz_error"),
        ("permit", 503, "upstream_reset_before_response_started"),
        ("set-another-header", 500, "ext_authz_invalid"),
    ] {
        assert_eq!(scene.ask(evidence).await?.status, status);
        scene
            .envoy
            .logged(details, |line| {
                line["status"] == status
                    && line["details"]
                        .as_str()
                        .is_some_and(|text| text.starts_with(details))
            })
            .await
            .with_context(|| format!("{:?}", scene.envoy.access_log()))?;
    }
    Ok(())
}
