use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{PREFACE, Protocol, classify, sniff, version};

#[test]
fn recognises_protocols_by_their_first_line() {
    for (bytes, expected) in [
        (&b"GET / HTTP/1.1\r\n"[..], Some(Protocol::Http1)),
        (b"M-SEARCH * HTTP/1.1\r\nHost: x\r\n", Some(Protocol::Http1)),
        (b"POST /a HTTP/1.0\r\n", Some(Protocol::Http1)),
        (PREFACE, Some(Protocol::Http2)),
        (b"", None),
        (b"G", None),
        (b"GET /a", None),
        (b"GET / HTTP/1.1\r", None),
        (b"PRI * HTTP/2.0\r\n", None),
        (b"PRI * HTTP/2.0\r\n\r\nXX", Some(Protocol::Opaque)),
        (b"get / HTTP/1.1\r\n", Some(Protocol::Opaque)),
        (b"GET / HTTP/1.1\n", Some(Protocol::Opaque)),
        (b"GET / HTTP/3.1\r\n", Some(Protocol::Opaque)),
        (b"GET  / HTTP/1.1\r\n", Some(Protocol::Opaque)),
        (b"GET /\r\n", Some(Protocol::Opaque)),
        (b"EHLO mail.example\r\n", Some(Protocol::Opaque)),
        (b"\x16\x03\x01", Some(Protocol::Opaque)),
        (b"\x00\x00\x00\x08", Some(Protocol::Opaque)),
        (b"*1\r\n$4\r\nPING\r\n", Some(Protocol::Opaque)),
    ] {
        assert_eq!(
            classify(bytes),
            expected,
            "{:?}",
            String::from_utf8_lossy(bytes)
        );
    }
    assert_eq!(classify(&[b'A'; 25]), Some(Protocol::Opaque));
    let endless = format!("GET /{}", "a".repeat(9 << 10));
    assert_eq!(classify(endless.as_bytes()), Some(Protocol::Opaque));
}

#[test]
fn how_a_stream_is_cut_does_not_decide_what_it_is() {
    for line in [
        &b"GET / HTTP/1.1\r\n"[..],
        b"GET /\xff HTTP/1.1\r\n",
        b"GET /\t HTTP/1.1\r\n",
        b"GET /\r HTTP/1.1\r\n",
        b"GET /\n HTTP/1.1\r\n",
    ] {
        let first = (0..=line.len()).find_map(|end| classify(&line[..end]));
        assert_eq!(first, classify(line), "{:?}", String::from_utf8_lossy(line));
    }
}

#[test]
fn of_declared_http_only_the_version_is_open() {
    assert_eq!(version(b"PR"), None);
    assert_eq!(version(PREFACE), Some(Protocol::Http2));
    assert_eq!(version(b"PROPFIND"), Some(Protocol::Http1));
    assert_eq!(version(b"garbage"), Some(Protocol::Http1));
}

#[tokio::test]
async fn gives_back_what_it_read_when_bytes_trickle() {
    let (mut client, server) = tokio::io::duplex(1);
    let request = b"GET / HTTP/1.1\r\n\r\n";
    let sending = async {
        client.write_all(request).await.unwrap();
        drop(client);
    };
    let receiving = async {
        let (protocol, mut stream) = sniff(server, false).await.unwrap();
        assert_eq!(protocol, Protocol::Http1);
        let mut read = vec![];
        stream.read_to_end(&mut read).await.unwrap();
        assert_eq!(read, request);
    };
    tokio::join!(sending, receiving);
}

#[tokio::test]
async fn a_stream_that_ends_undecided_is_opaque() {
    let (protocol, mut stream) = sniff(&b"GET"[..], false).await.unwrap();
    assert_eq!(protocol, Protocol::Opaque);
    let mut read = vec![];
    stream.read_to_end(&mut read).await.unwrap();
    assert_eq!(read, b"GET");
}
