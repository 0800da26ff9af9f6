//! The variants of the group `envoy`: which filter stands before the target, and what the target must get.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::{AUDIENCE, CALLER, NONE};
use crate::{
    bench::proxy::{self, HOST},
    filter,
    svid::SvidSigner,
};

/// The floor of wasm.
const TWO_HEADERS: &str = "wasm-two-headers";

/// What the target must have got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    /// The client's own token.
    Untouched,
    /// Another credential in its place.
    Attached,
    /// The caller's name in place of the token.
    Named,
}

/// Who calls, and what they show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    /// One workload, by one token, again and again.
    Same,
    /// One workload, by each of many tokens in turn.
    DifferentTokens,
    /// Each of many workloads, one after another, once.
    DifferentWorkloads,
}

/// Which server is asked, where one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// None, or one that stays as it is.
    Warm,
    /// An Attaché that starts anew for each round.
    Started,
}

/// What a variant is made of.
#[derive(Clone)]
pub(super) struct Kind {
    pub(super) name: &'static str,
    /// What its added processor time is compared with, or of first calls everything.
    pub(super) floor: Option<&'static str>,
    pub(super) filter: Option<Value>,
    pub(super) shown: Shown,
    pub(super) expected: Expected,
    pub(super) asked: Asked,
}

impl Kind {
    fn new(
        name: &'static str,
        floor: Option<&'static str>,
        filter: Option<Value>,
        shown: Shown,
        expected: Expected,
    ) -> Self {
        Self {
            name,
            floor,
            filter,
            shown,
            expected,
            asked: Asked::Warm,
        }
    }
}

/// All variants, floors before those that are compared with them.
pub(super) async fn kinds(signer: &SvidSigner) -> Result<Vec<Kind>> {
    let keys = json!({ "keys": [signer.jwk()] });
    let mut kinds = of_envoy(&keys);
    kinds.extend(of_wasm(&keys).await?);
    kinds.extend(of_ext_authz());
    Ok(kinds)
}

/// Those of `kinds` that are `wanted`, with whatever they are compared with; all, if none is wanted by name.
pub(super) fn chosen(kinds: Vec<Kind>, wanted: &[String]) -> Result<Vec<Kind>> {
    let known = |name: &str| kinds.iter().find(|kind| kind.name == name);
    let mut names = vec![NONE];
    for name in wanted {
        let kind = known(name).with_context(|| {
            let names: Vec<&str> = kinds.iter().map(|kind| kind.name).collect();
            format!("{name}: no such variant; there are {}", names.join(", "))
        })?;
        names.push(kind.name);
        names.extend(kind.floor);
    }
    let all = wanted.is_empty();
    let chosen = kinds
        .into_iter()
        .filter(|kind| all || names.contains(&kind.name));
    Ok(chosen.collect())
}

/// Envoy's own filters.
fn of_envoy(keys: &Value) -> Vec<Kind> {
    use Expected::{Attached, Untouched};
    use Shown::{DifferentTokens, Same};
    let jwt_authn = |cached| Some(proxy::jwt_authn(keys, AUDIENCE, cached));
    let injector = Some(proxy::credential_injector());
    vec![
        Kind::new(NONE, None, None, Same, Untouched),
        Kind::new("credential_injector", None, injector, Same, Attached),
        Kind::new(FIRST, None, jwt_authn(false), DifferentTokens, Untouched),
        Kind::new("jwt_authn-cached", None, jwt_authn(true), Same, Untouched),
    ]
}

const FIRST: &str = "jwt_authn-first";

async fn of_wasm(keys: &Value) -> Result<Vec<Kind>> {
    use Expected::{Attached, Named, Untouched};
    use Shown::{DifferentTokens, Same};
    let two_headers = filter::built("attache-two-headers").await?;
    let two_headers = Some(proxy::wasm(&two_headers, "two-headers", &json!({})));
    let ours = filter::wasm().await?;
    let attach = |name, audit: Value| {
        let filter = Some(proxy::wasm(&ours, name, &outbound(&audit)));
        Kind::new(name, Some(TWO_HEADERS), filter, Same, Attached)
    };
    let inbound = inbound(keys);
    let verify = |name, floor, shown| {
        let filter = Some(proxy::wasm(&ours, name, &inbound));
        Kind::new(name, Some(floor), filter, shown, Named)
    };
    Ok(vec![
        Kind::new(TWO_HEADERS, None, two_headers, Same, Untouched),
        attach("filter-attach", json!({})),
        attach(
            "filter-attach-no-audit",
            json!({ "accesses": "leases-alone" }),
        ),
        verify("filter-verify-cached", TWO_HEADERS, Same),
        verify("filter-verify-first", FIRST, DifferentTokens),
    ])
}

fn of_ext_authz() -> Vec<Kind> {
    let (empty, signing) = ("ext_authz-empty", "ext_authz-empty-signing");
    let to = |name, floor, server, shown| {
        let filter = Some(proxy::ext_authz(server));
        Kind::new(name, floor, filter, shown, Expected::Attached)
    };
    let first = Shown::DifferentWorkloads;
    vec![
        to(empty, None, "empty", Shown::Same),
        to("ext_authz-attache", Some(empty), "gateway", Shown::Same),
        to(signing, None, "signing", first),
        Kind {
            asked: Asked::Started,
            ..to("ext_authz-attache-first", Some(signing), "started", first)
        },
    ]
}

fn outbound(audit: &Value) -> Value {
    json!({ "outbound": {
        "edge": { "cluster": "pod" },
        "caller": { "pod": {} },
        "targets": [{ "cluster": proxy::CLUSTER, "target": format!("http://{HOST}") }],
        "inject": ["authorization"],
        "audit": audit,
    } })
}

fn inbound(keys: &Value) -> Value {
    json!({ "inbound": {
        "audience": AUDIENCE,
        "trust_domains": [{ "name": "cluster.local", "inline": keys }],
        "allow": [{ "spiffe_ids": [CALLER], "methods": ["GET"], "paths": ["/v1"] }],
    } })
}
