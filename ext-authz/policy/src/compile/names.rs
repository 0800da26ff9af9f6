//! Which document a name means.

use std::collections::HashMap;

use smallvec::SmallVec;

use crate::{
    document::Kind,
    name::{QualifiedName, Reference},
    problem::{Code, Place, Report, did_you_mean, quoted},
};

/// The documents that one kind of reference can mean.
pub(super) struct Names<T> {
    /// Nearly every name is one document's.
    by_name: HashMap<String, SmallVec<[Named<T>; 1]>>,
}

struct Named<T> {
    namespace: Option<String>,
    place: Place,
    /// `None`: refused, which is already told.
    meaning: Option<T>,
}

/// What a reference leads to.
pub(super) enum Found<T> {
    /// One document; `None` if that document was refused.
    One(Option<T>),
    /// Several, none nearer than the others.
    Several(Vec<QualifiedName>),
    Nothing,
}

/// A kind that each name is of, to recognise references to the wrong kind.
pub(super) type Kinds = HashMap<QualifiedName, Kind>;

impl<T: Clone> Names<T> {
    pub(super) fn new() -> Self {
        Self {
            by_name: HashMap::new(),
        }
    }

    /// Whether the name was free; if not, the problem is reported.
    pub(super) fn insert(
        &mut self,
        name: &QualifiedName,
        place: &Place,
        meaning: Option<T>,
        report: &Report,
    ) -> bool {
        let same_name = self.by_name.entry(name.name.clone()).or_default();
        if let Some(first) = same_name
            .iter()
            .find(|first| first.namespace == name.namespace)
        {
            let name = quoted(&name.to_string());
            let message = format!("the name {name} is already taken at {}", first.place);
            let way_out = Some("rename or remove one of them".to_owned());
            report.error_with(place.clone(), Code::DuplicateName, message, way_out);
            return false;
        }
        let namespace = name.namespace.clone();
        same_name.push(Named {
            namespace,
            place: place.clone(),
            meaning,
        });
        true
    }

    /// A document's own namespace comes first, then global documents. A global document refers to a
    /// global one, else to the only one of that name.
    pub(super) fn find(&self, reference: &Reference, from: &QualifiedName) -> Found<T> {
        let Some(same_name) = self.by_name.get(&reference.name) else {
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
                        name: reference.name.clone(),
                    };
                    let mut names: Vec<_> = same_name.iter().map(qualified).collect();
                    names.sort();
                    return Found::Several(names);
                }
            },
        };
        nearest.map_or(Found::Nothing, |named| Found::One(named.meaning.clone()))
    }

    /// The document that is meant. `None` if there is none, which is reported with the kind that was
    /// `wanted`, or if it was refused.
    pub(super) fn resolve(
        &self,
        reference: &Reference,
        wanted: Kind,
        from: &QualifiedName,
        kinds: &Kinds,
        report: &Report,
    ) -> Option<T> {
        match self.find(reference, from) {
            Found::One(meaning) => return meaning,
            Found::Several(names) => report_several(reference, wanted, &names, report),
            Found::Nothing => self.report_nothing(reference, wanted, from, kinds, report),
        }
        None
    }

    /// A name that is near to the one referred to.
    pub(super) fn suggestion(&self, reference: &Reference, from: &QualifiedName) -> Option<String> {
        if let Some([elsewhere, ..]) = self.by_name.get(&reference.name).map(SmallVec::as_slice) {
            let namespace = elsewhere.namespace.clone();
            let name = QualifiedName {
                namespace,
                name: reference.name.clone(),
            };
            return Some(format!("did you mean {}?", quoted(&name.to_string())));
        }
        let visible = |named: &&Named<T>| match (&reference.namespace, &from.namespace) {
            (Some(explicit), _) => named.namespace.as_ref() == Some(explicit),
            (None, Some(own)) => named
                .namespace
                .as_ref()
                .is_none_or(|namespace| namespace == own),
            (None, None) => true,
        };
        let visible_names = self
            .by_name
            .iter()
            .filter(|(_, same_name)| same_name.iter().any(|named| visible(&named)))
            .map(|(name, _)| name.as_str());
        did_you_mean(&reference.name, visible_names)
    }

    fn report_nothing(
        &self,
        reference: &Reference,
        wanted: Kind,
        from: &QualifiedName,
        kinds: &Kinds,
        report: &Report,
    ) {
        let written = match &reference.namespace {
            Some(namespace) => format!("{namespace}/{}", reference.name),
            None => reference.name.clone(),
        };
        let place = reference.place.clone();
        let namespaces = match &reference.namespace {
            Some(explicit) => vec![Some(explicit.clone())],
            None => vec![from.namespace.clone(), None],
        };
        let other_kind = namespaces.into_iter().find_map(|namespace| {
            kinds.get(&QualifiedName {
                namespace,
                name: reference.name.clone(),
            })
        });
        let wanted = wanted.name();
        if let Some(other) = other_kind {
            let message = format!("{} is a {}, not a {wanted}", quoted(&written), other.name());
            let way_out = Some(format!("name a {wanted} here"));
            report.error_with(place, Code::WrongKindReference, message, way_out);
            return;
        }
        let message = format!("no {wanted} named {}", quoted(&written));
        let way_out = self
            .suggestion(reference, from)
            .or_else(|| Some(format!("write that {wanted}, or name another")));
        report.error_with(place, Code::DanglingReference, message, way_out);
    }
}

/// Reports a reference that several documents answer to.
pub(super) fn report_several(
    reference: &Reference,
    wanted: Kind,
    names: &[QualifiedName],
    report: &Report,
) {
    let written: Vec<String> = names.iter().map(ToString::to_string).collect();
    let (count, wanted) = (names.len(), wanted.name());
    let message = format!(
        "{} is the name of {count} {wanted} documents",
        quoted(&reference.name)
    );
    let way_out = Some(format!("write one of {}", written.join(", ")));
    report.error_with(
        reference.place.clone(),
        Code::AmbiguousReference,
        message,
        way_out,
    );
}
