//! What a Service port speaks, and where it leads on a pod.
//!
//! Source: Istio's protocol selection (`appProtocol`, else the prefix of the port's name), as far
//! as workload discovery can say it; scenario 03-service-ports.

use k8s_openapi::api::core::v1::{PodSpec, Service, ServicePort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use proto::workload::AppProtocol;

/// Returns the declared protocol of a Service port.
///
/// An `appProtocol` decides alone, also when it is one that nobody knows.
pub(crate) fn protocol(port: &ServicePort) -> AppProtocol {
    if !is_tcp(port.protocol.as_deref()) {
        return AppProtocol::Unknown;
    }
    match (&port.app_protocol, &port.name) {
        (Some(declared), _) => from_app_protocol(declared),
        (None, Some(name)) => from_port_name(name),
        (None, None) => AppProtocol::Unknown,
    }
}

fn from_app_protocol(declared: &str) -> AppProtocol {
    match declared.to_ascii_lowercase().as_str() {
        "kubernetes.io/h2c" => AppProtocol::Http2,
        "kubernetes.io/ws" => AppProtocol::Http11,
        "kubernetes.io/wss" => AppProtocol::Tls,
        word => from_word(word),
    }
}

/// `grpc-web` is a protocol of its own although `grpc-anything` is gRPC.
fn from_port_name(name: &str) -> AppProtocol {
    if name == "grpc-web" || name.starts_with("grpc-web-") {
        return AppProtocol::Unknown;
    }
    let word = name.split_once('-').map_or(name, |(word, _)| word);
    from_word(&word.to_ascii_lowercase())
}

fn from_word(word: &str) -> AppProtocol {
    match word {
        "http" => AppProtocol::Http11,
        "http2" => AppProtocol::Http2,
        "grpc" => AppProtocol::Grpc,
        "https" | "tls" => AppProtocol::Tls,
        "tcp" => AppProtocol::Tcp,
        _ => AppProtocol::Unknown,
    }
}

/// Ports of a Service, by what a waypoint makes of connections to them.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Spoken {
    /// Declared to carry something else than HTTP: bytes are passed on unread.
    pub(crate) bytes: Vec<u32>,
    /// Declared to carry HTTP.
    pub(crate) requests: Vec<u32>,
    /// Not declared: each connection shows what it is.
    pub(crate) either: Vec<u32>,
}

impl Spoken {
    /// Of the ports of a Service those in `wanted`; none in `wanted` is all.
    pub(crate) fn of(service: &Service, wanted: &[u32]) -> Self {
        let mut spoken = Self::default();
        let ports = service
            .spec
            .iter()
            .flat_map(|spec| spec.ports.iter().flatten());
        for port in ports.filter(|port| is_tcp(port.protocol.as_deref())) {
            let number = number(port.port);
            if !wanted.is_empty() && !wanted.contains(&number) {
                continue;
            }
            match protocol(port) {
                AppProtocol::Tcp | AppProtocol::Tls => spoken.bytes.push(number),
                AppProtocol::Http11 | AppProtocol::Http2 | AppProtocol::Grpc => {
                    spoken.requests.push(number);
                }
                AppProtocol::Unknown => spoken.either.push(number),
            }
        }
        spoken
    }

    /// Adds those of another Service.
    pub(crate) fn add(&mut self, other: Self) {
        self.bytes.extend(other.bytes);
        self.requests.extend(other.requests);
        self.either.extend(other.either);
    }

    /// Whether there is no port at all.
    pub(crate) fn is_nothing(&self) -> bool {
        self.bytes.is_empty() && self.requests.is_empty() && self.either.is_empty()
    }

    /// Whether there are ports, and a waypoint reads requests on none of them.
    pub(crate) fn is_bytes(&self) -> bool {
        !self.bytes.is_empty() && self.requests.is_empty() && self.either.is_empty()
    }
}

/// Whether a port's `protocol`, which is TCP if left out, is TCP.
pub(crate) fn is_tcp(protocol: Option<&str>) -> bool {
    protocol.is_none_or(|protocol| protocol == "TCP")
}

/// Returns the number of a Service port; Kubernetes stores ports as signed numbers.
pub(crate) fn number(port: i32) -> u32 {
    u16::try_from(port).map_or(0, u32::from)
}

/// Returns where a Service port leads as far as the Service says; 0 if it names a port of the pod.
pub(crate) fn target(port: &ServicePort) -> u32 {
    match &port.target_port {
        None | Some(IntOrString::Int(0)) => number(port.port),
        Some(IntOrString::Int(target)) => number(*target),
        Some(IntOrString::String(_)) => 0,
    }
}

/// Returns where a Service port leads on a pod, `None` if the pod has no port of that name.
pub(crate) fn target_on(port: &ServicePort, pod: &PodSpec) -> Option<u32> {
    let Some(IntOrString::String(name)) = &port.target_port else {
        return Some(target(port));
    };
    let wanted = port.protocol.as_deref().unwrap_or("TCP");
    let sidecars = pod.init_containers.iter().flatten();
    pod.containers
        .iter()
        .chain(sidecars.filter(|container| container.restart_policy.as_deref() == Some("Always")))
        .flat_map(|container| container.ports.iter().flatten())
        .find(|found| {
            found.name.as_ref() == Some(name)
                && found.protocol.as_deref().unwrap_or("TCP") == wanted
        })
        .map(|found| number(found.container_port))
}
