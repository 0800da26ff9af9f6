//! The harness of the end-to-end tests and of the demo: real processes on free ports, each stopped by
//! the handle that started it, and no wait without a condition and a limit.
#![expect(
    clippy::indexing_slicing,
    reason = "test code indexes JSON, where what is missing reads as null"
)]

pub mod admin;
pub mod attache;
pub mod authority;
pub mod authorization_server;
pub mod authorize;
pub mod authorizer;
pub mod bench;
pub mod bootstrap;
pub mod canaries;
pub mod client;
pub mod cluster;
pub mod collector;
pub mod envoy;
pub mod faults;
pub mod filter;
pub mod forgery;
pub mod kept;
pub mod kubernetes;
pub mod login_server;
mod node;
pub mod openid_provider;
pub mod outbound_stage;
pub mod peers;
pub mod port;
pub mod process;
pub mod quickstart;
pub mod scripted_edge;
pub mod server;
pub mod service;
pub mod spiffe_peer;
pub mod stage;
pub mod svid;
pub mod target;
pub mod token_server;
pub mod vault;
pub mod verify;
pub mod wait;
pub mod workspace;
