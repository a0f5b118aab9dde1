//! What a CONNECT says: its authority, `baggage` and `forwarded`.
#![no_main]

use std::net::{IpAddr, SocketAddr};

use hbone::Authority;
use hbone::headers::{BAGGAGE, Baggage, FORWARDED, Forwarded};
use http::{HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;

fn one(name: http::HeaderName, value: HeaderValue) -> HeaderMap {
    HeaderMap::from_iter([(name, value)])
}

fn authority(text: &str) {
    let Ok(authority) = text.parse::<Authority>() else {
        return;
    };
    let shown = authority.to_string();
    assert_eq!(shown.parse().as_ref(), Ok(&authority));
    assert_ne!(authority.port(), 0);
    assert!(shown.len() <= text.len().max(64));
    // A looser parser must not read another address than ours.
    match (&authority, shown.parse::<SocketAddr>()) {
        (Authority::Socket(ours), theirs) => assert_eq!(theirs, Ok(*ours)),
        (Authority::Host { host, .. }, theirs) => {
            assert!(theirs.is_err() && host.parse::<IpAddr>().is_err());
            assert!(host.len() <= 253 && !host.ends_with('.'));
            assert_eq!(host.to_ascii_lowercase(), **host);
        }
    }
}

fn baggage(value: HeaderValue) {
    let baggage = Baggage::from_headers(&one(BAGGAGE, value));
    let written = baggage.to_header();
    assert_eq!(written.is_none(), baggage == Baggage::default());
    if let Some(written) = written {
        assert!(
            written
                .to_str()
                .is_ok_and(|text| !text.contains([' ', '"', ';', '\\']))
        );
        let again = Baggage::from_headers(&one(BAGGAGE, written.clone()));
        // Only what is looked at of a header can come back.
        if written.len() <= 2048 {
            assert_eq!(again, baggage);
        }
    }
}

fn forwarded(value: HeaderValue) {
    let said = Forwarded::from_headers(&one(FORWARDED, value));
    let (Some(ip), Some(port)) = (said.client_ip, said.client_port) else {
        return;
    };
    let client = SocketAddr::new(ip, port);
    let written = Forwarded::header(client, said.host.as_deref()).expect("a header");
    let again = Forwarded::from_headers(&one(FORWARDED, written));
    assert_eq!(again.client_ip, said.client_ip);
    assert_eq!(again.client_port, said.client_port);
    assert_eq!(again.host, said.host);
}

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = str::from_utf8(data) {
        authority(text);
    }
    if let Ok(value) = HeaderValue::from_bytes(data) {
        baggage(value.clone());
        forwarded(value);
    }
});
