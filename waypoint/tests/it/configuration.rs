//! Changes of configuration under load.

use std::cell::Cell;

use hbone::client::Error;
use http::StatusCode;
use proto::workload::{NetworkAddress, Service};

use crate::client::{get, whole};
use crate::mesh::{CART_80, Mesh, put_service, route, rule, run, service};

#[test]
fn editing_a_route_fails_no_request() {
    run(|| async {
        let mesh = Mesh::start().await;
        let client = mesh.client().await;
        let _backend = mesh.endpoint("v1").await;
        mesh.settled(&client).await;
        let edits = Cell::new(0_u32);
        let editing = async {
            while edits.get() < 50 {
                let mut rules = vec![rule("/", &[("cart", 1)])];
                rules[0].name = format!("edit-{}", edits.get());
                mesh.control.put(proto::ROUTE_TYPE, "r", &route("r", rules));
                edits.set(edits.get() + 1);
                // Some requests between any two edits.
                for _ in 0..20 {
                    tokio::task::yield_now().await;
                }
            }
        };
        let asking = async {
            let mut sender = client.http1(CART_80).await;
            let mut answered = 0;
            while edits.get() < 50 || answered < 500 {
                sender.ready().await.unwrap();
                let answer = whole(sender.send_request(get("/")).await.unwrap()).await;
                assert_eq!(answer.status, 200, "after {} edits", edits.get());
                answered += 1;
            }
            answered
        };
        let ((), answered) = tokio::join!(editing, asking);
        assert!(answered >= 500);
    });
}

#[test]
fn a_broken_route_leaves_the_last_good_one_and_is_reported() {
    run(|| async {
        let mesh = Mesh::start().await;
        let client = mesh.client().await;
        let _backend = mesh.endpoint("v1").await;
        mesh.settled(&client).await;
        mesh.control.put(
            proto::ROUTE_TYPE,
            "r",
            &route("r", vec![rule("/a", &[("cart", 1)])]),
        );
        mesh.until(&client, "/b", |answer| answer.status == 404)
            .await;
        mesh.control.put(
            proto::ROUTE_TYPE,
            "r",
            &route("r", vec![rule("no-slash", &[])]),
        );
        let rejection = mesh.control.rejection().await;
        assert_eq!(&*rejection.name, "r");
        assert!(rejection.reason.contains("path.prefix"), "{rejection:?}");
        assert_eq!(client.get(CART_80, "/a").await.status, 200);
        assert_eq!(client.get(CART_80, "/b").await.status, 404);
    });
}

#[test]
fn without_a_control_plane_traffic_goes_on() {
    run(|| async {
        let Mesh {
            authority,
            control,
            waypoint,
            tasks,
        } = Mesh::start().await;
        let mesh = Mesh {
            authority,
            control,
            waypoint,
            tasks,
        };
        let client = mesh.client().await;
        let _backend = mesh.endpoint("v1").await;
        mesh.settled(&client).await;
        mesh.control.stop();
        for _ in 0..20 {
            assert_eq!(client.get(CART_80, "/").await.status, 200);
        }
        assert_eq!(
            mesh.client().await.get(CART_80, "/").await.status,
            200,
            "new connections too"
        );
    });
}

#[test]
fn a_service_that_goes_away_is_404_on_connections_that_stay() {
    run(|| async {
        let mesh = Mesh::start().await;
        let client = mesh.client().await;
        let _backend = mesh.endpoint("v1").await;
        mesh.settled(&client).await;
        let mut sender = client.http1(CART_80).await;
        let before = sender.send_request(get("/")).await.unwrap();
        // Read to its end: only then is the connection free for the next request.
        assert_eq!(whole(before).await.status, 200);
        mesh.control.remove(proto::ADDRESS_TYPE, "shop/cart.shop");
        // Asked on other connections: tunnels that are dropped at once look like an attack.
        mesh.eventually("it is gone", async || {
            let answer = mesh.client().await.tunnel(CART_80).await;
            matches!(answer, Err(Error::Refused(StatusCode::NOT_FOUND)))
        })
        .await;
        sender.ready().await.unwrap();
        assert_eq!(sender.send_request(get("/")).await.unwrap().status(), 404);
        put_service(&mesh.control, &service("cart"));
        mesh.eventually("it is back", async || {
            mesh.client().await.tunnel(CART_80).await.is_ok()
        })
        .await;
    });
}

#[test]
fn a_service_that_leaves_its_waypoint_loses_no_request() {
    run(|| async {
        let mesh = Mesh::start().await;
        let client = mesh.client().await;
        let _backend = mesh.endpoint("v1").await;
        mesh.settled(&client).await;
        let mut one = client.http1(CART_80).await;
        let mut two = client.http2(CART_80).await;
        assert_eq!(
            whole(one.send_request(get("/")).await.unwrap())
                .await
                .status,
            200
        );
        assert_eq!(
            whole(two.send_request(get("/")).await.unwrap())
                .await
                .status,
            200
        );
        let alone = Service {
            waypoint: None,
            ..service("cart")
        };
        put_service(&mesh.control, &alone);
        mesh.eventually("it has left", async || {
            let dump = mesh
                .page(mesh.waypoint.addresses.admin, "/config_dump")
                .await;
            !dump.contains("cart.shop")
        })
        .await;
        one.ready().await.unwrap();
        let last = whole(one.send_request(get("/")).await.unwrap()).await;
        assert_eq!(
            (last.status, last.header("connection")),
            (200, Some("close"))
        );
        two.ready().await.unwrap();
        assert_eq!(
            whole(two.send_request(get("/")).await.unwrap())
                .await
                .status,
            200
        );
        mesh.eventually("HTTP/2 connections are asked to end", async || {
            two.ready().await.is_err()
        })
        .await;
        // A proxy that has not heard of it yet.
        assert_eq!(client.get(CART_80, "/").await.status, 200);
    });
}

#[test]
fn a_client_that_hears_of_a_service_first_waits_for_its_waypoint() {
    run(|| async {
        let mesh = Mesh::start().await;
        let client = mesh.client().await;
        let (tunnel, ()) = futures_util::future::join(client.tunnel("10.96.0.77:80"), async {
            let late = Service {
                addresses: vec![NetworkAddress {
                    address: [10, 96, 0, 77].to_vec().into(),
                    ..Default::default()
                }],
                ..service("late")
            };
            put_service(&mesh.control, &late);
        })
        .await;
        assert!(tunnel.is_ok(), "{:?}", tunnel.err());
    });
}

#[test]
fn the_dump_shows_what_is_attached_and_no_key() {
    run(|| async {
        let mesh = Mesh::start().await;
        let client = mesh.client().await;
        let _backend = mesh.endpoint("v1").await;
        mesh.settled(&client).await;
        mesh.control.put(
            proto::ROUTE_TYPE,
            "r",
            &route("named", vec![rule("/", &[("cart", 1)])]),
        );
        mesh.eventually("the route is shown", async || {
            let dump = mesh
                .page(mesh.waypoint.addresses.admin, "/config_dump")
                .await;
            assert!(!dump.contains("PRIVATE KEY"));
            dump.contains("named") && dump.contains("shop/cart.shop") && dump.contains("pod-v1")
        })
        .await;
        let dump = mesh
            .page(mesh.waypoint.addresses.admin, "/config_dump")
            .await;
        assert!(dump.contains(crate::mesh::WAYPOINT), "its certificate");
    });
}
