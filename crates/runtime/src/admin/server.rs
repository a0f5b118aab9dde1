//! A small HTTP/1.1 server.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Method, Request};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::reply::{Query, Reply};
use crate::tasks::TaskSet;

/// Connections served at a time; one more is closed at once, so that a scraper gone wild cannot
/// take file descriptors from traffic.
const MAX_CONNECTIONS: usize = 100;

/// Time a client has to send the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Pause after an accept that failed, for want of file descriptors most likely.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where to listen.
#[derive(Debug)]
pub enum Listen {
    /// This address. Port 0 takes a free one.
    Address(SocketAddr),
    /// This port of 127.0.0.1 and, where there is IPv6, of `::1`.
    Localhost(u16),
    /// A socket that is open already, perhaps in another network namespace.
    Socket(std::net::TcpListener),
}

impl From<SocketAddr> for Listen {
    fn from(addr: SocketAddr) -> Self {
        Self::Address(addr)
    }
}

impl From<std::net::TcpListener> for Listen {
    fn from(socket: std::net::TcpListener) -> Self {
        Self::Socket(socket)
    }
}

impl Listen {
    fn open(self) -> io::Result<Vec<TcpListener>> {
        let sockets = match self {
            Self::Socket(socket) => vec![socket],
            Self::Address(addr) => vec![std::net::TcpListener::bind(addr)?],
            Self::Localhost(port) => {
                let v4 = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
                let port = v4.local_addr()?.port();
                // Not every host has IPv6.
                let v6 = std::net::TcpListener::bind((Ipv6Addr::LOCALHOST, port)).ok();
                [v4].into_iter().chain(v6).collect()
            }
        };
        sockets
            .into_iter()
            .map(|socket| {
                socket.set_nonblocking(true)?;
                TcpListener::from_std(socket)
            })
            .collect()
    }
}

/// A request without its body, which nobody looks at.
pub(super) struct Asked {
    method: Method,
    pub(super) path: String,
    pub(super) query: Query,
    pub(super) headers: HeaderMap,
}

impl Asked {
    /// Fails with the answer to a request whose method is not `allowed`. HEAD goes with GET.
    pub(super) fn only(&self, allowed: &Method) -> Result<(), Reply> {
        let head = self.method == Method::HEAD && *allowed == Method::GET;
        if self.method == *allowed || head {
            Ok(())
        } else {
            Err(Reply::wrong_method(allowed))
        }
    }
}

/// Something that answers requests.
pub(super) trait Answer: Send + Sync + 'static {
    fn answer(&self, asked: Asked) -> Pin<Box<dyn Future<Output = Reply> + Send>>;
}

/// Opens `listen`, serves it in `tasks`, and returns the addresses bound.
pub(super) fn serve(
    name: &'static str,
    listen: Listen,
    tasks: &TaskSet,
    answer: &Arc<dyn Answer>,
) -> io::Result<Vec<SocketAddr>> {
    let sockets = listen.open()?;
    let bound = sockets
        .iter()
        .map(TcpListener::local_addr)
        .collect::<io::Result<_>>()?;
    for socket in sockets {
        tasks.spawn(name, accept(socket, Arc::clone(answer)));
    }
    Ok(bound)
}

/// Owns its connections: they end with it.
async fn accept(socket: TcpListener, answer: Arc<dyn Answer>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = socket.accept() => match accepted {
                Ok((stream, _)) if connections.len() < MAX_CONNECTIONS => {
                    connections.spawn(converse(stream, Arc::clone(&answer)));
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::debug!(%error, "cannot accept");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn converse(stream: TcpStream, answer: Arc<dyn Answer>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let (head, _) = request.into_parts();
        let reply = answer.answer(Asked {
            query: Query::parse(head.uri.query()),
            path: head.uri.path().to_owned(),
            method: head.method,
            headers: head.headers,
        });
        async { Ok::<_, Infallible>(reply.await.into_response()) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = connection.await {
        tracing::debug!(%error, "connection ended");
    }
}
