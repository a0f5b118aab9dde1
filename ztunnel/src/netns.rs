//! A pod's network namespace, and what ztunnel opens in it.
//!
//! A socket belongs to the namespace of the thread that made it, for ever; so a worker steps into
//! the pod, makes the socket and steps back, with no await in between. Every socket made here
//! carries the mark that keeps the pod's redirection from catching it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use nix::sched::{CloneFlags, setns};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpSocket, TcpStream};

use crate::agent::rules::PROXY_MARK;

#[cfg(test)]
mod tests;

const BACKLOG: i32 = 1024;
/// Source: istio/ztunnel `src/config.rs`, `KEEPALIVE_*`.
pub(crate) const KEEPALIVE_TIME: Duration = Duration::from_mins(3);
pub(crate) const KEEPALIVE_INTERVAL: Duration = Duration::from_mins(3);
pub(crate) const KEEPALIVE_PROBES: u32 = 9;

thread_local! {
    /// Where this thread belongs. Opened before it goes anywhere else.
    static HOME: io::Result<OwnedFd> = Ok(std::fs::File::open("/proc/thread-self/ns/net")?.into());
}

/// A network namespace that sockets are opened in.
#[derive(Debug)]
pub(crate) struct Namespace(OwnedFd);

impl Namespace {
    /// The namespace an open descriptor names.
    pub(crate) fn new(descriptor: OwnedFd) -> Self {
        Self(descriptor)
    }

    /// What tells this namespace from another, however often it is opened.
    pub(crate) fn inode(&self) -> io::Result<u64> {
        Ok(nix::sys::stat::fstat(&self.0)?.st_ino)
    }

    /// Runs `f` inside. It must not block and cannot await.
    ///
    /// # Errors
    /// When the namespace cannot be entered, or `f` fails.
    fn run<T>(&self, f: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        HOME.with(|home| {
            let home = home
                .as_ref()
                .map_err(|error| io::Error::from(error.kind()))?;
            setns(&self.0, CloneFlags::CLONE_NEWNET)?;
            let result = f();
            if let Err(error) = setns(home, CloneFlags::CLONE_NEWNET) {
                // Going on would open one pod's connections in another pod.
                tracing::error!(%error, "a worker cannot leave a pod's network namespace");
                std::process::abort();
            }
            result
        })
    }

    /// Listens on a port of every address, beside another ztunnel that may still do so.
    ///
    /// # Errors
    /// When the port cannot be bound.
    pub(crate) fn listen(&self, port: u16) -> io::Result<std::net::TcpListener> {
        let socket = self.run(|| {
            bind_any(Ipv6Addr::UNSPECIFIED.into(), port)
                // A node without IPv6 has IPv4 alone.
                .or_else(|_| bind_any(Ipv4Addr::UNSPECIFIED.into(), port))
        })?;
        socket.listen(BACKLOG)?;
        Ok(socket.into())
    }

    /// Listens on a loopback address.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub(crate) fn listen_at(&self, address: SocketAddr) -> io::Result<std::net::TcpListener> {
        let socket = self.run(|| stream_socket(address, |socket| socket.set_reuse_port(true)))?;
        socket.listen(BACKLOG)?;
        Ok(socket.into())
    }

    /// Takes datagrams on a loopback address.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub(crate) fn udp_at(&self, address: SocketAddr) -> io::Result<std::net::UdpSocket> {
        let socket = self.run(|| {
            let socket = Socket::new(
                Domain::for_address(address),
                Type::DGRAM,
                Some(Protocol::UDP),
            )?;
            socket.set_nonblocking(true)?;
            socket.set_mark(PROXY_MARK)?;
            socket.set_reuse_port(true)?;
            socket.bind(&address.into())?;
            Ok(socket)
        })?;
        Ok(socket.into())
    }

    /// Connects, optionally in the name of another address.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// When the connection is refused or the address cannot be taken.
    pub(crate) async fn connect(
        &self,
        to: SocketAddr,
        source: Option<IpAddr>,
    ) -> io::Result<TcpStream> {
        let socket = self.run(|| {
            let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
            socket.set_nonblocking(true)?;
            socket.set_mark(PROXY_MARK)?;
            if let Some(source) = source {
                impersonate(&socket, source)?;
            }
            Ok(socket)
        })?;
        tune(&SockRef::from(&socket));
        TcpSocket::from_std_stream(socket.into()).connect(to).await
    }
}

fn bind_any(ip: IpAddr, port: u16) -> io::Result<Socket> {
    stream_socket(SocketAddr::new(ip, port), |socket| {
        if ip.is_ipv6() {
            socket.set_only_v6(false)?;
        }
        // The old ztunnel of an update listens beside the new one; so do our workers.
        socket.set_reuse_port(true)
    })
}

fn stream_socket(
    address: SocketAddr,
    options: impl FnOnce(&Socket) -> io::Result<()>,
) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_nonblocking(true)?;
    socket.set_mark(PROXY_MARK)?;
    socket.set_reuse_address(true)?;
    options(&socket)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Makes the peer see `source` as the client.
fn impersonate(socket: &Socket, source: IpAddr) -> io::Result<()> {
    if source.is_ipv4() {
        socket.set_ip_transparent_v4(true)?;
    } else {
        socket.set_ip_transparent_v6(true)?;
    }
    socket.bind(&SocketAddr::new(source, 0).into())
}

/// Sets what every connection of ztunnel has. Failing to is no reason to refuse a connection.
pub(crate) fn tune(socket: &SockRef<'_>) {
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_TIME)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_PROBES);
    let tuned = socket
        .set_tcp_keepalive(&keepalive)
        .and_then(|()| socket.set_tcp_nodelay(true));
    if let Err(error) = tuned {
        tracing::debug!(%error, "socket options not set");
    }
}

/// The address the client dialled before it was redirected here.
///
/// # Errors
/// When the connection was not redirected.
pub(crate) fn original_dst(stream: &TcpStream) -> io::Result<SocketAddr> {
    let socket = SockRef::from(stream);
    // A dual-stack listener takes connections of both families: ask for each.
    let address = socket
        .original_dst_v4()
        .or_else(|_| socket.original_dst_v6())?;
    address
        .as_socket()
        .map(canonical)
        .ok_or_else(|| io::Error::other("the original destination is no IP address"))
}

/// An address without the disguise a dual-stack socket gives to IPv4.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

impl AsFd for Namespace {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}
