//! Documents: whatever a file holds, it is compiled or every problem is told, in words that a terminal
//! can show, and the same each time.

use attache_core::spiffe_id::TrustDomain;
use attache_policy::{
    Code, Problems, Settings, Source, compile,
    render::{self, Colour},
};

/// The input as a file of policies.
pub fn holds(input: &[u8]) {
    let settings = Settings {
        trust_domain: TrustDomain::parse("cluster.local").expect("a trust domain"),
        trust_providers: vec![],
    };
    let sources = [Source {
        name: "fuzzed.yaml".to_owned(),
        text: input.to_vec(),
    }];
    let (first, second) = (compile(&sources, &settings), compile(&sources, &settings));
    let problems = first
        .as_ref()
        .map_or_else(|problems| problems, |set| set.warnings());
    read_as_the_parser_reads(input, problems, &settings);
    match (first, second) {
        (Ok(one), Ok(other)) => {
            assert_eq!(one.revision(), other.revision());
            assert_eq!(one.warnings(), other.warnings());
            assert_eq!(one.warnings().error_count(), 0, "an error in force");
            told(one.warnings(), &sources, Some(one.revision()));
        }
        (Err(one), Err(other)) => {
            assert_eq!(one, other);
            assert!(one.error_count() > 0, "refused without an error");
            told(&one, &sources, None);
        }
        (Ok(_), Err(problems)) | (Err(problems), Ok(_)) => {
            panic!("compiled once and refused once: {problems}")
        }
    }
}

/// Files of plain YAML are read without the parser. A comment that is no ASCII sends the same documents
/// through the parser: nothing of them may change, no place where one begins either.
fn read_as_the_parser_reads(input: &[u8], problems: &Problems, settings: &Settings) {
    let plain = |byte: &u8| matches!(byte, b' '..=b'~' | b'\n');
    // Where the parser itself stops, it tells of the end of the file; a comment makes a file that is not
    // empty; and `|+` keeps line ends before it.
    let ends = [Code::Syntax, Code::EmptyFile];
    let stopped = problems.iter().any(|problem| ends.contains(&problem.code));
    let keeps = input.contains(&b'+') && input.iter().any(|byte| b"|>".contains(byte));
    if stopped || keeps || !input.iter().all(plain) {
        return;
    }
    let mut text = input.to_vec();
    text.extend_from_slice("\n# é\n".as_bytes());
    let name = "fuzzed.yaml".to_owned();
    let read = compile(&[Source { name, text }], settings);
    let other = read
        .as_ref()
        .map_or_else(|problems| problems, |set| set.warnings());
    // Without where a value ends: the last one of a file reaches to its end.
    let told = (problems.to_string(), other.to_string());
    assert_eq!(
        told.0, told.1,
        "plain YAML is not read as the parser reads it"
    );
}

fn told(problems: &Problems, sources: &[Source], revision: Option<&str>) {
    let lines = sources[0].text.split(|byte| *byte == b'\n').count();
    for problem in problems.iter() {
        assert_eq!(&*problem.place.file, "fuzzed.yaml", "{problem}");
        // A carriage return ends a line of YAML too.
        let most = lines
            + sources[0]
                .text
                .iter()
                .filter(|byte| **byte == b'\r')
                .count()
            + 1;
        assert!(problem.place.line <= most, "{problem}");
    }
    let text = render::text(problems, sources, Colour::Never, usize::MAX);
    let dangerous = |c: char| c.is_control() && c != '\n';
    assert!(!text.chars().any(dangerous), "{text:?}");
    let json = render::json(problems, revision, usize::MAX);
    serde_json::from_str::<serde_json::Value>(&json).expect("JSON for programs is JSON");
}
