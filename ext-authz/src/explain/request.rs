//! The call to explain, from the command line: its own options, or curl's.

use std::net::{IpAddr, Ipv6Addr};

use anyhow::{Context as _, bail};
use attache_core::{request::Authority, time::Timestamp};
use attache_edge::explain::{Call, Caller, TokenWanted};
use clap::Args;

use super::curl::Curl;

#[cfg(test)]
mod tests;

/// What is asked.
#[derive(Debug, Args)]
#[command(next_help_heading = "The request")]
pub(super) struct RequestArgs {
    /// The host that is called.
    #[arg(long)]
    host: Option<String>,
    /// The method.
    #[arg(long, default_value = "GET", requires = "host")]
    method: String,
    /// The path, with its query if a condition reads it.
    #[arg(long, default_value = "/", requires = "host")]
    path: String,
    /// The port that the route leads to; 443, or 80 with --plaintext.
    #[arg(long)]
    port: Option<u16>,
    /// The route leads to the target without TLS.
    #[arg(long)]
    plaintext: bool,
    /// The address that the call comes from.
    #[arg(long, value_name = "ADDRESS")]
    source: Option<IpAddr>,
    /// The country that this address is in (ISO 3166-1 alpha-2), instead of what a database says.
    #[arg(long, value_name = "CODE", requires = "source")]
    country: Option<String>,
    /// When the call is made, such as 2026-06-14T03:47:22Z; now unless it is given.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    at: Option<Timestamp>,
    /// A header of the request.
    #[arg(long = "header", value_name = "NAME: VALUE", value_parser = parse_header)]
    headers: Vec<(String, String)>,
    /// The request as a curl command line, its words or one quoted text.
    #[arg(last = true, value_name = "curl …", conflicts_with = "host")]
    curl: Vec<String>,
    #[command(flatten)]
    token: TokenArgs,
}

/// A token that is asked for at the issuer's token endpoint.
#[derive(Debug, Args)]
#[command(next_help_heading = "Or a token for the caller's own hands")]
struct TokenArgs {
    /// Whom the token is to be for, as `audience` at the token endpoint.
    #[arg(long, value_name = "AUDIENCE", conflicts_with_all = NOT_OF_A_TOKEN)]
    token_audience: Option<String>,
    /// Where it is to be used, as `resource` there: `https://api.example.com`.
    #[arg(long, value_name = "ORIGIN", conflicts_with_all = NOT_OF_A_TOKEN)]
    token_resource: Option<String>,
}

/// What only a request has.
const NOT_OF_A_TOKEN: [&str; 5] = ["host", "curl", "port", "plaintext", "headers"];

/// A request line, wherever it was written.
struct Line {
    method: String,
    /// With its query.
    target: String,
    authority: String,
    headers: Vec<(String, String)>,
    scheme: Scheme,
    notes: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Http,
    Https,
}

impl RequestArgs {
    /// Whether a request is given at all.
    pub(super) fn is_given(&self) -> bool {
        self.host.is_some() || !self.curl.is_empty() || self.token.wanted().is_some()
    }

    /// The moment that was asked for.
    pub(super) const fn at(&self) -> Option<Timestamp> {
        self.at
    }

    /// The call as `caller` would make it, and what was not read of it.
    pub(super) fn call(&self, caller: Caller) -> anyhow::Result<(Call, Vec<String>)> {
        if let Some(wanted) = self.token.wanted() {
            return Ok((self.token_call(wanted, caller), Vec::new()));
        }
        let mut line = match &self.host {
            Some(host) => self.line(host),
            None if self.curl.is_empty() => {
                bail!("name the request: --host HOST [--method …] [--path …], or `-- curl …`")
            }
            None => Line::of_curl(Curl::parse(&self.curl)?)?,
        };
        line.headers.extend(self.headers.iter().cloned());
        let origin = self.origin(&mut line);
        let call = Call {
            method: line.method,
            target: line.target,
            authority: line.authority,
            origin,
            headers: line.headers,
            source: self.source,
            country: self.country.clone(),
            at: self.at,
            listener: None,
            policies: None,
            token: None,
            caller,
        };
        Ok((call, line.notes))
    }

    fn token_call(&self, wanted: TokenWanted, caller: Caller) -> Call {
        Call {
            method: "POST".to_owned(),
            target: "/token".to_owned(),
            authority: String::new(),
            origin: String::new(),
            headers: Vec::new(),
            source: self.source,
            country: self.country.clone(),
            at: self.at,
            listener: None,
            policies: None,
            token: Some(wanted),
            caller,
        }
    }

    fn line(&self, host: &str) -> Line {
        let bare_ipv6 = host.parse::<Ipv6Addr>().is_ok();
        Line {
            method: self.method.clone(),
            target: self.path.clone(),
            authority: if bare_ipv6 {
                format!("[{host}]")
            } else {
                host.to_owned()
            },
            headers: Vec::new(),
            scheme: Scheme::Https,
            notes: Vec::new(),
        }
    }

    /// Where the route is supposed to lead: where the request says. An application that leaves TLS to
    /// Envoy asks for `http://`, and means port 443.
    fn origin(&self, line: &mut Line) -> String {
        let asked = Authority::parse(&line.authority);
        let asked_port = asked.as_ref().ok().and_then(|asked| asked.port);
        let left_to_envoy = line.scheme == Scheme::Http && !self.plaintext;
        if left_to_envoy {
            line.notes.push(
                "http:// is taken for an application that leaves TLS to Envoy; --plaintext says otherwise"
                    .to_owned(),
            );
        }
        let written = asked_port.filter(|port| !(left_to_envoy && *port == 80));
        let (scheme, usual) = if self.plaintext {
            ("http", 80)
        } else {
            ("https", 443)
        };
        let port = self.port.or(written).unwrap_or(usual);
        let host = match &asked {
            Ok(asked) if asked.host.as_str().contains(':') => format!("[{}]", asked.host.as_str()),
            Ok(asked) => asked.host.as_str().to_owned(),
            // Refused when it is understood.
            Err(_ambiguous) => line.authority.clone(),
        };
        format!("{scheme}://{host}:{port}")
    }
}

impl TokenArgs {
    fn wanted(&self) -> Option<TokenWanted> {
        let wanted = TokenWanted {
            audience: self.token_audience.clone(),
            resource: self.token_resource.clone(),
        };
        (wanted.audience.is_some() || wanted.resource.is_some()).then_some(wanted)
    }
}

impl Line {
    fn of_curl(curl: Curl) -> anyhow::Result<Self> {
        let Curl {
            method,
            url,
            path_as_is,
            mut headers,
            mut notes,
        } = curl;
        let (scheme, rest) = match url.split_once("://") {
            None => (Scheme::Http, url.as_str()),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => (Scheme::Https, rest),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (Scheme::Http, rest),
            Some((scheme, _)) => {
                bail!("{scheme}:// is not explained; only http:// and https:// are")
            }
        };
        let ends = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, target) = rest
            .split_at_checked(ends)
            .context("the URL cannot be read")?;
        let authority = match authority.rsplit_once('@') {
            // Not repeated: it may hold a password.
            Some((_user, authority)) => {
                notes.push("the URL's user name and password are left out".to_owned());
                authority
            }
            None => authority,
        };
        // What a request says of itself is `Host`; the connection goes to the proxy.
        let named = headers.iter().position(|(name, _)| name == "host");
        let authority = match named {
            Some(position) => headers.remove(position).1,
            None => on_the_wire(authority)?,
        };
        let target = target.split('#').next().unwrap_or_default();
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (target, None),
        };
        let path = if path_as_is {
            path.to_owned()
        } else {
            without_dots(path)
        };
        let path = if path.is_empty() {
            "/".to_owned()
        } else {
            path
        };
        let target = query.map_or_else(|| path.clone(), |query| format!("{path}?{query}"));
        Ok(Self {
            method,
            target,
            authority,
            headers,
            scheme,
            notes,
        })
    }
}

/// What curl sends for an international host: its ASCII form (UTS 46).
fn on_the_wire(authority: &str) -> anyhow::Result<String> {
    if authority.is_ascii() {
        return Ok(authority.to_owned());
    }
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) => (host, format!(":{port}")),
        None => (authority, String::new()),
    };
    let ascii = idna::domain_to_ascii(host)
        .with_context(|| format!("{host:?} is not an international host name"))?;
    Ok(ascii + &port)
}

/// What curl sends for a path with `.` and `..` (RFC 3986 §5.2.4).
fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        match segment {
            "." => {}
            ".." => {
                kept.pop();
            }
            other => {
                kept.push(other);
                continue;
            }
        }
        if is_last {
            kept.push("");
        }
    }
    kept.iter().map(|segment| format!("/{segment}")).collect()
}

fn parse_header(text: &str) -> anyhow::Result<(String, String)> {
    let header = text
        .split_once(':')
        .filter(|(name, _)| !name.trim().is_empty());
    let (name, value) = header.context("write `Name: value`")?;
    Ok((name.trim().to_ascii_lowercase(), value.trim().to_owned()))
}

pub(crate) fn parse_time(text: &str) -> anyhow::Result<Timestamp> {
    let time: Result<jiff::Timestamp, _> = text.parse();
    let time = time
        .ok()
        .context("not a time such as 2026-06-14T03:47:22Z")?;
    Ok(Timestamp::from_millis(time.as_millisecond()))
}
