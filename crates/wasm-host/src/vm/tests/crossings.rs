//! What is told of every crossing: the trace, times, and what a plugin may not do.

use crate::reference::covers;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::testing::{Exchange, Guest, OUT, plugin};
use crate::{Callback, Notice, Outcome, PluginConfig, PluginHost, Trace};

/// A trace and what was written to it.
fn recording() -> (Trace, Arc<Mutex<Vec<String>>>) {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let ours = Arc::clone(&lines);
    let trace = Trace::new(move |line| ours.lock().push(line.to_owned()));
    (trace, lines)
}

#[test]
fn every_crossing_is_traced_in_the_form_of_envoy() {
    covers!(
        "proxy_on_context_create",
        "proxy_on_request_headers",
        "proxy_get_header_map_value",
        "proxy_increment_metric",
        "proxy_log",
        "sched_yield"
    );
    let (trace, lines) = recording();
    let mut guest = Guest::new().wasi("sched_yield");
    let (text, key) = (guest.text("hi"), guest.text(":path"));
    let body = format!(
        "(drop (call $proxy_log (i32.const 2) {text}))
         (drop (call $proxy_get_header_map_value (i32.const 0) {key} {OUT}))
         (drop (call $proxy_get_header_map_value (i32.const 0) {text} {OUT}))
         (drop (call $proxy_increment_metric (i32.const 9) (i64.const -1)))
         (drop (call $sched_yield))"
    );
    let (vm, _) = guest
        .on("proxy_on_request_headers", &body, 1)
        .on("proxy_on_context_create", "", 0)
        .start_with(PluginConfig {
            trace: Some(trace),
            ..PluginConfig::default()
        });
    lines.lock().clear();
    let mut stream = vm.new_stream();
    let _ = stream.on_request_headers(&mut Exchange::get("/"), true);
    assert_eq!(
        *lines.lock(),
        [
            "[host->vm] proxy_on_context_create(2, 1)",
            "[host<-vm] proxy_on_context_create return: void",
            "[host->vm] proxy_on_request_headers(2, 4, 1)",
            "[vm->host] env.proxy_log(2, 1024, 2)",
            "[vm<-host] env.proxy_log return: 0",
            "[vm->host] env.proxy_get_header_map_value(0, 1026, 5, 0, 4)",
            "[host->vm] proxy_on_memory_allocate(1)",
            "[host<-vm] proxy_on_memory_allocate return: 65536",
            "[vm<-host] env.proxy_get_header_map_value return: 0",
            "[vm->host] env.proxy_get_header_map_value(0, 1024, 2, 0, 4)",
            "[vm<-host] env.proxy_get_header_map_value return: 1",
            "[vm->host] env.proxy_increment_metric(9, 18446744073709551615)",
            "[vm<-host] env.proxy_increment_metric return: 1",
            "[vm->host] wasi_snapshot_preview1.sched_yield()",
            "[vm<-host] wasi_snapshot_preview1.sched_yield return: 0",
            "[host<-vm] proxy_on_request_headers return: 1",
        ]
    );
}

#[test]
fn what_does_not_return_leaves_no_second_line_in_the_trace() {
    covers!("proxy_on_tick", "proc_exit");
    let (trace, lines) = recording();
    let guest = Guest::new().wasi("proc_exit");
    let (vm, _) = guest
        .on("proxy_on_tick", "(call $proc_exit (i32.const 7))", 0)
        .start_with(PluginConfig {
            trace: Some(trace),
            ..PluginConfig::default()
        });
    vm.on_tick().unwrap_err();
    assert_eq!(
        *lines.lock(),
        [
            "[host->vm] proxy_on_tick(1)",
            "[vm->host] wasi_snapshot_preview1.proc_exit(7)"
        ]
    );
}

#[test]
fn starting_and_functions_without_a_result_are_traced_too() {
    covers!(
        "_initialize",
        "proxy_on_tick",
        "emscripten_notify_memory_growth",
        "proxy_continue_request",
        "pthread_equal"
    );
    let (trace, lines) = recording();
    let wat = r#"(module
      (import "env" "proxy_continue_request" (func $resume))
      (import "env" "emscripten_notify_memory_growth" (func $grown (param i32)))
      (import "env" "pthread_equal" (func $equal (param i32 i32) (result i32)))
      (import "wasi_unstable" "fd_sync" (func $sync (param i32) (result i32)))
      (memory (export "memory") 1)
      (func (export "malloc") (param i32) (result i32) (i32.const 0))
      (func (export "proxy_abi_version_0_1_0"))
      (func (export "_initialize")
        (call $grown (i32.const 0))
        (drop (call $equal (i32.const 4) (i32.const 4)))
        (drop (call $sync (i32.const 9))))
      (func (export "proxy_on_tick") (param i32) (call $resume)))"#;
    let config = PluginConfig {
        trace: Some(trace),
        ..PluginConfig::default()
    };
    let vm = plugin(wat, config)
        .instantiate(Rc::new(Timed::default()))
        .unwrap();
    vm.on_tick().unwrap();
    assert_eq!(
        *lines.lock(),
        [
            "[host->vm] _initialize()",
            "[vm->host] env.emscripten_notify_memory_growth(0)",
            "[vm<-host] env.emscripten_notify_memory_growth return: void",
            "[vm->host] env.pthread_equal(4, 4)",
            "[vm<-host] env.pthread_equal return: 1",
            "[vm->host] wasi_unstable.fd_sync(9)",
            "[vm<-host] wasi_unstable.fd_sync return: 8",
            "[host<-vm] _initialize return: void",
            "[host->vm] proxy_on_tick(1)",
            "[vm->host] env.proxy_continue_request()",
            "[vm<-host] env.proxy_continue_request return: void",
            "[host<-vm] proxy_on_tick return: void",
        ]
    );
}

/// A proxy that wants to know how long callbacks take.
#[derive(Debug, Default)]
struct Timed(RefCell<Vec<&'static str>>);

impl PluginHost for Timed {
    fn wants_timing(&self) -> bool {
        true
    }

    fn called(&self, callback: &'static str, _: Duration) {
        self.0.borrow_mut().push(callback);
    }
}

#[test]
fn every_callback_is_timed_for_a_proxy_that_asks_and_a_trap_is_one() {
    covers!(
        "proxy_on_context_create",
        "proxy_on_configure",
        "proxy_on_tick",
        "proxy_on_request_headers",
        "proxy_on_done",
        "proxy_on_log"
    );
    let wat = Guest::new()
        .on("proxy_on_configure", "", 1)
        .on("proxy_on_context_create", "", 0)
        .on("proxy_on_request_headers", "", 0)
        .on("proxy_on_log", "", 0)
        .on("proxy_on_done", "", 1)
        .on("proxy_on_tick", "unreachable", 0)
        .wat();
    let timed = Rc::new(Timed::default());
    let vm = plugin(&wat, PluginConfig::default())
        .instantiate(Rc::clone(&timed) as Rc<dyn PluginHost>)
        .unwrap();
    let mut exchange = Exchange::get("/");
    let mut stream = vm.new_stream();
    let _ = stream.on_request_headers(&mut exchange, true);
    stream.finish(&mut exchange).unwrap();
    vm.on_tick().unwrap_err();
    let called = timed.0.borrow().join(" ").replace("proxy_on_", "");
    assert_eq!(
        called,
        "context_create configure context_create request_headers log done tick"
    );
}

fn allowing(names: &[&str]) -> PluginConfig {
    PluginConfig {
        allowed: Some(
            names
                .iter()
                .map(|name| (*name).to_owned())
                .collect::<BTreeSet<_>>(),
        ),
        ..PluginConfig::default()
    }
}

#[test]
fn a_callback_that_is_not_allowed_is_not_called() {
    covers!(
        "_initialize",
        "proxy_on_context_create",
        "proxy_on_request_headers",
        "proxy_on_log"
    );
    let guest = Guest::new()
        .announces("_initialize", 0)
        .announces("proxy_on_context_create", 0)
        .announces("proxy_on_request_headers", 1)
        .announces("proxy_on_log", 0);
    let (vm, recorder) = guest.start_with(allowing(&["proxy_on_log", "proxy_log"]));
    let mut exchange = Exchange::get("/");
    let mut stream = vm.new_stream();
    let outcome = stream.on_request_headers(&mut exchange, true);
    assert!(matches!(outcome, Outcome::Continue), "{outcome:?}");
    stream.finish(&mut exchange).unwrap();
    assert_eq!(recorder.lines(), ["_initialize", "id-1: proxy_on_log"]);
    assert!(!vm.callbacks().contains(Callback::RequestHeaders));
    assert!(vm.callbacks().contains(Callback::Log));
}

#[test]
fn a_function_that_is_not_allowed_is_refused_and_told() {
    covers!(
        "proxy_on_tick",
        "proxy_get_current_time_nanoseconds",
        "proxy_set_tick_period_milliseconds",
        "sched_yield"
    );
    let body = "(call $say (call $proxy_set_tick_period_milliseconds (i32.const 9)))
                (call $say (i32.sub (call $sched_yield) (i32.const 70)))
                (call $say (call $proxy_get_current_time_nanoseconds (i32.const 0)))";
    let guest = Guest::new()
        .wasi("sched_yield")
        .on("proxy_on_tick", body, 0);
    let (vm, recorder) = guest.start_with(allowing(&[
        "proxy_on_tick",
        "proxy_log",
        "proxy_get_current_time_nanoseconds",
    ]));
    vm.on_tick().unwrap();
    // INTERNAL_FAILURE is 10, which this guest prints as a colon; 76 less 70.
    assert_eq!(recorder.lines(), [":", "6", "0"]);
    assert_eq!(vm.tick_period(), None);
    assert_eq!(*recorder.notices.borrow(), [Notice::CapabilityDenied; 2]);
    let remarks = recorder.remarks();
    assert!(
        remarks[0].contains("proxy_set_tick_period_milliseconds"),
        "{remarks:?}"
    );
}

#[test]
fn the_host_calls_a_function_it_agreed_on_with_the_filter() {
    covers!(
        "proxy_on_tick",
        "proxy_on_foreign_function",
        "proxy_get_buffer_bytes",
        "proxy_get_buffer_status"
    );
    let read = format!(
        "(call $say (local.get 1)) (call $say (local.get 2))
         (call $say_and_show (call $proxy_get_buffer_bytes
           (i32.const 8) (i32.const 1) (i32.const 9) {OUT}))
         (call $say (call $proxy_get_buffer_status (i32.const 8) {OUT}))
         (call $say (i32.load (i32.const 0)))"
    );
    let late = format!(
        "(call $say (call $proxy_get_buffer_bytes
           (i32.const 8) (i32.const 0) (i32.const 9) {OUT}))
         (call $say (call $proxy_get_buffer_status (i32.const 8) {OUT}))"
    );
    let (vm, recorder) = Guest::new()
        .on("proxy_on_foreign_function", &read, 0)
        .on("proxy_on_tick", &late, 0)
        .start();
    vm.on_foreign_function(7, b"args".to_vec()).unwrap();
    vm.on_tick().unwrap();
    assert_eq!(recorder.lines().join(" "), "7 4 0 rgs 0 4 1 1");
    let (vm, _) = Guest::new().start();
    vm.on_foreign_function(7, b"args".to_vec()).unwrap();
}

#[test]
fn a_route_is_chosen_anew_when_the_guest_says_so() {
    covers!(
        "proxy_on_request_headers",
        "proxy_on_log",
        "proxy_clear_route_cache"
    );
    let clear = "(call $say (call $proxy_clear_route_cache))";
    let (vm, recorder) = Guest::new()
        .on("proxy_on_request_headers", clear, 0)
        .on("proxy_on_log", clear, 0)
        .start();
    let mut exchange = Exchange::get("/");
    let mut stream = vm.new_stream();
    let _ = stream.on_request_headers(&mut exchange, true);
    assert_eq!(exchange.routes_cleared, 1);
    stream.finish(&mut exchange).unwrap();
    assert_eq!(exchange.routes_cleared, 1);
    assert_eq!(recorder.lines(), ["id-1: 0", "id-1: 0"]);
}
