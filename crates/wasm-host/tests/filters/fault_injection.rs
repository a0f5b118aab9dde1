//! `fault-injection`.

use std::time::{Duration, Instant};

use wasm_host::{Direction, HttpStream, Outcome, Pause, Pending};

use super::support::{Exchange, Filter, refuses};

/// Runs the timer until the filter did something to a stream; its clock is the real one.
#[track_caller]
fn wait(filter: &Filter, stream: &mut HttpStream) -> Pending {
    let begin = Instant::now();
    loop {
        filter.vm.on_tick().unwrap();
        if let Some(pending) = stream.pending() {
            return pending;
        }
        assert!(
            begin.elapsed() < Duration::from_secs(20),
            "it waits for ever"
        );
        std::thread::yield_now();
    }
}

#[test]
fn an_abort_answers_by_http_or_grpc() {
    let config = r#"{"rules": [
        {"when": {"path": [{"prefix": "/http"}]}, "abort": {"status": 503, "body": "injected\n"}},
        {"when": {"path": [{"prefix": "/grpc"}]}, "abort": {"grpcStatus": 14, "body": "injected"}}]}"#;
    let filter = Filter::start("fault-injection", config);
    let http = filter.denied(Exchange::get("/http"));
    assert_eq!(
        (http.status, &*http.body, http.grpc_status),
        (503, &b"injected\n"[..], None)
    );
    let grpc = filter.denied(Exchange::get("/grpc"));
    assert_eq!(
        (grpc.status, &*grpc.body, grpc.grpc_status),
        (200, &b"injected"[..], Some(14))
    );
    filter.pass(Exchange::get("/"));
    assert_eq!(filter.proxy.period.get(), None, "no timer without a delay");
}

#[test]
fn a_delayed_request_waits_for_the_timer_and_goes_on() {
    let config =
        r#"{"rules": [{"when": {"path": [{"exact": "/slow"}]}, "delay": {"milliseconds": 30}}]}"#;
    let filter = Filter::start("fault-injection", config);
    let (mut exchange, mut stream) = (Exchange::get("/slow"), filter.vm.new_stream());
    let begin = Instant::now();
    let outcome = stream.on_request_headers(&mut exchange, true);
    assert!(
        matches!(outcome, Outcome::Pause(Pause::Stop)),
        "{outcome:?}"
    );
    assert_eq!(filter.vm.tick_period(), Some(Duration::from_millis(10)));
    // Others are not held up.
    filter.pass(Exchange::get("/"));
    let pending = wait(&filter, &mut stream);
    assert!(
        matches!(pending, Pending::Resume(Direction::Request)),
        "{pending:?}"
    );
    assert!(begin.elapsed() >= Duration::from_millis(30));
    assert!(stream.pending().is_none());
    assert_eq!(filter.vm.tick_period(), None, "nothing waits any more");
    let response = stream.on_response_headers(&mut exchange, true);
    assert!(matches!(response, Outcome::Continue), "{response:?}");
    stream.finish(&mut exchange).unwrap();
}

#[test]
fn a_request_can_be_delayed_and_then_aborted() {
    let config = r#"{"rules": [{"delay": {"milliseconds": 5}, "abort": {"status": 500}}]}"#;
    let filter = Filter::start("fault-injection", config);
    let (mut exchange, mut stream) = (Exchange::get("/"), filter.vm.new_stream());
    let outcome = stream.on_request_headers(&mut exchange, true);
    assert!(matches!(outcome, Outcome::Pause(_)), "{outcome:?}");
    let Pending::LocalResponse(answer) = wait(&filter, &mut stream) else {
        panic!("no answer")
    };
    assert_eq!(answer.status, 500);
}

#[test]
fn a_caller_that_leaves_is_forgotten() {
    let filter = Filter::start(
        "fault-injection",
        r#"{"rules": [{"delay": {"milliseconds": 5}}]}"#,
    );
    let mut waiting: Vec<_> = (0..20)
        .map(|_| {
            let (mut exchange, mut stream) = (Exchange::get("/"), filter.vm.new_stream());
            let outcome = stream.on_request_headers(&mut exchange, true);
            assert!(matches!(outcome, Outcome::Pause(_)), "{outcome:?}");
            (stream, exchange)
        })
        .collect();
    let (mut last, mut exchange) = waiting.pop().unwrap();
    drop(waiting);
    let pending = wait(&filter, &mut last);
    assert!(
        matches!(pending, Pending::Resume(Direction::Request)),
        "{pending:?}"
    );
    assert_eq!((filter.vm.streams(), filter.vm.tick_period()), (1, None));
    assert!(filter.vm.trap().is_none());
    let response = last.on_response_headers(&mut exchange, true);
    assert!(matches!(response, Outcome::Continue), "{response:?}");
}

#[test]
fn no_more_wait_than_are_allowed_to() {
    let config = r#"{"rules": [{"delay": {"milliseconds": 60000}}], "maxWaiting": 2}"#;
    let filter = Filter::start("fault-injection", config);
    let mut waiting = Vec::new();
    for n in 0..4 {
        let (mut exchange, mut stream) = (Exchange::get("/"), filter.vm.new_stream());
        let outcome = stream.on_request_headers(&mut exchange, true);
        assert_eq!(
            matches!(outcome, Outcome::Pause(_)),
            n < 2,
            "{n}: {outcome:?}"
        );
        waiting.push(stream);
    }
}

#[test]
fn headers_choose_faults_only_where_that_is_configured() {
    let ask = || Exchange::get("/").with("x-abort", "418");
    let closed = Filter::start(
        "fault-injection",
        r#"{"rules": [{"when": {"path": [{"exact": "/x"}]}, "abort": {"status": 500}}]}"#,
    );
    assert!(closed.pass(ask()).request("x-abort").is_some());
    let open = Filter::start(
        "fault-injection",
        r#"{"headers": {"abort": "x-abort", "when": {"peer": [{"suffix": "/sa/tester"}]}}}"#,
    );
    assert_eq!(open.pass(ask()).request("x-abort"), None);
    assert_eq!(
        open.denied(ask().called_by("spiffe://td/ns/a/sa/tester"))
            .status,
        418
    );
}

#[test]
fn a_mistake_is_told_with_its_field() {
    refuses(
        "fault-injection",
        "",
        "the configuration injects nothing; it needs `rules` or `headers`",
    );
    refuses(
        "fault-injection",
        r#"{"rules": [{"abort": {"status": 99}}]}"#,
        "`rules[0].abort.status` is 99; allowed is a whole number from 200 to 599",
    );
}
