//! `header-rewrite`.

use super::support::{Exchange, Filter, refuses};

const CONFIG: &str = r#"{"rules": [
    {"when": {"path": [{"prefix": "/api"}], "headers": [{"name": "x-tier", "exact": "gold"}]},
     "request": {"rename": [{"from": "x-old", "to": "x-new"}], "remove": ["x-debug"],
                 "set": [{"name": "x-caller", "value": "%{peer.namespace}/%{source.ip}"}, {"name": ":path", "value": "/v2%{request.path}"}],
                 "append": [{"name": "x-list", "value": "c"}]}},
    {"when": {"path": [{"prefix": "/api"}]}, "answer": {"status": ["5xx"]},
     "response": {"set": [{"name": "x-failed", "value": "%{response.status} for %{request.header.x-id|nobody}"}], "remove": ["server"]}}]}"#;

#[test]
fn rules_rewrite_what_meets_their_conditions() {
    let filter = Filter::start("header-rewrite", CONFIG);
    let exchange = filter.pass(
        Exchange::get("/api/x")
            .with("x-tier", "silver")
            .with("x-tier", "gold")
            .with("x-old", "1")
            .with("x-old", "2")
            .with("x-debug", "1")
            .with("x-caller", "forged")
            .with("x-list", "a")
            .with("x-list", "b")
            .answering(":status", "503")
            .knowing("source.address", "10.0.0.1:1")
            .called_by("spiffe://td/ns/shop/sa/web"),
    );
    for (name, value) in [
        (":path", Some("/v2/api/x")),
        ("x-old", None),
        ("x-new", Some("1 | 2")),
        ("x-debug", None),
        ("x-caller", Some("shop/10.0.0.1")),
        ("x-list", Some("a, b, c")),
    ] {
        assert_eq!(exchange.request(name).as_deref(), value, "{name}");
    }
    assert_eq!(
        exchange.response("x-failed").as_deref(),
        Some("503 for nobody")
    );
    assert_eq!(exchange.response("server"), None);
}

#[test]
fn what_meets_no_condition_stays_as_it_is() {
    let filter = Filter::start("header-rewrite", CONFIG);
    for exchange in [
        Exchange::get("/").with("x-tier", "gold"),
        Exchange::get("/api/x"),
    ] {
        let before = exchange.request.clone();
        let after = filter.pass(exchange);
        assert_eq!(after.request, before);
        assert_eq!(after.response("server").as_deref(), Some("app"));
    }
}

#[test]
fn a_configuration_of_add_header_does_the_same_in_both() {
    let config = r#"{"request": {"set": [{"name": "X-Team", "value": "shop"}], "remove": ["x-debug"]},
                     "response": {"set": [{"name": "server", "value": "cairn"}], "add": [{"name": "x-by", "value": "a"}, {"name": "x-by", "value": "b"}]}}"#;
    let run = |name| {
        let filter = Filter::start(name, config);
        let exchange = filter.pass(Exchange::get("/").with("x-debug", "1"));
        (exchange.request, exchange.response)
    };
    assert_eq!(run("add-header"), run("header-rewrite"));
}

#[test]
fn an_answer_of_another_filter_is_rewritten_too() {
    let filter = Filter::start("header-rewrite", CONFIG);
    let mut exchange = Exchange::get("/api/x").answering(":status", "500");
    let mut stream = filter.vm.new_stream();
    let _ = stream.on_response_headers(&mut exchange, true);
    assert_eq!(
        exchange.response("x-failed").as_deref(),
        Some("500 for nobody")
    );
}

#[test]
fn bytes_that_are_no_text_are_carried_along() {
    let config = r#"{"request": {"copy": [{"from": "x-raw", "to": "x-copy"}], "set": [{"name": "x-made", "value": "<%{request.header.x-raw}>"}]}}"#;
    let filter = Filter::start("header-rewrite", config);
    let exchange = filter.pass(
        Exchange::get(b"/\xff")
            .with("x-raw", b"\xfe\xff")
            .with("x-made", "forged"),
    );
    assert_eq!(
        exchange
            .request
            .iter()
            .filter(|(_, value)| *value == b"\xfe\xff")
            .count(),
        2
    );
    assert_eq!(
        exchange.request("x-made"),
        None,
        "no value any reader agrees on"
    );
}

#[test]
fn a_mistake_is_told_with_its_field() {
    for (config, says) in [
        (
            r#"{"rules": [{"request": {"set": [{"name": "a b", "value": ""}]}}]}"#,
            "`rules[0].request.set[0].name` is \"a b\"; allowed is the name of a header",
        ),
        (
            r#"{"request": {"set": [{"name": "a", "value": "%{nope}"}]}}"#,
            "`request.set[0].value` is \"%{nope}\"; `%{nope}` is unknown; allowed are",
        ),
        (
            r#"{"respons": {}}"#,
            "the configuration has an unknown field `respons`; allowed are request, response, rules",
        ),
        ("{", "the configuration is not valid JSON: "),
    ] {
        refuses("header-rewrite", config, says);
    }
}
