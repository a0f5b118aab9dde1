//! The `config` of `/config_dump`: what this ztunnel was told and what is fixed. Keys are those of
//! istio/ztunnel `src/config.rs`; a setting of Istio's that is a fact here is shown as that fact.

use std::net::SocketAddr;
use std::time::Duration;

use identity::channel::Roots;
use serde_json::{Map, Value, json};

use super::Config;
use crate::agent::rules::PROXY_MARK;
use crate::{dns, netns, pod};

impl Config {
    /// The settings as operators see them.
    ///
    /// * `resolvers` — who answers names outside of the mesh.
    pub(crate) fn dump(&self, hbone: &hbone::Settings, resolvers: &[SocketAddr]) -> Value {
        let place = &self.place;
        let mut dump = match serde_json::to_value(place) {
            Ok(Value::Object(place)) => place,
            _ => Map::new(),
        };
        let settings = json!({
            "localNode": place.node,
            "proxy": true,
            "proxyMode": "Shared",
            "proxyWorkloadInformation": null,
            "ztunnelIdentity": format!(
                "spiffe://{}/ns/{}/sa/{}",
                place.trust_domain, place.namespace, place.service_account
            ),
            "ztunnelWorkload": {
                "name": place.pod,
                "namespace": place.namespace,
                "serviceAccount": place.service_account,
            },
            "numWorkerThreads": self.workers,
            "selfTerminationDeadline": duration(self.drain),
            "packetMark": PROXY_MARK,
            "requireOriginalSource": true,
            "ipv6Enabled": true,
            "inpodUds": self.inpod_socket,
            "inpodPortReuse": true,
            "enableEnhancedBaggage": true,
            "preferedServiceNamespace": null,
            "socks5Addr": null,
        });
        let parts = [
            settings,
            self.control_plane(),
            self.addresses(),
            self.resolver(resolvers),
            wire(hbone),
        ];
        for part in parts {
            if let Value::Object(part) = part {
                dump.extend(part);
            }
        }
        Value::Object(dump)
    }

    fn control_plane(&self) -> Value {
        let roots = match &self.roots {
            Roots::File(path) => json!({"File": path}),
            Roots::Pem(text) => json!({"Static": text}),
        };
        json!({
            "xdsAddress": self.xds_address,
            "xdsHeaders": [],
            "xdsOnDemand": false,
            "xdsRootCert": roots,
            "altXdsHostname": self.alternative_name,
            "caAddress": self.ca_address,
            "caHeaders": [],
            "caRootCert": roots,
            "altCaHostname": self.alternative_name,
            "crlPath": null,
            "secretTtl": duration(self.secret_ttl),
        })
    }

    fn addresses(&self) -> Value {
        let everywhere = |port: u16| format!("[::]:{port}");
        json!({
            "adminAddr": address(self.admin_addr),
            "statsAddr": address(self.stats_addr),
            "readinessAddr": address(self.readiness_addr),
            "inboundAddr": everywhere(mesh::store::HBONE_PORT),
            "inboundPlaintextAddr": everywhere(pod::INBOUND_PORT),
            "outboundAddr": everywhere(pod::OUTBOUND_PORT),
            "illegalPorts": pod::OWN_PORTS,
        })
    }

    fn resolver(&self, resolvers: &[SocketAddr]) -> Value {
        let servers = resolvers.iter().map(|server| {
            let connection = |protocol: &str| {
                json!({"port": server.port(), "protocol": {"type": protocol}, "bind_addr": null})
            };
            json!({
                "ip": server.ip(),
                "connections": [connection("udp"), connection("tcp")],
                "trust_negative_responses": true,
            })
        });
        let [proxy, ..] = dns::ADDRESSES;
        json!({
            "dnsProxy": self.dns,
            "dnsProxyAddr": address(proxy),
            "dnsResolverCfg": {
                "domain": null,
                "search": [],
                "name_servers": servers.collect::<Vec<_>>(),
            },
        })
    }
}

fn wire(hbone: &hbone::Settings) -> Value {
    json!({
        "windowSize": hbone.stream_window,
        "connectionWindowSize": hbone.connection_window,
        "frameSize": hbone.max_frame_size,
        "poolMaxStreamsPerConn": hbone.client_max_streams,
        "poolUnusedReleaseTimeout": duration(hbone.idle_release),
        "socketConfig": {
            "keepaliveEnabled": true,
            "keepaliveTime": duration(netns::KEEPALIVE_TIME),
            "keepaliveInterval": duration(netns::KEEPALIVE_INTERVAL),
            "keepaliveRetries": netns::KEEPALIVE_PROBES,
            "userTimeoutEnabled": false,
        },
    })
}

fn duration(duration: Duration) -> Value {
    json!({"secs": duration.as_secs(), "nanos": duration.subsec_nanos()})
}

/// `{"Localhost": [with IPv6, port]}` or `{"SocketAddr": "address:port"}`.
fn address(address: SocketAddr) -> Value {
    if address.ip().is_loopback() {
        json!({"Localhost": [true, address.port()]})
    } else {
        json!({"SocketAddr": address})
    }
}
