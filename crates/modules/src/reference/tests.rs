//! What users write, and what they are told.

use super::{Reference, without_secrets};

fn shown(text: &str) -> String {
    Reference::parse(text).unwrap().to_string()
}

#[test]
fn an_image_is_named_as_docker_names_it() {
    let digest = "c".repeat(64);
    for (text, meant) in [
        ("oci://ghcr.io/org/filter:v1", "oci://ghcr.io/org/filter:v1"),
        ("ghcr.io/org/filter:v1", "oci://ghcr.io/org/filter:v1"),
        (
            "OCI://ghcr.io/org/filter",
            "oci://ghcr.io/org/filter:latest",
        ),
        ("filter", "oci://docker.io/library/filter:latest"),
        ("org/filter:1.2", "oci://docker.io/org/filter:1.2"),
        ("docker.io/filter", "oci://docker.io/library/filter:latest"),
        (
            "index.docker.io/org/filter",
            "oci://docker.io/org/filter:latest",
        ),
        ("localhost/filter:v1", "oci://localhost/filter:v1"),
        ("localhost:5000/a/b/c:v1", "oci://localhost:5000/a/b/c:v1"),
        ("10.0.0.1:5000/a", "oci://10.0.0.1:5000/a:latest"),
        ("[::1]:5000/a:v1", "oci://[::1]:5000/a:v1"),
        ("registry:443/a:v1", "oci://registry:443/a:v1"),
        ("GHCR.io/org/filter:V1", "oci://ghcr.io/org/filter:V1"),
        ("ghcr.io/a__b/c--d.e_f:_", "oci://ghcr.io/a__b/c--d.e_f:_"),
    ] {
        assert_eq!(shown(text), meant, "{text}");
        assert_eq!(shown(meant), meant, "what is shown means the same");
    }
    let pinned = format!("oci://ghcr.io/org/filter@sha256:{digest}");
    assert_eq!(shown(&pinned), pinned);
    let both = format!("oci://ghcr.io/org/filter:v1@sha256:{digest}");
    assert_eq!(shown(&both), both);
    let both = Reference::parse(&both).unwrap();
    assert_eq!(both.image().unwrap().version(), format!("sha256:{digest}"));
}

#[test]
fn urls_and_absolute_files_are_places() {
    assert_eq!(
        shown("https://x.example/y.wasm"),
        "https://x.example/y.wasm"
    );
    assert_eq!(shown("HTTP://X.example:80/y"), "http://x.example/y");
    assert_eq!(
        shown("file:///a b".replace(' ', "_").as_str()),
        "file:///a_b"
    );
    assert!(
        Reference::parse("https://0x7f.1/")
            .unwrap()
            .to_string()
            .contains("127.0.0.1")
    );
}

#[test]
fn what_is_no_place_is_refused_with_the_reason() {
    for (text, why) in [
        ("", "it is empty"),
        ("oci://", "no name of a repository"),
        ("oci:// ghcr.io/a", "white space"),
        ("oci://ghcr.io/A", "lower-case"),
        ("oci://ghcr.io/a/", "lower-case"),
        ("oci://ghcr.io//a", "lower-case"),
        ("oci://ghcr.io/../a", "lower-case"),
        ("oci://ghcr.io/a..b", "lower-case"),
        ("oci://ghcr.io/a:b:c", "lower-case"),
        ("oci://ghcr.io/a:-v", "no tag"),
        ("oci://ghcr.io/a@sha256:12", "64 hexadecimal digits"),
        ("oci://ghcr.io/a@sha512:12", "sha512 are not known"),
        ("oci://ghcr.io:0/a", "between 1 and 65535"),
        ("oci://ghcr.io:99999/a", "port"),
        ("oci://user:pw@ghcr.io/a", "imagePullSecret"),
        ("oci://user:pw@ghcr.io:5000/a:v1", "--password-stdin"),
        ("oci://user:p/pw@ghcr.io/a", "a user or password in it"),
        ("oci://user:p@pw@ghcr.io/a", "a user or password in it"),
        ("oci://user:pw@ghcr.io", "a user or password in it"),
        ("oci://pw@ghcr.io/a", "a user or password in it"),
        ("user:pw@ghcr.io/a", "a user or password in it"),
        ("ftp://x/y", "ftp:// is not known"),
        ("file://relative.wasm", "absolute"),
        ("https:///y", "host"),
        ("https://", "host"),
        ("https://user:pw@x/y", "imagePullSecret"),
    ] {
        let error = Reference::parse(text).map(|read| read.to_string());
        let error = match error {
            Err(error) => error.to_string(),
            // Browsers, and so the standard, read `https:///y` as a host.
            Ok(read) => {
                assert_eq!((text, read.as_str()), ("https:///y", "https://y/"));
                continue;
            }
        };
        assert!(error.contains(why), "{text}: {error}");
        assert!(!error.contains("pw"), "{error}");
    }
}

#[test]
fn a_password_or_signature_is_never_shown() {
    let url = url::Url::parse("https://u:p@x.example/y.wasm?sig=secret#f").unwrap();
    assert_eq!(without_secrets(&url), "https://x.example/y.wasm?…");
    let text = shown("https://x.example/y.wasm?X-Amz-Signature=secret");
    assert_eq!(text, "https://x.example/y.wasm?…");
    let error = Reference::parse("https://u:hunter2@x/?sig=tell").unwrap_err();
    assert!(!error.to_string().contains("hunter2") && !error.to_string().contains("tell"));
    let digest = "1".repeat(64);
    for (text, expected) in [
        (
            "oci://u:hunter2@x.example:5000/y:v1",
            "oci://x.example:5000/y:v1",
        ),
        ("oci://u:hun/ter2@x.example/y", "oci://x.example/y"),
        ("oci://u:hun@ter2@x.example/y", "oci://x.example/y"),
        ("u:hunter2@x.example/y", "x.example/y"),
        ("https://u:hun/ter2@x.example/y", "https://x.example/y"),
        ("oci://x.example/y@sha256:1", "oci://x.example/y@sha256:1"),
    ] {
        assert_eq!(super::shown(text), expected);
    }
    let text = format!("oci://u:hunter2@x.example/y@sha256:{digest}");
    let expected = format!("oci://x.example/y@sha256:{digest}");
    assert_eq!(super::shown(&text), expected);
}
