//! Workloads that show X.509-SVIDs, through a real Envoy that verifies them and an Attaché that does so again.

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use anyhow::{Context as _, Result, ensure};
use attache_tests::{
    attache::EdgePlan,
    authority::{Authority, Identity},
    authorize,
    bootstrap::Bootstrap,
    client::{self, Reply, with_evidence},
    envoy::Envoy,
    forgery::RsaKey,
    quickstart::INTERNAL,
    stage::{Script, Set, Stage},
};
use base64ct::{Base64, Encoding as _};
use envoy_types::pb::envoy::service::auth::v3::attribute_context::Peer;
use http::Request;
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

const DOMAIN: &str = "mesh.example";
const WEB: &str = "spiffe://mesh.example/ns/shop/sa/web";
const JOB: &str = "spiffe://mesh.example/ns/shop/sa/job";
const GATEWAY: &str = "spiffe://mesh.example/ns/edge/sa/gateway";

/// Verified against the mesh's bundle; everything about them is in these lines.
const PEER: &str = "{ header: x-attache-evidence, peer: { envoy_verifies_spiffe: true, proxies: [\"spiffe://mesh.example/ns/edge/sa/gateway\"] } }";

/// `web` may read, if `trustProviders` of `demand` proved it.
fn policies(bundle: &str, demand: &str) -> String {
    format!(
        "\
apiVersion: attache.dev/v1
kind: TrustProvider
metadata: {{ name: mesh }}
spec: {{ type: spiffe-x509, trustDomain: {DOMAIN}, bundle: {{ file: {bundle} }} }}
---
apiVersion: attache.dev/v1
kind: TrustProvider
metadata: {{ name: mesh-tokens }}
spec: {{ type: spiffe-jwt, trustDomain: {DOMAIN}, bundle: {{ file: {bundle} }} }}
---
apiVersion: attache.dev/v1
kind: ClientWorkload
metadata: {{ name: web }}
spec: {{ match: [{{ spiffe.id: \"{WEB}\" }}] }}
---
apiVersion: attache.dev/v1
kind: AccessPolicy
metadata: {{ name: web-reads }}
spec: {{ effect: allow, client: web, server: internal-api, credentialProvider: internal-api-token, actions: [read], {demand} }}
"
    )
}

/// Everything running, and the authority of the mesh.
struct Mesh {
    authority: Authority,
    /// Envoy trusts it, Attaché does not.
    foreign: Authority,
    tokens: RsaKey,
    stage: Stage,
    _files: tempfile::TempDir,
}

impl Mesh {
    async fn open(evidence: &str, demand: &str) -> Result<Self> {
        let (authority, foreign) = (Authority::new("mesh")?, Authority::new("foreign")?);
        let tokens = RsaKey::generate("mesh-key-1")?;
        let files = tempfile::tempdir()?;
        let roots = files.path().join("bundle.crt");
        std::fs::write(&roots, authority.pem() + &foreign.pem())?;
        let own = authority.issue(&["gateway.test", GATEWAY])?;
        let own = own.write(files.path(), "gateway")?;
        let script = Script {
            plan: EdgePlan {
                evidence: Some(evidence.to_owned()),
                ..EdgePlan::default()
            },
            ..Script::default()
        };
        let set = Set::build(script).await?;
        let installation = Arc::clone(&set.installation);
        let bundle = installation.directory().join("mesh.json");
        std::fs::write(&bundle, document(&authority, &tokens).to_string())?;
        let policies = policies(&bundle.display().to_string(), demand);
        installation.policy("mesh.yaml", &policies)?;
        let bootstrap = Bootstrap::egress_spiffe(
            &installation.socket(),
            &installation.directory().join("ca.crt"),
            [set.stripe.address(), set.internal.address()],
            (DOMAIN, &roots),
            &own,
        )?;
        let attache = installation.start().await?;
        Ok(Self {
            stage: set.open_behind(bootstrap, attache).await?,
            authority,
            foreign,
            tokens,
            _files: files,
        })
    }

    /// `attache explain --event` finds the caller of `event` proven by the same, and decides alike.
    fn is_explained_alike(&self, event: &Value) -> Result<()> {
        let id = event["event_id"].as_str().context("no id")?;
        let installation = &self.stage.set.installation;
        let output = installation.run(&["explain", "--output", "json", "--event", id])?;
        ensure!(output.status.success(), "{output:?}");
        let told: Value = serde_json::from_slice(&output.stdout)?;
        assert_eq!(told["event"]["differs"], false, "{told}");
        assert_eq!(told["caller"]["spiffe_id"], event["workload_svid"]);
        Ok(())
    }

    /// Asks for a record with `identity`, and with `headers` beside.
    async fn ask(&self, identity: Option<&Identity>, headers: &[(&str, &str)]) -> Result<Reply> {
        self.ask_at(self.stage.address, identity, headers).await
    }

    async fn ask_at(
        &self,
        address: SocketAddr,
        identity: Option<&Identity>,
        headers: &[(&str, &str)],
    ) -> Result<Reply> {
        let mut request: Request<_> = client::get(INTERNAL, "/api/v1/records")?;
        for (name, value) in headers {
            let name = http::HeaderName::try_from(*name)?;
            request.headers_mut().append(name, value.parse()?);
        }
        let config = self.authority.client(identity, &["http/1.1"])?;
        let connector = TlsConnector::from(Arc::new(config));
        let stream = TcpStream::connect(address).await?;
        let stream = connector.connect(ServerName::try_from("gateway.test")?, stream);
        client::http1_over(stream.await?, request).await
    }

    fn svid(&self, id: &str) -> Result<Identity> {
        self.authority.issue(&[id])
    }

    /// A JWT-SVID of the mesh.
    fn token(&self, id: &str) -> Result<String> {
        let now = jiff::Timestamp::now().as_second();
        let claims = json!({ "sub": id, "aud": ["attache"], "exp": now + 300, "iat": now });
        self.tokens.sign(&claims)
    }

    fn last_event(&self) -> Result<Value> {
        self.stage.set.installation.last_event()
    }

    fn events(&self) -> Result<usize> {
        Ok(self.stage.set.installation.events()?.len())
    }
}

/// The mesh's bundle: its authority, and the key of its JWT-SVIDs.
fn document(authority: &Authority, tokens: &RsaKey) -> Value {
    let mut key = tokens.jwk();
    if let Some(members) = key.as_object_mut() {
        members.insert("use".to_owned(), json!("jwt-svid"));
    }
    let certificate = Base64::encode_string(authority.der());
    json!({
        "keys": [{ "use": "x509-svid", "kty": "EC", "x5c": [certificate] }, key],
        "spiffe_sequence": 1,
        "spiffe_refresh_hint": 300,
    })
}

const NAMED: &str = "trustProviders: [mesh]";

fn answer(reply: &Reply) -> (u16, Option<String>) {
    (reply.status, reply.code().map(str::to_owned))
}

fn denied(code: &str) -> (u16, Option<String>) {
    (403, Some(code.to_owned()))
}

#[tokio::test]
async fn a_workload_is_known_by_the_certificate_that_envoy_verified() -> Result<()> {
    let mesh = Mesh::open(PEER, NAMED).await?;
    let reply = mesh.ask(Some(&mesh.svid(WEB)?), &[]).await?;
    assert_eq!(
        answer(&reply),
        (200, None),
        "{}",
        mesh.stage.envoy.messages()
    );
    let event = mesh.last_event()?;
    assert_eq!(event["workload_svid"], WEB);
    assert_eq!(event["attested_by"], json!(["mesh"]));
    assert_eq!(event["token_issued"], true);
    let received = mesh.stage.set.internal.last()?;
    assert!(received.bearer().is_some());
    assert!(received.values("x-forwarded-client-cert").is_empty());

    let reply = mesh.ask(Some(&mesh.svid(JOB)?), &[]).await?;
    assert_eq!(answer(&reply), denied("attribute-mismatch"));
    Ok(())
}

#[tokio::test]
async fn what_envoy_does_not_verify_reaches_nobody() -> Result<()> {
    let mesh = Mesh::open(PEER, NAMED).await?;
    let stranger = Authority::new("stranger")?.issue(&[WEB])?;
    let expired = mesh.authority.issue_as(&[WEB], |params| {
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    })?;
    let elsewhere = mesh.svid("spiffe://other.example/ns/shop/sa/web")?;
    let identities = [
        ("none", None),
        ("a stranger's", Some(&stranger)),
        ("expired", Some(&expired)),
        ("another domain's", Some(&elsewhere)),
    ];
    for (what, identity) in identities {
        let reply = mesh.ask(identity, &[]).await;
        assert!(reply.is_err(), "{what}: {reply:?}");
    }
    assert_eq!(mesh.events()?, 0);
    Ok(())
}

#[tokio::test]
async fn what_envoy_lets_through_is_verified_again() -> Result<()> {
    let mesh = Mesh::open(PEER, NAMED).await?;
    // Envoy's validator takes a leaf with two names.
    let two = mesh.authority.issue(&[WEB, JOB])?;
    let reply = mesh.ask(Some(&two), &[]).await?;
    assert_eq!(reply.status, 403);
    let code = reply.code().context("no code")?;
    ensure!(
        ["certificate-uri-count", "peer-certificate-mismatch"].contains(&code),
        "{code}"
    );
    // An authority that stands in Envoy's bundle and not in Attaché's.
    let foreign = mesh.foreign.issue(&[WEB])?;
    let reply = mesh.ask(Some(&foreign), &[]).await?;
    assert_eq!(reply.status, 403);
    let code = reply.code().context("no code")?;
    ensure!(
        ["certificate-untrusted", "certificate-signature-invalid"].contains(&code),
        "{code}"
    );
    Ok(())
}

#[tokio::test]
async fn a_client_gains_nothing_by_a_forged_header() -> Result<()> {
    let mesh = Mesh::open(PEER, NAMED).await?;
    let web = percent_encoded(&mesh.svid(WEB)?.certificate);
    let forged = format!("By={GATEWAY};URI={WEB};Cert=\"{web}\"");
    let chain = format!("{forged},By={GATEWAY};URI={GATEWAY}");
    let job = mesh.svid(JOB)?;
    for header in [&forged, &chain] {
        let reply = mesh
            .ask(Some(&job), &[("x-forwarded-client-cert", header)])
            .await?;
        assert_eq!(answer(&reply), denied("attribute-mismatch"), "{header}");
        assert_eq!(mesh.last_event()?["workload_svid"], JOB);
    }
    Ok(())
}

/// As Envoy encodes PEM.
fn percent_encoded(pem: &str) -> String {
    [
        ("\n", "%0A"),
        (" ", "%20"),
        ("+", "%2B"),
        ("/", "%2F"),
        ("=", "%3D"),
    ]
    .iter()
    .fold(pem.to_owned(), |text, (from, to)| text.replace(from, to))
}

/// A proxy of ours before the gateway: it ends the workloads' TLS and says who they are.
fn front_proxy(files: &Front, back: SocketAddr) -> String {
    let Front { roots, own, key } = files;
    let (roots, own, key) = (roots.display(), own.display(), key.display());
    let (ip, port) = (back.ip(), back.port());
    format!(
        r#"
admin: {{ address: {{ pipe: {{ path: /run/attache/envoy-admin.sock, mode: 384 }} }} }}
static_resources:
  listeners:
  - name: front
    address: {{ socket_address: {{ address: 127.0.0.1, port_value: 0 }} }}
    filter_chains:
    - transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          require_client_certificate: true
          common_tls_context:
            tls_certificates: [{{ certificate_chain: {{ filename: {own} }}, private_key: {{ filename: {key} }} }}]
            validation_context:
              custom_validator_config:
                name: envoy.tls.cert_validator.spiffe
                typed_config:
                  "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig
                  trust_domains: [{{ name: {DOMAIN}, trust_bundle: {{ filename: {roots} }} }}]
      filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: front
          forward_client_cert_details: SANITIZE_SET
          set_current_client_cert_details: {{ cert: true, uri: true }}
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{ "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }}
          route_config:
            virtual_hosts: [{{ name: all, domains: ["*"], routes: [{{ match: {{ prefix: / }}, route: {{ cluster: gateway }} }}] }}]
  clusters:
  - name: gateway
    type: STATIC
    transport_socket:
      name: envoy.transport_sockets.tls
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
        sni: gateway.test
        common_tls_context:
          tls_params: {{ tls_maximum_protocol_version: TLSv1_3 }}
          tls_certificates: [{{ certificate_chain: {{ filename: {own} }}, private_key: {{ filename: {key} }} }}]
          validation_context: {{ trusted_ca: {{ filename: {roots} }} }}
    load_assignment:
      cluster_name: gateway
      endpoints: [{{ lb_endpoints: [{{ endpoint: {{ address: {{ socket_address: {{ address: {ip}, port_value: {port} }} }} }} }}] }}]
"#
    )
}

struct Front {
    roots: PathBuf,
    own: PathBuf,
    key: PathBuf,
}

#[tokio::test]
async fn a_configured_proxy_speaks_for_its_clients_and_only_for_those_that_it_verified()
-> Result<()> {
    let mesh = Mesh::open(PEER, NAMED).await?;
    let folder = tempfile::tempdir()?;
    let own = mesh.authority.issue(&["gateway.test", GATEWAY])?;
    let own = own.write(folder.path(), "front")?;
    let roots = folder.path().join("ca.crt");
    mesh.authority.write(&roots)?;
    let files = Front {
        roots,
        own: own.certificate,
        key: own.key,
    };
    let file = folder.path().join("front-proxy.yaml");
    std::fs::write(&file, front_proxy(&files, mesh.stage.address))?;
    let front = Envoy::start(Bootstrap::at(&file)?).await?;
    let address = front.address("front").await?;

    let (web, job) = (mesh.svid(WEB)?, mesh.svid(JOB)?);
    let reply = mesh.ask_at(address, Some(&web), &[]).await?;
    assert_eq!(answer(&reply), (200, None), "{}", front.messages());
    let event = mesh.last_event()?;
    assert_eq!(event["workload_svid"], WEB);
    assert_eq!(event["attested_by"], json!(["mesh"]));

    // What a client writes itself does not pass its proxy.
    let forged = format!("URI={WEB};Cert=\"{}\"", percent_encoded(&web.certificate));
    let forged = [("x-forwarded-client-cert", forged.as_str())];
    let reply = mesh.ask_at(address, Some(&job), &forged).await?;
    assert_eq!(answer(&reply), denied("attribute-mismatch"));
    assert_eq!(mesh.last_event()?["workload_svid"], JOB);

    // A proxy that says nothing of its client does not lend it its own name.
    let proxy = mesh.svid(GATEWAY)?;
    let reply = mesh.ask(Some(&proxy), &[]).await?;
    assert_eq!(answer(&reply), denied("evidence-missing"));
    assert_eq!(mesh.last_event()?["workload_svid"], Value::Null);
    Ok(())
}

#[tokio::test]
async fn a_token_beside_a_certificate_must_prove_the_same_workload() -> Result<()> {
    let mesh = Mesh::open(
        PEER,
        "trustProviders: [mesh, mesh-tokens], attestation: all",
    )
    .await?;
    let web = mesh.svid(WEB)?;
    let with = async |token: String| {
        let evidence = [("x-attache-evidence", token.as_str())];
        mesh.ask(Some(&web), &evidence).await
    };
    let reply = with(mesh.token(WEB)?).await?;
    assert_eq!(answer(&reply), (200, None));
    let event = mesh.last_event()?;
    assert_eq!(event["attested_by"], json!(["mesh-tokens", "mesh"]));
    mesh.is_explained_alike(&event)?;

    let reply = with(mesh.token(JOB)?).await?;
    assert_eq!(answer(&reply), denied("evidence-conflict"));
    let pod = mesh.stage.set.cluster.token("prod", "data-pipeline")?;
    assert_eq!(answer(&with(pod).await?), denied("evidence-conflict"));
    // The certificate does not stand in for a token that is refused.
    let reply = with("not.a.token".to_owned()).await?;
    assert_eq!(answer(&reply), denied("token-malformed"));
    // Each of both is asked for.
    let alone = mesh.ask(Some(&web), &[]).await?;
    assert_eq!(answer(&alone), denied("trust-provider-not-accepted"));
    Ok(())
}

#[tokio::test]
async fn two_workloads_pass_where_the_listener_and_the_policy_say_so() -> Result<()> {
    let evidence = "{ header: x-attache-evidence, peer: { envoy_verifies_spiffe: true }, agreement: named-by-policy }";
    let mesh = Mesh::open(
        evidence,
        "trustProviders: [cluster, mesh], attestation: all",
    )
    .await?;
    let pod = mesh.stage.set.cluster.token("prod", "somebody")?;
    let header = [("x-attache-evidence", pod.as_str())];
    let reply = mesh.ask(Some(&mesh.svid(WEB)?), &header).await?;
    assert_eq!(answer(&reply), (200, None));
    let event = mesh.last_event()?;
    assert_eq!(event["attested_by"], json!(["cluster", "mesh"]));
    mesh.is_explained_alike(&event)?;
    // The first piece names the workload.
    assert_eq!(
        event["workload_svid"],
        "spiffe://cluster.local/ns/prod/sa/somebody"
    );
    // The quick start's policy for pods names the cluster alone.
    let pod = mesh.stage.set.cluster.token("prod", "data-pipeline")?;
    let header = [("x-attache-evidence", pod.as_str())];
    let reply = mesh.ask(Some(&mesh.svid(JOB)?), &header).await?;
    assert_eq!(answer(&reply), denied("trust-provider-not-accepted"));
    Ok(())
}

#[tokio::test]
async fn a_certificate_of_another_than_the_named_peer_proves_nothing() -> Result<()> {
    let mesh = Mesh::open(PEER, NAMED).await?;
    let web = percent_encoded(&mesh.svid(WEB)?.certificate);
    for (principal, certificate, code) in [
        (WEB, web.as_str(), None),
        (JOB, &web, Some("peer-certificate-mismatch")),
        ("", &web, Some("peer-certificate-mismatch")),
        ("web.shop", &web, Some("peer-certificate-mismatch")),
        (WEB, "", Some("evidence-missing")),
    ] {
        let mut question = authorize::calling(INTERNAL, "GET", "/api/v1/records", &[]);
        let attributes = question.attributes.as_mut().context("no attributes")?;
        attributes.source = Some(Peer {
            principal: principal.to_owned(),
            certificate: certificate.to_owned(),
            // What a client may say in a header counts for nothing.
            service: WEB.to_owned(),
            ..Peer::default()
        });
        let socket = mesh.stage.set.installation.socket();
        let channel = authorize::over_unix(&socket).await?;
        let answer = authorize::check(channel, question).await?;
        assert_eq!(
            authorize::holds_a_token(&answer),
            code.is_none(),
            "{principal}"
        );
        let event = mesh.last_event()?;
        assert_eq!(event["code"].as_str(), code, "{principal}");
    }
    Ok(())
}

#[tokio::test]
async fn a_caller_without_evidence_passes_without_a_credential_where_a_policy_says_so() -> Result<()>
{
    let policies = "\
apiVersion: attache.dev/v1
kind: ClientWorkload
metadata: { name: this-machine }
spec: { match: [{ unproven.sourceAddress: 127.0.0.1 }] }
---
apiVersion: attache.dev/v1
kind: AccessPolicy
metadata: { name: anybody-here-reads }
spec: { effect: allow, attestation: none, client: this-machine, server: internal-api, actions: [read] }
";
    let mut script = Script::default();
    script.policies.push(("unproven.yaml", policies.to_owned()));
    let stage = Stage::play(script).await?;
    let ask = async |method: &str, token: Option<&str>| {
        let mut request = client::get(INTERNAL, "/api/v1/records")?;
        *request.method_mut() = method.parse()?;
        if let Some(token) = token {
            request = with_evidence(request, token)?;
        }
        client::http1(stage.address, request).await
    };
    let reply = ask("GET", None).await?;
    assert_eq!(answer(&reply), (200, None));
    assert_eq!(stage.set.internal.last()?.bearer(), None);
    let event = stage.set.installation.last_event()?;
    assert_eq!(
        event["policy_matched"],
        "allow:this-machine:internal-api:read"
    );
    assert_eq!(event["attested_by"], json!([]));
    assert_eq!(event["workload_svid"], Value::Null);
    assert_eq!(event["token_issued"], false);
    assert_eq!(
        event["attributes"],
        json!({ "unproven.sourceAddress": "127.0.0.1" })
    );

    assert_eq!(
        answer(&ask("POST", None).await?),
        denied("evidence-missing")
    );
    // Who shows evidence is judged by it alone.
    let stranger = stage.set.cluster.token("prod", "stranger")?;
    let reply = ask("GET", Some(&stranger)).await?;
    assert_eq!(answer(&reply), denied("attribute-mismatch"));
    assert_eq!(
        answer(&ask("GET", Some("no.token")).await?),
        denied("token-malformed")
    );
    let pipeline = stage.set.cluster.token("prod", "data-pipeline")?;
    assert_eq!(ask("GET", Some(&pipeline)).await?.status, 200);
    assert!(stage.set.internal.last()?.bearer().is_some());
    Ok(())
}
