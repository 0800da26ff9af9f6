//! Why a journal does not record.

use std::{path::PathBuf, sync::Arc, time::Duration};

use thiserror::Error;

/// Why an event is not recorded. Its access gets no credential.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AuditUnavailable {
    /// The operating system did not take it.
    #[error("the audit journal cannot be written: {0}")]
    NotWritten(Arc<str>),
    /// So many events wait that no more are accepted in the background.
    #[error("{0} audit events wait to be written; no more are accepted until some are")]
    QueueFull(usize),
    /// The journal was closed.
    #[error("the audit journal is closed")]
    Closed,
    /// The disk did not answer in time.
    #[error(
        "the disk of the audit journal did not answer within {waited:?}; {queued} events wait and may be lost"
    )]
    NotClosed {
        /// How long was waited.
        waited: Duration,
        /// How many events are not known to be written.
        queued: usize,
    },
}

/// Why a journal cannot be opened.
#[derive(Debug, Error)]
pub enum JournalNotOpened {
    /// Another process, or another journal of this one, writes there.
    #[error(
        "the audit journal in {dir} is in use by process {holder}; stop it or set another directory"
    )]
    InUse {
        /// The directory.
        dir: PathBuf,
        /// The process id, as far as it is known.
        holder: String,
    },
    /// The directory or a file in it cannot be made, read or written.
    #[error("the audit directory {dir} cannot be used: {cause}")]
    Unusable {
        /// The directory.
        dir: PathBuf,
        /// What the operating system says.
        cause: std::io::Error,
    },
    /// The budgets do not fit the size of a segment.
    #[error("audit segments of {segment_bytes} bytes need budgets of at least {least} bytes each")]
    Budget {
        /// The size of a segment.
        segment_bytes: u64,
        /// The least budget.
        least: u64,
    },
    /// The writing thread cannot be started.
    #[error("the audit journal's thread cannot be started: {0}")]
    Thread(std::io::Error),
}
