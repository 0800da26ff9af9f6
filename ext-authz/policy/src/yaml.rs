//! Strict YAML with a place on every node: reading that refuses what is ambiguous and reports every
//! problem of a file in one run. Policies and the program's own configuration are read with it.
//!
//! ```
//! use attache_policy::{Report, yaml};
//!
//! let report = Report::new();
//! let file = yaml::File::read("edge.yaml", b"listen: 127.0.0.1:9191\ntimeout: 5s\n", &report);
//! for root in file.documents() {
//!     let mut fields = root.fields().expect("a mapping");
//!     let listen = fields.required("listen", |at| at.text());
//!     let timeout = fields.or("timeout", 10, |at| Some(at.duration(1..=60)?.as_secs()));
//!     assert_eq!((listen, timeout), (Some("127.0.0.1:9191"), Some(5)));
//! } // what was not asked for is reported as unknown when `fields` goes out of scope
//! assert!(report.into_problems().is_empty());
//! ```

mod at;
mod builder;
mod fields;
mod plain;
mod scalar;
mod surrogates;
mod tree;
mod values;

#[cfg(test)]
mod tests;

pub(crate) use at::FixedPath;
pub use at::{At, File, Label};
pub use fields::Fields;
pub use tree::{MAX_DEPTH, MAX_FILE_BYTES};
