//! Tokens of platforms: what each proves, under which names, and which names no other issuer can use.

use attache_core::{
    attestation::ProviderKind,
    attributes::AttributeValue,
    identity::IdTemplate,
    pattern::{Pattern, Requirement},
};
use attache_trust::{KeySource, ProviderConfig, Trust};
use serde_json::{Value, json};

use crate::signer::{
    NOW, Signer, claims, evidence, jwks, oidc, trust, trust_domain, verdict, with, without,
};

const GITHUB: &str = "https://token.actions.githubusercontent.com";
const AWS: &str = "https://0a1b2c3d-0000-4000-8000-000000000000.tokens.sts.global.api.aws";

fn inline(signer: &Signer) -> KeySource {
    KeySource::Inline(jwks(&[signer.rsa_jwk("rsa")]))
}

fn platform(signer: &Signer, kind: ProviderKind, issuer: &str) -> ProviderConfig {
    ProviderConfig::new("ci", kind, issuer, inline(signer), trust_domain())
}

fn github(signer: &Signer) -> ProviderConfig {
    platform(signer, ProviderKind::GithubActions, GITHUB)
}

/// As GitHub writes them for a job of a repository that was made after 2026-07-15.
fn job() -> Value {
    let mut all = claims(GITHUB);
    let own = json!({
        "sub": "repo:acme@1234/shop@5678:environment:production",
        "repository": "acme/shop",
        "repository_id": "5678",
        "repository_owner": "acme",
        "repository_owner_id": "1234",
        "repository_visibility": "private",
        "ref": "refs/heads/main",
        "ref_type": "branch",
        "ref_protected": "true",
        "base_ref": "",
        "head_ref": "",
        "environment": "production",
        "event_name": "push",
        "actor": "mona",
        "actor_id": "42",
        "workflow_ref": "acme/shop/.github/workflows/deploy.yml@refs/heads/main",
        "job_workflow_ref": "acme/shared/.github/workflows/deploy.yml@refs/heads/main",
        "runner_environment": "github-hosted",
        "run_id": "22259804324",
        "run_attempt": "1",
        "repo_property_tier": "gold",
        "repo_property_regions": ["eu", "us"],
    });
    let own = own.as_object().expect("claims").clone();
    all.as_object_mut().expect("claims").extend(own);
    all
}

type Proven = (String, Vec<(String, AttributeValue)>);

async fn proven(trust: &Trust, signer: &Signer, claims: &Value) -> Proven {
    let token = evidence(&signer.sign("rsa", claims));
    let attested = trust.attest(&token, NOW).await;
    let attested = attested.unwrap_or_else(|why| panic!("{why:?}"));
    let attributes = attested.attributes().iter();
    let attributes = attributes.map(|(name, value)| (name.to_owned(), value.clone()));
    (attested.spiffe_id().to_string(), attributes.collect())
}

fn expected(attributes: &[(&str, &str)]) -> Vec<(String, AttributeValue)> {
    let one = |value: &str| match value.split_once(", ") {
        Some((first, second)) => AttributeValue::Many(vec![first.into(), second.into()]),
        None => AttributeValue::One(value.into()),
    };
    let pairs = attributes.iter();
    pairs
        .map(|(name, value)| ((*name).to_owned(), one(value)))
        .collect()
}

#[tokio::test]
async fn a_github_job_is_what_github_says_of_it_and_nothing_else() {
    let signer = Signer::new();
    let trust = trust(vec![github(&signer)]);
    let with_more = with(with(job(), "k8s.namespace", "prod"), "custom", "x");
    let (spiffe_id, attributes) = proven(&trust, &signer, &with_more).await;
    assert!(spiffe_id.starts_with("spiffe://cluster.local/oidc/ci/sha256/"));
    let all = [
        ("github.actor", "mona"),
        ("github.actorId", "42"),
        ("github.environment", "production"),
        ("github.eventName", "push"),
        (
            "github.jobWorkflowRef",
            "acme/shared/.github/workflows/deploy.yml@refs/heads/main",
        ),
        ("github.ref", "refs/heads/main"),
        ("github.refProtected", "true"),
        ("github.refType", "branch"),
        ("github.repository", "acme/shop"),
        ("github.repositoryId", "5678"),
        ("github.repositoryOwner", "acme"),
        ("github.repositoryOwnerId", "1234"),
        ("github.repositoryProperty.regions", "eu, us"),
        ("github.repositoryProperty.tier", "gold"),
        ("github.repositoryVisibility", "private"),
        ("github.runAttempt", "1"),
        ("github.runId", "22259804324"),
        ("github.runnerEnvironment", "github-hosted"),
        (
            "github.subject",
            "repo:acme@1234/shop@5678:environment:production",
        ),
        (
            "github.workflowRef",
            "acme/shop/.github/workflows/deploy.yml@refs/heads/main",
        ),
    ];
    assert_eq!(attributes, expected(&all));
}

#[tokio::test]
async fn a_gitlab_job_and_a_terraform_run_have_their_own_name_spaces() {
    let signer = Signer::new();
    let (gitlab, terraform) = ("https://gitlab.com", "https://app.terraform.io");
    let mut run = platform(&signer, ProviderKind::TerraformCloud, terraform);
    run.name = "terraform".to_owned();
    let trust = trust(vec![platform(&signer, ProviderKind::Gitlab, gitlab), run]);
    let mut job = with(claims(gitlab), "project_id", "77");
    job["ref_protected"] = json!("true");
    job["runner_id"] = json!(12_270_835);
    job["groups_direct"] = json!(["org", "org/sub"]);
    job["environment_protected"] = json!(false);
    let (_, attributes) = proven(&trust, &signer, &job).await;
    let all = [
        ("gitlab.environmentProtected", "false"),
        ("gitlab.groupsDirect", "org, org/sub"),
        ("gitlab.projectId", "77"),
        ("gitlab.refProtected", "true"),
        ("gitlab.runnerId", "12270835"),
        ("gitlab.subject", "build-42"),
    ];
    assert_eq!(attributes, expected(&all));

    let mut run = with(claims(terraform), "terraform_workspace_id", "ws-1");
    run["terraform_run_phase"] = json!("apply");
    run["terraform_organization_id"] = json!("org-1");
    let (_, attributes) = proven(&trust, &signer, &run).await;
    let all = [
        ("terraform.organizationId", "org-1"),
        ("terraform.runPhase", "apply"),
        ("terraform.subject", "build-42"),
        ("terraform.workspaceId", "ws-1"),
    ];
    assert_eq!(attributes, expected(&all));
}

fn role() -> Value {
    let mut all = with(
        claims(AWS),
        "sub",
        "arn:aws:iam::123456789012:role/app/shop",
    );
    all["https://sts.amazonaws.com/"] = json!({
        "aws_account": "123456789012",
        "source_region": "eu-central-1",
        "org_id": "o-abc",
        "ou_path": ["o-abc/r-1/ou-1/", "o-abc/r-1/"],
        "principal_tags": {"team": "red"},
        "request_tags": {"team": "blue"},
        "lambda_source_function_arn": "arn:aws:lambda:eu-central-1:123456789012:function:shop",
        "sub": "arn:aws:iam::999999999999:role/other",
    });
    all
}

#[tokio::test]
async fn an_aws_role_is_its_arn_and_what_its_caller_asks_for_is_nothing() {
    let signer = Signer::new();
    let trust = trust(vec![platform(&signer, ProviderKind::AwsLambdaOidc, AWS)]);
    let (_, attributes) = proven(&trust, &signer, &role()).await;
    let all = [
        ("aws.accountId", "123456789012"),
        (
            "aws.lambdaFunctionArn",
            "arn:aws:lambda:eu-central-1:123456789012:function:shop",
        ),
        ("aws.organizationId", "o-abc"),
        ("aws.organizationPath", "o-abc/r-1/ou-1/, o-abc/r-1/"),
        ("aws.principalTag.team", "red"),
        ("aws.roleArn", "arn:aws:iam::123456789012:role/app/shop"),
        ("aws.sourceRegion", "eu-central-1"),
    ];
    assert_eq!(attributes, expected(&all));
    let token = signer.sign("rsa", &without(role(), "https://sts.amazonaws.com/"));
    assert_eq!(verdict(&trust, &token).await, "token-claim-missing");
}

#[tokio::test]
async fn an_aws_role_is_proven_by_es384_too() {
    let signer = Signer::new();
    let keys = KeySource::Inline(jwks(&[signer.p384_jwk("p384")]));
    let mut config = platform(&signer, ProviderKind::AwsLambdaOidc, AWS);
    config.keys = keys;
    let trust = trust(vec![config]);
    let header = json!({"alg": "ES384", "kid": "p384", "typ": "JWT"}).to_string();
    let token = signer.sign_raw("ES384", &header, &role().to_string());
    assert_eq!(verdict(&trust, &token).await, "attested");
}

#[tokio::test]
async fn a_claim_of_another_form_than_its_platform_writes_is_refused() {
    let signer = Signer::new();
    let github = trust(vec![github(&signer)]);
    let refused = "token-claim-malformed";
    for (name, value) in [
        ("repository", json!(["acme/shop", "acme/other"])),
        ("repository_id", json!({"id": "5678"})),
        ("repo_property_tier", json!({"a": "b"})),
        ("repo_property_", json!("x")),
    ] {
        let token = signer.sign("rsa", &with(job(), name, value));
        assert_eq!(verdict(&github, &token).await, refused, "{name}");
    }
    let mut many = job();
    for at in 0..200 {
        many[format!("repo_property_p{at}")] = json!("x");
    }
    assert_eq!(verdict(&github, &signer.sign("rsa", &many)).await, refused);
    let nameless = signer.sign("rsa", &without(job(), "sub"));
    assert_eq!(verdict(&github, &nameless).await, "token-claim-missing");
}

#[tokio::test]
async fn an_issuer_of_another_kind_gains_nothing_by_a_platforms_or_a_clusters_claims() {
    let signer = Signer::new();
    let issuer = "https://issuer.example";
    let trust = trust(vec![oidc("any", issuer, inline(&signer)), github(&signer)]);
    let mut forged = with(job(), "iss", issuer);
    for name in [
        "k8s.namespace",
        "github.repository",
        "spiffe.id",
        "aws.roleArn",
    ] {
        forged[name] = json!("forged");
    }
    forged["kubernetes.io"] =
        json!({"namespace": "prod", "serviceaccount": {"name": "a", "uid": "u"}});
    let (spiffe_id, attributes) = proven(&trust, &signer, &forged).await;
    assert!(spiffe_id.starts_with("spiffe://cluster.local/oidc/any/"));
    for (name, _) in attributes {
        assert!(name.starts_with("claims."), "{name}");
    }
}

fn requires(attribute: &str, pattern: &str) -> Requirement {
    Requirement {
        attribute: attribute.to_owned(),
        patterns: vec![Pattern::parse(pattern)],
    }
}

#[tokio::test]
async fn whom_a_providers_rules_leave_out_is_not_vouched_for() {
    let signer = Signer::new();
    let mut config = github(&signer);
    config.only = vec![
        vec![
            requires("github.repositoryOwnerId", "1234"),
            requires("github.ref", "refs/heads/release-*"),
        ],
        vec![requires("github.repository", "acme/shop")],
    ];
    let trust = trust(vec![config]);
    let refused = "workload-not-vouched-for";
    let of = |claims: Value| signer.sign("rsa", &claims);
    assert_eq!(verdict(&trust, &of(job())).await, "attested");
    let renamed = with(job(), "repository", "acme/other");
    assert_eq!(verdict(&trust, &of(renamed.clone())).await, refused);
    assert_eq!(
        verdict(&trust, &of(renamed.clone())).await,
        refused,
        "the second time too"
    );
    let release = with(renamed, "ref", "refs/heads/release-1");
    assert_eq!(verdict(&trust, &of(release.clone())).await, "attested");
    let stranger = with(release, "repository_owner_id", "1235");
    assert_eq!(verdict(&trust, &of(stranger)).await, refused);
}

#[tokio::test]
async fn a_spiffe_id_is_made_of_attested_attributes_and_refused_if_it_cannot_be() {
    let signer = Signer::new();
    let mut config = github(&signer);
    let text = "github/{github.repositoryId}/env/{github.environment}";
    config.spiffe_id = Some(IdTemplate::parse(text, config.kind).expect("a template"));
    let trust = trust(vec![config]);
    let (spiffe_id, _) = proven(&trust, &signer, &job()).await;
    assert_eq!(
        spiffe_id,
        "spiffe://cluster.local/github/5678/env/production"
    );
    let refused = "workload-unnameable";
    for claims in [
        with(job(), "environment", "staging/eu"),
        with(job(), "environment", ".."),
        with(job(), "environment", ""),
        without(job(), "environment"),
    ] {
        assert_eq!(
            verdict(&trust, &signer.sign("rsa", &claims)).await,
            refused,
            "{claims}"
        );
    }
}
