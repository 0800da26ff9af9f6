//! The words that server and filter share, and the one implementation of every rule about tokens,
//! SPIFFE IDs, hosts and paths. No I/O, no clock, no randomness: what they give comes in as an
//! argument, and the compiler holds it (`no_std`).
#![no_std]
// SECURITY: this crate also runs inside Envoy, where a trap ends the worker's VM.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

extern crate alloc;

pub mod attestation;
pub mod attributes;
pub mod audience;
pub mod bundle;
pub mod certificate;
pub mod claims;
pub mod decision;
pub mod event;
pub mod evidence;
pub mod freshness;
pub mod header;
pub mod id;
pub mod identity;
pub mod json;
pub mod jwks;
pub mod jwt;
pub mod origin;
pub mod pattern;
pub mod query;
pub mod request;
pub mod scope;
pub mod secret;
pub mod spiffe_id;
pub mod time;
pub mod token;
