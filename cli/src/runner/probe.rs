//! Probes: is a container's program up, well, and willing to serve? Asked from inside its pod.
//!
//! Source: Kubernetes API reference, Probe v1 core, and its defaults.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    os::fd::OwnedFd,
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use k8s_openapi::{
    api::core::v1::{HTTPGetAction, Probe as ApiProbe},
    apimachinery::pkg::util::intstr::IntOrString,
};
use nlink::netlink::namespace::{Netns, Overlay};
use tokio::{net::TcpStream, time::timeout};

use super::{pod::PodIdentity, process::Invocation};

/// How long a proxy may take to show one of its pages.
const PAGE_TIMEOUT: Duration = Duration::from_secs(5);

/// What is asked.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Question {
    Tcp(SocketAddr),
    Http {
        to: SocketAddr,
        host: String,
        path: String,
        headers: Vec<(String, String)>,
    },
    Exec(Vec<String>),
}

/// One probe of a container.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Probe {
    question: Question,
    /// How long after the start the first question comes.
    pub(super) initial_delay: Duration,
    /// How long between two questions.
    pub(super) period: Duration,
    timeout: Duration,
    /// How many answers in a row it takes to believe in success.
    pub(super) successes: u32,
    /// How many answers in a row it takes to believe in failure.
    pub(super) failures: u32,
}

impl Probe {
    /// The probe `api` of a container in `pod`; `None` for kinds that are not honoured.
    pub(super) fn of(api: &ApiProbe, pod: &PodIdentity) -> Option<Self> {
        let seconds = |value: Option<i32>, default: u64| {
            Duration::from_secs(
                value.map_or(default, |value| u64::try_from(value).unwrap_or(default)),
            )
        };
        let count = |value: Option<i32>, default: u32| {
            value
                .and_then(|value| value.try_into().ok())
                .unwrap_or(default)
        };
        let address = |host: Option<&str>, port: &IntOrString| {
            let ip = host
                .and_then(|host| host.parse::<Ipv4Addr>().ok())
                .unwrap_or(pod.ip);
            Some(SocketAddr::from((ip, port_number(port, pod)?)))
        };
        let question = match (&api.http_get, &api.tcp_socket, &api.exec) {
            (Some(http), ..) => {
                let to = address(http.host.as_deref(), &http.port)?;
                http_question(http, to)
            }
            (_, Some(tcp), _) => Question::Tcp(address(tcp.host.as_deref(), &tcp.port)?),
            (_, _, Some(exec)) => Question::Exec(exec.command.clone().unwrap_or_default()),
            (None, None, None) => return None,
        };
        Some(Self {
            question,
            initial_delay: seconds(api.initial_delay_seconds, 0),
            period: seconds(api.period_seconds, 10).max(Duration::from_secs(1)),
            timeout: seconds(api.timeout_seconds, 1).max(Duration::from_secs(1)),
            successes: count(api.success_threshold, 1).max(1),
            failures: count(api.failure_threshold, 3).max(1),
        })
    }

    /// Asks once. `Err` says why the answer was no.
    pub(super) async fn ask(&self, netns: &Netns, surroundings: &Invocation) -> Result<(), String> {
        let answer = async {
            match &self.question {
                Question::Tcp(to) => connect(netns, *to)
                    .await
                    .map(drop)
                    .map_err(|e| e.to_string()),
                Question::Http {
                    to,
                    host,
                    path,
                    headers,
                } => {
                    // Boxed: a container waits for long and is asked for moments.
                    Box::pin(http(netns, *to, (host, path), headers)).await
                }
                Question::Exec(words) => exec(netns, surroundings, words).await,
            }
        };
        timeout(self.timeout, answer)
            .await
            .unwrap_or_else(|_| Err(format!("no answer within {:?}", self.timeout)))
    }
}

fn http_question(http: &HTTPGetAction, to: SocketAddr) -> Question {
    // Certificates of probes are not verified in a cluster either: that it answers is enough.
    if http.scheme.as_deref() == Some("HTTPS") {
        return Question::Tcp(to);
    }
    let headers = http.http_headers.iter().flatten();
    let headers: Vec<_> = headers
        .map(|header| (header.name.clone(), header.value.clone()))
        .collect();
    let named = headers
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case("host"));
    Question::Http {
        to,
        host: named.map_or_else(|| to.to_string(), |(_, host)| host.clone()),
        path: http.path.clone().unwrap_or_else(|| "/".to_owned()),
        headers: headers
            .into_iter()
            .filter(|(name, _)| !name.eq_ignore_ascii_case("host"))
            .collect(),
    }
}

fn port_number(port: &IntOrString, pod: &PodIdentity) -> Option<u16> {
    match port {
        IntOrString::Int(number) => u16::try_from(*number).ok(),
        IntOrString::String(name) => pod
            .named_ports()
            .get(name)
            .copied()
            .or_else(|| name.parse().ok()),
    }
}

/// A connection from inside `netns`.
async fn connect(netns: &Netns, to: SocketAddr) -> io::Result<TcpStream> {
    let fd: OwnedFd = netns
        .socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_NONBLOCK, 0)
        .map_err(io::Error::other)?;
    tokio::net::TcpSocket::from_std_stream(fd.into())
        .connect(to)
        .await
}

async fn http(
    netns: &Netns,
    to: SocketAddr,
    (host, path): (&str, &str),
    headers: &[(String, String)],
) -> Result<(), String> {
    let failed = |e: &dyn std::fmt::Display| format!("http://{host}{path}: {e}");
    let mut request = Request::get(path).header(http::header::HOST, host);
    request = request
        .header(http::header::USER_AGENT, "kube-probe/1.36")
        .header(http::header::CONNECTION, "close");
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let request = request.body(Empty::new()).map_err(|e| failed(&e))?;
    // The head is all that is wanted; the rest is left unread.
    let read = async |answer: Response<Incoming>| answer.status().as_u16();
    match exchange(netns, to, request, read)
        .await
        .map_err(|e| failed(&e))?
    {
        200..400 => Ok(()),
        status => Err(failed(&format_args!("status {status}"))),
    }
}

/// The page at `path` of the server at `to`.
pub(super) async fn page(netns: &Netns, to: SocketAddr, path: &str) -> Result<Bytes, String> {
    let failed = |e: &dyn std::fmt::Display| format!("http://{to}{path}: {e}");
    let request = Request::get(path)
        .header(http::header::HOST, to.to_string())
        .header(http::header::CONNECTION, "close")
        .body(Empty::new())
        .map_err(|e| failed(&e))?;
    let read = async |answer: Response<Incoming>| (answer.status(), answer.collect().await);
    let (status, body) = timeout(PAGE_TIMEOUT, exchange(netns, to, request, read))
        .await
        .map_err(|e| failed(&e))?
        .map_err(|e| failed(&e))?;
    if status != StatusCode::OK {
        return Err(failed(&status));
    }
    Ok(body.map_err(|e| failed(&e))?.to_bytes())
}

/// Sends `request` on a connection of its own and lets `read` make of the answer what it will.
async fn exchange<T>(
    netns: &Netns,
    to: SocketAddr,
    request: Request<Empty<Bytes>>,
    read: impl AsyncFnOnce(Response<Incoming>) -> T,
) -> Result<T, ExchangeError> {
    let stream = connect(netns, to).await?;
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream));
    let (mut sender, connection) = handshake.await?;
    let answer = async { Ok(read(sender.send_request(request).await?).await) };
    tokio::pin!(answer, connection);
    tokio::select! {
        answer = &mut answer => answer,
        _ = &mut connection => answer.await,
    }
}

/// Why a server gave no answer.
#[derive(Debug, thiserror::Error)]
enum ExchangeError {
    #[error(transparent)]
    Connect(#[from] io::Error),
    #[error(transparent)]
    Http(#[from] hyper::Error),
}

async fn exec(netns: &Netns, surroundings: &Invocation, words: &[String]) -> Result<(), String> {
    let name = words.first().cloned().unwrap_or_default();
    let invocation = surroundings
        .with_words(words)
        .ok_or("no command is given")?;
    let command = netns
        .command(invocation.bare_command())
        .map_err(|e| e.to_string())?;
    let mut child = command
        .etc_overlay(Overlay::Strict)
        .spawn_tokio()
        .map_err(|e| format!("{name}: {e}"))?;
    // Dropped by a timeout, the child must not stay.
    let guard = KillOnDrop(child.id());
    let status = child.wait().await.map_err(|e| format!("{name}: {e}"))?;
    std::mem::forget(guard);
    if status.success() {
        Ok(())
    } else {
        Err(format!("{name}: {status}"))
    }
}

/// Ends the group of a probe's command that took too long.
struct KillOnDrop(Option<u32>);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            super::container::kill_group(pid);
        }
    }
}

#[cfg(test)]
mod tests;
