//! `audit-log`.

use std::time::Duration;

use wasm_host::{CallRefused, Value};

use super::support::{Exchange, Filter, refuses, response, text};

const SHIP: &str = r#"{"ship": {"upstream": "logs", "host": "logs.example", "path": "/v1", "batch": 3, "queue": 5, "attempts": 2, "everyMilliseconds": 250}}"#;

/// What was written to the log, without the time.
fn lines(filter: &Filter) -> Vec<String> {
    let lines = filter.proxy.lines.borrow();
    let lines = lines
        .iter()
        .filter_map(|line| line.strip_prefix("Info {\"time\":\""));
    lines
        .map(|line| line.split_once("Z\",").unwrap().1.to_owned())
        .collect()
}

#[test]
fn a_request_leaves_one_line_of_json() {
    let config = r#"{"requestHeaders": ["authorization", "user-agent"], "static": {"cluster": "west"}, "query": "names",
                     "when": {"not": {"path": [{"prefix": "/health"}]}}}"#;
    let filter = Filter::start("audit-log", config);
    filter.pass(
        Exchange::get("/orders?card=4111")
            .with("authorization", "Bearer secret")
            .with("user-agent", b"cu\xffrl")
            .with("x-request-id", "id-1")
            .answering(":status", "403")
            .called_by("spiffe://td/ns/shop/sa/web")
            .knowing("source.address", "10.0.0.1:5")
            .knowing("response.code_details", "rbac_access_denied")
            .knowing(
                "request.duration",
                Value::Duration(Duration::from_micros(1500)),
            ),
    );
    filter.pass(Exchange::get("/health"));
    let lines = lines(&filter);
    assert_eq!(lines.len(), 1);
    assert_eq!(
        lines[0],
        r#""cluster":"west","peer":"spiffe://td/ns/shop/sa/web","peer_namespace":"shop","source":"10.0.0.1:5","id":"id-1","method":"GET","host":"shop","path":"/orders","query":"card","status":403,"decision":"rbac_access_denied","duration_ms":1.500,"request_headers":{"authorization":"[hidden]","user-agent":"cu�rl"}}"#
    );
}

#[test]
fn samples_leave_out_none_that_are_always_wanted() {
    let filter = Filter::start("audit-log", r#"{"samplePercent": 0, "always": ["5xx"]}"#);
    for status in ["200", "500", "404", "503"] {
        filter.pass(Exchange::get("/").answering(":status", status));
    }
    let lines_written = lines(&filter);
    let found = |status: &str| {
        lines_written
            .iter()
            .any(|line| line.contains(&format!("\"status\":{status}")))
    };
    assert!(
        lines_written.len() == 2 && found("500") && found("503"),
        "{lines_written:?}"
    );
    let half = Filter::start("audit-log", r#"{"samplePercent": 50}"#);
    for _ in 0..100 {
        half.pass(Exchange::get("/"));
    }
    let written = lines(&half).len();
    assert!((20..=80).contains(&written), "{written}");
}

#[test]
fn lines_are_sent_in_batches_by_the_timer() {
    let filter = Filter::start("audit-log", SHIP);
    assert_eq!(filter.proxy.period.get(), Some(Duration::from_millis(250)));
    filter.vm.on_tick().unwrap();
    assert!(filter.proxy.calls.borrow().is_empty(), "nothing to send");
    for n in 0..7 {
        filter.pass(Exchange::get(format!("/{n}")));
    }
    assert!(lines(&filter).is_empty(), "not in the log as well");
    assert_eq!(filter.proxy.metric("audit_log_lines_dropped"), 2);
    filter.vm.on_tick().unwrap();
    let call = filter.proxy.call();
    assert_eq!((call.upstream.as_str(), call.stream), ("logs", None));
    assert_eq!(
        text(&call.headers, "content-type").as_deref(),
        Some("application/x-ndjson")
    );
    assert_eq!(call.body.split(|b| *b == b'\n').count() - 1, 3);
    filter.vm.on_tick().unwrap();
    assert!(filter.proxy.calls.borrow().is_empty(), "one at a time");

    filter.vm.on_callout(call.id, response("503", "")).unwrap();
    filter.vm.on_tick().unwrap();
    let again = filter.proxy.call();
    assert_eq!(again.body, call.body, "the same once more");
    filter.vm.on_callout(again.id, response("202", "")).unwrap();
    assert_eq!(filter.proxy.metric("audit_log_lines_sent"), 3);

    filter.vm.on_tick().unwrap();
    let rest = filter.proxy.call();
    assert_eq!(rest.body.split(|b| *b == b'\n').count() - 1, 2);
    for _ in 0..2 {
        filter.vm.on_callout(rest.id, response("500", "")).unwrap();
    }
    assert_eq!(filter.proxy.metric("audit_log_calls_failed"), 2);

    // The next line tells what was lost before it.
    filter.pass(Exchange::get("/"));
    filter.vm.on_tick().unwrap();
    let resent = filter.proxy.call();
    assert_eq!(resent.body, rest.body);
    filter
        .vm
        .on_callout(resent.id, response("500", ""))
        .unwrap();
    assert_eq!(filter.proxy.metric("audit_log_lines_dropped"), 4);
    filter.vm.on_tick().unwrap();
    let told = String::from_utf8(filter.proxy.call().body).unwrap();
    assert!(told.contains(r#""lines_dropped":2"#), "{told}");
}

#[test]
fn a_service_that_cannot_be_called_loses_lines_but_no_request() {
    let filter = Filter::start("audit-log", SHIP);
    filter.proxy.refuse.set(Some(CallRefused::UnknownUpstream));
    for _ in 0..20 {
        filter.pass(Exchange::get("/"));
        filter.vm.on_tick().unwrap();
    }
    assert!(filter.proxy.metric("audit_log_lines_dropped") >= 10);
    assert!(filter.vm.trap().is_none());
}

#[test]
fn lines_that_wait_are_sent_before_the_plugin_goes() {
    let filter = Filter::start("audit-log", SHIP);
    for _ in 0..5 {
        filter.pass(Exchange::get("/"));
    }
    assert!(!filter.vm.stop().unwrap(), "it asks for time");
    let first = filter.proxy.call();
    filter.vm.on_callout(first.id, response("200", "")).unwrap();
    let second = filter.proxy.call();
    assert!(!filter.vm.stop().unwrap());
    filter
        .vm
        .on_callout(second.id, response("200", ""))
        .unwrap();
    assert!(filter.vm.stop().unwrap());
    assert_eq!(filter.proxy.metric("audit_log_lines_sent"), 5);
}

#[test]
fn a_mistake_is_told_with_its_field() {
    refuses(
        "audit-log",
        r#"{"ship": {"upstream": "u"}}"#,
        "`ship` needs the field `host`",
    );
    refuses(
        "audit-log",
        r#"{"query": 1}"#,
        r#"`query` is 1; allowed is "drop" or "names" or "keep""#,
    );
}
