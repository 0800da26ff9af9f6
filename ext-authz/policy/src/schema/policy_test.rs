//! The fields of a `PolicyTest`.

use super::{
    Entries, Mapping,
    Needed::{Always, Sometimes},
    Shape,
    documents::{REFERENCE, TEXT, field, mapping},
};
use crate::{document::policy_test::codes, selector};

pub(super) static POLICY_TEST: Shape = Shape::Mapping(&mapping(&[field(
    "cases",
    Always,
    Shape::List(&Shape::Mapping(&CASE)),
    "a list of calls, each with how it must end",
)]));

static CASE: Mapping = mapping(&[
    field("name", Sometimes, TEXT, "what the case shows"),
    field(
        "attributes",
        Always,
        Shape::Entries(&Entries {
            key: Some(selector::attribute_pattern),
            value: Shape::OneOrMore(&Shape::Text(0)),
            least: 0,
        }),
        "what would be proven of the caller: `{k8s.namespace: shop, k8s.serviceAccount: web}`",
    ),
    field(
        "trustProvider",
        Sometimes,
        REFERENCE,
        "the provider that would prove it; unless written, the only one of the fitting type",
    ),
    field(
        "request",
        Always,
        Shape::Mapping(&REQUEST),
        "what is asked: host, method and path",
    ),
    field(
        "expect",
        Always,
        Shape::Mapping(&EXPECT),
        "how it must end: `{outcome: permitted}`",
    ),
]);

static REQUEST: Mapping = mapping(&[
    field("host", Always, TEXT, "the host that is called"),
    field(
        "port",
        Sometimes,
        Shape::Port,
        "443 unless written, 80 with `transport: plaintext`",
    ),
    field(
        "transport",
        Sometimes,
        Shape::Words(|| vec!["tls", "plaintext"]),
        "`tls` unless written",
    ),
    field("method", Always, TEXT, "the method, such as `GET`"),
    field(
        "path",
        Always,
        TEXT,
        "the path, with its query if a condition reads it",
    ),
    field(
        "source",
        Sometimes,
        TEXT,
        "the address that the call comes from",
    ),
    field(
        "country",
        Sometimes,
        Shape::Match("^[A-Z]{2}$"),
        "the country of that address (ISO 3166-1), instead of what a database says",
    ),
    field(
        "at",
        Sometimes,
        TEXT,
        "when the call is made: \"2026-06-15T08:30:00Z\"",
    ),
    field(
        "headers",
        Sometimes,
        Shape::Entries(&Entries {
            key: None,
            value: Shape::OneOrMore(&Shape::Text(0)),
            least: 0,
        }),
        "headers of the request",
    ),
]);

static EXPECT: Mapping = mapping(&[
    field(
        "outcome",
        Always,
        Shape::Words(|| vec!["permitted", "denied", "error"]),
        "`permitted`, `denied` or `error`",
    ),
    field(
        "policy",
        Sometimes,
        TEXT,
        "the policy that decides: its name, or `allow:<client>:<server>:<action>`",
    ),
    field(
        "code",
        Sometimes,
        Shape::Words(|| codes().into_iter().map(|(code, _)| code).collect()),
        "the code of the denial or fault, such as `no-policy`",
    ),
]);
