//! The specification: what documents say about a call, by reading them one by one. Slow and obvious;
//! it shares no code with the index but the words of the core.

use std::sync::LazyLock;

use attache_core::{
    event::{
        ConditionOutcome::{self, Met, NotMet, Unavailable},
        Outcome,
    },
    request::{PathPrefix, RequestPath},
    time::Timestamp,
};
use jiff::{
    Zoned,
    civil::{Time, Weekday, date, time},
    tz::{TimeZone, TimeZoneDatabase},
};

use super::{
    call::{Both, CALLERS, Call, Caller, EXPIRY, HOSTS, SOURCES},
    set::{ANY, Action, CLIENTS, CONDITIONS, Match, Policy},
};

/// Which clients each caller is, by everything that is proven, by `cluster` alone, and by `forge` alone.
static IS: LazyLock<Vec<[[bool; CLIENTS.len()]; 3]>> = LazyLock::new(|| {
    let clients = |caller: &Caller| {
        [caller.providers(), &["cluster"], &["forge"]]
            .map(|counted| CLIENTS.map(|client| caller.is(client, counted)))
    };
    CALLERS.iter().map(clients).collect()
});

/// What is said about a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// `allow`, or the code of a denial or fault.
    pub(super) code: &'static str,
    /// By which policy and action.
    pub(super) policy: Option<(String, String)>,
    /// With which credential in which header, for how long.
    pub(super) credential: Option<(String, String, u64)>,
    /// How it would end under the dry-run policies, and by which policy and action.
    pub(super) would_be: Option<(Outcome, Option<(String, String)>)>,
    /// The conditions that were looked at.
    pub(super) conditions: [Option<ConditionOutcome>; CONDITIONS.len()],
}

/// A policy that covers a call.
struct Covering<'p> {
    policy: &'p Policy,
    action: &'p Action,
    rank: (usize, usize),
    accepted: bool,
    outcome: ConditionOutcome,
}

/// What some policies say together.
struct Verdict<'c, 'p> {
    code: &'static str,
    by: Option<&'c Covering<'p>>,
}

pub(super) fn evaluate(policies: &[Policy], call: Call) -> Answer {
    if call.expiring && call.now >= EXPIRY {
        return Answer {
            code: "token-expired",
            policy: None,
            credential: None,
            would_be: None,
            conditions: [None; CONDITIONS.len()],
        };
    }
    let caller = &CALLERS[call.caller];
    let on_target: Vec<&Policy> = policies
        .iter()
        .filter(|policy| policy.server().port == call.port && host_rank(policy, call) > 0)
        .collect();
    let of_caller: Vec<&Policy> = on_target
        .iter()
        .copied()
        .filter(|it| {
            let counted = match it.counted(caller) {
                ["cluster"] => 1,
                ["forge"] => 2,
                _ => 0,
            };
            IS[call.caller][counted][it.client]
        })
        .collect();
    let covering: Vec<Covering<'_>> = of_caller
        .iter()
        .filter_map(|policy| covering(policy, caller, call))
        .collect();

    let enforced: Vec<_> = covering.iter().filter(|it| !it.policy.dry_run).collect();
    let verdict = verdict(&enforced, call);
    let allows = |policies: &[&Policy]| policies.iter().any(|it| !it.deny && !it.dry_run);
    let code = match verdict.code {
        "nothing" if !allows(&of_caller) && on_target.iter().any(|it| it.asks_more(caller)) => {
            "attribute-mismatch"
        }
        "nothing" => "no-policy",
        code => code,
    };
    let granted = verdict.by.filter(|_| code == "allow");
    Answer {
        code,
        policy: verdict.named().filter(|_| code != "credential-conflict"),
        credential: granted
            .and_then(|it| it.policy.grants())
            .map(|(name, header, ttl)| (name.to_owned(), header.to_owned(), ttl)),
        would_be: would_be(&covering, call),
        conditions: looked_at(&covering, caller, call),
    }
}

/// Every policy counts, if one that is rehearsed covers the call.
fn would_be(covering: &[Covering<'_>], call: Call) -> Option<(Outcome, Option<(String, String)>)> {
    if !covering.iter().any(|it| it.policy.dry_run) {
        return None;
    }
    let all: Vec<_> = covering.iter().collect();
    let verdict = verdict(&all, call);
    let outcome = match verdict.code {
        "allow" => Outcome::Permitted,
        "credential-conflict" => Outcome::Error,
        _ => Outcome::Denied,
    };
    Some((outcome, verdict.named()))
}

/// `covering` is in the order of the policies' names.
fn verdict<'c, 'p>(covering: &[&'c Covering<'p>], call: Call) -> Verdict<'c, 'p> {
    let by = |code, it: &&'c Covering<'p>| Verdict {
        code,
        by: Some(*it),
    };
    let accepted = || covering.iter().filter(|it| it.accepted);
    // A deny wins; one whose conditions cannot be told denies.
    if let Some(deny) = accepted().find(|it| it.policy.deny && it.outcome != NotMet) {
        return by("denied-by-policy", deny);
    }
    let allows = || accepted().filter(|it| !it.policy.deny);
    let standing = || allows().filter(|it| it.outcome != NotMet);
    if let Some(highest) = standing().map(|it| it.rank).max() {
        let best: Vec<_> = standing().filter(|it| it.rank == highest).collect();
        if let Some(unknown) = best.iter().find(|it| it.outcome == Unavailable) {
            return by("condition-unavailable", unknown);
        }
        let first = best[0];
        if best
            .iter()
            .any(|it| it.policy.grants() != first.policy.grants())
        {
            return by("credential-conflict", first);
        }
        if !call.tls && best.iter().any(|it| it.policy.server().tls) {
            return by("destination-plaintext", first);
        }
        return by("allow", first);
    }
    if let Some(failed) = allows().next() {
        return by("condition-not-met", failed);
    }
    match covering.iter().find(|it| !it.policy.deny) {
        Some(other) => by("trust-provider-not-accepted", other),
        None => Verdict {
            code: "nothing",
            by: None,
        },
    }
}

impl Verdict<'_, '_> {
    fn named(&self) -> Option<(String, String)> {
        let Covering { policy, action, .. } = self.by?;
        let (client, server, action) = (policy.client, policy.server, action.name);
        let matched = format!("{}:c{client}:s{server}:{action}", policy.effect());
        Some((policy.name.clone(), matched))
    }
}

/// How specific the host is, 0 for not at all: an exact host above every suffix.
fn host_rank(policy: &Policy, call: Call) -> usize {
    let (pattern, host) = (policy.server().host, HOSTS[call.host]);
    match pattern.strip_prefix('*') {
        None if pattern == host => 100,
        None => 0,
        Some(suffix) if host.ends_with(suffix) && host.len() > suffix.len() => {
            suffix.matches('.').count()
        }
        Some(_) => 0,
    }
}

/// The longest prefix of `prefixes` that covers `path`, in segments from 1.
fn path_rank(prefixes: &[&str], path: &str) -> usize {
    let path = RequestPath::parse(path).unwrap();
    let covers = |prefix: &&str| {
        let prefix = PathPrefix::parse(prefix).unwrap();
        prefix.covers(path).then(|| prefix.segments() + 1)
    };
    prefixes.iter().filter_map(covers).max().unwrap_or(0)
}

/// The same of a target that takes many spellings for one.
fn folded_rank(prefixes: &[&str], path: &str) -> usize {
    let read = |path: &str, cut: bool| -> Vec<String> {
        let small = path.to_lowercase().replace("%20", " ");
        let whole = small.split('/');
        let names = whole.map(|it| {
            if cut {
                it.split(':').next().unwrap()
            } else {
                it
            }
        });
        let names = names.map(|it| it.trim_end_matches([' ', '.']));
        let named = names.filter(|it| !it.is_empty());
        named.map(ToOwned::to_owned).collect()
    };
    let readings = [read(path, false), read(path, true)];
    let covers = |prefix: &&str| {
        let segments = read(prefix, false);
        let is_covered = readings.iter().any(|path| path.starts_with(&segments));
        is_covered.then(|| segments.len() + 1)
    };
    prefixes.iter().filter_map(covers).max().unwrap_or(0)
}

/// By the action that covers the call with the longest prefix, the first of equals.
fn covering<'p>(policy: &'p Policy, caller: &Caller, call: Call) -> Option<Covering<'p>> {
    let path_rank = match policy.deny && policy.server().folds {
        true => folded_rank,
        false => path_rank,
    };
    let served = path_rank(policy.server().paths, call.path);
    let mut best: Option<(usize, &Action)> = None;
    for action in &policy.actions {
        let method = action.methods.contains(&ANY) || action.methods.contains(&call.method);
        if !method || served == 0 {
            continue;
        }
        let asked = path_rank(&action.paths, call.path);
        let rank = served.max(asked);
        if asked > 0 && best.is_none_or(|(most, _)| rank > most) {
            best = Some((rank, action));
        }
    }
    let (path, action) = best?;
    let accepted = policy.accepts(caller);
    // A deny for those whom another provider proved is about somebody else.
    if policy.deny && !accepted {
        return None;
    }
    Some(Covering {
        policy,
        action,
        rank: (host_rank(policy, call), path),
        accepted,
        outcome: if accepted {
            all_hold(policy, caller, call)
        } else {
            Met
        },
    })
}

/// One that does not hold settles it, then one that cannot be told.
fn all_hold(policy: &Policy, caller: &Caller, call: Call) -> ConditionOutcome {
    let outcomes: Vec<_> = policy
        .conditions
        .iter()
        .map(|it| holds(*it, caller, policy.counted(caller), call))
        .collect();
    [NotMet, Unavailable]
        .into_iter()
        .find(|outcome| outcomes.contains(outcome))
        .unwrap_or(Met)
}

fn looked_at(
    covering: &[Covering<'_>],
    caller: &Caller,
    call: Call,
) -> [Option<ConditionOutcome>; CONDITIONS.len()] {
    let mut looked_at = [None; CONDITIONS.len()];
    for it in covering.iter().filter(|it| it.accepted) {
        for condition in &it.policy.conditions {
            let outcome = holds(*condition, caller, it.policy.counted(caller), call);
            // Where policies count different proofs, what lets the least through is told.
            let worst = |one: ConditionOutcome| {
                let order = [NotMet, Unavailable, Met];
                order.into_iter().find(|it| [one, outcome].contains(it))
            };
            looked_at[*condition] = looked_at[*condition].map_or(Some(outcome), worst);
        }
    }
    looked_at
}

/// What each of [`CONDITIONS`] says, in other words.
fn holds(condition: usize, caller: &Caller, counted: &[&str], call: Call) -> ConditionOutcome {
    use Weekday::{Saturday, Sunday};
    let when = |holds: bool| if holds { Met } else { NotMet };
    let source = SOURCES[call.source];
    let inside = |source: &str| source.starts_with("10.") || source.contains(":10.");
    match condition {
        0 => {
            let there = at(&BERLIN, call.now);
            let working = ![Saturday, Sunday].contains(&there.weekday());
            when(working && within(&there, time(8, 0, 0, 0), time(18, 0, 0, 0)))
        }
        1 => {
            let there = at(&NEW_YORK, call.now);
            let (weekday, clock) = (there.weekday(), there.time());
            when(
                (weekday == Saturday && clock >= time(22, 0, 0, 0))
                    || (weekday == Sunday && clock < time(1, 30, 0, 0))
                    || (weekday == Sunday && within(&there, time(1, 45, 0, 0), time(2, 30, 0, 0))),
            )
        }
        2 => {
            let there = at(&BERLIN, call.now);
            let open = within(&there, time(2, 15, 0, 0), time(2, 45, 0, 0));
            when(there.weekday() == Sunday && open && there.date() <= date(2026, 12, 1))
        }
        3 => {
            let today = at(&UTC, call.now).date();
            when(date(2026, 3, 29) <= today && today <= date(2026, 10, 25))
        }
        4 => source.map_or(Unavailable, |source| {
            when(inside(source) || source.starts_with("2001:db8:"))
        }),
        5 => match source {
            Some("10.1.2.3" | "::ffff:10.9.9.9") => Met,
            Some("2001:db8::1") if call.now < EXPIRY => Met,
            Some("192.0.2.7") => NotMet,
            _ => Unavailable,
        },
        6 => match caller.team.filter(|_| counted.contains(&"forge")) {
            Some(team) => when(team == "red"),
            None => Unavailable,
        },
        7 => match call.environment {
            Some("prod") => Met,
            _ if call.query.contains("debug") => Met,
            Some(_) => NotMet,
            None => Unavailable,
        },
        8 => {
            let versioned = call.path.starts_with("/v1") || call.path.starts_with("/v2");
            match (call.method == "GET" && versioned, source) {
                (false, _) => NotMet,
                (true, source) => source.map_or(Unavailable, |source| when(inside(source))),
            }
        }
        _ => panic!("there is no such condition"),
    }
}

/// The clock on the wall there.
fn at(zone: &LazyLock<TimeZone>, now: Timestamp) -> Zoned {
    let now = jiff::Timestamp::from_millisecond(now.as_millis()).unwrap();
    now.to_zoned((*zone).clone())
}

static BERLIN: LazyLock<TimeZone> = LazyLock::new(|| zone("Europe/Berlin"));
static NEW_YORK: LazyLock<TimeZone> = LazyLock::new(|| zone("America/New_York"));
static UTC: LazyLock<TimeZone> = LazyLock::new(|| zone("UTC"));

fn zone(name: &str) -> TimeZone {
    TimeZoneDatabase::bundled().get(name).unwrap()
}

fn within(there: &Zoned, from: Time, to: Time) -> bool {
    from <= there.time() && there.time() < to
}

impl Policy {
    /// Whether it is an allow for whom the caller is not, whoever's proof counts.
    fn asks_more(&self, caller: &Caller) -> bool {
        let is_client = caller.is(CLIENTS[self.client], caller.providers());
        !self.deny && !self.dry_run && !is_client
    }

    /// Whether those proved the caller whom the policy asks for.
    pub(super) fn accepts(&self, caller: &Caller) -> bool {
        let proved = |name: &&str| caller.providers().contains(name);
        let named = |name: &&str| self.providers.contains(name);
        let enough = if self.all {
            self.providers.iter().all(proved)
        } else {
            self.providers.iter().any(proved)
        };
        // Two workloads are let pass only by an allow that names the provers of both.
        let both_named = self.all && caller.providers().iter().all(named);
        let agreed = caller.both != Some(Both::TwoWorkloads) || both_named;
        match self.deny {
            true => enough || self.providers.is_empty(),
            false => enough && agreed,
        }
    }

    /// Whose proofs an allow looks at: those that it names, if there are any.
    pub(super) fn counted(&self, caller: &Caller) -> &'static [&'static str] {
        let named =
            |name: &str| self.providers.contains(&name) && caller.providers().contains(&name);
        match (self.deny, named("cluster"), named("forge")) {
            (false, true, false) => &["cluster"],
            (false, false, true) => &["forge"],
            _ => caller.providers(),
        }
    }
}

impl Caller {
    fn values(&self, attribute: &str, counted: &[&str]) -> Vec<String> {
        let many = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        if attribute == "spiffe.id" {
            return self.ids(counted);
        }
        let by = attribute.split('.').next().map(|space| match space {
            "k8s" => "cluster",
            _ => "forge",
        });
        if !by.is_some_and(|by| counted.contains(&by)) {
            return Vec::new();
        }
        match (attribute, self.pod) {
            ("k8s.namespace", Some((namespace, _))) => vec![namespace.to_owned()],
            ("k8s.serviceAccount", Some((_, account))) => vec![account.to_owned()],
            ("claims.groups", _) => many(&self.groups),
            ("claims.team", _) => many(self.team.as_slice()),
            _ => Vec::new(),
        }
    }

    fn ids(&self, counted: &[&str]) -> Vec<String> {
        let pod = self.pod.map(|(namespace, account)| {
            format!("spiffe://cluster.local/ns/{namespace}/sa/{account}")
        });
        let job = "spiffe://cluster.local/forge/job".to_owned();
        let one = self.both == Some(Both::OneWorkload);
        let by_forge = if one { pod.clone() } else { Some(job) };
        let mut ids = Vec::new();
        ids.extend(pod.filter(|_| counted.contains(&"cluster")));
        ids.extend(by_forge.filter(|_| counted.contains(&"forge")));
        ids
    }

    pub(super) fn is(&self, client: Match, counted: &[&str]) -> bool {
        client.iter().any(|entry| {
            entry.iter().all(|(attribute, patterns)| {
                let values = self.values(attribute, counted);
                values
                    .iter()
                    .any(|value| patterns.iter().any(|pattern| glob(pattern, value)))
            })
        })
    }
}

fn glob(pattern: &str, value: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == value,
        Some((before, after)) => value.strip_prefix(before).is_some_and(|rest| {
            (0..=rest.len()).any(|cut| rest.get(cut..).is_some_and(|rest| glob(after, rest)))
        }),
    }
}
