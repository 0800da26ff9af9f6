//! The names that an expression reads by: members of `request`, attributes, headers. One that nothing is ever
//! called makes a condition that can never be evaluated.

use attache_core::attributes;
use cel_core::{BinaryOp, CheckError, CheckErrorKind, Expr, SpannedExpr};

use super::{
    language::{MEMBERS, ROOTS, STANDARD},
    refused::{InvalidExpression, RefusedExpression},
};
use crate::{
    problem::{did_you_mean, quoted},
    selector,
};

/// Looks at one part of an expression.
pub(super) fn check(part: &SpannedExpr) -> Result<(), RefusedExpression> {
    let (container, name, dotted) = match &part.node {
        Expr::Member { expr, field, .. } | Expr::MemberTestOnly { expr, field } => {
            (expr, field, true)
        }
        Expr::Index { expr, index, .. } => match &index.node {
            Expr::String(name) => (expr, name, false),
            _ => return Ok(()),
        },
        Expr::Binary {
            op: BinaryOp::In,
            left,
            right,
        } => match &left.node {
            Expr::String(name) => (right, name, false),
            _ => return Ok(()),
        },
        _ => return Ok(()),
    };
    let checked = match Read::of(container) {
        Some(Read::Request) if dotted => member(name),
        Some(Read::Attributes) => attribute(name, dotted),
        Some(Read::Headers) => header(name),
        Some(Read::Request) | None => Ok(()),
    };
    checked.map_err(|reason| reason.at(&part.span))
}

/// What is read by name.
enum Read {
    Request,
    Attributes,
    Headers,
}

impl Read {
    fn of(container: &SpannedExpr) -> Option<Self> {
        match &container.node {
            Expr::Ident(name) if name == "request" => Some(Self::Request),
            Expr::Ident(name) if name == "attributes" => Some(Self::Attributes),
            Expr::Member { expr, field, .. } if field == "headers" => {
                matches!(Self::of(expr), Some(Self::Request)).then_some(Self::Headers)
            }
            _ => None,
        }
    }
}

fn member(name: &str) -> Result<(), InvalidExpression> {
    if MEMBERS.contains(&name) {
        return Ok(());
    }
    let known = MEMBERS.map(|member| format!("request.{member}"));
    let name = format!("request.{name}");
    let way_out = did_you_mean(&name, known.iter().map(String::as_str))
        .unwrap_or_else(|| format!("known are {}", known.join(", ")));
    Err(InvalidExpression::UnknownName {
        name: quoted(&name),
        way_out,
    })
}

fn attribute(name: &str, dotted: bool) -> Result<(), InvalidExpression> {
    if attributes::is_known(name) {
        return Ok(());
    }
    let way_out = if dotted {
        format!("no dot reaches into a name: write attributes[\"{name}.…\"]")
    } else {
        selector::instead_of(name)
    };
    Err(InvalidExpression::UnknownAttribute {
        name: quoted(name),
        way_out,
    })
}

fn header(name: &str) -> Result<(), InvalidExpression> {
    let is_token = |name: &str| {
        let mut bytes = name.bytes();
        !name.is_empty()
            && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
    };
    let lower = name.to_ascii_lowercase();
    if is_token(name) && lower == name {
        return Ok(());
    }
    let way_out = if is_token(name) {
        format!("write {}", quoted(&lower))
    } else {
        "write a name such as \"x-env\"".to_owned()
    };
    Err(InvalidExpression::HeaderName {
        name: quoted(name),
        way_out,
    })
}

/// What the checker calls an undeclared reference.
pub(super) fn undeclared(error: &CheckError) -> Option<RefusedExpression> {
    let CheckErrorKind::UndeclaredReference { name, .. } = &error.kind else {
        return None;
    };
    let functions = STANDARD.functions().keys().map(String::as_str);
    let functions = functions.filter(|name| name.starts_with(|first: char| first.is_alphabetic()));
    let known = ROOTS.into_iter().chain(functions).chain(["matches"]);
    let way_out = if name == "request" {
        "write request.host, .port, .method, .path, .query or .headers".to_owned()
    } else {
        did_you_mean(name, known).unwrap_or_else(|| {
            "known are attributes, request, source and now; a text stands in quotes".to_owned()
        })
    };
    let reason = InvalidExpression::UnknownName {
        name: quoted(name),
        way_out,
    };
    Some(reason.at(&error.span))
}
