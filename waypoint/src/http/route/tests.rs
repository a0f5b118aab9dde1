use http::{HeaderMap, Method, StatusCode, Version};
use mesh::route::{Filter, HeaderEdits, PathMatch, PathModifier, Redirect, UrlRewrite};

use super::{Later, Scope, edit};
use crate::http::head::Head;

fn pairs(list: &[(&str, &str)]) -> Vec<(mesh::Str, mesh::Str)> {
    list.iter()
        .map(|(name, value)| ((*name).into(), (*value).into()))
        .collect()
}

fn head() -> Head {
    Head {
        method: Method::GET,
        authority: Some("cart.shop".parse().unwrap()),
        target: "/a/b?c=d".parse().unwrap(),
        headers: HeaderMap::new(),
        version: Version::HTTP_11,
        websocket: false,
        last: false,
    }
}

#[test]
fn headers_are_set_then_added_then_removed() {
    let mut headers = HeaderMap::new();
    headers.append("x-set", "old".parse().unwrap());
    headers.append("x-set", "older".parse().unwrap());
    headers.append("x-add", "one".parse().unwrap());
    headers.append("x-gone", "x".parse().unwrap());
    let edits = HeaderEdits {
        set: pairs(&[("x-set", "new")]),
        add: pairs(&[("x-add", "two"), ("x-new", "three")]),
        remove: vec!["x-gone".into(), "x-never".into()],
    };
    edit(&mut headers, &edits);
    assert_eq!(headers.get_all("x-set").iter().collect::<Vec<_>>(), ["new"]);
    assert_eq!(headers["x-add"], "one,two");
    assert_eq!(headers["x-new"], "three");
    assert!(!headers.contains_key("x-gone"));
}

#[test]
fn rewrites_change_host_and_path_and_keep_the_query() {
    let path = PathMatch::Prefix("/a".into());
    let scope = Scope {
        path: &path,
        port: 80,
        snapshot: &crate::state::Snapshot::empty(&crate::fixtures::place()),
    };
    let rewrite = Filter::UrlRewrite(UrlRewrite {
        hostname: Some("other.shop".into()),
        path: Some(PathModifier::ReplacePrefix("/x".into())),
    });
    let mut head = head();
    assert!(
        scope
            .apply(&[rewrite], &mut head, &mut Later::default())
            .unwrap()
            .is_none()
    );
    assert_eq!(head.host(), "other.shop");
    assert_eq!(head.target, "/x/b?c=d");
}

#[test]
fn a_redirect_answers_with_the_answers_headers_edited() {
    let path = PathMatch::Prefix("/a".into());
    let scope = Scope {
        path: &path,
        port: 8080,
        snapshot: &crate::state::Snapshot::empty(&crate::fixtures::place()),
    };
    let edits = HeaderEdits {
        set: pairs(&[("x-by", "route")]),
        ..HeaderEdits::default()
    };
    let redirect = Redirect {
        status: 301,
        ..Redirect::default()
    };
    let filters = [Filter::ResponseHeaders(edits), Filter::Redirect(redirect)];
    let reply = scope
        .apply(&filters, &mut head(), &mut Later::default())
        .unwrap()
        .unwrap();
    assert_eq!(reply.status(), StatusCode::MOVED_PERMANENTLY);
    assert_eq!(reply.headers()["location"], "http://cart.shop:8080/a/b?c=d");
    assert_eq!(reply.headers()["x-by"], "route");
}
