//! One mesh with one waypoint, in the words of the domain.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use identity::Token;
use identity::channel::{ControlPlane, Roots};
use mesh::path::Normalization;
use proto::cairn::waypoint as wire;
use proto::workload::{
    Address, GatewayAddress, NamespacedHostname, NetworkAddress, Port, PortList, Service,
    TunnelProtocol, Workload, address, gateway_address,
};
use runtime::LocalTasks;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use waypoint::app::{self, Bound, Logs};
use waypoint::config::{Config, Listen, Modules, Place};

use crate::authority::Authority;
use crate::backend::{Backend, Speaks};
use crate::client::{Answer, Client};
use crate::control::Control;

/// Who the waypoint is.
pub(crate) const WAYPOINT: &str = "spiffe://cluster.local/ns/infra/sa/waypoint";
/// Who clients are, unless a test says otherwise.
pub(crate) const WEB: &str = "spiffe://cluster.local/ns/web/sa/web";
/// Who endpoints are.
pub(crate) const CART: &str = "spiffe://cluster.local/ns/shop/sa/cart";
/// The service's virtual address.
pub(crate) const VIP: &str = "10.96.0.1";
/// The service at port 80, as clients dial it.
pub(crate) const CART_80: &str = "10.96.0.1:80";
/// How long a test waits for anything.
const PATIENCE: Duration = Duration::from_mins(1);

/// Declared protocols, by their numbers in WDS.
pub(crate) mod declared {
    pub(crate) const UNKNOWN: i32 = 0;
    pub(crate) const HTTP: i32 = 1;
    pub(crate) const HTTP2: i32 = 2;
    pub(crate) const TCP: i32 = 4;
}

/// Runs a test on one thread, where tasks that stay on it can be spawned.
#[track_caller]
pub(crate) fn run<F: Future<Output = ()>>(test: impl FnOnce() -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let local = tokio::task::LocalSet::new();
    let bounded = async { tokio::time::timeout(PATIENCE, test()).await };
    let outcome = local.block_on(&runtime, bounded);
    assert!(outcome.is_ok(), "the test took longer than {PATIENCE:?}");
}

/// A control plane, an authority, and a waypoint that has just become ready.
pub(crate) struct Mesh {
    pub(crate) authority: Authority,
    pub(crate) control: Control,
    pub(crate) waypoint: Bound,
    pub(crate) tasks: LocalTasks,
}

impl Mesh {
    /// A mesh with the service `cart` in `shop` at ports 80 (HTTP) and 81 (undeclared).
    pub(crate) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    /// As [`start`](Self::start), with what must be there before the waypoint is ready.
    pub(crate) async fn with(prepare: impl FnOnce(&Control)) -> Self {
        Self::configured(prepare, |_| {}).await
    }

    /// As [`with`](Self::with), with other settings.
    pub(crate) async fn configured(
        prepare: impl FnOnce(&Control),
        configure: impl FnOnce(&mut Config),
    ) -> Self {
        let authority = Authority::new();
        let control = Control::start(&authority).await;
        put_service(&control, &service("cart"));
        prepare(&control);
        let mut config = config(&control, &authority);
        configure(&mut config);
        let waypoint = app::build_with(&config, Logs::none(), authority.clone()).unwrap();
        waypoint.ready().await;
        Self {
            authority,
            control,
            waypoint,
            tasks: LocalTasks::default(),
        }
    }

    /// A client in namespace `web`.
    pub(crate) async fn client(&self) -> Client {
        self.client_as(WEB).await
    }

    pub(crate) async fn client_as(&self, id: &str) -> Client {
        let waypoint = SocketAddr::new(IpAddr::from([127, 0, 0, 1]), self.waypoint.hbone.port());
        // Boxed: every test would hold its handshakes.
        let connecting = Client::connect(&self.authority, id, waypoint, WAYPOINT);
        Box::pin(connecting).await.unwrap()
    }

    /// A plain HTTP/1.1 endpoint of `cart`.
    pub(crate) async fn endpoint(&self, name: &str) -> Backend {
        let backend = Backend::plain(name, Speaks::Http1).await;
        self.attach(&backend, name, "cart", TunnelProtocol::None);
        backend
    }

    /// An endpoint of `cart` that is reached through a tunnel.
    pub(crate) async fn meshed(&self, name: &str, speaks: Speaks) -> Backend {
        let backend = Backend::meshed(name, speaks, &self.authority, CART).await;
        self.attach(&backend, name, "cart", TunnelProtocol::Hbone);
        backend
    }

    /// Makes a backend an endpoint of a service, at every port.
    pub(crate) fn attach(
        &self,
        backend: &Backend,
        name: &str,
        service: &str,
        tunnel: TunnelProtocol,
    ) {
        let workload = workload(name, backend.address, service, tunnel);
        put_workload(&self.control, &workload);
    }

    /// Waits until requests say that a change has arrived.
    pub(crate) async fn eventually(&self, what: &str, mut check: impl AsyncFnMut() -> bool) {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
        while !check().await {
            assert!(tokio::time::Instant::now() < deadline, "never: {what}");
            tokio::task::yield_now().await;
        }
    }

    /// Waits until a GET is answered as `expected` says, and returns that answer.
    pub(crate) async fn until(
        &self,
        client: &Client,
        path: &str,
        expected: impl Fn(&Answer) -> bool,
    ) -> Answer {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
        loop {
            let answer = client.get(CART_80, path).await;
            if expected(&answer) {
                return answer;
            }
            assert!(tokio::time::Instant::now() < deadline, "still {answer:?}");
        }
    }

    /// Waits until an endpoint that was just attached is used.
    pub(crate) async fn settled(&self, client: &Client) {
        self.until(client, "/settled", |answer| answer.status == 200)
            .await;
    }

    /// One of the waypoint's own pages.
    pub(crate) async fn page(&self, address: SocketAddr, path: &str) -> String {
        let loopback = SocketAddr::new(IpAddr::from([127, 0, 0, 1]), address.port());
        let mut stream = TcpStream::connect(loopback).await.unwrap();
        let request =
            format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut page = String::new();
        stream.read_to_string(&mut page).await.unwrap();
        page
    }

    /// The value of a counter whose line holds all of `labels`.
    pub(crate) async fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let page = self
            .page(self.waypoint.addresses.stats, "/stats/prometheus")
            .await;
        let lines = page.lines().filter(|line| {
            line.starts_with(&format!("{name}{{"))
                && labels.iter().all(|label| line.contains(label))
        });
        lines
            .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
            .sum()
    }
}

fn config(control: &Control, authority: &Authority) -> Config {
    let control = ControlPlane {
        address: format!("https://localhost:{}", control.address.port()),
        roots: Roots::Pem(authority.root()),
        alternative_name: None,
    };
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    Config {
        xds: control.clone(),
        ca: control,
        token: Token::None,
        place: Place {
            gateway: "waypoint".into(),
            namespace: "infra".into(),
            pod: "waypoint-1".into(),
            service_account: "waypoint".into(),
            instance_ip: IpAddr::from([127, 0, 0, 1]),
            node: "node-1".into(),
            cluster_id: "Kubernetes".into(),
            cluster_domain: "cluster.local".into(),
            network: "".into(),
            trust_domain: "cluster.local".into(),
            trust_domain_aliases: vec![],
        },
        secret_ttl: Duration::from_hours(1),
        workers: 1,
        path_normalization: Normalization::Base,
        access_log: false,
        drain: Duration::from_secs(5),
        log_filter: "info".to_owned(),
        log_json: false,
        listen: Listen {
            hbone: any,
            admin: any,
            stats: any,
            readiness: any,
        },
        modules: Modules::default(),
        held_bodies: waypoint::config::HELD_BODIES,
    }
}

/// A service in `shop` behind the waypoint; `cart` has the address [`VIP`].
pub(crate) fn service(name: &str) -> Service {
    let hostname = NamespacedHostname {
        namespace: "infra".to_owned(),
        hostname: "waypoint.infra.svc.cluster.local".to_owned(),
    };
    let port = |service_port, app_protocol| Port {
        service_port,
        target_port: 0,
        app_protocol,
    };
    let vip: IpAddr = VIP.parse().unwrap();
    let addresses = match vip {
        IpAddr::V4(ip) if name == "cart" => vec![ip.octets().to_vec().into()],
        _ => vec![],
    };
    let network = |address| NetworkAddress {
        address,
        ..Default::default()
    };
    Service {
        name: name.to_owned(),
        namespace: "shop".to_owned(),
        hostname: format!("{name}.shop"),
        addresses: addresses.into_iter().map(network).collect(),
        ports: vec![
            port(80, declared::HTTP),
            port(81, declared::UNKNOWN),
            port(82, declared::TCP),
        ],
        waypoint: Some(GatewayAddress {
            destination: Some(gateway_address::Destination::Hostname(hostname)),
            hbone_mtls_port: 15008,
        }),
        ..Default::default()
    }
}

pub(crate) fn put_service(control: &Control, service: &Service) {
    let name = format!("{}/{}", service.namespace, service.hostname);
    let message = Address {
        r#type: Some(address::Type::Service(service.clone())),
    };
    control.put(proto::ADDRESS_TYPE, &name, &message);
}

/// An endpoint of a service, at each of its ports.
pub(crate) fn workload(
    name: &str,
    at: SocketAddr,
    service: &str,
    tunnel: TunnelProtocol,
) -> Workload {
    let IpAddr::V4(ip) = at.ip() else {
        panic!("IPv4 only")
    };
    let target_port = u32::from(at.port());
    let port = |service_port| Port {
        service_port,
        target_port,
        app_protocol: 0,
    };
    let ports = PortList {
        ports: [80, 81, 82].map(port).to_vec(),
    };
    Workload {
        uid: format!("pod-{name}"),
        name: name.to_owned(),
        namespace: "shop".to_owned(),
        service_account: "cart".to_owned(),
        addresses: vec![ip.octets().to_vec().into()],
        tunnel_protocol: tunnel.into(),
        workload_name: name.to_owned(),
        canonical_name: name.to_owned(),
        services: BTreeMap::from([(format!("shop/{service}.shop"), ports)]),
        ..Default::default()
    }
}

pub(crate) fn put_workload(control: &Control, workload: &Workload) {
    let message = Address {
        r#type: Some(address::Type::Workload(workload.clone())),
    };
    control.put(proto::ADDRESS_TYPE, &workload.uid, &message);
}

/// An object of `shop`.
pub(crate) fn origin(kind: &str, name: &str) -> wire::Origin {
    wire::Origin {
        kind: kind.to_owned(),
        namespace: "shop".to_owned(),
        name: name.to_owned(),
        ..Default::default()
    }
}

pub(crate) fn service_ref(name: &str) -> wire::ServiceRef {
    wire::ServiceRef {
        namespace: "shop".to_owned(),
        hostname: format!("{name}.shop"),
    }
}

/// Only `cart`.
pub(crate) fn targets() -> Vec<wire::Target> {
    vec![wire::Target {
        kind: Some(wire::target::Kind::Service(service_ref("cart"))),
    }]
}

/// A route of `cart` with these rules.
pub(crate) fn route(name: &str, rules: Vec<wire::RouteRule>) -> wire::Route {
    wire::Route {
        origin: Some(origin("HTTPRoute", name)),
        parents: vec![wire::RouteParent {
            service: Some(service_ref("cart")),
            port: 0,
        }],
        rules,
        ..Default::default()
    }
}

/// A rule for paths with a prefix, to a service.
pub(crate) fn rule(prefix: &str, backends: &[(&str, u32)]) -> wire::RouteRule {
    let kind = wire::path_match::Kind::Prefix(prefix.to_owned());
    let path = Some(wire::PathMatch { kind: Some(kind) });
    let backend = |(name, weight): &(&str, u32)| wire::RouteBackend {
        service: Some(service_ref(name)),
        port: 80,
        weight: *weight,
        ..Default::default()
    };
    wire::RouteRule {
        matches: vec![wire::RouteMatch {
            path,
            ..Default::default()
        }],
        backends: backends.iter().map(backend).collect(),
        ..Default::default()
    }
}
