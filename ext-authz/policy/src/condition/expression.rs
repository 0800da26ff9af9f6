//! Conditions in CEL, the Common Expression Language (cel.dev): checked to a boolean when they are
//! compiled, without loops, and bounded in length and depth, so that reading one costs no more than its
//! length times that of the texts it reads.

use std::{
    collections::HashMap,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, LazyLock},
};

use attache_core::{attributes::AttributeValue, event::ConditionOutcome};
use cel_core::{
    Activation, Ast, BinaryOp, CelType, Env, EvalError, Expr, FunctionDecl, MapKey, OverloadDecl,
    Program, SpannedExpr, Timestamp, Value,
};
use regex::{Regex, RegexBuilder};
use thiserror::Error;

use super::{Facts, met};

/// Longest expression, in bytes.
const MAX_BYTES: usize = 2048;
/// Most signs that may open a level: brackets, operators, `?`. The parser and the evaluator recurse.
const MAX_SIGNS: usize = 256;
/// Most brackets open at once, each of which costs the parser a whole round.
const MAX_BRACKETS: usize = 16;
/// Most memory of one compiled pattern of `matches`.
const MAX_PATTERN_BYTES: usize = 256 * 1024;

/// What an expression may read, with its type. The language knows no others, so that a misspelled name
/// is found when the expression is compiled.
const TEXTS: [&str; 5] = [
    "request.host",
    "request.method",
    "request.path",
    "request.query",
    "source",
];

/// An expression that yields a boolean.
pub(crate) struct Expression {
    program: Program,
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
    #[error("the expression does not compile: {0}")]
    Malformed(String),
    #[error("the expression yields {0}, not a truth value")]
    NotBoolean(String),
    #[error("the expression compares {0} with {1}, which are never equal")]
    NeverEqual(String, String),
    #[error(
        "the expression loops: `all`, `exists`, `exists_one`, `map` and `filter` have no bounded cost"
    )]
    Loops,
    #[error("the expression binds a name, which can double its cost again and again")]
    Binds,
    #[error("the pattern of `matches` is not a text that stands in the expression")]
    PatternNotLiteral,
    #[error("the pattern of `matches` is refused: {0}")]
    Pattern(String),
}

impl InvalidExpression {
    /// What to write instead.
    pub(crate) const fn way_out(&self) -> &'static str {
        match self {
            Self::TooLong(_) | Self::TooDeep => {
                "write several conditions; a policy may list them, and all must hold"
            }
            Self::Malformed(_) => {
                "known are attributes[\"k8s.namespace\"], request.host, .port, .method, .path, .query and .headers, source, now, and CEL's own functions"
            }
            Self::NotBoolean(_) => {
                "compare it with something: attributes[\"claims.team\"] == \"red\""
            }
            Self::NeverEqual(..) => "write both alike: request.port == 443, source == \"10.0.0.1\"",
            Self::Loops => "ask for one value: \"admins\" in attributes[\"claims.groups\"]",
            Self::Binds => "write the expression out",
            Self::PatternNotLiteral => "write request.path.matches(\"^/v[0-9]+/\")",
            Self::Pattern(_) => "write a shorter pattern, without back-references or look-around",
        }
    }
}

impl Expression {
    pub(crate) fn compile(text: &str) -> Result<Self, InvalidExpression> {
        check_size(text)?;
        // SECURITY: the parser is not ours; what stops it refuses the document and not the process.
        catch_unwind(|| Self::checked(text)).unwrap_or_else(|_panic| {
            Err(InvalidExpression::Malformed("it cannot be read".to_owned()))
        })
    }

    fn checked(text: &str) -> Result<Self, InvalidExpression> {
        let malformed =
            |error: cel_core::CompileError| InvalidExpression::Malformed(error.to_string());
        let parsed = ENVIRONMENT.parse_only(text).map_err(malformed)?;
        let mut patterns = HashMap::new();
        let mut pending = vec![parsed.expr()];
        while let Some(expression) = pending.pop() {
            children(&expression.node, &mut pending)?;
            collect_pattern(&expression.node, &mut patterns)?;
        }
        let environment = ENVIRONMENT.clone().with_function(matches(patterns));
        let checked = environment.compile(text).map_err(malformed)?;
        let mut pending = vec![checked.expr()];
        while let Some(expression) = pending.pop() {
            children(&expression.node, &mut pending)?;
            check_comparison(&expression.node, &checked)?;
        }
        match checked.result_type() {
            Some(CelType::Bool) => {}
            other => {
                let found = other.map_or_else(|| "nothing".to_owned(), CelType::display_name);
                return Err(InvalidExpression::NotBoolean(found));
            }
        }
        let program = environment.program(&checked).map_err(malformed)?;
        Ok(Self { program })
    }

    /// As it was written.
    pub(crate) fn source(&self) -> &str {
        self.program.ast().source()
    }

    /// An error in it (an attribute that is not there, a division by zero) is no answer.
    pub(super) fn read(&self, facts: &Facts<'_>) -> ConditionOutcome {
        // SECURITY: the evaluator is not ours; what stops it must be an answer, not a stopped task.
        let value = catch_unwind(AssertUnwindSafe(|| self.program.eval(&Bindings(facts))));
        match value {
            Ok(Value::Bool(holds)) => met(holds),
            Ok(_) | Err(_) => ConditionOutcome::Unavailable,
        }
    }
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Expression")
            .field(&self.program.ast().source())
            .finish()
    }
}

/// The standard library without `matches`, and what may be read.
static ENVIRONMENT: LazyLock<Env> = LazyLock::new(|| {
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

/// Bounds recursion before anything recurses. Brackets and signs inside of texts count, too.
fn check_size(text: &str) -> Result<(), InvalidExpression> {
    if text.len() > MAX_BYTES {
        return Err(InvalidExpression::TooLong(text.len()));
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
            return Err(InvalidExpression::TooDeep);
        }
    }
    Ok(())
}

/// Adds what an expression consists of. Loops and bindings are refused.
fn children<'e>(
    expression: &'e Expr,
    pending: &mut Vec<&'e SpannedExpr>,
) -> Result<(), InvalidExpression> {
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
        | Expr::Error => {}
        Expr::List(elements) => pending.extend(elements.iter().map(|element| &element.expr)),
        Expr::Map(entries) => {
            pending.extend(entries.iter().flat_map(|entry| [&entry.key, &entry.value]));
        }
        Expr::Unary { expr, .. }
        | Expr::Member { expr, .. }
        | Expr::MemberTestOnly { expr, .. } => pending.push(expr),
        Expr::Binary { left, right, .. } => pending.extend([&**left, &**right]),
        Expr::Ternary {
            cond,
            then_expr,
            else_expr,
        } => pending.extend([&**cond, &**then_expr, &**else_expr]),
        Expr::Index { expr, index, .. } => pending.extend([&**expr, &**index]),
        Expr::Call { expr, args } => {
            pending.push(expr);
            pending.extend(args);
        }
        Expr::Struct { type_name, fields } => {
            pending.push(type_name);
            pending.extend(fields.iter().map(|field| &field.value));
        }
        Expr::Comprehension(_) => return Err(InvalidExpression::Loops),
        Expr::Bind { .. } => return Err(InvalidExpression::Binds),
    }
    Ok(())
}

/// The language lets values of any two kinds be compared; where both kinds are known and differ, that is
/// a mistake.
fn check_comparison(expression: &Expr, checked: &Ast) -> Result<(), InvalidExpression> {
    let kinds = checked.type_info().map(|types| &types.type_map);
    let kind = |of: &SpannedExpr| kinds.and_then(|kinds| kinds.get(&of.id));
    let (left, right) = if let Expr::Binary { op, left, right } = expression {
        match op {
            BinaryOp::Eq | BinaryOp::Ne => (kind(left), kind(right)),
            BinaryOp::In => (kind(left), kind(right).and_then(searched)),
            BinaryOp::Add
            | BinaryOp::Sub
            | BinaryOp::Mul
            | BinaryOp::Div
            | BinaryOp::Mod
            | BinaryOp::Lt
            | BinaryOp::Le
            | BinaryOp::Gt
            | BinaryOp::Ge
            | BinaryOp::And
            | BinaryOp::Or => return Ok(()),
        }
    } else if let Expr::Index { index, expr, .. } = expression {
        (kind(index), kind(expr).and_then(indexed))
    } else {
        return Ok(());
    };
    let (Some(left), Some(right)) = (left, right) else {
        return Ok(());
    };
    let known = |kind: &CelType| {
        kind.is_primitive() || [CelType::Timestamp, CelType::Duration].contains(kind)
    };
    let numbers = left.is_numeric() && right.is_numeric();
    if left == right || numbers || !known(left) || !known(right) {
        return Ok(());
    }
    Err(InvalidExpression::NeverEqual(
        left.display_name(),
        right.display_name(),
    ))
}

/// What `in` compares with.
fn searched(whole: &CelType) -> Option<&CelType> {
    if let CelType::List(kind) | CelType::Map(kind, _) = whole {
        return Some(kind);
    }
    None
}

/// What an index is.
fn indexed(whole: &CelType) -> Option<&CelType> {
    if let CelType::Map(key, _) = whole {
        return Some(key);
    }
    matches!(whole, CelType::List(_)).then_some(&CelType::Int)
}

/// Compiles the pattern of a call of `matches`, once and within bounds.
fn collect_pattern(
    expression: &Expr,
    patterns: &mut HashMap<String, Regex>,
) -> Result<(), InvalidExpression> {
    let Expr::Call { expr, args } = expression else {
        return Ok(());
    };
    let Expr::Member { field, .. } = &expr.node else {
        return Ok(());
    };
    if field != "matches" {
        return Ok(());
    }
    let [argument] = args.as_slice() else {
        return Ok(());
    };
    let Expr::String(pattern) = &argument.node else {
        return Err(InvalidExpression::PatternNotLiteral);
    };
    let regex = RegexBuilder::new(pattern)
        .size_limit(MAX_PATTERN_BYTES)
        .build()
        .map_err(|error| InvalidExpression::Pattern(error.to_string()))?;
    patterns.insert(pattern.clone(), regex);
    Ok(())
}

/// `matches` over patterns that are compiled already: a pattern from a request is never compiled.
fn matches(patterns: HashMap<String, Regex>) -> FunctionDecl {
    let parameters = vec![CelType::String, CelType::String];
    let overload = OverloadDecl::method("string_matches_re", parameters, CelType::Bool);
    FunctionDecl::new("matches").with_overload(overload.with_impl(move |arguments| {
        // An error, for another value could be compared with something.
        let refused = || Value::error(EvalError::no_matching_overload("matches"));
        let [Value::String(text), Value::String(pattern)] = arguments else {
            return refused();
        };
        let regex = patterns.get(&**pattern);
        regex.map_or_else(refused, |regex| Value::Bool(regex.is_match(text)))
    }))
}

/// What an expression reads, made when it is read.
struct Bindings<'a>(&'a Facts<'a>);

impl Activation for Bindings<'_> {
    fn resolve(&self, name: &str) -> Option<Value> {
        let Facts {
            attestation,
            request,
            context,
        } = self.0;
        Some(match name {
            "attributes" => {
                // SECURITY: the SPIFFE ID is the attestation's own, whatever attributes it carries.
                let own = ("spiffe.id", Value::from(attestation.spiffe_id().as_str()));
                let others = attestation.attributes().iter();
                let others = others.map(|(name, value)| (name, attribute(value)));
                text_map(others.chain([own]))
            }
            "request.host" => Value::from(request.host.as_str()),
            "request.port" => Value::Int(i64::from(request.port)),
            "request.method" => Value::from(request.method),
            "request.path" => Value::from(&*request.path.spelled()),
            "request.query" => Value::from(context.query),
            "request.headers" => headers(context.headers),
            "source" => Value::from(context.source?.to_canonical().to_string()),
            "now" => now(context.now),
            _ => return None,
        })
    }
}

fn text_map<'t>(entries: impl Iterator<Item = (&'t str, Value)>) -> Value {
    let entries = entries.map(|(name, value)| (MapKey::String(Arc::from(name)), value));
    Value::map(entries)
}

fn attribute(value: &AttributeValue) -> Value {
    match value {
        AttributeValue::One(text) => Value::from(text.as_str()),
        AttributeValue::Many(texts) => {
            let texts: Vec<Value> = texts
                .iter()
                .map(|text| Value::from(text.as_str()))
                .collect();
            Value::from(texts)
        }
    }
}

/// Several values of one name stand in their order with `, ` between (RFC 9110 §5.3). Bytes that are
/// not UTF-8 become U+FFFD, so that such a header is still there.
fn headers(headers: &[(&str, &[u8])]) -> Value {
    let mut joined: HashMap<&str, String> = HashMap::new();
    for (name, value) in headers {
        let value = String::from_utf8_lossy(value);
        joined
            .entry(name)
            .and_modify(|earlier| {
                earlier.push_str(", ");
                earlier.push_str(&value);
            })
            .or_insert_with(|| value.clone().into_owned());
    }
    text_map(
        joined
            .into_iter()
            .map(|(name, value)| (name, Value::from(value))),
    )
}

fn now(now: attache_core::time::Timestamp) -> Value {
    let millis = now.as_millis().rem_euclid(1000);
    let nanos = i32::try_from(millis.saturating_mul(1_000_000)).unwrap_or(0);
    Value::Timestamp(Timestamp::new(now.as_seconds(), nanos))
}
