//! Headers, bodies and properties of the stream.

use super::{at, map, number, taking, unmap};
use crate::imports as host;
use crate::record::Record;

const NAMES: [&str; 6] = [":path", ":status", "x-none", "content-type", "X-Probe", ""];

/// Reads every map.
pub(super) fn maps(record: &mut Record) {
    for id in 0..=9 {
        let (status, _) = number(|out| unsafe { host::proxy_get_header_map_size(id, out) });
        record.status(&format!("size({id})"), status);
        let (status, value) =
            taking(|out, len| unsafe { host::proxy_get_header_map_pairs(id, out, len) });
        let names = value.map(|value| unmap(&value)).unwrap_or_else(|| "-".to_owned());
        record.note(&format!("pairs({id}) -> {status} {names}"));
        for name in NAMES {
            let (key, n) = at(name);
            let (status, value) =
                taking(|out, len| unsafe { host::proxy_get_header_map_value(id, key, n, out, len) });
            record.bytes(&format!("value({id},{name})"), status, value.as_deref());
        }
    }
}

/// Writes every map.
pub(super) fn maps_write(record: &mut Record) {
    for id in 0..=9 {
        let edits = [("x-added", "one"), ("x-added", "two"), ("X-Upper", "v"), ("x-empty", "")];
        for (name, value) in edits {
            let ((k, kn), (v, vn)) = (at(name), at(value));
            let status = unsafe { host::proxy_add_header_map_value(id, k, kn, v, vn) };
            record.status(&format!("add({id},{name},{value})"), status);
        }
        for (name, value) in [("x-added", "three"), ("x-replaced", "new")] {
            let ((k, kn), (v, vn)) = (at(name), at(value));
            let status = unsafe { host::proxy_replace_header_map_value(id, k, kn, v, vn) };
            record.status(&format!("replace({id},{name},{value})"), status);
        }
        for name in ["x-remove", "x-none"] {
            let (k, kn) = at(name);
            let status = unsafe { host::proxy_remove_header_map_value(id, k, kn) };
            record.status(&format!("remove({id},{name})"), status);
        }
    }
}

/// Names and values no message can carry.
pub(super) fn maps_bad(record: &mut Record) {
    for id in [0, 2] {
        for (name, value) in [("x bad", "v"), ("x-crlf", "a\r\nb: c"), ("x-nul", "a\0b"), ("", "v")] {
            let ((k, kn), (v, vn)) = (at(name), at(value));
            let status = unsafe { host::proxy_add_header_map_value(id, k, kn, v, vn) };
            record.status(&format!("add_bad({id},{})", name.escape_default()), status);
        }
    }
}

/// Whole maps, well formed and not.
pub(super) fn pairs(record: &mut Record) {
    let many: Vec<(String, String)> =
        (0..1025).map(|n| (format!("x-{n}"), "v".to_owned())).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    let whole = map(&[("x-set", "1"), ("x-set", "2")]);
    let cut = whole.get(..whole.len() - 1).unwrap_or_default().to_vec();
    let mut counts = whole.clone();
    counts[0] = 0xff;
    counts[3] = 0xff;
    let cases: [(&str, Vec<u8>); 6] = [
        ("empty", Vec::new()),
        ("zero", vec![0]),
        ("cut", cut),
        ("counts", counts),
        ("1025", map(&many)),
        ("whole", whole),
    ];
    for id in [1, 3, 4, 6, 9] {
        for (name, bytes) in &cases {
            let (data, len) = at(bytes);
            let status = unsafe { host::proxy_set_header_map_pairs(id, data, len) };
            record.status(&format!("set_pairs({id},{name})"), status);
        }
    }
}

/// Changes what routing looks at.
pub(super) fn pseudo(record: &mut Record) {
    for (id, name, value) in [(0, ":path", "/rewritten?a=b"), (2, ":status", "202")] {
        let ((k, kn), (v, vn)) = (at(name), at(value));
        let status = unsafe { host::proxy_replace_header_map_value(id, k, kn, v, vn) };
        record.status(&format!("replace({id},{name},{value})"), status);
    }
}

/// Adds trailers of both directions.
pub(super) fn trailers_add(record: &mut Record) {
    for id in [1, 3] {
        let ((k, kn), (v, vn)) = (at("x-trailer-added"), at("yes"));
        let status = unsafe { host::proxy_add_header_map_value(id, k, kn, v, vn) };
        record.status(&format!("add({id},x-trailer-added)"), status);
    }
}

/// Reads every buffer.
pub(super) fn buffers(record: &mut Record) {
    let _ = &*record;
    #[cfg(not(feature = "abi-0-1-0"))]
    for id in 0..=9 {
        let mut out = [0xdead_u32; 2];
        let base = out.as_mut_ptr() as u32;
        let status = unsafe { host::proxy_get_buffer_status(id, base, base + 4) };
        let out = unsafe { std::ptr::read_volatile(&raw const out) };
        record.note(&format!("buffer_status({id}) -> {status} {out:?}"));
    }
    for id in 0..=9 {
        for (start, max) in [(0, u32::MAX), (0, 0), (1, 2), (1000, 5), (u32::MAX, u32::MAX)] {
            let (status, value) = taking(|out, len| unsafe {
                host::proxy_get_buffer_bytes(id, start, max, out, len)
            });
            let call = format!("buffer({id},{start},{max})");
            record.bytes(&call, status, value.as_deref());
        }
    }
}

/// Shows the two bodies.
pub(super) fn body(record: &mut Record) {
    for id in 0..=3 {
        let (status, value) =
            taking(|out, len| unsafe { host::proxy_get_buffer_bytes(id, 0, u32::MAX, out, len) });
        record.bytes(&format!("body({id})"), status, value.as_deref());
    }
}

/// Changes a buffer: `ID_KIND`.
pub(super) fn edit(what: &str, record: &mut Record) {
    let _ = (&what, &*record);
    #[cfg(not(feature = "abi-0-1-0"))]
    {
        let Some((id, kind)) = what.split_once('_') else {
            return;
        };
        let id: u32 = id.parse().unwrap_or(9);
        let (start, size, text) = match kind {
            "replace" => (0, u32::MAX, "REPLACED"),
            "append" => (u32::MAX, 0, "+END"),
            "prepend" => (0, 0, "PRE+"),
            "drain" => (0, 2, "D+"),
            "splice" => (1, 2, "<>"),
            "empty" => (0, u32::MAX, ""),
            "insert" => (2, 0, "I"),
            _ => (5000, 1, "far"),
        };
        let (data, len) = at(text);
        let status = unsafe { host::proxy_set_buffer_bytes(id, start, size, data, len) };
        record.status(&format!("set_buffer({id},{kind})"), status);
    }
}

/// Paths below the roots that every proxy is asked for.
const PATHS: [&str; 62] = [
    "request.path", "request.url_path", "request.host", "request.scheme", "request.method",
    "request.headers.x-probe-two", "request.headers.x-none", "request.referer",
    "request.useragent", "request.id", "request.protocol", "request.query", "request.size",
    "request.total_size", "request.time", "request.duration", "request.none", "response.code",
    "response.code_details", "response.flags", "response.grpc_status", "response.headers.server-test",
    "response.trailers.x-none", "response.size", "response.total_size", "response.backend_latency",
    "source.address", "source.port", "destination.address", "destination.port", "connection.id",
    "connection.mtls", "connection.requested_server_name", "connection.tls_version",
    "connection.subject_local_certificate", "connection.subject_peer_certificate",
    "connection.uri_san_peer_certificate", "connection.uri_san_local_certificate",
    "connection.termination_details", "upstream.address", "upstream.port",
    "upstream.local_address", "upstream.tls_version", "upstream.uri_san_peer_certificate",
    "upstream.transport_failure_reason", "upstream.request_attempt_count", "plugin_name",
    "plugin_root_id", "plugin_vm_id", "connection_id", "node", "cluster_name",
    "listener_direction", "route_name", "xds.cluster_name", "xds.listener_direction",
    "xds.route_name", "xds.node", "metadata", "none", "", "request",
];

/// Reads every well-known property. Values that differ from run to run are shown by their length.
pub(super) fn properties(record: &mut Record) {
    for path in PATHS {
        let raw = path.replace('.', "\0");
        let (p, n) = at(&raw);
        let (status, value) = taking(|out, len| unsafe { host::proxy_get_property(p, n, out, len) });
        let varies = [
            "time", "duration", "address", "port", ".id", "_id", "latency", "node", "size",
            "details", "plugin_name",
        ];
        let call = format!("property({path})");
        match value {
            Some(value) if varies.iter().any(|word| path.contains(word)) => {
                let some = if value.is_empty() { "nothing" } else { "something" };
                record.note(&format!("{call} -> {status} {some}"));
            }
            value => record.bytes(&call, status, value.as_deref()),
        }
    }
    // Some SDKs end a path with a NUL.
    let (p, n) = at("request\0method\0");
    let (status, value) = taking(|out, len| unsafe { host::proxy_get_property(p, n, out, len) });
    record.bytes("property(request.method.)", status, value.as_deref());
}

/// Sets properties and reads them back.
pub(super) fn set_properties(record: &mut Record) {
    for (path, value) in [
        ("probe.own", "value"),
        ("probe.own", "changed"),
        ("probe.empty", ""),
        ("request.path", "/forged"),
        ("", "no name"),
    ] {
        let raw = path.replace('.', "\0");
        let ((p, n), (v, vn)) = (at(&raw), at(value));
        let status = unsafe { host::proxy_set_property(p, n, v, vn) };
        record.status(&format!("set_property({path},{value})"), status);
        let (status, value) = taking(|out, len| unsafe { host::proxy_get_property(p, n, out, len) });
        record.bytes(&format!("property({path})"), status, value.as_deref());
    }
    let raw = "wasm\0probe\0own";
    let (p, n) = at(raw);
    let (status, value) = taking(|out, len| unsafe { host::proxy_get_property(p, n, out, len) });
    record.bytes("property(wasm.probe.own)", status, value.as_deref());
}
