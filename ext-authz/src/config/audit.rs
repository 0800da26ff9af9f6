//! The section `audit`.

use std::path::{Path, PathBuf};

use attache_edge::journal::{Durability, JournalConfig, Retention};

use super::{layers::Section, path};

/// The audit journal.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Audit {
    /// Its directory.
    pub(crate) dir: PathBuf,
    /// When an event counts as recorded.
    durability: Durability,
    /// How much is kept.
    retention: Retention,
}

impl Audit {
    /// The journal's own configuration.
    pub(crate) fn journal(&self) -> JournalConfig {
        let mut config = JournalConfig::new(&self.dir);
        config.durability = self.durability;
        config.retention = self.retention;
        config
    }
}

/// Sizes that a disk may have.
const BYTES: std::ops::RangeInclusive<u64> = (1 << 20)..=(1 << 50);
/// Ages in seconds: from a minute to ten years.
const SECONDS: std::ops::RangeInclusive<u64> = 60..=(10 * 366 * 86_400);

pub(super) fn lower(mut section: Section<'_>, data: &Path, base: &Path) -> Option<Audit> {
    let usual = Retention::default();
    let dir = section.or("dir", data.join("audit"), |at| path(at, base));
    let choices = [
        ("before-answer", Durability::BeforeAnswer),
        ("background", Durability::Background),
    ];
    let durability = section.or("durability", Durability::BeforeAnswer, |at| {
        at.one_of(&choices)
    });
    let segment_bytes = section.or("segment_bytes", usual.segment_bytes, |at| {
        at.byte_size((64 << 10)..=(1 << 40))
    });
    let segment_age = section.or("segment_age", usual.segment_age, |at| at.duration(SECONDS));
    let permitted_bytes = section.or("permitted_bytes", usual.permitted_bytes, |at| {
        at.byte_size(BYTES)
    });
    let passed_bytes = section.or("passed_bytes", usual.passed_bytes, |at| at.byte_size(BYTES));
    let denied_bytes = section.or("denied_bytes", usual.denied_bytes, |at| at.byte_size(BYTES));
    let max_age = section.or("max_age", usual.max_age, |at| at.duration(SECONDS));
    let reserve_bytes = section.or("reserve_bytes", usual.reserve_bytes, |at| {
        at.byte_size(0..=(1 << 50))
    });
    // The segment in use, and at least one old one.
    let least = segment_bytes.unwrap_or_default().saturating_mul(2);
    for (name, bytes) in [
        ("permitted_bytes", permitted_bytes),
        ("passed_bytes", passed_bytes),
        ("denied_bytes", denied_bytes),
    ] {
        if bytes.is_some_and(|bytes| bytes < least) {
            let message = format!(
                "{} bytes are less than two segments",
                bytes.unwrap_or_default()
            );
            let way_out = format!("write at least {least}, or a smaller `segment_bytes`");
            section.refuse(name, message, way_out);
        }
    }
    let retention = Retention {
        segment_bytes: segment_bytes?,
        segment_age: segment_age?,
        permitted_bytes: permitted_bytes?,
        passed_bytes: passed_bytes?,
        denied_bytes: denied_bytes?,
        max_age: max_age?,
        reserve_bytes: reserve_bytes?,
    };
    Some(Audit {
        dir: dir?,
        durability: durability?,
        retention,
    })
}
