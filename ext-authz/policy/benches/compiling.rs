//! What it costs to take a set of documents into force, in its two parts: reading the text, and compiling
//! what was read. `cargo bench -p attache-policy --bench compiling`

#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a benchmark that cannot be set up has nothing to say"
)]

#[path = "sets/large.rs"]
mod large;

use std::{collections::HashMap, fmt::Write as _, str};

use attache_core::spiffe_id::TrustDomain;
use attache_policy::{Compiled, Report, Settings, Source, compile, yaml::File};
use divan::{Bencher, counter::ItemsCount};
use large::{documents, files};
use saphyr_parser::Parser;

const SIZES: [usize; 3] = [10, 1_000, 100_000];

fn main() {
    divan::main();
}

fn compiled(sources: &[Source]) -> Compiled {
    let settings = Settings {
        trust_domain: TrustDomain::parse("cluster.local").expect("a trust domain"),
        trust_providers: Vec::new(),
    };
    compile(sources, &settings).unwrap_or_else(|problems| panic!("{problems}"))
}

/// `size` policies for one path of one host, each for a client of its own, with two credentials in turn: the
/// most that the search for contradictions can have to do.
fn documents_for_one_host(size: usize) -> Vec<Source> {
    files(size, |text, index| {
        let credential = if index.is_multiple_of(2) {
            "token"
        } else {
            "other-token"
        };
        if index == 0 {
            text.push_str(
                "---
apiVersion: attache.dev/v1
kind: ServerWorkload
metadata:
  name: all
spec:
  host: all.example.com
",
            );
        }
        let _ = write!(
            text,
            "---
apiVersion: attache.dev/v1
kind: ClientWorkload
metadata:
  name: app-{index}
spec:
  match:
    - k8s.namespace: shop
      k8s.serviceAccount: app-{index}
---
apiVersion: attache.dev/v1
kind: AccessPolicy
metadata:
  name: app-{index}-to-all
spec:
  effect: allow
  client: app-{index}
  server: all
  trustProviders: [cluster]
  credentialProvider: {credential}
  actions: [read, write]
"
        );
    })
}

/// Floor: the YAML parser's events of the same text, of which nothing is made, with one thread.
#[divan::bench(args = SIZES, sample_count = 3, sample_size = 1)]
fn floor_parser_events(bencher: Bencher<'_, '_>, size: usize) {
    let sources = documents(size);
    bencher.counter(ItemsCount::new(size)).bench(|| {
        let events = |source: &Source| {
            let text = str::from_utf8(&source.text).expect("UTF-8");
            Parser::new_from_str(text).filter(Result::is_ok).count()
        };
        sources.iter().map(events).sum::<usize>()
    });
}

/// Floor: as many keys as the set has documents, put into a standard `HashMap`, with one thread.
#[divan::bench(args = SIZES, sample_count = 3, sample_size = 1)]
fn floor_hash_map_inserts(bencher: Bencher<'_, '_>, size: usize) {
    bencher.counter(ItemsCount::new(size)).bench(|| {
        let kinds = ["client", "server", "policy"];
        let keys = (0..size).flat_map(|index| kinds.map(|kind| format!("{kind}-{index}")));
        keys.zip(0_usize..).collect::<HashMap<String, usize>>()
    });
}

/// Text into nodes, document by document, with one thread.
#[divan::bench(args = SIZES, sample_count = 3, sample_size = 1)]
fn reading(bencher: Bencher<'_, '_>, size: usize) {
    let sources = documents(size);
    bencher.counter(ItemsCount::new(size)).bench(|| {
        let report = Report::new();
        let read = |source: &Source| {
            File::read_each(&source.name, &source.text, &report, |root| {
                root.is_mapping()
            })
            .len()
        };
        sources.iter().map(read).sum::<usize>()
    });
}

/// All of it.
#[divan::bench(args = SIZES, sample_count = 3, sample_size = 1)]
fn compiling(bencher: Bencher<'_, '_>, size: usize) {
    let sources = documents(size);
    bencher
        .counter(ItemsCount::new(size))
        .bench(|| compiled(&sources));
}

/// All of a set in which every policy is about the same path of the same host.
#[divan::bench(args = SIZES, sample_count = 3, sample_size = 1)]
fn compiling_for_one_host(bencher: Bencher<'_, '_>, size: usize) {
    let sources = documents_for_one_host(size);
    bencher
        .counter(ItemsCount::new(size))
        .bench(|| compiled(&sources));
}
