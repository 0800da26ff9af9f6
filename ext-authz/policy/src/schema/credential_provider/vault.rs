//! The fields of what a Vault is asked with.

use super::super::{
    Field, Mapping,
    Needed::{Always, Sometimes},
    Shape,
    documents::{TEXT, URL, field, mapping},
};
use super::{CA_FILE, HOSTS, TYPE, secret};

pub(super) const VAULT: Mapping = mapping(&[
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
