//! When what was fetched before will do, and for whom.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use modules::{Credentials, Digest, Fetcher, PullPolicy, Settings};

use crate::server::{Seen, Server, Wire, answer};
use crate::{MODULE, Scratch, quick, request};

/// A repository that holds `MODULE` and as many more bytes as were pushed to it.
fn repository(seen: &Seen, wire: &mut dyn Wire, version: usize) {
    let mut module = MODULE.to_vec();
    module.resize(MODULE.len() + version, b'.');
    let digest = Digest::of(&module);
    if seen.path.contains("/blobs/") {
        return answer(wire, 200, &[], &module);
    }
    let manifest = format!(
        r#"{{"layers":[{{"mediaType":"application/wasm","digest":"{digest}","size":1}}]}}"#
    );
    answer(wire, 200, &[], manifest.as_bytes());
}

fn blobs(server: &Server) -> usize {
    let seen = server.seen();
    seen.iter()
        .filter(|seen| seen.path.contains("/blobs/"))
        .count()
}

#[tokio::test]
async fn always_looks_again_when_the_object_is_another_and_reads_only_what_changed() {
    let version = Arc::new(AtomicUsize::new(0));
    let pushed = Arc::clone(&version);
    let server =
        Server::start(move |seen, wire| repository(seen, wire, pushed.load(Ordering::SeqCst)));
    let fetcher = Fetcher::new(quick()).unwrap();
    let mut request = request(&server.image("a:v1"));
    request.policy = PullPolicy::Always;
    request.revision = "1".to_owned();
    let get = async |request: &modules::Request| fetcher.fetch(request).await.unwrap().bytes.len();
    assert_eq!(
        (get(&request).await, server.seen().len()),
        (MODULE.len(), 2)
    );
    version.store(1, Ordering::SeqCst);
    assert_eq!(
        (get(&request).await, server.seen().len()),
        (MODULE.len(), 2)
    );
    request.revision = "2".to_owned();
    assert_eq!((get(&request).await, blobs(&server)), (MODULE.len() + 1, 2));
    request.revision = "3".to_owned();
    assert_eq!((get(&request).await, blobs(&server)), (MODULE.len() + 1, 2));
    assert_eq!(server.seen().len(), 5);

    // Without it, what is there will do.
    request.policy = PullPolicy::IfNotPresent;
    version.store(2, Ordering::SeqCst);
    request.revision = "4".to_owned();
    assert_eq!(
        (get(&request).await, server.seen().len()),
        (MODULE.len() + 1, 5)
    );
}

#[tokio::test]
async fn latest_is_looked_up_again_and_other_tags_are_not() {
    let server = Server::start(|seen, wire| repository(seen, wire, 0));
    let fetcher = Fetcher::new(quick()).unwrap();
    for (name, asked) in [("a", 2), ("b:v1", 1)] {
        for revision in ["1", "2"] {
            let mut request = request(&server.image(name));
            request.revision = revision.to_owned();
            fetcher.fetch(&request).await.unwrap();
        }
        let name = name.split(':').next().unwrap();
        let prefix = format!("/v2/{name}/manifests/");
        let seen = server.seen();
        let manifests = seen.iter().filter(|seen| seen.path.starts_with(&prefix));
        assert_eq!(manifests.count(), asked, "{name}");
    }
}

#[tokio::test]
async fn a_restart_needs_no_registry_and_a_new_pin_does() {
    let scratch = Scratch::new();
    let server = Server::start(|seen, wire| repository(seen, wire, 0));
    let settings = || Settings {
        cache: Some(scratch.0.join("modules")),
        tries: 1,
        ..quick()
    };
    let mut request = request(&server.image("a:v1"));
    Fetcher::new(settings())
        .unwrap()
        .fetch(&request)
        .await
        .unwrap();
    assert_eq!(server.seen().len(), 2);
    let restarted = Fetcher::new(settings()).unwrap();
    let module = restarted.fetch(&request).await.unwrap();
    assert!(module.is_cached && module.manifest.is_some());
    request.sha256 = Some(Digest::of(MODULE));
    assert!(restarted.fetch(&request).await.unwrap().is_cached);
    assert_eq!((server.seen().len(), restarted.cached()), (2, 1));
    request.sha256 = Some(Digest::of(b"another"));
    restarted.fetch(&request).await.unwrap_err();
    assert_eq!(server.seen().len(), 4);
}

#[tokio::test]
async fn nobody_gets_what_another_may_see_by_knowing_its_digest() {
    let scratch = Scratch::new();
    let server = Server::start(|seen, wire| {
        if seen.headers.contains_key("authorization") {
            repository(seen, wire, 0);
        } else {
            answer(wire, 401, &[("www-authenticate", "Basic realm=x")], b"");
        }
    });
    let settings = Settings {
        cache: Some(scratch.0.clone()),
        ..quick()
    };
    let fetcher = Fetcher::new(settings).unwrap();
    let host = server.address.to_string();
    let mut mine = request(&server.image("private:v1"));
    mine.tenant = "mine".to_owned();
    mine.credentials = Credentials::basic(&host, "me", "secret");
    let module = fetcher.fetch(&mine).await.unwrap();
    let digest = module.manifest.unwrap();
    for reference in ["private:v1".to_owned(), format!("private@{digest}")] {
        let mut other = request(&server.image(&reference));
        other.tenant = "other".to_owned();
        other.sha256 = Some(module.sha256);
        fetcher.fetch(&other).await.unwrap_err();
        other.tenant = "mine".to_owned();
        fetcher.fetch(&other).await.unwrap_err();
    }
}
