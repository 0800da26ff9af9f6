//! The fields of `CredentialProvider`, by its type.

use serde_json::{Value, json};

use super::{
    Entries, Field, Mapping,
    Needed::{Always, Sometimes},
    Shape,
    documents::{HOST, TEXT, URL, field, mapping},
};
use crate::document::{KUBERNETES_TTL_SECONDS, ProviderType, TTL_SECONDS, claim_name_pattern};

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
        (
            "oauth2-client-credentials",
            Mapping {
                fields: &[
                    TYPE,
                    HOSTS,
                    ISSUER,
                    TOKEN_ENDPOINT,
                    CA_FILE,
                    CLIENT_ID,
                    field(
                        "clientAuthentication",
                        Always,
                        CLIENT_AUTHENTICATION,
                        CLIENT_ABOUT,
                    ),
                    SCOPES,
                    AUDIENCE,
                    RESOURCE,
                ],
                also: Some(|| one_of(&["issuer", "tokenEndpoint"])),
            },
        ),
        (
            "oauth2-token-exchange",
            Mapping {
                fields: &[
                    TYPE,
                    HOSTS,
                    ISSUER,
                    TOKEN_ENDPOINT,
                    CA_FILE,
                    CLIENT_ID,
                    field(
                        "clientAuthentication",
                        Sometimes,
                        CLIENT_AUTHENTICATION,
                        CLIENT_ABOUT,
                    ),
                    field(
                        "subjectToken",
                        Always,
                        SUBJECT,
                        "the token that is exchanged: `{type: jwt-svid, audience: …}`",
                    ),
                    field(
                        "actorToken",
                        Sometimes,
                        Shape::Mapping(&OWN_TOKEN),
                        "the token of who acts for the subject: `{type: jwt-svid, audience: …}`",
                    ),
                    field(
                        "requestedTokenType",
                        Sometimes,
                        Shape::Match(":"),
                        "`urn:ietf:params:oauth:token-type:access_token` and the like",
                    ),
                    SCOPES,
                    AUDIENCE,
                    RESOURCE,
                ],
                also: Some(|| one_of(&["issuer", "tokenEndpoint"])),
            },
        ),
        (
            "vault",
            mapping(&[
                TYPE,
                HOSTS,
                field(
                    "address",
                    Always,
                    URL,
                    "the Vault: `https://vault.example.com:8200`",
                ),
                CA_FILE,
                field("namespace", Sometimes, TEXT, "the Vault's namespace"),
                field(
                    "login",
                    Always,
                    VAULT_LOGIN,
                    "`{method: jwt, …}` or `{method: approle, …}`",
                ),
                field(
                    "secret",
                    Sometimes,
                    Shape::Mapping(&VAULT_SECRET),
                    "what is read; without it, the token of the login is the credential",
                ),
            ]),
        ),
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

const ISSUER: Field = field(
    "issuer",
    Sometimes,
    URL,
    "the authorization server, which publishes where its token endpoint is",
);

const TOKEN_ENDPOINT: Field = field(
    "tokenEndpoint",
    Sometimes,
    URL,
    "the token endpoint of a server that publishes nothing",
);

const CA_FILE: Field = field(
    "caFile",
    Sometimes,
    TEXT,
    "certificates that the server is verified with, instead of the system's",
);

const CLIENT_ID: Field = field(
    "clientId",
    Sometimes,
    TEXT,
    "the client that asks; with `method: jwt-svid`, the caller's SPIFFE ID unless written",
);

const CLIENT_ABOUT: &str = "how the client proves itself: `{method: jwt-svid}`";

const SCOPES: Field = field(
    "scopes",
    Sometimes,
    Shape::List(&TEXT),
    "what the token is to allow",
);

const AUDIENCE: Field = field(
    "audience",
    Sometimes,
    TEXT,
    "whom the token is for, where the server asks for it so",
);

const RESOURCE: Field = field(
    "resource",
    Sometimes,
    Shape::OneOrMore(&TEXT),
    "whom the token is for, by RFC 8707",
);

const METHOD: Field = field(
    "method",
    Always,
    Shape::Words(|| {
        vec![
            "client-secret-basic",
            "client-secret-post",
            "private-key-jwt",
            "jwt-svid",
        ]
    }),
    "`client-secret-basic`, `client-secret-post`, `private-key-jwt` or `jwt-svid`",
);

const BY_SECRET: Mapping = mapping(&[METHOD, secret("secret", Always, "where the secret is")]);

const CLIENT_AUTHENTICATION: Shape = Shape::ByWord(
    "method",
    &[
        ("client-secret-basic", BY_SECRET),
        ("client-secret-post", BY_SECRET),
        (
            "private-key-jwt",
            mapping(&[
                METHOD,
                secret("key", Always, "where the private key is: PEM, PKCS#8"),
                field("keyId", Sometimes, TEXT, "`kid` of the assertion"),
                field(
                    "algorithm",
                    Sometimes,
                    Shape::Words(|| vec!["ES256", "RS256"]),
                    "`ES256` unless written",
                ),
            ]),
        ),
        (
            "jwt-svid",
            mapping(&[
                METHOD,
                field(
                    "audience",
                    Sometimes,
                    TEXT,
                    "`aud` of the assertion; the issuer, or else the token endpoint, unless written",
                ),
                field(
                    "profile",
                    Sometimes,
                    Shape::Words(|| vec!["self-issued", "federated", "spiffe"]),
                    "how the server knows our tokens; `self-issued`, or `federated` with a `clientId`, unless written",
                ),
            ]),
        ),
    ],
);

const SUBJECT: Shape = Shape::ByWord(
    "type",
    &[
        ("oidc-token", SUBJECT_OF_OURS),
        ("jwt-svid", SUBJECT_OF_OURS),
        ("evidence", mapping(&[SUBJECT_TYPE])),
    ],
);

const SUBJECT_TYPE: Field = field(
    "type",
    Always,
    Shape::Words(|| vec!["oidc-token", "jwt-svid", "evidence"]),
    "`oidc-token`, `jwt-svid`, or `evidence`: the token by which the caller was proven",
);

const TOKEN_AUDIENCE: Field = field(
    "audience",
    Always,
    TEXT,
    "`aud` of the token: the authorization server",
);

const SUBJECT_OF_OURS: Mapping = mapping(&[SUBJECT_TYPE, TOKEN_AUDIENCE]);

const OWN_TOKEN: Mapping = mapping(&[
    field(
        "type",
        Always,
        Shape::Words(|| vec!["oidc-token", "jwt-svid"]),
        "`oidc-token` or `jwt-svid`",
    ),
    TOKEN_AUDIENCE,
]);

const LOGIN: Field = field(
    "method",
    Always,
    Shape::Words(|| vec!["jwt", "approle"]),
    "`jwt`, by the caller's JWT-SVID, or `approle`",
);

const MOUNT: Field = field(
    "mount",
    Sometimes,
    TEXT,
    "where the method is mounted; its own name unless written",
);

const VAULT_LOGIN: Shape = Shape::ByWord(
    "method",
    &[
        (
            "jwt",
            mapping(&[
                LOGIN,
                MOUNT,
                field("role", Always, TEXT, "the role to log in for"),
                field("audience", Always, TEXT, "`aud` of the token that logs in"),
            ]),
        ),
        (
            "approle",
            mapping(&[
                LOGIN,
                MOUNT,
                field("roleId", Always, TEXT, "the role's id"),
                secret("secretId", Always, "where the role's secret is"),
            ]),
        ),
    ],
);

const VAULT_SECRET: Mapping = mapping(&[
    field(
        "engine",
        Sometimes,
        Shape::Words(|| vec!["kv-v1", "kv-v2"]),
        "`kv-v2` unless written",
    ),
    field("mount", Always, TEXT, "where the engine is mounted"),
    field("path", Always, TEXT, "the secret's path in it"),
    field("field", Sometimes, TEXT, "the field that is the credential"),
    field(
        "usernameField",
        Sometimes,
        TEXT,
        "the user name's, of a pair",
    ),
    field(
        "passwordField",
        Sometimes,
        TEXT,
        "the password's, of a pair",
    ),
]);
