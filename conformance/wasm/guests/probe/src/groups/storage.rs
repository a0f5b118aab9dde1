//! What outlives streams: shared data, queues, metrics.

use super::{at, number, taking};
use crate::imports as host;
use crate::record::Record;

fn get(key: &str, record: &mut Record) -> u32 {
    let (k, n) = at(key);
    let mut cas = 0_u32;
    let cas_at = &raw mut cas as u32;
    let (status, value) =
        taking(|out, len| unsafe { host::proxy_get_shared_data(k, n, out, len, cas_at) });
    record.bytes(&format!("get_shared({key})"), status, value.as_deref());
    unsafe { std::ptr::read_volatile(&raw const cas) }
}

fn set(key: &str, value: &str, cas: u32, shown: &str, record: &mut Record) {
    let ((k, n), (v, vn)) = (at(key), at(value));
    let status = unsafe { host::proxy_set_shared_data(k, n, v, vn, cas) };
    record.status(&format!("set_shared({key},{value},{shown})"), status);
}

/// Shared data with and without compare-and-swap.
pub(super) fn shared(record: &mut Record) {
    get("probe-missing", record);
    set("probe-fresh", "0", 12345, "a cas without a value", record);
    set("probe-key", "1", 0, "no cas", record);
    let first = get("probe-key", record);
    set("probe-key", "2", first, "its cas", record);
    set("probe-key", "3", first, "an old cas", record);
    set("probe-key", "", 0, "no cas", record);
    get("probe-key", record);
    set("", "no name", 0, "no cas", record);
    get("", record);
}

fn register(name: &str) -> (u32, u32) {
    let (k, n) = at(name);
    let (status, id) = number(|out| unsafe { host::proxy_register_shared_queue(k, n, out) });
    (status, id as u32)
}

/// Queues, known and unknown.
pub(super) fn queues(record: &mut Record) {
    let (status, id) = register("probe-queue");
    record.note(&format!("register -> {status} {}", if id == 0 { "zero" } else { "an id" }));
    let (status, again) = register("probe-queue");
    record.note(&format!("register again -> {status} same={}", id == again));
    for (vm, name) in [("", "probe-queue"), ("", "none"), ("other-vm", "probe-queue")] {
        let ((v, vn), (k, n)) = (at(vm), at(name));
        let (status, found) =
            number(|out| unsafe { host::proxy_resolve_shared_queue(v, vn, k, n, out) });
        let same = found as u32 == id;
        record.note(&format!("resolve({vm},{name}) -> {status} same={same}"));
    }
    for item in ["", "x"] {
        let (data, len) = at(item);
        let status = unsafe { host::proxy_enqueue_shared_queue(9999, data, len) };
        record.status(&format!("enqueue(unknown,{item})"), status);
    }
    for queue in [id, 9999] {
        let (status, value) =
            taking(|out, len| unsafe { host::proxy_dequeue_shared_queue(queue, out, len) });
        let which = if queue == id { "empty" } else { "unknown" };
        record.bytes(&format!("dequeue({which})"), status, value.as_deref());
    }
}

/// Puts items where `proxy_on_queue_ready` is told of them.
pub(super) fn enqueue(record: &mut Record) {
    let (_, id) = register("probe-told");
    for item in ["first", "second"] {
        let (data, len) = at(item);
        let status = unsafe { host::proxy_enqueue_shared_queue(id, data, len) };
        record.status(&format!("enqueue({item})"), status);
    }
}

fn define(kind: u32, name: &str) -> (u32, u32) {
    let (k, n) = at(name);
    let (status, id) = number(|out| unsafe { host::proxy_define_metric(kind, k, n, out) });
    (status, id as u32)
}

/// Metrics of every kind, used well and badly.
pub(super) fn metrics(record: &mut Record) {
    for (kind, name) in [(0, "probe_counter"), (1, "probe_gauge"), (2, "probe_histogram")] {
        let (status, id) = define(kind, name);
        record.note(&format!("metric_define({kind}) -> {status} kind={}", id & 3));
        let (status, again) = define(kind, name);
        record.note(&format!("metric_define({kind}) again -> {status} kind={}", again & 3));
        let (before_status, before) = number(|out| unsafe { host::proxy_get_metric(id, out) });
        record.status(&format!("metric_get({kind})"), before_status);
        for delta in [2, 0, -1] {
            let status = unsafe { host::proxy_increment_metric(id, delta) };
            record.status(&format!("metric_increment({kind},{delta})"), status);
        }
        let status = unsafe { host::proxy_record_metric(again, 5) };
        record.status(&format!("metric_record({kind},5)"), status);
        let (status, after) = number(|out| unsafe { host::proxy_get_metric(id, out) });
        let moved = after.wrapping_sub(before) as i64;
        if kind == 1 {
            record.note(&format!("metric_get({kind}) -> {status} is {after}"));
        } else {
            record.note(&format!("metric_get({kind}) -> {status} moved by {moved}"));
        }
    }
    let (status, _) = define(3, "probe_unknown");
    record.status("metric_define(3)", status);
    let (status, _) = define(0, "");
    record.status("metric_define(no name)", status);
    for id in [0x4000, 0x4001, 0x4002, 0x4003] {
        let (status, _) = number(|out| unsafe { host::proxy_get_metric(id, out) });
        record.status(&format!("metric_get({id:#x})"), status);
        let status = unsafe { host::proxy_increment_metric(id, 1) };
        record.status(&format!("metric_increment({id:#x})"), status);
        let status = unsafe { host::proxy_record_metric(id, 1) };
        record.status(&format!("metric_record({id:#x})"), status);
    }
}
