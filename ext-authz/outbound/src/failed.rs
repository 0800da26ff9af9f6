//! Why a call brought nothing back. URLs are shown without their query; nothing of what was sent or received
//! is repeated.

use std::{error::Error as StdError, io, time::Duration};

use thiserror::Error;
use url::Url;

use crate::address::ForbiddenAddress;

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum CallFailed {
    /// Its address is not called.
    #[error("no connection is made: {0}")]
    Address(#[from] ForbiddenAddress),
    /// No name server knows it, nothing listens there, its certificate is refused, or it broke off.
    #[error("no answer of `{url}`: {reason}")]
    NoAnswer {
        /// Without its query.
        url: String,
        /// What the parts below say.
        reason: String,
    },
    /// It took too long; however little of it was missing.
    #[error("`{url}` did not answer within {} s", within.as_secs_f32())]
    TimedOut {
        /// Without its query.
        url: String,
        /// How long it may take.
        within: Duration,
    },
    /// The rest of it was not read.
    #[error("`{url}` answers with more than {most} bytes")]
    TooLarge {
        /// Without its query.
        url: String,
        /// How many are read.
        most: usize,
    },
    /// SECURITY: where it leads was not written by whoever configured this.
    #[error("`{url}` answers {status}; redirects are not followed")]
    Redirected {
        /// Without its query.
        url: String,
        /// 300 to 399.
        status: u16,
    },
}

/// Why there is no client.
#[derive(Debug, Error)]
pub enum InvalidClient {
    /// No PEM certificates.
    #[error("it holds no usable PEM certificates")]
    Certificates,
    /// Something else of TLS.
    #[error("cannot set up TLS: {0}")]
    Tls(String),
}

impl CallFailed {
    pub(crate) fn of(url: &Url, error: reqwest::Error) -> Self {
        let error = error.without_url();
        if let Some(forbidden) = forbidden(&error) {
            return Self::Address(forbidden.clone());
        }
        Self::NoAnswer {
            url: printable(url),
            reason: told(&error),
        }
    }
}

/// SECURITY: once there is a connection, the parts below may repeat what the other side sent, and that may
/// repeat what we sent.
fn told(error: &reqwest::Error) -> String {
    if error.is_connect() {
        return reason(error);
    }
    let broken = causes(error).find_map(|cause| cause.downcast_ref::<io::Error>());
    match broken {
        Some(broken) => format!("the connection broke: {}", broken.kind()),
        None => "what it sends is not HTTP, or it breaks off".to_owned(),
    }
}

fn forbidden(error: &reqwest::Error) -> Option<&ForbiddenAddress> {
    causes(error).find_map(|cause| cause.downcast_ref())
}

/// The error and its causes.
pub(crate) fn reason(error: &(dyn StdError + 'static)) -> String {
    let mut texts: Vec<String> = causes(error).map(ToString::to_string).collect();
    // Some errors repeat what their cause says.
    texts.dedup_by(|next, before| before.ends_with(next.as_str()));
    texts.join(": ")
}

fn causes<'e>(
    error: &'e (dyn StdError + 'static),
) -> impl Iterator<Item = &'e (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

/// A URL without what may be secret in it.
pub(crate) fn printable(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    // Neither can fail for a URL with a host, and one without a host holds no password.
    let _ = (url.set_username(""), url.set_password(None));
    url.to_string()
}
