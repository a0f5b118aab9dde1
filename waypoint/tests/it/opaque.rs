//! Bytes the waypoint does not read.

use std::time::Duration;

use proto::cairn::waypoint as wire;
use proto::workload::TunnelProtocol;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::backend::address;
use crate::mesh::{Mesh, WEB, origin, put_workload, run, targets, workload};

/// The service at its declared TCP port, and at its undeclared one.
const CART_TCP: &str = "10.96.0.1:82";
const CART_ANY: &str = "10.96.0.1:81";

/// An endpoint that greets first and then echoes.
async fn greeter(mesh: &Mesh) {
    let listener = TcpListener::bind((address(), 0)).await.unwrap();
    let at = listener.local_addr().unwrap();
    let tasks = mesh.tasks.clone();
    mesh.tasks.spawn("greeter", async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tasks.spawn("greeter connection", async move {
                let _ = stream.write_all(b"hello\n").await;
                let (mut read, mut write) = stream.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
                let _ = write.shutdown().await;
            });
        }
    });
    put_workload(
        &mesh.control,
        &workload("greeter", at, "cart", TunnelProtocol::None),
    );
}

/// Waits until a tunnel leads to the greeter, and returns it behind the greeting.
async fn greeted(mesh: &Mesh, id: &str) -> hbone::Tunnel {
    let client = mesh.client_as(id).await;
    let mut found = None;
    mesh.eventually("somebody greets", async || {
        let Ok(mut tunnel) = client.tunnel(CART_TCP).await else {
            return false;
        };
        let mut hello = [0; 6];
        tunnel.read_exact(&mut hello).await.unwrap();
        assert_eq!(&hello, b"hello\n");
        found = Some(tunnel);
        true
    })
    .await;
    // The tunnel's connection lives as long as its tasks, which the mesh owns.
    mesh.tasks.spawn("client", async move {
        let _client = client;
        std::future::pending::<()>().await;
    });
    found.unwrap()
}

#[test]
fn a_server_that_speaks_first_is_heard_on_a_declared_port() {
    run(|| async {
        let mesh = Mesh::start().await;
        greeter(&mesh).await;
        let mut tunnel = greeted(&mesh, WEB).await;
        tunnel.write_all(b"\x00\x01 any bytes").await.unwrap();
        tunnel.shutdown().await.unwrap();
        let mut echo = vec![];
        tunnel.read_to_end(&mut echo).await.unwrap();
        assert_eq!(echo, b"\x00\x01 any bytes");
        let labels = ["reporter=\"waypoint\"", "destination_workload=\"greeter\""];
        mesh.eventually("it is counted", async || {
            mesh.metric("istio_tcp_connections_closed_total", &labels)
                .await
                >= 1.0
        })
        .await;
        let received = mesh.metric("istio_tcp_received_bytes_total", &labels).await;
        assert_eq!(
            received.to_string(),
            b"\x00\x01 any bytes".len().to_string()
        );
    });
}

#[test]
fn what_is_not_http_passes_on_an_undeclared_port() {
    run(|| async {
        let mesh = Mesh::start().await;
        greeter(&mesh).await;
        drop(greeted(&mesh, WEB).await);
        let client = mesh.client().await;
        let mut tunnel = client.tunnel(CART_ANY).await.unwrap();
        tunnel.write_all(b"*1\r\n$4\r\nPING\r\n").await.unwrap();
        tunnel.shutdown().await.unwrap();
        let mut echo = vec![];
        tunnel.read_to_end(&mut echo).await.unwrap();
        assert_eq!(echo, b"hello\n*1\r\n$4\r\nPING\r\n");
    });
}

#[test]
fn much_passes_both_ways() {
    run(|| async {
        const BYTES: usize = 64 << 20;
        let mesh = Mesh::start().await;
        greeter(&mesh).await;
        let tunnel = greeted(&mesh, WEB).await;
        let (mut read, mut write) = tunnel.into_split();
        let sending = async {
            let chunk: Vec<u8> = (0..65_536_u32).map(|n| (n % 251) as u8).collect();
            for _ in 0..BYTES / chunk.len() {
                write.write_all(&chunk).await.unwrap();
            }
            write.shutdown().await.unwrap();
        };
        let receiving = async {
            let (mut total, mut buffer) = (0, vec![0; 65_536]);
            loop {
                let n = read.read(&mut buffer).await.unwrap();
                if n == 0 {
                    return total;
                }
                for (at, byte) in buffer[..n].iter().enumerate() {
                    assert_eq!(usize::from(*byte), (total + at) % 65_536 % 251);
                }
                total += n;
            }
        };
        let ((), total) = tokio::join!(sending, receiving);
        assert_eq!(total, BYTES);
    });
}

fn deny_port(mesh: &Mesh, port: u32, paths: &[&str]) {
    let paths = paths.iter().map(|path| (*path).to_owned()).collect();
    let operation = wire::Operation {
        ports: vec![port],
        paths,
        ..Default::default()
    };
    let rule = wire::PolicyRule {
        to: vec![operation],
        ..Default::default()
    };
    let policy = wire::Policy {
        origin: Some(origin("AuthorizationPolicy", "deny")),
        targets: targets(),
        action: wire::policy::Action::Deny.into(),
        rules: vec![rule],
        ..Default::default()
    };
    mesh.control.put(proto::POLICY_TYPE, "deny", &policy);
}

#[test]
fn a_denied_connection_is_refused_with_the_status_ztunnel_knows() {
    run(|| async {
        let mesh = Mesh::start().await;
        greeter(&mesh).await;
        drop(greeted(&mesh, WEB).await);
        // The path is of no port that carries opaque bytes; leaving it out denies more.
        deny_port(&mesh, 82, &["/x"]);
        let client = mesh.client().await;
        mesh.eventually("it is refused", async || {
            let refused = client.tunnel(CART_TCP).await;
            refused.is_err_and(|error| error.to_string() == "http status: 401 Unauthorized")
        })
        .await;
        let labels = ["response_flags=\"DENY\""];
        mesh.eventually("it is counted", async || {
            mesh.metric("istio_tcp_connections_closed_total", &labels)
                .await
                >= 1.0
        })
        .await;
    });
}

#[test]
fn an_open_connection_ends_when_a_policy_begins_to_deny_it() {
    run(|| async {
        let mesh = Mesh::start().await;
        greeter(&mesh).await;
        let mut tunnel = greeted(&mesh, WEB).await;
        deny_port(&mesh, 82, &[]);
        let mut byte = [0];
        let end = tokio::time::timeout(Duration::from_secs(20), tunnel.read(&mut byte)).await;
        assert!(end.unwrap().map_or(true, |n| n == 0), "it must not go on");
    });
}

#[test]
fn an_endpoint_that_cannot_be_reached_is_told_before_the_tunnel_is_up() {
    run(|| async {
        let mesh = Mesh::start().await;
        let client = mesh.client().await;
        let error = client.tunnel(CART_TCP).await.unwrap_err();
        assert_eq!(error.to_string(), "http status: 503 Service Unavailable");
    });
}
