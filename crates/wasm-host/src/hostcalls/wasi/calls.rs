//! The WASI functions themselves.
#![expect(
    clippy::unnecessary_wraps,
    reason = "every host function answers alike"
)]

use std::time::SystemTime;

use crate::embed::value::nanoseconds_since_epoch;
use crate::hostcalls::memory::{Call, Span, read_u32, slice};
use crate::hostcalls::wasi::{Answer, Errno};
use crate::vm::Output;

/// The most `random_get` gives at once.
const MOST_RANDOM: u32 = 64 << 10;

/// The most parts `fd_write` takes at once.
const MOST_PARTS: u32 = 1024;

pub(super) fn succeed(_: &mut Call<'_>) -> Answer {
    Ok(())
}

pub(super) fn refuse(_: &mut Call<'_>, errno: Errno) -> Answer {
    Err(errno)
}

/// Standard output becomes log lines at INFO, standard error at ERROR; nothing else is open.
pub(super) fn fd_write(call: &mut Call<'_>, fd: u32, parts: Span, out: u32) -> Answer {
    let output = Output::of(fd).ok_or(Errno::BadF)?;
    let Span(table, n) = parts;
    if n > MOST_PARTS {
        return Err(Errno::Inval);
    }
    call.check(out, 4)?;
    let (memory, state) = call.split();
    // What is beyond the limits of a callback's log lines would be dropped anyway.
    let most = state.limits().log_line.saturating_mul(8);
    let mut text = Vec::new();
    let mut written = 0_u32;
    // Checked as a whole, so that the addresses below cannot overflow.
    slice(memory, Span(table, n * 8))?;
    for part in 0..n {
        let at = table + part * 8;
        let (address, len) = (read_u32(memory, at)?, read_u32(memory, at + 4)?);
        let bytes = slice(memory, Span(address, len))?;
        written = written.saturating_add(len);
        let room = most.saturating_sub(text.len()).min(bytes.len());
        text.extend_from_slice(bytes.get(..room).unwrap_or_default());
    }
    state.write(output, &text);
    Ok(call.write_u32(out, written)?)
}

/// Standard output and error can be written to, and are nothing in particular.
pub(super) fn fd_fdstat_get(call: &mut Call<'_>, fd: u32, out: u32) -> Answer {
    const FD_WRITE: u64 = 64;
    if !matches!(fd, 1 | 2) {
        return Err(Errno::BadF);
    }
    let mut stat = [0; 24];
    if let Some(rights) = stat.get_mut(8..16) {
        rights.copy_from_slice(&FD_WRITE.to_le_bytes());
    }
    Ok(call.write(out, &stat)?)
}

pub(super) fn args_sizes_get(call: &mut Call<'_>, count: u32, size: u32) -> Answer {
    call.check(size, 4)?;
    call.write_u32(count, 0)?;
    Ok(call.write_u32(size, 0)?)
}

pub(super) fn environ_sizes_get(call: &mut Call<'_>, count: u32, size: u32) -> Answer {
    let variables = environment(call);
    let bytes: usize = variables.iter().map(Vec::len).sum();
    call.check(size, 4)?;
    call.write_u32(
        count,
        u32::try_from(variables.len()).map_err(|_| Errno::Inval)?,
    )?;
    Ok(call.write_u32(size, u32::try_from(bytes).map_err(|_| Errno::Inval)?)?)
}

/// Writes a table of addresses at `list`, and the texts it points to from `texts` on.
pub(super) fn environ_get(call: &mut Call<'_>, list: u32, texts: u32) -> Answer {
    let (mut slot, mut text) = (list, texts);
    for variable in environment(call) {
        let len = u32::try_from(variable.len()).map_err(|_| Errno::Inval)?;
        call.write_u32(slot, text)?;
        call.write(text, &variable)?;
        slot = slot.checked_add(4).ok_or(Errno::Fault)?;
        text = text.checked_add(len).ok_or(Errno::Fault)?;
    }
    Ok(())
}

/// Returns the configured variables as `NAME=value`, each with its NUL.
fn environment(call: &mut Call<'_>) -> Vec<Vec<u8>> {
    let variables = &call.state().plugin.config.environment;
    variables
        .iter()
        .map(|(name, value)| format!("{name}={value}\0").into_bytes())
        .collect()
}

pub(super) fn clock_time_get(call: &mut Call<'_>, id: u32, out: u32) -> Answer {
    let now = match id {
        0 => nanoseconds_since_epoch(SystemTime::now()),
        1 => {
            let uptime = call.state().plugin.module.compiled().host.started.elapsed();
            i64::try_from(uptime.as_nanos()).unwrap_or(i64::MAX)
        }
        _ => return Err(Errno::NotSup),
    };
    Ok(call.write(out, &now.to_le_bytes())?)
}

pub(super) fn clock_res_get(call: &mut Call<'_>, id: u32, out: u32) -> Answer {
    match id {
        0 | 1 => Ok(call.write(out, &1_u64.to_le_bytes())?),
        _ => Err(Errno::NotSup),
    }
}

pub(super) fn random_get(call: &mut Call<'_>, address: u32, len: u32) -> Answer {
    if len > MOST_RANDOM {
        return Err(Errno::Inval);
    }
    call.check(address, len)?;
    let mut bytes = vec![0; usize::try_from(len).map_err(|_| Errno::Inval)?];
    getrandom::fill(&mut bytes).map_err(|_| Errno::NoSys)?;
    Ok(call.write(address, &bytes)?)
}

/// Nothing to wait for, and no time to wait. Go's runtime gives up at anything but success.
pub(super) fn poll_oneoff(call: &mut Call<'_>, out: u32) -> Answer {
    Ok(call.write_u32(out, 0)?)
}
