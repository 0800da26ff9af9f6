//! `PolicyTest`: what users expect of their policies, kept beside them. A server reads these documents as
//! strictly as all others, and takes no further notice of them.

use std::net::IpAddr;

use attache_core::{
    attributes::{AttributeValue, Attributes},
    decision::{DenyReason, Fault, Mismatch},
    event::Outcome,
    request::{AmbiguousRequest, Transport},
    time::Timestamp,
};

use crate::{
    compile::{Settings, Source},
    context::Country,
    document::{self, Spec, Specification, TrustProvider},
    name::{self, QualifiedName},
    problem::{Code, Place, Problems, Report, did_you_mean, quoted},
    selector::attribute_name,
    yaml::{At, File},
};

#[cfg(test)]
mod tests;

/// Expectations under one name.
#[derive(Clone, Debug)]
pub struct PolicyTest {
    /// The document's qualified name.
    pub name: QualifiedName,
    /// Where it was written.
    pub place: Place,
    /// Never empty.
    pub cases: Vec<Case>,
}

/// One call and how it must end.
#[derive(Clone, Debug)]
pub struct Case {
    /// As it was written; its number, from 1, if none was.
    pub name: String,
    /// Where it was written.
    pub place: Place,
    /// What would be proven of the caller.
    pub attributes: Attributes,
    /// The provider that would prove it; if it is not written, the set's only one of the fitting type.
    pub trust_provider: Option<String>,
    /// Where that stands.
    pub(crate) provider_place: Option<Place>,
    /// What is asked.
    pub call: TestedCall,
    /// How it must end.
    pub expect: Expected,
}

/// A request, in the words that a client sends: one that can be read in two ways is a case like others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestedCall {
    /// The host.
    pub host: String,
    /// The port that the route leads to.
    pub port: u16,
    /// How it is carried there.
    pub transport: Transport,
    /// The method.
    pub method: String,
    /// The path, with its query if there is one.
    pub path: String,
    /// Where it comes from.
    pub source: Option<IpAddr>,
    /// In which country that is.
    pub country: Option<Country>,
    /// When it is made.
    pub at: Option<Timestamp>,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
}

/// How a call must end. What is not written is not looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// For the caller.
    pub outcome: Outcome,
    /// The policy that it rests on: a document's name, or `<effect>:<client>:<server>:<action>`.
    pub policy: Option<String>,
    /// Where that stands.
    pub(crate) policy_place: Option<Place>,
    /// The code of the denial or fault.
    pub code: Option<String>,
}

/// The tests among `sources`. Problems are those of all documents, for a test of a set that does not load
/// would tell nothing.
pub fn policy_tests(sources: &[Source], settings: &Settings) -> Result<Vec<PolicyTest>, Problems> {
    let report = Report::new();
    let mut tests = Vec::new();
    for source in sources {
        let test = |root: &At<'_>| {
            let document = document::lower(root, &settings.trust_domain)?;
            let Some(Spec::PolicyTest(test)) = document.spec else {
                return None;
            };
            Some(*test)
        };
        let read = File::read_each(&source.name, &source.text, &report, test);
        tests.extend(read.into_iter().flatten());
    }
    if report.has_errors() {
        return Err(report.into_problems());
    }
    tests.sort_by(|one, other| one.place.cmp(&other.place));
    Ok(tests)
}

impl PolicyTest {
    pub(super) fn lower(fields: Specification<'_, '_>, name: &QualifiedName) -> Option<Self> {
        let mut cases = fields.required("cases", |at| at.some_list(Case::lower))?;
        for (index, case) in cases.iter_mut().enumerate() {
            if case.name.is_empty() {
                case.name = format!("case {}", index.saturating_add(1));
            }
        }
        Some(Self {
            name: name.clone(),
            place: fields.at().place(),
            cases,
        })
    }

    /// Whether `expected`, as a case of this document writes it, is the policy `name` that decided by the
    /// action `matched`.
    pub fn means(&self, expected: &str, name: Option<&str>, matched: Option<&str>) -> bool {
        let qualified = self.qualified(expected);
        name == Some(expected) || matched == Some(expected) || name == Some(qualified.as_str())
    }

    /// The provider that `written` means, as a case of this document writes it.
    pub fn provider<'p>(
        &self,
        written: &str,
        providers: &'p [TrustProvider],
    ) -> Option<&'p TrustProvider> {
        let named = |name: &str| providers.iter().find(|provider| provider.name == name);
        named(&self.qualified(written)).or_else(|| named(written))
    }

    /// The name in the document's own namespace.
    fn qualified(&self, name: &str) -> String {
        QualifiedName {
            namespace: self.name.namespace.clone(),
            name: name.to_owned(),
        }
        .to_string()
    }
}

impl Case {
    /// The name is empty if none is written.
    fn lower(at: &At<'_>) -> Option<Self> {
        let mut fields = at.fields()?;
        let name = fields.or("name", String::new(), |at| at.text().map(ToOwned::to_owned));
        let attributes = fields.required("attributes", attributes);
        let mut provider_place = None;
        let trust_provider = fields.optional("trustProvider", |at| {
            provider_place = Some(at.place());
            name::reference(at).map(|reference| reference.written())
        });
        let call = fields.required("request", TestedCall::lower);
        let expect = fields.required("expect", Expected::lower);
        Some(Self {
            name: name?,
            place: at.place(),
            attributes: attributes?,
            trust_provider: trust_provider?,
            provider_place,
            call: call?,
            expect: expect?,
        })
    }
}

impl TestedCall {
    fn lower(at: &At<'_>) -> Option<Self> {
        let mut fields = at.fields()?;
        let text = |at: &At<'_>| at.text().map(ToOwned::to_owned);
        let transports = [("tls", Transport::Tls), ("plaintext", Transport::Plaintext)];
        let host = fields.required("host", text);
        let transport = fields.or("transport", Transport::Tls, |at| at.one_of(&transports));
        let usual_port = match transport {
            Some(Transport::Plaintext) => 80,
            Some(Transport::Tls) | None => 443,
        };
        let port = fields.or("port", usual_port, At::port);
        let method = fields.required("method", text);
        let path = fields.required("path", text);
        let source = fields.optional("source", source);
        let country = fields.optional("country", |at| match source {
            Some(None) => at.refuse_with(
                Code::ConflictingFields,
                "a country without an address",
                "write `source`, too",
            ),
            Some(Some(_)) | None => country(at),
        });
        let moment = fields.optional("at", moment);
        let headers = fields.or("headers", Vec::new(), headers);
        Some(Self {
            host: host?,
            port: port?,
            transport: transport?,
            method: method?,
            path: path?,
            source: source?,
            country: country?,
            at: moment?,
            headers: headers?,
        })
    }
}

impl Expected {
    fn lower(at: &At<'_>) -> Option<Self> {
        let mut fields = at.fields()?;
        let outcomes = [
            ("permitted", Outcome::Permitted),
            ("denied", Outcome::Denied),
            ("error", Outcome::Error),
        ];
        let text = |at: &At<'_>| at.text().map(ToOwned::to_owned);
        let outcome = fields.required("outcome", |at| at.one_of(&outcomes));
        let mut policy_place = None;
        let policy = fields.optional("policy", |at| {
            policy_place = Some(at.place());
            text(at)
        });
        let code = fields.optional("code", |at| match outcome {
            Some(Outcome::Permitted) => at.refuse_with(
                Code::ConflictingFields,
                "a permitted call has no code",
                "remove the field",
            ),
            Some(Outcome::Denied | Outcome::Error) | None => code(at, outcome),
        });
        Some(Self {
            outcome: outcome?,
            policy: policy?,
            policy_place,
            code: code?,
        })
    }
}

/// A code that a case can end with: one that is mistyped would make a case that always fails.
fn code(at: &At<'_>, outcome: Option<Outcome>) -> Option<String> {
    let text = at.text()?;
    let found = codes().into_iter().find(|(code, _)| *code == text);
    let Some((code, of)) = found else {
        let fitting = codes()
            .into_iter()
            .filter(|(_, of)| outcome.is_none_or(|it| it == *of));
        let fitting: Vec<&str> = fitting.map(|(code, _)| code).collect();
        let way_out = did_you_mean(text, fitting.iter().copied())
            .unwrap_or_else(|| format!("write one of {}", fitting.join(", ")));
        let message = format!("{} is no code that a case ends with", quoted(text));
        return at.refuse_with(Code::UnknownChoice, message, way_out);
    };
    match outcome {
        Some(outcome) if outcome != of => {
            let of = match of {
                Outcome::Permitted => "permitted",
                Outcome::Denied => "denied",
                Outcome::Error => "error",
            };
            at.refuse_with(
                Code::ConflictingFields,
                format!("the outcome of {} is another", quoted(code)),
                format!("write `outcome: {of}`"),
            )
        }
        Some(_) | None => Some(code.to_owned()),
    }
}

/// The codes that a case can end with. Its caller is supposed, so that no evidence is judged, and no credential
/// is obtained.
pub(crate) fn codes() -> Vec<(&'static str, Outcome)> {
    let mismatch = Mismatch {
        attribute: String::new(),
        expected: String::new(),
        actual: None,
    };
    let reasons = [
        DenyReason::NoPolicy,
        DenyReason::AttributeMismatch(mismatch),
        DenyReason::DeniedByPolicy,
        DenyReason::ProviderNotAccepted,
        DenyReason::ConditionNotMet,
        DenyReason::ConditionUnavailable,
        DenyReason::RequestAmbiguous(AmbiguousRequest::Host),
        DenyReason::RequestAmbiguous(AmbiguousRequest::Path),
        DenyReason::RequestAmbiguous(AmbiguousRequest::Method),
        DenyReason::MethodRefused,
        DenyReason::HeaderAmbiguous,
        DenyReason::ParameterAmbiguous,
        DenyReason::RequestOverridden,
        DenyReason::DestinationMismatch,
        DenyReason::DestinationNotVouched,
        DenyReason::DestinationPlaintext,
    ];
    let denials = reasons
        .iter()
        .map(|reason| (reason.code(), Outcome::Denied));
    let conflict = (Fault::CredentialConflict.code(), Outcome::Error);
    denials.chain([conflict]).collect()
}

fn attributes(at: &At<'_>) -> Option<Attributes> {
    let entries = at.entries(|key, at| {
        let name = attribute_name(key)?;
        let texts = at.one_or_some(|at| at.text_or_empty().map(ToOwned::to_owned))?;
        let value = match texts.as_slice() {
            [text] if !at.is_list() => AttributeValue::one(text),
            _list => AttributeValue::many(texts),
        };
        Some((name.to_owned(), value))
    })?;
    let mut attributes = Attributes::new();
    for (name, value) in entries {
        attributes.insert(name, value);
    }
    Some(attributes)
}

fn source(at: &At<'_>) -> Option<IpAddr> {
    let text = at.text()?;
    text.parse().ok().or_else(|| {
        let message = format!("{} is not an address", quoted(text));
        at.refuse_with(
            Code::InvalidValue,
            message,
            "write 10.0.0.1 or \"2001:db8::1\", without port",
        )
    })
}

fn country(at: &At<'_>) -> Option<Country> {
    let text = at.text()?;
    Country::parse(text).or_else(|| {
        let message = format!("{} is not the code of a country", quoted(text));
        at.refuse_with(
            Code::InvalidValue,
            message,
            "write two letters of ISO 3166-1: DE, FR, US",
        )
    })
}

fn moment(at: &At<'_>) -> Option<Timestamp> {
    let text = at.text()?;
    let parsed: Result<jiff::Timestamp, _> = text.parse();
    let moment = parsed
        .ok()
        .map(|moment| Timestamp::from_millis(moment.as_millisecond()));
    moment.or_else(|| {
        let message = format!("{} is not a moment", quoted(text));
        at.refuse_with(
            Code::InvalidValue,
            message,
            "write it as \"2026-06-15T08:30:00Z\"",
        )
    })
}

fn headers(at: &At<'_>) -> Option<Vec<(String, String)>> {
    let headers = at.entries(|key, at| {
        let name = key.text()?.to_ascii_lowercase();
        let values = at.one_or_some(|at| at.text_or_empty().map(ToOwned::to_owned))?;
        Some(
            values
                .into_iter()
                .map(move |value| (name.clone(), value))
                .collect::<Vec<_>>(),
        )
    })?;
    Some(headers.into_iter().flatten().collect())
}
