//! `ClientWorkload`: who may call, as selectors over attested attributes.

use crate::{
    document::Specification,
    selector::{Entry, Selector, contradiction},
};

/// Selects workloads by what is proven of them.
pub(crate) struct ClientWorkload {
    pub(crate) selector: Selector,
}

impl ClientWorkload {
    pub(super) fn lower(fields: Specification<'_, '_>) -> Option<Self> {
        let entries = fields.required("match", |at| {
            let entries = at.some_list(Entry::lower)?;
            contradiction::check_proof(at, &entries).map(|()| entries)
        })?;
        Some(Self {
            selector: Selector { entries },
        })
    }
}
