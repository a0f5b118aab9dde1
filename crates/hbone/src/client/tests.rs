use std::time::Duration;

use http::Response;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::sync::oneshot;

use super::*;
use crate::testing::{connect_to, later, run, run_paused, spawn, transport};

type PlainServer = h2::server::Connection<DuplexStream, Bytes>;

/// Our client, driven, and a plain h2 server at the other end.
async fn against(builder: h2::server::Builder, settings: &Settings) -> (Connection, PlainServer) {
    let (near, far) = transport(1 << 16);
    let (client, driver) = Connection::handshake(near, settings).await.unwrap();
    spawn(driver);
    (client, builder.handshake(far).await.unwrap())
}

async fn against_plain() -> (Connection, PlainServer) {
    against(h2::server::Builder::new(), &Settings::default()).await
}

/// Answers every CONNECT with 200 and ends each tunnel only when the connection ends.
fn accept_all(mut server: PlainServer) {
    spawn(async move {
        let mut streams = Vec::new();
        while let Some(Ok((request, mut respond))) = server.accept().await {
            let send = respond.send_response(Response::new(()), false).unwrap();
            streams.push((request.into_body(), send));
        }
    });
}

#[test]
fn asks_with_a_plain_connect_and_our_headers() {
    run(async {
        let (client, mut server) = against_plain().await;
        let mut request = connect_to("[fd00::5]:8080");
        request
            .headers
            .insert("baggage", "service.name=web".parse().unwrap());
        let opening = spawn(async move { client.open(&request, later()).await });
        let (request, mut respond) = server.accept().await.unwrap().unwrap();
        assert_eq!(request.method(), Method::CONNECT);
        assert_eq!(request.uri().authority().unwrap(), "[fd00::5]:8080");
        assert_eq!(
            (request.uri().scheme(), request.uri().path_and_query()),
            (None, None)
        );
        assert_eq!(
            request.headers().get("baggage").unwrap(),
            "service.name=web"
        );
        assert_eq!(request.headers().len(), 1);

        let answer = Response::builder().header("baggage", "service.name=echo");
        let mut send = respond
            .send_response(answer.body(()).unwrap(), false)
            .unwrap();
        send.send_data(Bytes::from_static(b"hello"), true).unwrap();
        spawn(async move { while server.accept().await.is_some() {} });
        let mut opened = opening.await.unwrap().unwrap();
        assert_eq!(opened.headers.get("baggage").unwrap(), "service.name=echo");
        let mut text = String::new();
        opened.tunnel.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "hello");
    });
}

#[test]
fn any_status_but_200_is_a_refusal() {
    run(async {
        let (client, mut server) = against_plain().await;
        spawn(async move {
            for status in [401, 503, 204, 302] {
                let (_, mut respond) = server.accept().await.unwrap().unwrap();
                let answer = Response::builder().status(status).body(()).unwrap();
                respond.send_response(answer, true).unwrap();
            }
            while server.accept().await.is_some() {}
        });
        for status in [
            "401 Unauthorized",
            "503 Service Unavailable",
            "204 No Content",
            "302 Found",
        ] {
            let error = client
                .open(&connect_to("10.0.0.1:80"), later())
                .await
                .unwrap_err();
            assert_eq!(error.to_string(), format!("http status: {status}"));
        }
        assert_eq!(client.active(), 0);
    });
}

#[test]
fn a_silent_peer_costs_the_deadline_and_a_reset_not_a_place() {
    run_paused(async {
        let (client, mut server) = against_plain().await;
        let started = Instant::now();
        let deadline = started + Duration::from_secs(3);
        let opening = spawn({
            let client = client.clone();
            async move { client.open(&connect_to("10.0.0.1:80"), deadline).await }
        });
        let (_, mut respond) = server.accept().await.unwrap().unwrap();
        let gave_up = spawn(async move { poll_fn(|cx| respond.poll_reset(cx)).await.unwrap() });
        spawn(async move { while server.accept().await.is_some() {} });
        assert!(matches!(opening.await.unwrap(), Err(Error::Deadline)));
        assert_eq!(started.elapsed(), Duration::from_secs(3));
        assert_eq!(gave_up.await.unwrap(), Reason::CANCEL);
        assert_eq!(client.active(), 0);
    });
}

#[test]
fn counts_tunnels_and_stops_at_the_limit() {
    run(async {
        let settings = Settings {
            client_max_streams: 2,
            ..Settings::default()
        };
        let (client, server) = against(h2::server::Builder::new(), &settings).await;
        accept_all(server);
        let request = connect_to("10.0.0.1:80");
        let first = client.open(&request, later()).await.unwrap();
        let _second = client.open(&request, later()).await.unwrap();
        assert!(matches!(
            client.open(&request, later()).await,
            Err(Error::Unavailable)
        ));
        assert_eq!(client.active(), 2);
        let (recv, send) = first.tunnel.into_split();
        drop(send);
        assert_eq!(client.active(), 2, "one half still holds the place");
        drop(recv);
        assert_eq!(client.active(), 1);
        client.open(&request, later()).await.unwrap();
    });
}

#[test]
fn obeys_the_limit_of_the_peer() {
    run(async {
        let mut builder = h2::server::Builder::new();
        builder.max_concurrent_streams(1);
        let (client, server) = against(builder, &Settings::default()).await;
        accept_all(server);
        let request = connect_to("10.0.0.1:80");
        let _first = client.open(&request, later()).await.unwrap();
        assert!(matches!(
            client.open(&request, later()).await,
            Err(Error::Unavailable)
        ));
    });
}

#[test]
fn a_limit_that_arrives_late_leaves_nobody_behind() {
    run(async {
        for limit in [1, 2] {
            let (near, far) = transport(1 << 16);
            let (client, driver) = Connection::handshake(near, &Settings::default())
                .await
                .unwrap();
            spawn(driver);
            let open = |_| {
                let (client, request) = (client.clone(), connect_to("10.0.0.1:80"));
                spawn(async move { client.open(&request, later()).await })
            };
            let calls: Vec<_> = (0..3).map(open).collect();
            tokio::task::yield_now().await;
            let mut builder = h2::server::Builder::new();
            accept_all(
                builder
                    .max_concurrent_streams(limit)
                    .handshake(far)
                    .await
                    .unwrap(),
            );
            let mut opened = Vec::new();
            for call in calls {
                match call.await.unwrap() {
                    Ok(tunnel) => opened.push(tunnel),
                    Err(error) => assert!(matches!(error, Error::Unavailable), "{error:?}"),
                }
            }
            assert_eq!(opened.len(), limit as usize);
        }
    });
}

#[test]
fn callers_that_wait_for_the_limit_hear_of_the_end() {
    run(async {
        let (near, far) = transport(1 << 16);
        let (client, driver) = Connection::handshake(near, &Settings::default())
            .await
            .unwrap();
        spawn(driver);
        let calls = [(); 2].map(|()| {
            let (client, request) = (client.clone(), connect_to("10.0.0.1:80"));
            spawn(async move { client.open(&request, later()).await })
        });
        tokio::task::yield_now().await;
        drop(far);
        for call in calls {
            assert!(call.await.unwrap().is_err());
        }
    });
}

#[test]
fn what_the_peer_refused_unseen_is_told_apart() {
    run(async {
        let (client, mut server) = against_plain().await;
        spawn(async move {
            for reason in [Reason::REFUSED_STREAM, Reason::INTERNAL_ERROR] {
                let (_, mut respond) = server.accept().await.unwrap().unwrap();
                respond.send_reset(reason);
            }
            while server.accept().await.is_some() {}
        });
        let request = connect_to("10.0.0.1:80");
        let error = client.open(&request, later()).await.unwrap_err();
        assert!(matches!(error, Error::Draining(_)), "{error:?}");
        let error = client.open(&request, later()).await.unwrap_err();
        assert!(matches!(error, Error::Protocol(_)), "{error:?}");
        assert!(client.is_open());
    });
}

#[test]
fn a_draining_peer_gets_no_new_tunnels_and_keeps_the_old_ones() {
    run(async {
        let (client, mut server) = against_plain().await;
        let (drain, drained) = oneshot::channel();
        spawn(async move {
            let (request, mut respond) = server.accept().await.unwrap().unwrap();
            let mut send = respond.send_response(Response::new(()), false).unwrap();
            let mut body = request.into_body();
            spawn(async move {
                let data = body.data().await.unwrap().unwrap();
                send.send_data(data, true).unwrap();
                drained.await.unwrap();
            });
            server.graceful_shutdown();
            while server.accept().await.is_some() {}
        });
        let mut opened = client
            .open(&connect_to("10.0.0.1:80"), later())
            .await
            .unwrap();
        while client.is_open() {
            tokio::task::yield_now().await;
        }
        let error = client
            .open(&connect_to("10.0.0.1:80"), later())
            .await
            .unwrap_err();
        assert!(matches!(error, Error::Unavailable), "{error:?}");
        opened.tunnel.write_all(b"still here").await.unwrap();
        opened.tunnel.shutdown().await.unwrap();
        let mut echo = String::new();
        opened.tunnel.read_to_string(&mut echo).await.unwrap();
        assert_eq!(echo, "still here");
        drain.send(()).unwrap();
    });
}

#[test]
fn a_dead_peer_is_noticed_by_pings() {
    run_paused(async {
        let (near, _silent) = transport(1 << 16);
        let started = Instant::now();
        let (client, driver) = Connection::handshake(near, &Settings::default())
            .await
            .unwrap();
        let driver = spawn(driver);
        let opening = spawn({
            let client = client.clone();
            async move { client.open(&connect_to("10.0.0.1:80"), later()).await }
        });
        assert!(matches!(driver.await.unwrap(), Err(Error::Unresponsive)));
        assert_eq!(started.elapsed(), Duration::from_secs(10 + 20));
        assert!(matches!(opening.await.unwrap(), Err(Error::Closed(_))));
        assert!(!client.is_open());
    });
}

#[test]
fn a_live_peer_is_never_given_up() {
    run_paused(async {
        let (client, server) = against_plain().await;
        accept_all(server);
        tokio::time::sleep(Duration::from_hours(1)).await;
        assert!(client.is_open());
        client
            .open(&connect_to("10.0.0.1:80"), later())
            .await
            .unwrap();
    });
}

#[test]
fn the_driver_ends_with_the_last_handle_and_tunnel() {
    run(async {
        let (near, far) = transport(1 << 16);
        let (client, driver) = Connection::handshake(near, &Settings::default())
            .await
            .unwrap();
        let driver = spawn(driver);
        accept_all(h2::server::handshake(far).await.unwrap());
        let opened = client
            .open(&connect_to("10.0.0.1:80"), later())
            .await
            .unwrap();
        drop(client);
        tokio::task::yield_now().await;
        assert!(!driver.is_finished());
        drop(opened);
        driver.await.unwrap().unwrap();
    });
}

#[test]
fn dropping_the_driver_breaks_its_tunnels() {
    run(async {
        let (near, far) = transport(1 << 16);
        let (client, driver) = Connection::handshake(near, &Settings::default())
            .await
            .unwrap();
        let driver = spawn(driver);
        accept_all(h2::server::handshake(far).await.unwrap());
        let mut opened = client
            .open(&connect_to("10.0.0.1:80"), later())
            .await
            .unwrap();
        driver.abort();
        opened
            .tunnel
            .read_to_end(&mut Vec::new())
            .await
            .unwrap_err();
        assert!(!client.is_open());
    });
}

#[test]
fn futures_stay_small() {
    run(async {
        let (client, _server) = against_plain().await;
        let request = connect_to("10.0.0.1:80");
        let open = size_of_val(&client.open(&request, later()));
        assert!(open <= 1600, "open is {open} bytes");
        let driver = size_of::<Driver<tokio::net::TcpStream>>();
        assert!(driver <= 2048, "a driver is {driver} bytes");
    });
}
