//! As much HTTP/1.1 as generator and server need, over blocking sockets: they must cost little.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::str;

use anyhow::{Context, Result, bail, ensure};

/// The most bytes a head may have.
const HEAD_MAX: usize = 16 << 10;
/// The end of a head.
const END: &[u8] = b"\r\n\r\n";

/// One side of a kept-alive connection.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// How much of the buffer holds what was read.
    filled: usize,
}

/// What a response's head says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Head {
    /// Its status.
    pub(super) status: u16,
    /// The length of its body.
    pub(super) length: u64,
}

impl Connection {
    /// Takes over a connected socket.
    pub(super) fn new(stream: TcpStream) -> Result<Self> {
        // Small messages must not wait for acknowledgements.
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            buffer: vec![0; HEAD_MAX],
            filled: 0,
        })
    }

    /// Sends it all.
    pub(super) fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes).context("send")
    }

    /// Reads to the end of a head and gives it to `look`, with how many bytes of what comes next
    /// are here. `None` when the peer has closed instead.
    pub(super) fn head<T>(&mut self, look: impl FnOnce(&[u8]) -> Result<T>) -> Result<Option<T>> {
        loop {
            let seen = self.buffer.get(..self.filled).unwrap_or_default();
            if let Some(end) = head_end(seen) {
                let looked = look(seen.get(..end).unwrap_or_default())?;
                self.buffer.copy_within(end..self.filled, 0);
                self.filled -= end;
                return Ok(Some(looked));
            }
            let free = self.buffer.get_mut(self.filled..).unwrap_or_default();
            ensure!(!free.is_empty(), "a head of more than {HEAD_MAX} bytes");
            let read = self.stream.read(free).context("receive")?;
            if read == 0 {
                ensure!(self.filled == 0, "the peer closed inside a head");
                return Ok(None);
            }
            self.filled += read;
        }
    }

    /// Reads a body to its end, telling `seen` how much came.
    pub(super) fn body(
        &mut self,
        length: u64,
        into: &mut [u8],
        mut seen: impl FnMut(usize) -> bool,
    ) -> Result<()> {
        let here = usize::try_from(length).map_or(self.filled, |length| length.min(self.filled));
        self.buffer.copy_within(here..self.filled, 0);
        self.filled -= here;
        let mut left = length - here as u64;
        let mut go_on = seen(here);
        while left > 0 && go_on {
            let most = usize::try_from(left).map_or(into.len(), |left| left.min(into.len()));
            let read = self
                .stream
                .read(into.get_mut(..most).unwrap_or_default())
                .context("receive")?;
            ensure!(read > 0, "the peer closed inside a body");
            left -= read as u64;
            go_on = seen(read);
        }
        Ok(())
    }
}

/// Where the head at the beginning of `bytes` ends, if it does.
pub(super) fn head_end(bytes: &[u8]) -> Option<usize> {
    let at = bytes.windows(END.len()).position(|bytes| bytes == END)?;
    Some(at + END.len())
}

/// Understands a response's head, whose header named `expected` must be there.
pub(super) fn response(head: &[u8], expected: Option<&str>) -> Result<Head> {
    let (line, length) = message(head, expected)?;
    let status = line
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.get(..3)?.parse().ok());
    match (status, length) {
        (Some(status), Some(length)) => Ok(Head { status, length }),
        _ => bail!(
            "neither status nor length: {}",
            String::from_utf8_lossy(head)
        ),
    }
}

/// The length of a request's body, whose header named `expected` must be there.
pub(super) fn request(head: &[u8], expected: Option<&str>) -> Result<u64> {
    let (_, length) = message(head, expected)?;
    Ok(length.unwrap_or(0))
}

/// The first line of a head, and the length of what follows it, if it is told.
fn message<'a>(head: &'a [u8], expected: Option<&str>) -> Result<(&'a str, Option<u64>)> {
    let text = str::from_utf8(head).context("a head that is no text")?;
    let mut lines = text.split("\r\n");
    let first = lines.next().unwrap_or_default();
    let mut length = None;
    let mut found = expected.is_none();
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        if name.eq_ignore_ascii_case("content-length") {
            length = Some(value.trim().parse().with_context(|| text.to_owned())?);
        }
        // A body in chunks has no length that could be known here.
        ensure!(!name.eq_ignore_ascii_case("transfer-encoding"), "{text}");
        found |= expected.is_some_and(|expected| name.eq_ignore_ascii_case(expected));
    }
    if !found {
        bail!("no header {}: {text}", expected.unwrap_or_default());
    }
    Ok((first, length))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-length: 128\r\nx-bench: yes\r\n\r\n";

    #[test]
    fn status_and_length_are_found() {
        let head = Head {
            status: 200,
            length: 128,
        };
        assert_eq!(response(OK, None).unwrap(), head);
        assert!(response(b"HTTP/1.1 200 OK\r\n\r\n", None).is_err());
    }

    #[test]
    fn an_answer_the_filter_did_not_see_is_an_error() {
        assert!(response(OK, Some("X-Bench")).is_ok());
        assert!(response(OK, Some("x-other")).is_err());
    }

    #[test]
    fn a_request_without_a_length_has_no_body() {
        let length = |head: &str| request(head.as_bytes(), None);
        assert_eq!(length("GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap(), 0);
        let post = "POST / HTTP/1.1\r\nContent-Length: 4096\r\n\r\n";
        assert_eq!(length(post).unwrap(), 4096);
        assert!(request(post.as_bytes(), Some("x-bench-request")).is_err());
    }

    #[test]
    fn a_body_whose_end_cannot_be_told_is_an_error() {
        let chunks = b"HTTP/1.1 200 OK\r\nTransfer-encoding: chunked\r\n\r\n";
        assert!(response(chunks, None).is_err());
        let strange = b"POST / HTTP/1.1\r\ncontent-length: many\r\n\r\n";
        assert!(request(strange, None).is_err());
    }

    #[test]
    fn what_follows_a_head_is_kept() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut connection = Connection::new(listener.accept().unwrap().0).unwrap();
        peer.write_all(b"A\r\n\r\nbodyB\r\n\r\n").unwrap();
        drop(peer);
        let next = |connection: &mut Connection| {
            connection.head(|head| Ok(head.first().copied())).unwrap()
        };
        assert_eq!(next(&mut connection), Some(Some(b'A')));
        let mut seen = 0;
        let count = |bytes| {
            seen += bytes;
            true
        };
        connection.body(4, &mut [0; 16], count).unwrap();
        assert_eq!(seen, 4);
        assert_eq!(next(&mut connection), Some(Some(b'B')));
        assert_eq!(next(&mut connection), None);
    }
}
