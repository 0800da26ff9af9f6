//! Which document a name means.

use smallvec::SmallVec;

use crate::{
    document::Kind,
    hash::{Map, map_of},
    name::{QualifiedName, Reference},
    problem::{Code, Report, Spot, did_you_mean, quoted},
};

/// The documents that one kind of reference can mean.
pub(super) struct Names<T> {
    /// Nearly every name is one document's.
    by_name: Map<String, SmallVec<[Named<T>; 1]>>,
}

struct Named<T> {
    namespace: Option<String>,
    kind: Kind,
    spot: Spot,
    /// `None`: refused, which is already told.
    meaning: Option<T>,
}

/// What a reference leads to.
pub(super) enum Found<'n, T> {
    /// One document; `None` if that document was refused.
    One(Option<&'n T>),
    /// Several, none nearer than the others.
    Several(Vec<QualifiedName>),
    Nothing,
}

/// The document that refers to others.
#[derive(Clone, Copy)]
pub(super) struct From<'f> {
    pub(super) kind: Kind,
    pub(super) name: &'f QualifiedName,
    pub(super) report: &'f Report,
}

impl From<'_> {
    /// What messages call it.
    pub(super) fn label(&self) -> String {
        format!("{} {}", self.kind.name(), self.name)
    }

    /// Reports a problem with `reference`.
    pub(super) fn refuse(
        &self,
        reference: &Reference,
        code: Code,
        message: String,
        way_out: Option<String>,
    ) {
        let place = reference.place(&self.label());
        self.report.error_with(place, code, message, way_out);
    }
}

impl<T> Names<T> {
    pub(super) fn with_room_for(count: usize) -> Self {
        Self {
            by_name: map_of(count),
        }
    }

    /// If the name is taken, gives it back with the place where it is.
    pub(super) fn insert(
        &mut self,
        (kind, name): (Kind, QualifiedName),
        spot: &Spot,
        meaning: Option<T>,
    ) -> Result<(), (QualifiedName, Spot)> {
        let QualifiedName { namespace, name } = name;
        if let Some(same_name) = self.by_name.get(&name)
            && let Some(first) = same_name.iter().find(|it| it.namespace == namespace)
        {
            return Err((QualifiedName { namespace, name }, first.spot.clone()));
        }
        let same_name = self.by_name.entry(name).or_default();
        same_name.push(Named {
            namespace,
            kind,
            spot: spot.clone(),
            meaning,
        });
        Ok(())
    }

    /// The kind of the document with exactly this name.
    pub(super) fn kind_of(&self, namespace: Option<&str>, name: &str) -> Option<Kind> {
        let mut same_name = self.by_name.get(name)?.iter();
        let found = same_name.find(|named| named.namespace.as_deref() == namespace);
        found.map(|named| named.kind)
    }

    /// A document's own namespace comes first, then global documents. A global document refers to a
    /// global one, else to the only one of that name.
    pub(super) fn find(&self, reference: &Reference, from: &QualifiedName) -> Found<'_, T> {
        let Some(same_name) = self.by_name.get(&*reference.name) else {
            return Found::Nothing;
        };
        let within = |namespace: Option<&str>| {
            same_name
                .iter()
                .find(|named| named.namespace.as_deref() == namespace)
        };
        let nearest = match (&reference.namespace, &from.namespace) {
            (Some(explicit), _) => within(Some(explicit)),
            (None, Some(own)) => within(Some(own)).or_else(|| within(None)),
            (None, None) => match (within(None), same_name.as_slice()) {
                (Some(global), _) => Some(global),
                (None, [only]) => Some(only),
                (None, _) => {
                    let qualified = |named: &Named<T>| QualifiedName {
                        namespace: named.namespace.clone(),
                        name: reference.name.to_string(),
                    };
                    let mut names: Vec<_> = same_name.iter().map(qualified).collect();
                    names.sort();
                    return Found::Several(names);
                }
            },
        };
        nearest.map_or(Found::Nothing, |named| Found::One(named.meaning.as_ref()))
    }

    /// The document that is meant. `None` if there is none, which is reported with the kind that was
    /// `wanted`, or if it was refused. `kind_of` knows the names of all kinds.
    pub(super) fn resolve(
        &self,
        reference: &Reference,
        wanted: Kind,
        from: From<'_>,
        kind_of: impl Fn(Option<&str>, &str) -> Option<Kind>,
    ) -> Option<&T> {
        match self.find(reference, from.name) {
            Found::One(meaning) => return meaning,
            Found::Several(names) => report_several(reference, wanted, &names, from),
            Found::Nothing => self.report_nothing(reference, wanted, from, kind_of),
        }
        None
    }

    /// A name that is near to the one referred to.
    pub(super) fn suggestion(&self, reference: &Reference, from: From<'_>) -> Option<String> {
        let (report, from) = (from.report, from.name);
        if let Some([elsewhere, ..]) = self.by_name.get(&*reference.name).map(SmallVec::as_slice) {
            let namespace = elsewhere.namespace.clone();
            let name = QualifiedName {
                namespace,
                name: reference.name.to_string(),
            };
            return Some(format!("did you mean {}?", quoted(&name.to_string())));
        }
        if !report.may_compare(self.by_name.len()) {
            return None;
        }
        let visible = |named: &Named<T>| match (&reference.namespace, &from.namespace) {
            (Some(explicit), _) => named.namespace.as_deref() == Some(explicit),
            (None, Some(own)) => named
                .namespace
                .as_ref()
                .is_none_or(|namespace| namespace == own),
            (None, None) => true,
        };
        let visible_names = self
            .by_name
            .iter()
            .filter(|(_, same_name)| same_name.iter().any(visible))
            .map(|(name, _)| name.as_str());
        did_you_mean(&reference.name, visible_names)
    }

    fn report_nothing(
        &self,
        reference: &Reference,
        wanted: Kind,
        from: From<'_>,
        kind_of: impl Fn(Option<&str>, &str) -> Option<Kind>,
    ) {
        let written = reference.written();
        let other_kind = match &reference.namespace {
            Some(explicit) => kind_of(Some(explicit), &reference.name),
            None => {
                let own = from.name.namespace.as_deref();
                kind_of(own, &reference.name).or_else(|| kind_of(None, &reference.name))
            }
        };
        let wanted = wanted.name();
        if let Some(other) = other_kind {
            let message = format!("{} is a {}, not a {wanted}", quoted(&written), other.name());
            let way_out = Some(format!("name a {wanted} here"));
            from.refuse(reference, Code::WrongKindReference, message, way_out);
            return;
        }
        let message = format!("no {wanted} named {}", quoted(&written));
        let way_out = self
            .suggestion(reference, from)
            .or_else(|| Some(format!("write that {wanted}, or name another")));
        from.refuse(reference, Code::DanglingReference, message, way_out);
    }
}

/// Reports a reference that several documents answer to.
pub(super) fn report_several(
    reference: &Reference,
    wanted: Kind,
    names: &[QualifiedName],
    from: From<'_>,
) {
    let written: Vec<String> = names.iter().map(ToString::to_string).collect();
    let (count, wanted) = (names.len(), wanted.name());
    let message = format!(
        "{} is the name of {count} {wanted} documents",
        quoted(&reference.name)
    );
    let way_out = Some(format!("write one of {}", written.join(", ")));
    from.refuse(reference, Code::AmbiguousReference, message, way_out);
}
