//! Calls to other services, and to functions of the proxy.

use super::{at, map, number, taking};
use crate::imports as host;
use crate::record::Record;
use crate::remember_call;

/// The name under which the test's service for callouts is known.
const UPSTREAM: &str = "outbound|80||callout.test";
/// The same as an authority.
const GRPC: &str = "callout.test:80";
/// A service where nobody listens.
const REFUSED: &str = "outbound|80||refused.test";

fn http(upstream: &str, headers: &[(&str, &str)], body: &str, timeout: u32) -> (u32, u32) {
    let map = map(headers);
    let ((u, un), (h, hn), (b, bn)) = (at(upstream), at(&map), at(body));
    let (status, id) = number(|out| unsafe {
        host::proxy_http_call(u, un, h, hn, b, bn, 0, 0, timeout, out)
    });
    (status, id as u32)
}

fn grpc(upstream: &str, stream: bool, timeout: u32) -> (u32, u32) {
    let metadata = map(&[("x-meta", "data")]);
    let ((u, un), (s, sn), (m, mn), (h, hn), (b, bn)) =
        (at(upstream), at("test.Echo"), at("Say"), at(&metadata), at("payload"));
    let (status, id) = number(|out| unsafe {
        if stream {
            host::proxy_grpc_stream(u, un, s, sn, m, mn, h, hn, out)
        } else {
            host::proxy_grpc_call(u, un, s, sn, m, mn, h, hn, b, bn, timeout, out)
        }
    });
    (status, id as u32)
}

fn request(path: &str) -> [(&str, &str); 4] {
    [(":method", "POST"), (":path", path), (":authority", "callout.test"), ("x-from", "probe")]
}

/// Starts a callout whose outcome comes back in a callback.
pub(super) fn start(kind: &str, context: u32, record: &mut Record) {
    let (status, id) = match kind {
        "ok" => http(UPSTREAM, &request("/ok"), "body of the callout", 2000),
        "timeout" => http(UPSTREAM, &request("/silent"), "", 100),
        "refused" => http(REFUSED, &request("/"), "", 1000),
        "grpc" => grpc(GRPC, false, 2000),
        "grpcfail" => grpc("refused.test:80", false, 1000),
        "stream" => {
            let (status, id) = grpc(GRPC, true, 0);
            let (m, n) = at("payload");
            record.status("grpc_send", unsafe { host::proxy_grpc_send(id, m, n, 0) });
            record.status("grpc_close", unsafe { host::proxy_grpc_close(id) });
            (status, id)
        }
        "cancelled" => {
            let (status, id) = grpc(GRPC, true, 0);
            record.status("grpc_cancel", unsafe { host::proxy_grpc_cancel(id) });
            record.status("grpc_cancel again", unsafe { host::proxy_grpc_cancel(id) });
            (status, id)
        }
        _ => (99, 0),
    };
    record.status(&format!("start {kind}"), status);
    if status == 0 {
        remember_call(id, context);
    }
}

/// Callouts that cannot be.
pub(super) fn bad(record: &mut Record) {
    for (name, headers) in [
        ("no headers", &[][..]),
        ("no path", &[(":method", "GET"), (":authority", "a")][..]),
        ("no method", &[(":path", "/"), (":authority", "a")][..]),
        ("no authority", &[(":path", "/"), (":method", "GET")][..]),
    ] {
        let (status, _) = http(UPSTREAM, headers, "", 100);
        record.status(&format!("http_call({name})"), status);
    }
    let (status, _) = http("no-such-upstream", &request("/"), "", 100);
    record.status("http_call(unknown upstream)", status);
    let (status, _) = grpc("no-such-upstream", false, 100);
    record.status("grpc_call(unknown upstream)", status);
    let (status, _) = grpc("no-such-upstream", true, 100);
    record.status("grpc_stream(unknown upstream)", status);
    for id in [0x4000, 0x4001, 0x4002] {
        let (m, n) = at("x");
        record.status(&format!("grpc_send({id:#x})"), unsafe { host::proxy_grpc_send(id, m, n, 0) });
        record.status(&format!("grpc_cancel({id:#x})"), unsafe { host::proxy_grpc_cancel(id) });
        record.status(&format!("grpc_close({id:#x})"), unsafe { host::proxy_grpc_close(id) });
    }
}

/// The status of the last callout.
pub(super) fn status(record: &mut Record) {
    let mut code = 0xdead_u32;
    let code_at = &raw mut code as u32;
    let (status, value) = taking(|out, len| unsafe { host::proxy_get_status(code_at, out, len) });
    let code = unsafe { std::ptr::read_volatile(&raw const code) };
    let text = value.map(|value| String::from_utf8_lossy(&value).into_owned());
    record.note(&format!("get_status -> {status} {code} {text:?}"));
}

/// Functions of the proxy by name.
pub(super) fn foreign(record: &mut Record) {
    let _ = &*record;
    #[cfg(not(feature = "abi-0-1-0"))]
    {
        let call = |name: &str, args: &[u8]| {
            let ((k, n), (a, an)) = (at(name), at(args));
            taking(|out, len| unsafe {
                host::proxy_call_foreign_function(k, n, a, an, out, len)
            })
        };
        let (status, _) = call("no_such_function", b"");
        record.status("foreign(unknown)", status);
        let text = "compress me ".repeat(50);
        let (status, packed) = call("compress", text.as_bytes());
        record.status("foreign(compress)", status);
        let (status, unpacked) = call("uncompress", &packed.unwrap_or_default());
        let same = unpacked.as_deref() == Some(text.as_bytes());
        record.note(&format!("foreign(uncompress) -> {status} same={same}"));
        for (name, args) in [
            ("uncompress", &b"not compressed"[..]),
            ("expr_create", b"request.method =="),
            ("expr_evaluate", b""),
            ("expr_delete", b"\x00\x40\x00\x00"),
            ("verify_signature", b"\xff\xff"),
            ("declare_property", b"\xff\xff"),
            ("set_envoy_filter_state", b"\xff\xff"),
            ("clear_route_cache", b""),
        ] {
            let (status, _) = call(name, args);
            record.status(&format!("foreign({name})"), status);
        }
        let (status, token) = call("expr_create", b"request.method + '!'");
        record.status("foreign(expr_create)", status);
        let token = token.unwrap_or_default();
        let (status, value) = call("expr_evaluate", &token);
        record.bytes("foreign(expr_evaluate)", status, value.as_deref());
        let (status, _) = call("expr_delete", &token);
        record.status("foreign(expr_delete)", status);
    }
}
