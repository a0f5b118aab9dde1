//! Guests that misbehave lose their VM, and nobody else notices.

use crate::reference::covers;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::testing::{Exchange, Guest, OUT, Recorder, compile, limited, plugin, trap};
use crate::{
    HeaderMap, Headers, Limits, LogLevel, LogSource, Map, Notice, Outcome, Plugin, PluginConfig,
    PluginHost, Reason, StartError, StreamHost, Trap, Vm,
};

const LOOP: &str = "(loop $for_ever (br $for_ever))";

/// Every callback after the start, and how to make the guest run it.
const CALLBACKS: [&str; 12] = [
    "proxy_on_request_headers",
    "proxy_on_request_body",
    "proxy_on_request_trailers",
    "proxy_on_response_headers",
    "proxy_on_response_body",
    "proxy_on_response_trailers",
    "proxy_on_log",
    "proxy_on_done",
    "proxy_on_delete",
    "proxy_on_tick",
    "proxy_on_queue_ready",
    "proxy_on_context_create",
];

/// Runs a whole request, then everything outside requests, and returns the trap that came.
fn run_into_trap(vm: &Vm) -> Option<Arc<Trap>> {
    let mut exchange = Exchange {
        request_body: Some(Vec::new()),
        response_body: Some(Vec::new()),
        ..Exchange::get("/").answered("200")
    };
    let mut stream = vm.new_stream();
    let outcomes = [
        stream.on_request_headers(&mut exchange, false),
        stream.on_request_body(&mut exchange, false),
        stream.on_request_trailers(&mut exchange),
        stream.on_response_headers(&mut exchange, false),
        stream.on_response_body(&mut exchange, false),
        stream.on_response_trailers(&mut exchange),
    ];
    for outcome in outcomes {
        if let Outcome::Trapped(trap) = outcome {
            return Some(trap);
        }
    }
    stream
        .finish(&mut exchange)
        .err()
        .or_else(|| vm.on_tick().err())
        .or_else(|| vm.on_queue_ready(1).err())
}

/// A guest that does something in one callback only; in `proxy_on_context_create` for streams only,
/// and with a stream that it knows.
fn misbehaving(callback: &str, body: &str) -> Guest {
    let result = i32::from(callback == "proxy_on_done");
    if callback == "proxy_on_context_create" {
        let body = format!("(if (local.get 1) (then {body}))");
        return Guest::new()
            .on(callback, &body, 0)
            .on("proxy_on_request_headers", "", 0);
    }
    let guest = Guest::new().on(callback, body, result);
    if callback == "proxy_on_request_headers" {
        guest
    } else {
        guest.on("proxy_on_request_headers", "", 0)
    }
}

#[test]
fn a_trap_in_any_callback_is_a_value_that_names_it() {
    for callback in CALLBACKS {
        let (vm, recorder) = misbehaving(callback, "unreachable").start();
        let trap = run_into_trap(&vm).unwrap_or_else(|| panic!("{callback} did not trap"));
        assert_eq!(trap.callback, callback);
        assert_eq!(
            trap.reason,
            Reason::Guest("wasm `unreachable` instruction executed".to_owned())
        );
        assert_eq!(trap.backtrace, format!("{callback}\n"));
        let remarks = recorder.remarks();
        assert_eq!(remarks.len(), 1, "{remarks:?}");
        assert!(
            remarks[0].contains(&format!("stopped in {callback}: wasm `unreachable`")),
            "{remarks:?}"
        );
        assert!(Arc::ptr_eq(&trap, &vm.trap().unwrap()));
    }
}

#[test]
fn an_endless_loop_in_any_callback_is_cut_by_its_budget() {
    let budget = Duration::from_millis(5);
    let config = || {
        limited(Limits {
            callback: budget,
            tick: budget,
            ..Limits::default()
        })
    };
    for callback in CALLBACKS {
        let (vm, _) = misbehaving(callback, LOOP).start_with(config());
        let trap = run_into_trap(&vm).unwrap_or_else(|| panic!("{callback} did not trap"));
        assert_eq!(
            (trap.callback, &trap.reason),
            (callback, &Reason::Deadline { budget })
        );
    }
}

#[test]
fn a_guest_that_never_starts_is_given_up() {
    covers!(
        "_initialize",
        "proxy_on_context_create",
        "proxy_on_vm_start",
        "proxy_on_configure"
    );
    let budget = Duration::from_millis(5);
    let limits = Limits {
        start: budget,
        configure: budget,
        ..Limits::default()
    };
    let section = Guest::new().define(&format!("(func $begin {LOOP}) (start $begin)"));
    let mut cases = vec![("instantiation", section)];
    for callback in [
        "_initialize",
        "proxy_on_context_create",
        "proxy_on_vm_start",
        "proxy_on_configure",
    ] {
        cases.push((callback, Guest::new().on(callback, LOOP, 1)));
    }
    for (callback, guest) in cases {
        let plugin = plugin(&guest.wat(), limited(limits.clone()));
        let error = plugin.validate(Rc::new(Recorder::default())).unwrap_err();
        let StartError::Trapped(trap) = error else {
            panic!("{error}")
        };
        assert_eq!(
            (trap.callback, &trap.reason),
            (callback, &Reason::Deadline { budget })
        );
    }
}

#[test]
fn filling_memory_over_and_over_is_cut_as_well() {
    covers!("proxy_on_request_headers");
    let fill = "(loop $l (memory.fill (i32.const 0) (i32.const 0) (i32.const 131072)) (br $l))";
    let (vm, _) = misbehaving("proxy_on_request_headers", fill).start();
    let trap = trap(
        vm.new_stream()
            .on_request_headers(&mut Exchange::get("/"), true),
    );
    assert!(matches!(trap.reason, Reason::Deadline { .. }), "{trap}");
}

#[test]
fn memory_ends_at_the_limit() {
    covers!("proxy_on_request_headers");
    let bomb = "(loop $more (br_if $more (i32.ge_s (memory.grow (i32.const 1)) (i32.const 0)))) unreachable";
    let (vm, _) = misbehaving("proxy_on_request_headers", bomb).start_with(limited(Limits {
        memory: 1 << 20,
        ..Limits::default()
    }));
    assert_eq!(vm.memory(), 2 << 16);
    let trap = trap(
        vm.new_stream()
            .on_request_headers(&mut Exchange::get("/"), true),
    );
    assert_eq!(trap.reason, Reason::Memory);
    assert_eq!(vm.memory(), 0);
}

#[test]
fn being_refused_memory_is_no_trap_by_itself() {
    covers!("proxy_on_request_headers");
    let ask = "(call $say (i32.add (i32.const 1) (memory.grow (i32.const 9999))))";
    let (vm, recorder) = misbehaving("proxy_on_request_headers", ask).start();
    assert!(run_into_trap(&vm).is_none());
    assert_eq!(recorder.lines(), ["id-1: 0"]);
}

#[test]
fn a_module_that_declares_too_much_does_not_start() {
    let limits = Limits {
        memory: 1 << 16,
        ..Limits::default()
    };
    let error = plugin(&Guest::new().wat(), limited(limits))
        .validate(Rc::new(Recorder::default()))
        .unwrap_err();
    let StartError::Trapped(trap) = error else {
        panic!("{error}")
    };
    assert_eq!(
        (trap.callback, &trap.reason),
        ("instantiation", &Reason::Memory)
    );
}

#[test]
fn tables_end_at_the_limit() {
    covers!("proxy_on_request_headers");
    let grow =
        "(call $say (i32.add (i32.const 1) (table.grow $t (ref.null func) (i32.const 30000))))";
    let guest = misbehaving("proxy_on_request_headers", grow).define("(table $t 1 funcref)");
    let (vm, recorder) = guest.start();
    assert!(run_into_trap(&vm).is_none());
    assert_eq!(recorder.lines(), ["id-1: 0"]);
}

#[test]
fn calling_too_deeply_is_a_trap() {
    covers!("proxy_on_request_headers");
    let guest = misbehaving("proxy_on_request_headers", "(call $deeper)")
        .define("(func $deeper (call $deeper))");
    let (vm, _) = guest.start();
    let trap = trap(
        vm.new_stream()
            .on_request_headers(&mut Exchange::get("/"), true),
    );
    assert_eq!(trap.reason, Reason::Stack);
}

#[test]
fn host_calls_are_counted() {
    covers!(
        "proxy_on_request_headers",
        "proxy_get_current_time_nanoseconds"
    );
    let chatter =
        "(loop $l (drop (call $proxy_get_current_time_nanoseconds (i32.const 0))) (br $l))";
    let patient = limited(Limits {
        callback: Duration::from_secs(1),
        ..Limits::default()
    });
    let guest = misbehaving("proxy_on_request_headers", chatter);
    let (vm, _) = guest.start_with(patient);
    let trap = trap(
        vm.new_stream()
            .on_request_headers(&mut Exchange::get("/"), true),
    );
    assert_eq!(trap.reason, Reason::HostCalls { limit: 10_000 });
}

#[test]
fn a_guest_that_exits_is_dead() {
    covers!("proxy_on_request_headers", "proc_exit");
    let guest = Guest::new().wasi("proc_exit").on(
        "proxy_on_request_headers",
        "(call $proc_exit (i32.const 255))",
        0,
    );
    let (vm, _) = guest.start();
    let trap = trap(
        vm.new_stream()
            .on_request_headers(&mut Exchange::get("/"), true),
    );
    assert_eq!(trap.reason, Reason::Exit { code: 255 });
}

#[test]
fn a_guest_cannot_call_the_proxy_before_it_has_a_context() {
    covers!("_initialize", "proxy_set_tick_period_milliseconds");
    let early = "(drop (call $proxy_set_tick_period_milliseconds (i32.const 1)))";
    let plugin = plugin(
        &Guest::new().on("_initialize", early, 0).wat(),
        PluginConfig::default(),
    );
    let error = plugin.validate(Rc::new(Recorder::default())).unwrap_err();
    let StartError::Trapped(trap) = error else {
        panic!("{error}")
    };
    assert_eq!(
        trap.reason,
        Reason::Forbidden {
            function: "proxy_set_tick_period_milliseconds"
        }
    );
}

/// A module with an allocator of its own that reads a header.
fn with_allocator(allocator: &str) -> String {
    format!(
        r#"(module
          (import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))
          (import "env" "proxy_get_header_map_value" (func $get (param i32 i32 i32 i32 i32) (result i32)))
          (import "env" "proxy_done" (func $done (result i32)))
          (memory (export "memory") 1)
          (data (i32.const 16) ":path")
          (func (export "proxy_abi_version_0_2_1"))
          (func (export "malloc") (param i32) (result i32) {allocator})
          (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
            (i32.store8 (i32.const 100) (i32.add (i32.const 48)
              (call $get (i32.const 0) (i32.const 16) (i32.const 5) (i32.const 0) (i32.const 4))))
            (drop (call $log (i32.const 2) (i32.const 100) (i32.const 1)))
            (i32.const 0)))"#
    )
}

fn run_with_allocator(allocator: &str) -> (Outcome, Vec<String>) {
    let recorder = Rc::new(Recorder::default());
    let plugin = Plugin::new(compile(&with_allocator(allocator)), PluginConfig::default());
    let vm = plugin
        .instantiate(Rc::clone(&recorder) as Rc<dyn PluginHost>)
        .unwrap();
    let outcome = vm
        .new_stream()
        .on_request_headers(&mut Exchange::get("/"), true);
    (outcome, recorder.lines())
}

#[test]
fn an_allocator_that_fails_or_lies_costs_the_call_only() {
    // Nothing, just beyond the end, far beyond the end, and overlapping the result addresses.
    for allocator in ["(i32.const 0)", "(i32.const 65536)", "(i32.const -1)"] {
        let (outcome, lines) = run_with_allocator(allocator);
        assert!(
            matches!(outcome, Outcome::Continue),
            "{allocator}: {outcome:?}"
        );
        assert_eq!(lines, ["id-1: 6"], "{allocator}");
    }
    assert_eq!(run_with_allocator("(i32.const 2)").1, ["id-1: 0"]);
}

#[test]
fn an_allocator_may_log_and_little_else() {
    covers!("proxy_done");
    let (outcome, lines) = run_with_allocator(
        "(drop (call $log (i32.const 2) (i32.const 16) (i32.const 5))) (i32.const 512)",
    );
    assert!(matches!(outcome, Outcome::Continue));
    assert_eq!(lines, ["id-1: :path", "id-1: 0"]);
    let (outcome, _) = run_with_allocator("(call $done)");
    assert_eq!(
        trap(outcome).reason,
        Reason::Forbidden {
            function: "proxy_done"
        }
    );
    let (outcome, _) = run_with_allocator("unreachable");
    assert!(matches!(trap(outcome).reason, Reason::Guest(_)));
    let (outcome, _) = run_with_allocator(&format!("{LOOP} (i32.const 0)"));
    assert!(matches!(trap(outcome).reason, Reason::Deadline { .. }));
}

#[test]
fn one_trap_costs_one_vm() {
    covers!("proxy_on_request_headers");
    let body = "(if (local.get 2) (then unreachable))";
    let plugin = plugin(
        &misbehaving("proxy_on_request_headers", body).wat(),
        PluginConfig::default(),
    );
    let start = || plugin.instantiate(Rc::new(Recorder::default())).unwrap();
    let (one, other) = (start(), start());
    let (mut before, mut unaffected) = (one.new_stream(), other.new_stream());
    let mut exchange = Exchange::get("/");
    assert!(matches!(
        before.on_request_headers(&mut exchange, false),
        Outcome::Continue
    ));
    let first = trap(one.new_stream().on_request_headers(&mut exchange, true));
    // Every stream of this VM is told the same, old and new.
    assert!(Arc::ptr_eq(
        &first,
        &trap(before.on_response_headers(&mut exchange, false))
    ));
    assert!(Arc::ptr_eq(
        &first,
        &trap(one.new_stream().on_request_headers(&mut exchange, false))
    ));
    assert!(Arc::ptr_eq(
        &first,
        &before.finish(&mut exchange).unwrap_err()
    ));
    assert!(Arc::ptr_eq(&first, &one.stop().unwrap_err()));
    // The other VM of the plugin goes on, and a new one can take the place of the first.
    assert!(matches!(
        unaffected.on_request_headers(&mut exchange, false),
        Outcome::Continue
    ));
    assert!(matches!(
        start()
            .new_stream()
            .on_request_headers(&mut exchange, false),
        Outcome::Continue
    ));
}

#[test]
fn what_a_guest_said_last_is_part_of_its_trap() {
    covers!("proxy_on_request_headers", "proxy_log");
    let mut guest = Guest::new();
    let text = guest.text("panicked at src/lib.rs:7:\nindex out of bounds");
    let body = format!("(drop (call $proxy_log (i32.const 5) {text})) unreachable");
    let (vm, _) = guest.on("proxy_on_request_headers", &body, 0).start();
    let trap = trap(
        vm.new_stream()
            .on_request_headers(&mut Exchange::get("/"), true),
    );
    let text = trap.to_string();
    assert!(text.starts_with("plugin test (module "), "{text}");
    assert!(
        text.ends_with("it said: panicked at src/lib.rs:7:\\nindex out of bounds"),
        "{text}"
    );
}

#[test]
fn log_volume_is_bounded_per_line_callback_and_second() {
    covers!("proxy_on_request_headers", "proxy_log");
    let mut guest = Guest::new();
    let line = guest.text(&"x".repeat(100));
    let body = format!(
        "(local $n i32)
         (loop $l
           (drop (call $proxy_log (i32.const 2) {line}))
           (local.set $n (i32.add (local.get $n) (i32.const 1)))
           (br_if $l (i32.lt_u (local.get $n) (i32.const 20))))"
    );
    let limits = Limits {
        log_lines: 8,
        log_line: 10,
        log_lines_per_second: 12,
        ..Limits::default()
    };
    let (vm, recorder) = guest
        .on("proxy_on_request_headers", &body, 0)
        .start_with(limited(limits));
    for _ in 0..2 {
        let _ = vm
            .new_stream()
            .on_request_headers(&mut Exchange::get("/"), true);
    }
    let lines = recorder.lines();
    assert!(
        lines.iter().all(|line| line == "id-1: xxxxxxxxxx"),
        "{lines:?}"
    );
    // Twelve at once; a slow machine may have let one or two more through meanwhile.
    assert!((12..=16).contains(&lines.len()), "{}", lines.len());
    assert!(recorder.notices.borrow().contains(&Notice::LogDropped));
    // Forty lines were wanted, and the log says three times at most that some are missing.
    assert!(recorder.remarks().len() <= 3, "{:?}", recorder.remarks());
}

#[test]
fn lines_below_the_level_are_not_even_counted() {
    covers!(
        "proxy_on_request_headers",
        "proxy_get_log_level",
        "proxy_log"
    );
    let mut guest = Guest::new();
    let line = guest.text("detail");
    let debug = format!("(call $say (call $proxy_log (i32.const 1) {line}))");
    let bad = format!("(call $say (call $proxy_log (i32.const 6) {line}))");
    let level = "(call $say (call $proxy_get_log_level (i32.const 0))) (call $say (i32.load (i32.const 0)))";
    let body = [debug, bad, level.to_owned()].concat();
    let (vm, recorder) = guest.on("proxy_on_request_headers", &body, 0).start();
    let _ = vm
        .new_stream()
        .on_request_headers(&mut Exchange::get("/"), true);
    assert_eq!(recorder.lines().concat().replace("id-1: ", ""), "0202");
}

/// A stream whose proxy calls back into the VM while it serves the guest.
struct Meddler<'a> {
    vm: &'a Vm,
    headers: Headers,
    heard: Option<Arc<Trap>>,
}

impl StreamHost for Meddler<'_> {
    fn headers(&mut self, _: Map) -> Option<&mut dyn HeaderMap> {
        self.heard = self.vm.on_tick().err();
        let outcome = self
            .vm
            .new_stream()
            .on_request_headers(&mut Exchange::get("/"), true);
        assert_eq!(trap(outcome).reason, Reason::Reentered);
        Some(&mut self.headers)
    }
}

fn reading(guest: &mut Guest) -> String {
    let key = guest.text(":path");
    format!("(call $say (call $proxy_get_header_map_value (i32.const 0) {key} {OUT}))")
}

#[test]
fn a_guest_is_never_entered_twice() {
    covers!("proxy_on_tick", "proxy_on_request_headers");
    let mut guest = Guest::new();
    let read = reading(&mut guest);
    let guest = guest
        .on("proxy_on_request_headers", &read, 0)
        .announces("proxy_on_tick", 0);
    let (vm, _) = guest.start();
    let mut meddler = Meddler {
        vm: &vm,
        headers: Headers::new(),
        heard: None,
    };
    let mut stream = vm.new_stream();
    // Headers are counted before the guest is entered, so the first call of the meddler succeeds.
    meddler.heard = None;
    let outcome = {
        let mut counted = Counted {
            inner: &mut meddler,
            calls: 0,
        };
        stream.on_request_headers(&mut counted, true)
    };
    assert!(matches!(outcome, Outcome::Continue), "{outcome:?}");
    assert_eq!(meddler.heard.unwrap().reason, Reason::Reentered);
    // The guest did not notice.
    vm.on_tick().unwrap();
}

/// Passes on all but the first call, which comes from outside the guest.
struct Counted<'a, H> {
    inner: &'a mut H,
    calls: usize,
}

impl<H: StreamHost> StreamHost for Counted<'_, H> {
    fn headers(&mut self, map: Map) -> Option<&mut dyn HeaderMap> {
        self.calls += 1;
        if self.calls == 1 {
            None
        } else {
            self.inner.headers(map)
        }
    }
}

struct Panics;

impl StreamHost for Panics {
    fn headers(&mut self, _: Map) -> Option<&mut dyn HeaderMap> {
        panic!("a fault of the proxy")
    }
}

#[test]
fn a_panic_of_the_proxy_ends_the_vm_it_came_through() {
    covers!("proxy_on_request_headers");
    let mut guest = Guest::new();
    let read = reading(&mut guest);
    let (vm, _) = guest.on("proxy_on_request_headers", &read, 0).start();
    let mut stream = vm.new_stream();
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let mut counted = Counted {
            inner: &mut Panics,
            calls: 0,
        };
        let _ = stream.on_request_headers(&mut counted, true);
    }));
    assert!(panicked.is_err());
    assert_eq!(vm.trap().unwrap().reason, Reason::HostPanicked);
    assert_eq!(
        trap(stream.on_request_headers(&mut Exchange::get("/"), true)).reason,
        Reason::HostPanicked
    );
}

#[test]
fn a_dead_vm_is_reported_once_and_loudly() {
    covers!("proxy_on_tick");
    let (vm, recorder) = misbehaving("proxy_on_tick", "unreachable").start();
    for _ in 0..3 {
        vm.on_tick().unwrap_err();
    }
    let records = recorder.records.borrow();
    let [(LogLevel::Error, LogSource::Host, line)] = &records[..] else {
        panic!("{records:?}")
    };
    assert!(line.ends_with("in proxy_on_tick"), "{line}");
}
