//! What a guest's decision means for the stream.

use crate::reference::covers;
use std::fmt::Write as _;

use crate::testing::{Exchange, Guest, Recorder, limited};
use crate::{
    Direction, HeaderMap as _, Headers, Limits, LocalResponse, Notice, Outcome, Pause, Pending,
    PluginConfig,
};

fn request(guest: &Guest) -> (Outcome, std::rc::Rc<Recorder>) {
    let (vm, recorder) = guest.start();
    (
        vm.new_stream()
            .on_request_headers(&mut Exchange::get("/"), true),
        recorder,
    )
}

/// A call that answers with `status`, `body` and serialised headers.
fn answer(
    guest: &mut Guest,
    status: i32,
    body: &str,
    headers: &[(&str, &str)],
    grpc: i32,
) -> String {
    let mut serialised = Vec::new();
    let pairs = headers
        .iter()
        .map(|(name, value)| (name.as_bytes(), value.as_bytes()));
    crate::pairs::write(&mut serialised, pairs);
    let (details, body, headers) = (
        guest.text("by a test"),
        guest.text(body),
        guest.bytes(&serialised),
    );
    format!(
        "(call $say (call $proxy_send_local_response
           (i32.const {status}) {details} {body} {headers} (i32.const {grpc})))"
    )
}

#[track_caller]
fn local(outcome: Outcome) -> LocalResponse {
    match outcome {
        Outcome::LocalResponse(response) => *response,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_values_callbacks_return_decide() {
    covers!("proxy_on_request_headers");
    for (value, expected) in [
        (0, None),
        (1, Some(Pause::Stop)),
        (3, Some(Pause::Buffer)),
        (9, Some(Pause::Stop)),
    ] {
        let (outcome, _) = request(&Guest::new().on("proxy_on_request_headers", "", value));
        match (outcome, expected) {
            (Outcome::Continue, None) => {}
            (Outcome::Pause(pause), Some(expected)) if pause == expected => {}
            (other, expected) => panic!("{value}: {other:?} instead of {expected:?}"),
        }
    }
}

#[test]
fn bodies_may_flow_while_headers_wait_if_the_plugin_is_configured_so() {
    covers!("proxy_on_request_headers");
    let guest = Guest::new().on("proxy_on_request_headers", "", 1);
    let (vm, _) = guest.start_with(PluginConfig {
        body_while_headers_wait: true,
        ..PluginConfig::default()
    });
    let outcome = vm
        .new_stream()
        .on_request_headers(&mut Exchange::get("/"), false);
    assert!(
        matches!(outcome, Outcome::Pause(Pause::HoldHeaders)),
        "{outcome:?}"
    );
}

#[test]
fn an_answer_overrides_what_the_callback_returns_and_the_first_one_counts() {
    covers!("proxy_on_request_headers");
    for returned in [0, 1] {
        let mut guest = Guest::new();
        let first = answer(&mut guest, 403, "no", &[("X-Why", "because")], 7);
        let second = answer(&mut guest, 200, "yes", &[], -1);
        let (outcome, recorder) =
            request(&guest.on("proxy_on_request_headers", &(first + &second), returned));
        let response = local(outcome);
        assert_eq!((response.status, &*response.body), (403, &b"no"[..]));
        assert_eq!(
            (response.grpc_status, &*response.details),
            (Some(7), "by_a_test")
        );
        let headers: Headers = [("x-why", "because"), ("content-type", "text/plain")]
            .into_iter()
            .collect();
        assert_eq!(response.headers, headers);
        assert_eq!(recorder.lines(), ["id-1: 0", "id-1: 0"]);
    }
}

#[test]
fn an_answer_without_a_body_has_no_content_type() {
    covers!("proxy_on_request_headers");
    let mut guest = Guest::new();
    let body = answer(&mut guest, 204, "", &[], -1);
    let response = local(request(&guest.on("proxy_on_request_headers", &body, 1)).0);
    assert!(response.headers.is_empty());
    assert_eq!(response.grpc_status, None);
}

#[test]
fn an_answer_cannot_smuggle_another_one() {
    covers!("proxy_on_request_headers");
    let mut guest = Guest::new();
    let headers = [
        ("content-length", "0"),
        ("transfer-encoding", "chunked"),
        (":status", "200"),
        ("a", "1\r\nb: 2"),
        ("c d", "3"),
        ("content-type", "text/html"),
    ];
    let body = answer(&mut guest, 403, "no", &headers, -1);
    let (outcome, recorder) = request(&guest.on("proxy_on_request_headers", &body, 1));
    assert_eq!(
        local(outcome).headers,
        [("content-type", "text/html")].into_iter().collect()
    );
    assert_eq!(*recorder.notices.borrow(), [Notice::HeaderRefused; 3]);
}

#[test]
fn an_answer_no_response_can_be_becomes_a_500_and_never_lets_the_request_through() {
    covers!("proxy_on_request_headers");
    for status in [0, 99, 101, 600, 65_736, -1] {
        let mut guest = Guest::new();
        let body = answer(&mut guest, status, "x", &[], -1);
        let (outcome, recorder) = request(&guest.on("proxy_on_request_headers", &body, 0));
        let response = local(outcome);
        assert_eq!((response.status, response.body.len()), (500, 0), "{status}");
        assert_eq!(*recorder.notices.borrow(), [Notice::LocalResponseReplaced]);
    }
}

#[test]
fn the_body_of_an_answer_is_bounded() {
    covers!("proxy_on_request_headers");
    let mut guest = Guest::new();
    let body = answer(&mut guest, 403, "too long", &[], -1);
    let guest = guest.on("proxy_on_request_headers", &body, 0);
    let (vm, _) = guest.start_with(limited(Limits {
        body_bytes: 7,
        ..Limits::default()
    }));
    let response = local(
        vm.new_stream()
            .on_request_headers(&mut Exchange::get("/"), true),
    );
    assert_eq!((response.status, response.body.len()), (500, 0));
}

#[test]
fn responses_can_be_replaced_too() {
    covers!("proxy_on_response_headers");
    let mut guest = Guest::new();
    let body = answer(&mut guest, 502, "replaced", &[], -1);
    let (vm, _) = guest.on("proxy_on_response_headers", &body, 0).start();
    let outcome = vm
        .new_stream()
        .on_response_headers(&mut Exchange::get("/").answered("200"), false);
    assert_eq!(local(outcome).status, 502);
}

#[test]
fn resuming_in_the_callback_that_stops_goes_on() {
    covers!(
        "proxy_on_request_headers",
        "proxy_continue_request",
        "proxy_continue_stream"
    );
    let resume = "(call $say (call $proxy_continue_stream (i32.const 0)))";
    let (outcome, _) = request(&Guest::new().on("proxy_on_request_headers", resume, 1));
    assert!(matches!(outcome, Outcome::Continue), "{outcome:?}");
    // The old name does the same.
    let resume = "(call $say (call $proxy_continue_request))";
    let (outcome, _) = request(&Guest::new().on("proxy_on_request_headers", resume, 1));
    assert!(matches!(outcome, Outcome::Continue), "{outcome:?}");
}

#[test]
fn resuming_the_other_direction_is_pending() {
    covers!("proxy_on_response_headers", "proxy_continue_stream");
    let resume = "(call $say (call $proxy_continue_stream (i32.const 0)))";
    let (vm, _) = Guest::new()
        .on("proxy_on_response_headers", resume, 0)
        .start();
    let mut stream = vm.new_stream();
    let _ = stream.on_response_headers(&mut Exchange::get("/").answered("200"), false);
    assert!(matches!(
        stream.pending(),
        Some(Pending::Resume(Direction::Request))
    ));
    assert!(stream.pending().is_none());
}

#[test]
fn closing_resets() {
    covers!("proxy_on_request_headers", "proxy_close_stream");
    for kind in [0, 1] {
        let close = format!("(call $say (call $proxy_close_stream (i32.const {kind})))");
        let (outcome, _) = request(&Guest::new().on("proxy_on_request_headers", &close, 0));
        assert!(matches!(outcome, Outcome::Reset), "{outcome:?}");
    }
}

#[test]
fn kinds_of_streams_are_checked_as_sdks_expect() {
    covers!(
        "proxy_on_request_headers",
        "proxy_close_stream",
        "proxy_continue_stream"
    );
    let mut body = String::new();
    for function in ["proxy_continue_stream", "proxy_close_stream"] {
        for kind in [2, 3, 4, -1] {
            write!(body, "(call $say (call ${function} (i32.const {kind})))").unwrap();
        }
    }
    let (outcome, recorder) = request(&Guest::new().on("proxy_on_request_headers", &body, 0));
    assert!(matches!(outcome, Outcome::Continue));
    assert_eq!(recorder.lines().concat().replace("id-1: ", ""), "00220022");
}

#[test]
fn a_timer_acts_on_a_stream_by_choosing_its_context() {
    covers!(
        "proxy_on_tick",
        "proxy_on_request_headers",
        "proxy_continue_stream",
        "proxy_set_effective_context"
    );
    let mut guest = Guest::new();
    let answer = answer(&mut guest, 503, "late", &[], -1);
    let choose =
        |id: i32| format!("(call $say (call $proxy_set_effective_context (i32.const {id})))");
    let resume = "(call $say (call $proxy_continue_stream (i32.const 0)))";
    let tick = [
        choose(2),
        resume.to_owned(),
        choose(3),
        answer,
        choose(99),
        choose(0),
        choose(1),
    ]
    .concat();
    let guest = guest
        .on("proxy_on_request_headers", "", 1)
        .on("proxy_on_tick", &tick, 0);
    let (vm, recorder) = guest.start();
    let mut streams = [vm.new_stream(), vm.new_stream()];
    for stream in &mut streams {
        let outcome = stream.on_request_headers(&mut Exchange::get("/"), true);
        assert!(matches!(outcome, Outcome::Pause(Pause::Stop)));
        assert!(stream.pending().is_none());
    }
    vm.on_tick().unwrap();
    assert_eq!(recorder.lines().concat(), "0000220");
    assert_eq!(*recorder.woken.borrow(), [streams[0].id(), streams[1].id()]);
    assert!(matches!(
        streams[0].pending(),
        Some(Pending::Resume(Direction::Request))
    ));
    assert!(
        matches!(streams[1].pending(), Some(Pending::LocalResponse(response)) if response.status == 503)
    );
    assert!(streams[1].pending().is_none());
}

#[test]
fn contexts_of_streams_that_are_gone_or_unknown_cannot_be_chosen() {
    covers!(
        "proxy_on_tick",
        "proxy_on_request_headers",
        "proxy_set_effective_context"
    );
    let choose = "(call $say (call $proxy_set_effective_context (i32.const 2)))";
    let guest = Guest::new()
        .on("proxy_on_request_headers", "", 0)
        .on("proxy_on_tick", choose, 0);
    let (vm, recorder) = guest.start();
    let mut stream = vm.new_stream();
    vm.on_tick().unwrap();
    let _ = stream.on_request_headers(&mut Exchange::get("/"), true);
    vm.on_tick().unwrap();
    drop(stream);
    vm.on_tick().unwrap();
    assert_eq!(recorder.lines(), ["2", "0", "2"]);
}

#[test]
fn nothing_can_be_done_to_a_stream_that_has_ended() {
    covers!("proxy_on_log", "proxy_replace_header_map_value");
    let mut guest = Guest::new();
    let (key, value) = (guest.text("x-late"), guest.text("1"));
    let answer = answer(&mut guest, 403, "no", &[], -1);
    let write =
        format!("(call $say (call $proxy_replace_header_map_value (i32.const 0) {key} {value}))");
    let (vm, recorder) = guest.on("proxy_on_log", &(answer + &write), 0).start();
    let mut exchange = Exchange::get("/");
    vm.new_stream().finish(&mut exchange).unwrap();
    assert_eq!(recorder.lines(), ["id-1: 0", "id-1: 0"]);
    assert_eq!(
        *recorder.notices.borrow(),
        [Notice::StreamActionIgnored, Notice::WriteIgnored]
    );
    assert_eq!(exchange.request_header("x-late"), None);
}

#[test]
fn an_answer_from_the_root_context_is_told_and_ignored() {
    covers!("proxy_on_tick");
    let mut guest = Guest::new();
    let body = answer(&mut guest, 403, "no", &[], -1);
    let (vm, recorder) = guest.on("proxy_on_tick", &body, 0).start();
    vm.on_tick().unwrap();
    assert_eq!(recorder.lines(), ["0"]);
    assert_eq!(*recorder.notices.borrow(), [Notice::StreamActionIgnored]);
}

#[test]
fn a_timer_looks_at_the_stream_it_chooses_if_the_proxy_lends_it() {
    covers!(
        "proxy_on_tick",
        "proxy_set_effective_context",
        "proxy_get_header_map_value",
        "proxy_replace_header_map_value"
    );
    let mut guest = Guest::new();
    let (path, name) = (guest.text(":path"), guest.text("x-late"));
    let choose = |id: i32| {
        format!(
            "(call $say (call $proxy_set_effective_context (i32.const {id})))
             (call $say_and_show (call $proxy_get_header_map_value
               (i32.const 0) {path} (i32.const 0) (i32.const 4)))
             (call $say (call $proxy_replace_header_map_value (i32.const 0) {name} {name}))"
        )
    };
    let body = choose(2) + &choose(3) + &choose(1);
    let (vm, recorder) = guest
        .on("proxy_on_request_headers", "", 1)
        .on("proxy_on_tick", &body, 0)
        .start();
    let (mut one, mut two) = (vm.new_stream(), vm.new_stream());
    let _ = one.on_request_headers(&mut Exchange::get("/"), true);
    let _ = two.on_request_headers(&mut Exchange::get("/"), true);
    recorder
        .loans
        .borrow_mut()
        .push((one.id(), Exchange::get("/one")));
    vm.on_tick().unwrap();
    // The other one is not lent, and the root has no headers.
    let lines: Vec<_> = recorder.lines();
    let lines: Vec<_> = lines
        .iter()
        .map(|l| l.trim_start_matches("id-1: "))
        .collect();
    assert_eq!(lines.join(" "), "0 0 /one 0 0 1 0 0 1 0");
    assert_eq!(*recorder.notices.borrow(), [Notice::WriteIgnored; 2]);
    let back = recorder.given_back.borrow();
    assert_eq!(back.len(), 1);
    assert_eq!(back[0].request_header("x-late").as_deref(), Some("x-late"));
}
