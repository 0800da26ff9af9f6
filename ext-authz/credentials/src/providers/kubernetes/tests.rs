use attache_policy::document::Consistence;
use serde_json::json;

use super::*;
use crate::providers::{
    contract::{Fixture, NOW, holds},
    peer::{Asked, Files, GIVEN, ISSUED, Peer, Reply, callers, shown},
};

const PATH: &str = "POST /api/v1/namespaces/shop/serviceaccounts/web/token HTTP/1.1";

fn reply(token: &str, ends: &str) -> Reply {
    let answer =
        json!({"kind": "TokenRequest", "status": {"token": token, "expirationTimestamp": ends}});
    Reply::json("201 Created", &answer)
}

/// Two hours after the suite begins, which itself looks an hour ahead.
fn answer(asked: &Asked) -> Reply {
    if asked.line != PATH {
        let missing = json!({"kind": "Status", "reason": "NotFound", "message": GIVEN});
        return Reply::json("404 Not Found", &missing);
    }
    reply(ISSUED, "2026-06-09T12:13:20Z")
}

pub(in crate::providers) async fn server() -> Peer {
    Peer::start(answer).await
}

pub(in crate::providers) fn provider() -> KubernetesProvider {
    KubernetesProvider::new(callers(), InCluster::default())
}

fn account(api_server: ApiServer) -> KubernetesToken<String> {
    KubernetesToken {
        api_server,
        namespace: "shop".to_owned(),
        service_account: "web".to_owned(),
        audience: Some("books".to_owned()),
        ttl: Duration::from_secs(3600),
    }
}

pub(in crate::providers) fn there(files: &Files, peer: &Peer) -> CredentialKind<String> {
    CredentialKind::KubernetesToken(account(ApiServer::At {
        url: peer.url(),
        ca_file: None,
        token: files.write("kube", &format!("{GIVEN}\n")),
    }))
}

#[tokio::test]
async fn an_account_elsewhere_keeps_the_contract() {
    let (files, peer, provider) = (Files::new(), server().await, provider());
    let wanting = files.wanted(&there(&files, &peer)).await;
    holds(&Fixture {
        provider: &provider,
        wanted: &|now| wanting.at(now),
        consistence: Consistence::Token,
        canaries: &[GIVEN, ISSUED],
        away: Some(&|is_away| peer.away(is_away)),
    })
    .await;
}

#[tokio::test]
async fn the_edges_own_pod_says_whom_to_ask_and_what_to_show_each_time() {
    let (files, peer) = (Files::new(), server().await);
    let folder = files.folder.path().to_owned();
    let authority = rcgen::generate_simple_self_signed(vec!["kubernetes".to_owned()]).unwrap();
    files.write("ca.crt", &authority.cert.pem());
    let own = InCluster {
        url: peer.url(),
        folder,
    };
    let provider = KubernetesProvider::new(callers(), own);
    let parameters = CredentialKind::KubernetesToken(account(ApiServer::InCluster));
    let wanting = files.wanted(&parameters).await;
    for token in ["first", "renewed"] {
        files.write("token", token);
        let given = provider.token(&wanting.at(NOW)).await;
        assert!(given.is_ok(), "{:?}", given.err());
        let bearer = format!("Bearer {token}");
        assert_eq!(peer.last().header("authorization"), Some(bearer.as_str()));
    }
    std::fs::remove_file(files.folder.path().join("token")).unwrap();
    let refused = provider.token(&wanting.at(NOW)).await.err();
    let fault = refused.map(|failure| failure.why.fault());
    assert_eq!(fault, Some(Fault::SecretUnavailable));
}

async fn given(
    files: &Files,
    peer: &Peer,
    of: KubernetesToken<String>,
) -> Result<Obtained, Failure> {
    let _ = peer;
    let wanting = files.wanted(&CredentialKind::KubernetesToken(of)).await;
    provider().token(&wanting.at(NOW)).await
}

fn of(parameters: CredentialKind<String>) -> KubernetesToken<String> {
    let CredentialKind::KubernetesToken(of) = parameters else {
        panic!("{}", parameters.provider_type().name());
    };
    of
}

#[tokio::test]
async fn audience_and_lifetime_are_asked_for_and_the_shorter_lifetime_counts() {
    let (files, peer) = (Files::new(), server().await);
    let wanted = of(there(&files, &peer));
    let first = given(&files, &peer, wanted.clone()).await;
    let first = first.unwrap_or_else(|failure| panic!("{failure}"));
    assert_eq!(shown(&first), ISSUED);
    let asked = peer.last();
    assert_eq!(asked.line, PATH);
    let expected = json!({
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"audiences": ["books"], "expirationSeconds": 3600},
    });
    assert_eq!(asked.json(), expected);
    // The server's ends later than what was asked for.
    let lifetime = first.lifetime.expect("a lifetime");
    assert_eq!(lifetime.expires_at, NOW.plus(Duration::from_secs(3600)));
    peer.says(|_| reply(ISSUED, "2026-06-09T10:23:20Z"));
    let shorter = given(
        &files,
        &peer,
        KubernetesToken {
            audience: None,
            ..wanted
        },
    )
    .await;
    let lifetime = shorter
        .ok()
        .and_then(|given| given.lifetime)
        .expect("a lifetime");
    assert_eq!(lifetime.expires_at, NOW.plus(Duration::from_secs(600)));
    assert_eq!(peer.last().json()["spec"]["audiences"], json!([]));
}

#[tokio::test]
async fn tokens_that_are_over_or_never_end_are_refused() {
    let (files, peer) = (Files::new(), server().await);
    let (invalid, expired) = (
        Fault::ProviderAnswerInvalid,
        Fault::ProviderCredentialExpired,
    );
    for (token, ends, fault) in [
        (ISSUED, "2026-06-09T10:13:20Z", expired),
        (ISSUED, "1970-01-01T00:00:00Z", expired),
        (ISSUED, "tomorrow", invalid),
        (ISSUED, "", invalid),
        ("", "2026-06-09T12:13:20Z", invalid),
    ] {
        peer.says(move |_| reply(token, ends));
        let refused = given(&files, &peer, of(there(&files, &peer))).await.err();
        let failure = refused.expect("no token");
        assert_eq!(failure.why.fault(), fault, "{ends}");
        assert!(!failure.to_string().contains("canary"), "{failure}");
    }
}

#[tokio::test]
async fn names_that_are_none_lead_to_no_other_object() {
    let (files, peer) = (Files::new(), server().await);
    for name in ["", "..", ".", "a/b", "A", "a b", "a%2fb", "a?b", "ä"] {
        for is_namespace in [true, false] {
            let mut wanted = of(there(&files, &peer));
            let field = match is_namespace {
                true => &mut wanted.namespace,
                false => &mut wanted.service_account,
            };
            name.clone_into(field);
            let refused = given(&files, &peer, wanted).await.err();
            let fault = refused.map(|failure| failure.why.fault());
            assert_eq!(fault, Some(Fault::ClaimUnavailable), "{name}");
        }
    }
    assert!(peer.asked().is_empty());
}

#[tokio::test]
async fn the_reason_of_a_refusal_is_told_and_its_message_is_not() {
    let (files, peer) = (Files::new(), server().await);
    let body = json!({
        "kind": "Status",
        "reason": "TooManyRequests",
        "message": format!("{GIVEN} {ISSUED}"),
        "details": {"retryAfterSeconds": 3},
    });
    peer.says(move |_| Reply::json("429 Too Many Requests", &body));
    let failure = given(&files, &peer, of(there(&files, &peer))).await.err();
    let failure = failure.expect("a refusal");
    assert_eq!(failure.why.fault(), Fault::ProviderFailed);
    assert_eq!(failure.why.retry_after, Some(Duration::from_secs(3)));
    assert_eq!(
        failure.to_string(),
        "the API server answers 429: TooManyRequests"
    );
}
