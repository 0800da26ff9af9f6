//! The control plane: the embedded store, and the endpoints at which anyone finds the issuer's keys.
//! It never sees a third party's credential.

pub mod publication;
pub mod server;
pub mod store;

pub use crate::{
    publication::router,
    server::serve,
    store::{Store, UnusableStore},
};
