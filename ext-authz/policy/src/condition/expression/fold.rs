//! What can be told of an expression without a call: a part that reads nothing, or only the time, is
//! evaluated when the expression is compiled, and refused where it errs at any time.

use cel_core::{Ast, CelType, Env, Expr, MapActivation, SpannedExpr, Timestamp, Value};

use super::{
    bounds::{children, kind_of, parts},
    refused::{InvalidExpression, Refusals, RefusedExpression},
};

/// Moments of different years, months, weekdays and hours, in seconds since 1970.
const MOMENTS: [i64; 4] = [0, 1_782_000_123, 1_801_955_400, 1_830_345_678];

/// What a part depends on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reads {
    Nothing,
    /// The time alone.
    Time,
    Call,
}

pub(super) fn check(environment: &Env, checked: &Ast, refusals: &mut Refusals) {
    reads(checked.expr(), environment, refusals);
    for part in parts(checked.expr()) {
        if let Expr::Index { expr, index, .. } = &part.node
            && !matches!(kind_of(checked, expr), Some(CelType::Map(..)))
            && !matches!(index.node, Expr::String(_))
        {
            refusals.tell(check_index(index, environment));
        }
    }
}

/// What an expression yields that reads nothing, not even the time.
pub(super) fn constant(environment: &Env, checked: &Ast) -> Option<bool> {
    let whole = checked.expr();
    match depends_on(whole) {
        Reads::Time | Reads::Call => None,
        Reads::Nothing => match evaluated(whole, environment, 0) {
            Some(Value::Bool(holds)) => Some(holds),
            Some(_) | None => None,
        },
    }
}

/// SECURITY: the evaluator counts a negative place from the end, which CEL does not.
fn check_index(index: &SpannedExpr, environment: &Env) -> Result<(), RefusedExpression> {
    let value = match depends_on(index) {
        Reads::Nothing => evaluated(index, environment, 0),
        Reads::Time | Reads::Call => None,
    };
    match value {
        Some(Value::Int(0..) | Value::UInt(_)) => Ok(()),
        _ => Err(InvalidExpression::IndexNotLiteral.at(&index.span)),
    }
}

/// The innermost part that can never be evaluated is the one that is told.
fn reads(part: &SpannedExpr, environment: &Env, refusals: &mut Refusals) -> Reads {
    let mut most = depends_on_itself(&part.node);
    let inner = children(&part.node);
    let is_whole = inner.is_empty() && !matches!(part.node, Expr::Call { .. });
    for child in inner {
        most = most.max(reads(child, environment, refusals));
    }
    let moments = match most {
        Reads::Nothing => MOMENTS.get(..1),
        Reads::Time => Some(MOMENTS.as_slice()),
        Reads::Call => None,
    };
    let Some(moments) = moments.filter(|_| !is_whole) else {
        return most;
    };
    let mut error = None;
    for moment in moments {
        match evaluated(part, environment, *moment) {
            Some(Value::Error(told)) => error = Some(told),
            Some(_) | None => return most,
        }
    }
    let Some(error) = error else {
        return most;
    };
    let reason = InvalidExpression::NeverEvaluated(error.message.clone());
    refusals.tell(Err(reason.at(&part.span)));
    // What lies around it is not looked at: it errs for the same reason, or is not reached.
    Reads::Call
}

fn depends_on(part: &SpannedExpr) -> Reads {
    let inner = children(&part.node).into_iter().map(depends_on);
    inner
        .max()
        .unwrap_or(Reads::Nothing)
        .max(depends_on_itself(&part.node))
}

fn depends_on_itself(node: &Expr) -> Reads {
    match node {
        Expr::Ident(name) | Expr::RootIdent(name) if name == "now" => Reads::Time,
        Expr::Ident(_) | Expr::RootIdent(_) => Reads::Call,
        _ => Reads::Nothing,
    }
}

fn evaluated(part: &SpannedExpr, environment: &Env, seconds: i64) -> Option<Value> {
    let program = environment
        .program(&Ast::new_unchecked(part.clone(), ""))
        .ok()?;
    let mut facts = MapActivation::new();
    facts.insert("now", Value::Timestamp(Timestamp::new(seconds, 0)));
    Some(program.eval(&facts))
}
