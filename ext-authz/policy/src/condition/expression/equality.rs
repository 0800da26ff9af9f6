//! `==`, `!=` and `in`, stricter than CEL has them: what is of two kinds is not unequal but an error. `[0]`, as
//! strict as CEL has it: the evaluator takes the first letter of a text.
//!
//! SECURITY: a claim may be a text in one token and a list in the next. `attributes["claims.role"] ==
//! "contractor"` would be false of `["contractor"]`, and a deny that asks so would not apply.

use std::mem::{discriminant, replace};

use cel_core::{
    Ast, BinaryOp, CelType, EvalError, Expr, FunctionDecl, OverloadDecl, SpannedExpr, UnaryOp,
    Value,
};

use super::{
    bounds::{kind_of, parts},
    refused::{InvalidExpression, Refusals},
};

/// Names that no expression can spell.
const EQUALS: &str = "@equals";
const CONTAINS: &str = "@in";
const AT: &str = "@at";

/// Refuses what is compared with a thing of another kind, where both kinds are known.
pub(super) fn check(checked: &Ast, refusals: &mut Refusals) {
    for part in parts(checked.expr()) {
        let (left, right) = match &part.node {
            Expr::Binary { op, left, right } => match op {
                BinaryOp::Eq
                | BinaryOp::Ne
                | BinaryOp::Lt
                | BinaryOp::Le
                | BinaryOp::Gt
                | BinaryOp::Ge => (kind(left, checked), kind(right, checked)),
                BinaryOp::In => (kind(left, checked), searched(right, checked)),
                BinaryOp::Add
                | BinaryOp::Sub
                | BinaryOp::Mul
                | BinaryOp::Div
                | BinaryOp::Mod
                | BinaryOp::And
                | BinaryOp::Or => continue,
            },
            Expr::Index { index, expr, .. } => (kind(index, checked), indexed(expr, checked)),
            _ => continue,
        };
        if let (Some(left), Some(right)) = (left, right)
            && !left.may_equal(&right)
        {
            let reason = InvalidExpression::NeverEqual(left.name(), right.name());
            refusals.tell(Err(reason.at(&part.span)));
        }
    }
}

/// What is known of a value before there is one.
enum Kind<'c> {
    Known(&'c CelType),
    /// Of an attribute: a text, or a list of texts.
    Attribute,
}

impl Kind<'_> {
    fn may_equal(&self, other: &Self) -> bool {
        let is_single = |kind: &CelType| {
            kind.is_primitive() || [CelType::Timestamp, CelType::Duration].contains(kind)
        };
        match (self, other) {
            (Self::Attribute, Self::Attribute) => true,
            (Self::Attribute, Self::Known(kind)) | (Self::Known(kind), Self::Attribute) => {
                **kind == CelType::String || (!is_single(kind) && **kind != CelType::Null)
            }
            (Self::Known(one), Self::Known(two)) => {
                let numbers = one.is_numeric() && two.is_numeric();
                one == two || numbers || !is_single(one) || !is_single(two)
            }
        }
    }

    fn name(&self) -> String {
        match self {
            Self::Known(kind) => kind.display_name(),
            Self::Attribute => "an attribute".to_owned(),
        }
    }
}

fn kind<'c>(part: &SpannedExpr, checked: &'c Ast) -> Option<Kind<'c>> {
    let container = match &part.node {
        Expr::Index { expr, .. } | Expr::Member { expr, .. } => Some(&expr.node),
        _ => None,
    };
    if matches!(container, Some(Expr::Ident(name)) if name == "attributes") {
        return Some(Kind::Attribute);
    }
    kind_of(checked, part).map(Kind::Known)
}

/// What `in` compares with.
fn searched<'c>(part: &SpannedExpr, checked: &'c Ast) -> Option<Kind<'c>> {
    match kind(part, checked)? {
        Kind::Attribute => Some(Kind::Known(&CelType::String)),
        Kind::Known(CelType::List(kind) | CelType::Map(kind, _)) => Some(Kind::Known(kind)),
        Kind::Known(_) => None,
    }
}

/// What an index is.
fn indexed<'c>(part: &SpannedExpr, checked: &'c Ast) -> Option<Kind<'c>> {
    match kind(part, checked)? {
        Kind::Known(CelType::Map(key, _)) => Some(Kind::Known(key)),
        Kind::Known(CelType::List(_)) | Kind::Attribute => Some(Kind::Known(&CelType::Int)),
        Kind::Known(_) => None,
    }
}

/// The same expression with strict comparisons wherever a kind is known only when it is read.
pub(super) fn strict(checked: &Ast) -> Ast {
    let mut expression = checked.expr().clone();
    rewrite(&mut expression, checked);
    match checked.type_info() {
        Some(types) => Ast::new_checked(expression, checked.source(), types.clone()),
        None => Ast::new_unchecked(expression, checked.source()),
    }
}

fn rewrite(expression: &mut SpannedExpr, checked: &Ast) {
    for part in children_mut(&mut expression.node) {
        rewrite(part, checked);
    }
    let is_map = |part: &SpannedExpr| matches!(kind_of(checked, part), Some(CelType::Map(..)));
    let (name, one, other) = match &mut expression.node {
        Expr::Binary {
            op: BinaryOp::Eq | BinaryOp::Ne,
            left,
            right,
        } => (EQUALS, left, right),
        Expr::Binary {
            op: BinaryOp::In,
            left,
            right,
        } if !is_map(right) => (CONTAINS, left, right),
        Expr::Index { expr, index, .. } if !is_map(expr) => (AT, expr, index),
        _ => return,
    };
    let nothing = || SpannedExpr::new(-1, Expr::Null, 0..0);
    let arguments = vec![
        replace(&mut **one, nothing()),
        replace(&mut **other, nothing()),
    ];
    let span = expression.span.clone();
    let function = Expr::Ident(name.to_owned());
    let call = Expr::Call {
        expr: Box::new(SpannedExpr::new(-1, function, span.clone())),
        args: arguments,
    };
    let before = replace(&mut expression.node, call);
    if let Expr::Binary {
        op: BinaryOp::Ne, ..
    } = before
    {
        let call = replace(&mut expression.node, Expr::Null);
        expression.node = Expr::Unary {
            op: UnaryOp::Not,
            expr: Box::new(SpannedExpr::new(-1, call, span)),
        };
    }
}

/// As `bounds::children`.
fn children_mut(expression: &mut Expr) -> Vec<&mut SpannedExpr> {
    match expression {
        Expr::List(elements) => elements.iter_mut().map(|it| &mut it.expr).collect(),
        Expr::Map(entries) => {
            let entries = entries.iter_mut();
            entries
                .flat_map(|entry| [&mut entry.key, &mut entry.value])
                .collect()
        }
        Expr::Unary { expr, .. }
        | Expr::Member { expr, .. }
        | Expr::MemberTestOnly { expr, .. } => vec![expr],
        Expr::Binary { left, right, .. } => vec![left, right],
        Expr::Ternary {
            cond,
            then_expr,
            else_expr,
        } => vec![cond, then_expr, else_expr],
        Expr::Index { expr, index, .. } => vec![expr, index],
        Expr::Call { expr, args } => {
            let receiver = match &mut expr.node {
                Expr::Member { expr, .. } => Some(&mut **expr),
                _ => None,
            };
            receiver.into_iter().chain(args).collect()
        }
        // What has no parts, and what is refused.
        _ => Vec::new(),
    }
}

/// What [`strict`] puts in.
pub(super) fn functions() -> [FunctionDecl; 3] {
    let declared = |name: &str, kind, run: fn(&Value, &Value) -> Option<Value>| {
        let parameters = vec![CelType::Dyn, CelType::Dyn];
        let overload = OverloadDecl::function(name, parameters, kind);
        FunctionDecl::new(name).with_overload(overload.with_impl(move |arguments| {
            let value = match arguments {
                [one, other] => run(one, other),
                _ => None,
            };
            value.unwrap_or_else(|| Value::error(EvalError::no_matching_overload("_==_")))
        }))
    };
    [
        declared(EQUALS, CelType::Bool, |one, other| {
            equals(one, other).map(Value::Bool)
        }),
        declared(CONTAINS, CelType::Bool, |one, list| {
            is_in(one, list).map(Value::Bool)
        }),
        declared(AT, CelType::Dyn, at),
    ]
}

/// What stands at a place of a list.
fn at(list: &Value, place: &Value) -> Option<Value> {
    let Value::List(list) = list else { return None };
    let place = match place {
        Value::Int(place) => usize::try_from(*place),
        Value::UInt(place) => usize::try_from(*place),
        _ => return None,
    };
    list.get(place.ok()?).cloned()
}

/// `None` if they are of two kinds.
fn equals(one: &Value, other: &Value) -> Option<bool> {
    let is_number =
        |value: &Value| matches!(value, Value::Int(_) | Value::UInt(_) | Value::Double(_));
    match (one, other) {
        (Value::List(one), Value::List(other)) => {
            if one.len() != other.len() {
                return Some(false);
            }
            let pairs = one.iter().zip(other.iter());
            all(pairs.map(|(one, other)| equals(one, other)))
        }
        (Value::Map(one), Value::Map(two)) => {
            if one.len() != two.len() {
                return Some(false);
            }
            all(one.iter().map(|(key, value)| {
                two.get_with_numeric_coercion(key)
                    .map_or(Some(false), |other| equals(value, other))
            }))
        }
        _ if one.is_error() || other.is_error() => None,
        _ if is_number(one) && is_number(other) => Some(one == other),
        _ => (discriminant(one) == discriminant(other)).then(|| one == other),
    }
}

/// Whether `one` stands in a list; `None` if it cannot be told.
fn is_in(one: &Value, list: &Value) -> Option<bool> {
    let Value::List(list) = list else { return None };
    all(list
        .iter()
        .map(|other| equals(one, other).map(|equal| !equal)))
    .map(|differ| !differ)
}

/// Whether all are true. One that is false settles it, and then one that is not known.
fn all(mut answers: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    let settled = answers.try_fold(Some(true), |all, answer| match answer {
        Some(false) => Err(()),
        Some(true) => Ok(all),
        None => Ok(None),
    });
    settled.unwrap_or(Some(false))
}
