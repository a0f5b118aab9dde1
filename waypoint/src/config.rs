//! Static settings of a waypoint, from the environment. Names are Istio's where Istio has one.
//!
//! What the control plane says is not here; it is in `state`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use identity::Token;
use identity::channel::{ControlPlane, Roots};
use mesh::Str;
use mesh::path::Normalization;
use serde::Serialize;

#[cfg(test)]
mod tests;

/// Everything that is set once, at the start.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where discovery is served.
    pub xds: ControlPlane,
    /// Where certificates are signed.
    pub ca: ControlPlane,
    /// What we show both.
    pub token: Token,
    /// Who and where this waypoint is.
    pub place: Place,
    /// Lifetime asked for the certificate.
    pub secret_ttl: Duration,
    /// Threads that serve traffic.
    pub workers: usize,
    /// How far request paths are normalised.
    pub path_normalization: Normalization,
    /// Whether requests are logged.
    pub access_log: bool,
    /// How long open connections live on when the process ends.
    pub drain: Duration,
    /// Filter of log lines.
    pub log_filter: String,
    /// Log lines as JSON.
    pub log_json: bool,
    /// Where we listen.
    pub listen: Listen,
    /// How modules of plugins are got.
    pub modules: Modules,
    /// Most bytes of bodies and connections that plugins hold back, all together.
    pub held_bodies: usize,
}

/// What plugins may hold back unless somebody says otherwise.
pub const HELD_BODIES: usize = 64 << 20;

/// How modules of plugins are got.
#[derive(Clone, Debug)]
pub struct Modules {
    /// Bounds of fetching.
    pub settings: modules::Settings,
    /// How often modules that nobody uses are removed from the cache.
    pub purge: Duration,
    /// Folder of compiled modules; without one, modules are compiled at every start.
    pub compiled: Option<PathBuf>,
}

/// Who and where a waypoint is.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Place {
    /// Name of the Gateway it implements.
    pub gateway: Str,
    /// Own namespace, which is the Gateway's.
    pub namespace: Str,
    /// Own pod.
    pub pod: Str,
    /// Own service account.
    pub service_account: Str,
    /// Own address.
    pub instance_ip: IpAddr,
    /// Node.
    pub node: Str,
    /// Cluster.
    pub cluster_id: Str,
    /// Domain of service names.
    pub cluster_domain: Str,
    /// Network.
    pub network: Str,
    /// Own trust domain.
    pub trust_domain: Str,
    /// Trust domains whose workloads may call, beside the own one.
    pub trust_domain_aliases: Vec<Str>,
}

/// Where a waypoint listens. Port 0 takes any.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Listen {
    /// HBONE.
    pub hbone: SocketAddr,
    /// `/config_dump`.
    pub admin: SocketAddr,
    /// Metrics.
    pub stats: SocketAddr,
    /// Readiness.
    pub readiness: SocketAddr,
}

/// Settings that cannot be used, all of them.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("; "))]
pub struct Invalid(pub Vec<String>);

const DEFAULT_CONTROL: &str = "https://istiod.istio-system.svc:15012";
const DEFAULT_ROOT: &str = "./var/run/secrets/istio/root-cert.pem";
const DEFAULT_TOKEN: &str = "./var/run/secrets/tokens/istio-token";

impl Config {
    /// Reads the settings; `env` gives a variable's value.
    ///
    /// # Errors
    /// Every variable whose value cannot be used, by name.
    pub fn load(env: &dyn Fn(&str) -> Option<String>) -> Result<Self, Invalid> {
        let mut read = Reader {
            env,
            problems: vec![],
        };
        let xds = read.control_plane("XDS", DEFAULT_CONTROL);
        let config = Self {
            ca: read.control_plane("CA", &xds.address),
            token: Token::File(read.text("AUTH_TOKEN", DEFAULT_TOKEN).into()),
            place: Place::load(&mut read),
            secret_ttl: read.duration("SECRET_TTL", Duration::from_hours(24)),
            workers: read.workers("WAYPOINT_WORKER_THREADS"),
            path_normalization: read.choice("PATH_NORMALIZATION", "BASE", Normalization::parse),
            access_log: read.choice("ACCESS_LOG", "text", |value| match value {
                "text" => Some(true),
                "off" => Some(false),
                _ => None,
            }),
            drain: read.drain(),
            log_filter: read.text("RUST_LOG", "info"),
            log_json: read.choice("LOG_FORMAT", "plain", |value| match value {
                "plain" => Some(false),
                "json" => Some(true),
                _ => None,
            }),
            listen: Listen::default(),
            modules: Modules::load(&mut read),
            held_bodies: read.number("WASM_MAX_HELD_BYTES").unwrap_or(HELD_BODIES),
            xds,
        };
        if read.problems.is_empty() {
            Ok(config)
        } else {
            Err(Invalid(read.problems))
        }
    }
}

impl Default for Modules {
    /// The usual bounds, and nothing is kept over a restart.
    fn default() -> Self {
        Self {
            settings: modules::Settings::default(),
            purge: Duration::from_hours(1),
            compiled: None,
        }
    }
}

impl Modules {
    fn load(read: &mut Reader<'_>) -> Self {
        let state = read.value("STATE_DIR").map(PathBuf::from);
        let usual = modules::Settings::default();
        let max_module = read
            .number("ISTIO_WASM_MAX_BINARY_SIZE_BYTES")
            .map_or(usual.max_module, |bytes| bytes as u64);
        let retries = read.number("WASM_HTTP_REQUEST_MAX_RETRIES");
        let blocked = read.text("BLOCKED_CIDRS_IN_WASM_FETCH", "");
        let mut settings = modules::Settings {
            cache: state.as_ref().map(|state| state.join("modules")),
            expiry: read.duration("WASM_MODULE_EXPIRY", usual.expiry),
            insecure: modules::Insecure::parse(&read.text("WASM_INSECURE_REGISTRIES", "")),
            files: match read.text("MODULE_FILES", "any").as_str() {
                "any" => modules::Files::Any,
                folder => modules::Files::Under(folder.into()),
            },
            max_module,
            max_download: max_module.saturating_mul(4),
            request_timeout: read.duration("WASM_HTTP_REQUEST_TIMEOUT", usual.request_timeout),
            tries: retries.map_or(usual.tries, |tries| {
                u32::try_from(tries).unwrap_or(u32::MAX)
            }),
            ..usual
        };
        match modules::Settings::parse_blocked(&blocked) {
            Ok(blocked) => settings.blocked = blocked,
            Err(why) => read.problem("BLOCKED_CIDRS_IN_WASM_FETCH", &why),
        }
        let hosts = read.text("WASM_REGISTRY_AUTH_HOSTS", "");
        if let Err(why) = settings.allow_auth_hosts(&hosts) {
            read.problem("WASM_REGISTRY_AUTH_HOSTS", &why);
        }
        Self {
            settings,
            purge: read.duration("WASM_PURGE_INTERVAL", Duration::from_hours(1)),
            compiled: state.map(|state| state.join("compiled")),
        }
    }
}

impl Place {
    fn load(read: &mut Reader<'_>) -> Self {
        let aliases = read.text("TRUST_DOMAIN_ALIASES", "");
        Self {
            // A waypoint's service account is named after its Gateway unless the user says otherwise.
            gateway: match read.value("GATEWAY_NAME") {
                Some(name) => name.into(),
                None => read.required("SERVICE_ACCOUNT"),
            },
            namespace: read.required("POD_NAMESPACE"),
            pod: read.required("POD_NAME"),
            service_account: read.required("SERVICE_ACCOUNT"),
            instance_ip: read.address("INSTANCE_IP"),
            node: read.text("NODE_NAME", "").into(),
            cluster_id: match read.value("CLUSTER_ID") {
                Some(id) => id.into(),
                None => read.text("ISTIO_META_CLUSTER_ID", "Kubernetes").into(),
            },
            cluster_domain: read.text("CLUSTER_DOMAIN", "cluster.local").into(),
            network: read.text("NETWORK", "").into(),
            trust_domain: read
                .text("TRUST_DOMAIN", mesh::spiffe::DEFAULT_TRUST_DOMAIN)
                .into(),
            trust_domain_aliases: aliases
                .split(',')
                .map(str::trim)
                .filter(|alias| !alias.is_empty())
                .map(Str::from)
                .collect(),
        }
    }
}

impl Default for Listen {
    /// Istio's ports. Everything inside is shown to the own host alone.
    fn default() -> Self {
        let any = |port| SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port);
        Self {
            hbone: any(mesh::store::HBONE_PORT),
            admin: SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 15000),
            stats: any(15020),
            readiness: any(15021),
        }
    }
}

/// Reads typed values and collects what is wrong with them.
struct Reader<'a> {
    env: &'a dyn Fn(&str) -> Option<String>,
    problems: Vec<String>,
}

impl Reader<'_> {
    fn value(&self, name: &str) -> Option<String> {
        (self.env)(name).filter(|value| !value.is_empty())
    }

    fn text(&self, name: &str, default: &str) -> String {
        self.value(name).unwrap_or_else(|| default.to_owned())
    }

    fn problem(&mut self, name: &str, why: &dyn std::fmt::Display) {
        self.problems.push(format!("{name}: {why}"));
    }

    fn required(&mut self, name: &str) -> Str {
        let Some(value) = self.value(name) else {
            self.problems.push(format!("{name}: it must be set"));
            return "".into();
        };
        value.into()
    }

    fn choice<T>(&mut self, name: &str, default: &str, read: impl Fn(&str) -> Option<T>) -> T
    where
        T: Default,
    {
        let value = self.text(name, default);
        read(&value).unwrap_or_else(|| {
            self.problems
                .push(format!("{name}: `{value}` is not one of its values"));
            T::default()
        })
    }

    fn address(&mut self, name: &str) -> IpAddr {
        let value = self.text(name, "");
        value.parse().unwrap_or_else(|_| {
            self.problems
                .push(format!("{name}: `{value}` is no IP address"));
            Ipv4Addr::UNSPECIFIED.into()
        })
    }

    fn number(&mut self, name: &str) -> Option<usize> {
        let value = self.value(name)?;
        match value.parse() {
            Ok(number) if number > 0 => Some(number),
            _ => {
                self.problems
                    .push(format!("{name}: `{value}` is no positive number"));
                None
            }
        }
    }

    /// A number, or a percentage of the CPUs; the CPUs when it is not set.
    fn workers(&mut self, name: &str) -> usize {
        runtime::workers::count(self.value(name).as_deref()).unwrap_or_else(|error| {
            self.problems.push(format!("{name}: {error}"));
            1
        })
    }

    /// Seconds, minutes or hours: `30s`, `5m`, `24h`.
    fn duration(&mut self, name: &str, default: Duration) -> Duration {
        let Some(value) = self.value(name) else {
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
        let seconds = match self.number("TERMINATION_GRACE_PERIOD_SECONDS") {
            None => 25,
            Some(grace) if grace > 10 => grace - 5,
            Some(grace) => (grace - 1).max(1),
        };
        Duration::from_secs(seconds as u64)
    }

    fn control_plane(&self, kind: &str, address: &str) -> ControlPlane {
        let roots = self.text(&format!("{kind}_ROOT_CA"), DEFAULT_ROOT);
        ControlPlane {
            address: self.text(&format!("{kind}_ADDRESS"), address),
            roots: if roots.contains("-----BEGIN") {
                Roots::Pem(roots)
            } else {
                Roots::File(roots.into())
            },
            alternative_name: self.value(&format!("ALT_{kind}_HOSTNAME")),
        }
    }
}
