//! `AccessPolicy`: binds client, server, trust providers, conditions, credential provider and actions.

use std::{
    borrow::Cow,
    sync::{Arc, LazyLock},
    time::Duration,
};

use attache_core::request::{PathPrefix, goes_around_policy, is_method};

use crate::{
    document::{Specification, credential_provider::TTL_SECONDS, server_workload::path_prefix},
    hash::Set,
    name::{self, Reference},
    problem::{Code, Place, quoted},
    yaml::At,
};

/// Most conditions of one policy.
const MAX_CONDITIONS: usize = 16;

/// A policy as written. What was refused is `None`; the rest is still checked against the other
/// documents.
pub(crate) struct AccessPolicy {
    pub(crate) effect: Option<Effect>,
    pub(crate) mode: Option<PolicyMode>,
    pub(crate) client: Option<Reference>,
    pub(crate) server: Option<Reference>,
    pub(crate) trust_providers: Option<Vouchers>,
    pub(crate) conditions: Option<Vec<Reference>>,
    pub(crate) credential_provider: Option<Option<Reference>>,
    /// Of the credential, in place of its provider's.
    pub(crate) ttl: Option<Option<Duration>>,
    /// Never empty.
    pub(crate) actions: Option<Vec<Action>>,
}

/// Whose proof a policy asks for.
pub(crate) enum Vouchers {
    /// A deny that applies whoever proved the caller, and if nobody did.
    Anyone,
    /// At least one of them.
    OneOf(Vec<Reference>),
    /// Each of them; only an allow may say so.
    All(Vec<Reference>),
    /// Nobody: the caller shows no evidence.
    Nobody,
}

/// Which of the named trust providers must have proven the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Demand {
    Any,
    All,
    None,
}

/// What a policy does with the calls it covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Effect {
    Allow,
    Deny,
}

impl Effect {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        }
    }
}

/// Whether a policy counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum PolicyMode {
    Enforce,
    /// It never changes an answer; what it would have changed is told.
    DryRun,
}

/// A named set of calls.
#[derive(Clone)]
pub(crate) struct Action {
    pub(crate) name: Cow<'static, str>,
    pub(crate) methods: MethodSet,
    /// `None`: every path of the server workload.
    pub(crate) paths: Option<Vec<(PathPrefix, Place)>>,
}

/// Methods, compared byte by byte (RFC 9110 §9.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum MethodSet {
    Any,
    These(Arc<[String]>),
}

impl MethodSet {
    pub(crate) fn contains(&self, method: &str) -> bool {
        match self {
            Self::Any => true,
            Self::These(methods) => methods.iter().any(|listed| listed == method),
        }
    }
}

impl Action {
    /// Every method on every path of the server workload.
    pub(crate) fn all() -> Self {
        Self {
            name: Cow::Borrowed("all"),
            methods: MethodSet::Any,
            paths: None,
        }
    }

    fn lower(at: &At<'_>) -> Option<Self> {
        if !at.is_mapping() {
            let choices = PREDEFINED.each_ref().map(|set| (set.0, set));
            let (name, methods) = at.one_of(&choices)?;
            return Some(Self {
                name: Cow::Borrowed(name),
                methods: methods.clone(),
                paths: None,
            });
        }
        let mut fields = at.fields()?;
        let name = fields.required("name", action_name);
        let methods = fields.required("methods", |at| at.some_list(method));
        // An absent list must not come to mean every path: it is written, be it `[/]`.
        let paths = fields.required("paths", |at| {
            at.some_list(|at| path_prefix(at).map(|prefix| (prefix, at.place())))
        });
        Some(Self {
            name: Cow::Owned(name?),
            methods: MethodSet::These(methods?.into()),
            paths: Some(paths?),
        })
    }
}

impl AccessPolicy {
    pub(super) fn lower(fields: Specification<'_, '_>) -> Self {
        let effects = [Effect::Allow, Effect::Deny].map(|effect| (effect.name(), effect));
        let effect = fields.required("effect", |at| at.one_of(&effects));
        let modes = [
            ("enforce", PolicyMode::Enforce),
            ("dry-run", PolicyMode::DryRun),
        ];
        let mode = fields.or("mode", PolicyMode::Enforce, |at| at.one_of(&modes));
        let client = fields.required("client", name::reference);
        let server = fields.required("server", name::reference);
        let (demand, trust_providers) = vouchers(fields, effect);
        let conditions = fields.or("conditions", Vec::new(), conditions);
        let credential_provider =
            fields.optional("credentialProvider", |at| match (effect, demand) {
                (Some(Effect::Deny), _) => at.refuse_with(
                    Code::ConflictingFields,
                    "a policy that denies attaches no credential",
                    "remove the field",
                ),
                // SECURITY: a credential goes to nobody who is not proven.
                (_, Some(Demand::None)) => at.refuse_with(
                    Code::UnattestedCredential,
                    "the credential would go to a caller that nobody proved",
                    "name `trustProviders` in place of `attestation: none`, or remove this field",
                ),
                (Some(Effect::Allow) | None, _) => name::reference(at),
            });
        let ttl = fields.optional("ttl", |at| match credential_provider {
            Some(None) => at.refuse_with(
                Code::ConflictingFields,
                "a policy that attaches no credential has no lifetime for one",
                "remove the field, or name a `credentialProvider`",
            ),
            Some(Some(_)) | None => at.duration(TTL_SECONDS),
        });
        let actions = fields.required("actions", |at| {
            let actions = at.some_list(Action::lower)?;
            distinct(at, actions)
        });
        Self {
            effect,
            mode,
            client,
            server,
            trust_providers,
            conditions,
            credential_provider,
            ttl,
            actions,
        }
    }
}

/// `attestation` and `trustProviders`, which say together whose proof is asked for.
fn vouchers(
    fields: Specification<'_, '_>,
    effect: Option<Effect>,
) -> (Option<Demand>, Option<Vouchers>) {
    let demands = [
        ("any", Demand::Any),
        ("all", Demand::All),
        ("none", Demand::None),
    ];
    let demand = fields.or("attestation", Demand::Any, |at| {
        let demand = at.one_of(&demands)?;
        if effect == Some(Effect::Deny) && demand == Demand::All {
            // SECURITY: the caller chooses what it shows, and would show one piece less.
            return at.refuse_with(
                Code::ConflictingFields,
                "a caller escapes a deny with `attestation: all` by leaving one piece of evidence out",
                "remove the field, so that the proof of any one of them is enough for the deny",
            );
        }
        Some(demand)
    });
    let named = |at: &At<'_>| {
        let references = at.some_list(name::reference)?;
        match demand? {
            Demand::Any => Some(Vouchers::OneOf(references)),
            Demand::All => Some(Vouchers::All(references)),
            Demand::None => at.refuse_with(
                Code::ConflictingFields,
                "`attestation: none` is about callers that no trust provider proves",
                "remove one of the two fields",
            ),
        }
    };
    let vouchers = match (effect, demand) {
        (_, Some(Demand::None)) => fields.or("trustProviders", Vouchers::Nobody, named),
        (Some(Effect::Allow), _) | (_, Some(Demand::All)) => {
            fields.required("trustProviders", named)
        }
        (Some(Effect::Deny) | None, _) => fields.or("trustProviders", Vouchers::Anyone, named),
    };
    (demand, demand.and(vouchers))
}

static PREDEFINED: LazyLock<[(&str, MethodSet); 3]> = LazyLock::new(|| {
    let these =
        |methods: &[&str]| MethodSet::These(methods.iter().map(|m| (*m).to_owned()).collect());
    [
        ("read", these(&["GET", "HEAD", "OPTIONS"])),
        ("write", these(&["POST", "PUT", "PATCH", "DELETE"])),
        ("all", MethodSet::Any),
    ]
});

/// Names of conditions, all of which must hold.
fn conditions(at: &At<'_>) -> Option<Vec<Reference>> {
    let conditions = at.some_list(name::reference)?;
    if conditions.len() > MAX_CONDITIONS {
        let message = format!("{} conditions are listed", conditions.len());
        let way_out = format!("list at most {MAX_CONDITIONS}; one CEL condition can say several");
        return at.refuse_with(Code::OutOfRange, message, way_out);
    }
    Some(conditions)
}

fn action_name(at: &At<'_>) -> Option<String> {
    let text = at.text()?;
    if PREDEFINED.iter().any(|(name, _)| *name == text) {
        let message = format!("{} is a predefined action", quoted(text));
        return at.refuse_with(
            Code::DuplicateName,
            message,
            "give the action a name of its own",
        );
    }
    if !name::is_label(text) {
        let message = format!("{} is not the name of an action", quoted(text));
        let way_out = "use letters a-z, digits and `-`, at most 63";
        return at.refuse_with(Code::InvalidName, message, way_out);
    }
    Some(text.to_owned())
}

fn method(at: &At<'_>) -> Option<String> {
    let text = at.text()?;
    let upper = text.to_ascii_uppercase();
    let message = format!("{} is not a method", quoted(text));
    if upper != text && is_method(&upper) {
        let way_out = format!("methods are case-sensitive; write {upper}");
        return at.refuse_with(Code::InvalidMethod, message, way_out);
    }
    // SECURITY: it is a token, and a deny of the method `*` would let all others through.
    if text.contains('*') {
        let way_out =
            "for every method write the action `all`, or list the methods: `*` stands for none";
        return at.refuse_with(Code::InvalidMethod, message, way_out);
    }
    if !is_method(text) {
        return at.refuse_with(Code::InvalidMethod, message, "write a method such as GET");
    }
    if goes_around_policy(text) {
        let message = format!("{text} goes around the policy and is always refused");
        return at.refuse_with(Code::InvalidMethod, message, "remove it");
    }
    Some(upper)
}

fn distinct(at: &At<'_>, actions: Vec<Action>) -> Option<Vec<Action>> {
    let mut known = Set::default();
    let mut named = actions.iter();
    if let Some(action) = named.find(|action| !known.insert(&action.name)) {
        let message = format!("the action {} stands twice", quoted(&action.name));
        return at.refuse_with(Code::DuplicateName, message, "keep one of them");
    }
    Some(actions)
}
