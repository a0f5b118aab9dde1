//! The listener as proxies see it: real TCP, TLS and gRPC on loopback.

use std::net::SocketAddr;
use std::sync::Arc;

use identity::ca::{CaClient, RequestShape};
use identity::channel::{AuthenticatedChannel, ControlPlane, Roots, open_authenticated};
use identity::{Credentials, Fetcher, Token};
use proto::cairn::waypoint::Route;
use proto::discovery::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use proto::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use proto::google::rpc::Status as Refusal;
use proto::security::Authorization;
use proto::workload::{Address, Service, address};
use proto::{ADDRESS_TYPE, AUTHORIZATION_TYPE, ROUTE_TYPE};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::metadata::AsciiMetadataValue;
use tonic::{Code, Status, Streaming};

mod reports;

use super::{Client, ControlServer, Foundations, SHUTDOWN_GRACE, default_names};
use crate::ca::fixture::Mesh;
use crate::ca::{Authenticated, BearerToken, CaSettings, Refused, TokenReviewer};
use crate::translate::{Resources, WaypointName, WaypointResources};

/// A control plane that serves, with the mesh it stands on.
struct Control {
    mesh: Mesh,
    server: Arc<ControlServer>,
    address: SocketAddr,
    shutdown: CancellationToken,
    running: JoinSet<()>,
}

impl Control {
    async fn start() -> Self {
        Self::start_with(None).await
    }

    /// With another reviewer than the mesh's own.
    async fn start_with(reviewer: Option<Arc<dyn TokenReviewer>>) -> Self {
        let mesh = Mesh::new();
        let foundations = Foundations {
            authority: Arc::clone(&mesh.authority),
            reviewer: reviewer.unwrap_or_else(|| Arc::clone(&mesh.tokens) as _),
            pods: Arc::clone(&mesh.pods) as _,
            settings: CaSettings::default(),
            names: default_names("istio-system", "cluster.local"),
        };
        let server = Arc::new(ControlServer::new(foundations).unwrap());
        server.catalogs().replace(&resources());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let mut running = JoinSet::new();
        let (serving, stop) = (Arc::clone(&server), shutdown.clone());
        running.spawn(async move { serving.run(listener, stop).await.unwrap() });
        Self {
            mesh,
            server,
            address,
            shutdown,
            running,
        }
    }

    /// Where it is, for a client that knows it by this name.
    fn plane(&self, name: &str) -> ControlPlane {
        ControlPlane {
            address: self.address.to_string(),
            roots: Roots::Pem(self.mesh.authority.roots().to_owned()),
            alternative_name: Some(name.to_owned()),
        }
    }

    fn channel(&self, name: &str, token: Token) -> AuthenticatedChannel {
        let control = self.plane(name);
        let cluster = AsciiMetadataValue::from_static("Kubernetes");
        open_authenticated(&control, Credentials::new(token, cluster)).unwrap()
    }

    /// A channel as the proxy in this pod opens it.
    fn channel_of(&self, namespace: &str, pod: &str) -> AuthenticatedChannel {
        let token = Token::Literal(self.mesh.token(namespace, pod));
        self.channel("istiod.istio-system.svc", token)
    }

    /// Waits until the clients are as wanted.
    async fn clients(&self, wanted: impl Fn(&[Client]) -> bool) -> Vec<Client> {
        let mut changed = self.server.clients_changed();
        loop {
            let clients = self.server.clients();
            if wanted(&clients) {
                return clients;
            }
            changed.changed().await.unwrap();
        }
    }
}

fn resources() -> Resources {
    let service = Service {
        name: "reviews".to_owned(),
        ..Service::default()
    };
    let address = Address {
        r#type: Some(address::Type::Service(service)),
    };
    let waypoint = |route: &str| WaypointResources {
        routes: [(route.to_owned(), Arc::new(Route::default()))].into(),
        ..WaypointResources::default()
    };
    Resources {
        addresses: [("shop/reviews".to_owned(), Arc::new(address))].into(),
        authorizations: [("shop/deny".to_owned(), Arc::new(Authorization::default()))].into(),
        waypoints: [
            (
                WaypointName::new("shop", "waypoint"),
                waypoint("shop/split"),
            ),
            (
                WaypointName::new("bank", "waypoint"),
                waypoint("bank/secret"),
            ),
        ]
        .into(),
    }
}

/// One xDS stream, spoken by hand.
struct Stream {
    requests: mpsc::Sender<DeltaDiscoveryRequest>,
    responses: Streaming<DeltaDiscoveryResponse>,
}

impl Stream {
    async fn open(channel: AuthenticatedChannel) -> Result<Self, Status> {
        let (requests, receiver) = mpsc::channel(16);
        let mut client = AggregatedDiscoveryServiceClient::new(channel);
        let response = client
            .delta_aggregated_resources(ReceiverStream::new(receiver))
            .await?;
        Ok(Self {
            requests,
            responses: response.into_inner(),
        })
    }

    async fn subscribe(&self, type_url: &str) {
        let type_url = type_url.to_owned();
        let request = DeltaDiscoveryRequest {
            type_url,
            ..Default::default()
        };
        self.requests.send(request).await.unwrap();
    }

    /// The next response, answered: names of its resources.
    async fn next(&mut self, refuse: Option<&str>) -> (String, Vec<String>) {
        let response = self.responses.message().await.unwrap().unwrap();
        let refusal = |message: &str| Refusal {
            code: 3,
            message: message.to_owned(),
            ..Default::default()
        };
        let answer = DeltaDiscoveryRequest {
            type_url: response.type_url.clone(),
            response_nonce: response.nonce,
            error_detail: refuse.map(refusal),
            ..Default::default()
        };
        self.requests.send(answer).await.unwrap();
        let names = response
            .resources
            .into_iter()
            .map(|resource| resource.name)
            .collect();
        (response.type_url, names)
    }
}

#[tokio::test]
async fn c_03_a_ztunnel_hears_of_all_addresses_and_l4_policies() {
    let control = Control::start().await;
    let mut stream = Stream::open(control.channel_of("istio-system", "ztunnel-1"))
        .await
        .unwrap();
    for url in [ADDRESS_TYPE, AUTHORIZATION_TYPE, ROUTE_TYPE] {
        stream.subscribe(url).await;
    }
    let mut heard = [
        stream.next(None).await,
        stream.next(None).await,
        stream.next(None).await,
    ];
    heard.sort();
    assert_eq!(
        heard,
        [
            (ROUTE_TYPE.to_owned(), vec![]),
            (AUTHORIZATION_TYPE.to_owned(), vec!["shop/deny".to_owned()]),
            (ADDRESS_TYPE.to_owned(), vec!["shop/reviews".to_owned()]),
        ]
    );
}

#[tokio::test]
async fn c_03_a_waypoint_hears_of_all_addresses_and_its_own_routes() {
    let control = Control::start().await;
    let mut stream = Stream::open(control.channel_of("shop", "waypoint-1"))
        .await
        .unwrap();
    for (url, name) in [
        (ROUTE_TYPE, Some("shop/split")),
        (ADDRESS_TYPE, Some("shop/reviews")),
        (AUTHORIZATION_TYPE, None),
    ] {
        stream.subscribe(url).await;
        let names = name.into_iter().map(str::to_owned).collect();
        assert_eq!(stream.next(None).await, (url.to_owned(), names));
    }
}

#[tokio::test]
async fn c_02_nobody_else_hears_anything() {
    let control = Control::start().await;
    let refused = Stream::open(control.channel_of("shop", "cart-1"))
        .await
        .err()
        .unwrap();
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");
    for token in [Token::None, Token::Literal("garbage".to_owned())] {
        let refused = Stream::open(control.channel("localhost", token))
            .await
            .err()
            .unwrap();
        assert_eq!(refused.code(), Code::Unauthenticated, "{refused}");
    }
    assert!(control.server.clients().is_empty());
}

#[tokio::test]
async fn an_edit_reaches_a_proxy_that_listens() {
    let control = Control::start().await;
    let mut stream = Stream::open(control.channel_of("shop", "waypoint-1"))
        .await
        .unwrap();
    stream.subscribe(ROUTE_TYPE).await;
    stream.next(None).await;
    let mut next = resources();
    let waypoint = WaypointName::new("shop", "waypoint");
    let routes = &mut next.waypoints.get_mut(&waypoint).unwrap().routes;
    routes.insert("shop/new".to_owned(), Arc::new(Route::default()));
    control.server.catalogs().replace(&next);
    assert_eq!(
        stream.next(None).await,
        (ROUTE_TYPE.to_owned(), vec!["shop/new".to_owned()])
    );
    let clients = control
        .clients(|clients| clients.iter().all(|client| client.current))
        .await;
    assert_eq!(clients.len(), 1);
}

#[tokio::test]
async fn shows_who_listens_and_what_each_has_accepted() {
    let control = Control::start().await;
    let mut stream = Stream::open(control.channel_of("shop", "waypoint-1"))
        .await
        .unwrap();
    stream.subscribe(ROUTE_TYPE).await;
    let [before] = &control.clients(|clients| clients.len() == 1).await[..] else {
        panic!()
    };
    assert!(!before.current);
    stream
        .next(Some("shop/split: rules[0]: no such thing"))
        .await;
    let answered = |clients: &[Client]| {
        clients
            .iter()
            .all(|client| client.types.values().any(|held| held.generation.is_some()))
    };
    let clients = control.clients(answered).await;
    let shown = serde_json::to_value(&clients[0]).unwrap();
    assert_eq!(shown["audience"], "waypoint shop/waypoint");
    assert_eq!(shown["account"], "shop/waypoint");
    assert_eq!(shown["pod"], "shop/waypoint-1");
    let rejected = &shown["types"][ROUTE_TYPE]["rejected"][0];
    assert_eq!(rejected["resource"], "shop/split");
    assert_eq!(rejected["reason"], "rules[0]: no such thing");
    drop(stream);
    control.clients(<[Client]>::is_empty).await;
}

#[tokio::test]
async fn signs_certificates_on_the_same_port() {
    let control = Control::start().await;
    let cart = "spiffe://cluster.local/ns/shop/sa/cart".parse().unwrap();
    let shape = RequestShape {
        impersonate: true,
        ..RequestShape::default()
    };
    let near = CaClient::new(
        control.channel_of("istio-system", "ztunnel-1"),
        shape.clone(),
    );
    assert_eq!(near.fetch(&cart).await.unwrap().id(), &cart);
    let far = CaClient::new(control.channel_of("istio-system", "ztunnel-2"), shape);
    let identity::Error::Authority { source, .. } = far.fetch(&cart).await.unwrap_err() else {
        panic!("another refusal")
    };
    assert_eq!(
        source.message(),
        "request impersonation authentication failure"
    );
}

#[tokio::test]
async fn answers_to_its_names_and_no_others() {
    let control = Control::start().await;
    let token = Token::Literal(control.mesh.token("istio-system", "ztunnel-1"));
    for name in default_names("istio-system", "cluster.local") {
        Stream::open(control.channel(&name, token.clone()))
            .await
            .unwrap();
    }
    let refused = Stream::open(control.channel("elsewhere.svc", token))
        .await
        .err()
        .unwrap();
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");
}

#[tokio::test]
async fn a_silent_connection_holds_nobody_up() {
    let control = Control::start().await;
    let _silent = TcpStream::connect(control.address).await.unwrap();
    Stream::open(control.channel_of("istio-system", "ztunnel-1"))
        .await
        .unwrap();
}

#[tokio::test]
async fn ends_streams_and_returns_when_told_to() {
    let mut control = Control::start().await;
    let mut stream = Stream::open(control.channel_of("istio-system", "ztunnel-1"))
        .await
        .unwrap();
    stream.subscribe(ADDRESS_TYPE).await;
    stream.next(None).await;
    control.shutdown.cancel();
    assert_eq!(
        stream.responses.message().await.unwrap(),
        None,
        "an orderly end"
    );
    control.running.join_next().await.unwrap().unwrap();
    TcpStream::connect(control.address).await.unwrap_err();
}

/// A reviewer that never comes to a verdict, and says when it was asked.
#[derive(Default)]
struct Undecided(Notify);

#[tonic::async_trait]
impl TokenReviewer for Undecided {
    async fn review(&self, _: &BearerToken, _: &str) -> Result<Authenticated, Refused> {
        self.0.notify_one();
        std::future::pending().await
    }
}

#[tokio::test]
async fn a_call_that_hangs_delays_the_end_for_a_while_only() {
    let reviewer = Arc::<Undecided>::default();
    let mut control = Control::start_with(Some(Arc::clone(&reviewer) as _)).await;
    let channel = control.channel_of("istio-system", "ztunnel-1");
    let mut stuck = JoinSet::new();
    stuck.spawn(Stream::open(channel));
    reviewer.0.notified().await;
    tokio::time::pause();
    let started = tokio::time::Instant::now();
    control.shutdown.cancel();
    control.running.join_next().await.unwrap().unwrap();
    assert_eq!(started.elapsed().as_secs(), SHUTDOWN_GRACE.as_secs());
}
