//! Error → response. The only place that words an error for a client.
//!
//! Texts are Envoy's where Envoy has one: people's alerts look for them. A response never names
//! a policy, an endpoint or a cause; those are in the log.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, Response, StatusCode};
use mesh::authz::Denied;
use telemetry::http::Flag;

use super::body::Body;
use super::error::Kind;

#[cfg(test)]
mod tests;

/// How an error is shown.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Row {
    /// Status for HTTP.
    pub(crate) status: StatusCode,
    /// Status for gRPC.
    pub(crate) grpc: u16,
    /// Flag in metrics and log.
    pub(crate) flag: Flag,
    /// Text for the client.
    pub(crate) text: &'static str,
    /// Word in the log.
    pub(crate) details: String,
}

/// The table.
pub(crate) fn row(kind: &Kind) -> Row {
    let (status, grpc, flag) = codes(kind);
    let (text, details) = words(kind);
    Row {
        status,
        grpc,
        flag,
        text,
        details,
    }
}

/// What programs read: the status for HTTP, that for gRPC, and the flag.
fn codes(kind: &Kind) -> (StatusCode, u16, Flag) {
    match kind {
        Kind::BadRequest(_) => (StatusCode::BAD_REQUEST, 13, Flag::DownstreamProtocolError),
        Kind::BodyTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, 8, Flag::None),
        Kind::ConnectFailed => (
            StatusCode::SERVICE_UNAVAILABLE,
            14,
            Flag::UpstreamConnectFailure,
        ),
        Kind::Denied(_) => (StatusCode::FORBIDDEN, 7, Flag::None),
        Kind::Disconnected => (StatusCode::BAD_REQUEST, 1, Flag::DownstreamTermination),
        Kind::Expectation => (StatusCode::EXPECTATION_FAILED, 13, Flag::None),
        Kind::InvalidBackend => (StatusCode::INTERNAL_SERVER_ERROR, 14, Flag::None),
        Kind::NoEndpoint => (StatusCode::SERVICE_UNAVAILABLE, 14, Flag::NoHealthyUpstream),
        Kind::NoRoute => (StatusCode::NOT_FOUND, 12, Flag::NoRoute),
        Kind::Overload => (StatusCode::SERVICE_UNAVAILABLE, 14, Flag::Overload),
        Kind::Plugin | Kind::PluginReset => (StatusCode::SERVICE_UNAVAILABLE, 14, Flag::None),
        Kind::Protocol => (StatusCode::BAD_GATEWAY, 14, Flag::UpstreamProtocolError),
        Kind::Reset => (
            StatusCode::SERVICE_UNAVAILABLE,
            14,
            Flag::UpstreamTermination,
        ),
        Kind::ResponseTooLarge => (StatusCode::INTERNAL_SERVER_ERROR, 13, Flag::None),
        Kind::Timeout => (StatusCode::GATEWAY_TIMEOUT, 4, Flag::UpstreamTimeout),
        Kind::TooLarge => (
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            8,
            Flag::DownstreamProtocolError,
        ),
    }
}

/// What people read: the text for the client, and the word in the log.
fn words(kind: &Kind) -> (&'static str, String) {
    let (text, details) = match kind {
        Kind::BadRequest(why) => ("Bad Request", &**why),
        Kind::BodyTooLarge => ("Payload Too Large", "request_payload_too_large"),
        Kind::ConnectFailed => (
            "upstream connect error or disconnect/reset before headers. reset reason: remote \
             connection failure",
            "upstream_reset_before_response_started{remote_connection_failure}",
        ),
        Kind::Denied(denied) => return ("RBAC: access denied", denial(denied)),
        Kind::Disconnected => ("", "downstream_remote_disconnect"),
        Kind::Expectation => ("", "expectation_failed"),
        Kind::InvalidBackend => ("", "invalid_backend"),
        Kind::NoEndpoint => ("no healthy upstream", "no_healthy_upstream"),
        Kind::NoRoute => ("", "route_not_found"),
        Kind::Overload => ("envoy overloaded", "overload"),
        Kind::Plugin => ("", "wasm_fail_stream"),
        Kind::PluginReset => ("", "wasm_close_stream"),
        Kind::Protocol => (
            "upstream connect error or disconnect/reset before headers. reset reason: protocol \
             error",
            "upstream_reset_before_response_started{protocol_error}",
        ),
        Kind::Reset => (
            "upstream connect error or disconnect/reset before headers. reset reason: connection \
             termination",
            "upstream_reset_before_response_started{connection_termination}",
        ),
        Kind::ResponseTooLarge => ("Internal Server Error", "response_payload_too_large"),
        Kind::Timeout => ("upstream request timeout", "response_timeout"),
        Kind::TooLarge => (
            "Request Header Fields Too Large",
            "request_headers_too_large",
        ),
    };
    (text, details.to_owned())
}

/// The word for a denial, as Istio's RBAC filter has it.
fn denial(denied: &Denied) -> String {
    match denied {
        Denied::Explicitly { policy, rule } | Denied::NoAuthorizer { policy, rule, .. } => format!(
            "rbac_access_denied_matched_policy[ns[{}]-policy[{}]-rule[{rule}]]",
            policy.namespace, policy.name
        ),
        Denied::NotAllowed | Denied::Missing(_) => {
            "rbac_access_denied_matched_policy[none]".to_owned()
        }
    }
}

/// Builds the response for a row: plain text, or for gRPC a status in the headers.
pub(crate) fn response(row: &Row, grpc: bool) -> Response<Body> {
    if grpc {
        return grpc_response(row.grpc, row.text, HeaderMap::new());
    }
    let mut response = Response::new(Body::full(Bytes::from_static(row.text.as_bytes())));
    *response.status_mut() = row.status;
    if !row.text.is_empty() {
        response
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    }
    response
}

/// The gRPC status that stands for an HTTP status (gRPC, "HTTP to gRPC Status Code Mapping").
pub(crate) fn grpc_of_http(status: u16) -> u16 {
    match status {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502..=504 => 14,
        _ => 2,
    }
}

/// A gRPC answer without a message: the status is in the headers (gRPC over HTTP/2,
/// "Trailers-Only").
pub(crate) fn grpc_response(status: u16, message: &str, mut headers: HeaderMap) -> Response<Body> {
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert("grpc-status", HeaderValue::from(status));
    if let Ok(message) = HeaderValue::from_str(message)
        && !message.is_empty()
    {
        headers.insert("grpc-message", message);
    }
    let mut response = Response::new(Body::empty());
    *response.headers_mut() = headers;
    response
}
