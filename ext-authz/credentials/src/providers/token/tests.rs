use std::time::Duration;

use attache_core::{
    claims::CustomClaims,
    jwt::Algorithm,
    token::{TokenForm, TokenPlan},
};
use attache_policy::document::Consistence;

use super::*;
use crate::providers::{
    contract::{Fixture, holds},
    peer::{Files, GIVEN, Issuer},
};

#[tokio::test]
async fn tokens_of_ours_keep_the_contract() {
    for form in TokenForm::ALL {
        let (files, issuer) = (Files::new(), Arc::new(Issuer::default()));
        let provider = TokenProvider::new(Arc::clone(&issuer) as Arc<dyn Mint>);
        let parameters = CredentialKind::Token(TokenPlan {
            form,
            audiences: vec!["https://api.example.com".to_owned()],
            ttl: Duration::from_mins(5),
            algorithm: Algorithm::Es256,
            claims: CustomClaims::default(),
        });
        let wanting = files.wanted(&parameters).await;
        let away = MintFailed::Unavailable(Fault::CredentialUnavailable);
        holds(&Fixture {
            provider: &provider,
            wanted: &|now| wanting.at(now),
            consistence: Consistence::Token,
            canaries: &[GIVEN],
            away: Some(&|is_away| *issuer.failure.lock().unwrap() = is_away.then_some(away)),
        })
        .await;
    }
}
