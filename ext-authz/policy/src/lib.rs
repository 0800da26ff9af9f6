//! May this workload make this call? Documents → [`compile`] → [`Compiled::decide`]. No I/O, no clock,
//! no secrets: a revision of the policy is a value, and so is every answer.

mod compile;
mod compiled;
mod condition;
mod context;
mod decision;
pub mod document;
pub mod explain;
mod hash;
mod name;
pub mod problem;
pub mod render;
mod rule;
mod schema;
mod selector;
pub mod yaml;

#[cfg(test)]
mod tests;

pub use compile::{Settings, Source, compile};
pub use compiled::{Admitted, Compiled, NotHandedOut, Target, Turned, Withheld};
pub use context::{Context, Country, Geography, Location, Nowhere};
pub use decision::{Decided, Decision, Denial, Grant, PolicyRef, WouldBe};
pub use name::QualifiedName;
pub use problem::{Code, Place, Problem, Problems, Report, Severity};
pub use schema::json_schema;
