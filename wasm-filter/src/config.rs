//! A plugin's configuration: JSON in a `google.protobuf.StringValue`, read in full or refused with every problem
//! named. A plugin does one of two things, and its configuration says which.

use core::fmt;

use attache_core::json;

use self::fields::{At, Fields, Problems};

mod fields;
mod inbound;
mod outbound;
#[cfg(test)]
mod tests;

pub use inbound::{Allow, Inbound, Judge, Narrowed, Rules, Source, TokenAfter, TrustedDomain};
pub use outbound::{
    Accesses, Audit, CallerFrom, Elsewhere, Outbound, PeerCertificate, Target, WhenFull,
};

/// Longest configuration read, in bytes.
const MAX_BYTES: usize = 1024 * 1024;

/// What a plugin does.
#[derive(Debug)]
pub enum Settings {
    /// Verifies callers on the way in.
    Inbound(Inbound),
    /// Attaches credentials on the way out.
    Outbound(Outbound),
}

/// Everything that is wrong with a configuration, each with its place.
#[derive(Debug, PartialEq, Eq)]
pub struct InvalidConfiguration(pub Vec<String>);

impl fmt::Display for InvalidConfiguration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("; "))
    }
}

/// Reads a configuration.
#[inline(never)]
pub fn parse(text: &[u8]) -> Result<Settings, InvalidConfiguration> {
    let only = |problem: String| InvalidConfiguration(vec![problem]);
    if text.len() > MAX_BYTES {
        let length = text.len();
        return Err(only(format!(
            "the configuration has {length} bytes, at most {MAX_BYTES} are read"
        )));
    }
    let members = json::object(text).map_err(|invalid| {
        only(format!(
            "the configuration is {invalid}: write a JSON object into a google.protobuf.StringValue"
        ))
    })?;
    let problems = Problems::default();
    let fields = Fields::new(String::new(), &members, &problems);
    let inbound = fields.optional("inbound", |at| inbound::read(&at.fields()?));
    let outbound = fields.optional("outbound", |at| outbound::read(&at.fields()?));
    if fields.has("inbound") == fields.has("outbound") {
        let both = "exactly one of `inbound` and `outbound` says what the plugin does";
        problems.add("", both);
    }
    fields.finish();
    let settings = inbound.map(Settings::Inbound);
    let settings = settings.or(outbound.map(Settings::Outbound));
    match (problems.into_list(), settings) {
        (list, Some(settings)) if list.is_empty() => Ok(settings),
        (list, _) => Err(InvalidConfiguration(list)),
    }
}

/// `{"cluster": "attache"}`.
fn edge(at: &At<'_>) -> Option<String> {
    let fields = at.fields()?;
    let cluster = fields.required("cluster", cluster);
    fields.finish();
    cluster
}

/// The name of an Envoy cluster.
fn cluster(at: &At<'_>) -> Option<String> {
    let text = at.text()?;
    if text.len() > 256 || text.bytes().any(|byte| byte.is_ascii_control()) {
        return at.problem("it is no name of a cluster: at most 256 bytes, no control characters");
    }
    Some(text.to_owned())
}
