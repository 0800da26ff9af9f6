//! `envoy.service.auth.v3.CheckRequest`, as far as it is read here. On the wire it is that of Envoy's own definitions,
//! field by field; in memory its texts are where they arrived. What is not read is skipped.
//!
//! `string` and `bytes` are one thing on the wire; whoever takes a text looks whether it is one.

use std::str::Utf8Error;

use prost::{
    DecodeError,
    encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field},
};

/// Why a message is none.
#[derive(Debug, thiserror::Error)]
pub enum Malformed {
    /// It is not written as messages are.
    #[error(transparent)]
    Wire(#[from] DecodeError),
    /// A field says that it is longer than what is left.
    #[error("field {0} ends after its message")]
    Long(u32),
    /// A field is not of the kind that its number stands for.
    #[error("field {0} is of another kind")]
    Kind(u32),
    /// What must be a text is none.
    #[error(transparent)]
    Text(#[from] Utf8Error),
}

/// `CheckRequest.attributes`, of which the levels that hold one thing are left out. A field that stands there twice
/// counts as protobuf has it: of messages all fields are taken together, of anything else the last.
#[derive(Debug, Default)]
pub struct Asked<'a> {
    /// `source`.
    pub source: Peer<'a>,
    /// `request.http`.
    pub http: Option<Http<'a>>,
    /// `context_extensions`.
    pub extensions: Vec<Entry<'a>>,
}

/// `AttributeContext.Peer`.
#[derive(Debug, Default)]
pub struct Peer<'a> {
    /// `address.socket_address`; `None` for another kind of address.
    pub socket: Option<Socket<'a>>,
    /// `principal`.
    pub principal: &'a [u8],
    /// `certificate`.
    pub certificate: &'a [u8],
}

/// `envoy.config.core.v3.SocketAddress`.
#[derive(Debug, Default)]
pub struct Socket<'a> {
    /// `address`.
    pub address: &'a [u8],
    /// `port_value`; 0 if it has a name.
    pub port: u32,
}

/// `AttributeContext.HttpRequest`.
#[derive(Debug, Default)]
pub struct Http<'a> {
    /// `method`.
    pub method: &'a [u8],
    /// `path`.
    pub path: &'a [u8],
    /// `host`.
    pub host: &'a [u8],
    /// `headers`, where Envoy joined those of one name.
    pub joined: Vec<Entry<'a>>,
    /// `header_map`, with duplicates apart and bytes as sent, from an Envoy with `encode_raw_headers`.
    pub raw: Option<Vec<(&'a str, &'a [u8])>>,
}

/// An entry of a map: of two with one key the last counts.
#[derive(Debug, Default)]
pub struct Entry<'a> {
    /// `key`.
    pub key: &'a [u8],
    /// `value`.
    pub value: &'a [u8],
}

impl<'a> Asked<'a> {
    /// Reads a `CheckRequest`.
    pub fn read(message: &'a [u8]) -> Result<Self, Malformed> {
        let mut asked = Self::default();
        each(message, |field| match field.number {
            1 => each(field.bytes()?, |field| asked.attribute(&field)),
            _ => Ok(()),
        })?;
        Ok(asked)
    }

    fn attribute(&mut self, field: &Field<'a>) -> Result<(), Malformed> {
        match field.number {
            1 => each(field.bytes()?, |field| self.source.field(&field))?,
            4 => each(field.bytes()?, |field| match field.number {
                2 => {
                    let http = self.http.get_or_insert_default();
                    each(field.bytes()?, |field| http.field(&field))
                }
                _ => Ok(()),
            })?,
            10 => self.extensions.push(Entry::read(field.bytes()?)?),
            _ => {}
        }
        Ok(())
    }
}

impl<'a> Peer<'a> {
    fn field(&mut self, field: &Field<'a>) -> Result<(), Malformed> {
        match field.number {
            // One of three kinds of address.
            1 => each(field.bytes()?, |field| match field.number {
                1 => {
                    let socket = self.socket.get_or_insert_default();
                    each(field.bytes()?, |field| socket.field(&field))
                }
                2 | 3 => {
                    self.socket = None;
                    each(field.bytes()?, |_unread| Ok(()))
                }
                _ => Ok(()),
            })?,
            4 => self.principal = field.bytes()?,
            5 => self.certificate = field.bytes()?,
            _ => {}
        }
        Ok(())
    }
}

impl<'a> Socket<'a> {
    fn field(&mut self, field: &Field<'a>) -> Result<(), Malformed> {
        match field.number {
            2 => self.address = field.bytes()?,
            3 => self.port = field.number()?,
            4 => {
                field.bytes()?;
                self.port = 0;
            }
            _ => {}
        }
        Ok(())
    }
}

impl<'a> Http<'a> {
    fn field(&mut self, field: &Field<'a>) -> Result<(), Malformed> {
        match field.number {
            2 => self.method = field.bytes()?,
            3 => self.joined.push(Entry::read(field.bytes()?)?),
            4 => self.path = field.bytes()?,
            5 => self.host = field.bytes()?,
            13 => {
                let raw = self.raw.get_or_insert_with(|| Vec::with_capacity(HEADERS));
                each(field.bytes()?, |field| {
                    if field.number == 1 {
                        raw.push(header(field.bytes()?)?);
                    }
                    Ok(())
                })?;
            }
            _ => {}
        }
        Ok(())
    }
}

/// As many headers as most requests have.
const HEADERS: usize = 16;

/// `envoy.config.core.v3.HeaderValue`.
fn header(message: &[u8]) -> Result<(&str, &[u8]), Malformed> {
    let (mut key, mut value, mut raw): (&[u8], &[u8], &[u8]) = (&[], &[], &[]);
    each(message, |field| {
        match field.number {
            1 => key = field.bytes()?,
            2 => value = field.bytes()?,
            3 => raw = field.bytes()?,
            _ => {}
        }
        Ok(())
    })?;
    let value = if raw.is_empty() {
        str::from_utf8(value)?.as_bytes()
    } else {
        raw
    };
    Ok((str::from_utf8(key)?, value))
}

impl<'a> Entry<'a> {
    fn read(message: &'a [u8]) -> Result<Self, Malformed> {
        let mut entry = Self::default();
        each(message, |field| {
            match field.number {
                1 => entry.key = field.bytes()?,
                2 => entry.value = field.bytes()?,
                _ => {}
            }
            Ok(())
        })?;
        Ok(entry)
    }
}

/// A field of a message.
struct Field<'a> {
    number: u32,
    value: Value<'a>,
}

enum Value<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    /// Of a kind that no field that is read here has.
    Other,
}

impl<'a> Field<'a> {
    fn bytes(&self) -> Result<&'a [u8], Malformed> {
        match self.value {
            Value::Bytes(bytes) => Ok(bytes),
            Value::Varint(_) | Value::Other => Err(Malformed::Kind(self.number)),
        }
    }

    /// A `uint32`, of which more bits than it has are cut off.
    fn number(&self) -> Result<u32, Malformed> {
        match self.value {
            Value::Varint(number) => Ok(u32::try_from(number & u64::from(u32::MAX)).unwrap_or(0)),
            Value::Bytes(_) | Value::Other => Err(Malformed::Kind(self.number)),
        }
    }
}

/// Hands the fields of `message` to `read`, in their order.
fn each<'a>(
    mut message: &'a [u8],
    mut read: impl FnMut(Field<'a>) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    while !message.is_empty() {
        let (number, wire_type) = decode_key(&mut message)?;
        let value = match wire_type {
            WireType::Varint => Value::Varint(decode_varint(&mut message)?),
            WireType::LengthDelimited => {
                let length = decode_varint(&mut message)?;
                let parts = usize::try_from(length).ok();
                let parts = parts.and_then(|length| message.split_at_checked(length));
                let (value, rest) = parts.ok_or(Malformed::Long(number))?;
                message = rest;
                Value::Bytes(value)
            }
            WireType::SixtyFourBit
            | WireType::ThirtyTwoBit
            | WireType::StartGroup
            | WireType::EndGroup => {
                skip_field(wire_type, number, &mut message, DecodeContext::default())?;
                Value::Other
            }
        };
        read(Field { number, value })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
