use super::*;
use crate::host::{Host, HostSettings};
use crate::reference::covers;
use crate::testing::{Guest, host};

const MEMORY: &str = r#"(memory (export "memory") 1)"#;
const MALLOC: &str = r#"(func (export "malloc") (param i32) (result i32) (i32.const 0))"#;
const MARKER: &str = r#"(func (export "proxy_abi_version_0_2_1"))"#;

fn compile(parts: &[&str]) -> Result<Module, Error> {
    let wat = format!("(module {})", parts.concat());
    host().compile(&wat::parse_str(&wat).unwrap_or_else(|e| panic!("{e}\n{wat}")))
}

#[track_caller]
fn error(parts: &[&str]) -> String {
    let error = compile(parts).unwrap_err();
    let cause =
        std::error::Error::source(&error).map_or_else(String::new, |cause| format!(": {cause}"));
    error.to_string() + &cause
}

#[test]
fn each_abi_version_is_recognised_by_its_marker() {
    for (marker, version) in [
        ("proxy_abi_version_0_1_0", AbiVersion::V0_1_0),
        ("proxy_abi_version_0_2_0", AbiVersion::V0_2_0),
        ("proxy_abi_version_0_2_1", AbiVersion::V0_2_1),
    ] {
        assert_eq!(Guest::abi(marker).module().abi_version(), version);
    }
}

#[test]
fn the_newest_of_several_versions_counts() {
    let old = r#"(func (export "proxy_abi_version_0_1_0"))"#;
    assert_eq!(
        compile(&[MARKER, old, MEMORY, MALLOC])
            .unwrap()
            .abi_version(),
        AbiVersion::V0_2_1
    );
}

#[test]
fn a_module_without_a_known_version_is_refused() {
    assert!(error(&[MEMORY, MALLOC]).ends_with("_0_2_0, _0_2_1"));
    let vnext = r#"(func (export "proxy_abi_version_0_3_0"))"#;
    assert!(error(&[MEMORY, MALLOC, vnext]).ends_with("(but proxy_abi_version_0_3_0)"));
}

#[test]
fn what_is_made_for_something_else_is_told_so() {
    for (part, told) in [
        (
            r#"(import "http_handler" "log" (func (param i32 i32 i32)))"#,
            "_0_2_1: it is made for http-wasm (Traefik, Dapr); build it with an SDK of proxy-wasm",
        ),
        (
            r#"(import "gojs" "runtime.wasmExit" (func (param i32)))"#,
            "_0_2_1: it is made for browsers; build it with an SDK of proxy-wasm (Go: GOOS=wasip1)",
        ),
        (
            r#"(func (export "proxy_on_request_headers") (param i32) (result i32) (i32.const 0))"#,
            "_0_2_1: its SDK is older than that; build it with a current one",
        ),
        (
            r#"(func (export "proxy_abi_mosn_version_0_2_0"))"#,
            "_0_2_1 (but proxy_abi_mosn_version_0_2_0)",
        ),
        (
            r#"(func (export "_start"))"#,
            "_0_2_1: it is a program or library, but no filter; build it with an SDK of proxy-wasm",
        ),
    ] {
        let error = error(&[part, MEMORY, MALLOC]);
        assert!(error.ends_with(told), "{error}");
    }
}

#[test]
fn missing_exports_are_named_together() {
    assert_eq!(
        error(&[MARKER]),
        "the module does not export memory and proxy_on_memory_allocate (or malloc)"
    );
    assert_eq!(
        error(&[MARKER, MALLOC]),
        "the module does not export memory"
    );
    let spec =
        r#"(func (export "proxy_on_memory_allocate") (param i32) (result i32) (i32.const 0))"#;
    assert!(compile(&[MARKER, MEMORY, spec]).is_ok());
}

#[test]
fn unknown_imports_are_named_once_each() {
    let imports = r#"
        (import "env" "proxy_log" (func (param i32 i32 i32) (result i32)))
        (import "env" "redis_call" (func))
        (import "env" "redis_call" (func))
        (import "host" "thing" (func))
        (import "env" "limit" (global i32))"#;
    assert_eq!(
        error(&[imports, MARKER, MEMORY, MALLOC]),
        "the module imports what this host does not offer: env.redis_call, host.thing, env.limit; \
         it uses an extension of another proxy, or a function that its linker did not find"
    );
}

#[test]
fn an_import_of_another_type_is_explained() {
    let import = r#"(import "env" "proxy_log" (func (param i32 i32) (result i32)))"#;
    assert_eq!(
        error(&[import, MARKER, MEMORY, MALLOC]),
        "import env.proxy_log has type (i32, i32) -> i32; the ABI says (i32, i32, i32) -> i32"
    );
}

#[test]
fn a_callback_of_another_type_is_explained() {
    covers!("proxy_on_request_headers");
    let callback =
        r#"(func (export "proxy_on_request_headers") (param i32) (result i32) (i32.const 0))"#;
    assert_eq!(
        error(&[MARKER, MEMORY, MALLOC, callback]),
        "export proxy_on_request_headers has type (i32) -> i32; \
         the ABI says (i32, i32, i32) -> i32 or (i32, i32) -> i32"
    );
    let malloc = r#"(func (export "malloc") (param i64) (result i32) (i32.const 0))"#;
    assert!(error(&[MARKER, MEMORY, malloc]).starts_with("export malloc has type (i64) -> i32"));
}

#[test]
fn every_host_function_can_be_imported_by_any_version() {
    assert!(host().functions("env").len() >= 44);
    for marker in ["proxy_abi_version_0_1_0", "proxy_abi_version_0_2_0"] {
        Guest::abi(marker).module();
    }
}

#[test]
fn old_imports_without_a_result_are_accepted() {
    covers!(
        "proxy_clear_route_cache",
        "proxy_continue_request",
        "proxy_continue_response",
        "proxy_done"
    );
    let imports = r#"
        (import "env" "proxy_continue_request" (func))
        (import "env" "proxy_continue_response" (func))
        (import "env" "proxy_clear_route_cache" (func))
        (import "env" "proxy_done" (func))"#;
    assert!(compile(&[imports, MARKER, MEMORY, MALLOC]).is_ok());
}

#[test]
fn wasi_is_there_under_both_names_and_rarer_functions_are_stubs() {
    covers!("fd_write", "proc_exit");
    let imports = r#"
        (import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32)))
        (import "wasi_unstable" "proc_exit" (func (param i32)))
        (import "wasi_snapshot_preview1" "path_rename" (func (param i32 i32 i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "sock_accept" (func (param i32 i32 i32) (result i32)))"#;
    assert!(compile(&[imports, MARKER, MEMORY, MALLOC]).is_ok());
    let odd = r#"(import "wasi_unstable" "made_up" (func (result i64)))"#;
    assert!(
        error(&[odd, MARKER, MEMORY, MALLOC])
            .contains("wasi_unstable.made_up is no function of WASI")
    );
}

#[test]
fn bytes_that_are_no_module_are_told_apart() {
    let told = |bytes: &[u8]| host().compile(bytes).unwrap_err().to_string();
    assert_eq!(told(b""), "not a WebAssembly module: it is empty");
    assert_eq!(
        told(b"\x1f\x8b\x08"),
        "not a WebAssembly module: it is compressed with gzip"
    );
    assert_eq!(
        told(b"<html>"),
        "not a WebAssembly module: it looks like a web page"
    );
    assert!(told(b"(module)").contains("WebAssembly text"));
    assert!(told(b"PK\x03\x04").ends_with("a zip archive; take the .wasm file out of it"));
    assert!(told(b"version https://git-lfs.github.com/spec/v1\n").ends_with("with git lfs pull"));
    assert!(told(b"\0asm\x01\0\0\0\x07").ends_with("the file is damaged or not whole"));
    assert!(told(b"\x7fELF").contains("a program for this machine"));
    assert!(told(b"\0asm\x0d\0\x01\0").starts_with("a WebAssembly component"));
}

#[test]
fn a_truncated_module_is_refused_wherever_it_ends() {
    let whole = wat::parse_str(Guest::new().wat()).unwrap();
    for end in (8..whole.len()).step_by(7) {
        assert!(host().compile(&whole[..end]).is_err(), "{end}");
    }
}

#[test]
fn large_modules_are_refused_before_they_are_compiled() {
    let small = Host::new(HostSettings {
        module_bytes: 100,
        ..HostSettings::default()
    })
    .unwrap();
    let error = small.compile(&[0; 101]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the module has 101 bytes, more than the 100 allowed"
    );
    let few = Host::new(HostSettings {
        module_functions: 3,
        ..HostSettings::default()
    })
    .unwrap();
    let error = few
        .compile(&wat::parse_str(Guest::new().wat()).unwrap())
        .unwrap_err();
    assert!(
        matches!(error, Error::TooManyFunctions { limit: 3, .. }),
        "{error}"
    );
}

#[test]
fn proposals_that_filters_do_not_need_are_off() {
    let memory64 = r#"(memory (export "memory") i64 1)"#;
    assert!(error(&[MARKER, memory64, MALLOC]).starts_with("the module does not compile"));
    let tail_call = "(func $f return_call $f)";
    assert!(error(&[MARKER, MEMORY, MALLOC, tail_call]).starts_with("the module does not compile"));
    let two_memories = "(memory 1)";
    assert!(
        error(&[MARKER, MEMORY, MALLOC, two_memories]).starts_with("the module does not compile")
    );
}

#[test]
fn a_module_tells_what_it_is() {
    covers!("proxy_on_vm_start", "proxy_on_log");
    let guest = Guest::new()
        .announces("proxy_on_log", 0)
        .announces("proxy_on_vm_start", 1);
    let bytes = wat::parse_str(guest.wat()).unwrap();
    let module = host().compile(&bytes).unwrap();
    assert_eq!(
        module
            .callbacks()
            .iter()
            .map(Callback::name)
            .collect::<Vec<_>>(),
        ["proxy_on_vm_start", "proxy_on_log"]
    );
    assert_eq!(module.size(), bytes.len());
    assert_eq!(module.sha256().len(), 64);
    assert!(module.sha256().bytes().all(|b| b.is_ascii_hexdigit()));
}

#[test]
fn modules_and_plugins_may_cross_threads() {
    fn crosses<T: Send + Sync>() {}
    crosses::<Host>();
    crosses::<Module>();
    crosses::<crate::Plugin>();
}
