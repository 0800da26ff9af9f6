//! The fields of an `AccessCondition`.

use serde_json::json;

use super::{
    Mapping,
    Needed::{Always, Sometimes},
    Shape,
    documents::{TEXT, field, mapping},
};

const DATE: Shape = Shape::Match("^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$");
const TIME_OF_DAY: Shape = Shape::Match("^([01][0-9]|2[0-3]):[0-5][0-9]$");
const END_OF_WINDOW: Shape = Shape::Match("^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$");
/// An address without numbers that begin with 0, and more bits than none.
const RANGE: Shape = Shape::Match(r"^(?!(\d+\.)*0\d+[./])[0-9A-Fa-f:.]+/(?!0+$)[0-9]{1,3}$");

pub(super) static ACCESS_CONDITION: Shape = Shape::Mapping(&Mapping {
    fields: &[
        field(
            "time",
            Sometimes,
            Shape::Mapping(&TIME),
            "when: windows of a week, and days",
        ),
        field(
            "source",
            Sometimes,
            Shape::Mapping(&mapping(&[field(
                "ranges",
                Always,
                Shape::List(&RANGE),
                "ranges of addresses: `[10.0.0.0/8, \"2001:db8::/32\"]`",
            )])),
            "from which addresses",
        ),
        field(
            "geography",
            Sometimes,
            Shape::Mapping(&mapping(&[field(
                "countries",
                Always,
                Shape::List(&Shape::Match("^[A-Z]{2}$")),
                "codes of ISO 3166-1: `[DE, FR]`",
            )])),
            "from which countries",
        ),
        field(
            "cel",
            Sometimes,
            TEXT,
            "a CEL expression over `attributes`, `request`, `source` and `now` that is true or false",
        ),
    ],
    also: Some(|| json!({"minProperties": 1, "maxProperties": 1})),
});

static TIME: Mapping = Mapping {
    fields: &[
        field(
            "timeZone",
            Always,
            TEXT,
            "a name of the IANA database: `Europe/Berlin`, `UTC`",
        ),
        field(
            "windows",
            Sometimes,
            Shape::List(&Shape::Mapping(&WINDOW)),
            "when it is open; all day unless written",
        ),
        field("notBefore", Sometimes, DATE, "the first day: `2026-01-31`"),
        field("notAfter", Sometimes, DATE, "the last day: `2026-12-31`"),
    ],
    also: Some(|| {
        let any = ["windows", "notBefore", "notAfter"].map(|name| json!({"required": [name]}));
        json!({"anyOf": any})
    }),
};

static WINDOW: Mapping = mapping(&[
    field(
        "days",
        Always,
        Shape::List(&Shape::Words(|| {
            vec!["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
        })),
        "weekdays: `[mon, tue]`",
    ),
    field("from", Always, TIME_OF_DAY, "when it opens: \"08:00\""),
    field(
        "to",
        Always,
        END_OF_WINDOW,
        "when it closes: \"18:00\"; before `from`, on the next day",
    ),
]);
