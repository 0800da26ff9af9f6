//! What proxies reported lately, found again after a restart.

use std::{io, path::Path, time::Duration};

use attache_core::{event::Event, time::Timestamp};

use super::{family::Family, lines::Lines, segment::SegmentName};

/// How far back is looked: a report whose answer was lost is sent again within seconds.
const LOOK_BACK: Duration = Duration::from_secs(3600);
/// Segments of each family that are read, the newest ones.
const MAX_SEGMENTS: usize = 4;
/// What every event of a report holds, and few others.
const MARK: &str = "\"reported\":{";

/// Gives `each` the events of reports, those of one family in the order in which they were written.
pub fn reported(dir: &Path, now: Timestamp, mut each: impl FnMut(Event)) -> io::Result<()> {
    for family in Family::ALL {
        let segments = SegmentName::list(dir, family)?;
        let passed = |segment: &SegmentName| now.since(segment.started_at) > LOOK_BACK;
        let old = segments.iter().filter(|it| passed(it)).count();
        // The last one that began before then goes on after it.
        let first = old.saturating_sub(1);
        let first = first.max(segments.len().saturating_sub(MAX_SEGMENTS));
        for segment in segments.iter().skip(first) {
            let mut lines = match Lines::open(&dir.join(segment.to_string())) {
                Ok(lines) => lines.only(MARK),
                // Deleted by its age or budget since it was listed.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            while let Some(event) = lines.next_event()? {
                each(event);
            }
        }
    }
    Ok(())
}
