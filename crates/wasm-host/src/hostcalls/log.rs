//! `proxy_log` and the level below which nothing is wanted.

use crate::abi::{LogLevel, Status};
use crate::hostcalls::Answer;
use crate::hostcalls::memory::{Call, Span, slice};

pub(super) fn log(call: &mut Call<'_>, level: u32, text: Span) -> Answer {
    let level = LogLevel::from_raw(level).ok_or(Status::BadArgument)?;
    let (memory, state) = call.split();
    state.log(level, slice(memory, text)?);
    Ok(())
}

pub(super) fn log_level(call: &mut Call<'_>, out: u32) -> Answer {
    let level = call.state().host.log_level();
    Ok(call.write_u32(out, level as u32)?)
}
