//! docs/trust.md against the tables that trust providers work by: every attribute stands there with the claim
//! that it comes from, and nothing else does.
// `cfg(test)` tells clippy that a failed expectation is an answer here.
#![cfg(test)]

use std::{collections::BTreeSet, fs, path::Path};

use attache_core::{
    attestation::ProviderKind,
    attributes::{kubernetes, presets::Form},
};

fn page() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/trust.md");
    fs::read_to_string(path).expect("the page")
}

/// The first two cells of the rows that begin with an attribute.
fn rows(section: &str) -> BTreeSet<(String, String)> {
    let cells = |line: &str| {
        let mut cells = line.strip_prefix("| `")?.split(" | ");
        let attribute = cells.next()?.strip_suffix('`')?;
        let claim = cells.next()?.trim_matches('`');
        Some((attribute.to_owned(), claim.to_owned()))
    };
    let all = section.lines().filter_map(cells);
    all.filter(|(attribute, _)| attribute.contains('.'))
        .collect()
}

fn section(page: &str, kind: ProviderKind) -> String {
    let heading = format!("\n## {}\n", kind.name());
    let (_, rest) = page.split_once(&heading).expect("a section");
    rest.split("\n## ").next().expect("its text").to_owned()
}

#[test]
fn the_page_shows_each_attribute_of_a_platform_with_its_claim() {
    let page = page();
    for kind in ProviderKind::ALL {
        let expected: BTreeSet<_> = kind
            .mapped()
            .iter()
            .map(|row| match row.form {
                Form::One | Form::List => (row.attribute.to_owned(), row.claim.to_owned()),
                Form::Prefixed => {
                    let claim = format!("{}<name>", row.claim);
                    (format!("{}<name>", row.attribute), claim)
                }
                Form::Members => {
                    let claim = format!("{}.<name>", row.claim);
                    (format!("{}<name>", row.attribute), claim)
                }
            })
            .collect();
        if !expected.is_empty() {
            assert_eq!(rows(&section(&page, kind)), expected, "{}", kind.name());
        }
    }
}

#[test]
fn the_page_shows_each_attribute_of_a_pod() {
    let shown = rows(&section(&page(), ProviderKind::KubernetesServiceAccount));
    let shown: BTreeSet<_> = shown.into_iter().map(|(attribute, _)| attribute).collect();
    assert_eq!(shown, kubernetes::ALL.map(str::to_owned).into());
}
