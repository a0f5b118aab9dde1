//! `api-key`.

use std::time::Duration;

use wasm_host::{CallRefused, Outcome, Pause};

use super::support::{Exchange, Filter, answered, refuses, response, resumed, text};

/// Of the key `test`.
const TEST: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

fn local() -> Filter {
    let config = format!(
        r#"{{"from": [{{"header": "x-api-key"}}, {{"query": "api_key"}}, {{"cookie": "key"}}], "keys": [{{"id": "mobile", "sha256": "{TEST}"}}],
            "consumerHeader": "x-consumer", "except": [{{"path": [{{"exact": "/health"}}]}}], "deny": {{"body": "no\n"}}}}"#
    );
    Filter::start("api-key", &config)
}

fn remote(more: &str) -> Filter {
    let config = format!(
        r#"{{"service": {{"upstream": "outbound|80||keys.auth.svc.cluster.local", "host": "keys.auth", "path": "/check", "timeoutMilliseconds": 500 {more}}},
            "consumerHeader": "x-consumer"}}"#
    );
    Filter::start("api-key", &config)
}

fn with_key(key: &str) -> Exchange {
    Exchange::get("/")
        .with("x-api-key", key)
        .with("x-consumer", "forged")
}

#[test]
fn a_known_key_goes_through_wherever_it_stands_and_does_not_stay() {
    let filter = local();
    for exchange in [
        with_key("test"),
        Exchange::get("/?a=1&api_key=test"),
        Exchange::get("/").with("cookie", "a=1; key=test"),
    ] {
        let exchange = filter.pass(exchange);
        assert_eq!(exchange.request("x-consumer").as_deref(), Some("mobile"));
        assert!(
            !exchange
                .request
                .iter()
                .any(|(_, value)| value.windows(4).any(|w| w == b"test")),
            "{exchange:?}"
        );
    }
    assert_eq!(
        filter
            .pass(Exchange::get("/health").with("x-consumer", "forged"))
            .request("x-consumer"),
        None
    );
}

#[test]
fn every_other_request_is_denied() {
    let filter = local();
    for exchange in [
        Exchange::get("/"),
        with_key("Test"),
        with_key(""),
        with_key(TEST),
        with_key("test").with("x-api-key", "other"),
        Exchange::get("/?api_key=test").with("x-api-key", "other"),
        Exchange::get("/").with("x-api-key", b"\xff"),
    ] {
        let answer = filter.denied(exchange);
        assert_eq!((answer.status, &*answer.body), (401, &b"no\n"[..]));
        assert_eq!(
            text(&answer.headers, "www-authenticate").as_deref(),
            Some("ApiKey")
        );
    }
    assert!(filter.vm.trap().is_none());
}

#[test]
fn a_key_of_the_service_is_asked_about_once_and_remembered() {
    let filter = remote("");
    let (mut exchange, mut stream) = (with_key("other"), filter.vm.new_stream());
    let outcome = stream.on_request_headers(&mut exchange, false);
    assert!(
        matches!(outcome, Outcome::Pause(Pause::Stop)),
        "{outcome:?}"
    );
    assert_eq!(
        exchange.request("x-api-key"),
        None,
        "gone before anybody is asked"
    );

    let call = filter.proxy.call();
    assert_eq!(call.upstream, "outbound|80||keys.auth.svc.cluster.local");
    assert_eq!(
        (call.stream, call.timeout),
        (Some(stream.id()), Duration::from_millis(500))
    );
    let sent = |name| text(&call.headers, name);
    assert_eq!(sent(":path").as_deref(), Some("/check"));
    assert_eq!(sent(":authority").as_deref(), Some("keys.auth"));
    assert_eq!(sent("x-api-key-sha256").map(|hash| hash.len()), Some(64));
    assert!(!format!("{:?}", call.headers).contains("other"));

    stream
        .on_callout(&mut exchange, call.id, response("200", r#"{"id": "jo"}"#))
        .unwrap();
    resumed(&mut stream);
    assert_eq!(exchange.request("x-consumer").as_deref(), Some("jo"));
    stream.finish(&mut exchange).unwrap();

    let again = filter.pass(with_key("other"));
    assert_eq!(again.request("x-consumer").as_deref(), Some("jo"));
    assert!(filter.proxy.calls.borrow().is_empty(), "from memory");
}

#[test]
fn a_key_the_service_does_not_know_is_denied_and_remembered() {
    let filter = remote("");
    let (mut exchange, mut stream) = (with_key("bad"), filter.vm.new_stream());
    let _ = stream.on_request_headers(&mut exchange, true);
    let call = filter.proxy.call();
    stream
        .on_callout(&mut exchange, call.id, response("404", ""))
        .unwrap();
    assert_eq!(answered(&mut stream).status, 401);
    assert_eq!(filter.denied(with_key("bad")).status, 401);
    assert!(filter.proxy.calls.borrow().is_empty());
}

#[test]
fn nothing_goes_through_when_the_service_cannot_say() {
    let filter = remote("");
    for status in ["503", "504", "302", "200"] {
        let (mut exchange, mut stream) =
            (with_key(&format!("key {status}")), filter.vm.new_stream());
        let _ = stream.on_request_headers(&mut exchange, true);
        let call = filter.proxy.call();
        // A name no header can hold is no answer either.
        stream
            .on_callout(
                &mut exchange,
                call.id,
                response(status, r#"{"id": "a\nb"}"#),
            )
            .unwrap();
        let answer = answered(&mut stream);
        assert_eq!(answer.status, 503, "{status}");
        assert_eq!(text(&answer.headers, "retry-after").as_deref(), Some("1"));
    }
    for why in [CallRefused::UnknownUpstream, CallRefused::Unsupported] {
        filter.proxy.refuse.set(Some(why));
        assert_eq!(filter.denied(with_key("x")).status, 503);
    }
    assert!(filter.vm.trap().is_none());
}

#[test]
fn memory_can_be_switched_off() {
    let filter = remote(r#", "cacheSeconds": 0"#);
    for _ in 0..2 {
        let (mut exchange, mut stream) = (with_key("other"), filter.vm.new_stream());
        let _ = stream.on_request_headers(&mut exchange, true);
        let call = filter.proxy.call();
        stream
            .on_callout(&mut exchange, call.id, response("200", ""))
            .unwrap();
        resumed(&mut stream);
    }
}

#[test]
fn a_caller_that_leaves_while_its_key_is_asked_about_is_forgotten() {
    let filter = remote("");
    let (mut exchange, mut stream) = (with_key("other"), filter.vm.new_stream());
    let _ = stream.on_request_headers(&mut exchange, true);
    drop(stream);
    assert_eq!(filter.vm.streams(), 0);
    assert!(filter.vm.trap().is_none());
}

#[test]
fn a_mistake_is_told_with_its_field_and_without_the_key() {
    refuses(
        "api-key",
        "",
        "the configuration knows no key; it needs `keys` or `service`",
    );
    refuses(
        "api-key",
        r#"{"keys": [{"id": "a", "sha256": "my-secret"}]}"#,
        "`keys[0].sha256` is not valid; allowed is 64 hexadecimal digits",
    );
}
