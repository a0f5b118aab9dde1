//! Calls a guest makes to other services, carried out by the proxy.

use std::time::Duration;

use super::Headers;
use crate::abi::{CallId, StreamId};

/// An HTTP request a guest wants made.
#[derive(Debug)]
#[non_exhaustive]
pub struct HttpCall<'a> {
    /// Its name from now on.
    pub id: CallId,
    /// The stream it was made for; its events belong to that stream as long as it lives, and then
    /// to the VM. `None`: to the VM.
    pub stream: Option<StreamId>,
    /// The upstream as the guest named it, for example `outbound|80||svc.ns.svc.cluster.local`.
    pub upstream: &'a str,
    /// Request headers; `:method`, `:path` and `:authority` are present.
    pub headers: Headers,
    /// The whole body.
    pub body: &'a [u8],
    /// Trailers, usually none.
    pub trailers: Headers,
    /// The most it may take, already clamped to the plugin's limit.
    pub timeout: Duration,
}

/// A gRPC call a guest wants made.
#[derive(Debug)]
#[non_exhaustive]
pub struct GrpcCall<'a> {
    /// Its name from now on.
    pub id: CallId,
    /// The stream it was made for; its events belong to that stream as long as it lives, and then
    /// to the VM. `None`: to the VM.
    pub stream: Option<StreamId>,
    /// A name, or a serialised `envoy.config.core.v3.GrpcService`.
    pub upstream: &'a [u8],
    /// The gRPC service, for example `pkg.Greeter`.
    pub service: &'a str,
    /// The method of that service.
    pub method: &'a str,
    /// Initial metadata.
    pub metadata: Headers,
    /// One request or a stream of them.
    pub kind: GrpcMethod<'a>,
}

/// How many messages a gRPC call sends.
#[derive(Clone, Copy, Debug)]
pub enum GrpcMethod<'a> {
    /// One request message (without the frame header), one response.
    Unary {
        /// The request message.
        message: &'a [u8],
        /// The most it may take, already clamped to the plugin's limit.
        timeout: Duration,
    },
    /// Messages follow through [`PluginHost::grpc_send`](super::PluginHost::grpc_send).
    Streaming,
}

/// Why the proxy does not make a call.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum CallRefused {
    /// This proxy makes no such calls.
    #[error("this proxy makes no such calls")]
    Unsupported,
    /// There is no such upstream, or this plugin may not reach it.
    #[error("the proxy knows no service of that name and port that this plugin may call")]
    UnknownUpstream,
    /// The request is not well formed.
    #[error("that is no name of a service, or the request lacks what it needs")]
    Malformed,
}

/// What happened to a callout.
#[derive(Clone, Debug)]
pub enum CalloutEvent {
    /// The whole response of an HTTP call.
    ///
    /// A call that got no response is answered by a made-up one, as filters check `:status`: 504
    /// for a timeout, 503 for a refused connection; without any header after a reset.
    HttpResponse {
        /// Response headers with `:status`.
        headers: Headers,
        /// The whole body.
        body: Vec<u8>,
        /// Trailers, usually none.
        trailers: Headers,
    },
    /// Initial metadata of a gRPC stream.
    GrpcInitialMetadata(Headers),
    /// A message of a gRPC stream, or the response of a unary call, which ends it.
    GrpcMessage(Vec<u8>),
    /// Trailing metadata of a gRPC stream.
    GrpcTrailingMetadata(Headers),
    /// A gRPC stream ended, or a unary call failed.
    GrpcClosed {
        /// The gRPC status.
        status: u32,
        /// The text beside it.
        message: String,
    },
}
