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
use refused::Refusals;

/// Longest text that is read of a call, in bytes.
const MAX_TEXT_BYTES: usize = 8 * 1024;

/// An expression that yields a boolean.
pub(crate) struct Expression {
    program: Program,
    constant: Option<bool>,
}

impl Expression {
    /// Or everything that can be told at once of what is wrong with it, in the order of the text.
    pub(crate) fn compile(text: &str) -> Result<Self, Vec<RefusedExpression>> {
        bounds::check_size(text).map_err(|refused| vec![refused])?;
        // SECURITY: the parser is not ours; what stops it refuses the document and not the process.
        catch_unwind(|| Self::checked(text)).unwrap_or_else(|_panic| {
            let reason = InvalidExpression::Malformed("it cannot be read".to_owned());
            Err(vec![reason.whole()])
        })
    }

    fn checked(text: &str) -> Result<Self, Vec<RefusedExpression>> {
        let mut refusals = Refusals::default();
        let parsed = match language::STANDARD.parse_only(text) {
            Ok(parsed) => parsed,
            Err(error) => return Err(malformed(error)),
        };
        let parts = bounds::parts(parsed.expr());
        for part in &parts {
            refusals.tell(bounds::check_form(part));
        }
        let is_of_known_forms = refusals.is_empty();
        for part in parts {
            refusals.tell(names::check(part));
            literal::check(part, &mut refusals);
        }
        let patterns = pattern::compile_all(parsed.expr(), &mut refusals);
        // What the checker makes of forms that are refused tells nobody anything.
        if !is_of_known_forms {
            return Err(refusals.in_order());
        }
        let environment = language::STANDARD.clone().with_function(patterns);
        let checked = match environment.compile(text) {
            Ok(checked) => checked,
            Err(error) => {
                refusals.extend(malformed(error));
                return Err(refusals.in_order());
            }
        };
        equality::check(&checked, &mut refusals);
        refusals.tell(bounds::check_joins(&checked));
        fold::check(&environment, &checked, &mut refusals);
        if refusals.is_empty() && checked.result_type() != Some(&CelType::Bool) {
            let found = checked.result_type();
            let found = found.map_or_else(|| "nothing".to_owned(), CelType::display_name);
            refusals.extend([InvalidExpression::NotBoolean(found).whole()]);
        }
        if !refusals.is_empty() {
            return Err(refusals.in_order());
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

/// The mistakes, each with the part that is to blame. Where the parser stops, what follows is guesswork.
fn malformed(error: CompileError) -> Vec<RefusedExpression> {
    let told = |message: String, span| InvalidExpression::Malformed(message).at(&span);
    let refused: Vec<_> = match error {
        CompileError::Parse(errors) => {
            let first = errors.into_iter().take(1);
            first.map(|error| told(error.message, error.span)).collect()
        }
        CompileError::Check(errors) => {
            let errors = errors.into_iter();
            let one = |error| {
                names::undeclared(&error).unwrap_or_else(|| told(error.message(), error.span))
            };
            errors.map(one).collect()
        }
        CompileError::NoAst => Vec::new(),
    };
    if refused.is_empty() {
        return vec![InvalidExpression::Malformed("it is empty".to_owned()).whole()];
    }
    refused
}

impl std::fmt::Debug for Expression {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Expression").field(&self.source()).finish()
    }
}
