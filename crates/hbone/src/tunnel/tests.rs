use std::future::poll_fn;
use std::io::{ErrorKind, IoSlice};

use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

use super::*;
use crate::client;
use crate::settings::Settings;
use crate::testing::{
    Frame, PREFACE, check_pattern, connect_to, later, pattern_bytes, run, spawn, transport,
    tunnel_pair, write_pattern,
};

fn small_windows() -> Settings {
    Settings {
        stream_window: 64 << 10,
        connection_window: 128 << 10,
        client_send_buffer: 64 << 10,
        server_send_buffer: 64 << 10,
        ..Settings::default()
    }
}

#[test]
fn half_close_ends_one_direction_only() {
    run(async {
        let (mut near, mut far) = tunnel_pair(&Settings::default()).await;
        near.write_all(b"question").await.unwrap();
        near.shutdown().await.unwrap();
        let mut question = String::new();
        far.read_to_string(&mut question).await.unwrap();
        assert_eq!(question, "question");
        far.write_all(b"answer").await.unwrap();
        far.shutdown().await.unwrap();
        let mut answer = String::new();
        near.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer, "answer");
    });
}

#[test]
fn the_server_may_end_first() {
    run(async {
        let (mut near, mut far) = tunnel_pair(&Settings::default()).await;
        far.write_all(b"banner").await.unwrap();
        far.shutdown().await.unwrap();
        let mut banner = String::new();
        near.read_to_string(&mut banner).await.unwrap();
        near.write_all(b"late").await.unwrap();
        near.shutdown().await.unwrap();
        let mut late = String::new();
        far.read_to_string(&mut late).await.unwrap();
        assert_eq!((banner.as_str(), late.as_str()), ("banner", "late"));
    });
}

#[test]
fn bulk_passes_both_ways_at_once_through_small_windows() {
    run(async {
        const TOTAL: u64 = 12 << 20;
        let (near, far) = tunnel_pair(&small_windows()).await;
        let ((near_recv, near_send), (far_recv, far_send)) = (near.into_split(), far.into_split());
        spawn(write_pattern(near_send, TOTAL));
        spawn(write_pattern(far_send, TOTAL));
        let there = spawn(check_pattern(far_recv));
        assert_eq!(check_pattern(near_recv).await, TOTAL);
        assert_eq!(there.await.unwrap(), TOTAL);
    });
}

#[test]
fn reading_byte_by_byte_never_stalls_at_the_window() {
    run(async {
        let total = 3 * u64::from(small_windows().stream_window);
        let (near, far) = tunnel_pair(&small_windows()).await;
        let (_recv, send) = near.into_split();
        spawn(write_pattern(send, total));
        let mut reader = far;
        for i in 0..total {
            assert_eq!(reader.read_u8().await.unwrap(), pattern_bytes(i, 1)[0]);
        }
        assert_eq!(reader.read(&mut [0; 1]).await.unwrap(), 0);
    });
}

#[test]
fn a_stalled_reader_stops_its_peer_at_a_bounded_number_of_bytes() {
    run(async {
        let settings = small_windows();
        let (near, far) = tunnel_pair(&settings).await;
        let (_near_recv, mut send) = near.into_split();
        let (mut recv, _far_send) = far.into_split();
        let mut accepted = 0;
        // Everything that can move has moved when the writer is pending and a full turn of all
        // other tasks changed nothing.
        let mut quiet = 0;
        while quiet < 100 {
            let mut chunk = Bytes::from(vec![7; 10_000]);
            match poll_fn(|cx| Poll::Ready(send.poll_send(cx, &mut chunk))).await {
                Poll::Ready(n) => (accepted, quiet) = (accepted + n.unwrap(), 0),
                Poll::Pending => quiet += 1,
            }
            tokio::task::yield_now().await;
        }
        let bound = settings.stream_window as usize + settings.client_send_buffer;
        assert!(
            (64 << 10..=bound).contains(&accepted),
            "{accepted} bytes left the writer"
        );

        let first = poll_fn(|cx| recv.poll_data(cx)).await.unwrap().unwrap();
        let mut read = first.len();
        while read < accepted {
            read += poll_fn(|cx| recv.poll_data(cx))
                .await
                .unwrap()
                .unwrap()
                .len();
        }
        let mut more = Bytes::from_static(b"goes on");
        assert_eq!(
            poll_fn(|cx| send.poll_send(cx, &mut more)).await.unwrap(),
            7
        );
    });
}

/// Opens a tunnel to a peer made of raw frames, with windows that never fill.
async fn raw_peer() -> (Tunnel, DuplexStream) {
    let (io, mut peer) = transport(4 << 20);
    let settings = Settings::default();
    let (client, driver) = client::Connection::handshake(io, &settings).await.unwrap();
    spawn(driver);
    let opened = spawn(async move { client.open(&connect_to("10.0.0.1:80"), later()).await });
    peer.read_exact(&mut [0; PREFACE.len()]).await.unwrap();
    // An answer before the question would be a protocol error.
    while Frame::read(&mut peer).await.unwrap().kind != Frame::HEADERS {}
    let mut entries = Vec::new();
    for (id, value) in [(4u16, (1u32 << 31) - 1), (5, 1 << 20)] {
        entries.extend(id.to_be_bytes());
        entries.extend(value.to_be_bytes());
    }
    let mut settings = Frame::empty_settings(0);
    settings.payload = entries;
    settings.write(&mut peer).await;
    let window = Frame {
        kind: Frame::WINDOW_UPDATE,
        flags: 0,
        stream: 0,
        payload: (1u32 << 30).to_be_bytes().to_vec(),
    };
    window.write(&mut peer).await;
    // HEADERS with END_HEADERS; 0x88 is `:status: 200` (RFC 7541 appendix A).
    let answer = Frame {
        kind: Frame::HEADERS,
        flags: 4,
        stream: 1,
        payload: vec![0x88],
    };
    answer.write(&mut peer).await;
    (opened.await.unwrap().unwrap().tunnel, peer)
}

async fn next_data(peer: &mut DuplexStream) -> Frame {
    loop {
        let frame = Frame::read(peer).await.unwrap();
        if frame.kind == Frame::DATA {
            return frame;
        }
    }
}

#[test]
fn frames_stay_small_although_the_peer_allows_large_ones() {
    run(async {
        const TOTAL: usize = 1 << 20;
        let (mut tunnel, mut peer) = raw_peer().await;
        let mut data = Bytes::from(pattern_bytes(0, TOTAL));
        let mut received = Vec::new();
        while !data.is_empty() {
            poll_fn(|cx| tunnel.split().1.poll_send(cx, &mut data))
                .await
                .unwrap();
        }
        while received.len() < TOTAL {
            let frame = next_data(&mut peer).await;
            assert!(
                frame.payload.len() <= MAX_SEND_FRAME,
                "{}",
                frame.payload.len()
            );
            received.extend(frame.payload);
        }
        assert!(received == pattern_bytes(0, TOTAL));
    });
}

#[test]
fn a_vectored_write_is_one_frame() {
    run(async {
        let (mut tunnel, mut peer) = raw_peer().await;
        assert!(tunnel.is_write_vectored());
        let parts = [
            IoSlice::new(b"head "),
            IoSlice::new(b""),
            IoSlice::new(b"body"),
        ];
        assert_eq!(tunnel.write_vectored(&parts).await.unwrap(), 9);
        assert_eq!(next_data(&mut peer).await.payload, b"head body");
    });
}

#[test]
fn empty_frames_are_neither_bytes_nor_the_end() {
    run(async {
        let (mut tunnel, mut peer) = raw_peer().await;
        let data = |payload: &[u8], flags| Frame {
            kind: Frame::DATA,
            flags,
            stream: 1,
            payload: payload.to_vec(),
        };
        data(b"", 0).write(&mut peer).await;
        data(b"x", 0).write(&mut peer).await;
        data(b"", 1).write(&mut peer).await;
        let mut read = Vec::new();
        tunnel.read_to_end(&mut read).await.unwrap();
        assert_eq!(read, b"x");
    });
}

#[test]
fn dropping_an_unfinished_tunnel_resets_it() {
    run(async {
        let (mut near, mut far) = tunnel_pair(&Settings::default()).await;
        far.write_all(b"half of a mess").await.unwrap();
        drop(far);
        let error = near.read_to_end(&mut Vec::new()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        let error = near.write_all(b"anyone?").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    });
}

#[test]
fn a_reset_reaches_a_writer_that_waits_for_room_and_one_that_has_nothing_to_say() {
    run(async {
        let (near, far) = tunnel_pair(&small_windows()).await;
        let (_recv, mut send) = near.into_split();
        let blocked = spawn(async move {
            let mut data = Bytes::from(vec![0; 1 << 20]);
            loop {
                if let Err(error) = poll_fn(|cx| send.poll_send(cx, &mut data)).await {
                    return error.kind();
                }
            }
        });
        tokio::task::yield_now().await;
        drop(far);
        assert_eq!(blocked.await.unwrap(), ErrorKind::ConnectionReset);

        let (mut near, far) = tunnel_pair(&Settings::default()).await;
        drop(far);
        let error = poll_fn(|cx| near.split().1.poll_reset(cx)).await;
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    });
}

#[test]
fn a_server_that_has_answered_in_full_may_drop_its_tunnel() {
    run(async {
        let (near, far) = tunnel_pair(&small_windows()).await;
        write_pattern(far, 60_000).await;
        assert_eq!(check_pattern(near).await, 60_000);
    });
}

#[test]
fn a_dropped_reader_does_not_stop_the_writer() {
    run(async {
        let (near, far) = tunnel_pair(&small_windows()).await;
        let (near_recv, near_send) = near.into_split();
        let (far_recv, far_send) = far.into_split();
        drop(near_recv);
        // More than the window: what nobody reads is thrown away, not kept.
        spawn(write_pattern(far_send, 1000));
        spawn(write_pattern(near_send, 500_000));
        assert_eq!(check_pattern(far_recv).await, 500_000);
    });
}

#[test]
fn writing_after_the_end_fails_instead_of_waiting() {
    run(async {
        let (mut near, _far) = tunnel_pair(&Settings::default()).await;
        near.shutdown().await.unwrap();
        near.shutdown().await.unwrap();
        let error = near.write_all(b"more").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
    });
}

#[test]
fn losing_the_connection_is_not_a_clean_end() {
    run(async {
        let (mut tunnel, peer) = raw_peer().await;
        drop(peer);
        let error = tunnel.read_to_end(&mut Vec::new()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
    });
}

#[test]
fn a_goaway_with_an_error_aborts_the_tunnel() {
    run(async {
        let (mut tunnel, mut peer) = raw_peer().await;
        let mut payload = 0u32.to_be_bytes().to_vec();
        payload.extend(11u32.to_be_bytes());
        let goaway = Frame {
            kind: Frame::GOAWAY,
            flags: 0,
            stream: 0,
            payload,
        };
        goaway.write(&mut peer).await;
        let error = tunnel.read_to_end(&mut Vec::new()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionAborted);
    });
}

#[test]
fn a_tunnel_stays_small() {
    assert!(size_of::<Tunnel>() <= 128, "{}", size_of::<Tunnel>());
}
