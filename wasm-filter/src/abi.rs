//! The proxy-wasm ABI 0.2.1: what Envoy calls, and how the filter calls Envoy. A thin translation without
//! rules of its own; the one module that is unsafe.
//!
//! It is written out here, not taken from an SDK: those panic where Envoy answers with a status that they do not
//! expect, or with a header that is no UTF-8, and a panic ends the VM of a worker.
#![expect(
    unsafe_code,
    reason = "the ABI hands over pointers into the VM's memory and calls functions by name"
)]

mod compare;
mod entry;
mod envoy;
mod imports;
mod room;

pub(crate) use envoy::Envoy;
