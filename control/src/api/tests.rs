use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::UnixStream;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::*;
use crate::events::Events;
use crate::object::{Handle, Keeper};
use crate::source::{Document, Event, Origin, Root, Scope};

const LIMIT: Duration = Duration::from_secs(20);

/// A served API over a running keeper.
struct Api {
    socket: PathBuf,
    handle: Handle,
    tasks: JoinSet<()>,
    stops: Vec<oneshot::Sender<()>>,
}

impl Api {
    fn start(test: &str) -> Self {
        let socket =
            std::env::temp_dir().join(format!("control-api-{}-{test}.sock", std::process::id()));
        let (keeper, handle) = Keeper::open(None, &[], Arc::default());
        let routes = objects(handle.clone(), Events::default()).and(Routes::new().on(
            Method::POST,
            "/echo",
            |request| async move {
                match read_body(request).await {
                    Ok(body) => json(StatusCode::OK, &String::from_utf8_lossy(&body)),
                    Err(answer) => *answer,
                }
            },
        ));
        let server = Server::bind(&socket, routes).unwrap();
        let mut tasks = JoinSet::new();
        let mut stops = Vec::new();
        let mut stop = || {
            let (stop, stopped) = oneshot::channel::<()>();
            stops.push(stop);
            async move { drop(stopped.await) }
        };
        tasks.spawn(keeper.run(stop()));
        tasks.spawn(server.serve(stop()));
        Self {
            socket,
            handle,
            tasks,
            stops,
        }
    }

    async fn put(&self, documents: &[Value]) {
        let document = |value: &Value| Document {
            value: value.clone(),
            origin: Origin::default(),
        };
        let event = Event::Snapshot {
            scope: Scope::new(Root::Generated, "test"),
            documents: documents.iter().map(document).collect(),
            unreadable: vec![],
        };
        let mut views = self.handle.subscribe();
        views.mark_unchanged();
        self.handle.take(event).await.unwrap();
        tokio::time::timeout(LIMIT, views.changed())
            .await
            .unwrap()
            .unwrap();
    }

    async fn ask(&mut self, method: Method, path: &str, body: &str) -> Response<Incoming> {
        let stream = UnixStream::connect(&self.socket).await.unwrap();
        let (mut sender, connection) = http1::handshake::<_, Full<Bytes>>(TokioIo::new(stream))
            .await
            .unwrap();
        self.tasks.spawn(async move { drop(connection.await) });
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "control")
            .body(Full::from(body.to_owned()))
            .unwrap();
        tokio::time::timeout(LIMIT, sender.send_request(request))
            .await
            .unwrap()
            .unwrap()
    }

    async fn get(&mut self, path: &str) -> (StatusCode, Value) {
        let answer = self.ask(Method::GET, path, "").await;
        let status = answer.status();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap())
    }

    async fn stop(mut self) {
        for stop in self.stops {
            drop(stop);
        }
        while self.tasks.join_next().await.is_some() {}
        assert!(!self.socket.exists());
    }
}

fn config_map(namespace: &str, name: &str, x: u32) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace}, "data": {"x": x.to_string()},
    })
}

fn names(list: &Value) -> Vec<String> {
    let items = list["items"].as_array().unwrap();
    items
        .iter()
        .map(|item| item["metadata"]["name"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn objects_are_listed_by_kind_namespace_and_name() {
    let mut api = Api::start("list");
    api.put(&[
        config_map("a", "one", 1),
        config_map("a", "two", 1),
        config_map("b", "one", 1),
    ])
    .await;
    let (status, all) = api.get("/objects?kind=cm").await;
    assert_eq!(
        (status, names(&all)),
        (
            StatusCode::OK,
            vec!["one".into(), "two".into(), "one".into()]
        )
    );
    assert_eq!(
        names(&api.get("/objects?kind=ConfigMap&namespace=a").await.1),
        ["one", "two"]
    );
    assert_eq!(
        names(
            &api.get("/objects?kind=configmaps&namespace=b&name=one")
                .await
                .1
        ),
        ["one"]
    );
    assert_eq!(
        names(&api.get("/objects?kind=configmaps&name=three").await.1),
        [""; 0]
    );
    let (status, said) = api.get("/objects?kind=nothing").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert_eq!(said, json!({"error": "no kind is called \"nothing\""}));
    let (_, everything) = api.get("/objects").await;
    assert!(names(&everything).contains(&"istio-waypoint".to_owned()));
    assert!(everything["items"][0]["metadata"]["uid"].is_string());
    api.stop().await;
}

#[tokio::test]
async fn changes_are_followed_line_by_line() {
    let mut api = Api::start("watch");
    api.put(&[config_map("a", "one", 1), config_map("b", "other", 1)])
        .await;
    let answer = api.ask(Method::GET, "/watch?kind=cm&namespace=a", "").await;
    assert_eq!(
        answer.headers()[header::CONTENT_TYPE],
        "application/x-ndjson"
    );
    let mut body = answer.into_body();
    let mut told = String::new();
    let mut expect = Vec::new();
    for (documents, lines) in [
        (None, &["ADDED one", "BOOKMARK "][..]),
        (
            Some(vec![config_map("a", "one", 2), config_map("b", "other", 2)]),
            &["MODIFIED one"],
        ),
        (
            Some(vec![config_map("a", "two", 1)]),
            &["DELETED one", "ADDED two"],
        ),
    ] {
        if let Some(documents) = documents {
            api.put(&documents).await;
        }
        expect.extend(lines.iter().map(|line| (*line).to_owned()));
        while told.lines().count() < expect.len() {
            let frame = tokio::time::timeout(LIMIT, body.frame())
                .await
                .unwrap()
                .unwrap()
                .unwrap();
            told.push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap());
        }
        let said: Vec<String> = told.lines().map(summary).collect();
        assert_eq!(said, expect);
    }
    api.stop().await;
}

fn summary(line: &str) -> String {
    let line: Value = serde_json::from_str(line).unwrap();
    let name = line["object"]["metadata"]["name"]
        .as_str()
        .unwrap_or_default();
    format!("{} {name}", line["type"].as_str().unwrap())
}

#[tokio::test]
async fn findings_are_told() {
    let mut api = Api::start("findings");
    let mut changes = api.handle.board().subscribe();
    api.put(&[config_map("a", "fine", 1), config_map("a", "Not_Fine", 1)])
        .await;
    changes.wait_for(|version| *version > 0).await.unwrap();
    let (status, findings) = api.get("/findings").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(findings[0]["field"], "metadata.name");
    assert_eq!(
        findings[0]["object"],
        json!({"kind": "ConfigMap", "namespace": "a", "name": "Not_Fine"})
    );
    let read: Vec<crate::finding::Finding> = serde_json::from_value(findings).unwrap();
    assert_eq!(read, api.handle.board().all());
    api.stop().await;
}

#[tokio::test]
async fn only_the_owner_can_open_the_socket() {
    let api = Api::start("mode");
    assert_eq!(
        std::fs::metadata(&api.socket).unwrap().mode() & 0o777,
        0o600
    );
    api.stop().await;
}

#[tokio::test]
async fn a_socket_that_was_left_behind_is_replaced() {
    let first = Api::start("again");
    let socket = first.socket.clone();
    drop(first);
    assert!(socket.exists());
    let mut second = Api::start("again");
    assert_eq!(second.get("/findings").await.0, StatusCode::OK);
    second.stop().await;
}

#[tokio::test]
async fn other_paths_and_methods_are_refused_in_words() {
    let mut api = Api::start("errors");
    let (status, said) = api.get("/nothing").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert_eq!(
        said,
        json!({"error": "there is /echo, /findings, /objects, /watch"})
    );
    let answer = api.ask(Method::DELETE, "/objects", "").await;
    assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(answer.headers()[header::ALLOW], "GET");
    api.stop().await;
}

#[tokio::test]
async fn bodies_have_a_limit() {
    let mut api = Api::start("bodies");
    let answer = api.ask(Method::POST, "/echo", "hello").await;
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(&body[..], b"\"hello\"");
    let answer = api
        .ask(Method::POST, "/echo", &"x".repeat(MAX_BODY + 1))
        .await;
    assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE);
    api.stop().await;
}

#[tokio::test]
async fn no_body_is_no_error() {
    let mut api = Api::start("empty");
    let stream = UnixStream::connect(&api.socket).await.unwrap();
    let (mut sender, connection) = http1::handshake::<_, Empty<Bytes>>(TokioIo::new(stream))
        .await
        .unwrap();
    api.tasks.spawn(async move { drop(connection.await) });
    let request = Request::post("/echo")
        .header(header::HOST, "x")
        .body(Empty::new())
        .unwrap();
    assert_eq!(
        sender.send_request(request).await.unwrap().status(),
        StatusCode::OK
    );
    drop(sender);
    api.stop().await;
}
