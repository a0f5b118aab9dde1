//! Routes: matches, weights, filters, and who they are for.

use std::collections::BTreeMap;

use proto::cairn::waypoint as wire;
use proto::cairn::waypoint::route_filter::Kind;
use proto::workload::TunnelProtocol;

use crate::backend::{Backend, Speaks};
use crate::client::{Client, request};
use crate::mesh::{CART_80, Mesh, put_service, route, rule, run, service};

/// Services `v1` and `v2` with an endpoint each; `cart` has routes to them.
async fn versions(mesh: &Mesh) -> [Backend; 2] {
    let mut backends = vec![];
    for name in ["v1", "v2"] {
        put_service(&mesh.control, &service(name));
        let backend = Backend::plain(name, Speaks::Http1).await;
        mesh.attach(&backend, name, name, TunnelProtocol::None);
        backends.push(backend);
    }
    backends.try_into().unwrap_or_else(|_| panic!("two"))
}

fn put(mesh: &Mesh, route: &wire::Route) {
    let name = format!("HTTPRoute/shop/{}", route.origin.as_ref().unwrap().name);
    mesh.control.put(proto::ROUTE_TYPE, &name, route);
}

/// Waits until the route is in force and its endpoints are known.
async fn routed(mesh: &Mesh, client: &Client, path: &str) {
    mesh.until(client, path, |answer| answer.status == 200)
        .await;
}

fn with_filters(prefix: &str, filters: Vec<Kind>) -> wire::RouteRule {
    let filters = filters
        .into_iter()
        .map(|kind| wire::RouteFilter { kind: Some(kind) })
        .collect();
    wire::RouteRule {
        filters,
        ..rule(prefix, &[("v1", 1)])
    }
}

#[test]
fn weights_split_requests() {
    run(|| async {
        let mesh = Mesh::start().await;
        let client = mesh.client().await;
        let _backends = versions(&mesh).await;
        put(
            &mesh,
            &route("split", vec![rule("/", &[("v1", 90), ("v2", 10)])]),
        );
        routed(&mesh, &client, "/").await;
        let mut sender = client.http1(CART_80).await;
        let mut shares = BTreeMap::new();
        for _ in 0..1000 {
            sender.ready().await.unwrap();
            let answer = sender.send_request(crate::client::get("/")).await.unwrap();
            let answer = crate::client::whole(answer).await;
            *shares
                .entry(answer.header("x-backend").unwrap().to_owned())
                .or_insert(0) += 1;
        }
        // Six standard deviations.
        assert!((843..957).contains(&shares["v1"]), "{shares:?}");
    });
}

#[test]
fn headers_queries_and_methods_choose_the_rule() {
    run(|| async {
        let mesh = Mesh::start().await;
        let client = mesh.client().await;
        let _backends = versions(&mesh).await;
        let exact = |name: &str, value: &str| wire::ValueMatch {
            name: name.to_owned(),
            kind: Some(wire::value_match::Kind::Exact(value.to_owned())),
        };
        let mut special = rule("/", &[("v2", 1)]);
        special.matches = vec![
            wire::RouteMatch {
                headers: vec![exact("End-User", "jason")],
                ..Default::default()
            },
            wire::RouteMatch {
                query_params: vec![exact("v", "2")],
                ..Default::default()
            },
            wire::RouteMatch {
                method: "PUT".to_owned(),
                ..Default::default()
            },
        ];
        put(
            &mesh,
            &route("versions", vec![rule("/", &[("v1", 1)]), special]),
        );
        routed(&mesh, &client, "/").await;
        routed(&mesh, &client, "/?v=2").await;
        for (method, path, headers, expected) in [
            ("GET", "/", &[][..], "v1"),
            ("GET", "/", &[("end-user", "jason")], "v2"),
            ("GET", "/", &[("end-user", "Jason")], "v1"),
            ("GET", "/?x=1&v=2", &[], "v2"),
            ("PUT", "/", &[], "v2"),
        ] {
            let answer = client
                .send(CART_80, request(method, path, headers, ""))
                .await;
            assert_eq!(
                answer.header("x-backend"),
                Some(expected),
                "{method} {path} {headers:?}"
            );
        }
    });
}

#[test]
fn with_a_route_what_it_does_not_match_is_404() {
    run(|| async {
        let mesh = Mesh::start().await;
        let client = mesh.client().await;
        let _backends = versions(&mesh).await;
        put(&mesh, &route("a", vec![rule("/a", &[("v1", 1)])]));
        routed(&mesh, &client, "/a").await;
        assert_eq!(client.get(CART_80, "/ab").await.status, 404);
        mesh.control.remove(proto::ROUTE_TYPE, "HTTPRoute/shop/a");
        // Without a route the service has no endpoints of its own here.
        mesh.until(&client, "/ab", |answer| answer.status == 503)
            .await;
    });
}

#[test]
fn headers_are_edited_on_both_paths() {
    run(|| async {
        let mesh = Mesh::start().await;
        let client = mesh.client().await;
        let _backends = versions(&mesh).await;
        let header = |name: &str, value: &str| wire::Header {
            name: name.to_owned(),
            value: value.to_owned(),
        };
        let edits = |set: &str| wire::HeaderModifier {
            set: vec![header("x-set", set)],
            add: vec![header("x-add", "more")],
            remove: vec!["x-gone".to_owned(), "x-backend".to_owned()],
        };
        let filters = vec![
            Kind::RequestHeaders(edits("in")),
            Kind::ResponseHeaders(edits("out")),
        ];
        put(&mesh, &route("edits", vec![with_filters("/", filters)]));
        routed(&mesh, &client, "/").await;
        let headers = [("x-gone", "1"), ("x-add", "some"), ("x-set", "old")];
        let answer = client
            .send(CART_80, request("GET", "/", &headers, ""))
            .await;
        assert_eq!(answer.seen("x-set").as_deref(), Some("in"));
        assert_eq!(answer.seen("x-add").as_deref(), Some("some,more"));
        assert_eq!(answer.seen("x-gone"), None);
        assert_eq!(answer.header("x-set"), Some("out"));
        assert_eq!(answer.header("x-add"), Some("more"));
        assert_eq!(answer.header("x-backend"), None);
    });
}

#[test]
fn paths_and_hosts_are_rewritten() {
    run(|| async {
        let mesh = Mesh::start().await;
        let client = mesh.client().await;
        let _backends = versions(&mesh).await;
        let path = |kind| Some(wire::PathModifier { kind: Some(kind) });
        let prefix = wire::path_modifier::Kind::ReplacePrefix("/new".to_owned());
        let full = wire::path_modifier::Kind::ReplaceFull("/one/path".to_owned());
        let hostname = "rewritten.example".to_owned();
        let rules = vec![
            with_filters(
                "/old",
                vec![Kind::UrlRewrite(wire::UrlRewrite {
                    hostname,
                    path: path(prefix),
                })],
            ),
            with_filters(
                "/full",
                vec![Kind::UrlRewrite(wire::UrlRewrite {
                    path: path(full),
                    ..Default::default()
                })],
            ),
        ];
        put(&mesh, &route("rewrites", rules));
        routed(&mesh, &client, "/old").await;
        let answer = client.get(CART_80, "/old/a?b=/c").await;
        assert_eq!(answer.line(), "GET /new/a?b=/c HTTP/1.1");
        assert_eq!(answer.seen("host").as_deref(), Some("rewritten.example"));
        let answer = client.get(CART_80, "/full/a?b").await;
        assert_eq!(answer.line(), "GET /one/path?b HTTP/1.1");
        assert_eq!(answer.seen("host").as_deref(), Some("cart.shop"));
    });
}

#[test]
fn redirects_are_answered_here() {
    run(|| async {
        let mesh = Mesh::start().await;
        let client = mesh.client().await;
        let [v1, _] = versions(&mesh).await;
        let redirect = wire::Redirect {
            scheme: "https".to_owned(),
            hostname: "shop.example".to_owned(),
            status_code: 301,
            ..Default::default()
        };
        let mut moved = with_filters("/moved", vec![Kind::Redirect(redirect)]);
        moved.backends.clear();
        put(&mesh, &route("moved", vec![moved]));
        let answer = mesh
            .until(&client, "/moved/a?b", |answer| answer.status == 301)
            .await;
        assert_eq!(
            answer.header("location"),
            Some("https://shop.example/moved/a?b")
        );
        assert!(v1.seen().is_empty());
    });
}

#[test]
fn an_invalid_backend_fails_its_share_alone() {
    run(|| async {
        let mesh = Mesh::start().await;
        let client = mesh.client().await;
        let _backends = versions(&mesh).await;
        let mut half = rule("/", &[("v1", 1)]);
        half.backends.push(wire::RouteBackend {
            weight: 1,
            invalid: "no such service".to_owned(),
            ..Default::default()
        });
        put(&mesh, &route("half", vec![half]));
        routed(&mesh, &client, "/").await;
        let mut statuses = BTreeMap::new();
        for _ in 0..100 {
            *statuses
                .entry(client.get(CART_80, "/").await.status)
                .or_insert(0) += 1;
        }
        assert_eq!(statuses.keys().copied().collect::<Vec<_>>(), [200, 500]);
        assert!(statuses[&500] > 10, "{statuses:?}");
    });
}

#[test]
fn a_consumer_route_is_for_its_own_namespace() {
    run(|| async {
        let mesh = Mesh::start().await;
        let client = mesh.client().await;
        let other = mesh.client_as("spiffe://cluster.local/ns/other/sa/x").await;
        let _backends = versions(&mesh).await;
        put(&mesh, &route("producer", vec![rule("/", &[("v1", 1)])]));
        let mut consumer = route("consumer", vec![rule("/", &[("v2", 1)])]);
        consumer.client_namespace = "web".to_owned();
        put(&mesh, &consumer);
        let by = |name: &'static str| {
            move |answer: &crate::client::Answer| answer.header("x-backend") == Some(name)
        };
        mesh.until(&client, "/", by("v2")).await;
        mesh.until(&other, "/", by("v1")).await;
        for _ in 0..20 {
            assert!(by("v2")(&client.get(CART_80, "/").await));
            assert!(by("v1")(&other.get(CART_80, "/").await));
        }
    });
}

#[test]
fn the_backend_that_was_chosen_is_what_is_counted() {
    run(|| async {
        let mesh = Mesh::start().await;
        let client = mesh.client().await;
        let _backends = versions(&mesh).await;
        put(&mesh, &route("all", vec![rule("/", &[("v2", 1)])]));
        routed(&mesh, &client, "/").await;
        let labels = [
            "destination_service=\"v2.shop\"",
            "destination_workload=\"v2\"",
        ];
        assert!(mesh.metric("istio_requests_total", &labels).await >= 1.0);
    });
}
