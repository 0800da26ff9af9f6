//! Evidence that others issued: a real API server's ServiceAccount token, and the ID token of a certified
//! OpenID Connect provider.

use std::{fs, path::Path};

use anyhow::Result;
use attache_tests::{
    attache::EdgePlan,
    authority::Authority,
    cluster::AUDIENCE,
    kubernetes::{ISSUER, Kubernetes},
    openid_provider::OpenIdProvider,
    stage::{Script, Set, Stage},
};

const READER: (&str, &str) = ("attache-system", "attache");

/// The configuration of a cluster besides the stage's own: its keys come from the API server, which knows the
/// reader's token.
fn trusting(cluster: &Kubernetes, directory: &Path) -> EdgePlan {
    let provider = format!(
        "trust:\n  file_roots: [{folder}]\n  providers:\n    - name: real\n      type: kubernetes-service-account\n      \
         issuer: {ISSUER}\n      trustDomain: real.cluster\n      cluster: real-1\n      \
         caFile: {ca}\n      keys: {{ apiServer: '{url}', tokenFile: {token} }}",
        folder = directory.display(),
        ca = directory.join("ca.crt").display(),
        url = cluster.url(),
        token = directory.join("token").display(),
    );
    EdgePlan {
        settings: vec![provider],
        ..EdgePlan::default()
    }
}

#[tokio::test]
async fn a_pod_of_a_real_cluster_is_proven_by_the_api_servers_own_keys() -> Result<()> {
    let authority = Authority::new("the tests' own authority")?;
    let directory = tempfile::tempdir()?;
    authority.write(&directory.path().join("ca.crt"))?;
    let cluster = Kubernetes::start(&authority).await?;
    for (namespace, name) in [
        READER,
        ("production", "payment-svc"),
        ("production", "other"),
    ] {
        cluster.workload(namespace, name).await?;
    }
    let bearer = cluster.token(READER.0, READER.1, &[]).await?;
    fs::write(directory.path().join("token"), &bearer)?;
    let script = Script {
        plan: trusting(&cluster, directory.path()),
        ..Script::default()
    };
    let stage = Set::build_with(script, authority).await?.open().await?;

    let token = cluster
        .token("production", "payment-svc", &[AUDIENCE])
        .await?;
    let reply = stage.charges(&token).await?;
    assert_eq!(reply.status, 200, "{reply:?}");
    let told = stage.set.installation.last_event()?;
    assert_eq!(
        told["workload_svid"],
        "spiffe://real.cluster/ns/production/sa/payment-svc"
    );
    assert_eq!(told["trust_provider"], "real");

    // The stage's own cluster goes on beside it.
    assert_eq!(stage.charges(&stage.payment_token()?).await?.status, 200);

    let other = cluster.token("production", "other", &[AUDIENCE]).await?;
    for (token, code) in [
        (other, "attribute-mismatch"),
        (
            cluster.token("production", "payment-svc", &[]).await?,
            "token-audience-mismatch",
        ),
        (
            cluster
                .token("production", "payment-svc", &["vault"])
                .await?,
            "token-audience-mismatch",
        ),
    ] {
        let reply = stage.charges(&token).await?;
        assert_eq!((reply.status, reply.code()), (403, Some(code)));
    }

    let printed = [
        stage.attache.process.output(),
        stage.attache.process.errors(),
    ]
    .concat();
    let status = stage.set.installation.run(&["status"])?;
    let printed = printed + &String::from_utf8_lossy(&status.stdout);
    assert!(printed.contains("real"), "{printed}");
    assert!(!printed.contains(&bearer), "the bearer token is shown");
    Ok(())
}

/// Policies for the builds of an OpenID Connect provider.
fn builds(issuer: &str) -> String {
    format!(
        "\
apiVersion: attache.dev/v1
kind: TrustProvider
metadata: {{ name: login }}
spec:
  type: oidc
  issuer: {issuer}
  audience: {AUDIENCE}
  spiffeId: builds/{{claims.sub}}
  match: [{{ claims.groups: builders }}]
---
apiVersion: attache.dev/v1
kind: ClientWorkload
metadata: {{ name: builds }}
spec:
  match: [{{ claims.sub: build-7, claims.groups: admins }}]
---
apiVersion: attache.dev/v1
kind: ServerWorkload
metadata: {{ name: stripe }}
spec: {{ host: api.stripe.com }}
---
apiVersion: attache.dev/v1
kind: CredentialProvider
metadata: {{ name: for-builds }}
spec: {{ type: oidc-token, audience: https://api.stripe.com }}
---
apiVersion: attache.dev/v1
kind: AccessPolicy
metadata: {{ name: builds-to-stripe }}
spec:
  client: builds
  server: stripe
  trustProviders: [login]
  credentialProvider: for-builds
  effect: allow
  actions: [{{ name: charge, methods: [GET, POST], paths: [/v1/charges] }}]
"
    )
}

#[tokio::test]
async fn an_id_token_of_a_certified_provider_is_proven_by_its_discovery() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let provider = OpenIdProvider::start(AUDIENCE, "build-7", directory.path()).await?;
    let script = Script {
        policies: vec![("builds.yaml", builds(&provider.issuer()))],
        ..Script::default()
    };
    let stage = Stage::play(script).await?;
    let reply = stage.charges(provider.id_token()).await?;
    assert_eq!(reply.status, 200, "{reply:?}");
    let told = stage.set.installation.last_event()?;
    assert_eq!(
        told["workload_svid"],
        "spiffe://cluster.local/builds/build-7"
    );
    assert_eq!(told["trust_provider"], "login");

    let elsewhere = tempfile::tempdir()?;
    let someone = OpenIdProvider::start("someone-else", "build-7", elsewhere.path()).await?;
    let reply = stage.charges(someone.id_token()).await?;
    assert_eq!((reply.status, reply.code()), (403, Some("issuer-unknown")));
    Ok(())
}
