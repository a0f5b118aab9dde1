//! What becomes of a stream: resume, close, answer. Carried out after the callback has returned.
#![expect(
    clippy::unnecessary_wraps,
    reason = "every host function answers alike"
)]

use crate::abi::Status;
use crate::embed::{Headers, Notice};
use crate::hostcalls::Answer;
use crate::hostcalls::header::{header_name, is_header_value};
use crate::hostcalls::memory::{Call, Span, slice};
use crate::outcome::LocalResponse;
use crate::pairs;
use crate::vm::{Ask, Effects, Kind, Phase, State, printable};

/// The parts of a local response in guest memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parts {
    pub(super) details: Span,
    pub(super) body: Span,
    pub(super) headers: Span,
}

/// Resumes the request (0) or response (1), or what waits from one side of a TCP stream (2, 3).
/// Envoy's `UNIMPLEMENTED` for 3 would end a Rust filter.
pub(super) fn resume(call: &mut Call<'_>, kind: u32) -> Answer {
    let what = match kind {
        0 => Ask::ResumeRequest,
        1 => Ask::ResumeResponse,
        2 => Ask::ResumeDownstream,
        3 => Ask::ResumeUpstream,
        _ => return Err(Status::BadArgument.into()),
    };
    act(call.state(), what.kind(), |effects| effects.ask(what));
    Ok(())
}

/// Resets the HTTP stream (0, 1), or closes one side of a TCP stream (2, 3).
pub(super) fn close(call: &mut Call<'_>, kind: u32) -> Answer {
    let what = match kind {
        0 | 1 => Ask::Reset,
        2 => Ask::CloseDownstream,
        3 => Ask::CloseUpstream,
        _ => return Err(Status::BadArgument.into()),
    };
    act(call.state(), what.kind(), |effects| effects.ask(what));
    Ok(())
}

/// 0.1.0: the proxy chooses the route anew.
pub(super) fn clear_route_cache(call: &mut Call<'_>) -> Answer {
    clear_route(call.state());
    Ok(())
}

/// What later versions have as a foreign function.
pub(super) fn clear_route(state: &mut State) {
    if state.frame.phase != Phase::Ended
        && let Some(stream) = state.stream_host()
    {
        stream.clear_route_cache();
    }
}

/// Answers the request. The first answer of a stream counts; whatever the callback returns then
/// does not.
pub(super) fn send_local_response(
    call: &mut Call<'_>,
    status: u32,
    grpc_status: u32,
    parts: Parts,
) -> Answer {
    let (memory, state) = call.split();
    let details = slice(memory, parts.details)?;
    let body = slice(memory, parts.body)?;
    let serialised = slice(memory, parts.headers)?;
    let limit = state.limits().pairs;
    let pairs = pairs::read(serialised, limit).map_err(|_| Status::BadArgument)?;

    let mut response = LocalResponse {
        status: 500,
        headers: Headers::new(),
        body: Vec::new(),
        grpc_status: Some(grpc_status).filter(|status| *status <= 16),
        details: printable(details, 256).replace(' ', "_"),
    };
    match u16::try_from(status) {
        Ok(status @ 200..=599) if body.len() <= state.limits().body_bytes => {
            response.status = status;
            response.body = body.to_vec();
            response.headers = response_headers(state, &pairs, !body.is_empty());
        }
        Ok(200..=599) => state.notice(
            Notice::LocalResponseReplaced,
            "its body is larger than allowed",
        ),
        _ => state.notice(
            Notice::LocalResponseReplaced,
            &format!("{status} is no status of a response"),
        ),
    }
    act(state, Kind::Http, |effects| {
        effects
            .local_response
            .get_or_insert_with(|| Box::new(response));
    });
    Ok(())
}

/// Keeps the headers a response can have. Framing is the proxy's: a length or encoding of the
/// guest's would let it tell two responses in one.
fn response_headers(state: &mut State, pairs: &[(&[u8], &[u8])], has_body: bool) -> Headers {
    const FRAMING: [&str; 6] = [
        "connection",
        "content-length",
        "keep-alive",
        "proxy-connection",
        "transfer-encoding",
        "upgrade",
    ];
    let mut headers = Headers::new();
    let mut has_type = false;
    for (name, value) in pairs {
        match header_name(name) {
            Some(checked) if is_header_value(value) && !checked.starts_with(':') => {
                if !FRAMING.contains(&&*checked) {
                    has_type |= checked == "content-type";
                    headers.push(&checked, *value);
                }
            }
            _ => {
                let detail = format!(
                    "header {:?} of a local response",
                    String::from_utf8_lossy(name)
                );
                state.notice(Notice::HeaderRefused, &detail);
            }
        }
    }
    if has_body && !has_type {
        headers.push("content-type", "text/plain");
    }
    headers
}

/// Notes something for the stream the guest acts on, and wakes it if it is not the one that is
/// being called.
fn act(state: &mut State, kind: Kind, note: impl FnOnce(&mut Effects)) {
    let ended = state.frame.phase == Phase::Ended;
    let called = state.frame.context;
    match state.effective_stream() {
        Some((id, stream)) if !ended && stream.kind == kind => {
            note(&mut stream.effects);
            if id.0 != called {
                state.host.wake(id);
            }
        }
        _ => state.notice(
            Notice::StreamActionIgnored,
            "there is no stream it could be for",
        ),
    }
}
