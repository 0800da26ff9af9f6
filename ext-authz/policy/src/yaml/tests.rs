use std::time::Duration;

use attache_core::spiffe_id::TrustDomain;

use super::{At, File, Label, MAX_DEPTH, MAX_FILE_BYTES};
use crate::problem::{Code, Report};

/// Reads the field `it` of a one-line mapping; gives what was read and what was said.
fn field<T>(value: &str, read: impl Fn(&At<'_>) -> Option<T>) -> (Option<T>, String) {
    let report = Report::new();
    let text = format!("it: {value}\n");
    let file = File::read("it.yaml", text.as_bytes(), &report);
    let read = file
        .documents()
        .find_map(|at| at.fields()?.required("it", |at| read(at)));
    drop(file);
    let problems = report.into_problems().to_string();
    (
        read,
        problems.trim_start_matches("it.yaml:1:5: it: ").to_owned(),
    )
}

fn text(at: &At<'_>) -> Option<String> {
    at.text().map(ToOwned::to_owned)
}

fn text_or_empty(at: &At<'_>) -> Option<String> {
    at.text_or_empty().map(ToOwned::to_owned)
}

fn problems(bytes: &[u8]) -> Vec<(Code, usize, usize)> {
    let report = Report::new();
    let _ = File::read("it.yaml", bytes, &report);
    let place = |problem: &crate::Problem| (problem.code, problem.place.line, problem.place.column);
    report.into_problems().iter().map(place).collect()
}

#[test]
fn a_text_is_a_text_only_if_it_cannot_be_anything_else() {
    for (value, expected) in [
        ("payments", "payments"),
        ("yes", "yes"),
        ("10.0.0.1", "10.0.0.1"),
        ("1.2.3", "1.2.3"),
        ("\"300\"", "300"),
        ("'true'", "true"),
        ("'null'", "null"),
        ("!!str 300", "300"),
        ("inf", "inf"),
        ("nan", "nan"),
        ("|\n  block", "block\n"),
    ] {
        assert_eq!(
            field(value, text),
            (Some(expected.to_owned()), String::new()),
            "{value}"
        );
    }
    for (value, kind) in [
        ("300", "a number"),
        ("0x1F", "a number"),
        ("1e3", "a number"),
        (".inf", "a number"),
        ("true", "a truth value"),
        ("False", "a truth value"),
    ] {
        let told = format!("`{value}` is {kind}, not text; write \"{value}\"");
        assert_eq!(field(value, text), (None, told));
    }
    for value in ["", "~", "null"] {
        let (read, told) = field(value, text);
        assert!(
            read.is_none() && told.contains("there is no value"),
            "{told}"
        );
    }
    let told = "the text is empty; write the text, or remove the field".to_owned();
    assert_eq!(field("''", text), (None, told));
    assert_eq!(
        field("''", text_or_empty),
        (Some(String::new()), String::new())
    );
    let told = "a list stands where text is expected; write one value".to_owned();
    assert_eq!(field("[a]", text), (None, told));
}

#[test]
fn durations_are_seconds_or_have_a_unit() {
    for (value, millis) in [
        ("300", 300_000),
        ("'300'", 300_000),
        ("45s", 45_000),
        ("5m", 300_000),
        ("24h", 86_400_000),
        ("1d", 86_400_000),
        ("2500ms", 2500),
    ] {
        let expected = Duration::from_millis(millis);
        assert_eq!(
            field(value, |at| at.duration(1..=86_400)),
            (Some(expected), String::new())
        );
    }
    for value in [
        "5 m",
        "5min",
        "-5",
        "1.5h",
        "five",
        "99999999999999999999",
        "18446744073709551615d",
    ] {
        let (read, told) = field(value, |at| at.duration(1..=86_400));
        assert!(
            read.is_none() && told.contains("is not a duration"),
            "{told}"
        );
    }
    let told = |value| field(value, |at| at.duration(60..=7200)).1;
    assert_eq!(
        told("59999ms"),
        "59999ms is not within 1m to 2h; write a value from 1m to 2h"
    );
    assert_eq!(
        told("3h"),
        "3h is not within 1m to 2h; write a value from 1m to 2h"
    );
}

#[test]
fn sizes_numbers_and_truth_values_are_exact() {
    let size = |value| field(value, |at| at.byte_size(1..=1 << 31)).0;
    assert_eq!(size("65536"), Some(65_536));
    assert_eq!(size("64KiB"), Some(65_536));
    assert_eq!(size("2GiB"), Some(1 << 31));
    assert_eq!((size("64KB"), size("3GiB"), size("0")), (None, None, None));

    let port = |value| field(value, |at| at.port()).0;
    assert_eq!((port("1"), port("65535")), (Some(1), Some(65_535)));
    assert_eq!(
        (port("0"), port("65536"), port("'80'"), port("8e1")),
        (None, None, None, None)
    );

    let truth = |value| field(value, |at| at.boolean()).0;
    assert_eq!((truth("true"), truth("false")), (Some(true), Some(false)));
    assert_eq!(
        (truth("yes"), truth("True"), truth("'true'"), truth("1")),
        (None, None, None, None)
    );
}

#[test]
fn a_word_outside_the_list_is_refused_with_the_nearest_or_all() {
    let read = |value| field(value, |at| at.one_of(&[("allow", 1), ("deny", 2)]));
    assert_eq!(read("deny"), (Some(2), String::new()));
    assert_eq!(
        read("denny").1,
        "\"denny\" is unknown here; did you mean \"deny\"?"
    );
    assert_eq!(
        read("maybe").1,
        "\"maybe\" is unknown here; write allow or deny"
    );
}

#[test]
fn fields_that_nobody_asked_for_are_told_at_their_key() {
    let report = Report::new();
    let text = b"listen: a\nlimits:\n  timeuot: 5s\n  'odd key': 1\nextra: {}\n";
    let file = File::read("edge.yaml", text, &report);
    for root in file.documents() {
        let mut fields = root.fields().expect("a mapping");
        assert_eq!(fields.required("listen", At::text), Some("a"));
        let timeout = fields.required("limits", |at| {
            at.fields()?
                .or("timeout", Duration::from_secs(10), |at| at.duration(1..=60))
        });
        assert_eq!(timeout, Some(Duration::from_secs(10)));
        assert_eq!(fields.optional("name", At::text), Some(None));
    }
    let told = report.into_problems().to_string();
    let expected = "\
edge.yaml:3:3: limits.timeuot: there is no field \"timeuot\"; did you mean \"timeout\"?
edge.yaml:4:3: limits.\"odd key\": there is no field \"odd key\"; known here: timeout
edge.yaml:5:1: extra: there is no field \"extra\"; known here: listen, limits, name";
    assert_eq!(told, expected);
}

#[test]
fn every_item_and_entry_is_read_even_after_one_was_refused() {
    let report = Report::new();
    let file = File::read(
        "it.yaml",
        b"ports: [1, x, 70000]\nlabels: {a: 1, b: ok, '': c}\n",
        &report,
    );
    for root in file.documents() {
        let mut fields = root.fields().expect("a mapping");
        assert_eq!(fields.required("ports", |at| at.list(At::port)), None);
        let labels = fields.required("labels", |at| {
            at.entries(|key, at| key.text().zip(at.text()))
        });
        assert_eq!(labels, None);
    }
    let places: Vec<_> = report
        .into_problems()
        .iter()
        .map(|problem| problem.place.path.clone())
        .collect();
    assert_eq!(places, ["ports[1]", "ports[2]", "labels.a", "labels.\"\""]);
}

#[test]
fn several_documents_are_read_and_empty_ones_left_out() {
    let report = Report::new();
    let file = File::read(
        "it.yaml",
        b"# nothing\n---\na: 1\n---\n---\n# nothing\n---\nb: 2\n",
        &report,
    );
    let lines: Vec<_> = file.documents().map(|at| at.place().line).collect();
    assert_eq!(lines, [3, 8]);
    let empty = File::read("it.yaml", b"# nothing\n", &report);
    assert_eq!(empty.documents().count(), 0);
    let json = File::read("it.json", br#"{"a": {"b": [1, "x"]}}"#, &report);
    let value = json.documents().next().map(|at| at.json().to_string());
    assert_eq!(value.as_deref(), Some(r#"{"a":{"b":[1,"x"]}}"#));
    assert!(report.into_problems().is_empty());
}

#[test]
fn every_repeated_key_is_told() {
    let text = b"a: 1\nb: {c: 1, c: 2}\na: 2\na: 3\n";
    let duplicate = Code::DuplicateKey;
    assert_eq!(
        problems(text),
        [(duplicate, 2, 11), (duplicate, 3, 1), (duplicate, 4, 1)]
    );
}

#[test]
fn anchors_repeat_values_and_cannot_explode() {
    let report = Report::new();
    let file = File::read("it.yaml", b"a: &x [1, 2]\nb: *x\n", &report);
    let value = file.documents().next().map(|at| at.json().to_string());
    assert_eq!(value.as_deref(), Some(r#"{"a":[1,2],"b":[1,2]}"#));
    assert!(report.into_problems().is_empty());

    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..9 {
        let below = format!("*a{}, ", level - 1).repeat(10);
        bomb.push_str(&format!("a{level}: &a{level} [{below}]\n"));
    }
    assert!(matches!(
        problems(bomb.as_bytes()).as_slice(),
        [(Code::Alias, _, _)]
    ));
    assert!(matches!(
        problems(b"a: &a [*a]\n").as_slice(),
        [(Code::Alias, 1, 8)]
    ));
    assert!(matches!(
        problems(b"a: *nothing\n").as_slice(),
        [(Code::Syntax, 1, _)]
    ));
}

#[test]
fn nesting_is_bounded_whatever_its_notation() {
    let flow = "[".repeat(MAX_DEPTH + 1);
    assert!(matches!(
        problems(flow.as_bytes()).as_slice(),
        [(Code::TooDeep, 1, _)]
    ));
    let block = "- ".repeat(200_000);
    assert!(matches!(
        problems(block.as_bytes()).as_slice(),
        [(Code::TooDeep, 1, _)]
    ));
    let deepest = format!("{}1{}", "[".repeat(MAX_DEPTH), "]".repeat(MAX_DEPTH));
    assert!(problems(deepest.as_bytes()).is_empty());
    // An alias inside of what another repeats would nest deeper than anything that was written.
    let ladder = format!(
        "a: &a {deepest}\nb: [*a]\n",
        deepest = "[".repeat(20) + &"]".repeat(20)
    );
    assert!(problems(ladder.as_bytes()).is_empty());
    let ladder = format!(
        "a: &a {0}1{1}\nb: {0}*a{1}\n",
        "[".repeat(20),
        "]".repeat(20)
    );
    assert!(matches!(
        problems(ladder.as_bytes()).as_slice(),
        [(Code::Alias, 2, _)]
    ));
}

#[test]
fn files_that_are_no_text_are_refused_as_a_whole() {
    assert_eq!(problems(b"a: 1\nb: \xff\n"), [(Code::NotUtf8, 2, 4)]);
    let large = vec![b' '; MAX_FILE_BYTES + 1];
    assert_eq!(problems(&large), [(Code::FileTooLarge, 0, 0)]);
    assert!(matches!(
        problems(b"? [a]\n: 1\n").as_slice(),
        [(Code::WrongType, 1, _)]
    ));
    assert!(matches!(
        problems(b"a: !env HOME\n").as_slice(),
        [(Code::Tag, 1, _)]
    ));
}

#[test]
fn what_a_file_holds_cannot_steer_a_terminal() {
    let report = Report::new();
    let text = b"domain: \"\\e[2J\"\n\"\\e[2Jclear\": \"\\e]0;title\\a\"\n";
    let file = File::read("it.yaml", text, &report);
    for root in file.documents() {
        let mut fields = root.fields().expect("a mapping");
        assert_eq!(
            fields.required("domain", |at| at.parse(TrustDomain::parse)),
            None
        );
    }
    let told = report.into_problems().to_string();
    assert_eq!(told.lines().count(), 2, "{told}");
    let shown = |byte: u8| byte.is_ascii_graphic() || byte == b' ' || byte == b'\n';
    assert!(told.bytes().all(shown), "{told:?}");
}

#[test]
fn json_escapes_a_character_in_two_halves_and_places_stay_those_of_the_file() {
    let text = r#"{"it": ["\ud83d\ude00", "\\ud83d\\ude00", "\u00e9"],
"a": "\ud83d\ude00\ud83d\ude01", "a": 1}"#;
    let report = Report::new();
    let file = File::read("it.json", text.as_bytes(), &report);
    let read = file.documents().find_map(|at| {
        let mut fields = at.fields()?;
        fields.leave_rest();
        fields.required("it", |at| at.list(text_of))
    });
    let expected = ["😀", r"\ud83d\ude00", "é"].map(str::to_owned);
    assert_eq!(read, Some(expected.to_vec()));
    drop(file);
    let told = report.into_problems().to_string();
    assert!(
        told.starts_with("it.json:2:34: a: \"a\" stands twice"),
        "{told}"
    );
    // In YAML a text without quotes is as it stands, and half a character is none.
    assert_eq!(
        field(r"\ud83d\ude00", text_of).0.as_deref(),
        Some(r"\ud83d\ude00")
    );
    for (name, text) in [
        ("it.yaml", r#"it: "\ud83d\ude00""#),
        ("it.json", r#"{"it": "\ud83d"}"#),
        ("it.json", r#"{"it": "\ud83d\u0041"}"#),
        ("it.json", r#"{"it": "\ude00\ud83d"}"#),
    ] {
        let report = Report::new();
        let _ = File::read(name, text.as_bytes(), &report);
        assert!(report.has_errors(), "{text}");
    }
}

fn text_of(at: &At<'_>) -> Option<String> {
    text(at)
}

thread_local! {
    static LABELS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

#[test]
fn a_document_of_many_mistakes_is_looked_through_for_its_name_once() {
    let text: String = (0..500).map(|number| format!("k{number}: 1\n")).collect();
    let report = Report::new();
    let file = File::read("many.yaml", text.as_bytes(), &report);
    let label = Label::new(|_root| {
        LABELS.set(LABELS.get() + 1);
        "it".to_owned()
    });
    let root = file.documents().next().unwrap().labelled(&label);
    drop(root.fields());
    let problems = report.into_problems();
    assert_eq!((problems.error_count(), LABELS.get()), (500, 1));
    assert!(
        problems
            .iter()
            .all(|problem| problem.place.path.starts_with("it: k"))
    );
}
