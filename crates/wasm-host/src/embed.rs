//! What a proxy implements so that guests can act on its traffic.
//!
//! [`PluginHost`] lives as long as a VM and belongs to its worker; [`StreamHost`] is lent for one
//! callback of one stream. Neither is called from another thread, and neither may call back into
//! the VM it serves: guests are never re-entered.
//!
//! Every method but [`StreamHost::headers`] has a default that answers "not here" in the way SDKs
//! accept, so that a host can begin small.

mod callout;
mod expression;
mod headers;
pub(crate) mod value;

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

pub use callout::{CallRefused, CalloutEvent, GrpcCall, GrpcMethod, HttpCall};
pub use expression::{Expression, Expressions, Properties};
pub use headers::Headers;
pub use value::Value;

use crate::abi::{Body, CallId, LogLevel, Map, MetricKind, Side, StreamId};

/// One stream of the proxy, lent to the guest for one callback.
pub trait StreamHost {
    /// Returns a header map, or `None` when this stream has no such map in this phase.
    ///
    /// Keep request headers readable for the whole stream and response headers from the response
    /// on: filters read them in later callbacks and when logging. A map that can no longer change
    /// what is sent refuses writes ([`Refused`]).
    fn headers(&mut self, map: Map) -> Option<&mut dyn HeaderMap>;

    /// Returns the bytes of a body the current body callback is about: the chunk, or everything
    /// buffered so far.
    fn body(&mut self, body: Body) -> Option<&mut dyn Buffer> {
        let _ = body;
        None
    }

    /// Returns a property of this stream, such as `["source", "address"]`.
    ///
    /// What follows from header maps alone (`request.path`, `request.headers.*`,
    /// `response.code` …) is answered without asking, unless this returns something.
    fn property(&self, path: &[&str]) -> Option<Value<'_>> {
        let _ = path;
        None
    }

    /// Keeps a property a guest sets, for this stream and for other plugins on it.
    ///
    /// Returns whether it was kept. If not, the VM keeps it for this plugin's part of the stream.
    fn set_property(&mut self, path: &[&str], value: &[u8]) -> bool {
        let _ = (path, value);
        false
    }

    /// Returns what a TCP stream has to read from this side: what the current data callback is
    /// about. What the guest leaves in it goes on to the other side.
    fn data(&mut self, side: Side) -> Option<&mut dyn Buffer> {
        let _ = side;
        None
    }

    /// Chooses the route anew, with the headers as they are now. Changing headers alone does not.
    fn clear_route_cache(&mut self) {}

    /// Keeps state for the proxy's own use, as Envoy's `set_envoy_filter_state` does; for example
    /// `envoy.tcp_proxy.cluster`. Returns whether this proxy knows a state of that name.
    fn set_filter_state(&mut self, name: &str, value: &[u8]) -> bool {
        let _ = (name, value);
        false
    }
}

/// A mutable multimap of headers.
///
/// Names arrive in lower case and are tokens of RFC 9110, or one of the pseudo-headers
/// `:authority`, `:method`, `:path`, `:scheme`, `:status`; values hold no CR, LF or NUL. Both were
/// checked before, because nothing in the ABI keeps a filter from smuggling.
pub trait HeaderMap {
    /// Returns how many entries there are, pseudo-headers included.
    fn len(&self) -> usize;

    /// Returns whether there is no entry.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the first value of `name`.
    fn get(&self, name: &str) -> Option<Cow<'_, [u8]>>;

    /// Shows every entry, pseudo-headers first; the same entries each time until a change.
    fn each(&self, visit: &mut dyn FnMut(&[u8], &[u8]));

    /// Replaces every value of `name` by this one.
    fn set(&mut self, name: &str, value: &[u8]) -> Result<(), Refused>;

    /// Adds one more value of `name`.
    fn add(&mut self, name: &str, value: &[u8]) -> Result<(), Refused>;

    /// Removes every value of `name`; nothing happens when there is none.
    fn remove(&mut self, name: &str) -> Result<(), Refused>;
}

/// Bytes of a body the guest may read and change.
pub trait Buffer {
    /// Returns the number of bytes.
    fn len(&self) -> usize;

    /// Returns whether there are no bytes.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Copies `out.len()` bytes from `start` on; the range was checked against [`Buffer::len`].
    fn copy_to(&self, start: usize, out: &mut [u8]);

    /// Replaces a range, checked against [`Buffer::len`], by other bytes.
    fn splice(&mut self, range: Range<usize>, with: &[u8]) -> Result<(), Refused>;
}

impl Buffer for Vec<u8> {
    fn len(&self) -> usize {
        self.len()
    }

    fn copy_to(&self, start: usize, out: &mut [u8]) {
        if let Some(bytes) = self.get(start..start + out.len()) {
            out.copy_from_slice(bytes);
        }
    }

    fn splice(&mut self, range: Range<usize>, with: &[u8]) -> Result<(), Refused> {
        self.splice(range, with.iter().copied());
        Ok(())
    }
}

/// Why the proxy did not carry out a change; it reaches the log, never the guest.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Refused(pub Cow<'static, str>);

impl From<&'static str> for Refused {
    fn from(why: &'static str) -> Self {
        Self(Cow::Borrowed(why))
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The proxy as a plugin sees it outside any stream; one per VM, never shared between workers.
pub trait PluginHost {
    /// Returns the level below which log lines are not wanted; told to guests that ask.
    fn log_level(&self) -> LogLevel {
        LogLevel::Info
    }

    /// Takes a line for the proxy's log, from the guest or about it. Volume is already bounded.
    fn log(&self, record: &LogRecord<'_>) {
        record.trace();
    }

    /// Counts something that went differently from what the guest asked for.
    ///
    /// Called each time; the log gets only the first, the tenth, the hundredth and so on.
    fn notice(&self, notice: Notice) {
        let _ = notice;
    }

    /// Returns a property that belongs to no stream, such as `["node", "metadata", "NAME"]`.
    fn property(&self, path: &[&str]) -> Option<Value<'_>> {
        let _ = path;
        None
    }

    /// Defines a metric or finds it again; `None` makes the guest's numbers go nowhere.
    fn define_metric(&self, kind: MetricKind, name: &str) -> Option<MetricId> {
        let _ = (kind, name);
        None
    }

    /// Moves a counter (never downwards) or a gauge.
    fn add_to_metric(&self, id: MetricId, delta: i64) {
        let _ = (id, delta);
    }

    /// Sets a gauge or adds a value to a histogram.
    fn record_metric(&self, id: MetricId, value: u64) {
        let _ = (id, value);
    }

    /// Reads a counter or gauge, summed over all workers.
    fn metric(&self, id: MetricId) -> u64 {
        let _ = id;
        0
    }

    /// Starts an HTTP callout; its outcome comes back through
    /// [`HttpStream::on_callout`](crate::HttpStream::on_callout) or
    /// [`Vm::on_callout`](crate::Vm::on_callout), never before this returns.
    fn http_call(&self, call: HttpCall<'_>) -> Result<(), CallRefused> {
        let _ = call;
        Err(CallRefused::Unsupported)
    }

    /// Starts a gRPC callout, unary or streaming.
    fn grpc_call(&self, call: GrpcCall<'_>) -> Result<(), CallRefused> {
        let _ = call;
        Err(CallRefused::Unsupported)
    }

    /// Sends a message on a gRPC stream started earlier.
    fn grpc_send(&self, call: CallId, message: &[u8], end_of_stream: bool) {
        let _ = (call, message, end_of_stream);
    }

    /// Ends our side of a gRPC stream.
    fn grpc_close(&self, call: CallId) {
        let _ = call;
    }

    /// Drops a callout without any further event: the VM is dead, or the guest lost interest.
    fn cancel_call(&self, call: CallId) {
        let _ = call;
    }

    /// Tells that a guest acted on a stream other than the one being called, so that
    /// [`HttpStream::pending`](crate::HttpStream::pending) of that stream has something.
    fn wake(&self, stream: StreamId) {
        let _ = stream;
    }

    /// Lends a stream to a guest that has chosen it as its effective context outside the stream's
    /// own callbacks, such as in its timer. Kept until the call into the guest is over, and given
    /// back by its drop. `None`: this stream cannot be looked at now.
    fn lend(&self, stream: StreamId) -> Option<Box<dyn StreamHost>> {
        let _ = stream;
        None
    }

    /// Tells that the guest wants [`Vm::on_tick`](crate::Vm::on_tick) from now on, or no more.
    fn tick_period_changed(&self, period: Option<Duration>) {
        let _ = period;
    }

    /// Returns what is called, from any thread, when an item waits in a queue this VM registered;
    /// it should lead to [`Vm::on_queue_ready`](crate::Vm::on_queue_ready) on this worker.
    fn queue_notifier(&self) -> Option<QueueNotifier> {
        None
    }

    /// Returns whether [`PluginHost::called`] is wanted; asked once per VM, so that nothing is
    /// measured for nobody.
    fn wants_timing(&self) -> bool {
        false
    }

    /// Hears of every call into the guest, with the time it took by the wall clock. A call that
    /// ended in a trap is among them.
    fn called(&self, callback: &'static str, took: Duration) {
        let _ = (callback, took);
    }

    /// Carries out a foreign function of the proxy's own; asked before those of this crate.
    /// `None`: there is none of this name.
    fn foreign_function(&self, name: &str, args: &[u8]) -> Option<Result<Vec<u8>, ForeignError>> {
        let _ = (name, args);
        None
    }
}

/// Why a foreign function has no result; each is a status that SDKs pass on to the filter.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ForeignError {
    /// There is nothing of the name in the arguments (`NOT_FOUND`).
    NotFound,
    /// The arguments make no sense (`BAD_ARGUMENT`).
    BadArgument,
    /// Arguments or result cannot be read or written (`SERIALIZATION_FAILURE`).
    Serialization,
    /// It should have worked (`INTERNAL_FAILURE`).
    Internal,
}

/// Called with a queue's id when an item waits in it.
pub type QueueNotifier = Arc<dyn Fn(u32) + Send + Sync>;

/// The proxy's name for a metric it defined.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct MetricId(pub u64);

/// A line for the proxy's log.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LogRecord<'a> {
    /// How urgent it is.
    pub level: LogLevel,
    /// Who says it.
    pub source: LogSource,
    /// The plugin's name.
    pub plugin: &'a str,
    /// The stream the guest was working on, if any.
    pub stream: Option<StreamId>,
    /// The `x-request-id` of that stream, if it has one.
    pub request_id: Option<&'a str>,
    /// The text, without control characters and of bounded length.
    pub message: &'a str,
}

/// Who says a log line.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LogSource {
    /// The guest.
    Guest,
    /// This crate, about the guest.
    Host,
}

impl LogRecord<'_> {
    /// Emits the line through `tracing`, target `wasm`.
    fn trace(&self) {
        let (plugin, message) = (self.plugin, self.message);
        let (stream, request_id) = (self.stream.map(|s| s.0), self.request_id);
        match self.level {
            LogLevel::Trace => {
                tracing::trace!(target: "wasm", plugin, stream, request_id, "{message}");
            }
            LogLevel::Debug => {
                tracing::debug!(target: "wasm", plugin, stream, request_id, "{message}");
            }
            LogLevel::Info => {
                tracing::info!(target: "wasm", plugin, stream, request_id, "{message}");
            }
            LogLevel::Warn => {
                tracing::warn!(target: "wasm", plugin, stream, request_id, "{message}");
            }
            LogLevel::Error | LogLevel::Critical => {
                tracing::error!(target: "wasm", plugin, stream, request_id, "{message}");
            }
        }
    }
}

/// Something that went differently from what the guest asked for, though it was told "OK":
/// most SDKs stop the whole filter at any other answer.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Notice {
    /// Log lines over the limit were dropped.
    LogDropped,
    /// A header with a name or value no message can carry, or over the size limit, was dropped.
    HeaderRefused,
    /// A change came too late, or to a map or body that is not there, and had no effect.
    WriteIgnored,
    /// A local response was malformed and was replaced by a 500.
    LocalResponseReplaced,
    /// A local response, resume or close came where there is no stream for it.
    StreamActionIgnored,
    /// A metric over the limit was defined; its values go nowhere.
    MetricRefused,
    /// Shared data, a queue or a property was over its limit and was not stored.
    StorageFull,
    /// A callout was over the limit, or the proxy refused it.
    CallRefused,
    /// A function was called that the plugin is not allowed to call
    /// ([`PluginConfig::allowed`](crate::PluginConfig::allowed)).
    CapabilityDenied,
}

impl Notice {
    /// Every notice there is, for whoever counts them.
    pub const ALL: [Self; 9] = [
        Self::LogDropped,
        Self::HeaderRefused,
        Self::WriteIgnored,
        Self::LocalResponseReplaced,
        Self::StreamActionIgnored,
        Self::MetricRefused,
        Self::StorageFull,
        Self::CallRefused,
        Self::CapabilityDenied,
    ];

    /// Returns a short name in snake case, for metric labels.
    pub fn name(self) -> &'static str {
        match self {
            Self::LogDropped => "log_dropped",
            Self::HeaderRefused => "header_refused",
            Self::WriteIgnored => "write_ignored",
            Self::LocalResponseReplaced => "local_response_replaced",
            Self::StreamActionIgnored => "stream_action_ignored",
            Self::MetricRefused => "metric_refused",
            Self::StorageFull => "storage_full",
            Self::CallRefused => "call_refused",
            Self::CapabilityDenied => "capability_denied",
        }
    }
}
