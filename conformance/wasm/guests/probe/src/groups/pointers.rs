//! Addresses that are not the guest's, and the functions of WASI.

use super::{at, number};
use crate::imports as host;
use crate::record::Record;

/// Every function with addresses outside of memory.
pub(super) fn all(record: &mut Record) {
    let end = (core::arch::wasm32::memory_size(0) * 65536) as u32;
    for (name, bad) in [("end", end), ("far", 0xffff_fff0)] {
        let (k, n) = at("x-probe");
        let (value, len) = at("value");
        let mut good = [0_u32; 2];
        let out = good.as_mut_ptr() as u32;
        let mut note = |call: &str, status: u32| record.status(&format!("{name} {call}"), status);
        unsafe {
            note("log", host::proxy_log(2, bad, 8));
            note("time", host::proxy_get_current_time_nanoseconds(bad));
            note("property path", host::proxy_get_property(bad, 8, out, out + 4));
            note("property out", host::proxy_get_property(k, n, bad, bad));
            note("set_property", host::proxy_set_property(bad, 8, value, len));
            note("buffer out", host::proxy_get_buffer_bytes(6, 0, 10, bad, bad));
            note("map size", host::proxy_get_header_map_size(0, bad));
            note("pairs", host::proxy_get_header_map_pairs(0, bad, bad));
            note("set pairs", host::proxy_set_header_map_pairs(1, bad, 8));
            note("value key", host::proxy_get_header_map_value(0, bad, 8, out, out + 4));
            note("value out", host::proxy_get_header_map_value(0, k, n, bad, bad));
            note("add", host::proxy_add_header_map_value(0, k, n, bad, 8));
            note("replace", host::proxy_replace_header_map_value(0, bad, 8, value, len));
            note("remove", host::proxy_remove_header_map_value(0, bad, 8));
            note("local", host::proxy_send_local_response(200, 0, 0, bad, 8, 0, 0, u32::MAX));
            note("call upstream", host::proxy_http_call(bad, 8, k, n, 0, 0, 0, 0, 10, out));
            note("call out", host::proxy_http_call(k, n, 0, 0, 0, 0, 0, 0, 10, bad));
            note("shared key", host::proxy_get_shared_data(bad, 8, out, out + 4, out));
            note("set shared", host::proxy_set_shared_data(k, n, bad, 8, 0));
            note("register", host::proxy_register_shared_queue(bad, 8, out));
            note("enqueue", host::proxy_enqueue_shared_queue(1, bad, 8));
            note("metric name", host::proxy_define_metric(0, bad, 8, out));
            note("metric out", host::proxy_define_metric(0, k, n, bad));
            #[cfg(not(feature = "abi-0-1-0"))]
            {
                note("buffer", host::proxy_set_buffer_bytes(0, 0, 1, bad, 8));
                note("buffer status", host::proxy_get_buffer_status(6, bad, bad));
                note("foreign", host::proxy_call_foreign_function(bad, 8, 0, 0, 0, 0));
            }
        }
    }
}

/// As much of WASI as SDKs use.
pub(super) fn wasi(record: &mut Record) {
    let line = "probe wrote a line\n";
    let vector = [line.as_ptr() as u32, line.len() as u32];
    let vectors = vector.as_ptr() as u32;
    for fd in [1, 2, 3] {
        let (status, written) = number(|out| unsafe { host::fd_write(fd, vectors, 1, out) });
        record.note(&format!("fd_write({fd}) -> {status} {written}"));
    }
    let (status, _) = number(|out| unsafe { host::fd_write(1, 0xffff_fff0, 1, out) });
    record.status("fd_write(bad)", status);
    record.status("fd_write(bad out)", unsafe { host::fd_write(1, vectors, 1, 0xffff_fff0) });
    let mut scratch = [0_u64; 4];
    let out = scratch.as_mut_ptr() as u32;
    unsafe {
        record.status("fd_read(0)", host::fd_read(0, vectors, 1, out));
        record.status("fd_seek(1)", host::fd_seek(1, 0, 0, out));
        record.status("fd_close(1)", host::fd_close(1));
        record.status("fd_fdstat_get(1)", host::fd_fdstat_get(1, out));
        record.status("fd_fdstat_get(9)", host::fd_fdstat_get(9, out));
        record.status("args_sizes_get", host::args_sizes_get(out, out + 4));
        record.status("environ_sizes_get", host::environ_sizes_get(out, out + 4));
        for clock in [0, 1, 2, 9] {
            record.status(&format!("clock({clock})"), host::clock_time_get(clock, 1, out));
        }
        record.status("clock(bad out)", host::clock_time_get(0, 1, 0xffff_fff0));
        record.status("random(8)", host::random_get(out, 8));
        record.status("random(0)", host::random_get(out, 0));
        record.status("random(70000)", host::random_get(out, 70000));
        record.status("random(bad)", host::random_get(0xffff_fff0, 8));
    }
}
