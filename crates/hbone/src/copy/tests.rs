use std::cell::Cell;
use std::future::poll_fn;
use std::io::ErrorKind;
use std::rc::Rc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::Tunnel;
use crate::settings::Settings;
use crate::testing::{
    check_pattern, pattern_bytes, run, spawn, transport, tunnel_pair, write_pattern,
};

async fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let connect = TcpStream::connect(listener.local_addr().unwrap());
    let (near, accepted) = tokio::join!(connect, listener.accept());
    (near.unwrap(), accepted.unwrap().0)
}

#[derive(Clone, Default)]
struct Count(Rc<(Cell<u64>, Cell<u64>)>);

impl Counters for Count {
    fn a_to_b(&self, bytes: u64) {
        self.0.0.set(self.0.0.get() + bytes);
    }

    fn b_to_a(&self, bytes: u64) {
        self.0.1.set(self.0.1.get() + bytes);
    }
}

/// Client socket, tunnel, server socket, as between two ztunnels; both copies run.
struct Chain {
    client: TcpStream,
    server: TcpStream,
    near: tokio::task::JoinHandle<Copied>,
    far: tokio::task::JoinHandle<Copied>,
    count: Count,
}

async fn chain(settings: &Settings) -> Chain {
    let (client, captured) = tcp_pair().await;
    let (dialled, server) = tcp_pair().await;
    let (near, far) = tunnel_pair(settings).await;
    let count = Count::default();
    Chain {
        client,
        server,
        near: spawn(bidirectional(captured, near, count.clone())),
        far: spawn(bidirectional(far, dialled, ())),
        count,
    }
}

#[test]
fn bulk_passes_both_ways_and_is_counted() {
    run(async {
        const THERE: u64 = 24 << 20;
        const BACK: u64 = 11 << 20;
        let chain = chain(&Settings::default()).await;
        let (client_recv, client_send) = chain.client.into_split();
        let (server_recv, server_send) = chain.server.into_split();
        spawn(write_pattern(client_send, THERE));
        spawn(write_pattern(server_send, BACK));
        let there = spawn(check_pattern(server_recv));
        assert_eq!(check_pattern(client_recv).await, BACK);
        assert_eq!(there.await.unwrap(), THERE);
        for copied in [chain.near.await.unwrap(), chain.far.await.unwrap()] {
            assert_eq!((copied.a_to_b, copied.b_to_a), (THERE, BACK));
            assert!(copied.failure.is_none(), "{:?}", copied.failure);
        }
        assert_eq!(
            (chain.count.0.0.get(), chain.count.0.1.get()),
            (THERE, BACK)
        );
    });
}

#[test]
fn counters_are_live() {
    run(async {
        let mut chain = chain(&Settings::default()).await;
        chain.client.write_all(b"hello").await.unwrap();
        chain.server.read_exact(&mut [0; 5]).await.unwrap();
        assert_eq!((chain.count.0.0.get(), chain.count.0.1.get()), (5, 0));
        chain.server.write_all(b"hi").await.unwrap();
        chain.client.read_exact(&mut [0; 2]).await.unwrap();
        assert_eq!((chain.count.0.0.get(), chain.count.0.1.get()), (5, 2));
    });
}

#[test]
fn half_close_passes_through_in_either_direction() {
    run(async {
        for client_first in [true, false] {
            let chain = chain(&Settings::default()).await;
            let (mut first, mut second) = (chain.client, chain.server);
            if !client_first {
                std::mem::swap(&mut first, &mut second);
            }
            first.write_all(b"question").await.unwrap();
            first.shutdown().await.unwrap();
            let mut text = String::new();
            second.read_to_string(&mut text).await.unwrap();
            assert_eq!(text, "question");
            second.write_all(b"answer").await.unwrap();
            second.shutdown().await.unwrap();
            text.clear();
            first.read_to_string(&mut text).await.unwrap();
            assert_eq!(text, "answer");
            assert!(chain.near.await.unwrap().failure.is_none());
            assert!(chain.far.await.unwrap().failure.is_none());
        }
    });
}

#[test]
fn a_reset_arrives_as_a_reset_at_the_other_end() {
    run(async {
        for from_client in [true, false] {
            let chain = chain(&Settings::default()).await;
            let (mut dying, mut other) = (chain.client, chain.server);
            if !from_client {
                std::mem::swap(&mut dying, &mut other);
            }
            dying.write_all(b"half of").await.unwrap();
            other.read_exact(&mut [0; 7]).await.unwrap();
            dying.set_zero_linger().unwrap();
            drop(dying);
            let error = other.read_to_end(&mut Vec::new()).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
            let near = chain.near.await.unwrap().failure.unwrap();
            let far = chain.far.await.unwrap().failure.unwrap();
            let expected = if from_client { Which::A } else { Which::B };
            for failure in [near, far] {
                assert_eq!(
                    (failure.side, failure.operation),
                    (expected, Operation::Read)
                );
                assert_eq!(failure.error.kind(), ErrorKind::ConnectionReset);
            }
        }
    });
}

#[test]
fn dropping_a_copy_lets_no_peer_believe_in_a_clean_end() {
    run(async {
        let (mut client, captured) = tcp_pair().await;
        let (near, mut far) = tunnel_pair(&Settings::default()).await;
        let copy = spawn(bidirectional(captured, near, ()));
        client.write_all(b"x").await.unwrap();
        far.read_exact(&mut [0; 1]).await.unwrap();
        copy.abort();
        let error = client.read_to_end(&mut Vec::new()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        let error = far.read_to_end(&mut Vec::new()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    });
}

#[test]
fn what_a_peer_said_before_it_stopped_listening_is_delivered() {
    run(async {
        let (client, captured) = tcp_pair().await;
        let (near, far) = tunnel_pair(&Settings::default()).await;
        let copy = spawn(bidirectional(captured, near, ()));
        // Answers in full and goes away without reading: END_STREAM, then RST_STREAM(NO_ERROR).
        write_pattern(far, 300_000).await;
        assert_eq!(check_pattern(client).await, 300_000);
        let copied = copy.await.unwrap();
        let failure = copied.failure.unwrap();
        assert_eq!(
            (failure.side, failure.operation),
            (Which::B, Operation::Write)
        );
        assert_eq!((copied.a_to_b, copied.b_to_a), (0, 300_000));
    });
}

#[test]
fn a_reset_reaches_a_client_that_is_silent_after_its_half_close_was_answered() {
    run(async {
        let (client, captured) = tcp_pair().await;
        let (near, mut far) = tunnel_pair(&Settings::default()).await;
        let copy = spawn(bidirectional(captured, near, ()));
        far.shutdown().await.unwrap();
        let (mut recv, _send) = client.into_split();
        assert_eq!(recv.read(&mut [0; 1]).await.unwrap(), 0);
        assert!(!copy.is_finished(), "the other direction is open");
        far.split().1.reset(h2::Reason::CANCEL);
        assert_eq!(copy.await.unwrap().failure.unwrap().side, Which::B);
    });
}

#[test]
fn a_stalled_receiver_stops_the_sender_at_a_bounded_number_of_bytes() {
    run(async {
        let settings = Settings {
            stream_window: 64 << 10,
            connection_window: 256 << 10,
            client_send_buffer: 64 << 10,
            ..Settings::default()
        };
        let (mut client, captured) = transport(16 << 10);
        let (near, far) = tunnel_pair(&settings).await;
        let count = Count::default();
        spawn(bidirectional(Io(captured), near, count.clone()));
        let (mut sent, mut quiet, block) = (0, 0, [1; 4096]);
        while quiet < 100 {
            let write = tokio::time::timeout(std::time::Duration::ZERO, client.write(&block));
            match write.await {
                Ok(n) => (sent, quiet) = (sent + n.unwrap(), 0),
                Err(_) => quiet += 1,
            }
        }
        let bound = (64 << 10) + (64 << 10) + (16 << 10) + buffer::LARGE;
        assert!(sent <= bound, "{sent} bytes left the client");
        drop(far);
    });
}

#[test]
fn any_stream_can_be_a_side() {
    run(async {
        let (mut client, a) = transport(1 << 10);
        let (b, mut server) = transport(1 << 10);
        let copy = spawn(bidirectional(Io(a), Io(b), ()));
        client.write_all(b"there").await.unwrap();
        client.shutdown().await.unwrap();
        server.write_all(b"back").await.unwrap();
        server.shutdown().await.unwrap();
        let (mut there, mut back) = (String::new(), String::new());
        server.read_to_string(&mut there).await.unwrap();
        client.read_to_string(&mut back).await.unwrap();
        assert_eq!((there.as_str(), back.as_str()), ("there", "back"));
        let copied = copy.await.unwrap();
        assert_eq!((copied.a_to_b, copied.b_to_a), (5, 4));
    });
}

#[test]
fn what_is_written_is_flushed_when_the_source_pauses() {
    run(async {
        let (mut client, a) = transport(1 << 10);
        let (b, mut server) = transport(1 << 10);
        spawn(bidirectional(Io(a), Io(tokio::io::BufWriter::new(b)), ()));
        client.write_all(b"no newline, no end").await.unwrap();
        let mut read = [0; 18];
        server.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"no newline, no end");
    });
}

#[test]
fn two_tunnels_can_be_joined() {
    run(async {
        let (client, a) = tunnel_pair(&Settings::default()).await;
        let (b, other) = tunnel_pair(&Settings::default()).await;
        spawn(bidirectional(a, b, ()));
        let (_recv, send) = client.into_split();
        spawn(write_pattern(send, 5 << 20));
        assert_eq!(check_pattern(other).await, 5 << 20);
    });
}

#[test]
fn buffers_grow_with_the_stream_and_vanish_when_it_pauses() {
    run(async {
        let (mut far, mut near) = transport(1 << 20);
        far.write_all(&pattern_bytes(0, 900_000)).await.unwrap();
        let mut read = 0;
        let steps = [
            (0, buffer::SMALL),
            (128 << 10, buffer::MEDIUM),
            (10 << 20, buffer::LARGE),
        ];
        for (moved, expected) in steps {
            let mut buffer = Buffer::default();
            buffer.record(moved);
            let chunk = poll_fn(|cx| buffer.poll_fill(cx, &mut near))
                .await
                .unwrap()
                .unwrap();
            assert_eq!(chunk.len(), expected);
            assert!(chunk == pattern_bytes(read, expected));
            read += expected as u64;
        }
        let mut rest = Vec::new();
        drop(far);
        near.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest.len() as u64 + read, 900_000);

        let (_far, mut idle) = transport(1 << 10);
        let mut buffer = Buffer::default();
        let read = poll_fn(|cx| Poll::Ready(buffer.poll_fill(cx, &mut idle))).await;
        assert!(read.is_pending());
        assert_eq!(buffer.capacity(), 0);
    });
}

#[test]
fn futures_stay_small() {
    let socket = size_of::<Bidirectional<TcpStream, Tunnel, &'static ()>>();
    assert!(socket <= 512, "socket to tunnel is {socket} bytes");
    let tunnel = size_of::<Bidirectional<Tunnel, Tunnel, &'static ()>>();
    assert!(tunnel <= 512, "tunnel to tunnel is {tunnel} bytes");
}
