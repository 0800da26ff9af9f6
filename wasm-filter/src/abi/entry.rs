//! The functions that Envoy finds by name.

use std::cell::RefCell;

use super::Envoy;
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
    let mut bytes: Vec<u8> = Vec::new();
    // Exactly: the capacity is not kept anywhere else.
    if bytes.try_reserve_exact(length).is_err() || bytes.capacity() != length {
        return core::ptr::null_mut();
    }
    let data = bytes.as_mut_ptr();
    core::mem::forget(bytes);
    data
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

#[unsafe(no_mangle)]
extern "C" fn proxy_on_log(stream: u32) {
    with((), |vm| vm.on_log(stream));
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_delete(context: u32) {
    with((), |vm| vm.on_delete(context));
}

#[cfg(feature = "for-tests")]
fn trap_if_asked() {
    use crate::host::{Host as _, Map};
    let headers = Envoy.headers(Map::RequestHeaders).unwrap_or_default();
    if headers.windows(6).any(|window| window == b"x-trap") {
        core::arch::wasm32::unreachable();
    }
}
