//! `claims` of a token: names with texts, in which `{attribute}` stands for what is proven of the caller.

use attache_core::claims::{
    CustomClaims, InvalidClaimName, InvalidTemplate, MAX_CLAIMS, MAX_NAME_BYTES,
    MAX_TEMPLATE_BYTES, RESERVED, Template, check_name,
};

use crate::{
    problem::{Code, quoted},
    selector,
    yaml::At,
};

/// What the name of a claim matches, as a regular expression (ECMA-262).
pub(crate) fn name_pattern() -> String {
    // ECMA-262 has no flag within a pattern that folds case.
    let folded = |letter: char| match letter.is_ascii_alphabetic() {
        true => format!("[{}{letter}]", letter.to_ascii_uppercase()),
        false => letter.to_string(),
    };
    let reserved = RESERVED.map(|name| name.chars().map(folded).collect::<String>());
    format!("^(?!({})$)[!-~]{{1,{MAX_NAME_BYTES}}}$", reserved.join("|"))
}

pub(super) fn claims(at: &At<'_>) -> Option<CustomClaims> {
    let claims = at.entries(|name, at| Some((claim_name(name)?, template(at)?)))?;
    if claims.is_empty() {
        let way_out = "name a claim, such as `team: \"{k8s.namespace}\"`, or remove the field";
        return at.refuse_with(Code::Empty, "no claim is named", way_out);
    }
    if claims.len() > MAX_CLAIMS {
        let message = format!("{} claims", claims.len());
        return at.refuse_with(
            Code::OutOfRange,
            message,
            format!("write at most {MAX_CLAIMS}"),
        );
    }
    CustomClaims::of(claims).ok()
}

fn claim_name(key: &At<'_>) -> Option<String> {
    let name = key.text()?;
    let (code, why, way_out) = match check_name(name) {
        Ok(()) => return Some(name.to_owned()),
        Err(InvalidClaimName::Reserved) => (
            Code::ReservedClaim,
            "is a registered claim, and the issuer alone says it",
            "choose a name of your own, such as `team` or `https://acme.example/team`".to_owned(),
        ),
        Err(InvalidClaimName::Malformed) => (
            Code::InvalidName,
            "cannot name a claim",
            format!("write 1 to {MAX_NAME_BYTES} visible ASCII characters"),
        ),
    };
    key.refuse_with(code, format!("{} {why}", quoted(name)), way_out)
}

pub(super) fn template(at: &At<'_>) -> Option<Template> {
    let text = at.text()?;
    let way_out = match Template::parse(text) {
        Ok(template) => return known_attributes(at, &template).then_some(template),
        Err(InvalidTemplate::TooLong) => format!("write at most {MAX_TEMPLATE_BYTES} bytes"),
        Err(InvalidTemplate::Control) => "remove the control characters".to_owned(),
        Err(InvalidTemplate::Braces) => {
            "write \"{k8s.namespace}\" for an attribute, and `{{` or `}}` for a brace".to_owned()
        }
    };
    let message = format!("{} is not a text with attributes", quoted(text));
    at.refuse_with(Code::InvalidValue, message, way_out)
}

fn known_attributes(at: &At<'_>, template: &Template) -> bool {
    let known: Vec<_> = template
        .attributes()
        .map(|attribute| selector::known_attribute(at, attribute))
        .collect();
    known.into_iter().all(|known| known.is_some())
}
