//! One fetch of an issuer's keys. Sizes and times are bounded, no redirect is followed, and nothing
//! is believed that did not come over TLS, from this machine, or from a file.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use attache_core::{
    json::{self, InvalidJson},
    jwks::{InvalidKeySet, KeySet, MAX_SET_BYTES},
    secret::Secret,
    time::Timestamp,
};
use attache_outbound::{
    Answer, Call, CallFailed, Client, HeaderValue, InvalidClient, InvalidTarget, Limits, Proxy,
    Reach, Roots, Settings, StatusCode, Url,
    header::{ACCEPT, AUTHORIZATION, CACHE_CONTROL},
    names_loopback, parse_target,
};
use serde_json::Value;
use thiserror::Error;
use tokio::task::spawn_blocking;

use crate::{
    bundle_source::{self, RefusedBundle},
    confined, pace,
    provider::{API_SERVER_KEYS, KeySource, ProviderConfig},
    workload_api::StreamFailed,
    x509::Authorities,
};

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
    #[error("cannot set up TLS: {0}")]
    Tls(String),
    #[error(transparent)]
    Call(#[from] CallFailed),
    #[error("`{url}` answers {status}")]
    Status { url: String, status: StatusCode },
    #[error("the discovery document is {0}")]
    Discovery(#[from] InvalidJson),
    #[error("the discovery document has no `{0}`, or it is no string")]
    DiscoveryMember(&'static str),
    #[error("the discovery document is of issuer {found:?}, not of `{expected}`")]
    DiscoveryIssuer { found: String, expected: String },
    #[error("the discovery document's `jwks_uri` is refused: {0}")]
    JwksUri(#[from] InvalidTarget),
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
    reach: &Reach,
    now: Timestamp,
) -> Result<Fetched, FetchFailed> {
    match &config.keys {
        KeySource::Bundle(source) => bundle_source::fetch(source, config, held, reach, now).await,
        KeySource::Inline(text) => Ok(Fetched::of(KeySet::parse(text.as_bytes())?, Duration::MAX)),
        KeySource::File(path) => {
            let keys =
                KeySet::parse(&read_file(path, config.file_roots.clone(), MAX_SET_BYTES).await?)?;
            Ok(Fetched::of(keys, pace::FILE_REFRESH))
        }
        KeySource::JwksUrl(url) => {
            let url = parse_target(url)?;
            fetch_keys(&client(config, &url, reach).await?, url, None).await
        }
        KeySource::ApiServer { url, token_file } => {
            let url = parse_target(&format!("{url}{API_SERVER_KEYS}"))?;
            let bearer = bearer(token_file).await?;
            fetch_keys(&client(config, &url, reach).await?, url, Some(&bearer)).await
        }
        KeySource::Discovery => discover(config, &config.discovery_url(), reach).await,
        KeySource::DiscoveryUrl(url) => discover(config, url, reach).await,
    }
}

/// OpenID Connect Discovery §4.3: the document must name the very issuer that was asked for.
async fn discover(
    config: &ProviderConfig,
    url: &str,
    reach: &Reach,
) -> Result<Fetched, FetchFailed> {
    let url = parse_target(url)?;
    let client = client(config, &url, reach).await?;
    let document = json::object(fetch_body(&client, url.clone(), None).await?.body())?;
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
    let keys_at = parse_target(member("jwks_uri")?)?;
    // SECURITY: a document that came over TLS cannot send us to plaintext on this machine.
    if keys_at.scheme() != "https" && url.scheme() == "https" {
        return Err(InvalidTarget::Scheme.into());
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
    let keys = KeySet::parse(body.body())?;
    Ok(Fetched::of(keys, pace::refresh_after(max_age(&body))))
}

/// An answer 200. SECURITY: `bearer` goes to the configured origin alone: what a discovery document names is
/// asked without, and no redirect is followed.
pub(crate) async fn fetch_body(
    client: &Client,
    url: Url,
    bearer: Option<&HeaderValue>,
) -> Result<Answer, FetchFailed> {
    // An API server answers with `application/jwk-set+json` alone.
    let accepted = HeaderValue::from_static("application/json, application/jwk-set+json");
    let mut call = Call::get(url.clone()).header(ACCEPT, accepted);
    if let Some(bearer) = bearer {
        call = call.header(AUTHORIZATION, bearer.clone());
    }
    let answer = client.send(call).await?;
    if answer.status() != StatusCode::OK {
        return Err(FetchFailed::Status {
            url: printable(&url),
            status: answer.status(),
        });
    }
    Ok(answer)
}

fn max_age(answer: &Answer) -> Option<Duration> {
    let header = answer.headers().get(CACHE_CONTROL)?;
    pace::max_age(header.to_str().ok()?)
}

/// A client for one fetch, so that a rotated `ca_file` counts at once and no connection is kept. Reading
/// the system's certificates blocks, so it has a thread of its own.
pub(crate) async fn client(
    config: &ProviderConfig,
    url: &Url,
    reach: &Reach,
) -> Result<Client, FetchFailed> {
    let (ca_file, file_roots) = (config.ca_file.clone(), config.file_roots.clone());
    // A proxy of the environment cannot reach this machine's own loopback, and has no business with what a
    // cluster's own API server is asked.
    let direct = url.scheme() == "http" || matches!(config.keys, KeySource::ApiServer { .. });
    let proxy = if direct {
        Proxy::None
    } else {
        Proxy::Environment
    };
    let settings = settings(url, reach, proxy);
    let building = spawn_blocking(move || {
        let roots = match &ca_file {
            None => Roots::System,
            Some(path) => Roots::Pem(read_ca(path, file_roots.as_deref())?),
        };
        Client::new(Settings { roots, ..settings }).map_err(|invalid| match (invalid, ca_file) {
            (InvalidClient::Certificates, Some(path)) => FetchFailed::Certificates(path),
            (invalid, _) => FetchFailed::Tls(invalid.to_string()),
        })
    });
    building
        .await
        .map_err(|error| FetchFailed::Tls(error.to_string()))?
}

fn read_ca(path: &Path, roots: Option<&[PathBuf]>) -> Result<Vec<u8>, FetchFailed> {
    confined::read(path, roots, MAX_CA_BYTES).map_err(|source| FetchFailed::File {
        path: path.to_owned(),
        source,
    })
}

/// What every client of keys obeys.
pub(crate) fn settings(url: &Url, reach: &Reach, proxy: Proxy) -> Settings {
    let reach = reach.clone();
    Settings {
        // What is written as an address of this machine is meant for it; what a name turns out to be is not.
        reach: if names_loopback(url) {
            reach.and_loopback()
        } else {
            reach
        },
        proxy,
        roots: Roots::System,
        limits: Limits {
            body_bytes: MAX_SET_BYTES,
            ..Limits::default()
        },
    }
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
