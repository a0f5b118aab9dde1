use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kit::fake::Fake;

use super::*;

/// A key pair of each kind was made for these tests, and thrown away.
const RSA: &str = "-----BEGIN PUBLIC KEY-----\nMIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAyHQU9mP4TFwlcgc/AYsg\nz1/ri6XqXwhNhj2cUpdeGZuIkdHXxXk11pcUrO6dlM6cKP32m7+2hm5jbeBMbsfK\nr8TJN0KNU6gFXAsyLheOjJN+Z74snTlMuoyjlpAgkzE9ZvRgMkbzuVG+aRBxbpTv\ndWmNNXO6SIyeaCcSP5YtPoBZcBpFz8ke10gKVJ0mxXCBpiJC8lIiymfUxMJy0HFd\nY+o/WwuOxPz2oNBmUwB9oish1sg2l40Zgf1yQRx6tsJa/xRHHQBKgcAS5Lx8RHlF\nXKyA6XrIqGGpmkvO2y3LiW/E+FXwMFHQky/f8EcpgNs+dWdfxcwlPRQnHmZ0Rkw+\nYwIDAQAB\n-----END PUBLIC KEY-----";
const EC: &str = "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEppoEMnHb7Pse408VJrpAuIqJ4RW3\niLioDHBS6X4SDS1C1TpOZ6IjVX/xWgo0dNeOrtGr/jvshKopKslnDhSerQ==\n-----END PUBLIC KEY-----";
/// Made by another library with the keys above.
const ES_TOKEN: &str = "eyJhbGciOiJFUzI1NiIsInR5cCI6IkpXVCIsImtpZCI6ImsyIn0.eyJpc3MiOiJodHRwczovL2lzc3Vlci5leGFtcGxlLm9yZyIsImF1ZCI6WyJzaG9wIiwib3RoZXIiXSwic3ViIjoiam8iLCJleHAiOjQxMDI0NDQ4MDAsIm5iZiI6MTcwMDAwMDAwMCwicmVhbG1fYWNjZXNzIjp7InJvbGVzIjpbImFkbWluIiwidXNlciJdfSwiYWdlIjo0MiwiaHR0cHM6Ly94LmV4YW1wbGUvdCI6ImdvbGQifQ.x76gjdS_2RFzEktf46R_fT9XDwA3VjC0zkGDXBv7ofy-oUcXwUdkNI4ZKqOv0ShHODP-ZoEaLaG8CrPSKv7UUg";

const NOW: u64 = 1_800_000_000;

fn json_key(kid: &str, alg: &str, pem: &str) -> String {
    format!(
        r#"{{"kid": "{kid}", "alg": "{alg}", "pem": "{}"}}"#,
        pem.replace('\n', "\\n")
    )
}

fn config(more: &str) -> Config {
    let text = format!(
        r#"{{"issuers": [{{"issuer": "https://issuer.example.org", "audiences": ["shop"], "keys": [{}, {}]}}],
            "claims": [{{"claim": "sub", "header": "x-user"}},
                       {{"claim": "realm_access.roles", "header": "x-roles"}},
                       {{"claim": ["https://x.example/t"], "header": "x-tier"}},
                       {{"claim": "realm_access", "header": "x-json", "format": "json"}},
                       {{"claim": "none", "header": "x-none"}}] {more}}}"#,
        json_key("k1", "RS256", RSA),
        json_key("k2", "ES256", EC)
    );
    Config::parse(text.as_bytes()).unwrap()
}

fn token(header: &str, payload: &str) -> String {
    let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
    format!(
        "{}.{}.{}",
        encode(header),
        encode(payload),
        encode("signature")
    )
}

const HEADER: &str = r#"{"alg":"RS256","kid":"k1"}"#;

fn payload(more: &str) -> String {
    format!(
        r#"{{"iss":"https://issuer.example.org","aud":"shop","exp":{},"sub":"jo"{more}}}"#,
        NOW + 60
    )
}

fn request(token: &str) -> Fake {
    let fake = Fake::get("/").with("authorization", &format!("bearer {token}"));
    fake.now.set(NOW * 1_000_000_000);
    fake
}

#[expect(clippy::unnecessary_wraps, reason = "it stands for one that can fail")]
fn good(_: &Check<'_>) -> std::result::Result<bool, String> {
    Ok(true)
}

fn shown(fake: &Fake, name: &str) -> Option<String> {
    fake.shown(Side::Request, name)
}

#[test]
fn claims_come_from_the_token_and_never_from_the_caller() {
    let claims = r#","realm_access":{"roles":["admin","user"],"é":1},"https://x.example/t":"gold""#;
    let fake = request(&token(HEADER, &payload(claims)))
        .with("x-user", "root")
        .with("x_user", "root")
        .with("x-none", "forged");
    config("").apply(&fake, &good).unwrap();
    for (name, value) in [
        ("x-user", Some("jo")),
        ("x_user", None),
        ("x-roles", Some("admin,user")),
        ("x-tier", Some("gold")),
        ("x-json", Some(r#"{"roles":["admin","user"],"\u00e9":1}"#)),
        ("x-none", None),
    ] {
        assert_eq!(shown(&fake, name).as_deref(), value, "{name}");
    }
    assert!(shown(&fake, "authorization").is_some());

    let anonymous = Fake::get("/")
        .with("x-user", "root")
        .with("authorization", "Basic x");
    config("").apply(&anonymous, &good).unwrap();
    assert_eq!(shown(&anonymous, "x-user"), None);
}

#[test]
fn the_proxy_is_asked_with_the_key_the_token_names() {
    let fake = Fake::get("/").with("authorization", &format!("Bearer {ES_TOKEN}"));
    fake.now.set(NOW * 1_000_000_000);
    let checked = std::cell::Cell::new(0);
    let verify = |check: &Check<'_>| {
        checked.set(checked.get() + 1);
        assert_eq!(check.hash, "sha256");
        assert_eq!(check.key.len(), 91, "the P-256 key");
        assert_eq!(check.signature.first(), Some(&0x30), "DER");
        assert!(ES_TOKEN.as_bytes().starts_with(check.text));
        Ok(true)
    };
    config("").apply(&fake, &verify).unwrap();
    assert_eq!(checked.get(), 1);
    assert_eq!(shown(&fake, "x-roles").as_deref(), Some("admin,user"));
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn a_token_that_is_not_good_is_refused() {
    let exp = format!(r#""exp":{}"#, NOW + 60);
    let valid = payload("");
    let with = |from: &str, to: &str| valid.replace(from, to);
    for (header, payload, why) in [
        (
            r#"{"alg":"none"}"#,
            valid.clone(),
            "no key of the issuer made",
        ),
        (
            r#"{"alg":"HS256","kid":"k1"}"#,
            valid.clone(),
            "no key of the issuer made",
        ),
        (
            r#"{"alg":"ES256","kid":"k1"}"#,
            valid.clone(),
            "no key of the issuer made",
        ),
        (
            r#"{"alg":"rs256","kid":"k1"}"#,
            valid.clone(),
            "no key of the issuer made",
        ),
        (
            r#"{"alg":"RS256","kid":"other"}"#,
            valid.clone(),
            "no key of the issuer made",
        ),
        (
            r#"{"alg":"ES256","kid":"k2"}"#,
            valid.clone(),
            "no key of the issuer made",
        ),
        (
            r#"{"alg":"RS256","crit":["exp"]}"#,
            valid.clone(),
            "the token needs extensions",
        ),
        (
            r#"{"alg":"RS256","b64":false}"#,
            valid.clone(),
            "the token needs extensions",
        ),
        (
            r#"{"kid":"k1"}"#,
            valid.clone(),
            "the token names no algorithm",
        ),
        (
            r#"{"alg":"RS256","alg":"none"}"#,
            valid.clone(),
            "a part of the token is not a JSON object",
        ),
        (
            HEADER,
            with("https://issuer", "https://other"),
            "the token's issuer is not configured",
        ),
        (
            HEADER,
            with(r#""iss":"https://issuer.example.org","#, ""),
            "the token names no issuer",
        ),
        (
            HEADER,
            with(r#""aud":"shop""#, r#""aud":["else"]"#),
            "the token is for somebody else",
        ),
        (
            HEADER,
            with(r#""aud":"shop","#, ""),
            "the token is for somebody else",
        ),
        (
            HEADER,
            with(&exp, &format!(r#""exp":{}"#, NOW - 60)),
            "the token has expired",
        ),
        (
            HEADER,
            with(&exp, r#""exp":"never""#),
            "a time in the token is not a number",
        ),
        (
            HEADER,
            with(&exp, r#""exp":1e999"#),
            "a time in the token is not a number",
        ),
        (
            HEADER,
            with(&exp, r#""x":0"#),
            "the token does not say when it expires",
        ),
        (
            HEADER,
            with(&exp, &format!(r#"{exp},"nbf":{}"#, NOW + 61)),
            "the token is not valid yet",
        ),
        (
            HEADER,
            with(&exp, &format!(r#"{exp},"iat":{}"#, NOW + 61)),
            "the token was issued in the future",
        ),
        (
            HEADER,
            with(r#""sub":"jo""#, r#""sub":"jo","sub":"root""#),
            "a part of the token is not a JSON object",
        ),
        (
            HEADER,
            "[]".to_owned(),
            "a part of the token is not a JSON object",
        ),
    ] {
        let fake = request(&token(header, &payload)).with("x-user", "root");
        let denied = config("").apply(&fake, &good).unwrap_err();
        assert!(denied.0.starts_with(why), "{header} {payload}: {denied:?}");
        assert_eq!(shown(&fake, "x-user"), None);
    }
    for (raw, why) in [
        ("a.b", "the token does not have three parts"),
        ("a.b.c.d.e", "the token does not have three parts"),
        ("", "the token does not have three parts"),
        ("YQ==.YQ.YQ", "the token is not base64url without padding"),
        (&*"x".repeat(20_000), "the token is too long"),
    ] {
        let denied = config("").apply(&request(raw), &good).unwrap_err();
        assert_eq!(denied.0, why, "{raw}");
    }
    let twice = request("a").with("authorization", "Bearer b");
    assert_eq!(
        config("").apply(&twice, &good),
        Err(Denied("there is more than one token"))
    );
}

#[test]
fn a_signature_that_is_not_good_or_cannot_be_checked_is_refused() {
    let fake = || request(&token(HEADER, &payload("")));
    let bad = |_: &Check<'_>| Ok(false);
    let broken = |_: &Check<'_>| Err("none".to_owned());
    assert!(
        config("")
            .apply(&fake(), &bad)
            .unwrap_err()
            .0
            .starts_with("no key of the issuer")
    );
    assert!(
        config("")
            .apply(&fake(), &broken)
            .unwrap_err()
            .0
            .starts_with("the proxy could not")
    );
}

#[test]
fn without_a_kid_every_fitting_key_is_tried() {
    let fake = request(&token(r#"{"alg":"RS256"}"#, &payload("")));
    config("").apply(&fake, &good).unwrap();
    assert_eq!(shown(&fake, "x-user").as_deref(), Some("jo"));
}

#[test]
fn a_trusted_token_is_checked_but_for_its_signature() {
    let text = r#"{"signature": "trust", "issuers": [{"issuer": "https://issuer.example.org"}],
                   "claims": [{"claim": "sub", "header": "x-user"}]}"#;
    let config = Config::parse(text.as_bytes()).unwrap();
    let never = |_: &Check<'_>| unreachable!();
    let fake = request(&token(r#"{"alg":"none"}"#, &payload("")));
    config.apply(&fake, &never).unwrap();
    assert_eq!(shown(&fake, "x-user").as_deref(), Some("jo"));
    let expired = request(&token(HEADER, &payload("").replace("18000000", "17000000")));
    assert_eq!(
        config.apply(&expired, &never),
        Err(Denied("the token has expired"))
    );
}

#[test]
fn what_is_ambiguous_in_a_header_is_left_out() {
    for claim in [
        r#","realm_access":{"roles":["a,b"]}"#,
        r#","realm_access":{"roles":[["a"]]}"#,
        r#","realm_access":{"roles":{"a":1}}"#,
        r#","realm_access":{"roles":"a\r\nx-user: root"}"#,
        r#","realm_access":{"roles":"é"}"#,
        r#","realm_access":{"roles":null}"#,
        r#","realm_access":"x""#,
    ] {
        let fake = request(&token(HEADER, &payload(claim)));
        config("").apply(&fake, &good).unwrap();
        assert_eq!(shown(&fake, "x-roles"), None, "{claim}");
    }
}

#[test]
fn requirements_are_kept() {
    let missing = config(r#", "required": true"#).apply(&Fake::get("/"), &good);
    assert_eq!(missing, Err(Denied("there is no token")));
    let text = format!(
        r#"{{"from": {{"query": "t"}}, "forwardToken": false, "issuers": [{{"issuer": "https://issuer.example.org", "keys": [{}]}}],
            "claims": [{{"claim": "tenant", "header": "x-tenant", "required": true}}]}}"#,
        json_key("k1", "RS256", RSA)
    );
    let config = Config::parse(text.as_bytes()).unwrap();
    let ask = |claims| {
        let fake = Fake::get(&format!("/p?a=1&t={}", token(HEADER, &payload(claims))));
        fake.now.set(NOW * 1_000_000_000);
        fake
    };
    assert!(
        config
            .apply(&ask(""), &good)
            .unwrap_err()
            .0
            .starts_with("a required claim")
    );
    let fake = ask(r#","tenant":7"#);
    config.apply(&fake, &good).unwrap();
    assert_eq!(shown(&fake, "x-tenant").as_deref(), Some("7"));
    assert_eq!(shown(&fake, ":path").as_deref(), Some("/p?a=1"));
}

#[test]
fn signatures_of_curves_become_der() {
    let mut raw = [0_u8; 64];
    raw[31] = 0x7f;
    raw[32] = 0x80;
    let der = Algorithm::Es256.signature(&raw).unwrap();
    assert_eq!(der[..5], [0x30, 38, 2, 1, 0x7f]);
    assert_eq!(der[5..9], [2, 33, 0, 0x80]);
    assert_eq!(Algorithm::Es256.signature(&raw[..63]), None);
    let zero = Algorithm::Es256.signature(&[0; 64]).unwrap();
    assert_eq!(zero, [0x30, 6, 2, 1, 0, 2, 1, 0]);
}

#[test]
fn messages_to_and_from_the_proxy_have_their_form() {
    let text = [7; 300];
    let check = Check {
        hash: "sha256",
        key: b"k",
        signature: b"s",
        text: &text,
    };
    let bytes = check.arguments();
    assert_eq!(
        bytes[..17],
        *b"\x0a\x06sha256\x12\x01k\x1a\x01s\x22\xac\x02"
    );
    assert_eq!(bytes.len(), 317);
    assert_eq!(Check::answer(b"\x08\x01"), Ok(true));
    assert_eq!(Check::answer(b"\x12\x02no"), Ok(false));
    assert_eq!(Check::answer(b"\x08\x00\x12\x00"), Ok(false));
    assert_eq!(Check::answer(b""), Ok(false));
    for wrong in [
        &b"\x12\x05no"[..],
        b"\x08",
        b"\x1a\x00",
        b"\x08\xff\xff\xff\xff\xff",
    ] {
        assert!(Check::answer(wrong).is_err(), "{wrong:?}");
    }
}

#[test]
fn mistakes_name_the_field() {
    let with_key = |key: &str| {
        format!(
            r#"{{"issuers": [{{"issuer": "i", "keys": [{key}]}}], "claims": [{{"claim": "sub", "header": "x"}}]}}"#
        )
    };
    let private = r#"{"alg": "RS256", "pem": "-----BEGIN PRIVATE KEY-----"}"#;
    for (text, says) in [
        (String::new(), "`issuers` is empty or absent"),
        (
            r#"{"issuers": [{"issuer": "i"}]}"#.to_owned(),
            "`issuers[0].keys` is empty or absent",
        ),
        (
            r#"{"issuers": [{"issuer": "i"}], "signature": "trust"}"#.to_owned(),
            "`claims` is empty or absent",
        ),
        (
            r#"{"issuers": [{"issuer": "i"}], "signature": "no"}"#.to_owned(),
            r#"`signature` is "no"; allowed is "verify" or "trust""#,
        ),
        (
            with_key(r#"{"alg": "HS256", "pem": ""}"#),
            r#"`issuers[0].keys[0].alg` is "HS256"; allowed is "RS256" or"#,
        ),
        (
            with_key(r#"{"alg": "RS256", "pem": "x"}"#),
            "`issuers[0].keys[0].pem` is \"x\"; allowed is a public key between",
        ),
        (
            with_key(private),
            "`issuers[0].keys[0].pem` is not valid; allowed is a public key; this is a private one",
        ),
        (
            with_key(&json_key("a", "ES256", RSA)),
            "`issuers[0].keys[0].pem` is \"-----BEGIN PUBLIC KEY",
        ),
        (
            with_key(&json_key("a", "RS256", EC)),
            "`issuers[0].keys[0].pem` is",
        ),
        (
            with_key(&json_key("a", "ES384", EC)),
            "`issuers[0].keys[0].pem` is",
        ),
        (
            with_key(&json_key("a", "RS256", RSA))
                .replace("\"signature\"", "")
                .replace("\"claims\"", "\"signature\": \"trust\", \"claims\""),
            "`issuers[0].keys` is beside",
        ),
        (
            with_key(&json_key("a", "RS256", RSA)).replace("\"sub\"", "\"a..b\""),
            "`claims[0].claim` is \"a..b\"; allowed is a name such as",
        ),
        (
            with_key(&json_key("a", "RS256", RSA)).replace("\"x\"", "\"Host\""),
            "`claims[0].header` is \"Host\"; allowed is a header",
        ),
    ] {
        let error = Config::parse(text.as_bytes()).unwrap_err();
        assert!(error.starts_with(says), "{text}: {error}");
    }
}
