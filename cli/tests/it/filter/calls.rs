//! Callouts that a case answers.

use super::{Folder, guest};

fn test(cases: &str) -> super::Run {
    let folder = Folder::new();
    folder.write("guest.wasm", guest::asks());
    folder.write("cases.yaml", cases);
    folder.filter(&["test", "cases.yaml", "--filter", "guest.wasm"])
}

#[test]
fn a_callout_is_answered_as_the_case_says() {
    test(
        r"
- name: allowed
  calls:
    - upstream: auth.default:8080
      match: {path: /check, method: GET}
      respond: {status: 204}
  expect:
    request_headers: {x-auth: 204}
    logs: [asked]
    calls: [{upstream: 'auth.default:8080', path: /check}]
- name: nobody there
  calls: [{upstream: 'auth.default:8080', respond: refused}]
  expect: {request_headers: {x-auth: 503}}
- name: no answer
  calls: [{upstream: 'auth.default:8080', respond: timeout}]
  expect: {request_headers: {x-auth: 504}, calls: 1}
",
    )
    .ends(0);
}

#[test]
fn a_callout_that_no_case_answers_is_told() {
    let told = test(
        r"
- name: another path
  calls: [{upstream: 'auth.default:8080', match: {path: /other}}]
  expect: {}
",
    )
    .ends(1);
    assert!(
        told.stdout
            .contains("auth.default:8080 GET /check was called"),
        "{told:?}"
    );
}
