use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::*;
use crate::testing::{Frame, PREFACE, plain_connect, run, run_paused, spawn, transport};

type PlainClient = h2::client::SendRequest<Bytes>;

/// A plain h2 client, driven, and our server at the other end.
async fn against_plain(settings: &Settings) -> (PlainClient, Connection<DuplexStream>) {
    let (near, far) = transport(1 << 16);
    let (client, connection) = h2::client::handshake(near).await.unwrap();
    spawn(connection);
    (client, accept(far, settings).await.unwrap())
}

/// Serves what `answer` does with each request.
fn serve(mut connection: Connection<DuplexStream>, mut answer: impl FnMut(Connect) + 'static) {
    spawn(async move {
        while let Some(connect) = connection.next().await {
            answer(connect.unwrap());
        }
    });
}

#[test]
fn yields_target_and_headers_and_tunnels_after_200() {
    run(async {
        let (client, connection) = against_plain(&Settings::default()).await;
        serve(connection, |connect| {
            assert_eq!(connect.target().unwrap().to_string(), "echo.app:80");
            assert_eq!(
                connect.headers().get("forwarded").unwrap(),
                "for=\"10.0.0.9:1\""
            );
            let answer = [(
                crate::headers::BAGGAGE,
                "service.name=echo".parse().unwrap(),
            )];
            let mut tunnel = connect.accept(answer.into_iter().collect()).unwrap();
            spawn(async move {
                let mut text = String::new();
                tunnel.read_to_string(&mut text).await.unwrap();
                tunnel
                    .write_all(text.to_uppercase().as_bytes())
                    .await
                    .unwrap();
                tunnel.shutdown().await.unwrap();
            });
        });
        let mut request = plain_connect("Echo.App.:80");
        let forwarded = "for=\"10.0.0.9:1\"".parse().unwrap();
        request.headers_mut().insert("forwarded", forwarded);
        let mut client = client.ready().await.unwrap();
        let (answer, mut send) = client.send_request(request, false).unwrap();
        let answer = answer.await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(
            answer.headers().get("baggage").unwrap(),
            "service.name=echo"
        );
        send.send_data(Bytes::from_static(b"hello"), true).unwrap();
        let mut body = answer.into_body();
        assert_eq!(body.data().await.unwrap().unwrap(), "HELLO");
        assert_eq!(body.data().await.unwrap().unwrap(), "");
        assert!(body.data().await.is_none());
    });
}

/// Sends one request to a server that refuses what is malformed with 400 and accepts the rest.
async fn status_of(request: Request<()>) -> StatusCode {
    let (client, connection) = against_plain(&Settings::default()).await;
    let mut tunnels = Vec::new();
    serve(connection, move |connect| match connect.target() {
        Ok(_) => tunnels.push(connect.accept(HeaderMap::new()).unwrap()),
        Err(_) => connect.refuse(Rejected::STATUS).unwrap(),
    });
    let mut client = client.ready().await.unwrap();
    let (answer, _send) = client.send_request(request, false).unwrap();
    answer.await.unwrap().status()
}

#[test]
fn tells_tunnels_from_everything_else() {
    run(async {
        let legal = [
            "10.244.2.5:8080",
            "[fd00::5]:80",
            "echo.app.svc.cluster.local:81",
        ];
        for authority in legal {
            assert_eq!(
                status_of(plain_connect(authority)).await,
                200,
                "{authority}"
            );
        }
        for authority in [
            "garbage",
            "10.0.0.1",
            "user@10.0.0.1:80",
            "10.0.0.1:0",
            "10.0.0.1:080",
        ] {
            assert_eq!(
                status_of(plain_connect(authority)).await,
                400,
                "{authority}"
            );
        }
        let get = Request::get("http://10.0.0.1:80/").body(()).unwrap();
        assert_eq!(status_of(get).await, 400);
    });
}

#[test]
fn says_why_a_request_is_no_tunnel() {
    run(async {
        let (client, mut connection) = against_plain(&Settings::default()).await;
        let mut client = client.ready().await.unwrap();
        let post = Request::post("http://10.0.0.1:80/").body(()).unwrap();
        let _post = client.send_request(post, true).unwrap();
        let _bad = client.send_request(plain_connect("garbage"), true).unwrap();
        let method = connection.next().await.unwrap().unwrap();
        let expected = Rejected::Method(Method::POST);
        assert_eq!(method.target().unwrap_err(), &expected);
        let authority = connection.next().await.unwrap().unwrap();
        let expected = Rejected::Authority(authority::Error::NoPort);
        assert_eq!(authority.target().unwrap_err(), &expected);
    });
}

#[test]
fn a_refusal_ends_the_stream_without_blame() {
    run(async {
        let (client, connection) = against_plain(&Settings::default()).await;
        serve(connection, |c| {
            c.refuse(StatusCode::SERVICE_UNAVAILABLE).unwrap();
        });
        let mut client = client.ready().await.unwrap();
        let (answer, mut send) = client
            .send_request(plain_connect("10.0.0.1:9"), false)
            .unwrap();
        let answer = answer.await.unwrap();
        assert_eq!(
            (answer.status(), answer.headers().len()),
            (StatusCode::SERVICE_UNAVAILABLE, 0)
        );
        assert!(answer.into_body().data().await.is_none());
        // As recorded: StreamEnded, then StreamReset 0.
        let reason = poll_fn(|cx| send.poll_reset(cx)).await.unwrap();
        assert_eq!(reason, Reason::NO_ERROR);
    });
}

#[test]
fn a_request_that_is_dropped_is_reset() {
    run(async {
        let (client, connection) = against_plain(&Settings::default()).await;
        serve(connection, drop);
        let mut client = client.ready().await.unwrap();
        let (answer, _send) = client
            .send_request(plain_connect("10.0.0.1:9"), false)
            .unwrap();
        assert!(answer.await.unwrap_err().is_reset());
    });
}

#[test]
fn notices_a_client_that_gives_up_while_we_dial() {
    run(async {
        let (client, connection) = against_plain(&Settings::default()).await;
        let (seen, cancelled) = oneshot::channel();
        let mut seen = Some(seen);
        serve(connection, move |mut connect| {
            let seen = seen.take().unwrap();
            spawn(async move {
                connect.cancelled().await;
                seen.send(connect.accept(HeaderMap::new()).is_err())
                    .unwrap();
            });
        });
        let mut client = client.ready().await.unwrap();
        let (answer, mut send) = client
            .send_request(plain_connect("10.0.0.1:9"), false)
            .unwrap();
        send.send_reset(Reason::CANCEL);
        answer.await.unwrap_err();
        assert!(cancelled.await.unwrap(), "an answer to nobody is an error");
    });
}

#[test]
fn refuses_streams_above_the_limit_unseen() {
    run(async {
        let settings = Settings {
            server_max_streams: 2,
            ..Settings::default()
        };
        let (near, far) = transport(1 << 16);
        let (client, plain) = h2::client::handshake(near).await.unwrap();
        let mut client = client.ready().await.unwrap();
        let open = |client: &mut PlainClient| {
            client
                .send_request(plain_connect("10.0.0.1:9"), false)
                .unwrap()
        };
        // All leave before the limit is known.
        let streams: Vec<_> = (0..3).map(|_| open(&mut client)).collect();
        spawn(plain);
        tokio::task::yield_now().await;
        let mut tunnels = Vec::new();
        let connection = accept(far, &settings).await.unwrap();
        serve(connection, move |c| {
            tunnels.push(c.accept(HeaderMap::new()).unwrap());
        });
        let mut results = Vec::new();
        let mut held = Vec::new();
        for (answer, send) in streams {
            results.push(answer.await.map(|r| r.status()).map_err(|e| e.reason()));
            held.push(send);
        }
        let refused = Err(Some(Reason::REFUSED_STREAM));
        assert_eq!(results, [Ok(StatusCode::OK), Ok(StatusCode::OK), refused]);
    });
}

#[test]
fn a_drain_ends_with_the_last_tunnel_and_loses_none() {
    run(async {
        let (client, mut connection) = against_plain(&Settings::default()).await;
        let served = spawn(async move {
            let connect = connection.next().await.unwrap().unwrap();
            let mut tunnel = connect.accept(HeaderMap::new()).unwrap();
            spawn(async move {
                let mut text = String::new();
                tunnel.read_to_string(&mut text).await.unwrap();
                tunnel.write_all(text.as_bytes()).await.unwrap();
                tunnel.shutdown().await.unwrap();
            });
            connection.drain();
            connection.drain();
            connection.next().await.is_none()
        });
        let mut client = client.ready().await.unwrap();
        let (answer, mut send) = client
            .send_request(plain_connect("10.0.0.1:9"), false)
            .unwrap();
        let answer = answer.await.unwrap();
        // The goodbye arrives; this handle opens nothing any more.
        let goodbye = loop {
            match poll_fn(|cx| Poll::Ready(client.poll_ready(cx))).await {
                Poll::Ready(Err(error)) => break error,
                _ => tokio::task::yield_now().await,
            }
        };
        assert!(goodbye.is_go_away() && goodbye.reason() == Some(Reason::NO_ERROR));
        assert!(!served.is_finished());
        send.send_data(Bytes::from_static(b"unhurried"), true)
            .unwrap();
        assert_eq!(
            answer.into_body().data().await.unwrap().unwrap(),
            "unhurried"
        );
        assert!(served.await.unwrap());
    });
}

#[test]
fn an_abort_breaks_tunnels_at_once() {
    run(async {
        let (client, mut connection) = against_plain(&Settings::default()).await;
        let served = spawn(async move {
            let connect = connection.next().await.unwrap().unwrap();
            let mut tunnel = connect.accept(HeaderMap::new()).unwrap();
            let broken = spawn(async move { tunnel.read_to_end(&mut Vec::new()).await });
            tokio::task::yield_now().await;
            connection.abort();
            while connection.next().await.is_some() {}
            drop(connection);
            broken.await.unwrap().is_err()
        });
        let mut client = client.ready().await.unwrap();
        let (_answer, _send) = client
            .send_request(plain_connect("10.0.0.1:9"), false)
            .unwrap();
        assert!(served.await.unwrap());
    });
}

#[test]
fn a_client_without_a_preface_is_closed() {
    run_paused(async {
        let (_silent, io) = transport(1 << 16);
        let started = Instant::now();
        let error = accept(io, &Settings::default()).await.unwrap_err();
        assert!(matches!(error, Error::HandshakeTimeout));
        assert_eq!(started.elapsed(), Duration::from_secs(5));
    });
}

#[test]
fn a_client_that_speaks_something_else_is_an_error() {
    run(async {
        let (mut peer, io) = transport(1 << 16);
        peer.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            .await
            .unwrap();
        let error = accept(io, &Settings::default()).await.unwrap_err();
        assert!(matches!(error, Error::Handshake(_)), "{error:?}");
    });
}

#[test]
fn a_dead_client_is_noticed_by_pings_and_a_live_one_kept() {
    run_paused(async {
        let (client, mut live) = against_plain(&Settings::default()).await;
        let live = spawn(async move { live.next().await.is_none() });

        let (mut silent, io) = transport(1 << 16);
        silent.write_all(PREFACE).await.unwrap();
        Frame::empty_settings(0).write(&mut silent).await;
        let mut connection = accept(io, &Settings::default()).await.unwrap();
        let started = Instant::now();
        let error = connection.next().await.unwrap().unwrap_err();
        assert!(matches!(error, Error::Unresponsive));
        assert_eq!(started.elapsed(), Duration::from_secs(10 + 20));
        assert!(connection.next().await.is_none());
        drop(connection);
        let mut kinds = Vec::new();
        while let Ok(frame) = Frame::read(&mut silent).await {
            kinds.push(frame.kind);
        }
        assert!(kinds.contains(&Frame::PING));
        assert_eq!(kinds.last(), Some(&Frame::GOAWAY));

        tokio::time::sleep(Duration::from_hours(1)).await;
        assert!(!live.is_finished());
        drop(client);
        assert!(live.await.unwrap());
    });
}

#[test]
fn futures_stay_small() {
    run(async {
        let (_client, mut connection) = against_plain(&Settings::default()).await;
        let next = size_of_val(&connection.next());
        assert!(next <= 64, "next is {next} bytes");
        let connect = size_of::<Connect>();
        assert!(connect <= 256, "a request is {connect} bytes");
    });
}
