use attache_core::{
    attestation::{Agreement, Attestation, ProviderKind},
    attributes::{AttributeValue, Attributes},
    event::ConditionOutcome::{self, Met, NotMet, Unavailable},
    request::{Host, Request, RequestPath, Transport},
    spiffe_id::SpiffeId,
    time::Timestamp,
};
use jiff::tz::TimeZoneDatabase;
use proptest::prelude::*;

use super::*;
use crate::condition::Seen;
use crate::{
    context::Context,
    tests::{self, pod},
};

/// What one call brings.
struct Call {
    attestation: Attestation,
    query: String,
    headers: Vec<(String, Vec<u8>)>,
}

impl Call {
    fn new() -> Self {
        let headers: [(&str, &[u8]); 4] = [
            ("x-env", b"prod"),
            ("accept", b"text/html"),
            ("accept", b"*/*"),
            ("x-bytes", b"caf\xe9"),
        ];
        Self {
            attestation: pod("shop", "cart"),
            query: "q=1&debug".to_owned(),
            headers: headers
                .map(|(name, value)| (name.to_owned(), value.to_vec()))
                .into(),
        }
    }

    /// Reads an expression that compiles.
    fn read(&self, expression: &str) -> ConditionOutcome {
        let expression = Expression::compile(expression)
            .unwrap_or_else(|refused| panic!("{expression}: {refused:?}"));
        let host = Host::parse("api.example.com").unwrap();
        let request = Request {
            host: &host,
            port: 8443,
            transport: Transport::Tls,
            method: "GET",
            path: RequestPath::parse("/v1/a%40b").unwrap(),
        };
        let headers: Vec<(&str, &[u8])> = self
            .headers
            .iter()
            .map(|(name, value)| (&**name, &**value))
            .collect();
        let now: jiff::Timestamp = "2026-07-16T12:30:00.250Z".parse().unwrap();
        let context = Context {
            source: Some("::ffff:10.0.0.1".parse().unwrap()),
            query: &self.query,
            headers: Some(&headers),
            ..Context::at(Timestamp::from_millis(now.as_millisecond()))
        };
        expression.read(&Facts {
            attestation: &self.attestation,
            request,
            context,
            seen: Seen::Whole,
        })
    }
}

/// Reads `expression` for one call.
fn cel(expression: &str) -> ConditionOutcome {
    Call::new().read(expression)
}

/// A caller with one claim.
fn claiming(value: AttributeValue) -> Call {
    let mut attributes = Attributes::new();
    attributes.insert("claims.role", value);
    Call {
        attestation: tests::proven(
            "login",
            ProviderKind::Oidc,
            SpiffeId::parse("spiffe://cluster.local/oidc/login/sub/x").unwrap(),
            attributes,
        ),
        ..Call::new()
    }
}

#[test]
fn an_expression_reads_the_caller_the_request_and_the_time() {
    for (expression, outcome) in [
        (r#"attributes["k8s.namespace"] == "shop""#, Met),
        (r#"attributes["k8s.namespace"] == "bank""#, NotMet),
        (r#"attributes["spiffe.id"].endsWith("/sa/cart")"#, Met),
        (r#""claims.team" in attributes"#, NotMet),
        (
            r#"request.host == "api.example.com" && request.port == 8443"#,
            Met,
        ),
        (r#"request.method in ["GET", "HEAD"]"#, Met),
        (r#"request.path == "/v1/a@b""#, Met),
        (r#"request.path.matches("^/v[0-9]+/")"#, Met),
        (r#"request.path.matches("^/v[2-9]/")"#, NotMet),
        (r#"request.query.contains("debug")"#, Met),
        (r#"request.headers["x-env"] == "prod""#, Met),
        (r#"request.headers["accept"] == "text/html, */*""#, Met),
        (r#"request.headers["x-bytes"] == "caf\uFFFD""#, Met),
        (
            r#"has(request.headers.accept) && !has(request.headers.cookie)"#,
            Met,
        ),
        (r#"source == "10.0.0.1""#, Met),
        (r#"now > timestamp("2026-07-16T12:30:00.200Z")"#, Met),
        (r#"now > timestamp("2026-07-16T12:30:00.300Z")"#, NotMet),
        (r#"now.getHours("Europe/Berlin") == 14"#, Met),
        (r#"size(request.headers) == 3 ? true : false"#, Met),
    ] {
        assert_eq!(cel(expression), outcome, "{expression}");
    }
}

#[test]
fn an_expression_has_the_same_clocks_as_a_schedule() {
    let database = TimeZoneDatabase::bundled();
    let now: jiff::Timestamp = "2026-07-16T12:30:00Z".parse().unwrap();
    let mut zones = 0;
    // Summer and winter, and the same ten years later.
    for hours in [0, 138 * 24, 3_652 * 24, 3_790 * 24] {
        for name in database.available() {
            let zone = database.get(name.as_str()).unwrap();
            let then = zone.to_datetime(now + jiff::SignedDuration::from_hours(hours));
            let (hour, minute) = (then.hour(), then.minute());
            let there = format!(r#"(now + duration("{hours}h"))"#);
            let expression = format!(
                r#"{there}.getHours("{name}") == {hour} && {there}.getMinutes("{name}") == {minute}"#
            );
            assert_eq!(cel(&expression), Met, "{expression}");
            zones += 1;
        }
    }
    assert!(zones > 4 * 500, "{zones}");
}

#[test]
fn an_expression_that_errs_is_not_decided() {
    for expression in [
        r#"attributes["claims.team"] == "red""#,
        r#"request.headers["cookie"] == """#,
        r#"1 / (request.port - 8443) == 1"#,
        r#""admins" in attributes["k8s.namespace"]"#,
        r#"attributes["k8s.namespace"][0] == "shop""#,
        r#"request.port + 9223372036854775807 > 0"#,
        r#"request.path == "/x" || attributes["claims.no"] == "1""#,
    ] {
        assert_eq!(cel(expression), Unavailable, "{expression}");
    }
    // What does not depend on the error is still known.
    assert_eq!(cel(r#"attributes["claims.no"] == "x" || true"#), Met);
    assert_eq!(cel(r#"attributes["claims.no"] == "x" && false"#), NotMet);
}

/// The only mistake of it.
fn refused(expression: &str) -> InvalidExpression {
    let refused = Expression::compile(expression).expect_err(expression);
    let [refused] =
        <[_; 1]>::try_from(refused).unwrap_or_else(|many| panic!("{expression}: {many:?}"));
    refused.reason
}

#[test]
fn all_mistakes_of_an_expression_are_told_at_once() {
    let expression = r#"request.methd == "GET" && attributes["k8s.namspace"] == "x" && sorce == "y"
        && request.host == "API.example.com" && request.path.matches("(")
        && foo && request.port.startsWith("4")"#;
    let refused = Expression::compile(expression).expect_err("mistakes");
    let parts = refused
        .iter()
        .map(|one| expression.get(one.part.clone().unwrap()).unwrap());
    assert_eq!(
        parts.collect::<Vec<_>>(),
        [
            "request.methd",
            r#"attributes["k8s.namspace"]"#,
            "sorce",
            r#""API.example.com""#,
            r#""(""#,
            "foo",
            r#"request.port.startsWith("4")"#,
        ]
    );
    for (expression, parts) in [
        (r#"request.port == "443" || source == 1"#, 2),
        (
            "now < timestamp(\"tomorrow\") && 1 / 0 == 1 && request.port == 2 / 0",
            3,
        ),
        (r#"request.host in ["A.test", "b.test", "C.test"]"#, 2),
        (r#"[1].all(x, x > 0) && [2].exists(x, x > 0)"#, 2),
        // What follows from a mistake is none of its own.
        ("foo(bar)", 1),
        ("(foo + 1) == \"x\"", 1),
    ] {
        let refused = Expression::compile(expression).expect_err(expression);
        assert_eq!(refused.len(), parts, "{expression}: {refused:?}");
    }
}

#[test]
fn an_expression_that_is_not_sound_is_refused_with_its_reason() {
    for expression in [
        "request.host ==",
        "request.path[0] == \"/\"",
        "attributes[\"claims.groups\"][?0] == \"x\"",
        "attributes.?claims == \"x\"",
        "request.path.matches(request.host, \"x\")",
        "matches(request.path, \"x\")",
    ] {
        let invalid = refused(expression);
        assert!(
            matches!(invalid, InvalidExpression::Malformed(_)),
            "{expression}: {invalid:?}"
        );
    }
    for expression in [
        "request.host",
        "1 + 1",
        "attributes[\"claims.x\"]",
        "now",
        "[true]",
    ] {
        let invalid = refused(expression);
        assert!(
            matches!(invalid, InvalidExpression::NotBoolean(_)),
            "{expression}: {invalid:?}"
        );
    }
}

#[test]
fn an_expression_that_compares_what_is_never_equal_is_refused() {
    for expression in [
        "request.host == 3",
        "request.port != \"443\"",
        "request.port in [\"80\", \"443\"]",
        "true || source == now",
        "attributes[3] == \"x\"",
        "3 in attributes",
        "attributes[\"claims.level\"] == 3",
        "attributes[\"claims.level\"] > 3",
        "attributes[\"claims.level\"] in [1, 2]",
        "3 in attributes[\"claims.levels\"]",
        "attributes[\"claims.level\"] == null",
        "attributes[\"claims.levels\"][\"x\"] == \"y\"",
    ] {
        let invalid = refused(expression);
        assert!(
            matches!(invalid, InvalidExpression::NeverEqual(..)),
            "{expression}: {invalid:?}"
        );
    }
}

#[test]
fn an_expression_of_unbounded_cost_is_refused() {
    for expression in [
        "[1, 2].all(n, n > 0)",
        "attributes.exists(name, name == \"x\")",
        "[1].map(n, n * 2) == [2]",
        "size([1].filter(n, n > 0)) == 1",
        "[1].exists_one(n, n == 1) || true",
        "true || [[1]].all(n, n.all(m, m > 0))",
    ] {
        assert_eq!(
            refused(expression),
            InvalidExpression::Loops,
            "{expression}"
        );
    }
    let pattern = r#"request.path.matches("a" + request.query)"#;
    assert_eq!(refused(pattern), InvalidExpression::PatternNotLiteral);
    for pattern in [
        r#"request.path.matches("(")"#,
        r#"request.path.matches("(\\w{100}){100}")"#,
    ] {
        let invalid = refused(pattern);
        assert!(
            matches!(invalid, InvalidExpression::Pattern(_)),
            "{pattern}: {invalid:?}"
        );
    }
}

#[test]
fn an_expression_as_deep_as_is_accepted_is_read_and_a_deeper_one_refused() {
    let nested = |deep: usize| format!("{}true{}", "(".repeat(deep), ")".repeat(deep));
    assert_eq!(cel(&nested(16)), Met);
    assert_eq!(refused(&nested(17)), InvalidExpression::TooDeep);
    assert_eq!(refused(&nested(900)), InvalidExpression::TooDeep);
    // Chains, each of which the parser or the evaluator follows by recursion.
    for (chain, outcome) in [
        (format!("{}true", "!".repeat(256)), Met),
        (format!("true{}", "&&true".repeat(128)), Met),
        (format!("1{}==129", "+1".repeat(128)), Met),
        (format!("{}1==1", "-".repeat(254)), Met),
    ] {
        assert_eq!(cel(&chain), outcome, "{chain}");
    }
    let ternaries = format!("{}true{}", "true?".repeat(200), ":true".repeat(200));
    assert_eq!(cel(&ternaries), Met);
    assert_eq!(
        refused(&format!("{}true", "!".repeat(257))),
        InvalidExpression::TooDeep
    );
    let long = format!("request.host == \"{}\"", "x".repeat(2048));
    assert!(matches!(refused(&long), InvalidExpression::TooLong(_)));
}

/// The part that is to blame, and the way out.
fn blamed(expression: &str) -> (String, String) {
    let refused = Expression::compile(expression).expect_err(expression);
    let refused = refused.first().expect("a mistake");
    let part = refused.part.clone().expect("a part");
    (
        expression.get(part).expect("a part").to_owned(),
        refused.reason.way_out().to_owned(),
    )
}

#[test]
fn a_misspelled_name_is_told_with_its_place_and_the_one_that_was_meant() {
    for (expression, part, meant) in [
        (
            r#"true && request.methd == "GET""#,
            "request.methd",
            "request.method",
        ),
        (r#"sorce == "10.0.0.1""#, "sorce", "source"),
        (
            r#"attributes["k8s.namspace"] == "x""#,
            r#"attributes["k8s.namspace"]"#,
            "k8s.namespace",
        ),
        (
            r#""github.repositori" in attributes"#,
            r#""github.repositori" in attributes"#,
            "github.repository",
        ),
        (
            r#"attributes.claims.team == "x""#,
            "attributes.claims",
            "attributes[\"claims.…\"]",
        ),
        (
            r#"has(attributes.claims)"#,
            "has(attributes.claims)",
            "attributes[\"claims.…\"]",
        ),
        (
            r#"request.headers["X-Env"] == "x""#,
            r#"request.headers["X-Env"]"#,
            "\"x-env\"",
        ),
        (
            r#"!("X-Env" in request.headers)"#,
            r#""X-Env" in request.headers"#,
            "\"x-env\"",
        ),
        (
            r#"has(request.headers.Accept)"#,
            "has(request.headers.Accept)",
            "\"accept\"",
        ),
        (
            r#"request.headers["x env"] == "x""#,
            r#"request.headers["x env"]"#,
            "\"x-env\"",
        ),
        (r#"request == 1"#, "request", "request.host"),
    ] {
        let (blamed, way_out) = blamed(expression);
        assert!(
            blamed.contains(part) || part.contains(&blamed),
            "{expression}: {blamed}"
        );
        assert!(way_out.contains(meant), "{expression}: {way_out}");
    }
    // Claims have the names that their issuer gives them.
    assert_eq!(cel(r#""claims.whatever" in attributes"#), NotMet);
}

#[test]
fn a_text_that_is_in_no_request_is_refused_with_its_one_spelling() {
    for (expression, part, meant) in [
        (
            r#"request.host == "API.example.com""#,
            r#""API.example.com""#,
            r#""api.example.com""#,
        ),
        (
            r#""api.example.com." != request.host"#,
            r#""api.example.com.""#,
            r#""api.example.com""#,
        ),
        (
            r#"request.host in ["a.com", "b.com:443"]"#,
            r#""b.com:443""#,
            "without port",
        ),
        (
            r#"request.host.endsWith(".Example.com")"#,
            r#"".Example.com""#,
            "lower case",
        ),
        (r#"request.method == "get""#, r#""get""#, r#""GET""#),
        (
            r#"request.path == "/a%2fb""#,
            r#""/a%2fb""#,
            "absolute path",
        ),
        (r#"request.path == "/a%40b""#, r#""/a%40b""#, r#""/a@b""#),
        (r#"request.path == "/a?x=1""#, r#""/a?x=1""#, r#""/a""#),
        (
            r#"request.path.startsWith("v1")"#,
            r#""v1""#,
            "absolute path",
        ),
        (r#"request.path.contains("?")"#, r#""?""#, "request.query"),
        (r#"source == "10.0.0.0/8""#, r#""10.0.0.0/8""#, "`source`"),
        (
            r#"source == "::ffff:10.0.0.1""#,
            r#""::ffff:10.0.0.1""#,
            r#""10.0.0.1""#,
        ),
    ] {
        let (blamed, way_out) = blamed(expression);
        assert_eq!(blamed, part, "{expression}");
        assert!(way_out.contains(meant), "{expression}: {way_out}");
    }
    assert_eq!(
        cel(r#"request.host.endsWith(".example.com") && request.path.contains("@")"#),
        Met
    );
}

#[test]
fn an_expression_that_errs_whatever_is_asked_is_refused() {
    for (expression, part) in [
        (r#"now > timestamp("garbage")"#, r#"timestamp("garbage")"#),
        (
            r#"now - timestamp("2026-01-01T00:00:00Z") > duration("1x")"#,
            r#"duration("1x")"#,
        ),
        ("true || 1 / 0 == 1", "1 / 0"),
        (
            r#"now.getHours("Nowhere/X") > 8"#,
            r#"now.getHours("Nowhere/X")"#,
        ),
        (
            r#"request.port == 1 && now.getHours("Nowhere/X") > 8"#,
            r#"now.getHours("Nowhere/X")"#,
        ),
        (r#"int("x") == request.port"#, r#"int("x")"#),
        (r#"{"a": 1}["b"] == 1"#, r#"{"a": 1}["b"]"#),
        ("[1][1] == 1", "[1][1]"),
    ] {
        let invalid = refused(expression);
        assert!(
            matches!(invalid, InvalidExpression::NeverEvaluated(_)),
            "{expression}: {invalid:?}"
        );
        assert_eq!(blamed(expression).0, part, "{expression}");
    }
    // It errs at one hour of the day, and not at others.
    assert_eq!(cel("10 / (now.getHours() - 3) > 0"), Met);
}

#[test]
fn a_place_in_a_list_is_a_number_from_0_that_stands_there() {
    for expression in [
        "[1][-1] == 1",
        "[1][request.port - 8443] == 1",
        r#"attributes["claims.groups"][0 - 1] == "x""#,
    ] {
        assert_eq!(
            refused(expression),
            InvalidExpression::IndexNotLiteral,
            "{expression}"
        );
    }
    let call = claiming(AttributeValue::Many(vec!["a".into(), "b".into()]));
    assert_eq!(call.read(r#"attributes["claims.role"][1] == "b""#), Met);
    assert_eq!(refused("request.path{} == 1"), InvalidExpression::Builds);
}

#[test]
fn a_claim_of_another_kind_than_was_asked_for_is_not_decided() {
    let one = claiming(AttributeValue::One("contractor".into()));
    let many = claiming(AttributeValue::Many(vec!["contractor".into()]));
    for (expression, of_one, of_many) in [
        (
            r#"attributes["claims.role"] == "contractor""#,
            Met,
            Unavailable,
        ),
        (
            r#""contractor" != attributes["claims.role"]"#,
            NotMet,
            Unavailable,
        ),
        (
            r#"attributes["claims.role"] in ["contractor", "guest"]"#,
            Met,
            Unavailable,
        ),
        (
            r#"!(attributes["claims.role"] in ["employee"])"#,
            Met,
            Unavailable,
        ),
        (
            r#"[attributes["claims.role"]] == ["contractor"]"#,
            Met,
            Unavailable,
        ),
        (
            r#"{"x": attributes["claims.role"]} == {"x": "contractor"}"#,
            Met,
            Unavailable,
        ),
        (
            r#""contractor" in attributes["claims.role"]"#,
            Unavailable,
            Met,
        ),
        (
            r#"attributes["claims.role"] == ["contractor"]"#,
            Unavailable,
            Met,
        ),
        (
            r#"attributes["claims.role"] == ["contractor", "x"]"#,
            Unavailable,
            NotMet,
        ),
        // What is asked for it is asked knowingly.
        (r#"type(attributes["claims.role"]) == list"#, NotMet, Met),
        (
            r#"attributes["claims.role"] in {"contractor": 1}"#,
            Met,
            Unavailable,
        ),
    ] {
        assert_eq!(one.read(expression), of_one, "{expression}");
        assert_eq!(many.read(expression), of_many, "{expression}");
    }
}

#[test]
fn a_text_that_is_too_long_is_not_read() {
    let long = |length: usize| Call {
        query: "a".repeat(length),
        headers: vec![("x-long".to_owned(), b"a".repeat(length))],
        ..claiming(AttributeValue::One("a".repeat(length).into()))
    };
    for expression in [
        r#"request.query.contains("b")"#,
        r#"request.headers["x-long"].contains("b")"#,
        r#"attributes["claims.role"].contains("b")"#,
        r#"request.query == "b""#,
    ] {
        assert_eq!(long(8192).read(expression), NotMet, "{expression}");
        assert_eq!(long(8193).read(expression), Unavailable, "{expression}");
    }
    // It is there all the same, and disturbs nothing that does not ask for it.
    for expression in [r#""x-long" in request.headers"#, r#"request.port == 8443"#] {
        assert_eq!(long(60_000).read(expression), Met, "{expression}");
    }
    let joined = r#"(request.query + request.query).matches("b")"#;
    assert_eq!(long(4096).read(joined), NotMet);
    assert_eq!(long(4097).read(joined), Unavailable);
}

#[test]
fn an_expression_joins_texts_no_more_often_than_it_costs_little() {
    let joined = |times: usize| {
        let all = vec!["request.query"; times + 1].join(" + ");
        format!("size({all}) > 0")
    };
    assert_eq!(cel(&joined(8)), Met);
    assert_eq!(refused(&joined(9)), InvalidExpression::TooManyJoins);
    let lists = format!("size({}) > 0", ["[request.query]"; 10].join(" + "));
    assert_eq!(refused(&lists), InvalidExpression::TooManyJoins);
    // Numbers are of one size.
    assert_eq!(cel(&format!("{}1 == 21", "1 + ".repeat(20))), Met);
}

/// The worst that fits: as many of the worst patterns as an expression holds, on texts as long as are read.
#[test]
fn no_query_makes_a_pattern_cost_more_than_its_length() {
    for pattern in [
        "[ab]*a[ab]{1000}z",
        "(?:a|b)*a(?:a|b){40}z",
        r"(\\w+\\s?)+x{2000}$",
    ] {
        let invalid = refused(&format!("request.query.matches(\"{pattern}\")"));
        assert!(
            matches!(invalid, InvalidExpression::Pattern(_)),
            "{pattern}: {invalid:?}"
        );
    }
    let one = "request.query.matches(\"[ab]*a[ab]{6}z\")";
    let many = vec![one; 25].join(" || ");
    let call = Call {
        query: "ab".repeat(4096),
        ..Call::new()
    };
    // An automaton takes one step a byte, whatever the pattern is; what remains is how often each is asked.
    let before = pattern::BYTES_READ.get();
    assert_eq!(call.read(&many), NotMet);
    assert_eq!(pattern::BYTES_READ.get() - before, 25 * 8192);
}

#[test]
fn patterns_have_the_syntax_of_re2() {
    for (pattern, matching, other) in [
        (r"^\\d+$", "042", "٤٢"),
        (r"^[\\d-]+$", "0-4", "0_4"),
        (r"^\\D$", "é", "4"),
        (r"^\\w+$", "a_1", "é"),
        (r"^\\W$", "é", "a"),
        (r"\\bx\\b", "a x b", "axb"),
        (r"a\\.b", "a.b", "a-b"),
        (r"^\\\\d$", "\\d", "4"),
        (r"^.$", "é", "ab"),
        (r"(?i)^ok$", "oK", "ko"),
        ("^$", "", "x"),
    ] {
        let expression = format!("request.query.matches(\"{pattern}\")");
        for (query, outcome) in [(matching, Met), (other, NotMet)] {
            let call = Call {
                query: query.to_owned(),
                ..Call::new()
            };
            assert_eq!(call.read(&expression), outcome, "{pattern} {query}");
        }
    }
    for pattern in ["(", "a{2,1}", "(?<=a)b", r"(a)\\1", "[z-a]"] {
        let InvalidExpression::Pattern(told) =
            refused(&format!("request.query.matches(\"{pattern}\")"))
        else {
            panic!("{pattern}");
        };
        assert!(
            !told.is_empty() && !told.contains(['\n', '^']) && told != "error parsing regex",
            "{pattern}: {told}"
        );
    }
}

proptest! {
    #[test]
    fn no_text_stops_the_compiler_of_expressions(text in "[-!?:()\\[\\]{}.,\"'a-c0-9 &|=<>+*/%]{0,80}|\\PC{0,60}") {
        if let Ok(expression) = Expression::compile(&text) {
            let attestation = pod("shop", "cart");
            let host = Host::parse("api.example.com").unwrap();
            let path = RequestPath::parse("/").unwrap();
            let request = Request { host: &host, port: 443, transport: Transport::Tls, method: "GET", path };
            let context = Context::at(Timestamp::from_seconds(1_784_205_000));
            expression.read(&Facts { attestation: &attestation, request, context, seen: Seen::Whole });
        }
    }
}

#[test]
fn of_two_workloads_neither_is_read_as_the_one() {
    const WEB: &str = "spiffe://cluster.local/ns/shop/sa/web";
    const JOB: &str = "spiffe://cluster.local/forge/job";
    let by = |provider: &str, kind, id: &str| {
        let id = SpiffeId::parse(id).unwrap();
        tests::proven(provider, kind, id, Attributes::new())
    };
    let web = by("cluster", ProviderKind::KubernetesServiceAccount, WEB);
    let job = by("forge", ProviderKind::Oidc, JOB);
    let named = Agreement::NamedByPolicy;
    for attestation in [web.together([&job], named), job.together([&web], named)] {
        let attestation = attestation.unwrap();
        let call = Call {
            attestation,
            ..Call::new()
        };
        for id in [WEB, JOB] {
            for unreadable in [
                format!("attributes['spiffe.id'] == '{id}'"),
                format!("attributes['spiffe.id'] != '{id}'"),
                format!("attributes['spiffe.id'] in ['{id}']"),
                format!("!(attributes['spiffe.id'] in ['{id}', 'x'])"),
                format!("attributes['spiffe.id'].startsWith('{id}')"),
                "attributes['spiffe.id'].matches('^spiffe:')".to_owned(),
            ] {
                assert_eq!(call.read(&unreadable), Unavailable, "{unreadable}");
            }
            let one_of = format!("'{id}' in attributes['spiffe.id']");
            assert_eq!(call.read(&one_of), Met, "{one_of}");
        }
        assert_eq!(call.read("'x' in attributes['spiffe.id']"), NotMet);
    }
}
