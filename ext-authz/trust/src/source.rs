//! One fetch of an issuer's keys. Sizes and times are bounded, no redirect is followed, and nothing
//! is believed that did not come over TLS, from this machine, or from a file.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use attache_core::{
    json::{self, InvalidJson},
    jwks::{InvalidKeySet, KeySet, MAX_SET_BYTES},
};
use reqwest::{Certificate, Client, Response, header, redirect};
use serde_json::Value;
use thiserror::Error;
use tokio::io::AsyncReadExt as _;
use url::Url;

use crate::{
    pace,
    provider::{InvalidKeyUrl, KeySource, ProviderConfig, key_url},
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const TOTAL_TIMEOUT: Duration = Duration::from_secs(5);

/// Keys as they were found, and how long until they are looked at again.
pub(crate) struct Fetched {
    pub(crate) keys: KeySet,
    pub(crate) refresh_after: Duration,
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
}

/// Fetches the keys of a provider once.
pub(crate) async fn fetch(config: &ProviderConfig) -> Result<Fetched, FetchFailed> {
    match &config.keys {
        KeySource::Inline(text) => Ok(Fetched {
            keys: KeySet::parse(text.as_bytes())?,
            refresh_after: Duration::MAX,
        }),
        KeySource::File(path) => {
            let keys = KeySet::parse(&read_file(path).await?)?;
            Ok(Fetched {
                keys,
                refresh_after: pace::FILE_REFRESH,
            })
        }
        KeySource::JwksUrl(url) => {
            let url = key_url(url)?;
            fetch_keys(&client(config, &url).await?, url).await
        }
        KeySource::Discovery => discover(config, &config.discovery_url()).await,
        KeySource::DiscoveryUrl(url) => discover(config, url).await,
    }
}

/// OpenID Connect Discovery §4.3: the document must name the very issuer that was asked for.
async fn discover(config: &ProviderConfig, url: &str) -> Result<Fetched, FetchFailed> {
    let url = key_url(url)?;
    let client = client(config, &url).await?;
    let document = json::object(&fetch_body(&client, url.clone()).await?.bytes)?;
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
    fetch_keys(&client, keys_at).await
}

async fn fetch_keys(client: &Client, url: Url) -> Result<Fetched, FetchFailed> {
    let body = fetch_body(client, url).await?;
    let keys = KeySet::parse(&body.bytes)?;
    Ok(Fetched {
        keys,
        refresh_after: pace::refresh_after(body.max_age),
    })
}

struct Body {
    bytes: Vec<u8>,
    max_age: Option<Duration>,
}

async fn fetch_body(client: &Client, url: Url) -> Result<Body, FetchFailed> {
    let shown = printable(&url);
    let failed = |error| FetchFailed::Http {
        url: shown.clone(),
        reason: reason(error),
    };
    let request = client.get(url).header(header::ACCEPT, "application/json");
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
async fn client(config: &ProviderConfig, url: &Url) -> Result<Client, FetchFailed> {
    let ca_file = config.ca_file.clone();
    // A proxy of the environment cannot reach this machine's own loopback.
    let direct = url.scheme() == "http";
    let built = tokio::task::spawn_blocking(move || build_client(ca_file, direct)).await;
    built.map_err(|error| FetchFailed::Tls(error.to_string()))?
}

fn build_client(ca_file: Option<PathBuf>, direct: bool) -> Result<Client, FetchFailed> {
    let mut builder = Client::builder()
        .redirect(redirect::Policy::none())
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(TOTAL_TIMEOUT)
        .user_agent("attache");
    if direct {
        builder = builder.no_proxy();
    }
    if let Some(path) = ca_file {
        let pem = match std::fs::read(&path) {
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

async fn read_file(path: &Path) -> Result<Vec<u8>, FetchFailed> {
    let failed = |source| FetchFailed::File {
        path: path.to_owned(),
        source,
    };
    let file = tokio::fs::File::open(path).await.map_err(failed)?;
    let mut bytes = Vec::new();
    // One byte more than allowed, so that parsing refuses a file that is too long.
    let limit = u64::try_from(MAX_SET_BYTES)
        .unwrap_or(u64::MAX)
        .saturating_add(1);
    file.take(limit)
        .read_to_end(&mut bytes)
        .await
        .map_err(failed)?;
    Ok(bytes)
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
