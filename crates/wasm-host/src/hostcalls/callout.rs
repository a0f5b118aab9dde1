//! Calls to other services: checked, counted, named, and handed to the proxy.

use std::time::Duration;

use crate::abi::{CallId, Status, StreamId};
use crate::embed::{CallRefused, GrpcCall, GrpcMethod, HeaderMap as _, Headers, HttpCall, Notice};
use crate::hostcalls::Answer;
use crate::hostcalls::header::{header_name, is_header_value};
use crate::hostcalls::memory::{Call, Span, slice};
use crate::pairs;
use crate::vm::{Call as Callout, CallKind, ROOT, State};

/// Begins an HTTP call. Answers `BAD_ARGUMENT` or `INTERNAL_FAILURE`, which SDKs return to the filter.
pub(super) fn http(call: &mut Call<'_>, parts: [Span; 4], timeout: u32, out: u32) -> Answer {
    // Written before anything starts, so that a bad pointer starts nothing.
    call.write_u32(out, 0)?;
    let (memory, state) = call.split();
    let [upstream, headers, body, trailers] = parts;
    let upstream = text(slice(memory, upstream)?).ok_or(Status::BadArgument)?;
    let headers = read_headers(state, slice(memory, headers)?).ok_or(Status::BadArgument)?;
    let body = slice(memory, body)?;
    let trailers = read_headers(state, slice(memory, trailers)?).ok_or(Status::BadArgument)?;
    fits(state, body)?;
    if [":method", ":path", ":authority"]
        .iter()
        .any(|name| headers.get(name).is_none())
    {
        let detail = "it needs :method, :path and :authority";
        state.notice(Notice::CallRefused, detail);
        return Err(Status::BadArgument.into());
    }
    let timeout = clamp(timeout, state);
    let to = upstream.as_bytes();
    let id = begin(state, CallKind::Http, to, |state, id, stream| {
        state.host.http_call(HttpCall {
            id,
            stream,
            upstream,
            headers,
            body,
            trailers,
            timeout,
        })
    });
    let id = id.map_err(|refused| match refused {
        Some(CallRefused::UnknownUpstream | CallRefused::Malformed) => Status::BadArgument,
        Some(CallRefused::Unsupported) | None => Status::InternalFailure,
    })?;
    Ok(call.write_u32(out, id)?)
}

/// Begins a gRPC call, with its message and timeout if it is unary. Answers `PARSE_FAILURE` or
/// `INTERNAL_FAILURE`; Envoy's `BAD_ARGUMENT` here is a panic in Rust filters.
pub(super) fn grpc(
    call: &mut Call<'_>,
    parts: [Span; 4],
    unary: Option<(Span, u32)>,
    out: u32,
) -> Answer {
    call.write_u32(out, 0)?;
    let (memory, state) = call.split();
    let [upstream, service, method, metadata] = parts;
    let upstream = slice(memory, upstream)?;
    let service = text(slice(memory, service)?).ok_or(Status::ParseFailure)?;
    let method = text(slice(memory, method)?).ok_or(Status::ParseFailure)?;
    let metadata = read_headers(state, slice(memory, metadata)?).ok_or(Status::ParseFailure)?;
    let (call_kind, kind) = match unary {
        Some((message, timeout)) => {
            let (message, timeout) = (slice(memory, message)?, clamp(timeout, state));
            fits(state, message).map_err(|_| Status::InternalFailure)?;
            (CallKind::GrpcUnary, GrpcMethod::Unary { message, timeout })
        }
        None => (CallKind::GrpcStream, GrpcMethod::Streaming),
    };
    let id = begin(state, call_kind, upstream, |state, id, stream| {
        state.host.grpc_call(GrpcCall {
            id,
            stream,
            upstream,
            service,
            method,
            metadata,
            kind,
        })
    });
    let id = id.map_err(|refused| match refused {
        Some(CallRefused::UnknownUpstream | CallRefused::Malformed) => Status::ParseFailure,
        Some(CallRefused::Unsupported) | None => Status::InternalFailure,
    })?;
    Ok(call.write_u32(out, id)?)
}

/// Sends on a gRPC stream.
pub(super) fn grpc_send(call: &mut Call<'_>, id: u32, message: Span, end_of_stream: u32) -> Answer {
    let (memory, state) = call.split();
    let message = slice(memory, message)?;
    fits(state, message)?;
    match state.calls.get(id) {
        Some(Callout {
            kind: CallKind::GrpcStream,
            ..
        }) => {
            state
                .host
                .grpc_send(CallId(id), message, end_of_stream != 0);
            Ok(())
        }
        Some(_) => Err(Status::BadArgument.into()),
        None => Err(Status::NotFound.into()),
    }
}

/// Drops a gRPC call; the guest hears no more of it.
pub(super) fn grpc_cancel(call: &mut Call<'_>, id: u32) -> Answer {
    let state = call.state();
    let known = state
        .calls
        .get(id)
        .filter(|call| call.kind != CallKind::Http);
    let known = known.ok_or(Status::NotFound)?;
    state.calls.end(id);
    if let Some(stream) = state.streams.get_mut(&known.context) {
        stream.calls = stream.calls.saturating_sub(1);
    }
    state.host.cancel_call(CallId(id));
    Ok(())
}

/// Ends our side of a gRPC stream. A unary call has no side to end, so it is dropped.
pub(super) fn grpc_close(call: &mut Call<'_>, id: u32) -> Answer {
    let state = call.state();
    match state.calls.get(id).map(|call| call.kind) {
        Some(CallKind::GrpcStream) => {
            state.host.grpc_close(CallId(id));
            Ok(())
        }
        Some(CallKind::GrpcUnary) => grpc_cancel(call, id),
        Some(CallKind::Http) | None => Err(Status::NotFound.into()),
    }
}

/// A callout takes no more than a body may have at once.
fn fits(state: &mut State, bytes: &[u8]) -> Result<(), Status> {
    if bytes.len() <= state.limits().body_bytes {
        return Ok(());
    }
    state.notice(Notice::CallRefused, "its body is larger than allowed");
    Err(Status::BadArgument)
}

/// Names a call, hands it to the proxy, and remembers it if the proxy took it. `None`: over the
/// limit.
fn begin(
    state: &mut State,
    kind: CallKind,
    upstream: &[u8],
    hand_over: impl FnOnce(&State, CallId, Option<StreamId>) -> Result<(), CallRefused>,
) -> Result<u32, Option<CallRefused>> {
    let (limit, per_stream) = (state.limits().calls, state.limits().calls_per_stream);
    let stream = state
        .effective_stream()
        .map(|(id, stream)| (id, stream.calls));
    if state.calls.len() >= limit || stream.is_some_and(|(_, calls)| calls >= per_stream) {
        state.notice(Notice::CallRefused, "too many callouts in flight");
        return Err(None);
    }
    let stream = stream.map(|(id, _)| id);
    let id = state.calls.next_id(kind);
    if let Err(why) = hand_over(state, CallId(id), stream) {
        let upstream = String::from_utf8_lossy(upstream);
        let detail = format!("{:?}: {why}", upstream.get(..128).unwrap_or(&upstream));
        state.notice(Notice::CallRefused, &detail);
        return Err(Some(why));
    }
    state.calls.begin(
        id,
        Callout {
            kind,
            context: stream.map_or(ROOT, |stream| stream.0),
        },
    );
    if let Some((_, stream)) = state.effective_stream() {
        stream.calls += 1;
    }
    Ok(id)
}

/// Nothing waits for ever: no timeout means the longest.
fn clamp(timeout: u32, state: &State) -> Duration {
    let longest = state.limits().call_timeout;
    match timeout {
        0 => longest,
        milliseconds => Duration::from_millis(u64::from(milliseconds)).min(longest),
    }
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

/// Reads headers of a request the guest makes; all must be such that a message can carry them.
fn read_headers(state: &State, serialised: &[u8]) -> Option<Headers> {
    let limits = state.limits();
    if serialised.len() > limits.header_bytes {
        return None;
    }
    let pairs = pairs::read(serialised, limits.pairs).ok()?;
    let mut headers = Headers::new();
    for (name, value) in pairs {
        let name = header_name(name).filter(|_| is_header_value(value))?;
        headers.push(&name, value);
    }
    Some(headers)
}
