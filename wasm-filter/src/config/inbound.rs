//! What a plugin on the way in is told: whose JWT-SVIDs count, and what each caller may do.

use core::time::Duration;

use attache_core::{
    audience::is_audience,
    bundle::Bundle,
    header::HeaderName,
    origin::Origin,
    pattern::Pattern,
    request::{PathPrefix, RequestPath, is_method},
    spiffe_id::{SpiffeId, TrustDomain},
};

use super::{
    Target, cluster, edge,
    fields::{At, Fields},
};

/// Most trust domains of one plugin.
const MAX_DOMAINS: usize = 64;

/// The settings of the way in.
#[derive(Debug)]
pub struct Inbound {
    /// Whom tokens must be for.
    pub audience: String,
    /// Where the token stands: `authorization` with the scheme `Bearer`, or alone in another header.
    pub header: HeaderName,
    /// What becomes of the token.
    pub token: TokenAfter,
    /// Longest life of a token.
    pub max_lifetime: Duration,
    /// How far `nbf` and `iat` may lie ahead.
    pub leeway: Duration,
    /// Who vouches.
    pub trust_domains: Vec<TrustedDomain>,
    /// The cluster of the edge, where a source is one.
    pub edge: Option<String>,
    /// Who may do what.
    pub rules: Rules,
    /// How much memory verified tokens may take, in bytes.
    pub memory: usize,
}

/// What becomes of a token that was verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenAfter {
    /// The application gets it.
    Pass,
    /// It ends here.
    Strip,
}

/// A trust domain and where its keys come from.
#[derive(Debug)]
pub struct TrustedDomain {
    /// Its name.
    pub name: TrustDomain,
    /// Where its bundle comes from.
    pub source: Source,
    /// How old the bundle may be.
    pub max_age: Duration,
}

/// Where a bundle comes from.
#[derive(Debug)]
pub enum Source {
    /// The configuration itself.
    Inline(Box<Bundle>),
    /// A SPIFFE bundle endpoint, by an Envoy cluster that verifies its certificate.
    Endpoint {
        /// The cluster.
        cluster: String,
        /// `:authority`.
        authority: String,
        /// The path.
        path: String,
    },
    /// The edge.
    Edge,
}

/// Who says what a caller may do.
#[derive(Debug)]
pub enum Rules {
    /// These; what none of them allows is refused.
    Listed(Vec<Allow>),
    /// The policies of the edge.
    Edge(Judge),
}

/// How the edge is asked whether a caller may make a request.
#[derive(Debug)]
pub struct Judge {
    /// The cluster of the edge.
    pub edge: String,
    /// The service behind the proxy, as policies name it, whatever name it was called by.
    pub target: Target,
    /// The header that carries evidence on the edge's listener.
    pub evidence: HeaderName,
    /// How long a request waits for the edge at most.
    pub patience: Duration,
}

/// Some callers and what they may do.
#[derive(Debug)]
pub struct Allow {
    /// Who.
    pub spiffe_ids: Vec<Pattern>,
    /// With which methods.
    pub methods: Narrowed<String>,
    /// On which paths.
    pub paths: Narrowed<PathPrefix>,
}

/// Some, or explicitly all.
#[derive(Debug)]
pub enum Narrowed<T> {
    /// `any`.
    Any,
    /// These.
    These(Vec<T>),
}

#[inline(never)]
pub(super) fn read(fields: &Fields<'_>) -> Option<Inbound> {
    let audience = fields.required("audience", audience);
    let header = fields.or("header", authorization(), header);
    let token = fields.or("token", TokenAfter::Strip, |at| {
        at.word(&[("strip", TokenAfter::Strip), ("pass", TokenAfter::Pass)])
    });
    let max_lifetime = fields.or("max_lifetime_seconds", 86_400, |at| {
        at.number(1, 31_536_000)
    });
    let leeway = fields.or("leeway_seconds", 30, |at| at.number(0, 300));
    let edge = fields.or("edge", None, |at| edge(at).map(Some));
    let trust_domains = fields.required("trust_domains", |at| domains(at, fields.has("edge")));
    let names: Option<Vec<_>> = trust_domains.as_ref().map(|all| {
        let names = all
            .iter()
            .map(|domain: &TrustedDomain| domain.name.as_str().to_owned());
        names.collect()
    });
    let allow = fields.optional("allow", |at| at.list(|at| allow(at, names.as_deref())));
    let judge = fields.optional("judge", |at| {
        judge(at, edge.as_ref().and_then(Option::as_deref))
    });
    let memory = fields.or("memory_bytes", 4 << 20, |at| at.number(65_536, 256 << 20));
    fields.finish();
    if fields.has("allow") == fields.has("judge") {
        return fields.problem("exactly one of `allow` and `judge` says what callers may do");
    }
    let rules = allow.map(Rules::Listed).or(judge.map(Rules::Edge));
    Some(Inbound {
        audience: audience?,
        header: header??,
        token: token?,
        max_lifetime: Duration::from_secs(max_lifetime?),
        leeway: Duration::from_secs(leeway?),
        trust_domains: trust_domains?,
        edge: edge?,
        rules: rules?,
        memory: usize::try_from(memory?).ok()?,
    })
}

fn authorization() -> Option<HeaderName> {
    HeaderName::parse_evidence("authorization").ok()
}

fn audience(at: &At<'_>) -> Option<String> {
    let text = at.text()?;
    if is_audience(text) {
        Some(text.to_owned())
    } else {
        at.problem(
            "it is no audience: at most 1024 bytes, no control characters, no space at its ends",
        )
    }
}

fn header(at: &At<'_>) -> Option<Option<HeaderName>> {
    let parsed = HeaderName::parse_evidence(at.text()?);
    parsed
        .map(Some)
        .or_else(|invalid| at.problem(&invalid.to_string()).ok_or(()))
        .ok()
}

#[inline(never)]
fn domains(at: &At<'_>, with_edge: bool) -> Option<Vec<TrustedDomain>> {
    let domains = at.list(|at| domain(at, with_edge))?;
    if domains.len() > MAX_DOMAINS {
        return at.problem(&format!("at most {MAX_DOMAINS} trust domains are taken"));
    }
    for (index, domain) in domains.iter().enumerate() {
        let earlier = domains.iter().take(index);
        if earlier.into_iter().any(|other| other.name == domain.name) {
            let name = domain.name.as_str();
            return at.problem(&format!("`{name}` stands twice"));
        }
    }
    Some(domains)
}

#[inline(never)]
fn domain(at: &At<'_>, with_edge: bool) -> Option<TrustedDomain> {
    let fields = at.fields()?;
    let name = fields.required("name", |at| {
        let parsed = TrustDomain::parse(at.text()?);
        parsed
            .or_else(|invalid| at.problem(&invalid.to_string()).ok_or(()))
            .ok()
    });
    let inline = fields.optional("inline", |at| inline(at, name.as_ref()));
    let endpoint = fields.optional("endpoint", endpoint);
    let edge = fields.optional("edge", |at| {
        at.fields()?.finish();
        if with_edge {
            Some(Source::Edge)
        } else {
            at.problem("`inbound.edge` must name the cluster of the edge")
        }
    });
    let max_age = fields.or("max_age_seconds", 86_400, |at| at.number(60, 31_536_000));
    fields.finish();
    let sources = ["inline", "endpoint", "edge"];
    if sources.into_iter().filter(|name| fields.has(name)).count() != 1 {
        return fields.problem(
            "exactly one of `inline`, `endpoint` and `edge` says where its bundle comes from",
        );
    }
    Some(TrustedDomain {
        name: name?,
        source: inline.or(endpoint).or(edge)?,
        max_age: Duration::from_secs(max_age?),
    })
}

#[inline(never)]
fn inline(at: &At<'_>, name: Option<&TrustDomain>) -> Option<Source> {
    let document = at.value().to_string();
    match Bundle::parse(name?, document.as_bytes()) {
        Ok(bundle) if bundle.jwt_keys().keys().is_empty() => {
            at.problem("the bundle has no usable `jwt-svid` key")
        }
        Ok(bundle) => Some(Source::Inline(Box::new(bundle))),
        Err(invalid) => at.problem(&invalid.to_string()),
    }
}

#[inline(never)]
fn endpoint(at: &At<'_>) -> Option<Source> {
    let fields = at.fields()?;
    let cluster = fields.required("cluster", cluster);
    let authority = fields.required("authority", |at| {
        let text = at.text()?;
        let parsed = attache_core::request::Authority::parse(text);
        parsed
            .map(|_good| text.to_owned())
            .or_else(|_bad| at.problem("it is no host with an optional port").ok_or(()))
            .ok()
    });
    let path = fields.required("path", |at| {
        let text = at.text()?;
        let parsed = RequestPath::parse(text);
        parsed
            .map(|_good| text.to_owned())
            .or_else(|_bad| {
                at.problem("it is no absolute path with one reading")
                    .ok_or(())
            })
            .ok()
    });
    fields.finish();
    Some(Source::Endpoint {
        cluster: cluster?,
        authority: authority?,
        path: path?,
    })
}

/// `{"target": "https://orders.example"}`.
#[inline(never)]
fn judge(at: &At<'_>, edge: Option<&str>) -> Option<Judge> {
    let fields = at.fields()?;
    let target = fields.required("target", |at| {
        let text = at.text()?;
        let origin = Origin::parse(text).filter(Origin::is_one_host);
        let target = origin.map(|origin| Target {
            cluster: String::new(),
            origin,
            written: text.to_owned(),
        });
        target.or_else(|| at.problem("it is no origin of one host like `https://orders.example`"))
    });
    let evidence = fields.or("header", evidence_header(), header);
    let patience = fields.or("patience_ms", 1000, |at| at.number(50, 10_000));
    fields.finish();
    let Some(edge) = edge else {
        return fields.problem("`inbound.edge` must name the cluster of the edge");
    };
    Some(Judge {
        edge: edge.to_owned(),
        target: target?,
        evidence: evidence??,
        patience: Duration::from_millis(patience?),
    })
}

fn evidence_header() -> Option<HeaderName> {
    HeaderName::parse_evidence("x-attache-evidence").ok()
}

#[inline(never)]
fn allow(at: &At<'_>, domains: Option<&[String]>) -> Option<Allow> {
    let fields = at.fields()?;
    let spiffe_ids = fields.required("spiffe_ids", |at| at.list(|at| spiffe_id(at, domains)));
    let methods = fields.required("methods", |at| narrowed(at, method));
    let paths = fields.required("paths", |at| narrowed(at, path));
    fields.finish();
    Some(Allow {
        spiffe_ids: spiffe_ids?,
        methods: methods?,
        paths: paths?,
    })
}

fn narrowed<T>(at: &At<'_>, read: impl Fn(&At<'_>) -> Option<T>) -> Option<Narrowed<T>> {
    if at.value() == "any" {
        return Some(Narrowed::Any);
    }
    at.list(read).map(Narrowed::These)
}

/// An ID, or a pattern whose trust domain is written out.
fn spiffe_id(at: &At<'_>, domains: Option<&[String]>) -> Option<Pattern> {
    let text = at.text()?;
    let pattern = Pattern::parse(text);
    let before = text.split('*').next().unwrap_or_default();
    let whole = before
        .strip_prefix("spiffe://")
        .and_then(|rest| rest.split_once('/'));
    let Some((domain, _path)) = whole else {
        return at.problem("it must begin with `spiffe://`, a whole trust domain and `/`");
    };
    if pattern
        .exact()
        .is_some_and(|text| SpiffeId::parse(text).is_err())
    {
        return at.problem(&format!("`{text}` is no SPIFFE ID"));
    }
    if domains.is_some_and(|all| all.iter().all(|known| known != domain)) {
        return at.problem(&format!("`{domain}` is none of `inbound.trust_domains`"));
    }
    Some(pattern)
}

fn method(at: &At<'_>) -> Option<String> {
    let text = at.text()?;
    if is_method(text) {
        Some(text.to_owned())
    } else {
        at.problem(&format!("`{text}` is no method in capitals"))
    }
}

fn path(at: &At<'_>) -> Option<PathPrefix> {
    let text = at.text()?;
    let parsed = PathPrefix::parse(text);
    parsed
        .or_else(|_ambiguous| {
            at.problem(&format!("`{text}` is no absolute path with one reading"))
                .ok_or(())
        })
        .ok()
}
