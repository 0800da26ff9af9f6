//! The section `issuer`: who signs our tokens, when its keys take turns, and whether tokens are exchanged.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use attache_core::spiffe_id::TrustDomain;
use attache_issuer::{
    IssuerConfig, Schedule,
    config::{Environment, IssuerUrl},
    rotation::InvalidSchedule,
};

use super::{bind::Places, layers::Section, path};

/// The address that `url` and `listen` share by default.
const ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8200);
/// Requests per second that one address may make at the token endpoint.
const TOKEN_RATE: u64 = 50;

/// What the section says.
pub(super) struct Issuer {
    pub(super) config: IssuerConfig,
    pub(super) listen: SocketAddr,
    pub(super) sealing_key_file: PathBuf,
    pub(super) token_rate: u32,
    pub(super) trusted_hops: Option<usize>,
}

pub(super) fn lower(
    mut section: Section<'_>,
    environment: Option<Environment>,
    trust_domain: Option<TrustDomain>,
    places: &Places,
    data: &Path,
    base: &Path,
) -> Option<Issuer> {
    let url = section.or(
        "url",
        IssuerUrl::parse(&format!("http://{ADDRESS}")).ok(),
        |at| at.parse(IssuerUrl::parse).map(Some),
    );
    let listen = section.or("listen", ADDRESS, |at| places.address(at));
    let longest = 7 * 24 * 60 * 60;
    let max_ttl = section.or("max_ttl", Duration::from_secs(24 * 60 * 60), |at| {
        at.duration(60..=longest)
    });
    let sealing = section.or("sealing_key_file", data.join("sealing.key"), |at| {
        path(at, base)
    });
    let token_endpoint = section.or("token_endpoint", false, |at| at.boolean());
    let plaintext = section.or("plaintext", false, |at| at.boolean());
    // Whether anything stands before the port is not guessed: a condition must not take it for the caller.
    let trusted_hops = section.or("trusted_hops", None, |at| {
        let hops = at.integer(0..=super::edge::MAX_HOPS)?;
        usize::try_from(hops).ok().map(Some)
    });
    let token_rate = section.or("token_rate", TOKEN_RATE, |at| at.integer(1..=100_000));
    let schedule = schedule(section.section("keys"));
    let in_clear = !listen?.ip().is_loopback() && token_endpoint?;
    if in_clear && !plaintext? {
        let message = "evidence and tokens would pass in clear text over the network".to_owned();
        let way_out = "write a loopback address, or `plaintext: true` if only a proxy of yours that ends TLS reaches it";
        section.refuse("listen", message, way_out.to_owned());
        return None;
    }
    let mut config = IssuerConfig::new(url??, environment?, trust_domain?);
    config.max_ttl = max_ttl?;
    config.schedule = schedule?;
    config.token_endpoint = token_endpoint?;
    Some(Issuer {
        config,
        listen: listen?,
        sealing_key_file: sealing?,
        token_rate: u32::try_from(token_rate?).ok()?,
        trusted_hops: trusted_hops?,
    })
}

fn schedule(mut section: Section<'_>) -> Option<Schedule> {
    let year = 366 * 86_400;
    let usual = Schedule::DEFAULT_PERIOD;
    let rs256 = section.or("rs256_period", usual, |at| at.duration(0..=year));
    let es256 = section.or("es256_period", usual, |at| at.duration(0..=year));
    let usual = Schedule::DEFAULT_PUBLISH_AHEAD;
    let ahead = section.or("publish_ahead", usual, |at| at.duration(0..=year));
    match Schedule::new(rs256?, es256?, ahead?) {
        Ok(schedule) => Some(schedule),
        Err(invalid) => {
            let setting = match &invalid {
                InvalidSchedule::Unannounced(_) => "publish_ahead",
                InvalidSchedule::TooShort { algorithm, .. } if *algorithm == "ES256" => {
                    "es256_period"
                }
                InvalidSchedule::TooShort { .. } => "rs256_period",
            };
            let way_out = "write a longer time, such as 30d for a period and 1h for publish_ahead";
            section.refuse(setting, invalid.to_string(), way_out.to_owned());
            None
        }
    }
}
