//! The section `edge`.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use attache_edge::settings::{
    Bind, DestinationRule, EdgeSettings, Enforcement, ListenerSettings, OverrideHeaders, UnixBind,
    Unmatched,
};
use attache_policy::{
    problem::{Code, quoted},
    yaml::At,
};

use super::{
    bind::{Places, bind, own_uid},
    evidence::{self, Role, evidence},
    layers::Section,
    taken::Taken,
};

/// How many calls may wait for their answers at once. The audit journal holds as many events that wait.
const MAX_CALLS_IN_FLIGHT: usize = 4096;

/// No chain of proxies is longer.
pub(super) const MAX_HOPS: u64 = 16;

/// The shortest and the longest patience of an answer: Envoy's own is at most as long.
const ANSWER_WITHIN: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(10)..=Duration::from_secs(60);

pub(super) fn lower(
    mut section: Section<'_>,
    places: &Places,
    base: &Path,
) -> Option<(EdgeSettings, Duration)> {
    let name = section.or("name", "edge".to_owned(), |at| at.text().map(str::to_owned));
    let outcomes = [
        ("deny", Unmatched::Deny),
        ("pass-without-credential", Unmatched::PassWithoutCredential),
    ];
    let unmatched = section.or("unmatched", Unmatched::Deny, |at| at.one_of(&outcomes));
    let observe = section.or("observe", false, |at| at.boolean());
    let answer_within = section.or("answer_within", Duration::from_millis(400), |at| {
        at.duration_within(ANSWER_WITHIN)
    });
    let max_calls = section.or("max_calls_in_flight", MAX_CALLS_IN_FLIGHT, |at| {
        usize::try_from(at.integer(1..=1_000_000)?).ok()
    });
    let drain = section.or("drain", Duration::from_secs(10), |at| at.duration(0..=600));
    let names = Taken::new("listener name");
    let listeners = match section.field("listeners") {
        None => default_listener().map(|listener| vec![listener]),
        Some(list) => list.some_list(|at| listener(at, &names, places, base)),
    };
    let enforcement = if observe? {
        Enforcement::Observe
    } else {
        Enforcement::Enforce
    };
    let settings = EdgeSettings {
        name: name?,
        unmatched: unmatched?,
        enforcement,
        answer_within: answer_within?,
        max_calls_in_flight: max_calls?,
        listeners: listeners?,
    };
    Some((settings, drain?))
}

fn default_listener() -> Option<ListenerSettings> {
    Some(ListenerSettings {
        name: "egress".to_owned(),
        bind: Bind::Unix(UnixBind {
            path: PathBuf::from("/run/attache/ext_authz.sock"),
            mode: 0o600,
            group: None,
            allowed_uids: own_uid(),
        }),
        evidence: evidence::usual()?,
        destination: DestinationRule::VouchedByRoute,
        trusted_hops: 0,
        override_headers: OverrideHeaders::Deny,
    })
}

fn listener(at: &At<'_>, names: &Taken, places: &Places, base: &Path) -> Option<ListenerSettings> {
    let mut fields = at.fields()?;
    let name = fields.required("name", |at| {
        let name = at.text()?;
        if name == attache_edge::exchange::LISTENER {
            return at.refuse_with(
                Code::InvalidName,
                format!("{} is what events call the token endpoint", quoted(name)),
                "write another name",
            );
        }
        names.take(at, name).map(|()| name.to_owned())
    });
    let roles = [
        ("gateway", Role::Gateway),
        ("sidecar-outbound", Role::SidecarOutbound),
    ];
    let role = fields.required("role", |at| at.one_of(&roles));
    let bind = bind(&mut fields, places, base);
    let evidence = evidence(&mut fields, role, bind.as_ref(), base);
    let rules = [
        ("vouched-by-route", DestinationRule::VouchedByRoute),
        ("as-requested", DestinationRule::AsRequested),
    ];
    let destination = fields.or("destination", DestinationRule::VouchedByRoute, |at| {
        at.one_of(&rules)
    });
    let trusted_hops = fields.or("trusted_hops", 0, |at| {
        let hops = at.integer(0..=MAX_HOPS)?;
        usize::try_from(hops).ok()
    });
    let overrides = [
        ("deny", OverrideHeaders::Deny),
        ("strip", OverrideHeaders::Strip),
    ];
    let override_headers = fields.or("override_headers", OverrideHeaders::Deny, |at| {
        at.one_of(&overrides)
    });
    Some(ListenerSettings {
        name: name?,
        bind: bind?,
        evidence: evidence?,
        destination: destination?,
        trusted_hops: trusted_hops?,
        override_headers: override_headers?,
    })
}
