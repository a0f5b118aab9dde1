//! The server behind the proxies: it answers every request alike, at as little cost as possible.

use std::io;
use std::net::{Ipv6Addr, TcpListener, TcpStream};
use std::str;
use std::thread;

use anyhow::{Context, Result};

use super::cpu;
use super::http::Connection;

/// Where it listens.
pub(super) const PORT: u16 = 8080;
/// The path that is answered with bytes for as long as anybody reads.
pub(super) const BULK: &str = "/bulk";

/// The body of a small answer.
const BODY: [u8; 128] = [b'.'; 128];
/// How long the answer at [`BULK`] claims to be: more than any window carries.
const BULK_LENGTH: u64 = 1 << 50;
/// How much of it is written at a time.
const CHUNK: usize = 256 << 10;

/// Serves until it is ended.
pub(super) fn serve(cpu: Option<usize>, port: u16) -> Result<()> {
    cpu::pin(cpu)?;
    let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).context("listen")?;
    for stream in listener.incoming() {
        start(stream?)?;
    }
    Ok(())
}

/// A thread per connection: reading and writing are then the only calls a request costs.
fn start(stream: TcpStream) -> io::Result<()> {
    let thread = thread::Builder::new().name("connection".to_owned());
    // A client that breaks off is its own affair.
    thread.spawn(move || converse(stream).ok()).map(drop)
}

fn converse(stream: TcpStream) -> Result<()> {
    let mut connection = Connection::new(stream)?;
    let small = [head(BODY.len() as u64).as_bytes(), &BODY].concat();
    while let Some(is_bulk) = connection.head(|head| Ok(asks_for(head, BULK)))? {
        if is_bulk {
            connection.send(head(BULK_LENGTH).as_bytes())?;
            let chunk = vec![0; CHUNK];
            loop {
                connection.send(&chunk)?;
            }
        }
        connection.send(&small)?;
    }
    Ok(())
}

fn head(length: u64) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {length}\r\n\r\n")
}

fn asks_for(head: &[u8], path: &str) -> bool {
    str::from_utf8(head)
        .ok()
        .and_then(|text| text.split(' ').nth(1))
        .is_some_and(|asked| asked == path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_is_the_second_word() {
        assert!(asks_for(b"GET /bulk HTTP/1.1\r\nhost: a\r\n\r\n", BULK));
        assert!(!asks_for(b"GET / HTTP/1.1\r\nhost: /bulk\r\n\r\n", BULK));
    }
}
