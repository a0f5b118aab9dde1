//! Static settings of control: which folders, which socket, which names.
//!
//! What people write about the mesh is not here; it is objects.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use crate::deploy::Template;
use crate::translate::Settings;

/// Everything that is set once, at the start.
#[derive(Clone, Debug)]
pub struct Config {
    /// Manifests people write; the first that holds an object wins.
    pub manifests: Vec<PathBuf>,
    /// Objects the local runner writes, as an API server would hold them.
    pub objects: PathBuf,
    /// Where what Gateways need is written for the runner.
    pub generated: PathBuf,
    /// What outlives a restart: keys, uids, generations.
    pub state: PathBuf,
    /// The local API.
    pub socket: PathBuf,
    /// Where the roots of the mesh are written for proxies.
    pub root_cert_file: PathBuf,
    /// An authority in the layout of Istio's `cacerts`, instead of a self-made one.
    pub authority: Option<PathBuf>,
    /// Settings of the mesh.
    pub mesh: Settings,
    /// Filter of log lines.
    pub log_filter: String,
    /// Log lines as JSON.
    pub log_json: bool,
    /// Where discovery and certificates are served.
    pub serve_addr: SocketAddr,
    /// Where `/config_dump` is served.
    pub admin_addr: SocketAddr,
    /// Where metrics are served.
    pub stats_addr: SocketAddr,
    /// Where readiness is served.
    pub readiness_addr: SocketAddr,
}

/// What is given on the command line.
#[derive(Clone, Debug, clap::Args)]
pub struct Paths {
    /// A file or folder of manifests; may be repeated, the first that holds an object wins.
    #[arg(long, value_name = "PATH")]
    pub manifests: Vec<PathBuf>,
    /// The folder of objects the local runner writes.
    #[arg(long, value_name = "DIR")]
    pub objects: PathBuf,
    /// The folder to write what Gateways need to.
    #[arg(long, value_name = "DIR")]
    pub generated: PathBuf,
    /// The folder for what outlives a restart: keys, uids, generations.
    #[arg(long, value_name = "DIR")]
    pub state: PathBuf,
    /// The socket of the local API.
    #[arg(long, value_name = "FILE")]
    pub socket: PathBuf,
    /// The file to write the roots of the mesh to.
    #[arg(long, value_name = "FILE")]
    pub root_cert_file: PathBuf,
    /// A folder in which the waypoint of each Gateway keeps what outlives its restart: modules.
    #[arg(long, value_name = "DIR")]
    pub waypoints: Option<PathBuf>,
    /// A folder with an authority, laid out as Istio's cacerts; without one a root is made.
    #[arg(long, value_name = "DIR")]
    pub authority: Option<PathBuf>,
}

impl Config {
    /// Puts paths and environment together; names of variables are Istio's.
    pub fn load(paths: Paths, env: &impl Fn(&str) -> Option<String>) -> Self {
        let text = |name: &str, default: String| env(name).unwrap_or(default);
        let any = |port| SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port);
        let usual = Settings::default();
        let mesh = Settings {
            cluster_id: text("CLUSTER_ID", usual.cluster_id),
            cluster_domain: text("CLUSTER_DOMAIN", usual.cluster_domain),
            trust_domain: text("TRUST_DOMAIN", usual.trust_domain),
            network: text("NETWORK", usual.network),
            root_namespace: text("POD_NAMESPACE", usual.root_namespace),
            waypoint: Template {
                state: paths.waypoints,
                ..usual.waypoint
            },
            ..usual
        };
        Self {
            manifests: paths.manifests,
            objects: paths.objects,
            generated: paths.generated,
            state: paths.state,
            socket: paths.socket,
            root_cert_file: paths.root_cert_file,
            authority: paths.authority,
            mesh,
            log_filter: text("RUST_LOG", "info".to_owned()),
            log_json: env("LOG_FORMAT").as_deref() == Some("json"),
            serve_addr: any(15012),
            admin_addr: SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 15000),
            stats_addr: any(15020),
            readiness_addr: any(15021),
        }
    }
}
