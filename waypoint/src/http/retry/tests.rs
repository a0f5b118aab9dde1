//! When another attempt is made, and how long it is waited for.

use std::time::Duration;

use http::{HeaderMap, Method, StatusCode, Version};
use mesh::route::Retry;
use mesh::service::AppProtocol;

use super::{BACKOFF, BACKOFF_CAP, Policy, grpc_timeout, speaks_http2};
use crate::http::head::Head;

fn head(method: Method, version: Version) -> Head {
    Head {
        method,
        authority: None,
        target: "/".parse().unwrap(),
        headers: HeaderMap::new(),
        version,
        websocket: false,
        last: false,
    }
}

fn retry(backoff: Option<Duration>) -> Retry {
    Retry {
        codes: vec![500, 503],
        attempts: 3,
        backoff,
    }
}

#[test]
fn only_the_statuses_the_user_named_are_tried_again() {
    let (asked, head) = (retry(None), head(Method::POST, Version::HTTP_11));
    let policy = Policy::of(Some(&asked), &head);
    assert!(policy.wants_status(StatusCode::SERVICE_UNAVAILABLE));
    assert!(!policy.wants_status(StatusCode::BAD_GATEWAY));
    assert!(!Policy::of(None, &head).wants_status(StatusCode::SERVICE_UNAVAILABLE));
}

#[test]
fn a_body_is_kept_only_where_it_may_be_sent_again() {
    let asked = retry(None);
    let (get, post) = (
        head(Method::GET, Version::HTTP_11),
        head(Method::POST, Version::HTTP_11),
    );
    assert!(Policy::of(Some(&asked), &post).may_resend());
    assert!(Policy::of(None, &get).may_resend());
    assert!(!Policy::of(None, &post).may_resend());
    let never = Retry {
        attempts: 0,
        ..asked
    };
    assert!(!Policy::of(Some(&never), &get).may_resend());
}

#[test]
fn waits_are_at_least_what_was_asked_and_grow() {
    let head = head(Method::GET, Version::HTTP_11);
    let asked = retry(Some(Duration::from_millis(100)));
    let policy = Policy::of(Some(&asked), &head);
    assert_eq!(policy.wait(0, 0.9), Duration::from_millis(100));
    assert_eq!(policy.wait(2, 0.0), Duration::from_millis(100));
    assert_eq!(policy.wait(2, 1.0), Duration::from_millis(400));
    let unnamed = retry(None);
    let policy = Policy::of(Some(&unnamed), &head);
    assert_eq!(policy.wait(0, 1.0), BACKOFF);
    assert_eq!(policy.wait(30, 1.0), BACKOFF * BACKOFF_CAP);
    assert_eq!(Policy::of(None, &head).wait(0, 1.0), Duration::ZERO);
}

#[test]
fn the_declared_protocol_wins_and_else_the_clients_stays() {
    let (one, two) = (
        head(Method::GET, Version::HTTP_11),
        head(Method::GET, Version::HTTP_2),
    );
    for (declared, from_one, from_two) in [
        (Some(AppProtocol::Http11), false, false),
        (Some(AppProtocol::Http2), true, true),
        (Some(AppProtocol::Grpc), true, true),
        (Some(AppProtocol::Unknown), false, true),
        (None, false, true),
    ] {
        assert_eq!(speaks_http2(declared, &one), from_one, "{declared:?}");
        assert_eq!(speaks_http2(declared, &two), from_two, "{declared:?}");
    }
    let mut call = two;
    call.headers.insert(
        "content-type",
        http::HeaderValue::from_static("application/grpc"),
    );
    assert!(
        speaks_http2(Some(AppProtocol::Http11), &call),
        "gRPC cannot work over HTTP/1.1"
    );
    let socket = Head {
        websocket: true,
        ..one
    };
    assert!(!speaks_http2(Some(AppProtocol::Http2), &socket));
}

#[test]
fn grpc_timeouts_are_read_as_the_protocol_has_them() {
    for (text, expected) in [
        ("1H", Some(Duration::from_hours(1))),
        ("2M", Some(Duration::from_mins(2))),
        ("3S", Some(Duration::from_secs(3))),
        ("100m", Some(Duration::from_millis(100))),
        ("5u", Some(Duration::from_micros(5))),
        ("99999999n", Some(Duration::from_nanos(99_999_999))),
        ("100000000n", None),
        ("1x", None),
        ("m", None),
        ("", None),
        ("-1S", None),
        ("1é", None),
    ] {
        let mut headers = HeaderMap::new();
        headers.insert(
            "grpc-timeout",
            http::HeaderValue::from_bytes(text.as_bytes()).unwrap(),
        );
        assert_eq!(grpc_timeout(&headers), expected, "{text}");
    }
}
