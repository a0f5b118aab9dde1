//! The publishing side.
//!
//! The embedder keeps [`Catalog`]s and edits them; a [`Server`] turns each client's stream into a
//! [`Session`] over the catalogs the [`Embedder`] lets this client see. What a client gets
//! follows from who it proved to be, never from what it says about itself.
//!
//! ```text
//! embedder ── edit ──► Catalog ── newest snapshot ──► Session ── difference ──► client
//!    ▲                                                   │
//!    └───────────── answered: versions, reasons ◄────────┘
//! ```

mod ack;
mod admission;
mod catalog;
mod registry;
mod session;
mod stream;
mod subscription;

use std::{
    fmt,
    num::NonZero,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use futures_util::stream::BoxStream;
use proto::{
    discovery::aggregated_discovery_service_server::{
        AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
    },
    envoy::config::core::v3::Node,
};
use tokio::{sync::watch, time::Instant};
use tonic::{Extensions, Status, Streaming, metadata::MetadataMap};

pub use ack::{Answer, Holding, Rejection};
pub use catalog::{Catalog, Entry, Resources, Snapshot, Version};
pub use registry::Connected;
pub use session::{Excess, Session};

use admission::Admission;
use registry::Registry;
use stream::Conversation;

use crate::{Request, Response};

/// Decides who a client is and what it may see, and hears what it answers.
pub trait Embedder: Send + Sync + 'static {
    /// A client, as authenticated. Its `Debug` goes to the log, so it must not hold a secret.
    type Peer: Clone + fmt::Debug + Send + Sync + 'static;

    /// Authenticates and authorizes a new stream, before anything of it is read.
    ///
    /// * `connection` — what the listener said about the connection (tonic's `Connected`), such
    ///   as the peer's certificate.
    fn authenticate(
        &self,
        metadata: &MetadataMap,
        connection: &Extensions,
    ) -> impl Future<Output = Result<Grant<Self::Peer>, Status>> + Send;

    /// Looks again whether a client may stay, at the time its [`Grant`] named; returns the next
    /// such time. The stream waits meanwhile. Without this, the stream ends at that time and the
    /// client comes again with fresh credentials.
    fn recheck(
        &self,
        _peer: &Self::Peer,
    ) -> impl Future<Output = Result<Option<Instant>, Status>> + Send {
        async { Err(Status::unauthenticated("credentials expired")) }
    }

    /// The catalog in which this client may see a type; asked once for each type of a stream.
    ///
    /// * `node` — what the client says about itself; not to be believed.
    fn view(&self, peer: &Self::Peer, type_url: &str, node: &Node) -> Option<Arc<Catalog>>;

    /// Hears a client's ACK or NACK. Must not block.
    fn answered(&self, _peer: &Self::Peer, _answer: &Answer) {}
}

/// The outcome of authentication.
#[derive(Clone, Debug)]
pub struct Grant<P> {
    /// Who the client is.
    pub peer: P,
    /// When to look again: the credentials' end, or the next check of their validity.
    pub recheck_at: Option<Instant>,
}

/// What clients may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Open streams; more are refused with `RESOURCE_EXHAUSTED`.
    pub streams: usize,
    /// New streams; more wait up to a second, then are refused with `UNAVAILABLE`.
    pub streams_per_second: u32,
    /// Size of one request. The first one of a reconnecting client names everything it holds, so
    /// gRPC's usual 4 MiB would shut out a client of a large mesh; peers are authenticated before
    /// a request is read.
    pub request_bytes: usize,
}

impl Default for Limits {
    /// 100,000 streams; 15 new ones and 5 more for each core in a second, at most 100 (istiod's
    /// formula); 32 MiB.
    fn default() -> Self {
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        let streams_per_second = u32::try_from(15 + 5 * cores).unwrap_or(u32::MAX).min(100);
        Self {
            streams: 100_000,
            streams_per_second,
            request_bytes: 32 << 20,
        }
    }
}

/// Serves catalogs to clients; clones are the same server.
pub struct Server<E: Embedder> {
    shared: Arc<Shared<E>>,
}

/// What all streams of a server share.
pub(crate) struct Shared<E: Embedder> {
    embedder: E,
    limits: Limits,
    order: Arc<[String]>,
    admission: Admission,
    registry: Arc<Registry<E::Peer>>,
    n_streams: AtomicU64,
    closed: watch::Sender<bool>,
}

impl<E: Embedder> Server<E> {
    /// A server without streams.
    ///
    /// * `order` — type URLs as additions are to be sent within one publication; removals go in
    ///   the reverse order. Policies come first: a workload must never be reachable before the
    ///   policy that guards it.
    pub fn new<S: Into<String>>(
        embedder: E,
        order: impl IntoIterator<Item = S>,
        limits: Limits,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                embedder,
                limits,
                order: order.into_iter().map(Into::into).collect(),
                admission: Admission::new(limits),
                registry: Registry::new(),
                n_streams: AtomicU64::new(0),
                closed: watch::Sender::new(false),
            }),
        }
    }

    /// The gRPC service, to be added to a tonic server or router. The listener should send
    /// keepalive pings, so that a vanished client's stream ends.
    pub fn service(&self) -> AggregatedDiscoveryServiceServer<Self> {
        AggregatedDiscoveryServiceServer::new(self.clone())
            .max_decoding_message_size(self.shared.limits.request_bytes)
    }

    /// The connected clients and what each has acknowledged.
    pub fn clients(&self) -> Vec<Connected<E::Peer>> {
        self.shared.registry.clients()
    }

    /// Wakes when [`Self::clients`] would say something else.
    pub fn clients_changed(&self) -> watch::Receiver<()> {
        self.shared.registry.changed()
    }

    /// Ends every stream, and new ones at once, without error: clients go elsewhere or wait.
    pub fn close(&self) {
        self.shared.closed.send_replace(true);
    }
}

impl<E: Embedder> Shared<E> {
    fn next_stream(&self) -> u64 {
        self.n_streams.fetch_add(1, Ordering::Relaxed) + 1
    }

    async fn closed(&self) {
        // The sender is in `self`, so this only ends when it says so.
        let mut closed = self.closed.subscribe();
        let _closed = closed.wait_for(|closed| *closed).await;
    }
}

#[tonic::async_trait]
impl<E: Embedder> AggregatedDiscoveryService for Server<E> {
    type DeltaAggregatedResourcesStream = BoxStream<'static, Result<Response, Status>>;

    async fn delta_aggregated_resources(
        &self,
        request: tonic::Request<Streaming<Request>>,
    ) -> Result<tonic::Response<Self::DeltaAggregatedResourcesStream>, Status> {
        let place = self
            .shared
            .admission
            .enter()
            .await
            .map_err(|refused| match refused {
                admission::Refused::Full => Status::resource_exhausted(refused.to_string()),
                admission::Refused::TooFast => Status::unavailable(refused.to_string()),
            })?;
        let (metadata, connection, requests) = request.into_parts();
        let grant = self
            .shared
            .embedder
            .authenticate(&metadata, &connection)
            .await?;
        let conversation = Conversation::new(Arc::clone(&self.shared), grant, requests, place);
        Ok(tonic::Response::new(Box::pin(conversation.responses())))
    }
}

impl<E: Embedder> Clone for Server<E> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<E: Embedder> fmt::Debug for Server<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("limits", &self.shared.limits)
            .field("order", &self.shared.order)
            .finish_non_exhaustive()
    }
}
