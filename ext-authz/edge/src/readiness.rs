//! What still blocks readiness. A part that must come up first, or that fails, takes a [`Block`]; the server
//! is ready when the last one is dropped.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

/// The blocks that are held, by name.
#[derive(Clone)]
pub struct Readiness {
    held: Arc<Mutex<Vec<Arc<str>>>>,
    ready: watch::Sender<bool>,
}

/// Holds readiness back until it is dropped.
#[must_use = "readiness is blocked for as long as this lives"]
pub struct Block {
    readiness: Readiness,
    name: Arc<str>,
}

impl Default for Readiness {
    fn default() -> Self {
        Self::new()
    }
}

impl Readiness {
    /// Nothing blocks yet.
    pub fn new() -> Self {
        Self {
            held: Arc::default(),
            ready: watch::Sender::new(true),
        }
    }

    /// Blocks readiness in the name of `name`.
    pub fn block(&self, name: impl Into<Arc<str>>) -> Block {
        let name = name.into();
        self.change(|held| held.push(Arc::clone(&name)));
        Block {
            readiness: self.clone(),
            name,
        }
    }

    /// What blocks now.
    pub fn blocked_by(&self) -> Vec<String> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.iter().map(ToString::to_string).collect()
    }

    /// Follows whether the server is ready.
    pub fn watch(&self) -> watch::Receiver<bool> {
        self.ready.subscribe()
    }

    fn change(&self, edit: impl FnOnce(&mut Vec<Arc<str>>)) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        edit(&mut held);
        self.ready.send_replace(held.is_empty());
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        self.readiness.change(|held| {
            if let Some(at) = held.iter().position(|name| *name == self.name) {
                held.remove(at);
            }
        });
    }
}

#[cfg(test)]
mod tests;
