//! The headers of a CONNECT and of its answer: telemetry hints, never a ground for a decision.
//!
//! Whoever holds a mesh certificate can write anything into them, so parsing is tolerant, bounded
//! and cleans values up; what is not understood is absent.

pub mod baggage;
pub mod forwarded;

use http::header::{HeaderName, HeaderValue};

pub use baggage::Baggage;
pub use forwarded::Forwarded;

/// Metadata of the workload that sends the message. See [`Baggage`].
pub const BAGGAGE: HeaderName = HeaderName::from_static("baggage");

/// The connection the tunnel was opened for. See [`Forwarded`].
pub const FORWARDED: HeaderName = HeaderName::from_static("forwarded");

/// W3C trace context, one per tunnel. See [`traceparent`].
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Network of the sender, on the inner CONNECT through an east-west gateway.
pub const X_FORWARDED_NETWORK: HeaderName = HeaderName::from_static("x-forwarded-network");

/// What sent an outer CONNECT to an east-west gateway: `waypoint`, `gateway` or `sidecar`.
pub const X_ISTIO_SOURCE: HeaderName = HeaderName::from_static("x-istio-source");

/// Bytes of one header that are looked at; the rest is ignored.
const PARSE_LIMIT: usize = 2 << 10;

/// Builds a `traceparent` that starts a trace nobody records: version 00, flags 00.
///
/// * `random` — the caller owns randomness; the first 16 bytes become the trace id, the others the
///   span id. An id of zeros is illegal, so all-zero ids get a last byte of one.
///
/// Source: W3C Trace Context §3.2; ztunnel sends one per connection for log correlation.
pub fn traceparent(random: [u8; 24]) -> HeaderValue {
    let (trace, span) = random.split_at(16);
    let mut text = String::with_capacity(55);
    text.push_str("00-");
    push_id(&mut text, trace);
    text.push('-');
    push_id(&mut text, span);
    text.push_str("-00");
    // Hexadecimal digits and dashes are always a legal value; the fallback is never taken.
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

fn push_id(text: &mut String, id: &[u8]) {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
    let zero = id.iter().all(|b| *b == 0);
    for (i, byte) in id.iter().enumerate() {
        let byte = if zero && i + 1 == id.len() { 1 } else { *byte };
        text.push(digit(byte >> 4));
        text.push(digit(byte & 0xf));
    }
}

/// Returns the part of a header that is looked at, or `None` if it is not ASCII.
fn bounded(value: &HeaderValue) -> Option<&str> {
    let text = value.to_str().ok()?;
    text.get(..text.len().min(PARSE_LIMIT))
}

#[cfg(test)]
mod tests;
