//! Texts that stand in an expression and are compared with what has one spelling only: a host in capitals is
//! never equal to a host, and a deny that asks for it would never apply.

use std::net::IpAddr;

use attache_core::request::{Host, RequestPath, is_method, without_query};
use cel_core::{BinaryOp, Expr, SpannedExpr};

use super::refused::{InvalidExpression, Refusals, RefusedExpression};
use crate::problem::quoted;

/// Looks at one part of an expression.
pub(super) fn check(part: &SpannedExpr, refusals: &mut Refusals) {
    match &part.node {
        Expr::Binary {
            op: BinaryOp::Eq | BinaryOp::Ne,
            left,
            right,
        } => {
            refusals.tell(compared(left, right));
            refusals.tell(compared(right, left));
        }
        Expr::Binary {
            op: BinaryOp::In,
            left,
            right,
        } => {
            if let Expr::List(elements) = &right.node {
                for element in elements {
                    refusals.tell(compared(left, &element.expr));
                }
            }
        }
        Expr::Call { expr, args } => {
            if let (Expr::Member { expr, field, .. }, [argument]) = (&expr.node, args.as_slice()) {
                refusals.tell(contained(expr, field, argument));
            }
        }
        _ => {}
    }
}

/// What has one spelling.
#[derive(Clone, Copy)]
enum Spelled {
    Host,
    Method,
    Path,
    Source,
}

impl Spelled {
    fn of(part: &SpannedExpr) -> Option<Self> {
        match &part.node {
            Expr::Ident(name) if name == "source" => Some(Self::Source),
            Expr::Member { expr, field, .. } => match (&expr.node, field.as_str()) {
                (Expr::Ident(name), "host") if name == "request" => Some(Self::Host),
                (Expr::Ident(name), "method") if name == "request" => Some(Self::Method),
                (Expr::Ident(name), "path") if name == "request" => Some(Self::Path),
                _ => None,
            },
            _ => None,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Host => "request.host",
            Self::Method => "request.method",
            Self::Path => "request.path",
            Self::Source => "source",
        }
    }

    /// The one spelling of what `text` means, if it means anything.
    fn respelled(self, text: &str) -> Option<String> {
        match self {
            Self::Host => Host::parse(text).ok().map(|host| host.as_str().to_owned()),
            Self::Method => {
                let upper = text.to_ascii_uppercase();
                is_method(&upper).then_some(upper)
            }
            Self::Path => {
                let path = RequestPath::parse(without_query(text)).ok()?;
                Some(path.spelled().into_owned())
            }
            Self::Source => {
                let address = text.parse::<IpAddr>().ok()?;
                Some(address.to_canonical().to_string())
            }
        }
    }

    /// Whether some of these may hold `text` as a part.
    fn may_hold(self, text: &str) -> bool {
        match self {
            Self::Host => text.bytes().all(|byte| {
                byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.:".contains(&byte)
            }),
            Self::Method => text.is_empty() || is_method(text),
            Self::Path => {
                let mut bytes = text.bytes();
                bytes.all(|byte| byte.is_ascii_graphic() && !b"?#;\\".contains(&byte))
                    && !text.contains("//")
            }
            Self::Source => text
                .bytes()
                .all(|byte| byte.is_ascii_hexdigit() || b".:".contains(&byte)),
        }
    }

    const fn way_out(self) -> &'static str {
        match self {
            Self::Host => "write the host in lower case and in ASCII, without port",
            Self::Method => "write a method in capitals, such as GET",
            Self::Path => {
                "write an absolute path without query, such as /v1; the query is request.query"
            }
            Self::Source => "write an address; for a range use a condition of `source`",
        }
    }
}

/// `part == literal`.
fn compared(part: &SpannedExpr, literal: &SpannedExpr) -> Result<(), RefusedExpression> {
    let (Some(spelled), Expr::String(text)) = (Spelled::of(part), &literal.node) else {
        return Ok(());
    };
    let way_out = match spelled.respelled(text) {
        Some(same) if same == *text => return Ok(()),
        Some(other) => format!("write {}", quoted(&other)),
        None => spelled.way_out().to_owned(),
    };
    Err(never(spelled, text, way_out).at(&literal.span))
}

/// `part.contains(literal)` and the like.
fn contained(
    part: &SpannedExpr,
    function: &str,
    literal: &SpannedExpr,
) -> Result<(), RefusedExpression> {
    let (Some(spelled), Expr::String(text)) = (Spelled::of(part), &literal.node) else {
        return Ok(());
    };
    let searched = ["contains", "startsWith", "endsWith"].contains(&function);
    let relative = function == "startsWith"
        && matches!(spelled, Spelled::Path)
        && !text.is_empty()
        && !text.starts_with('/');
    if !searched || (spelled.may_hold(text) && !relative) {
        return Ok(());
    }
    let way_out = spelled.way_out().to_owned();
    Err(never(spelled, text, way_out).at(&literal.span))
}

fn never(spelled: Spelled, text: &str, way_out: String) -> InvalidExpression {
    InvalidExpression::NeverIs {
        what: spelled.name(),
        literal: quoted(text),
        way_out,
    }
}
