//! Where the pods of a mesh are, and how a test does something inside of one.

use std::fs::File;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use nix::sched::{CloneFlags, setns};
use serde_json::Value;
use testkit::Mesh;

/// A pod.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) pod: String,
    pub(crate) node: String,
    pub(crate) ip: Ipv4Addr,
    /// The name of its network namespace.
    pub(crate) netns: String,
}

/// The pods of a Deployment, by node.
pub(crate) fn pods(mesh: &Mesh, namespace: &str, deployment: &str) -> Vec<Place> {
    let status = mesh.status();
    let processes = status["processes"].as_array().unwrap();
    let text = |process: &Value, key: &str| process[key].as_str().unwrap().to_owned();
    let mut places: Vec<_> = processes
        .iter()
        .filter(|process| {
            let pod = text(process, "pod");
            // NAME-HASH-xxxxx
            let name = pod.rsplitn(3, '-').nth(2);
            text(process, "namespace") == namespace && name == Some(deployment)
        })
        .map(|process| Place {
            pod: text(process, "pod"),
            node: text(process, "node"),
            ip: text(process, "ip").parse().unwrap(),
            netns: text(process, "netns"),
        })
        .collect();
    places.sort_by(|a, b| a.node.cmp(&b.node));
    places
}

/// The only pod of a Deployment.
pub(crate) fn pod(mesh: &Mesh, namespace: &str, deployment: &str) -> Place {
    let places = pods(mesh, namespace, deployment);
    assert_eq!(places.len(), 1, "{namespace}/{deployment}: {places:?}");
    places[0].clone()
}

/// The namespace that holds the bridge between the nodes.
pub(crate) fn fabric(mesh: &Mesh) -> String {
    format!("cairn-{}-fabric", mesh.name())
}

/// The virtual address of a Service.
pub(crate) fn vip(mesh: &Mesh, service: &str) -> Ipv4Addr {
    let service = mesh.object("service", service).unwrap();
    service["spec"]["clusterIP"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap()
}

/// What a mesh keeps on disk.
pub(crate) fn state(mesh: &Mesh) -> PathBuf {
    Path::new("/run/cairn").join(mesh.name())
}

/// What a node's ztunnel has logged.
pub(crate) fn ztunnel_log(mesh: &Mesh, node: &str) -> String {
    let file = format!("logs/istio-system_ztunnel-{node}_istio-proxy.log");
    std::fs::read_to_string(state(mesh).join(file)).unwrap()
}

/// The dump of a node's ztunnel.
pub(crate) fn config_dump(mesh: &Mesh, node: &str) -> Value {
    let args = ["curl", "-s", "localhost:15000/config_dump"];
    let dump = mesh.exec(&format!("ztunnel-{node}"), args).ok();
    serde_json::from_str(&dump).unwrap()
}

/// Runs `act` in a network namespace, on a thread of its own. Sockets made there stay there.
pub(crate) fn inside<T: Send>(netns: &str, act: impl FnOnce() -> T + Send) -> T {
    let namespace = File::open(Path::new("/run/netns").join(netns)).unwrap();
    let entered = || {
        setns(&namespace, CloneFlags::CLONE_NEWNET).unwrap();
        act()
    };
    std::thread::scope(|scope| scope.spawn(entered).join().unwrap())
}
