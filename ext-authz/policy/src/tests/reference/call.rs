//! Random calls. What they consist of is made once, so that a million of them cost little.

use std::{net::IpAddr, sync::LazyLock};

use attache_core::{
    attestation::{Agreement, Attestation},
    attributes::AttributeValue,
    evidence::Evidence,
    request::{Host, Request, RequestPath, Transport},
    scope::Caller as Kept,
    secret::Secret,
    time::Timestamp,
};

use super::super::{build_job, expiring, pod, proven};
use crate::{Context, Country, Geography, Location};

/// Who calls.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub(super) pod: Option<(&'static str, &'static str)>,
    pub(super) groups: Vec<&'static str>,
    pub(super) team: Option<&'static str>,
    /// Of a pod that shows a token of the forge too.
    pub(super) both: Option<Both>,
}

/// What two pieces of evidence prove.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Both {
    OneWorkload,
    TwoWorkloads,
}

/// One call: places in the tables below.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    pub(super) caller: usize,
    /// Whether its evidence is the one that expires in October.
    pub(super) expiring: bool,
    pub(super) host: usize,
    pub(super) port: u16,
    pub(super) tls: bool,
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    pub(super) query: &'static str,
    pub(super) environment: Option<&'static str>,
    pub(super) source: usize,
    pub(super) now: Timestamp,
}

pub(super) const HOSTS: [&str; 7] = [
    "api.example.corp",
    "a.b.example.corp",
    "example.corp",
    "b.example.corp",
    "x.corp",
    "com",
    "10.0.0.1",
];

const PATHS: [&str; 25] = [
    "/",
    "/v1",
    "/v1/",
    "/v10",
    "/v1/x",
    "/v1/xy",
    "/v1/x/y",
    "/v1/x/y/z",
    "/v1/x%40",
    "/v2",
    "/v2/z",
    "/v2/q",
    "/v2/e07",
    "/v2/e07/x",
    "/v2/e16",
    "/v2/e16/a/b",
    "/v3",
    "/V1",
    "/V1/x.",
    "/v1./X/y",
    "/v2/E07%20/x",
    "/v2/Z.%20/q",
    "/V3",
    "/V1::$DATA/x",
    "/v2/e03:a/b",
];

const METHODS: [&str; 8] = [
    "GET", "HEAD", "POST", "get", "OPTIONS", "PURGE", "DELETE", "MOVE",
];

pub(super) const SOURCES: [Option<&str>; 7] = [
    None,
    Some("10.1.2.3"),
    Some("::ffff:10.9.9.9"),
    Some("192.0.2.7"),
    Some("2001:db8::1"),
    Some("2001:db9::1"),
    Some("11.0.0.0"),
];

/// When something changes: Berlin and New York change their clocks, windows open and close, days begin,
/// evidence and the geography expire.
const MOMENTS: [i64; 10] = [
    // 2026-03-29T01:00Z: Berlin skips 02:00 to 03:00. Midnight and 08:00 of that Sunday and Monday.
    1_774_746_000,
    1_774_742_400,
    1_774_850_400,
    // 2026-10-25T01:00Z: Berlin repeats 02:00 to 03:00; 00:45Z and 01:45Z are both 02:45.
    1_792_890_000,
    1_792_889_100,
    // 2026-10-26T00:00Z: a day of UTC ends, and one condition with it.
    1_792_972_800,
    // 2026-11-01T06:00Z: New York repeats 01:00 to 02:00.
    1_793_512_800,
    1_793_511_000,
    // 2026-10-23T16:00Z: Friday 18:00 in Berlin.
    1_792_771_200,
    // Some Wednesday's noon.
    1_781_092_800,
];

/// When the geography of 2001:db8::1 and the evidence of some callers expires.
pub(super) const EXPIRY: Timestamp = Timestamp::from_seconds(1_792_890_060);

/// What this test knows of addresses.
pub(super) struct Atlas;

impl Geography for Atlas {
    fn locate(&self, address: IpAddr) -> Option<Location> {
        let (country, good_until) = match address.to_string().as_str() {
            "10.1.2.3" => ("DE", i64::MAX),
            "10.9.9.9" => ("FR", i64::MAX),
            "192.0.2.7" => ("US", i64::MAX),
            "2001:db8::1" => ("FR", EXPIRY.as_millis()),
            _ => return None,
        };
        Some(Location {
            country: Country::parse(country).expect("a country"),
            good_until: Timestamp::from_millis(good_until),
        })
    }
}

pub(super) static CALLERS: LazyLock<Vec<Caller>> = LazyLock::new(|| {
    let pods = ["shop", "bank", "lab"]
        .into_iter()
        .flat_map(|namespace| ["web", "job", "w"].map(|account| Some((namespace, account))));
    let pods = pods.map(|pod| Caller {
        pod,
        groups: Vec::new(),
        team: None,
        both: None,
    });
    let jobs = [
        (vec!["admins"], Some("red")),
        (vec!["admins", "staff"], None),
        (vec!["as"], Some("blue")),
        (vec!["staff", "as"], Some("green")),
        (vec![], Some("red")),
    ];
    let jobs = jobs.into_iter().map(|(groups, team)| Caller {
        pod: None,
        groups,
        team,
        both: None,
    });
    let twice = [
        (
            ("shop", "web"),
            vec!["admins"],
            Some("red"),
            Both::OneWorkload,
        ),
        (
            ("shop", "job"),
            vec!["staff"],
            Some("blue"),
            Both::OneWorkload,
        ),
        (
            ("bank", "web"),
            vec!["admins", "as"],
            Some("red"),
            Both::TwoWorkloads,
        ),
        (("lab", "job"), vec!["admins"], None, Both::TwoWorkloads),
    ];
    let twice = twice.into_iter().map(|(pod, groups, team, both)| Caller {
        pod: Some(pod),
        groups,
        team,
        both: Some(both),
    });
    pods.chain(jobs).chain(twice).collect()
});

impl Caller {
    /// Who proved it.
    pub(super) const fn providers(&self) -> &'static [&'static str] {
        match (self.pod, self.both) {
            (None, _) => &["forge"],
            (Some(_), None) => &["cluster"],
            (Some(_), Some(_)) => &["cluster", "forge"],
        }
    }

    fn attestation(&self) -> Attestation {
        let (Some((namespace, account)), None) = (self.pod, self.both) else {
            return self.with_job();
        };
        pod(namespace, account)
    }

    fn with_job(&self) -> Attestation {
        let job = {
            let groups = self.groups.iter().map(|group| (*group).into()).collect();
            let team = self
                .team
                .map(|team| ("team", AttributeValue::One(team.into())));
            let claims = [("groups", AttributeValue::Many(groups))];
            build_job(&claims.into_iter().chain(team).collect::<Vec<_>>())
        };
        let (Some((namespace, account)), Some(both)) = (self.pod, self.both) else {
            return job;
        };
        let pod = pod(namespace, account);
        let agreed = match both {
            Both::TwoWorkloads => pod.together([&job], Agreement::NamedByPolicy),
            Both::OneWorkload => {
                let (id, claims) = (pod.spiffe_id().clone(), job.attributes().clone());
                let same = proven("forge", job.kind(), id, claims);
                pod.together([&same], Agreement::OneWorkload)
            }
        };
        agreed.expect("evidence that agrees")
    }
}

/// Proofs of every caller, first those that last.
static ATTESTATIONS: LazyLock<Vec<[Attestation; 2]>> = LazyLock::new(|| {
    CALLERS
        .iter()
        .map(|caller| {
            [
                caller.attestation(),
                expiring(&caller.attestation(), EXPIRY),
            ]
        })
        .collect()
});

static PARSED_HOSTS: LazyLock<[Host; 7]> =
    LazyLock::new(|| HOSTS.map(|host| Host::parse(host).expect("a host")));

static PARSED_SOURCES: LazyLock<[Option<IpAddr>; 7]> =
    LazyLock::new(|| SOURCES.map(|text| text.map(|text| text.parse().expect("an address"))));

const PRODUCTION: [(&str, &[u8]); 2] = [("accept", b"*/*"), ("x-env", b"prod")];
const TESTING: [(&str, &[u8]); 2] = [("x-env", b"prod"), ("x-env", b"test")];

impl Call {
    pub(super) fn is_proven_by_several(self) -> bool {
        self.attestation().is_by_several()
    }

    pub(super) fn attestation(self) -> &'static Attestation {
        &ATTESTATIONS[self.caller][usize::from(self.expiring)]
    }

    pub(super) fn request(self) -> Request<'static> {
        Request {
            host: &PARSED_HOSTS[self.host],
            port: self.port,
            transport: if self.tls {
                Transport::Tls
            } else {
                Transport::Plaintext
            },
            method: self.method,
            path: RequestPath::parse(self.path).expect("a path"),
        }
    }

    pub(super) fn context(self) -> Context<'static> {
        Context {
            now: self.now,
            source: PARSED_SOURCES[self.source],
            geography: &Atlas,
            query: self.query,
            headers: Some(match self.environment {
                Some("prod") => &PRODUCTION,
                Some(_) => &TESTING,
                None => &[],
            }),
        }
    }

    /// Its evidence, as an answer is kept under.
    pub(super) fn kept_under(self) -> Kept {
        let token = format!("{}.{}", self.caller, self.expiring);
        Kept::Evidence(Evidence::Token(Secret::new(token)))
    }

    /// Any call.
    pub(super) fn random(dice: &mut Dice) -> Self {
        let moment = dice.of(&MOMENTS);
        let mut call = Self {
            caller: dice.below(CALLERS.len()),
            expiring: dice.below(4) == 0,
            // Most sets say most about the first.
            host: if dice.below(2) == 0 {
                dice.below(2)
            } else {
                dice.below(HOSTS.len())
            },
            port: if dice.below(7) == 0 { 8443 } else { 443 },
            tls: dice.below(5) > 0,
            method: dice.of(&METHODS),
            path: dice.of(&PATHS),
            query: "",
            environment: None,
            source: dice.below(SOURCES.len()),
            now: Timestamp::from_seconds(moment),
        };
        call.change_time(dice);
        call.change_headers(dice);
        call
    }

    /// A call that differs from this one in a few things, or in none.
    pub(super) fn varied(mut self, dice: &mut Dice) -> Self {
        let other = Self::random(dice);
        for _ in 0..dice.below(4) {
            match dice.below(12) {
                0 => self.caller = other.caller,
                1 => self.expiring = other.expiring,
                2 => self.host = other.host,
                3 => self.port = other.port,
                4 => self.tls = other.tls,
                5 | 6 => self.method = other.method,
                7 | 8 => self.path = other.path,
                9 => self.source = other.source,
                10 => self.change_headers(dice),
                _ => self.change_time(dice),
            }
        }
        self
    }

    fn change_time(&mut self, dice: &mut Dice) {
        let reach = dice.of(&[1, 1_000, 60_000, 400_000, 7_200_000]);
        let shift = i64::try_from(dice.below(2 * reach)).unwrap() - i64::try_from(reach).unwrap();
        self.now = Timestamp::from_millis(self.now.as_millis() + shift);
    }

    fn change_headers(&mut self, dice: &mut Dice) {
        self.query = dice.of(&["", "", "debug=1", "q=debu"]);
        self.environment = dice.of(&[None, Some("prod"), Some("test")]);
    }
}

/// Fast and good enough (xorshift64*, Vigna 2016); the seed is the test's.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let drawn = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
        usize::try_from(drawn).unwrap() % limit
    }

    pub(super) fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }
}
