//! The directory of segments: who may write it, when a new segment begins, and which old ones go.

use std::{
    fs::{self, DirBuilder, Permissions},
    io,
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use attache_core::time::Timestamp;
use rustix::fs::statvfs;
use tracing::{error, info, warn};

use super::{
    JournalNotOpened,
    family::{Family, PerFamily},
    lock::{Lock, NotLocked},
    segment::{Appended, Segment, SegmentName},
};

/// When segments begin and end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// A segment of this many bytes is full.
    pub segment_bytes: u64,
    /// A segment of this age is closed, full or not.
    pub segment_age: Duration,
    /// Bytes that all segments of permits together may take.
    pub permitted_bytes: u64,
    /// Bytes that all segments of accesses that passed without a grant together may take.
    pub passed_bytes: u64,
    /// Bytes that all segments of denials and faults together may take.
    pub denied_bytes: u64,
    /// Events older than this are deleted, as soon as their whole segment is.
    pub max_age: Duration,
    /// Old events other than permits are deleted while the filesystem has fewer free bytes than this; 0
    /// for never.
    pub reserve_bytes: u64,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            segment_bytes: 16 << 20,
            segment_age: Duration::from_secs(24 * 3600),
            permitted_bytes: 768 << 20,
            passed_bytes: 256 << 20,
            denied_bytes: 256 << 20,
            max_age: Duration::from_secs(90 * 24 * 3600),
            reserve_bytes: 0,
        }
    }
}

impl Retention {
    const fn budget(&self, family: Family) -> u64 {
        match family {
            Family::Permitted => self.permitted_bytes,
            Family::Passed => self.passed_bytes,
            Family::Denied => self.denied_bytes,
        }
    }

    /// A budget must hold the segment in use and at least one old one.
    fn check(&self) -> Result<(), JournalNotOpened> {
        let least = self.segment_bytes.saturating_mul(2);
        let fits = |family| self.budget(family) >= least;
        if self.segment_bytes == 0 || !Family::ALL.into_iter().all(fits) {
            return Err(JournalNotOpened::Budget {
                segment_bytes: self.segment_bytes,
                least,
            });
        }
        Ok(())
    }
}

/// A file that is written and removed to see whether the disk takes anything.
const PROBE: &str = "probe";

/// More than the longest event.
const PROBE_BYTES: usize = 64 << 10;

/// The open journal directory.
pub(super) struct Store {
    dir: PathBuf,
    retention: Retention,
    lock: Lock,
    shelves: PerFamily<Shelf>,
    has_more: bool,
    /// Torn lines that were cut away.
    pub(super) repaired: u64,
}

/// The segments of one family.
#[derive(Default)]
struct Shelf {
    active: Option<Segment>,
    closed_bytes: u64,
    closed: usize,
}

impl Store {
    /// Locks `dir` for this process, repairs what a kill left, and opens every family. A full disk is
    /// no reason to fail: appending then fails until there is room.
    pub(super) fn open(
        dir: &Path,
        retention: Retention,
        now: Timestamp,
    ) -> Result<(Self, Option<io::Error>), JournalNotOpened> {
        retention.check()?;
        let unusable = |cause| JournalNotOpened::Unusable {
            dir: dir.to_owned(),
            cause,
        };
        if let Some(parent) = dir.parent() {
            fs::create_dir_all(parent).map_err(unusable)?;
        }
        make_private(dir).map_err(unusable)?;
        let lock = Lock::take(dir).map_err(|refused| match refused {
            NotLocked::Held(holder) => JournalNotOpened::InUse {
                dir: dir.to_owned(),
                holder,
            },
            NotLocked::Unusable(cause) => unusable(cause),
        })?;
        let mut store = Self {
            dir: dir.to_owned(),
            retention,
            lock,
            shelves: PerFamily::default(),
            has_more: false,
            repaired: 0,
        };
        let opened = Family::ALL
            .into_iter()
            .try_for_each(|family| store.open_last(family, now));
        match opened {
            Err(cause) if !is_full(&cause) => Err(JournalNotOpened::Unusable {
                dir: store.dir,
                cause,
            }),
            full => {
                store.prune(now);
                Ok((store, full.err()))
            }
        }
    }

    /// Writes `lines`, all or none, into the family's segment in use.
    pub(super) fn append(
        &mut self,
        family: Family,
        lines: &[u8],
        now: Timestamp,
    ) -> io::Result<()> {
        for _attempt in 0..2 {
            self.make_room(family, lines.len(), now)?;
            let shelf = self.shelf(family);
            let Some(segment) = &mut shelf.active else {
                break;
            };
            if segment.append(lines)? == Appended::InPlace {
                return Ok(());
            }
            warn!(segment = %segment.name, "a segment of the audit journal was moved or removed while in use");
            shelf.active = None;
        }
        Err(io::Error::other(
            "the audit journal's segment was removed while it was written",
        ))
    }

    /// Closes segments of full age and deletes what is over its budget or age.
    pub(super) fn tidy(&mut self, now: Timestamp) -> io::Result<()> {
        for family in Family::ALL {
            let max_age = self.retention.segment_age;
            let due = self.shelf(family).active.as_ref().is_some_and(|segment| {
                segment.length > 0 && now.since(segment.name.started_at) >= max_age
            });
            if due {
                self.begin_segment(family, now)?;
            }
        }
        self.prune(now);
        Ok(())
    }

    /// Whether events could be written now, as far as that can be told without one: every family has its
    /// segment, and the disk takes a few events more.
    pub(super) fn probe(&mut self, now: Timestamp) -> io::Result<()> {
        make_private(&self.dir)?;
        for family in Family::ALL {
            self.make_room(family, 0, now)?;
        }
        let path = self.dir.join(PROBE);
        let written = fs::write(&path, [0; PROBE_BYTES]);
        match fs::remove_file(&path) {
            Err(error) if written.is_ok() => Err(error),
            Err(_) | Ok(()) => written,
        }
    }

    /// Waits until the storage device has everything.
    pub(super) fn sync(&self) -> io::Result<()> {
        let shelves = self.shelves.iter();
        shelves
            .flat_map(|shelf| &shelf.active)
            .try_for_each(Segment::sync)
    }

    /// How many segments there are, and their bytes.
    pub(super) fn size(&self) -> (usize, u64) {
        self.shelves.iter().fold((0, 0), |(count, bytes), shelf| {
            let active = shelf.active.as_ref().map_or(0, |segment| segment.length);
            let used = usize::from(shelf.active.is_some());
            (
                count + shelf.closed + used,
                bytes + shelf.closed_bytes + active,
            )
        })
    }

    /// There is a segment in use, with room for `needed` bytes.
    fn make_room(&mut self, family: Family, needed: usize, now: Timestamp) -> io::Result<()> {
        if self.shelf(family).active.is_none() {
            self.open_last(family, now)?;
        }
        let (needed, full) = (
            u64::try_from(needed).unwrap_or(u64::MAX),
            self.retention.segment_bytes,
        );
        let filled = self
            .shelf(family)
            .active
            .as_ref()
            .map_or(0, |segment| segment.length);
        if filled > 0 && filled.saturating_add(needed) > full {
            self.begin_segment(family, now)?;
            self.has_more = true;
        }
        Ok(())
    }

    /// Whether there is a segment more than when old ones were deleted last.
    pub(super) const fn has_more(&self) -> bool {
        self.has_more
    }

    /// Deletes the oldest closed segments where that is due.
    pub(super) fn keep_to_budgets(&mut self, now: Timestamp) {
        if self.has_more {
            self.prune(now);
        }
    }

    /// Goes on with the family's last segment, or begins its first one.
    fn open_last(&mut self, family: Family, now: Timestamp) -> io::Result<()> {
        make_private(&self.dir)?;
        if !self.lock.is_in_place() {
            // The directory was replaced; the lock that counts is the one inside it.
            self.lock = Lock::take(&self.dir).map_err(io::Error::other)?;
        }
        let Some(last) = SegmentName::list(&self.dir, family)?.pop() else {
            let first = SegmentName {
                family,
                started_at: now,
            };
            self.shelf(family).active = Some(Segment::create(&self.dir, first)?);
            return Ok(());
        };
        let (segment, torn) = Segment::reopen(&self.dir, last)?;
        if torn > 0 {
            self.repaired = self.repaired.saturating_add(1);
            warn!(segment = %last, bytes = torn, "cut a torn last line off the audit journal");
        }
        self.shelf(family).active = Some(segment);
        Ok(())
    }

    fn begin_segment(&mut self, family: Family, now: Timestamp) -> io::Result<()> {
        let first = SegmentName {
            family,
            started_at: now,
        };
        let active = self
            .shelf(family)
            .active
            .as_ref()
            .map(|segment| segment.name);
        let next = active.map_or(first, |name| name.successor(now));
        self.shelf(family).active = Some(Segment::create(&self.dir, next)?);
        Ok(())
    }

    /// Deletes the oldest closed segments. Never fails: what cannot be deleted now is tried again.
    fn prune(&mut self, now: Timestamp) {
        self.has_more = false;
        for family in Family::ALL {
            if let Err(cause) = self.prune_family(family, now) {
                error!(%cause, family = family.name(), "cannot delete old segments of the audit journal");
            }
        }
    }

    fn prune_family(&mut self, family: Family, now: Timestamp) -> io::Result<()> {
        let segments = SegmentName::list(&self.dir, family)?;
        let Some(active) = self
            .shelf(family)
            .active
            .as_ref()
            .map(|segment| segment.name)
        else {
            return Ok(());
        };
        let mut closed = Vec::new();
        for (segment, successor) in segments.iter().zip(segments.iter().skip(1)) {
            // INVARIANT: the segment in use is never deleted, whatever its name sorts to.
            if *segment != active {
                let path = self.dir.join(segment.to_string());
                let bytes = fs::metadata(&path)?.len();
                closed.push((path, bytes, successor.started_at));
            }
        }
        // The segment in use counts as full, so that the budget also holds when it is.
        let budget = self
            .retention
            .budget(family)
            .saturating_sub(self.retention.segment_bytes);
        let mut bytes: u64 = closed.iter().map(|(_, bytes, _)| bytes).sum();
        let mut left = closed.len();
        for (path, size, ended_at) in closed {
            let too_old = now.since(ended_at) > self.retention.max_age;
            if bytes <= budget && !too_old && !self.is_short_of_space(family) {
                break;
            }
            fs::remove_file(&path)?;
            info!(segment = %path.display(), "deleted an old segment of the audit journal");
            (bytes, left) = (bytes.saturating_sub(size), left.saturating_sub(1));
        }
        let shelf = self.shelf(family);
        (shelf.closed_bytes, shelf.closed) = (bytes, left);
        Ok(())
    }

    /// Whether a family must make room on the filesystem; permits never do.
    fn is_short_of_space(&self, family: Family) -> bool {
        self.retention.reserve_bytes > 0
            && family != Family::Permitted
            && statvfs(&self.dir).is_ok_and(|fs| {
                fs.f_bavail.saturating_mul(fs.f_frsize) < self.retention.reserve_bytes
            })
    }

    const fn shelf(&mut self, family: Family) -> &mut Shelf {
        self.shelves.of(family)
    }
}

/// `dir` exists and is ours alone. Its parent must exist: a path that vanished whole is not made anew
/// behind the operator's back.
fn make_private(dir: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _made_or_there => {}
    }
    let found = fs::metadata(dir)?;
    if found.permissions().mode() & 0o077 != 0 {
        fs::set_permissions(dir, Permissions::from_mode(0o700))?;
    }
    Ok(())
}

/// Whether an error goes away when somebody deletes files.
fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

#[cfg(test)]
mod tests;
