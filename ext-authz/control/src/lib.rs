//! The control plane: the embedded store, the endpoints at which anyone finds the issuer's keys, and the one
//! at which workloads exchange evidence for tokens. It never sees a third party's credential.

pub mod keys;
pub mod publication;
pub mod server;
pub mod store;
pub mod token;

pub use crate::{
    publication::router,
    server::serve,
    store::{Store, UnusableStore},
    token::{Exchange, TokenEndpoint},
};
