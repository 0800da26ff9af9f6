//! `attache schema`: what editors need to check and complete policy documents while they are written.

use std::process::ExitCode;

use clap::Args;

/// Print the JSON Schema (draft 2020-12) of policy documents, for editors.
///
/// It knows fields, types and words of one document; `attache validate` knows what the documents of a
/// directory mean together. To use it, write the schema to a file and tell the editor, for one with the
/// YAML language server by a first line in the document:
///
///   # yaml-language-server: $schema=attache.schema.json
///
/// Exit codes: 0 printed, 2 wrong usage.
#[derive(Debug, Args)]
pub(crate) struct SchemaArgs {}

pub(crate) fn run(SchemaArgs {}: &SchemaArgs) -> anyhow::Result<ExitCode> {
    crate::print(&format!("{:#}\n", attache_policy::json_schema()))
}
