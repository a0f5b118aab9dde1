//! Modules that mean harm, one row each. For every one: the host goes on, a plugin beside it still
//! answers, memory stays within its limit, and what ended it names the callback.

use std::fmt::Write as _;
use std::rc::Rc;

use crate::testing::{Exchange, Guest, Recorder, host, limited, trap};
use crate::{CallRefused, Error, Limits, Outcome, Plugin, PluginHost, Reason, StartError, Vm};

/// What becomes of a module.
#[derive(Clone, Debug, Eq, PartialEq)]
enum End {
    /// It does not load, because of this.
    Refused(&'static str),
    /// It does not start: where, and why.
    NotStarted(&'static str, &'static str),
    /// It is stopped: where, and why.
    Stopped(&'static str, &'static str),
    /// It is told no, and goes on.
    GoesOn,
}
use End::{GoesOn, NotStarted, Refused, Stopped};

const LOOP: &str = "(loop $l (br $l))";
const BUDGET: &str = "ran longer than its budget";
const MEMORY: &str = "was refused more memory";

fn limits() -> Limits {
    Limits {
        memory: 1 << 20,
        start: std::time::Duration::from_millis(30),
        configure: std::time::Duration::from_millis(30),
        tick: std::time::Duration::from_millis(30),
        ..Limits::default()
    }
}

/// A module with this code where a stream's first callback is.
fn on_request(body: &str) -> String {
    Guest::new().on("proxy_on_request_headers", body, 0).wat()
}

/// A whole module around some definitions, with the exports every filter has.
fn bare(definitions: &str) -> String {
    format!(
        r#"(module {definitions}
          (func (export "proxy_abi_version_0_2_1"))
          (func (export "malloc") (param i32) (result i32) (i32.const 1024)))"#
    )
}

/// Calls a function for ever.
fn flood(build: impl FnOnce(&mut Guest) -> String) -> String {
    let mut guest = Guest::new();
    let call = build(&mut guest);
    let body = format!("(loop $l (drop {call}) (br $l))");
    guest.on("proxy_on_request_headers", &body, 0).wat()
}

/// Too many host calls, or too much time for them: whichever comes first.
const TOO_MUCH: End = Stopped("proxy_on_request_headers", "");

/// Modules that never stop, in each place where they can.
fn endless() -> Vec<(String, Vec<u8>, End)> {
    let mut rows = Vec::new();
    let mut row = |callback: &'static str, end: End| {
        // A stream the guest never heard of has no end either.
        let guest = Guest::new().on("proxy_on_context_create", "", 0);
        let guest = match callback {
            "proxy_on_done" | "proxy_on_delete" => guest.on("proxy_on_log", "", 0),
            _ => guest,
        };
        let wat = guest.on(callback, LOOP, 1).wat();
        rows.push((format!("loops in {callback}"), wat.into_bytes(), end));
    };
    for callback in ["_initialize", "proxy_on_vm_start", "proxy_on_configure"] {
        row(callback, NotStarted(callback, BUDGET));
    }
    for callback in [
        "proxy_on_request_headers",
        "proxy_on_request_body",
        "proxy_on_response_headers",
        "proxy_on_response_body",
        "proxy_on_log",
        "proxy_on_done",
        "proxy_on_delete",
        "proxy_on_tick",
    ] {
        row(callback, Stopped(callback, BUDGET));
    }
    let start = bare(&format!(
        "(memory (export \"memory\") 1) (func $s {LOOP}) (start $s)"
    ));
    rows.push((
        "loops in its start section".to_owned(),
        start.into_bytes(),
        NotStarted("instantiation", BUDGET),
    ));
    rows
}

/// Modules that take too much.
#[expect(clippy::too_many_lines, reason = "a table of modules")]
fn greedy() -> Vec<(&'static str, String, End)> {
    let here = "proxy_on_request_headers";
    let grow =
        "(loop $l (br_if $l (i32.ge_s (memory.grow (i32.const 1)) (i32.const 0)))) unreachable";
    let table = "(loop $l (br_if $l (i32.ge_s (table.grow $t (ref.null func) (i32.const 999)) (i32.const 0)))) unreachable";
    let tables = Guest::new()
        .define("(table $t 1 funcref)")
        .on(here, table, 0)
        .wat();
    let deep = Guest::new()
        .define("(func $deeper (param i64 i64) (call $deeper (local.get 0) (local.get 1)))")
        .on(here, "(call $deeper (i64.const 0) (i64.const 0))", 0)
        .wat();
    let mut locals = String::from("(memory (export \"memory\") 1) (func (export \"x\") (local");
    locals.push_str(&" i64".repeat(60_000));
    locals.push_str("))");
    let mut segments = String::from("(memory (export \"memory\") 1)");
    for _ in 0..10_000 {
        segments.push_str("(data (i32.const 0) \"x\")");
    }
    let fill = "(loop $l (memory.fill (i32.const 0) (i32.const 1) (i32.const 131072)) (br $l))";
    let copy = "(loop $l (memory.copy (i32.const 0) (i32.const 1) (i32.const 131071)) (br $l))";
    vec![
        (
            "grows its memory for ever",
            on_request(grow),
            Stopped(here, MEMORY),
        ),
        ("grows its table for ever", tables, Stopped(here, MEMORY)),
        (
            "declares more memory than it may have",
            bare("(memory (export \"memory\") 999)"),
            NotStarted("instantiation", MEMORY),
        ),
        (
            "calls itself for ever",
            deep,
            Stopped(here, "call stack exhausted"),
        ),
        (
            "has too many locals",
            bare(&locals),
            Refused("does not compile"),
        ),
        ("has ten thousand data segments", bare(&segments), GoesOn),
        (
            "fills its memory for ever",
            on_request(fill),
            Stopped(here, BUDGET),
        ),
        (
            "copies its memory for ever",
            on_request(copy),
            Stopped(here, BUDGET),
        ),
        (
            "calls the host for ever",
            flood(|_| "(call $proxy_get_current_time_nanoseconds (i32.const 0))".to_owned()),
            TOO_MUCH,
        ),
        (
            "logs for ever",
            flood(|guest| {
                let text = guest.text("x");
                format!("(call $proxy_log (i32.const 2) {text})")
            }),
            TOO_MUCH,
        ),
        (
            "fills shared data for ever",
            flood(|guest| {
                let key = guest.text("k");
                format!(
                    "(call $proxy_set_shared_data {key} (i32.const 0) (i32.const 131072) (i32.const 0))"
                )
            }),
            TOO_MUCH,
        ),
        (
            "calls out for ever",
            flood(|guest| {
                let text = guest.text("x");
                format!(
                    "(call $proxy_grpc_stream {text} {text} {text} (i32.const 0) (i32.const 0) (i32.const 0))"
                )
            }),
            TOO_MUCH,
        ),
        (
            "compresses for ever",
            flood(|guest| {
                let name = guest.text("compress");
                format!(
                    "(call $proxy_call_foreign_function {name} (i32.const 0) (i32.const 131072) (i32.const 0) (i32.const 0))"
                )
            }),
            Stopped(here, BUDGET),
        ),
        (
            "answers for ever",
            flood(|_| {
                "(call $proxy_send_local_response (i32.const 200) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 65536) (i32.const 0) (i32.const 0) (i32.const 0))".to_owned()
            }),
            TOO_MUCH,
        ),
    ]
}

/// A module that defines metrics of ever new names.
fn metric_names() -> String {
    let body = "(loop $l
        (i32.store (i32.const 0) (i32.add (i32.const 1) (i32.load (i32.const 0))))
        (i32.store (i32.const 8) (i32.or (i32.load (i32.const 0)) (i32.const 0x20202020)))
        (drop (call $proxy_define_metric (i32.const 0) (i32.const 8) (i32.const 4) (i32.const 16)))
        (br $l))";
    on_request(body)
}

/// Modules that lie.
#[expect(clippy::too_many_lines, reason = "a table of modules")]
fn lying() -> Vec<(&'static str, String, End)> {
    let here = "proxy_on_request_headers";
    let say = |call: &str| on_request(&format!("(call $say {call})"));
    let allocator = |code: &str| {
        format!(
            r#"(module
              (import "env" "proxy_get_header_map_pairs" (func $get (param i32 i32 i32) (result i32)))
              (memory (export "memory") 1)
              (func (export "proxy_abi_version_0_2_1"))
              (func (export "malloc") (param i32) (result i32) {code})
              (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
                (drop (call $get (i32.const 0) (i32.const 0) (i32.const 4))) (i32.const 0)))"#
        )
    };
    let exit = Guest::new()
        .wasi("proc_exit")
        .on(here, "(call $proc_exit (i32.const 0))", 0);
    let start_exit =
        Guest::new()
            .wasi("proc_exit")
            .on("_start", "(call $proc_exit (i32.const 9))", 0);
    let dispatch = {
        let mut guest = Guest::new();
        let text = guest.text("x");
        let call = format!(
            "(drop (call $proxy_grpc_stream {text} {text} {text} (i32.const 0) (i32.const 0) (i32.const 0)))"
        );
        guest.on(here, &(call + "unreachable"), 0).wat()
    };
    let twice = "(drop (call $proxy_send_local_response (i32.const 403) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)))
        (drop (call $proxy_close_stream (i32.const 0))) (drop (call $proxy_close_stream (i32.const 0)))";
    vec![
        (
            "hands over pointers that overflow",
            say("(call $proxy_log (i32.const 2) (i32.const -1) (i32.const -1))"),
            GoesOn,
        ),
        (
            "hands over negative lengths",
            say("(call $proxy_set_header_map_pairs (i32.const 0) (i32.const 8) (i32.const -8))"),
            GoesOn,
        ),
        ("allocates at zero", allocator("(i32.const 0)"), GoesOn),
        (
            "allocates beyond its memory",
            allocator("(i32.const 65535)"),
            GoesOn,
        ),
        (
            "allocates for ever",
            allocator(&format!("{LOOP} (i32.const 0)")),
            Stopped(here, BUDGET),
        ),
        (
            "allocates by calling the host",
            allocator("(call $get (i32.const 0) (i32.const 0) (i32.const 4))"),
            Stopped(
                here,
                "called proxy_get_header_map_pairs, which is not allowed there",
            ),
        ),
        (
            "acts for a stream that is not its own",
            say("(call $proxy_set_effective_context (i32.const 77))"),
            GoesOn,
        ),
        (
            "acts for the root from a stream",
            on_request(
                "(drop (call $proxy_set_effective_context (i32.const 1))) (drop (call $proxy_close_stream (i32.const 0)))",
            ),
            GoesOn,
        ),
        (
            "calls out and traps",
            dispatch,
            Stopped(here, "unreachable"),
        ),
        (
            "answers and closes and closes again",
            on_request(twice),
            GoesOn,
        ),
        (
            "never ends",
            Guest::new().on("proxy_on_done", "", 0).wat(),
            GoesOn,
        ),
        ("exits", exit.wat(), Stopped(here, "exited with code 0")),
        (
            "exits while it starts",
            start_exit.wat(),
            NotStarted("_start", "exited with code 9"),
        ),
        (
            "calls the proxy while it starts",
            Guest::new()
                .on("_initialize", "(drop (call $proxy_done))", 0)
                .wat(),
            NotStarted(
                "_initialize",
                "called proxy_done, which is not allowed there",
            ),
        ),
        (
            "divides by zero while it is logged",
            Guest::new()
                .on(
                    "proxy_on_log",
                    "(drop (i32.div_u (i32.const 1) (i32.const 0)))",
                    0,
                )
                .wat(),
            Stopped("proxy_on_log", "integer divide by zero"),
        ),
        (
            "reads beyond its memory",
            on_request("(drop (i32.load (i32.const -8)))"),
            Stopped(here, "out of bounds memory access"),
        ),
        (
            "calls through an empty table",
            Guest::new()
                .define("(table $t 1 funcref)")
                .on(here, "(call_indirect $t (i32.const 0))", 0)
                .wat(),
            Stopped(here, "uninitialized element"),
        ),
        (
            "defines metrics of ever new names",
            metric_names(),
            TOO_MUCH,
        ),
        (
            "imports what there is not",
            bare("(import \"env\" \"system\" (func)) (memory (export \"memory\") 1)"),
            Refused("env.system"),
        ),
        (
            "imports with another type",
            bare(
                "(import \"env\" \"proxy_log\" (func (param i64))) (memory (export \"memory\") 1)",
            ),
            Refused("has type (i64) -> ()"),
        ),
        ("has no memory", bare(""), Refused("does not export memory")),
        (
            "has 64-bit memory",
            bare("(memory (export \"memory\") i64 1)"),
            Refused("memory64"),
        ),
        (
            "shares its memory",
            bare("(memory (export \"memory\") 1 1 shared)"),
            Refused("threads"),
        ),
        (
            "has two memories",
            bare("(memory (export \"memory\") 1) (memory 1)"),
            Refused("multiple memories"),
        ),
        (
            "exports a global as its callback",
            bare(
                "(memory (export \"memory\") 1) (global (export \"proxy_on_log\") i32 (i32.const 0))",
            ),
            Refused("has type a global"),
        ),
        (
            "is a component",
            "(component)".to_owned(),
            Refused("component"),
        ),
        (
            "claims two versions",
            bare("(memory (export \"memory\") 1) (func (export \"proxy_abi_version_0_1_0\"))"),
            GoesOn,
        ),
    ]
}

/// Bytes that are no module, or not quite.
fn broken() -> Vec<(&'static str, Vec<u8>, End)> {
    let whole = wat::parse_str(on_request("")).unwrap();
    let half = whole[..whole.len() / 2].to_vec();
    // A custom section larger than any module may be.
    let mut padded = whole;
    padded.push(0);
    padded.extend([0x80, 0x80, 0x80, 0x09]);
    padded.resize(padded.len() + (18 << 20), 0);
    vec![
        ("is empty", Vec::new(), Refused("it is empty")),
        ("is cut off", half, Refused("not a WebAssembly module")),
        (
            "is padded with megabytes",
            padded,
            Refused("more than the 16777216 allowed"),
        ),
        (
            "is something else",
            b"\x7fELF".to_vec(),
            Refused("a program for this machine"),
        ),
    ]
}

/// A proxy that takes every callout.
fn proxy() -> Rc<Recorder> {
    Rc::new(Recorder::default())
}

/// Sends a whole exchange through a VM.
fn exchange(vm: &Vm) -> Option<std::sync::Arc<crate::Trap>> {
    let mut exchange = Exchange {
        request_body: Some(b"body".to_vec()),
        response_body: Some(b"body".to_vec()),
        ..Exchange::get("/").answered("200")
    };
    let mut stream = vm.new_stream();
    let outcomes = [
        stream.on_request_headers(&mut exchange, false),
        stream.on_request_body(&mut exchange, true),
        stream.on_response_headers(&mut exchange, false),
        stream.on_response_body(&mut exchange, true),
    ];
    let stopped = outcomes
        .into_iter()
        .find(|outcome| matches!(outcome, Outcome::Trapped(_)));
    if let Some(outcome) = stopped {
        return Some(trap(outcome));
    }
    stream
        .finish(&mut exchange)
        .and_then(|()| vm.on_tick())
        .err()
}

fn end_of(bytes: &[u8]) -> (String, String) {
    let module = match host().compile(bytes) {
        Ok(module) => module,
        Err(error) => return ("load".to_owned(), chain(&error)),
    };
    let plugin = Plugin::new(module, limited(limits()));
    let vm = match plugin.instantiate(proxy()) {
        Ok(vm) => vm,
        Err(StartError::Trapped(trap)) => {
            return (format!("start {}", trap.callback), trap.reason.to_string());
        }
        Err(error) => panic!("{error}"),
    };
    assert!(vm.memory() <= limits().memory);
    let trapped = exchange(&vm);
    if let Some(trap) = trapped {
        assert_eq!(vm.memory(), 0, "a dead VM keeps no memory");
        return (format!("run {}", trap.callback), trap.reason.to_string());
    }
    assert!(vm.memory() <= limits().memory);
    ("on".to_owned(), String::new())
}

fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut next = std::error::Error::source(error);
    while let Some(source) = next {
        write!(text, ": {source}").unwrap();
        next = source.source();
    }
    text
}

#[test]
fn no_module_does_more_harm_than_to_itself() {
    let beside = Guest::new().announces("proxy_on_request_headers", 0);
    let (well_behaved, recorder) = beside.start();
    let compiled = |wat: &str| match wat::parse_str(wat) {
        Ok(bytes) => bytes,
        Err(error) => panic!("{error}\n{wat}"),
    };
    let mut rows: Vec<(String, Vec<u8>, End)> = Vec::new();
    for (name, wat, end) in endless() {
        rows.push((name, compiled(std::str::from_utf8(&wat).unwrap()), end));
    }
    for (name, wat, end) in greedy().into_iter().chain(lying()) {
        rows.push((name.to_owned(), compiled(&wat), end));
    }
    for (name, bytes, end) in broken() {
        rows.push((name.to_owned(), bytes, end));
    }
    assert!(rows.len() >= 50, "{}", rows.len());
    let mut wrong = String::new();
    for (name, bytes, end) in &rows {
        let (stage, why) = end_of(bytes);
        let (expected, reason) = match end {
            Refused(why) => ("load".to_owned(), *why),
            NotStarted(callback, why) => (format!("start {callback}"), *why),
            Stopped(callback, why) => (format!("run {callback}"), *why),
            GoesOn => ("on".to_owned(), ""),
        };
        if stage != expected || !why.contains(reason) {
            writeln!(wrong, "a module that {name}: {stage}: {why}").unwrap();
        }
        // Whatever it did, others are served.
        recorder.records.borrow_mut().clear();
        assert!(exchange(&well_behaved).is_none(), "{name}");
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn what_a_dead_plugin_had_begun_is_called_off() {
    let mut guest = Guest::new();
    let text = guest.text("x");
    let call = format!(
        "(drop (call $proxy_grpc_stream {text} {text} {text} (i32.const 0) (i32.const 0) (i32.const 0)))"
    );
    let body = format!("{call} {call} unreachable");
    let (vm, recorder) = guest.on("proxy_on_request_headers", &body, 0).start();
    let reason = exchange(&vm).unwrap().reason.clone();
    assert!(matches!(reason, Reason::Guest(_)), "{reason}");
    assert_eq!(recorder.cancelled.borrow().len(), 2);
}

#[test]
fn what_the_proxy_does_not_allow_is_not_reached() {
    for refusal in [CallRefused::UnknownUpstream, CallRefused::Unsupported] {
        let mut guest = Guest::new();
        let text = guest.text("169.254.169.254");
        let call = format!(
            "(call $say (call $proxy_grpc_stream {text} {text} {text} (i32.const 0) (i32.const 0) (i32.const 0)))"
        );
        let recorder = Rc::new(Recorder::default());
        recorder.refuse_calls.set(Some(refusal));
        let plugin = crate::testing::plugin(
            &guest.on("proxy_on_tick", &call, 0).wat(),
            limited(Limits::default()),
        );
        let vm = plugin
            .instantiate(Rc::clone(&recorder) as Rc<dyn PluginHost>)
            .unwrap();
        vm.on_tick().unwrap();
        assert!(recorder.calls.borrow().is_empty());
        assert!(["4", ":"].contains(&recorder.lines()[0].as_str()));
    }
}
