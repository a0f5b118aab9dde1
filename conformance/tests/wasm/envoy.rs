//! A real Envoy with one filter.

use std::io::BufReader;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};
use testkit::eventually;

use crate::world::{CALLOUT, CALLOUT_GRPC, REFUSED, Run, Setup};

/// A running Envoy; it ends with the value.
#[derive(Debug)]
pub(crate) struct Envoy {
    child: Child,
    folder: PathBuf,
    pub(crate) address: SocketAddr,
}

impl Drop for Envoy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// No two at once may have the same.
static BASE_ID: AtomicU32 = AtomicU32::new(0);

impl Envoy {
    /// Whether it still runs.
    pub(crate) fn is_alive(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|ended| ended.is_none())
    }

    /// Starts one; what it traces goes to `run`.
    pub(crate) fn start(program: &std::path::Path, setup: &Setup, run: &Arc<Run>) -> Self {
        let number = BASE_ID.fetch_add(1, Ordering::Relaxed);
        let own = std::process::id();
        let folder = std::env::temp_dir().join(format!("cairn-oracle-{own}-{number}"));
        std::fs::create_dir_all(&folder).unwrap();
        let address = free_port();
        let path = folder.join("envoy.json");
        std::fs::write(&path, config(setup, address).to_string()).unwrap();
        let mut child = Command::new(program)
            .arg("-c")
            .arg(&path)
            .args(["--concurrency", "1", "--disable-hot-restart"])
            .args(["--log-level", "warning"])
            .args(["--component-log-level", "wasm:trace"])
            .args(["--log-format", "%t|%n|%l|%v"])
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stderr.take().unwrap());
        let main_thread = child.id().to_string();
        let run = Arc::clone(run);
        std::thread::spawn(move || read(output, &main_thread, &run));
        let envoy = Self {
            child,
            folder,
            address,
        };
        eventually("Envoy listens", || TcpStream::connect(address).ok());
        envoy
    }
}

/// Hands on what the worker thread does; the main thread has VMs of its own.
fn read(output: impl std::io::BufRead, main_thread: &str, run: &Run) {
    for line in output.lines().map_while(Result::ok) {
        let parts: Vec<&str> = line.splitn(4, '|').collect();
        let [thread, logger, level, text] = parts[..] else {
            continue;
        };
        if logger != "wasm" {
            run.note(&line);
            continue;
        }
        if thread == main_thread {
            run.note(text);
            continue;
        }
        if text.starts_with('[') {
            run.crossing(text);
        } else if let Some(said) = text.strip_prefix("wasm log ") {
            // `plugin root vm: text`, of which contexts leave out what they do not have.
            let said = said.split_once(": ").map_or(said, |(_, said)| said);
            // What is less urgent than that, a waypoint does not log.
            if !matches!(level, "trace" | "debug") {
                run.log(said);
            }
        } else {
            run.note(text);
        }
    }
}

fn free_port() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

fn socket(address: SocketAddr) -> Value {
    json!({"socket_address": {"address": address.ip().to_string(), "port_value": address.port()}})
}

fn cluster(name: &str, address: SocketAddr, http2: bool) -> Value {
    let protocol = if http2 {
        json!({"explicit_http_config": {"http2_protocol_options": {}}})
    } else {
        json!({"use_downstream_protocol_config": {
            "http_protocol_options": {"enable_trailers": true},
            "http2_protocol_options": {},
        }})
    };
    let mut protocol = protocol;
    protocol["@type"] =
        json!("type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions");
    json!({
        "name": name,
        "connect_timeout": "1s",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": socket(address)}}]}],
        },
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": protocol,
        },
    })
}

fn config(setup: &Setup, listen: SocketAddr) -> Value {
    let wasm = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
        "config": {
            "name": setup.plugin,
            "root_id": setup.root_id,
            "failure_policy": "FAIL_CLOSED",
            "vm_config": {
                "vm_id": setup.plugin,
                "runtime": "envoy.wasm.runtime.v8",
                "code": {"local": {"filename": setup.module.display().to_string()}},
            },
            "configuration": {
                "@type": "type.googleapis.com/google.protobuf.StringValue",
                "value": setup.configuration,
            },
        },
    });
    let router = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
        "suppress_envoy_headers": true,
    });
    let route = json!({
        "match": {"prefix": "/"},
        "route": {"cluster": "upstream", "timeout": "0s"},
    });
    let manager = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "oracle",
        "codec_type": "AUTO",
        "generate_request_id": false,
        "http_protocol_options": {"enable_trailers": true},
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [
            {"name": "wasm", "typed_config": wasm},
            {"name": "envoy.filters.http.router", "typed_config": router},
        ],
    });
    let filters = json!([
        {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager},
    ]);
    json!({
        "static_resources": {
            "listeners": [{
                "name": "in",
                "address": socket(listen),
                "filter_chains": [{"filters": filters}],
            }],
            "clusters": [
                cluster("upstream", setup.upstream, false),
                cluster(CALLOUT, setup.callout, true),
                cluster(CALLOUT_GRPC, setup.callout, true),
                cluster(REFUSED, setup.refused, true),
                cluster("refused.test:80", setup.refused, true),
            ],
        },
    })
}
