//! The JSON Schema for editors against the loader: both accept the same documents and refuse the same ones,
//! as far as one document's structure goes.
// `cfg(test)` tells clippy that a failed expectation is an answer here.
#![cfg(test)]

use std::{collections::BTreeSet, fs, path::Path};

use attache_core::spiffe_id::TrustDomain;
use attache_policy::{Code, Problems, Report, Settings, Source, compile, json_schema, yaml::File};
use jsonschema::Validator;
use serde_json::{Map, Value, json};

/// Every field of every kind of document.
const EVERYTHING: &str = "tests/sound/everything.yaml";

/// Where sound documents stand, from the crate's folder.
const SOUND: [&str; 9] = [
    EVERYTHING,
    "tests/broken/sound.yaml",
    "fixtures/seeds/credential-policy.yaml",
    "fixtures/seeds/workload-registration.yaml",
    "../../docs/policy.md",
    "../../docs/trust.md",
    "../../docs/spiffe.md",
    "../../docs/evidence.md",
    "../../docs/credentials.md",
];

fn validator() -> Validator {
    jsonschema::draft202012::options()
        .should_validate_formats(true)
        .build(&json_schema())
        .expect("a schema")
}

fn read(path: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The documents of a file as JSON; of a page, those between its fences.
fn documents(path: &str) -> Vec<Value> {
    let text = String::from_utf8(read(path)).expect("UTF-8");
    if path.ends_with(".md") {
        let fenced = text.split("\n```yaml\n").skip(1);
        let examples = fenced.map(|rest| rest.split("\n```").next().unwrap());
        return examples.flat_map(parsed).collect();
    }
    parsed(&text)
}

fn parsed(text: &str) -> Vec<Value> {
    let report = Report::new();
    let file = File::read("it.yaml", text.as_bytes(), &report);
    file.documents().map(|at| at.json()).collect()
}

/// What the loader says of one document. JSON is YAML.
fn problems(document: &Value) -> Problems {
    let settings = Settings {
        trust_domain: TrustDomain::parse("cluster.local").unwrap(),
        trust_providers: Vec::new(),
    };
    let source = Source {
        name: "it.json".to_owned(),
        text: document.to_string().into_bytes(),
    };
    match compile(&[source], &settings) {
        Ok(compiled) => compiled.warnings().clone(),
        Err(problems) => problems,
    }
}

/// Whether a schema can see it: it lies in the types, fields and words of one document.
fn is_structural(code: Code) -> bool {
    matches!(
        code,
        Code::WrongType
            | Code::Empty
            | Code::MissingField
            | Code::UnknownField
            | Code::UnknownChoice
            | Code::UnknownVersion
            | Code::UnknownKind
    )
}

/// Both say the same of `document`, or the loader says more of what it means.
fn assert_agreement(validator: &Validator, document: &Value) {
    let problems = problems(document);
    let refused_by_schema = !validator.is_valid(document);
    let refused = problems.error_count() > 0;
    let structural = problems.iter().any(|problem| is_structural(problem.code));
    assert!(
        !refused_by_schema || refused,
        "only the schema refuses: {:?}\n{document:#}",
        validator
            .iter_errors(document)
            .map(|error| error.to_string())
            .collect::<Vec<_>>()
    );
    assert!(
        refused_by_schema || !structural,
        "only the loader refuses: {problems}\n{document:#}"
    );
}

#[test]
fn the_schema_accepts_every_sound_document() {
    let validator = validator();
    let mut count = 0;
    for document in SOUND.iter().flat_map(|path| documents(path)) {
        let errors: Vec<_> = validator
            .iter_errors(&document)
            .map(|error| error.to_string())
            .collect();
        assert!(errors.is_empty(), "{errors:?}\n{document:#}");
        count += 1;
    }
    assert!(count >= 39, "{count}");
}

#[test]
fn schema_and_loader_refuse_the_same_broken_documents() {
    let validator = validator();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/broken");
    let mut refused = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let (Some("yaml"), Ok(text)) = (
            path.extension().and_then(|it| it.to_str()),
            fs::read_to_string(&path),
        ) else {
            continue;
        };
        for document in text.split("\n---\n").flat_map(parsed) {
            assert_agreement(&validator, &document);
            refused += usize::from(!validator.is_valid(&document));
        }
    }
    assert!(refused > 30, "{refused}");
}

/// Everything that can be done to one value of a sound document.
fn replacements(value: &Value) -> Vec<Value> {
    let mut all = vec![
        json!(null),
        json!(true),
        json!(0),
        json!(70000),
        json!(""),
        json!("*"),
        json!("no such word"),
        json!([]),
        json!([null]),
        json!([[]]),
        json!({}),
        json!({"no-such-field": 1}),
        json!([value]),
        json!([value, value]),
    ];
    if let Value::Object(members) = value {
        for name in members.keys() {
            let mut without = members.clone();
            without.remove(name);
            all.push(Value::Object(without));
        }
        let mut more = members.clone();
        more.insert("no-such-field".to_owned(), json!("x"));
        all.push(Value::Object(more));
    }
    all
}

/// Every document in which one value is another.
fn mutations(value: &Value) -> Vec<Value> {
    let mut all = replacements(value);
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                let with = |changed| {
                    let mut members: Map<String, Value> = members.clone();
                    members.insert(name.clone(), changed);
                    Value::Object(members)
                };
                all.extend(mutations(member).into_iter().map(with));
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                let with = |changed| {
                    let mut items = items.clone();
                    items[index] = changed;
                    Value::Array(items)
                };
                all.extend(mutations(item).into_iter().map(with));
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
    all
}

#[test]
fn schema_and_loader_agree_on_every_small_change_of_every_field() {
    let validator = validator();
    let mut count = 0;
    for document in documents(EVERYTHING) {
        // A document that says nothing is none.
        for mutation in mutations(&document).into_iter().filter(|it| !it.is_null()) {
            assert_agreement(&validator, &mutation);
            count += 1;
        }
    }
    assert!(count > 4000, "{count}");
}

/// A document of `kind` with the specification `spec`.
fn specified(kind: &str, spec: &Value) -> Value {
    json!({"apiVersion": "attache.dev/v1", "kind": kind, "metadata": {"name": "x"}, "spec": spec})
}

#[test]
fn what_a_pattern_can_say_of_a_value_both_say() {
    let action = |methods: &str, paths: &str| {
        let actions = json!([{"name": "some", "methods": [methods], "paths": [paths]}]);
        specified(
            "AccessPolicy",
            &json!({"effect": "deny", "client": "a", "server": "b", "actions": actions}),
        )
    };
    let server = |host: &str| specified("ServerWorkload", &json!({"host": host}));
    let source =
        |range: &str| specified("AccessCondition", &json!({"source": {"ranges": [range]}}));
    let day = |last: &str| {
        let time = json!({"timeZone": "UTC", "notAfter": last});
        specified("AccessCondition", &json!({"time": time}))
    };
    let window = |from: &str, to: &str| {
        let windows = json!([{"days": ["mon"], "from": from, "to": to}]);
        let time = json!({"timeZone": "UTC", "windows": windows});
        specified("AccessCondition", &json!({"time": time}))
    };
    let validator = validator();
    for document in [
        action("*", "/"),
        action("CONNECT", "/"),
        action("TRACK", "/"),
        action("get", "/"),
        action("GET", "/admin/*"),
        action("GET", "/*"),
        action("GET", "/a?b"),
        action("GET", "/a#b"),
        action("GET", "/a;b"),
        action("GET", "/a//b"),
        action("GET", "/a/../b"),
        action("GET", "/a/."),
        action("GET", "/a b"),
        action("GET", "/a\\b"),
        action("GET", "/ä"),
        server("host.test:443"),
        server("https://host.test"),
        server("a.*.test"),
        server("host.test/x"),
        source("10.0.0.0"),
        source("0.0.0.0/0"),
        source("::/0"),
        source("010.0.0.0/8"),
        source("10.0.0.00/8"),
        source("office"),
        day("2026-13-01"),
        day("2026-00-10"),
        day("2026-01-32"),
        window("24:00", "12:00"),
        window("29:00", "12:00"),
        window("08:00", "24:01"),
    ] {
        assert!(
            !validator.is_valid(&document),
            "the schema accepts {document:#}"
        );
        assert!(
            problems(&document).error_count() > 0,
            "the loader accepts {document:#}"
        );
    }
    for document in [
        server("*.host.test"),
        server("bücher.example"),
        server("[2001:db8::1]"),
        server("2001:db8::1"),
        source("64:ff9b::/96"),
        source("0064:ff9b::/96"),
        source("10.0.0.0/8"),
        day("2026-12-31"),
        window("00:00", "24:00"),
    ] {
        assert!(
            validator.is_valid(&document),
            "the schema refuses {document:#}"
        );
        assert_eq!(
            problems(&document).error_count(),
            0,
            "the loader refuses {document:#}"
        );
    }
    for path in [
        "/v1",
        "/a/.b",
        "/%2A",
        "/a@b:c,d=e&f!g$h'(i)",
        "/.well-known/~x/{y}|z^`",
    ] {
        let document = action("PROPFIND", path);
        assert!(validator.is_valid(&document), "{path}");
        let about_paths = problems(&document)
            .iter()
            .any(|it| it.code == Code::InvalidPath);
        assert!(!about_paths, "{path}");
    }
}

/// The names of all fields below, and of all words.
fn described(schema: &Value, fields: &mut BTreeSet<String>, words: &mut BTreeSet<String>) {
    match schema {
        Value::Object(members) => {
            if let Some(Value::Object(properties)) = members.get("properties") {
                fields.extend(properties.keys().cloned());
            }
            if let Some(Value::Array(choices)) = members.get("enum") {
                words.extend(
                    choices
                        .iter()
                        .filter_map(|choice| choice.as_str().map(str::to_owned)),
                );
            }
            members
                .values()
                .for_each(|member| described(member, fields, words));
        }
        Value::Array(items) => items.iter().for_each(|item| described(item, fields, words)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The names of all members below, and all texts.
fn used(document: &Value, names: &mut BTreeSet<String>, texts: &mut BTreeSet<String>) {
    match document {
        Value::Object(members) => {
            names.extend(members.keys().cloned());
            members
                .values()
                .for_each(|member| used(member, names, texts));
        }
        Value::Array(items) => items.iter().for_each(|item| used(item, names, texts)),
        Value::String(text) => {
            texts.insert(text.clone());
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[test]
fn every_field_and_word_of_the_schema_is_in_the_set_that_is_changed() {
    let (mut fields, mut words) = (BTreeSet::new(), BTreeSet::new());
    described(&json_schema(), &mut fields, &mut words);
    let (mut names, mut texts) = (BTreeSet::new(), BTreeSet::new());
    for document in documents(EVERYTHING) {
        used(&document, &mut names, &mut texts);
    }
    let missing: Vec<_> = fields.difference(&names).collect();
    assert!(missing.is_empty(), "{missing:?}");
    let missing: Vec<_> = words.difference(&texts).map(String::as_str).collect();
    // Of algorithms two are enough.
    let algorithms = [
        "ES384", "ES512", "PS256", "PS384", "PS512", "RS384", "RS512",
    ];
    assert_eq!(missing, algorithms);
}

#[test]
fn the_schema_is_a_schema() {
    let schema = json_schema();
    assert_eq!(
        schema["$schema"],
        "https://json-schema.org/draft/2020-12/schema"
    );
    jsonschema::meta::validate(&schema).expect("draft 2020-12");
}

#[test]
fn the_reference_page_tells_every_field_in_the_section_of_its_kind() {
    let page = String::from_utf8(read("../../docs/policy.md")).expect("UTF-8");
    let credentials = String::from_utf8(read("../../docs/credentials.md")).expect("UTF-8");
    let Value::Object(kinds) = &json_schema()["$defs"] else {
        panic!("no kinds")
    };
    let mut of_providers = BTreeSet::new();
    described(
        &kinds["CredentialProvider"],
        &mut of_providers,
        &mut BTreeSet::new(),
    );
    for (kind, schema) in kinds {
        let (_, section) = page
            .split_once(&format!("\n### {kind}\n"))
            .expect("a section");
        let (told, _) = section.split_once("\n```yaml\n").expect("an example");
        let (mut fields, mut words) = (BTreeSet::new(), BTreeSet::new());
        described(schema, &mut fields, &mut words);
        for name in fields {
            // The provider inside of a CredentialPolicy has a section of its own.
            let elsewhere = kind == "CredentialPolicy" && of_providers.contains(&name);
            // The types of other people's credentials, and where they go, have a page of their own.
            let told = if ["CredentialProvider", "ServerWorkload"].contains(&&**kind) {
                format!("{told}{credentials}")
            } else {
                told.to_owned()
            };
            let is_told = [
                format!("`{name}`"),
                format!(".{name}`"),
                format!("{name}, "),
                format!("{name}:"),
                format!("{name}}}"),
            ]
            .iter()
            .any(|form| told.contains(form));
            assert!(is_told || elsewhere, "{kind}: {name}");
        }
    }
}
