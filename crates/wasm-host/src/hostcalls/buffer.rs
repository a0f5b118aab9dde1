//! Buffers: configurations, bodies, and what callouts received.

use std::sync::Arc;

use crate::abi::{BufferId, Status};
use crate::embed::{Buffer, Notice};
use crate::hostcalls::Answer;
use crate::hostcalls::memory::{Call, Out, Span, slice};
use crate::vm::{Phase, ROOT, State};

/// Gives the guest a window of a buffer.
///
/// A body that is not there has no bytes, which is what Envoy answers outside body callbacks; the
/// other buffers are `NOT_FOUND` then. A start beyond the end gives nothing.
pub(super) fn bytes(call: &mut Call<'_>, buffer: u32, window: Span, out: Out) -> Answer {
    call.check_out(out)?;
    let id = BufferId::from_raw(buffer)?;
    if let BufferId::Stream(_) | BufferId::Connection(_) = id {
        let len = find(call.state(), id).map_or(0, |body| body.len());
        let (start, end) = clamp(window, len);
        if start == end {
            return nothing(call, out);
        }
        return call.give_with(end - start, out, |state, place| {
            if let Some(body) = find(state, id) {
                body.copy_to(start, place);
            }
        });
    }
    let plugin = Arc::clone(&call.state().plugin);
    match id {
        BufferId::VmConfiguration => {
            give_window(call, &plugin.config.vm_configuration, window, out)
        }
        BufferId::PluginConfiguration if call.state().frame.effective == ROOT => {
            give_window(call, &plugin.config.configuration, window, out)
        }
        BufferId::Received => {
            // Out of the state while the guest allocates.
            let received = call
                .state()
                .calls
                .received
                .body
                .take()
                .ok_or(Status::NotFound)?;
            let answer = give_window(call, &received, window, out);
            call.state().calls.received.body = Some(received);
            answer
        }
        BufferId::CallData => {
            let data = call.state().call_data.take().ok_or(Status::NotFound)?;
            let answer = give_window(call, &data, window, out);
            call.state().call_data = Some(data);
            answer
        }
        _ => Err(Status::NotFound.into()),
    }
}

fn give_window(call: &mut Call<'_>, bytes: &[u8], window: Span, out: Out) -> Answer {
    let (start, end) = clamp(window, bytes.len());
    match bytes.get(start..end) {
        Some(window) if !window.is_empty() => call.give(window, out),
        _ => nothing(call, out),
    }
}

/// Tells that there are no bytes. The address is left as it is, as Envoy leaves it: the
/// AssemblyScript SDK 0.1.8 reads from it even so when it is given no configuration.
fn nothing(call: &mut Call<'_>, out: Out) -> Answer {
    Ok(call.write_u32(out.1, 0)?)
}

/// Tells the size of a buffer, and flags that no proxy sets.
pub(super) fn status(call: &mut Call<'_>, buffer: u32, out_len: u32, out_flags: u32) -> Answer {
    call.check_out(Out(out_len, out_flags))?;
    let state = call.state();
    let len = match BufferId::from_raw(buffer)? {
        id @ (BufferId::Stream(_) | BufferId::Connection(_)) => {
            find(state, id).map_or(0, |body| body.len())
        }
        BufferId::CallData => state.call_data.as_ref().ok_or(Status::NotFound)?.len(),
        BufferId::VmConfiguration => state.plugin.config.vm_configuration.len(),
        BufferId::PluginConfiguration if state.frame.effective == ROOT => {
            state.plugin.config.configuration.len()
        }
        BufferId::Received => state
            .calls
            .received
            .body
            .as_ref()
            .ok_or(Status::NotFound)?
            .len(),
        _ => return Err(Status::NotFound.into()),
    };
    call.write_u32(out_len, u32::try_from(len).unwrap_or(u32::MAX))?;
    Ok(call.write_u32(out_flags, 0)?)
}

/// Replaces a part of a body: prepends, appends, replaces or splices, as the range says.
///
/// Too many bytes are an error, at which the filter stops: going on would let the unchanged body
/// through, and what rewrites bodies often hides something.
pub(super) fn set_bytes(call: &mut Call<'_>, buffer: u32, range: Span, data: Span) -> Answer {
    let id = BufferId::from_raw(buffer)?;
    let (memory, state) = call.split();
    let data = slice(memory, data)?;
    if data.len() > state.limits().body_bytes {
        return Err(Status::BadArgument.into());
    }
    let ended = state.frame.phase == Phase::Ended;
    let body = match id {
        _ if ended => None,
        id => find(state, id),
    };
    let Some(body) = body else {
        state.notice(
            Notice::WriteIgnored,
            "a body that is not there or cannot be changed any more",
        );
        return Ok(());
    };
    let (start, end) = clamp(range, body.len());
    if let Err(why) = body.splice(start..end, data) {
        state.notice(Notice::WriteIgnored, &format!("a body: {why}"));
    }
    Ok(())
}

/// 0.1.0: the plugin's configuration while it is configured, otherwise the VM's.
pub(super) fn configuration(call: &mut Call<'_>, out: Out) -> Answer {
    call.check_out(out)?;
    let plugin = Arc::clone(&call.state().plugin);
    match call.state().frame.phase {
        Phase::Configuring => call.give(&plugin.config.configuration, out),
        _ => call.give(&plugin.config.vm_configuration, out),
    }
}

/// Returns the bytes of a stream, if the buffer is one of its and is there.
fn find(state: &mut State, id: BufferId) -> Option<&mut dyn Buffer> {
    match id {
        BufferId::Stream(body) => state.stream_host()?.body(body),
        BufferId::Connection(side) => state.stream_host()?.data(side),
        _ => None,
    }
}

/// Turns offset and size into a range within `len`; SDKs pass the largest number for "all".
fn clamp(window: Span, len: usize) -> (usize, usize) {
    let start = usize::try_from(window.0).unwrap_or(usize::MAX).min(len);
    let size = usize::try_from(window.1).unwrap_or(usize::MAX);
    (start, start.saturating_add(size).min(len))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_never_reach_beyond_the_bytes() {
        assert_eq!(clamp(Span(0, 5), 5), (0, 5));
        assert_eq!(clamp(Span(2, u32::MAX), 5), (2, 5));
        assert_eq!(clamp(Span(u32::MAX, u32::MAX), 5), (5, 5));
        assert_eq!(clamp(Span(3, 1), 0), (0, 0));
    }
}
