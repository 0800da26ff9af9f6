//! Credentials, by the provider that they come from: what was at hand, what was waited for, what providers answered.

use std::fmt;

use attache_credentials::{Fetches, ProviderCounts, SecretCounts};

use super::state::Told;

pub(super) fn tell(told: &mut Told<'_>, providers: &[(String, ProviderCounts)]) -> fmt::Result {
    let each = |values: fn(&ProviderCounts) -> Vec<(&'static str, u64)>| -> Vec<([&str; 2], u64)> {
        let all = providers.iter().flat_map(|(name, counts)| {
            let values = values(counts).into_iter();
            values.map(move |(result, value)| ([name.as_str(), result], value))
        });
        all.collect()
    };
    told.pairs(
        "credential_requests",
        "Calls that a credential of the provider was granted to, by where it came from",
        ["provider", "result"],
        &each(|counts| {
            vec![
                ("kept", counts.kept),
                ("awaited", counts.awaited),
                ("failed", counts.failed),
            ]
        }),
    )?;
    told.pairs(
        "credential_fetches",
        "Times that the provider was asked while a call waited",
        ["provider", "result"],
        &each(|counts| results(counts.fetches)),
    )?;
    told.pairs(
        "credential_refreshes",
        "Times that the provider was asked ahead of time, while the credential before served",
        ["provider", "result"],
        &each(|counts| results(counts.refreshes)),
    )?;
    let failing: Vec<_> = providers
        .iter()
        .map(|(name, counts)| (name.as_str(), u64::from(counts.failing)))
        .collect();
    told.gauges(
        "credential_provider_failing",
        "1 while the newest time that the provider was asked brought nothing, 0 otherwise",
        "provider",
        &failing,
    )?;
    let obtained: Vec<_> = providers
        .iter()
        .filter_map(|(name, counts)| Some((name.as_str(), counts.obtained_at?.as_seconds())))
        .collect();
    told.timestamps(
        "credential_obtained_timestamp",
        "When the newest credential of the provider was asked for",
        "provider",
        &obtained,
    )
}

/// The secrets that credentials are made of.
pub(super) fn secrets(told: &mut Told<'_>, secrets: SecretCounts) -> fmt::Result {
    told.gauges(
        "secrets",
        "Secrets in use, by whether they can be read",
        "state",
        &[
            ("read", secrets.read),
            ("kept", secrets.kept),
            ("unreadable", secrets.unreadable),
        ],
    )
}

fn results(fetches: Fetches) -> Vec<(&'static str, u64)> {
    vec![("obtained", fetches.obtained), ("failed", fetches.failed)]
}
