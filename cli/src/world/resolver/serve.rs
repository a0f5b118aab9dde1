//! The resolver's sockets in every node: UDP and TCP, on the Service address and on the node's own.

use std::{
    cell::Cell,
    io,
    net::{Ipv4Addr, SocketAddrV4},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use hickory_proto::op::{Message, MessageType, OpCode, ResponseCode};
use nlink::netlink::namespace::Netns;
use runtime::LocalTasks;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UdpSocket},
    sync::{Semaphore, watch},
    time::timeout,
};

use super::{UDP_PAYLOAD, Zone};
use crate::world::{Error, Node, addresses::DNS_VIP};

const PORT: u16 = 53;
/// A TCP client that says nothing for so long is let go.
const TCP_IDLE: Duration = Duration::from_secs(10);
/// TCP clients served at a time, per address; more wait.
const TCP_CLIENTS: usize = 64;

/// Answers the queries of one mesh until dropped.
#[derive(Debug)]
pub struct Resolver {
    tasks: LocalTasks,
    zone: watch::Receiver<Arc<Zone>>,
}

impl Resolver {
    /// A resolver that follows `zone` and listens nowhere yet.
    ///
    /// Needs a [`tokio::task::LocalSet`] around [`Resolver::listen`].
    pub fn new(zone: watch::Receiver<Arc<Zone>>) -> Self {
        Self {
            tasks: LocalTasks::default(),
            zone,
        }
    }

    /// Listens in `node`. Addresses are bound when this returns.
    pub fn listen(&self, node: &Node) -> Result<(), Error> {
        let asked = Asked {
            zone: self.zone.clone(),
            turn: Rc::new(Cell::new(0)),
        };
        for ip in [DNS_VIP, node.ip] {
            let failed = |source| Error::Socket {
                netns: node.netns().label().to_owned(),
                action: "listen for DNS",
                source,
            };
            let udp = bind_udp(node.netns(), ip).map_err(failed)?;
            let tcp = bind_tcp(node.netns(), ip).map_err(failed)?;
            self.tasks.spawn("dns udp", serve_udp(udp, asked.clone()));
            self.tasks.spawn("dns tcp", serve_tcp(tcp, asked.clone()));
        }
        Ok(())
    }
}

fn socket(netns: &Netns, kind: socket2::Type) -> io::Result<socket2::Socket> {
    let fd = netns
        .socket(libc::AF_INET, i32::from(kind), 0)
        .map_err(io::Error::other)?;
    let socket = socket2::Socket::from(fd);
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn bind_udp(netns: &Netns, ip: Ipv4Addr) -> io::Result<UdpSocket> {
    let socket = socket(netns, socket2::Type::DGRAM)?;
    socket.bind(&SocketAddrV4::new(ip, PORT).into())?;
    UdpSocket::from_std(socket.into())
}

fn bind_tcp(netns: &Netns, ip: Ipv4Addr) -> io::Result<TcpListener> {
    let socket = socket(netns, socket2::Type::STREAM)?;
    socket.set_reuse_address(true)?;
    socket.bind(&SocketAddrV4::new(ip, PORT).into())?;
    socket.listen(128)?;
    TcpListener::from_std(socket.into())
}

/// The zone and whose turn it is to be first in an answer.
#[derive(Clone)]
struct Asked {
    zone: watch::Receiver<Arc<Zone>>,
    turn: Rc<Cell<usize>>,
}

impl Asked {
    /// The response to the bytes of one query; `None` when there is nobody to answer to.
    fn answer(&self, query: &[u8], limit: impl FnOnce(&Message) -> usize) -> Option<Vec<u8>> {
        let Ok(request) = Message::from_vec(query) else {
            return unreadable(query);
        };
        if request.metadata.message_type != MessageType::Query {
            return None;
        }
        self.turn.set(self.turn.get().wrapping_add(1));
        let zone = self.zone.borrow().clone();
        let response = zone.answer(&request, self.turn.get());
        let bytes = response.to_vec().ok()?;
        if bytes.len() > limit(&request) {
            response.truncate().to_vec().ok()
        } else {
            Some(bytes)
        }
    }
}

/// A query that cannot be read is answered as such, as long as it says which one it is.
fn unreadable(query: &[u8]) -> Option<Vec<u8>> {
    let id = u16::from_be_bytes([*query.first()?, *query.get(1)?]);
    // A response that cannot be read must not be answered: two of us would never stop.
    let is_query = query.get(2)? & 0x80 == 0;
    is_query.then(|| {
        Message::error_msg(id, OpCode::Query, ResponseCode::FormErr)
            .to_vec()
            .ok()
    })?
}

async fn serve_udp(socket: UdpSocket, asked: Asked) {
    let mut buffer = [0_u8; 4096];
    loop {
        // An ICMP error of an earlier answer comes back here; it says nothing about the next query.
        let Ok((len, from)) = socket.recv_from(&mut buffer).await else {
            continue;
        };
        let limit = |request: &Message| usize::from(request.max_payload().min(UDP_PAYLOAD));
        let response = buffer
            .get(..len)
            .and_then(|query| asked.answer(query, limit));
        if let Some(response) = response {
            let _ = socket.send_to(&response, from).await;
        }
    }
}

async fn serve_tcp(listener: TcpListener, asked: Asked) {
    let slots = Arc::new(Semaphore::new(TCP_CLIENTS));
    let clients = LocalTasks::default();
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
            return;
        };
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let asked = asked.clone();
        clients.spawn("dns client", async move {
            let _slot = slot;
            let _ = serve_stream(stream, asked).await;
        });
    }
}

/// Answers queries, each behind its length, until the client goes or says nothing.
async fn serve_stream(mut stream: TcpStream, asked: Asked) -> io::Result<()> {
    loop {
        let query = timeout(TCP_IDLE, read_query(&mut stream)).await??;
        let Some(response) = asked.answer(&query, |_| usize::from(u16::MAX)) else {
            return Ok(());
        };
        let len = u16::try_from(response.len()).map_err(io::Error::other)?;
        stream
            .write_all(&[&len.to_be_bytes(), response.as_slice()].concat())
            .await?;
    }
}

async fn read_query(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut query = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut query).await?;
    Ok(query)
}
