//! What a route message may not be.

use proto::cairn::waypoint as wire;

use super::{exact, message, regex, rule, value};
use crate::convert::route::broken;
use crate::route::Route;

fn field(rule: wire::RouteRule) -> String {
    Route::try_from(message("r", vec![wire::RouteRule::default(), rule]))
        .unwrap_err()
        .field
}

fn filter(kind: wire::route_filter::Kind) -> wire::RouteRule {
    let filters = vec![wire::RouteFilter { kind: Some(kind) }];
    wire::RouteRule {
        filters,
        ..Default::default()
    }
}

#[track_caller]
fn are_rejected(cases: impl IntoIterator<Item = (wire::RouteRule, &'static str)>) {
    for (rule, expected) in cases {
        assert_eq!(field(rule), expected);
    }
}

#[test]
fn rejects_matches_by_field() {
    let found = |found: wire::RouteMatch| rule("", vec![found]);
    let path = |path| {
        found(wire::RouteMatch {
            path,
            ..Default::default()
        })
    };
    let header = |name: &str| {
        found(wire::RouteMatch {
            headers: vec![value(name, "x")],
            ..Default::default()
        })
    };
    are_rejected([
        (path(exact("a")), "rules[1].matches[0].path.exact"),
        (path(regex("(")), "rules[1].matches[0].path.regex"),
        (path(regex("a)(b")), "rules[1].matches[0].path.regex"),
        (
            path(regex(&"a".repeat(1025))),
            "rules[1].matches[0].path.regex",
        ),
        (
            path(regex("(a{1000}){1000}")),
            "rules[1].matches[0].path.regex",
        ),
        (
            path(Some(wire::PathMatch { kind: None })),
            "rules[1].matches[0].path",
        ),
        (header("no name"), "rules[1].matches[0].headers[0].name"),
        (header(":path"), "rules[1].matches[0].headers[0].name"),
    ]);
}

#[test]
fn rejects_filters_by_field() {
    let edits = |name: &str| {
        let set = vec![wire::Header {
            name: name.into(),
            value: "x".into(),
        }];
        wire::HeaderModifier {
            set,
            ..Default::default()
        }
    };
    let redirect = |redirect| filter(wire::route_filter::Kind::Redirect(redirect));
    are_rejected([
        (
            filter(wire::route_filter::Kind::RequestHeaders(edits(
                "Content-Length",
            ))),
            "rules[1].filters[0].request_headers.set[0].name",
        ),
        (
            redirect(wire::Redirect {
                status_code: 200,
                ..Default::default()
            }),
            "rules[1].filters[0].redirect.status_code",
        ),
        (
            redirect(wire::Redirect {
                scheme: "ftp".into(),
                ..Default::default()
            }),
            "rules[1].filters[0].redirect.scheme",
        ),
    ]);
}

#[test]
fn rejects_what_else_a_rule_holds_by_field() {
    are_rejected([
        (
            wire::RouteRule {
                backends: vec![wire::RouteBackend::default()],
                ..Default::default()
            },
            "rules[1].backends[0].port",
        ),
        (
            wire::RouteRule {
                retry: Some(wire::RouteRetry {
                    codes: vec![503, 99],
                    ..Default::default()
                }),
                ..Default::default()
            },
            "rules[1].retry.codes[1]",
        ),
        (
            wire::RouteRule {
                timeouts: Some(wire::RouteTimeouts {
                    request: Some(prost_types::Duration {
                        seconds: -1,
                        nanos: 0,
                    }),
                    ..Default::default()
                }),
                ..Default::default()
            },
            "rules[1].timeouts.request",
        ),
    ]);
}

#[test]
fn zero_timeouts_are_none_and_zero_attempts_are_none() {
    let zero = Some(prost_types::Duration::default());
    let rule = wire::RouteRule {
        timeouts: Some(wire::RouteTimeouts {
            request: zero,
            backend_request: None,
        }),
        retry: Some(wire::RouteRetry::default()),
        ..Default::default()
    };
    let route: Route = message("r", vec![rule]).try_into().unwrap();
    assert_eq!(route.rules[0].timeouts.request, None);
    assert_eq!(route.rules[0].retry.as_ref().unwrap().attempts, 0);
}

#[test]
fn of_equivalent_header_names_the_first_counts() {
    let found = wire::RouteMatch {
        headers: vec![value("Foo", "a"), value("foo", "b")],
        ..Default::default()
    };
    let route: Route = message("r", vec![rule("", vec![found])])
        .try_into()
        .unwrap();
    let headers = &route.rules[0].matches[0].headers;
    assert_eq!(headers.len(), 1);
    assert_eq!(&*headers[0].name, "foo");
}

#[test]
fn a_stand_in_fails_the_requests_of_a_broken_route() {
    let bad = wire::RouteMatch {
        path: exact("a"),
        ..Default::default()
    };
    let message = message("r", vec![rule("", vec![bad])]);
    let why = Route::try_from(message.clone()).unwrap_err();
    let stand_in = broken(&message, &why).unwrap();
    assert!(
        stand_in.rules[0]
            .invalid
            .as_ref()
            .unwrap()
            .contains("path.exact")
    );
    assert_eq!(stand_in.parents.len(), 1);
}
