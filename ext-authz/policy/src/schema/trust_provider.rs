//! The fields of `TrustProvider`, by its type.

use attache_core::jwt::Algorithm;
use serde_json::json;

use super::{
    Field, Mapping,
    Needed::{Always, Sometimes},
    Shape,
    documents::{REFERENCES, SELECTOR, TEXT, URL, field, mapping},
};

pub(super) static TRUST_PROVIDER: Shape = Shape::ByWord(
    "type",
    &[
        (
            "kubernetes-service-account",
            mapping(&[
                TYPE,
                ISSUER,
                AUDIENCE,
                field("keys", Sometimes, Shape::Mapping(&CLUSTER_KEYS), KEYS_ABOUT),
                CA_FILE,
                ALGORITHMS,
                TRUST_DOMAIN,
                field(
                    "cluster",
                    Sometimes,
                    Shape::Match("^[A-Za-z0-9._-]{1,253}$"),
                    "what `k8s.cluster` says of its pods; the provider's name unless written",
                ),
                SPIFFE_ID,
                MATCH,
                PARTNERS,
            ]),
        ),
        ("oidc", OWN_ISSUER),
        ("github-actions", PLATFORM),
        ("gitlab", PLATFORM),
        ("terraform-cloud", PLATFORM),
        ("aws-lambda-oidc", OWN_ISSUER),
        (
            "spiffe-jwt",
            mapping(&[TYPE, OWN_DOMAIN, AUDIENCE, BUNDLE, CA_FILE, MATCH, PARTNERS]),
        ),
        (
            "spiffe-x509",
            mapping(&[TYPE, OWN_DOMAIN, BUNDLE, CA_FILE, MATCH, PARTNERS]),
        ),
    ],
);

/// A kind whose issuer nobody can guess.
const OWN_ISSUER: Mapping = mapping(&[
    TYPE,
    ISSUER,
    AUDIENCE,
    KEYS,
    CA_FILE,
    ALGORITHMS,
    TRUST_DOMAIN,
    SPIFFE_ID,
    MATCH,
    PARTNERS,
]);

/// A platform with one issuer for all its users, or with an installation of one's own.
const PLATFORM: Mapping = mapping(&[
    TYPE,
    field(
        "issuer",
        Sometimes,
        URL,
        "`iss` of the tokens of an installation of your own; the public platform's unless written",
    ),
    AUDIENCE,
    KEYS,
    CA_FILE,
    ALGORITHMS,
    TRUST_DOMAIN,
    SPIFFE_ID,
    MATCH,
    PARTNERS,
]);

const TYPE: Field = field(
    "type",
    Always,
    TEXT,
    "`kubernetes-service-account`, `oidc`, or a platform: `github-actions`, `gitlab`, `terraform-cloud`, `aws-lambda-oidc`, or a SPIFFE trust domain: `spiffe-jwt`, `spiffe-x509`",
);
const ISSUER: Field = field(
    "issuer",
    Always,
    URL,
    "`iss` of the tokens, byte for byte: an https URL",
);
const AUDIENCE: Field = field(
    "audience",
    Sometimes,
    TEXT,
    "one of the tokens' `aud`; `attache` unless written",
);
const KEYS_ABOUT: &str = "where the issuer's keys come from; `{discovery: true}` unless written";
const KEYS: Field = field("keys", Sometimes, Shape::Mapping(&ISSUER_KEYS), KEYS_ABOUT);
const CA_FILE: Field = field(
    "caFile",
    Sometimes,
    TEXT,
    "certificates (PEM) that the key server is verified with",
);
const ALGORITHMS: Field = field(
    "algorithms",
    Sometimes,
    Shape::List(&Shape::Words(|| {
        Algorithm::ALL.map(Algorithm::name).to_vec()
    })),
    "what the issuer signs with; `[RS256, ES256]` unless written, `[RS256, ES384]` for AWS",
);
const TRUST_DOMAIN: Field = field(
    "trustDomain",
    Sometimes,
    Shape::Match("^[a-z0-9._-]{1,255}$"),
    "of the SPIFFE IDs it vouches for; the configuration's unless written",
);
const SPIFFE_ID: Field = field(
    "spiffeId",
    Sometimes,
    TEXT,
    "the path of its SPIFFE IDs, with attributes in braces: `ns/{k8s.namespace}/sa/{k8s.serviceAccount}`",
);
const MATCH: Field = field(
    "match",
    Sometimes,
    SELECTOR,
    "whom it vouches for, by attributes of its own: `[{github.repositoryOwnerId: \"1234\"}]`",
);
const PARTNERS: Field = field(
    "sharesIdentitiesWith",
    Sometimes,
    REFERENCES,
    "TrustProviders of the same trust domain, each of which names this one: one SPIFFE ID is one workload, whichever of them proves it",
);

const OWN_DOMAIN: Field = field(
    "trustDomain",
    Always,
    Shape::Match("^[a-z0-9._-]{1,255}$"),
    "the trust domain whose SVIDs it verifies; a bundle does not say it",
);
const BUNDLE: Field = field(
    "bundle",
    Always,
    Shape::Mapping(&BUNDLE_SOURCE),
    "where the trust domain's SPIFFE bundle comes from",
);

static BUNDLE_SOURCE: Mapping = mapping(&[
    field(
        "file",
        Sometimes,
        TEXT,
        "a file with a SPIFFE bundle, read again when it changes",
    ),
    field(
        "url",
        Sometimes,
        Shape::Match("^https://"),
        "a SPIFFE bundle endpoint, of the profile https_web unless `endpointSpiffeId` is written",
    ),
    field(
        "endpointSpiffeId",
        Sometimes,
        Shape::Match("^spiffe://"),
        "whom the endpoint's certificate names: the profile https_spiffe",
    ),
    field(
        "endpointBundleFile",
        Sometimes,
        TEXT,
        "a file with the first bundle of the endpoint's trust domain",
    ),
    field(
        "workloadApi",
        Sometimes,
        Shape::Match("^(unix://)?/"),
        "the socket of a SPIFFE Workload API: `unix:///run/spire/sockets/agent.sock`",
    ),
]);

const DISCOVERY: Field = field(
    "discovery",
    Sometimes,
    Shape::True,
    "`true`: the issuer's /.well-known/openid-configuration",
);
const DISCOVERY_URL: Field = field(
    "discoveryUrl",
    Sometimes,
    URL,
    "a discovery document elsewhere",
);
const JWKS_URL: Field = field("jwksUrl", Sometimes, URL, "a key set");
const JWKS_FILE: Field = field("jwksFile", Sometimes, TEXT, "a file with a key set");
const JWKS: Field = field(
    "jwks",
    Sometimes,
    Shape::Foreign(&["object", "string"]),
    "the key set itself, as a mapping or as JSON text",
);

static ISSUER_KEYS: Mapping = Mapping {
    fields: &[DISCOVERY, DISCOVERY_URL, JWKS_URL, JWKS_FILE, JWKS],
    also: Some(|| json!({"minProperties": 1, "maxProperties": 1})),
};

static CLUSTER_KEYS: Mapping = Mapping {
    fields: &[
        DISCOVERY,
        DISCOVERY_URL,
        JWKS_URL,
        JWKS_FILE,
        JWKS,
        field(
            "inCluster",
            Sometimes,
            Shape::True,
            "`true`: the API server of the cluster that Attaché runs in, with the pod's own token and CA",
        ),
    ],
    also: Some(|| json!({"minProperties": 1, "maxProperties": 1})),
};
