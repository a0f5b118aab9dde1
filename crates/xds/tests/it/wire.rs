//! A server and its clients in one process, with a wire that can be cut.

use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use proto::{
    discovery::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient,
    envoy::config::core::v3::Node,
};
use tokio::{
    io::{DuplexStream, copy_bidirectional, duplex},
    sync::mpsc,
    task::{AbortHandle, JoinSet},
    time::{Instant, timeout},
};
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};
use tonic::{
    Extensions, Status, Streaming,
    metadata::MetadataMap,
    transport::{Channel, Endpoint},
};
use tower::service_fn;
use xds::{
    Request, Response,
    client::{
        BoxError, Client, Observer, Refusals, Rejected, Subscriptions, Termination, Transport,
        Update, Watch,
    },
    server::{Answer, Catalog, Connected, Embedder, Entry, Grant, Holding, Limits, Server},
};

pub(crate) const ADDRESS: &str = "type.googleapis.com/test.Address";
pub(crate) const POLICY: &str = "type.googleapis.com/test.Policy";

/// Content that clients refuse.
pub(crate) const BAD: &str = "bad";

/// Bytes a connection holds before its writer waits.
const BUFFER: usize = 64 << 10;

/// Waits for a condition in (paused) time; panics with `what` if it does not come.
pub(crate) async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_mins(2);
    while !condition() {
        assert!(Instant::now() < deadline, "did not happen: {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Who a test client is, and when its token ends.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Peer(pub(crate) String);

/// Lets clients with a token see one catalog, and writes down their answers.
pub(crate) struct Embedding {
    catalog: Arc<Catalog>,
    answers: Arc<Mutex<Vec<(Peer, Answer)>>>,
    /// Tokens last this long; forever if `None`.
    lifetime: Option<Duration>,
}

impl Embedder for Embedding {
    type Peer = Peer;

    async fn authenticate(
        &self,
        metadata: &MetadataMap,
        _connection: &Extensions,
    ) -> Result<Grant<Peer>, Status> {
        let bearer = metadata
            .get("authorization")
            .and_then(|value| value.to_str().ok());
        let token = bearer.and_then(|bearer| bearer.strip_prefix("Bearer "));
        let token = token.ok_or_else(|| Status::unauthenticated("no token"))?;
        let recheck_at = self.lifetime.map(|lifetime| Instant::now() + lifetime);
        Ok(Grant {
            peer: Peer(token.to_owned()),
            recheck_at,
        })
    }

    fn view(&self, peer: &Peer, _type_url: &str, _node: &Node) -> Option<Arc<Catalog>> {
        (peer.0 != "stranger").then(|| Arc::clone(&self.catalog))
    }

    fn answered(&self, peer: &Peer, answer: &Answer) {
        self.answers.lock().push((peer.clone(), answer.clone()));
    }
}

/// One server that can be stopped and started, and the tasks of everybody.
pub(crate) struct World {
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) server: Server<Embedding>,
    pub(crate) answers: Arc<Mutex<Vec<(Peer, Answer)>>>,
    network: Network,
    tasks: JoinSet<()>,
}

/// What connects clients to the server of the moment.
#[derive(Clone, Default)]
struct Network {
    listener: Arc<Mutex<Option<mpsc::Sender<DuplexStream>>>>,
    cables: Arc<Mutex<JoinSet<()>>>,
    n_connected: Arc<AtomicUsize>,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(
            Limits {
                streams_per_second: 1000,
                ..Limits::default()
            },
            None,
        )
    }

    pub(crate) fn with(limits: Limits, lifetime: Option<Duration>) -> Self {
        let (catalog, answers) = (Catalog::new(), Arc::default());
        let embedding = Embedding {
            catalog: Arc::clone(&catalog),
            answers: Arc::clone(&answers),
            lifetime,
        };
        let server = Server::new(embedding, [POLICY, ADDRESS], limits);
        let mut world = Self {
            catalog,
            server,
            answers,
            network: Network::default(),
            tasks: JoinSet::new(),
        };
        world.listen();
        world
    }

    fn listen(&mut self) {
        let (listener, accepted) = mpsc::channel(16);
        *self.network.listener.lock() = Some(listener);
        let incoming = ReceiverStream::new(accepted).map(Ok::<_, io::Error>);
        let router = tonic::transport::Server::builder().add_service(self.server.service());
        self.tasks.spawn(async move {
            router
                .serve_with_incoming(incoming)
                .await
                .expect("the listener is in memory");
        });
    }

    /// Stops answering, as a killed process.
    pub(crate) fn stop(&self) {
        *self.network.listener.lock() = None;
        self.cut();
    }

    /// Starts again with nothing remembered, serving `catalog` as it is rebuilt by `build`.
    pub(crate) fn start(&mut self, build: impl FnOnce(&Catalog)) {
        self.catalog = Catalog::new();
        build(&self.catalog);
        let embedding = Embedding {
            catalog: Arc::clone(&self.catalog),
            answers: Arc::clone(&self.answers),
            lifetime: None,
        };
        let limits = Limits {
            streams_per_second: 1000,
            ..Limits::default()
        };
        self.server = Server::new(embedding, [POLICY, ADDRESS], limits);
        self.listen();
    }

    /// Cuts every connection.
    pub(crate) fn cut(&self) {
        self.network.cables.lock().abort_all();
    }

    /// How many connections were ever made.
    pub(crate) fn n_connected(&self) -> usize {
        self.network.n_connected.load(Ordering::Relaxed)
    }

    /// Edits the catalog: `name=content` puts, `-name` removes.
    pub(crate) fn publish(&self, type_url: &str, edits: &[&str]) -> u64 {
        publish(&self.catalog, type_url, edits)
    }

    /// Starts a client that wants everything of both types, addresses first.
    pub(crate) fn client(&mut self, token: &str) -> Proxy {
        let proxy = Proxy::default();
        let watches = [Watch::everything(ADDRESS), Watch::everything(POLICY)];
        let node = Node {
            id: format!("ztunnel~{token}"),
            ..Node::default()
        };
        let mut client = Client::new(
            Link {
                network: self.network.clone(),
                token: token.to_owned(),
            },
            Subscriptions::new(node, watches),
            proxy.handler(),
            Box::new(|| 1.0),
        )
        .observed_by(Arc::new(proxy.clone()));
        let (ready, connected, refusals) = (client.ready(), client.connected(), client.refusals());
        let task = self.tasks.spawn(async move { client.run().await });
        Proxy {
            ready: Some(ready),
            connected: Some(connected),
            refusals: Some(refusals),
            task: Some(task),
            ..proxy
        }
    }

    /// A stream without a client's manners: requests and responses by hand.
    pub(crate) async fn raw(&self, token: &str) -> Raw {
        let mut link = Link {
            network: self.network.clone(),
            token: token.to_owned(),
        };
        let channel = link.connect().await.expect("the server listens");
        let metadata = link.metadata().await.expect("a token is at hand");
        let (requests, queued) = mpsc::channel(16);
        let stream = ReceiverStream::new(queued);
        let request = tonic::Request::from_parts(metadata, Extensions::default(), stream);
        let responses = AggregatedDiscoveryServiceClient::new(channel)
            .delta_aggregated_resources(request)
            .await
            .map(tonic::Response::into_inner);
        Raw {
            requests,
            responses,
        }
    }

    /// What the only client refuses by now, `name=content: reason`, of contents 0 to 9.
    pub(crate) fn refused(&self, type_url: &str) -> Vec<String> {
        let version = |content: u8| Entry::new(content.to_string().into_bytes()).version();
        let clients = self.server.clients();
        let holding = clients.first().and_then(|c| c.holdings.get(type_url));
        let rejected = holding.into_iter().flat_map(Holding::rejected);
        let words = rejected.map(|refused| {
            let content = (0..10).find(|content| version(*content) == refused.version);
            let content = content.expect("a content of these tests");
            format!("{}={content}: {}", refused.name, refused.reason)
        });
        words.collect()
    }

    /// Waits until every client has answered all that is published.
    pub(crate) async fn synced(&self) {
        self.synced_again(0).await;
    }

    /// Waits until every client has, on streams later than `stream`.
    pub(crate) async fn synced_again(&self, stream: u64) {
        eventually("every client is current", || {
            let clients = self.server.clients();
            let synced = |client: &Connected<Peer>| {
                client.stream > stream && client.is_current() && client.holdings.len() == 2
            };
            !clients.is_empty() && clients.iter().all(synced)
        })
        .await;
    }
}

pub(crate) fn publish(catalog: &Catalog, type_url: &str, edits: &[&str]) -> u64 {
    catalog.edit(|snapshot| {
        let resources = snapshot.resources_mut(type_url);
        for edit in edits {
            if let Some(name) = edit.strip_prefix('-') {
                resources.remove(name);
            } else {
                let (name, content) = edit.split_once('=').expect("name=content");
                resources.put(name, Entry::new(content.as_bytes().to_vec()));
            }
        }
    })
}

/// A client's way to the server.
struct Link {
    network: Network,
    token: String,
}

impl Transport for Link {
    type Channel = Channel;
    type Body = tonic::body::Body;

    async fn connect(&mut self) -> Result<Channel, BoxError> {
        let listener = self.network.listener.lock().clone();
        let listener = listener.ok_or("connection refused")?;
        let (near, mut client_end) = duplex(BUFFER);
        let (far, mut server_end) = duplex(BUFFER);
        listener.send(far).await.map_err(|_| "connection reset")?;
        self.network.cables.lock().spawn(async move {
            // The end of a connection is not news to its cable.
            let _ended = copy_bidirectional(&mut client_end, &mut server_end).await;
        });
        self.network.n_connected.fetch_add(1, Ordering::Relaxed);
        let mut near = Some(near);
        let connector = service_fn(move |_uri| {
            let near = near.take().map(TokioIo::new);
            async move { near.ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected)) }
        });
        Ok(Endpoint::from_static("http://control")
            .connect_with_connector(connector)
            .await?)
    }

    async fn metadata(&mut self) -> Result<MetadataMap, BoxError> {
        let mut metadata = MetadataMap::new();
        if !self.token.is_empty() {
            metadata.insert("authorization", format!("Bearer {}", self.token).parse()?);
        }
        Ok(metadata)
    }
}

/// What a client made of what it was sent.
#[derive(Clone, Default)]
pub(crate) struct Proxy {
    state: Arc<Mutex<BTreeMap<(String, String), String>>>,
    log: Arc<Mutex<Vec<String>>>,
    terminations: Arc<Mutex<Vec<Termination>>>,
    ready: Option<tokio::sync::watch::Receiver<bool>>,
    connected: Option<tokio::sync::watch::Receiver<bool>>,
    refusals: Option<Refusals>,
    task: Option<AbortHandle>,
}

impl Proxy {
    /// Applies content to the state, and refuses what begins with [`BAD`].
    fn handler(&self) -> impl FnMut(&str, Vec<Update>) -> Vec<Rejected> + use<> {
        let (state, log) = (Arc::clone(&self.state), Arc::clone(&self.log));
        move |type_url: &str, updates: Vec<Update>| {
            let mut state = state.lock();
            let mut rejected = Vec::new();
            let mut line = vec![short(type_url).to_owned()];
            for update in updates {
                match update {
                    Update::Remove(name) => {
                        line.push(format!("-{name}"));
                        state.remove(&(type_url.to_owned(), name));
                    }
                    Update::Put(put) => {
                        let content = String::from_utf8_lossy(&put.bytes).into_owned();
                        line.push(format!("+{}={content}", put.name));
                        if content.starts_with(BAD) {
                            let reason = "is bad; very: bad".to_owned();
                            rejected.push(Rejected {
                                name: put.name,
                                reason,
                            });
                        } else {
                            state.insert((type_url.to_owned(), put.name), content);
                        }
                    }
                }
            }
            log.lock().push(line.join(" "));
            rejected
        }
    }

    /// The responses applied since the last call, in words.
    pub(crate) fn take_log(&self) -> Vec<String> {
        std::mem::take(&mut *self.log.lock())
    }

    /// What is in force, `name=content`.
    pub(crate) fn state(&self, type_url: &str) -> Vec<String> {
        let state = self.state.lock();
        let own = state.iter().filter(|((of, _), _)| of == type_url);
        own.map(|((_, name), content)| format!("{name}={content}"))
            .collect()
    }

    /// Why streams ended, so far.
    pub(crate) fn terminations(&self) -> Vec<Termination> {
        self.terminations.lock().clone()
    }

    /// What was applied and turns out to be unusable, or usable after all.
    pub(crate) fn refusals(&self) -> &Refusals {
        self.refusals.as_ref().expect("the client was started")
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.ready.as_ref().is_some_and(|ready| *ready.borrow())
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.connected
            .as_ref()
            .is_some_and(|connected| *connected.borrow())
    }

    /// Ends the client, as a killed process.
    pub(crate) fn kill(&self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl Observer for Proxy {
    fn received(&self, _type_url: &str, bytes: usize) {
        assert!(bytes > 0, "a response has a nonce at least");
    }

    fn terminated(&self, why: Termination) {
        self.terminations.lock().push(why);
    }
}

/// A stream handled by hand.
pub(crate) struct Raw {
    pub(crate) requests: mpsc::Sender<Request>,
    pub(crate) responses: Result<Streaming<Response>, Status>,
}

impl Raw {
    pub(crate) async fn send(&self, request: Request) {
        self.requests
            .send(request)
            .await
            .expect("the stream is open");
    }

    /// Asks for everything of a type.
    pub(crate) async fn open(&self, type_url: &str) {
        self.send(Request {
            type_url: type_url.to_owned(),
            ..Request::default()
        })
        .await;
    }

    /// The next response, in words, and its nonce; or how the stream ended.
    pub(crate) async fn next(&mut self) -> Result<Option<(String, String)>, Status> {
        let responses = self.responses.as_mut().map_err(|status| status.clone())?;
        let response = timeout(Duration::from_mins(5), responses.message()).await;
        let response = response.expect("the server says something")?;
        Ok(response.map(|response| (words(&response), response.nonce)))
    }

    pub(crate) async fn ack(&self, type_url: &str, nonce: String) {
        let request = Request {
            type_url: type_url.to_owned(),
            response_nonce: nonce,
            ..Request::default()
        };
        self.send(request).await;
    }
}

fn short(type_url: &str) -> &str {
    type_url.rsplit('.').next().unwrap_or(type_url)
}

fn words(response: &Response) -> String {
    let puts = response.resources.iter().map(|put| {
        let content = put
            .resource
            .as_ref()
            .map(|any| String::from_utf8_lossy(&any.value));
        format!("+{}={}", put.name, content.unwrap_or_default())
    });
    let removals = response
        .removed_resources
        .iter()
        .map(|name| format!("-{name}"));
    [short(&response.type_url).to_owned()]
        .into_iter()
        .chain(puts)
        .chain(removals)
        .collect::<Vec<_>>()
        .join(" ")
}
