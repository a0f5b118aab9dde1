use std::{collections::BTreeMap, path::PathBuf};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::*;
use crate::runner::pod::tests::identity;

fn pod() -> PodIdentity {
    let ports = json!([{"name": "http", "containerPort": 8080}]);
    identity(&json!({"containers": [{"name": "app", "image": "x", "ports": ports}]}))
}

fn probe(value: &Value) -> Probe {
    Probe::of(&serde_json::from_value(value.clone()).unwrap(), &pod()).unwrap()
}

fn surroundings() -> Invocation {
    let env = BTreeMap::from([("PATH".to_owned(), "/usr/bin:/bin".to_owned())]);
    Invocation {
        name: String::new(),
        program: PathBuf::new(),
        args: Vec::new(),
        env,
        dir: PathBuf::from("/"),
    }
}

async fn ask(value: &Value) -> Result<(), String> {
    probe(value)
        .ask(&Netns::current().unwrap(), &surroundings())
        .await
}

/// Answers one request with `answer` and returns the port.
async fn server(answer: &'static str) -> (u16, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = vec![0; 4096];
        let len = stream.read(&mut request).await.unwrap();
        stream.write_all(answer.as_bytes()).await.unwrap();
        String::from_utf8_lossy(&request[..len]).into_owned()
    };
    let mut tasks = tokio::task::JoinSet::new();
    let (sender, served) = tokio::sync::oneshot::channel();
    tasks.spawn(async move {
        let _ = sender.send(serving.await);
    });
    let waiting = tokio::task::spawn_blocking(move || {
        let request = served.blocking_recv().unwrap();
        drop(tasks);
        request
    });
    (port, waiting)
}

#[test]
fn what_is_unset_has_kubernetes_defaults() {
    let probe = probe(&json!({"tcpSocket": {"port": "http"}}));
    assert_eq!(
        probe.question,
        Question::Tcp("10.91.1.2:8080".parse().unwrap())
    );
    assert_eq!((probe.initial_delay, probe.period, probe.timeout), {
        let seconds = Duration::from_secs;
        (seconds(0), seconds(10), seconds(1))
    });
    assert_eq!((probe.successes, probe.failures), (1, 3));
}

#[test]
fn a_kind_that_is_not_honoured_is_no_probe() {
    let grpc = serde_json::from_value(json!({"grpc": {"port": 1}})).unwrap();
    assert_eq!(Probe::of(&grpc, &pod()), None);
}

#[tokio::test]
async fn http_asks_like_a_kubelet_and_takes_200_to_399_for_yes() {
    let (port, request) = server("HTTP/1.1 302 Found\r\ncontent-length: 4\r\n\r\nbody").await;
    let headers = json!([{"name": "Host", "value": "shop"}, {"name": "x-a", "value": "b"}]);
    let get =
        json!({"host": "127.0.0.1", "port": port, "path": "/ready?x=1", "httpHeaders": headers});
    ask(&json!({"httpGet": get})).await.unwrap();
    let request = request.await.unwrap();
    assert!(
        request.starts_with("GET /ready?x=1 HTTP/1.1\r\n"),
        "{request}"
    );
    for header in ["host: shop\r\n", "x-a: b\r\n", "user-agent: kube-probe/"] {
        assert!(request.contains(header), "{request}");
    }
}

#[tokio::test]
async fn http_takes_an_error_for_no() {
    let (port, _request) = server("HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n").await;
    let answer = ask(&json!({"httpGet": {"host": "127.0.0.1", "port": port}})).await;
    assert_eq!(
        answer.unwrap_err(),
        format!("http://127.0.0.1:{port}/: status 500")
    );
}

#[tokio::test]
async fn tcp_takes_a_connection_for_yes_and_a_refusal_for_no() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let socket = json!({"tcpSocket": {"host": "127.0.0.1", "port": port}});
    ask(&socket).await.unwrap();
    drop(listener);
    ask(&socket).await.unwrap_err();
}

#[tokio::test]
async fn a_silent_server_is_a_no_after_the_timeout() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let answer = ask(&json!({"httpGet": {"host": "127.0.0.1", "port": port}})).await;
    assert_eq!(answer.unwrap_err(), "no answer within 1s");
}
