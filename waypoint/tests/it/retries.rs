//! Time limits and attempts.

use std::time::{Duration, Instant};

use proto::cairn::waypoint as wire;
use proto::workload::TunnelProtocol;

use crate::backend::{Act, Backend, Speaks, address};
use crate::client::{Client, request};
use crate::mesh::{CART_80, Mesh, put_workload, route, rule, run, workload};

fn duration(time: Duration) -> Option<prost_types::Duration> {
    time.try_into().ok()
}

/// One rule for everything, to `cart` itself.
fn put(mesh: &Mesh, timeouts: Option<wire::RouteTimeouts>, retry: Option<wire::RouteRetry>) {
    let rule = wire::RouteRule {
        timeouts,
        retry,
        ..rule("/", &[("cart", 1)])
    };
    mesh.control
        .put(proto::ROUTE_TYPE, "r", &route("r", vec![rule]));
}

fn retry(codes: &[u32], attempts: u32) -> wire::RouteRetry {
    wire::RouteRetry {
        codes: codes.to_vec(),
        attempts,
        ..Default::default()
    }
}

/// A mesh with one endpoint, and a rule in force: what it did before does not count.
async fn with(
    timeouts: Option<wire::RouteTimeouts>,
    retry: Option<wire::RouteRetry>,
) -> (Mesh, Client, Backend) {
    let mesh = Mesh::start().await;
    let client = mesh.client().await;
    // Until the route is there, requests go to the endpoints all the same: so the route first.
    put(&mesh, timeouts, retry);
    let names = "route";
    mesh.eventually("the route is there", async || {
        let dump = mesh
            .page(mesh.waypoint.addresses.admin, "/config_dump")
            .await;
        dump.contains("\"HTTPRoute\"") && dump.contains(names)
    })
    .await;
    let backend = mesh.endpoint("v1").await;
    mesh.settled(&client).await;
    (mesh, client, backend)
}

fn asked(backend: &Backend, path: &str) -> usize {
    backend
        .seen()
        .iter()
        .filter(|seen| seen.line.contains(path))
        .count()
}

#[test]
fn a_status_that_was_named_is_tried_again() {
    run(|| async {
        let (_mesh, client, backend) = with(None, Some(retry(&[500, 503], 2))).await;
        backend.script([Act::Status(500), Act::Status(503)]);
        assert_eq!(client.get(CART_80, "/x").await.status, 200);
        assert_eq!(asked(&backend, "/x"), 3);
    });
}

#[test]
fn the_last_answer_is_the_clients_when_attempts_run_out() {
    run(|| async {
        let (mesh, client, backend) = with(None, Some(retry(&[500], 2))).await;
        backend.script([Act::Status(500), Act::Status(500), Act::Status(500)]);
        assert_eq!(client.get(CART_80, "/x").await.status, 500);
        assert_eq!(asked(&backend, "/x"), 3);
        let labels = ["response_code=\"500\"", "response_flags=\"URX\""];
        assert!((mesh.metric("istio_requests_total", &labels).await - 1.0).abs() < 0.1);
    });
}

#[test]
fn a_status_that_was_not_named_is_an_answer() {
    run(|| async {
        let (_mesh, client, backend) = with(None, Some(retry(&[500], 2))).await;
        backend.script([Act::Status(502)]);
        assert_eq!(client.get(CART_80, "/x").await.status, 502);
        assert_eq!(asked(&backend, "/x"), 1);
    });
}

#[test]
fn a_body_is_sent_again_with_the_request() {
    run(|| async {
        let (_mesh, client, backend) = with(None, Some(retry(&[500], 1))).await;
        backend.script([Act::Status(500)]);
        let answer = client
            .send(CART_80, request("POST", "/x", &[], "the body"))
            .await;
        assert_eq!(answer.status, 200);
        let bodies: Vec<_> = backend.seen().into_iter().map(|seen| seen.body).collect();
        assert_eq!(bodies[bodies.len() - 2..], ["the body", "the body"]);
    });
}

#[test]
fn a_body_too_large_to_keep_is_sent_once() {
    run(|| async {
        let (_mesh, client, backend) = with(None, Some(retry(&[500], 3))).await;
        backend.script([Act::Status(500)]);
        let large = vec![b'x'; 200_000];
        assert_eq!(
            client
                .send(CART_80, request("POST", "/x", &[], large))
                .await
                .status,
            500
        );
        assert_eq!(asked(&backend, "/x"), 1);
    });
}

#[test]
fn connection_errors_are_tried_again() {
    run(|| async {
        let (_mesh, client, backend) = with(None, Some(retry(&[], 3))).await;
        backend.script([Act::Close, Act::Close]);
        assert_eq!(
            client
                .send(CART_80, request("POST", "/x", &[], "b"))
                .await
                .status,
            200
        );
        assert_eq!(asked(&backend, "/x"), 3);
    });
}

#[test]
fn without_a_word_from_the_user_a_broken_post_is_not_repeated() {
    run(|| async {
        let (mesh, client, backend) = with(None, None).await;
        backend.script([Act::Close]);
        let answer = client.send(CART_80, request("POST", "/x", &[], "b")).await;
        assert_eq!(answer.status, 503);
        assert_eq!(asked(&backend, "/x"), 1);
        let labels = ["response_flags=\"UC\""];
        assert!(mesh.metric("istio_requests_total", &labels).await >= 1.0);
    });
}

#[test]
fn nothing_is_repeated_once_the_answer_has_begun() {
    run(|| async {
        let (_mesh, client, backend) = with(None, Some(retry(&[500], 3))).await;
        backend.script([Act::CloseInside]);
        let mut sender = client.http1(CART_80).await;
        let answer = sender.send_request(crate::client::get("/x")).await;
        let broken = match answer {
            Ok(answer) => {
                use http_body_util::BodyExt;
                answer.into_body().collect().await.is_err()
            }
            Err(_) => true,
        };
        assert!(broken, "a truncated answer must look truncated");
        assert_eq!(asked(&backend, "/x"), 1);
    });
}

#[test]
fn a_stalled_endpoint_is_504_when_time_is_up() {
    run(|| async {
        let limit = Duration::from_millis(300);
        let timeouts = wire::RouteTimeouts {
            request: duration(limit),
            ..Default::default()
        };
        let (mesh, client, backend) = with(Some(timeouts), None).await;
        backend.script([Act::Stall(Duration::from_secs(30))]);
        let started = Instant::now();
        let answer = client.get(CART_80, "/x").await;
        assert_eq!(
            (answer.status, answer.text()),
            (504, "upstream request timeout")
        );
        assert!(started.elapsed() >= limit && started.elapsed() < Duration::from_secs(10));
        let labels = ["response_code=\"504\"", "response_flags=\"UT\""];
        assert!((mesh.metric("istio_requests_total", &labels).await - 1.0).abs() < 0.1);
    });
}

#[test]
fn a_stalled_attempt_is_tried_again() {
    run(|| async {
        let timeouts = wire::RouteTimeouts {
            backend_request: duration(Duration::from_millis(200)),
            ..Default::default()
        };
        let (_mesh, client, backend) = with(Some(timeouts), Some(retry(&[], 2))).await;
        let stall = Act::Stall(Duration::from_secs(30));
        backend.script([stall.clone(), stall]);
        assert_eq!(client.get(CART_80, "/x").await.status, 200);
        assert_eq!(asked(&backend, "/x"), 3);
    });
}

#[test]
fn the_whole_time_bounds_all_attempts() {
    run(|| async {
        let timeouts = wire::RouteTimeouts {
            request: duration(Duration::from_millis(500)),
            backend_request: duration(Duration::from_millis(200)),
        };
        let (_mesh, client, backend) = with(Some(timeouts), Some(retry(&[], 20))).await;
        backend.script(std::iter::repeat_n(Act::Stall(Duration::from_secs(30)), 20));
        let started = Instant::now();
        assert_eq!(client.get(CART_80, "/x").await.status, 504);
        assert!(
            started.elapsed() < Duration::from_secs(5),
            "{:?}",
            started.elapsed()
        );
    });
}

#[test]
fn another_attempt_prefers_another_endpoint() {
    run(|| async {
        let (mesh, client, backend) = with(None, None).await;
        // An endpoint that takes no connections beside one that does.
        let dead = std::net::SocketAddr::new(address(), 9);
        put_workload(
            &mesh.control,
            &workload("dead", dead, "cart", TunnelProtocol::None),
        );
        mesh.eventually("the dead endpoint is known", async || {
            let dump = mesh
                .page(mesh.waypoint.addresses.admin, "/config_dump")
                .await;
            dump.contains("pod-dead")
        })
        .await;
        for number in 0..100 {
            let path = format!("/n{number}");
            assert_eq!(client.get(CART_80, &path).await.status, 200, "{path}");
        }
        assert!(asked(&backend, "/n") == 100);
    });
}

#[test]
fn a_service_of_which_no_endpoint_can_be_reached_is_503() {
    run(|| async {
        let mesh = Mesh::start().await;
        let client = mesh.client().await;
        let dead = std::net::SocketAddr::new(address(), 9);
        put_workload(
            &mesh.control,
            &workload("dead", dead, "cart", TunnelProtocol::None),
        );
        let answer = mesh
            .until(&client, "/", |answer| {
                answer.text() != "no healthy upstream"
            })
            .await;
        assert_eq!(answer.status, 503);
        let labels = ["response_flags=\"URX,UF\""];
        assert!(mesh.metric("istio_requests_total", &labels).await >= 1.0);
    });
}

#[test]
fn an_endpoint_that_speaks_something_else_is_502() {
    run(|| async {
        let mesh = Mesh::start().await;
        let client = mesh.client().await;
        let backend = Backend::plain("v1", Speaks::Http2).await;
        mesh.attach(&backend, "v1", "cart", TunnelProtocol::None);
        let answer = mesh
            .until(&client, "/", |answer| {
                answer.text() != "no healthy upstream"
            })
            .await;
        // HTTP/2 answers with frames where a status line is expected.
        assert!(matches!(answer.status, 502 | 503), "{answer:?}");
    });
}

#[test]
fn the_last_answer_stands_when_there_is_no_time_for_another() {
    run(|| async {
        let timeouts = wire::RouteTimeouts {
            request: duration(Duration::from_secs(20)),
            ..Default::default()
        };
        let retry = wire::RouteRetry {
            backoff: duration(Duration::from_secs(30)),
            ..retry(&[500], 10)
        };
        let (_mesh, client, backend) = with(Some(timeouts), Some(retry)).await;
        backend.script([Act::Status(500)]);
        assert_eq!(client.get(CART_80, "/x").await.status, 500);
        assert_eq!(asked(&backend, "/x"), 1);
    });
}
