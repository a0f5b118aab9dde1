//! A filter that takes its time, but never too long for one call, keeps nobody else waiting.

use std::cell::Cell;
use std::rc::Rc;

use proto::workload::{NetworkAddress, TunnelProtocol};

use crate::backend::{Backend, Speaks};
use crate::client::{Client, get, whole};
use crate::guests::{put, stage};
use crate::mesh::{CART_80, Mesh, put_service, run, service};

/// Works for some milliseconds at each request: less than what a callback may take.
const SLOW: &str = r#"
    (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) (local $n i32)
        (loop $again
            (local.set $n (i32.add (local.get $n) (i32.const 1)))
            (br_if $again (i32.lt_u (local.get $n) (i32.const 2000000))))
        (i32.const 0))"#;

/// Connections on which requests for the slow filter are sent, each when the last was answered.
const CROWD: usize = 30;
/// Requests of another service meanwhile.
const OTHERS: usize = 40;

/// The service that has no filter.
const PLAIN: [u8; 4] = [10, 96, 0, 2];
const PLAIN_80: &str = "10.96.0.2:80";

/// Sends requests for `cart` without a pause, on [`CROWD`] connections, until it is dropped, and
/// counts the answers.
async fn crowd(mesh: &Mesh, client: &Client) -> Rc<Cell<usize>> {
    let answers = Rc::new(Cell::new(0));
    for _ in 0..CROWD {
        let (mut sender, answers) = (client.http1(CART_80).await, Rc::downgrade(&answers));
        mesh.tasks.spawn("one of the crowd", async move {
            while let Some(answers) = answers.upgrade() {
                let response = sender.send_request(get("/slow")).await.unwrap();
                assert_eq!(whole(response).await.status, 200);
                answers.set(answers.get() + 1);
            }
        });
    }
    answers
}

#[test]
fn a_crowd_at_a_slow_filter_does_not_hold_up_other_services() {
    run(async || {
        let (mesh, client, _cart, folder) = stage().await;
        let mut plain = service("plain");
        plain.addresses = vec![NetworkAddress {
            address: PLAIN.to_vec().into(),
            ..Default::default()
        }];
        put_service(&mesh.control, &plain);
        let backend = Backend::plain("plain", Speaks::Http1).await;
        mesh.attach(&backend, "plain", "plain", TunnelProtocol::None);
        put(&mesh, &folder.plugin("slow", SLOW));
        mesh.eventually("the filter runs", async || {
            client.get(CART_80, "/").await;
            let calls = ["slow", "proxy_on_request_headers"];
            mesh.metric("cairn_wasm_invocations_total", &calls).await > 0.0
        })
        .await;

        let answers = crowd(&mesh, &client).await;
        mesh.eventually("the crowd is served", async || answers.get() > CROWD)
            .await;
        let before = answers.get();
        for _ in 0..OTHERS {
            assert_eq!(client.get(PLAIN_80, "/").await.status, 200);
        }
        let meanwhile = answers.get() - before;

        // Who stands in one line with the crowd waits for all of it, several times per request.
        assert!(
            meanwhile < OTHERS * CROWD / 3,
            "the slow filter served {meanwhile} requests during {OTHERS} of the others"
        );
        let waited = "cairn_wasm_wait_duration_microseconds_count";
        assert!(mesh.metric(waited, &["slow"]).await > 0.0);
        let traps = mesh.metric("cairn_wasm_traps_total", &["slow"]).await;
        assert!(traps < 1.0, "it was stopped {traps} times");
    });
}
