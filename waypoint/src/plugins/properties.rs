//! What guests can ask about a stream: Envoy's attributes, as far as a waypoint knows them.
//!
//! Source: Envoy, "Attributes"; Istio, node metadata. What follows from headers alone `wasm_host`
//! answers by itself.

use std::net::SocketAddr;
use std::time::SystemTime;

use mesh::workload::SharedWorkload;
use wasm_host::Value;

use crate::endpoint::{Endpoint, Transport};
use crate::http::context::{Destination, Tunnel};
use crate::http::report::End;

/// What properties of the proxy begin with.
const OURS: [&str; 19] = [
    "cairn",
    "cluster_metadata",
    "cluster_name",
    "connection",
    "connection_id",
    "destination",
    "filter_state",
    "listener_direction",
    "listener_metadata",
    "metadata",
    "node",
    "request",
    "response",
    "route_metadata",
    "route_name",
    "source",
    "upstream",
    "upstream_host_metadata",
    "xds",
];
/// Bytes of properties that guests may set on one exchange.
const OWN_LIMIT: usize = 64 << 10;

/// What became known of an exchange as it went along.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) started: Option<SystemTime>,
    pub(super) protocol: &'static str,
    pub(super) route: String,
    pub(super) upstream: Option<Endpoint>,
    pub(super) attempts: u64,
    /// At its end.
    pub(super) end: Option<End>,
}

/// [`Known`] as guests ask for it.
pub(super) struct Facts<'a>(pub(super) &'a Known);

impl Facts<'_> {
    pub(super) fn get(&self, tunnel: &Tunnel, path: &[&str]) -> Option<Value<'_>> {
        let known = self.0;
        Some(match path {
            ["request", "time"] => Value::Time(known.started?),
            ["request", "protocol"] => known.protocol.into(),
            ["request", name] => of_request(known.end.as_ref(), name)?,
            ["response", name] => of_response(known.end.as_ref(), name)?,
            ["xds", "route_name"] | ["route_name"] => (&*known.route).into(),
            ["xds", "virtual_host_name"] => virtual_host(tunnel)?.into(),
            ["upstream", "request_attempt_count"] => known.attempts.into(),
            ["upstream", name] => of_upstream(known.upstream.as_ref()?, name)?,
            ["cairn", "destination", name] => {
                of_workload(&known.upstream.as_ref()?.workload, name)?
            }
            _ => return None,
        })
    }
}

/// Sizes are counted at the end; before, as in Envoy, nothing has been counted.
fn of_request<'a>(end: Option<&'a End>, name: &str) -> Option<Value<'a>> {
    Some(match name {
        "duration" => Value::Duration(end?.duration),
        "size" => int(end.map_or(0, |end| end.request_size)),
        "total_size" => int(end.map_or(0, |end| end.request_total)),
        _ => return None,
    })
}

fn of_response<'a>(end: Option<&'a End>, name: &str) -> Option<Value<'a>> {
    Some(match name {
        "code_details" => some(&end?.details)?,
        "flags" => int(end.map_or(0, |end| end.flags)),
        "grpc_status" => i64::from(end?.grpc_status?).into(),
        "size" => int(end.map_or(0, |end| end.response_size)),
        "total_size" => int(end.map_or(0, |end| end.response_total)),
        "backend_latency" => Value::Duration(end?.backend_latency?),
        _ => return None,
    })
}

/// What is the same for all streams of a tunnel.
pub(super) fn of_connection<'a>(tunnel: &'a Tunnel, path: &[&str]) -> Option<Value<'a>> {
    let peer = &tunnel.peer;
    Some(match path {
        ["source", "address"] => peer.addr.to_string().into(),
        ["source", "port"] => i64::from(peer.addr.port()).into(),
        ["destination", "address"] => tunnel.asked?.to_string().into(),
        ["destination", "port"] => i64::from(tunnel.destination.port()).into(),
        ["connection", name] => of_tls(tunnel, name)?,
        ["connection_id"] => tunnel.peer.number.into(),
        ["xds", "cluster_name"] | ["cluster_name"] => cluster(&tunnel.destination).into(),
        ["xds", "listener_direction"] | ["listener_direction"] => 1_i64.into(),
        ["xds", "filter_chain_name"] => chain(&tunnel.destination).into(),
        ["cairn", "source", "principal"] => peer.id.as_str().into(),
        ["cairn", "source", name] => of_workload(tunnel.source.as_ref()?, name)?,
        _ => return None,
    })
}

/// The tunnel's TLS. HBONE is always TLS 1.3, and both ends have a certificate.
fn of_tls<'a>(tunnel: &'a Tunnel, name: &str) -> Option<Value<'a>> {
    Some(match name {
        "id" => tunnel.peer.number.into(),
        "mtls" => true.into(),
        "tls_version" => "TLSv1.3".into(),
        "uri_san_peer_certificate" => tunnel.peer.id.as_str().into(),
        "uri_san_local_certificate" => tunnel.worker.identity.as_str().into(),
        _ => return None,
    })
}

fn of_upstream<'a>(endpoint: &'a Endpoint, name: &str) -> Option<Value<'a>> {
    Some(match (name, &endpoint.transport) {
        ("address", _) => endpoint.address.to_string().into(),
        ("port", _) => i64::from(endpoint.address.port()).into(),
        ("tls_version", Transport::Tunnel { .. }) => "TLSv1.3".into(),
        ("uri_san_peer_certificate", Transport::Tunnel { identity, .. }) => {
            identity.as_str().into()
        }
        _ => return None,
    })
}

/// A workload, in a namespace of our own: Istio's filters read it out of serialised metadata.
fn of_workload<'a>(workload: &'a SharedWorkload, name: &str) -> Option<Value<'a>> {
    Some(match name {
        "name" => (&*workload.name).into(),
        "namespace" => (&*workload.namespace).into(),
        "workload" => (&*workload.workload_name).into(),
        "app" => (&*workload.canonical_name).into(),
        "version" => (&*workload.canonical_revision).into(),
        "cluster" => (&*workload.cluster_id).into(),
        _ => return None,
    })
}

/// Where the request goes, in Istio's words.
fn cluster(destination: &Destination) -> String {
    match destination {
        Destination::Service(service, port) => {
            format!("inbound-vip|{port}|http|{}", service.key.hostname)
        }
        Destination::Workload(..) => "encap".to_owned(),
    }
}

fn chain(destination: &Destination) -> String {
    match destination {
        Destination::Service(service, port) => {
            format!("inbound-vip|{port}|http|{}", service.key.hostname)
        }
        Destination::Workload(..) => "direct-http".to_owned(),
    }
}

fn virtual_host(tunnel: &Tunnel) -> Option<String> {
    let service = tunnel.destination.service()?;
    Some(format!(
        "inbound|http|{}",
        tunnel.asked.map_or_else(
            || service.key.hostname.to_string(),
            |asked: SocketAddr| { asked.port().to_string() }
        )
    ))
}

fn some(text: &str) -> Option<Value<'_>> {
    (!text.is_empty()).then(|| text.into())
}

fn int(number: u64) -> Value<'static> {
    i64::try_from(number).unwrap_or(i64::MAX).into()
}

/// The parts of a property's name.
type Path = Box<[Box<str>]>;

/// Properties that guests set on an exchange; every plugin on it reads them.
#[derive(Debug, Default)]
pub(super) struct Own {
    entries: Vec<(Path, Box<[u8]>)>,
    bytes: usize,
}

impl Own {
    /// What was set, also by the name Envoy's access logs know it by.
    pub(super) fn get(&self, path: &[&str]) -> Option<Value<'_>> {
        let path = match path {
            ["filter_state", name] => match name.strip_prefix("wasm.") {
                Some(name) => return self.find(&[name]),
                None => return None,
            },
            path => path,
        };
        self.find(path)
    }

    fn find(&self, path: &[&str]) -> Option<Value<'_>> {
        let same = |known: &[Box<str>]| known.iter().map(|part| &**part).eq(path.iter().copied());
        let found = self.entries.iter().find(|(known, _)| same(known))?;
        Some((&*found.1).into())
    }

    /// Keeps a value, unless there are too many already, or it would pass for something that only
    /// the proxy says.
    pub(super) fn set(&mut self, path: &[&str], value: &[u8]) -> bool {
        if path.first().is_none_or(|first| OURS.contains(first)) {
            return false;
        }
        let size = path.iter().map(|part| part.len()).sum::<usize>() + value.len();
        if self.bytes + size > OWN_LIMIT {
            return false;
        }
        self.bytes += size;
        let path: Path = path.iter().map(|part| Box::from(*part)).collect();
        self.entries.retain(|(known, _)| *known != path);
        self.entries.push((path, Box::from(value)));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::{OWN_LIMIT, Own};
    use wasm_host::Value;

    #[test]
    fn what_one_plugin_sets_another_reads() {
        let mut own = Own::default();
        assert!(own.set(&["a", "b"], b"1"));
        assert!(own.set(&["a", "b"], b"2"));
        assert_eq!(own.get(&["a", "b"]), Some(Value::from(&b"2"[..])));
        assert_eq!(own.get(&["a"]), None);
        assert!(own.set(&["x"], b"3"));
        assert_eq!(
            own.get(&["filter_state", "wasm.x"]),
            Some(Value::from(&b"3"[..]))
        );
    }

    #[test]
    fn what_guests_set_is_bounded() {
        let mut own = Own::default();
        assert!(own.set(&["a"], &vec![0; OWN_LIMIT / 2]));
        assert!(!own.set(&["b"], &vec![0; OWN_LIMIT]));
    }

    #[test]
    fn no_plugin_speaks_for_the_proxy() {
        let mut own = Own::default();
        for path in [
            &["request", "path"][..],
            &["source", "address"],
            &["xds"],
            &[],
        ] {
            assert!(!own.set(path, b"x"), "{path:?}");
        }
    }
}
