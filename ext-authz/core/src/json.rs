//! Strict JSON (RFC 8259) for what strangers send: an object, no member twice, nesting bounded,
//! nothing after it. Two readers of one text must never see two different values.

use alloc::{
    string::{String, ToString},
    vec::Vec,
};
use core::{cell::Cell, fmt};

use serde::{
    Deserializer,
    de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Number, Value};
use thiserror::Error;

#[cfg(test)]
mod tests;

/// How deep objects and arrays may nest; the outermost object counts as one.
pub const MAX_DEPTH: u8 = 16;

/// Why a text is not accepted. Never holds any part of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InvalidJson {
    /// Not JSON in UTF-8, a number that no `f64` holds, or something after the value.
    #[error("not well-formed JSON")]
    Syntax,
    /// RFC 7515 §4 and RFC 7519 §4 demand unique names; readers disagree on which of two counts.
    #[error("a JSON member stands twice")]
    DuplicateMember,
    /// Nested deeper than [`MAX_DEPTH`].
    #[error("JSON nested deeper than {MAX_DEPTH}")]
    TooDeep,
    /// Well-formed, but an array, string, number, boolean or null.
    #[error("not a JSON object")]
    NotAnObject,
}

/// Reads one JSON object that fills `bytes` (white space aside).
pub fn object(bytes: &[u8]) -> Result<Map<String, Value>, InvalidJson> {
    let fault = Cell::new(InvalidJson::Syntax);
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let strict = Strict {
        depth_left: MAX_DEPTH,
        fault: &fault,
    };
    let value = strict
        .deserialize(&mut reader)
        .map_err(|_position| fault.get())?;
    reader.end().map_err(|_position| InvalidJson::Syntax)?;
    match value {
        Value::Object(members) => Ok(members),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Err(InvalidJson::NotAnObject)
        }
    }
}

/// Builds a `Value` and leaves in `fault` why it stopped; serde's errors carry text only.
#[derive(Clone, Copy)]
struct Strict<'f> {
    depth_left: u8,
    fault: &'f Cell<InvalidJson>,
}

impl Strict<'_> {
    fn inside<E: de::Error>(self) -> Result<Self, E> {
        let depth_left = self.depth_left.checked_sub(1);
        depth_left
            .map(|depth_left| Self { depth_left, ..self })
            .ok_or_else(|| self.stop(InvalidJson::TooDeep))
    }

    fn stop<E: de::Error>(self, fault: InvalidJson) -> E {
        self.fault.set(fault);
        E::custom(fault)
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        let number = Number::from_f64(value).ok_or_else(|| self.stop(InvalidJson::Syntax));
        number.map(Value::Number)
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_string()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let inside = self.inside()?;
        let mut values = Vec::new();
        while let Some(value) = items.next_element_seed(inside)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let inside = self.inside()?;
        let mut map = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            if map.insert(name, members.next_value_seed(inside)?).is_some() {
                return Err(self.stop(InvalidJson::DuplicateMember));
            }
        }
        Ok(Value::Object(map))
    }
}
