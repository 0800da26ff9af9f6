//! Conditions in CEL, the Common Expression Language (cel.dev): checked to a boolean when they are
//! compiled, and for what can never be evaluated or never be equal.
//!
//! INVARIANT: reading one costs at most its length times [`MAX_TEXT_BYTES`]. It has no loops; it joins few
//! texts; each text that it reads is short or none; a pattern takes one step a byte. The sum of a request's
//! headers and attributes, which are bounded before policy is asked, comes in once.

mod bindings;
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "of the many parts of the language only some are looked at; `bounds::children` lists all"
)]
mod bounds;
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "of the many parts of the language only some are looked at; `bounds::children` lists all"
)]
mod equality;
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "of the many parts of the language only some are looked at; `bounds::children` lists all"
)]
mod fold;
mod language;
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "of the many parts of the language only some are looked at; `bounds::children` lists all"
)]
mod literal;
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "of the many parts of the language only some are looked at; `bounds::children` lists all"
)]
mod names;
mod pattern;
mod refused;

#[cfg(test)]
mod tests;

use std::panic::{AssertUnwindSafe, catch_unwind};

use attache_core::event::ConditionOutcome;
use cel_core::{CelType, CompileError, Program, Value};

pub(crate) use refused::{InvalidExpression, RefusedExpression};

use super::{Facts, met};
use bindings::Bindings;

/// Longest text that is read of a call, in bytes.
const MAX_TEXT_BYTES: usize = 8 * 1024;

/// An expression that yields a boolean.
pub(crate) struct Expression {
    program: Program,
    constant: Option<bool>,
}

impl Expression {
    pub(crate) fn compile(text: &str) -> Result<Self, RefusedExpression> {
        bounds::check_size(text)?;
        // SECURITY: the parser is not ours; what stops it refuses the document and not the process.
        catch_unwind(|| Self::checked(text)).unwrap_or_else(|_panic| {
            let reason = InvalidExpression::Malformed("it cannot be read".to_owned());
            Err(reason.whole())
        })
    }

    fn checked(text: &str) -> Result<Self, RefusedExpression> {
        let parsed = language::STANDARD.parse_only(text).map_err(malformed)?;
        for expression in bounds::parts(parsed.expr())? {
            names::check(expression)?;
            literal::check(expression)?;
        }
        let patterns = pattern::compile_all(parsed.expr())?;
        let environment = language::STANDARD.clone().with_function(patterns);
        let checked = environment.compile(text).map_err(malformed)?;
        equality::check(&checked)?;
        bounds::check_joins(&checked)?;
        fold::check(&environment, &checked)?;
        match checked.result_type() {
            Some(CelType::Bool) => {}
            other => {
                let found = other.map_or_else(|| "nothing".to_owned(), CelType::display_name);
                return Err(InvalidExpression::NotBoolean(found).whole());
            }
        }
        let constant = fold::constant(&environment, &checked);
        let strict = equality::strict(&checked);
        let program = environment.program(&strict).map_err(malformed)?;
        Ok(Self { program, constant })
    }

    /// What it always yields, whatever is asked and whenever.
    pub(crate) const fn constant(&self) -> Option<bool> {
        self.constant
    }

    /// As it was written.
    pub(crate) fn source(&self) -> &str {
        self.program.ast().source()
    }

    /// An error in it (an attribute that is not there, a division by zero) is no answer.
    pub(super) fn read(&self, facts: &Facts<'_>) -> ConditionOutcome {
        // SECURITY: the evaluator is not ours; what stops it must be an answer, not a stopped task.
        let read = || self.program.eval(&Bindings::new(facts));
        match catch_unwind(AssertUnwindSafe(read)) {
            Ok(Value::Bool(holds)) => met(holds),
            Ok(_) | Err(_) => ConditionOutcome::Unavailable,
        }
    }
}

/// The first mistake, with the part that is to blame.
fn malformed(error: CompileError) -> RefusedExpression {
    let first = match error {
        CompileError::Parse(errors) => errors
            .into_iter()
            .next()
            .map(|error| (error.message, error.span)),
        CompileError::Check(errors) => {
            let first = errors.into_iter().next();
            if let Some(unknown) = first.as_ref().and_then(names::undeclared) {
                return unknown;
            }
            first.map(|error| (error.message(), error.span))
        }
        CompileError::NoAst => None,
    };
    match first {
        Some((message, span)) => InvalidExpression::Malformed(message).at(&span),
        None => InvalidExpression::Malformed("it is empty".to_owned()).whole(),
    }
}

impl std::fmt::Debug for Expression {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Expression").field(&self.source()).finish()
    }
}
