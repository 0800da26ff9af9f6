//! The table as JSON Schema, draft 2020-12.

mod range;

use std::ops::RangeInclusive;

use serde_json::{Map, Value, json};

use super::{Entries, Mapping, Needed, Shape};
use crate::document::Kind;

/// The JSON Schema (draft 2020-12) of one document of any kind. It knows one document: what names refer to,
/// and whether hosts, URLs and keys are sound, `attache validate` says.
pub fn json_schema() -> Value {
    let document = Shape::DOCUMENT.json();
    let by_kind = |kind: Kind| {
        json!({
            "if": {"properties": {"kind": {"const": kind.name()}}, "required": ["kind"]},
            "then": {"properties": {"spec": {"$ref": format!("#/$defs/{}", kind.name())}}},
        })
    };
    let by_kind = Kind::ALL.map(by_kind);
    let mut definitions = Map::new();
    for kind in Kind::ALL {
        definitions.insert(kind.name().to_owned(), Shape::of(kind).json());
    }
    let frame = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:attache:policy:v1",
        "title": "Attaché policy document",
        "allOf": by_kind,
        "$defs": definitions,
    });
    merged(frame, document)
}

impl Shape {
    fn json(&self) -> Value {
        match self {
            Self::Text(least) => json!({"type": "string", "minLength": least}),
            Self::Match(pattern) => json!({"type": "string", "pattern": pattern}),
            Self::Words(words) => json!({"enum": words()}),
            Self::True => json!({"const": true}),
            Self::Duration(bounds) => json!({"oneOf": [
                {"type": "integer", "minimum": bounds.start(), "maximum": bounds.end()},
                {"type": "string", "pattern": with_unit(bounds)},
            ]}),
            Self::Port => json!({"type": "integer", "minimum": 1, "maximum": u16::MAX}),
            Self::List(item) => json!({"type": "array", "items": item.json(), "minItems": 1}),
            Self::Set(item) => merged(Self::List(item).json(), json!({"uniqueItems": true})),
            Self::OneOrMore(item) => json!({"oneOf": [item.json(), Self::List(item).json()]}),
            Self::Entries(entries) => entries.json(),
            Self::Mapping(mapping) => mapping.json(),
            Self::ByWord(field, choices) => {
                let chosen = |(word, mapping): &(&str, Mapping)| {
                    let word = json!({"properties": {*field: {"const": word}}});
                    json!({"if": word, "then": mapping.json()})
                };
                let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
                let choices: Vec<Value> = choices.iter().map(chosen).collect();
                json!({
                    "type": "object",
                    "properties": {*field: {"enum": words}},
                    "required": [field],
                    "allOf": choices,
                })
            }
            Self::Either(shapes) => {
                let shapes: Vec<Value> = shapes.iter().map(Self::json).collect();
                json!({"oneOf": shapes})
            }
            Self::Foreign(types) => json!({"type": types, "minLength": 1}),
        }
    }
}

impl Mapping {
    fn json(&self) -> Value {
        let mut properties = Map::new();
        let mut required = Vec::new();
        for field in self.fields {
            let about = json!({"description": field.about});
            properties.insert(field.name.to_owned(), merged(field.shape.json(), about));
            if field.needed == Needed::Always {
                required.push(field.name);
            }
        }
        let mapping = json!({
            "type": "object",
            "properties": properties,
            "required": required,
            "additionalProperties": false,
        });
        self.also
            .map_or(mapping.clone(), |also| merged(mapping, also()))
    }
}

impl Entries {
    fn json(&self) -> Value {
        let names = self.key.map_or(json!({}), |key| json!({"pattern": key()}));
        json!({
            "type": "object",
            "propertyNames": names,
            "additionalProperties": self.value.json(),
            "minProperties": self.least,
        })
    }
}

/// Numbers with each unit of a duration, as far as they lie within `bounds`, in seconds.
fn with_unit(bounds: &RangeInclusive<u64>) -> String {
    let units = [
        ("ms", 1),
        ("s?", 1000),
        ("m", 60_000),
        ("h", 3_600_000),
        ("d", 86_400_000),
    ];
    let millis = |seconds: &u64| seconds.saturating_mul(1000);
    let (low, high) = (millis(bounds.start()), millis(bounds.end()));
    let within = units.into_iter().filter_map(|(unit, size): (_, u64)| {
        let numbers = range::between(low.div_ceil(size), high.div_euclid(size))?;
        Some(format!("{numbers}{unit}"))
    });
    let within: Vec<String> = within.collect();
    format!("^({})$", within.join("|"))
}

/// The members of both; `other`'s where both have one.
fn merged(one: Value, other: Value) -> Value {
    match (one, other) {
        (Value::Object(mut members), Value::Object(more)) => {
            members.extend(more);
            Value::Object(members)
        }
        (one, _) => one,
    }
}
