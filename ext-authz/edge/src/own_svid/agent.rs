//! A connection to the agent's Workload API.

use std::{path::Path, time::Duration};

use attache_proto::spiffe::spiffe_workload_api_client::SpiffeWorkloadApiClient;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::{
    Request,
    metadata::MetadataValue,
    transport::{Channel, Endpoint, Error},
};
use tower::service_fn;

/// A dead agent is noticed after both: no data for the one, no answer to a ping for the other.
const PING_AFTER: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(20);

pub(super) async fn connect(socket: &Path) -> Result<SpiffeWorkloadApiClient<Channel>, Error> {
    let socket = socket.to_path_buf();
    let connector = service_fn(move |_uri| {
        let socket = socket.clone();
        async move { UnixStream::connect(socket).await.map(TokioIo::new) }
    });
    // The name is never resolved: the connector dials the socket.
    let endpoint = Endpoint::from_static("http://workload-api.invalid")
        .http2_keep_alive_interval(PING_AFTER)
        .keep_alive_timeout(PING_TIMEOUT)
        .keep_alive_while_idle(true);
    let channel = endpoint.connect_with_connector(connector).await?;
    Ok(SpiffeWorkloadApiClient::new(channel))
}

/// SPIFFE Workload Endpoint §4.1: the header shows that no browser was tricked into the call.
pub(super) fn secured<M>(message: M) -> Request<M> {
    let mut request = Request::new(message);
    let metadata = request.metadata_mut();
    metadata.insert("workload.spiffe.io", MetadataValue::from_static("true"));
    request
}
