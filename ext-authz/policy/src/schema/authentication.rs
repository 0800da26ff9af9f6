//! The fields of `authentication` of a ServerWorkload, by its method.

use super::{
    Field,
    Needed::{Always, Sometimes},
    Shape,
    documents::{field, mapping},
};

const METHOD: Field = field(
    "method",
    Always,
    Shape::Words(|| {
        let mut words = OF_ONE.to_vec();
        words.extend(["several", "provider-headers", "client-assertion"]);
        words
    }),
    "`bearer`, `ssws`, `basic`, `header`, `query`, `several`, `provider-headers` or `client-assertion`",
);

/// Those that stand for one place.
const OF_ONE: [&str; 5] = ["bearer", "ssws", "basic", "header", "query"];

const METHOD_OF_ONE: Field = field(
    "method",
    Always,
    Shape::Words(|| OF_ONE.to_vec()),
    "`bearer`, `ssws`, `basic`, `header` or `query`",
);

pub(super) const AUTHENTICATION: Shape = Shape::ByWord(
    "method",
    &[
        ("bearer", mapping(&[METHOD])),
        ("ssws", mapping(&[METHOD])),
        ("basic", mapping(&[METHOD])),
        ("header", mapping(&[METHOD, HEADER, PREFIX, PART])),
        ("query", mapping(&[METHOD, PARAMETER, PART])),
        (
            "several",
            mapping(&[
                METHOD,
                field(
                    "places",
                    Always,
                    Shape::List(&PLACE),
                    "the places, each with the fields of one: `{method: header, name: X-Api-Key}`",
                ),
            ]),
        ),
        ("provider-headers", mapping(&[METHOD])),
        ("client-assertion", mapping(&[METHOD])),
    ],
);

const PLACE: Shape = Shape::ByWord(
    "method",
    &[
        ("bearer", mapping(&[METHOD_OF_ONE])),
        ("ssws", mapping(&[METHOD_OF_ONE])),
        ("basic", mapping(&[METHOD_OF_ONE])),
        ("header", mapping(&[METHOD_OF_ONE, HEADER, PREFIX, PART])),
        ("query", mapping(&[METHOD_OF_ONE, PARAMETER, PART])),
    ],
);

const HEADER: Field = field(
    "name",
    Always,
    Shape::Match("^[A-Za-z0-9-]{1,128}$"),
    "the header that carries the credential, such as `X-Api-Token`",
);

const PARAMETER: Field = field(
    "name",
    Always,
    Shape::Match("^[A-Za-z0-9._~-]{1,128}$"),
    "the parameter of the query that carries the credential, such as `key`",
);

const PREFIX: Field = field(
    "prefix",
    Sometimes,
    Shape::Text(0),
    "what stands before the credential, with its space: \"Token \"",
);

const PART: Field = field(
    "part",
    Sometimes,
    Shape::Words(|| vec!["token", "username", "password"]),
    "`token` unless written; of a user name with a password, which of them",
);
