//! HBONE on the wire, held against what was recorded of Istio's ztunnel.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream as StdStream};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use conformance::http2::{Event, Heard, Tap};
use conformance::{differences, vectors};
use h2::RecvStream;
use http::response::Parts;
use http::{Method, Request, Response};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::LocalSet;
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::by_hand::{self, ByHand};
use crate::places;
use crate::tls::{self, Authority, Leaf};

const WAYPOINT: &str = "spiffe://cluster.local/ns/app/sa/waypoint";
/// The connections to the waypoint.
type Log = Rc<RefCell<Vec<Seen>>>;

const RECORDED: &str = "ztunnel-to-waypoint.jsonl";

/// How long anything that is waited for may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs a test that needs tasks of its own, and fails it when it hangs.
#[track_caller]
pub(crate) fn run<T>(test: impl Future<Output = T>) -> T {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().build().unwrap();
    let test = async { timeout(PATIENCE, test).await.ok() };
    let done = LocalSet::new().block_on(&runtime, test);
    let Some(done) = done else {
        panic!("the test hangs");
    };
    done
}

#[expect(
    clippy::disallowed_methods,
    reason = "a test owns its tasks by its LocalSet"
)]
pub(crate) fn spawn<T: 'static>(
    task: impl Future<Output = T> + 'static,
) -> tokio::task::JoinHandle<T> {
    tokio::task::spawn_local(task)
}

/// Our addresses in the words of the recording.
fn theirs(mesh: &ByHand, text: &str) -> String {
    let pairs = [
        (mesh.near.ip, "10.244.1.5"),
        (mesh.far.ip, "10.244.2.5"),
        (mesh.waypoint.ip, "10.244.1.10"),
        (mesh.vip, "10.96.119.254"),
    ];
    pairs.iter().fold(text.to_owned(), |text, (ours, theirs)| {
        replace_address(&text, &ours.to_string(), theirs)
    })
}

/// Replaces an address that is not the beginning of a longer one.
fn replace_address(text: &str, from: &str, to: &str) -> String {
    let mut parts = text.split(from);
    let mut result = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let longer = part.starts_with(|c: char| c.is_ascii_digit());
        result.push_str(if longer { from } else { to });
        result.push_str(part);
    }
    result
}

/// A header value without what differs from run to run.
fn normal(name: &str, value: &str) -> String {
    match name {
        "forwarded" => {
            let (client, rest) = value.split_once("\";").unwrap_or((value, ""));
            let (client, port) = client.trim_end_matches('"').rsplit_once(':').unwrap();
            assert!(port.parse::<u16>().is_ok(), "{value}");
            format!("{client}:PORT\";{rest}")
        }
        "traceparent" => {
            let parts: Vec<_> = value.split('-').collect();
            let lengths: Vec<_> = parts.iter().map(|part| part.len()).collect();
            assert_eq!(lengths, [2, 32, 16, 2], "{value}");
            assert!(value.chars().all(|c| c == '-' || c.is_ascii_hexdigit()));
            format!("{}-TRACE-SPAN-{}", parts[0], parts[3])
        }
        // Our nodes have a place, and theirs had none.
        "baggage" => {
            let here = |entry: &&str| entry.starts_with("cloud.");
            let entries: Vec<_> = value.split(',').filter(|entry| !here(entry)).collect();
            entries.join(",")
        }
        _ => value.to_owned(),
    }
}

/// What a waypoint received on one connection.
#[derive(Debug, Default, PartialEq)]
struct Received {
    /// TLS, SETTINGS and the like: what comes before the first stream.
    opening: Vec<Value>,
    /// The streams, without their numbers.
    streams: Vec<Vec<Value>>,
}

/// Splits events into those of the connection and those of its streams, which are numbered as
/// HTTP/2 numbers them.
fn received(events: &[Value]) -> Received {
    let mut received = Received::default();
    for event in events {
        let mut event = event.clone();
        let stream = event["stream"].as_u64().unwrap_or_default();
        if stream == 0 {
            received.opening.push(event);
            continue;
        }
        assert_eq!(stream % 2, 1, "{event}");
        let index = usize::try_from(stream / 2).unwrap();
        assert!(
            index <= received.streams.len(),
            "a stream was left out: {event}"
        );
        if index == received.streams.len() {
            received.streams.push(vec![]);
        }
        event.as_object_mut().unwrap().remove("stream");
        received.streams[index].push(event);
    }
    received
}

fn recorded() -> Received {
    let text = vectors::text(&format!("hbone/{RECORDED}")).unwrap();
    let events = text.lines().map(|line| {
        let mut event: Value = serde_json::from_str(line).unwrap();
        let headers = event.get_mut("h").and_then(Value::as_array_mut);
        for header in headers.into_iter().flatten() {
            let name = header[0].as_str().unwrap().to_owned();
            header[1] = normal(&name, header[1].as_str().unwrap()).into();
        }
        event
    });
    received(&events.collect::<Vec<_>>())
}

/// The CONNECT of a stream, as recorded.
fn head(mesh: &ByHand, request: &Request<RecvStream>) -> Value {
    let authority = request.uri().authority().unwrap().as_str();
    let mut headers = vec![
        (":method".to_owned(), request.method().to_string()),
        (":authority".to_owned(), theirs(mesh, authority)),
    ];
    for (name, value) in request.headers() {
        let value = theirs(mesh, value.to_str().unwrap());
        headers.push((name.to_string(), normal(name.as_str(), &value)));
    }
    json!({"ev": "headers", "h": headers})
}

fn tls_facts(mesh: &ByHand, stream: &TlsStream<TcpStream>, from: IpAddr) -> Value {
    let (_, session) = stream.get_ref();
    let san = &session.peer_certificates().unwrap()[0];
    json!({
        "ev": "tls",
        "peer": theirs(mesh, &from.to_string()),
        "version": format!("{:?}", session.protocol_version().unwrap()).replace('_', "."),
        "cipher": cipher(&format!("{:?}", session.negotiated_cipher_suite().unwrap().suite())),
        "alpn": str::from_utf8(session.alpn_protocol().unwrap()).unwrap(),
        "sni": session.server_name(),
        "san": tls::uris(san),
    })
}

/// `TLS13_AES_…` is called `TLS_AES_…` elsewhere.
fn cipher(name: &str) -> String {
    name.replace("TLS13_", "TLS_")
}

/// One connection to the waypoint.
struct Seen {
    tls: Value,
    heard: Heard,
    heads: Rc<RefCell<BTreeMap<u32, Value>>>,
}

/// Serves one connection as the recording waypoint did: a 200, and the end of the tunnel once the
/// client has ended its side.
async fn serve(mesh: Rc<ByHand>, stream: TlsStream<TcpStream>, from: IpAddr, seen: Log) {
    let tls = tls_facts(&mesh, &stream, from);
    let (tap, heard) = Tap::new(stream);
    let heads = Rc::<RefCell<_>>::default();
    seen.borrow_mut().push(Seen {
        tls,
        heard,
        heads: heads.clone(),
    });
    let mut connection = h2::server::handshake(tap).await.unwrap();
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let stream = request.body().stream_id().as_u32();
        heads.borrow_mut().insert(stream, head(&mesh, &request));
        let mut answer = respond.send_response(Response::new(()), false).unwrap();
        let mut body = request.into_body();
        spawn(async move {
            while let Some(Ok(bytes)) = body.data().await {
                body.flow_control().release_capacity(bytes.len()).unwrap();
            }
            answer.send_data(Bytes::new(), true).unwrap();
        });
    }
}

/// Plays the waypoint for as long as `calls` take, and returns what it received.
///
/// `calls` is told how many connections there were so far.
fn received_during(mesh: ByHand, calls: impl FnOnce(&AtomicUsize) + Send) -> Vec<Received> {
    let mesh = Rc::new(mesh);
    let identity = Authority::of(&mesh.mesh).sign(&Leaf::of(WAYPOINT));
    let acceptor = TlsAcceptor::from(tls::server(&identity));
    let listener = mesh.listen();
    let (ended, mut end) = oneshot::channel();
    let accepted = &AtomicUsize::new(0);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            calls(accepted);
            ended.send(()).unwrap();
        });
        run(async {
            let log = Log::default();
            let listener = TcpListener::from_std(listener).unwrap();
            loop {
                let (stream, from) = tokio::select! {
                    next = listener.accept() => next.unwrap(),
                    _ = &mut end => break,
                };
                accepted.fetch_add(1, Ordering::SeqCst);
                let stream = acceptor.accept(stream).await.unwrap();
                spawn(serve(mesh.clone(), stream, from.ip(), log.clone()));
            }
            let seen = log.borrow();
            let events = seen.iter().map(|seen| {
                let mut events = vec![seen.tls.clone()];
                events.extend(shown(&seen.heard, &seen.heads.borrow()));
                received(&events)
            });
            events.collect()
        })
    })
}

/// What was heard, in the words of the recording: the bytes of a stream are one piece.
fn shown(heard: &Heard, heads: &BTreeMap<u32, Value>) -> Vec<Value> {
    let mut inner: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
    let mut events = vec![];
    for event in heard.events() {
        let event = match event {
            Event::Settings(settings) => json!({"ev": "settings", "s": settings}),
            Event::Window { stream, delta } => {
                json!({"ev": "window", "stream": stream, "delta": delta})
            }
            Event::Headers { stream } => {
                let mut shown = heads[&stream].clone();
                shown["stream"] = stream.into();
                shown
            }
            Event::Data { stream, bytes } => {
                inner.entry(stream).or_default().extend(bytes);
                continue;
            }
            Event::Ended { stream } => {
                let data = inner.remove(&stream).unwrap_or_default();
                let data = String::from_utf8(data).unwrap();
                events.push(json!({"ev": "inner", "stream": stream, "data": data}));
                json!({"ev": "StreamEnded", "stream": stream})
            }
            Event::Reset { stream, code } => {
                json!({"ev": "StreamReset", "stream": stream, "code": code})
            }
            Event::GoAway { code } => json!({"ev": "goaway", "code": code}),
        };
        events.push(event);
    }
    events
}

/// What an application does: connects, says it all, and waits for the end.
fn call(netns: &str, to: SocketAddr, bytes: &str) {
    let mut stream = places::inside(netns, || StdStream::connect(to)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(bytes.as_bytes()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = vec![];
    stream.read_to_end(&mut answer).unwrap();
    assert_eq!(answer, b"", "the waypoint said nothing");
}

/// The connections that were recorded: where to, and what was said.
fn calls(mesh: &ByHand, recorded: &Received) -> Vec<(SocketAddr, String)> {
    let call = |stream: &Vec<Value>| {
        let to = match stream[0]["h"][1][1].as_str().unwrap() {
            "10.96.119.254:80" => SocketAddr::new(mesh.vip.into(), 80),
            "10.244.2.5:8080" => SocketAddr::new(mesh.far.ip.into(), 8080),
            other => panic!("{other}"),
        };
        let inner = stream.iter().find(|event| event["ev"] == "inner").unwrap();
        (to, inner["data"].as_str().unwrap().to_owned())
    };
    recorded.streams.iter().map(call).collect()
}

#[test]
fn a_waypoint_receives_of_our_ztunnel_what_it_receives_of_istios() {
    let Some(mesh) = by_hand::up() else { return };
    let recorded = recorded();
    let calls = calls(&mesh, &recorded);
    let dump = places::config_dump(&mesh.mesh, &mesh.near.node);
    let workers = dump.pointer("/config/numWorkerThreads").unwrap().as_u64();
    let workers = usize::try_from(workers.unwrap()).unwrap();
    let netns = mesh.near.netns.clone();
    let mut n_rounds = 0;
    let connections = received_during(mesh, |accepted| {
        // Which worker a call lands on is chance: again, until there is a second connection.
        while n_rounds == 0 || (accepted.load(Ordering::SeqCst) < workers.min(2) && n_rounds < 20) {
            n_rounds += 1;
            for (to, bytes) in &calls {
                call(&netns, *to, bytes);
            }
        }
    });

    let listed = differences::of("hbone", RECORDED).unwrap();
    assert_eq!(listed, BTreeSet::from(["connections".to_owned()]));
    let n_connections = connections.len();
    assert!((workers.min(2)..=workers).contains(&n_connections));
    let mut streams = vec![];
    for connection in connections {
        assert_eq!(connection.opening, recorded.opening);
        streams.extend(connection.streams);
    }
    // Streams of two connections have no order among them.
    let sorted = |mut streams: Vec<Vec<Value>>| {
        streams.sort_by_key(|stream| format!("{stream:?}"));
        streams
    };
    let expected = vec![recorded.streams; n_rounds].concat();
    assert_eq!(sorted(streams), sorted(expected));
}

/// The recorded answers, each with the CONNECT it is to.
fn recorded_answers() -> Vec<(String, Vec<String>)> {
    let text = vectors::text("hbone/to-ztunnel.txt").unwrap();
    let mut answers: Vec<(String, Vec<String>)> = vec![];
    for line in text.lines() {
        match line.strip_prefix("== CONNECT ") {
            Some(request) => answers.push((request.to_owned(), vec![])),
            None => answers.last_mut().unwrap().1.push(length_left_out(line)),
        }
    }
    answers
}

/// How long the application's answer is is its own affair.
fn length_left_out(line: &str) -> String {
    match line.split_once(" answer ") {
        Some(("data 0", _)) | None => line.to_owned(),
        Some((_, answer)) => format!("data N answer {answer}"),
    }
}

/// A recorded request on our addresses: `AUTHORITY [NAME=VALUE]`.
fn request(mesh: &ByHand, recorded: &str) -> Request<()> {
    let (authority, header) = recorded.split_once(' ').unwrap_or((recorded, ""));
    let authority = [
        ("10.244.1.5", mesh.near.ip),
        ("10.244.2.5", mesh.far.ip),
        ("10.96.119.254", mesh.vip),
    ]
    .iter()
    .fold(authority.to_owned(), |authority, (theirs, ours)| {
        replace_address(&authority, theirs, &ours.to_string())
    });
    let mut request = Request::builder().method(Method::CONNECT).uri(authority);
    if let Some((name, value)) = header.split_once('=') {
        request = request.header(name, value);
    }
    request.body(()).unwrap()
}

/// Asks the second pod's ztunnel for a tunnel as the waypoint, uses it, and writes down the answer
/// as the recording did.
async fn answer(mesh: &ByHand, request: Request<()>) -> Vec<String> {
    let to = SocketAddr::new(mesh.far.ip.into(), 15008);
    let stream = places::inside(&mesh.waypoint.netns, || StdStream::connect(to)).unwrap();
    stream.set_nonblocking(true).unwrap();
    let stream = TcpStream::from_std(stream).unwrap();
    let identity = Authority::of(&mesh.mesh).sign(&Leaf::of(WAYPOINT));
    let connector = TlsConnector::from(tls::client(Some(&identity)));
    let nobody = tls::nobody();
    let stream = connector.connect(nobody, stream).await.unwrap();
    let (_, session) = stream.get_ref();
    let mut lines = vec![format!(
        "tls {} {} {}",
        format!("{:?}", session.protocol_version().unwrap()).replace('_', "."),
        cipher(&format!(
            "{:?}",
            session.negotiated_cipher_suite().unwrap().suite()
        )),
        str::from_utf8(session.alpn_protocol().unwrap()).unwrap(),
    )];
    let (tap, heard) = Tap::new(stream);
    let (mut client, connection) = h2::client::handshake(tap).await.unwrap();
    spawn(connection);
    let (response, mut send) = client.send_request(request, false).unwrap();
    let (response, mut body) = response.await.unwrap().into_parts();
    let mut data = vec![];
    if response.status == 200 {
        let get = "GET / HTTP/1.1\r\nHost: echo\r\nConnection: close\r\n\r\n";
        send.send_data(get.into(), false).unwrap();
        while let Some(bytes) = body.data().await {
            data.extend(bytes.unwrap());
        }
        send.send_data(Bytes::new(), true).unwrap();
    } else {
        assert!(body.data().await.is_none());
        // The reset is the last thing to come.
        std::future::poll_fn(|cx| send.poll_reset(cx))
            .await
            .unwrap();
    }
    lines.extend(answered(mesh, &heard, &response, &data));
    lines
}

fn answered(mesh: &ByHand, heard: &Heard, parts: &Parts, data: &[u8]) -> Vec<String> {
    let mut lines = vec![];
    for event in heard.events() {
        lines.push(match event {
            Event::Settings(settings) => format!("settings {settings:?}"),
            Event::Window { stream, delta } => format!("window {stream} {delta}"),
            Event::Headers { .. } => {
                let mut shown = vec![format!("(':status', '{}')", parts.status.as_str())];
                for (name, value) in &parts.headers {
                    let value = normal(name.as_str(), value.to_str().unwrap());
                    shown.push(format!("('{name}', '{value}')"));
                }
                format!("resp [{}]", shown.join(", "))
            }
            Event::Data { bytes, .. } if bytes.is_empty() => "data 0 b''".to_owned(),
            Event::Data { .. } => {
                let seen = theirs(mesh, &client_seen_by_the_app(data));
                let line = format!("data N answer seen by the app as coming from {seen}");
                if lines.contains(&line) {
                    continue;
                }
                line
            }
            Event::Ended { .. } => "StreamEnded ".to_owned(),
            Event::Reset { code, .. } => format!("StreamReset {code}"),
            Event::GoAway { code } => format!("goaway {code}"),
        });
    }
    lines
}

/// The sample server's answer says who called.
fn client_seen_by_the_app(answer: &[u8]) -> String {
    let answer = str::from_utf8(answer).unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    let body: Value = serde_json::from_str(body).unwrap();
    let client: SocketAddr = body["client"].as_str().unwrap().parse().unwrap();
    client.ip().to_string()
}

#[test]
fn our_ztunnel_answers_every_connect_as_istios_does() {
    let Some(mesh) = by_hand::up() else { return };
    let recorded = recorded_answers();
    assert_eq!(recorded.len(), 12);
    for (asked, expected) in recorded {
        let ours = run(answer(&mesh, request(&mesh, &asked)));
        assert_eq!(ours, expected, "CONNECT {asked}");
    }
}
