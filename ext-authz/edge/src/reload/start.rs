//! The first set: the directory's, or the last good one.

use std::{
    path::Path,
    sync::{Arc, Mutex},
};

use attache_core::time::Timestamp;
use attache_policy::{Compiled, Source};
use attache_trust::Trust;
use tracing::{error, info, warn};

use super::{
    Judged, NoPolicies, PolicySource, PolicyState, Reading, Refused, Reload, standing::Standing,
};
use crate::{
    last_good::{LastGood, LastGoodFile, UnusableLastGood},
    live::Live,
};

impl Reload {
    /// Puts the directory of `source` in force. If it is refused: the last good set, which stands in the
    /// folder `last_good`, where the configuration names one. Takes as long as the disk takes. Must be called
    /// within a tokio runtime.
    pub fn start(
        source: PolicySource,
        trust: Arc<Trust>,
        last_good: Option<&Path>,
        now: Timestamp,
    ) -> Result<Self, NoPolicies> {
        let file = last_good.map(LastGoodFile::in_folder);
        let read = Reading::of(&source.directory);
        let contents = read.as_ref().ok().map(|read| read.contents.clone());
        let put = read.and_then(|read| Ok((put(&source, &read.sources, &trust)?, read.sources)));
        let (first, refused) = match (put, &file) {
            (Ok((compiled, sources)), _) => {
                let kept = LastGood {
                    directory: source.directory.clone(),
                    revision: compiled.revision().to_owned(),
                    accepted_at: now,
                    sources,
                };
                (First { compiled, kept }, None)
            }
            (Err(refused), None) => return Err(refused.into()),
            (Err(refused), Some(file)) => match fall_back(&source, &trust, file) {
                Ok(first) => (first, Some(refused)),
                Err(last_good) => return Err(NoPolicies::NothingGood { refused, last_good }),
            },
        };
        let revision = first.compiled.revision().to_owned();
        for warning in first.compiled.warnings().iter() {
            warn!("{warning}");
        }
        info!(revision, "policies in force");
        let mut standing = Standing::new(PolicyState {
            revision: revision.clone(),
            accepted_at: first.kept.accepted_at,
            is_last_good: refused.is_some(),
            refused: None,
            not_kept: None,
            stalled_since: None,
            judged: Judged::default(),
        });
        if refused.is_some() {
            let accepted_at = first.kept.accepted_at;
            error!(%accepted_at, revision, "the policy directory is refused; starting with the last good policies");
        } else if let Some(file) = &file {
            standing.kept(file.keep(&first.kept));
        }
        standing.conclude(contents, &refused.map_or(Ok(revision), Err), now);
        Ok(Self {
            source: Arc::new(source),
            live: Arc::new(Live::new(first.compiled)),
            trust,
            last_good: file,
            standing: Mutex::new(standing),
            turn: tokio::sync::Mutex::new(()),
        })
    }
}

/// A set to start with, and what to keep of it.
struct First {
    compiled: Compiled,
    kept: LastGood,
}

fn put(source: &PolicySource, sources: &[Source], trust: &Trust) -> Result<Compiled, Refused> {
    let (compiled, providers) = source.compile(sources)?;
    trust.replace(providers)?;
    Ok(compiled)
}

/// The kept set. SECURITY: judged as strictly as the directory, and it must compile to what was accepted.
fn fall_back(
    source: &PolicySource,
    trust: &Trust,
    file: &LastGoodFile,
) -> Result<First, UnusableLastGood> {
    let kept = file.load(&source.directory)?;
    let refused = |refused| UnusableLastGood::Refused(Box::new(refused));
    let (compiled, providers) = source.compile(&kept.sources).map_err(refused)?;
    if compiled.revision() != kept.revision {
        return Err(file.changed(kept.revision, compiled.revision()));
    }
    trust
        .replace(providers)
        .map_err(|error| refused(error.into()))?;
    Ok(First { compiled, kept })
}
