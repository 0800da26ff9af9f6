//! The one way out: every call of ours by HTTP goes through a [`Client`].

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use reqwest::{Certificate, redirect};
use rustls::ClientConfig;
use tokio::{sync::Semaphore, time::timeout};
use url::Url;

use crate::{
    address::{Proxy, Reach},
    answer::{Answer, Body},
    call::Call,
    failed::{CallFailed, InvalidClient, printable, reason},
    resolver::CheckedAddresses,
};

#[cfg(test)]
mod tests;

/// How long a connection that nobody uses is kept.
const IDLE: Duration = Duration::from_mins(1);
/// How many such connections are kept for each host.
const MAX_IDLE: usize = 8;

/// Makes calls. Connections are kept and shared; a clone shares them too.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    reach: Arc<Reach>,
    calls: Arc<Semaphore>,
    limits: Limits,
}

/// What a client is made of.
pub struct Settings {
    /// Where it may call.
    pub reach: Reach,
    /// Whose servers it believes.
    pub roots: Roots,
    /// Whether it goes through the proxy that the environment names, if `reach` says so too.
    pub proxy: Proxy,
    /// What each call is held to.
    pub limits: Limits,
}

/// What each call is held to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How long until there is a connection: resolving, connecting, TLS.
    pub connect: Duration,
    /// How long until the whole answer is there, waiting for others included.
    pub total: Duration,
    /// How many bytes of a body are read.
    pub body_bytes: usize,
    /// How many calls are under way at once; more wait, in `total`.
    pub calls: usize,
}

/// Who vouches for the servers.
#[derive(Default)]
pub enum Roots {
    /// The authorities of the system.
    #[default]
    System,
    /// Those of a PEM file's bytes, and no others.
    Pem(Vec<u8>),
    /// A whole TLS configuration, such as one that verifies SVIDs or shows a certificate of ours.
    Tls(Box<ClientConfig>),
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(2),
            total: Duration::from_secs(5),
            body_bytes: 1024 * 1024,
            calls: 64,
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            reach: Reach::default(),
            roots: Roots::System,
            proxy: Proxy::Environment,
            limits: Limits::default(),
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("reach", &self.reach)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// A client. With the system's authorities it reads their files, which blocks.
    pub fn new(settings: Settings) -> Result<Self, InvalidClient> {
        let Settings {
            reach,
            roots,
            proxy,
            limits,
        } = settings;
        let reach = Arc::new(reach);
        let builder = reqwest::Client::builder()
            .redirect(redirect::Policy::none())
            .referer(false)
            .dns_resolver(CheckedAddresses::new(Arc::clone(&reach)))
            .connect_timeout(limits.connect)
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(MAX_IDLE)
            .user_agent("attache");
        let builder = match (proxy, reach.proxy()) {
            (Proxy::Environment, Proxy::Environment) => builder,
            (Proxy::None, _) | (_, Proxy::None) => builder.no_proxy(),
        };
        let builder = match roots {
            Roots::System => builder,
            Roots::Pem(pem) => match Certificate::from_pem_bundle(&pem) {
                Ok(roots) if !roots.is_empty() => builder.tls_certs_only(roots),
                Ok(_) | Err(_) => return Err(InvalidClient::Certificates),
            },
            Roots::Tls(tls) => builder.tls_backend_preconfigured(*tls),
        };
        let http = builder.build();
        let http = http.map_err(|error| InvalidClient::Tls(reason(&error)))?;
        Ok(Self {
            http,
            reach,
            calls: Arc::new(Semaphore::new(limits.calls)),
            limits,
        })
    }

    /// Makes a call and reads its answer to the end.
    pub async fn send(&self, call: Call) -> Result<Answer, CallFailed> {
        // A name is checked by the resolver.
        self.reach.check(&call.url)?;
        let (url, within) = (call.url.clone(), self.limits.total);
        let exchange = timeout(within, self.exchange(&url, call)).await;
        exchange.map_err(|_elapsed| CallFailed::TimedOut {
            url: printable(&url),
            within,
        })?
    }

    async fn exchange(&self, url: &Url, call: Call) -> Result<Answer, CallFailed> {
        // Closed by nobody.
        let _leave = self.calls.acquire().await.ok();
        let failed = |error| CallFailed::of(url, error);
        let Call {
            method,
            url: to,
            headers,
            body,
        } = call;
        let mut request = self.http.request(method, to).headers(headers);
        if !body.is_empty() {
            // Wiped when it was sent.
            request = request.body(Bytes::from_owner(body));
        }
        let mut response = request.send().await.map_err(failed)?;
        if response.status().is_redirection() {
            return Err(CallFailed::Redirected {
                url: printable(url),
                status: response.status().as_u16(),
            });
        }
        let most = self.limits.body_bytes;
        let mut body = Body::of_at_most(most, response.content_length());
        // The announced length is a word of the other side; what arrives is what counts.
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            body.append(&chunk).map_err(|_more| CallFailed::TooLarge {
                url: printable(url),
                most,
            })?;
        }
        Ok(Answer {
            status: response.status(),
            headers: std::mem::take(response.headers_mut()),
            body: body.into_bytes(),
        })
    }
}
