//! Recorded HBONE against the crate that speaks it, over a real socket and without a mesh:
//! `tests/mesh/hbone.rs` does the same with everything around it.

use std::collections::BTreeMap;
use std::time::Duration;

use conformance::http2::{Event, Heard, Tap};
use conformance::vectors;
use hbone::client::{ConnectRequest, Connection};
use hbone::headers::{self, Baggage, Forwarded};
use hbone::{Authority, Settings, server};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::LocalSet;
use tokio::time::{Instant, timeout};

fn run<T>(test: impl Future<Output = T>) -> T {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().build().unwrap();
    let test = async { timeout(Duration::from_mins(1), test).await.unwrap() };
    LocalSet::new().block_on(&runtime, test)
}

#[expect(
    clippy::disallowed_methods,
    reason = "a test owns its tasks by its LocalSet"
)]
fn spawn(task: impl Future<Output = ()> + 'static) {
    tokio::task::spawn_local(task);
}

/// Both ends of a connection over loopback.
async fn connection() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (near, far) = tokio::join!(TcpStream::connect(address), listener.accept());
    (near.unwrap(), far.unwrap().0)
}

fn to_waypoint() -> Vec<Value> {
    let text = vectors::text("hbone/ztunnel-to-waypoint.jsonl").unwrap();
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The headers of every recorded CONNECT, by name.
fn connects() -> Vec<Vec<(String, String)>> {
    let events = to_waypoint().into_iter();
    let heads = events.filter_map(|event| event.get("h").cloned());
    heads
        .map(|head| serde_json::from_value(head).unwrap())
        .collect()
}

/// The answers to a waypoint: the CONNECT and the recorded lines.
fn to_ztunnel() -> Vec<(String, Vec<String>)> {
    let text = vectors::text("hbone/to-ztunnel.txt").unwrap();
    let blocks = text.split("== CONNECT ").skip(1);
    let blocks = blocks.map(|block| {
        let (asked, lines) = block.split_once('\n').unwrap();
        (asked.to_owned(), lines.lines().map(str::to_owned).collect())
    });
    blocks.collect()
}

/// SETTINGS and window as both recordings write them.
fn opening(heard: &Heard) -> Vec<String> {
    let shown = |event| match event {
        Event::Settings(settings) => Some(format!("settings {settings:?}")),
        Event::Window { stream, delta } => Some(format!("window {stream} {delta}")),
        _ => None,
    };
    heard.events().into_iter().filter_map(shown).collect()
}

#[test]
fn our_client_opens_a_connection_and_asks_as_recorded() {
    let recorded = to_waypoint();
    let find = |kind: &str| recorded.iter().find(|event| event["ev"] == kind).unwrap();
    let settings = find("settings")["s"].clone();
    let settings: BTreeMap<u16, u32> = serde_json::from_value(settings).unwrap();
    let expected = [
        format!("settings {settings:?}"),
        format!("window 0 {}", find("window")["delta"]),
    ];
    for head in connects() {
        let (pseudo, plain) = head.split_at(2);
        let mut headers = HeaderMap::new();
        for (name, value) in plain {
            let name: HeaderName = name.parse().unwrap();
            headers.insert(name, value.parse().unwrap());
        }
        let request = ConnectRequest {
            authority: pseudo[1].1.parse().unwrap(),
            headers,
        };
        let (heard, asked) = run(async {
            let (near, far) = connection().await;
            let (tap, heard) = Tap::new(far);
            let waypoint = h2::server::Builder::new();
            let asked = async {
                let mut waypoint = waypoint.handshake::<_, bytes::Bytes>(tap).await.unwrap();
                let (request, mut respond) = waypoint.accept().await.unwrap().unwrap();
                let answer = http::Response::new(());
                let _open = respond.send_response(answer, false).unwrap();
                spawn(async move { while waypoint.accept().await.is_some() {} });
                request
            };
            let ask = async {
                let settings = Settings::default();
                let (client, driver) = Connection::handshake(near, &settings).await.unwrap();
                spawn(async { drop(driver.await) });
                let late = Instant::now() + Duration::from_mins(1);
                client.open(&request, late).await.unwrap();
            };
            let (asked, ()) = tokio::join!(asked, ask);
            (heard, asked)
        });
        assert_eq!(opening(&heard), expected);
        let mut shown = vec![
            (":method".to_owned(), asked.method().to_string()),
            (":authority".to_owned(), asked.uri().to_string()),
        ];
        for (name, value) in asked.headers() {
            shown.push((name.to_string(), value.to_str().unwrap().to_owned()));
        }
        assert_eq!(shown, head);
    }
}

#[test]
fn recorded_headers_are_understood_and_written_the_same() {
    let one = |name: HeaderName, value: &str| {
        let value = HeaderValue::from_str(value).unwrap();
        HeaderMap::from_iter([(name, value)])
    };
    let heads = connects();
    assert_eq!(heads.len(), 5);
    for head in heads {
        for (name, value) in head {
            let again = match name.as_str() {
                "baggage" => Baggage::from_headers(&one(headers::BAGGAGE, &value)).to_header(),
                "forwarded" => {
                    let read = Forwarded::from_headers(&one(headers::FORWARDED, &value));
                    let client = read.client_ip.zip(read.client_port).unwrap();
                    Forwarded::header(client.into(), read.host.as_deref())
                }
                "traceparent" => Some(headers::traceparent(bytes_of(&value))),
                _ => continue,
            };
            assert_eq!(again.unwrap(), value, "{name}");
        }
    }
}

/// The random part of a `traceparent`.
fn bytes_of(traceparent: &str) -> [u8; 24] {
    let digits: String = traceparent.split('-').skip(1).take(2).collect();
    let byte = |at: usize| u8::from_str_radix(&digits[at * 2..at * 2 + 2], 16).unwrap();
    std::array::from_fn(byte)
}

#[test]
fn our_server_refuses_in_the_recorded_frames() {
    let recorded = to_ztunnel();
    assert_eq!(recorded.len(), 12);
    let mut n_refused = 0;
    for (asked, lines) in recorded {
        let Some(status) = refusal(&lines) else {
            continue;
        };
        n_refused += 1;
        let (heard, target) = run(refused(&asked, status));
        let mut shown = vec![lines[0].clone()];
        shown.extend(heard.events().into_iter().map(|event| match event {
            Event::Settings(settings) => format!("settings {settings:?}"),
            Event::Window { stream, delta } => format!("window {stream} {delta}"),
            Event::Headers { .. } => format!("resp [(':status', '{}')]", status.as_str()),
            Event::Ended { .. } => "StreamEnded ".to_owned(),
            Event::Reset { code, .. } => format!("StreamReset {code}"),
            other => format!("{other:?}"),
        }));
        assert_eq!(shown, lines, "CONNECT {asked}");
        // What makes no sense is 400 whatever the mesh knows.
        if target.is_err() {
            assert_eq!(status, server::Rejected::STATUS, "CONNECT {asked}");
        }
        assert_eq!(target.is_err(), asked == "garbage", "CONNECT {asked}");
    }
    assert_eq!(n_refused, 7);
}

/// The recorded status, unless the tunnel was opened.
fn refusal(lines: &[String]) -> Option<StatusCode> {
    let answer = lines.iter().find(|line| line.starts_with("resp ")).unwrap();
    let status = answer.split('\'').nth(3).unwrap().parse().unwrap();
    (status != StatusCode::OK).then_some(status)
}

/// Has our server refuse a CONNECT; what the client heard, and what the server made of it.
async fn refused(asked: &str, status: StatusCode) -> (Heard, Result<Authority, server::Rejected>) {
    let (near, far) = connection().await;
    let serve = async {
        let settings = Settings::default();
        let mut connection = server::accept(far, &settings).await.unwrap();
        let connect = connection.next().await.unwrap().unwrap();
        let target = connect.target().map_err(Clone::clone).cloned();
        connect.refuse(status).unwrap();
        spawn(async move { while connection.next().await.is_some() {} });
        target
    };
    let (tap, heard) = Tap::new(near);
    let ask = async {
        let (mut client, driver) = h2::client::handshake(tap).await.unwrap();
        spawn(async { drop(driver.await) });
        let request = Request::builder().method(Method::CONNECT).uri(asked);
        let (response, mut send) = client
            .send_request(request.body(()).unwrap(), false)
            .unwrap();
        assert_eq!(response.await.unwrap().status(), status);
        std::future::poll_fn(|cx| send.poll_reset(cx))
            .await
            .unwrap();
    };
    let (target, ()) = tokio::join!(serve, ask);
    (heard, target)
}
