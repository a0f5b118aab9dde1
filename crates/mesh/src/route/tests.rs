//! Promises of routes, made through the messages a waypoint gets.

use std::sync::Arc;

use proto::cairn::waypoint as wire;
use proto::cairn::waypoint::{path_match, value_match};

use super::{Choice, Lost, Match, Route, Selection, Table};
use crate::address::NamespacedHostname;
use crate::request::Request;

mod convert;
mod filter;
mod oracle;

#[expect(clippy::unnecessary_wraps, reason = "the field is optional")]
pub(super) fn exact(path: &str) -> Option<wire::PathMatch> {
    Some(wire::PathMatch {
        kind: Some(path_match::Kind::Exact(path.to_owned())),
    })
}

#[expect(clippy::unnecessary_wraps, reason = "the field is optional")]
pub(super) fn prefix(path: &str) -> Option<wire::PathMatch> {
    Some(wire::PathMatch {
        kind: Some(path_match::Kind::Prefix(path.to_owned())),
    })
}

#[expect(clippy::unnecessary_wraps, reason = "the field is optional")]
pub(super) fn regex(path: &str) -> Option<wire::PathMatch> {
    Some(wire::PathMatch {
        kind: Some(path_match::Kind::Regex(path.to_owned())),
    })
}

pub(super) fn value(name: &str, value: &str) -> wire::ValueMatch {
    let kind = Some(value_match::Kind::Exact(value.to_owned()));
    wire::ValueMatch {
        name: name.to_owned(),
        kind,
    }
}

/// A rule that is named after nothing but its matches.
pub(super) fn rule(name: &str, matches: Vec<wire::RouteMatch>) -> wire::RouteRule {
    wire::RouteRule {
        name: name.to_owned(),
        matches,
        ..Default::default()
    }
}

/// A route for every port of `shop/cart.shop`.
pub(super) fn message(name: &str, rules: Vec<wire::RouteRule>) -> wire::Route {
    let service = wire::ServiceRef {
        namespace: "shop".into(),
        hostname: "cart.shop".into(),
    };
    wire::Route {
        origin: Some(wire::Origin {
            kind: "HTTPRoute".into(),
            namespace: "shop".into(),
            name: name.into(),
            ..Default::default()
        }),
        parents: vec![wire::RouteParent {
            service: Some(service),
            port: 0,
        }],
        rules,
        ..Default::default()
    }
}

fn table(routes: Vec<wire::Route>) -> Table {
    let routes: Vec<Arc<Route>> = routes
        .into_iter()
        .map(|route| Arc::new(route.try_into().unwrap()))
        .collect();
    Table::compile(&NamespacedHostname::new("shop", "cart.shop"), 80, &routes)
}

/// A request line with headers, `GET /a?b=c` and `x-name: value`.
fn with<T>(line: &str, headers: &[(&str, &str)], judge: impl FnOnce(&Request<'_>) -> T) -> T {
    let (method, target) = line.split_once(' ').unwrap();
    let (path, query) = crate::path::split_query(target);
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let headers: Vec<_> = headers.iter().map(owned).collect();
    judge(&Request {
        method,
        path,
        query,
        host: "cart.shop",
        headers: &headers,
    })
}

/// Names the rule a request falls under: its name, `404` or `endpoints`.
#[track_caller]
fn check(table: &Table, line: &str, headers: &[(&str, &str)], expected: &str) {
    let found = with(line, headers, |request| {
        match table.select(Some("web"), request) {
            Selection::Unrouted => "endpoints".to_owned(),
            Selection::NoMatch => "404".to_owned(),
            Selection::Rule(selected) => selected.rule.name.to_string(),
        }
    });
    assert_eq!(found, expected, "{line}");
}

fn path(path: Option<wire::PathMatch>) -> wire::RouteMatch {
    wire::RouteMatch {
        path,
        ..Default::default()
    }
}

#[test]
fn without_routes_requests_go_to_the_endpoints() {
    check(&Table::default(), "GET /", &[], "endpoints");
}

#[test]
fn with_a_route_what_it_does_not_match_is_not_found() {
    let table = table(vec![message("r", vec![rule("a", vec![path(exact("/a"))])])]);
    check(&table, "GET /a", &[], "a");
    check(&table, "GET /a/", &[], "404");
    check(&table, "GET /A", &[], "404");
}

#[test]
fn a_rule_without_matches_takes_everything() {
    let table = table(vec![message("r", vec![rule("all", vec![])])]);
    check(&table, "PURGE /any/thing?x", &[], "all");
    check(&table, "OPTIONS *", &[], "all");
}

#[test]
fn prefixes_match_by_element() {
    let table = table(vec![message(
        "r",
        vec![rule("abc", vec![path(prefix("/abc/"))])],
    )]);
    for (line, expected) in [
        ("GET /abc", "abc"),
        ("GET /abc/", "abc"),
        ("GET /abc/def", "abc"),
        ("GET /abcd", "404"),
        ("GET /ab", "404"),
        ("GET /x/abc", "404"),
    ] {
        check(&table, line, &[], expected);
    }
}

#[test]
fn exact_beats_longer_prefix_beats_shorter_beats_regex() {
    let table = table(vec![message(
        "r",
        vec![
            rule("regex", vec![path(regex("/a/b.*"))]),
            rule("root", vec![path(prefix("/"))]),
            rule("a", vec![path(prefix("/a"))]),
            rule("ab", vec![path(prefix("/a/b"))]),
            rule("exact", vec![path(exact("/a/b"))]),
        ],
    )]);
    check(&table, "GET /a/b", &[], "exact");
    check(&table, "GET /a/b/c", &[], "ab");
    check(&table, "GET /a/c", &[], "a");
    check(&table, "GET /c", &[], "root");
    check(&table, "GET /a/bc", &[], "a");
}

#[test]
fn regular_expressions_match_whole_paths_and_longer_ones_win() {
    let table = table(vec![message(
        "r",
        vec![
            rule("short", vec![path(regex("/v[0-9]+"))]),
            rule("long", vec![path(regex("/v[0-9]{1,3}"))]),
        ],
    )]);
    check(&table, "GET /v12", &[], "long");
    check(&table, "GET /v1234", &[], "short");
    check(&table, "GET /v1/x", &[], "404");
}

#[test]
fn the_host_is_matched_like_any_header() {
    let host = |host: &str| wire::RouteMatch {
        headers: vec![value("Host", host)],
        ..Default::default()
    };
    let rules = vec![
        rule("other", vec![host("other.shop")]),
        rule("own", vec![host("cart.shop")]),
    ];
    check(&table(vec![message("r", rules)]), "GET /", &[], "own");
}

#[test]
fn a_method_then_more_headers_then_more_parameters_win() {
    let a = || prefix("/a");
    let method = wire::RouteMatch {
        path: a(),
        method: "GET".to_owned(),
        ..Default::default()
    };
    let headers = wire::RouteMatch {
        path: a(),
        headers: vec![value("x-one", "1"), value("x-two", "2")],
        ..Default::default()
    };
    let parameters = wire::RouteMatch {
        path: a(),
        query_params: vec![value("one", "1"), value("two", "2")],
        ..Default::default()
    };
    let table = table(vec![message(
        "r",
        vec![
            rule("plain", vec![path(a())]),
            rule("parameters", vec![parameters]),
            rule("headers", vec![headers]),
            rule("method", vec![method]),
        ],
    )]);
    let both = [("X-One", "1"), ("x-two", "2")];
    check(&table, "GET /a?one=1&two=2", &both, "method");
    check(&table, "PUT /a?one=1&two=2", &both, "headers");
    check(&table, "PUT /a?two=2&one=1", &both[..1], "parameters");
    check(&table, "PUT /a?two=2", &[], "plain");
}

#[test]
fn ties_go_to_the_older_route_then_by_name_then_by_order() {
    let all = |name: &str| vec![rule(name, vec![]), rule("never", vec![])];
    let mut old = message("z", all("old"));
    old.origin.as_mut().unwrap().created_at = 5;
    let mut young = message("a", all("young"));
    young.origin.as_mut().unwrap().created_at = 9;
    check(&table(vec![young.clone(), old]), "GET /", &[], "old");
    let mut twin = message("b", all("twin"));
    twin.origin.as_mut().unwrap().created_at = 9;
    check(&table(vec![twin, young]), "GET /", &[], "young");
}

#[test]
fn header_lines_are_joined_and_values_are_case_sensitive() {
    let version = wire::RouteMatch {
        headers: vec![value("Version", "a,b")],
        ..Default::default()
    };
    let table = table(vec![message("r", vec![rule("ab", vec![version])])]);
    check(&table, "GET /", &[("version", "a"), ("VERSION", "b")], "ab");
    check(&table, "GET /", &[("version", "a,B")], "404");
    check(&table, "GET /", &[("version", "a")], "404");
}

#[test]
fn parameters_are_decoded_and_the_first_value_counts() {
    let found = wire::RouteMatch {
        query_params: vec![value("a b", "c/d")],
        ..Default::default()
    };
    let table = table(vec![message("r", vec![rule("hit", vec![found])])]);
    check(&table, "GET /?a%20b=c%2Fd", &[], "hit");
    check(&table, "GET /?x=1&a%20b=c/d", &[], "hit");
    check(&table, "GET /?a%20b=x&a%20b=c/d", &[], "404");
    check(&table, "GET /?A%20b=c/d", &[], "404");
}

#[test]
fn a_consumer_route_replaces_the_producers_for_its_namespace_alone() {
    let mut consumer = message("consumer", vec![rule("consumer", vec![path(exact("/a"))])]);
    consumer.client_namespace = "web".to_owned();
    let producer = message("producer", vec![rule("producer", vec![])]);
    let both = table(vec![consumer.clone(), producer]);
    check(&both, "GET /a", &[], "consumer");
    check(&both, "GET /b", &[], "404");
    let named = |namespace| {
        with("GET /a", &[], |request| {
            match both.select(namespace, request) {
                Selection::Rule(selected) => selected.to_string(),
                other => format!("{other:?}"),
            }
        })
    };
    assert_eq!(named(Some("other")), "shop/producer producer");
    assert_eq!(named(None), "shop/producer producer");
    // Clients of other namespaces see a service without routes.
    let alone = table(vec![consumer]);
    with("GET /a", &[], |request| {
        assert!(matches!(
            alone.select(Some("other"), request),
            Selection::Unrouted
        ));
    });
}

#[test]
fn a_route_applies_to_its_ports_alone() {
    let mut route = message("r", vec![rule("all", vec![])]);
    route.parents[0].port = 8080;
    check(&table(vec![route]), "GET /", &[], "endpoints");
}

#[test]
fn losers_say_why_they_lost() {
    let table = table(vec![message(
        "r",
        vec![
            rule("root", vec![]),
            rule("other", vec![path(exact("/b"))]),
            rule(
                "method",
                vec![wire::RouteMatch {
                    method: "PUT".into(),
                    ..Default::default()
                }],
            ),
            rule("a", vec![path(prefix("/a"))]),
        ],
    )]);
    let lost = with("GET /a", &[], |request| {
        let losers = table.losers(None, request);
        losers
            .iter()
            .map(|loser| (loser.rule.name.to_string(), loser.lost))
            .collect::<Vec<_>>()
    });
    let expected = [
        ("other".to_owned(), Lost::Mismatch("path")),
        ("method".to_owned(), Lost::Mismatch("method")),
        ("root".to_owned(), Lost::Outranked),
    ];
    assert_eq!(lost, expected);
}

fn backend(name: &str, weight: u32) -> wire::RouteBackend {
    let service = wire::ServiceRef {
        namespace: "shop".into(),
        hostname: name.into(),
    };
    wire::RouteBackend {
        service: Some(service),
        port: 80,
        weight,
        ..Default::default()
    }
}

/// Shares over a thousand even draws.
fn shares(backends: Vec<wire::RouteBackend>) -> Vec<(String, usize)> {
    let route = wire::RouteRule {
        backends,
        ..Default::default()
    };
    let route: Route = message("r", vec![route]).try_into().unwrap();
    let mut shares = std::collections::BTreeMap::new();
    for step in 0..1000 {
        let choice = match route.rules[0].choose(f64::from(step) / 1000.0) {
            Choice::Backend(backend) => backend.service.as_ref().unwrap().hostname.to_string(),
            Choice::Invalid(_, why) => why.to_owned(),
            Choice::None => "none".to_owned(),
        };
        *shares.entry(choice).or_insert(0) += 1;
    }
    shares.into_iter().collect()
}

#[test]
fn backends_get_their_share_and_invalid_ones_keep_theirs() {
    let split = shares(vec![backend("v1", 90), backend("v2", 10), backend("v3", 0)]);
    assert_eq!(split, [("v1".to_owned(), 900), ("v2".to_owned(), 100)]);
    let broken = wire::RouteBackend {
        invalid: "no such service".into(),
        ..backend("gone", 1)
    };
    let split = shares(vec![broken, backend("v1", 3)]);
    assert_eq!(
        split,
        [("no such service".to_owned(), 250), ("v1".to_owned(), 750)]
    );
    assert_eq!(shares(vec![backend("v1", 0)]), [("none".to_owned(), 1000)]);
    assert_eq!(shares(vec![]), [("none".to_owned(), 1000)]);
}

#[test]
fn the_last_draw_belongs_to_the_last_backend() {
    let route = wire::RouteRule {
        backends: vec![backend("v1", 1), backend("v2", 1)],
        ..Default::default()
    };
    let route: Route = message("r", vec![route]).try_into().unwrap();
    for draw in [0.999_999_999_999, 1.0, 2.0] {
        let Choice::Backend(backend) = route.rules[0].choose(draw) else {
            panic!("{draw}")
        };
        assert_eq!(&*backend.service.as_ref().unwrap().hostname, "v2");
    }
}

#[test]
fn cost_does_not_grow_with_the_number_of_rules() {
    // Counts candidates instead of time: of ten thousand rules, few are looked at.
    let rules = |count: usize| {
        (0..count)
            .map(|index| rule("r", vec![path(prefix(&format!("/p/{index}")))]))
            .collect::<Vec<_>>()
    };
    let table = table(vec![message("r", rules(10_000))]);
    let group = table.group(None);
    assert_eq!(group.candidates("/p/77/x/y").count(), 1);
    assert_eq!(group.candidates("/nothing").count(), 0);
    with("GET /p/9999/z", &[], |request| {
        let Selection::Rule(selected) = table.select(None, request) else {
            panic!("no rule")
        };
        assert_eq!(selected.rule.index, 9999);
    });
}

#[test]
fn a_missing_match_is_the_root_prefix() {
    let rule: Route = message("r", vec![rule("all", vec![])]).try_into().unwrap();
    let only: &Match = &rule.rules[0].matches[0];
    assert!(matches!(&only.path, super::PathMatch::Prefix(root) if &**root == "/"));
}
