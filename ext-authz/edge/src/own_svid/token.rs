//! A JWT-SVID (SPIFFE Workload API §6.2.1): asked for, and asked for again when most of its life is over.

use std::time::Duration;

use attache_core::{
    evidence::Evidence,
    freshness::REFRESH_AFTER_PERCENT,
    jwt::{MAX_TOKEN_BYTES, RejectedToken, Unverified},
    secret::Secret,
    time::Timestamp,
};
use attache_proto::spiffe::{JwtsvidRequest, JwtsvidResponse};
use tokio::time::timeout;
use tracing::info;

use super::{
    ANSWER_LIMIT, Kept, NotFetched, OwnSvid, Pause,
    agent::{connect, secured},
};
use crate::clock;

/// An SVID of hardly any life must not have us ask without a pause.
const SHORTEST_PAUSE: Duration = Duration::from_millis(500);

/// Fetches the SVID, and the next one when most of its life is over; for ever.
pub(super) async fn keep_fresh(own: &OwnSvid, audience: &str) {
    let mut pause = Pause::new();
    loop {
        let fetched = timeout(ANSWER_LIMIT, fetch(own, audience)).await;
        let next = match fetched.unwrap_or(Err(NotFetched::TooSlow)) {
            Ok(kept) => {
                let life = kept.expires_at.since(clock::now());
                info!(socket = %own.socket.display(), ?life, "the pod's own SVID was fetched");
                own.keep(kept);
                pause = Pause::new();
                (life * REFRESH_AFTER_PERCENT / 100).max(SHORTEST_PAUSE)
            }
            Err(error) => {
                own.failed(&error);
                pause.next()
            }
        };
        tokio::time::sleep(next).await;
    }
}

async fn fetch(own: &OwnSvid, audience: &str) -> Result<Kept, NotFetched> {
    let mut client = connect(&own.socket).await?;
    let request = JwtsvidRequest {
        audience: vec![audience.to_owned()],
        spiffe_id: own.wanted().to_owned(),
    };
    let answer = client.fetch_jwtsvid(secured(request)).await?.into_inner();
    read(own, answer, clock::now())
}

pub(super) fn read(
    own: &OwnSvid,
    answer: JwtsvidResponse,
    now: Timestamp,
) -> Result<Kept, NotFetched> {
    let mut svids = answer.svids.into_iter();
    let svid = svids
        .find(|svid| own.wants(&svid.spiffe_id))
        .filter(|svid| svid.svid.len() <= MAX_TOKEN_BYTES)
        .ok_or_else(|| NotFetched::None(own.wanted().to_owned()))?;
    let token = Secret::new(svid.svid);
    let expires_at = expiry(&token)?.filter(|expires_at| now < *expires_at);
    Ok(Kept {
        expires_at: expires_at.ok_or(NotFetched::Expired)?,
        evidence: Evidence::Token(token),
    })
}

/// When the token says that it expires.
#[expect(
    clippy::disallowed_methods,
    reason = "it says when to ask for the next one; whom it proves, `trust` says after it verified it"
)]
fn expiry(token: &Secret) -> Result<Option<Timestamp>, RejectedToken> {
    let token = Unverified::parse(token.expose())?;
    let exp = token.unproven_claims().get("exp");
    Ok(exp
        .and_then(serde_json::Value::as_i64)
        .map(Timestamp::from_seconds))
}
