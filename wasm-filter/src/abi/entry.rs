//! The functions that Envoy finds by name. It calls each of them that is there for every request, at about a
//! microsecond, so there are no more than are needed: `proxy_on_done` is the end of a request, and its log.

use std::cell::RefCell;

use super::{Envoy, room};
use crate::vm::{Action, Vm};

thread_local! {
    // A VM has one thread.
    static VM: RefCell<Vm<Envoy>> = RefCell::new(Vm::new(Envoy));
}

/// Runs a callback. Envoy calls back into a VM that is in a call only for memory, which asks nobody; if it ever
/// did for more, the answer is `otherwise`.
fn with<T>(otherwise: T, run: impl FnOnce(&mut Vm<Envoy>) -> T) -> T {
    let answer = VM.try_with(|vm| match vm.try_borrow_mut() {
        Ok(mut vm) => Some(run(&mut vm)),
        Err(_busy) => None,
    });
    answer.ok().flatten().unwrap_or(otherwise)
}

unsafe extern "C" {
    fn __wasm_call_ctors();
}

/// Runs once. Without it the linker takes the module for a command and runs its constructors in every function
/// that Envoy calls.
#[unsafe(no_mangle)]
extern "C" fn _initialize() {
    // SAFETY: the linker makes it, for exactly this.
    unsafe { __wasm_call_ctors() };
}

#[unsafe(no_mangle)]
extern "C" fn proxy_abi_version_0_2_1() {}

/// Gives Envoy memory to write into; [`super::envoy`] takes it back.
#[unsafe(no_mangle)]
extern "C" fn proxy_on_memory_allocate(length: usize) -> *mut u8 {
    room::hand(length)
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_vm_start(_plugin: u32, _length: usize) -> u32 {
    1
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_context_create(context: u32, parent: u32) {
    with((), |vm| vm.on_create(context, parent));
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_configure(plugin: u32, _length: usize) -> u32 {
    with(0, |vm| u32::from(vm.on_configure(plugin)))
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_tick(plugin: u32) {
    with((), |vm| vm.on_tick(plugin));
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_request_headers(stream: u32, _count: usize, end_of_stream: u32) -> u32 {
    #[cfg(feature = "for-tests")]
    trap_if_asked();
    with(Action::Wait, |vm| vm.on_request(stream, end_of_stream != 0)) as u32
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_request_body(stream: u32, length: usize, end_of_stream: u32) -> u32 {
    with(Action::Hold, |vm| {
        vm.on_body(stream, length, end_of_stream != 0)
    }) as u32
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_request_trailers(stream: u32, _count: usize) -> u32 {
    with(Action::Hold, |vm| vm.on_trailers(stream)) as u32
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_http_call_response(
    context: u32,
    token: u32,
    _headers: usize,
    _body: usize,
    _trailers: usize,
) {
    with((), |vm| vm.on_http(context, token));
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_grpc_receive(context: u32, token: u32, _length: usize) {
    with((), |vm| vm.on_grpc(context, token));
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_grpc_close(context: u32, token: u32, status: u32) {
    with((), |vm| vm.on_grpc_close(context, token, status));
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_done(context: u32) -> u32 {
    with(1, |vm| u32::from(vm.on_done(context)))
}

#[cfg(feature = "for-tests")]
fn trap_if_asked() {
    use crate::host::{Host as _, Map};
    let headers = Envoy.headers(Map::RequestHeaders).unwrap_or_default();
    if headers.windows(6).any(|window| window == b"x-trap") {
        core::arch::wasm32::unreachable();
    }
}
