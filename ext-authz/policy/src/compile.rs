//! From documents to [`Compiled`]: taken whole or refused whole, with every problem of the set.

mod attached;
mod carried;
mod conflicts;
mod directory;
mod names;
mod overlaps;
mod resolve;
mod revision;
mod shadowed;
mod shared;
mod sharing;

pub(crate) use resolve::{Binding, Meaning};

use std::{panic::resume_unwind, thread};

use attache_core::spiffe_id::TrustDomain;

use crate::{
    compiled::Compiled,
    document::{self, Document, TrustProvider},
    problem::{Problems, Report},
    yaml::File,
};

/// From how many bytes on reading is worth several threads.
const BYTES_OF_A_LARGE_SET: usize = 1 << 20;
/// How many threads read a large set. More than a machine has do no harm.
const THREADS: usize = 8;

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
    let mut documents = read(sources, &settings.trust_domain, &report);
    documents.sort_by(|one, other| one.place.cmp(&other.place));
    let meaning = resolve::resolve(documents, settings, &report);
    conflicts::report_conflicts(&meaning.bindings, &report);
    overlaps::report_overlaps(&meaning, &report);
    shadowed::report_shadowed(&meaning, &report);
    carried::report_misfits(&meaning.bindings, &report);
    if report.has_errors() {
        return Err(report.into_problems());
    }
    let revision = revision::revision(sources, settings);
    Ok(Compiled::build(meaning, revision, report.into_problems()))
}

/// Reads the documents of all sources, a large set with several threads.
fn read(sources: &[Source], trust_domain: &TrustDomain, report: &Report) -> Vec<Document> {
    let bytes: usize = sources.iter().map(|source| source.text.len()).sum();
    if bytes < BYTES_OF_A_LARGE_SET || sources.len() == 1 {
        return read_in_order(sources.iter(), trust_domain, report);
    }
    let read_part = &|first| {
        let report = Report::new();
        let part = sources.iter().skip(first).step_by(THREADS);
        (read_in_order(part, trust_domain, &report), report)
    };
    thread::scope(|scope| {
        let running: Vec<_> = (0..THREADS)
            .map(|first| scope.spawn(move || read_part(first)))
            .collect();
        let mut documents = Vec::new();
        for part in running {
            let (read, problems) = part.join().unwrap_or_else(|panic| resume_unwind(panic));
            documents.extend(read);
            report.absorb(problems);
        }
        documents
    })
}

fn read_in_order<'s>(
    sources: impl Iterator<Item = &'s Source>,
    trust_domain: &TrustDomain,
    report: &Report,
) -> Vec<Document> {
    let mut documents = Vec::new();
    for source in sources {
        let file = File::read(&source.name, &source.text, report);
        let roots = file.documents();
        documents.extend(roots.filter_map(|root| document::lower(&root, trust_domain)));
    }
    documents
}
