use http::StatusCode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::*;
use crate::log::{Config, Format, Log};
use crate::readiness::Gates;

/// One request as curl makes it, in raw text, and the whole answer.
async fn ask(addr: SocketAddr, request: &str, headers: &str) -> (StatusCode, String) {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    let text = format!("{request} HTTP/1.1\r\n{headers}connection: close\r\n\r\n");
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer)
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").unwrap().1
}

const LOCAL: &str = "host: localhost:15000\r\n";

fn any_port() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// An admin endpoint with everything on it, and what its parts act on.
struct Running {
    addr: SocketAddr,
    log: Log,
    drain: crate::drain::Drain,
    _subscriber: Box<dyn tracing::Subscriber>,
}

fn admin(tasks: &TaskSet) -> Running {
    let config = Config {
        format: Format::Text,
        filter: "info".to_owned(),
    };
    let (log, subscriber) = Log::new(&config, Box::new(io::sink())).unwrap();
    let (trigger, drain) = crate::drain::channel();
    let bound = Admin::new("ztunnel")
        .json(
            "/config_dump",
            "everything known",
            || json!({"workloads": [{"name": "a"}]}),
        )
        .logging(log.levels().clone())
        .quit(move || trigger.now())
        .serve(any_port(), tasks)
        .unwrap();
    Running {
        addr: bound[0],
        log,
        drain,
        _subscriber: Box::new(subscriber),
    }
}

#[tokio::test]
async fn shows_documents_and_an_index_of_them() {
    let tasks = TaskSet::current();
    let running = admin(&tasks);
    let addr = running.addr;
    let (status, answer) = ask(addr, "GET /config_dump", LOCAL).await;
    assert_eq!(status, 200);
    assert!(answer.contains("content-type: application/json\r\n"));
    let document: Value = serde_json::from_str(body(&answer)).unwrap();
    assert_eq!(document, json!({"workloads": [{"name": "a"}]}));
    assert!(body(&answer).lines().count() > 1, "laid out for people");

    let (status, answer) = ask(addr, "GET /", LOCAL).await;
    assert_eq!(status, 200);
    assert!(answer.contains("content-type: text/html"));
    for expected in [
        "<a href=\"/config_dump\">",
        "POST /logging",
        "everything known",
    ] {
        assert!(answer.contains(expected), "{answer}");
    }
    assert_eq!(ask(addr, "GET /nothing", LOCAL).await.0, 404);
    let (status, answer) = ask(addr, "HEAD /config_dump", LOCAL).await;
    assert_eq!((status, body(&answer)), (StatusCode::OK, ""));
}

#[tokio::test]
async fn reading_is_get_and_changing_is_post() {
    let tasks = TaskSet::current();
    let running = admin(&tasks);
    let (addr, drain) = (running.addr, &running.drain);
    for request in ["GET /logging", "GET /quitquitquit", "HEAD /quitquitquit"] {
        let (status, answer) = ask(addr, request, LOCAL).await;
        assert_eq!(status, 405, "{request}");
        assert!(answer.contains("allow: POST\r\n"), "{answer}");
    }
    for request in ["POST /config_dump", "DELETE /", "PUT /config_dump"] {
        let (status, answer) = ask(addr, request, LOCAL).await;
        assert_eq!(status, 405, "{request}");
        assert!(answer.contains("allow: GET, HEAD\r\n"), "{answer}");
    }
    assert!(!drain.is_started());
    let (status, answer) = ask(addr, "POST /quitquitquit", LOCAL).await;
    assert_eq!(
        (status, body(&answer)),
        (StatusCode::OK, "shutting down now\n")
    );
    assert!(drain.is_started());
}

#[tokio::test]
async fn answers_to_its_own_host_only() {
    let tasks = TaskSet::current();
    let running = admin(&tasks);
    let (addr, drain) = (running.addr, &running.drain);
    for host in [
        "localhost",
        "LOCALHOST:15000",
        "127.0.0.1:15000",
        "[::1]:15000",
        "[::1]",
    ] {
        let headers = format!("host: {host}\r\n");
        assert_eq!(
            ask(addr, "GET /config_dump", &headers).await.0,
            200,
            "{host}"
        );
    }
    let foreign = [
        "host: evil.example\r\n",
        "host: localhost.evil.example\r\n",
        "host: localhost:80@evil.example\r\n",
        "host: 10.0.0.1:15000\r\n",
        "host: \r\n",
        "host: localhost\r\norigin: http://evil.example\r\n",
        "host: localhost\r\norigin: null\r\n",
    ];
    for headers in foreign {
        for request in ["GET /config_dump", "POST /quitquitquit"] {
            assert_eq!(
                ask(addr, request, headers).await.0,
                403,
                "{request} {headers}"
            );
        }
    }
    assert!(!drain.is_started());
}

#[tokio::test]
async fn levels_of_the_log_are_shown_and_changed() {
    let tasks = TaskSet::current();
    let running = admin(&tasks);
    let (addr, log) = (running.addr, &running.log);
    let cases = [
        ("POST /logging", "info"),
        ("POST /logging?level=debug", "debug"),
        (
            "POST /logging?level=access=off,hbone::pool=trace",
            "hbone::pool=trace,access=off,debug",
        ),
        (
            "POST /logging?level=access%3Ddebug",
            "hbone::pool=trace,access=debug,debug",
        ),
        ("POST /logging?reset", "info"),
        ("POST /logging?level=xds:debug&reset", "xds=debug,info"),
    ];
    for (request, expected) in cases {
        let (status, answer) = ask(addr, request, LOCAL).await;
        assert_eq!(status, 200, "{request}");
        assert_eq!(
            body(&answer),
            format!("active log level is {expected}\n"),
            "{request}"
        );
        assert_eq!(log.levels().current(), expected);
    }
    for request in ["POST /logging?level=loud", "POST /logging?levle=info"] {
        let (status, answer) = ask(addr, request, LOCAL).await;
        assert_eq!(status, 400, "{request}");
        assert!(body(&answer).contains("usage: POST /logging"), "{answer}");
    }
    assert_eq!(log.levels().current(), "xds=debug,info");
}

#[tokio::test]
async fn metrics_are_named_as_the_scraper_asks() {
    let tasks = TaskSet::current();
    let counter = Counter::<u64>::default();
    let mut registry = Registry::default();
    registry.register("requests", "Requests", counter.clone());
    let metrics = stats::Metrics::new(registry);
    let addr = metrics.serve(any_port(), &tasks).unwrap()[0];
    counter.inc();
    let prometheus = "host: node\r\naccept: application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.2\r\n";
    let open = "content-type: application/openmetrics-text;charset=utf-8;version=1.0.0\r\n";
    let plain = "content-type: text/plain; charset=utf-8\r\n";
    for path in ["/metrics", "/stats/prometheus"] {
        for (headers, expected) in [("host: node\r\n", plain), (prometheus, open)] {
            let (status, answer) = ask(addr, &format!("GET {path}"), headers).await;
            assert_eq!(status, 200);
            assert!(answer.contains(expected), "{answer}");
            assert!(body(&answer).contains("requests_total 1\n"));
            assert!(body(&answer).ends_with("# EOF\n"));
        }
    }
    assert_eq!(ask(addr, "POST /metrics", "host: node\r\n").await.0, 405);
    assert_eq!(ask(addr, "GET /config_dump", "host: node\r\n").await.0, 404);
}

#[tokio::test]
async fn readiness_names_what_is_waited_for() {
    let tasks = TaskSet::current();
    let gates = Gates::default();
    let (state, proxy) = (gates.gate("state manager"), gates.gate("proxy"));
    let addr = ready::serve(&gates, any_port(), &tasks).unwrap()[0];
    let get = "GET /healthz/ready";
    let (status, answer) = ask(addr, get, "host: 10.1.2.3:15021\r\n").await;
    assert_eq!(status, 500);
    assert_eq!(body(&answer), "not ready, pending: proxy, state manager\n");
    state.ready();
    proxy.ready();
    let (status, answer) = ask(addr, get, "host: 10.1.2.3:15021\r\n").await;
    assert_eq!((status, body(&answer)), (StatusCode::OK, "ready\n"));
    assert_eq!(ask(addr, "POST /healthz/ready", LOCAL).await.0, 405);
    assert_eq!(ask(addr, "GET /", LOCAL).await.0, 404);
}

#[tokio::test]
async fn a_socket_may_be_opened_by_somebody_else() {
    let tasks = TaskSet::current();
    let socket = std::net::TcpListener::bind(any_port()).unwrap();
    let addr = socket.local_addr().unwrap();
    let bound = ready::serve(&Gates::default(), socket, &tasks).unwrap();
    assert_eq!(bound, [addr]);
    assert_eq!(ask(addr, "GET /healthz/ready", LOCAL).await.0, 200);

    let bound = ready::serve(&Gates::default(), Listen::Localhost(0), &tasks).unwrap();
    assert!(bound[0].ip().is_loopback() && bound.iter().all(|a| a.port() == bound[0].port()));
    for addr in bound {
        assert_eq!(ask(addr, "GET /healthz/ready", LOCAL).await.0, 200);
    }
    let taken = ready::serve(&Gates::default(), addr, &tasks).unwrap_err();
    assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
}

#[tokio::test]
async fn idle_clients_cannot_take_all_descriptors() {
    let tasks = TaskSet::current();
    let addr = ready::serve(&Gates::default(), any_port(), &tasks).unwrap()[0];
    let mut idle = Vec::new();
    for _ in 0..100 {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        // An answer proves that the connection is counted.
        stream
            .write_all(b"GET /healthz/ready HTTP/1.1\r\nhost: a\r\n\r\n")
            .await
            .unwrap();
        stream.read_exact(&mut [0; 12]).await.unwrap();
        idle.push(stream);
    }
    let mut over = TcpStream::connect(addr).await.unwrap();
    let _ = over
        .write_all(b"GET /healthz/ready HTTP/1.1\r\nhost: a\r\n\r\n")
        .await;
    let mut answer = Vec::new();
    let _ = over.read_to_end(&mut answer).await;
    assert!(answer.is_empty());
    idle.pop();
    // The place is given back when the server has seen the end.
    while over_limit(addr).await {}
}

async fn over_limit(addr: SocketAddr) -> bool {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    let request = b"GET /healthz/ready HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let sent = stream.write_all(request).await;
    let mut answer = Vec::new();
    sent.is_err() || stream.read_to_end(&mut answer).await.is_err() || answer.is_empty()
}
