//! Which callback comes when.

use crate::reference::covers;
use std::rc::Rc;
use std::time::Duration;

use crate::testing::{Exchange, Guest, OUT, Recorder, compile, plugin};
use crate::{Headers, Outcome, Plugin, PluginConfig, StartError};

const CONTINUE: i32 = 0;
const TRUE: i32 = 1;

fn announcing(callbacks: &[(&str, i32)]) -> Guest {
    callbacks
        .iter()
        .fold(Guest::new(), |guest, (name, result)| {
            guest.announces(name, *result)
        })
}

#[test]
fn callbacks_come_in_the_order_filters_were_tested_with() {
    covers!(
        "_initialize",
        "main",
        "proxy_on_context_create",
        "proxy_on_vm_start",
        "proxy_on_configure",
        "proxy_on_request_headers",
        "proxy_on_request_body",
        "proxy_on_request_trailers",
        "proxy_on_response_headers",
        "proxy_on_response_body",
        "proxy_on_response_trailers",
        "proxy_on_done",
        "proxy_on_log",
        "proxy_on_delete"
    );
    let guest = announcing(&[
        ("_initialize", 0),
        ("main", 0),
        ("proxy_on_context_create", 0),
        ("proxy_on_vm_start", TRUE),
        ("proxy_on_configure", TRUE),
        ("proxy_on_request_headers", CONTINUE),
        ("proxy_on_request_body", CONTINUE),
        ("proxy_on_request_trailers", CONTINUE),
        ("proxy_on_response_headers", CONTINUE),
        ("proxy_on_response_body", CONTINUE),
        ("proxy_on_response_trailers", CONTINUE),
        ("proxy_on_done", TRUE),
        ("proxy_on_log", 0),
        ("proxy_on_delete", 0),
    ]);
    let (vm, recorder) = guest.start();
    let mut exchange = Exchange {
        request_body: Some(b"hello".to_vec()),
        request_trailers: Some(Headers::new()),
        ..Exchange::get("/").answered("200")
    };
    let mut stream = vm.new_stream();
    let outcomes = [
        stream.on_request_headers(&mut exchange, false),
        stream.on_request_body(&mut exchange, false),
        stream.on_request_body(&mut exchange, false),
        stream.on_request_trailers(&mut exchange),
        stream.on_response_headers(&mut exchange, false),
        stream.on_response_body(&mut exchange, false),
        stream.on_response_trailers(&mut exchange),
    ];
    assert!(
        outcomes
            .iter()
            .all(|outcome| matches!(outcome, Outcome::Continue)),
        "{outcomes:?}"
    );
    stream.finish(&mut exchange).unwrap();
    assert!(vm.stop().unwrap());
    let short = |line: &String| {
        line.trim_start_matches("id-1: ")
            .trim_start_matches("proxy_on_")
            .to_owned()
    };
    let lines: Vec<String> = recorder.lines().iter().map(short).collect();
    assert_eq!(
        lines.join(" "),
        "_initialize main context_create vm_start configure \
         context_create request_headers request_body request_body request_trailers \
         response_headers response_body response_trailers log done delete \
         done delete"
    );
}

#[test]
fn a_command_module_starts_by_start_and_may_exit_with_success() {
    covers!("_start", "proc_exit");
    let exit = |code: i32| {
        let mut guest = Guest::new().wasi("proc_exit");
        let print = guest.print("_start");
        guest.on(
            "_start",
            &format!("{print} (call $proc_exit (i32.const {code}))"),
            0,
        )
    };
    let (_, recorder) = exit(0).start();
    assert_eq!(recorder.lines(), ["_start"]);
    let error = plugin(&exit(3).wat(), PluginConfig::default())
        .validate(Rc::new(Recorder::default()))
        .unwrap_err();
    let StartError::Trapped(trap) = error else {
        panic!("{error}")
    };
    assert_eq!(
        (trap.callback, trap.reason.to_string().as_str()),
        ("_start", "exited with code 3")
    );
}

#[test]
fn start_is_not_called_when_there_is_initialize() {
    covers!("_initialize", "_start", "main", "__main_void");
    let (_, recorder) =
        announcing(&[("_start", 0), ("_initialize", 0), ("__main_void", 0)]).start();
    assert_eq!(recorder.lines(), ["_initialize", "__main_void"]);
    let (_, recorder) = announcing(&[("main", 0)]).start();
    assert_eq!(recorder.lines(), [""; 0]);
}

fn refusal(guest: &Guest) -> StartError {
    plugin(&guest.wat(), PluginConfig::default())
        .validate(Rc::new(Recorder::default()))
        .unwrap_err()
}

#[test]
fn a_filter_that_refuses_its_configuration_is_quoted() {
    covers!("proxy_on_vm_start", "proxy_on_configure", "proxy_log");
    let mut guest = Guest::new();
    let text = guest.text("`paths` is empty");
    let complain = format!("(drop (call $proxy_log (i32.const 4) {text}))");
    assert_eq!(
        refusal(&guest.on("proxy_on_configure", &complain, 0)).to_string(),
        "the filter refused its configuration: `paths` is empty"
    );
    assert_eq!(
        refusal(&Guest::new().on("proxy_on_vm_start", "", 0)).to_string(),
        "the filter refused to start"
    );
}

#[test]
fn configurations_are_readable_when_and_where_sdks_read_them() {
    covers!(
        "proxy_on_vm_start",
        "proxy_on_configure",
        "proxy_on_request_headers",
        "proxy_get_buffer_bytes"
    );
    let read = |buffer| {
        format!(
            "(call $say_and_show (call $proxy_get_buffer_bytes
               (i32.const {buffer}) (i32.const 0) (local.get 1) {OUT}))"
        )
    };
    let guest = Guest::new()
        .on("proxy_on_vm_start", &read(6), TRUE)
        .on("proxy_on_configure", &read(7), TRUE)
        .on("proxy_on_request_headers", &(read(6) + &read(7)), CONTINUE);
    let config = PluginConfig {
        vm_configuration: b"the vm".to_vec(),
        configuration: b"the plugin".to_vec(),
        ..PluginConfig::default()
    };
    let (vm, recorder) = guest.start_with(config);
    assert_eq!(recorder.lines(), ["0", "the vm", "0", "the plugin"]);
    let _ = vm
        .new_stream()
        .on_request_headers(&mut Exchange::get("/"), true);
    // Four headers, so four bytes of the VM's; the plugin's belongs to the root context.
    assert_eq!(recorder.lines()[4..], ["id-1: 0", "id-1: the ", "id-1: 1"]);
}

#[test]
fn an_empty_configuration_is_never_allocated() {
    covers!("proxy_on_configure", "proxy_get_buffer_bytes");
    // The allocator of the test guest traps at size 0.
    let read = format!(
        "(call $say_and_show (call $proxy_get_buffer_bytes (i32.const 7) (i32.const 0) (i32.const 99) {OUT}))"
    );
    let (_, recorder) = Guest::new().on("proxy_on_configure", &read, TRUE).start();
    assert_eq!(recorder.lines(), ["0", ""]);
}

#[test]
fn the_first_abi_reads_its_configuration_by_a_call_of_its_own() {
    covers!(
        "proxy_on_vm_start",
        "proxy_on_configure",
        "proxy_get_configuration"
    );
    let read = format!("(call $say_and_show (call $proxy_get_configuration {OUT}))");
    let guest = Guest::abi("proxy_abi_version_0_1_0")
        .on("proxy_on_vm_start", &read, TRUE)
        .on("proxy_on_configure", &read, TRUE);
    let config = PluginConfig {
        vm_configuration: b"vm".to_vec(),
        configuration: b"plugin".to_vec(),
        ..PluginConfig::default()
    };
    let (_, recorder) = guest.start_with(config);
    assert_eq!(recorder.lines(), ["0", "vm", "0", "plugin"]);
}

#[test]
fn header_callbacks_are_called_by_the_type_they_have() {
    for (params, expected) in [("i32 i32", "4"), ("i32 i32 i32", "41")] {
        let end = if params.len() > 7 {
            "(call $say (local.get 2))"
        } else {
            ""
        };
        let guest = Guest::new().define(&format!(
            "(func (export \"proxy_on_request_headers\") (param {params}) (result i32)
               (call $say (local.get 1)) {end} (i32.const 0))"
        ));
        let (vm, recorder) = guest.start();
        let _ = vm
            .new_stream()
            .on_request_headers(&mut Exchange::get("/"), true);
        assert_eq!(recorder.lines().concat().replace("id-1: ", ""), expected);
    }
}

#[test]
fn a_stream_the_guest_has_no_callback_for_costs_it_nothing() {
    covers!("proxy_on_context_create", "proxy_on_delete");
    let (vm, recorder) =
        announcing(&[("proxy_on_context_create", 0), ("proxy_on_delete", 0)]).start();
    let mut exchange = Exchange::get("/").answered("200");
    let mut stream = vm.new_stream();
    assert!(matches!(
        stream.on_request_headers(&mut exchange, true),
        Outcome::Continue
    ));
    assert!(matches!(
        stream.on_response_headers(&mut exchange, true),
        Outcome::Continue
    ));
    stream.finish(&mut exchange).unwrap();
    assert_eq!(recorder.lines(), ["proxy_on_context_create"]);
}

#[test]
fn a_stream_that_ends_early_is_still_logged() {
    covers!("proxy_on_context_create", "proxy_on_log", "proxy_on_delete");
    let guest = announcing(&[
        ("proxy_on_context_create", 0),
        ("proxy_on_log", 0),
        ("proxy_on_delete", 0),
    ]);
    let (vm, recorder) = guest.start();
    vm.new_stream().finish(&mut Exchange::get("/")).unwrap();
    assert_eq!(
        recorder.lines()[1..],
        [
            "id-1: proxy_on_context_create",
            "id-1: proxy_on_log",
            "id-1: proxy_on_delete"
        ]
    );
}

#[test]
fn a_dropped_stream_ends_in_the_guest_without_being_logged() {
    covers!(
        "proxy_on_request_headers",
        "proxy_on_done",
        "proxy_on_log",
        "proxy_on_delete"
    );
    let guest = announcing(&[
        ("proxy_on_request_headers", 0),
        ("proxy_on_log", 0),
        ("proxy_on_done", 0),
        ("proxy_on_delete", 0),
    ]);
    let (vm, recorder) = guest.start();
    let mut stream = vm.new_stream();
    let _ = stream.on_request_headers(&mut Exchange::get("/"), true);
    assert_eq!(vm.streams(), 1);
    drop(stream);
    assert_eq!(vm.streams(), 0);
    assert_eq!(
        recorder.lines(),
        [
            "id-1: proxy_on_request_headers",
            "proxy_on_done",
            "proxy_on_delete"
        ]
    );
}

#[test]
fn live_streams_have_different_ids() {
    let (vm, _) = Guest::new().start();
    let streams: Vec<_> = (0..3).map(|_| vm.new_stream()).collect();
    let ids: Vec<String> = streams
        .iter()
        .map(|stream| stream.id().to_string())
        .collect();
    assert_eq!(ids, ["2", "3", "4"]);
    assert_eq!(vm.streams(), 3);
}

#[test]
fn a_plugin_that_wants_more_time_is_done_when_it_says_so() {
    covers!(
        "proxy_on_tick",
        "proxy_on_done",
        "proxy_on_delete",
        "proxy_done"
    );
    let guest = Guest::new()
        .on("proxy_on_done", "", 0)
        .on("proxy_on_tick", "(call $say (call $proxy_done))", 0)
        .announces("proxy_on_delete", 0);
    let (vm, recorder) = guest.start();
    assert!(!vm.stop().unwrap());
    assert!(!vm.stop().unwrap());
    vm.on_tick().unwrap();
    assert!(vm.stop().unwrap());
    assert!(vm.stop().unwrap());
    assert_eq!(recorder.lines(), ["0", "proxy_on_delete"]);
}

#[test]
fn saying_done_too_early_is_harmless() {
    covers!("proxy_on_configure", "proxy_on_done", "proxy_done");
    let guest = Guest::new()
        .on("proxy_on_configure", "(call $say (call $proxy_done))", TRUE)
        .announces("proxy_on_done", TRUE);
    let (vm, recorder) = guest.start();
    assert!(vm.stop().unwrap());
    assert_eq!(recorder.lines(), ["0", "proxy_on_done"]);
}

#[test]
fn the_timer_a_guest_sets_is_told() {
    covers!(
        "proxy_on_configure",
        "proxy_on_tick",
        "proxy_set_tick_period_milliseconds"
    );
    let set = |period| {
        format!("(call $say (call $proxy_set_tick_period_milliseconds (i32.const {period})))")
    };
    let guest =
        Guest::new()
            .on("proxy_on_configure", &set(250), TRUE)
            .on("proxy_on_tick", &set(0), 0);
    let (vm, _) = guest.start();
    assert_eq!(vm.tick_period(), Some(Duration::from_millis(250)));
    vm.on_tick().unwrap();
    assert_eq!(vm.tick_period(), None);
}

#[test]
fn a_validated_plugin_leaves_nothing_running() {
    covers!("proxy_on_configure", "proxy_on_done", "proxy_on_delete");
    let guest = announcing(&[
        ("proxy_on_configure", TRUE),
        ("proxy_on_done", TRUE),
        ("proxy_on_delete", 0),
    ]);
    let recorder = Rc::new(Recorder::default());
    let plugin = Plugin::new(compile(&guest.wat()), PluginConfig::default());
    plugin
        .validate(Rc::clone(&recorder) as Rc<dyn crate::PluginHost>)
        .unwrap();
    assert_eq!(
        recorder.lines(),
        ["proxy_on_configure", "proxy_on_done", "proxy_on_delete"]
    );
    assert_eq!(Rc::strong_count(&recorder), 1);
}

#[test]
fn a_filter_that_fails_at_its_end_is_not_refused_for_it() {
    let guest = Guest::new().on("proxy_on_done", "unreachable", TRUE);
    let plugin = plugin(&guest.wat(), PluginConfig::default());
    let recorder = Rc::new(Recorder::default());
    plugin
        .validate(Rc::clone(&recorder) as Rc<dyn crate::PluginHost>)
        .unwrap();
    let remark = recorder.remarks().concat();
    assert!(remark.contains("stopped in proxy_on_done"), "{remark}");
}

#[test]
fn a_guest_hears_of_the_stream_it_is_tried_with_and_of_its_end() {
    let guest = announcing(&[("proxy_on_delete", 0)]).on("proxy_on_context_create", "", 0);
    let recorder = Rc::new(Recorder::default());
    plugin(&guest.wat(), PluginConfig::default())
        .validate(Rc::clone(&recorder) as Rc<dyn crate::PluginHost>)
        .unwrap();
    // The stream's and the root's.
    assert_eq!(recorder.lines(), ["proxy_on_delete"; 2]);
}

#[test]
fn a_buffer_without_bytes_leaves_the_address_as_it_was() {
    let mut guest = Guest::new();
    let none = guest.text("nothing was written");
    let guest = guest.on(
        "proxy_on_configure",
        &format!(
            "(i32.store (i32.const 300) (i32.const 77)) (i32.store (i32.const 304) (i32.const 9))
             (drop (call $proxy_get_buffer_bytes (i32.const 7) (i32.const 0) (i32.const 8)
                (i32.const 300) (i32.const 304)))
             (if (i32.and (i32.eq (i32.load (i32.const 300)) (i32.const 77))
                          (i32.eqz (i32.load (i32.const 304))))
                 (then (drop (call $proxy_log (i32.const 2) {none}))))"
        ),
        TRUE,
    );
    let (_, recorder) = guest.start();
    assert_eq!(recorder.lines(), ["nothing was written"]);
}

/// A guest that stops when it is told of the context with this id.
fn stops_at_context(id: u32) -> Guest {
    Guest::new().on(
        "proxy_on_context_create",
        &format!("(if (i32.eq (local.get 0) (i32.const {id})) (then unreachable))"),
        0,
    )
}

#[test]
fn a_filter_that_makes_no_context_for_streams_is_refused_before_there_is_one() {
    let error = refusal(&stops_at_context(2));
    assert!(
        matches!(&error, StartError::NoStream { trap, .. } if trap.callback == "proxy_on_context_create"),
        "{error}"
    );
    assert!(
        error.to_string().contains("NewHttpContext"),
        "{error}: does not say what is missing"
    );
}

#[test]
fn a_filter_that_is_registered_under_another_name_is_told_where_to_say_it() {
    let error = refusal(&stops_at_context(1)).to_string();
    assert!(
        error.starts_with("the filter does not begin with root id \"\";")
            && error.ends_with("`pluginName` in a WasmPlugin"),
        "{error}"
    );
}

#[test]
fn a_stream_keeps_its_vm_until_it_is_finished() {
    covers!("proxy_on_response_headers");
    let (vm, recorder) = Guest::new()
        .announces("proxy_on_response_headers", 0)
        .start();
    let mut stream = vm.new_stream();
    drop(vm);
    let mut exchange = Exchange::get("/").answered("200");
    assert!(matches!(
        stream.on_response_headers(&mut exchange, true),
        Outcome::Continue
    ));
    stream.finish(&mut exchange).unwrap();
    assert_eq!(recorder.lines(), ["id-1: proxy_on_response_headers"]);
    assert_eq!(Rc::strong_count(&recorder), 1);
}
