//! The fields of `CredentialProvider`, by its type.

use serde_json::{Value, json};

use super::{
    Entries, Field, Mapping,
    Needed::{Always, Sometimes},
    Shape,
    documents::{HOST, TEXT, URL, field, mapping},
};
use crate::document::{
    ASSERTION_TTL_SECONDS, KUBERNETES_TTL_SECONDS, ProviderType, TTL_SECONDS, claim_name_pattern,
};

mod oauth2;
mod vault;

pub(super) const CREDENTIAL_PROVIDER: Shape = Shape::ByWord(
    "type",
    &[
        (
            "oidc-token",
            mapping(&[
                TYPE,
                field(
                    "audience",
                    Always,
                    TEXT,
                    "whom the token is for, its `aud`: `https://api.example.com`",
                ),
                field(
                    "ttl",
                    Sometimes,
                    Shape::Duration(TTL_SECONDS),
                    "the token's lifetime; 900 seconds unless written",
                ),
                field(
                    "algorithm",
                    Sometimes,
                    Shape::Words(|| vec!["RS256", "ES256"]),
                    "`RS256` unless written",
                ),
                CLAIMS,
            ]),
        ),
        (
            "client-assertion",
            mapping(&[
                TYPE,
                field(
                    "audience",
                    Always,
                    TEXT,
                    "the authorization server, as it names itself: its issuer, mostly",
                ),
                field(
                    "ttl",
                    Sometimes,
                    Shape::Duration(ASSERTION_TTL_SECONDS),
                    "the assertion's lifetime; 60 seconds unless written",
                ),
                field(
                    "algorithm",
                    Sometimes,
                    Shape::Words(|| vec!["RS256", "ES256"]),
                    "`ES256` unless written",
                ),
            ]),
        ),
        (
            "jwt-svid",
            mapping(&[
                TYPE,
                field(
                    "audience",
                    Always,
                    Shape::Either(&[TEXT, Shape::Set(&TEXT)]),
                    "whom the token is for, its `aud`; a list only where one token is for several",
                ),
                field(
                    "ttl",
                    Sometimes,
                    Shape::Duration(TTL_SECONDS),
                    "the token's lifetime; 300 seconds unless written",
                ),
                field(
                    "algorithm",
                    Sometimes,
                    Shape::Words(|| vec!["RS256", "ES256"]),
                    "`ES256` unless written",
                ),
                CLAIMS,
            ]),
        ),
        (
            "api-key",
            mapping(&[TYPE, HOSTS, secret("key", Always, "where the key is")]),
        ),
        (
            "username-password",
            Mapping {
                fields: &[
                    TYPE,
                    HOSTS,
                    field(
                        "username",
                        Sometimes,
                        TEXT,
                        "the user name, if it is no secret",
                    ),
                    secret(
                        "usernameFrom",
                        Sometimes,
                        "where the user name is, if it is one",
                    ),
                    secret(
                        "password",
                        Sometimes,
                        "where the password is; without it, the empty one behind a secret user name",
                    ),
                ],
                also: Some(|| one_of(&["username", "usernameFrom"])),
            },
        ),
        (
            "static-headers",
            mapping(&[
                TYPE,
                HOSTS,
                field(
                    "headers",
                    Always,
                    Shape::List(&Shape::Mapping(&STATIC_HEADER)),
                    "the headers, each with `name` and `value`",
                ),
            ]),
        ),
        ("oauth2-client-credentials", oauth2::CLIENT_CREDENTIALS),
        ("oauth2-token-exchange", oauth2::TOKEN_EXCHANGE),
        ("vault", vault::VAULT),
        (
            "kubernetes-token",
            mapping(&[
                TYPE,
                HOSTS,
                field(
                    "inCluster",
                    Sometimes,
                    Shape::True,
                    "the API server of the edge's own cluster",
                ),
                field("apiServer", Sometimes, URL, "another API server's origin"),
                CA_FILE,
                secret(
                    "token",
                    Sometimes,
                    "where the edge's token for `apiServer` is",
                ),
                field("namespace", Always, TEXT, "the ServiceAccount's namespace"),
                field("serviceAccount", Always, TEXT, "the ServiceAccount"),
                field(
                    "audience",
                    Sometimes,
                    TEXT,
                    "whom the token is for; the API server unless written",
                ),
                field(
                    "ttl",
                    Sometimes,
                    Shape::Duration(KUBERNETES_TTL_SECONDS),
                    "the lifetime that is asked for; an hour unless written",
                ),
            ]),
        ),
    ],
);

const TYPE: Field = field(
    "type",
    Always,
    Shape::Words(|| ProviderType::ALL.map(ProviderType::name).to_vec()),
    "`oidc-token` or `jwt-svid`, a token of Attaché's own issuer; or one of the others",
);

const HOSTS: Field = field(
    "hosts",
    Always,
    Shape::List(&HOST),
    "the hosts that the credential is for; it goes to no other",
);

/// `scheme:` and what follows.
const SECRET: Shape = Shape::Match("^(env|file|kubernetes|vault):.");

const fn secret(name: &'static str, needed: super::Needed, about: &'static str) -> Field {
    field(name, needed, SECRET, about)
}

/// Exactly one of two fields.
fn one_of(names: &[&str; 2]) -> Value {
    let one = names.map(|name| json!({"required": [name]}));
    json!({"oneOf": one})
}

const CLAIMS: Field = field(
    "claims",
    Sometimes,
    Shape::Entries(&Entries {
        key: Some(claim_name_pattern),
        value: TEXT,
        least: 1,
    }),
    "claims of your own, with attributes of the caller in braces: `{team: \"{k8s.namespace}\"}`",
);

const STATIC_HEADER: Mapping = Mapping {
    fields: &[
        field(
            "name",
            Always,
            Shape::Match("^[A-Za-z0-9-]{1,128}$"),
            "the header, such as `X-Api-Key`",
        ),
        field(
            "prefix",
            Sometimes,
            Shape::Text(0),
            "what stands before the value, with its space",
        ),
        secret("value", Sometimes, "where the value is"),
        field("text", Sometimes, TEXT, "the value, if it is no secret"),
    ],
    also: Some(|| one_of(&["value", "text"])),
};

const CA_FILE: Field = field(
    "caFile",
    Sometimes,
    TEXT,
    "certificates that the server is verified with, instead of the system's",
);
