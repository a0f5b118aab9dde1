//! `jwt-claims-to-headers`: the host checks the signatures.

use super::support::{Exchange, Filter, refuses, text};

/// A key pair of each kind was made for these tests, and thrown away. The tokens expire in 2100.
const RSA: &str = "-----BEGIN PUBLIC KEY-----\\nMIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAyHQU9mP4TFwlcgc/AYsg\\nz1/ri6XqXwhNhj2cUpdeGZuIkdHXxXk11pcUrO6dlM6cKP32m7+2hm5jbeBMbsfK\\nr8TJN0KNU6gFXAsyLheOjJN+Z74snTlMuoyjlpAgkzE9ZvRgMkbzuVG+aRBxbpTv\\ndWmNNXO6SIyeaCcSP5YtPoBZcBpFz8ke10gKVJ0mxXCBpiJC8lIiymfUxMJy0HFd\\nY+o/WwuOxPz2oNBmUwB9oish1sg2l40Zgf1yQRx6tsJa/xRHHQBKgcAS5Lx8RHlF\\nXKyA6XrIqGGpmkvO2y3LiW/E+FXwMFHQky/f8EcpgNs+dWdfxcwlPRQnHmZ0Rkw+\\nYwIDAQAB\\n-----END PUBLIC KEY-----";
const EC: &str = "-----BEGIN PUBLIC KEY-----\\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEppoEMnHb7Pse408VJrpAuIqJ4RW3\\niLioDHBS6X4SDS1C1TpOZ6IjVX/xWgo0dNeOrtGr/jvshKopKslnDhSerQ==\\n-----END PUBLIC KEY-----";
const RS_TOKEN: &str = "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCIsImtpZCI6ImsxIn0.eyJpc3MiOiJodHRwczovL2lzc3Vlci5leGFtcGxlLm9yZyIsImF1ZCI6WyJzaG9wIiwib3RoZXIiXSwic3ViIjoiam8iLCJleHAiOjQxMDI0NDQ4MDAsIm5iZiI6MTcwMDAwMDAwMCwicmVhbG1fYWNjZXNzIjp7InJvbGVzIjpbImFkbWluIiwidXNlciJdfSwiYWdlIjo0MiwiaHR0cHM6Ly94LmV4YW1wbGUvdCI6ImdvbGQifQ.Ht--L40cnnAbUsA7Q5C2Hi2CMdFshJizqNFKh-vWvcN-vQoH9zOmjprBH7dhJOhvhZ6735krUiNakVOyVmfHPCbifcJcPoHWQhdLlt5OlrmbI-mTOdb0P1ClG9RbDJQ5eB5vmoC-FHQHqOVRnR5jxmoTZ7fMztxnY_YjBJUMES1VTRh9WAXNqwMgoeSvziV1PS9bZ2ffjpJD8IGVn3l_ChqMxrX-UhIgA8nIsK4YtUco4d3vgxKWoMFoe8n3k3v8RDMCEQlnKZAXqh1ahAucO--QkDHGSPdix4O8F4jktnxlBz8461JTe8q4Ksk5oiFuqqHIQNo-R7dlcdk1NJKW7g";
const ES_TOKEN: &str = "eyJhbGciOiJFUzI1NiIsInR5cCI6IkpXVCIsImtpZCI6ImsyIn0.eyJpc3MiOiJodHRwczovL2lzc3Vlci5leGFtcGxlLm9yZyIsImF1ZCI6WyJzaG9wIiwib3RoZXIiXSwic3ViIjoiam8iLCJleHAiOjQxMDI0NDQ4MDAsIm5iZiI6MTcwMDAwMDAwMCwicmVhbG1fYWNjZXNzIjp7InJvbGVzIjpbImFkbWluIiwidXNlciJdfSwiYWdlIjo0MiwiaHR0cHM6Ly94LmV4YW1wbGUvdCI6ImdvbGQifQ.x76gjdS_2RFzEktf46R_fT9XDwA3VjC0zkGDXBv7ofy-oUcXwUdkNI4ZKqOv0ShHODP-ZoEaLaG8CrPSKv7UUg";

fn start(more: &str) -> Filter {
    let config = format!(
        r#"{{"issuers": [{{"issuer": "https://issuer.example.org", "audiences": ["shop"],
                          "keys": [{{"kid": "k1", "alg": "RS256", "pem": "{RSA}"}}, {{"kid": "k2", "alg": "ES256", "pem": "{EC}"}}]}}],
            "claims": [{{"claim": "sub", "header": "x-user"}}, {{"claim": "realm_access.roles", "header": "x-roles"}},
                       {{"claim": "age", "header": "x-age"}}, {{"claim": "nothing", "header": "x-nothing"}}] {more}}}"#
    );
    Filter::start("jwt-claims-to-headers", &config)
}

fn with_token(token: &str) -> Exchange {
    Exchange::get("/")
        .with("authorization", format!("Bearer {token}"))
        .with("x-user", "forged")
        .with("x-nothing", "forged")
}

#[test]
fn claims_of_a_verified_token_become_headers() {
    let filter = start("");
    for token in [RS_TOKEN, ES_TOKEN] {
        let exchange = filter.pass(with_token(token));
        for (name, value) in [
            ("x-user", Some("jo")),
            ("x-roles", Some("admin,user")),
            ("x-age", Some("42")),
            ("x-nothing", None),
        ] {
            assert_eq!(exchange.request(name).as_deref(), value, "{name}");
        }
        assert!(exchange.request("authorization").is_some());
    }
    let dropping = start(r#", "forwardToken": false"#);
    assert_eq!(
        dropping.pass(with_token(RS_TOKEN)).request("authorization"),
        None
    );
}

#[test]
fn a_token_with_anything_changed_is_refused() {
    let filter = start("");
    for token in [RS_TOKEN, ES_TOKEN] {
        // Every part, at several places.
        for at in (0..token.len()).step_by(37) {
            let mut bytes = token.as_bytes().to_vec();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).unwrap();
            let answer = filter.denied(with_token(&changed));
            assert_eq!(answer.status, 401, "{at}");
            let challenge = text(&answer.headers, "www-authenticate");
            assert_eq!(challenge.as_deref(), Some("Bearer error=\"invalid_token\""));
        }
        let (signed, _) = token.rsplit_once('.').unwrap();
        assert_eq!(filter.denied(with_token(&format!("{signed}."))).status, 401);
        let (_, other) = if token == RS_TOKEN {
            ES_TOKEN
        } else {
            RS_TOKEN
        }
        .rsplit_once('.')
        .unwrap();
        assert_eq!(
            filter
                .denied(with_token(&format!("{signed}.{other}")))
                .status,
            401
        );
    }
    assert_eq!(
        filter
            .denied(with_token(RS_TOKEN).with("authorization", "Bearer x"))
            .status,
        401
    );
    assert!(filter.vm.trap().is_none());
}

#[test]
fn a_request_without_a_token_goes_on_unless_one_is_required() {
    let anonymous = start("").pass(Exchange::get("/").with("x-user", "forged"));
    assert_eq!(anonymous.request("x-user"), None);
    let answer = start(r#", "required": true"#).denied(Exchange::get("/"));
    assert_eq!(
        (
            answer.status,
            text(&answer.headers, "www-authenticate").as_deref()
        ),
        (401, Some("Bearer"))
    );
}

#[test]
fn a_token_for_somebody_else_is_refused() {
    let config = format!(
        r#"{{"issuers": [{{"issuer": "https://issuer.example.org", "audiences": ["bank"], "keys": [{{"alg": "RS256", "pem": "{RSA}"}}]}}],
            "claims": [{{"claim": "sub", "header": "x-user"}}]}}"#
    );
    let filter = Filter::start("jwt-claims-to-headers", &config);
    let answer = filter.denied(with_token(RS_TOKEN));
    assert_eq!(&*answer.body, b"the token is for somebody else\n");
}

#[test]
fn a_mistake_is_told_with_its_field() {
    let key = |alg: &str, pem: &str| {
        format!(
            r#"{{"issuers": [{{"issuer": "i", "keys": [{{"alg": "{alg}", "pem": "{pem}"}}]}}], "claims": [{{"claim": "sub", "header": "x"}}]}}"#
        )
    };
    refuses(
        "jwt-claims-to-headers",
        "{}",
        "`issuers` is empty or absent",
    );
    refuses(
        "jwt-claims-to-headers",
        &key("none", RSA),
        "`issuers[0].keys[0].alg` is \"none\"; allowed is \"RS256\" or \"RS384\"",
    );
    refuses(
        "jwt-claims-to-headers",
        &key("ES256", RSA),
        "`issuers[0].keys[0].pem` is \"-----BEGIN PUBLIC KEY-----",
    );
}
