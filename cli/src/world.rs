//! The network of a mesh on one machine: a namespace per node and per pod, and what joins them.
//!
//! ```text
//!  cairn-M-fabric            one bridge, nothing connected to the host
//!    │ veth        │ veth
//!  cairn-M-node1   cairn-M-node2      10.90.0.N · routes · Service addresses · resolver
//!    │ veth │ veth     │ veth
//!  pod     pod        pod             10.91.N.x/32, default route through its node
//! ```
//!
//! The shape is that of the usual `ptp` network plugin, so what works here works in a cluster.
//! Two meshes may use the same addresses: they share no link.
//!
//! Invariants: every namespace carries the mesh's owner tag, so that [`teardown`] finds it
//! without a list; no program is run, all is netlink; nothing in the host's own namespace
//! changes. Must never hold: Kubernetes objects, processes of pods, knowledge of what a pod is
//! for.

pub mod addresses;
mod link;
pub mod resolver;
pub mod services;
pub mod teardown;

use std::{
    collections::BTreeMap,
    fmt, fs, io,
    net::Ipv4Addr,
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
};

use nlink::{
    Connection, Nftables,
    netlink::namespace::{CreateOptions, Netns},
};

use self::{addresses::PodAddresses, services::ServicePort};
use crate::state::MeshName;

/// Where `ip netns exec` and [`nlink`] look for files that replace those in `/etc`.
const ETC_NETNS: &str = "/etc/netns";

/// Why a part of the network could not be made, changed or removed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused something in a namespace.
    #[error("namespace {netns}: {action}")]
    Kernel {
        /// The namespace's name.
        netns: String,
        /// What was being done.
        action: &'static str,
        /// The kernel's answer.
        source: nlink::Error,
    },
    /// A file could not be written or removed.
    #[error("{path}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A socket inside a namespace could not be opened.
    #[error("namespace {netns}: {action}")]
    Socket {
        /// The namespace's name.
        netns: String,
        /// What was being done.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// All addresses of a node's pods are taken.
    #[error("node {node} has no free pod address: it has {limit} already")]
    AddressesExhausted {
        /// The node.
        node: String,
        /// How many a node has.
        limit: usize,
    },
    /// A pod was asked for on a node that does not exist.
    #[error("there is no node {node}")]
    UnknownNode {
        /// The name given.
        node: String,
    },
    /// Processes inside a namespace outlived being killed.
    #[error("processes {pids:?} in namespace {netns} cannot be ended")]
    Unkillable {
        /// The namespace's name.
        netns: String,
        /// The processes.
        pids: Vec<u32>,
    },
}

impl Error {
    fn kernel(netns: &Netns, action: &'static str) -> impl FnOnce(nlink::Error) -> Self {
        let netns = netns.label().to_owned();
        move |source| Self::Kernel {
            netns,
            action,
            source,
        }
    }
}

/// One node: a namespace with an uplink to the fabric.
pub struct Node {
    /// The node's name, `node1` and so on.
    pub name: String,
    /// Its place, counted from 1; part of its addresses.
    pub index: u8,
    /// Its address on the fabric.
    pub ip: Ipv4Addr,
    netns: Netns,
    nftables: Connection<Nftables>,
    addresses: PodAddresses,
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node")
            .field("name", &self.name)
            .field("ip", &self.ip)
            .finish_non_exhaustive()
    }
}

impl Node {
    /// The node's network namespace.
    pub fn netns(&self) -> &Netns {
        &self.netns
    }
}

/// A pod's network: its own namespace, joined to its node.
#[derive(Debug)]
pub struct PodNetwork {
    /// The pod's address.
    pub ip: Ipv4Addr,
    netns: Netns,
    node: String,
}

impl PodNetwork {
    /// The pod's network namespace.
    pub fn netns(&self) -> &Netns {
        &self.netns
    }

    /// The namespace's name, as `ip netns` shows it.
    pub fn name(&self) -> &str {
        self.netns.label()
    }

    /// A descriptor of the namespace that can be handed to somebody else.
    pub fn descriptor(&self) -> io::Result<OwnedFd> {
        self.netns.as_fd().try_clone_to_owned()
    }
}

/// What a pod's processes find in `/etc` in place of the host's files.
#[derive(Clone, Debug)]
pub struct PodNames<'a> {
    /// The pod's namespace.
    pub namespace: &'a str,
    /// The pod's name.
    pub pod: &'a str,
    /// The name the pod gives itself.
    pub hostname: &'a str,
}

/// The network of one mesh.
#[derive(Debug)]
pub struct World {
    mesh: MeshName,
    /// Kept open so that the bridge lives as long as the runner.
    fabric: Netns,
    nodes: BTreeMap<String, Node>,
}

impl World {
    /// Builds the fabric and `nodes` nodes.
    ///
    /// What a killed run left behind must be gone before: see [`teardown::teardown`].
    pub async fn create(mesh: &MeshName, nodes: u8) -> Result<Self, Error> {
        let fabric = create_netns(mesh, "fabric")?;
        link::bridge(&fabric).await?;
        let mut world = Self {
            mesh: mesh.clone(),
            fabric,
            nodes: BTreeMap::new(),
        };
        for index in 1..=nodes {
            let node = world.create_node(index, nodes).await?;
            world.nodes.insert(node.name.clone(), node);
        }
        Ok(world)
    }

    async fn create_node(&self, index: u8, nodes: u8) -> Result<Node, Error> {
        let name = addresses::node_name(index);
        let netns = create_netns(&self.mesh, &name)?;
        netns
            .sysctl()
            .set_many(&link::NODE_SYSCTLS)
            .map_err(Error::kernel(&netns, "set sysctls"))?;
        link::node(&self.fabric, &netns, index, nodes).await?;
        let nftables = Connection::<Nftables>::new_in(&netns)
            .map_err(Error::kernel(&netns, "open nftables"))?;
        let node = Node {
            name,
            index,
            ip: addresses::node_ip(index),
            netns,
            nftables,
            addresses: PodAddresses::of_node(index),
        };
        services::apply(&node.nftables, node.netns.label(), &[]).await?;
        Ok(node)
    }

    /// The nodes, by name.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values()
    }

    /// The mesh this is the network of.
    pub fn mesh(&self) -> &MeshName {
        &self.mesh
    }

    /// The namespace that holds the bridge, where a capture sees what goes between nodes.
    pub fn fabric(&self) -> &Netns {
        &self.fabric
    }

    /// Makes a pod's network on `node`: namespace, address, routes, and its files in `/etc`.
    pub async fn add_pod(&mut self, node: &str, names: &PodNames<'_>) -> Result<PodNetwork, Error> {
        let unknown = || Error::UnknownNode {
            node: node.to_owned(),
        };
        let host = self.nodes.get_mut(node).ok_or_else(unknown)?;
        let exhausted = || Error::AddressesExhausted {
            node: node.to_owned(),
            limit: PodAddresses::PER_NODE,
        };
        let ip = host.addresses.take().ok_or_else(exhausted)?;
        match build_pod(&self.mesh, host, names, ip).await {
            Ok(netns) => Ok(PodNetwork {
                ip,
                netns,
                node: node.to_owned(),
            }),
            Err(e) => {
                host.addresses.release(ip);
                Err(e)
            }
        }
    }

    /// Removes a pod's network. The processes in it must have ended; the kernel takes the link
    /// away with the namespace.
    pub async fn remove_pod(&mut self, pod: PodNetwork) -> Result<(), Error> {
        let name = pod.name().to_owned();
        if let Some(host) = self.nodes.get_mut(&pod.node) {
            link::remove_pod(&host.netns, pod.ip).await?;
            host.addresses.release(pod.ip);
        }
        drop(pod);
        teardown::delete_netns(&name)
    }

    /// Replaces what the Service addresses lead to, in every node, each in one step.
    pub async fn apply_services(&self, ports: &[ServicePort]) -> Result<(), Error> {
        for node in self.nodes.values() {
            services::apply(&node.nftables, node.netns.label(), ports).await?;
        }
        Ok(())
    }
}

async fn build_pod(
    mesh: &MeshName,
    host: &Node,
    names: &PodNames<'_>,
    ip: Ipv4Addr,
) -> Result<Netns, Error> {
    // A namespace's name holds no dot, so the first one ends it.
    let netns = create_netns(mesh, &format!("{}.{}", names.namespace, names.pod))?;
    let built = async {
        write_etc(netns.label(), names, ip)?;
        netns
            .sysctl()
            .set_many(&link::POD_SYSCTLS)
            .map_err(Error::kernel(&netns, "set sysctls"))?;
        link::pod(&host.netns, &netns, ip, addresses::pod_gateway(host.index)).await
    };
    if let Err(e) = built.await {
        let name = netns.label().to_owned();
        drop(netns);
        teardown::delete_netns(&name)?;
        return Err(e);
    }
    Ok(netns)
}

fn create_netns(mesh: &MeshName, part: &str) -> Result<Netns, Error> {
    let name = mesh.netns(part);
    let options = CreateOptions::new().owner(mesh.owner()).reclaim_stale(true);
    Netns::create_with(&name, options).map_err(|source| Error::Kernel {
        netns: name,
        action: "create the namespace",
        source,
    })
}

/// Writes the files that `/etc/resolv.conf` and `/etc/hosts` are inside the pod.
fn write_etc(netns: &str, names: &PodNames<'_>, ip: Ipv4Addr) -> Result<(), Error> {
    let folder = PathBuf::from(ETC_NETNS).join(netns);
    let write = |file: &str, text: String| {
        let path = folder.join(file);
        fs::create_dir_all(&folder)
            .and_then(|()| fs::write(&path, text))
            .map_err(|source| Error::File { path, source })
    };
    let PodNames {
        namespace,
        hostname,
        ..
    } = names;
    let domain = addresses::CLUSTER_DOMAIN;
    write(
        "resolv.conf",
        format!(
            "nameserver {}\nsearch {namespace}.svc.{domain} svc.{domain} {domain}\noptions ndots:5\n",
            addresses::DNS_VIP
        ),
    )?;
    write(
        "hosts",
        format!("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost\n{ip}\t{hostname}\n"),
    )
}
