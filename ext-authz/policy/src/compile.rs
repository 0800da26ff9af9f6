//! From documents to [`Compiled`]: taken whole or refused whole, with every problem of the set.

mod attached;
mod carried;
mod conflicts;
mod directory;
mod expectations;
mod names;
mod overlaps;
mod resolve;
mod revision;
mod shadowed;
mod shared;
mod sharing;

pub(crate) use resolve::{Binding, HostPort, Meaning};

use std::{
    num::NonZero,
    panic::resume_unwind,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use attache_core::spiffe_id::TrustDomain;

use crate::{
    compiled::Compiled,
    document::{self, Document, TrustProvider},
    problem::{Problems, Report},
    yaml::{At, File},
};

/// From how many bytes on reading is worth several threads.
const BYTES_OF_A_LARGE_SET: usize = 1 << 20;
/// How many threads read a large set at most.
const MAX_THREADS: usize = 8;

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
    let documents = read(sources, &settings.trust_domain, &report);
    thread::scope(|scope| {
        let revision = scope.spawn(|| revision::revision(sources, settings));
        let (meaning, left_over) = resolve::resolve(documents, settings, &report);
        scope.spawn(move || drop(left_over));
        conflicts::report_conflicts(&meaning.bindings, &report);
        overlaps::report_overlaps(&meaning, &report);
        shadowed::report_shadowed(&meaning, &report);
        carried::report_misfits(&meaning.bindings, &report);
        let revision = revision.join().unwrap_or_else(|panic| resume_unwind(panic));
        if report.has_errors() {
            return Err(report.into_problems());
        }
        Ok(Compiled::build(meaning, revision, report.into_problems()))
    })
}

/// The documents of all sources, by the names of the sources. Several threads read a large set.
fn read(sources: &[Source], trust_domain: &TrustDomain, report: &Report) -> Vec<Document> {
    let mut sources: Vec<&Source> = sources.iter().collect();
    sources.sort_by(|one, other| one.name.cmp(&other.name));
    let bytes: usize = sources.iter().map(|source| source.text.len()).sum();
    let read_one = |source: &Source, report: &Report| {
        let lower = |root: &At<'_>| document::lower(root, trust_domain);
        let read = File::read_each(&source.name, &source.text, report, lower);
        read.into_iter().flatten()
    };
    if bytes < BYTES_OF_A_LARGE_SET || sources.len() == 1 {
        let read = sources
            .into_iter()
            .flat_map(|source| read_one(source, report));
        return read.collect();
    }
    // Whoever is done takes the next: files differ in size, and processors in speed.
    let (next, sources) = (AtomicUsize::new(0), sources.as_slice());
    let read_some = || {
        let report = Report::new();
        let mut read: Vec<(usize, Vec<Document>)> = Vec::new();
        loop {
            let place = next.fetch_add(1, Ordering::Relaxed);
            let Some(source) = sources.get(place) else {
                return (read, report);
            };
            read.push((place, read_one(source, &report).collect()));
        }
    };
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let mut files = thread::scope(|scope| {
        let running: Vec<_> = (0..threads.min(MAX_THREADS).min(sources.len()))
            .map(|_| scope.spawn(read_some))
            .collect();
        let mut files = Vec::new();
        for part in running {
            let (read, problems) = part.join().unwrap_or_else(|panic| resume_unwind(panic));
            files.extend(read);
            report.absorb(problems);
        }
        files
    });
    files.sort_by_key(|(place, _)| *place);
    files
        .into_iter()
        .flat_map(|(_, documents)| documents)
        .collect()
}
