//! Becoming ready, and ending.

use std::time::{Duration, Instant};

use crate::backend::Act;
use crate::client::{get, whole};
use crate::mesh::{CART_80, Mesh, run};

#[test]
fn it_is_ready_once_it_has_a_certificate_and_configuration() {
    run(|| async {
        let mesh = Mesh::start().await;
        let page = mesh
            .page(mesh.waypoint.addresses.readiness, "/healthz/ready")
            .await;
        assert!(
            page.starts_with("HTTP/1.1 200") && page.ends_with("ready\n"),
            "{page}"
        );
    });
}

#[test]
fn the_request_in_flight_is_answered_and_then_it_ends() {
    run(|| async {
        let mesh = Mesh::start().await;
        let client = mesh.client().await;
        let backend = mesh.endpoint("v1").await;
        mesh.settled(&client).await;
        backend.script([Act::Stall(Duration::from_secs(1))]);
        let mut sender = client.http1(CART_80).await;
        let before = backend.seen().len();
        let mut asked = Box::pin(sender.send_request(get("/slow")));
        // Drive the request until the endpoint has it.
        while backend.seen().len() == before {
            tokio::select! {
                answer = &mut asked => panic!("answered too early: {answer:?}"),
                () = tokio::task::yield_now() => {}
            }
        }
        let started = Instant::now();
        let Mesh { waypoint, .. } = mesh;
        let (answer, ()) = tokio::join!(asked, waypoint.stop(Duration::from_secs(20)));
        assert_eq!(whole(answer.unwrap()).await.status, 200);
        assert!(
            started.elapsed() < Duration::from_secs(15),
            "it waited for nobody"
        );
    });
}

#[test]
fn what_does_not_end_is_ended_when_its_time_is_up() {
    run(|| async {
        let mesh = Mesh::start().await;
        let client = mesh.client().await;
        let backend = mesh.endpoint("v1").await;
        mesh.settled(&client).await;
        backend.script([Act::Stall(Duration::from_hours(1))]);
        let mut sender = client.http1(CART_80).await;
        let before = backend.seen().len();
        let mut asked = Box::pin(sender.send_request(get("/slow")));
        while backend.seen().len() == before {
            tokio::select! {
                answer = &mut asked => panic!("answered too early: {answer:?}"),
                () = tokio::task::yield_now() => {}
            }
        }
        let started = Instant::now();
        let Mesh { waypoint, .. } = mesh;
        let (answer, ()) = tokio::join!(asked, waypoint.stop(Duration::from_millis(500)));
        assert!(answer.is_err());
        assert!(started.elapsed() < Duration::from_secs(10));
    });
}
