//! A database in MaxMind's format (MaxMind DB 2.0): one IPv4 network of eight bits and its record.

/// A value of the data section.
pub(super) enum Value<'a> {
    Text(&'a str),
    Map(&'a [(&'a str, Value<'a>)]),
    Texts(&'a [&'a str]),
    Uint16(u16),
    Uint32(u32),
    Uint64(u64),
}

impl Value<'_> {
    fn write(&self, to: &mut Vec<u8>) {
        match self {
            Self::Text(text) => {
                control(2, text.len(), to);
                to.extend(text.bytes());
            }
            Self::Map(members) => {
                control(7, members.len(), to);
                for (name, value) in *members {
                    Value::Text(name).write(to);
                    value.write(to);
                }
            }
            Self::Texts(items) => {
                control(11, items.len(), to);
                items.iter().for_each(|item| Value::Text(item).write(to));
            }
            Self::Uint16(number) => integer(5, &number.to_be_bytes(), to),
            Self::Uint32(number) => integer(6, &number.to_be_bytes(), to),
            Self::Uint64(number) => integer(9, &number.to_be_bytes(), to),
        }
    }
}

fn control(kind: u8, size: usize, to: &mut Vec<u8>) {
    let size = u8::try_from(size).unwrap();
    assert!(size < 29);
    if kind < 8 {
        to.push(kind << 5 | size);
    } else {
        to.extend([size, kind - 7]);
    }
}

fn integer(kind: u8, bytes: &[u8], to: &mut Vec<u8>) {
    control(kind, bytes.len(), to);
    to.extend(bytes);
}

/// A database that knows `record` of the network `first_byte`/8, built at `built` (seconds since 1970).
pub(super) fn database(first_byte: u8, record: &Value<'_>, built: u64) -> Vec<u8> {
    const NODES: u32 = 8;
    let mut bytes = Vec::new();
    for node in 0..NODES {
        let next = if node + 1 == NODES {
            // The record stands at the start of the data section, behind 16 bytes.
            NODES + 16
        } else {
            node + 1
        };
        let is_right = first_byte >> (7 - node) & 1 == 1;
        let records = if is_right {
            [NODES, next]
        } else {
            [next, NODES]
        };
        records
            .iter()
            .for_each(|record| bytes.extend(&record.to_be_bytes()[1..]));
    }
    bytes.extend([0; 16]);
    record.write(&mut bytes);
    bytes.extend(b"\xab\xcd\xefMaxMind.com");
    Value::Map(&[
        ("binary_format_major_version", Value::Uint16(2)),
        ("binary_format_minor_version", Value::Uint16(0)),
        ("build_epoch", Value::Uint64(built)),
        ("database_type", Value::Text("Test-Country")),
        ("description", Value::Map(&[("en", Value::Text("a test"))])),
        ("ip_version", Value::Uint16(4)),
        ("languages", Value::Texts(&["en"])),
        ("node_count", Value::Uint32(NODES)),
        ("record_size", Value::Uint16(24)),
    ])
    .write(&mut bytes);
    bytes
}
