//! What was obtained, and how it is injected.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use attache_core::{decision::Fault, freshness::Lifetime, secret::Secret};
use attache_policy::document::Placement;
use compact_str::CompactString;

use crate::{injection::Injection, material::Material, provider::Obtained};

/// A credential that may be attached to the request it was granted for.
pub struct Credential {
    token: Token,
    injection: Injection,
    token_id: Option<CompactString>,
    audience: Option<CompactString>,
    lifetime: Option<Lifetime>,
    used: AtomicBool,
}

/// Where the token stands, which is kept once.
enum Token {
    /// The credential is none.
    None,
    /// By itself: it is injected nowhere as it is.
    Apart(Secret),
    /// In a header that is injected, behind so many bytes.
    InHeader { place: usize, behind: usize },
}

impl Token {
    fn of(material: Material, injection: &Injection) -> Self {
        let Material::Token(token) = material else {
            return Self::None;
        };
        let mut headers = injection.headers().iter().enumerate();
        let within = headers.find_map(|(place, (_, value))| {
            let before = value.expose().strip_suffix(token.expose())?;
            Some(Self::InHeader {
                place,
                behind: before.len(),
            })
        });
        within.unwrap_or(Self::Apart(token))
    }
}

impl Credential {
    pub(crate) fn new(
        obtained: Obtained,
        audience: Option<String>,
        placements: &[Placement],
    ) -> Result<Self, Fault> {
        let Obtained {
            material,
            lifetime,
            id,
        } = obtained;
        let injection = Injection::of(&material, placements)?;
        Ok(Self {
            token: Token::of(material, &injection),
            injection,
            token_id: id.map(Into::into),
            audience: audience.map(Into::into),
            lifetime,
            used: AtomicBool::new(false),
        })
    }

    /// How it is put into the request.
    pub const fn injection(&self) -> &Injection {
        &self.injection
    }

    /// What names it in the audit event: `jti` of a token of ours.
    pub fn token_id(&self) -> Option<&str> {
        self.token_id.as_deref()
    }

    /// The token itself, for a caller that takes it into its own hands; empty if it is none.
    pub fn token(&self) -> &str {
        match &self.token {
            Token::None => "",
            Token::Apart(token) => token.expose(),
            Token::InHeader { place, behind } => {
                let header = self.injection.headers().get(*place);
                let token = header.and_then(|(_, value)| value.expose().get(*behind..));
                token.unwrap_or("")
            }
        }
    }

    /// Whom it is for, if it says so.
    pub fn audience(&self) -> Option<&str> {
        self.audience.as_deref()
    }

    /// From when until when it is good; `None` if nothing but a change of its source ends it.
    pub const fn lifetime(&self) -> Option<Lifetime> {
        self.lifetime
    }

    /// Whether nobody asked this before: the log tells of a credential once.
    pub fn first_use(&self) -> bool {
        !self.used.swap(true, Ordering::Relaxed)
    }

    /// Its whole lifetime, for the audit event; not what is left of it.
    pub fn ttl(&self) -> Option<Duration> {
        self.lifetime
            .map(|lifetime| lifetime.expires_at.since(lifetime.issued_at))
    }

    /// How many bytes its texts take.
    pub(crate) fn bytes(&self) -> usize {
        let texts =
            [&self.token_id, &self.audience].map(|text| text.as_ref().map_or(0, |text| text.len()));
        let apart = match &self.token {
            Token::Apart(token) => token.expose().len(),
            Token::None | Token::InHeader { .. } => 0,
        };
        let all = texts.into_iter().chain([apart, self.injection.bytes()]);
        all.fold(0, usize::saturating_add)
    }
}

#[cfg(test)]
mod tests {
    use attache_core::{header::HeaderName, query::ParameterName};
    use attache_policy::document::{Carrier, Form, Part};

    use super::*;

    fn token(material: Material, carriers: &[(Carrier, &str)]) -> (String, usize) {
        let placements = carriers.iter().map(|(carrier, prefix)| Placement {
            carrier: carrier.clone(),
            form: Form::Plain {
                prefix: (*prefix).to_owned(),
                part: Part::Token,
            },
        });
        let placements: Vec<_> = placements.collect();
        let obtained = Obtained {
            material,
            lifetime: None,
            id: None,
        };
        let credential = Credential::new(obtained, None, &placements);
        let credential = credential.map_err(|fault| format!("{fault:?}")).unwrap();
        (credential.token().to_owned(), credential.bytes())
    }

    #[test]
    fn a_token_that_stands_in_a_header_is_kept_there_alone() {
        let secret = || Material::Token(Secret::new("k&y".to_owned()));
        let header = Carrier::Header(HeaderName::parse("authorization").unwrap());
        let parameter = Carrier::Parameter(ParameterName::parse("key").unwrap());
        let kept = |material, carriers: &[_]| token(material, carriers);
        let in_header = [(parameter.clone(), ""), (header, "Bearer ")];
        assert_eq!(kept(secret(), &in_header), ("k&y".to_owned(), 5 + 10));
        // As it stands in a query it is another text.
        assert_eq!(
            kept(secret(), &[(parameter, "")]),
            ("k&y".to_owned(), 5 + 3)
        );
        assert_eq!(kept(secret(), &[]), ("k&y".to_owned(), 3));
        let none = Material::Headers(Vec::new());
        assert_eq!(kept(none, &[]), (String::new(), 0));
    }
}
