//! A system that fails one process: a wall clock that is wrong, name servers that fail or hang.
//! `tests/peers/system/faults.c` stands between the process and its C library; the linker that Rust needs
//! compiles it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

use crate::workspace;

/// What the name servers do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    /// They answer.
    Answer,
    /// They fail at once.
    Fail,
    /// They never answer.
    Hang,
}

/// The faults of one process, which can change while it runs.
pub struct Faults {
    file: PathBuf,
    library: PathBuf,
    clock: i64,
    names: Names,
}

impl Faults {
    /// None so far; what is needed is put into `directory`.
    pub fn none(directory: &Path) -> Result<Self> {
        let library = directory.join("faults.so");
        let source = workspace::root().join("tests/peers/system/faults.c");
        let compiled = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .arg(&library)
            .arg(source)
            .arg("-ldl")
            .output()
            .context("no cc; it came with Rust's linker")?;
        let errors = String::from_utf8_lossy(&compiled.stderr);
        ensure!(compiled.status.success(), "{errors}");
        let faults = Self {
            file: directory.join("faults"),
            library,
            clock: 0,
            names: Names::Answer,
        };
        faults.write()?;
        Ok(faults)
    }

    /// A program that runs the next one with these faults.
    pub fn environment(&self) -> Command {
        let mut command = Command::new("env");
        command.arg(format!("LD_PRELOAD={}", self.library.display()));
        command.arg(format!("FAULTS={}", self.file.display()));
        command
    }

    /// Its wall clock is so many seconds ahead, or behind.
    pub fn clock(&mut self, seconds: i64) -> Result<()> {
        self.clock = seconds;
        self.write()
    }

    /// Its name servers.
    pub fn names(&mut self, names: Names) -> Result<()> {
        self.names = names;
        self.write()
    }

    /// In place: the process has the file mapped.
    fn write(&self) -> Result<()> {
        let names: i64 = match self.names {
            Names::Answer => 0,
            Names::Fail => 1,
            Names::Hang => 2,
        };
        let bytes = [self.clock.to_ne_bytes(), names.to_ne_bytes()].concat();
        let file = fs::File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&self.file)?;
        std::os::unix::fs::FileExt::write_all_at(&file, &bytes, 0)?;
        Ok(())
    }
}
