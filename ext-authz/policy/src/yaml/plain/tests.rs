//! What is read here is what the parser reads.

use std::{fs, path::Path, sync::Arc};

use proptest::prelude::*;

use crate::{
    problem::Report,
    yaml::{
        surrogates::Joined,
        tree::{parsed, plain},
    },
};

/// Whether the text is plain; both readings of a plain one are the same.
fn agrees(text: &str) -> Result<bool, String> {
    let file: Arc<str> = "it.yaml".into();
    let (one, other) = (Report::new(), Report::new());
    let Some(read) = plain(&file, text, &one, |node, _| node) else {
        assert!(one.into_problems().is_empty(), "nothing is told twice");
        return Ok(false);
    };
    let parsed = parsed(&file, (text, Joined::none()), &other, |node, _| node);
    let (read, parsed) = (format!("{read:#?}"), format!("{parsed:#?}"));
    let (one, other) = (one.into_problems(), other.into_problems());
    if read == parsed && one == other {
        return Ok(true);
    }
    let mut lines = read.lines().zip(parsed.lines()).enumerate();
    let first = lines.find(|(_, (one, other))| one != other);
    Err(format!("{text}\n{first:?}\n{one}\n{other}"))
}

#[test]
fn the_ordinary_is_plain_and_read_as_the_parser_reads_it() {
    for text in [
        "a: b\n",
        "a: b",
        "---\na: b\n---\nc: d\n---\n",
        "# what\na: b # why\n\n  # how\nc:\n  d: 1\n",
        "a:\n- b\n- c: d\n  e: f\ng: h\n",
        "a:\n  - b\n  - c: d\n    e: f\n  -   g: h\n      i: j\n  - - k\n    - l\nm: n\n",
        "a: [b, c]\nd: {e: f, g: [h, {i: j}]}\nk: []\nl: {}\n",
        "a: \"b # c\"\nd: 'e: f'\ng: ''\nh: {\"i\": j, k: 'l'}\n",
        "a: b:c d#e 'f' [g]\nh: [i:j, k l]\n",
        "a:\n  b\nc: d\n",
        "a: b\na: c\n",
        "apiVersion: attache.dev/v1\nkind: ClientWorkload\nmetadata:\n  name: app-1\nspec:\n  match:\n    - \
         k8s.namespace: team-1\n      k8s.serviceAccount: app-1\n---\nspec: {type: oidc-token, audience: \
         https://a.example:8443/}\n",
    ] {
        assert_eq!(agrees(text), Ok(true), "{text}");
    }
}

#[test]
fn everything_else_is_left_to_the_parser() {
    for text in [
        "a: |\n  b\n",
        "a: >\n  b\n",
        "a: &b c\n",
        "a: *b\n",
        "a: !!str b\n",
        "a: b\n  c\n",
        "a:\n",
        "a: b: c\n",
        "a: [b,\n  c]\n",
        "a: \"b\\n\"\n",
        "a: 'b''c'\n",
        "a: \"b\n",
        "a\n",
        "- a\n",
        "? a\n: b\n",
        "a: é\n",
        "a:\tb\n",
        "a: b\r\n",
        "%YAML 1.2\n---\na: b\n",
        "a: b\n...\n",
        "--- a\n",
        " a: b\n",
        "a: b\n c: d\n",
        "a: [b]#c\n",
        "a: [b, ]\n",
        "a: {b}\n",
        "a: [b: c]\n",
        "\"a\": b\n",
        "a b: c\n",
        "a: -1\n",
        "a: b\n- c\n",
    ] {
        assert_eq!(agrees(text), Ok(false), "{text}");
    }
}

#[test]
fn the_files_of_the_repository_are_read_as_the_parser_reads_them() {
    let mut plain = 0;
    for directory in ["tests/sound", "tests/broken"] {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(directory);
        for entry in fs::read_dir(directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            let Ok(text) = fs::read_to_string(&path) else {
                continue;
            };
            match agrees(&text) {
                Ok(is_plain) => plain += usize::from(is_plain),
                Err(told) => panic!("{}: {told}", path.display()),
            }
        }
    }
    assert!(plain > 0);
}

/// Pieces of lines that may come to something.
fn line() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "a", "b1", "/v1", ".", "_", "-", "- ", ":", ": ", ",", ", ", "[", "]", "{", "}", "[]",
        "{}", "\"", "'", "\"x y\"", "'z'", "#", " # c", " ", "---", "...", "*", "&", "!", "|", ">",
        "%", "?", "? ", "~", "null", "\\", "é", "\t", "\r", "a: ", "bb: c", "[a, b]", "{a: b}",
        "- a: b", "--- ", "@", "`", "0x1",
    ]);
    (0..4_usize, prop::collection::vec(piece, 0..6))
        .prop_map(|(indent, pieces)| format!("{}{}", "  ".repeat(indent), pieces.concat()))
}

/// Lines that mostly come to something.
fn likely_line() -> impl Strategy<Value = String> {
    let key = prop::sample::select(vec!["a", "b", "c1", "d.e", "- f", "- g", "- - h", "-  i"]);
    let value = prop::sample::select(vec![
        "",
        " x",
        "  y z",
        " 1",
        " [a, b]",
        " {a: b, c: [d]}",
        " \"q\"",
        " 'q: r'",
        " x # y",
        " a:b",
        " []",
        " [ a , 'b' ]",
        " ['b', c]",
        " {a: 'b', \"c\": d }",
        " ~",
        " x ",
        " # z",
    ]);
    (0..4_usize, key, value)
        .prop_map(|(indent, key, value)| format!("{}{key}:{value}", " ".repeat(indent)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn lines_of_any_kind_are_read_as_the_parser_reads_them(
        lines in prop::collection::vec(prop_oneof![likely_line(), likely_line(), likely_line(), line()], 1..6),
    ) {
        prop_assert_eq!(agrees(&lines.join("\n")).map(|_| ()), Ok(()));
    }

    #[test]
    fn likely_lines_are_read_as_the_parser_reads_them(lines in prop::collection::vec(likely_line(), 1..6)) {
        prop_assert_eq!(agrees(&lines.join("\n")).map(|_| ()), Ok(()));
    }
}
