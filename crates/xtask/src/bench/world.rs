//! The mesh that is measured, and the ways through it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use testkit::Mesh;

use super::binaries::Binaries;
use super::cpu::Cpus;
use super::load::{Load, Window};
use super::report::Traffic;

const MANIFESTS: &str = include_str!("world.yaml");

/// A way from client to server whose cost is taken.
#[derive(Debug)]
pub(super) struct Subject {
    /// What it is called in reports.
    pub(super) name: &'static str,
    /// The client's pod, `namespace/name`.
    client: &'static str,
    /// The server's pod.
    server: &'static str,
    /// Where the client connects.
    address: &'static str,
    /// A header that shows that traffic took this way.
    expect: Option<&'static str>,
    /// The proxies on the way: what they are called in reports, and how their pods' names begin.
    proxies: &'static [(&'static str, &'static str)],
    /// Whether bulk transfer is measured too.
    bulk: bool,
}

const CLIENT_SIDE: (&str, &str) = ("ztunnel client side", "ztunnel-node1");
const SERVER_SIDE: (&str, &str) = ("ztunnel server side", "ztunnel-node2");

/// Every way. One more, say a peer's proxy, is an entry here and its objects in `world.yaml`.
pub(super) const SUBJECTS: [Subject; 4] = [
    Subject {
        name: "direct",
        client: "direct/client",
        server: "direct/server",
        address: "server.direct:80",
        expect: None,
        proxies: &[],
        bulk: false,
    },
    Subject {
        name: "ztunnel",
        client: "mesh/client",
        server: "mesh/server",
        address: "server.mesh:80",
        expect: None,
        proxies: &[CLIENT_SIDE, SERVER_SIDE],
        bulk: true,
    },
    Subject {
        name: "waypoint",
        client: "mesh/client",
        server: "mesh/server",
        address: "routed.mesh:80",
        expect: Some("date"), // the server sends none, the waypoint adds it
        proxies: &[CLIENT_SIDE, SERVER_SIDE, ("waypoint", "plain-waypoint-")],
        bulk: true,
    },
    Subject {
        name: "waypoint, Wasm filter",
        client: "mesh/client",
        server: "mesh/server",
        address: "filtered.mesh:80",
        expect: Some("x-bench-filter"),
        proxies: &[
            CLIENT_SIDE,
            SERVER_SIDE,
            ("waypoint", "filtering-waypoint-"),
        ],
        bulk: false,
    },
];

impl Subject {
    /// Whether it is measured with this traffic. Without a proxy there is no cost to take, only a
    /// latency to compare with.
    pub(super) fn carries(&self, traffic: Traffic) -> bool {
        match traffic {
            Traffic::ClosedLoop => !self.proxies.is_empty(),
            Traffic::FixedRate => true,
            Traffic::Bulk => self.bulk,
        }
    }
}

/// The running mesh.
#[derive(Debug)]
pub(super) struct World {
    mesh: Mesh,
    cpus: Cpus,
    own: PathBuf,
    /// Pods, `namespace/name`, with the process in each.
    pods: Vec<(String, u32)>,
}

/// What a subject's window came to, with names instead of process ids.
#[derive(Debug)]
pub(super) struct Measured {
    pub(super) window: Window,
    /// Nanoseconds on a CPU of each proxy.
    pub(super) proxies: Vec<(&'static str, u64)>,
    /// The same of the server.
    pub(super) server: u64,
}

impl World {
    /// Starts it, out of the thin binaries.
    pub(super) fn start(binaries: &Binaries, scratch: &Path, cpus: Cpus) -> Result<Self> {
        let own = std::env::current_exe()?;
        let filters = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../filters/prebuilt");
        let filter = std::fs::canonicalize(filters.join("add-header.wasm"))?;
        let cpu = cpus.traffic.map(|cpu| format!(", --cpu={cpu}"));
        let manifests = MANIFESTS
            .replace("$XTASK", &own.display().to_string())
            .replace(", $CPU", &cpu.unwrap_or_default())
            .replace("$FILTER", &filter.display().to_string());
        let (mesh, up) = Mesh::builder_for("bench-")
            .cairn(binaries.path("cairn"))
            .program(binaries.dispatcher(scratch, cpus.proxies)?)
            .manifest("bench.yaml", &manifests)
            .try_up();
        ensure!(up.code == Some(0), "{}{}", up.stdout, up.stderr);
        let pods = pods(&mesh.status())?;
        Ok(Self {
            mesh,
            cpus,
            own,
            pods,
        })
    }

    /// The process of the pod whose name begins like this; `namespace/` may be left out.
    pub(super) fn pid(&self, pod: &str) -> Result<u32> {
        let begins = |name: &str| {
            let bare = name.split_once('/').map_or(name, |(_, bare)| bare);
            name.starts_with(pod) || bare.starts_with(pod)
        };
        let found = self.pods.iter().find(|(name, _)| begins(name));
        let (_, pid) = found.with_context(|| format!("no pod {pod}: {:?}", self.pods))?;
        Ok(*pid)
    }

    /// Sends `load` the subject's way. Address, processes and CPU are filled in.
    pub(super) fn measure(&self, subject: &Subject, load: &Load) -> Result<Measured> {
        let server = self.pid(subject.server)?;
        let proxies = subject
            .proxies
            .iter()
            .map(|(name, pod)| Ok((*name, self.pid(pod)?)))
            .collect::<Result<Vec<_>>>()?;
        let pids = proxies.iter().map(|(_, pid)| *pid).chain([server]);
        let mut words = vec![self.own.display().to_string()];
        words.extend(["bench-part", "load", subject.address].map(str::to_owned));
        words.push(format!("--connections={}", load.connections));
        words.push(format!("--seconds={}", load.seconds));
        words.extend(load.rate.map(|rate| format!("--rate={rate}")));
        words.extend(load.bulk.then(|| "--bulk".to_owned()));
        words.extend(subject.expect.map(|name| format!("--expect={name}")));
        words.extend(pids.map(|pid| format!("--watch={pid}")));
        words.extend(self.cpus.traffic.map(|cpu| format!("--cpu={cpu}")));
        let output = self.mesh.exec(subject.client, words);
        match output.code {
            Some(0) => {}
            Some(_) => bail!("{}: {}", subject.name, output.stderr.trim_end()),
            None => bail!("{}: the generator was interrupted", subject.name),
        }
        let window: Window = serde_json::from_str(&output.stdout).context(output.stdout)?;
        let used = |pid: &u32| window.cpu.get(pid).copied().unwrap_or_default();
        Ok(Measured {
            proxies: proxies
                .iter()
                .map(|(name, pid)| (*name, used(pid)))
                .collect(),
            server: used(&server),
            window,
        })
    }

    /// Says it is the same processes as at the start.
    pub(super) fn check_unchanged(&self) -> Result<()> {
        let now = pods(&self.mesh.status())?;
        ensure!(
            now == self.pods,
            "a process of the mesh was started again:\n{:?}\n{now:?}",
            self.pods
        );
        Ok(())
    }
}

/// `namespace/name` and process of every pod, from `cairn status -o json`.
fn pods(status: &Value) -> Result<Vec<(String, u32)>> {
    let processes = status.get("processes").and_then(Value::as_array);
    let pod = |process: &Value| {
        let text = |key: &str| process.get(key)?.as_str();
        let pid = process.get("pid")?.as_u64()?.try_into().ok()?;
        Some((format!("{}/{}", text("namespace")?, text("pod")?), pid))
    };
    let pods: Option<Vec<_>> = processes.and_then(|list| list.iter().map(pod).collect());
    pods.with_context(|| format!("a process is missing: {status}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::bench::server;

    #[test]
    fn pods_are_read_with_their_processes() {
        let process = json!({"namespace": "mesh", "pod": "server-1", "pid": 7, "ready": true});
        let read = pods(&json!({"processes": [process]})).unwrap();
        assert_eq!(read, [("mesh/server-1".to_owned(), 7)]);
        let dead = json!({"namespace": "mesh", "pod": "server-1", "pid": null});
        assert!(pods(&json!({"processes": [dead]})).is_err());
    }

    #[test]
    fn manifests_and_server_agree() {
        assert!(MANIFESTS.contains(&format!("targetPort: {}", server::PORT)));
        for subject in SUBJECTS {
            let service = subject.address.split('.').next().unwrap();
            assert!(MANIFESTS.contains(&format!("{{name: {service}, ")));
        }
    }
}
