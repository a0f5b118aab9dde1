use kit::fake::Fake;

use super::*;

fn config(text: &str) -> Config {
    Config::parse(text.as_bytes()).unwrap()
}

fn json_request() -> Fake {
    Fake::get("/users").with("content-type", "application/json; charset=utf-8")
}

/// Sends a whole body through the `request` of a configuration.
fn whole(text: &str, body: &str) -> Step {
    let config = config(text);
    let transform = config.request.as_ref().unwrap();
    let fake = json_request();
    let Begin::Work(mut work) = transform.begin(&fake) else {
        panic!("passed");
    };
    transform.step(&mut work, (body.len(), true), &fake, || body.into())
}

/// What becomes of a body by operations.
#[track_caller]
fn changed(operations: &str, body: &str) -> String {
    match whole(
        &format!(r#"{{"request": {{"json": [{operations}]}}}}"#),
        body,
    ) {
        Step::Replace { bytes, wait: false } => String::from_utf8(bytes).unwrap(),
        Step::Continue => body.to_owned(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn operations_change_what_their_pointers_reach() {
    let body = r#"{"user":{"mail":"a@b","password":"p","n":1.00},"items":[{"password":"q","x":1},{"x":2}]}"#;
    for (operation, expected) in [
        (
            r#"{"redact": "/**/password"}"#,
            r#"{"user":{"mail":"a@b","password":"[redacted]","n":1.00},"items":[{"password":"[redacted]","x":1},{"x":2}]}"#,
        ),
        (
            r#"{"redact": "/user/*", "with": null}"#,
            r#"{"user":{"mail":null,"password":null,"n":null},"items":[{"password":"q","x":1},{"x":2}]}"#,
        ),
        (
            r#"{"remove": "/items/*/x"}, {"remove": "/user"}"#,
            r#"{"items":[{"password":"q"},{}]}"#,
        ),
        (
            r#"{"remove": "/items/0"}, {"remove": "/items/7"}, {"remove": "/user"}"#,
            r#"{"items":[{"x":2}]}"#,
        ),
        (
            r#"{"rename": "/user/mail", "to": "email"}, {"remove": "/items"}"#,
            r#"{"user":{"email":"a@b","password":"p","n":1.00}}"#,
        ),
        (
            r#"{"rename": "/user/mail", "to": "password"}, {"remove": "/items"}"#,
            r#"{"user":{"password":"a@b","n":1.00}}"#,
        ),
        (
            r#"{"remove": "/user"}, {"remove": "/items"}, {"set": "/a/b~1c", "value": [true, {"d": 1e400}]}"#,
            r#"{"a":{"b/c":[true,{"d":1e400}]}}"#,
        ),
        (
            r#"{"remove": "/user"}, {"set": "/items/-", "value": "%{request.method} %{request.path}"}, {"remove": "/items/0"}"#,
            r#"{"items":[{"x":2},"GET /users"]}"#,
        ),
        (
            r#"{"set": "/user", "value": "%{peer}"}, {"remove": "/none"}"#,
            body,
        ),
    ] {
        assert_eq!(changed(operation, body), expected, "{operation}");
    }
}

#[test]
fn members_that_repeat_are_all_redacted() {
    let body = r#"{"password":"a","x":{"password":"b"},"password":"c"}"#;
    let expected =
        r#"{"password":"[redacted]","x":{"password":"[redacted]"},"password":"[redacted]"}"#;
    assert_eq!(changed(r#"{"redact": "/**/password"}"#, body), expected);
    assert_eq!(
        changed(r#"{"remove": "/password"}"#, body),
        r#"{"x":{"password":"b"}}"#
    );
    assert_eq!(
        changed(
            r#"{"redact": "/password", "with": "%{peer}"}"#,
            r#"{"password":"a"}"#
        ),
        r#"{"password":null}"#
    );
}

#[test]
fn a_body_without_anything_to_change_stays_as_it_came() {
    let spaced = "{ \"a\" : 1 }\n";
    assert_eq!(
        whole(r#"{"request": {"json": [{"remove": "/b"}]}}"#, spaced),
        Step::Continue
    );
}

#[test]
fn only_messages_of_the_kind_are_worked_on() {
    let config = config(
        r#"{"request": {"json": [{"remove": "/a"}]}, "response": {"text": [{"find": "a", "replace": "b"}], "status": ["2xx"]}}"#,
    );
    let begin =
        |transform: &Option<Transform>, fake: &Fake| transform.as_ref().unwrap().begin(fake);
    for (kind, expected) in [
        ("application/json", true),
        ("application/problem+json", true),
        ("text/html", false),
        ("", false),
    ] {
        let fake = Fake::get("/")
            .with("content-type", kind)
            .with("content-length", "5")
            .with("digest", "x");
        let worked = matches!(begin(&config.request, &fake), Begin::Work(_));
        assert_eq!(worked, expected, "{kind}");
        assert_eq!(
            fake.shown(Side::Request, "content-length").is_none(),
            expected,
            "{kind}"
        );
    }
    for (status, kind, expected) in [
        ("200", "text/html", true),
        ("404", "text/html", false),
        ("200", "image/png", false),
    ] {
        let fake = Fake::get("/")
            .answering(":status", status)
            .answering("content-type", kind)
            .answering("etag", "x");
        let worked = matches!(begin(&config.response, &fake), Begin::Work(_));
        assert_eq!(
            (worked, fake.shown(Side::Response, "etag").is_none()),
            (expected, expected),
            "{status} {kind}"
        );
    }
}

#[test]
fn what_cannot_be_read_is_refused_unless_it_may_pass() {
    let request = |policy: &str| {
        config(&format!(
            r#"{{"request": {{"json": [{{"remove": "/a"}}], "maxBytes": 10 {policy}}}}}"#
        ))
    };
    let strict = request("").request.unwrap();
    let lenient = request(r#", "tooLarge": "pass", "unreadable": "pass""#)
        .request
        .unwrap();
    let refusal = |begin| match begin {
        Begin::Refuse(refusal) => Some(refusal.status),
        _ => None,
    };
    let gzip = || json_request().with("content-encoding", "gzip");
    assert_eq!(refusal(strict.begin(&gzip())), Some(415));
    assert!(matches!(lenient.begin(&gzip()), Begin::Pass));
    assert!(matches!(
        strict.begin(&json_request().with("content-encoding", "identity")),
        Begin::Work(_)
    ));
    let long = || json_request().with("content-length", "11");
    assert_eq!(refusal(strict.begin(&long())), Some(413));
    assert!(matches!(lenient.begin(&long()), Begin::Pass));

    let step = |transform: &Transform, size, body: &str| {
        transform.step(&mut Work::default(), (size, true), &json_request(), || {
            body.into()
        })
    };
    let not_json = Refusal {
        status: 400,
        why: "the body is not JSON",
    };
    assert_eq!(step(&strict, 1, "{"), Step::Refuse(not_json));
    assert_eq!(step(&lenient, 1, "{"), Step::Continue);
    assert_eq!(step(&strict, 0, ""), Step::Continue);
    assert!(matches!(
        step(&strict, 5, ""),
        Step::Refuse(Refusal { status: 500, .. })
    ));

    // Found out while it arrives.
    let mut work = Work::default();
    let mut part = |size| strict.step(&mut work, (size, false), &json_request(), || unreachable!());
    assert_eq!(part(10), Step::Wait);
    assert!(matches!(
        part(11),
        Step::Refuse(Refusal { status: 413, .. })
    ));
    let mut work = Work::default();
    for size in [11, 12] {
        assert_eq!(
            lenient.step(&mut work, (size, false), &json_request(), || unreachable!()),
            Step::Continue
        );
    }
}

#[test]
fn a_response_that_cannot_be_read_is_a_bad_gateway() {
    let config = config(r#"{"response": {"json": [{"remove": "/a"}]}}"#);
    let transform = config.response.as_ref().unwrap();
    let part = Fake::get("/")
        .answering(":status", "206")
        .answering("content-type", "application/json");
    assert!(matches!(
        transform.begin(&part),
        Begin::Refuse(Refusal { status: 502, .. })
    ));
    let asking = Fake::get("/")
        .with("accept-encoding", "gzip")
        .with("range", "bytes=0-1");
    Transform::ask_plainly(&asking);
    assert_eq!(asking.shown(Side::Request, "accept-encoding"), None);
    assert_eq!(asking.shown(Side::Request, "range"), None);
}

/// Sends a body in chunks through a streamed transform, as a proxy does that buffers on a pause.
fn stream(text: &str, chunks: &[&str], trailers: bool) -> String {
    let config = config(text);
    let transform = config.request.as_ref().unwrap();
    let fake = Fake::get("/").with("content-type", "text/plain");
    let Begin::Work(mut work) = transform.begin(&fake) else {
        panic!("passed")
    };
    let (mut sent, mut held) = (Vec::new(), Vec::new());
    for (n, chunk) in chunks.iter().enumerate() {
        held.extend_from_slice(chunk.as_bytes());
        let last = n + 1 == chunks.len() && !trailers;
        match transform.step(&mut work, (held.len(), last), &fake, || held.clone()) {
            Step::Continue => sent.append(&mut held),
            Step::Wait => {}
            Step::Replace { bytes, wait } => {
                held = bytes;
                if !wait {
                    sent.append(&mut held);
                }
            }
            Step::Refuse(refusal) => panic!("{refusal:?}"),
        }
    }
    if trailers {
        if let Step::Replace { bytes, .. } = transform.trailers(&mut work, &fake, held.clone()) {
            held = bytes;
        }
        sent.append(&mut held);
    }
    String::from_utf8(sent).unwrap()
}

#[test]
fn texts_are_replaced_wherever_chunks_end() {
    let text = r#"{"request": {"mode": "streamed", "text": [{"find": "secret", "replace": "s…"}, {"find": "a", "replace": "aa"}, {"find": "cre", "replace": "CRE"}]}}"#;
    let body = "secret xsecresecretasecre";
    let expected = "s… xseCREs…aaseCRE";
    for cut in 0..=body.len() {
        for other in cut..=body.len() {
            let chunks = [&body[..cut], &body[cut..other], &body[other..]];
            for trailers in [false, true] {
                assert_eq!(
                    stream(text, &chunks, trailers),
                    expected,
                    "{chunks:?} {trailers}"
                );
            }
        }
    }
    let single: Vec<String> = body.chars().map(String::from).collect();
    let single: Vec<&str> = single.iter().map(String::as_str).collect();
    assert_eq!(stream(text, &single, true), expected);
}

#[test]
fn a_body_held_until_trailers_is_changed_then() {
    let config = config(r#"{"request": {"json": [{"remove": "/a"}]}}"#);
    let transform = config.request.as_ref().unwrap();
    let fake = json_request();
    let body = br#"{"a":1,"b":2}"#;
    let mut work = Work::default();
    assert_eq!(
        transform.step(&mut work, (13, false), &fake, || unreachable!()),
        Step::Wait
    );
    let expected = Step::Replace {
        bytes: br#"{"b":2}"#.to_vec(),
        wait: false,
    };
    assert_eq!(
        transform.trailers(&mut work, &fake, body.to_vec()),
        expected
    );
    // A proxy that does not show the body then must not get it past.
    let mut work = Work::default();
    let _ = transform.step(&mut work, (13, false), &fake, || unreachable!());
    assert!(matches!(
        transform.trailers(&mut work, &fake, Vec::new()),
        Step::Refuse(_)
    ));
}

#[test]
fn mistakes_name_the_field() {
    for (text, says) in [
        (
            "",
            "the configuration changes nothing; it needs `request` or `response`",
        ),
        (
            r#"{"request": {}}"#,
            "`request` changes nothing; it needs `json` or `text`",
        ),
        (
            r#"{"request": {"json": [{}]}}"#,
            "`request.json[0]` is {}; allowed is an object with one of set, remove",
        ),
        (
            r#"{"request": {"json": [{"set": "/a", "remove": "/b"}]}}"#,
            "`request.json[0]` is",
        ),
        (
            r#"{"request": {"json": [{"set": "/a"}]}}"#,
            "`request.json[0]` needs the field `value`",
        ),
        (
            r#"{"request": {"json": [{"set": "/**/a", "value": 1}]}}"#,
            "`request.json[0].set` is \"/**/a\"; allowed is a pointer without `**`",
        ),
        (
            r#"{"request": {"json": [{"remove": "a"}]}}"#,
            "`request.json[0].remove` is \"a\"; allowed is a JSON pointer",
        ),
        (
            r#"{"request": {"json": [{"remove": "/a/**"}]}}"#,
            "`request.json[0].remove` is",
        ),
        (
            r#"{"request": {"json": [{"remove": "/**/a/**/b"}]}}"#,
            "`request.json[0].remove` is",
        ),
        (
            r#"{"request": {"json": [{"rename": "/*", "to": "a"}]}}"#,
            "`request.json[0].rename` is \"/*\"; allowed is a pointer that ends with a name",
        ),
        (
            r#"{"request": {"json": [{"set": "/a", "value": "%{x}"}]}}"#,
            "`request.json[0].value` is \"%{x}\"; `%{x}` is unknown",
        ),
        (
            r#"{"request": {"text": [{"find": "", "replace": ""}]}}"#,
            "`request.text[0].find` is \"\"; allowed is text that is not empty",
        ),
        (
            r#"{"request": {"json": [{"remove": "/a"}], "mode": "streamed"}}"#,
            "`request.mode` is \"streamed\"; allowed with `json`",
        ),
        (
            r#"{"request": {"json": [{"remove": "/a"}], "maxBytes": 2000000}}"#,
            "`request.maxBytes` is 2000000; allowed is a whole number from 1 to 131072",
        ),
        (
            r#"{"request": {"json": [{"remove": "/a"}], "contentTypes": ["json"]}}"#,
            "`request.contentTypes[0]` is \"json\"; allowed is a media type",
        ),
        (
            r#"{"request": {"json": [{"remove": "/a"}], "status": [200]}}"#,
            "`request` has an unknown field `status`",
        ),
        (
            r#"{"response": {"json": [{"remove": "/a"}], "tooLarge": "maybe"}}"#,
            r#"`response.tooLarge` is "maybe"; allowed is "reject" or "pass""#,
        ),
    ] {
        let error = Config::parse(text.as_bytes()).unwrap_err();
        assert!(error.starts_with(says), "{text}: {error}");
    }
}
