//! The section `traces`: where spans go.

use std::path::{Path, PathBuf};

use super::{layers::Section, path};

/// A receiver of traces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Traces {
    /// `http://` or `https://`, a host and a port.
    pub(crate) endpoint: String,
    /// Who vouches for its certificate; the system's authorities if `None`.
    pub(crate) ca_file: Option<PathBuf>,
    /// `service.name` of the spans.
    pub(crate) service_name: String,
}

pub(super) fn lower(mut section: Section<'_>, base: &Path) -> Option<Option<Traces>> {
    let endpoint = section.or("endpoint", None, |at| {
        at.parse(|text| match text.split_once("://") {
            Some(("http" | "https", host)) if !host.is_empty() => Ok(Some(text.to_owned())),
            _ => Err(format!(
                "{text:?} is no endpoint; write one like http://127.0.0.1:4317"
            )),
        })
    });
    let ca_file = section.or("ca_file", None, |at| path(at, base).map(Some));
    let service_name = section.or("service_name", "attache".to_owned(), |at| {
        at.text().map(str::to_owned)
    });
    let (ca_file, service_name) = (ca_file?, service_name?);
    Some(endpoint?.map(|endpoint| Traces {
        endpoint,
        ca_file,
        service_name,
    }))
}
