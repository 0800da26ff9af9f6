//! The fields of `AccessPolicy`, and of the short forms.

use attache_core::attestation::ProviderKind;
use serde_json::json;

use super::{
    Entries, Field, Mapping,
    Needed::{Always, Sometimes},
    Shape,
    credential_provider::CREDENTIAL_PROVIDER,
    documents::{LABEL, PATH, REFERENCE, REFERENCES, field, mapping},
};
use crate::document::{IDENTITY_KINDS, TTL_SECONDS};

pub(super) static ACCESS_POLICY: Shape = Shape::Mapping(&Mapping {
    fields: &[
        field(
            "effect",
            Always,
            Shape::Words(|| vec!["allow", "deny"]),
            "`allow` or `deny`; a deny always wins",
        ),
        field(
            "mode",
            Sometimes,
            Shape::Words(|| vec!["enforce", "dry-run"]),
            "`enforce` unless written; `dry-run` changes no answer and is told in the audit log",
        ),
        field(
            "client",
            Always,
            REFERENCE,
            "the ClientWorkload or WorkloadIdentity that calls",
        ),
        field(
            "server",
            Always,
            REFERENCE,
            "the ServerWorkload that is called",
        ),
        field(
            "attestation",
            Sometimes,
            Shape::Words(|| vec!["any", "all", "none"]),
            "`any` unless written: one of `trustProviders` must have proven the caller; `all`, for an allow: each of \
             them; `none`: the caller shows no evidence, and no credential is attached",
        ),
        field(
            "trustProviders",
            Sometimes,
            REFERENCES,
            "the TrustProviders whose proof of the caller counts; without one the credential would go to a \
             caller whom nobody proved",
        ),
        field(
            "conditions",
            Sometimes,
            REFERENCES,
            "AccessConditions, all of which must hold",
        ),
        field(
            "credentialProvider",
            Sometimes,
            REFERENCE,
            "the CredentialProvider; without one the call passes without a credential",
        ),
        field(
            "ttl",
            Sometimes,
            Shape::Duration(TTL_SECONDS),
            "the credential's lifetime, in place of its provider's",
        ),
        field(
            "actions",
            Always,
            Shape::Set(&Shape::Either(&[
                Shape::Words(|| vec!["read", "write", "all"]),
                Shape::Mapping(&ACTION),
            ])),
            "what may be done: `[read]`, `[write]`, `[all]`, or `{name, methods, paths}`",
        ),
    ],
    also: Some(|| {
        let absent = |field: &str| json!({"not": {"required": [field]}});
        json!({
            "if": {"properties": {"effect": {"const": "deny"}}},
            "then": {
                "properties": {"attestation": {"enum": ["any", "none"]}},
                "allOf": [absent("credentialProvider"), absent("ttl")],
            },
            "dependentRequired": {"ttl": ["credentialProvider"]},
            "allOf": [
                {
                    "if": {"properties": {"attestation": {"const": "none"}}, "required": ["attestation"]},
                    "then": {"allOf": [absent("credentialProvider"), absent("trustProviders")]},
                    "else": {
                        "if": {"properties": {"effect": {"const": "allow"}}},
                        "then": {"required": ["trustProviders"]},
                    },
                },
            ],
        })
    }),
});

static ACTION: Mapping = mapping(&[
    field(
        "name",
        Always,
        LABEL,
        "the action's name, as the audit log tells it",
    ),
    field(
        "methods",
        Always,
        Shape::List(&Shape::Match(
            "^(?!(CONNECT|TRACE|TRACK)$)[A-Z0-9!#$%&'+.^_`|~-]{1,32}$",
        )),
        "HTTP methods: `[GET, POST]`",
    ),
    field(
        "paths",
        Always,
        Shape::List(&PATH),
        "path prefixes; `[/]` for all of the server's",
    ),
]);

pub(super) static WORKLOAD_IDENTITY: Shape = Shape::Mapping(&mapping(&[field(
    "attestation",
    Always,
    ATTESTATION,
    "`type`, and what the proof must say",
)]));

const ATTESTATION_TYPE: Field = field(
    "type",
    Always,
    Shape::Words(|| IDENTITY_KINDS.map(ProviderKind::name).to_vec()),
    "`kubernetes-service-account`, `oidc`, `spiffe-jwt` or `spiffe-x509`",
);

const SVID: Mapping = mapping(&[
    ATTESTATION_TYPE,
    field("spiffeId", Always, EXACT, "the workload's SPIFFE ID"),
]);

/// An exact value: `*` is for ClientWorkload.
const EXACT: Shape = Shape::Match("^[^*]+$");

const ATTESTATION: Shape = Shape::ByWord(
    "type",
    &[
        (
            "kubernetes-service-account",
            mapping(&[
                ATTESTATION_TYPE,
                field("namespace", Always, EXACT, "the pod's namespace"),
                field("serviceAccount", Always, EXACT, "the pod's ServiceAccount"),
            ]),
        ),
        (
            "oidc",
            mapping(&[
                ATTESTATION_TYPE,
                field(
                    "claims",
                    Always,
                    Shape::Entries(&Entries {
                        key: Some(|| ".".to_owned()),
                        value: EXACT,
                        least: 1,
                    }),
                    "claims with their exact values: `{repository: acme/shop}`",
                ),
            ]),
        ),
        ("spiffe-jwt", SVID),
        ("spiffe-x509", SVID),
    ],
);

pub(super) static CREDENTIAL_POLICY: Shape = Shape::Mapping(&mapping(&[
    field(
        "workloadIdentity",
        Always,
        REFERENCE,
        "the WorkloadIdentity that calls",
    ),
    field(
        "targetService",
        Always,
        REFERENCE,
        "the ServerWorkload that is called",
    ),
    field(
        "credentialProvider",
        Always,
        CREDENTIAL_PROVIDER,
        "`{type: oidc-token, audience: …}`",
    ),
]));
