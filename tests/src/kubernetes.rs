//! A real kube-apiserver before a real etcd, as `make peers` builds them: no kubelet and no controllers, but
//! real objects, real RBAC and real ServiceAccount tokens.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;
use rcgen::{KeyPair, PKCS_RSA_SHA256, RsaKeySize};
use rustls::ClientConfig;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::{
    authority::Authority,
    client::{self, Reply},
    port::Reserved,
    process::Process,
    wait::until,
    workspace,
};

/// What a cluster calls itself unless it is told otherwise.
pub const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
/// The bearer token of the cluster's administrator.
const ADMIN: &str = "the-administrator-of-a-test";

/// A running API server.
#[derive(Debug)]
pub struct Kubernetes {
    tls: Arc<ClientConfig>,
    api_server: Reserved,
    _etcd: [Reserved; 2],
    // In the order in which they are stopped.
    _processes: [Process; 2],
    _directory: TempDir,
}

impl Kubernetes {
    /// Starts both; the API server's certificate comes from `authority`.
    pub async fn start(authority: &Authority) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let etcd = [Reserved::next()?, Reserved::next()?];
        let api_server = Reserved::next()?;
        let [clients, peers] = [etcd[0].address(), etcd[1].address()];
        let store = start_etcd(directory.path(), clients, peers)?;
        let address = api_server.address();
        let server = start_api_server(directory.path(), authority, clients, address)?;
        let mut cluster = Self {
            tls: Arc::new(authority.client(None, &["http/1.1"])?),
            api_server,
            _etcd: etcd,
            _processes: [server, store],
            _directory: directory,
        };
        cluster.ready().await?;
        Ok(cluster)
    }

    /// `https://HOST:PORT`.
    pub fn url(&self) -> String {
        format!("https://{}", self.api_server.address())
    }

    /// Makes ServiceAccount `name` in `namespace` and a pod that runs as it.
    pub async fn workload(&self, namespace: &str, name: &str) -> Result<()> {
        let space = json!({"metadata": {"name": namespace}});
        let made = self.ask(Method::POST, "/api/v1/namespaces", &space).await?;
        ensure!([201, 409].contains(&made.status), "{made:?}");
        let base = format!("/api/v1/namespaces/{namespace}");
        let account = json!({"metadata": {"name": name}});
        self.make(&format!("{base}/serviceaccounts"), &account)
            .await?;
        let pod = json!({
            "metadata": {"name": format!("{name}-0")},
            "spec": {
                "serviceAccountName": name,
                "containers": [{"name": "it", "image": "example.test/it"}],
            },
        });
        self.make(&format!("{base}/pods"), &pod).await?;
        Ok(())
    }

    /// A token by TokenRequest for the pod of [`Self::workload`], as the kubelet asks for one; without
    /// audiences it is for the API server itself.
    pub async fn token(&self, namespace: &str, name: &str, audiences: &[&str]) -> Result<String> {
        let base = format!("/api/v1/namespaces/{namespace}");
        let pod = format!("{base}/pods/{name}-0");
        let pod = self.ask(Method::GET, &pod, &Value::Null).await?.json()?;
        let request = json!({"spec": {
            "audiences": audiences,
            "expirationSeconds": 600,
            "boundObjectRef": {
                "apiVersion": "v1",
                "kind": "Pod",
                "name": pod["metadata"]["name"],
                "uid": pod["metadata"]["uid"],
            },
        }});
        let path = format!("{base}/serviceaccounts/{name}/token");
        let answer = self.make(&path, &request).await?;
        let token = answer["status"]["token"].as_str();
        Ok(token.context("no token")?.to_owned())
    }

    /// Lets ServiceAccount `who` in `namespace` create tokens of `whose` there, and of no other.
    pub async fn may_create_tokens(&self, namespace: &str, who: &str, whose: &str) -> Result<()> {
        let base = format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}");
        let role = json!({
            "metadata": {"name": who},
            "rules": [{
                "apiGroups": [""],
                "resources": ["serviceaccounts/token"],
                "resourceNames": [whose],
                "verbs": ["create"],
            }],
        });
        self.make(&format!("{base}/roles"), &role).await?;
        let group = "rbac.authorization.k8s.io";
        let binding = json!({
            "metadata": {"name": who},
            "roleRef": {"apiGroup": group, "kind": "Role", "name": who},
            "subjects": [{"kind": "ServiceAccount", "name": who, "namespace": namespace}],
        });
        self.make(&format!("{base}/rolebindings"), &binding).await?;
        Ok(())
    }

    /// The keys of its tokens.
    pub async fn keys(&self) -> Result<Value> {
        self.ask(Method::GET, "/openid/v1/jwks", &Value::Null)
            .await?
            .json()
    }

    async fn make(&self, path: &str, object: &Value) -> Result<Value> {
        let made = self.ask(Method::POST, path, object).await?;
        ensure!(made.status == 201, "{path}: {made:?}");
        made.json()
    }

    async fn ask(&self, method: Method, path: &str, body: &Value) -> Result<Reply> {
        let address = self.api_server.address();
        let body = if body.is_null() {
            Bytes::new()
        } else {
            Bytes::from(body.to_string())
        };
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.url()))
            .header("host", address.to_string())
            .header("authorization", format!("Bearer {ADMIN}"))
            .header("content-type", "application/json")
            .body(Full::new(body))?;
        let stream = TcpStream::connect(address).await?;
        let name = address.ip().into();
        let stream = TlsConnector::from(Arc::clone(&self.tls))
            .connect(name, stream)
            .await?;
        client::http1_over(stream, request).await
    }

    async fn ready(&mut self) -> Result<()> {
        let answered = until("the API server to be ready", async || {
            if let Some(ended) = self._processes.iter_mut().find_map(Process::ended) {
                return Some(Err(ended));
            }
            let asked = self.ask(Method::GET, "/readyz", &Value::Null).await;
            asked.ok().filter(|reply| reply.status == 200).map(Ok)
        });
        let outcome = answered.await;
        let errors = || {
            self._processes
                .iter()
                .map(Process::errors)
                .collect::<String>()
        };
        match outcome {
            Ok(Ok(_reply)) => Ok(()),
            Ok(Err(status)) => anyhow::bail!("it ended with {status}: {}", errors()),
            Err(late) => Err(late.context(errors())),
        }
    }
}

fn start_etcd(directory: &Path, clients: SocketAddr, peers: SocketAddr) -> Result<Process> {
    let mut command = Command::new(program("etcd")?);
    command
        .arg("--data-dir")
        .arg(directory.join("etcd"))
        .args(["--unsafe-no-fsync", "--log-level", "error"])
        .arg(format!("--listen-client-urls=http://{clients}"))
        .arg(format!("--advertise-client-urls=http://{clients}"))
        .arg(format!("--listen-peer-urls=http://{peers}"))
        .arg(format!("--initial-advertise-peer-urls=http://{peers}"))
        .arg(format!("--initial-cluster=default=http://{peers}"));
    Process::start("etcd", &mut command, directory)
}

fn start_api_server(
    directory: &Path,
    authority: &Authority,
    etcd: SocketAddr,
    address: SocketAddr,
) -> Result<Process> {
    let file = |name: &str, text: &str| -> Result<PathBuf> {
        let path = directory.join(name);
        fs::write(&path, text)?;
        Ok(path)
    };
    let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048)?;
    let key = file("service-accounts.key", &key.serialize_pem())?;
    let users = file("users", &format!("{ADMIN},admin,admin,system:masters\n"))?;
    let identity = authority.issue(&["127.0.0.1"])?;
    let identity = identity.write(directory, "api-server")?;
    let mut command = Command::new(program("apiserver")?);
    command
        .arg(format!("--etcd-servers=http://{etcd}"))
        .args([
            "--bind-address=127.0.0.1",
            "--service-cluster-ip-range=10.96.0.0/24",
        ])
        .arg(format!("--secure-port={}", address.port()))
        .arg("--tls-cert-file")
        .arg(identity.certificate)
        .arg("--tls-private-key-file")
        .arg(identity.key)
        .arg(format!("--service-account-issuer={ISSUER}"))
        .arg("--service-account-key-file")
        .arg(&key)
        .arg("--service-account-signing-key-file")
        .arg(&key)
        .arg("--token-auth-file")
        .arg(users)
        .args([
            "--authorization-mode=RBAC",
            "--disable-admission-plugins=ServiceAccount",
        ]);
    Process::start("apiserver", &mut command, directory)
}

/// A program that `make peers` built, by the version that `tests/peers/kubernetes/go.mod` names.
fn program(name: &str) -> Result<PathBuf> {
    let module = workspace::root().join("tests/peers/kubernetes/go.mod");
    let text = fs::read_to_string(&module)?;
    let mut lines = text.lines().map(str::trim);
    let version = lines.find_map(|line| line.strip_prefix("k8s.io/kubernetes v"));
    let version = version.with_context(|| format!("no version in {}", module.display()))?;
    let path = workspace::root().join(format!("target/kubernetes-{version}/{name}"));
    ensure!(
        path.is_file(),
        "no {}; `make peers` builds it",
        path.display()
    );
    Ok(path)
}
