use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixListener,
};

use super::*;

/// Asks an API that answers one request with `status` and `body`; returns also what it was asked.
async fn with_control<T>(
    status: &str,
    body: &Value,
    ask: impl AsyncFnOnce(LocalApi) -> T,
) -> (T, String) {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = format!(
        "cairn-api-{}-{}",
        std::process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    );
    let socket = std::env::temp_dir().join(name);
    let listener = UnixListener::bind(&socket).unwrap();
    let body = body.to_string();
    let answer = format!(
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let serve = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = vec![0; 4096];
        let len = stream.read(&mut request).await.unwrap();
        stream.write_all(answer.as_bytes()).await.unwrap();
        String::from_utf8_lossy(&request[..len]).into_owned()
    };
    let (told, asked) = tokio::join!(ask(LocalApi::new(&socket)), serve);
    std::fs::remove_file(socket).unwrap();
    (told, asked)
}

#[tokio::test]
async fn objects_are_asked_for_by_kind_namespace_and_name() {
    let query = ObjectQuery {
        kind: "svc".to_owned(),
        namespace: "a b".to_owned(),
        name: String::new(),
    };
    let list = json!({"kind": "List", "items": [{"a": 1}, {"a": 2}]});
    let (objects, asked) = with_control("200 OK", &list, async |api| {
        api.objects(&query).await.unwrap()
    })
    .await;
    assert_eq!(objects, [json!({"a": 1}), json!({"a": 2})]);
    assert!(
        asked.starts_with("GET /objects?kind=svc&namespace=a%20b HTTP/1.1\r\n"),
        "{asked}"
    );
}

#[tokio::test]
async fn a_single_object_and_a_plain_list_are_understood() {
    let ask = async |api: LocalApi| api.objects(&ObjectQuery::default()).await.unwrap();
    assert_eq!(
        with_control("200 OK", &json!({"a": 1}), ask).await.0,
        [json!({"a": 1})]
    );
    assert_eq!(
        with_control("200 OK", &json!([1, 2]), ask).await.0,
        [json!(1), json!(2)]
    );
}

#[tokio::test]
async fn not_ready_is_an_answer() {
    let body = json!({"ready": false, "waiting": ["ztunnel-node1: no certificate"]});
    let (readiness, _) = with_control("503 Service Unavailable", &body, async |api| {
        api.readiness().await
    })
    .await;
    let readiness = readiness.unwrap();
    assert!(!readiness.ready);
    assert_eq!(readiness.waiting, ["ztunnel-node1: no certificate"]);
}

#[tokio::test]
async fn a_refusal_carries_what_control_said() {
    let request = TokenRequest {
        namespace: "default".to_owned(),
        service_account: "web".to_owned(),
        pod: "web-1".to_owned(),
        pod_uid: "u".to_owned(),
        node: "node1".to_owned(),
        audience: "istio-ca".to_owned(),
        expiration_seconds: 600,
    };
    let (answer, asked) = with_control(
        "404 Not Found",
        &json!({"error": "no such pod"}),
        async |api| api.token(&request).await,
    )
    .await;
    assert_eq!(answer.unwrap_err().to_string(), "no such pod");
    let body: Value = serde_json::from_str(asked.split_once("\r\n\r\n").unwrap().1).unwrap();
    assert_eq!(
        (&body["serviceAccount"], &body["podUid"]),
        (&json!("web"), &json!("u"))
    );
}

#[tokio::test]
async fn without_control_the_socket_is_named() {
    let api = LocalApi::new(Path::new("/nonexistent/control.sock"));
    let said = api.findings().await.unwrap_err().to_string();
    assert_eq!(said, "control does not answer on /nonexistent/control.sock");
}
