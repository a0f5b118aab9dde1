use kit::fake::Fake;

use super::*;

/// Of the keys `test` and `secret`.
const TEST: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
const SECRET: &str = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";

fn config(more: &str) -> Config {
    let text = format!(
        r#"{{"keys": [{{"id": "mobile", "sha256": "{TEST}"}}, {{"id": "batch", "sha256": "{}", "when": {{"method": ["PUT"]}}}}] {more}}}"#,
        SECRET.to_uppercase()
    );
    Config::parse(text.as_bytes()).unwrap()
}

#[test]
fn a_known_key_goes_through_and_leaves_no_trace() {
    let everywhere = r#", "from": [{"header": "x-api-key"}, {"header": "authorization", "scheme": "ApiKey"}, {"query": "api_key"}, {"cookie": "key"}], "consumerHeader": "X-Consumer""#;
    for fake in [
        Fake::get("/").with("x-api-key", " test "),
        Fake::get("/")
            .with("authorization", "Basic x")
            .with("authorization", "apikey test"),
        Fake::get("/p?a=1&api%5Fkey=t%65st"),
        Fake::get("/")
            .with("cookie", "a=1; key=test")
            .with("cookie", "key=test"),
        Fake::get("/?api_key=test").with("x-api-key", "test"),
    ] {
        let fake = fake
            .with("x-consumer", "forged")
            .with("x_consumer", "forged");
        let config = config(everywhere);
        assert_eq!(
            config.access(&fake),
            Access::Known("mobile".to_owned()),
            "{fake:?}"
        );
        config.strip(&fake);
        config.introduce("mobile", &fake);
        let left = format!(
            "{:?}",
            fake.request
                .borrow()
                .iter()
                .map(|(n, v)| (n.clone(), String::from_utf8_lossy(v).into_owned()))
                .collect::<Vec<_>>()
        );
        assert!(!left.contains("test") && !left.contains("t%65st"), "{left}");
        assert!(!left.contains("forged"), "{left}");
        assert_eq!(
            fake.shown(Side::Request, "x-consumer").as_deref(),
            Some("mobile")
        );
    }
}

#[test]
fn everything_else_is_denied() {
    let config = config("");
    for (fake, why) in [
        (Fake::get("/"), "no key"),
        (
            Fake::get("/").with("x-api-key", ""),
            "no key of a possible length",
        ),
        (
            Fake::get("/").with("x-api-key", &"x".repeat(5000)),
            "no key of a possible length",
        ),
        (Fake::get("/").with("x-api-key", "tesT"), "an unknown key"),
        (Fake::get("/").with("x-api-key", TEST), "an unknown key"),
        (
            Fake::get("/")
                .with("x-api-key", "test")
                .with("x-api-key", "other"),
            "two different keys",
        ),
        (
            Fake::get("/").with("x-api-key", "secret"),
            "a key for other requests",
        ),
    ] {
        assert_eq!(config.access(&fake), Access::Denied(why), "{fake:?}");
    }
}

#[test]
fn what_is_excepted_needs_no_key_but_still_loses_it() {
    let config =
        config(r#", "except": [{"path": [{"exact": "/health"}]}], "consumerHeader": "x-consumer""#);
    let fake = Fake::get("/health")
        .with("x-api-key", "test")
        .with("x-consumer", "forged");
    assert_eq!(config.access(&fake), Access::Open);
    config.strip(&fake);
    assert_eq!(fake.shown(Side::Request, "x-api-key"), None);
    assert_eq!(fake.shown(Side::Request, "x-consumer"), None);
}

#[test]
fn a_key_may_stay_if_configured() {
    let config = config(r#", "keepKey": true"#);
    let fake = Fake::get("/").with("x-api-key", "test");
    config.strip(&fake);
    assert!(fake.shown(Side::Request, "x-api-key").is_some());
}

#[test]
fn unknown_keys_are_for_the_service_which_gets_the_hash_only() {
    let config = config(r#", "service": {"upstream": "u", "host": "h"}"#);
    let fake = Fake::get("/").with("x-api-key", "other");
    assert_eq!(config.access(&fake), Access::Ask(b"other".to_vec()));
    let service = config.service.unwrap();
    let question = service.question(b"test", &hash(b"test")).unwrap();
    assert_eq!(question, ("x-api-key-sha256", TEST.to_owned()));

    let sending = Config::parse(br#"{"service": {"upstream": "u", "host": "h", "send": "key"}}"#)
        .unwrap()
        .service
        .unwrap();
    assert_eq!(
        sending.question(b"test", &hash(b"test")).unwrap(),
        ("x-api-key", "test".to_owned())
    );
    assert_eq!(sending.question(b"te\rst", &hash(b"test")), None);
}

#[test]
fn only_clear_answers_of_the_service_count() {
    for (status, body, verdict) in [
        ("200", r#"{"id": "jo"}"#, Verdict::Known("jo".to_owned())),
        ("200", "", Verdict::Known(String::new())),
        ("200", r#"{"id": "a\nb"}"#, Verdict::Failed),
        ("401", "", Verdict::Unknown),
        ("404", "", Verdict::Unknown),
        ("503", "", Verdict::Failed),
        ("302", "", Verdict::Failed),
        ("", "", Verdict::Failed),
    ] {
        assert_eq!(
            Service::verdict(status.as_bytes(), body.as_bytes()),
            verdict,
            "{status} {body}"
        );
    }
}

#[test]
fn an_answer_is_remembered_for_its_key_and_its_time() {
    let of = hash(b"a");
    let entry = Entry {
        hash: of,
        until: 100,
        id: Some("jo".to_owned()),
    };
    let bytes = entry.write();
    assert_eq!(
        Entry::read(&bytes, &of, 99),
        Some(Verdict::Known("jo".to_owned()))
    );
    assert_eq!(Entry::read(&bytes, &of, 100), None);
    assert_eq!(Entry::read(&bytes, &hash(b"b"), 99), None);
    let denied = Entry { id: None, ..entry }.write();
    assert_eq!(Entry::read(&denied, &of, 0), Some(Verdict::Unknown));
    for n in 0..bytes.len() - 2 {
        assert_eq!(Entry::read(&bytes[..n], &of, 0), None);
    }
    let slots: std::collections::BTreeSet<_> = (0..50_000_u32)
        .map(|n| slot(&hash(&n.to_le_bytes())))
        .collect();
    assert_eq!(slots.len(), 2048);
}

#[test]
fn mistakes_name_the_field() {
    for (text, says) in [
        (
            "",
            "the configuration knows no key; it needs `keys` or `service`",
        ),
        (
            r#"{"keys": [{"id": "a", "sha256": "secret"}]}"#,
            "`keys[0].sha256` is not valid; allowed is 64 hexadecimal digits",
        ),
        (
            r#"{"keys": [{"id": " ", "sha256": ""}]}"#,
            "`keys[0].id` is \" \"; allowed is a name",
        ),
        (
            r#"{"keys": [{"id": "a", "key": "b"}]}"#,
            "`keys[0]` needs the field `sha256`",
        ),
        (
            r#"{"from": [{}], "service": {"upstream": "u", "host": "h"}}"#,
            "`from[0]` is {}; allowed is an object with one of header",
        ),
        (
            r#"{"from": [{"query": "a", "scheme": "b"}]}"#,
            "`from[0]` has an unknown field `scheme`",
        ),
        (
            r#"{"service": {"host": "h"}}"#,
            "`service` needs the field `upstream`",
        ),
        (
            r#"{"service": {"upstream": "u", "host": "h", "cacheSeconds": 4000}}"#,
            "`service.cacheSeconds` is 4000;",
        ),
        (
            r#"{"service": {"upstream": "u", "host": "h"}, "except": [{}]}"#,
            "`except[0]` is {}; allowed is at least one condition",
        ),
        (
            r#"{"service": {"upstream": "u", "host": "h"}, "deny": {"status": 200}}"#,
            "`deny.status` is 200; allowed is a whole number from 400 to 499",
        ),
    ] {
        let error = Config::parse(text.as_bytes()).unwrap_err();
        assert!(error.starts_with(says), "{text}: {error}");
    }
}
