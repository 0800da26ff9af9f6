//! What `attache status` tells. The names of its fields are for programs, and stay.

use attache_core::time::Timestamp;
use attache_credentials::SecretCounts;
use serde::{Deserialize, Serialize};

use crate::{
    geography::GeographyDatabase,
    settings::{Bind, ListenerSettings},
};

/// What `attache status` prints.
#[derive(Debug, Serialize, Deserialize)]
pub struct Status {
    /// Whether the server answers questions.
    pub ready: bool,
    /// What blocks readiness.
    pub blocked_by: Vec<String>,
    /// The edge's name.
    pub edge: String,
    /// The revision of the policy set in force.
    pub policy_revision: String,
    /// When it was accepted.
    pub policy_accepted_at: Timestamp,
    /// Whether it was accepted by an earlier run, because the directory was refused at the start of this one.
    pub policy_is_last_good: bool,
    /// Why what the directory holds is refused; the set in force is the last good one.
    pub policy_refused: Option<String>,
    /// Since when it is refused for these problems.
    pub policy_refused_since: Option<Timestamp>,
    /// Why the set in force could not be kept for the next start.
    pub policy_not_kept: Option<String>,
    /// Since when the policy directory, or the folder of state, does not answer.
    #[serde(default)]
    pub policy_stalled_since: Option<Timestamp>,
    /// Where the edge listens, and how callers are known there.
    #[serde(default)]
    pub listeners: Vec<ListenerState>,
    /// The calls that wait for their answers.
    #[serde(default)]
    pub calls: CallsState,
    /// The geography database, if one is configured.
    pub geography: Option<GeographyStatus>,
    /// The trust providers and their keys.
    pub trust_providers: Vec<ProviderKeys>,
    /// The credential providers that were asked since the start.
    #[serde(default)]
    pub credential_providers: Vec<CredentialProviderState>,
    /// The stored secrets in use.
    #[serde(default)]
    pub secrets: SecretsState,
    /// The keys that sign our tokens.
    #[serde(default)]
    pub signing_keys: Vec<SigningKey>,
    /// Traces, if they go anywhere.
    #[serde(default)]
    pub traces: Option<TracesState>,
    /// The audit journal.
    pub audit: AuditState,
}

/// The stored secrets in use, by how they stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretsState {
    /// Those that are as they were read last.
    pub read: u64,
    /// Those that serve, and cannot be read again: their Vault is away.
    pub kept: u64,
    /// Those that cannot be read.
    pub unreadable: u64,
}

impl From<SecretCounts> for SecretsState {
    fn from(counts: SecretCounts) -> Self {
        Self {
            read: counts.read,
            kept: counts.kept,
            unreadable: counts.unreadable,
        }
    }
}

/// One port of the edge.
#[derive(Debug, Serialize, Deserialize)]
pub struct ListenerState {
    /// Its name.
    pub name: String,
    /// The socket's path, or the address.
    pub place: String,
    /// How its callers are known.
    pub protection: Protection,
}

/// How the callers of a listener are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protection {
    /// The kernel names the caller's user.
    UnixPeer,
    /// By a certificate.
    MutualTls,
    /// Not at all: whoever reaches it gets credentials.
    Plaintext,
}

impl ListenerState {
    pub(super) fn of(listener: &ListenerSettings) -> Self {
        let (place, protection) = match &listener.bind {
            Bind::Unix(unix) => (unix.path.display().to_string(), Protection::UnixPeer),
            Bind::Tls(tls) => (tls.address.to_string(), Protection::MutualTls),
            Bind::Plaintext(address) => (address.to_string(), Protection::Plaintext),
        };
        Self {
            name: listener.name.clone(),
            place,
            protection,
        }
    }
}

/// The calls of the edge.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct CallsState {
    /// Those that wait for their answers.
    pub in_flight: usize,
    /// How many may.
    pub most: usize,
    /// Those that were answered with `overloaded` since the start.
    pub turned_away: u64,
}

/// The geography database.
#[derive(Debug, Serialize, Deserialize)]
pub struct GeographyStatus {
    /// The file.
    pub database: String,
    /// When the database in force was built; `null` if there is none, so that no country is known.
    pub built_at: Option<Timestamp>,
    /// From when on it is too old to be relied on, so that no country is known.
    pub good_until: Option<Timestamp>,
    /// Why what the file holds is refused.
    pub refused: Option<String>,
}

/// The keys of one trust provider.
#[derive(Debug, Serialize, Deserialize)]
pub struct ProviderKeys {
    /// The provider's qualified name.
    pub name: String,
    /// The issuer of its tokens.
    pub issuer: String,
    /// Whether evidence of the issuer can be judged now.
    pub usable: bool,
    /// How many keys may verify; `null` before the first fetch.
    pub keys: Option<usize>,
    /// The keys that are not used, and why.
    pub ignored_keys: Vec<String>,
    /// Seconds since the keys were fetched or read; `null` before, and for keys in the document.
    pub age_seconds: Option<u64>,
    /// Why the newest attempt failed.
    pub last_error: Option<String>,
}

/// A credential provider, as its answers show it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CredentialProviderState {
    /// Its name.
    pub name: String,
    /// Whether the newest fetch failed.
    pub failing: bool,
    /// Calls whose credential was in memory.
    pub kept: u64,
    /// Calls that waited for a fetch.
    pub awaited: u64,
    /// Calls that got none.
    pub failed: u64,
    /// Fetches that calls waited for, and that brought a credential.
    pub fetched: u64,
    /// The same that brought none.
    pub fetches_failed: u64,
    /// Fetches ahead of time that brought a credential.
    pub refreshed: u64,
    /// The same that brought none.
    pub refreshes_failed: u64,
    /// When the newest credential was asked for.
    pub obtained_at: Option<Timestamp>,
}

/// A key that signs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SigningKey {
    /// What it signs with: `RS256`.
    pub algorithm: String,
    /// Since when.
    pub since: Timestamp,
}

/// What became of the spans of traces since the start.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct TracesState {
    /// Those that the receiver took.
    pub exported: u64,
    /// Those that nobody has.
    pub lost: u64,
    /// Calls that wait to be sent.
    pub queued: usize,
}

/// The state of the audit journal.
#[derive(Debug, Serialize, Deserialize)]
pub struct AuditState {
    /// Events written since the start.
    pub written: u64,
    /// Equal denials that were counted instead of written one by one.
    pub coalesced: u64,
    /// Accesses that were refused because they could not be recorded.
    pub refused: u64,
    /// Events that wait to be written.
    pub queued: usize,
    /// Events lost since the start: always 0 unless the journal writes in the background.
    pub lost: u64,
    /// Torn last lines that a kill left and that were cut away.
    pub repaired: u64,
    /// Why the journal cannot be written now; `null` while it works.
    pub failing: Option<String>,
}

impl GeographyStatus {
    pub(super) fn of(database: &GeographyDatabase) -> Self {
        let state = database.state();
        Self {
            database: state.path.display().to_string(),
            built_at: state.built_at,
            good_until: state.good_until,
            refused: state.refused,
        }
    }
}
