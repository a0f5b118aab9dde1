//! Bodies that plugins hold back: how much of them all together, and that it is given back.

use std::time::Duration;

use hbone::Tunnel;
use proto::cairn::waypoint as wire;
use proto::cairn::waypoint::plugin::{FailStrategy, Type};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::backend::Backend;
use crate::client::{Client, request};
use crate::guests::Folder;
use crate::mesh::{CART_80, Mesh, run};

/// What plugins may hold in these tests, in bytes.
const MOST: usize = 64 << 10;
/// The beginning of each body; the rest never comes.
const PIECE: usize = 16 << 10;
const HELD: &str = "cairn_wasm_held_bytes";

/// Holds bodies of requests until their end.
const HOLDS_REQUESTS: &str = r#"
    (func (export "proxy_on_request_body") (param i32 i32) (param $end i32) (result i32)
        (i32.eqz (local.get $end)))"#;

/// Holds what clients send until they have ended.
const HOLDS_CONNECTIONS: &str = r#"
    (func (export "proxy_on_downstream_data") (param i32 i32) (param $end i32) (result i32)
        (i32.eqz (local.get $end)))"#;

/// Looks at bodies and lets each piece go.
const LOOKS: &str = r#"
    (func (export "proxy_on_request_body") (param i32 i32 i32) (result i32) (i32.const 0))"#;

async fn stage() -> (Mesh, Client, Backend, Folder) {
    let mesh = Mesh::configured(|_| {}, |config| config.held_bodies = MOST).await;
    let client = mesh.client().await;
    let backend = mesh.endpoint("v1").await;
    mesh.settled(&client).await;
    (mesh, client, backend, Folder::new())
}

/// A gauge without labels.
async fn held(mesh: &Mesh) -> usize {
    let stats = mesh.waypoint.addresses.stats;
    let page = mesh.page(stats, "/stats/prometheus").await;
    let line = page
        .lines()
        .find(|line| line.starts_with(&format!("{HELD} ")));
    line.unwrap().rsplit(' ').next().unwrap().parse().unwrap()
}

async fn until_held(mesh: &Mesh, bytes: usize) {
    mesh.eventually(&format!("{bytes} bytes are held"), async || {
        held(mesh).await == bytes
    })
    .await;
}

/// Begins a request with a body that does not end.
async fn begun(client: &Client) -> Tunnel {
    let mut tunnel = client.tunnel(CART_80).await.unwrap();
    let head = "POST / HTTP/1.1\r\nhost: cart.shop\r\ncontent-length: 1000000\r\n\r\n";
    tunnel.write_all(head.as_bytes()).await.unwrap();
    tunnel.write_all(&vec![b'x'; PIECE]).await.unwrap();
    tunnel.flush().await.unwrap();
    tunnel
}

/// The status of the answer that comes although the request has not ended.
async fn refused(tunnel: &mut Tunnel) -> String {
    let mut line = vec![0; 12];
    tunnel.read_exact(&mut line).await.unwrap();
    String::from_utf8(line).unwrap()
}

fn put(mesh: &Mesh, plugin: &wire::Plugin) {
    mesh.control.put(proto::PLUGIN_TYPE, "holds", plugin);
}

/// Waits until a plugin holds bodies.
async fn in_force(mesh: &Mesh, client: &Client) {
    mesh.eventually("bodies are held", async || {
        let tunnel = begun(client).await;
        let deadline = tokio::time::Instant::now() + Duration::from_secs(1);
        let mut is_held = false;
        while !is_held && tokio::time::Instant::now() < deadline {
            is_held = held(mesh).await > 0;
        }
        drop(tunnel);
        is_held
    })
    .await;
    until_held(mesh, 0).await;
}

#[test]
fn bodies_that_plugins_hold_have_a_total_and_give_it_back_on_every_path() {
    run(|| async {
        let (mesh, client, backend, folder) = stage().await;
        // A body that is held is not for `FAIL_OPEN` to let past.
        for strategy in [FailStrategy::FailClose, FailStrategy::FailOpen] {
            let plugin = wire::Plugin {
                fail_strategy: strategy.into(),
                ..folder.plugin("holds", HOLDS_REQUESTS)
            };
            put(&mesh, &plugin);
            in_force(&mesh, &client).await;
            let mut holding = vec![];
            for n in 1..=MOST / PIECE {
                holding.push(begun(&client).await);
                until_held(&mesh, n * PIECE).await;
            }
            let before = backend.seen().len();
            for _ in 0..3 {
                let mut more = begun(&client).await;
                assert_eq!(refused(&mut more).await, "HTTP/1.1 503");
                assert_eq!(held(&mesh).await, MOST, "what others hold stays");
            }
            // Who has no body needs nothing of it.
            assert_eq!(client.get(CART_80, "/").await.status, 200);
            assert_eq!(backend.seen().len(), before + 1, "nothing was let past");
            // A client that leaves gives back what was held for it.
            drop(holding.pop());
            until_held(&mesh, MOST - PIECE).await;
            let small = request("POST", "/", &[], vec![b'x'; PIECE]);
            assert_eq!(client.send(CART_80, small).await.status, 200);
            until_held(&mesh, MOST - PIECE).await;
            drop(holding);
            until_held(&mesh, 0).await;
            mesh.control.remove(proto::PLUGIN_TYPE, "holds");
        }
        let hits = "cairn_wasm_budget_hits_total";
        assert!(mesh.metric(hits, &["budget=\"held_bodies\""]).await >= 6.0);
    });
}

#[test]
fn bodies_that_pass_piece_by_piece_need_nothing_of_the_total() {
    run(|| async {
        let (mesh, client, backend, folder) = stage().await;
        put(&mesh, &folder.plugin("holds", LOOKS));
        let calls = "cairn_wasm_invocations_total";
        let large = 4 * MOST;
        mesh.eventually("it looks at bodies", async || {
            let large = request("POST", "/", &[], vec![b'x'; large]);
            assert_eq!(client.send(CART_80, large).await.status, 200);
            mesh.metric(calls, &["proxy_on_request_body"]).await >= 1.0
        })
        .await;
        assert_eq!(backend.seen().last().unwrap().body.len(), large);
        assert_eq!(held(&mesh).await, 0);
    });
}

#[test]
fn connections_that_plugins_hold_back_are_of_the_same_total() {
    run(|| async {
        let (mesh, client, _backend, folder) = stage().await;
        let plugin = wire::Plugin {
            r#type: Type::Network.into(),
            ..folder.plugin("holds", HOLDS_CONNECTIONS)
        };
        put(&mesh, &plugin);
        in_force(&mesh, &client).await;
        let mut holding = vec![];
        while held(&mesh).await + PIECE <= MOST {
            holding.push(begun(&client).await);
            let n = holding.len();
            mesh.eventually("it is held", async || held(&mesh).await >= n * PIECE)
                .await;
        }
        let mut more = begun(&client).await;
        let mut end = vec![];
        // Whether that is an end or a reset, nothing was answered.
        let _ = more.read_to_end(&mut end).await;
        assert!(end.is_empty(), "{end:?}");
        drop(holding);
        until_held(&mesh, 0).await;
    });
}
