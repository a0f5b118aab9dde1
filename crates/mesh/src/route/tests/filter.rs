//! Rewrites and redirects, by the tables of the Gateway API conformance suite.

use crate::route::{PathMatch, PathModifier, Redirect, RequestTarget};

#[test]
fn replaces_prefixes_without_joining_slashes() {
    for (prefix, with, path, expected) in [
        ("/foo", "/xyz", "/foo/bar", "/xyz/bar"),
        ("/foo", "/xyz", "/foo", "/xyz"),
        ("/foo", "/xyz", "/foo/", "/xyz/"),
        ("/foo", "/xyz/", "/foo/bar", "/xyz/bar"),
        ("/foo", "/xyz/", "/foo/", "/xyz/"),
        ("/foo/", "/xyz", "/foo/bar", "/xyz/bar"),
        ("/foo/", "/xyz", "/foo", "/xyz"),
        ("/foo/", "/xyz/", "/foo/bar", "/xyz/bar"),
        ("/foo", "", "/foo/bar", "/bar"),
        ("/foo", "", "/foo/", "/"),
        ("/foo", "", "/foo", "/"),
        ("/foo", "/", "/foo/bar", "/bar"),
        ("/foo", "/", "/foo/", "/"),
        ("/foo", "/", "/foo", "/"),
        ("/", "/xyz", "/foo", "/xyz/foo"),
        ("/", "/xyz", "/", "/xyz/"),
        ("/foo", "xyz", "/foo/bar", "/xyz/bar"),
    ] {
        let matched = PathMatch::Prefix(prefix.into());
        let path = PathModifier::ReplacePrefix(with.into()).apply(path, &matched);
        assert_eq!(path, expected, "{prefix} by {with:?}");
    }
}

#[test]
fn replaces_whole_paths() {
    let matched = PathMatch::Prefix("/foo".into());
    let full = |with: &str| PathModifier::ReplaceFull(with.into()).apply("/foo/bar", &matched);
    assert_eq!(full("/one/two"), "/one/two");
    assert_eq!(full(""), "/");
}

/// Location for a request to `http://example.org/a?b=c`, which came in on `port`.
fn location(port: u16, scheme: &'static str, redirect: &Redirect) -> String {
    let target = RequestTarget {
        scheme,
        host: "example.org:1234",
        path: "/a",
        query: Some("b=c"),
        port,
    };
    redirect.location(&target, &PathMatch::Prefix("/a".into()))
}

#[test]
fn redirects_name_the_port_only_where_the_scheme_does_not_imply_it() {
    for (listener, from, scheme, port, expected) in [
        (80, "http", None, None, "http://example.org"),
        (80, "http", None, Some(80), "http://example.org"),
        (80, "http", None, Some(8080), "http://example.org:8080"),
        (80, "http", Some("https"), None, "https://example.org"),
        (80, "http", Some("https"), Some(443), "https://example.org"),
        (
            80,
            "http",
            Some("https"),
            Some(8443),
            "https://example.org:8443",
        ),
        (8080, "http", None, None, "http://example.org:8080"),
        (8080, "http", None, Some(80), "http://example.org"),
        (8080, "http", Some("https"), None, "https://example.org"),
        (443, "https", None, None, "https://example.org"),
        (443, "https", None, Some(8443), "https://example.org:8443"),
        (443, "https", Some("http"), None, "http://example.org"),
        (443, "https", Some("http"), Some(80), "http://example.org"),
        (
            443,
            "https",
            Some("http"),
            Some(8080),
            "http://example.org:8080",
        ),
    ] {
        let redirect = Redirect {
            scheme: scheme.map(Into::into),
            port,
            ..Redirect::default()
        };
        assert_eq!(
            location(listener, from, &redirect),
            format!("{expected}/a?b=c")
        );
    }
}

#[test]
fn redirects_change_host_and_path_and_keep_the_query() {
    let redirect = Redirect {
        hostname: Some("shop.example".into()),
        path: Some(PathModifier::ReplacePrefix("/b".into())),
        ..Redirect::default()
    };
    assert_eq!(location(80, "http", &redirect), "http://shop.example/b?b=c");
}
