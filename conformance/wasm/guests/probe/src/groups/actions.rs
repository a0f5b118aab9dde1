//! What a guest does to streams and to itself.

use super::{at, map, number};
use crate::imports as host;
use crate::record::Record;

/// Goes on with streams of every kind, and of none.
pub(super) fn resume_all(response: bool, record: &mut Record) {
    #[cfg(feature = "abi-0-1-0")]
    {
        if response {
            record.status("continue_response", unsafe { host::proxy_continue_response() });
        } else {
            record.status("continue_request", unsafe { host::proxy_continue_request() });
        }
        record.status("clear_route_cache", unsafe { host::proxy_clear_route_cache() });
    }
    #[cfg(not(feature = "abi-0-1-0"))]
    for kind in [u32::from(response), 2, 3, 4, u32::MAX] {
        let status = unsafe { host::proxy_continue_stream(kind) };
        record.status(&format!("continue({kind})"), status);
    }
}

/// Closes a stream.
pub(super) fn close(kind: &str, record: &mut Record) {
    let _ = (&kind, &*record);
    #[cfg(not(feature = "abi-0-1-0"))]
    {
        let kind: u32 = kind.parse().unwrap_or(9);
        let status = unsafe { host::proxy_close_stream(kind) };
        record.status(&format!("close({kind})"), status);
    }
}

fn send(status: u32, body: &str, headers: &[(&str, &str)], grpc: u32) -> u32 {
    let map = if headers.is_empty() { Vec::new() } else { map(headers) };
    let ((d, dn), (b, bn), (h, hn)) = (at("probe said so"), at(body), at(&map));
    unsafe { host::proxy_send_local_response(status, d, dn, b, bn, h, hn, grpc) }
}

/// Answers the request, in one way or another.
pub(super) fn local(kind: &str, record: &mut Record) {
    let headers = [("X-Local", "yes"), ("x-twice", "1"), ("x-twice", "2")];
    let status = match kind {
        "ok" => send(403, "denied by the probe", &headers, u32::MAX),
        "empty" => send(204, "", &headers, u32::MAX),
        "grpc" => send(403, "denied", &headers, 7),
        "badgrpc" => send(403, "denied", &[], 99),
        "twice" => {
            record.status("local(401)", send(401, "first", &[], u32::MAX));
            send(402, "second", &[], u32::MAX)
        }
        "typed" => send(200, "{}", &[("content-type", "application/json")], u32::MAX),
        "status" => send(99, "no status", &[], u32::MAX),
        _ => send(200, "bad header", &[("x bad", "v")], u32::MAX),
    };
    record.status(&format!("local({kind})"), status);
}

/// Clocks and timers.
pub(super) fn time(record: &mut Record) {
    let (status, now) =
        number(|out| unsafe { host::proxy_get_current_time_nanoseconds(out) });
    record.note(&format!("now -> {status} sane={}", now > 1_700_000_000_000_000_000));
    let status = unsafe { host::proxy_set_tick_period_milliseconds(0) };
    record.status("tick(0)", status);
}

/// Lines of every level, and of none.
pub(super) fn logs(record: &mut Record) {
    for level in 0..=7 {
        let line = format!("probe line of level {level}");
        let (l, n) = at(&line);
        let status = unsafe { host::proxy_log(level, l, n) };
        record.status(&format!("log({level})"), status);
    }
    record.status("log(empty)", unsafe { host::proxy_log(2, 0, 0) });
    #[cfg(not(any(feature = "abi-0-1-0", feature = "abi-0-2-0")))]
    {
        let (status, level) = number(|out| unsafe { host::proxy_get_log_level(out) });
        record.note(&format!("log_level -> {status} known={}", level <= 5));
    }
}

/// Contexts that are there and that are not.
pub(super) fn context(own: u32, record: &mut Record) {
    for (name, id) in [("unknown", 9999), ("zero", 0), ("root", 1), ("own", own)] {
        let status = unsafe { host::proxy_set_effective_context(id) };
        record.status(&format!("effective({name})"), status);
    }
}

/// Says that all is done where nobody waits for it.
pub(super) fn done(record: &mut Record) {
    record.status("done", unsafe { host::proxy_done() });
}
