//! What only one part of the configuration may have: a name, a socket, an address.

use std::{cell::RefCell, collections::BTreeMap};

use attache_policy::{
    Place,
    problem::{Code, quoted},
    yaml::At,
};

/// The values that are taken, and where.
pub(super) struct Taken {
    what: &'static str,
    places: RefCell<BTreeMap<String, Place>>,
}

impl Taken {
    /// None is taken; `what` is the word for one in messages.
    pub(super) const fn new(what: &'static str) -> Self {
        Self {
            what,
            places: RefCell::new(BTreeMap::new()),
        }
    }

    /// Takes `value`, unless it was taken before.
    pub(super) fn take(&self, at: &At<'_>, value: &str) -> Option<()> {
        let mut places = self.places.borrow_mut();
        if let Some(first) = places.get(value) {
            let message = format!("the {} {} is taken ({first})", self.what, quoted(value));
            let way_out = "write another one";
            return at.refuse_with(Code::DuplicateName, message, way_out);
        }
        places.insert(value.to_owned(), at.place());
        Some(())
    }
}
