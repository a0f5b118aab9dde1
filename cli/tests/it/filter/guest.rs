//! Small guests, written as text.

use std::fmt::Write as _;

/// What every guest has: memory, an allocator that only goes up, the version.
const HEAD: &str = r#"
  (memory (export "memory") 2)
  (global $top (mut i32) (i32.const 65536))
  (func (export "proxy_on_memory_allocate") (param i32) (result i32)
    (local $at i32)
    (local.set $at (global.get $top))
    (global.set $top (i32.and (i32.add (i32.add (global.get $top) (local.get 0)) (i32.const 7)) (i32.const -8)))
    (local.get $at))
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "proxy_on_context_create") (param i32 i32))
"#;

fn module(imports: &str, rest: &str) -> Vec<u8> {
    wat::parse_str(format!("(module {imports} {HEAD} {rest})")).unwrap()
}

/// Sets `x-version` on each answer.
pub(super) fn signs(version: &str) -> Vec<u8> {
    module(
        r#"(import "env" "proxy_replace_header_map_value" (func $set (param i32 i32 i32 i32 i32) (result i32)))"#,
        &format!(
            r#"(data (i32.const 0) "x-version") (data (i32.const 16) "{version}")
            (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
              (drop (call $set (i32.const 2) (i32.const 0) (i32.const 9) (i32.const 16) (i32.const {})))
              (i32.const 0))"#,
            version.len()
        ),
    )
}

/// Sets `x-version` on each answer to the root id it runs with.
pub(super) fn signs_with_root_id() -> Vec<u8> {
    module(
        r#"(import "env" "proxy_replace_header_map_value" (func $set (param i32 i32 i32 i32 i32) (result i32)))
        (import "env" "proxy_get_property" (func $get (param i32 i32 i32 i32) (result i32)))"#,
        r#"(data (i32.const 0) "x-version") (data (i32.const 16) "plugin_root_id")
        (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
          (drop (call $get (i32.const 16) (i32.const 14) (i32.const 64) (i32.const 68)))
          (drop (call $set (i32.const 2) (i32.const 0) (i32.const 9)
            (i32.load (i32.const 64)) (i32.load (i32.const 68))))
          (i32.const 0))"#,
    )
}

/// Refuses every configuration.
pub(super) fn refuses() -> Vec<u8> {
    module(
        "",
        r#"(func (export "proxy_on_configure") (param i32 i32) (result i32) (i32.const 0))"#,
    )
}

/// Wants a function that nobody has.
pub(super) fn wants_more() -> Vec<u8> {
    module(
        r#"(import "env" "proxy_make_coffee" (func (param i32) (result i32)))"#,
        "",
    )
}

/// Reads past its memory at each request.
pub(super) fn traps() -> Vec<u8> {
    module(
        "",
        r#"(func $read_past_the_end (result i32) (i32.load (i32.const 0x7fffffff)))
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
          (call $read_past_the_end))"#,
    )
}

/// Asks `auth.default:8080` about each request, for 200 ms at most, and tells the service the
/// status of the answer in `x-auth`.
pub(super) fn asks() -> Vec<u8> {
    let pairs = pairs(&[
        (":method", "GET"),
        (":path", "/check"),
        (":authority", "auth"),
    ]);
    module(
        r#"(import "env" "proxy_http_call" (func $ask (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
        (import "env" "proxy_get_header_map_value" (func $get (param i32 i32 i32 i32 i32) (result i32)))
        (import "env" "proxy_replace_header_map_value" (func $set (param i32 i32 i32 i32 i32) (result i32)))
        (import "env" "proxy_set_effective_context" (func $act_for (param i32) (result i32)))
        (import "env" "proxy_continue_stream" (func $resume (param i32) (result i32)))
        (import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))"#,
        &format!(
            r#"(data (i32.const 0) "auth.default:8080") (data (i32.const 32) ":status")
            (data (i32.const 48) "x-auth") (data (i32.const 64) "asked") (data (i32.const 128) "{}")
            (global $stream (mut i32) (i32.const 0))
            (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
              (global.set $stream (local.get 0))
              (drop (call $log (i32.const 2) (i32.const 64) (i32.const 5)))
              (drop (call $ask (i32.const 0) (i32.const 17) (i32.const 128) (i32.const {})
                (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 200) (i32.const 112)))
              (i32.const 1))
            (func (export "proxy_on_http_call_response") (param i32 i32 i32 i32 i32)
              (drop (call $act_for (global.get $stream)))
              (drop (call $get (i32.const 6) (i32.const 32) (i32.const 7) (i32.const 96) (i32.const 100)))
              (drop (call $set (i32.const 0) (i32.const 48) (i32.const 6)
                (i32.load (i32.const 96)) (i32.load (i32.const 100))))
              (drop (call $resume (i32.const 0))))"#,
            escaped(&pairs),
            pairs.len()
        ),
    )
}

/// Header pairs as the ABI has them.
fn pairs(of: &[(&str, &str)]) -> Vec<u8> {
    let length = |text: &str| u32::try_from(text.len()).unwrap().to_le_bytes();
    let mut bytes = u32::try_from(of.len()).unwrap().to_le_bytes().to_vec();
    for (name, value) in of {
        bytes.extend(length(name));
        bytes.extend(length(value));
    }
    for (name, value) in of {
        bytes.extend(name.bytes().chain([0]));
        bytes.extend(value.bytes().chain([0]));
    }
    bytes
}

fn escaped(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "\\{byte:02x}").unwrap();
        text
    })
}
