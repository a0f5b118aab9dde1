//! Which endpoint gets a request.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::StreamExt;
use proto::workload::{TunnelProtocol, WorkloadStatus};

use crate::backend::Act;
use crate::client::get;
use crate::mesh::{CART_80, Mesh, put_workload, run, workload};

#[test]
fn idle_endpoints_share_requests_and_a_slow_one_gets_few() {
    run(|| async {
        let mesh = Mesh::start().await;
        let client = mesh.client().await;
        let (fast, slow) = (mesh.endpoint("fast").await, mesh.endpoint("slow").await);
        mesh.until(&client, "/", |answer| {
            answer.header("x-backend") == Some("slow")
        })
        .await;
        mesh.until(&client, "/", |answer| {
            answer.header("x-backend") == Some("fast")
        })
        .await;
        slow.script(std::iter::repeat_n(
            Act::Stall(Duration::from_millis(500)),
            1000,
        ));
        let before = (fast.seen().len(), slow.seen().len());
        let requests = (0..100).map(|_| async {
            let mut sender = client.http1(CART_80).await;
            assert_eq!(sender.send_request(get("/")).await.unwrap().status(), 200);
        });
        // Ten in flight at any time: as long as the slow one holds some, the others go to the
        // fast one.
        futures_util::stream::iter(requests.map(Box::pin))
            .buffer_unordered(10)
            .collect::<()>()
            .await;
        let (fast, slow) = (fast.seen().len() - before.0, slow.seen().len() - before.1);
        assert_eq!(fast + slow, 100);
        assert!(slow * 2 < fast, "slow {slow}, fast {fast}");
    });
}

#[test]
fn an_endpoint_that_is_not_ready_gets_nothing() {
    run(|| async {
        let mesh = Mesh::start().await;
        let client = mesh.client().await;
        let (ready, unready) = (mesh.endpoint("ready").await, mesh.endpoint("unready").await);
        mesh.until(&client, "/", |answer| {
            answer.header("x-backend") == Some("unready")
        })
        .await;
        let mut record = workload("unready", unready.address, "cart", TunnelProtocol::None);
        record.status = WorkloadStatus::Unhealthy.into();
        put_workload(&mesh.control, &record);
        mesh.eventually("it is known", async || {
            let dump = mesh
                .page(mesh.waypoint.addresses.admin, "/config_dump")
                .await;
            dump.contains("\"healthy\":false") || dump.contains("\"healthy\": false")
        })
        .await;
        let before = unready.seen().len();
        let mut shares = BTreeMap::new();
        for _ in 0..50 {
            let answer = client.get(CART_80, "/").await;
            *shares
                .entry(answer.header("x-backend").unwrap().to_owned())
                .or_insert(0) += 1;
        }
        assert_eq!(shares, BTreeMap::from([("ready".to_owned(), 50)]));
        assert_eq!(unready.seen().len(), before);
        assert!(ready.seen().len() >= 50);
    });
}
