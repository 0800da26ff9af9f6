//! Everything that Envoy does for the filter, as one trait: what the state machine calls, and what tests play.

use core::time::Duration;

use attache_core::time::Timestamp;

/// The number that Envoy gives to a plugin (a root context) or to a request (a stream context).
pub type ContextId = u32;

/// Envoy's answer when it does not do what it was asked: a status of the proxy-wasm ABI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure(pub u32);

impl Failure {
    /// What was asked for is not there.
    pub const NOT_FOUND: Self = Self(1);
    /// Somebody else changed a shared value first.
    pub const CAS_MISMATCH: Self = Self(8);
}

/// How loud a message in Envoy's log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Something to know.
    Info = 2,
    /// Something to look at.
    Warn = 3,
    /// Something broken.
    Error = 4,
}

/// Bytes that Envoy holds for the callback that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Buffer {
    /// The request's body, as far as it came.
    RequestBody = 0,
    /// The body of the answer to an HTTP callout.
    HttpCallout = 4,
    /// The message of the answer to a gRPC callout, or of a stream.
    GrpcMessage = 5,
    /// The plugin's configuration.
    Configuration = 7,
}

/// A header map that Envoy holds for the callback that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Map {
    /// The request's headers.
    RequestHeaders = 0,
    /// The headers of the answer to an HTTP callout.
    CalloutHeaders = 6,
}

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// Only grows.
    Counter = 0,
    /// Goes up and down.
    Gauge = 1,
}

/// An attribute of Envoy, by its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attribute(&'static str);

impl Attribute {
    /// The cluster that the route leads to.
    pub const CLUSTER: Self = Self("xds\0cluster_name");
    /// The status of the response.
    pub const STATUS: Self = Self("response\0code");
    /// Where the request comes from: address and port.
    pub const SOURCE: Self = Self("source\0address");
    /// Whether the peer showed a certificate.
    pub const MTLS: Self = Self("connection\0mtls");
    /// The URI name of that certificate.
    pub const PEER: Self = Self("connection\0uri_san_peer_certificate");
    /// The name under which VMs share data.
    pub const VM_ID: Self = Self("plugin_vm_id");

    /// Its path as the ABI writes it, with a zero byte between the parts.
    pub const fn path(self) -> &'static str {
        self.0
    }
}

/// A gRPC method and where it is served.
#[derive(Clone, Copy, Debug)]
pub struct Method<'a> {
    /// An Envoy cluster.
    pub cluster: &'a str,
    /// `attache.token.v1.Tokens`.
    pub service: &'a str,
    /// `Fetch`.
    pub method: &'a str,
}

/// An answer of the filter's own to a request.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// The status code.
    pub status: u32,
    /// Its headers beside Envoy's.
    pub headers: &'a [(&'a str, &'a [u8])],
    /// Its body.
    pub body: &'a [u8],
    /// What `%RESPONSE_CODE_DETAILS%` says.
    pub details: &'a str,
}

/// Envoy, as far as the filter asks it. Calls about a request concern the context that runs, or the one that
/// [`Host::act_as`] named last within the callback.
pub trait Host {
    /// The wall clock, in microseconds since 1970.
    fn micros(&self) -> i64;
    /// The wall clock.
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.micros().div_euclid(1000))
    }
    /// Random bits from the host.
    fn random(&self) -> u64;
    /// Writes into Envoy's log.
    fn log(&self, level: Level, text: &str);
    /// Has the running plugin's tick called again and again.
    fn tick_every(&self, period: Duration);
    /// Makes further calls concern another context, until the callback ends.
    fn act_as(&self, context: ContextId) -> Result<(), Failure>;

    /// Says that a plugin which was asked to end has ended.
    fn finish(&self);

    /// Reads at most `most` bytes of a buffer; nothing if there is none.
    fn bytes(&self, buffer: Buffer, most: usize) -> Vec<u8>;
    /// All headers of a map, serialised as `crate::pairs` reads them.
    fn headers(&self, map: Map) -> Result<Vec<u8>, Failure>;
    /// Sets a request header, in the place of all of that name.
    fn set_header(&self, name: &str, value: &[u8]) -> Result<(), Failure>;
    /// Removes all request headers of a name.
    fn remove_header(&self, name: &[u8]) -> Result<(), Failure>;
    /// Puts other bytes in the place of the request's whole body.
    fn replace_body(&self, length: usize, body: &[u8]) -> Result<(), Failure>;
    /// Answers the request.
    fn answer(&self, answer: Answer<'_>) -> Result<(), Failure>;
    /// Lets a paused request go on.
    fn resume(&self) -> Result<(), Failure>;
    /// The value of an attribute.
    fn property(&self, attribute: Attribute) -> Option<Vec<u8>>;
    /// Takes back the bytes of an answer that is read, to write the next one there.
    fn give_back(&self, _bytes: Vec<u8>) {}
    /// Sets the filter state `wasm.NAME`.
    fn set_state(&self, name: &str, value: &[u8]) -> Result<(), Failure>;

    /// A value that all VMs of one `vm_id` share, and its version.
    fn shared(&self, key: &str) -> Result<(Vec<u8>, u32), Failure>;
    /// Sets a shared value; with a version, only if it still has that one.
    fn share(&self, key: &str, value: &[u8], version: Option<u32>) -> Result<(), Failure>;

    /// Calls a foreign function of Envoy.
    fn foreign(&self, name: &str, argument: &[u8]) -> Result<Vec<u8>, Failure>;
    /// Sends `GET path` to a cluster; the answer comes with the token.
    fn get(
        &self,
        cluster: &str,
        authority: &str,
        path: &str,
        timeout: Duration,
    ) -> Result<u32, Failure>;
    /// Calls a unary gRPC method; the answer comes with the token.
    fn call(&self, method: Method<'_>, message: &[u8], timeout: Duration) -> Result<u32, Failure>;
    /// Opens a gRPC stream, sends one message and closes our side; messages come with the token.
    fn stream(&self, method: Method<'_>, message: &[u8]) -> Result<u32, Failure>;
    /// Gives up a gRPC call or stream.
    fn cancel(&self, token: u32);

    /// Defines a metric `wasmcustom.NAME`.
    fn define(&self, kind: MetricKind, name: &str) -> Result<u32, Failure>;
    /// Adds to a counter.
    fn increment(&self, metric: u32, by: i64);
    /// Sets a gauge.
    fn record(&self, metric: u32, value: u64);
}
