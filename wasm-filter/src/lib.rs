//! What runs inside Envoy: a proxy-wasm plugin that verifies JWT-SVIDs on the way in and attaches cached
//! credentials on the way out, so that a warm request costs no call.
//!
//! [`vm::Vm`] is the whole of it, a state machine that knows its surroundings by [`host::Host`] alone; `abi`
//! translates between it and Envoy. Nothing in it panics: a trap ends the VM of a worker.
//!
//! What few requests run stands in functions of its own, `#[inline(never)]`: Envoy's compiler needs memory by the
//! largest function that it meets, and Envoy does not give it back.
#![cfg_attr(
    test,
    expect(
        clippy::arithmetic_side_effects,
        reason = "a test that overflows fails, which is its answer"
    )
)]

#[cfg(target_arch = "wasm32")]
mod abi;
mod admission;
mod bundles;
mod compare;
pub mod config;
mod der;
#[cfg(test)]
mod fake;
mod form;
pub mod host;
mod ids;
mod inbound;
mod memory;
mod message;
mod metrics;
mod outbound;
mod pairs;
mod refusal;
mod signature;
pub mod vm;
