//! Time, timers, contexts, and the rest that concerns the plugin itself.
#![expect(
    clippy::unnecessary_wraps,
    reason = "every host function answers alike"
)]

use std::time::{Duration, SystemTime};

use crate::abi::Status;
use crate::embed::value::nanoseconds_since_epoch;
use crate::hostcalls::Answer;
use crate::hostcalls::memory::{Call, Out};
use crate::vm::{Done, ROOT};

pub(super) fn current_time(call: &mut Call<'_>, out: u32) -> Answer {
    let now = nanoseconds_since_epoch(SystemTime::now());
    Ok(call.write(out, &now.to_le_bytes())?)
}

/// One timer per root context; 0 stops it, another call replaces it.
pub(super) fn set_tick_period(call: &mut Call<'_>, milliseconds: u32) -> Answer {
    let period = (milliseconds > 0).then(|| Duration::from_millis(u64::from(milliseconds)));
    let state = call.state();
    state.root.tick_period = period;
    state.host.tick_period_changed(period);
    Ok(())
}

/// Retargets what follows within this callback.
pub(super) fn set_effective(call: &mut Call<'_>, id: u32) -> Answer {
    let state = call.state();
    if id != ROOT && !state.streams.get(&id).is_some_and(|stream| stream.known) {
        return Err(Status::BadArgument.into());
    }
    state.frame.effective = id;
    Ok(())
}

/// Ends a root context that asked for more time. Calling it when nobody waits is harmless here;
/// the specification has `NOT_FOUND`, at which Rust filters panic.
pub(super) fn done(call: &mut Call<'_>) -> Answer {
    let root = &mut call.state().root;
    if root.done == Done::Pending {
        root.done = Done::Yes;
    }
    Ok(())
}

/// Code and text of the last callout.
pub(super) fn status(call: &mut Call<'_>, code_out: u32, out: Out) -> Answer {
    call.check(code_out, 4)?;
    let (code, text) = call.state().calls.status.clone();
    call.give(text.as_bytes(), out)?;
    Ok(call.write_u32(code_out, code)?)
}
