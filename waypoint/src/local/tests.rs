//! A filter in front of a real server, on loopback, through the whole pipeline.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use runtime::LocalTasks;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{Local, Plugin, Service, Settings};

/// A server that answers every connection once, with the request's bytes as body.
async fn echo(tasks: &LocalTasks) -> SocketAddr {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tasks.spawn("echo", async move {
        while let Ok((mut stream, _)) = socket.accept().await {
            let mut bytes = vec![0; 4096];
            let n = stream.read(&mut bytes).await.unwrap_or(0);
            let text = String::from_utf8_lossy(&bytes[..n]).into_owned();
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {n}\r\n\r\n");
            let _ = stream.write_all(format!("{head}{text}").as_bytes()).await;
        }
    });
    address
}

async fn get(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = "GET /hello HTTP/1.1\r\nhost: demo\r\nconnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

fn prebuilt(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../filters/prebuilt")
        .join(name)
}

fn plugin(module: PathBuf, configuration: &str) -> Plugin {
    Plugin {
        name: "demo".to_owned(),
        namespace: "default".to_owned(),
        module,
        configuration: configuration.as_bytes().to_vec(),
        ..Plugin::default()
    }
}

const ADD: &str = r#"{"request": {"set": [{"name": "x-from-filter", "value": "one"}]}}"#;

fn with_local<F: Future<Output = ()>>(test: impl FnOnce(Local) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let tasks = LocalTasks::default();
        let service = Service {
            host: "demo".to_owned(),
            port: 80,
            address: echo(&tasks).await,
        };
        let local = Local::start(&Settings::new(service)).unwrap();
        tokio::time::timeout(Duration::from_mins(1), test(local))
            .await
            .expect("the test hangs");
    });
}

#[test]
fn requests_pass_through_the_pipeline_and_the_filter() {
    with_local(async |mut local| {
        local.open();
        assert!(!get(local.address()).await.contains("x-from-filter"));
        let loaded = local.swap(&plugin(prebuilt("add-header.wasm"), ADD)).await;
        assert_eq!(loaded.unwrap().sha256.len(), 64);
        let answer = get(local.address()).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(answer.contains("x-from-filter: one"), "{answer}");
        assert!(local.metrics().contains("istio_requests_total"));
        local.stop(Duration::from_secs(1)).await;
    });
}

#[test]
fn a_filter_that_cannot_run_leaves_the_one_that_does() {
    with_local(async |mut local| {
        local.open();
        let good = plugin(prebuilt("add-header.wasm"), ADD);
        local.swap(&good).await.unwrap();
        let broken = std::env::temp_dir().join(format!("broken-{}.wasm", std::process::id()));
        fs::write(&broken, b"<html>").unwrap();
        let why = local.swap(&plugin(broken.clone(), "")).await.unwrap_err();
        fs::remove_file(&broken).unwrap();
        assert!(why.to_string().contains("web page"), "{why}");
        let why = local
            .swap(&plugin(prebuilt("add-header.wasm"), "{"))
            .await
            .unwrap_err();
        assert!(!why.to_string().is_empty());
        assert!(get(local.address()).await.contains("x-from-filter: one"));
        let better = plugin(prebuilt("add-header.wasm"), &ADD.replace("one", "two"));
        local.swap(&better).await.unwrap();
        assert!(get(local.address()).await.contains("x-from-filter: two"));
        local.stop(Duration::from_secs(1)).await;
    });
}
