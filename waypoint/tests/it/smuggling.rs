//! What must never reach an endpoint.

use std::fmt::Write;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::mesh::{CART_80, Mesh, run};

/// Sends bytes, says that there are no more, and reads all answers.
async fn raw(client: &crate::client::Client, bytes: &[u8]) -> String {
    let mut tunnel = client.tunnel(CART_80).await.unwrap();
    tunnel.write_all(bytes).await.unwrap();
    let mut answer = vec![];
    // A connection that is closed at once may be reset before all was read.
    let _ = tunnel.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn ambiguous_requests_are_400_and_reach_nobody() {
    run(|| async {
        let mesh = Mesh::start().await;
        let client = mesh.client().await;
        let backend = mesh.endpoint("v1").await;
        mesh.settled(&client).await;
        let before = backend.seen().len();
        for request in [
            "GET /x HTTP/1.1\nhost: a\n\n",
            "GET /x HTTP/1.1\r\nhost: a\n\r\n",
            "GET /x#y HTTP/1.1\r\nhost: a\r\n\r\n",
            "GET /x HTTP/1.1\r\n\r\n",
            "GET /x HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
            "GET /x HTTP/1.1\r\nhost: a,b\r\n\r\n",
            "GET http://b/x HTTP/1.1\r\nhost: a\r\n\r\n",
            "POST /x HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            "POST /x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ntransfer-encoding: identity\r\n\r\n0\r\n\r\n",
            "POST /x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
            "POST /x HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd",
            "GET /x HTTP/1.1\r\nhost: a\r\n x: folded\r\n\r\n",
            "GET /%zz HTTP/1.1\r\nhost: a\r\n\r\n",
            "GET /a%00 HTTP/1.1\r\nhost: a\r\n\r\n",
            "CONNECT a:80 HTTP/1.1\r\nhost: a:80\r\n\r\n",
        ] {
            let answer = raw(&client, request.as_bytes()).await;
            assert!(answer.starts_with("HTTP/1.1 400"), "{request:?}: {answer}");
        }
        assert_eq!(backend.seen().len(), before);
    });
}

#[test]
fn a_request_in_a_body_is_a_body() {
    run(|| async {
        let mesh = Mesh::start().await;
        let client = mesh.client().await;
        let backend = mesh.endpoint("v1").await;
        mesh.settled(&client).await;
        let before = backend.seen().len();
        let inner = "GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n";
        let length = inner.len();
        let outer = format!(
            "POST /outer HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n{inner}\
             GET /next HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"
        );
        let answer = raw(&client, outer.as_bytes()).await;
        assert_eq!(answer.matches("HTTP/1.1 200").count(), 2, "{answer}");
        let lines: Vec<_> = backend
            .seen()
            .drain(before..)
            .map(|seen| seen.line)
            .collect();
        assert_eq!(lines, ["POST /outer HTTP/1.1", "GET /next HTTP/1.1"]);
    });
}

#[test]
fn too_large_a_head_is_431() {
    run(|| async {
        let mesh = Mesh::start().await;
        let client = mesh.client().await;
        let _backend = mesh.endpoint("v1").await;
        mesh.settled(&client).await;
        let mut many = "GET / HTTP/1.1\r\nhost: a\r\n".to_owned();
        for n in 0..150 {
            let _ = write!(many, "x-{n}: y\r\n");
        }
        many.push_str("\r\n");
        let answer = raw(&client, many.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
        let long = format!(
            "GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n",
            "y".repeat(100_000)
        );
        let answer = raw(&client, long.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    });
}
