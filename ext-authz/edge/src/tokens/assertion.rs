//! Client assertions of OAuth token requests (RFC 7523 §2.2).

use attache_proto::token::v1 as proto;
use tonic::Status;

use super::service::TokensService;

impl TokensService {
    #[expect(clippy::unused_async, reason = "not built yet")]
    pub(super) async fn assert(
        &self,
        _request: proto::AssertionRequest,
    ) -> Result<proto::AssertionResponse, Status> {
        Err(Status::unimplemented(
            "no credential provider makes client assertions yet",
        ))
    }
}
