//! Calls that we make: to issuers for their keys, to providers of credentials. Whatever the other side does,
//! a call ends in time, brings back a bounded answer, follows no redirect, and was connected to an address
//! that may be called.
//!
//! Which URL is called is for the caller to say, from the configuration and the documents alone, never from a
//! request or a token.

mod address;
mod answer;
mod call;
mod client;
mod failed;
mod resolver;
mod target;

pub use address::{ForbiddenAddress, Proxy, Reach};
pub use answer::{Answer, UnreadableAnswer};
pub use call::{Call, NotAHeader};
pub use client::{Client, Limits, Roots, Settings};
pub use failed::{CallFailed, InvalidClient};
pub use ipnet::IpNet;
pub use reqwest::{
    Method, StatusCode,
    header::{self, HeaderMap, HeaderName, HeaderValue},
};
pub use target::{InvalidTarget, names_loopback, parse_target};
pub use url::Url;
