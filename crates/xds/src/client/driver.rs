//! Keeps one stream open and feeds it through [`Subscriptions`].

use std::{fmt, mem, sync::Arc, time::Duration};

use futures_util::StreamExt as _;
use prost::Message as _;
use proto::discovery::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Code, Status,
    body::Body,
    client::GrpcService,
    codegen::{Body as HttpBody, Bytes, StdError},
    metadata::MetadataMap,
};
use tracing::{debug, info, warn};

use super::{
    Backoff, BoxError, Handler, Jitter, Refusals, Rejected, Subscriptions,
    backoff::CAP,
    late::{self, Verdict},
};
use crate::{Request, Response};

#[cfg(test)]
mod tests;

/// Largest response accepted. A full push of a large mesh is far above gRPC's usual 4 MiB.
/// Source: istio/ztunnel `src/xds/client.rs`.
const MAX_RESPONSE: usize = 200 << 20;

/// Replies waiting for the connection. A server that reads none of them is not read either.
const REPLIES: usize = 64;

/// Makes connections and says who asks.
///
/// TLS, timeouts for connecting and keepalive are settings of the channel, so they are the
/// implementor's: ztunnel connects within 5 s and pings every 30 s with 10 s of patience.
pub trait Transport {
    /// A connection, e.g. `tonic::transport::Channel`.
    type Channel: GrpcService<Body, ResponseBody = Self::Body, Error: Into<StdError>>;

    /// The body of its responses, e.g. `tonic::body::Body`.
    type Body: HttpBody<Data = Bytes, Error: Into<StdError> + Send> + Send + 'static;

    /// Makes a connection for one stream.
    fn connect(&mut self) -> impl Future<Output = Result<Self::Channel, BoxError>>;

    /// Metadata of one stream: `authorization`, `clusterid` and what else the server wants.
    ///
    /// Asked for every stream, so that a renewed token is used as soon as one is opened.
    fn metadata(&mut self) -> impl Future<Output = Result<MetadataMap, BoxError>>;
}

/// Why a stream ended. The names are the values of ztunnel's `reason` label.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Termination {
    /// The server ended the stream without complaint.
    Complete,
    /// There was no connection.
    ConnectionError,
    /// The server, or a message of it, ended the stream with an error.
    Error,
    /// The server ended the stream in a way that means "come again".
    Reconnect,
}

/// Hears what an operator wants to count.
pub trait Observer: Send + Sync {
    /// A stream is open.
    fn connected(&self) {}
    /// A response came; `bytes` is its encoded size.
    fn received(&self, _type_url: &str, _bytes: usize) {}
    /// A resource of a response could not be used, as is known now or turned out later.
    fn rejected(&self, _type_url: &str, _rejected: &Rejected) {}
    /// A stream ended, or could not be opened.
    fn terminated(&self, _why: Termination) {}
}

impl Observer for () {}

/// A client that reconnects for ever.
pub struct Client<T, H> {
    transport: T,
    handler: H,
    subscriptions: Subscriptions,
    observer: Arc<dyn Observer>,
    backoff: Backoff,
    refusals: Refusals,
    late: mpsc::UnboundedReceiver<Verdict>,
    ready: watch::Sender<bool>,
    connected: watch::Sender<bool>,
}

/// How one stream ended, and whether it had worked before.
struct Ending {
    why: Termination,
    error: Option<BoxError>,
    productive: bool,
}

impl<T: Transport, H: Handler> Client<T, H> {
    /// Prepares a client; [`Self::run`] starts it.
    pub fn new(transport: T, subscriptions: Subscriptions, handler: H, jitter: Jitter) -> Self {
        let (refusals, late) = late::channel();
        Self {
            transport,
            handler,
            subscriptions,
            observer: Arc::new(()),
            backoff: Backoff::new(jitter),
            refusals,
            late,
            ready: watch::Sender::new(false),
            connected: watch::Sender::new(false),
        }
    }

    /// Lets `observer` hear of connections and messages.
    #[must_use]
    pub fn observed_by(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observer = observer;
        self
    }

    /// Says later what became of resources.
    pub fn refusals(&self) -> Refusals {
        self.refusals.clone()
    }

    /// Becomes true, for good, once the first response of every type was applied.
    pub fn ready(&self) -> watch::Receiver<bool> {
        self.ready.subscribe()
    }

    /// Whether a stream is open now.
    pub fn connected(&self) -> watch::Receiver<bool> {
        self.connected.subscribe()
    }

    /// Keeps a stream open until dropped; what was received stays in force meanwhile.
    ///
    /// Cancel safe: a response is either applied, or it comes again.
    pub async fn run(&mut self) {
        loop {
            let started = Instant::now();
            let ending = self.stream().await;
            self.connected.send_replace(false);
            self.observer.terminated(ending.why);
            if ending.calms(started) {
                self.backoff.reset();
            }
            let wait = self.backoff.next();
            ending.log(wait);
            sleep(wait).await;
        }
    }

    /// One stream from connection to end.
    async fn stream(&mut self) -> Ending {
        let channel = match self.transport.connect().await {
            Ok(channel) => channel,
            Err(e) => return Ending::new(Termination::ConnectionError, Some(e)),
        };
        let metadata = match self.transport.metadata().await {
            Ok(metadata) => metadata,
            Err(e) => return Ending::new(Termination::Error, Some(e)),
        };

        let (replies, queued) = mpsc::channel::<Request>(REPLIES);
        let first = self.subscriptions.open();
        let requests = futures_util::stream::iter(first).chain(ReceiverStream::new(queued));
        let request = tonic::Request::from_parts(metadata, tonic::Extensions::default(), requests);
        let mut service =
            AggregatedDiscoveryServiceClient::new(channel).max_decoding_message_size(MAX_RESPONSE);
        let mut responses = match service.delta_aggregated_resources(request).await {
            Ok(response) => response.into_inner(),
            Err(status) => return Ending::refused(status),
        };
        self.connected.send_replace(true);
        self.observer.connected();

        let mut productive = false;
        let ending = loop {
            let due = tokio::select! {
                response = responses.message() => match response {
                    Ok(Some(response)) => {
                        productive = true;
                        self.receive(response)
                    }
                    Ok(None) => break Ending::new(Termination::Complete, None),
                    Err(status) => break Ending::broken(status),
                },
                Some(verdict) = self.late.recv() => {
                    self.reconsider(verdict);
                    None
                }
            };
            for reply in due.into_iter().chain(self.subscriptions.afterthoughts()) {
                if replies.send(reply).await.is_err() {
                    // The connection no longer takes requests; its end is read above.
                    debug!("reply not sent, the stream is ending");
                }
            }
        };
        Ending {
            productive,
            ..ending
        }
    }

    fn reconsider(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Accepted { type_url, name } => {
                if self.subscriptions.accept(&type_url, &name) {
                    info!(%type_url, %name, "resource accepted after all");
                }
            }
            Verdict::Refused { type_url, rejected } => {
                if self.subscriptions.refuse(&type_url, &rejected) {
                    self.tell_of(&type_url, &rejected);
                }
            }
        }
    }

    fn tell_of(&self, type_url: &str, rejected: &Rejected) {
        warn!(%type_url, name = %rejected.name, reason = %rejected.reason, "resource rejected");
        self.observer.rejected(type_url, rejected);
    }

    fn receive(&mut self, response: Response) -> Option<Request> {
        let type_url = response.type_url.clone();
        self.observer.received(&type_url, response.encoded_len());
        // What was said before this response is about what was held before it.
        while let Ok(verdict) = self.late.try_recv() {
            self.reconsider(verdict);
        }
        let received = self.subscriptions.receive(response, &mut self.handler)?;
        for rejected in &received.rejected {
            self.tell_of(&type_url, rejected);
        }
        debug!(%type_url, applied = received.applied, rejected = received.rejected.len(), "response applied");
        if self.subscriptions.is_ready() {
            self.ready
                .send_if_modified(|ready| !mem::replace(ready, true));
        }
        Some(received.reply)
    }
}

impl Ending {
    fn new(why: Termination, error: Option<BoxError>) -> Self {
        Self {
            why,
            error,
            productive: false,
        }
    }

    /// The stream was never open. A status with a cause was made on this side, for want of a
    /// connection; the server's own have none.
    fn refused(status: Status) -> Self {
        if std::error::Error::source(&status).is_some() {
            return Self::new(Termination::ConnectionError, Some(status.into()));
        }
        Self::broken(status)
    }

    /// Which statuses mean "come again" is ztunnel's list: what load balancers, and Go servers at
    /// the end of a connection's allowed age, answer.
    fn broken(status: Status) -> Self {
        let again = match status.code() {
            Code::Unknown | Code::Cancelled | Code::DeadlineExceeded => true,
            Code::Unavailable => ["transport is closing", "received prior goaway"]
                .iter()
                .any(|text| status.message().contains(text)),
            _ => false,
        };
        let why = if again {
            Termination::Reconnect
        } else {
            Termination::Error
        };
        Self::new(why, Some(status.into()))
    }

    /// Whether the next attempt may come at once: a harmless end of a stream that had brought
    /// something, or any end after a long time. A stream that ends as soon as it opens does not
    /// count, however polite: retrying those at once would be a busy loop.
    fn calms(&self, started: Instant) -> bool {
        let harmless = matches!(self.why, Termination::Complete | Termination::Reconnect);
        (harmless && self.productive) || started.elapsed() >= CAP
    }

    fn log(&self, wait: Duration) {
        let error = self
            .error
            .as_deref()
            .map(|e| e as &(dyn std::error::Error + 'static));
        match self.why {
            Termination::Complete | Termination::Reconnect => {
                info!(why = ?self.why, error, ?wait, "stream ended, opening another");
            }
            Termination::ConnectionError | Termination::Error => {
                warn!(why = ?self.why, error, ?wait, "no stream, trying again");
            }
        }
    }
}

impl<T: fmt::Debug, H> fmt::Debug for Client<T, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("transport", &self.transport)
            .field("subscriptions", &self.subscriptions)
            .field("backoff", &self.backoff)
            .finish_non_exhaustive()
    }
}
