//! The sealing key's own file: made once, mode 0600, and refused if anyone else can read it.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use aws_lc_rs::rand;
use thiserror::Error;
use zeroize::Zeroizing;

use super::{InvalidSealingKey, SealingKey};

/// No sealing key is longer, in any spelling.
const MAX_FILE_BYTES: usize = 1024;
/// Who may use the file besides its owner.
const OTHERS: u32 = 0o077;

/// Why the file gives no sealing key. Never repeats its content.
#[derive(Debug, Error)]
pub enum UnusableSealingKeyFile {
    /// It cannot be read.
    #[error("the sealing key file {path} cannot be read: {error}", path = .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        error: io::Error,
    },
    /// It cannot be made.
    #[error("the sealing key file {path} cannot be made: {error}", path = .path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        error: io::Error,
    },
    /// Group or others may read or write it.
    #[error("the sealing key file {path} has mode {mode:04o} and is open to others than its owner; run `chmod 600 {path}`, and replace the key if someone may have read it", path = .path.display())]
    OpenToOthers {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It is no sealing key.
    #[error("the sealing key file {path}: {error}", path = .path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: InvalidSealingKey,
    },
}

impl SealingKey {
    /// Reads the key from a file that only its owner can read.
    pub fn load(path: &Path) -> Result<Self, UnusableSealingKeyFile> {
        let unreadable = |error| UnusableSealingKeyFile::Unreadable {
            path: path.to_owned(),
            error,
        };
        let file = File::open(path).map_err(unreadable)?;
        let metadata = file.metadata().map_err(unreadable)?;
        let mode = metadata.permissions().mode() & 0o7777;
        if metadata.is_file() && mode & OTHERS != 0 {
            return Err(UnusableSealingKeyFile::OpenToOthers {
                path: path.to_owned(),
                mode,
            });
        }
        // Room for all of it from the start: a text that grew would leave parts of the key in freed memory.
        let mut text = Zeroizing::new(String::with_capacity(MAX_FILE_BYTES));
        let limit = u64::try_from(MAX_FILE_BYTES).unwrap_or(u64::MAX);
        file.take(limit)
            .read_to_string(&mut text)
            .map_err(unreadable)?;
        let invalid = |error| UnusableSealingKeyFile::Invalid {
            path: path.to_owned(),
            error,
        };
        Self::parse(&text).map_err(invalid)
    }

    /// Reads the key, or makes the file with a new one if there is none. Processes that do so at once
    /// all get the same key, and one that is killed leaves a whole file or none.
    ///
    /// Where a store already holds keys, call [`SealingKey::load`]: a new key cannot open them.
    pub fn load_or_create(path: &Path) -> Result<Self, UnusableSealingKeyFile> {
        match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                create(path)?;
                Self::load(path)
            }
            Ok(_) | Err(_) => Self::load(path),
        }
    }
}

/// Writes a whole file beside `path` and gives it the name; whoever was first wins.
fn create(path: &Path) -> Result<(), UnusableSealingKeyFile> {
    let unwritable = |error| UnusableSealingKeyFile::Unwritable {
        path: path.to_owned(),
        error,
    };
    let invalid = |error| UnusableSealingKeyFile::Invalid {
        path: path.to_owned(),
        error,
    };
    let (_, text) = SealingKey::generate().map_err(invalid)?;
    let mut unique = [0_u8; 8];
    rand::fill(&mut unique).map_err(|_no_cause| invalid(InvalidSealingKey::NoRandomness))?;
    let mut draft = path.as_os_str().to_owned();
    draft.push(format!(".{:016x}.new", u64::from_ne_bytes(unique)));
    let draft = PathBuf::from(draft);
    let written = write_new(&draft, text.as_bytes())
        // A hard link, not a rename: it fails if the name is taken, so the first key is never lost.
        .and_then(|()| match fs::hard_link(&draft, path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            linked => linked,
        });
    let removed = fs::remove_file(&draft);
    written
        .and(removed)
        .and_then(|()| sync_directory(path))
        .map_err(unwritable)
}

fn write_new(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text)?;
    file.write_all(b"\n")?;
    file.sync_all()
}

/// Without this a power cut could take the file's name away while the store keeps what it sealed.
fn sync_directory(path: &Path) -> io::Result<()> {
    let directory = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}
