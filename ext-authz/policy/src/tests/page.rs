//! The examples of the reference page are loaded as they stand there.

use super::{settings, source};
use crate::{Source, compile, document::Kind};

const PAGE: &str = include_str!("../../../../docs/policy.md");

/// What stands between "```yaml" and "```".
fn examples() -> Vec<Source> {
    let fenced = PAGE.split("\n```yaml\n").skip(1);
    let texts = fenced.map(|rest| rest.split("\n```").next().expect("a closing fence"));
    texts
        .enumerate()
        .map(|(index, text)| source(&format!("example {index}"), text))
        .collect()
}

#[test]
fn the_examples_of_the_reference_page_load_as_one_set() {
    let examples = examples();
    let set = compile(&examples, &settings()).unwrap_or_else(|problems| panic!("{problems}"));
    assert!(set.warnings().is_empty(), "{}", set.warnings());
    assert!(set.policy_count() >= 3);
}

#[test]
fn the_reference_page_has_a_section_and_an_example_of_every_kind() {
    let text: Vec<_> = examples()
        .into_iter()
        .map(|it| String::from_utf8(it.text).expect("UTF-8"))
        .collect();
    for kind in Kind::ALL {
        assert!(
            PAGE.contains(&format!("\n### {}\n", kind.name())),
            "{}",
            kind.name()
        );
        let example = format!("kind: {}\n", kind.name());
        assert!(
            text.iter().any(|text| text.contains(&example)),
            "{}",
            kind.name()
        );
    }
}

#[test]
fn the_reference_page_explains_every_problem_code() {
    for code in crate::Code::ALL {
        assert!(
            PAGE.contains(&format!("| `{}` |", code.name())),
            "{}",
            code.name()
        );
    }
}
