//! [`Host`] by the functions of the ABI.

use core::{ptr, time::Duration};

use prost::Message as _;

use super::{imports as abi, room};
use crate::{
    host::{Answer, Attribute, Buffer, ContextId, Failure, Host, Level, Map, Method, MetricKind},
    pairs,
};

/// Envoy, as this VM sees it.
pub(crate) struct Envoy;

/// `WasmStreamType::Request`.
const REQUEST: u32 = 0;
/// Envoy wrote elsewhere than into what it was given: `WasmResult::InvalidMemoryAccess`.
const NOT_OURS: Failure = Failure(6);
/// No gRPC status of ours: Envoy makes one of the HTTP status for callers that speak gRPC.
const NO_GRPC_STATUS: i32 = -1;

/// `envoy.config.core.v3.GrpcService`, as far as it is needed, by its field numbers.
///
/// SECURITY: Envoy tries to read an upstream as this message before it takes it for a cluster's name, and ends
/// itself at a name that happens to parse. So the name is never sent alone.
#[derive(Clone, PartialEq, prost::Message)]
struct GrpcService {
    #[prost(message, optional, tag = "1")]
    envoy_grpc: Option<EnvoyGrpc>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct EnvoyGrpc {
    #[prost(string, tag = "1")]
    cluster_name: String,
}

fn upstream(cluster: &str) -> Vec<u8> {
    let cluster_name = cluster.to_owned();
    let envoy_grpc = Some(EnvoyGrpc { cluster_name });
    GrpcService { envoy_grpc }.encode_to_vec()
}

const fn done(status: u32) -> Result<(), Failure> {
    match status {
        0 => Ok(()),
        other => Err(Failure(other)),
    }
}

/// Takes over what Envoy wrote by `proxy_on_memory_allocate`; nothing, if it wrote nothing.
fn received(ask: impl FnOnce(*mut *mut u8, *mut usize) -> u32) -> Result<Vec<u8>, Failure> {
    let mut data = ptr::null_mut();
    let mut length = 0;
    done(ask(&raw mut data, &raw mut length))?;
    if data.is_null() {
        return Ok(Vec::new());
    }
    room::take(data, length).ok_or(NOT_OURS)
}

fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

// SAFETY, for all of them: pointers and lengths are of slices that live through the call, and of variables that
// Envoy writes one value into.
impl Host for Envoy {
    fn micros(&self) -> i64 {
        #[cfg(feature = "for-tests")]
        if let Some(told) = told_time() {
            return told;
        }
        let mut nanos: u64 = 0;
        unsafe { abi::proxy_get_current_time_nanoseconds(&raw mut nanos) };
        i64::try_from(nanos / 1000).unwrap_or(i64::MAX)
    }

    fn random(&self) -> u64 {
        let mut bytes = [0; 8];
        unsafe { abi::random_get(bytes.as_mut_ptr(), bytes.len()) };
        u64::from_le_bytes(bytes)
    }

    fn log(&self, level: Level, text: &str) {
        unsafe { abi::proxy_log(level as u32, text.as_ptr(), text.len()) };
    }

    fn tick_every(&self, period: Duration) {
        unsafe { abi::proxy_set_tick_period_milliseconds(millis(period)) };
    }

    fn act_as(&self, context: ContextId) -> Result<(), Failure> {
        done(unsafe { abi::proxy_set_effective_context(context) })
    }

    fn finish(&self) {
        unsafe { abi::proxy_done() };
    }

    fn bytes(&self, buffer: Buffer, most: usize) -> Vec<u8> {
        let read = received(|data, length| unsafe {
            abi::proxy_get_buffer_bytes(buffer as u32, 0, most, data, length)
        });
        read.unwrap_or_default()
    }

    fn headers(&self, map: Map) -> Result<Vec<u8>, Failure> {
        received(|data, length| unsafe {
            abi::proxy_get_header_map_pairs(map as u32, data, length)
        })
    }

    fn set_header(&self, name: &str, value: &[u8]) -> Result<(), Failure> {
        done(unsafe {
            abi::proxy_replace_header_map_value(
                Map::RequestHeaders as u32,
                name.as_ptr(),
                name.len(),
                value.as_ptr(),
                value.len(),
            )
        })
    }

    fn remove_header(&self, name: &[u8]) -> Result<(), Failure> {
        done(unsafe {
            abi::proxy_remove_header_map_value(
                Map::RequestHeaders as u32,
                name.as_ptr(),
                name.len(),
            )
        })
    }

    fn replace_body(&self, length: usize, body: &[u8]) -> Result<(), Failure> {
        done(unsafe {
            abi::proxy_set_buffer_bytes(
                Buffer::RequestBody as u32,
                0,
                length,
                body.as_ptr(),
                body.len(),
            )
        })
    }

    fn answer(&self, answer: Answer<'_>) -> Result<(), Failure> {
        let headers = pairs::write(answer.headers);
        done(unsafe {
            abi::proxy_send_local_response(
                answer.status,
                answer.details.as_ptr(),
                answer.details.len(),
                answer.body.as_ptr(),
                answer.body.len(),
                headers.as_ptr(),
                headers.len(),
                NO_GRPC_STATUS,
            )
        })
    }

    fn resume(&self) -> Result<(), Failure> {
        done(unsafe { abi::proxy_continue_stream(REQUEST) })
    }

    fn give_back(&self, bytes: Vec<u8>) {
        room::give_back(bytes);
    }

    fn property(&self, attribute: Attribute) -> Option<Vec<u8>> {
        let path = attribute.path();
        received(|data, length| unsafe {
            abi::proxy_get_property(path.as_ptr(), path.len(), data, length)
        })
        .ok()
    }

    fn set_state(&self, name: &str, value: &[u8]) -> Result<(), Failure> {
        done(unsafe {
            abi::proxy_set_property(name.as_ptr(), name.len(), value.as_ptr(), value.len())
        })
    }

    fn shared(&self, key: &str) -> Result<(Vec<u8>, u32), Failure> {
        let mut version = 0;
        let value = received(|data, length| unsafe {
            abi::proxy_get_shared_data(key.as_ptr(), key.len(), data, length, &raw mut version)
        })?;
        Ok((value, version))
    }

    fn share(&self, key: &str, value: &[u8], version: Option<u32>) -> Result<(), Failure> {
        // Version 0 means: whatever stands there.
        let version = version.unwrap_or(0);
        done(unsafe {
            abi::proxy_set_shared_data(
                key.as_ptr(),
                key.len(),
                value.as_ptr(),
                value.len(),
                version,
            )
        })
    }

    fn foreign(&self, name: &str, argument: &[u8]) -> Result<Vec<u8>, Failure> {
        received(|data, length| unsafe {
            abi::proxy_call_foreign_function(
                name.as_ptr(),
                name.len(),
                argument.as_ptr(),
                argument.len(),
                data,
                length,
            )
        })
    }

    fn get(
        &self,
        cluster: &str,
        authority: &str,
        path: &str,
        timeout: Duration,
    ) -> Result<u32, Failure> {
        let headers = pairs::write(&[
            (":method", b"GET"),
            (":path", path.as_bytes()),
            (":authority", authority.as_bytes()),
            ("accept", b"application/json"),
        ]);
        let mut token = 0;
        done(unsafe {
            abi::proxy_http_call(
                cluster.as_ptr(),
                cluster.len(),
                headers.as_ptr(),
                headers.len(),
                ptr::null(),
                0,
                ptr::null(),
                0,
                millis(timeout),
                &raw mut token,
            )
        })?;
        Ok(token)
    }

    fn call(&self, method: Method<'_>, message: &[u8], timeout: Duration) -> Result<u32, Failure> {
        let upstream = upstream(method.cluster);
        let mut token = 0;
        done(unsafe {
            abi::proxy_grpc_call(
                upstream.as_ptr(),
                upstream.len(),
                method.service.as_ptr(),
                method.service.len(),
                method.method.as_ptr(),
                method.method.len(),
                ptr::null(),
                0,
                message.as_ptr(),
                message.len(),
                millis(timeout),
                &raw mut token,
            )
        })?;
        Ok(token)
    }

    fn stream(&self, method: Method<'_>, message: &[u8]) -> Result<u32, Failure> {
        let upstream = upstream(method.cluster);
        let mut token = 0;
        done(unsafe {
            abi::proxy_grpc_stream(
                upstream.as_ptr(),
                upstream.len(),
                method.service.as_ptr(),
                method.service.len(),
                method.method.as_ptr(),
                method.method.len(),
                ptr::null(),
                0,
                &raw mut token,
            )
        })?;
        done(unsafe { abi::proxy_grpc_send(token, message.as_ptr(), message.len(), 1) })?;
        Ok(token)
    }

    fn cancel(&self, token: u32) {
        unsafe { abi::proxy_grpc_cancel(token) };
    }

    fn define(&self, kind: MetricKind, name: &str) -> Result<u32, Failure> {
        let mut metric = 0;
        done(unsafe {
            abi::proxy_define_metric(kind as u32, name.as_ptr(), name.len(), &raw mut metric)
        })?;
        Ok(metric)
    }

    fn increment(&self, metric: u32, by: i64) {
        unsafe { abi::proxy_increment_metric(metric, by) };
    }

    fn record(&self, metric: u32, value: u64) {
        unsafe { abi::proxy_record_metric(metric, value) };
    }
}

/// What the header `x-now` of the request that runs says, in seconds.
#[cfg(feature = "for-tests")]
fn told_time() -> Option<i64> {
    let headers = Envoy.headers(Map::RequestHeaders).ok()?;
    let headers = crate::message::Headers::read(&headers, &crate::message::Protected::default())?;
    let seconds: i64 = headers.text("x-now")?.parse().ok()?;
    seconds.checked_mul(1_000_000)
}
