//! What an expression may be made of: CEL's standard library without `matches`, and the names that may be
//! read, with their types.

use std::sync::LazyLock;

use cel_core::{CelType, Env};

use super::equality;

/// What of a request is a text. The language knows no other names, so that a misspelled one is found when
/// the expression is compiled.
pub(super) const TEXTS: [&str; 5] = [
    "request.host",
    "request.method",
    "request.path",
    "request.query",
    "source",
];

/// The members of `request`.
pub(super) const MEMBERS: [&str; 6] = ["host", "port", "method", "path", "query", "headers"];

/// What an expression may begin to read with.
pub(super) const ROOTS: [&str; 4] = ["attributes", "request", "source", "now"];

/// The standard library without `matches`, and what may be read.
pub(super) static STANDARD: LazyLock<Env> = LazyLock::new(|| {
    let standard = Env::with_standard_library();
    let mut environment = Env::new();
    for (name, kind) in standard.variables() {
        environment.add_variable(name.clone(), kind.clone());
    }
    for function in standard.functions().values() {
        if function.name != "matches" {
            environment.add_function(function.clone());
        }
    }
    for function in equality::functions() {
        environment.add_function(function);
    }
    for name in TEXTS {
        environment.add_variable(name, CelType::String);
    }
    environment.add_variable("request.port", CelType::Int);
    environment.add_variable(
        "request.headers",
        CelType::map(CelType::String, CelType::String),
    );
    // A text, or a list of texts where a claim has several values.
    environment.add_variable("attributes", CelType::map(CelType::String, CelType::Dyn));
    environment.add_variable("now", CelType::Timestamp);
    environment
});
