//! `attache validate` and `attache schema` as a shell and a program meet them.
// `cfg(test)` tells clippy that a failed expectation is an answer here.
#![cfg(test)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;
use tempfile::TempDir;

const CLIENT: &str = "\
apiVersion: attache.dev/v1
kind: ClientWorkload
metadata: {name: web}
spec: {match: [{k8s.namespace: shop}]}
";

fn directory(files: &[(&str, &str)]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(directory.path().join(name), text).unwrap();
    }
    directory
}

fn attache(arguments: &[&str], folder: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_attache"))
        .args(arguments)
        .current_dir(folder)
        .env_remove("ATTACHE_CONFIG")
        .output()
        .unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

#[test]
fn a_sound_set_ends_with_0_and_its_revision() {
    let set = directory(&[("a.yaml", CLIENT)]);
    let output = attache(&["validate", "."], set.path());
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let told = stdout(&output);
    assert!(told.starts_with(".: no problems; revision "), "{told}");
}

#[test]
fn an_error_ends_with_1_and_is_shown_with_its_line_and_without_colour() {
    let broken = CLIENT.replace("k8s.namespace: shop", "k8s.namespce: shop");
    let set = directory(&[("a.yaml", &broken), ("b.yaml", CLIENT)]);
    let output = attache(&["validate", "."], set.path());
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let expected = r#"error[unknown-attribute]: no trust provider proves an attribute "k8s.namespce"
 --> ./a.yaml:4:17
  |
4 | spec: {match: [{k8s.namespce: shop}]}
  |                 ^^^^^^^^^^^^
  |
  = help: did you mean "k8s.namespace"?
  = in: ClientWorkload web: spec.match[0].k8s.namespce

error[duplicate-name]: the name "web" is already taken at ./a.yaml:3
 --> ./b.yaml:3:18
  |
3 | metadata: {name: web}
  |                  ^^^
  |
  = help: rename or remove one of them
  = in: ClientWorkload web: metadata.name

.: 2 errors, no warnings
"#;
    assert_eq!(stdout(&output), expected);
}

#[test]
fn a_warning_ends_with_0() {
    let identity = "\
apiVersion: aembit.io/v1
kind: WorkloadIdentity
metadata: {name: web}
spec: {attestation: {type: oidc, claims: {sub: web}}}
";
    let set = directory(&[("a.yaml", identity)]);
    let output = attache(&["validate", "."], set.path());
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let told = stdout(&output);
    assert!(told.starts_with("warning[unproven]: "), "{told}");
    assert!(
        told.contains("\n.: no errors, 1 warning; revision "),
        "{told}"
    );
}

#[test]
fn a_program_reads_one_json_object() {
    let broken = CLIENT.replace("[{", "[{a\u{1b}[2Jb: x, ");
    let set = directory(&[("a.yaml", &broken)]);
    let output = attache(&["validate", "--format", "json", "."], set.path());
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let text = stdout(&output);
    assert!(!text.contains('\u{1b}'), "{text}");
    let object: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (&object["errors"], &object["warnings"]),
        (&1.into(), &0.into())
    );
    assert_eq!(object["revision"], Value::Null);
    let problem = &object["problems"][0];
    for (member, expected) in [
        ("severity", Value::from("error")),
        ("file", Value::from("./a.yaml")),
        ("line", Value::from(4)),
        ("end_line", Value::from(4)),
    ] {
        assert_eq!(problem[member], expected, "{member}: {object:#}");
    }
    for member in ["code", "message", "help", "column", "end_column", "path"] {
        assert!(!problem[member].is_null(), "{member}: {object:#}");
    }
}

#[test]
fn files_that_documents_may_not_name_are_shown_in_their_place() {
    let provider = "\
apiVersion: attache.dev/v1
kind: TrustProvider
metadata: {name: forge}
spec: {type: oidc, issuer: https://forge.example, caFile: ../ca.pem}
";
    let set = directory(&[("a.yaml", provider)]);
    let output = attache(&["validate", "."], set.path());
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let told = stdout(&output);
    assert!(
        told.starts_with("error[foreign-file]: ./../ca.pem lies outside "),
        "{told}"
    );
    assert!(told.contains("--> ./a.yaml:4:"), "{told}");
}

#[test]
fn what_cannot_be_read_ends_with_2() {
    let set = directory(&[("readme.txt", "nothing")]);
    let missing = PathBuf::from("no-such-folder");
    for arguments in [
        vec!["validate"],
        vec!["validate", "."],
        vec!["validate", missing.to_str().unwrap()],
        vec!["validate", "--format", "xml", "."],
        vec!["validate", "--config", "no-such-file.yaml", "."],
    ] {
        let output = attache(&arguments, set.path());
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {output:?}");
        assert!(
            output.stdout.is_empty() && !output.stderr.is_empty(),
            "{output:?}"
        );
    }
}

#[test]
fn the_schema_is_printed_as_json() {
    let folder = directory(&[]);
    let output = attache(&["schema"], folder.path());
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let schema: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(schema, attache_policy::json_schema());
}
