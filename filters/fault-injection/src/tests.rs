use kit::fake::Fake;

use super::*;

fn decide(config: &str, fake: &Fake) -> Fault {
    let config = Config::parse(config.as_bytes()).unwrap();
    config.decide(fake, &Chance::new(1))
}

fn abort(status: u32) -> Abort {
    Abort {
        status,
        grpc_status: None,
        body: String::new(),
    }
}

#[test]
fn the_first_rule_that_holds_decides() {
    let config = r#"{"rules": [
        {"when": {"path": [{"prefix": "/a"}]}, "delay": {"milliseconds": 5}},
        {"when": {"path": [{"prefix": "/b"}]}, "abort": {"status": 503, "body": "x"}, "delay": {"milliseconds": 7}},
        {"when": {"path": [{"prefix": "/c"}]}, "abort": {"grpcStatus": 14}},
        {"when": {"path": [{"prefix": "/a"}]}, "abort": {"status": 500}}]}"#;
    assert_eq!(
        decide(config, &Fake::get("/a")),
        Fault {
            delay: Some(5),
            abort: None
        }
    );
    let b = decide(config, &Fake::get("/b"));
    let expected = Abort {
        body: "x".to_owned(),
        ..abort(503)
    };
    assert_eq!(
        b,
        Fault {
            delay: Some(7),
            abort: Some(expected)
        }
    );
    let c = decide(config, &Fake::get("/c")).abort.unwrap();
    assert_eq!((c.status, c.grpc_status), (200, Some(14)));
    assert_eq!(decide(config, &Fake::get("/d")), Fault::default());
}

#[test]
fn shares_and_jitter_are_kept() {
    let config = Config::parse(
        br#"{"rules": [{"delay": {"percent": 20, "milliseconds": 100, "jitterMilliseconds": 10},
                        "abort": {"percent": 0.5, "status": 500}}]}"#,
    )
    .unwrap();
    let (chance, fake) = (Chance::new(3), Fake::get("/"));
    let faults: Vec<_> = (0..20_000).map(|_| config.decide(&fake, &chance)).collect();
    let delays: Vec<u32> = faults.iter().filter_map(|fault| fault.delay).collect();
    assert!((3_700..4_300).contains(&delays.len()), "{}", delays.len());
    assert!(delays.iter().all(|delay| (100..=110).contains(delay)));
    assert!(delays.contains(&100) && delays.contains(&110));
    let aborts = faults.iter().filter(|fault| fault.abort.is_some()).count();
    assert!((60..150).contains(&aborts), "{aborts}");
}

#[test]
fn headers_choose_faults_only_where_that_is_configured() {
    let ask = || {
        Fake::get("/")
            .with("x-delay", "20000")
            .with("x-abort", "404")
    };
    let rules =
        r#"{"rules": [{"when": {"path": [{"exact": "/never"}]}, "abort": {"status": 500}}]}"#;
    assert_eq!(decide(rules, &ask()), Fault::default());

    let allowed = r#"{"headers": {"delay": "X-Delay", "abort": "x-abort", "maxMilliseconds": 50,
                      "when": {"headers": [{"name": "x-tester", "exact": "yes"}]}}}"#;
    let stranger = ask();
    assert_eq!(decide(allowed, &stranger), Fault::default());
    assert_eq!(stranger.shown(Side::Request, "x-abort"), None);

    let tester = ask().with("x-tester", "yes");
    assert_eq!(
        decide(allowed, &tester),
        Fault {
            delay: Some(50),
            abort: Some(abort(404))
        }
    );
    assert_eq!(tester.shown(Side::Request, "x-delay"), None);

    let nonsense = Fake::get("/")
        .with("x-tester", "yes")
        .with("x-delay", "-1")
        .with("x-abort", "99");
    assert_eq!(decide(allowed, &nonsense), Fault::default());
}

#[test]
fn requests_leave_in_the_order_of_their_time() {
    let mut waiting = Waiting::default();
    waiting.add(1, 30, None);
    waiting.add(2, 10, Some(abort(500)));
    waiting.add(3, 20, None);
    waiting.add(4, 5, None);
    waiting.forget(4);
    assert!(waiting.due(9).is_empty());
    assert_eq!(waiting.due(25), [(2, Some(abort(500))), (3, None)]);
    assert_eq!(waiting.len(), 1);
    assert_eq!(waiting.due(u64::MAX), [(1, None)]);
    assert!(waiting.is_empty());
}

#[test]
fn mistakes_name_the_field() {
    for (config, says) in [
        (
            "",
            "the configuration injects nothing; it needs `rules` or `headers`",
        ),
        (
            r#"{"rules": [{}]}"#,
            "`rules[0]` injects nothing; it needs `delay` or `abort`",
        ),
        (
            r#"{"rules": [{"delay": {}}]}"#,
            "`rules[0].delay` needs the field `milliseconds`",
        ),
        (
            r#"{"rules": [{"delay": {"milliseconds": 300001}}]}"#,
            "`rules[0].delay.milliseconds` is 300001; allowed is a whole number from 0 to 300000",
        ),
        (
            r#"{"rules": [{"abort": {"percent": 5}}]}"#,
            "`rules[0].abort` needs `status` or `grpcStatus`",
        ),
        (
            r#"{"rules": [{"abort": {"status": 500, "percent": 101}}]}"#,
            "`rules[0].abort.percent` is 101; allowed is a number from 0 to 100",
        ),
        (
            r#"{"headers": {}}"#,
            "`headers` needs `delay` or `abort`, the name of a header",
        ),
        (
            r#"{"rules": [{"abort": {"status": 500}}], "maxWaiting": 0}"#,
            "`maxWaiting` is 0;",
        ),
        (
            r#"{"rules": [{"abort": {"status": 500}}], "seed": 1}"#,
            "the configuration has an unknown field `seed`",
        ),
    ] {
        let error = Config::parse(config.as_bytes()).unwrap_err();
        assert!(error.starts_with(says), "{config}: {error}");
    }
}
