//! An application that asks a certified authorization server for its tokens, with a placeholder for a secret, behind
//! the filter in a real Envoy and a real `attache serve`.

use anyhow::{Context as _, Result, ensure};
use attache_tests::{
    bootstrap::Bootstrap,
    client::{self, Reply},
    login_server::{LoginServer, token_request},
    stage::{Set, Stage},
    verify,
    wait::until,
};
use aws_lc_rs::digest;
use base64ct::{Base64UrlUnpadded, Encoding as _};
use serde_json::{Value, json};
use tempfile::TempDir;

const CALLER: &str = "spiffe://cluster.local/ns/production/sa/payment-svc";
const HOST: &str = "login.test";

struct Login {
    stage: Stage,
    server: LoginServer,
    _directory: TempDir,
}

fn policy(issuer: &str) -> String {
    format!(
        r#"apiVersion: attache.dev/v1
kind: ServerWorkload
metadata: {{name: login}}
spec: {{host: {HOST}, tls: plaintext-allowed, paths: [/token], authentication: {{method: client-assertion}}}}
---
apiVersion: attache.dev/v1
kind: CredentialProvider
metadata: {{name: login-assertion}}
spec: {{type: client-assertion, audience: "{issuer}"}}
---
apiVersion: attache.dev/v1
kind: AccessPolicy
metadata: {{name: login}}
spec: {{client: payment-service, server: login, effect: allow, trustProviders: [cluster], credentialProvider: login-assertion, actions: [all]}}
"#
    )
}

/// The bootstrap, whose target is a server without TLS.
fn bootstrap(bootstrap: Bootstrap, server: &LoginServer) -> Result<Bootstrap> {
    let address = server.address();
    bootstrap
        .replace("\"https://api.stripe.com\"", &format!("\"http://{HOST}\""))?
        .replace(
            "domains: [api.stripe.com, \"api.stripe.com:80\", \"api.stripe.com:443\"]",
            &format!("domains: [{HOST}]"),
        )?
        .put(
            "/static_resources/clusters/1",
            json!({
                "name": "outbound|443||api.stripe.com",
                "type": "STATIC",
                "load_assignment": {
                    "cluster_name": "outbound|443||api.stripe.com",
                    "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {"socket_address": {
                        "address": address.ip().to_string(), "port_value": address.port()
                    }}}}]}]
                }
            }),
        )
}

impl Login {
    async fn open() -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let set = Set::of_pod("payment-svc", directory.path()).await?;
        let keys = format!("http://{}/keys", set.installation.issuer_address());
        let server = LoginServer::start(CALLER, &keys, directory.path()).await?;
        set.installation
            .policy("login.yaml", &policy(&server.issuer()))?;
        let attache = set.installation.start().await?;
        let usual = set.filter_bootstrap(set.stripe.address()).await?;
        let stage = set.open_behind(bootstrap(usual, &server)?, attache).await?;
        Ok(Self {
            stage,
            server,
            _directory: directory,
        })
    }

    async fn ask(&self, form: &[(&str, &str)]) -> Result<Reply> {
        client::http1(self.stage.address, token_request(HOST, form)?).await
    }

    /// The answer to a form that is served.
    async fn served(&self, form: &[(&str, &str)]) -> Result<Value> {
        let reply = self.ask(form).await?;
        ensure!(
            reply.status == 200,
            "{reply:?} {:?} {}",
            self.server.requests(),
            self.stage.attache.process.errors()
        );
        reply.json()
    }

    /// The claims of the assertion that the server got last.
    async fn assertion(&self) -> Result<(String, Value)> {
        let last = self.server.last()?;
        let assertion = last["asked"]["client_assertion"].as_str();
        let assertion = assertion.context("no assertion")?.to_owned();
        let keys = self.stage.published_keys().await?;
        let claims = verify::claims(&assertion, &keys, CALLER, &self.server.issuer())?;
        assert_eq!(claims["sub"], CALLER);
        assert_eq!(last["asked"]["client_secret"], Value::Null);
        assert_eq!(last["authorization"], Value::Null);
        Ok((assertion, claims))
    }
}

#[tokio::test]
async fn client_credentials_are_given_for_an_assertion_that_is_good_for_once() -> Result<()> {
    let login = Login::open().await?;
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", CALLER),
        ("client_secret", "placeholder"),
    ];
    let answer = login.served(&form).await?;
    ensure!(answer["access_token"].is_string(), "{answer}");
    let (first, claims) = login.assertion().await?;
    login.served(&form).await?;
    let (second, others) = login.assertion().await?;
    ensure!(first != second && claims["jti"] != others["jti"]);
    // Whoever saw it on its way has nothing of it.
    let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
    let replayed = [
        ("grant_type", "client_credentials"),
        ("client_id", CALLER),
        ("client_assertion_type", kind),
        ("client_assertion", &first),
    ];
    let refused = login.server.ask(&replayed).await?;
    assert_eq!(refused.status, 401, "{refused:?}");
    assert_eq!(refused.json()?["error"], "invalid_client");
    // Each stands in the log, by its id.
    for claims in [claims, others] {
        until("its event", async || {
            let events = login.stage.set.installation.events().ok()?.into_iter();
            let mut own = events.filter(|event| event["token_id"] == claims["jti"]);
            let event = own.next()?;
            (event["outcome"] == "permitted" && event["request_path"] == "/token").then_some(())
        })
        .await?;
    }
    // Another client than the caller is nobody here.
    let other = [
        ("grant_type", "client_credentials"),
        ("client_id", "somebody"),
    ];
    let denied = login.ask(&other).await?;
    assert_eq!(
        (denied.status, denied.code()),
        (403, Some("client-id-mismatch"))
    );
    assert_eq!(login.stage.event_of(&denied).await?["outcome"], "denied");
    Ok(())
}

#[tokio::test]
async fn a_code_with_its_pkce_verifier_and_a_refresh_token_pass_as_they_are() -> Result<()> {
    let login = Login::open().await?;
    let verifier = "0123456789abcdefghijklmnopqrstuvwxyz-._~ABCDEFGH";
    let challenge = digest::digest(&digest::SHA256, verifier.as_bytes());
    let challenge = Base64UrlUnpadded::encode_string(challenge.as_ref());
    let form = |code: &str, redirect: &str, verifier: &str| {
        [
            ("grant_type", "authorization_code".to_owned()),
            ("code", code.to_owned()),
            ("client_secret", "placeholder".to_owned()),
            ("redirect_uri", redirect.to_owned()),
            ("client_id", CALLER.to_owned()),
            ("code_verifier", verifier.to_owned()),
        ]
    };
    let (code, redirect) = login.server.code(&challenge).await?;
    let wrong = form(&code, &redirect, &verifier.replace('0', "1"));
    let wrong = wrong
        .each_ref()
        .map(|(name, value)| (*name, value.as_str()));
    let refused = login.ask(&wrong).await?;
    assert_eq!(
        refused.status, 400,
        "the server sees the verifier: {refused:?}"
    );
    assert_eq!(refused.json()?["error"], "invalid_grant");

    let (code, redirect) = login.server.code(&challenge).await?;
    let right = form(&code, &redirect, verifier);
    let right = right
        .each_ref()
        .map(|(name, value)| (*name, value.as_str()));
    let answer = login.served(&right).await?;
    ensure!(answer["id_token"].is_string(), "{answer}");
    assert_eq!(login.server.last()?["asked"]["code_verifier"], verifier);
    login.assertion().await?;

    let token = answer["refresh_token"]
        .as_str()
        .context("no refresh token")?;
    let refresh = [
        ("grant_type", "refresh_token"),
        ("refresh_token", token),
        ("client_id", CALLER),
        ("client_secret", "placeholder"),
    ];
    let answer = login.served(&refresh).await?;
    ensure!(answer["access_token"].is_string(), "{answer}");
    login.assertion().await?;
    Ok(())
}
