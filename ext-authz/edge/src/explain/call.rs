//! A call that somebody asks about, and who would make it.

use std::{fmt, net::IpAddr};

use attache_core::{attributes::Attributes, secret::Secret, time::Timestamp};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A call as a client would make it. Nothing of it is sent anywhere.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Call {
    /// As sent.
    pub method: String,
    /// The path with its query, as sent.
    pub target: String,
    /// `Host`, as sent.
    pub authority: String,
    /// Where the proxy's route would lead: `https://api.example.com:443`.
    pub origin: String,
    /// Names in lower case.
    #[serde(default)]
    pub headers: Vec<(String, String)>,
    /// The caller's address.
    #[serde(default)]
    pub source: Option<IpAddr>,
    /// The country that the address is in (ISO 3166-1 alpha-2), instead of what the database says.
    #[serde(default)]
    pub country: Option<String>,
    /// When the call is made; now if it is not given.
    #[serde(default)]
    pub at: Option<Timestamp>,
    /// The listener that would be asked; the first one if it is not given.
    #[serde(default)]
    pub listener: Option<String>,
    /// How many policies are told of; a few if it is not given.
    #[serde(default)]
    pub policies: Option<usize>,
    /// No call is made: a token is asked for, for the caller's own hands. Of the fields above those say nothing then
    /// that are about a request: `method`, `target`, `authority`, `origin`, `headers`.
    #[serde(default)]
    pub token: Option<TokenWanted>,
    /// Who calls.
    pub caller: Caller,
}

/// A token that somebody asks for, as the token endpoint takes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenWanted {
    /// Whom it is for.
    #[serde(default)]
    pub audience: Option<String>,
    /// Where it is used, as an origin: `https://api.example.com`.
    #[serde(default)]
    pub resource: Option<String>,
}

/// Who would make a call.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Caller {
    /// Whoever the listener finds evidence of, as with a real request.
    Request {},
    /// Who holds this evidence.
    Evidence {
        /// The token.
        token: Token,
        /// Whether it is verified.
        verification: Verification,
    },
    /// Of whom this would be proven.
    Attributes {
        /// By which provider; if it is not given, by the only one that could.
        trust_provider: Option<String>,
        /// A text, or a list of texts.
        attributes: Attributes,
    },
    /// Of whom this was proven, as an audit event tells. If the provider is no more, the evidence would not
    /// be accepted any more.
    Recorded {
        /// By which provider.
        trust_provider: String,
        /// By which others, too.
        #[serde(default)]
        also_by: Vec<String>,
        /// Its SPIFFE ID.
        spiffe_id: String,
        /// A text, or a list of texts: what is known of all that was proven.
        attributes: Attributes,
    },
    /// Nobody that is proven.
    Unproven {
        /// What is said of it: its address, and the name by which a proxy knows it.
        #[serde(default)]
        said: Attributes,
    },
}

/// Whether evidence counts only if it is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verification {
    /// As with a real request.
    Verify,
    /// It is read, and nothing of it is verified.
    Skip,
}

/// A token on its way to whoever explains it.
pub struct Token(pub Secret);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// SECURITY: written only into the body of a question to a server of ours, over its private socket.
impl Serialize for Token {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.expose())
    }
}

impl<'de> Deserialize<'de> for Token {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(Secret::new(text)))
    }
}
