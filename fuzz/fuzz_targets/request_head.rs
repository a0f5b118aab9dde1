//! Heads of requests and answers: what comes out of sanitising is clean, and stays as it is.
#![no_main]

use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Request, Version, request};
use libfuzzer_sys::fuzz_target;
use mesh::path::{Normalization, normalize};
use waypoint::fuzz::{answer_headers, request_head};

const HOP_BY_HOP: [&str; 8] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "proxy-authorization",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
];

/// `METHOD TARGET`, then `name: value` a line.
fn parse(text: &[u8], version: Version) -> Option<request::Parts> {
    let mut lines = text.split(|byte| *byte == b'\n');
    let mut first = lines.next()?.splitn(2, |byte| *byte == b' ');
    let (method, target) = (first.next()?, first.next()?);
    let mut builder = Request::builder()
        .method(method)
        .uri(target)
        .version(version);
    for line in lines {
        let colon = line.iter().position(|byte| *byte == b':')?;
        builder = builder.header(&line[..colon], line[colon + 1..].trim_ascii());
    }
    Some(builder.body(()).ok()?.into_parts().0)
}

fn untrusted(name: &str) -> bool {
    let name = name.replace('_', "-");
    ["x-envoy-", "x-istio-", "x-cairn-"]
        .iter()
        .any(|prefix| name.starts_with(prefix))
        || ["x-forwarded-client-cert", "x-forwarded-network"].contains(&&*name)
}

fn once(headers: &HeaderMap, name: &str) -> Option<HeaderValue> {
    let mut values = headers.get_all(name).iter();
    let value = values.next().cloned();
    assert!(values.next().is_none(), "{name} stands twice");
    value
}

fuzz_target!(|data: &[u8]| {
    let Some((how, text)) = data.split_first() else {
        return;
    };
    let version = [Version::HTTP_10, Version::HTTP_11, Version::HTTP_2][usize::from(how % 3)];
    let mode = [
        Normalization::None,
        Normalization::Base,
        Normalization::MergeSlashes,
        Normalization::DecodeAndMergeSlashes,
    ][usize::from(how / 3 % 4)];
    let Some(parts) = parse(text, version) else {
        return;
    };
    let mut answer = parts.headers.clone();
    if answer_headers(&mut answer) {
        assert!(HOP_BY_HOP.iter().all(|name| !answer.contains_key(*name)));
        let before = answer.clone();
        assert!(answer_headers(&mut answer) && answer == before);
    }

    let sent = parts.headers.clone();
    let Some(clean) = request_head(parts, mode) else {
        return;
    };
    let Some(path) = clean.target.split('?').next() else {
        return;
    };
    if path != "*" {
        assert_eq!(normalize(path, mode).as_deref(), Ok(path));
    }
    assert!(clean.target.bytes().all(|byte| byte.is_ascii_graphic()));
    assert!(
        !clean
            .host
            .contains(['@', ',', '%', '/', '\\', ';', '=', ' '])
    );
    assert!(!clean.host.is_empty() || version == Version::HTTP_10);
    for name in clean.headers.keys() {
        let name = name.as_str();
        assert!(
            !HOP_BY_HOP.contains(&name) && name != "host",
            "{name} is left"
        );
        assert!(!untrusted(name), "{name} is left");
        assert!(!name.contains('_') || !untrusted(name));
    }
    assert!(
        clean
            .headers
            .get_all("te")
            .iter()
            .all(|te| te.as_bytes().eq_ignore_ascii_case(b"trailers"))
    );
    assert!(once(&clean.headers, "x-request-id").is_some_and(|id| id.len() == 36));
    assert_eq!(
        once(&clean.headers, "x-forwarded-proto"),
        Some(HeaderValue::from_static("http"))
    );
    let from = once(&clean.headers, "x-forwarded-for").expect("who it is from");
    assert!(from.as_bytes().ends_with(b"10.0.0.7"));
    if !sent.contains_key("x-forwarded-for") {
        assert_eq!(from, "10.0.0.7");
    }
    let trace = once(&clean.headers, "traceparent");
    assert!(trace.is_none_or(|trace| trace.len() >= 55 && trace.to_str().is_ok()));

    if sent.len() > 90 {
        // What we add may be too much for the next.
        return;
    }
    // The next waypoint sees the same request.
    let mut next = Request::builder()
        .method(&clean.method)
        .uri(&clean.target)
        .version(version);
    *next.headers_mut().expect("a request") = clean.headers.clone();
    if !clean.host.is_empty() {
        next = next.header("host", &clean.host);
    }
    let (parts, ()) = next.body(()).expect("a request").into_parts();
    let mut again = request_head(parts, mode).expect("what is clean is not refused");
    let list = again
        .headers
        .insert("x-forwarded-for", from.clone())
        .expect("who it is from");
    assert_eq!(list, [from.as_bytes(), b", 10.0.0.7"].concat()[..]);
    let proxies = HeaderName::from_static("forwarded");
    if let Some(before) = clean.headers.get(&proxies) {
        again.headers.insert(proxies, before.clone());
    }
    again.websocket = clean.websocket;
    assert_eq!(again, clean);
});
