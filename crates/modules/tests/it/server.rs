//! A server that does what a test says, also what no server should.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

use parking_lot::Mutex;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// Both ways of a connection.
pub(crate) trait Wire: Read + Write {}

impl<T: Read + Write> Wire for T {}

/// A request that came.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

/// A server on loopback. Its threads end with the process.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
}

type Handler = dyn Fn(&Seen, &mut dyn Wire) + Send + Sync;

impl Server {
    /// Answers every request as `handler` does; a connection ends behind it.
    pub(crate) fn start(handler: impl Fn(&Seen, &mut dyn Wire) + Send + Sync + 'static) -> Self {
        Self::listen("127.0.0.1:0", None, Arc::new(handler))
    }

    /// As [`start`](Self::start), on another of the machine's own addresses.
    pub(crate) fn start_at(
        address: &str,
        handler: impl Fn(&Seen, &mut dyn Wire) + Send + Sync + 'static,
    ) -> Self {
        Self::listen(address, None, Arc::new(handler))
    }

    /// As [`start`](Self::start), with TLS.
    pub(crate) fn start_tls(
        config: Arc<ServerConfig>,
        handler: impl Fn(&Seen, &mut dyn Wire) + Send + Sync + 'static,
    ) -> Self {
        Self::listen("127.0.0.1:0", Some(config), Arc::new(handler))
    }

    fn listen(address: &str, tls: Option<Arc<ServerConfig>>, handler: Arc<Handler>) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::<Mutex<Vec<Seen>>>::default();
        let all = Arc::clone(&seen);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (handler, tls) = (Arc::clone(&handler), tls.clone());
                let all = Arc::clone(&all);
                std::thread::spawn(move || match tls {
                    None => serve(stream, &*handler, &all),
                    Some(config) => {
                        let connection = ServerConnection::new(config).unwrap();
                        let stream = StreamOwned::new(connection, stream);
                        serve(stream, &*handler, &all);
                    }
                });
            }
        });
        Self { address, seen }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn image(&self, name: &str) -> String {
        format!("oci://{}/{name}", self.address)
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().clone()
    }

    /// How many requests came for a path.
    pub(crate) fn count(&self, path: &str) -> usize {
        self.seen().iter().filter(|seen| seen.path == path).count()
    }
}

fn serve(stream: impl Wire, handler: &Handler, all: &Mutex<Vec<Seen>>) {
    let mut reader = BufReader::new(stream);
    let Some(seen) = read(&mut reader) else {
        return;
    };
    all.lock().push(seen.clone());
    handler(&seen, reader.get_mut());
    let _ = reader.get_mut().flush();
}

fn read(reader: &mut impl BufRead) -> Option<Seen> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    let mut seen = Seen {
        method: words.next()?.to_owned(),
        path: words.next()?.to_owned(),
        ..Seen::default()
    };
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        let name = name.to_ascii_lowercase();
        seen.headers.insert(name, value.trim().to_owned());
    }
    let length = seen.headers.get("content-length");
    let length = length.and_then(|text| text.parse().ok()).unwrap_or(0);
    seen.body = vec![0; length];
    reader.read_exact(&mut seen.body).ok()?;
    Some(seen)
}

/// Writes an answer.
pub(crate) fn answer(wire: &mut dyn Wire, status: u16, headers: &[(&str, &str)], body: &[u8]) {
    let mut head = format!(
        "HTTP/1.1 {status} Status\r\ncontent-length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        write!(head, "{name}: {value}\r\n").unwrap();
    }
    head.push_str("connection: close\r\n\r\n");
    // Whether the client still wants it is the test's matter.
    let _ = wire.write_all(head.as_bytes());
    let _ = wire.write_all(body);
}

/// What a server answers to one request of the test itself.
pub(crate) struct Told {
    pub(crate) status: u16,
    pub(crate) location: Option<String>,
}

/// Sends a request as plain as it can be.
pub(crate) fn send(
    to: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Told {
    let mut stream = TcpStream::connect(to).unwrap();
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {to}\r\nconnection: close\r\n");
    for (name, value) in headers {
        write!(head, "{name}: {value}\r\n").unwrap();
    }
    write!(head, "content-length: {}\r\n\r\n", body.len()).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body).unwrap();
    let mut text = vec![];
    stream.read_to_end(&mut text).unwrap();
    let text = String::from_utf8_lossy(&text);
    let location = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("location")
            .then(|| value.trim().to_owned())
    });
    Told {
        status: text.split(' ').nth(1).unwrap().parse().unwrap(),
        location,
    }
}
