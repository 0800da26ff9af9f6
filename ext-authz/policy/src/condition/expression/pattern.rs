//! `matches`: each pattern is an automaton that is built whole when the expression is compiled, and takes
//! one step for each byte of a text, whatever the text is. A pattern that needs too many states is refused.
//!
//! The syntax is that of RE2, as CEL has it: `\d`, `\s`, `\w` and `\b` are about ASCII.

use std::{collections::HashMap, sync::Arc};

use cel_core::{CelType, EvalError, Expr, FunctionDecl, OverloadDecl, SpannedExpr, Value};
use regex_automata::{
    Input,
    dfa::{Automaton, StartKind, dense},
    nfa::thompson,
};

use super::{
    MAX_TEXT_BYTES,
    bounds::parts,
    refused::{InvalidExpression, Refusals},
};

/// Most memory of one automaton, and of what it is built from.
const MAX_AUTOMATON_BYTES: usize = 64 * 1024;

#[cfg(test)]
thread_local! {
    /// How many bytes this thread's automata were given to read.
    pub(super) static BYTES_READ: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// A pattern, ready to match.
pub(super) struct Pattern(dense::DFA<Vec<u32>>);

impl Pattern {
    pub(super) fn compile(pattern: &str) -> Result<Self, InvalidExpression> {
        let limit = Some(MAX_AUTOMATON_BYTES);
        let shape = dense::Config::new()
            .start_kind(StartKind::Unanchored)
            .dfa_size_limit(limit)
            .determinize_size_limit(limit);
        let automaton = dense::Builder::new()
            .configure(shape)
            .thompson(thompson::Config::new().nfa_size_limit(limit))
            .build(&in_ascii(pattern))
            .map_err(|error| InvalidExpression::Pattern(told(&error)))?;
        Ok(Self(automaton))
    }

    /// `None` for a text that is longer than any that is read.
    pub(super) fn matches(&self, text: &str) -> Option<bool> {
        if text.len() > MAX_TEXT_BYTES {
            return None;
        }
        #[cfg(test)]
        BYTES_READ.set(BYTES_READ.get().saturating_add(text.len()));
        let found = self.0.try_search_fwd(&Input::new(text).earliest(true));
        found.ok().map(|end| end.is_some())
    }
}

/// The reason, without what the library says of its own workings.
fn told(error: &dense::BuildError) -> String {
    let (mut source, mut next) = (error.to_string(), std::error::Error::source(error));
    while let Some(inner) = next {
        source = inner.to_string();
        next = inner.source();
    }
    if error.is_size_limit_exceeded() || source.contains("exceeded limit") {
        return "it needs too many states".to_owned();
    }
    // The library draws the pattern and points to it, in several lines; the last one says what is wrong.
    let last = source.lines().last().unwrap_or_default();
    last.trim_start_matches("error: ").to_owned()
}

/// The classes of RE2 in place of those of Unicode, which have the same names and many more states.
fn in_ascii(pattern: &str) -> String {
    let mut told = String::with_capacity(pattern.len());
    let mut letters = pattern.chars();
    while let Some(letter) = letters.next() {
        if letter != '\\' {
            told.push(letter);
            continue;
        }
        match letters.next() {
            Some('d') => told.push_str("[0-9]"),
            Some('D') => told.push_str("[^0-9]"),
            Some('s') => told.push_str(r"[\t\n\f\r ]"),
            Some('S') => told.push_str(r"[^\t\n\f\r ]"),
            Some('w') => told.push_str("[0-9A-Za-z_]"),
            Some('W') => told.push_str("[^0-9A-Za-z_]"),
            Some('b') => told.push_str(r"(?-u:\b)"),
            Some('B') => told.push_str(r"(?-u:\B)"),
            other => told.extend(['\\'].into_iter().chain(other)),
        }
    }
    told
}

/// `matches` over the patterns of an expression, compiled once. A pattern from a request is never compiled.
pub(super) fn compile_all(whole: &SpannedExpr, refusals: &mut Refusals) -> FunctionDecl {
    let mut patterns = HashMap::new();
    for part in parts(whole) {
        let Some(argument) = argument_of_matches(&part.node) else {
            continue;
        };
        let pattern = if let Expr::String(text) = &argument.node {
            Pattern::compile(text).map(|pattern| (text.clone(), pattern))
        } else {
            Err(InvalidExpression::PatternNotLiteral)
        };
        match pattern {
            Ok((text, pattern)) => {
                patterns.insert(text, pattern);
            }
            Err(reason) => refusals.tell(Err(reason.at(&argument.span))),
        }
    }
    function(Arc::new(patterns))
}

fn argument_of_matches(expression: &Expr) -> Option<&SpannedExpr> {
    let Expr::Call { expr, args } = expression else {
        return None;
    };
    match (&expr.node, args.as_slice()) {
        (Expr::Member { field, .. }, [argument]) if field == "matches" => Some(argument),
        _ => None,
    }
}

fn function(patterns: Arc<HashMap<String, Pattern>>) -> FunctionDecl {
    let parameters = vec![CelType::String, CelType::String];
    let overload = OverloadDecl::method("string_matches_re", parameters, CelType::Bool);
    FunctionDecl::new("matches").with_overload(overload.with_impl(move |arguments| {
        // An error, for another value could be compared with something.
        let refused = || Value::error(EvalError::no_matching_overload("matches"));
        let [Value::String(text), Value::String(pattern)] = arguments else {
            return refused();
        };
        let pattern = patterns.get(&**pattern);
        let found = pattern.and_then(|pattern| pattern.matches(text));
        found.map_or_else(refused, Value::Bool)
    }))
}
