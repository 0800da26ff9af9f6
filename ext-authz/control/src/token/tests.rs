use std::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use axum::{
    Router,
    body::to_bytes,
    http::{HeaderMap, Method, StatusCode},
};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tower::ServiceExt as _;

use super::*;

const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

type Verdict = fn() -> Result<Given, NotGiven>;

/// Notes what it is asked, and answers as it is told.
struct Desk {
    asked: Mutex<Vec<Asked>>,
    verdict: Verdict,
}

impl Exchange for Desk {
    fn exchange(&self, asked: Asked) -> Pin<Box<dyn Future<Output = Exchanged> + Send + '_>> {
        self.asked.lock().unwrap().push(asked);
        Box::pin(async {
            Exchanged {
                decision_id: "evt_1".to_owned(),
                outcome: (self.verdict)(),
            }
        })
    }
}

fn given() -> Result<Given, NotGiven> {
    Ok(Given {
        token: Secret::new("a.b.c".to_owned()),
        expires_in: Duration::from_millis(299_999),
    })
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Value,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    fn error(&self) -> (u16, &str) {
        (
            self.status.as_u16(),
            self.body["error"].as_str().unwrap_or_default(),
        )
    }
}

struct Port {
    desk: Arc<Desk>,
    router: Router,
}

impl Port {
    fn open(verdict: Verdict) -> Self {
        Self::at(verdict, 1000)
    }

    fn at(verdict: Verdict, per_second: u32) -> Self {
        let desk = Arc::new(Desk {
            asked: Mutex::default(),
            verdict,
        });
        let endpoint = TokenEndpoint::new(Arc::clone(&desk) as Arc<dyn Exchange>, per_second);
        Self {
            router: Router::new().route("/token", route(endpoint)),
            desk,
        }
    }

    async fn send(&self, request: Request) -> Answer {
        let answer = self.router.clone().oneshot(request).await.unwrap();
        let (head, body) = answer.into_parts();
        let bytes = to_bytes(body, 1 << 20).await.unwrap();
        Answer {
            status: head.status,
            headers: head.headers,
            body: serde_json::from_slice(&bytes).unwrap_or(Value::Null),
        }
    }

    async fn ask(&self, fields: &[(&str, &str)]) -> Answer {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.extend_pairs(fields);
        self.send(post_form(form.finish())).await
    }
}

fn post_form(body: impl Into<Body>) -> Request {
    Request::builder()
        .method(Method::POST)
        .uri("/token")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(body.into())
        .unwrap()
}

const WHOLE: [(&str, &str); 4] = [
    ("grant_type", EXCHANGE),
    ("subject_token", "e.v.i"),
    ("subject_token_type", JWT),
    ("audience", "https://api.example.com"),
];

/// The same with one field changed, or without it.
fn with<'f>(name: &'f str, value: &'f str) -> Vec<(&'f str, &'f str)> {
    let mut fields: Vec<_> = WHOLE.into_iter().filter(|(key, _)| *key != name).collect();
    fields.push((name, value));
    fields
}

#[tokio::test]
async fn an_exchange_gives_a_token_in_the_words_of_the_standard() {
    let port = Port::open(given);
    let answer = port.ask(&WHOLE).await;
    let expected = json!({
        "access_token": "a.b.c",
        "issued_token_type": JWT,
        "token_type": "Bearer",
        "expires_in": 299,
    });
    assert_eq!((answer.status, &answer.body), (StatusCode::OK, &expected));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.header("pragma"), Some("no-cache"));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("x-attache-decision"), Some("evt_1"));
    let asked = port.desk.asked.lock().unwrap().pop().unwrap();
    assert!(matches!(asked.evidence, Evidence::Token(token) if token.expose() == "e.v.i"));
    assert_eq!(asked.audience.as_deref(), Some("https://api.example.com"));
    assert_eq!(asked.resource, None);
}

#[tokio::test]
async fn an_assertion_gives_an_access_token() {
    let port = Port::open(given);
    let fields = [
        ("grant_type", BEARER),
        ("assertion", "e.v.i"),
        ("resource", "https://api.example.com:8443/"),
        ("client_id", "whoever"),
        ("unknown", "is ignored"),
    ];
    let answer = port.ask(&fields).await;
    let expected = json!({ "access_token": "a.b.c", "token_type": "Bearer", "expires_in": 299 });
    assert_eq!((answer.status, &answer.body), (StatusCode::OK, &expected));
    let asked = port.desk.asked.lock().unwrap().pop().unwrap();
    let resource = TokenTarget::parse("https://api.example.com:8443").unwrap();
    assert_eq!((asked.audience, asked.resource), (None, Some(resource)));
}

#[tokio::test]
async fn a_request_that_is_none_is_refused_with_its_error_and_nobody_is_asked() {
    let port = Port::open(given);
    let twice = |name| {
        let mut fields = WHOLE.to_vec();
        fields.push((name, "x"));
        fields
    };
    for (fields, error) in [
        (with("grant_type", ""), "invalid_request"),
        (
            with("grant_type", "client_credentials"),
            "unsupported_grant_type",
        ),
        (
            with("grant_type", "authorization_code"),
            "unsupported_grant_type",
        ),
        (with("subject_token", ""), "invalid_request"),
        (with("subject_token_type", ""), "invalid_request"),
        (
            with(
                "subject_token_type",
                "urn:ietf:params:oauth:token-type:saml2",
            ),
            "invalid_request",
        ),
        (
            with(
                "requested_token_type",
                "urn:ietf:params:oauth:token-type:refresh_token",
            ),
            "invalid_request",
        ),
        (with("actor_token", "x"), "invalid_request"),
        (with("scope", "openid"), "invalid_scope"),
        (with("audience", ""), "invalid_target"),
        (with("resource", "api.example.com"), "invalid_target"),
        (
            with("resource", "https://api.example.com/v1"),
            "invalid_target",
        ),
        (twice("audience"), "invalid_target"),
        (twice("subject_token"), "invalid_request"),
        (twice("grant_type"), "invalid_request"),
        (
            vec![("grant_type", BEARER), ("audience", "a")],
            "invalid_request",
        ),
        (vec![], "invalid_request"),
    ] {
        let answer = port.ask(&fields).await;
        assert_eq!(answer.error(), (400, error), "{fields:?}: {}", answer.body);
        let description = answer.body["error_description"].as_str().unwrap();
        assert!(!description.is_empty() && !description.contains("e.v.i"));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
    }
    assert!(port.desk.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_client_that_authenticates_is_told_that_nobody_does_here() {
    let port = Port::open(given);
    for (authorization, challenge) in [
        ("Basic YTpi", "Basic realm=\"attache\""),
        ("Bearer x", "Bearer realm=\"attache\""),
    ] {
        let mut request = post_form("grant_type=x");
        request
            .headers_mut()
            .insert(AUTHORIZATION, authorization.parse().unwrap());
        let answer = port.send(request).await;
        assert_eq!(answer.error(), (401, "invalid_client"));
        assert_eq!(answer.header("www-authenticate"), Some(challenge));
    }
    for name in ["client_secret", "client_assertion"] {
        let answer = port.ask(&with(name, "hunter2")).await;
        assert_eq!(answer.error(), (401, "invalid_client"), "{name}");
    }
}

#[tokio::test]
async fn only_a_form_in_the_body_is_read() {
    let port = Port::open(given);
    let form = "grant_type=x";
    let mut json = post_form(form);
    json.headers_mut()
        .insert(CONTENT_TYPE, "application/json".parse().unwrap());
    let mut bare = post_form(form);
    bare.headers_mut().remove(CONTENT_TYPE);
    let mut in_url = post_form(form);
    *in_url.uri_mut() = "/token?subject_token=e.v.i".parse().unwrap();
    for request in [json, bare, in_url] {
        assert_eq!(port.send(request).await.error(), (400, "invalid_request"));
    }
    let mut charset = post_form(format!("grant_type={BEARER}&assertion=e.v.i&audience=a"));
    let value = "application/x-www-form-urlencoded; charset=utf-8"
        .parse()
        .unwrap();
    charset.headers_mut().insert(CONTENT_TYPE, value);
    assert_eq!(port.send(charset).await.status, StatusCode::OK);
    for method in [Method::GET, Method::PUT, Method::OPTIONS, Method::DELETE] {
        let mut request = post_form("");
        *request.method_mut() = method;
        request
            .headers_mut()
            .insert("origin", "https://evil.example".parse().unwrap());
        let answer = port.send(request).await;
        assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(answer.header("access-control-allow-origin"), None);
    }
}

#[tokio::test]
async fn a_form_that_is_too_large_is_not_read() {
    let port = Port::open(given);
    let answer = port.send(post_form("a".repeat(MAX_FORM_BYTES + 1))).await;
    assert_eq!(answer.error(), (413, "invalid_request"));
    let fitting = format!("grant_type={BEARER}&audience=a&assertion=");
    let fitting = format!("{fitting}{}", "a".repeat(MAX_FORM_BYTES - fitting.len()));
    assert_eq!(port.send(post_form(fitting)).await.status, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn a_form_that_never_arrives_is_given_up() {
    let port = Port::open(given);
    let never = Body::from_stream(futures_of_nothing());
    assert_eq!(
        port.send(post_form(never)).await.error(),
        (400, "invalid_request")
    );
}

/// A body that neither brings anything nor ends.
fn futures_of_nothing() -> impl futures::Stream<Item = Result<&'static str, std::io::Error>> + Send
{
    futures::stream::pending()
}

#[tokio::test]
async fn a_decision_is_told_as_each_grant_names_it() {
    let evidence: Verdict = || {
        Err(NotGiven::Evidence(
            "token-expired",
            "the evidence has expired",
        ))
    };
    let target: Verdict = || Err(NotGiven::Target("no-policy", "no \"policy\" lets it"));
    let broken: Verdict = || Err(NotGiven::Unavailable("keys-unavailable", "no keys"));
    let assertion = [
        ("grant_type", BEARER),
        ("assertion", "e.v.i"),
        ("audience", "a"),
    ];
    for (verdict, exchanged, asserted) in [
        (evidence, (400, "invalid_request"), (400, "invalid_grant")),
        (target, (400, "invalid_target"), (400, "invalid_target")),
        (
            broken,
            (503, "temporarily_unavailable"),
            (503, "temporarily_unavailable"),
        ),
    ] {
        let port = Port::open(verdict);
        let answer = port.ask(&WHOLE).await;
        assert_eq!(answer.error(), exchanged);
        assert_eq!(answer.body["decision"], "evt_1");
        assert_eq!(
            answer.header("x-attache-code"),
            answer.body["code"].as_str()
        );
        assert!(
            !answer.body["error_description"]
                .as_str()
                .unwrap()
                .contains('"')
        );
        assert_eq!(answer.header("retry-after").is_some(), exchanged.0 == 503);
        assert_eq!(port.ask(&assertion).await.error(), asserted);
    }
}

#[tokio::test(start_paused = true)]
async fn one_address_cannot_take_all_of_the_endpoint() {
    let port = Port::at(given, 5);
    let from = |address: &str| {
        let mut request = post_form(format!("grant_type={BEARER}&assertion=e&audience=a"));
        request
            .extensions_mut()
            .insert(Peer(address.parse().unwrap()));
        request
    };
    let mut taken = 0;
    for _ in 0..20 {
        let answer = port.send(from("192.0.2.1:4711")).await;
        if answer.status == StatusCode::OK {
            taken += 1;
        } else {
            assert_eq!(answer.error(), (429, "temporarily_unavailable"));
            assert_eq!(answer.header("retry-after"), Some("1"));
        }
    }
    assert_eq!(taken, 10, "two seconds of the rate at once");
    assert_eq!(
        port.send(from("192.0.2.2:4711")).await.status,
        StatusCode::OK
    );
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(
        port.send(from("192.0.2.1:4711")).await.status,
        StatusCode::OK
    );
}

/// Decides nothing until it is let go on.
struct Slow {
    go_on: Semaphore,
    began: AtomicUsize,
    ended: AtomicUsize,
}

impl Exchange for Slow {
    fn exchange(&self, _: Asked) -> Pin<Box<dyn Future<Output = Exchanged> + Send + '_>> {
        self.began.fetch_add(1, SeqCst);
        Box::pin(async {
            drop(self.go_on.acquire().await);
            self.ended.fetch_add(1, SeqCst);
            Exchanged {
                decision_id: String::new(),
                outcome: given(),
            }
        })
    }
}

fn slow() -> (Arc<Slow>, Router) {
    let slow = Arc::new(Slow {
        go_on: Semaphore::new(0),
        began: AtomicUsize::new(0),
        ended: AtomicUsize::new(0),
    });
    let endpoint = TokenEndpoint::new(Arc::clone(&slow) as Arc<dyn Exchange>, 100_000);
    (slow, Router::new().route("/token", route(endpoint)))
}

/// The request of a caller behind the `n`th address.
fn from_address(n: usize, body: impl Into<Body>) -> Request {
    let mut request = post_form(body);
    let address = format!("192.0.2.{n}:4711").parse().unwrap();
    request.extensions_mut().insert(Peer(address));
    request
}

fn whole_form() -> String {
    format!("grant_type={BEARER}&assertion=e&audience=a")
}

async fn until(count: &AtomicUsize, wanted: usize) {
    while count.load(SeqCst) < wanted {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn more_requests_than_can_be_decided_at_once_are_told_to_come_again() {
    let (slow, router) = slow();
    let ask = |n| router.clone().oneshot(from_address(n, whole_form()));
    let waiting: Vec<_> = (0..MAX_IN_FLIGHT).map(|n| tokio::spawn(ask(n))).collect();
    until(&slow.began, MAX_IN_FLIGHT).await;
    let busy = ask(200).await.unwrap().status();
    assert_eq!(busy, StatusCode::SERVICE_UNAVAILABLE);
    slow.go_on.add_permits(MAX_IN_FLIGHT);
    for one in waiting {
        assert_eq!(one.await.unwrap().unwrap().status(), StatusCode::OK);
    }
    assert_eq!(ask(200).await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn one_address_has_some_of_the_decisions_at_once_and_not_all() {
    let (slow, router) = slow();
    let ask = |n| router.clone().oneshot(from_address(n, whole_form()));
    let waiting: Vec<_> = (0..MAX_OF_ONE).map(|_| tokio::spawn(ask(1))).collect();
    until(&slow.began, MAX_OF_ONE).await;
    let busy = ask(1).await.unwrap().status();
    assert_eq!(busy, StatusCode::SERVICE_UNAVAILABLE);
    let another = tokio::spawn(ask(2));
    until(&slow.began, MAX_OF_ONE + 1).await;
    slow.go_on.add_permits(MAX_IN_FLIGHT);
    assert_eq!(another.await.unwrap().unwrap().status(), StatusCode::OK);
    for one in waiting {
        assert_eq!(one.await.unwrap().unwrap().status(), StatusCode::OK);
    }
}

#[tokio::test]
async fn forms_that_do_not_arrive_keep_nobody_waiting() {
    let (slow, router) = slow();
    slow.go_on.add_permits(1);
    let stuck: Vec<_> = (0..MAX_IN_FLIGHT)
        .map(|n| {
            let never = Body::from_stream(futures_of_nothing());
            tokio::spawn(router.clone().oneshot(from_address(n, never)))
        })
        .collect();
    // Each has its turn to begin before the next one comes.
    tokio::task::yield_now().await;
    let answer = router.clone().oneshot(from_address(200, whole_form()));
    assert_eq!(answer.await.unwrap().status(), StatusCode::OK);
    for one in stuck {
        assert!(!one.is_finished(), "it still waits for its form");
        one.abort();
    }
}

#[tokio::test]
async fn a_client_that_leaves_frees_no_slot_before_its_access_is_recorded() {
    let (slow, router) = slow();
    let ask = |n| router.clone().oneshot(from_address(n, whole_form()));
    let left: Vec<_> = (0..MAX_OF_ONE).map(|_| tokio::spawn(ask(1))).collect();
    until(&slow.began, MAX_OF_ONE).await;
    for one in left {
        one.abort();
        assert!(one.await.unwrap_err().is_cancelled());
    }
    let busy = ask(1).await.unwrap().status();
    assert_eq!(busy, StatusCode::SERVICE_UNAVAILABLE);
    slow.go_on.add_permits(MAX_OF_ONE);
    until(&slow.ended, MAX_OF_ONE).await;
    tokio::task::yield_now().await;
    assert_eq!(ask(1).await.unwrap().status(), StatusCode::OK);
}

/// Takes the first entry of `x-forwarded-for` for the caller.
struct Behind(Mutex<Vec<Option<IpAddr>>>);

impl Exchange for Behind {
    fn exchange(&self, asked: Asked) -> Pin<Box<dyn Future<Output = Exchanged> + Send + '_>> {
        self.0.lock().unwrap().push(asked.origin);
        Box::pin(async {
            Exchanged {
                decision_id: String::new(),
                outcome: given(),
            }
        })
    }

    fn origin(&self, _: SocketAddr, headers: &HeaderMap) -> Option<IpAddr> {
        headers.get("x-forwarded-for")?.to_str().ok()?.parse().ok()
    }
}

#[tokio::test(start_paused = true)]
async fn behind_a_proxy_the_rate_is_of_the_address_that_is_known() {
    let behind = Arc::new(Behind(Mutex::default()));
    let endpoint = TokenEndpoint::new(Arc::clone(&behind) as Arc<dyn Exchange>, 1);
    let router = Router::new().route("/token", route(endpoint));
    let ask = |client: &str| {
        let mut request = from_address(1, whole_form());
        let headers = request.headers_mut();
        headers.insert("x-forwarded-for", client.parse().unwrap());
        router.clone().oneshot(request)
    };
    for client in ["198.51.100.1", "198.51.100.2"] {
        for expected in [200, 200, 429] {
            assert_eq!(ask(client).await.unwrap().status(), expected, "{client}");
        }
    }
    let first = behind.0.lock().unwrap().first().copied().flatten();
    assert_eq!(first, Some("198.51.100.1".parse().unwrap()));
}
