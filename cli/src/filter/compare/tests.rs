use super::*;

fn expected(text: &str) -> Expected {
    let expected: Expected = serde_saphyr::from_str(text).unwrap();
    expected.check().unwrap();
    expected
}

fn fields(expected: &Expected, was: &Happened) -> Vec<String> {
    let found = expected.differences(was);
    found
        .into_iter()
        .map(|difference| difference.field)
        .collect()
}

fn happened() -> Happened {
    let mut request = Message::default();
    request.headers.insert("x-a", "1".parse().unwrap());
    request.headers.append("x-a", "2".parse().unwrap());
    request.body = "body".into();
    Happened {
        response: Some(Ok(Message::default())),
        received: vec![request],
        logs: vec!["GET /hello".to_owned()],
        metrics: BTreeMap::from([("wasmcustom_hits_total".to_owned(), 2.0)]),
        ..Happened::default()
    }
}

#[test]
fn what_is_as_expected_is_no_difference() {
    let good = expected(
        "{action: continue, status: 200, request_headers: {x-a: [1, 2], x-b: null},
          request_body: body, request: {method: GET, headers: {X-A: {contains: 2}}},
          logs: [hello, {matches: '^GET'}, {absent: POST}], metrics: {hits: 2}, calls: 0}",
    );
    assert_eq!(fields(&good, &happened()), <Vec<String>>::new());
}

#[test]
fn every_difference_is_found_and_named() {
    let bad = expected(
        "{action: respond, status: 404, request_headers: {x-a: 1, x-b: b}, request_body: x,
          response: {headers: {x-c: {present: true}}}, logs: [POST, {absent: GET}],
          metrics: {hits: 3, misses: 1}, calls: 1}",
    );
    assert_eq!(
        fields(&bad, &happened()),
        [
            "action",
            "status",
            "request.headers.x-a",
            "request.headers.x-b",
            "request.body",
            "response.headers.x-c",
            "logs",
            "logs",
            "metrics.hits",
            "metrics.misses",
            "calls",
        ]
    );
}

#[test]
fn a_refused_configuration_is_a_difference_unless_it_is_expected() {
    let refused = Happened {
        refused: Some("no greeting".to_owned()),
        ..Happened::default()
    };
    assert_eq!(fields(&expected("{}"), &refused), ["config"]);
    assert!(fields(&expected("refused: {contains: greeting}"), &refused).is_empty());
    let accepted = expected("refused: {present: true}");
    assert_eq!(fields(&accepted, &happened()), ["refused"]);
}

#[test]
fn a_request_that_did_not_arrive_is_told() {
    let was = Happened {
        response: Some(Err("it was cut".to_owned())),
        ..Happened::default()
    };
    assert!(fields(&expected("action: reset"), &was).is_empty());
    assert_eq!(
        fields(&expected("request_headers: {a: b}"), &was),
        ["request"]
    );
}
