use http::{HeaderName, Request, Version};
use mesh::path::Normalization;
use uuid::Uuid;

use super::{answer, head};
use crate::http::error::Kind;
use crate::http::head::Head;

const ID: &str = "7f9c24e8-3b12-4fef-91e0-56a2d5a2a5ec";

fn clean(
    method: &str,
    target: &str,
    version: Version,
    headers: &[(&str, &str)],
) -> Result<Head, Kind> {
    let mut request = Request::builder()
        .method(method)
        .uri(target)
        .version(version);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let (parts, ()) = request.body(()).unwrap().into_parts();
    let client = "10.0.0.7".parse().unwrap();
    let id = || Uuid::parse_str(ID).unwrap();
    head(parts, Normalization::Base, client, id).map_err(|error| error.kind)
}

fn http1(target: &str, headers: &[(&str, &str)]) -> Result<Head, Kind> {
    clean("GET", target, Version::HTTP_11, headers)
}

fn kept(headers: &[(&str, &str)]) -> Head {
    let host = [("host", "a")];
    let all: Vec<_> = host.into_iter().chain(headers.iter().copied()).collect();
    http1("/", &all).unwrap()
}

fn value<'h>(head: &'h Head, name: &str) -> Option<&'h str> {
    head.headers.get(name).map(|value| value.to_str().unwrap())
}

#[test]
fn a_request_names_exactly_one_host() {
    for (target, headers, host) in [
        ("/", &[("host", "a.example:80")][..], Some("a.example:80")),
        (
            "http://a.example/x",
            &[("host", "a.example")],
            Some("a.example"),
        ),
        (
            "http://a.example/x",
            &[("host", "A.EXAMPLE")],
            Some("a.example"),
        ),
        ("http://a.example/x", &[], Some("a.example")),
        ("/", &[("host", "[fd00::1]:80")], Some("[fd00::1]:80")),
        ("http://a.example/x", &[("host", "b.example")], None),
        ("/", &[], None),
        ("/", &[("host", "a"), ("host", "a")], None),
        ("/", &[("host", "a,b")], None),
        ("/", &[("host", "user@a")], None),
        ("/", &[("host", "a/b")], None),
        ("/", &[("host", "a b")], None),
        ("/", &[("host", "")], None),
        ("/", &[("host", "a%2eb")], None),
        ("http://user@a/x", &[], None),
        ("a.example:80", &[("host", "a.example:80")], None),
    ] {
        let found = http1(target, headers).map(|head| head.host().to_owned());
        assert_eq!(found.ok().as_deref(), host, "{target} {headers:?}");
    }
    let old = clean("GET", "/", Version::HTTP_10, &[]).unwrap();
    assert_eq!(old.host(), "");
}

#[test]
fn authority_and_host_must_agree_over_http2() {
    let two = |headers| clean("GET", "http://a/x", Version::HTTP_2, headers);
    assert_eq!(two(&[]).unwrap().host(), "a");
    assert!(two(&[("host", "a")]).unwrap().headers.get("host").is_none());
    assert!(matches!(two(&[("host", "b")]), Err(Kind::BadRequest(_))));
}

#[test]
fn paths_are_normalised_and_queries_are_not() {
    let head = http1("/a/../b?x=/../y", &[("host", "a")]).unwrap();
    assert_eq!(head.target, "/b?x=/../y");
    assert!(matches!(
        http1("/%zz", &[("host", "a")]),
        Err(Kind::BadRequest(_))
    ));
    assert!(matches!(
        http1("/a%00", &[("host", "a")]),
        Err(Kind::BadRequest(_))
    ));
    let long = format!("/{}", "a".repeat(9000));
    assert_eq!(http1(&long, &[("host", "a")]).unwrap_err(), Kind::TooLarge);
}

#[test]
fn a_target_begins_with_a_slash_also_where_the_client_left_it_out() {
    for (target, clean) in [
        ("http://a?x=1", "/?x=1"),
        ("http://a", "/"),
        ("http://a/?x=1", "/?x=1"),
    ] {
        let head = http1(target, &[("host", "a")]).unwrap();
        assert_eq!(head.target.as_str(), clean, "{target}");
    }
}

#[test]
fn a_request_has_one_id_however_many_it_came_with() {
    let other = "00000000-0000-4000-8000-000000000000";
    for (ids, kept) in [([ID, other], ID), ([other, ID], other), (["x", other], ID)] {
        let head = http1(
            "/",
            &[
                ("host", "a"),
                ("x-request-id", ids[0]),
                ("x-request-id", ids[1]),
            ],
        )
        .unwrap();
        let all: Vec<_> = head.headers.get_all("x-request-id").iter().collect();
        assert_eq!(all, [kept], "{ids:?}");
    }
}

#[test]
fn only_options_may_ask_for_the_server_itself() {
    let star = |method| clean(method, "*", Version::HTTP_11, &[("host", "a")]);
    assert_eq!(star("OPTIONS").unwrap().target, "*");
    assert!(matches!(star("GET"), Err(Kind::BadRequest(_))));
}

#[test]
fn connect_and_strange_expectations_are_refused() {
    let connect = clean("CONNECT", "a:80", Version::HTTP_11, &[("host", "a:80")]);
    assert!(matches!(connect, Err(Kind::BadRequest(_))));
    let expects = |value| http1("/", &[("host", "a"), ("expect", value)]);
    assert!(expects("100-Continue").is_ok());
    assert_eq!(expects("cake").unwrap_err(), Kind::Expectation);
}

#[test]
fn headers_are_counted() {
    let many: Vec<_> = std::iter::repeat_n(("x", "y"), 101).collect();
    assert_eq!(http1("/", &many).unwrap_err(), Kind::TooLarge);
}

#[test]
fn what_concerns_the_connection_does_not_pass() {
    let head = kept(&[
        ("connection", "close, x-mine, Authorization, x-request-id"),
        ("x-mine", "1"),
        ("x-other", "2"),
        ("authorization", "secret"),
        ("keep-alive", "timeout=5"),
        ("proxy-authorization", "x"),
        ("upgrade", "h2c"),
        ("http2-settings", "x"),
        ("te", "gzip"),
    ]);
    for name in [
        "connection",
        "x-mine",
        "keep-alive",
        "proxy-authorization",
        "upgrade",
        "te",
    ] {
        assert_eq!(value(&head, name), None, "{name}");
    }
    assert_eq!(value(&head, "x-other"), Some("2"));
    // A client must not be able to name our own fields away.
    assert_eq!(value(&head, "authorization"), Some("secret"));
    assert_eq!(value(&head, "x-request-id"), Some(ID));
    assert!(!head.websocket);
    assert_eq!(value(&kept(&[("te", "trailers")]), "te"), Some("trailers"));
}

#[test]
fn websockets_are_recognised() {
    let upgrade =
        |connection, upgrade| kept(&[("connection", connection), ("upgrade", upgrade)]).websocket;
    assert!(upgrade("keep-alive, Upgrade", "WebSocket"));
    assert!(!upgrade("keep-alive", "websocket"));
    assert!(!upgrade("upgrade", "h2c"));
    // Not a proper upgrade, but the strict reader has stopped reading requests.
    let improper = kept(&[("upgrade", "websocket")]);
    assert!(!improper.websocket && improper.last);
}

#[test]
fn what_only_a_proxy_may_say_does_not_pass() {
    let head = kept(&[
        ("x-envoy-original-path", "/admin"),
        ("x-istio-source", "gateway"),
        ("x-forwarded-client-cert", "URI=spiffe://x"),
        ("x-forwarded-network", "n"),
        ("x_forwarded_for", "1.2.3.4"),
        ("x_envoy_x", "1"),
        ("x_mine", "stays"),
        ("x-forwarded-proto", "https"),
    ]);
    let left: Vec<_> = head.headers.keys().map(HeaderName::as_str).collect();
    for name in [
        "x-envoy-original-path",
        "x-istio-source",
        "x-forwarded-client-cert",
    ] {
        assert!(!left.contains(&name), "{left:?}");
    }
    assert!(
        !left
            .iter()
            .any(|name| *name == "x_forwarded_for" || *name == "x_envoy_x")
    );
    assert_eq!(value(&head, "x_mine"), Some("stays"));
    assert_eq!(value(&head, "x-forwarded-proto"), Some("http"));
}

#[test]
fn the_client_is_added_to_those_it_was_forwarded_for() {
    assert_eq!(value(&kept(&[]), "x-forwarded-for"), Some("10.0.0.7"));
    let head = kept(&[
        ("x-forwarded-for", "1.1.1.1"),
        ("x-forwarded-for", "2.2.2.2"),
    ]);
    assert_eq!(
        value(&head, "x-forwarded-for"),
        Some("1.1.1.1, 2.2.2.2, 10.0.0.7")
    );
    assert_eq!(value(&kept(&[]), "forwarded"), None);
    let head = kept(&[("forwarded", "for=1.1.1.1")]);
    assert_eq!(value(&head, "forwarded"), Some("for=1.1.1.1, for=10.0.0.7"));
}

#[test]
fn every_request_has_an_id_and_keeps_a_good_one() {
    assert_eq!(value(&kept(&[]), "x-request-id"), Some(ID));
    assert_eq!(
        value(&kept(&[("x-request-id", "junk")]), "x-request-id"),
        Some(ID)
    );
    let own = "00000000-0000-4000-8000-000000000001";
    assert_eq!(
        value(&kept(&[("x-request-id", own)]), "x-request-id"),
        Some(own)
    );
}

#[test]
fn a_trace_context_passes_only_when_it_is_one() {
    let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    for (parent, passes) in [
        (good, true),
        (
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            true,
        ),
        (
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            false,
        ),
        (
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            false,
        ),
        (
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            false,
        ),
        (
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            false,
        ),
        (
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            false,
        ),
        ("00-4bf92f35-00f067aa0ba902b7-01", false),
        ("junk", false),
    ] {
        let head = kept(&[("traceparent", parent), ("tracestate", "a=b")]);
        assert_eq!(value(&head, "traceparent").is_some(), passes, "{parent}");
        assert_eq!(value(&head, "tracestate").is_some(), passes, "{parent}");
    }
    assert_eq!(
        value(
            &kept(&[("traceparent", good), ("traceparent", good)]),
            "traceparent"
        ),
        None
    );
    let long = "a".repeat(600);
    let head = kept(&[("traceparent", good), ("tracestate", &long)]);
    assert_eq!(value(&head, "traceparent"), Some(good));
    assert_eq!(value(&head, "tracestate"), None);
}

#[test]
fn crumbs_of_cookies_become_one() {
    let crumbs = [("cookie", "a=1"), ("cookie", "b=2")];
    let head = clean("GET", "http://a/", Version::HTTP_2, &crumbs).unwrap();
    assert_eq!(value(&head, "cookie"), Some("a=1; b=2"));
    assert_eq!(head.headers.get_all("cookie").iter().count(), 1);
}

#[test]
fn answers_lose_what_concerns_their_connection() {
    let mut headers = http::HeaderMap::new();
    for (name, value) in [
        ("connection", "close, x-mine"),
        ("x-mine", "1"),
        ("keep-alive", "x"),
        ("transfer-encoding", "chunked"),
        ("x-envoy-upstream-service-time", "3"),
        ("server", "echo"),
    ] {
        headers.insert(name, value.parse().unwrap());
    }
    answer(&mut headers).unwrap();
    let left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
    assert_eq!(left, ["server"]);
    headers.insert("transfer-encoding", "gzip".parse().unwrap());
    assert_eq!(answer(&mut headers).unwrap_err().kind, Kind::Protocol);
}
