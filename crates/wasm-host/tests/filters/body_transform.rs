//! `body-transform`.

use wasm_host::{Outcome, Pause};

use super::support::{End, Exchange, Filter, Sent, answer, refuses, send, shown};

const REQUEST: &str = r#"{"request": {"json": [{"redact": "/**/password"}, {"rename": "/user/mail", "to": "email"},
    {"set": "/seen-by", "value": "%{request.host}"}, {"remove": "/items/*/internal"}], "maxBytes": 1000}}"#;

fn json(path: &str) -> Exchange {
    Exchange::get(path)
        .with("content-type", "application/json")
        .with("content-length", "99")
}

/// Sends a request body through a filter and ends the request.
#[track_caller]
fn through(
    filter: &Filter,
    mut exchange: Exchange,
    chunks: &[&[u8]],
    end: End,
) -> (Sent, Exchange) {
    let mut stream = filter.vm.new_stream();
    let outcome = stream.on_request_headers(&mut exchange, false);
    let sent = match outcome {
        Outcome::Continue => send(&mut stream, &mut exchange, chunks, end),
        outcome => Sent::Answer(answer(outcome)),
    };
    if let Sent::Answer(answer) = &sent {
        shown(&mut stream, &mut exchange, answer);
    }
    stream.finish(&mut exchange).unwrap();
    (sent, exchange)
}

#[test]
fn json_is_changed_in_whatever_pieces_it_comes() {
    let filter = Filter::start("body-transform", REQUEST);
    let body = br#"{"user":{"mail":"a@b","password":"p"},"items":[{"internal":1,"n":1.0}]}"#;
    let expected =
        r#"{"user":{"email":"a@b","password":"[redacted]"},"items":[{"n":1.0}],"seen-by":"shop"}"#;
    for end in [End::Chunk, End::Trailers] {
        for cut in [0, 1, 20, body.len()] {
            let chunks = [&body[..cut], &body[cut..], b""];
            let (sent, exchange) = through(&filter, json("/"), &chunks, end);
            assert_eq!(sent.body(), expected, "{cut} {end:?}");
            assert_eq!(exchange.request("content-length"), None);
        }
    }
}

#[test]
fn a_body_without_anything_to_change_stays_as_it_came() {
    let filter = Filter::start(
        "body-transform",
        r#"{"request": {"json": [{"remove": "/none"}]}}"#,
    );
    let body = b"{ \"a\" : 1 }\n";
    let (sent, _) = through(&filter, json("/"), &[body], End::Chunk);
    assert_eq!(sent.body().as_bytes(), body);
    let (sent, exchange) = through(
        &filter,
        Exchange::get("/")
            .with("content-type", "image/png")
            .with("content-length", "3"),
        &[b"png"],
        End::Chunk,
    );
    assert_eq!(
        (
            sent.body().as_str(),
            exchange.request("content-length").as_deref()
        ),
        ("png", Some("3"))
    );
}

#[test]
fn what_cannot_be_read_is_refused_and_the_answer_passes() {
    let config = REQUEST.replace(
        "\"maxBytes\": 1000}",
        "\"maxBytes\": 1000}, \"response\": {\"json\": [{\"remove\": \"/a\"}], \"contentTypes\": [\"text/plain\"]}",
    );
    let filter = Filter::start("body-transform", &config);
    let status =
        |exchange, chunks: &[&[u8]], end| through(&filter, exchange, chunks, end).0.answer().status;
    assert_eq!(status(json("/"), &[b"not json"], End::Chunk), 400);
    assert_eq!(status(json("/"), &[b"\xff"], End::Trailers), 400);
    let large = [b' '; 600];
    assert_eq!(status(json("/"), &[&large, &large], End::Chunk), 413);
    assert_eq!(
        status(json("/").with("content-encoding", "gzip"), &[], End::Chunk),
        415
    );
    let mut declared = json("/");
    declared.request = declared
        .request
        .iter()
        .filter(|(n, _)| *n != "content-length")
        .collect();
    assert_eq!(
        status(declared.with("content-length", "1001"), &[], End::Chunk),
        413
    );
    assert!(filter.vm.trap().is_none());
}

#[test]
fn what_may_pass_passes_unchanged() {
    let config = REQUEST.replace(
        "\"maxBytes\": 1000",
        "\"maxBytes\": 1000, \"tooLarge\": \"pass\", \"unreadable\": \"pass\"",
    );
    let filter = Filter::start("body-transform", &config);
    for chunk in [&b"not json"[..], &[b'x'; 2000]] {
        let (sent, _) = through(&filter, json("/"), &[chunk, b"end"], End::Chunk);
        assert_eq!(sent.body().into_bytes(), [chunk, b"end"].concat());
    }
}

#[test]
fn a_response_is_changed_and_asked_for_in_a_readable_form() {
    let config = r#"{"response": {"when": {"path": [{"prefix": "/users"}]}, "status": ["2xx"], "json": [{"redact": "/**/password"}]}}"#;
    let filter = Filter::start("body-transform", config);
    let mut exchange = Exchange::get("/users/1")
        .with("accept-encoding", "gzip")
        .with("range", "bytes=0-1")
        .answering("content-type", "application/json")
        .answering("content-length", "20")
        .answering("etag", "x");
    let mut stream = filter.vm.new_stream();
    let _ = stream.on_request_headers(&mut exchange, true);
    assert_eq!(
        (
            exchange.request("accept-encoding"),
            exchange.request("range")
        ),
        (None, None)
    );
    let headers = stream.on_response_headers(&mut exchange, false);
    assert!(matches!(headers, Outcome::Continue), "{headers:?}");
    assert_eq!(
        (
            exchange.response("content-length"),
            exchange.response("etag")
        ),
        (None, None)
    );
    exchange.response_body = br#"{"password""#.to_vec();
    let first = stream.on_response_body(&mut exchange, false);
    assert!(matches!(first, Outcome::Pause(Pause::Buffer)), "{first:?}");
    exchange.response_body.extend_from_slice(br#":"p"}"#);
    let last = stream.on_response_body(&mut exchange, true);
    assert!(matches!(last, Outcome::Continue), "{last:?}");
    assert_eq!(exchange.response_body, br#"{"password":"[redacted]"}"#);
    stream.finish(&mut exchange).unwrap();

    // A compressed answer to a request that did not allow for one.
    let mut exchange = Exchange::get("/users/1")
        .answering("content-type", "application/json")
        .answering("content-encoding", "br");
    let mut stream = filter.vm.new_stream();
    let _ = stream.on_request_headers(&mut exchange, true);
    assert_eq!(
        answer(stream.on_response_headers(&mut exchange, false)).status,
        502
    );
}

#[test]
fn texts_are_replaced_while_a_body_passes() {
    let config = r#"{"request": {"mode": "streamed", "text": [{"find": "http://", "replace": "https://"}], "maxBytes": 1000}}"#;
    let filter = Filter::start("body-transform", config);
    let body = "see http://a and http://b, hthttp:/http://".repeat(3);
    let expected = body.replace("http://", "https://");
    for end in [End::Chunk, End::Trailers] {
        for size in [1, 2, 7, 1000] {
            let chunks: Vec<&[u8]> = body.as_bytes().chunks(size).collect();
            let exchange = Exchange::get("/").with("content-type", "text/plain; charset=utf-8");
            let (sent, _) = through(&filter, exchange, &chunks, end);
            assert_eq!(sent.body(), expected, "{size} {end:?}");
        }
    }
    // A stream of any length passes in pieces that fit.
    let chunk = [b'x'; 900];
    let exchange = Exchange::get("/").with("content-type", "text/plain");
    let (sent, _) = through(&filter, exchange, &[&chunk[..]; 50], End::Chunk);
    assert_eq!(sent.body().len(), 45_000);
}

#[test]
fn a_body_of_the_usual_limit_stays_within_the_budget_of_a_callback() {
    let filter = Filter::start(
        "body-transform",
        r#"{"request": {"json": [{"redact": "/**/password"}]}}"#,
    );
    let mut body = String::from("[");
    while body.len() < 65_000 {
        body += r#"{"name":"somebody","password":"p","list":[1,2,3],"text":"a\"b"},"#;
    }
    body += "0]";
    let (sent, _) = through(&filter, json("/"), &[body.as_bytes()], End::Chunk);
    let sent = sent.body();
    assert_eq!(
        sent.matches("[redacted]").count(),
        body.matches("password").count()
    );
    assert!(filter.vm.trap().is_none());
}

#[test]
fn a_mistake_is_told_with_its_field() {
    for (config, says) in [
        (
            "",
            "the configuration changes nothing; it needs `request` or `response`",
        ),
        (
            r#"{"request": {"json": [{"remove": "a"}]}}"#,
            "`request.json[0].remove` is \"a\"; allowed is a JSON pointer",
        ),
        (
            r#"{"response": {"text": [{"find": "a", "replace": "b"}], "maxBytes": 0}}"#,
            "`response.maxBytes` is 0; allowed is a whole number from 1 to 1048576",
        ),
    ] {
        refuses("body-transform", config, says);
    }
}
