//! Endpoint → connection → response head.
//!
//! Connections belong to one worker. HTTP/1.1 connections rest in a pool between requests;
//! HTTP/2 connections are shared by as many requests as the endpoint takes. Either runs straight
//! on a tunnel stream (or on plain TCP): there is nothing between the codec and the tunnel.

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use mesh::Str;
use mesh::spiffe::SpiffeId;
use runtime::LocalTasks;
use tokio::io::AsyncWriteExt;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::body::{AttemptBody, Cut};
use super::server::LocalExecutor;
use crate::connect::{self, Connector, Stream};
use crate::endpoint::{Endpoint, Transport};
use crate::stream::Prefixed;

mod pool;

use pool::{Key, Pool, Shared};

/// Header lines an answer may have.
const MAX_HEADERS: usize = 100;
/// Bytes of an answer's head over HTTP/1.1.
const MAX_HEAD: usize = 64 << 10;
/// Requests on one HTTP/2 connection before another is made.
const MAX_STREAMS: u32 = 100;
/// Receive windows of HTTP/2: a stream's, a connection's.
const WINDOWS: (u32, u32) = (256 << 10, 1 << 20);
/// How often a silent HTTP/2 connection is asked whether it lives, and how long that may take.
const PING: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(20));

/// HTTP connections of one worker.
#[derive(Debug)]
pub(crate) struct Upstreams {
    connector: Rc<Connector>,
    tasks: LocalTasks,
    pool: Rc<Pool>,
}

/// A connection for one request.
#[derive(Debug)]
pub(crate) struct Lease {
    wire: Wire,
    /// It carried a request before: it may have died since.
    reused: bool,
}

#[derive(Debug)]
enum Wire {
    Http1(Http1),
    Http2(Shared),
}

/// An HTTP/1.1 connection and where it goes when its answer is complete.
#[derive(Debug)]
pub(super) struct Http1 {
    sender: http1::SendRequest<AttemptBody>,
    takeover: Rc<Takeover>,
    home: Option<(Rc<Pool>, Key)>,
}

/// How a connection is handed over when the endpoint agrees to another protocol.
#[derive(Debug, Default)]
pub(super) struct Takeover(RefCell<Option<oneshot::Sender<Prefixed<Stream>>>>);

/// Why an attempt has no answer.
#[derive(Debug)]
pub(crate) enum Failure {
    /// No connection could be made.
    Connect(connect::Error),
    /// The connection was made, and the request not looked at.
    Unsent(hyper::Error),
    /// The connection broke before the answer.
    Reset {
        /// What hyper says.
        error: hyper::Error,
        /// The connection had been used before.
        reused: bool,
    },
    /// The endpoint broke the protocol.
    Protocol(hyper::Error),
    /// The client's body could not be read on.
    Downstream,
}

/// An endpoint's answer.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Its head and its body.
    pub(crate) response: Response<Incoming>,
    /// The connection it comes on.
    pub(crate) lease: Lease,
}

impl Upstreams {
    /// No connections yet.
    pub(crate) fn new(connector: Rc<Connector>, tasks: LocalTasks) -> Self {
        let pool = Rc::new(Pool::default());
        tasks.spawn("idle connections", Pool::sweep(Rc::downgrade(&pool)));
        Self {
            connector,
            tasks,
            pool,
        }
    }

    /// Gives a connection to an endpoint, a pooled one if there is one.
    ///
    /// * `host` — the service it is for, a hint for the other end's metrics.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// When none can be made; nothing was sent.
    pub(crate) async fn lease(
        &self,
        endpoint: &Endpoint,
        host: Option<&Str>,
        http2: bool,
        deadline: Instant,
    ) -> Result<Lease, connect::Error> {
        let key = Key::new(endpoint, host, http2);
        if http2 {
            return self.lease_http2(endpoint, key, deadline).await;
        }
        while let Some((mut sender, takeover)) = self.pool.take(&key) {
            // Its last answer is complete, so it gets ready at once, or is found closed.
            if poll_fn(|cx| sender.poll_ready(cx)).await.is_ok() {
                let home = Some((Rc::clone(&self.pool), key));
                let wire = Wire::Http1(Http1 {
                    sender,
                    takeover,
                    home,
                });
                return Ok(Lease { wire, reused: true });
            }
        }
        // Boxed, as over HTTP/2: most requests find a connection and need no room to make one.
        let connecting = Box::pin(self.connect_http1(endpoint, host, deadline));
        let (sender, takeover) = connecting.await?;
        let home = Some((Rc::clone(&self.pool), key));
        let wire = Wire::Http1(Http1 {
            sender,
            takeover,
            home,
        });
        Ok(Lease {
            wire,
            reused: false,
        })
    }

    async fn lease_http2(
        &self,
        endpoint: &Endpoint,
        key: Key,
        deadline: Instant,
    ) -> Result<Lease, connect::Error> {
        loop {
            if let Some(shared) = self.pool.share(&key, MAX_STREAMS) {
                return Ok(Lease {
                    wire: Wire::Http2(shared),
                    reused: true,
                });
            }
            let Some(connecting) = self.pool.connecting(&key) else {
                // Somebody else is at it, for all of us.
                self.pool.connected(&key).await;
                continue;
            };
            let connected = Box::pin(self.connect_http2(endpoint, key.host(), deadline));
            let sender = connected.await?;
            return Ok(Lease {
                wire: Wire::Http2(connecting.succeed(sender)),
                reused: false,
            });
        }
    }

    async fn connect_http1(
        &self,
        endpoint: &Endpoint,
        host: Option<&Str>,
        deadline: Instant,
    ) -> Result<(http1::SendRequest<AttemptBody>, Rc<Takeover>), connect::Error> {
        let host = host.map(|host| &**host);
        let stream = self.connector.open(endpoint, host, deadline).await?;
        let mut builder = http1::Builder::new();
        builder.max_headers(MAX_HEADERS).max_buf_size(MAX_HEAD);
        let (sender, connection) = builder
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| connect::Error::Http(endpoint.address, error))?;
        let takeover = Rc::new(Takeover::default());
        let hand_over = Rc::clone(&takeover);
        self.tasks.spawn("upstream connection", async move {
            match connection.without_shutdown().await {
                Ok(parts) => {
                    let (rest, mut stream) = (parts.read_buf, parts.io.into_inner());
                    let taker = hand_over.0.borrow_mut().take();
                    match taker {
                        // A taker that is gone drops the stream, which closes it.
                        Some(taker) => drop(taker.send(Prefixed::new(rest, stream))),
                        // The request is over; there is nobody left to tell.
                        None => drop(stream.shutdown().await),
                    }
                }
                Err(error) => tracing::debug!(%error, "upstream connection ended"),
            }
        });
        Ok((sender, takeover))
    }

    async fn connect_http2(
        &self,
        endpoint: &Endpoint,
        host: Option<&Str>,
        deadline: Instant,
    ) -> Result<http2::SendRequest<AttemptBody>, connect::Error> {
        let host = host.map(|host| &**host);
        let stream = self.connector.open(endpoint, host, deadline).await?;
        let mut builder = http2::Builder::new(LocalExecutor(self.tasks.clone()));
        builder
            .timer(TokioTimer::new())
            .initial_stream_window_size(WINDOWS.0)
            .initial_connection_window_size(WINDOWS.1)
            .keep_alive_interval(PING.0)
            .keep_alive_timeout(PING.1);
        let (sender, connection) = builder
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| connect::Error::Http(endpoint.address, error))?;
        self.tasks.spawn("upstream connection", async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "upstream connection ended");
            }
        });
        Ok(sender)
    }
}

impl Lease {
    /// Asks to get the bytes of the connection if the endpoint switches protocols. Such a
    /// connection never goes back to the pool.
    pub(crate) fn take_over(&mut self) -> Option<oneshot::Receiver<Prefixed<Stream>>> {
        let Wire::Http1(http1) = &mut self.wire else {
            return None;
        };
        http1.home = None;
        let (sender, receiver) = oneshot::channel();
        *http1.takeover.0.borrow_mut() = Some(sender);
        Some(receiver)
    }

    /// Sends a request and waits for the head of its answer.
    ///
    /// Dropping the call ends the request at the endpoint; over HTTP/1.1 that costs the
    /// connection.
    ///
    /// # Errors
    /// See [`Failure`].
    pub(crate) async fn send(mut self, request: Request<AttemptBody>) -> Result<Answer, Failure> {
        let reused = self.reused;
        let outcome = match &mut self.wire {
            Wire::Http1(http1) => http1.sender.try_send_request(request).await,
            Wire::Http2(shared) => shared.sender().try_send_request(request).await,
        };
        match outcome {
            Ok(response) => Ok(Answer {
                response,
                lease: self,
            }),
            Err(error) => Err(failure(error, reused)),
        }
    }

    /// Puts the connection back. Its request has been sent and its answer is complete.
    pub(crate) fn give_back(self) {
        if let Wire::Http1(Http1 {
            sender,
            takeover,
            home: Some((pool, key)),
        }) = self.wire
        {
            pool.put(key, sender, takeover);
        }
    }
}

fn failure(error: TrySendError<Request<AttemptBody>>, reused: bool) -> Failure {
    let unsent = error.message().is_some();
    let error = error.into_error();
    if unsent || error.is_canceled() || refused(&error) {
        Failure::Unsent(error)
    } else if cut(&error) == Some(Cut::Downstream) {
        Failure::Downstream
    } else if error.is_parse() || error.is_parse_status() || error.is_parse_too_large() {
        Failure::Protocol(error)
    } else {
        Failure::Reset { error, reused }
    }
}

/// Why our own body stopped, if that is what ended the request.
fn cut(error: &hyper::Error) -> Option<Cut> {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if let Some(cut) = error.downcast_ref::<Cut>() {
            return Some(*cut);
        }
        cause = error.source();
    }
    None
}

/// Whether the endpoint says that it did not look at the request (RFC 9113 §8.7).
fn refused(error: &hyper::Error) -> bool {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<h2::Error>() {
            return error.reason() == Some(h2::Reason::REFUSED_STREAM);
        }
        cause = error.source();
    }
    false
}

/// What identifies a connection of an endpoint beside its address: who is at the other end.
fn identity(endpoint: &Endpoint) -> Option<(&SpiffeId, &[SpiffeId])> {
    match &endpoint.transport {
        Transport::Plain => None,
        Transport::Tunnel {
            identity,
            alternatives,
            ..
        } => Some((identity, alternatives)),
    }
}
