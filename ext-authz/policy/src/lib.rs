//! May this workload make this call? Documents → [`compile`] → [`Compiled::decide`]. No I/O, no clock,
//! no secrets: a revision of the policy is a value, and so is every answer.

mod compile;
mod compiled;
mod decision;
pub mod document;
mod name;
pub mod problem;
mod rule;
mod selector;
pub mod yaml;

#[cfg(test)]
mod tests;

pub use compile::{Settings, Source, compile};
pub use compiled::{Compiled, Target};
pub use decision::{Decision, Denial, Grant, PolicyRef};
pub use name::QualifiedName;
pub use problem::{Code, Place, Problem, Problems, Report, Severity};
