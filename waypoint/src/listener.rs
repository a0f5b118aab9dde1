//! Accepts HBONE: a socket per worker, TLS, one task per connection.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use hbone::server;
use identity::handshake;
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};

use crate::http::context::Peer;
use crate::tunnel;
use crate::worker::Worker;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;
/// How long accepting pauses when descriptors have run out.
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(20);
/// Keepalive of accepted connections; ztunnel's.
const KEEPALIVE: (Duration, Duration, u32) = (Duration::from_mins(3), Duration::from_mins(3), 9);

/// Opens a socket that shares its port with those of the other workers.
///
/// # Errors
/// When the address cannot be bound.
pub(crate) fn open(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Accepts until the drain starts; connections that are open then go on.
///
/// # Errors
/// When the socket cannot be used at all.
pub(crate) async fn accept(worker: Rc<Worker>, socket: std::net::TcpListener) -> io::Result<()> {
    let listener = TcpListener::from_std(socket)?;
    let mut drain = worker.drain.clone();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = drain.started() => return Ok(()),
        };
        match accepted {
            Ok((stream, from)) => {
                let connection = serve(Rc::clone(&worker), stream, from);
                worker.connections.spawn("hbone connection", connection);
            }
            Err(error) => {
                tracing::warn!(%error, "connection not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

pub(crate) async fn serve(worker: Rc<Worker>, stream: TcpStream, from: SocketAddr) {
    let from = SocketAddr::new(from.ip().to_canonical(), from.port());
    tune(&stream);
    let certified = match worker.certificate.current() {
        Ok(certified) => certified,
        Err(error) => {
            tracing::warn!(%error, %from, "connection refused for want of a certificate");
            return;
        }
    };
    // Both handshakes are boxed: a connection does not keep room for what is over at once.
    let accepting = Box::pin(handshake::accept(certified.server_config(), stream));
    let (stream, id) = match accepting.await {
        Ok(accepted) => accepted,
        Err(error) => {
            let error = runtime::report(&error);
            tracing::info!(error, %from, "connection refused");
            return;
        }
    };
    let peer = Rc::new(Peer::new(id, from));
    let settings = hbone::Settings::default();
    let mut connection = match Box::pin(server::accept(stream, &settings)).await {
        Ok(connection) => connection,
        Err(error) => {
            let error = runtime::report(&error);
            tracing::debug!(error, peer = %peer.id, %from, "no HBONE");
            return;
        }
    };
    serve_tunnels(&worker, peer, &mut connection).await;
}

async fn serve_tunnels<Io>(
    worker: &Rc<Worker>,
    peer: Rc<Peer>,
    connection: &mut server::Connection<Io>,
) where
    Io: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let mut drain = worker.drain.clone();
    let mut expiry = worker.drain.clone();
    let (mut draining, mut expired) = (false, false);
    loop {
        let next = tokio::select! {
            next = connection.next() => next,
            _ = drain.started(), if !draining => {
                draining = true;
                connection.drain();
                continue;
            }
            () = expiry.expired(), if !expired => {
                expired = true;
                connection.abort();
                continue;
            }
        };
        match next {
            Some(Ok(connect)) => {
                let tunnel = tunnel::serve(Rc::clone(worker), Rc::clone(&peer), connect);
                worker.connections.spawn("tunnel", tunnel);
            }
            Some(Err(error)) => {
                let error = runtime::report(&error);
                tracing::debug!(error, peer = %peer.id, "HBONE connection ended");
                return;
            }
            None => return,
        }
    }
}

/// Small messages do not wait, and peers that are gone are noticed. A socket that refuses either
/// works all the same.
pub(crate) fn tune(stream: &TcpStream) {
    let (idle, interval, probes) = KEEPALIVE;
    let keepalive = TcpKeepalive::new()
        .with_time(idle)
        .with_interval(interval)
        .with_retries(probes);
    let socket = socket2::SockRef::from(stream);
    let _ = socket.set_tcp_nodelay(true);
    let _ = socket.set_tcp_keepalive(&keepalive);
}
