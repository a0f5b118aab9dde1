//! What the tests of this crate share: a runtime with a watchdog, raw HTTP/2 frames, and bytes
//! that can be checked while they stream.

use std::future::Future;
use std::time::Duration;

use http::{HeaderMap, Method, Request};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream};
use tokio::task::{JoinHandle, LocalSet};
use tokio::time::{Instant, timeout};

use crate::client::{self, ConnectRequest};
use crate::settings::Settings;
use crate::{Tunnel, server};

/// The client's half of the HTTP/2 connection preface (RFC 9113 §3.4).
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Runs a test that may use [`spawn`], and fails it when it hangs.
pub(crate) fn run<T>(test: impl Future<Output = T>) -> T {
    run_until(Duration::from_mins(1), false, test)
}

/// As [`run`], on a clock that jumps to the next timer whenever nothing else is to be done.
pub(crate) fn run_paused<T>(test: impl Future<Output = T>) -> T {
    run_until(Duration::from_hours(24), true, test)
}

fn run_until<T>(watchdog: Duration, paused: bool, test: impl Future<Output = T>) -> T {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().start_paused(paused).build().unwrap();
    let guarded = async { timeout(watchdog, test).await.expect("test hangs") };
    LocalSet::new().block_on(&runtime, guarded)
}

/// Runs a future in the background of the test.
#[expect(
    clippy::disallowed_methods,
    reason = "a test owns its tasks by its LocalSet"
)]
pub(crate) fn spawn<T: 'static>(task: impl Future<Output = T> + 'static) -> JoinHandle<T> {
    tokio::task::spawn_local(task)
}

/// A deadline that does not matter to the test.
pub(crate) fn later() -> Instant {
    Instant::now() + Duration::from_hours(1)
}

pub(crate) fn connect_to(authority: &str) -> ConnectRequest {
    ConnectRequest {
        authority: authority.parse().unwrap(),
        headers: HeaderMap::new(),
    }
}

/// A CONNECT as a plain h2 client sends it.
pub(crate) fn plain_connect(authority: &str) -> Request<()> {
    let request = Request::builder().method(Method::CONNECT).uri(authority);
    request.body(()).unwrap()
}

/// A transport that holds `capacity` bytes each way.
pub(crate) fn transport(capacity: usize) -> (DuplexStream, DuplexStream) {
    tokio::io::duplex(capacity)
}

/// Makes one tunnel over `transport`: our client on the left, our server on the right.
pub(crate) async fn tunnel_pair(settings: &Settings) -> (Tunnel, Tunnel) {
    let (near, far) = transport(1 << 16);
    let (client, driver) = client::Connection::handshake(near, settings).await.unwrap();
    spawn(driver);
    let settings = settings.clone();
    let accepted = spawn(async move {
        let mut connection = server::accept(far, &settings).await.unwrap();
        let connect = connection.next().await.unwrap().unwrap();
        let tunnel = connect.accept(HeaderMap::new()).unwrap();
        spawn(async move { while connection.next().await.is_some() {} });
        tunnel
    });
    let opened = client
        .open(&connect_to("10.0.0.1:80"), later())
        .await
        .unwrap();
    (opened.tunnel, accepted.await.unwrap())
}

/// One HTTP/2 frame (RFC 9113 §4.1).
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    pub(crate) const DATA: u8 = 0;
    pub(crate) const HEADERS: u8 = 1;
    pub(crate) const SETTINGS: u8 = 4;
    pub(crate) const PING: u8 = 6;
    pub(crate) const GOAWAY: u8 = 7;
    pub(crate) const WINDOW_UPDATE: u8 = 8;

    pub(crate) async fn read(io: &mut (impl AsyncRead + Unpin)) -> std::io::Result<Self> {
        let mut head = [0; 9];
        io.read_exact(&mut head).await?;
        let len = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; len as usize];
        io.read_exact(&mut payload).await?;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        Ok(Self {
            kind: head[3],
            flags: head[4],
            stream,
            payload,
        })
    }

    pub(crate) async fn write(&self, io: &mut (impl AsyncWrite + Unpin)) {
        let mut bytes = u32::try_from(self.payload.len()).unwrap().to_be_bytes()[1..].to_vec();
        bytes.extend([self.kind, self.flags]);
        bytes.extend(self.stream.to_be_bytes());
        bytes.extend(&self.payload);
        io.write_all(&bytes).await.unwrap();
    }

    /// SETTINGS as (identifier, value) pairs, in the order sent.
    pub(crate) fn settings(&self) -> Vec<(u16, u32)> {
        assert_eq!((self.kind, self.flags, self.stream), (Self::SETTINGS, 0, 0));
        let entries = self.payload.chunks(6);
        entries
            .map(|e| {
                let id = u16::from_be_bytes([e[0], e[1]]);
                (id, u32::from_be_bytes([e[2], e[3], e[4], e[5]]))
            })
            .collect()
    }

    /// The number that is the whole payload of `WINDOW_UPDATE` and `RST_STREAM`.
    pub(crate) fn number(&self) -> u32 {
        u32::from_be_bytes(self.payload[..].try_into().unwrap())
    }

    pub(crate) fn empty_settings(flags: u8) -> Self {
        Self {
            kind: Self::SETTINGS,
            flags,
            stream: 0,
            payload: Vec::new(),
        }
    }
}

/// Byte `i` of the test stream; its period is far longer than any buffer.
pub(crate) fn pattern(i: u64) -> u8 {
    (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8
}

/// The test stream from `start` on.
pub(crate) fn pattern_bytes(start: u64, len: usize) -> Vec<u8> {
    (start..start + len as u64).map(pattern).collect()
}

/// Writes `total` bytes of the test stream and shuts down.
pub(crate) async fn write_pattern(mut io: impl AsyncWrite + Unpin, total: u64) {
    let mut at = 0;
    while at < total {
        let n = usize::try_from((total - at).min(50_000)).unwrap();
        io.write_all(&pattern_bytes(at, n)).await.unwrap();
        at += n as u64;
    }
    io.shutdown().await.unwrap();
}

/// Reads to the end, checks every byte, and returns how many there were.
pub(crate) async fn check_pattern(mut io: impl AsyncRead + Unpin) -> u64 {
    let mut at = 0;
    let mut buf = vec![0; 30_000];
    loop {
        let n = io.read(&mut buf).await.unwrap();
        if n == 0 {
            return at;
        }
        for byte in &buf[..n] {
            assert_eq!(*byte, pattern(at), "byte {at}");
            at += 1;
        }
    }
}
