//! `cel-rules`.

use super::support::{Exchange, Filter, refuses, text};

const CONFIG: &str = r#"{"rules": [
    {"name": "health", "if": "request.url_path == '/health'", "then": "allow"},
    {"name": "odd", "if": "request.method in ['TRACE', 'GET'] && request.headers.get('x-odd', '') != ''", "then": "log"},
    {"name": "admin", "if": "request.url_path.startsWith('/admin/') && peer.namespace != 'ops'", "then": "deny",
     "status": 404, "body": "nothing here\n", "headers": [{"name": "x-why", "value": "admin"}]},
    {"name": "net", "if": "!source.ip.inCidr('10.0.0.0/8')", "then": "deny"}],
  "otherwise": "allow"}"#;

fn inside(path: &str) -> Exchange {
    Exchange::get(path).knowing("source.address", "10.1.2.3:4")
}

#[test]
fn requests_are_allowed_denied_and_logged() {
    let filter = Filter::start("cel-rules", CONFIG);
    filter.pass(Exchange::get("/health"));
    filter.pass(inside("/"));
    filter.pass(inside("/admin/x").called_by("spiffe://td/ns/ops/sa/a"));
    filter.pass(inside("/odd").with("x-odd", "1"));
    assert!(
        filter
            .proxy
            .has_line(r#"Info rule "odd" holds for "GET" "/odd""#)
    );

    let admin = filter.denied(inside("/admin/x").called_by("spiffe://td/ns/shop/sa/a"));
    assert_eq!((admin.status, &*admin.body), (404, &b"nothing here\n"[..]));
    assert_eq!(text(&admin.headers, "x-why").as_deref(), Some("admin"));
    assert_eq!(filter.denied(Exchange::get("/")).status, 403);
}

#[test]
fn deny_by_path_can_be_said_in_cel() {
    let config = r#"{"rules": [{"if": "request.url_path == '/metrics' || request.url_path == '/admin' || request.url_path.startsWith('/admin/')", "then": "deny"}], "otherwise": "allow"}"#;
    let (new, old) = (
        Filter::start("cel-rules", config),
        Filter::start(
            "deny-by-path",
            r#"{"paths": [{"prefix": "/admin"}, {"exact": "/metrics"}]}"#,
        ),
    );
    for path in ["/admin", "/admin/users?x=1", "/metrics", "/metrics?x"] {
        assert_eq!(
            new.denied(Exchange::get(path)),
            old.denied(Exchange::get(path)),
            "{path}"
        );
    }
    for path in ["/", "/administrator", "/metrics/all", "/shop?next=/admin"] {
        new.pass(Exchange::get(path));
        old.pass(Exchange::get(path));
    }
}

#[test]
fn what_has_no_value_denies_and_the_filter_lives_on() {
    let config = r#"{"rules": [{"name": "r", "if": "request.headers['x-a'] == '1'", "then": "allow"}], "otherwise": "allow"}"#;
    let filter = Filter::start("cel-rules", config);
    assert_eq!(filter.denied(Exchange::get(b"/\xff")).status, 403);
    let warned = r#"Warn rule "r" has no value for "GET" "/�": no such key"#;
    assert!(filter.proxy.has_line(warned), "{:?}", filter.proxy.lines);
    filter.pass(Exchange::get("/").with("x-a", b"\xff"));
    filter.pass(Exchange::get("/").with("x-a", "1"));
}

#[test]
fn the_dearest_rule_stays_within_the_budget_of_a_callback() {
    let dear = "request.headers.all(a, request.headers.all(b, (a + b + a + b + a + b + a + b).size() > 0))";
    let config = format!(
        r#"{{"rules": [{{"if": "{dear}", "then": "allow"}}], "otherwise": "allow", "maxSteps": 50000}}"#
    );
    let filter = Filter::start("cel-rules", &config);
    let mut exchange = Exchange::get("/");
    for n in 0..200 {
        exchange = exchange.with(&format!("x-{n}-{}", "n".repeat(200)), "v");
    }
    assert_eq!(filter.denied(exchange).status, 403);
    assert!(filter.vm.trap().is_none());
    filter.pass(Exchange::get("/"));
}

#[test]
fn the_deepest_expression_fits_the_stack() {
    let deep = vec!["1"; 60].join(" + ");
    let brackets = format!("{}true{}", "(".repeat(60), ")".repeat(60));
    let config = format!(
        r#"{{"rules": [{{"if": "{deep} == 60 && {brackets}", "then": "deny"}}], "otherwise": "allow"}}"#
    );
    let filter = Filter::start("cel-rules", &config);
    assert_eq!(filter.denied(Exchange::get("/")).status, 403);
    let deeper = vec!["1"; 200].join(" + ");
    let config = format!(
        r#"{{"rules": [{{"if": "{deeper} == 1", "then": "deny"}}], "otherwise": "allow"}}"#
    );
    refuses("cel-rules", &config, "`rules[0].if` is ");
}

#[test]
fn a_mistake_is_told_with_its_field() {
    for (config, says) in [
        (
            r#"{"rules": [{"if": "request.pth == '/'", "then": "deny"}], "otherwise": "allow"}"#,
            "`rules[0].if` is \"request.pth == '/'\"; `request.pth` is unknown; allowed are request.headers, request.host",
        ),
        (
            r#"{"rules": [{"if": "1 +", "then": "deny"}], "otherwise": "allow"}"#,
            "`rules[0].if` is \"1 +\"; it is not CEL: ",
        ),
        (
            r#"{"rules": [{"if": "true", "then": "deny"}]}"#,
            "the configuration needs the field `otherwise`",
        ),
    ] {
        refuses("cel-rules", config, says);
    }
}
