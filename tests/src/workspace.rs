//! Where things stand in the checkout.

use std::{
    env,
    path::{Path, PathBuf},
};

/// The root of the checkout.
pub fn root() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests).to_path_buf()
}

/// Where `make` puts what it fetches and builds.
pub fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// The Envoy binary: the variable `ENVOY`, or the one that `make` fetched.
pub fn envoy() -> PathBuf {
    env::var_os("ENVOY")
        .filter(|named| !named.is_empty())
        .map_or_else(|| root().join("target/envoy"), PathBuf::from)
}

/// The Python interpreter that has the test peers' libraries.
pub fn python() -> PathBuf {
    root().join("target/venv/bin/python")
}
