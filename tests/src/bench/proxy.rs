//! The configurations of Envoy that are measured: one worker, one listener, one route to one target, and one
//! filter or none before the router. Everything else is the same in all of them.

use std::{fs, net::SocketAddr, path::Path, process::Command};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{client, process::Process, workspace};

/// The cluster of the target, named as in an Istio sidecar.
pub(super) const CLUSTER: &str = "outbound|80||svc-0.example.com";
/// Whom the requests are for.
pub(super) const HOST: &str = "svc-0.example.com";
/// In a response: the `authorization` that the target got.
pub(super) const SEEN_AUTHORIZATION: &str = "x-seen-authorization";
/// In a response: the `x-attache-spiffe-id` that the target got.
pub(super) const SEEN_ID: &str = "x-seen-spiffe-id";

const TYPE: &str = "type.googleapis.com/envoy";

/// Which server a proxy may ask, each on a unix socket.
pub(super) struct Servers<'a> {
    /// Attaché, where requests show their evidence.
    pub(super) gateway: &'a Path,
    /// Attaché, which speaks for one pod.
    pub(super) pod: &'a Path,
    /// The server that does nothing.
    pub(super) empty: &'a Path,
    /// The server that makes a signature and does nothing with it.
    pub(super) signing: &'a Path,
    /// Attaché, started a moment ago.
    pub(super) started: &'a Path,
}

impl<'a> Servers<'a> {
    /// All of them are one.
    pub(super) const fn all(socket: &'a Path) -> Self {
        Self {
            gateway: socket,
            pod: socket,
            empty: socket,
            signing: socket,
            started: socket,
        }
    }
}

/// A running Envoy.
pub(super) struct Proxy {
    process: Process,
    /// Where it takes requests.
    pub(super) address: SocketAddr,
    _directory: TempDir,
}

impl Proxy {
    /// The target: an Envoy that answers by itself and says what it got.
    pub(super) async fn target() -> Result<Self> {
        let echo = |name: &str, value: &str| json!({ "header": { "key": name, "value": value } });
        let route = json!({
            "match": { "prefix": "/" },
            "direct_response": { "status": 200 },
            "response_headers_to_add": [
                echo(SEEN_AUTHORIZATION, "%REQ(AUTHORIZATION)%"),
                echo(SEEN_ID, "%REQ(X-ATTACHE-SPIFFE-ID)%"),
            ],
        });
        Self::start(&configuration(&[], &route, &json!([]), &json!([]))).await
    }

    /// A proxy before the target at `target`, with `filter` if there is one.
    pub(super) async fn before(
        target: SocketAddr,
        filter: Option<Value>,
        servers: &Servers<'_>,
    ) -> Result<Self> {
        let vouched = json!({
            "@type": format!("{TYPE}.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute"),
            "check_settings": { "context_extensions": { "attache.target": format!("http://{HOST}") } },
        });
        let mut route = json!({ "match": { "prefix": "/" }, "route": { "cluster": CLUSTER } });
        let name = filter.as_ref().and_then(|filter| filter["name"].as_str());
        if name == Some(EXT_AUTHZ) {
            route["typed_per_filter_config"] = json!({ EXT_AUTHZ: vouched });
        }
        let socket = json!({ "socket_address": {
            "address": target.ip().to_string(), "port_value": target.port() } });
        let pipe = |path: &Path| json!({ "pipe": { "path": path } });
        let clusters = json!([
            cluster(CLUSTER, &socket, false),
            cluster("gateway", &pipe(servers.gateway), true),
            cluster("pod", &pipe(servers.pod), true),
            cluster("empty", &pipe(servers.empty), true),
            cluster("signing", &pipe(servers.signing), true),
            cluster("started", &pipe(servers.started), true),
        ]);
        let secrets = json!([{ "name": "static-token", "generic_secret": {
            "secret": { "inline_string": "a-secret-that-never-changes" } } }]);
        let filters: Vec<Value> = filter.into_iter().collect();
        Self::start(&configuration(&filters, &route, &clusters, &secrets)).await
    }

    async fn start(configuration: &Value) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let file = directory.path().join("envoy.json");
        fs::write(&file, configuration.to_string())?;
        let admin = directory.path().join("admin");
        let mut command = Command::new(workspace::envoy());
        command
            .arg("-c")
            .arg(&file)
            .arg("--admin-address-path")
            .arg(&admin);
        command.args([
            "--concurrency",
            "1",
            "--use-dynamic-base-id",
            "--disable-hot-restart",
        ]);
        command.args(["-l", "error"]);
        let mut process = Process::start("envoy", &mut command, directory.path())?;
        let mut address = None;
        process
            .ready(async |_| {
                address = listening(&admin).await.ok();
                address.is_some()
            })
            .await?;
        let address = address.context("Envoy listens nowhere")?;
        Ok(Self {
            process,
            address,
            _directory: directory,
        })
    }

    /// Its process.
    pub(super) fn id(&self) -> u32 {
        self.process.id()
    }
}

/// Where the listener listens, if Envoy is ready.
async fn listening(admin: &Path) -> Result<SocketAddr> {
    let admin: SocketAddr = fs::read_to_string(admin)?.trim().parse()?;
    let ask = async |path| client::http1(admin, client::get(&admin.to_string(), path)?).await;
    anyhow::ensure!(ask("/ready").await?.status == 200, "not ready");
    let listeners = ask("/listeners?format=json").await?.json()?;
    let address = &listeners["listener_statuses"][0]["local_address"]["socket_address"];
    let ip = address["address"].as_str().context("no address")?.parse()?;
    let port = address["port_value"].as_u64().context("no port")?;
    Ok(SocketAddr::new(ip, u16::try_from(port)?))
}

fn configuration(filters: &[Value], route: &Value, clusters: &Value, secrets: &Value) -> Value {
    let router = json!({ "name": "envoy.filters.http.router", "typed_config": {
        "@type": format!("{TYPE}.extensions.filters.http.router.v3.Router") } });
    let filters: Vec<&Value> = filters.iter().chain([&router]).collect();
    let manager = json!({
        "@type": format!("{TYPE}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "front",
        "normalize_path": true,
        "generate_request_id": false,
        "http_filters": filters,
        "route_config": { "virtual_hosts": [{ "name": "all", "domains": ["*"], "routes": [route] }] },
    });
    let listener = json!({
        "name": "front",
        "address": { "socket_address": { "address": "127.0.0.1", "port_value": 0 } },
        "filter_chains": [{ "filters": [{
            "name": "envoy.filters.network.http_connection_manager", "typed_config": manager }] }],
    });
    json!({
        "admin": { "address": { "socket_address": { "address": "127.0.0.1", "port_value": 0 } } },
        "static_resources": { "listeners": [listener], "clusters": clusters, "secrets": secrets },
    })
}

fn cluster(name: &str, address: &Value, http2: bool) -> Value {
    let protocol = if http2 {
        "http2_protocol_options"
    } else {
        "http_protocol_options"
    };
    json!({
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "typed_extension_protocol_options": { "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": format!("{TYPE}.extensions.upstreams.http.v3.HttpProtocolOptions"),
            "explicit_http_config": { protocol: {} },
        } },
        "load_assignment": { "cluster_name": name, "endpoints": [{ "lb_endpoints": [{
            "endpoint": { "address": address } }] }] },
    })
}

const EXT_AUTHZ: &str = "envoy.filters.http.ext_authz";

/// `ext_authz` as in our bootstraps, to the cluster `server`.
pub(super) fn ext_authz(server: &str) -> Value {
    json!({ "name": EXT_AUTHZ, "typed_config": {
        "@type": format!("{TYPE}.extensions.filters.http.ext_authz.v3.ExtAuthz"),
        "transport_api_version": "V3",
        "grpc_service": { "envoy_grpc": { "cluster_name": server }, "timeout": "5s" },
        "failure_mode_allow": false,
        "status_on_error": { "code": "ServiceUnavailable" },
        "encode_raw_headers": true,
        "include_peer_certificate": true,
        "include_tls_session": true,
        "decoder_header_mutation_rules": {
            "disallow_all": true,
            "allow_expression": { "regex": "^(authorization|x-attache-[a-z0-9-]+)$" },
            "disallow_is_error": true,
        },
    } })
}

/// Envoy's own filter for a credential that never changes.
pub(super) fn credential_injector() -> Value {
    let generic = json!({
        "@type": format!("{TYPE}.extensions.http.injected_credentials.generic.v3.Generic"),
        "credential": { "name": "static-token" },
        "header": "authorization",
        "header_value_prefix": "Bearer ",
    });
    json!({ "name": "envoy.filters.http.credential_injector", "typed_config": {
        "@type": format!("{TYPE}.extensions.filters.http.credential_injector.v3.CredentialInjector"),
        "overwrite": true,
        "credential": { "name": "envoy.http.injected_credentials.generic", "typed_config": generic },
    } })
}

/// Envoy's own verification of JWTs by `keys`.
pub(super) fn jwt_authn(keys: &Value, audience: &str, cached: bool) -> Value {
    let mut provider = json!({
        "audiences": [audience],
        "local_jwks": { "inline_string": keys.to_string() },
        "forward": true,
    });
    if cached {
        provider["jwt_cache_config"] = json!({ "jwt_cache_size": 1000 });
    }
    json!({ "name": "envoy.filters.http.jwt_authn", "typed_config": {
        "@type": format!("{TYPE}.extensions.filters.http.jwt_authn.v3.JwtAuthentication"),
        "providers": { "svid": provider },
        "rules": [{ "match": { "prefix": "/" }, "requires": { "provider_name": "svid" } }],
    } })
}

/// A wasm filter in a VM of its own.
pub(super) fn wasm(file: &Path, vm_id: &str, configuration: &Value) -> Value {
    json!({ "name": "envoy.filters.http.wasm", "typed_config": {
        "@type": format!("{TYPE}.extensions.filters.http.wasm.v3.Wasm"),
        "config": {
            "name": vm_id,
            "failure_policy": "FAIL_RELOAD",
            "allow_on_headers_stop_iteration": true,
            "vm_config": {
                "vm_id": vm_id,
                "runtime": "envoy.wasm.runtime.v8",
                "code": { "local": { "filename": file } },
            },
            "configuration": {
                "@type": "type.googleapis.com/google.protobuf.StringValue",
                "value": configuration.to_string(),
            },
        },
    } })
}
