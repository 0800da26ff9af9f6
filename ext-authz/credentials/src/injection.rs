//! How a credential stands in a request: headers to be set, and parameters of the query, each in the one spelling
//! that nothing can be added to.

use attache_core::{
    decision::Fault,
    header::{self, HeaderName},
    query::{self, ParameterName},
    secret::Secret,
};
use attache_policy::document::{Carrier, Form, Placement};
use base64ct::{Base64, Encoding as _};
use smallvec::SmallVec;

use crate::material::Material;

/// What is put into a request, replacing whatever the client sent in the same places.
#[derive(Default)]
pub struct Injection {
    /// Nearly always one, which stands in the credential itself.
    headers: SmallVec<[(HeaderName, Secret); 1]>,
    parameters: Vec<(ParameterName, Secret)>,
}

impl Injection {
    /// `material` in its places.
    pub(crate) fn of(material: &Material, placements: &[Placement]) -> Result<Self, Fault> {
        let mut injection = Self::default();
        for placement in placements {
            let value = value(material, placement)?;
            match &placement.carrier {
                Carrier::Header(name) => {
                    // SECURITY: a line break in a value would begin a header of someone else's choice.
                    if !header::is_header_value(value.expose()) {
                        return Err(Fault::CredentialNotEncodable);
                    }
                    injection.headers.push((name.clone(), value));
                }
                Carrier::Parameter(name) => {
                    let encoded = Secret::new(query::encoded(value.expose()));
                    injection.parameters.push((name.clone(), encoded));
                }
            }
        }
        Ok(injection)
    }

    /// The headers, each with its whole value.
    pub fn headers(&self) -> &[(HeaderName, Secret)] {
        &self.headers
    }

    /// The parameters of the query, each with its value as it stands on the wire.
    pub fn parameters(&self) -> &[(ParameterName, Secret)] {
        &self.parameters
    }

    /// How many bytes its texts take.
    pub(crate) fn bytes(&self) -> usize {
        let headers = self.headers.iter().map(|(_, value)| value);
        let parameters = self.parameters.iter().map(|(_, value)| value);
        headers.chain(parameters).fold(0, |sum: usize, value| {
            sum.saturating_add(value.expose().len())
        })
    }
}

/// What stands in one place. That the credential has the part was compiled.
fn value(material: &Material, placement: &Placement) -> Result<Secret, Fault> {
    match &placement.form {
        Form::Plain { prefix, part } => {
            let part = material.part(part).ok_or(Fault::CredentialNotEncodable)?;
            Ok(joined(&[prefix, part.expose()]))
        }
        Form::Basic => {
            let Material::Pair { username, password } = material else {
                return Err(Fault::CredentialNotEncodable);
            };
            basic(username.expose(), password.expose())
        }
        // SECURITY: it is for one token request's body, whose sender asks for it apart.
        Form::ClientAssertion => Err(Fault::CredentialNotEncodable),
    }
}

/// RFC 7617 §2, in UTF-8.
fn basic(username: &str, password: &str) -> Result<Secret, Fault> {
    let refused = |text: &str| text.chars().any(char::is_control);
    // SECURITY: a colon would move the end of the user name, and with it who logs in.
    if username.contains(':') || refused(username) || refused(password) {
        return Err(Fault::CredentialNotEncodable);
    }
    let pair = joined(&[username, ":", password]);
    let encoded = Secret::new(Base64::encode_string(pair.expose().as_bytes()));
    Ok(joined(&["Basic ", encoded.expose()]))
}

/// Room for all of it from the start: a text that grew would leave the secret in freed memory.
fn joined(parts: &[&str]) -> Secret {
    let length = parts
        .iter()
        .fold(0, |sum: usize, part| sum.saturating_add(part.len()));
    let mut text = String::with_capacity(length);
    parts.iter().for_each(|part| text.push_str(part));
    Secret::new(text)
}

#[cfg(test)]
mod tests;
