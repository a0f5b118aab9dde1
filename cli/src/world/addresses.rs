//! Which address belongs to what. Every mesh uses the same plan.

use std::{collections::BTreeSet, net::Ipv4Addr};

/// The cluster's DNS domain.
pub const CLUSTER_DOMAIN: &str = "cluster.local";
/// Where the resolver answers, in every node.
pub const DNS_VIP: Ipv4Addr = Ipv4Addr::new(10, 92, 0, 10);
/// Service addresses: this network, [`SERVICE_PREFIX`] bits.
pub const SERVICE_NETWORK: Ipv4Addr = Ipv4Addr::new(10, 92, 0, 0);
/// How many bits of [`SERVICE_NETWORK`] are fixed.
pub const SERVICE_PREFIX: u8 = 16;
/// How many bits of a node's address on the fabric are fixed.
pub const NODE_PREFIX: u8 = 24;
/// How many bits of a pod's address name its node.
pub const POD_PREFIX: u8 = 24;
/// The most nodes a mesh can have; each takes one of 254 addresses.
pub const NODES_MAX: u8 = 64;

/// The name of a node.
pub fn node_name(index: u8) -> String {
    format!("node{index}")
}

/// A node's address on the fabric.
pub fn node_ip(index: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 90, 0, index)
}

/// The network of a node's pods, [`POD_PREFIX`] bits.
pub fn pod_network(index: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 91, index, 0)
}

/// The address pods know their node by.
pub fn pod_gateway(index: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 91, index, 1)
}

/// The node's end of a pod's link. At most 15 characters, as the kernel wants.
pub fn pod_link(ip: Ipv4Addr) -> String {
    let [_, _, node, pod] = ip.octets();
    format!("pod{node}-{pod}")
}

/// The addresses of one node's pods.
///
/// The next address is the one after the last given, so that an address comes back as late as
/// possible: connections to a pod that is gone must not reach its successor.
#[derive(Debug)]
pub struct PodAddresses {
    node: u8,
    next: u8,
    taken: BTreeSet<u8>,
}

impl PodAddresses {
    const FIRST: u8 = 2;
    const LAST: u8 = 254;
    /// How many pods a node can hold.
    pub const PER_NODE: usize = (Self::LAST - Self::FIRST) as usize + 1;

    /// All addresses of a node, none taken.
    pub fn of_node(node: u8) -> Self {
        Self {
            node,
            next: Self::FIRST,
            taken: BTreeSet::new(),
        }
    }

    /// Takes an address; `None` when all are taken.
    pub fn take(&mut self) -> Option<Ipv4Addr> {
        let after = self.next..=Self::LAST;
        let before = Self::FIRST..self.next;
        let free = after
            .chain(before)
            .find(|host| !self.taken.contains(host))?;
        self.taken.insert(free);
        self.next = if free == Self::LAST {
            Self::FIRST
        } else {
            free + 1
        };
        let [a, b, c, _] = pod_network(self.node).octets();
        Some(Ipv4Addr::new(a, b, c, free))
    }

    /// Gives an address back.
    pub fn release(&mut self, ip: Ipv4Addr) {
        let [.., host] = ip.octets();
        self.taken.remove(&host);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_comes_back_last() {
        let mut addresses = PodAddresses::of_node(3);
        let first = addresses.take().unwrap();
        assert_eq!(first, Ipv4Addr::new(10, 91, 3, 2));
        addresses.release(first);
        let others: Vec<_> = (1..PodAddresses::PER_NODE)
            .map(|_| addresses.take().unwrap())
            .collect();
        assert!(!others.contains(&first));
        assert_eq!(addresses.take(), Some(first));
        assert_eq!(addresses.take(), None);
    }

    #[test]
    fn link_names_fit_the_kernel() {
        assert!(pod_link(Ipv4Addr::new(10, 91, 254, 254)).len() <= 15);
    }
}
