//! The fields of what an OAuth 2.0 authorization server is asked with.

use super::super::{
    Field, Mapping,
    Needed::{Always, Sometimes},
    Shape,
    documents::{TEXT, URL, field, mapping},
};
use super::{CA_FILE, HOSTS, TYPE, one_of, secret};

pub(super) const CLIENT_CREDENTIALS: Mapping = Mapping {
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
};

pub(super) const TOKEN_EXCHANGE: Mapping = Mapping {
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
