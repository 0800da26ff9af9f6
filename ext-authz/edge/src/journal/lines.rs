//! The lines of one segment, also while it is still written: a line that is not whole yet is read
//! again later, and one that is no event is skipped and counted.

use std::{fs::File, io, os::unix::fs::FileExt as _, path::Path};

use attache_core::event::Event;

/// No event's line is longer; what is longer is skipped without being kept.
const MAX_LINE_BYTES: usize = 256 * 1024;
/// Bytes of one read.
const CHUNK_BYTES: usize = 64 * 1024;

/// A reader of one segment.
pub(super) struct Lines {
    file: File,
    /// Where the first byte of `buffer` stands in the file.
    offset: u64,
    buffer: Vec<u8>,
    /// Bytes at the beginning of `buffer` that are done with.
    taken: usize,
    /// Inside a line that is too long.
    skipping: bool,
    /// Lines that were no events.
    pub(super) skipped: u64,
    /// Only lines that hold this text are read.
    only: Option<&'static str>,
}

impl Lines {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        Ok(Self {
            file,
            offset: 0,
            buffer: Vec::new(),
            taken: 0,
            skipping: false,
            skipped: 0,
            only: None,
        })
    }

    /// Leaves out lines that do not hold `text`, without a further look.
    pub(super) const fn only(mut self, text: &'static str) -> Self {
        self.only = Some(text);
        self
    }

    fn is_left_out(only: Option<&str>, line: &[u8]) -> bool {
        only.is_some_and(|text| !str::from_utf8(line).is_ok_and(|line| line.contains(text)))
    }

    /// The next event; `None` at the end of the whole lines that are there now.
    pub(super) fn next_event(&mut self) -> io::Result<Option<Event>> {
        loop {
            let rest = self.buffer.get(self.taken..).unwrap_or_default();
            if let Some(length) = rest.iter().position(|byte| *byte == b'\n') {
                let line = rest.get(..length).unwrap_or_default();
                if Self::is_left_out(self.only, line) {
                    self.skipping = false;
                    self.taken = self.taken.saturating_add(length).saturating_add(1);
                    continue;
                }
                let event = serde_json::from_slice(line).ok();
                let was_skipping = std::mem::take(&mut self.skipping);
                self.taken = self.taken.saturating_add(length).saturating_add(1);
                match event {
                    Some(event) if !was_skipping => return Ok(Some(event)),
                    _no_event => self.skipped = self.skipped.saturating_add(1),
                }
            } else if rest.len() > MAX_LINE_BYTES {
                self.skipping = true;
                self.taken = self.buffer.len();
            } else if !self.fill()? {
                return Ok(None);
            }
        }
    }

    /// Whether something stands behind the last whole line.
    pub(super) fn has_torn_end(&self) -> bool {
        self.skipping
            || self
                .file
                .metadata()
                .is_ok_and(|found| found.len() > self.offset)
    }

    /// Reads on; `false` at the end of the file.
    fn fill(&mut self) -> io::Result<bool> {
        self.buffer.drain(..self.taken);
        self.offset = self
            .offset
            .saturating_add(self.taken.try_into().unwrap_or(u64::MAX));
        self.taken = 0;
        let held = self.buffer.len();
        self.buffer.resize(held.saturating_add(CHUNK_BYTES), 0);
        let at = self
            .offset
            .saturating_add(held.try_into().unwrap_or(u64::MAX));
        let free = self.buffer.get_mut(held..).unwrap_or_default();
        let read = self.file.read_at(free, at)?;
        if read > 0 {
            self.buffer.truncate(held.saturating_add(read));
            return Ok(true);
        }
        // The beginning of a line may be cut away again by a writer whose disk is full: forget it.
        self.buffer.clear();
        self.offset = self.offset.min(self.file.metadata()?.len());
        Ok(false)
    }
}

#[cfg(test)]
mod tests;
