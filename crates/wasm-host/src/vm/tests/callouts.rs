//! Calls a guest makes, and what it hears of them.

use crate::reference::covers;
use crate::testing::{Exchange, Guest, OUT, limited};
use crate::{
    CallRefused, CalloutEvent, Headers, Limits, Notice, Outcome, Pause, Pending, PluginConfig,
};

/// An HTTP call to `shop`, whose id is stored at 200.
fn http_call(guest: &mut Guest, headers: &[(&str, &str)]) -> String {
    let mut serialised = Vec::new();
    crate::pairs::write(
        &mut serialised,
        headers.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes())),
    );
    let (upstream, headers) = (guest.text("shop"), guest.bytes(&serialised));
    let (body, trailers) = (guest.text("ping"), guest.text(""));
    format!(
        "(call $say (call $proxy_http_call
           {upstream} {headers} {body} {trailers} (i32.const 5000) (i32.const 200)))"
    )
}

const REQUEST: [(&str, &str); 3] = [
    (":method", "POST"),
    (":path", "/check"),
    (":authority", "shop"),
];

fn grpc_call(guest: &mut Guest, streaming: bool) -> String {
    let (upstream, service, method) = (
        guest.text("auth"),
        guest.text("pkg.Auth"),
        guest.text("Check"),
    );
    let nothing = guest.text("");
    if streaming {
        format!(
            "(call $say (call $proxy_grpc_stream {upstream} {service} {method} {nothing} (i32.const 200)))"
        )
    } else {
        format!(
            "(call $say (call $proxy_grpc_call
               {upstream} {service} {method} {nothing} {nothing} (i32.const 0) (i32.const 200)))"
        )
    }
}

fn response(status: &str, body: &str) -> CalloutEvent {
    CalloutEvent::HttpResponse {
        headers: [(":status", status)].into_iter().collect(),
        body: body.into(),
        trailers: Headers::new(),
    }
}

/// What an SDK does: choose the stream that made the call, read the response, resume.
fn on_response(guest: &mut Guest, context: i32) -> String {
    let key = guest.text(":status");
    format!(
        "(drop (call $proxy_set_effective_context (i32.const {context})))
         (call $say_and_show (call $proxy_get_header_map_value (i32.const 6) {key} {OUT}))
         (call $say_and_show (call $proxy_get_buffer_bytes (i32.const 4) (i32.const 0) (i32.const 99) {OUT}))
         (drop (call $proxy_continue_stream (i32.const 0)))"
    )
}

#[test]
fn a_paused_request_goes_on_when_its_callout_is_answered() {
    covers!("proxy_http_call");
    covers!("proxy_on_request_headers", "proxy_on_http_call_response");
    let mut guest = Guest::new();
    let (call, reply) = (http_call(&mut guest, &REQUEST), on_response(&mut guest, 2));
    let guest =
        guest
            .on("proxy_on_request_headers", &call, 1)
            .on("proxy_on_http_call_response", &reply, 0);
    let (vm, recorder) = guest.start();
    let (mut stream, mut exchange) = (vm.new_stream(), Exchange::get("/"));
    let outcome = stream.on_request_headers(&mut exchange, true);
    assert!(
        matches!(outcome, Outcome::Pause(Pause::Stop)),
        "{outcome:?}"
    );
    assert_eq!(
        *recorder.http_calls.borrow(),
        ["shop Some(\"/check\") ping 5s"]
    );
    let id = recorder.calls.borrow()[0];
    stream
        .on_callout(&mut exchange, id, response("200", "pong"))
        .unwrap();
    assert!(matches!(stream.pending(), Some(Pending::Resume(_))));
    assert_eq!(
        recorder.lines().concat().replace("id-1: ", ""),
        "002000pong"
    );
    // An answer comes once; whatever else is said of that call is nobody's business.
    stream
        .on_callout(&mut exchange, id, response("200", "again"))
        .unwrap();
    assert_eq!(recorder.lines().len(), 5);
}

#[test]
fn a_callout_outside_streams_belongs_to_the_plugin() {
    covers!("proxy_http_call");
    covers!("proxy_on_configure", "proxy_on_http_call_response");
    let mut guest = Guest::new();
    let (call, reply) = (http_call(&mut guest, &REQUEST), on_response(&mut guest, 1));
    let guest =
        guest
            .on("proxy_on_configure", &call, 1)
            .on("proxy_on_http_call_response", &reply, 0);
    let (vm, recorder) = guest.start();
    let id = recorder.calls.borrow()[0];
    // Not to a stream, though.
    let mut stream = vm.new_stream();
    stream
        .on_callout(&mut Exchange::get("/"), id, response("500", ""))
        .unwrap();
    vm.on_callout(id, response("200", "keys")).unwrap();
    assert_eq!(recorder.lines().concat(), "002000keys");
}

#[test]
fn incomplete_requests_are_refused_before_they_are_made() {
    covers!("proxy_http_call");
    covers!("proxy_on_tick");
    for missing in 0..3 {
        let mut guest = Guest::new();
        let mut headers = REQUEST.to_vec();
        headers.remove(missing);
        let call = http_call(&mut guest, &headers);
        let (vm, recorder) = guest.on("proxy_on_tick", &call, 0).start();
        vm.on_tick().unwrap();
        assert_eq!(
            (
                recorder.lines().concat().as_str(),
                recorder.calls.borrow().len()
            ),
            ("2", 0)
        );
    }
    let mut guest = Guest::new();
    let smuggling = [&REQUEST[..], &[("a", "1\r\nb: 2")]].concat();
    let call = http_call(&mut guest, &smuggling);
    let (vm, recorder) = guest.on("proxy_on_tick", &call, 0).start();
    vm.on_tick().unwrap();
    assert_eq!(
        (
            recorder.lines().concat().as_str(),
            recorder.calls.borrow().len()
        ),
        ("2", 0)
    );
}

#[test]
fn refusals_are_told_with_statuses_that_sdks_survive() {
    covers!("proxy_http_call", "proxy_grpc_stream", "proxy_grpc_call");
    covers!("proxy_on_tick");
    for (refused, http, grpc) in [
        (CallRefused::Unsupported, ":", ":"),
        (CallRefused::UnknownUpstream, "2", "4"),
        (CallRefused::Malformed, "2", "4"),
    ] {
        let mut guest = Guest::new();
        let calls = http_call(&mut guest, &REQUEST)
            + &grpc_call(&mut guest, false)
            + &grpc_call(&mut guest, true);
        let (vm, recorder) = guest.on("proxy_on_tick", &calls, 0).start();
        recorder.refuse_calls.set(Some(refused));
        vm.on_tick().unwrap();
        assert_eq!(recorder.lines().concat(), [http, grpc, grpc].concat());
        assert_eq!(*recorder.notices.borrow(), [Notice::CallRefused; 3]);
        let remark = recorder.remarks().concat();
        let named = format!(": \"shop\": {refused}");
        assert!(remark.contains(&named), "{remark}");
    }
}

#[test]
fn callouts_in_flight_are_limited_and_outlive_their_stream() {
    covers!("proxy_http_call");
    covers!("proxy_on_request_headers", "proxy_on_http_call_response");
    let mut guest = Guest::new();
    let call = http_call(&mut guest, &REQUEST);
    let guest = guest
        .on("proxy_on_request_headers", &call.repeat(4), 0)
        .announces("proxy_on_http_call_response", 0);
    let limits = Limits {
        calls_per_stream: 3,
        calls: 5,
        ..Limits::default()
    };
    let (vm, recorder) = guest.start_with(limited(limits));
    let (mut one, mut two) = (vm.new_stream(), vm.new_stream());
    let _ = one.on_request_headers(&mut Exchange::get("/"), true);
    let _ = two.on_request_headers(&mut Exchange::get("/"), true);
    assert_eq!(recorder.lines().concat().replace("id-1: ", ""), "000:00::");
    drop(one);
    // A filter that reports by callout does not wait for the answer; it comes to the plugin.
    assert!(recorder.cancelled.borrow().is_empty());
    let first = recorder.calls.borrow()[0];
    vm.on_callout(first, response("200", "")).unwrap();
    assert_eq!(
        recorder.lines().last().unwrap(),
        "proxy_on_http_call_response"
    );
    // There is room for as many as were answered.
    let _ = vm
        .new_stream()
        .on_request_headers(&mut Exchange::get("/"), true);
    assert_eq!(recorder.calls.borrow().len(), 6);
}

#[test]
fn a_trap_calls_everything_off() {
    covers!("proxy_http_call");
    covers!("proxy_on_tick");
    let mut guest = Guest::new();
    let call = http_call(&mut guest, &REQUEST) + "unreachable";
    let (vm, recorder) = guest.on("proxy_on_tick", &call, 0).start();
    vm.on_tick().unwrap_err();
    assert_eq!(*recorder.cancelled.borrow(), *recorder.calls.borrow());
    assert_eq!(recorder.calls.borrow().len(), 1);
}

#[test]
fn a_bad_place_for_the_id_starts_nothing() {
    covers!("proxy_http_call");
    covers!("proxy_on_tick");
    let mut guest = Guest::new();
    let call = http_call(&mut guest, &REQUEST).replace("(i32.const 200)", "(i32.const -2)");
    let (vm, recorder) = guest.on("proxy_on_tick", &call, 0).start();
    vm.on_tick().unwrap();
    assert_eq!(
        (
            recorder.lines().concat().as_str(),
            recorder.calls.borrow().len()
        ),
        ("6", 0)
    );
}

#[test]
fn a_unary_call_ends_with_its_response_or_its_failure() {
    covers!("proxy_grpc_call");
    covers!(
        "proxy_on_tick",
        "proxy_on_grpc_receive",
        "proxy_on_grpc_close"
    );
    let mut guest = Guest::new();
    let call = grpc_call(&mut guest, false);
    let guest = guest
        .on("proxy_on_tick", &call, 0)
        .announces("proxy_on_grpc_receive", 0)
        .announces("proxy_on_grpc_close", 0);
    let (vm, recorder) = guest.start();
    vm.on_tick().unwrap();
    vm.on_tick().unwrap();
    let ids = recorder.calls.borrow().clone();
    let closed = || CalloutEvent::GrpcClosed {
        status: 14,
        message: "gone".to_owned(),
    };
    for id in ids.iter().copied() {
        assert_eq!(id.0 & 3, 1);
    }
    vm.on_callout(ids[0], CalloutEvent::GrpcMessage(b"yes".to_vec()))
        .unwrap();
    vm.on_callout(ids[0], closed()).unwrap();
    vm.on_callout(ids[1], closed()).unwrap();
    // Events of another kind of call are not delivered.
    vm.on_tick().unwrap();
    vm.on_callout(recorder.calls.borrow()[2], response("200", ""))
        .unwrap();
    assert_eq!(
        recorder.lines(),
        [
            "0",
            "0",
            "proxy_on_grpc_receive",
            "proxy_on_grpc_close",
            "0"
        ]
    );
}

#[test]
fn a_grpc_stream_is_sent_to_received_from_and_closed() {
    covers!("proxy_grpc_stream");
    covers!(
        "proxy_on_tick",
        "proxy_on_grpc_receive_initial_metadata",
        "proxy_on_grpc_receive",
        "proxy_on_grpc_trailing_metadata",
        "proxy_on_grpc_close",
        "proxy_get_buffer_bytes",
        "proxy_get_status",
        "proxy_grpc_close",
        "proxy_grpc_send"
    );
    let mut guest = Guest::new();
    let (call, message) = (grpc_call(&mut guest, true), guest.text("hi"));
    let id = "(i32.load (i32.const 200))";
    let send =
        |end| format!("(call $say (call $proxy_grpc_send {id} {message} (i32.const {end})))");
    let close = format!("(call $say (call $proxy_grpc_close {id}))");
    let show = format!(
        "(call $say_and_show (call $proxy_get_buffer_bytes (i32.const 5) (i32.const 0) (i32.const 9) {OUT}))"
    );
    let status = format!("(call $say_and_show (call $proxy_get_status (i32.const 8) {OUT}))");
    let on_close = format!("{status} (call $say (i32.load (i32.const 8))) {}", send(0));
    let guest = guest
        .on(
            "proxy_on_tick",
            &[call, send(0), send(1), close].concat(),
            0,
        )
        .announces("proxy_on_grpc_receive_initial_metadata", 0)
        .on("proxy_on_grpc_receive", &show, 0)
        .announces("proxy_on_grpc_trailing_metadata", 0)
        .on("proxy_on_grpc_close", &on_close, 0);
    let (vm, recorder) = guest.start();
    vm.on_tick().unwrap();
    assert_eq!(recorder.lines().concat(), "0000");
    let id = recorder.calls.borrow()[0];
    let expected = [(id, b"hi".to_vec(), false), (id, b"hi".to_vec(), true)];
    assert_eq!(*recorder.sent.borrow(), expected);
    vm.on_callout(id, CalloutEvent::GrpcInitialMetadata(Headers::new()))
        .unwrap();
    vm.on_callout(id, CalloutEvent::GrpcMessage(b"one".to_vec()))
        .unwrap();
    vm.on_callout(id, CalloutEvent::GrpcMessage(b"two".to_vec()))
        .unwrap();
    vm.on_callout(id, CalloutEvent::GrpcTrailingMetadata(Headers::new()))
        .unwrap();
    vm.on_callout(
        id,
        CalloutEvent::GrpcClosed {
            status: 5,
            message: "no".to_owned(),
        },
    )
    .unwrap();
    assert_eq!(
        recorder.lines()[4..],
        [
            "proxy_on_grpc_receive_initial_metadata",
            "0",
            "one",
            "0",
            "two",
            "proxy_on_grpc_trailing_metadata",
            "0",
            "no",
            "5",
            "1"
        ]
    );
}

#[test]
fn a_cancelled_call_is_heard_of_no_more() {
    covers!("proxy_grpc_call");
    covers!("proxy_on_tick", "proxy_on_grpc_close", "proxy_grpc_cancel");
    let mut guest = Guest::new();
    let call = grpc_call(&mut guest, false);
    let cancel = "(call $say (call $proxy_grpc_cancel (i32.load (i32.const 200))))";
    let body = [&*call, cancel, cancel].concat();
    let guest = guest
        .on("proxy_on_tick", &body, 0)
        .announces("proxy_on_grpc_close", 0);
    let (vm, recorder) = guest.start_with(PluginConfig::default());
    vm.on_tick().unwrap();
    let id = recorder.calls.borrow()[0];
    assert_eq!(*recorder.cancelled.borrow(), [id]);
    vm.on_callout(
        id,
        CalloutEvent::GrpcClosed {
            status: 1,
            message: String::new(),
        },
    )
    .unwrap();
    assert_eq!(recorder.lines().concat(), "001");
}

#[test]
fn trailing_metadata_comes_under_the_name_of_the_specification_as_well() {
    covers!(
        "proxy_on_grpc_receive_trailing_metadata",
        "proxy_get_header_map_pairs",
        "proxy_grpc_stream"
    );
    let mut guest = Guest::new();
    let call = grpc_call(&mut guest, true);
    let read = format!(
        "(call $say (local.get 2))
         (call $say (call $proxy_get_header_map_pairs (i32.const 5) {OUT}))
         (call $say (i32.sub (i32.load (i32.const 4)) (i32.const 16)))"
    );
    let (vm, recorder) = guest
        .on("proxy_on_tick", &call, 0)
        .on("proxy_on_grpc_receive_trailing_metadata", &read, 0)
        .start();
    vm.on_tick().unwrap();
    let id = recorder.calls.borrow()[0];
    let metadata: Headers = [("a", "b")].into_iter().collect();
    vm.on_callout(id, CalloutEvent::GrpcTrailingMetadata(metadata))
        .unwrap();
    assert_eq!(recorder.lines().concat(), "0100");
}

#[test]
fn a_response_that_broke_off_has_no_headers_and_a_status_that_says_so() {
    covers!(
        "proxy_http_call",
        "proxy_get_status",
        "proxy_on_http_call_response"
    );
    let mut guest = Guest::new();
    let call = http_call(&mut guest, &REQUEST);
    let status = format!(
        "(call $say (local.get 2))
         (call $say_and_show (call $proxy_get_status (i32.const 8) {OUT}))
         (call $say (i32.sub (i32.load (i32.const 8)) (i32.const 10)))"
    );
    let (vm, recorder) = guest
        .on("proxy_on_tick", &call, 0)
        .on("proxy_on_http_call_response", &status, 0)
        .start();
    vm.on_tick().unwrap();
    let id = recorder.calls.borrow()[0];
    let reset = CalloutEvent::HttpResponse {
        headers: Headers::new(),
        body: Vec::new(),
        trailers: Headers::new(),
    };
    vm.on_callout(id, reset).unwrap();
    assert_eq!(recorder.lines().join(" "), "0 0 0 reset 1");
}

#[test]
fn closing_a_unary_call_cancels_it() {
    covers!("proxy_grpc_call", "proxy_grpc_close");
    let mut guest = Guest::new();
    let call = grpc_call(&mut guest, false);
    let close = "(call $say (call $proxy_grpc_close (i32.load (i32.const 200))))";
    let body = [&*call, close, close].concat();
    let (vm, recorder) = guest.on("proxy_on_tick", &body, 0).start();
    vm.on_tick().unwrap();
    assert_eq!(recorder.lines().concat(), "001");
    assert_eq!(*recorder.cancelled.borrow(), *recorder.calls.borrow());
}

#[test]
fn messages_and_bodies_of_callouts_are_bounded() {
    covers!(
        "proxy_http_call",
        "proxy_grpc_call",
        "proxy_grpc_send",
        "proxy_grpc_stream"
    );
    let mut guest = Guest::new();
    let calls = http_call(&mut guest, &REQUEST) + &grpc_call(&mut guest, true);
    let message = guest.text("hello");
    let send = format!(
        "(call $say (call $proxy_grpc_send (i32.load (i32.const 200)) {message} (i32.const 0)))"
    );
    let limits = Limits {
        body_bytes: 3,
        ..Limits::default()
    };
    let (vm, recorder) = guest
        .on("proxy_on_tick", &(calls + &send), 0)
        .start_with(limited(limits));
    vm.on_tick().unwrap();
    assert_eq!(recorder.lines().concat(), "202");
    assert_eq!(*recorder.notices.borrow(), [Notice::CallRefused; 2]);
    assert!(recorder.sent.borrow().is_empty());
}
