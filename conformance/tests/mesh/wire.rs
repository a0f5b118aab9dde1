//! What can be seen between nodes, and who is let in.

use std::fmt::Write as _;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener as StdListener, TcpStream as StdStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use conformance::http2::{Heard, Tap};
use http::{Method, Request, Response};
use socket2::{Domain, Protocol, Socket, Type};
use testkit::{Mesh, eventually};
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::by_hand;
use crate::hbone::{run, spawn};
use crate::places::{self, Place};
use crate::tls::{self, Authority, Leaf};
use crate::world::server;

/// All protocols (`linux/if_ether.h`), in network byte order.
const ETH_P_ALL: i32 = 0x0300;

/// What is sent and must not be seen.
const MARKER: &str = "a-secret-nobody-between-the-nodes-may-read";
/// How often, so that no packet boundary hides it.
const TIMES: usize = 4096;

/// What a capture saw.
#[derive(Debug, Default)]
struct Capture {
    frames: usize,
    bytes: usize,
    /// Frames that show the marker.
    marked: usize,
    /// TCP payload and headers to or from port 15008.
    hbone_bytes: usize,
}

/// Captures all that passes the bridge between the nodes while `act` runs.
fn capture(mesh: &Mesh, act: impl FnOnce()) -> Capture {
    let socket = places::inside(&places::fabric(mesh), || {
        Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(ETH_P_ALL)))
    });
    let mut socket = socket.unwrap();
    socket.set_recv_buffer_size(64 << 20).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_millis(100)))
        .unwrap();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut capture = Capture::default();
            let mut frame = vec![0; 1 << 17];
            loop {
                // What was sent before the end is in the socket by then.
                let last = over.load(Ordering::SeqCst);
                match socket.read(&mut frame) {
                    Ok(length) => capture.add(&frame[..length]),
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}");
                        if last {
                            return capture;
                        }
                    }
                }
            }
        });
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(act));
        over.store(true, Ordering::SeqCst);
        let capture = reader.join().unwrap();
        ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        capture
    })
}

impl Capture {
    fn add(&mut self, frame: &[u8]) {
        self.frames += 1;
        self.bytes += frame.len();
        let marker = MARKER.as_bytes();
        if frame.windows(marker.len()).any(|window| window == marker) {
            self.marked += 1;
        }
        if ports(frame).is_some_and(|ports| ports.contains(&15008)) {
            self.hbone_bytes += frame.len();
        }
    }
}

/// The ports of a TCP segment in IPv4 on Ethernet.
fn ports(frame: &[u8]) -> Option<[u16; 2]> {
    let (ethernet, packet) = frame.split_at_checked(14)?;
    let is_tcp = ethernet.ends_with(&[0x08, 0x00]) && *packet.get(9)? == 6;
    let header = usize::from(packet.first()? & 0xf) * 4;
    let segment = packet.get(header..).filter(|_| is_tcp)?;
    let port = |at: usize| {
        Some(u16::from_be_bytes([
            *segment.get(at)?,
            *segment.get(at + 1)?,
        ]))
    };
    Some([port(0)?, port(2)?])
}

fn on(node: &str, manifest: &str) -> String {
    let spec = format!("    spec:\n      nodeName: {node}\n");
    manifest.replace("    spec:\n", &spec)
}

/// Servers on the second node and clients on the first, in three namespaces: in the mesh, in the
/// mesh behind a waypoint, and outside.
fn between_nodes() -> Mesh {
    let mut world = String::new();
    let namespaces = [
        ("inside", "istio.io/dataplane-mode: ambient"),
        (
            "behind",
            "istio.io/dataplane-mode: ambient, istio.io/use-waypoint: waypoint",
        ),
        ("outside", "istio.io/dataplane-mode: none"),
    ];
    for (name, labels) in namespaces {
        let _ = write!(
            world,
            "---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}, labels: {{{labels}}}}}\n"
        );
        world += &on("node2", &server(name, "echo", "v1"));
        world += &on("node1", &crate::world::client(name, "web"));
    }
    world += "---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: waypoint, namespace: behind}
spec:
  gatewayClassName: istio-waypoint
  listeners: [{name: mesh, port: 15008, protocol: HBONE}]
";
    Mesh::builder().manifest("world.yaml", &world).up()
}

/// Sends the marker from one node to the other and gets it back.
fn send_marker(mesh: &Mesh, namespace: &str) {
    let script = format!(
        "for i in $(seq {TIMES}); do echo {MARKER}; done | curl -s -m 30 --data-binary @- http://echo/echo"
    );
    let answer = mesh.exec(&format!("{namespace}/web"), ["bash", "-c", &script]);
    assert_eq!(answer.ok().matches(MARKER).count(), TIMES);
}

#[test]
fn between_nodes_nothing_of_a_payload_can_be_read() {
    if !testkit::require_root() {
        return;
    }
    let mesh = between_nodes();
    let sent = MARKER.len() * TIMES;
    for namespace in ["inside", "behind"] {
        let seen = capture(&mesh, || send_marker(&mesh, namespace));
        assert_eq!(seen.marked, 0, "{namespace}: {seen:?}");
        // It did pass here, both ways, as something else.
        assert!(seen.hbone_bytes > 2 * sent, "{namespace}: {seen:?}");
    }
    // The same capture shows it where it may be read.
    let seen = capture(&mesh, || send_marker(&mesh, "outside"));
    assert!(seen.marked > 0, "{seen:?}");
    assert_eq!(seen.hbone_bytes, 0, "{seen:?}");
}

const CLIENT: &str = "spiffe://cluster.local/ns/app/sa/client";

/// Everything a client can show, with the words our side refuses it with; `None` for the one that
/// is right.
fn clients(mesh: &Mesh) -> Vec<(&'static str, Option<tls::Identity>, Option<&'static str>)> {
    let ours = Authority::of(mesh);
    let leaf = |spoil: fn(&mut Leaf)| {
        let mut leaf = Leaf::of(CLIENT);
        spoil(&mut leaf);
        Some(ours.sign(&leaf))
    };
    vec![
        ("nothing", None, Some("CertificateRequired")),
        (
            "another root's",
            Some(Authority::stranger().sign(&Leaf::of(CLIENT))),
            Some("DecryptError"),
        ),
        (
            "another trust domain's",
            leaf(|leaf| leaf.uris = vec!["spiffe://other.example/ns/app/sa/client".to_owned()]),
            Some("CertificateUnknown"),
        ),
        (
            "an expired one",
            leaf(|leaf| leaf.not_after = SystemTime::now() - Duration::from_mins(1)),
            Some("CertificateExpired"),
        ),
        (
            "one that is not valid yet",
            leaf(|leaf| leaf.not_before = SystemTime::now() + Duration::from_mins(30)),
            Some("CertificateExpired"),
        ),
        (
            "one without a name",
            leaf(|leaf| leaf.uris.clear()),
            Some("CertificateUnknown"),
        ),
        (
            "one with another sort of name",
            leaf(|leaf| leaf.uris = vec!["https://cluster.local/ns/app/sa/client".to_owned()]),
            Some("CertificateUnknown"),
        ),
        ("the right one", leaf(|_| {}), None),
    ]
}

/// Connects and shows `identity`.
async fn shown(
    from: &Place,
    to: SocketAddr,
    identity: Option<&tls::Identity>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = places::inside(&from.netns, || StdStream::connect(to)).unwrap();
    stream.set_nonblocking(true).unwrap();
    let stream = TcpStream::from_std(stream).unwrap();
    let connector = TlsConnector::from(tls::client(identity));
    connector.connect(tls::nobody(), stream).await
}

/// Waits for the server's first word without saying anything: the alert of a refusal. One who
/// talks on may miss it.
async fn alert(from: &Place, to: SocketAddr, identity: Option<&tls::Identity>) -> String {
    let refused = async {
        let mut stream = shown(from, to, identity).await?;
        let heard = stream.read(&mut [0; 1]).await?;
        Ok::<_, std::io::Error>(heard)
    };
    match refused.await {
        Ok(heard) => format!("no alert, but {heard} bytes"),
        Err(error) => error.to_string(),
    }
}

/// Opens a tunnel to `authority` and says `hello` in it, all without waiting; then waits for the
/// server's first word. Returns its status, or nothing, and what came of HTTP/2.
async fn knock(
    from: &Place,
    to: SocketAddr,
    identity: Option<&tls::Identity>,
    authority: &str,
) -> (Option<u16>, Heard) {
    let Ok(stream) = shown(from, to, identity).await else {
        return (None, Heard::default());
    };
    let (tap, heard) = Tap::new(stream);
    let answer = async {
        let (mut client, connection) = h2::client::handshake(tap).await?;
        spawn(connection);
        let request = Request::builder().method(Method::CONNECT).uri(authority);
        let (response, mut send) = client.send_request(request.body(()).unwrap(), false)?;
        send.send_data(Bytes::from_static(b"hello"), false)?;
        Ok::<_, h2::Error>(response.await?.status().as_u16())
    };
    (Box::pin(answer).await.ok(), heard)
}

/// An application that keeps what it is told until it is asked.
struct App(StdListener);

impl App {
    fn listen(pod: &Place) -> Self {
        let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 9999));
        let listener = places::inside(&pod.netns, || StdListener::bind(address)).unwrap();
        listener.set_nonblocking(true).unwrap();
        Self(listener)
    }

    /// Nobody has so much as connected.
    fn assert_untouched(&self, what: &str) {
        let accepted = self.0.accept();
        let waits = accepted.as_ref().err().map(std::io::Error::kind);
        assert_eq!(waits, Some(ErrorKind::WouldBlock), "{what}: {accepted:?}");
    }

    fn assert_told_hello(&self) {
        let (mut stream, _) = eventually("the application is called", || self.0.accept().ok());
        stream.set_nonblocking(false).unwrap();
        let mut told = [0; 5];
        stream.read_exact(&mut told).unwrap();
        assert_eq!(&told, b"hello");
    }
}

#[test]
fn a_ztunnel_and_a_waypoint_let_in_who_shows_a_right_certificate_and_nobody_else() {
    if !testkit::require_root() {
        return;
    }
    let mesh = Mesh::builder().manifest("knock.yaml", KNOCK).up();
    let pod = places::pod(&mesh, "app", "quiet");
    let from = places::pod(&mesh, "app", "client");
    let waypoint = places::pod(&mesh, "app", "waypoint");
    let app = App::listen(&pod);
    let vip = places::vip(&mesh, "app/quiet");
    let doors = [
        ("ztunnel", pod.ip, format!("{}:9999", pod.ip)),
        ("waypoint", waypoint.ip, format!("{vip}:9999")),
    ];
    for (door, ip, authority) in doors {
        let to = SocketAddr::new(ip.into(), 15008);
        for (what, identity, refusal) in clients(&mesh) {
            let what = format!("{door}, shown {what}");
            let identity = identity.as_ref();
            let Some(refusal) = refusal else {
                let (answer, _heard) = run(knock(&from, to, identity, &authority));
                assert_eq!(answer, Some(200), "{what}");
                app.assert_told_hello();
                continue;
            };
            let said = run(alert(&from, to, identity));
            assert!(said.contains(refusal), "{what}: {said}");
            let (answer, heard) = run(knock(&from, to, identity, &authority));
            assert_eq!(answer, None, "{what}");
            assert_eq!(heard.events(), [], "{what}: not one word of HTTP/2");
            app.assert_untouched(&what);
        }
    }
}

const KNOCK: &str = include_str!("knock.yaml");

/// Serves one client, shows it `identity`, and returns the first it says in a tunnel.
async fn serve_once(listener: TcpListener, identity: &tls::Identity) -> Result<Vec<u8>, String> {
    let (stream, _) = listener.accept().await.unwrap();
    let acceptor = TlsAcceptor::from(tls::server(identity));
    let stream = acceptor.accept(stream).await.map_err(|e| e.to_string())?;
    let (tap, heard) = Tap::new(stream);
    let handshake = h2::server::handshake(tap).await;
    let mut connection = handshake.map_err(|error| {
        assert_eq!(heard.events(), [], "a refused server is told nothing");
        error.to_string()
    })?;
    let accepted = connection.accept().await.ok_or("closed")?;
    let (mut request, mut respond) = accepted.map_err(|e| e.to_string())?;
    let _tunnel = respond.send_response(Response::new(()), false).unwrap();
    spawn(async move { while connection.accept().await.is_some() {} });
    let data = request.body_mut().data().await.ok_or("ended")?;
    data.map(|bytes| bytes.to_vec()).map_err(|e| e.to_string())
}

/// What a server can show to somebody who expects `account` of namespace `app`: all wrong.
fn servers(mesh: &Mesh, account: &str) -> Vec<(&'static str, tls::Identity)> {
    let ours = Authority::of(mesh);
    let right = Leaf::of(&format!("spiffe://cluster.local/ns/app/sa/{account}"));
    let expired = Leaf {
        not_after: SystemTime::now() - Duration::from_mins(1),
        ..right.clone()
    };
    let foreign = Leaf::of(&format!("spiffe://other.example/ns/app/sa/{account}"));
    let other = Leaf::of("spiffe://cluster.local/ns/app/sa/other");
    vec![
        ("another account", ours.sign(&other)),
        ("another root", Authority::stranger().sign(&right)),
        ("expired", ours.sign(&expired)),
        ("another trust domain", ours.sign(&foreign)),
    ]
}

fn right_server(mesh: &Mesh, account: &str) -> tls::Identity {
    let leaf = Leaf::of(&format!("spiffe://cluster.local/ns/app/sa/{account}"));
    Authority::of(mesh).sign(&leaf)
}

#[test]
fn our_ztunnel_refuses_a_server_that_is_not_who_it_has_to_be() {
    let Some(mesh) = by_hand::up() else { return };
    let offered = |identity: &tls::Identity| {
        let listener = mesh.listen();
        let to = SocketAddr::new(mesh.vip.into(), 80);
        run(async {
            let listener = TcpListener::from_std(listener).unwrap();
            let mut call = places::inside(&mesh.near.netns, || StdStream::connect(to)).unwrap();
            call.write_all(b"hello").unwrap();
            Box::pin(serve_once(listener, identity)).await
        })
    };
    for (what, identity) in servers(&mesh.mesh, "waypoint") {
        let told = offered(&identity);
        assert!(told.is_err(), "{what}: {told:?}");
    }
    let log = places::ztunnel_log(&mesh.mesh, &mesh.near.node);
    let reason = "identity verification error: peer did not present the expected SAN \
                  (spiffe://cluster.local/ns/app/sa/waypoint), \
                  got spiffe://cluster.local/ns/app/sa/other";
    assert!(log.contains(reason), "{log}");
    let told = offered(&right_server(&mesh.mesh, "waypoint"));
    assert_eq!(told.as_deref(), Ok(b"hello".as_slice()));
}

#[test]
fn our_waypoint_refuses_a_server_that_is_not_who_it_has_to_be() {
    if !testkit::require_root() {
        return;
    }
    let mesh = Mesh::builder().manifest("knock.yaml", KNOCK).up();
    let from = places::pod(&mesh, "app", "client");
    let waypoint = places::pod(&mesh, "app", "waypoint");
    let tunnels_itself = places::pod(&mesh, "app", "posed");
    let to = SocketAddr::new(waypoint.ip.into(), 15008);
    let authority = format!("{}:9999", places::vip(&mesh, "app/posed"));
    let client = Authority::of(&mesh).sign(&Leaf::of(CLIENT));
    let offered = |identity: &tls::Identity| {
        let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 15008));
        let listener = places::inside(&tunnels_itself.netns, || StdListener::bind(address));
        let listener = listener.unwrap();
        listener.set_nonblocking(true).unwrap();
        run(async {
            let listener = TcpListener::from_std(listener).unwrap();
            let knock = async {
                let (_, _heard) = knock(&from, to, Some(&client), &authority).await;
                // What was said is on its way, whatever the answer.
                std::future::pending::<()>().await;
            };
            tokio::select! {
                told = Box::pin(serve_once(listener, identity)) => told,
                () = knock => unreachable!(),
            }
        })
    };
    for (what, identity) in servers(&mesh, "posed") {
        let told = offered(&identity);
        assert!(told.is_err(), "{what}: {told:?}");
    }
    let told = offered(&right_server(&mesh, "posed"));
    assert_eq!(told.as_deref(), Ok(b"hello".as_slice()));
}
