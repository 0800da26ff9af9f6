//! What a run is doing, on standard error.

use std::io::{self, Write as _};

/// Tells one step.
pub fn tell(step: &str) {
    // Nobody to tell if this fails.
    let _ = writeln!(io::stderr(), "  {step}");
}
