//! `authentication` of a ServerWorkload: where a credential goes, and in which form.

use attache_core::{
    header::{HeaderName, is_header_value},
    query::ParameterName,
    request::overrides_request,
};

use super::Authentication;
use crate::{
    problem::{Code, quoted},
    yaml::{At, Fields},
};

/// Most places that one credential goes into.
const MAX_PLACES: usize = 8;

/// One place in a request, and what stands there.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Placement {
    /// The place. A client's own value there never reaches the target.
    pub carrier: Carrier,
    /// What stands there.
    pub form: Form,
}

/// A place in a request.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Carrier {
    /// A header.
    Header(HeaderName),
    /// A parameter of the query.
    Parameter(ParameterName),
}

/// What stands in a place.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    /// A part of the credential behind a prefix.
    Plain {
        /// `Bearer `, with its space; empty for most headers and for parameters.
        prefix: String,
        /// Which part.
        part: Part,
    },
    /// User name and password as RFC 7617 joins them.
    Basic,
    /// Nothing: a client assertion stands in the body of each token request (RFC 7523 §2.2), and the client's own
    /// proof in this place is taken out.
    ClientAssertion,
}

/// A part of a credential.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// The one text of a token or key.
    Token,
    /// The user name of a pair.
    Username,
    /// The password of a pair.
    Password,
    /// The value that a provider of headers has for this one.
    Header(HeaderName),
}

impl Placement {
    /// `Authorization` with the scheme of `prefix` and a token.
    pub(super) fn scheme(prefix: &str) -> Option<Self> {
        Some(Self {
            carrier: Carrier::Header(HeaderName::parse("authorization").ok()?),
            form: Form::Plain {
                prefix: prefix.to_owned(),
                part: Part::Token,
            },
        })
    }

    /// The header, if it is one.
    pub const fn header(&self) -> Option<&HeaderName> {
        self.carrier.header()
    }

    /// The parameter of the query, if it is one.
    pub const fn parameter(&self) -> Option<&ParameterName> {
        self.carrier.parameter()
    }

    /// What stands before the credential, as people read it: `Bearer `, `Basic `, or nothing.
    pub fn prefix(&self) -> &str {
        match &self.form {
            Form::Plain { prefix, .. } => prefix,
            Form::Basic => "Basic ",
            Form::ClientAssertion => "",
        }
    }
}

impl Carrier {
    /// The header, if it is one.
    pub const fn header(&self) -> Option<&HeaderName> {
        match self {
            Self::Header(name) => Some(name),
            Self::Parameter(_) => None,
        }
    }

    /// The parameter of the query, if it is one.
    pub const fn parameter(&self) -> Option<&ParameterName> {
        match self {
            Self::Header(_) => None,
            Self::Parameter(name) => Some(name),
        }
    }

    /// The name, as the target knows it.
    pub fn name(&self) -> &str {
        match self {
            Self::Header(name) => name.as_str(),
            Self::Parameter(name) => name.as_str(),
        }
    }
}

#[derive(Clone, Copy)]
enum Method {
    Bearer,
    Ssws,
    Basic,
    Header,
    Query,
    Several,
    ProviderHeaders,
    ClientAssertion,
}

const METHODS: [(&str, Method); 8] = [
    ("bearer", Method::Bearer),
    ("ssws", Method::Ssws),
    ("basic", Method::Basic),
    ("header", Method::Header),
    ("query", Method::Query),
    ("several", Method::Several),
    ("provider-headers", Method::ProviderHeaders),
    ("client-assertion", Method::ClientAssertion),
];

/// Those of [`METHODS`] that stand for one place.
const METHODS_OF_ONE: [(&str, Method); 5] = [
    ("bearer", Method::Bearer),
    ("ssws", Method::Ssws),
    ("basic", Method::Basic),
    ("header", Method::Header),
    ("query", Method::Query),
];

pub(super) fn lower(at: &At<'_>) -> Option<Authentication> {
    let mut fields = at.fields()?;
    let Some(method) = fields.required("method", |at| at.one_of(&METHODS)) else {
        fields.leave_rest();
        return None;
    };
    match method {
        Method::ProviderHeaders => Some(Authentication::ProviderHeaders),
        Method::Several => several(&mut fields).map(Authentication::Placed),
        Method::Bearer
        | Method::Ssws
        | Method::Basic
        | Method::Header
        | Method::Query
        | Method::ClientAssertion => {
            one(&mut fields, method).map(|one| Authentication::Placed(vec![one]))
        }
    }
}

fn several(fields: &mut Fields<'_>) -> Option<Vec<Placement>> {
    let at = fields.required("places", |at| Some(at.clone()))?;
    let places = at.some_list(|at| {
        let mut fields = at.fields()?;
        let Some(method) = fields.required("method", |at| at.one_of(&METHODS_OF_ONE)) else {
            fields.leave_rest();
            return None;
        };
        one(&mut fields, method)
    })?;
    if places.len() > MAX_PLACES {
        let message = format!("{} places", places.len());
        return at.refuse_with(
            Code::OutOfRange,
            message,
            format!("write at most {MAX_PLACES}"),
        );
    }
    let taken = |(number, place): &(usize, &Placement)| {
        let mut before = places.iter().take(*number);
        before.any(|earlier| earlier.carrier == place.carrier)
    };
    if let Some((_, twice)) = places.iter().enumerate().find(taken) {
        let message = format!("{} stands twice", quoted(twice.carrier.name()));
        return at.refuse_with(Code::DuplicateName, message, "keep one of them");
    }
    Some(places)
}

fn one(fields: &mut Fields<'_>, method: Method) -> Option<Placement> {
    match method {
        Method::Bearer => Placement::scheme("Bearer "),
        Method::Ssws => Placement::scheme("SSWS "),
        Method::Basic => Some(Placement {
            carrier: Carrier::Header(HeaderName::parse("authorization").ok()?),
            form: Form::Basic,
        }),
        Method::ClientAssertion => Some(Placement {
            carrier: Carrier::Header(HeaderName::parse("authorization").ok()?),
            form: Form::ClientAssertion,
        }),
        Method::Header => {
            let header = fields.required("name", carrier);
            let prefix = fields.or("prefix", String::new(), prefix);
            let part = part(fields);
            Some(Placement {
                carrier: Carrier::Header(header?),
                form: Form::Plain {
                    prefix: prefix?,
                    part: part?,
                },
            })
        }
        Method::Query => {
            let name = fields.required("name", parameter);
            let part = part(fields);
            Some(Placement {
                carrier: Carrier::Parameter(name?),
                form: Form::Plain {
                    prefix: String::new(),
                    part: part?,
                },
            })
        }
        Method::Several | Method::ProviderHeaders => None,
    }
}

/// Which part of the credential stands in one place.
fn part(fields: &mut Fields<'_>) -> Option<Part> {
    let parts = [
        ("token", Part::Token),
        ("username", Part::Username),
        ("password", Part::Password),
    ];
    fields.or("part", Part::Token, |at| at.one_of(&parts))
}

/// The header that a credential stands in.
pub(in crate::document) fn carrier(at: &At<'_>) -> Option<HeaderName> {
    let refuse = |message| {
        let way_out = "write a header of the target's own, such as X-Api-Token";
        at.refuse_with(Code::InvalidHeader, message, way_out)
    };
    let text = at.text()?;
    if overrides_request(text) {
        let message = format!(
            "some applications take another method or path from the header {}",
            quoted(text)
        );
        return refuse(message);
    }
    HeaderName::parse(text).map_or_else(|error| refuse(error.to_string()), Some)
}

fn parameter(at: &At<'_>) -> Option<ParameterName> {
    let text = at.text()?;
    ParameterName::parse(text).map_or_else(
        |_malformed| {
            let message = format!("{} cannot name a query parameter", quoted(text));
            let way_out = "write letters, digits, `-`, `.`, `_` and `~`, at most 128";
            at.refuse_with(Code::InvalidParameter, message, way_out)
        },
        Some,
    )
}

pub(in crate::document) fn prefix(at: &At<'_>) -> Option<String> {
    let text = at.text_or_empty()?;
    // A credential follows, so that a space at the end of the prefix stands inside of the value.
    if text.len() <= 128 && is_header_value(&format!("{text}x")) {
        return Some(text.to_owned());
    }
    let message = format!(
        "{} cannot stand before a credential in a header",
        quoted(text)
    );
    at.refuse_with(
        Code::InvalidHeader,
        message,
        "write visible ASCII, such as \"Token \"",
    )
}
