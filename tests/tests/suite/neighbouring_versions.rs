//! Edge and client of neighbouring versions: what one of them does not know yet is ignored, what it does not say any
//! more, or never said, has its careful meaning.

use anyhow::{Context as _, Result, ensure};
use attache_proto::token::v1::{Call, Decision, Evidence, FetchResponse, ReportResponse};
use attache_tests::{
    attache::Attache,
    authorize,
    kept::{Reporter, charges, evidence},
    stage::{Script, Set},
};
use http::uri::PathAndQuery;
use tonic::{Code, Request, Status, client::Grpc, transport::Channel};
use tonic_prost::ProstCodec;

/// `FetchRequest` of a version to come: with a field more, and another protocol.
#[derive(Clone, PartialEq, prost::Message)]
struct NewerFetch {
    #[prost(uint32, tag = "1")]
    protocol: u32,
    #[prost(int32, tag = "2")]
    purpose: i32,
    #[prost(message, optional, tag = "3")]
    evidence: Option<Evidence>,
    #[prost(message, optional, tag = "4")]
    call: Option<Call>,
    #[prost(string, tag = "900")]
    news: String,
    #[prost(message, optional, tag = "901")]
    more: Option<Call>,
}

/// `ReportRequest` of a first version, which knew no epochs that end.
#[derive(Clone, PartialEq, prost::Message)]
struct OlderReport {
    #[prost(uint32, tag = "1")]
    protocol: u32,
    #[prost(bytes = "vec", tag = "2")]
    epoch: Vec<u8>,
    #[prost(int64, tag = "3")]
    epoch_started_at: i64,
    #[prost(bytes = "vec", repeated, tag = "4")]
    leases: Vec<Vec<u8>>,
    #[prost(message, repeated, tag = "5")]
    accesses: Vec<attache_proto::token::v1::Access>,
}

async fn ask<Q, A>(channel: &Channel, method: &'static str, asked: Q) -> Result<A, Status>
where
    Q: prost::Message + Send + Sync + 'static,
    A: prost::Message + Default + Send + Sync + 'static,
{
    let mut client = Grpc::new(channel.clone());
    let ready = client.ready().await;
    ready.map_err(|error| Status::unavailable(error.to_string()))?;
    let codec: ProstCodec<Q, A> = ProstCodec::default();
    let path = PathAndQuery::from_static(method);
    let answer = client.unary(Request::new(asked), path, codec).await?;
    Ok(answer.into_inner())
}

const FETCH: &str = "/attache.token.v1.Tokens/Fetch";
const REPORT: &str = "/attache.token.v1.Tokens/Report";

struct Running {
    channel: Channel,
    token: String,
    _set: Set,
    _attache: Attache,
}

impl Running {
    async fn open() -> Result<Self> {
        let set = Set::build(Script::default()).await?;
        let attache = set.installation.start().await?;
        Ok(Self {
            channel: authorize::over_unix(&set.installation.socket()).await?,
            token: set.cluster.token("production", "payment-svc")?,
            _set: set,
            _attache: attache,
        })
    }

    fn newer(&self) -> NewerFetch {
        NewerFetch {
            protocol: 2,
            purpose: 1,
            evidence: evidence(&self.token),
            call: Some(charges()),
            news: "something that is to come".to_owned(),
            more: Some(charges()),
        }
    }
}

#[tokio::test]
async fn an_edge_answers_a_newer_client_by_what_it_knows() -> Result<()> {
    let edge = Running::open().await?;
    let answer: FetchResponse = ask(&edge.channel, FETCH, edge.newer()).await?;
    assert_eq!(answer.decision(), Decision::Allowed, "{}", answer.code);
    assert_eq!(answer.protocol, 1, "it says what it speaks");
    // A purpose that it does not know is not taken for one that it does.
    let unknown = NewerFetch {
        purpose: 77,
        ..edge.newer()
    };
    let refused = ask::<_, FetchResponse>(&edge.channel, FETCH, unknown).await;
    let refused = refused.err().context("it is answered")?;
    assert_eq!(refused.code(), Code::InvalidArgument);
    Ok(())
}

#[tokio::test]
async fn an_edge_takes_the_report_of_an_older_client() -> Result<()> {
    let edge = Running::open().await?;
    let answer: FetchResponse = ask(&edge.channel, FETCH, edge.newer()).await?;
    let report = Reporter::new(7).report(&answer.lease, 1..=3);
    let older = OlderReport {
        protocol: report.protocol,
        epoch: report.epoch,
        epoch_started_at: report.epoch_started_at,
        leases: report.leases,
        accesses: report.accesses,
    };
    let told: ReportResponse = ask(&edge.channel, REPORT, older).await?;
    assert_eq!(told.acknowledged, 3);
    ensure!(told.refused.is_empty(), "{told:?}");
    Ok(())
}
