//! What is no filter, or a hostile one: each is refused with its reason, at once, and what ran before
//! serves on.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::cairn::Cairn;
use crate::client::Ask;
use crate::server::Server;
use crate::world::{Run, Setup};

/// Longer than a filter may take to start, on a machine that has much else to do.
const LONGEST: Duration = Duration::from_secs(20);

/// What a filter cannot do without.
const HEAD: &str = r#"
    (memory (export "memory") 1)
    (func (export "malloc") (param i32) (result i32) (i32.const 0))
    (func (export "proxy_abi_version_0_2_1"))"#;

/// A filter with this besides.
fn filter(rest: &str) -> Vec<u8> {
    text(&format!("{rest} {HEAD}"))
}

fn text(module: &str) -> Vec<u8> {
    wat::parse_str(format!("(module {module})")).unwrap_or_else(|why| panic!("{why}\n{module}"))
}

/// A section by hand, in a module that has nothing else.
fn section(bytes: &[u8]) -> Vec<u8> {
    [b"\0asm\x01\0\0\0", bytes].concat()
}

fn cut(mut module: Vec<u8>, most: usize) -> Vec<u8> {
    module.truncate(most);
    module
}

/// What is no module at all.
fn files() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    vec![
        ("empty", vec![], "it is empty"),
        (
            "gzip",
            b"\x1f\x8b\x08\0".to_vec(),
            "it is compressed with gzip",
        ),
        (
            "zip",
            b"PK\x03\x04....".to_vec(),
            "it is a zip archive; take the .wasm file out of it",
        ),
        (
            "zstd",
            b"\x28\xb5\x2f\xfd".to_vec(),
            "it is compressed with zstd",
        ),
        (
            "program",
            std::fs::read("/proc/self/exe")
                .map_or_else(|_| b"\x7fELF".to_vec(), |it| cut(it, 4096)),
            "it is a program for this machine, not for WebAssembly",
        ),
        (
            "page",
            b"<!doctype html>".to_vec(),
            "it looks like a web page",
        ),
        (
            "pointer",
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n".to_vec(),
            "it is a pointer of Git LFS; get the file itself with git lfs pull",
        ),
        (
            "json",
            b"{\"schemaVersion\": 2}".to_vec(),
            "it looks like JSON",
        ),
        (
            "text",
            b"(module)".to_vec(),
            "it looks like WebAssembly text; convert it with wat2wasm",
        ),
        (
            "truncated",
            cut(filter(""), 40),
            "the file is damaged or not whole",
        ),
        (
            "section size",
            section(b"\x01\xff\xff\xff\xff\x0f"),
            "the file is damaged or not whole",
        ),
        (
            "section size, not a number",
            section(b"\x01\xff\xff\xff\xff\xff\xff"),
            "the file is damaged",
        ),
        (
            "two megabytes of nothing",
            section(&vec![0xff; 2 << 20]),
            "the file is damaged",
        ),
    ]
}

/// Modules that are no filters.
fn modules() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let component = wat::parse_str("(component)").unwrap();
    let http_wasm = r#"(import "http_handler" "get_uri" (func (param i32 i32) (result i32)))
        (func (export "handle_request") (result i64) (i64.const 0)) (memory (export "memory") 1)"#;
    let unknown = filter(r#"(import "env" "proxy_redis_call" (func (param i32) (result i32)))"#);
    let bad_callback = filter(
        r#"(func (export "proxy_on_request_headers") (param f64) (result i32) (i32.const 0))"#,
    );
    let bad_import = filter(r#"(import "env" "proxy_log" (func (param i64)))"#);
    let no_memory = r#"(func (export "malloc") (param i32) (result i32) (i32.const 0))
        (func (export "proxy_abi_version_0_2_1"))"#;
    let own_memory = r#"(import "env" "memory" (memory 1)) (export "memory" (memory 0))
        (func (export "malloc") (param i32) (result i32) (i32.const 0))
        (func (export "proxy_abi_version_0_2_1"))"#;
    let mut crowd = String::new();
    for number in 0..150_000 {
        write!(crowd, "(func $f{number})").unwrap();
    }
    vec![
        (
            "component",
            component,
            "a WebAssembly component: proxy-wasm filters are core modules",
        ),
        (
            "http-wasm",
            text(http_wasm),
            "it is made for http-wasm (Traefik, Dapr)",
        ),
        (
            "unknown import",
            unknown,
            "env.proxy_redis_call; it uses an extension of another proxy",
        ),
        (
            "callback of another type",
            bad_callback,
            "export proxy_on_request_headers has type (f64) -> i32",
        ),
        (
            "import of another type",
            bad_import,
            "import env.proxy_log has type (i64) -> (); the ABI says",
        ),
        (
            "no memory",
            text(no_memory),
            "the module does not export memory",
        ),
        (
            "memory of the host",
            text(own_memory),
            "what this host does not offer: env.memory",
        ),
        (
            "a version of the future",
            text(&HEAD.replace("0_2_1", "9_0_0")),
            "(but proxy_abi_version_9_0_0)",
        ),
        (
            "too many functions",
            filter(&crowd),
            "functions, more than the",
        ),
        (
            "wrong code",
            filter("(func $f)")
                .into_iter()
                .chain(*b"\x0a\x02\x01\x00")
                .collect(),
            "not",
        ),
    ]
}

/// Filters that do harm while they start.
fn starts() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let forever = "(func $f (loop (br 0)))";
    let large = HEAD.replace(r#"(export "memory") 1"#, r#"(export "memory") 65536"#);
    let exits = r#"(import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
        (func (export "_initialize") (call $exit (i32.const 7)))"#;
    let early = r#"(import "env" "proxy_http_call" (func $call (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
        (func (export "_initialize") (drop (call $call (i32.const 0) (i32.const 0) (i32.const 0)
            (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))))"#;
    let eats = r#"(func (export "proxy_on_vm_start") (param i32 i32) (result i32)
        (loop (if (i32.eq (memory.grow (i32.const 16)) (i32.const -1)) (then unreachable)) (br 0))
        (i32.const 1))"#;
    let stops = |callback: &str| {
        format!(
            r#"(func (export "{callback}") (param i32 i32) (result i32) (loop (br 0)) (i32.const 1))"#
        )
    };
    vec![
        (
            "start section",
            filter(&format!("{forever} (start $f)")),
            "ran longer than its budget of 1s",
        ),
        (
            "_initialize",
            filter(&format!("{forever} (export \"_initialize\" (func $f))")),
            "its budget of 1s",
        ),
        (
            "vm start",
            filter(&stops("proxy_on_vm_start")),
            "proxy_on_vm_start: ran longer than",
        ),
        (
            "configuration",
            filter(&stops("proxy_on_configure")),
            "proxy_on_configure: ran longer than",
        ),
        ("4 GiB of memory", text(&large), "memory"),
        (
            "a table of 10 million",
            filter("(table 10000000 funcref)"),
            "was refused more memory",
        ),
        ("growing", filter(eats), "was refused more memory"),
        (
            "data beyond memory",
            filter("(data (i32.const 65530) \"too long\")"),
            "out of bounds",
        ),
        (
            "elements beyond a table",
            filter("(table 1 funcref) (func $f) (elem (i32.const 9) $f)"),
            "out of bounds",
        ),
        ("exit", filter(exits), "exited with code 7"),
        (
            "no end of calls",
            filter("(func $f (call $f)) (start $f)"),
            "call stack exhausted",
        ),
        (
            "calls before it has a context",
            filter(early),
            "called proxy_http_call, which is not allowed there",
        ),
        (
            "no context for streams",
            filter(
                r#"(func (export "proxy_on_context_create") (param i32 i32) (if (local.get 1) (then unreachable)))"#,
            ),
            "makes no context for a request",
        ),
    ]
}

/// Puts each in the place of a filter that runs.
async fn refused(artifacts: Vec<(&'static str, Vec<u8>, &'static str)>) {
    let folder = std::env::temp_dir().join(format!("cairn-hostile-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let upstream = Server::start("upstream");
    let name = format!("hostile-{}", upstream.address.port());
    let path = folder.join(format!("{name}.wasm"));
    std::fs::write(&path, filter("")).unwrap();
    let setup = Setup {
        plugin: name,
        module: path.clone(),
        configuration: String::new(),
        root_id: String::new(),
        callout_names: &[],
        upstream: upstream.address,
        callout: upstream.address,
        refused: upstream.address,
    };
    let mut cairn = Cairn::start(&setup, &Arc::<Run>::default()).await;
    assert_eq!(cairn.refused, None, "the filter before");
    let mut wrong = vec![];
    for (what, bytes, reason) in artifacts {
        match tried(&mut cairn, &path, &bytes).await {
            Err(why) if why.contains(reason) => {}
            told => wrong.push(format!("{what}: {reason:?} is not in {told:?}")),
        }
        let answer = Ask::get("/others").send(cairn.address).await;
        if !answer.contains(&"response: 200".to_owned()) {
            wrong.push(format!("{what}: others got {answer:?}"));
        }
    }
    let _ = std::fs::remove_file(&path);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

async fn tried(cairn: &mut Cairn, path: &Path, bytes: &[u8]) -> Result<(), String> {
    std::fs::write(path, bytes).unwrap();
    let before = Instant::now();
    let told = cairn.swap(path).await;
    let took = before.elapsed();
    if took > LONGEST {
        return Err(format!("took {took:?}: {told:?}"));
    }
    told
}

#[tokio::test]
async fn files_that_are_no_modules_are_refused_and_others_are_served() {
    refused(files()).await;
}

#[tokio::test]
async fn modules_that_are_no_filters_are_refused_and_others_are_served() {
    refused(modules()).await;
}

#[tokio::test]
async fn filters_that_do_harm_while_they_start_are_refused_and_others_are_served() {
    refused(starts()).await;
}
