//! A set with every kind of mistake, compiled in one run: each message is pinned as a person sees it, and
//! says what to do. `INSTA_UPDATE=always cargo test -p attache-policy --test broken` writes them again;
//! read what changed.
// `cfg(test)` tells clippy that a failed expectation is an answer here.
#![cfg(test)]

use std::{collections::BTreeSet, fs, path::Path};

use attache_core::spiffe_id::TrustDomain;
use attache_policy::{
    Code, Problems, Settings, Source, compile,
    render::{self, Colour},
};

fn settings() -> Settings {
    Settings {
        trust_domain: TrustDomain::parse("cluster.local").unwrap(),
        trust_providers: Vec::new(),
    }
}

/// The files of `tests/broken`, by name.
fn broken_set() -> Vec<Source> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/broken");
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "yaml")
        })
        .collect();
    files.sort();
    let source = |path: std::path::PathBuf| Source {
        name: path.file_name().unwrap().to_str().unwrap().to_owned(),
        text: fs::read(&path).unwrap(),
    };
    files.into_iter().map(source).collect()
}

fn problems() -> Problems {
    compile(&broken_set(), &settings()).expect_err("a broken set")
}

#[test]
fn every_mistake_is_shown_with_its_line_and_the_way_out() {
    let (sources, problems) = (broken_set(), problems());
    insta::with_settings!({
        snapshot_path => "broken",
        prepend_module_to_snapshot => false,
        omit_expression => true,
    }, {
        for source in &sources {
            let shown = render::text(&problems.of(&source.name), &sources, Colour::Never, usize::MAX);
            let name = source.name.trim_end_matches(".yaml");
            if name == "sound" {
                assert_eq!(shown, "");
            } else {
                insta::assert_snapshot!(name, shown);
            }
        }
    });
}

#[test]
fn every_problem_says_where_it_is_and_what_to_do() {
    for problem in problems().iter() {
        let place = &problem.place;
        assert!(place.line > 0 && place.column > 0, "{problem}");
        let has_end = (place.line, place.column) <= (place.end_line, place.end_column);
        assert!(has_end, "{problem} {place:?}");
        assert!(
            !place.path.is_empty() || is_of_a_file(problem.code),
            "{problem}"
        );
        assert!(problem.way_out.is_some(), "{problem}");
    }
}

/// Told before there is a document to speak of.
fn is_of_a_file(code: Code) -> bool {
    [
        Code::EmptyFile,
        Code::Syntax,
        Code::Tag,
        Code::DuplicateKey,
        Code::NotUtf8,
        Code::TooDeep,
        Code::Alias,
    ]
    .contains(&code)
}

#[test]
fn the_set_has_forty_kinds_of_mistakes() {
    let codes: BTreeSet<Code> = problems().iter().map(|problem| problem.code).collect();
    let missing: Vec<_> = Code::ALL
        .iter()
        .filter(|code| !codes.contains(code))
        .map(|code| code.name())
        .collect();
    // One needs a file of 16 MiB, two a configuration, one that no trust provider exists.
    let elsewhere = [
        "file-too-large",
        "foreign-secret",
        "foreign-file",
        "unproven",
    ];
    assert_eq!(missing, elsewhere);
    assert!(codes.len() >= 40, "{}", codes.len());
}

#[test]
fn nothing_that_may_be_a_secret_is_repeated() {
    let (sources, problems) = (broken_set(), problems());
    let text = render::text(&problems, &sources, Colour::Always, usize::MAX);
    for told in [
        text,
        render::json(&problems, None, usize::MAX),
        problems.to_string(),
    ] {
        for secret in [
            "hunter2",
            "user:secret",
            "aHVudGVyMg",
            "c2VjcmV0",
            "notarealtoken",
            "eyJzdWI",
            "bm90IGEga2V5",
        ] {
            assert!(!told.contains(secret), "{secret}: {told}");
        }
    }
}

#[test]
fn a_file_that_is_too_large_is_told_as_a_whole() {
    let large = Source {
        name: "large.yaml".to_owned(),
        text: vec![b' '; attache_policy::yaml::MAX_FILE_BYTES + 1],
    };
    let problems = compile(std::slice::from_ref(&large), &settings()).expect_err("too large");
    insta::assert_snapshot!(render::text(&problems, &[large], Colour::Never, usize::MAX), @r"
    error[file-too-large]: larger than 16777216 bytes
    --> large.yaml
     = help: split it
    ");
}
