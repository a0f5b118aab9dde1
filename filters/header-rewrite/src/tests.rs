use kit::fake::Fake;

use super::*;

fn run(config: &str, fake: &Fake) {
    let config = Config::parse(config.as_bytes()).unwrap();
    let chosen = config.choose(fake);
    config.on_request(&chosen, fake);
    config.on_response(&chosen, fake);
}

fn request(fake: &Fake, name: &str) -> Option<String> {
    fake.shown(Side::Request, name)
}

fn response(fake: &Fake, name: &str) -> Option<String> {
    fake.shown(Side::Response, name)
}

#[test]
fn a_configuration_of_add_header_works_unchanged() {
    let fake = Fake::get("/")
        .with("x-debug", "1")
        .answering("server", "app");
    run(
        r#"{"request": {"set": [{"name": "X-Team", "value": "shop"}], "remove": ["x-debug"]},
            "response": {"set": [{"name": "server", "value": "cairn"}],
                         "add": [{"name": "x-by", "value": "a"}, {"name": "x-by", "value": "b"}]}}"#,
        &fake,
    );
    assert_eq!(request(&fake, "x-team").as_deref(), Some("shop"));
    assert_eq!(request(&fake, "x-debug"), None);
    assert_eq!(response(&fake, "server").as_deref(), Some("cairn"));
    assert_eq!(response(&fake, "x-by").as_deref(), Some("a | b"));
}

#[test]
fn edits_come_in_their_order_and_see_each_other() {
    let fake = Fake::get("/p")
        .with("a", "1")
        .with("a", "2")
        .with("list", "x")
        .with("list", "y");
    run(
        r#"{"rules": [{"request": {
             "rename": [{"from": "a", "to": "b"}],
             "copy": [{"from": "b", "to": "c"}, {"from": ":path", "to": "was"}],
             "remove": ["b"],
             "set": [{"name": "d", "value": "<%{request.header.c}>"}, {"name": ":path", "value": "/new"}],
             "append": [{"name": "list", "value": "z"}, {"name": "fresh", "value": "v", "separator": ";"}],
             "add": [{"name": "c", "value": "3"}]}},
           {"request": {"set": [{"name": "e", "value": "%{request.path} %{request.header.d}"}]}}]}"#,
        &fake,
    );
    for (name, value) in [
        ("a", None),
        ("b", None),
        ("c", Some("1 | 2 | 3")),
        ("d", Some("<1>")),
        ("was", Some("/p")),
        (":path", Some("/new")),
        ("list", Some("x, y, z")),
        ("fresh", Some("v")),
        ("e", Some("/new <1>")),
    ] {
        assert_eq!(request(&fake, name).as_deref(), value, "{name}");
    }
}

#[test]
fn a_value_that_cannot_be_made_leaves_no_header_of_the_client() {
    let config = r#"{"request": {"set": [{"name": "x-caller", "value": "%{peer}"},
                                         {"name": ":path", "value": "%{request.header.none}"}],
                                 "append": [{"name": "x-list", "value": "%{peer}"}]}}"#;
    let fake = Fake::get("/p")
        .with("x-caller", "forged")
        .with("x-list", "a");
    run(config, &fake);
    assert_eq!(request(&fake, "x-caller"), None);
    assert_eq!(request(&fake, "x-list").as_deref(), Some("a"));
    assert_eq!(request(&fake, ":path").as_deref(), Some("/p"));
}

#[test]
fn conditions_look_at_the_request_as_it_came() {
    let config = r#"{"rules": [
        {"when": {"path": [{"prefix": "/a"}]}, "request": {"set": [{"name": ":path", "value": "/b"}]}},
        {"when": {"path": [{"prefix": "/a"}]}, "response": {"set": [{"name": "x-a", "value": "1"}]}},
        {"when": {"path": [{"prefix": "/b"}]}, "response": {"set": [{"name": "x-b", "value": "1"}]}}]}"#;
    let fake = Fake::get("/a");
    run(config, &fake);
    assert_eq!(request(&fake, ":path").as_deref(), Some("/b"));
    assert_eq!(
        (
            response(&fake, "x-a").is_some(),
            response(&fake, "x-b").is_some()
        ),
        (true, false)
    );
}

#[test]
fn conditions_on_the_answer_hold_for_the_response() {
    let config = r#"{"rules": [
        {"answer": {"status": ["5xx", 404]}, "response": {"set": [{"name": "x-bad", "value": "%{response.status}"}]}},
        {"answer": {"headers": [{"name": "content-type", "contains": "html"}]}, "response": {"add": [{"name": "x-html", "value": "1"}]}}]}"#;
    for (status, bad) in [("503", true), ("404", true), ("200", false)] {
        let fake = Fake::get("/")
            .answering(":status", status)
            .answering("content-type", "text/html");
        run(config, &fake);
        assert_eq!(response(&fake, "x-bad").is_some(), bad, "{status}");
        assert!(response(&fake, "x-html").is_some());
    }
}

#[test]
fn mistakes_name_the_field() {
    for (config, says) in [
        (
            r#"{"respons": {}}"#,
            "the configuration has an unknown field `respons`; allowed are request, response, rules",
        ),
        (
            r#"{"rules": [], "x": 1}"#,
            "the configuration has an unknown field `x`",
        ),
        (
            r#"{"rules": [{}]}"#,
            "`rules[0]` changes nothing; it needs `request` or `response`",
        ),
        (
            r#"{"rules": [{"request": {}}], "request": {}}"#,
            "the configuration has `rules` beside",
        ),
        (
            r#"{"rules": [{"answer": {"status": ["6xx"]}, "response": {}}]}"#,
            "`rules[0].answer.status[0]` is \"6xx\"; allowed is a status",
        ),
        (
            r#"{"request": {"set": [{"name": "a b", "value": ""}]}}"#,
            "`request.set[0].name` is \"a b\"; allowed is the name of a header",
        ),
        (
            r#"{"request": {"set": [{"name": "a"}]}}"#,
            "`request.set[0]` needs the field `value`",
        ),
        (
            r#"{"request": {"set": [{"name": "a", "value": "%{x}"}]}}"#,
            "`request.set[0].value` is \"%{x}\"; `%{x}` is unknown; allowed are",
        ),
        (
            r#"{"request": {"set": [{"name": "a", "value": "x\r\ny: z"}]}}"#,
            "`request.set[0].value` is \"x\\r\\ny: z\"; allowed is visible ASCII",
        ),
        (
            r#"{"request": {"set": [{"name": ":status", "value": "1"}]}}"#,
            "`request.set[0].name` is \":status\"; allowed is of pseudo-headers",
        ),
        (
            r#"{"request": {"remove": ["Content-Length"]}}"#,
            "`request.remove[0]` is \"Content-Length\"; allowed is any header but",
        ),
        (
            r#"{"request": {"remove": [":path"]}}"#,
            "`request.remove[0]` is \":path\"; allowed is the name",
        ),
        (
            r#"{"request": {"rename": [{"from": ":path", "to": "b"}]}}"#,
            "`request.rename[0].from` is",
        ),
        (
            r#"{"request": {"copy": [{"from": "b", "to": "B"}]}}"#,
            "`request.copy[0]` is",
        ),
    ] {
        let error = Config::parse(config.as_bytes()).unwrap_err();
        assert!(error.starts_with(says), "{config}: {error}");
    }
}
