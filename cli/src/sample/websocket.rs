//! WebSocket: an echo at the server, and a client that prints what comes back.

use anyhow::{Context, ensure};
use futures_util::{SinkExt, StreamExt};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use runtime::TaskSet;
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Message, handshake::derive_accept_key, protocol::Role},
};

use super::{
    server::{AnswerBody, empty, text},
    upstream::Upstream,
};
use crate::print;

/// What the client sends and where to.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// `http://HOST[:PORT]/PATH`; `ws://` is the same.
    url: String,
    /// Messages to send, one frame each.
    #[arg(default_value = "hello")]
    message: Vec<String>,
    /// Headers to send, `NAME: VALUE`.
    #[arg(long = "header", short = 'H')]
    headers: Vec<String>,
}

/// Whether a request asks for a WebSocket.
pub(super) fn is_upgrade(headers: &HeaderMap) -> bool {
    headers
        .get(header::UPGRADE)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// Opens the WebSocket a request asks for and sends every message back.
pub(super) fn echo(mut request: Request<Incoming>, tasks: &TaskSet) -> Response<AnswerBody> {
    let Some(key) = request.headers().get(header::SEC_WEBSOCKET_KEY) else {
        return text(StatusCode::BAD_REQUEST, "Sec-WebSocket-Key is missing\n");
    };
    let accept = derive_accept_key(key.as_bytes());
    let upgrade = hyper::upgrade::on(&mut request);
    tasks.spawn("websocket", async move {
        let Ok(upgraded) = upgrade.await else { return };
        let mut socket =
            WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
        // Pings and the closing handshake are answered by the library.
        while let Some(Ok(message)) = socket.next().await {
            if (message.is_text() || message.is_binary()) && socket.send(message).await.is_err() {
                return;
            }
        }
    });
    let mut response = empty(StatusCode::SWITCHING_PROTOCOLS);
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    if let Ok(accept) = HeaderValue::from_str(&accept) {
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    }
    response
}

/// Sends the messages one after the other, printing each answer.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let url = args.url.replacen("ws://", "http://", 1);
    let upstream: Upstream = url.parse().with_context(|| format!("{url:?}"))?;
    let stream = upstream
        .connect()
        .await
        .with_context(|| format!("connect to {url}"))?;
    let mut request = Request::get(url.replacen("http://", "ws://", 1))
        .header(
            header::HOST,
            upstream
                .uri()
                .authority()
                .map_or("", |authority| authority.as_str()),
        )
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_VERSION, "13")
        .header(
            header::SEC_WEBSOCKET_KEY,
            tokio_tungstenite::tungstenite::handshake::client::generate_key(),
        );
    for line in &args.headers {
        let (name, value) = line
            .split_once(':')
            .with_context(|| format!("header {line:?} has no colon"))?;
        request = request.header(name.trim(), value.trim());
    }
    let (mut socket, response) = client_async(request.body(())?, stream)
        .await
        .context("WebSocket handshake")?;
    print::out(response.status().as_u16());
    for message in args.message {
        socket.send(Message::text(message.as_str())).await?;
        let answer = socket.next().await.context("the server has gone")??;
        ensure!(answer.is_text(), "unexpected frame {answer:?}");
        print::out(answer.to_text()?);
    }
    socket.close(None).await?;
    // The server's part of the closing handshake.
    while let Some(Ok(_)) = socket.next().await {}
    Ok(())
}
