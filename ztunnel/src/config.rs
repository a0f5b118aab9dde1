//! Static settings of a ztunnel, from the environment. Names are Istio's where Istio has one.
//!
//! What the control plane says is not here; it is in `state`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use identity::Token;
use identity::channel::Roots;
use serde::Serialize;

mod dump;
#[cfg(test)]
mod tests;

/// Everything that is set once, at the start.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where discovery is served.
    pub xds_address: String,
    /// Where certificates are signed.
    pub ca_address: String,
    /// Who vouches for both.
    pub roots: Roots,
    /// A further name either may have.
    pub alternative_name: Option<String>,
    /// What we show them.
    pub token: Token,
    /// Who and where this ztunnel is.
    pub place: Place,
    /// Lifetime asked for certificates.
    pub secret_ttl: Duration,
    /// Threads that serve traffic.
    pub workers: usize,
    /// The node agent's socket.
    pub inpod_socket: PathBuf,
    /// Whether DNS queries of pods are answered.
    pub dns: bool,
    /// Where resolvers are listed.
    pub resolv_conf: PathBuf,
    /// How long open connections live on when a pod leaves or the process ends.
    pub drain: Duration,
    /// Filter of log lines.
    pub log_filter: String,
    /// Log lines as JSON.
    pub log_json: bool,
    /// Where `/config_dump` is served.
    pub admin_addr: SocketAddr,
    /// Where metrics are served.
    pub stats_addr: SocketAddr,
    /// Where readiness is served.
    pub readiness_addr: SocketAddr,
}

/// Who and where a ztunnel is.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Place {
    /// Cluster.
    pub cluster_id: String,
    /// Domain of service names.
    pub cluster_domain: String,
    /// Trust domain of the pods.
    pub trust_domain: String,
    /// Network.
    pub network: String,
    /// Node.
    pub node: String,
    /// Own pod.
    pub pod: String,
    /// Own namespace.
    pub namespace: String,
    /// Own service account.
    pub service_account: String,
    /// Own address.
    pub instance_ip: IpAddr,
}

/// Settings that cannot be used, all of them.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("; "))]
pub struct Invalid(pub Vec<String>);

impl Config {
    /// Reads the settings; `env` gives a variable's value.
    ///
    /// # Errors
    /// Every variable whose value cannot be used, by name.
    pub fn load(env: &impl Fn(&str) -> Option<String>) -> Result<Self, Invalid> {
        let mut problems = vec![];
        let text = |name: &str, default: &str| env(name).unwrap_or_else(|| default.to_owned());
        let place = Place::load(&text, &mut problems);
        let mut read = Reader {
            env,
            problems: &mut problems,
        };
        let drain = read.drain();
        let config = Self {
            xds_address: text("XDS_ADDRESS", DEFAULT_CONTROL),
            ca_address: text("CA_ADDRESS", DEFAULT_CONTROL),
            roots: Roots::File(text("XDS_ROOT_CA", DEFAULT_ROOT).into()),
            alternative_name: env("ALT_XDS_HOSTNAME"),
            token: Token::File(text("AUTH_TOKEN", DEFAULT_TOKEN).into()),
            secret_ttl: read.duration("SECRET_TTL", Duration::from_hours(24)),
            workers: read.workers("ZTUNNEL_WORKER_THREADS"),
            inpod_socket: text("INPOD_UDS", "/var/run/ztunnel/ztunnel.sock").into(),
            dns: read.flag("DNS_CAPTURE", true),
            resolv_conf: text("RESOLV_CONF", "/etc/resolv.conf").into(),
            log_filter: text("RUST_LOG", "info"),
            log_json: text("LOG_FORMAT", "plain") == "json",
            admin_addr: SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 15000),
            stats_addr: SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), 15020),
            readiness_addr: SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), 15021),
            drain,
            place,
        };
        if problems.is_empty() {
            Ok(config)
        } else {
            Err(Invalid(problems))
        }
    }
}

const DEFAULT_CONTROL: &str = "https://istiod.istio-system.svc:15012";
const DEFAULT_ROOT: &str = "./var/run/secrets/istio/root-cert.pem";
const DEFAULT_TOKEN: &str = "./var/run/secrets/tokens/istio-token";

impl Place {
    fn load(text: &impl Fn(&str, &str) -> String, problems: &mut Vec<String>) -> Self {
        let address = text("INSTANCE_IP", "1.1.1.1");
        let instance_ip = address.parse().unwrap_or_else(|_| {
            problems.push(format!("INSTANCE_IP: `{address}` is no IP address"));
            IpAddr::V4(Ipv4Addr::LOCALHOST)
        });
        Self {
            cluster_id: text("ISTIO_META_CLUSTER_ID", &text("CLUSTER_ID", "Kubernetes")),
            cluster_domain: text("CLUSTER_DOMAIN", "cluster.local"),
            trust_domain: text("TRUST_DOMAIN", mesh::spiffe::DEFAULT_TRUST_DOMAIN),
            network: text("NETWORK", ""),
            node: text("NODE_NAME", ""),
            pod: text("POD_NAME", ""),
            namespace: text("POD_NAMESPACE", ""),
            service_account: text("SERVICE_ACCOUNT", ""),
            instance_ip,
        }
    }
}

/// Reads typed values and collects what is wrong with them.
struct Reader<'a, E> {
    env: &'a E,
    problems: &'a mut Vec<String>,
}

impl<E: Fn(&str) -> Option<String>> Reader<'_, E> {
    fn number(&mut self, name: &str) -> Option<usize> {
        let value = (self.env)(name)?;
        match value.parse() {
            Ok(number) if number > 0 => Some(number),
            _ => {
                self.problems
                    .push(format!("{name}: `{value}` is no positive number"));
                None
            }
        }
    }

    /// A number or a share of the CPUs; unset, what the CPU limit, affinity and count allow.
    fn workers(&mut self, name: &str) -> usize {
        runtime::workers::count((self.env)(name).as_deref()).unwrap_or_else(|error| {
            self.problems.push(format!("{name}: {error}"));
            1
        })
    }

    fn flag(&mut self, name: &str, default: bool) -> bool {
        match (self.env)(name).as_deref() {
            None | Some("") => default,
            Some("true") => true,
            Some("false") => false,
            Some(value) => {
                self.problems
                    .push(format!("{name}: `{value}` is neither true nor false"));
                default
            }
        }
    }

    /// Seconds, minutes or hours: `30s`, `5m`, `24h`.
    fn duration(&mut self, name: &str, default: Duration) -> Duration {
        let Some(value) = (self.env)(name) else {
            return default;
        };
        let units = [("s", 1), ("m", 60), ("h", 3600)];
        let read = units.iter().find_map(|(unit, seconds)| {
            let number: u64 = value.strip_suffix(unit)?.parse().ok()?;
            number.checked_mul(*seconds)
        });
        let Some(seconds) = read else {
            self.problems.push(format!(
                "{name}: `{value}` is no duration like 30s, 5m or 24h"
            ));
            return default;
        };
        Duration::from_secs(seconds)
    }

    /// The process must be gone before it is killed: a little less than the grace period.
    fn drain(&mut self) -> Duration {
        let grace = self.number("TERMINATION_GRACE_PERIOD_SECONDS");
        let seconds = match grace {
            None => 5,
            Some(grace) if grace > 10 => grace - 5,
            Some(grace) => (grace - 1).max(1),
        };
        Duration::from_secs(seconds as u64)
    }
}
