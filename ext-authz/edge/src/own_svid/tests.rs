mod certificates;

use std::{
    collections::VecDeque,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use attache_core::secret::Secret;
use attache_proto::spiffe::{
    JwtBundlesRequest, JwtBundlesResponse, Jwtsvid, JwtsvidRequest, JwtsvidResponse,
    ValidateJwtsvidRequest, ValidateJwtsvidResponse, X509BundlesRequest, X509BundlesResponse,
    X509svidRequest, X509svidResponse,
    spiffe_workload_api_server::{SpiffeWorkloadApi, SpiffeWorkloadApiServer},
};
use base64ct::{Base64UrlUnpadded, Encoding as _};
use tokio::{
    net::UnixListener,
    sync::{Notify, mpsc},
    time::timeout,
};
use tokio_stream::wrappers::{ReceiverStream, UnixListenerStream};
use tonic::{Request, Response, async_trait, transport::Server};

use super::*;
use crate::clock;

const ID: &str = "spiffe://cluster.local/ns/shop/sa/web";

/// Gives SVIDs of a certain life, refuses now and then, and tells how often it was asked.
struct Agent {
    life: i64,
    refuses: usize,
    asked: AtomicUsize,
    news: Notify,
    /// What each stream of certificates says, in the order in which they are opened.
    streams: Mutex<VecDeque<Pushed>>,
}

type Pushed = mpsc::Receiver<Result<X509svidResponse, Status>>;

/// The agent, for its server and for the test.
struct Shared(Arc<Agent>);

type Refused<T> = Result<Response<T>, Status>;
type Empty<T> = tokio_stream::Empty<Result<T, Status>>;

#[async_trait]
impl SpiffeWorkloadApi for Shared {
    type FetchX509SVIDStream = ReceiverStream<Result<X509svidResponse, Status>>;
    type FetchX509BundlesStream = Empty<X509BundlesResponse>;
    type FetchJWTBundlesStream = Empty<JwtBundlesResponse>;

    async fn fetch_jwtsvid(&self, asked: Request<JwtsvidRequest>) -> Refused<JwtsvidResponse> {
        let time = self.0.asked.fetch_add(1, Ordering::SeqCst);
        self.0.news.notify_one();
        if asked.metadata().get("workload.spiffe.io").is_none() {
            return Err(Status::invalid_argument("no security header"));
        }
        if time < self.0.refuses {
            return Err(Status::permission_denied("no identity\nissued"));
        }
        assert_eq!(asked.get_ref().audience, ["attache"]);
        let exp = clock::now().as_seconds() + self.0.life;
        Ok(Response::new(JwtsvidResponse {
            svids: vec![svid("spiffe://cluster.local/other", exp), svid(ID, exp)],
        }))
    }

    async fn fetch_x509svid(
        &self,
        asked: Request<X509svidRequest>,
    ) -> Refused<Self::FetchX509SVIDStream> {
        self.0.asked.fetch_add(1, Ordering::SeqCst);
        self.0.news.notify_one();
        if asked.metadata().get("workload.spiffe.io").is_none() {
            return Err(Status::invalid_argument("no security header"));
        }
        let next = self.0.streams.lock().expect("no panic").pop_front();
        let stream = next.ok_or_else(|| Status::unavailable("starting up"))?;
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn fetch_x509_bundles(
        &self,
        _: Request<X509BundlesRequest>,
    ) -> Refused<Empty<X509BundlesResponse>> {
        Err(Status::unimplemented("not asked for"))
    }

    async fn fetch_jwt_bundles(
        &self,
        _: Request<JwtBundlesRequest>,
    ) -> Refused<Empty<JwtBundlesResponse>> {
        Err(Status::unimplemented("not asked for"))
    }

    async fn validate_jwtsvid(
        &self,
        _: Request<ValidateJwtsvidRequest>,
    ) -> Refused<ValidateJwtsvidResponse> {
        Err(Status::unimplemented("not asked for"))
    }
}

fn svid(id: &str, exp: i64) -> Jwtsvid {
    let part = |text: String| Base64UrlUnpadded::encode_string(text.as_bytes());
    let header = part(r#"{"alg":"ES256","kid":"k"}"#.to_owned());
    let claims = part(format!(r#"{{"sub":"{id}","aud":["attache"],"exp":{exp}}}"#));
    Jwtsvid {
        spiffe_id: id.to_owned(),
        svid: format!("{header}.{claims}.{}", part("signature".to_owned())),
        hint: String::new(),
    }
}

fn wanted() -> Option<SpiffeId> {
    SpiffeId::parse(ID).ok()
}

/// An agent on a socket of its own, and an SVID that is kept fresh from it.
fn beside(life: i64, refuses: usize) -> (Arc<Agent>, OwnSvid, tempfile::TempDir) {
    let agent = Agent {
        life,
        refuses,
        asked: AtomicUsize::new(0),
        news: Notify::new(),
        streams: Mutex::default(),
    };
    served(agent, |socket| {
        OwnSvid::jwt(socket, "attache".to_owned(), wanted())
    })
}

fn served(
    agent: Agent,
    own: impl FnOnce(PathBuf) -> OwnSvid,
) -> (Arc<Agent>, OwnSvid, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("agent.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let agent = Arc::new(agent);
    let service = SpiffeWorkloadApiServer::new(Shared(Arc::clone(&agent)));
    let serving = Server::builder().add_service(service);
    tokio::spawn(serving.serve_with_incoming(UnixListenerStream::new(listener)));
    let own = own(socket);
    tokio::spawn(own.clone().keep_fresh());
    (agent, own, folder)
}

async fn until(agent: &Agent, times: usize) {
    let asked = async {
        while agent.asked.load(Ordering::SeqCst) < times {
            agent.news.notified().await;
        }
    };
    let limit = Duration::from_secs(20);
    timeout(limit, asked).await.expect("the agent is asked");
}

#[tokio::test]
async fn an_svid_is_asked_for_again_before_it_expires_and_after_a_refusal() {
    let (agent, own, _folder) = beside(3, 1);
    // Refused, given, and given again while the first is still good.
    until(&agent, 3).await;
    let Some(Evidence::Token(token)) = own.evidence(clock::now()) else {
        panic!("no SVID")
    };
    let claims = token.expose().split('.').nth(1).unwrap().to_owned();
    let claims = Base64UrlUnpadded::decode_vec(&claims).unwrap();
    assert!(String::from_utf8(claims).unwrap().contains(ID));
}

#[test]
fn what_has_expired_is_no_evidence() {
    let own = OwnSvid::jwt(PathBuf::from("a"), "attache".to_owned(), wanted());
    let now = Timestamp::from_seconds(100);
    assert!(own.evidence(now).is_none());
    let answer = |exp| JwtsvidResponse {
        svids: vec![svid(ID, exp)],
    };
    own.keep(token::read(&own, answer(200), now).ok().unwrap());
    assert!(own.evidence(Timestamp::from_seconds(199)).is_some());
    assert!(own.evidence(Timestamp::from_seconds(200)).is_none());
    let refused = |answer| token::read(&own, answer, now).err().unwrap().to_string();
    assert!(refused(answer(100)).contains("expired"));
    let none = JwtsvidResponse { svids: Vec::new() };
    assert!(refused(none).contains(ID));
    let other = JwtsvidResponse {
        svids: vec![svid("spiffe://cluster.local/other", 200)],
    };
    assert!(refused(other).contains(ID));
}

#[test]
fn the_svid_is_never_shown() {
    let own = OwnSvid::jwt(PathBuf::from("a"), "attache".to_owned(), None);
    let answer = JwtsvidResponse {
        svids: vec![svid(ID, 200)],
    };
    let kept = token::read(&own, answer, Timestamp::from_seconds(100));
    let kept = kept.ok().unwrap();
    let Evidence::Token(token) = &kept.evidence else {
        panic!("no token")
    };
    let token: Secret = token.clone();
    own.keep(kept);
    assert!(!format!("{own:?}").contains(token.expose()));
    let same = OwnSvid::jwt(PathBuf::from("a"), "attache".to_owned(), None);
    assert!(own == same && own != OwnSvid::x509(PathBuf::from("a"), None));
}

#[tokio::test]
async fn an_identity_that_the_agent_takes_back_is_used_no_more() {
    let own = OwnSvid::jwt(PathBuf::from("a"), "attache".to_owned(), None);
    let now = Timestamp::from_seconds(100);
    let answer = JwtsvidResponse {
        svids: vec![svid(ID, 200)],
    };
    own.keep(token::read(&own, answer, now).ok().unwrap());
    // An agent that is away takes nothing back.
    own.failed(&Status::unavailable("restarting").into());
    own.failed(&NotFetched::TooSlow);
    assert!(own.evidence(now).is_some());
    own.failed(&Status::permission_denied("no identity issued").into());
    assert!(own.evidence(now).is_none());
}
