//! An X.509-SVID (SPIFFE Workload API §5.2.1): a stream that is kept open. Each message is the full state and
//! counts at once; when the stream breaks off it is opened again, ever more slowly, and what it gave last is used
//! until it expires.

use attache_core::{evidence::Evidence, time::Timestamp};
use attache_proto::spiffe::{X509svidRequest, X509svidResponse};
use attache_trust::x509::GivenSvid;
use tokio::time::timeout;
use tonic::Streaming;
use tracing::info;
use zeroize::Zeroizing;

use super::{
    ANSWER_LIMIT, Kept, NotFetched, OwnSvid, Pause,
    agent::{connect, secured},
};
use crate::clock;

/// Takes what the agent pushes; for ever.
pub(super) async fn follow(own: &OwnSvid) {
    let mut pause = Pause::new();
    loop {
        let failed = follow_once(own, &mut pause).await;
        own.failed(&failed);
        tokio::time::sleep(pause.next()).await;
    }
}

async fn follow_once(own: &OwnSvid, pause: &mut Pause) -> NotFetched {
    let opened = timeout(ANSWER_LIMIT, open(own)).await;
    let (mut stream, first) = match opened.unwrap_or(Err(NotFetched::TooSlow)) {
        Ok(opened) => opened,
        Err(failed) => return failed,
    };
    let mut message = first;
    loop {
        match read(own, message, clock::now()) {
            Ok(kept) => {
                let life = kept.expires_at.since(clock::now());
                info!(socket = %own.socket.display(), ?life, "the pod's own SVID was pushed");
                own.keep(kept);
                *pause = Pause::new();
            }
            // The stream goes on: the next message may be better.
            Err(failed) => own.failed(&failed),
        }
        message = match stream.message().await {
            Ok(Some(message)) => message,
            Ok(None) => return NotFetched::Ended,
            Err(status) => return status.into(),
        };
    }
}

/// The stream and its first message, which comes without delay (SPIFFE Workload API §4.3).
async fn open(
    own: &OwnSvid,
) -> Result<(Streaming<X509svidResponse>, X509svidResponse), NotFetched> {
    let mut client = connect(&own.socket).await?;
    let stream = client.fetch_x509svid(secured(X509svidRequest {})).await?;
    let mut stream = stream.into_inner();
    let first = stream.message().await?.ok_or(NotFetched::Ended)?;
    Ok((stream, first))
}

/// The SVID that is asked for, or the first, which is the default identity (§5.3).
pub(super) fn read(
    own: &OwnSvid,
    message: X509svidResponse,
    now: Timestamp,
) -> Result<Kept, NotFetched> {
    // SECURITY: wiped whichever of them is taken: Attaché shows the certificate and signs with no key of a pod.
    let svids = message.svids.into_iter().map(|mut svid| {
        let key = Zeroizing::new(std::mem::take(&mut svid.x509_svid_key));
        (svid, key)
    });
    let svids: Vec<_> = svids.collect();
    let wanted = svids.iter().find(|(svid, _)| own.wants(&svid.spiffe_id));
    let (svid, key) = wanted.ok_or_else(|| NotFetched::None(own.wanted().to_owned()))?;
    let given = GivenSvid::read(&svid.x509_svid, key)?;
    if given.spiffe_id.as_str() != svid.spiffe_id {
        return Err(NotFetched::OtherName {
            found: given.spiffe_id,
            said: svid.spiffe_id.escape_debug().take(200).collect(),
        });
    }
    if given.expires_at <= now {
        return Err(NotFetched::Expired);
    }
    Ok(Kept {
        evidence: Evidence::Certificate(given.chain),
        expires_at: given.expires_at,
    })
}
