use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, Version};
use mesh::path::Normalization;
use wasm_host::{Buffer as _, HeaderMap as _};

use super::{Chunk, RequestMap, ResponseMap, Writing};
use crate::http::head::Head;

fn head() -> Head {
    let mut headers = HeaderMap::new();
    headers.append("x-a", "1".parse().unwrap());
    headers.append("x-a", "2".parse().unwrap());
    Head {
        method: Method::GET,
        authority: Some("cart.shop".parse().unwrap()),
        target: "/a?b=c".parse().unwrap(),
        headers,
        version: Version::HTTP_11,
        websocket: false,
        last: false,
    }
}

fn writing(changed: &mut bool, framed: bool) -> Writing<'_> {
    Writing {
        normalization: Normalization::Base,
        changed,
        framed,
    }
}

fn list(map: &dyn wasm_host::HeaderMap) -> Vec<String> {
    let mut list = vec![];
    map.each(&mut |name, value| {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        list.push(format!("{}={}", text(name), text(value)));
    });
    list
}

#[test]
fn guests_see_pseudo_headers_first() {
    let head = head();
    let map = RequestMap::read_only(&head);
    let expected = [
        ":authority=cart.shop",
        ":path=/a?b=c",
        ":method=GET",
        ":scheme=http",
        "x-a=1",
        "x-a=2",
    ];
    assert_eq!(list(&map), expected);
    assert_eq!(map.len(), expected.len());
    assert_eq!(map.get(":path").as_deref(), Some(&b"/a?b=c"[..]));
    assert_eq!(map.get("x-none"), None);
}

#[test]
fn guests_change_the_request_and_it_is_noticed() {
    let (mut head, mut changed) = (head(), false);
    let mut map = RequestMap::writable(&mut head, writing(&mut changed, false));
    map.set("x-a", b"3").unwrap();
    map.add("x-b", b"4").unwrap();
    map.set(":path", b"/x/../y?z").unwrap();
    map.set(":method", b"POST").unwrap();
    map.set(":authority", b"other").unwrap();
    assert_eq!(map.get(":path").as_deref(), Some(&b"/y?z"[..]));
    assert_eq!(head.target, "/y?z");
    assert_eq!(head.method, Method::POST);
    assert_eq!(head.host(), "other");
    assert_eq!(head.headers.get_all("x-a").iter().count(), 1);
    assert!(changed);
}

#[test]
fn what_frames_the_message_is_not_for_guests() {
    let (mut head, mut changed) = (head(), false);
    let mut map = RequestMap::writable(&mut head, writing(&mut changed, false));
    for name in [
        "content-length",
        "transfer-encoding",
        "host",
        "connection",
        ":scheme",
        ":x",
    ] {
        assert!(map.set(name, b"1").is_err(), "{name}");
    }
    assert!(map.remove("te").is_err());
    assert!(map.set(":path", b"no-slash").is_err());
    assert!(map.set("x-a", b"a\nb").is_err());
}

#[test]
fn a_request_that_was_sent_cannot_be_changed() {
    let head = head();
    assert!(RequestMap::read_only(&head).set("x-a", b"3").is_err());
    assert!(RequestMap::read_only(&head).remove("x-a").is_err());
}

#[test]
fn guests_change_the_answer_and_its_status() {
    let (mut status, mut headers) = (StatusCode::OK, HeaderMap::new());
    let mut map = ResponseMap::writable(&mut status, &mut headers, false);
    map.set(":status", b"503").unwrap();
    map.add("x-by", b"guest").unwrap();
    assert_eq!(list(&map), [":status=503", "x-by=guest"]);
    assert!(map.set(":status", b"101").is_err());
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(
        ResponseMap::read_only(&mut status, &mut headers)
            .set(":status", b"200")
            .is_err()
    );
}

#[test]
fn a_guest_that_sees_bodies_may_say_how_long_they_are() {
    let (mut head, mut changed) = (head(), false);
    let mut map = RequestMap::writable(&mut head, writing(&mut changed, true));
    map.set("content-length", b"7").unwrap();
    map.remove("content-length").unwrap();
    assert!(map.remove("transfer-encoding").is_err());
}

#[test]
fn bytes_are_read_across_pieces_and_changed_in_place() {
    let mut chunk = Chunk::default();
    chunk.push(Bytes::from_static(b"hello "));
    chunk.push(Bytes::new());
    chunk.push(Bytes::from_static(b"world"));
    assert_eq!(chunk.len(), 11);
    let mut seen = [0; 5];
    chunk.copy_to(3, &mut seen);
    assert_eq!(&seen, b"lo wo");
    assert!(!chunk.changed);
    chunk.splice(0..5, b"goodbye").unwrap();
    chunk.splice(chunk.len()..chunk.len(), b"!").unwrap();
    assert!(chunk.changed);
    assert_eq!(chunk.take(), "goodbye world!");
    assert_eq!(chunk.len(), 0);
    assert_eq!(chunk.take(), "");
}
