//! How many requests are decided at once, in all and of one address.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

pub(super) struct Slots {
    in_all: usize,
    of_one: usize,
    taken: Arc<Mutex<Taken>>,
}

/// Never empty for an address: so it holds no more of them than there are slots.
#[derive(Default)]
struct Taken {
    in_all: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// Taken until it is dropped.
pub(super) struct Slot {
    from: IpAddr,
    taken: Arc<Mutex<Taken>>,
}

impl Slots {
    pub(super) fn new(in_all: usize, of_one: usize) -> Self {
        Self {
            in_all,
            of_one,
            taken: Arc::default(),
        }
    }

    /// A slot for a request of `from`, if one is free for it.
    pub(super) fn take(&self, from: IpAddr) -> Option<Slot> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let own = taken.by_address.get(&from).copied().unwrap_or(0);
        if taken.in_all >= self.in_all || own >= self.of_one {
            return None;
        }
        taken.in_all = taken.in_all.saturating_add(1);
        taken.by_address.insert(from, own.saturating_add(1));
        drop(taken);
        Some(Slot {
            from,
            taken: Arc::clone(&self.taken),
        })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.in_all = taken.in_all.saturating_sub(1);
        let own = taken.by_address.get(&self.from).copied().unwrap_or(0);
        match own.saturating_sub(1) {
            0 => taken.by_address.remove(&self.from),
            left => taken.by_address.insert(self.from, left),
        };
    }
}
