//! Why an expression is not accepted, and which part of it is to blame.

use std::ops::Range;

use thiserror::Error;

use super::bounds::{MAX_BRACKETS, MAX_BYTES, MAX_JOINS, MAX_SIGNS};

/// An expression that is not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RefusedExpression {
    pub(crate) reason: InvalidExpression,
    /// In bytes; `None` if it is the whole.
    pub(crate) part: Option<Range<usize>>,
}

/// Why an expression is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum InvalidExpression {
    #[error("the expression has {0} bytes; at most {MAX_BYTES} are read")]
    TooLong(usize),
    #[error(
        "the expression is too deep: at most {MAX_BRACKETS} open brackets and {MAX_SIGNS} operators"
    )]
    TooDeep,
    #[error(
        "the expression joins texts or lists more than {MAX_JOINS} times, which costs too much"
    )]
    TooManyJoins,
    #[error("the expression does not compile: {0}")]
    Malformed(String),
    #[error("an expression cannot read {name}")]
    UnknownName { name: String, way_out: String },
    #[error("no trust provider proves an attribute {name}")]
    UnknownAttribute { name: String, way_out: String },
    #[error("no request has a header {name}: the names of headers stand in lower case")]
    HeaderName { name: String, way_out: String },
    #[error("{what} is never {literal}")]
    NeverIs {
        what: &'static str,
        literal: String,
        way_out: String,
    },
    #[error("the expression yields {0}, not a truth value")]
    NotBoolean(String),
    #[error("the expression compares {0} with {1}, which are never equal")]
    NeverEqual(String, String),
    #[error("the expression can never be evaluated: {0}")]
    NeverEvaluated(String),
    #[error("the place in a list is not a number that stands in the expression, from 0")]
    IndexNotLiteral,
    #[error(
        "the expression loops: `all`, `exists`, `exists_one`, `map` and `filter` have no bounded cost"
    )]
    Loops,
    #[error("the expression binds a name, which can double its cost again and again")]
    Binds,
    #[error("the expression builds a message, and there are no messages to compare it with")]
    Builds,
    #[error("the pattern of `matches` is not a text that stands in the expression")]
    PatternNotLiteral,
    #[error("the pattern of `matches` is refused: {0}")]
    Pattern(String),
}

/// What was found wrong with an expression so far.
#[derive(Debug, Default)]
pub(super) struct Refusals(Vec<RefusedExpression>);

impl Refusals {
    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn tell(&mut self, looked_at: Result<(), RefusedExpression>) {
        self.extend(looked_at.err());
    }

    /// What lies within a part that was told already, or around it, follows from that.
    pub(super) fn extend(&mut self, refused: impl IntoIterator<Item = RefusedExpression>) {
        for one in refused {
            if !self.0.iter().any(|told| told.overlaps(&one)) {
                self.0.push(one);
            }
        }
    }

    pub(super) fn in_order(mut self) -> Vec<RefusedExpression> {
        let begins = |it: &RefusedExpression| it.part.as_ref().map(|part| part.start);
        self.0.sort_by_key(begins);
        self.0
    }
}

impl RefusedExpression {
    fn overlaps(&self, other: &Self) -> bool {
        match (&self.part, &other.part) {
            (Some(one), Some(other)) => {
                one == other || (one.start < other.end && other.start < one.end)
            }
            (None, _) | (_, None) => false,
        }
    }
}

impl InvalidExpression {
    pub(super) const fn at(self, part: &Range<usize>) -> RefusedExpression {
        RefusedExpression {
            reason: self,
            part: Some(part.start..part.end),
        }
    }

    pub(super) const fn whole(self) -> RefusedExpression {
        RefusedExpression {
            reason: self,
            part: None,
        }
    }

    /// What to write instead.
    pub(crate) fn way_out(&self) -> &str {
        match self {
            Self::TooLong(_) | Self::TooDeep | Self::TooManyJoins => {
                "write several conditions; a policy may list them, and all must hold"
            }
            Self::UnknownName { way_out, .. }
            | Self::UnknownAttribute { way_out, .. }
            | Self::HeaderName { way_out, .. }
            | Self::NeverIs { way_out, .. } => way_out,
            Self::Malformed(_) => {
                "known are attributes[\"k8s.namespace\"], request.host, .port, .method, .path, .query and .headers, source, now, and CEL's own functions"
            }
            Self::NotBoolean(_) => {
                "compare it with something: attributes[\"claims.team\"] == \"red\""
            }
            Self::NeverEqual(..) => {
                "write both alike: request.port == 443, source == \"10.0.0.1\"; attributes are texts, or lists of texts"
            }
            Self::NeverEvaluated(_) => {
                "correct it, for a condition that cannot be evaluated denies"
            }
            Self::IndexNotLiteral => "write attributes[\"claims.groups\"][0]",
            Self::Loops => "ask for one value: \"admins\" in attributes[\"claims.groups\"]",
            Self::Binds => "write the expression out",
            Self::Builds => "compare with a text or a number",
            Self::PatternNotLiteral => "write request.path.matches(\"^/v[0-9]+/\")",
            Self::Pattern(_) => {
                "write a shorter pattern, without back-references or look-around, and with small counts in {}"
            }
        }
    }
}
