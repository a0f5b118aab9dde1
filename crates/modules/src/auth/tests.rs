//! Challenges as registries write them.

use http::HeaderMap;
use http::header::WWW_AUTHENTICATE;

use super::{Challenge, challenge, parse};

fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
    Challenge::Bearer {
        realm: realm.to_owned(),
        service: service.map(str::to_owned),
        scope: scope.map(str::to_owned),
    }
}

#[test]
fn challenges_are_read_as_registries_write_them() {
    let hub = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#;
    let read = bearer(
        "https://auth.docker.io/token",
        Some("registry.docker.io"),
        Some("repository:a/b:pull,push"),
    );
    assert_eq!(parse(hub), [read]);
    assert_eq!(parse(r#"basic realm="a \"b\", c""#), [Challenge::Basic]);
    assert_eq!(
        parse(r#"Negotiate, BEARER realm=x , Basic realm="y""#),
        [bearer("x", None, None), Challenge::Basic]
    );
    assert_eq!(parse(r#"Bearer service="no realm""#), []);
    for odd in [
        "",
        ",",
        "=",
        "\"",
        "Bearer realm=\"",
        "Bearer =,=",
        "a b c",
        "Bearer realm=\"\\",
    ] {
        drop(parse(odd));
    }
}

#[test]
fn a_token_is_better_than_a_password() {
    let mut headers = HeaderMap::new();
    assert_eq!(challenge(&headers), None);
    headers.append(WWW_AUTHENTICATE, "Basic realm=x".parse().unwrap());
    assert_eq!(challenge(&headers), Some(Challenge::Basic));
    headers.append(WWW_AUTHENTICATE, "Bearer realm=x".parse().unwrap());
    assert_eq!(challenge(&headers), Some(bearer("x", None, None)));
}
