//! DNS queries of captured pods: port 15053.
//!
//! Names of services are answered from what the control plane told; everything else goes to the
//! resolvers ztunnel itself uses, byte for byte, and comes back byte for byte.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, Record, RecordType, rdata};
use mesh::store::Store;
use mesh::workload::Workload;
use telemetry::dns::{self as metrics, DnsMetrics, Transport};
use telemetry::tcp::Reporter;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::timeout;

use crate::pod::{DNS_PORT, Pod};

pub(crate) mod names;
#[cfg(test)]
mod tests;

/// Source: istio/ztunnel `src/dns/server.rs`.
const TTL: u32 = 30;
/// How long the resolver behind us may take.
const FORWARD_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a client may keep a TCP connection without asking.
const TCP_IDLE: Duration = Duration::from_secs(5);
/// Largest message; a datagram of DNS never is larger.
const MAX_MESSAGE: usize = 65_535;
/// What a client that names no size accepts over UDP (RFC 1035 §4.2.1).
const PLAIN_UDP_SIZE: usize = 512;

/// The addresses the redirection leads to.
pub(crate) const ADDRESSES: [SocketAddr; 2] = [
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), DNS_PORT),
    SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), DNS_PORT),
];

/// What is the same for the DNS of every pod.
#[derive(Debug)]
pub(crate) struct Settings {
    /// `cluster.local`.
    pub(crate) cluster_domain: String,
    /// Resolvers for what is not ours, in order.
    pub(crate) resolvers: Vec<SocketAddr>,
    /// Counters.
    pub(crate) metrics: DnsMetrics,
}

/// Answers datagrams until the pod is let go.
pub(crate) async fn serve_udp(pod: Rc<Pod>, settings: Rc<Settings>, socket: UdpSocket) {
    let socket = Rc::new(socket);
    let mut drain = pod.drain.clone();
    let mut buffer = vec![0; MAX_MESSAGE];
    loop {
        let received = tokio::select! {
            received = socket.recv_from(&mut buffer) => received,
            _ = drain.started() => return,
        };
        let Ok((length, client)) = received else {
            continue;
        };
        let query = buffer.get(..length).unwrap_or_default().to_vec();
        let (pod, settings, socket) = (pod.clone(), settings.clone(), socket.clone());
        pod.clone().tasks.spawn("dns query", async move {
            let answer = answer(&pod, &settings, &query, Transport::Udp).await;
            if let Some(answer) = answer {
                // A client that is gone asks again or does not care.
                let _ = socket.send_to(&answer, client).await;
            }
        });
    }
}

/// Answers connections until the pod is let go.
pub(crate) async fn serve_tcp(pod: Rc<Pod>, settings: Rc<Settings>, listener: TcpListener) {
    pod.accept(listener, Reporter::Source, move |pod, stream, _| {
        let settings = settings.clone();
        async move {
            if let Err(error) = connection(&pod, &settings, stream).await {
                tracing::debug!(%error, "dns connection ended");
            }
        }
    })
    .await;
}

async fn connection(pod: &Pod, settings: &Settings, mut stream: TcpStream) -> io::Result<()> {
    loop {
        let Ok(length) = timeout(TCP_IDLE, stream.read_u16()).await else {
            return Ok(());
        };
        let mut query = vec![0; usize::from(length?)];
        stream.read_exact(&mut query).await?;
        if let Some(answer) = answer(pod, settings, &query, Transport::Tcp).await {
            let Ok(length) = u16::try_from(answer.len()) else {
                return Ok(());
            };
            stream.write_all(&length.to_be_bytes()).await?;
            stream.write_all(&answer).await?;
        }
    }
}

/// The answer to one message; `None` for what is no query.
async fn answer(
    pod: &Pod,
    settings: &Settings,
    query: &[u8],
    transport: Transport,
) -> Option<Vec<u8>> {
    let message = read(query)?;
    let Ok(client) = pod.workload().await else {
        return encode(&reply(&message, ResponseCode::ServFail), transport);
    };
    let outcome = decide(settings, &pod.store.current(), &client, &message, transport);
    match outcome {
        Outcome::Answered(answer) => encode(&answer, transport),
        Outcome::Elsewhere(counted) => {
            let answer = forward(pod, settings, query, transport).await;
            answer.or_else(|| unanswered(settings, &message, counted, transport))
        }
    }
}

/// Reads a query; what is none, or no message at all, gets no answer.
pub(crate) fn read(query: &[u8]) -> Option<Message> {
    let message = Message::from_vec(query).ok()?;
    (message.metadata.message_type == MessageType::Query).then_some(message)
}

/// What becomes of a query.
pub(crate) enum Outcome<'a> {
    /// We know the answer.
    Answered(Message),
    /// The resolvers behind us are asked; how the query is counted, if it has one question.
    Elsewhere(Option<metrics::Query<'a>>),
}

/// Answers what the mesh knows, and counts every query with a question.
pub(crate) fn decide<'a>(
    settings: &Settings,
    store: &Store,
    client: &'a Workload,
    message: &Message,
    transport: Transport,
) -> Outcome<'a> {
    let question = match message.queries.as_slice() {
        [question] if message.metadata.op_code == OpCode::Query => question,
        _ => return Outcome::Elsewhere(None),
    };
    let counted = metrics::Query {
        kind: question.query_type().into(),
        transport,
        client,
    };
    settings.metrics.request(counted);
    let family = match question.query_type() {
        RecordType::A => Some(names::Family::V4),
        RecordType::AAAA => Some(names::Family::V6),
        _ => None,
    };
    let name = question.name().to_lowercase().to_string();
    let domain = &settings.cluster_domain;
    let resolved = family.and_then(|family| names::resolve(store, client, domain, &name, family));
    let Some(resolved) = resolved else {
        settings.metrics.forwarded(counted);
        return Outcome::Elsewhere(Some(counted));
    };
    tracing::debug!(src.workload = %client.name, query = %name, addresses = ?resolved.addresses, "dns");
    let answer = success(message, question, resolved);
    Outcome::Answered(answer.unwrap_or_else(|| reply(message, ResponseCode::ServFail)))
}

/// The answer when no resolver gave one: a client that hears nothing waits and asks again.
pub(crate) fn unanswered(
    settings: &Settings,
    message: &Message,
    counted: Option<metrics::Query<'_>>,
    transport: Transport,
) -> Option<Vec<u8>> {
    if let Some(counted) = counted {
        settings.metrics.failed(counted);
    }
    encode(&reply(message, ResponseCode::ServFail), transport)
}

fn success(message: &Message, question: &Query, resolved: names::Resolved) -> Option<Message> {
    let mut answer = reply(message, ResponseCode::NoError);
    let mut owner = question.name().clone();
    if let Some(alias) = resolved.alias {
        let canonical = Name::from_ascii(&alias).ok()?;
        let cname = RData::CNAME(rdata::CNAME(canonical.clone()));
        answer.add_answer(Record::from_rdata(owner, TTL, cname));
        owner = canonical;
    }
    let mut addresses = resolved.addresses;
    fastrand::shuffle(&mut addresses);
    for address in addresses {
        let data = match address {
            IpAddr::V4(ip) => RData::A(rdata::A(ip)),
            IpAddr::V6(ip) => RData::AAAA(rdata::AAAA(ip)),
        };
        answer.add_answer(Record::from_rdata(owner.clone(), TTL, data));
    }
    Some(answer)
}

fn reply(message: &Message, code: ResponseCode) -> Message {
    let mut answer = Message::response(message.metadata.id, message.metadata.op_code);
    answer.metadata.response_code = code;
    answer.metadata.authoritative = true;
    answer.metadata.recursion_desired = message.metadata.recursion_desired;
    answer.metadata.recursion_available = true;
    answer.queries.clone_from(&message.queries);
    answer
}

/// Encodes an answer; one too long for a datagram is cut so that the client asks again over TCP.
pub(crate) fn encode(answer: &Message, transport: Transport) -> Option<Vec<u8>> {
    let bytes = answer.to_vec().ok()?;
    if transport == Transport::Udp && bytes.len() > PLAIN_UDP_SIZE {
        let mut short = answer.truncate();
        short.metadata.truncation = true;
        let bytes = short.to_vec().ok()?;
        if bytes.len() <= PLAIN_UDP_SIZE {
            return Some(bytes);
        }
        // Somebody asked more than fits; the header says that it was not answered.
        short.queries.clear();
        return short.to_vec().ok();
    }
    Some(bytes)
}

/// Asks the resolvers in order, inside the pod's network namespace.
async fn forward(
    pod: &Pod,
    settings: &Settings,
    query: &[u8],
    transport: Transport,
) -> Option<Vec<u8>> {
    for resolver in &settings.resolvers {
        let asked = async {
            match transport {
                Transport::Udp => forward_udp(pod, *resolver, query).await,
                Transport::Tcp => forward_tcp(pod, *resolver, query).await,
            }
        };
        match timeout(FORWARD_TIMEOUT, asked).await {
            Ok(Ok(answer)) => return Some(answer),
            Ok(Err(error)) => tracing::debug!(%resolver, %error, "dns forwarding failed"),
            Err(_) => tracing::debug!(%resolver, "dns forwarding timed out"),
        }
    }
    None
}

async fn forward_udp(pod: &Pod, resolver: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
    let any = match resolver {
        SocketAddr::V4(_) => SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0),
        SocketAddr::V6(_) => SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), 0),
    };
    let socket = UdpSocket::from_std(pod.netns.udp_at(any)?)?;
    socket.connect(resolver).await?;
    socket.send(query).await?;
    let mut answer = vec![0; MAX_MESSAGE];
    loop {
        let length = socket.recv(&mut answer).await?;
        // An answer carries the id of its question; anything else is somebody else's.
        if answer.get(..2) == query.get(..2) && length >= 2 {
            answer.truncate(length);
            return Ok(answer);
        }
    }
}

async fn forward_tcp(pod: &Pod, resolver: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = pod.netns.connect(resolver, None).await?;
    let length = u16::try_from(query.len()).map_err(io::Error::other)?;
    stream.write_all(&length.to_be_bytes()).await?;
    stream.write_all(query).await?;
    let mut answer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}
