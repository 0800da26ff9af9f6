use proptest::prelude::*;

use super::{Colour, json, summary, text};
use crate::{
    Code, Problems, Settings, Source, compile,
    problem::{MAX_KEPT, Place, Report},
};
use attache_core::spiffe_id::TrustDomain;

fn source(name: &str, text: &[u8]) -> Source {
    Source {
        name: name.to_owned(),
        text: text.to_vec(),
    }
}

fn problem(file: &str, start: (usize, usize), end: (usize, usize)) -> Problems {
    let report = Report::new();
    let place = Place {
        file: file.into(),
        line: start.0,
        column: start.1,
        end_line: end.0,
        end_column: end.1,
        path: "spec".to_owned(),
    };
    let way_out = Some("write another".to_owned());
    report.error_with(place, Code::InvalidValue, "wrong", way_out);
    report.into_problems()
}

/// The line and what is under it.
fn shown(bytes: &[u8], start: (usize, usize), end: (usize, usize)) -> (String, String) {
    let told = text(
        &problem("a.yaml", start, end),
        &[source("a.yaml", bytes)],
        Colour::Never,
        usize::MAX,
    );
    let mut lines = told.lines().skip(3);
    let number = format!("{} | ", start.0);
    let line = lines.next().unwrap();
    let under = lines.next().unwrap().trim_start().trim_start_matches('|');
    let (line, under) = (
        line.strip_prefix(&number).unwrap(),
        under.strip_prefix(' ').unwrap(),
    );
    (line.to_owned(), under.to_owned())
}

#[test]
fn the_caret_stands_under_the_value_whatever_comes_before_it() {
    for (bytes, start, end, line, under) in [
        (&b"a: bc\n"[..], (1, 4), (1, 6), "a: bc", "   ^^"),
        (b"x\r\na: bc\r\n", (2, 4), (2, 6), "a: bc", "   ^^"),
        (b"x\ra: bc\r", (2, 4), (2, 6), "a: bc", "   ^^"),
        ("ü: bc\n".as_bytes(), (1, 4), (1, 6), "ü: bc", "   ^^"),
        ("電: bc\n".as_bytes(), (1, 4), (1, 6), "電: bc", "    ^^"),
        (b"a:\tbc\n", (1, 4), (1, 6), "a: bc", "   ^^"),
        (b"a:", (1, 3), (1, 3), "a:", "  ^"),
        (b"a:\n  - b\n  - c\n", (2, 3), (3, 6), "  - b", "  ^^^"),
        (b"a: \x1b[2J\n", (1, 4), (1, 8), "a: \u{fffd}[2J", "   ^^^^"),
        (b"a: b\xff\n", (1, 5), (1, 6), "a: b\u{fffd}", "    ^"),
        (
            b"password: x, y\n",
            (1, 1),
            (1, 9),
            "password: ****",
            "^^^^^^^^",
        ),
    ] {
        let expected = (line.to_owned(), under.to_owned());
        assert_eq!(
            shown(bytes, start, end),
            expected,
            "{:?}",
            String::from_utf8_lossy(bytes)
        );
    }
}

#[test]
fn a_problem_without_a_line_tells_its_place() {
    for (place, bytes) in [
        ((0, 0), &b""[..]),
        ((7, 1), b"a: b\n"),
        ((1, 5000), &[b'a'; 5001]),
    ] {
        let told = text(
            &problem("a.yaml", place, place),
            &[source("a.yaml", bytes)],
            Colour::Never,
            usize::MAX,
        );
        let at = match place {
            (0, _) => "--> a.yaml\n".to_owned(),
            (line, column) => format!("--> a.yaml:{line}:{column}\n"),
        };
        assert!(told.contains(&at), "{told}");
        assert!(
            told.contains("= help: write another") && told.lines().count() < 6,
            "{told}"
        );
    }
    let elsewhere = text(
        &problem("b.yaml", (1, 1), (1, 2)),
        &[],
        Colour::Never,
        usize::MAX,
    );
    assert!(elsewhere.contains("--> b.yaml:1:1\n"), "{elsewhere}");
}

#[test]
fn colours_are_ours_alone() {
    let sources = [source("\u{1b}[2J.yaml", b"a: \x1b[31mred\n")];
    let problems = problem("\u{1b}[2J.yaml", (1, 4), (1, 12));
    let plain = text(&problems, &sources, Colour::Never, usize::MAX);
    assert!(
        !plain.contains('\u{1b}') && plain.contains("\\u{1b}[2J.yaml"),
        "{plain:?}"
    );
    let coloured = text(&problems, &sources, Colour::Always, usize::MAX);
    let without: String = coloured
        .split('\u{1b}')
        .enumerate()
        .map(|(part, text)| {
            if part == 0 {
                text
            } else {
                text.split_once('m').unwrap().1
            }
        })
        .collect();
    assert!(
        coloured.contains("\u{1b}[") && without.trim_end() == plain.trim_end(),
        "{coloured:?}"
    );
}

#[test]
fn programs_read_every_member_and_no_raw_character() {
    let told = json(
        &problem("\u{202e}\u{9b}.yaml", (1, 4), (1, 6)),
        None,
        usize::MAX,
    );
    assert!(told.is_ascii(), "{told}");
    let object: serde_json::Value = serde_json::from_str(&told).unwrap();
    let expected = serde_json::json!({
        "errors": 1,
        "omitted": 0,
        "warnings": 0,
        "revision": null,
        "problems": [{
            "severity": "error",
            "code": "invalid-value",
            "message": "wrong",
            "help": "write another",
            "file": "\u{202e}\u{9b}.yaml",
            "line": 1,
            "column": 4,
            "end_line": 1,
            "end_column": 6,
            "path": "spec",
        }],
    });
    assert_eq!(object, expected);
}

#[test]
fn the_summary_counts() {
    assert_eq!(summary(&Problems::default()), "no problems");
    let two = problem("a", (1, 1), (1, 1)).and(problem("b", (1, 1), (1, 1)));
    assert_eq!(summary(&two), "2 errors, no warnings");
}

proptest! {
    #[test]
    fn no_file_reaches_the_terminal_raw(
        name in "\\PC{0,5}[\u{1b}\u{202e}\n]{0,2}",
        text in prop::collection::vec(prop_oneof![
            any::<u8>().prop_map(|byte| vec![byte]),
            prop::sample::select(vec!["apiVersion: attache.dev/v1\n", "kind: ", "spec:\n", "metadata: {name: ", "\u{1b}]0;x\u{7}", "\u{202e}", "\u{9b}", "host: ", "\n---\n", "{", "}"])
                .prop_map(|text| text.as_bytes().to_vec()),
        ], 0..60),
    ) {
        let settings = Settings {
            trust_domain: TrustDomain::parse("cluster.local").unwrap(),
            trust_providers: Vec::new(),
        };
        let sources = [source(&name, &text.concat())];
        if let Err(problems) = compile(&sources, &settings) {
            let shown = super::text(&problems, &sources, Colour::Never, usize::MAX) + &json(&problems, None, usize::MAX) + &problems.to_string();
            let raw = shown.chars().find(|letter| *letter != '\n' && super::is_unprintable(*letter));
            prop_assert_eq!(raw, None, "{}", shown);
        }
    }
}

#[test]
fn of_many_problems_the_errors_come_first_and_the_rest_is_counted() {
    let report = Report::new();
    let place = |line| Place {
        line,
        column: 1,
        ..Place::file("a.yaml")
    };
    for line in 1..=3 {
        report.warning(place(line), Code::Shadowed, "a warning", None);
    }
    for line in 4..=MAX_KEPT + 5 {
        report.error(place(line), Code::Empty, "an error");
    }
    let problems = report.into_problems();
    assert_eq!(problems.error_count(), MAX_KEPT + 2);
    assert_eq!(problems.iter().count(), MAX_KEPT + 3);
    let told = text(&problems, &[], Colour::Never, 2);
    assert_eq!(told.matches("error[empty]").count(), 2, "{told}");
    assert!(!told.contains("warning["), "{told}");
    assert!(
        told.ends_with("and more that are not shown: 10000 errors, 3 warnings\n\n"),
        "{told}"
    );
    let told: serde_json::Value =
        serde_json::from_str(&json(&problems, None, 2)).expect("an object");
    assert_eq!(
        (&told["errors"], &told["omitted"]),
        (&10_002.into(), &10_003.into())
    );
    assert_eq!(told["problems"].as_array().map(Vec::len), Some(2));
    // With room for some warnings, errors are not left out for them.
    let (told, left_out) = problems.at_most(MAX_KEPT + 3);
    assert_eq!((told.len(), left_out.total()), (MAX_KEPT + 1, 4));
    assert!(
        problems
            .to_string()
            .ends_with("more, which `attache validate` tells")
    );
}
