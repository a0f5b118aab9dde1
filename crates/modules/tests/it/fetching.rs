//! What fetching does for whoever asks: tries, tells, asks once.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use modules::{Fetcher, Phase, Settings};

use crate::archive::{gzip, tar};
use crate::server::{Server, answer};
use crate::{MODULE, fetch, quick, request};

#[tokio::test]
async fn a_module_of_a_url_may_be_plain_compressed_or_in_an_archive() {
    let server = Server::start(|seen, wire| {
        let archive = tar(&[("x.wasm", MODULE)]);
        answer(
            wire,
            200,
            &[],
            &match seen.path.as_str() {
                "/gzip" => gzip(MODULE),
                "/tar" => archive,
                "/tar.gz" => gzip(&archive),
                _ => MODULE.to_vec(),
            },
        );
    });
    for path in ["/plain", "/gzip", "/tar", "/tar.gz"] {
        let module = fetch(quick(), &request(&server.url(path))).await.unwrap();
        assert_eq!(&module.bytes[..], MODULE, "{path}");
        assert_eq!((module.manifest, module.is_cached), (None, false));
    }
}

#[tokio::test]
async fn a_server_that_recovers_is_asked_again() {
    let asked = AtomicUsize::new(0);
    let server = Server::start(move |_, wire| match asked.fetch_add(1, Ordering::SeqCst) {
        0 => answer(wire, 500, &[], b""),
        1 => answer(wire, 503, &[], b""),
        // The connection just ends.
        2 => {}
        3 => answer(wire, 429, &[], b""),
        _ => answer(wire, 200, &[], MODULE),
    });
    let fetcher = Fetcher::new(quick()).unwrap();
    let module = fetcher.fetch(&request(&server.url("/m"))).await.unwrap();
    assert_eq!(&module.bytes[..], MODULE);
    assert_eq!(server.count("/m"), 5);
    assert_eq!(fetcher.counts().success, 1);
}

#[tokio::test]
async fn what_does_not_become_better_is_not_asked_again() {
    for status in [400, 401, 403, 404, 410, 501, 505, 511] {
        let server = Server::start(move |_, wire| answer(wire, status, &[], b""));
        let error = fetch(quick(), &request(&server.url("/m")))
            .await
            .unwrap_err();
        assert_eq!(
            (error.is_retryable, server.count("/m")),
            (false, 1),
            "{error}"
        );
        assert!(error.to_string().contains(&status.to_string()), "{error}");
    }
    let server = Server::start(|_, wire| answer(wire, 502, &[], b""));
    let error = fetch(quick(), &request(&server.url("/m")))
        .await
        .unwrap_err();
    assert!(
        error.is_retryable && error.to_string().ends_with("it was tried 5 times"),
        "{error}"
    );
    assert_eq!(server.count("/m"), 5);
}

#[tokio::test]
async fn whoever_asks_at_the_same_time_gets_the_same_answer() {
    let server = Server::start(|_, wire| answer(wire, 200, &[], MODULE));
    let fetcher = Fetcher::new(quick()).unwrap();
    let request = request(&server.url("/m"));
    let (one, two, three) = tokio::join!(
        fetcher.fetch(&request),
        fetcher.fetch(&request),
        fetcher.fetch(&request)
    );
    for module in [one, two, three] {
        assert_eq!(&module.unwrap().bytes[..], MODULE);
    }
    assert_eq!(server.count("/m"), 1);
    assert!(fetcher.fetch(&request).await.unwrap().is_cached);
    let counts = fetcher.counts();
    assert_eq!((counts.cache_hits, counts.cache_misses), (1, 1));
}

#[tokio::test]
async fn one_who_stops_waiting_does_not_stop_the_others() {
    let server = Server::start(|_, wire| answer(wire, 200, &[], MODULE));
    let fetcher = Fetcher::new(quick()).unwrap();
    let request = request(&server.url("/m"));
    let mut first = Box::pin(fetcher.fetch(&request));
    let begun = tokio::time::timeout(Duration::ZERO, &mut first).await;
    let second = fetcher.fetch(&request);
    drop(begun);
    drop(first);
    assert_eq!(&second.await.unwrap().bytes[..], MODULE);
}

#[tokio::test]
async fn an_error_names_the_place_and_the_remedy_and_nothing_secret() {
    let server = Server::start(|seen, wire| match seen.path.split('?').next() {
        Some("/page") => answer(wire, 200, &[], b"<html>log in</html>"),
        _ => answer(wire, 404, &[], b"not here"),
    });
    let url = server.url("/page?signature=hunter2");
    let error = fetch(quick(), &request(&url)).await.unwrap_err();
    assert_eq!(error.phase, Phase::Unpack);
    let text = error.to_string();
    assert!(
        text.contains("/page?…: it is an HTML or XML page") && !text.contains("hunter2"),
        "{text}"
    );
    let error = fetch(quick(), &request(&server.url("/gone")))
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("answers 404 Not Found"),
        "{error}"
    );
    // A port that was free a moment ago.
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let settings = Settings {
        tries: 1,
        ..quick()
    };
    let error = fetch(settings, &request(&format!("oci://{free}/a")))
        .await
        .unwrap_err();
    assert_eq!((error.phase, error.is_retryable), (Phase::Connect, true));
    assert!(error.to_string().contains("Connection refused"), "{error}");
}

#[tokio::test]
async fn a_pin_is_compared_with_the_module_of_a_url() {
    let server = Server::start(|_, wire| answer(wire, 200, &[], MODULE));
    let mut request = request(&server.url("/m"));
    request.sha256 = Some(modules::Digest::of(MODULE));
    fetch(quick(), &request).await.unwrap();
    request.sha256 = Some(modules::Digest::of(b"another"));
    let fetcher = Fetcher::new(quick()).unwrap();
    let error = fetcher.fetch(&request).await.unwrap_err();
    assert_eq!(error.phase, Phase::Verify);
    assert!(error.to_string().contains("and must be"), "{error}");
    assert_eq!(
        (fetcher.counts().checksum_mismatched, fetcher.cached()),
        (1, 0)
    );
}
