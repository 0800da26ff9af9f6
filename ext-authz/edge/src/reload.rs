//! Puts a policy directory in force: documents compile, trust providers start, then both change at once. The
//! directory is followed; what is refused leaves the last good set in force, over a restart too.
//!
//! INVARIANT: a set is kept on disk before it is in force, so that a restart never goes back behind it.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use attache_credentials::SecretRoots;
use attache_policy::{Compiled, Settings, Source};
use attache_trust::{InvalidProviders, ProviderConfig, Trust};
use thiserror::Error;
use tokio::{
    task::{JoinError, JoinHandle, spawn_blocking},
    time::timeout,
};
use tracing::warn;

use crate::{
    clock,
    last_good::{LastGood, LastGoodFile, UnusableLastGood},
    live::{self, Live, RefusedPolicies},
    providers::{self, ForeignFiles},
    secrets::{self, ForeignSecrets},
    watch::{Folders, Watch},
};

use self::{
    stamps::Stamps,
    standing::{Contents, Standing},
};

pub use self::standing::{Judged, PolicyState, Refusal};

mod stamps;
mod standing;
mod start;

/// How often a directory that changes while it is read is read again, before it is taken as it was read.
const MAX_READINGS: usize = 3;

/// How long files may take before it is told that they do not answer. What was begun is never given up, for
/// nothing ends a thread that waits for a disk; and nothing more is begun beside it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Keeps the policies in force those of the directory.
pub struct Reload {
    source: Arc<PolicySource>,
    live: Arc<Live>,
    trust: Arc<Trust>,
    last_good: Option<LastGoodFile>,
    standing: Mutex<Standing>,
    turn: tokio::sync::Mutex<()>,
}

/// Where policies come from, and what the configuration adds to them.
#[derive(Clone, Debug)]
pub struct PolicySource {
    /// The directory of documents.
    pub directory: PathBuf,
    /// What documents build on.
    pub settings: Settings,
    /// The folders that key files and certificates may lie in, beside the directory itself.
    pub file_roots: Vec<PathBuf>,
    /// Where documents may refer to secrets.
    pub secrets: SecretRoots,
}

impl PolicySource {
    /// Reads and checks everything, and changes nothing.
    pub fn load(&self) -> Result<(Compiled, Vec<ProviderConfig>), Refused> {
        self.compile(&live::sources(&self.directory)?)
    }

    fn compile(&self, sources: &[Source]) -> Result<(Compiled, Vec<ProviderConfig>), Refused> {
        let compiled = live::compile(sources, &self.settings)?;
        let mut roots = vec![self.directory.clone()];
        roots.extend_from_slice(&self.file_roots);
        let providers = providers::of(&compiled, &roots)?;
        secrets::check(&compiled, &self.secrets)?;
        attache_trust::check(&providers)?;
        Ok((compiled, providers))
    }

    /// Where a change can happen: the directory may itself be replaced, or be a link that is.
    fn folders(&self) -> Folders {
        let mut folders = Folders::default();
        folders.add_entry(&self.directory);
        for folder in live::folders(&self.directory) {
            folders.add(folder);
        }
        folders
    }
}

/// What the directory held when it was read.
struct Reading {
    sources: Vec<Source>,
    contents: Contents,
}

impl Reading {
    /// Takes as long as the disk takes, and hashes what may be many megabytes.
    fn of(directory: &Path) -> Result<Self, Refused> {
        let before = Stamps::of(directory, clock::now());
        let sources = live::sources(directory)?;
        let after = Stamps::of(directory, clock::now());
        let stood = before.filter(|before| after.is_some_and(|after| before.is_like(&after)));
        let contents = Contents::of(&sources, stood);
        Ok(Self { sources, contents })
    }
}

/// Why a policy set was not put in force.
#[derive(Debug, Error)]
pub enum Refused {
    /// The documents are not accepted.
    #[error(transparent)]
    Policies(#[from] RefusedPolicies),
    /// The trust providers are not accepted.
    #[error(transparent)]
    Providers(#[from] InvalidProviders),
    /// Documents name files that they may not.
    #[error(transparent)]
    Files(#[from] ForeignFiles),
    /// Documents refer to secrets that they may not.
    #[error(transparent)]
    Secrets(#[from] ForeignSecrets),
    /// Files do not answer: a disk or a network mount hangs.
    #[error("{} or the folder of state has not answered for {} s; is its disk or network mount there?", .0.display(), PATIENCE.as_secs())]
    Stalled(PathBuf),
    /// Judging them failed: a defect of ours.
    #[error("the documents could not be judged: {0}")]
    Unjudged(#[from] JoinError),
}

impl Refused {
    /// Whether the same documents would be refused again, whatever else changes.
    const fn is_final(&self) -> bool {
        match self {
            Self::Policies(RefusedPolicies::Problems(_)) => true,
            Self::Policies(_)
            | Self::Providers(_)
            | Self::Files(_)
            | Self::Secrets(_)
            | Self::Stalled(_)
            | Self::Unjudged(_) => false,
        }
    }
}

/// Why there is no policy set to start with.
#[derive(Debug, Error)]
pub enum NoPolicies {
    /// The directory is refused, and the configuration wants no other set.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The directory is refused, and there is no other set.
    #[error("{refused}\nthere is no last good set to start with: {last_good}")]
    NothingGood {
        /// Why the directory is refused.
        refused: Refused,
        /// Why the kept set is of no use.
        last_good: UnusableLastGood,
    },
}

impl Reload {
    /// The policies in force.
    pub fn live(&self) -> Arc<Live> {
        Arc::clone(&self.live)
    }

    /// How the policies in force stand to the directory.
    pub fn state(&self) -> PolicyState {
        self.standing().state.clone()
    }

    /// Takes the directory whole or refuses it whole; returns the revision in force.
    pub async fn run(&self) -> Result<String, Refused> {
        let turn = timeout(PATIENCE, self.turn.lock()).await;
        let _turn = turn.map_err(|_elapsed| self.stalled())?;
        let source = Arc::clone(&self.source);
        let read = spawn_blocking(move || Reading::of(&source.directory));
        let read = self.patiently(read).await;
        self.take(read.map_err(Refused::from).flatten()).await
    }

    /// Like [`Self::run`], and comes back when files do not answer: the change is then made when they do.
    pub async fn run_for_a_while(self: Arc<Self>) -> Result<String, Refused> {
        let stalled = self.stalled();
        // A task of its own: a caller that goes away must not leave half of a change.
        let running = tokio::spawn(async move { self.run().await });
        match timeout(PATIENCE + PATIENCE / 2, running).await {
            Ok(ran) => ran.map_err(Refused::from).flatten(),
            Err(_elapsed) => Err(stalled),
        }
    }

    /// Follows the directory for as long as it is polled.
    pub async fn follow(&self) {
        let mut watch = Watch::new();
        loop {
            watch = self.look_and_take(watch).await;
            watch.settled().await;
        }
    }

    async fn look_and_take(&self, watch: Watch) -> Watch {
        let _turn = self.turn.lock().await;
        let (watch, read) = self.look(watch).await;
        if let Some(read) = read
            && !self.is_judged(&read).await
        {
            // Told in the log and by the status.
            let _ = self.take(read).await;
        }
        watch
    }

    /// Reads the directory, again if it changes meanwhile; not if it stands as it did when it was judged.
    async fn look(&self, mut watch: Watch) -> (Watch, Option<Result<Reading, Refused>>) {
        let mut readings = 0;
        loop {
            let source = Arc::clone(&self.source);
            let judged = self.standing().judged_at();
            let looked = spawn_blocking(move || {
                let folders = source.folders();
                watch.follow(folders.clone());
                let newer = Stamps::of(&source.directory, clock::now());
                let stands = judged
                    .zip(newer)
                    .is_some_and(|(old, new)| old.still_hold(&new));
                let read = (!stands).then(|| Reading::of(&source.directory));
                let is_whole = !watch.is_disturbed() && source.folders() == folders;
                (watch, read, is_whole)
            });
            let (followed, read, is_whole) = match self.patiently(looked).await {
                Ok(looked) => looked,
                Err(failed) => return (Watch::new(), Some(Err(failed.into()))),
            };
            watch = followed;
            readings += 1;
            if is_whole || readings == MAX_READINGS {
                return (watch, read);
            }
            if watch.is_disturbed() {
                watch.settled().await;
            }
        }
    }

    /// Whether what was read has been judged, so that judging it again would tell nothing new.
    async fn is_judged(&self, read: &Result<Reading, Refused>) -> bool {
        let Ok(read) = read else {
            return false;
        };
        let (is_judged, is_unkept) = {
            let mut standing = self.standing();
            (standing.is_judged(&read.contents), standing.is_unkept())
        };
        if is_judged && is_unkept {
            let revision = self.state().revision;
            self.keep(read.sources.clone(), &revision).await;
        }
        is_judged
    }

    /// Judges what was read, and puts it in force if it is good.
    // INVARIANT: it was read in the same turn, so that nothing older comes after it.
    async fn take(&self, read: Result<Reading, Refused>) -> Result<String, Refused> {
        let contents = read.as_ref().ok().map(|read| read.contents.clone());
        let put = match read {
            Ok(read) => self.put_in_force(read.sources).await,
            Err(refused) => Err(refused),
        };
        self.standing().conclude(contents, &put, clock::now());
        put
    }

    async fn put_in_force(&self, sources: Vec<Source>) -> Result<String, Refused> {
        let source = Arc::clone(&self.source);
        let judging = spawn_blocking(move || Ok((source.compile(&sources)?, sources)));
        let judged = self.patiently(judging).await;
        let ((compiled, providers), sources) = judged.map_err(Refused::from).flatten()?;
        let revision = compiled.revision().to_owned();
        // May wait for a disk, and nothing may be half in force meanwhile.
        self.keep(sources, &revision).await;
        let is_new = revision != self.live.compiled().revision();
        if is_new {
            for warning in compiled.warnings().iter() {
                warn!("{warning}");
            }
        }
        self.live.change(|| {
            self.trust.replace(providers)?;
            Ok::<_, Refused>(is_new.then_some(compiled))
        })?;
        Ok(revision)
    }

    /// Keeps a good set. One that cannot be kept counts all the same: a full disk must not stop a policy.
    async fn keep(&self, sources: Vec<Source>, revision: &str) {
        let Some(file) = self.last_good.clone() else {
            return;
        };
        let set = LastGood {
            directory: self.source.directory.clone(),
            revision: revision.to_owned(),
            accepted_at: clock::now(),
            sources,
        };
        let keeping = spawn_blocking(move || file.keep(&set));
        let kept = self.patiently(keeping).await;
        let kept = kept.map_err(std::io::Error::other).flatten();
        self.standing().kept(kept);
    }

    /// Waits for work on files for as long as it takes, and tells if that is long.
    async fn patiently<T>(&self, mut work: JoinHandle<T>) -> Result<T, JoinError> {
        if let Ok(done) = timeout(PATIENCE, &mut work).await {
            return done;
        }
        let stalled = self.stalled();
        warn!(%stalled, "policies cannot be read; those in force stay");
        self.standing().state.stalled_since = Some(clock::now());
        let done = work.await;
        self.standing().state.stalled_since = None;
        done
    }

    fn stalled(&self) -> Refused {
        Refused::Stalled(self.source.directory.clone())
    }

    fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
