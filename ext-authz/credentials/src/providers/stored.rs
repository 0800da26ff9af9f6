//! `api-key`, `username-password` and `static-headers`: what is stored is the credential. It has no lifetime; it
//! ends when what is stored changes.

use attache_core::{decision::Fault, secret::Secret};
use attache_policy::document::{
    CredentialKind, HeaderValue, StaticHeaders, Username, UsernamePassword,
};

use crate::{
    material::Material,
    provider::{Obtained, Obtaining, Provide, Wanted},
    secrets::Secrets,
};

pub(super) struct StoredProvider;

impl Provide for StoredProvider {
    fn obtain<'a>(&'a self, wanted: &'a Wanted) -> Obtaining<'a> {
        let material = material(&wanted.parameters, &wanted.secrets);
        let obtained = material.map(|material| Obtained {
            material,
            lifetime: None,
            id: None,
        });
        Box::pin(std::future::ready(obtained.map_err(Into::into)))
    }
}

fn material(parameters: &CredentialKind<String>, secrets: &Secrets) -> Result<Material, Fault> {
    match parameters {
        CredentialKind::ApiKey(key) => Ok(Material::Token(secrets.secret(&key.key)?.clone())),
        CredentialKind::UsernamePassword(pair) => self::pair(pair, secrets),
        CredentialKind::StaticHeaders(headers) => self::headers(headers, secrets),
        CredentialKind::Token(_)
        | CredentialKind::ClientCredentials(_)
        | CredentialKind::TokenExchange(_)
        | CredentialKind::Vault(_)
        | CredentialKind::KubernetesToken(_) => Err(Fault::CredentialUnavailable),
    }
}

fn pair(pair: &UsernamePassword, secrets: &Secrets) -> Result<Material, Fault> {
    let username = match &pair.username {
        Username::Plain(text) => Secret::new(text.clone()),
        Username::Stored(reference) => secrets.secret(reference)?.clone(),
    };
    let password = match &pair.password {
        Some(reference) => secrets.secret(reference)?.clone(),
        None => Secret::new(String::new()),
    };
    Ok(Material::Pair { username, password })
}

fn headers(headers: &StaticHeaders, secrets: &Secrets) -> Result<Material, Fault> {
    let mut values = Vec::with_capacity(headers.headers.len());
    for header in &headers.headers {
        let value = match &header.value {
            HeaderValue::Plain(text) => Secret::new(text.clone()),
            HeaderValue::Stored(reference) => secrets.secret(reference)?.clone(),
        };
        values.push((header.name.clone(), value));
    }
    Ok(Material::Headers(values))
}

#[cfg(test)]
mod tests;
