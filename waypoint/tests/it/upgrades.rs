//! WebSockets.

use proto::workload::TunnelProtocol;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;

use crate::backend::address;
use crate::mesh::{CART_80, Mesh, put_workload, run, workload};

const ASK: &str = "GET /chat HTTP/1.1\r\nhost: cart.shop\r\nconnection: Upgrade\r\n\
                   upgrade: websocket\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                   sec-websocket-version: 13\r\n\r\n";

/// An endpoint that agrees (or not) and then echoes bytes; it sends its first frame with the head.
async fn chat(mesh: &Mesh, agrees: bool) {
    let listener = TcpListener::bind((address(), 0)).await.unwrap();
    let at = listener.local_addr().unwrap();
    let tasks = mesh.tasks.clone();
    mesh.tasks.spawn("chat", async move {
        while let Ok((stream, _)) = listener.accept().await {
            tasks.spawn("chat connection", async move {
                let mut stream = BufReader::new(stream);
                let mut head = String::new();
                while !head.ends_with("\r\n\r\n") {
                    if stream.read_line(&mut head).await.unwrap_or(0) == 0 {
                        return;
                    }
                }
                if !agrees {
                    let no = b"HTTP/1.1 426 Upgrade Required\r\ncontent-length: 2\r\n\r\nno";
                    let _ = stream.write_all(no).await;
                    return;
                }
                assert!(
                    head.to_ascii_lowercase().contains("upgrade: websocket"),
                    "{head}"
                );
                assert!(
                    head.contains("sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ=="),
                    "{head}"
                );
                let yes = b"HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\n\
                            upgrade: websocket\r\nsec-websocket-accept: x\r\n\r\nfirst frame;";
                let _ = stream.write_all(yes).await;
                let (mut read, mut write) = tokio::io::split(stream);
                let _ = tokio::io::copy(&mut read, &mut write).await;
                let _ = write.shutdown().await;
            });
        }
    });
    put_workload(
        &mesh.control,
        &workload("chat", at, "cart", TunnelProtocol::None),
    );
}

/// Asks until the endpoint is known; the stream and the head of the answer.
async fn ask(mesh: &Mesh, client: &crate::client::Client) -> (BufReader<hbone::Tunnel>, String) {
    let mut found = None;
    mesh.eventually("the endpoint is known", async || {
        let mut stream = BufReader::new(client.tunnel(CART_80).await.unwrap());
        stream.write_all(ASK.as_bytes()).await.unwrap();
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(stream.read_line(&mut head).await.unwrap() > 0, "{head}");
        }
        let known = !head.starts_with("HTTP/1.1 503");
        found = Some((stream, head));
        known
    })
    .await;
    found.unwrap()
}

#[test]
fn frames_pass_both_ways_after_the_endpoint_agreed() {
    run(|| async {
        let mesh = Mesh::start().await;
        chat(&mesh, true).await;
        let client = mesh.client().await;
        let (mut stream, head) = ask(&mesh, &client).await;
        let head = head.to_ascii_lowercase();
        assert!(head.starts_with("http/1.1 101"), "{head}");
        assert!(head.contains("upgrade: websocket") && head.contains("sec-websocket-accept: x"));
        let mut first = [0; 12];
        stream.read_exact(&mut first).await.unwrap();
        assert_eq!(&first, b"first frame;");
        // No longer HTTP: nothing may be looked for in it.
        let frames = b"\x81\x05hello\nGET /#\r\r\n\x00";
        stream.write_all(frames).await.unwrap();
        let mut echo = vec![0; frames.len()];
        stream.read_exact(&mut echo).await.unwrap();
        assert_eq!(echo, frames);
        stream.shutdown().await.unwrap();
        let mut rest = vec![];
        stream.read_to_end(&mut rest).await.unwrap();
        assert!(rest.is_empty());
        mesh.eventually("it is counted when it ends", async || {
            mesh.metric("istio_requests_total", &["response_code=\"101\""])
                .await
                >= 1.0
        })
        .await;
    });
}

#[test]
fn a_refused_upgrade_is_an_answer_and_ends_the_connection() {
    run(|| async {
        let mesh = Mesh::start().await;
        chat(&mesh, false).await;
        let client = mesh.client().await;
        let (mut stream, head) = ask(&mesh, &client).await;
        assert!(head.starts_with("HTTP/1.1 426"), "{head}");
        assert!(
            head.to_ascii_lowercase().contains("connection: close"),
            "{head}"
        );
        let mut body = String::new();
        stream.read_to_string(&mut body).await.unwrap();
        assert_eq!(body, "no");
    });
}
