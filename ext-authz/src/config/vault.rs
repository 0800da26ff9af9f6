//! The part `vault` of the section `secrets`: the Vault that `vault:` leads to, how the edge logs in there, and what of
//! it documents may name.

use std::{path::Path, time::Duration};

use attache_core::audience::is_audience;
use attache_credentials::{EdgeLogin, VaultRoot, VaultSettings};
use attache_outbound::parse_target;
use attache_policy::{
    document::Engine,
    problem::{Code, quoted},
    yaml::{At, Fields},
};

use super::{layers::Section, path};

/// Unless the file says otherwise.
const READ_AGAIN: Duration = Duration::from_mins(5);
/// Long enough for a Vault that is restarted or unsealed by hand.
const KEEP: Duration = Duration::from_hours(1);
const DAY: u64 = 86_400;

type Lowered = Option<(VaultSettings, Vec<VaultRoot>)>;

/// `None` inside where there is no Vault.
pub(super) fn lower(mut section: Section<'_>, base: &Path) -> Option<Lowered> {
    let address = section.or("address", None, |at| address(at).map(Some));
    let ca_file = section.or("ca_file", None, |at| path(at, base).map(Some));
    let namespace = section.or("namespace", None, |at| plain_path(at).map(Some));
    let read_again = section.or("read_again", READ_AGAIN, |at| at.duration(1..=DAY));
    let keep = section.or("keep", KEEP, |at| at.duration(0..=7 * DAY));
    let written = (section.field("login"), section.field("roots"));
    let address = address?;
    let (login, roots) = match (&address, written) {
        (None, (None, None)) => return Some(None),
        (Some(_), (Some(login), Some(roots))) => (login, roots),
        (_, (login, roots)) => {
            let message = "the Vault is not described in full";
            let way_out = "write `address`, `login` and `roots` of secrets.vault, or none of them";
            let at = login.or(roots).or_else(|| section.field("address"));
            if let Some(at) = at {
                return at.refuse_with(Code::MissingField, message, way_out);
            }
            section.refuse("address", message.to_owned(), way_out.to_owned());
            return None;
        }
    };
    let login = lower_login(&login, base);
    let roots = lower_roots(&roots);
    let settings = VaultSettings {
        address: address?,
        ca_file: ca_file?,
        namespace: namespace?,
        login: login?,
        read_again: read_again?,
        keep: keep?,
    };
    Some(Some((settings, roots?)))
}

fn address(at: &At<'_>) -> Option<String> {
    at.parse(|text| match parse_target(text) {
        Ok(url) if url.query().is_none() => Ok(text.to_owned()),
        Ok(_) => Err("it has a query; write https://host:port".to_owned()),
        Err(invalid) => Err(format!("{invalid}; write https://host:port")),
    })
}

fn lower_login(at: &At<'_>, base: &Path) -> Option<EdgeLogin> {
    let mut fields = at.fields()?;
    let methods = [("jwt", true), ("approle", false)];
    let Some(by_token) = fields.required("method", |at| at.one_of(&methods)) else {
        fields.leave_rest();
        return None;
    };
    if by_token {
        let mount = fields.or("mount", "jwt".to_owned(), plain_path);
        let role = fields.required("role", text);
        let audience = fields.required("audience", audience);
        return Some(EdgeLogin::Jwt {
            mount: mount?,
            role: role?,
            audience: audience?,
        });
    }
    let mount = fields.or("mount", "approle".to_owned(), plain_path);
    let role_id = fields.required("role_id", text);
    let secret_id_file = fields.required("secret_id_file", |at| path(at, base));
    Some(EdgeLogin::AppRole {
        mount: mount?,
        role_id: role_id?,
        secret_id_file: secret_id_file?,
    })
}

fn text(at: &At<'_>) -> Option<String> {
    at.text().map(str::to_owned)
}

fn audience(at: &At<'_>) -> Option<String> {
    at.parse(|text| match is_audience(text) {
        true => Ok(text.to_owned()),
        false => Err(format!("{} is no audience", quoted(text))),
    })
}

/// SECURITY: one mount has one kind of engine, or the same text would lead to two places.
fn lower_roots(at: &At<'_>) -> Option<Vec<VaultRoot>> {
    let roots = at.some_list(|at| at.fields().and_then(root))?;
    let differ = |one: &VaultRoot| {
        let same_mount = |other: &&VaultRoot| other.mount == one.mount;
        roots
            .iter()
            .filter(same_mount)
            .any(|other| other.engine != one.engine)
    };
    match roots.iter().find(|one| differ(one)) {
        None => Some(roots),
        Some(one) => {
            let message = format!("the mount {} has two engines", quoted(&one.mount));
            let way_out = "write the same `engine` wherever it is named";
            at.refuse_with(Code::ConflictingFields, message, way_out)
        }
    }
}

fn root(mut fields: Fields<'_>) -> Option<VaultRoot> {
    let engines = [("kv-v1", Engine::KvV1), ("kv-v2", Engine::KvV2)];
    let engine = fields.or("engine", Engine::KvV2, |at| at.one_of(&engines));
    let mount = fields.required("mount", plain_path);
    // An absent field never means everything.
    let path = fields.required("path", |at| match at.text()? {
        "*" => Some(None),
        _ => plain_path(at).map(Some),
    });
    Some(VaultRoot {
        engine: engine?,
        mount: mount?,
        path: path?,
    })
}

/// Plain segments, as references to secrets have them.
fn plain_path(at: &At<'_>) -> Option<String> {
    let text = at.text()?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let segment = |part: &str| !["", ".", ".."].contains(&part) && part.bytes().all(plain);
    if text.split('/').all(segment) {
        return Some(text.to_owned());
    }
    let message = format!("{} is not a plain path", quoted(text));
    let way_out = "write segments of letters, digits, `-`, `_` and `.`, with `/` between them";
    at.refuse_with(Code::InvalidValue, message, way_out)
}
