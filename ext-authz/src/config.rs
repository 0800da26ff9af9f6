//! The configuration file: what it says, with the environment above it and defaults below. Every
//! problem is reported at once.

use std::{
    ffi::OsString,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use attache_core::spiffe_id::TrustDomain;
use attache_credentials::{SecretRoots, VaultSettings};
use attache_edge::{geography::GeographySettings, reload::PolicySource, settings::EdgeSettings};
use attache_issuer::{IssuerConfig, config::Environment as EnvironmentName};
use attache_outbound::Reach;
use attache_policy::{
    Code, Problems, Report, Settings,
    document::TrustProvider,
    yaml::{At, File},
};

use self::{
    bind::Places,
    layers::{Environment, Section},
    taken::Taken,
};
use crate::log;

mod audit;
mod bind;
mod edge;
mod evidence;
mod issuer;
mod layers;
mod outbound;
mod secrets;
mod taken;
mod traces;
mod vault;

/// The configuration file with every setting, its default and its reason.
pub(crate) const EXAMPLE: &str = include_str!("../attache.example.yaml");

/// Everything that is configured.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Config {
    /// Where state lives.
    pub(crate) data_dir: PathBuf,
    /// The directory of policies.
    pub(crate) policies: PathBuf,
    /// What a start does when that directory is refused.
    pub(crate) policies_refused: PoliciesRefused,
    /// Where addresses are, if that is to be known.
    pub(crate) geography: Option<GeographySettings>,
    /// The trust domain of workloads whose provider names no other.
    pub(crate) trust_domain: TrustDomain,
    /// How logs look, and what is logged.
    pub(crate) log: (log::Format, String),
    /// The issuer of our tokens.
    pub(crate) issuer: IssuerConfig,
    /// Where discovery document and keys are served.
    pub(crate) issuer_listen: SocketAddr,
    /// The key that seals the signing keys.
    pub(crate) sealing_key_file: PathBuf,
    /// Requests per second that one address may make at the token endpoint.
    pub(crate) token_rate: u32,
    /// Proxies of ours before the token endpoint; `None` if nobody said.
    pub(crate) token_hops: Option<usize>,
    /// The edge.
    pub(crate) edge: EdgeSettings,
    /// How long calls in flight may take to end.
    pub(crate) drain: Duration,
    /// The audit journal.
    pub(crate) audit: audit::Audit,
    /// The socket of the commands that talk to a running server.
    pub(crate) admin_socket: PathBuf,
    /// Where health and metrics are served besides, to whoever reaches it.
    pub(crate) monitoring_listen: Option<SocketAddr>,
    /// Where traces go.
    pub(crate) traces: Option<traces::Traces>,
    /// Which addresses calls of ours may go to.
    pub(crate) reach: Reach,
    /// Trust providers that apply to every policy set.
    pub(crate) trust_providers: Vec<TrustProvider>,
    /// The folders that key files and certificates of trust providers may lie in.
    pub(crate) file_roots: Vec<PathBuf>,
    /// Where documents may refer to secrets.
    pub(crate) secrets: SecretRoots,
    /// The Vault that `vault:` leads to.
    pub(crate) vault: Option<VaultSettings>,
}

/// What a start does when the policy directory is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PoliciesRefused {
    /// It goes on with the set that was in force last.
    LastGood,
    /// It fails.
    Fail,
}

impl Config {
    /// Reads the file and the environment. Warnings go to standard error.
    pub(crate) fn load(path: &Path) -> anyhow::Result<Self> {
        let context = || format!("cannot read the configuration {}", path.display());
        let path = std::path::absolute(path).with_context(context)?;
        let bytes = fs::read(&path).with_context(context)?;
        let (config, problems) = Self::read(&path, &bytes, std::env::vars_os());
        match config {
            Some(config) => {
                for warning in problems.iter() {
                    let _ = std::io::Write::write_all(
                        &mut std::io::stderr(),
                        format!("{warning}\n").as_bytes(),
                    );
                }
                Ok(config)
            }
            None => Err(problems.into()),
        }
    }

    /// Reads a file's bytes; relative paths start at its folder.
    fn read(
        path: &Path,
        bytes: &[u8],
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> (Option<Self>, Problems) {
        let report = Report::new();
        let config = Self::read_into(&report, path, bytes, variables);
        let config = if report.has_errors() { None } else { config };
        (config, report.into_problems())
    }

    fn read_into(
        report: &Report,
        path: &Path,
        bytes: &[u8],
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Option<Self> {
        let file = File::read(&path.display().to_string(), bytes, report);
        let environment = Environment::of(variables, report);
        let mut documents = file.documents();
        let root = documents.next();
        if let Some(second) = documents.next() {
            second.refuse::<()>(Code::Syntax, "a configuration is one document");
        }
        let base = path.parent().unwrap_or(Path::new("/"));
        let config = lower(Section::root(root.as_ref(), &environment), base);
        environment.warn_of_unknown();
        config
    }

    /// The folder that keeps the last good policies, if they are to be kept.
    pub(crate) fn last_good(&self) -> Option<&Path> {
        match self.policies_refused {
            PoliciesRefused::LastGood => Some(&self.data_dir),
            PoliciesRefused::Fail => None,
        }
    }

    /// Where policies come from, and what they build on.
    pub(crate) fn policy_source(&self) -> PolicySource {
        PolicySource {
            directory: self.policies.clone(),
            settings: Settings {
                trust_domain: self.trust_domain.clone(),
                trust_providers: self.trust_providers.clone(),
            },
            file_roots: self.file_roots.clone(),
            secrets: self.secrets.clone(),
        }
    }
}

/// A path; a relative one starts at `base`.
fn path(at: &At<'_>, base: &Path) -> Option<PathBuf> {
    Some(base.join(at.text()?))
}

fn lower(mut root: Section<'_>, base: &Path) -> Option<Config> {
    let data_dir = root.or("data_dir", PathBuf::from("/var/lib/attache"), |at| {
        path(at, base)
    });
    // The sections are read even if this one is refused, so that all problems show.
    let data = data_dir.clone().unwrap_or_default();
    let policies = lower_policies(&mut root, base);
    let trust_domain = lower_trust_domain(&mut root);
    let environment = root.or("environment", EnvironmentName::parse("prod").ok(), |at| {
        at.parse(EnvironmentName::parse).map(Some)
    });
    let log = lower_log(root.section("log"));
    let places = Places::none();
    let issuer = issuer::lower(
        root.section("issuer"),
        environment.flatten(),
        trust_domain.clone(),
        &places,
        &data,
        base,
    );
    let edge = edge::lower(root.section("edge"), &places, base);
    let audit = audit::lower(root.section("audit"), &data, base);
    let admin = lower_admin(root.section("admin"), &places, &data, base);
    let monitoring = lower_monitoring(root.section("monitoring"), &places);
    let traces = traces::lower(root.section("traces"), base);
    let geography = lower_geography(root.section("geography"), base);
    let reach = outbound::lower(root.section("outbound"));
    // With another trust domain, if need be, so that all problems show.
    let domain = trust_domain.clone().or_else(usual_trust_domain);
    let trust = lower_trust(root.section("trust"), domain.as_ref(), base);
    let secrets = secrets::lower(root.section("secrets"), base);
    let issuer = issuer?;
    let (policies, policies_refused) = policies?;
    let (edge, drain) = edge?;
    let (trust_providers, file_roots) = trust?;
    let (secrets, vault) = secrets?;
    Some(Config {
        data_dir: data_dir?,
        policies,
        policies_refused,
        geography: geography?,
        trust_domain: trust_domain?,
        log: log?,
        issuer: issuer.config,
        issuer_listen: issuer.listen,
        sealing_key_file: issuer.sealing_key_file,
        token_rate: issuer.token_rate,
        token_hops: issuer.trusted_hops,
        edge,
        drain,
        audit: audit?,
        admin_socket: admin?,
        monitoring_listen: monitoring?,
        traces: traces?,
        reach: reach?,
        trust_providers,
        file_roots,
        secrets,
        vault,
    })
}

fn usual_trust_domain() -> Option<TrustDomain> {
    TrustDomain::parse("cluster.local").ok()
}

fn lower_trust_domain(root: &mut Section<'_>) -> Option<TrustDomain> {
    let read = |at: &At<'_>| at.parse(TrustDomain::parse).map(Some);
    root.or("trust_domain", usual_trust_domain(), read)
        .flatten()
}

fn lower_admin(
    mut section: Section<'_>,
    places: &Places,
    data: &Path,
    base: &Path,
) -> Option<PathBuf> {
    let usual = data.join("admin.sock");
    section.or("socket", usual, |at| places.socket(at, base))
}

/// SECURITY: any address, for kubelets and Prometheus come to the pod's; what is served there changes nothing.
fn lower_monitoring(mut section: Section<'_>, places: &Places) -> Option<Option<SocketAddr>> {
    section.or("listen", None, |at| places.address(at).map(Some))
}

fn lower_policies(root: &mut Section<'_>, base: &Path) -> Option<(PathBuf, PoliciesRefused)> {
    let policies = root.or("policies", PathBuf::from("/etc/attache/policies"), |at| {
        path(at, base)
    });
    let choices = [
        ("last-good", PoliciesRefused::LastGood),
        ("fail", PoliciesRefused::Fail),
    ];
    let refused = root.or("policies_refused", PoliciesRefused::LastGood, |at| {
        at.one_of(&choices)
    });
    Some((policies?, refused?))
}

fn lower_log(mut section: Section<'_>) -> Option<(log::Format, String)> {
    let formats = [("text", log::Format::Text), ("json", log::Format::Json)];
    let format = section.or("format", log::Format::Text, |at| at.one_of(&formats));
    let level = section.or("level", "info".to_owned(), |at| {
        at.parse(|text| log::check_level(text).map(|()| text.to_owned()))
    });
    Some((format?, level?))
}

/// MaxMind builds databases twice a week, and asks that none be used for longer than 30 days.
const GEOGRAPHY_AGE: Duration = Duration::from_secs(30 * 86_400);

fn lower_geography(mut section: Section<'_>, base: &Path) -> Option<Option<GeographySettings>> {
    let database = section.or("database", None, |at| path(at, base).map(Some));
    let max_age = section.or("max_age", GEOGRAPHY_AGE, |at| {
        at.duration(86_400..=(100 * 366 * 86_400))
    });
    let (database, max_age) = (database?, max_age?);
    Some(database.map(|database| GeographySettings { database, max_age }))
}

/// The providers, and the folders that their files may lie in: the configuration's own among them.
fn lower_trust(
    mut section: Section<'_>,
    trust_domain: Option<&TrustDomain>,
    base: &Path,
) -> Option<(Vec<TrustProvider>, Vec<PathBuf>)> {
    let usual = || {
        vec![
            PathBuf::from("/etc/attache"),
            PathBuf::from("/var/run/secrets"),
        ]
    };
    let roots = section
        .field("file_roots")
        .map_or_else(|| Some(usual()), |list| list.list(|at| path(at, base)));
    let names = Taken::new("trust provider name");
    let providers = match (section.field("providers"), trust_domain) {
        (None, _) => Some(vec![]),
        (Some(list), Some(domain)) => list.list(|at| {
            let provider = TrustProvider::from_configuration(at, domain)?;
            names.take(at, &provider.name).map(|()| provider)
        }),
        (Some(_), None) => None,
    };
    let mut roots = roots?;
    roots.push(base.to_path_buf());
    Some((providers?, roots))
}

/// `127.0.0.1:9191`, `[::1]:9191`.
fn address(at: &At<'_>) -> Option<SocketAddr> {
    at.parse(|text| {
        text.parse::<SocketAddr>().map_err(|_error| {
            format!("{text:?} is not an address with a port; write one like 127.0.0.1:9191")
        })
    })
}

#[cfg(test)]
mod tests;
