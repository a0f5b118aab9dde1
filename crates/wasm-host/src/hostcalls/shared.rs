//! Shared data and queues, as guests call them.

use crate::abi::Status;
use crate::embed::Notice;
use crate::hostcalls::Answer;
use crate::hostcalls::memory::{Call, Out, Span, slice};
use crate::shared::NotStored;

/// Queues are numbered from one upwards and never come so far.
const NOWHERE: u32 = u32::MAX;

pub(super) fn get(call: &mut Call<'_>, key: Span, out: Out, cas_out: u32) -> Answer {
    call.check_out(out)?;
    call.check(cas_out, 4)?;
    let (memory, state) = call.split();
    let (value, cas) = state
        .plugin
        .space
        .get(slice(memory, key)?)
        .ok_or(Status::NotFound)?;
    call.give(&value, out)?;
    Ok(call.write_u32(cas_out, cas)?)
}

/// A store that is full answers as if another write had come first: the only refusal of this
/// function that SDKs pass on to the filter.
pub(super) fn set(call: &mut Call<'_>, key: Span, value: Span, cas: u32) -> Answer {
    let (memory, state) = call.split();
    let (key, value) = (slice(memory, key)?, slice(memory, value)?);
    let plugin = &state.plugin;
    match plugin.space.set(key, value, cas, &plugin.config.limits) {
        Ok(()) => Ok(()),
        Err(NotStored::Full) => {
            state.notice(Notice::StorageFull, "shared data");
            Err(Status::CasMismatch.into())
        }
        Err(NotStored::Changed | NotStored::Missing) => Err(Status::CasMismatch.into()),
    }
}

/// Opens a queue, or makes it; whoever did so last is told of items.
pub(super) fn register_queue(call: &mut Call<'_>, name: Span, out: u32) -> Answer {
    call.check(out, 4)?;
    let (memory, state) = call.split();
    let notifier = state.host.queue_notifier();
    let plugin = &state.plugin;
    let registered =
        plugin
            .space
            .register_queue(slice(memory, name)?, notifier, &plugin.config.limits);
    // No refusal of this function is survived by the Rust SDK: what there is no room for gets an
    // id nobody has, with which nothing can be done.
    let id = registered.unwrap_or_else(|_| {
        state.notice(Notice::StorageFull, "a queue");
        NOWHERE
    });
    Ok(call.write_u32(out, id)?)
}

pub(super) fn resolve_queue(call: &mut Call<'_>, vm_id: Span, name: Span, out: u32) -> Answer {
    call.check(out, 4)?;
    let (memory, state) = call.split();
    let found = state
        .plugin
        .space
        .resolve_queue(slice(memory, vm_id)?, slice(memory, name)?);
    Ok(call.write_u32(out, found.ok_or(Status::NotFound)?)?)
}

/// A full queue answers `NOT_FOUND`, for the same reason as full shared data its mismatch.
pub(super) fn enqueue(call: &mut Call<'_>, id: u32, item: Span) -> Answer {
    let (memory, state) = call.split();
    let plugin = &state.plugin;
    match plugin
        .space
        .enqueue(id, slice(memory, item)?, &plugin.config.limits)
    {
        Ok(notifier) => {
            if let Some(notify) = notifier {
                notify(id);
            }
            Ok(())
        }
        Err(NotStored::Full) => {
            state.notice(Notice::StorageFull, "a queue is full");
            Err(Status::NotFound.into())
        }
        Err(NotStored::Changed | NotStored::Missing) => Err(Status::NotFound.into()),
    }
}

pub(super) fn dequeue(call: &mut Call<'_>, id: u32, out: Out) -> Answer {
    call.check_out(out)?;
    let item = call.state().plugin.space.dequeue(id)?;
    call.give(&item, out)
}
