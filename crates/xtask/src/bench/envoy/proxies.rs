//! The two proxies, each with a filter, on loopback.

use std::ffi::OsStr;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use cargo_metadata::MetadataCommand;
use serde_json::{Value, json};

use super::super::cpu::Cpus;

/// How long a proxy may take to listen.
const START: Duration = Duration::from_secs(20);

/// How much of a body Envoy holds for its filters: as much as Cairn does, and what Envoy does when
/// nothing is said.
const BUFFER: u32 = 1 << 20;

/// Which proxy.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Proxy {
    Envoy,
    Cairn,
}

/// A process that ends with the value.
#[derive(Debug)]
pub(super) struct Running {
    child: Child,
    pub(super) address: SocketAddr,
    /// What it says, line by line.
    pub(super) output: Option<PathBuf>,
}

impl Running {
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// All that is needed to start them.
#[derive(Debug)]
pub(super) struct Parts {
    envoy: PathBuf,
    cairn: PathBuf,
    module: PathBuf,
    scratch: PathBuf,
    cpus: Cpus,
    upstream: SocketAddr,
}

impl Parts {
    /// Finds Envoy and the guests, and builds `cairn` unless a folder has it.
    pub(super) fn find(binaries: Option<&Path>, scratch: &Path, cpus: Cpus) -> Result<Self> {
        let wasm = super::root().join("conformance/wasm");
        let script = wasm.join("build.sh");
        for part in ["envoy", "rust"] {
            let made = Command::new(&script).arg(part).status();
            let made = made.with_context(|| script.display().to_string())?;
            ensure!(made.success(), "{} {part} failed", script.display());
        }
        let cache = cache()?;
        let cairn = if let Some(folder) = binaries {
            folder.join("cairn")
        } else {
            let mut cargo = Command::new(env!("CARGO"));
            cargo.args(["build", "--release", "--package", "cairn"]);
            ensure!(cargo.status()?.success(), "cairn cannot be built");
            let metadata = MetadataCommand::new().no_deps().exec()?;
            metadata
                .target_directory
                .join("release/cairn")
                .into_std_path_buf()
        };
        ensure!(cairn.exists(), "{} is missing", cairn.display());
        Ok(Self {
            envoy: cache.join("envoy"),
            cairn,
            module: cache.join("guests/bench.wasm"),
            scratch: scratch.to_owned(),
            cpus,
            upstream: free_port()?,
        })
    }

    /// The module with the four filters.
    pub(super) fn module(&self) -> &Path {
        &self.module
    }

    /// Where the proxies send requests.
    pub(super) fn upstream(&self) -> SocketAddr {
        self.upstream
    }

    /// Where files for a while go.
    pub(super) fn scratch(&self) -> &Path {
        &self.scratch
    }

    /// Starts what answers requests.
    pub(super) fn server(&self) -> Result<Running> {
        let mut server = Command::new(std::env::current_exe()?);
        server.args(["bench-part", "serve"]);
        server.arg(format!("--port={}", self.upstream.port()));
        server.args(self.cpus.traffic.map(|cpu| format!("--cpu={cpu}")));
        start(server, self.upstream, None)
    }

    /// Starts a proxy with one of the filters, or none.
    pub(super) fn start(
        &self,
        proxy: Proxy,
        filter: Option<&str>,
        more: &[&str],
    ) -> Result<Running> {
        match (proxy, filter) {
            (Proxy::Envoy, _) => self.envoy(filter),
            (Proxy::Cairn, Some(filter)) => self.cairn(&self.module, filter, more),
            (Proxy::Cairn, None) => self.waypoint(["--no-filter"], more),
        }
    }

    fn envoy(&self, filter: Option<&str>) -> Result<Running> {
        let address = free_port()?;
        let path = self.scratch.join(format!("envoy-{}.json", address.port()));
        let config = envoy_config(self.upstream, address, &self.module, filter);
        fs::write(&path, config.to_string())?;
        let mut command = self.pinned(&self.envoy);
        command.arg("-c").arg(&path);
        command.args(["--concurrency", "1", "--disable-hot-restart"]);
        command.args(["--log-level", "error"]);
        start(command, address, None)
    }

    /// Cairn with one of the filters of a module.
    pub(super) fn cairn(&self, module: &Path, filter: &str, more: &[&str]) -> Result<Running> {
        let configuration = format!("--config={filter}");
        self.waypoint([module.as_os_str(), configuration.as_ref()], more)
    }

    /// `cairn filter run`; what it says goes to a file.
    fn waypoint<const N: usize>(
        &self,
        what: [impl AsRef<OsStr>; N],
        more: &[&str],
    ) -> Result<Running> {
        let address = free_port()?;
        let output = self.scratch.join(format!("cairn-{}.txt", address.port()));
        let mut command = self.pinned(&self.cairn);
        command.args(["filter", "run", "--workers=1", "--log=error"]);
        command.arg(format!("--listen={address}"));
        command.arg(format!("--upstream=http://{}", self.upstream));
        command.args(what).args(more);
        start(command, address, Some(output))
    }

    fn pinned(&self, program: &Path) -> Command {
        let Some(cpu) = self.cpus.proxies else {
            return Command::new(program);
        };
        let mut command = Command::new("taskset");
        command.arg("-c").arg(cpu.to_string()).arg(program);
        command
    }
}

/// Starts a process and waits until it listens.
fn start(mut command: Command, address: SocketAddr, output: Option<PathBuf>) -> Result<Running> {
    command.stdin(Stdio::null()).stdout(Stdio::null());
    match &output {
        Some(path) => command.stderr(fs::File::create(path)?),
        None => command.stderr(Stdio::null()),
    };
    let shown = format!("{command:?}");
    let child = command.spawn().with_context(|| shown.clone())?;
    let mut running = Running {
        child,
        address,
        output,
    };
    let until = Instant::now() + START;
    while TcpStream::connect(address).is_err() {
        if let Some(ended) = running.child.try_wait()? {
            let said = running.output.as_ref().map(fs::read_to_string);
            bail!("{shown}: {ended} {}", said.transpose()?.unwrap_or_default());
        }
        ensure!(Instant::now() < until, "{shown} does not listen");
        pause();
    }
    Ok(running)
}

/// Between two looks at something that will be there soon.
#[expect(clippy::disallowed_methods, reason = "a tool that waits for processes")]
pub(super) fn pause() {
    thread::sleep(Duration::from_millis(20));
}

fn free_port() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

#[expect(clippy::disallowed_methods, reason = "a tool for people")]
fn cache() -> Result<PathBuf> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let cache = match variable("XDG_CACHE_HOME") {
        Some(cache) => PathBuf::from(cache),
        None => PathBuf::from(variable("HOME").context("HOME is not set")?).join(".cache"),
    };
    Ok(cache.join("cairn/wasm-conformance"))
}

fn envoy_config(
    upstream: SocketAddr,
    listen: SocketAddr,
    module: &Path,
    filter: Option<&str>,
) -> Value {
    let socket = |address: SocketAddr| json!({"socket_address": {"address": address.ip().to_string(), "port_value": address.port()}});
    let wasm = filter.map(|filter| {
        json!({"name": "wasm", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
            "config": {
                "name": "bench",
                "vm_config": {
                    "runtime": "envoy.wasm.runtime.v8",
                    "code": {"local": {"filename": module.display().to_string()}},
                },
                "configuration": {
                    "@type": "type.googleapis.com/google.protobuf.StringValue",
                    "value": filter,
                },
            },
        }})
    });
    let router = json!({"name": "router", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
    }});
    let filters: Vec<Value> = wasm.into_iter().chain([router]).collect();
    let route = json!({"match": {"prefix": "/"}, "route": {"cluster": "upstream"}});
    let manager = json!({"name": "http", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "bench",
        "codec_type": "HTTP1",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": filters,
    }});
    let endpoint = json!({"endpoint": {"address": socket(upstream)}});
    json!({"static_resources": {
        "listeners": [{
            "name": "in",
            "address": socket(listen),
            "per_connection_buffer_limit_bytes": BUFFER,
            "filter_chains": [{"filters": [manager]}],
        }],
        "clusters": [{
            "name": "upstream",
            "connect_timeout": "1s",
            "per_connection_buffer_limit_bytes": BUFFER,
            "load_assignment": {"cluster_name": "upstream", "endpoints": [{"lb_endpoints": [endpoint]}]},
        }],
    }})
}
