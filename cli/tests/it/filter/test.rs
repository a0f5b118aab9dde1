//! Test cases: what holds, what does not, and what cannot be run.

use super::{Folder, guest};

/// A folder with a module and one file of cases.
fn with(module: &[u8], cases: &str) -> Folder {
    let folder = Folder::new();
    folder.write("guest.wasm", module);
    folder.write("cases.yaml", cases);
    folder
}

const TEST: [&str; 4] = ["test", "cases.yaml", "--filter", "guest.wasm"];

#[test]
fn what_does_not_hold_is_shown_with_the_calls_that_led_to_it() {
    let folder = with(
        &guest::signs("one"),
        "- name: it signs\n  expect: {response: {headers: {x-version: one}}}\n\
         - name: it signs otherwise\n  expect: {response: {headers: {x-version: two}}, action: respond}\n",
    );
    let told = folder.filter(&TEST).ends(1);
    let expected = [
        "ok   cases.yaml: it signs\n",
        "FAIL cases.yaml: it signs otherwise\n",
        "  action\n    - expected respond\n    + was      continue\n",
        "  response.headers.x-version\n    - expected two\n    + was      one\n",
        "    [host->vm] proxy_on_response_headers(",
        "    [vm->host] env.proxy_replace_header_map_value(2, 0, 9, 16, 3)\n",
        "1 passed, 1 failed\n",
    ];
    for part in expected {
        assert!(
            told.stdout.contains(part),
            "{part} is missing in\n{}",
            told.stdout
        );
    }
    let json = folder
        .filter(&[&TEST[..], &["-o", "json"]].concat())
        .ends(1)
        .json();
    assert_eq!((&json["passed"], &json["failed"]), (&1.into(), &1.into()));
    assert_eq!(json["cases"][1]["differences"][0]["field"], "action");
    let only = folder.filter(&[&TEST[..], &["--name", "signs otherwise"]].concat());
    assert!(only.ends(1).stdout.contains("0 passed, 1 failed"));
}

#[test]
fn a_request_arrives_as_it_was_sent_and_so_does_the_answer() {
    let folder = with(
        &guest::signs("one"),
        r"
- name: everything
  request:
    method: POST
    path: /a?b=c
    host: shop.example
    headers: {x-one: 1, x-many: [a, b]}
    chunks: [first, second]
    trailers: {x-sum: 42}
  upstream:
    status: 201
    headers: {x-back: yes}
    chunks: [good, bye]
    trailers: {x-end: done}
  expect:
    action: continue
    request:
      method: POST
      path: /a?b=c
      headers: {host: shop.example, x-one: 1, x-many: [a, b], x-none: null}
      body: firstsecond
      trailers: {x-sum: 42}
    response:
      status: 201
      headers: {x-back: 'true', x-version: {matches: '^o'}}
      body: goodbye
      trailers: {x-end: done}
- name: a service that is not there
  upstream: refused
  expect: {status: 503}
- name: a service that hangs up
  upstream: hangup
  expect: {status: 503}
",
    );
    folder.filter(&TEST).ends(0);
}

#[test]
fn a_filter_that_dies_refuses_or_lets_pass_as_the_case_says() {
    let folder = with(
        &guest::traps(),
        "- name: closed\n  expect: {action: respond, status: 503}\n\
         - name: open\n  fail_strategy: open\n  expect: {action: continue, status: 200}\n",
    );
    folder.filter(&TEST).ends(0);
}

#[test]
fn a_configuration_that_is_refused_can_be_expected() {
    let folder = with(
        &guest::refuses(),
        "- name: refused\n  expect: {refused: {present: true}}\n",
    );
    folder.filter(&TEST).ends(0);
    folder.write("cases.yaml", "- name: accepted\n");
    let told = folder.filter(&TEST).ends(1);
    assert!(told.stdout.contains("+ was      refused:"), "{told:?}");
}

#[test]
fn what_cannot_be_run_is_bad_usage() {
    let folder = with(&guest::signs("one"), "- nam: x\n");
    let told = folder.filter(&TEST).ends(2);
    assert!(
        told.stderr.contains("cases.yaml") && told.stderr.contains("nam"),
        "{told:?}"
    );
    folder.write("cases.yaml", "[]");
    assert!(folder.filter(&TEST).ends(2).stderr.contains("no case"));
    let words = ["test", "none.yaml", "--filter", "guest.wasm"];
    assert!(folder.filter(&words).ends(2).stderr.contains("none.yaml"));
    folder.write("cases.yaml", "- name: x\n");
    let words = ["test", "cases.yaml", "--filter", "none.wasm"];
    assert!(folder.filter(&words).ends(2).stderr.contains("none.wasm"));
}
