//! How much an expression may be: its length and depth, before anything recurses; no loops, no bindings;
//! few joins of texts, each of which copies both.

use cel_core::{Ast, BinaryOp, CelType, Expr, SpannedExpr};

use super::refused::{InvalidExpression, RefusedExpression};

/// Longest expression, in bytes.
pub(super) const MAX_BYTES: usize = 2048;
/// Most signs that may open a level: brackets, operators, `?`. The parser and the evaluator recurse.
pub(super) const MAX_SIGNS: usize = 256;
/// Most brackets open at once, each of which costs the parser a whole round.
pub(super) const MAX_BRACKETS: usize = 16;
/// Most `+` between texts, bytes, lists or maps.
pub(super) const MAX_JOINS: usize = 8;

/// Bounds recursion before anything recurses. Brackets and signs inside of texts count, too.
pub(super) fn check_size(text: &str) -> Result<(), RefusedExpression> {
    if text.len() > MAX_BYTES {
        return Err(InvalidExpression::TooLong(text.len()).whole());
    }
    let (mut open, mut signs) = (0_usize, 0_usize);
    for byte in text.bytes() {
        match byte {
            b'(' | b'[' | b'{' => open = open.saturating_add(1),
            b')' | b']' | b'}' => open = open.saturating_sub(1),
            _ => {}
        }
        let sign = b"([{!-+*/%<>=&|?.".contains(&byte);
        signs = signs.saturating_add(usize::from(sign));
        if open > MAX_BRACKETS || signs > MAX_SIGNS {
            return Err(InvalidExpression::TooDeep.whole());
        }
    }
    Ok(())
}

/// The expression and all that it consists of, but for what lies within a part that [`check_form`] refuses.
pub(super) fn parts(whole: &SpannedExpr) -> Vec<&SpannedExpr> {
    let mut parts = Vec::new();
    let mut pending = vec![whole];
    while let Some(expression) = pending.pop() {
        pending.extend(children(&expression.node));
        parts.push(expression);
    }
    parts
}

/// Loops, bindings, messages and optional values are refused.
pub(super) fn check_form(part: &SpannedExpr) -> Result<(), RefusedExpression> {
    let reason = match &part.node {
        Expr::Comprehension(_) => InvalidExpression::Loops,
        Expr::Bind { .. } => InvalidExpression::Binds,
        Expr::Struct { .. } => InvalidExpression::Builds,
        Expr::Index { optional: true, .. } | Expr::Member { optional: true, .. } => {
            InvalidExpression::Malformed("it has `?`, and there are no optional values".to_owned())
        }
        _ => return Ok(()),
    };
    Err(reason.at(&part.span))
}

/// What an expression directly consists of. The name of a function is no part of its call.
pub(super) fn children(expression: &Expr) -> Vec<&SpannedExpr> {
    match expression {
        Expr::Null
        | Expr::Bool(_)
        | Expr::Int(_)
        | Expr::UInt(_)
        | Expr::Float(_)
        | Expr::String(_)
        | Expr::Bytes(_)
        | Expr::Ident(_)
        | Expr::RootIdent(_)
        | Expr::Error
        | Expr::Comprehension(_)
        | Expr::Bind { .. }
        | Expr::Struct { .. } => Vec::new(),
        Expr::List(elements) => elements.iter().map(|element| &element.expr).collect(),
        Expr::Map(entries) => {
            let entries = entries.iter();
            entries
                .flat_map(|entry| [&entry.key, &entry.value])
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
            let receiver = match &expr.node {
                Expr::Member { expr, .. } => Some(&**expr),
                _ => None,
            };
            receiver.into_iter().chain(args).collect()
        }
    }
}

/// The type that the checker found for a part.
pub(super) fn kind_of<'c>(checked: &'c Ast, part: &SpannedExpr) -> Option<&'c CelType> {
    checked.type_info()?.type_map.get(&part.id)
}

pub(super) fn check_joins(checked: &Ast) -> Result<(), RefusedExpression> {
    let is_join = |part: &&SpannedExpr| {
        let adds = matches!(
            part.node,
            Expr::Binary {
                op: BinaryOp::Add,
                ..
            }
        );
        let of_one_size = |kind: &CelType| {
            kind.is_numeric() || [CelType::Timestamp, CelType::Duration].contains(kind)
        };
        adds && !kind_of(checked, part).is_some_and(of_one_size)
    };
    if parts(checked.expr()).into_iter().filter(is_join).count() > MAX_JOINS {
        return Err(InvalidExpression::TooManyJoins.whole());
    }
    Ok(())
}
