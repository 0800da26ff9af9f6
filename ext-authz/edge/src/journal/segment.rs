//! One file of the journal: its name, its repair after a kill, and appends that stand whole or not at
//! all.

use std::{
    fmt,
    fs::{self, File, Metadata, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use attache_core::time::Timestamp;
use rustix::fs::{AtFlags, CWD, OFlags, StatxFlags, makedev};
use serde::{Deserialize as _, de::IntoDeserializer as _, de::value::Error as NotATime};

use super::family::Family;

/// `permitted-20260615T142201.341Z.jsonl`: sorts by time; no two of a family are equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentName {
    pub(super) family: Family,
    /// No event in it was written earlier.
    pub(super) started_at: Timestamp,
}

impl SegmentName {
    /// Reads a file name; `None` for a file that is not the journal's.
    pub(super) fn parse(name: &str) -> Option<Self> {
        let (family, rest) = name.split_once('-')?;
        let family = Family::ALL.into_iter().find(|one| one.name() == family)?;
        let basic = rest.strip_suffix(".jsonl")?;
        let part = |range| basic.get(range);
        let (date, time) = (part(0..8)?, basic.get(9..)?);
        let (year, month, day) = (date.get(0..4)?, date.get(4..6)?, date.get(6..8)?);
        let (hour, minute, rest) = (time.get(0..2)?, time.get(2..4)?, time.get(4..)?);
        let extended = format!("{year}-{month}-{day}T{hour}:{minute}:{rest}");
        let text: serde::de::value::StrDeserializer<'_, NotATime> =
            extended.as_str().into_deserializer();
        let segment = Self {
            family,
            started_at: Timestamp::deserialize(text).ok()?,
        };
        // One spelling only, so that no two files claim the same place.
        (segment.to_string() == name).then_some(segment)
    }

    /// The segments of `family` in `dir`, oldest first.
    pub(super) fn list(dir: &Path, family: Family) -> io::Result<Vec<Self>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(dir)? {
            found.extend(entry?.file_name().to_str().and_then(Self::parse));
        }
        found.retain(|segment| segment.family == family);
        found.sort_by_key(|segment| segment.started_at);
        Ok(found)
    }

    /// The name of the segment that follows this one.
    pub(super) fn successor(self, now: Timestamp) -> Self {
        // A clock that was set back must not put the new segment before the old one.
        let started_at = now.max(self.started_at.plus(Duration::from_millis(1)));
        Self { started_at, ..self }
    }
}

impl fmt::Display for SegmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let started_at = self.started_at.to_string().replace(['-', ':'], "");
        write!(f, "{}-{started_at}.jsonl", self.family.name())
    }
}

/// A segment that is being written.
pub(super) struct Segment {
    pub(super) name: SegmentName,
    path: PathBuf,
    /// Stays what it is for as long as `file` is open.
    identity: (u64, u64),
    file: File,
    /// Bytes of whole lines.
    pub(super) length: u64,
    /// Whether an append failed and its beginning may still stand behind `length`.
    torn: bool,
}

/// Where an append ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Appended {
    /// In the journal.
    InPlace,
    /// In a file that somebody moved or removed meanwhile.
    Elsewhere,
}

impl Segment {
    /// Begins a new, empty segment.
    pub(super) fn create(dir: &Path, name: SegmentName) -> io::Result<Self> {
        let path = dir.join(name.to_string());
        let file = open_options().create_new(true).open(&path)?;
        Ok(Self {
            name,
            path,
            identity: identity(&file.metadata()?),
            file,
            length: 0,
            torn: false,
        })
    }

    /// Goes on with an existing segment. A torn last line, which a killed writer leaves, is cut away;
    /// the number of bytes cut is given.
    pub(super) fn reopen(dir: &Path, name: SegmentName) -> io::Result<(Self, u64)> {
        let path = dir.join(name.to_string());
        let file = open_options().open(&path)?;
        let length = whole_lines(&file)?;
        let metadata = file.metadata()?;
        let torn = metadata.len().saturating_sub(length);
        if torn > 0 {
            file.set_len(length)?;
        }
        Ok((
            Self {
                name,
                path,
                identity: identity(&metadata),
                file,
                length,
                torn: false,
            },
            torn,
        ))
    }

    /// Hands `lines` to the operating system. After an error nothing of them is left.
    pub(super) fn append(&mut self, lines: &[u8]) -> io::Result<Appended> {
        self.cut_back()?;
        if let Err(error) = (&self.file).write_all(lines) {
            self.torn = true;
            // If even this fails, the next append begins with it.
            let _ = self.cut_back();
            return Err(error);
        }
        // Looked at after the write: what was written into a removed file is not recorded.
        if let Ok((identity, length)) = found_at(&self.path)
            && identity == self.identity
        {
            self.length = length;
            return Ok(Appended::InPlace);
        }
        let ours = self.file.metadata()?;
        // The file may come back; it must not tell of an access that was refused for this.
        let before = ours
            .len()
            .saturating_sub(u64::try_from(lines.len()).unwrap_or(u64::MAX));
        self.file.set_len(before)?;
        Ok(Appended::Elsewhere)
    }

    /// Waits until the storage device has everything.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn cut_back(&mut self) -> io::Result<()> {
        // The file may be shorter than we left it, if somebody emptied it: never make it longer.
        if self.torn && self.file.metadata()?.len() > self.length {
            self.file.set_len(self.length)?;
        }
        self.torn = false;
        Ok(())
    }
}

/// By which a file is known, wherever it is: its device and its number there.
pub(super) fn identity(file: &Metadata) -> (u64, u64) {
    (file.dev(), file.ino())
}

/// Which file stands there, and its length. Times are not asked for where that can be said: whoever asks makes the next
/// write note a new one, which costs as much as a fifth of it (Linux 6.13).
fn found_at(path: &Path) -> io::Result<((u64, u64), u64)> {
    let wanted = StatxFlags::INO | StatxFlags::SIZE;
    match rustix::fs::statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, wanted) {
        Ok(found) if found.stx_mask & wanted.bits() == wanted.bits() => {
            let device = makedev(found.stx_dev_major, found.stx_dev_minor);
            Ok(((device, found.stx_ino), found.stx_size))
        }
        // An old kernel, or one that is told to refuse what it does not know.
        _ => fs::symlink_metadata(path).map(|found| (identity(&found), found.len())),
    }
}

/// SECURITY: readable by its owner only, and never through a link that somebody put there.
fn open_options() -> OpenOptions {
    let mut options = OpenOptions::new();
    let no_follow = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or_default();
    options
        .read(true)
        .append(true)
        .mode(0o600)
        .custom_flags(no_follow);
    options
}

/// The length of `file` up to and with its last line feed.
fn whole_lines(file: &File) -> io::Result<u64> {
    let mut chunk = [0; 16 * 1024];
    let mut end = file.metadata()?.len();
    while end > 0 {
        let size = u64::try_from(chunk.len()).unwrap_or(u64::MAX).min(end);
        let start = end.saturating_sub(size);
        let Some(part) = chunk.get_mut(..usize::try_from(size).unwrap_or(usize::MAX)) else {
            break;
        };
        file.read_exact_at(part, start)?;
        if let Some(at) = part.iter().rposition(|byte| *byte == b'\n') {
            let whole = u64::try_from(at).unwrap_or(u64::MAX).saturating_add(1);
            return Ok(start.saturating_add(whole));
        }
        end = start;
    }
    Ok(0)
}

#[cfg(test)]
mod tests;
