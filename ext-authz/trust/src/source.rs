//! One fetch of an issuer's keys. Sizes and times are bounded, no redirect is followed, and nothing
//! is believed that did not come over TLS, from this machine, or from a file.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use attache_core::{
    json::{self, InvalidJson},
    jwks::{InvalidKeySet, KeySet, MAX_SET_BYTES},
    secret::Secret,
    time::Timestamp,
};
use reqwest::{
    Certificate, Client, ClientBuilder, Response,
    header::{self, HeaderValue},
    redirect,
};
use serde_json::Value;
use thiserror::Error;
use tokio::task::spawn_blocking;
use url::Url;

use crate::{
    address::{self, CheckedAddresses, ForbiddenAddress},
    bundle_source::{self, RefusedBundle},
    confined, pace,
    provider::{API_SERVER_KEYS, InvalidKeyUrl, KeySource, ProviderConfig, key_url},
    workload_api::StreamFailed,
    x509::Authorities,
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const TOTAL_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest bearer token read, in bytes.
const MAX_BEARER_BYTES: usize = 16 * 1024;

/// Longest file of certificates read, in bytes: those of all public authorities are a quarter of it.
const MAX_CA_BYTES: usize = 1024 * 1024;

/// Keys as they were found, and how long until they are looked at again.
pub(crate) struct Fetched {
    pub(crate) keys: KeySet,
    /// Of a trust domain.
    pub(crate) authorities: Option<Authorities>,
    /// `spiffe_sequence` of a bundle.
    pub(crate) sequence: Option<u64>,
    pub(crate) refresh_after: Duration,
}

impl Fetched {
    /// The keys of an issuer.
    pub(crate) const fn of(keys: KeySet, refresh_after: Duration) -> Self {
        Self {
            keys,
            authorities: None,
            sequence: None,
            refresh_after,
        }
    }
}

/// Why keys could not be had. URLs are printed without query.
#[derive(Debug, Error)]
pub(crate) enum FetchFailed {
    #[error("cannot read `{path}`: {source}", path = path.display())]
    File {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("`{}` holds no usable PEM certificates", .0.display())]
    Certificates(PathBuf),
    #[error("`{}` holds no token that can stand in a header", .0.display())]
    Bearer(PathBuf),
    #[error("no connection is made: {0}")]
    Address(#[from] ForbiddenAddress),
    #[error("cannot set up TLS: {0}")]
    Tls(String),
    #[error("cannot fetch `{url}`: {reason}")]
    Http { url: String, reason: String },
    #[error("`{url}` answers {status}; redirects are not followed")]
    Status { url: String, status: u16 },
    #[error("`{0}` sends more than {MAX_SET_BYTES} bytes")]
    TooLarge(String),
    #[error("the discovery document is {0}")]
    Discovery(#[from] InvalidJson),
    #[error("the discovery document has no `{0}`, or it is no string")]
    DiscoveryMember(&'static str),
    #[error("the discovery document is of issuer {found:?}, not of `{expected}`")]
    DiscoveryIssuer { found: String, expected: String },
    #[error("the discovery document's `jwks_uri` is refused: {0}")]
    JwksUri(#[from] InvalidKeyUrl),
    #[error(transparent)]
    KeySet(#[from] InvalidKeySet),
    #[error(transparent)]
    Bundle(#[from] RefusedBundle),
    #[error(transparent)]
    WorkloadApi(#[from] StreamFailed),
    #[error("a Workload API sends its bundles unasked")]
    Pushed,
}

impl FetchFailed {
    /// Whether what was found publishes a private key.
    pub(crate) const fn publishes_private_key(&self) -> bool {
        if let Self::Bundle(RefusedBundle::Invalid(bundle)) = self {
            return bundle.publishes_private_key();
        }
        if let Self::KeySet(set) | Self::WorkloadApi(StreamFailed::JwtBundle(set)) = self {
            return set.publishes_private_key();
        }
        false
    }
}

/// Fetches the keys of a provider once. `held` are the authorities that it holds and that are not too old.
pub(crate) async fn fetch(
    config: &ProviderConfig,
    held: Option<&Authorities>,
    now: Timestamp,
) -> Result<Fetched, FetchFailed> {
    match &config.keys {
        KeySource::Bundle(source) => bundle_source::fetch(source, config, held, now).await,
        KeySource::Inline(text) => Ok(Fetched::of(KeySet::parse(text.as_bytes())?, Duration::MAX)),
        KeySource::File(path) => {
            let keys =
                KeySet::parse(&read_file(path, config.file_roots.clone(), MAX_SET_BYTES).await?)?;
            Ok(Fetched::of(keys, pace::FILE_REFRESH))
        }
        KeySource::JwksUrl(url) => {
            let url = key_url(url)?;
            fetch_keys(&client(config, &url).await?, url, None).await
        }
        KeySource::ApiServer { url, token_file } => {
            let url = key_url(&format!("{url}{API_SERVER_KEYS}"))?;
            let bearer = bearer(token_file).await?;
            fetch_keys(&client(config, &url).await?, url, Some(&bearer)).await
        }
        KeySource::Discovery => discover(config, &config.discovery_url()).await,
        KeySource::DiscoveryUrl(url) => discover(config, url).await,
    }
}

/// OpenID Connect Discovery §4.3: the document must name the very issuer that was asked for.
async fn discover(config: &ProviderConfig, url: &str) -> Result<Fetched, FetchFailed> {
    let url = key_url(url)?;
    let client = client(config, &url).await?;
    let document = json::object(&fetch_body(&client, url.clone(), None).await?.bytes)?;
    let member = |name| {
        document
            .get(name)
            .and_then(Value::as_str)
            .ok_or(FetchFailed::DiscoveryMember(name))
    };
    let found = member("issuer")?;
    if found != config.issuer {
        let found = found.chars().take(200).collect();
        return Err(FetchFailed::DiscoveryIssuer {
            found,
            expected: config.issuer.clone(),
        });
    }
    let keys_at = key_url(member("jwks_uri")?)?;
    // SECURITY: a document that came over TLS cannot send us to plaintext on this machine.
    if keys_at.scheme() != "https" && url.scheme() == "https" {
        return Err(InvalidKeyUrl::Scheme.into());
    }
    fetch_keys(&client, keys_at, None).await
}

/// The token for an API server: read at each fetch, for it changes every hour.
async fn bearer(path: &Path) -> Result<HeaderValue, FetchFailed> {
    let unusable = || FetchFailed::Bearer(path.to_owned());
    let token = String::from_utf8(read_file(path, None, MAX_BEARER_BYTES).await?);
    let token = Secret::new(token.map_err(|_not_text| unusable())?);
    let text = token.expose().trim_end();
    if text.is_empty() || text.len() > MAX_BEARER_BYTES {
        return Err(unusable());
    }
    let header = Secret::new(format!("Bearer {text}"));
    let value = HeaderValue::from_str(header.expose());
    let mut value = value.map_err(|_not_a_header| unusable())?;
    value.set_sensitive(true);
    Ok(value)
}

async fn fetch_keys(
    client: &Client,
    url: Url,
    bearer: Option<&HeaderValue>,
) -> Result<Fetched, FetchFailed> {
    let body = fetch_body(client, url, bearer).await?;
    let keys = KeySet::parse(&body.bytes)?;
    Ok(Fetched::of(keys, pace::refresh_after(body.max_age)))
}

pub(crate) struct Body {
    pub(crate) bytes: Vec<u8>,
    max_age: Option<Duration>,
}

/// SECURITY: `bearer` goes to the configured origin alone: what a discovery document names is asked without,
/// and no redirect is followed.
pub(crate) async fn fetch_body(
    client: &Client,
    url: Url,
    bearer: Option<&HeaderValue>,
) -> Result<Body, FetchFailed> {
    // A name is checked by the client's resolver.
    address::check(&url)?;
    let shown = printable(&url);
    let failed = |error| FetchFailed::Http {
        url: shown.clone(),
        reason: reason(error),
    };
    // An API server answers with `application/jwk-set+json` alone.
    let accepted = "application/json, application/jwk-set+json";
    let mut request = client.get(url).header(header::ACCEPT, accepted);
    if let Some(bearer) = bearer {
        request = request.header(header::AUTHORIZATION, bearer.clone());
    }
    let mut response = request.send().await.map_err(failed)?;
    if response.status() != reqwest::StatusCode::OK {
        return Err(FetchFailed::Status {
            url: shown,
            status: response.status().as_u16(),
        });
    }
    let max_age = max_age(&response);
    let mut bytes = Vec::new();
    // The announced length is a word of the server; what arrives is what counts.
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        if bytes.len().saturating_add(chunk.len()) > MAX_SET_BYTES {
            return Err(FetchFailed::TooLarge(shown));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(Body { bytes, max_age })
}

fn max_age(response: &Response) -> Option<Duration> {
    let header = response.headers().get(header::CACHE_CONTROL)?;
    pace::max_age(header.to_str().ok()?)
}

/// A client for one fetch, so that a rotated `ca_file` counts at once and no connection is kept. Reading
/// the system's certificates blocks, so it has a thread of its own.
pub(crate) async fn client(config: &ProviderConfig, url: &Url) -> Result<Client, FetchFailed> {
    let (ca_file, roots) = (config.ca_file.clone(), config.file_roots.clone());
    // A proxy of the environment cannot reach this machine's own loopback, and has no business with what a
    // cluster's own API server is asked.
    let direct = url.scheme() == "http" || matches!(config.keys, KeySource::ApiServer { .. });
    let built = spawn_blocking(move || build_client(ca_file, roots.as_deref(), direct)).await;
    built.map_err(|error| FetchFailed::Tls(error.to_string()))?
}

/// What every client of keys obeys.
pub(crate) fn limited() -> ClientBuilder {
    Client::builder()
        .redirect(redirect::Policy::none())
        .dns_resolver(Arc::new(CheckedAddresses))
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(TOTAL_TIMEOUT)
        .user_agent("attache")
}

fn build_client(
    ca_file: Option<PathBuf>,
    roots: Option<&[PathBuf]>,
    direct: bool,
) -> Result<Client, FetchFailed> {
    let mut builder = limited();
    if direct {
        builder = builder.no_proxy();
    }
    if let Some(path) = ca_file {
        let pem = match confined::read(&path, roots, MAX_CA_BYTES) {
            Ok(pem) => pem,
            Err(source) => return Err(FetchFailed::File { path, source }),
        };
        match Certificate::from_pem_bundle(&pem) {
            Ok(roots) if !roots.is_empty() => builder = builder.tls_certs_only(roots),
            Ok(_) | Err(_) => return Err(FetchFailed::Certificates(path)),
        }
    }
    builder
        .build()
        .map_err(|error| FetchFailed::Tls(reason(error)))
}

/// At most one byte more than `limit`, so that a file that is too long is seen to be.
pub(crate) async fn read_file(
    path: &Path,
    roots: Option<Vec<PathBuf>>,
    limit: usize,
) -> Result<Vec<u8>, FetchFailed> {
    let failed = |source| FetchFailed::File {
        path: path.to_owned(),
        source,
    };
    let named = path.to_owned();
    let reading = spawn_blocking(move || confined::read(&named, roots.as_deref(), limit));
    let read = reading.await.map_err(io::Error::other).flatten();
    read.map_err(failed)
}

fn printable(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.to_string()
}

/// The error and its causes, without the URL, which is printed beside it.
fn reason(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut reason = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(source) = cause {
        reason.push_str(": ");
        reason.push_str(&source.to_string());
        cause = source.source();
    }
    reason
}
