use crate::reference::covers;
use std::fmt::Write as _;

use super::said;
use crate::testing::{Exchange, Guest, host, lines_of};
use crate::{HeaderMap as _, Outcome};

/// Calls every function of the ABI with every parameter set to `value`; none may stop the guest.
fn call_everything_with(value: i64) -> Vec<String> {
    let mut body = String::new();
    for (name, signature) in host().functions("env") {
        let (params, result) = signature.split_once(" -> ").unwrap();
        let params = params
            .trim_matches(['(', ')'])
            .split(", ")
            .filter(|ty| !ty.is_empty());
        let arguments: Vec<_> = params.map(|ty| format!("({ty}.const {value})")).collect();
        let arguments = arguments.join(" ");
        if result == "i32" {
            writeln!(body, "(call $say (call ${name} {arguments}))").unwrap();
        } else {
            writeln!(body, "(call ${name} {arguments})").unwrap();
        }
    }
    // Nothing must linger either: the answer and the reset of the calls above do, so they are not
    // looked at here; see `a_bad_pointer_has_no_effect`.
    let (vm, recorder) = Guest::new()
        .on("proxy_on_request_headers", &body, 0)
        .start();
    let outcome = vm
        .new_stream()
        .on_request_headers(&mut Exchange::get("/"), true);
    assert!(
        !matches!(outcome, Outcome::Trapped(_)),
        "{value}: {outcome:?}"
    );
    recorder.lines()
}

#[test]
fn no_arguments_stop_the_guest_or_the_host() {
    let statuses = host()
        .functions("env")
        .iter()
        .filter(|(_, ty)| ty.ends_with("i32"))
        .count();
    for value in [0, 1, 7, 131_071, 131_072, i64::from(i32::MAX), -1] {
        assert_eq!(call_everything_with(value).len(), statuses, "{value}");
    }
}

#[test]
fn spans_beyond_memory_are_told_whichever_parameter_they_are_in() {
    covers!(
        "proxy_define_metric",
        "proxy_get_header_map_value",
        "proxy_get_property",
        "proxy_log",
        "proxy_replace_header_map_value",
        "proxy_send_local_response",
        "proxy_set_buffer_bytes",
        "proxy_set_header_map_pairs",
        "proxy_set_property",
        "proxy_set_shared_data"
    );
    let mut guest = Guest::new();
    let good = guest.text("a");
    let past = [
        "(i32.const 131072) (i32.const 1)",
        "(i32.const -1) (i32.const -1)",
        "(i32.const 0) (i32.const -1)",
    ];
    let mut body = String::new();
    for bad in past {
        for call in [
            format!("(call $proxy_log (i32.const 2) {bad})"),
            format!("(call $proxy_get_property {bad} (i32.const 0) (i32.const 4))"),
            format!("(call $proxy_set_property {bad} {good})"),
            format!("(call $proxy_set_property {good} {bad})"),
            format!(
                "(call $proxy_get_header_map_value (i32.const 0) {bad} (i32.const 0) (i32.const 4))"
            ),
            format!("(call $proxy_replace_header_map_value (i32.const 0) {bad} {good})"),
            format!("(call $proxy_replace_header_map_value (i32.const 0) {good} {bad})"),
            format!("(call $proxy_set_header_map_pairs (i32.const 0) {bad})"),
            format!(
                "(call $proxy_set_buffer_bytes (i32.const 0) (i32.const 0) (i32.const 0) {bad})"
            ),
            format!("(call $proxy_set_shared_data {good} {bad} (i32.const 0))"),
            format!("(call $proxy_define_metric (i32.const 0) {bad} (i32.const 0))"),
            format!(
                "(call $proxy_send_local_response (i32.const 403) {bad} {good} {good} (i32.const 0))"
            ),
            format!(
                "(call $proxy_send_local_response (i32.const 403) {good} {bad} {good} (i32.const 0))"
            ),
            format!(
                "(call $proxy_send_local_response (i32.const 403) {good} {good} {bad} (i32.const 0))"
            ),
        ] {
            writeln!(body, "(call $say {call})").unwrap();
        }
    }
    assert_eq!(said(&lines_of(&body, guest)), ["6"; 42].join(" "));
}

#[test]
fn a_bad_pointer_has_no_effect() {
    covers!(
        "proxy_on_request_headers",
        "proxy_add_header_map_value",
        "proxy_dequeue_shared_queue",
        "proxy_enqueue_shared_queue",
        "proxy_register_shared_queue",
        "proxy_send_local_response"
    );
    let mut guest = Guest::new();
    let (name, item, key) = (
        guest.text("pointer-queue"),
        guest.text("item"),
        guest.text("x-new"),
    );
    let id = "(i32.load (i32.const 200))";
    let body = format!(
        "(call $say (call $proxy_register_shared_queue {name} (i32.const 131070)))
         (call $say (call $proxy_register_shared_queue {name} (i32.const 200)))
         (call $say (call $proxy_enqueue_shared_queue {id} {item}))
         ;; The item must still be there after two calls that cannot tell where it was put.
         (call $say (call $proxy_dequeue_shared_queue {id} (i32.const 0) (i32.const 131069)))
         (call $say (call $proxy_dequeue_shared_queue {id} (i32.const -4) (i32.const 4)))
         (call $say_and_show (call $proxy_dequeue_shared_queue {id} (i32.const 0) (i32.const 4)))
         (call $say (call $proxy_add_header_map_value (i32.const 0) {key} (i32.const -1) (i32.const 2)))
         (call $say (call $proxy_send_local_response
           (i32.const 403) {key} {key} (i32.const -1) (i32.const 2) (i32.const 0)))"
    );
    let (vm, recorder) = guest.on("proxy_on_request_headers", &body, 0).start();
    let mut exchange = Exchange::get("/");
    let outcome = vm.new_stream().on_request_headers(&mut exchange, true);
    assert!(matches!(outcome, Outcome::Continue), "{outcome:?}");
    assert_eq!(said(&recorder.lines()), "6 0 0 6 6 0 item 6 6");
    assert_eq!(exchange.request.get("x-new"), None);
}

#[test]
fn results_may_lie_in_the_last_bytes_of_memory() {
    covers!("proxy_get_header_map_value");
    let mut guest = Guest::new();
    let key = guest.text(":path");
    let call = |out: u32, len: u32| {
        format!(
            "(call $say (call $proxy_get_header_map_value (i32.const 0) {key} (i32.const {out}) (i32.const {len})))"
        )
    };
    let body = [
        call(131_064, 131_068),
        call(131_064, 131_069),
        call(131_069, 131_064),
    ]
    .concat();
    assert_eq!(said(&lines_of(&body, guest)), "0 6 6");
}
