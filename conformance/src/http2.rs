//! An HTTP/2 connection seen from one end: what the peer sent, frame by frame. Recordings were
//! made that way, and the crates that speak HTTP/2 do not show it.

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What a client begins with (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const ACK: u8 = 0x1;
const END_STREAM: u8 = 0x1;

/// Something the peer sent.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Event {
    /// SETTINGS, by number; acknowledgements are left out.
    Settings(BTreeMap<u16, u32>),
    /// `WINDOW_UPDATE`.
    Window {
        /// The stream, 0 for the connection.
        stream: u32,
        /// By how much.
        delta: u32,
    },
    /// HEADERS.
    Headers {
        /// The stream.
        stream: u32,
    },
    /// DATA.
    Data {
        /// The stream.
        stream: u32,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// Nothing more will come on a stream.
    Ended {
        /// The stream.
        stream: u32,
    },
    /// `RST_STREAM`.
    Reset {
        /// The stream.
        stream: u32,
        /// Why.
        code: u32,
    },
    /// GOAWAY.
    GoAway {
        /// Why.
        code: u32,
    },
}

/// A byte stream that keeps what is read from it.
#[derive(Debug)]
pub struct Tap<Io> {
    io: Io,
    heard: Heard,
}

/// What was read so far. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Heard(Arc<Mutex<Vec<u8>>>);

impl<Io> Tap<Io> {
    /// Listens in on `io`.
    pub fn new(io: Io) -> (Self, Heard) {
        let heard = Heard::default();
        let tap = Self {
            io,
            heard: heard.clone(),
        };
        (tap, heard)
    }
}

impl Heard {
    /// What the peer sent so far, in order. A frame that is not complete is not shown.
    pub fn events(&self) -> Vec<Event> {
        let heard = self.0.lock();
        let mut rest = heard.strip_prefix(PREFACE).unwrap_or(&heard);
        let mut events = vec![];
        while let Some((head, after)) = rest.split_first_chunk::<9>() {
            let [a, b, c, kind, flags, stream @ ..] = *head;
            let length = u32::from_be_bytes([0, a, b, c]) as usize;
            let Some((payload, after)) = after.split_at_checked(length) else {
                break;
            };
            let stream = u32::from_be_bytes(stream) & 0x7fff_ffff;
            frame(kind, flags, stream, payload, &mut events);
            rest = after;
        }
        events
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8], events: &mut Vec<Event>) {
    match kind {
        0 => events.push(Event::Data {
            stream,
            bytes: payload.to_vec(),
        }),
        1 => events.push(Event::Headers { stream }),
        3 => events.push(Event::Reset {
            stream,
            code: number(payload),
        }),
        4 if flags & ACK == 0 => {
            let entries = payload.chunks_exact(6).map(|entry| {
                let (id, value) = entry.split_at(2);
                let id = u16::try_from(number(id)).unwrap_or_default();
                (id, number(value))
            });
            events.push(Event::Settings(entries.collect()));
        }
        7 => events.push(Event::GoAway {
            code: number(payload.get(4..8).unwrap_or_default()),
        }),
        8 => events.push(Event::Window {
            stream,
            delta: number(payload) & 0x7fff_ffff,
        }),
        _ => {}
    }
    if matches!(kind, 0 | 1) && flags & END_STREAM != 0 {
        events.push(Event::Ended { stream });
    }
}

fn number(bytes: &[u8]) -> u32 {
    bytes
        .iter()
        .fold(0, |number, byte| number << 8 | u32::from(*byte))
}

impl<Io: AsyncRead + Unpin> AsyncRead for Tap<Io> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        let new = buf.filled().get(before..).unwrap_or_default();
        self.heard.0.lock().extend_from_slice(new);
        Poll::Ready(Ok(()))
    }
}

impl<Io: AsyncWrite + Unpin> AsyncWrite for Tap<Io> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
