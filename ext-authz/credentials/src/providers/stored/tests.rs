use std::sync::Arc;

use attache_core::{
    claims::RenderedClaims, evidence::Evidence, header::HeaderName, spiffe_id::SpiffeId,
    time::Timestamp,
};
use attache_policy::document::{ApiKey, Consistence, Part, SecretReference, StaticHeader};

use super::*;
use crate::{
    providers::contract::{Fixture, NOW, holds},
    secrets::{SecretRoots, SecretStore},
};

const KEY: &str = "canary-key-6f1f";
const PASSWORD: &str = "canary-password-77aa";

struct Folder {
    store: Arc<SecretStore>,
    _folder: tempfile::TempDir,
}

fn folder() -> Folder {
    let folder = tempfile::tempdir().unwrap();
    for (name, secret) in [("key", KEY), ("password", PASSWORD)] {
        std::fs::write(folder.path().join(name), format!("{secret}\n")).unwrap();
    }
    let roots = SecretRoots {
        base: folder.path().to_owned(),
        folders: vec![folder.path().to_owned()],
        ..SecretRoots::nothing()
    };
    Folder {
        store: Arc::new(SecretStore::new(roots)),
        _folder: folder,
    }
}

fn file(name: &str) -> SecretReference {
    SecretReference::File(name.into())
}

async fn holds_for(parameters: CredentialKind<String>, consistence: Consistence) {
    let folder = folder();
    let references = parameters.secrets();
    let secrets = folder.store.current(&references).await.unwrap();
    let wanted = |now: Timestamp| Wanted {
        provider: "stored".to_owned(),
        caller: SpiffeId::parse("spiffe://cluster.local/ns/shop/sa/web").unwrap(),
        evidence: Evidence::Token(Secret::new("canary-evidence".to_owned())),
        parameters: parameters.clone(),
        claims: RenderedClaims::default(),
        secrets: secrets.clone(),
        now,
    };
    holds(&Fixture {
        provider: &StoredProvider,
        wanted: &wanted,
        consistence,
        canaries: &[KEY, PASSWORD, "canary-evidence"],
        away: None,
    })
    .await;
}

#[tokio::test]
async fn stored_providers_keep_the_contract() {
    holds_for(api_key(), Consistence::Token).await;
    holds_for(login(), Consistence::Pair).await;
    holds_for(two_headers(), Consistence::Headers).await;
}

fn api_key() -> CredentialKind<String> {
    CredentialKind::ApiKey(ApiKey { key: file("key") })
}

fn login() -> CredentialKind<String> {
    CredentialKind::UsernamePassword(UsernamePassword {
        username: Username::Plain("shop".to_owned()),
        password: Some(file("password")),
    })
}

fn two_headers() -> CredentialKind<String> {
    let header = |name, value| StaticHeader {
        name: HeaderName::parse(name).unwrap(),
        prefix: String::new(),
        value,
    };
    CredentialKind::StaticHeaders(StaticHeaders {
        headers: vec![
            header("dd-api-key", HeaderValue::Stored(file("key"))),
            header("dd-account", HeaderValue::Plain("acme".to_owned())),
        ],
    })
}

async fn given(parameters: &CredentialKind<String>) -> Material {
    let folder = folder();
    let secrets = folder.store.current(&parameters.secrets()).await.unwrap();
    material(parameters, &secrets).unwrap()
}

#[tokio::test]
async fn what_is_stored_is_given_as_it_is() {
    let shown = |material: &Material, part: &Part| {
        let part = material.part(part).expect("a part");
        part.expose().to_owned()
    };
    assert_eq!(shown(&given(&api_key()).await, &Part::Token), KEY);
    let login = given(&login()).await;
    assert_eq!(shown(&login, &Part::Username), "shop");
    assert_eq!(shown(&login, &Part::Password), PASSWORD);
    let headers = given(&two_headers()).await;
    let header = |name| Part::Header(HeaderName::parse(name).unwrap());
    assert_eq!(shown(&headers, &header("dd-api-key")), KEY);
    assert_eq!(shown(&headers, &header("dd-account")), "acme");
    assert!(headers.part(&header("other")).is_none());
    assert!(headers.part(&Part::Token).is_none());
}

#[tokio::test]
async fn a_key_as_user_name_needs_no_password() {
    let given = given(&CredentialKind::UsernamePassword(UsernamePassword {
        username: Username::Stored(file("key")),
        password: None,
    }))
    .await;
    assert_eq!(given.part(&Part::Username).unwrap().expose(), KEY);
    assert_eq!(given.part(&Part::Password).unwrap().expose(), "");
    let _ = NOW;
}

#[tokio::test]
async fn a_secret_that_is_not_there_gives_nothing() {
    let folder = folder();
    let missing = file("missing");
    let refused = folder.store.current(&[&missing]).await;
    assert_eq!(
        refused.err().map(|why| why.fault),
        Some(Fault::SecretUnavailable)
    );
    let key = CredentialKind::<String>::ApiKey(ApiKey { key: missing });
    let refused = material(&key, &Secrets::default());
    assert_eq!(refused.err(), Some(Fault::SecretUnavailable));
}
