//! A request through the waypoint: what the endpoint sees, what the client gets, what is counted.

use http::Request;
use http_body_util::Full;
use proto::workload::TunnelProtocol;

use crate::backend::{Act, Backend, Speaks};
use crate::client::{get, request, whole};
use crate::mesh::{CART_80, Mesh, WEB, declared, put_service, run, service};

#[test]
fn a_request_reaches_the_endpoint_through_its_tunnel() {
    run(|| async {
        let mesh = Mesh::start().await;
        let client = mesh.client().await;
        let backend = mesh.meshed("v1", Speaks::Http1).await;
        mesh.settled(&client).await;
        let answer = client.get(CART_80, "/a?b=c").await;
        assert_eq!((answer.status, answer.line()), (200, "GET /a?b=c HTTP/1.1"));
        assert_eq!(answer.header("x-backend"), Some("v1"));
        assert_eq!(answer.seen("host").as_deref(), Some("cart.shop"));
        assert!(!backend.seen().is_empty());
    });
}

#[test]
fn the_service_is_found_by_name_as_well() {
    run(|| async {
        let mesh = Mesh::start().await;
        let client = mesh.client().await;
        let _backend = mesh.endpoint("v1").await;
        mesh.settled(&client).await;
        assert_eq!(client.get("cart.shop:80", "/").await.status, 200);
    });
}

#[test]
fn what_is_forwarded_says_who_and_which() {
    run(|| async {
        let mesh = Mesh::start().await;
        let client = mesh.client().await;
        let _backend = mesh.endpoint("v1").await;
        mesh.settled(&client).await;
        let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let headers = [
            ("traceparent", trace),
            ("tracestate", "a=b"),
            ("x-envoy-x", "1"),
        ];
        let answer = client
            .send(CART_80, request("GET", "/", &headers, ""))
            .await;
        assert!(uuid::Uuid::parse_str(&answer.seen("x-request-id").unwrap()).is_ok());
        assert_eq!(answer.seen("x-forwarded-for").as_deref(), Some("127.0.0.1"));
        assert_eq!(answer.seen("x-forwarded-proto").as_deref(), Some("http"));
        assert_eq!(answer.seen("traceparent").as_deref(), Some(trace));
        assert_eq!(answer.seen("tracestate").as_deref(), Some("a=b"));
        assert_eq!(answer.seen("x-envoy-x"), None);
    });
}

#[test]
fn bodies_pass_both_ways() {
    run(|| async {
        let mesh = Mesh::start().await;
        let client = mesh.client().await;
        let backend = mesh.meshed("v1", Speaks::Http1).await;
        mesh.settled(&client).await;
        let body = vec![b'x'; 300_000];
        backend.script([Act::Bulk(5 << 20)]);
        let answer = client
            .send(CART_80, request("POST", "/up", &[], body.clone()))
            .await;
        assert_eq!(answer.body.len(), 5 << 20);
        let seen = backend.seen().pop().unwrap();
        assert_eq!(seen.body.len(), body.len());
    });
}

#[test]
fn connections_are_kept_on_both_sides() {
    run(|| async {
        let mesh = Mesh::start().await;
        let client = mesh.client().await;
        let _backend = mesh.meshed("v1", Speaks::Http1).await;
        mesh.settled(&client).await;
        let mut sender = client.http1(CART_80).await;
        for number in 0..50 {
            sender.ready().await.unwrap();
            let answer = sender
                .send_request(get(&format!("/{number}")))
                .await
                .unwrap();
            assert_eq!(
                whole(answer).await.line(),
                format!("GET /{number} HTTP/1.1")
            );
        }
    });
}

#[test]
fn http2_stays_http2_where_nothing_is_declared() {
    run(|| async {
        let mesh = Mesh::start().await;
        let client = mesh.client().await;
        let backend = mesh.meshed("v1", Speaks::Http2).await;
        let mut sender = client.http2("10.96.0.1:81").await;
        let get = || {
            Request::get("http://cart.shop/pkg.Cart/Add")
                .header("te", "trailers")
                .header("content-type", "application/grpc")
                .body(Full::default())
                .unwrap()
        };
        mesh.eventually("the endpoint answers", async || {
            sender
                .send_request(get())
                .await
                .unwrap()
                .headers()
                .contains_key("x-backend")
        })
        .await;
        let answer = whole(sender.send_request(get()).await.unwrap()).await;
        assert_eq!(answer.line(), "GET /pkg.Cart/Add HTTP/2.0");
        assert_eq!(answer.seen("host").as_deref(), Some("cart.shop"));
        assert_eq!(answer.trailers.unwrap()["grpc-status"], "0");
        assert_eq!(backend.seen().pop().unwrap().headers["te"], "trailers");
        let labels = ["request_protocol=\"grpc\"", "grpc_response_status=\"0\""];
        assert!(mesh.metric("istio_requests_total", &labels).await >= 1.0);
    });
}

#[test]
fn a_declared_endpoint_is_spoken_to_as_declared() {
    run(|| async {
        let mesh = Mesh::start().await;
        let client = mesh.client().await;
        let _backend = mesh.endpoint("v1").await;
        mesh.settled(&client).await;
        let mut sender = client.http2(CART_80).await;
        let request = Request::get("http://cart.shop/a")
            .body(Full::default())
            .unwrap();
        let answer = whole(sender.send_request(request).await.unwrap()).await;
        assert_eq!(answer.line(), "GET /a HTTP/1.1");
    });
}

#[test]
fn an_http1_client_reaches_an_endpoint_of_http2() {
    run(|| async {
        let mesh = Mesh::start().await;
        let mut service = service("cart");
        service.ports[0].app_protocol = declared::HTTP2;
        put_service(&mesh.control, &service);
        let backend = Backend::plain("v2", Speaks::Http2).await;
        mesh.attach(&backend, "v2", "cart", TunnelProtocol::None);
        let client = mesh.client().await;
        let answer = mesh
            .until(&client, "/x", |answer| answer.status == 200)
            .await;
        assert_eq!(answer.line(), "GET /x HTTP/2.0");
    });
}

#[test]
fn an_undeclared_port_is_looked_at() {
    run(|| async {
        let mesh = Mesh::start().await;
        let client = mesh.client().await;
        let _backend = mesh.endpoint("v1").await;
        mesh.settled(&client).await;
        let answer = client.get("10.96.0.1:81", "/x").await;
        assert!(
            answer.seen("x-request-id").is_some(),
            "it went through HTTP"
        );
    });
}

#[test]
fn a_service_without_endpoints_is_answered_for() {
    run(|| async {
        let mesh = Mesh::start().await;
        let client = mesh.client().await;
        let answer = client.get(CART_80, "/").await;
        assert_eq!((answer.status, answer.text()), (503, "no healthy upstream"));
        let labels = ["response_code=\"503\"", "response_flags=\"UH\""];
        mesh.eventually("it is counted", async || {
            mesh.metric("istio_requests_total", &labels).await >= 1.0
        })
        .await;
    });
}

#[test]
fn an_unmeshed_identity_at_the_end_of_the_tunnel_is_refused() {
    run(|| async {
        let mesh = Mesh::start().await;
        let client = mesh.client().await;
        let impostor = "spiffe://cluster.local/ns/shop/sa/impostor";
        let backend = Backend::meshed("v1", Speaks::Http1, &mesh.authority, impostor).await;
        mesh.attach(&backend, "v1", "cart", TunnelProtocol::Hbone);
        let answer = mesh
            .until(&client, "/", |answer| {
                answer.text() != "no healthy upstream"
            })
            .await;
        assert_eq!(answer.status, 503);
        assert!(backend.seen().is_empty());
    });
}

#[test]
fn requests_are_counted_with_who_asked_and_who_answered() {
    run(|| async {
        let mesh = Mesh::start().await;
        let client = mesh.client().await;
        let _backend = mesh.meshed("v1", Speaks::Http1).await;
        mesh.settled(&client).await;
        let labels = [
            "reporter=\"waypoint\"",
            &format!("source_principal=\"{WEB}\""),
            "destination_workload=\"v1\"",
            "destination_principal=\"spiffe://cluster.local/ns/shop/sa/cart\"",
            "destination_service=\"cart.shop\"",
            "destination_service_name=\"cart\"",
            "destination_service_namespace=\"shop\"",
            "request_protocol=\"http\"",
            "response_code=\"200\"",
            "response_flags=\"-\"",
            "connection_security_policy=\"mutual_tls\"",
        ];
        let before = mesh.metric("istio_requests_total", &labels).await;
        for _ in 0..3 {
            client.get(CART_80, "/").await;
        }
        let after = mesh.metric("istio_requests_total", &labels).await;
        assert!(
            (after - before - 3.0).abs() < f64::EPSILON,
            "{before} then {after}"
        );
        let durations = "istio_request_duration_milliseconds_count";
        assert!((mesh.metric(durations, &labels).await - after).abs() < f64::EPSILON);
    });
}

#[test]
fn a_connect_for_somebody_else_is_refused() {
    run(|| async {
        let mesh = Mesh::start().await;
        let client = mesh.client().await;
        for (authority, status) in [
            ("10.96.9.9:80", 404),
            ("cart.shop:9999", 404),
            ("other.shop:80", 404),
        ] {
            let error = client.tunnel(authority).await.unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("http status: {status} Not Found"),
                "{authority}"
            );
        }
    });
}

#[test]
fn a_client_of_another_mesh_is_not_let_in() {
    run(|| async {
        let mesh = Mesh::start().await;
        let stranger = crate::authority::Authority::new();
        let connected = crate::client::Client::connect(
            &stranger,
            WEB,
            mesh.client().await.waypoint(),
            crate::mesh::WAYPOINT,
        );
        assert!(Box::pin(connected).await.is_err());
    });
}
