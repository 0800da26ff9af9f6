//! The table: every field of every kind of document.

use super::{
    Entries, Field, Mapping,
    Needed::{self, Always, Sometimes},
    Shape,
    authentication::AUTHENTICATION,
    condition::ACCESS_CONDITION,
    credential_provider::CREDENTIAL_PROVIDER,
    policy::{ACCESS_POLICY, CREDENTIAL_POLICY, WORKLOAD_IDENTITY},
    policy_test::POLICY_TEST,
    trust_provider::TRUST_PROVIDER,
};
use crate::{
    document::{Kind, VERSIONS},
    selector,
};

pub(super) const fn field(
    name: &'static str,
    needed: Needed,
    shape: Shape,
    about: &'static str,
) -> Field {
    Field {
        name,
        about,
        needed,
        shape,
    }
}

pub(super) const fn mapping(fields: &'static [Field]) -> Mapping {
    Mapping { fields, also: None }
}

/// A text that is not empty.
pub(super) const TEXT: Shape = Shape::Text(1);
/// `name` or `namespace/name`.
pub(super) const REFERENCE: Shape = Shape::Match(
    "^([a-z0-9]([-a-z0-9]*[a-z0-9])?/)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
);
pub(super) const REFERENCES: Shape = Shape::Set(&REFERENCE);
/// RFC 1123 §2.1.
pub(super) const LABEL: Shape = Shape::Match("^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$");
const NAME: Shape =
    Shape::Match("^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$");
/// Visible ASCII without query, fragment, parameters, `*` and backslash; no empty, `.` or `..` segments.
pub(super) const PATH: Shape =
    Shape::Match(r#"^(?!.*//)(?!.*/\.{1,2}(/|$))/[!"$-)+-:<->@-\[\]-~]*$"#);
/// A name, which no port follows and in which `*` stands first; or an address.
pub(super) const HOST: Shape = Shape::Match(r"^(\*\.)?[^\s/@*:]+$|^\[?[0-9A-Fa-f:.]+\]?$");
pub(super) const URL: Shape = Shape::Match("^https?://");

pub(super) static DOCUMENT: Shape = Shape::Mapping(&Mapping {
    fields: &[
        field(
            "apiVersion",
            Always,
            Shape::Words(|| VERSIONS.to_vec()),
            "`attache.dev/v1`",
        ),
        field(
            "kind",
            Always,
            Shape::Words(|| Kind::ALL.map(Kind::name).to_vec()),
            "what the document is, such as `AccessPolicy`",
        ),
        field(
            "metadata",
            Always,
            Shape::Mapping(&METADATA),
            "`{name: …}`, and `namespace` if the document belongs to one",
        ),
        field(
            "spec",
            Always,
            Shape::Foreign(&["object"]),
            "what the document says; its fields depend on `kind`",
        ),
    ],
    also: None,
});

static METADATA: Mapping = mapping(&[
    field(
        "name",
        Always,
        NAME,
        "the document's name, unique in its namespace and kind: a-z, 0-9, `-` and `.`",
    ),
    field(
        "namespace",
        Sometimes,
        LABEL,
        "the namespace; a document without one is global",
    ),
    field("labels", Sometimes, TEXTS, "texts of your own"),
    field("annotations", Sometimes, TEXTS, "texts of your own"),
    field(
        "description",
        Sometimes,
        Shape::Text(0),
        "what the document is for",
    ),
]);

const TEXTS: Shape = Shape::Entries(&Entries {
    key: None,
    value: Shape::Text(0),
    least: 0,
});

pub(super) const fn specification(kind: Kind) -> &'static Shape {
    match kind {
        Kind::ClientWorkload => &CLIENT_WORKLOAD,
        Kind::ServerWorkload => &SERVER_WORKLOAD,
        Kind::TrustProvider => &TRUST_PROVIDER,
        Kind::AccessCondition => &ACCESS_CONDITION,
        Kind::CredentialProvider => &CREDENTIAL_PROVIDER,
        Kind::AccessPolicy => &ACCESS_POLICY,
        Kind::WorkloadIdentity => &WORKLOAD_IDENTITY,
        Kind::CredentialPolicy => &CREDENTIAL_POLICY,
        Kind::PolicyTest => &POLICY_TEST,
    }
}

/// Entries of attributes, each with a value or some.
pub(super) const SELECTOR: Shape = Shape::List(&Shape::Entries(&Entries {
    key: Some(selector::selector_pattern),
    // More than stars.
    value: Shape::OneOrMore(&Shape::Match("[^*]")),
    least: 1,
}));

static CLIENT_WORKLOAD: Shape = Shape::Mapping(&mapping(&[field(
    "match",
    Always,
    SELECTOR,
    "a list of entries, each with the attributes that a caller must have: `[{k8s.namespace: shop}]`",
)]));

static SERVER_WORKLOAD: Shape = Shape::Mapping(&mapping(&[
    field(
        "host",
        Always,
        HOST,
        "a DNS name, an IP address, or `*.example.com` for all below it",
    ),
    field(
        "port",
        Sometimes,
        Shape::Port,
        "443 unless written, 80 with `tls: plaintext-allowed`",
    ),
    field(
        "tls",
        Sometimes,
        Shape::Words(|| vec!["required", "plaintext-allowed"]),
        "`required` unless written",
    ),
    field(
        "protocol",
        Sometimes,
        Shape::Words(|| vec!["http"]),
        "`http`",
    ),
    field(
        "paths",
        Sometimes,
        Shape::List(&PATH),
        "path prefixes, matched by segment; all paths unless written",
    ),
    field(
        "pathMatching",
        Sometimes,
        Shape::Words(|| vec!["exact", "case-insensitive"]),
        "`exact` unless written; `case-insensitive` for a target that reads `/ADMIN` and `/admin.` as `/admin`: a deny covers them all",
    ),
    field(
        "authentication",
        Sometimes,
        AUTHENTICATION,
        "where a credential goes; `{method: bearer}` unless written",
    ),
]));
