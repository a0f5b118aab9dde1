use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::Strict;
use super::scan::Scanner;

/// Scans in pieces of every size; all must agree. The place of the violation, if any.
#[track_caller]
fn scan(bytes: &[u8]) -> Option<usize> {
    let outcomes = [1, 2, 3, 7, 64, bytes.len().max(1)].map(|size| {
        let mut scanner = Scanner::default();
        let mut at = 0;
        for piece in bytes.chunks(size) {
            if let Err(place) = scanner.scan(piece) {
                // Which byte is blamed may depend on the cut; whether one is may not.
                return Some(at + place);
            }
            at += piece.len();
        }
        None
    });
    let refused = outcomes.iter().filter(|outcome| outcome.is_some()).count();
    assert!(refused == 0 || refused == outcomes.len(), "{outcomes:?}");
    outcomes[5]
}

#[test]
fn well_formed_requests_pass() {
    for bytes in [
        &b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..],
        b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhel\nlPOST / HTTP/1.1\r\ncontent-length:0\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\na\nb\rc\r\nA;x=y\r\n0123456789\r\n0\r\nt: v\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        b"POST / HTTP/1.1\r\nTRANSFER-ENCODING:\tChunked \r\n\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n\x81\x05hello\n\r#",
    ] {
        assert_eq!(scan(bytes), None, "{:?}", String::from_utf8_lossy(bytes));
    }
}

#[test]
fn what_two_readers_could_disagree_about_is_refused() {
    for head in [
        // Line ends.
        "GET / HTTP/1.1\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n\n",
        "GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\r\n\r\n",
        "GET /\r HTTP/1.1\r\n\r\n",
        // Continued and indented lines.
        "GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n",
        "GET / HTTP/1.1\r\n\tA: b\r\n\r\n",
        // Fragments.
        "GET /a#b HTTP/1.1\r\n\r\n",
        "GET /a?x#b HTTP/1.1\r\n\r\n",
        // Lengths.
        "POST / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 3, 3\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: +3\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: -3\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 0x3\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 1_0\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 1 2\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length:\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
        // Codings.
        "POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: identity\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked, chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: xchunked\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked;q=1\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: ,chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: \x0bchunked\r\n\r\n",
    ] {
        assert!(scan(head.as_bytes()).is_some(), "{head:?}");
    }
    let long = format!(
        "POST / HTTP/1.1\r\nContent-Length: {}3\r\n\r\n",
        " ".repeat(80)
    );
    assert!(scan(long.as_bytes()).is_some());
}

#[test]
fn chunks_are_refused_where_they_are_not_exact() {
    let head = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
    for body in [
        "\r\n",
        "g\r\n",
        "0x3\r\nabc\r\n",
        "-1\r\n",
        "3 \r\nabc\r\n",
        "3\nabc\r\n0\r\n\r\n",
        "3\r\nabc\n0\r\n\r\n",
        "3\r\nabcd\r\n0\r\n\r\n",
        "3\r\nabc0\r\n\r\n",
        "ffffffffffffffff\r\n",
        "0\r\n a: b\r\n\r\n",
        "0\r\na: b\n\r\n",
        "3\rabc\r\n",
    ] {
        let bytes = format!("{head}{body}");
        assert!(scan(bytes.as_bytes()).is_some(), "{body:?}");
    }
    let padded = format!("{head}3{}x\r\nabc\r\n", "\t".repeat(80));
    assert!(scan(padded.as_bytes()).is_some());
    let extension = format!("{head}3;{}\r\nabc\r\n", "x".repeat(300));
    assert!(scan(extension.as_bytes()).is_some());
}

#[test]
fn a_smuggled_second_request_is_where_the_framing_says_it_is() {
    // The body's own text looks like a request; it is not one.
    let body = "GET /admin HTTP/1.1\nHost: a\n\n";
    let bytes = format!(
        "POST / HTTP/1.1\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    assert_eq!(scan(bytes.as_bytes()), None);
}

#[tokio::test]
async fn hands_over_a_nul_and_the_end() {
    let bytes = b"GET / HTTP/1.1\nHost: a\r\n\r\nGET /smuggled";
    let mut read = vec![];
    Strict::new(&bytes[..])
        .read_to_end(&mut read)
        .await
        .unwrap();
    assert_eq!(read, b"GET / HTTP/1.1\0");
}

#[tokio::test(start_paused = true)]
async fn a_head_that_is_not_finished_in_time_ends_the_stream() {
    let (mut client, server) = tokio::io::duplex(64);
    let mut strict = Strict::new(server);
    let mut read = vec![0; 64];
    client.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    assert!(strict.read(&mut read).await.unwrap() > 0);
    let error = strict.read(&mut read).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
}

#[tokio::test(start_paused = true)]
async fn a_connection_between_requests_may_rest() {
    let (mut client, server) = tokio::io::duplex(64);
    let mut strict = Strict::new(server);
    let mut read = vec![0; 64];
    client.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    assert!(strict.read(&mut read).await.unwrap() > 0);
    let resting = tokio::time::timeout(Duration::from_hours(1), strict.read(&mut read));
    assert!(resting.await.is_err());
}
