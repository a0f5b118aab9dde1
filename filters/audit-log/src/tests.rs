use kit::Side;
use kit::fake::Fake;
use kit::json::Keys;

use super::*;

fn config(text: &str) -> Config {
    Config::parse(text.as_bytes()).unwrap()
}

fn exchange() -> Fake {
    let number = |n: i64| n.to_le_bytes();
    let fake = Fake::get("/orders?card=4111&x=1")
        .with("x-request-id", "id-1")
        .with("authorization", "Bearer secret")
        .with("user-agent", "curl")
        .answering(":status", "403")
        .answering("set-cookie", "a=b")
        .knowing("source.address", "10.0.0.1:5")
        .knowing(
            "connection.uri_san_peer_certificate",
            "spiffe://td/ns/shop/sa/web",
        )
        .knowing("response.code_details", "rbac_access_denied")
        .knowing("request.duration", number(1_234_567))
        .knowing("response.backend_latency", number(999))
        .knowing("request.size", number(5))
        .knowing("response.flags", number(0));
    fake.now.set(1_795_299_482_000_000_000);
    fake
}

fn line(text: &str, fake: &Fake) -> String {
    String::from_utf8(config(text).line(fake, 0)).unwrap()
}

#[test]
fn a_line_says_who_what_and_what_was_decided() {
    assert_eq!(
        line("", &exchange()),
        r#"{"time":"2026-11-21T22:18:02.000Z","peer":"spiffe://td/ns/shop/sa/web","peer_namespace":"shop","source":"10.0.0.1:5","id":"id-1","method":"GET","host":"shop","path":"/orders","status":403,"decision":"rbac_access_denied","duration_ms":1.234,"upstream_ms":0.000,"bytes_received":5}"#
    );
}

#[test]
fn secrets_are_written_only_by_name() {
    let chosen = r#""requestHeaders": ["Authorization", "user-agent", "x-none"], "responseHeaders": ["set-cookie"]"#;
    let hidden = line(&format!("{{{chosen}}}"), &exchange());
    assert!(hidden.contains(r#""request_headers":{"authorization":"[hidden]","user-agent":"curl"},"response_headers":{"set-cookie":"[hidden]"}"#), "{hidden}");
    let revealed = line(
        &format!(r#"{{{chosen}, "reveal": ["authorization"], "redact": ["user-agent"]}}"#),
        &exchange(),
    );
    assert!(
        revealed.contains(r#"{"authorization":"Bearer secret","user-agent":"[hidden]"}"#),
        "{revealed}"
    );
    assert!(!hidden.contains("4111"), "{hidden}");
    let names = line(r#"{"query": "names"}"#, &exchange());
    assert!(names.contains(r#""query":"card&x""#), "{names}");
    let kept = line(r#"{"query": "keep"}"#, &exchange());
    assert!(kept.contains(r#""query":"card=4111&x=1""#), "{kept}");
}

#[test]
fn a_line_is_json_and_bounded_whatever_a_client_sends() {
    let names: Vec<String> = (0..20).map(|n| format!("x-{n}")).collect();
    let mut fake = Fake::get(&format!("/\"\n{}", "ü".repeat(2000)));
    for name in &names {
        fake = fake.with(name, &"\\".repeat(1000));
    }
    fake.add(Side::Request, "x-0", b"\xff\xfe\0");
    let quoted: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
    let text = format!(
        r#"{{"requestHeaders": [{}], "static": {{"cluster": "west", "n": 1}}}}"#,
        quoted.join(",")
    );
    let line = config(&text).line(&fake, 7);
    assert!(line.len() < 4096, "{}", line.len());
    let json = kit::json::parse(&line, Keys::Unique).unwrap();
    assert_eq!(json.get("cluster").and_then(Json::text), Some("west"));
    assert_eq!(json.get("lines_dropped").and_then(Json::number), Some(7.0));
    assert!(json.get("headers_dropped").and_then(Json::number).unwrap() > 10.0);
    assert!(
        json.get("path")
            .and_then(Json::text)
            .unwrap()
            .ends_with('…')
    );
}

#[test]
fn samples_leave_out_none_that_are_always_wanted() {
    let config = config(r#"{"samplePercent": 0, "always": ["5xx", 403]}"#);
    let chance = Chance::new(1);
    for (status, expected) in [("200", false), ("503", true), ("403", true), ("404", false)] {
        let fake = Fake::get("/").answering(":status", status);
        assert_eq!(config.chosen(&fake, &chance), expected, "{status}");
    }
    let code = Fake::get("/").knowing("response.code", 500_i64.to_le_bytes());
    assert!(config.chosen(&code, &chance));
}

#[test]
fn a_queue_is_bounded_and_loses_nothing_it_does_not_count() {
    let mut queue = Queue::default();
    let pushed = (0..5).filter(|n| queue.push(vec![b'0' + n], 0, 4)).count();
    assert_eq!(
        (pushed, queue.take_dropped(), queue.take_dropped()),
        (4, 1, 0)
    );
    assert!(!queue.push(vec![b'x'], 7, 4));
    assert_eq!(
        queue.take_dropped(),
        8,
        "what a dropped line told is told again"
    );
    assert_eq!(queue.next(3).unwrap().body, b"0\n1\n2\n");
    assert!(queue.next(3).is_none(), "one at a time");
    assert_eq!(queue.failed(2), 0);
    let again = queue.next(3).unwrap();
    assert_eq!(
        (again.body.as_slice(), again.attempts),
        (&b"0\n1\n2\n"[..], 2)
    );
    assert_eq!(queue.failed(2), 3);
    assert_eq!(queue.take_dropped(), 3);
    assert_eq!(queue.next(3).unwrap().body, b"3\n");
    assert_eq!(queue.arrived(), 1);
    assert!(queue.is_empty() && queue.next(3).is_none());
}

#[test]
fn mistakes_name_the_field() {
    for (text, says) in [
        (r#"{"log": false}"#, "`log` is false and there is no `ship`"),
        (
            r#"{"ship": {"upstream": "u"}}"#,
            "`ship` needs the field `host`",
        ),
        (
            r#"{"ship": {"upstream": "u", "host": "h", "path": "x"}}"#,
            "`ship.path` is \"x\"; allowed is a path",
        ),
        (
            r#"{"ship": {"upstream": "u", "host": "h", "batch": 0}}"#,
            "`ship.batch` is 0;",
        ),
        (
            r#"{"query": "all"}"#,
            r#"`query` is "all"; allowed is "drop" or "names" or "keep""#,
        ),
        (
            r#"{"static": {"status": 1}}"#,
            "`static` is {\"status\":1}; allowed is texts",
        ),
        (r#"{"static": {"a": []}}"#, "`static` is"),
        (
            r#"{"samplePercent": -1}"#,
            "`samplePercent` is -1; allowed is a number from 0 to 100",
        ),
        (
            r#"{"always": ["xx"]}"#,
            "`always[0]` is \"xx\"; allowed is a status",
        ),
        (
            r#"{"requestHeader": []}"#,
            "the configuration has an unknown field `requestHeader`",
        ),
    ] {
        let error = Config::parse(text.as_bytes()).unwrap_err();
        assert!(error.starts_with(says), "{text}: {error}");
    }
}
