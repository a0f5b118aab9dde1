//! Numbers of the ABI: statuses, enumerations, versions.
//!
//! Source: proxy-wasm specification, `abi-versions/v0.2.1`; the header of each type names its part.

use std::fmt;

/// What a host function answers (`proxy_status_t`). Values the specification lists but no host
/// function here returns are left out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u32)]
pub(crate) enum Status {
    Ok = 0,
    NotFound = 1,
    BadArgument = 2,
    SerializationFailure = 3,
    ParseFailure = 4,
    InvalidMemoryAccess = 6,
    Empty = 7,
    CasMismatch = 8,
    InternalFailure = 10,
}

/// The version of the ABI a module declares by exporting a marker function.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum AbiVersion {
    /// `proxy_abi_version_0_1_0`, February 2020.
    V0_1_0,
    /// `proxy_abi_version_0_2_0`, August 2020; what the Go SDKs export.
    V0_2_0,
    /// `proxy_abi_version_0_2_1`; what the Rust, C++ and AssemblyScript SDKs export.
    V0_2_1,
}

impl AbiVersion {
    /// Returns the version whose marker export has this name.
    pub(crate) fn from_marker(export: &str) -> Option<Self> {
        match export {
            "proxy_abi_version_0_1_0" => Some(Self::V0_1_0),
            "proxy_abi_version_0_2_0" => Some(Self::V0_2_0),
            "proxy_abi_version_0_2_1" => Some(Self::V0_2_1),
            _ => None,
        }
    }
}

impl fmt::Display for AbiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V0_1_0 => "0.1.0",
            Self::V0_2_0 => "0.2.0",
            Self::V0_2_1 => "0.2.1",
        })
    }
}

/// How urgent a log line is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[repr(u32)]
pub enum LogLevel {
    /// Every step.
    Trace = 0,
    /// For whoever debugs the filter.
    Debug = 1,
    /// Lifecycle.
    Info = 2,
    /// Degraded, but serving.
    Warn = 3,
    /// Someone must act.
    Error = 4,
    /// The filter cannot go on; the Rust SDK logs panics with it.
    Critical = 5,
}

impl LogLevel {
    pub(crate) fn from_raw(raw: u32) -> Option<Self> {
        Some(match raw {
            0 => Self::Trace,
            1 => Self::Debug,
            2 => Self::Info,
            3 => Self::Warn,
            4 => Self::Error,
            5 => Self::Critical,
            _ => return None,
        })
    }
}

/// A header map of an HTTP stream.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Map {
    /// Request headers, pseudo-headers included.
    RequestHeaders,
    /// Request trailers.
    RequestTrailers,
    /// Response headers, `:status` included.
    ResponseHeaders,
    /// Response trailers.
    ResponseTrailers,
}

/// Any of the eight header maps of the ABI.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum MapId {
    Stream(Map),
    /// Headers or initial metadata of what a callout received.
    ReceivedHeaders,
    /// Trailers or trailing metadata of what a callout received.
    ReceivedTrailers,
}

impl MapId {
    pub(crate) fn from_raw(raw: u32) -> Result<Self, Status> {
        Ok(match raw {
            0 => Self::Stream(Map::RequestHeaders),
            1 => Self::Stream(Map::RequestTrailers),
            2 => Self::Stream(Map::ResponseHeaders),
            3 => Self::Stream(Map::ResponseTrailers),
            4 | 6 => Self::ReceivedHeaders,
            5 | 7 => Self::ReceivedTrailers,
            _ => return Err(Status::BadArgument),
        })
    }
}

/// A body of an HTTP stream.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Body {
    /// The request body.
    Request,
    /// The response body.
    Response,
}

/// Any of the nine buffers of the ABI.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum BufferId {
    Stream(Body),
    /// Bytes of a TCP stream.
    Connection(Side),
    /// Body or message of what a callout received.
    Received,
    VmConfiguration,
    PluginConfiguration,
    /// Arguments of a foreign call the host makes.
    CallData,
}

impl BufferId {
    pub(crate) fn from_raw(raw: u32) -> Result<Self, Status> {
        Ok(match raw {
            0 => Self::Stream(Body::Request),
            1 => Self::Stream(Body::Response),
            2 => Self::Connection(Side::Downstream),
            3 => Self::Connection(Side::Upstream),
            4 | 5 => Self::Received,
            6 => Self::VmConfiguration,
            7 => Self::PluginConfiguration,
            8 => Self::CallData,
            _ => return Err(Status::BadArgument),
        })
    }
}

/// What a metric counts.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(u32)]
pub enum MetricKind {
    /// Only ever rises.
    Counter = 0,
    /// Rises and falls.
    Gauge = 1,
    /// A distribution of recorded values.
    Histogram = 2,
}

impl MetricKind {
    pub(crate) fn from_raw(raw: u32) -> Result<Self, Status> {
        Ok(match raw {
            0 => Self::Counter,
            1 => Self::Gauge,
            2 => Self::Histogram,
            _ => return Err(Status::BadArgument),
        })
    }
}

/// One side of an exchange.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Direction {
    /// Downstream to upstream.
    Request,
    /// Upstream to downstream.
    Response,
}

/// One side of a TCP stream.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Side {
    /// The client's.
    Downstream,
    /// The server's.
    Upstream,
}

/// Who closed a connection.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(u32)]
pub enum Peer {
    /// Not known.
    Unknown = 0,
    /// The proxy.
    Local = 1,
    /// The other end.
    Remote = 2,
}

/// How a stream waits after a guest asked for it.
///
/// The guest resumes it with `proxy_continue_stream`, possibly much later.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Pause {
    /// Hold what has arrived and read no more: back-pressure. No further callback until resumed.
    Stop,
    /// Hold what has arrived and keep reading into the buffer, up to the proxy's limit.
    ///
    /// From a body callback, the next body callback sees everything buffered so far; from a
    /// headers callback, no further callback until resumed.
    Buffer,
    /// Hold the headers but keep delivering body callbacks
    /// ([`PluginConfig::body_while_headers_wait`](crate::PluginConfig::body_while_headers_wait)).
    HoldHeaders,
    /// Keep this chunk from going on, without remembering it.
    Discard,
}

/// What a callback asked for, as the guest returned it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Action {
    Continue,
    Pause(Pause),
}

impl Action {
    /// Reads the value of a headers callback; C++ and AssemblyScript filters return the rich ones.
    pub(crate) fn from_headers(raw: u32, body_while_headers_wait: bool) -> Self {
        match raw {
            0 | 2 => Self::Continue,
            1 if body_while_headers_wait => Self::Pause(Pause::HoldHeaders),
            3 => Self::Pause(Pause::Buffer),
            _ => Self::Pause(Pause::Stop),
        }
    }

    /// Reads the value of a body callback.
    pub(crate) fn from_body(raw: u32) -> Self {
        match raw {
            0 => Self::Continue,
            1 => Self::Pause(Pause::Buffer),
            2 => Self::Pause(Pause::Stop),
            _ => Self::Pause(Pause::Discard),
        }
    }

    /// Reads the value of a trailers callback.
    pub(crate) fn from_trailers(raw: u32) -> Self {
        if raw == 0 {
            Self::Continue
        } else {
            Self::Pause(Pause::Stop)
        }
    }
}

/// Names a stream within its VM; the guest knows it as a context id.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct StreamId(pub(crate) u32);

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Names a callout within its VM.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct CallId(pub(crate) u32);

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rich_actions_of_headers_callbacks_are_honoured() {
        let read = |raw| Action::from_headers(raw, false);
        assert_eq!(read(0), Action::Continue);
        assert_eq!(read(1), Action::Pause(Pause::Stop));
        assert_eq!(read(2), Action::Continue);
        assert_eq!(read(3), Action::Pause(Pause::Buffer));
        assert_eq!(read(4), Action::Pause(Pause::Stop));
        assert_eq!(read(u32::MAX), Action::Pause(Pause::Stop));
        assert_eq!(
            Action::from_headers(1, true),
            Action::Pause(Pause::HoldHeaders)
        );
    }

    #[test]
    fn rich_actions_of_body_callbacks_are_honoured() {
        assert_eq!(Action::from_body(0), Action::Continue);
        assert_eq!(Action::from_body(1), Action::Pause(Pause::Buffer));
        assert_eq!(Action::from_body(2), Action::Pause(Pause::Stop));
        assert_eq!(Action::from_body(9), Action::Pause(Pause::Discard));
        assert_eq!(Action::from_trailers(7), Action::Pause(Pause::Stop));
    }

    #[test]
    fn all_eight_maps_and_nine_buffers_are_known() {
        assert!((0..8).all(|raw| MapId::from_raw(raw).is_ok()));
        assert_eq!(MapId::from_raw(8), Err(Status::BadArgument));
        assert!((0..9).all(|raw| BufferId::from_raw(raw).is_ok()));
        assert_eq!(BufferId::from_raw(9), Err(Status::BadArgument));
    }
}
