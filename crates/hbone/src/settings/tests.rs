use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::testing::{Frame, PREFACE, run, spawn, transport};
use crate::{client, server};

/// Connection windows start at 65,535 bytes (RFC 9113 §6.9.2); ours is announced as the rest.
const RECORDED_WINDOW_UPDATE: u32 = 16_711_681;

#[test]
fn a_server_announces_what_ztunnel_announces() {
    run(async {
        let (mut peer, io) = transport(1 << 16);
        spawn(async move {
            let mut connection = server::accept(io, &Settings::default()).await.unwrap();
            while connection.next().await.is_some() {}
        });
        peer.write_all(PREFACE).await.unwrap();
        Frame::empty_settings(0).write(&mut peer).await;
        let settings = Frame::read(&mut peer).await.unwrap().settings();
        assert_eq!(
            settings,
            [(3, 200), (4, 4_194_304), (5, 1_048_576), (6, 65_536)]
        );
        assert_eq!(window_update(&mut peer).await, RECORDED_WINDOW_UPDATE);
    });
}

#[test]
fn a_client_announces_what_ztunnel_announces() {
    run(async {
        let (mut peer, io) = transport(1 << 16);
        let settings = Settings::default();
        let (client, driver) = client::Connection::handshake(io, &settings).await.unwrap();
        spawn(driver);
        let mut preface = [0; PREFACE.len()];
        peer.read_exact(&mut preface).await.unwrap();
        assert_eq!(preface, PREFACE);
        let settings = Frame::read(&mut peer).await.unwrap().settings();
        assert_eq!(
            settings,
            [(2, 0), (4, 4_194_304), (5, 1_048_576), (6, 16_384)]
        );
        assert_eq!(window_update(&mut peer).await, RECORDED_WINDOW_UPDATE);
        drop(client);
    });
}

async fn window_update(peer: &mut tokio::io::DuplexStream) -> u32 {
    loop {
        let frame = Frame::read(peer).await.unwrap();
        if frame.kind == Frame::WINDOW_UPDATE {
            assert_eq!(frame.stream, 0);
            return frame.number();
        }
        // In between, only the acknowledgement of our own SETTINGS.
        assert_eq!((frame.kind, frame.flags), (Frame::SETTINGS, 1));
    }
}

#[test]
fn values_http2_cannot_express_are_moved_to_legal_ones() {
    run(async {
        let absurd = Settings {
            stream_window: u32::MAX,
            connection_window: u32::MAX,
            max_frame_size: 1,
            client_send_buffer: usize::MAX,
            server_send_buffer: usize::MAX,
            ..Settings::default()
        };
        let (mut peer, io) = transport(1 << 16);
        let (_client, driver) = client::Connection::handshake(io, &absurd).await.unwrap();
        spawn(driver);
        peer.read_exact(&mut [0; PREFACE.len()]).await.unwrap();
        let settings = Frame::read(&mut peer).await.unwrap().settings();
        assert_eq!(
            settings,
            [(2, 0), (4, WINDOW_LIMIT), (5, 16_384), (6, 16_384)]
        );
        let _server = absurd.server();
    });
}
