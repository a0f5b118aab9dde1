//! Servers that mean harm.

use std::time::{Duration, Instant};

use modules::{Credentials, Digest, Phase, Settings};

use crate::archive::{gzip, tar};
use crate::server::{Server, answer};
use crate::{MODULE, fetch, quick, request};

#[tokio::test]
async fn nobody_is_sent_to_a_metadata_service() {
    for target in [
        "http://169.254.169.254/latest/meta-data/",
        "https://169.254.169.254/latest/meta-data/",
        "http://[::ffff:a9fe:a9fe]/",
        "https://0251.0376.0251.0376/",
        "https://2852039166/",
    ] {
        let server = Server::start(move |_, wire| answer(wire, 302, &[("location", target)], b""));
        let settings = Settings {
            insecure: modules::Insecure::parse("*"),
            ..quick()
        };
        let error = fetch(settings, &request(&server.url("/m")))
            .await
            .unwrap_err();
        assert_eq!(
            (error.phase, error.is_retryable),
            (Phase::Resolve, false),
            "{error}"
        );
        assert!(error.to_string().contains("a metadata service"), "{error}");
        assert_eq!(server.seen().len(), 1);
    }
    let error = fetch(quick(), &request("oci://169.254.169.254/a/b"))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("a metadata service"), "{error}");
}

#[tokio::test]
async fn redirects_end_somewhere_and_lead_to_the_web_alone() {
    let server = Server::start(|seen, wire| {
        let to = match seen.path.as_str() {
            "/file" => "file:///etc/passwd",
            "/user" => "https://user:pw@x.example/",
            "/plain" => "http://x.example/m.wasm",
            "/none" => return answer(wire, 302, &[], b""),
            _ => "/loop",
        };
        answer(wire, 307, &[("location", to)], b"");
    });
    for (path, why) in [
        ("/loop", "more than 5 redirects"),
        ("/file", "no place on the web"),
        ("/user", "password in it"),
        ("/plain", "redirects to http://"),
        ("/none", "to nowhere"),
    ] {
        let error = fetch(quick(), &request(&server.url(path)))
            .await
            .unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
    }
    assert_eq!(server.count("/loop"), 6);
}

#[tokio::test]
async fn a_body_without_end_is_read_to_the_limit() {
    let settings = || Settings {
        max_download: 1 << 20,
        ..quick()
    };
    let server = Server::start(|seen, wire| {
        let head: &[u8] = match seen.path.as_str() {
            "/said" => b"HTTP/1.1 200 OK\r\ncontent-length: 9000000000\r\n\r\n",
            _ => b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
        };
        let mut chunk = format!("{:x}\r\n", 64 << 10).into_bytes();
        chunk.extend(vec![b'x'; 64 << 10]);
        chunk.extend(b"\r\n");
        let _ = wire.write_all(head);
        // Until the client has gone.
        while wire.write_all(&chunk).is_ok() {}
    });
    for path in ["/said", "/unsaid"] {
        let error = fetch(settings(), &request(&server.url(path)))
            .await
            .unwrap_err();
        assert_eq!((error.phase, error.is_retryable), (Phase::Blob, false));
        assert!(
            error.to_string().contains("more than the 1048576 bytes"),
            "{error}"
        );
        assert_eq!(server.count(path), 1);
    }
}

#[tokio::test]
async fn bombs_and_archives_that_lead_out_are_refused() {
    let server = Server::start(|seen, wire| {
        let mut bomb = MODULE.to_vec();
        bomb.resize(64 << 20, 0);
        let body = match seen.path.as_str() {
            "/bomb" => gzip(&bomb),
            "/tarbomb" => gzip(&tar(&[("pad", &bomb)])),
            _ => gzip(&tar(&[("../../etc/cron.d/x", MODULE)])),
        };
        answer(wire, 200, &[], &body);
    });
    let settings = || Settings {
        max_module: 1 << 30,
        ..quick()
    };
    for (path, why) in [
        ("/bomb", "100 times larger"),
        ("/tarbomb", "100 times larger"),
        ("/traversal", "leads out of it"),
    ] {
        let error = fetch(settings(), &request(&server.url(path)))
            .await
            .unwrap_err();
        assert_eq!(error.phase, Phase::Unpack);
        assert!(error.to_string().contains(why), "{error}");
    }
}

#[tokio::test]
async fn who_sends_slowly_or_nothing_is_left_in_time() {
    let drip = Server::start(|_, wire| {
        let (_held, never) = std::sync::mpsc::channel::<()>();
        let _ = wire.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n");
        while wire.write_all(b"x").and_then(|()| wire.flush()).is_ok() {
            let _ = never.recv_timeout(Duration::from_millis(5));
        }
    });
    let mute = Server::start(|_, wire| {
        let _ = wire.read(&mut [0]);
    });
    let settings = || Settings {
        request_timeout: Duration::from_millis(200),
        tries: 2,
        ..quick()
    };
    for (server, why) in [
        (&drip, "sends too slowly"),
        (&mute, "does not answer within"),
    ] {
        let begun = Instant::now();
        let error = fetch(settings(), &request(&server.url("/m")))
            .await
            .unwrap_err();
        assert!(
            error.is_retryable && error.to_string().contains(why),
            "{error}"
        );
        assert!(begun.elapsed() >= Duration::from_millis(400));
        assert_eq!(server.count("/m"), 2);
    }
    // All tries together have an end too.
    let settings = Settings {
        timeout: Duration::from_millis(300),
        ..quick()
    };
    let error = fetch(settings, &request(&mute.url("/all")))
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("could not be had within 300ms"),
        "{error}"
    );
}

fn manifest_of(module: &[u8]) -> Vec<u8> {
    let digest = Digest::of(module);
    let kind = "application/vnd.module.wasm.content.layer.v1+wasm";
    format!(
        r#"{{"schemaVersion":2,"layers":[{{"mediaType":"{kind}","digest":"{digest}","size":{}}}]}}"#,
        module.len()
    )
    .into_bytes()
}

#[tokio::test]
async fn what_has_another_digest_is_refused_before_it_is_read() {
    let server = Server::start(|seen, wire| {
        let path = seen.path.as_str();
        let lie = Digest::of(b"lie").to_string();
        match path.rsplit('/').nth(1) {
            Some("blobs") if path.contains("/v2/blob/") => answer(wire, 200, &[], b"\0asm evil"),
            Some("blobs") => answer(wire, 200, &[], MODULE),
            _ if path.contains("/v2/told/") => {
                let told = [("docker-content-digest", lie.as_str())];
                answer(wire, 200, &told, &manifest_of(MODULE));
            }
            _ => answer(wire, 200, &[], &manifest_of(MODULE)),
        }
    });
    let wrong = Digest::of(b"wrong");
    for (name, why) in [
        ("blob:v1".to_owned(), "the layer that was sent has"),
        ("told:v1".to_owned(), "the manifest that was sent has"),
        (format!("good@{wrong}"), "the manifest that was sent has"),
    ] {
        let error = fetch(quick(), &request(&server.image(&name)))
            .await
            .unwrap_err();
        assert_eq!(
            (error.phase, error.is_retryable),
            (Phase::Verify, false),
            "{error}"
        );
        assert!(error.to_string().contains(why), "{error}");
    }
    let mut pinned = request(&server.image("good:v1"));
    pinned.sha256 = Some(wrong);
    let text = fetch(quick(), &pinned).await.unwrap_err().to_string();
    let (module, manifest) = (Digest::of(MODULE), Digest::of(&manifest_of(MODULE)));
    assert!(
        text.contains(&module.hex()) && text.contains(&manifest.hex()),
        "{text}"
    );
    for digest in [module, manifest] {
        pinned.sha256 = Some(digest);
        let fetched = fetch(quick(), &pinned).await.unwrap();
        assert_eq!((fetched.sha256, fetched.manifest), (module, Some(manifest)));
    }
}

#[tokio::test]
async fn credentials_stay_with_the_host_they_were_issued_for() {
    let elsewhere = Server::start_at("127.0.0.2:0", |_, wire| answer(wire, 200, &[], MODULE));
    let target = elsewhere.url("/storage");
    let registry = Server::start(move |seen, wire| {
        let path = seen.path.as_str();
        if !seen.headers.contains_key("authorization") {
            answer(wire, 401, &[("www-authenticate", "Basic realm=x")], b"");
        } else if path == "/own" {
            answer(wire, 307, &[("location", &target)], b"");
        } else if path.contains("/blobs/") {
            answer(wire, 307, &[("location", "/own")], b"");
        } else {
            answer(wire, 200, &[], &manifest_of(MODULE));
        }
    });
    let mut request = request(&registry.image("a/b:v1"));
    let host = registry.address.to_string();
    request.credentials = Credentials::basic(&host, "me", "hunter2");
    let module = fetch(quick(), &request).await.unwrap();
    assert_eq!(&module.bytes[..], MODULE);
    let shown = |server: &Server, path: &str| {
        let seen = server.seen();
        let seen = seen.iter().rfind(|seen| seen.path == path).unwrap();
        seen.headers.contains_key("authorization")
    };
    assert!(shown(&registry, "/own"));
    assert!(!shown(&elsewhere, "/storage"));
    // Those of another registry are shown to nobody.
    request.credentials = Credentials::basic("127.0.0.2", "me", "hunter2");
    let error = fetch(quick(), &request).await.unwrap_err();
    assert_eq!(error.phase, Phase::Authenticate);
    assert!(!error.to_string().contains("hunter2"));
}

#[tokio::test]
async fn a_token_server_is_one_of_the_registry() {
    let token = Server::start_at("127.0.0.2:0", |_, wire| {
        answer(wire, 200, &[], br#"{"token":"t"}"#);
    });
    let realm = token.url("/token");
    let registry = Server::start(move |seen, wire| {
        let realm = match seen.path.split('/').nth(2) {
            Some("metadata") => "http://169.254.169.254/token",
            Some("password") => "https://u:p@127.0.0.1/token",
            Some("nowhere") => "nowhere",
            _ => realm.as_str(),
        };
        let wanted = format!("Bearer realm=\"{realm}\",service=\"s\"");
        if seen
            .headers
            .get("authorization")
            .is_none_or(|shown| shown != "Bearer t")
        {
            answer(wire, 401, &[("www-authenticate", &wanted)], b"");
        } else if seen.path.contains("/blobs/") {
            answer(wire, 200, &[], MODULE);
        } else {
            answer(wire, 200, &[], &manifest_of(MODULE));
        }
    });
    let host = registry.address.to_string();
    let asked = |name: &str| {
        let mut request = request(&registry.image(name));
        request.credentials = Credentials::basic(&host, "me", "hunter2");
        request
    };
    for (name, why) in [
        ("other", "WASM_REGISTRY_AUTH_HOSTS=127.0.0.1=127.0.0.2"),
        ("metadata", "another host"),
        ("password", "password in it"),
        ("nowhere", "no URL"),
    ] {
        let error = fetch(quick(), &asked(name)).await.unwrap_err();
        assert_eq!(error.phase, Phase::Authenticate, "{error}");
        assert!(error.to_string().contains(why), "{error}");
    }
    assert!(token.seen().is_empty());
    let mut settings = quick();
    settings.allow_auth_hosts("127.0.0.1=127.0.0.2").unwrap();
    fetch(settings, &asked("other")).await.unwrap();
    let seen = token.seen();
    assert_eq!(
        seen[0].path,
        "/token?service=s&scope=repository%3Aother%3Apull"
    );
    assert!(seen[0].headers["authorization"].starts_with("Basic "));
}
