//! The service of one listener: each call is carried to its end, so that an access is recorded even if its caller goes
//! away.

use std::{pin::Pin, sync::Arc};

use attache_proto::token::v1::{
    AssertionRequest, AssertionResponse, BundlesRequest, BundlesResponse, FetchRequest,
    FetchResponse, ReportRequest, ReportResponse, RevalidateRequest, RevalidateResponse,
    VerifyRequest, VerifyResponse, WatchRequest, WatchResponse, tokens_server::Tokens as Service,
};
use tokio_stream::Stream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, async_trait};

use super::Tokens;
use crate::{
    keeping::Keeping,
    pipeline::Edge,
    settings::ListenerSettings,
    to_its_end::{Panicked, ToItsEnd},
    tokens::asked::Asked,
    wanted::Wanted,
};

/// The service of one listener.
#[derive(Clone)]
pub struct TokensService {
    pub(super) edge: Arc<Edge>,
    pub(super) tokens: Arc<Tokens>,
    pub(super) listener: Arc<ListenerSettings>,
    pub(super) stop: CancellationToken,
}

impl TokensService {
    /// Answers for `edge` by the rules of `listener`; streams end with `stop`.
    pub fn new(edge: Arc<Edge>, listener: Arc<ListenerSettings>, stop: CancellationToken) -> Self {
        let tokens = Arc::clone(&edge.tokens);
        Self {
            edge,
            tokens,
            listener,
            stop,
        }
    }

    async fn give(&self, request: FetchRequest) -> Result<FetchResponse, Status> {
        check_protocol(request.protocol)?;
        let asked = Asked::read(request, &self.listener)?;
        let wanted = Wanted {
            purpose: asked.purpose(),
            keeping: asked.keeping(),
            client_id: None,
        };
        let answer = self
            .edge
            .answer_for(wanted, &self.listener, &asked.question(), None)
            .await;
        if let Some(needs) = answer.needs {
            return Ok(self.needed(*needs, answer.protected));
        }
        Ok(match asked.keeping() {
            Keeping::Region => self.answered(answer, &asked),
            Keeping::Never => self.answered_once(answer, &asked),
        })
    }
}

/// Runs to its end, whether or not the caller waits for it.
async fn to_its_end<T: Send + 'static>(
    work: impl Future<Output = Result<T, Status>> + Send + 'static,
) -> Result<Response<T>, Status> {
    let ended = ToItsEnd::of(work).await;
    let ended = ended.map_err(|Panicked| Status::internal("no answer was found"))?;
    ended.map(Response::new)
}

/// A protocol that this edge speaks: every one from 1 on, for later ones only add.
pub(super) fn check_protocol(protocol: u32) -> Result<(), Status> {
    if protocol == 0 {
        let message = "protocol: 0; send the version that the client speaks, 1 for the first";
        return Err(Status::invalid_argument(message));
    }
    Ok(())
}

#[async_trait]
impl Service for TokensService {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<WatchResponse, Status>> + Send>>;

    async fn fetch(&self, asked: Request<FetchRequest>) -> Result<Response<FetchResponse>, Status> {
        let (service, asked) = (self.clone(), asked.into_inner());
        to_its_end(async move { service.give(asked).await }).await
    }

    async fn watch(
        &self,
        asked: Request<WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        check_protocol(asked.into_inner().protocol)?;
        Ok(Response::new(Box::pin(self.watched()?)))
    }

    async fn revalidate(
        &self,
        asked: Request<RevalidateRequest>,
    ) -> Result<Response<RevalidateResponse>, Status> {
        let (service, asked) = (self.clone(), asked.into_inner());
        to_its_end(async move { service.confirm(asked).await }).await
    }

    async fn report(
        &self,
        asked: Request<ReportRequest>,
    ) -> Result<Response<ReportResponse>, Status> {
        let (service, asked) = (self.clone(), asked.into_inner());
        to_its_end(async move { service.take_report(asked).await }).await
    }

    async fn bundles(
        &self,
        asked: Request<BundlesRequest>,
    ) -> Result<Response<BundlesResponse>, Status> {
        self.hand_out_bundles(&asked.into_inner())
            .map(Response::new)
    }

    async fn verify(
        &self,
        asked: Request<VerifyRequest>,
    ) -> Result<Response<VerifyResponse>, Status> {
        self.verify_one(&asked.into_inner())
            .await
            .map(Response::new)
    }

    async fn assertion(
        &self,
        asked: Request<AssertionRequest>,
    ) -> Result<Response<AssertionResponse>, Status> {
        let (service, asked) = (self.clone(), asked.into_inner());
        to_its_end(async move { service.assert(asked).await }).await
    }
}
