//! From documents to [`Compiled`]: taken whole or refused whole, with every problem of the set.

mod conflicts;
mod directory;
mod names;
mod resolve;
mod revision;

pub(crate) use resolve::{Binding, Meaning};

use attache_core::spiffe_id::TrustDomain;

use crate::{
    compiled::Compiled,
    document::{self, TrustProvider},
    problem::{Problems, Report},
    yaml::File,
};

/// One file of documents.
#[derive(Clone, Debug)]
pub struct Source {
    /// As messages call it.
    pub name: String,
    /// Its bytes, which must be UTF-8.
    pub text: Vec<u8>,
}

/// What the edge's own configuration says about policy.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The domain of SPIFFE IDs, unless a TrustProvider names its own.
    pub trust_domain: TrustDomain,
    /// Trust providers of the configuration file. They are global, beside those of the documents.
    pub trust_providers: Vec<TrustProvider>,
}

/// Compiles a set of documents. The order of `sources` means nothing.
pub fn compile(sources: &[Source], settings: &Settings) -> Result<Compiled, Problems> {
    let report = Report::new();
    let mut documents = Vec::new();
    for source in sources {
        let file = File::read(&source.name, &source.text, &report);
        let roots = file.documents();
        documents.extend(roots.filter_map(|root| document::lower(&root, &settings.trust_domain)));
    }
    documents.sort_by(|one, other| one.place.cmp(&other.place));
    let meaning = resolve::resolve(documents, settings, &report);
    conflicts::report_conflicts(&meaning.bindings, &report);
    if report.has_errors() {
        return Err(report.into_problems());
    }
    let revision = revision::revision(sources, settings);
    Ok(Compiled::build(meaning, revision, report.into_problems()))
}
