use super::said;
use crate::reference::covers;
use crate::testing::{Exchange, Guest, OUT, limited};
use crate::{Limits, Notice, Outcome, Pause};

fn read(start: i64, max: i64) -> String {
    format!(
        "(call $say_and_show (call $proxy_get_buffer_bytes (i32.const 0) (i32.const {start}) (i32.const {max}) {OUT}))"
    )
}

fn write(guest: &mut Guest, start: i64, size: i64, with: &str) -> String {
    let with = guest.text(with);
    format!(
        "(call $say (call $proxy_set_buffer_bytes (i32.const 0) (i32.const {start}) (i32.const {size}) {with}))"
    )
}

/// Runs the request body callback on `body` and returns what became of it, and the lines.
fn run(guest: Guest, code: &str, body: &str) -> (String, String) {
    let (vm, recorder) = guest.on("proxy_on_request_body", code, 0).start();
    let mut exchange = Exchange {
        request_body: Some(body.into()),
        ..Exchange::get("/")
    };
    let outcome = vm.new_stream().on_request_body(&mut exchange, true);
    assert!(matches!(outcome, Outcome::Continue), "{outcome:?}");
    (
        String::from_utf8(exchange.request_body.unwrap()).unwrap(),
        said(&recorder.lines()),
    )
}

#[test]
fn windows_are_clamped_to_the_body() {
    let code = [
        read(0, 99),
        read(1, 3),
        read(5, 1),
        read(99, 1),
        read(0, 0),
        read(2, -1),
        read(-1, -1),
    ]
    .concat();
    assert_eq!(
        run(Guest::new(), &code, "hello").1,
        "0 hello 0 ell 0  0  0  0 llo 0 "
    );
}

#[test]
fn every_splice_is_done() {
    for (start, size, with, expected) in [
        (0, 0, "pre-", "pre-hello"),
        (0, 2, "J", "Jllo"),
        (0, 5, "all", "all"),
        (0, -1, "all", "all"),
        (5, 0, "-post", "hello-post"),
        (-1, -1, "-post", "hello-post"),
        (2, 2, "LL", "heLLo"),
        (3, -1, "p", "help"),
        (1, 3, "", "ho"),
    ] {
        let mut guest = Guest::new();
        let code = write(&mut guest, start, size, with);
        let (body, lines) = run(guest, &code, "hello");
        assert_eq!(
            (body.as_str(), lines.as_str()),
            (expected, "0"),
            "{start} {size} {with}"
        );
    }
}

#[test]
fn size_and_end_of_stream_are_told() {
    covers!("proxy_get_buffer_status");
    let code = "(call $say (local.get 1)) (call $say (local.get 2))
        (call $say (call $proxy_get_buffer_status (i32.const 0) (i32.const 0) (i32.const 4)))
        (call $say (i32.load (i32.const 0))) (call $say (i32.load (i32.const 4)))";
    assert_eq!(run(Guest::new(), code, "hello").1, "5 1 0 5 0");
}

#[test]
fn a_body_that_is_not_there_has_no_bytes_and_takes_none() {
    covers!("proxy_on_request_headers");
    let mut guest = Guest::new();
    let code = read(0, 9) + &write(&mut guest, 0, 0, "x");
    let (vm, recorder) = guest.on("proxy_on_request_headers", &code, 0).start();
    let _ = vm
        .new_stream()
        .on_request_headers(&mut Exchange::get("/"), true);
    assert_eq!(said(&recorder.lines()), "0  0");
    assert_eq!(*recorder.notices.borrow(), [Notice::WriteIgnored]);
}

#[test]
fn other_buffers_are_found_only_where_they_are() {
    covers!("proxy_get_buffer_bytes", "proxy_get_buffer_status");
    let code = |buffer: i32| {
        format!(
            "(call $say (call $proxy_get_buffer_bytes (i32.const {buffer}) (i32.const 0) (i32.const 9) {OUT}))
             (call $say (call $proxy_get_buffer_status (i32.const {buffer}) {OUT}))"
        )
    };
    let all: String = (1..=9).map(code).collect();
    assert_eq!(
        run(Guest::new(), &all, "").1,
        "0 0 0 0 0 0 1 1 1 1 0 0 1 1 1 1 2 2"
    );
}

#[test]
fn too_large_a_write_is_an_error_rather_than_a_body_left_as_it_was() {
    covers!("proxy_on_request_body");
    let mut guest = Guest::new();
    let code = write(&mut guest, 0, -1, "12345678");
    let guest = guest.on("proxy_on_request_body", &code, 0);
    let (vm, recorder) = guest.start_with(limited(Limits {
        body_bytes: 7,
        ..Limits::default()
    }));
    let mut exchange = Exchange {
        request_body: Some(Vec::new()),
        ..Exchange::get("/")
    };
    let _ = vm.new_stream().on_request_body(&mut exchange, true);
    assert_eq!(said(&recorder.lines()), "2");
}

#[test]
fn pausing_in_a_body_callback_buffers() {
    covers!("proxy_on_response_body");
    for (value, pause) in [(1, Pause::Buffer), (2, Pause::Stop), (3, Pause::Discard)] {
        let (vm, _) = Guest::new().on("proxy_on_response_body", "", value).start();
        let mut exchange = Exchange {
            response_body: Some(b"x".to_vec()),
            ..Exchange::get("/")
        };
        let outcome = vm.new_stream().on_response_body(&mut exchange, false);
        assert!(
            matches!(outcome, Outcome::Pause(p) if p == pause),
            "{outcome:?}"
        );
    }
}

#[test]
fn a_large_body_passes_through_guest_memory_whole() {
    covers!("proxy_get_buffer_bytes", "proxy_set_buffer_bytes");
    let code = format!(
        "(call $say (call $proxy_get_buffer_bytes (i32.const 0) (i32.const 0) (i32.const -1) {OUT}))
         (call $say (call $proxy_set_buffer_bytes (i32.const 0) (i32.const 0) (i32.const -1)
           (i32.load (i32.const 0)) (i32.load (i32.const 4))))"
    );
    let body = "0123456789".repeat(6000);
    assert_eq!(run(Guest::new(), &code, &body), (body, "0 0".to_owned()));
}
