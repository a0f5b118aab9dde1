//! Links, addresses and routes of the fabric, a node and a pod.

use std::net::Ipv4Addr;

use nlink::{
    Connection, Ipv4Address, Ipv4Route, Route,
    netlink::{
        link::{BridgeLink, VethLink},
        namespace::Netns,
        types::route::RouteScope,
    },
};

use super::{Error, addresses};

const BRIDGE: &str = "br0";
const ETH0: &str = "eth0";
const LOOPBACK: &str = "lo";

/// A node forwards, and takes packets whatever way their source lies: a pod's address is on
/// another link than the one its answer may come from. Redirects would tell a pod that talks to
/// itself through a Service to leave its node out.
pub(super) const NODE_SYSCTLS: [(&str, &str); 5] = [
    ("net.ipv4.ip_forward", "1"),
    ("net.ipv4.conf.all.rp_filter", "0"),
    ("net.ipv4.conf.default.rp_filter", "0"),
    ("net.ipv4.conf.all.send_redirects", "0"),
    ("net.ipv4.conf.default.send_redirects", "0"),
];

/// ztunnel answers inside the pod from the client's own address, which no route leads to.
pub(super) const POD_SYSCTLS: [(&str, &str); 2] = [
    ("net.ipv4.conf.all.rp_filter", "0"),
    ("net.ipv4.conf.default.rp_filter", "0"),
];

fn routes_of(netns: &Netns) -> Result<Connection<Route>, Error> {
    Connection::<Route>::new_in(netns).map_err(Error::kernel(netns, "open rtnetlink"))
}

async fn set_up(netns: &Netns, routes: &Connection<Route>, link: &str) -> Result<(), Error> {
    routes
        .set_link_up(link)
        .await
        .map_err(Error::kernel(netns, "set a link up"))
}

async fn add_address(
    netns: &Netns,
    routes: &Connection<Route>,
    address: Ipv4Address,
) -> Result<(), Error> {
    routes
        .add_address(address)
        .await
        .map_err(Error::kernel(netns, "add an address"))
}

async fn add_route(
    netns: &Netns,
    routes: &Connection<Route>,
    route: Ipv4Route,
) -> Result<(), Error> {
    routes
        .add_route(route)
        .await
        .map_err(Error::kernel(netns, "add a route"))
}

/// Makes the bridge that joins the nodes.
pub(super) async fn bridge(fabric: &Netns) -> Result<(), Error> {
    let routes = routes_of(fabric)?;
    // A port must carry packets at once: there is no loop to look for.
    let bridge = BridgeLink::new(BRIDGE).stp(false).forward_delay_ms(0);
    routes
        .add_link(bridge)
        .await
        .map_err(Error::kernel(fabric, "add the bridge"))?;
    set_up(fabric, &routes, LOOPBACK).await?;
    set_up(fabric, &routes, BRIDGE).await
}

/// Joins a node to the fabric and routes to the pods of all others.
pub(super) async fn node(fabric: &Netns, netns: &Netns, index: u8, nodes: u8) -> Result<(), Error> {
    let port = addresses::node_name(index);
    let outside = routes_of(fabric)?;
    let pair = VethLink::new(&port, ETH0).peer_netns_fd(netns);
    outside
        .add_link(pair)
        .await
        .map_err(Error::kernel(fabric, "add a node's link"))?;
    outside
        .set_link_master(port.as_str(), BRIDGE)
        .await
        .map_err(Error::kernel(fabric, "join the bridge"))?;
    set_up(fabric, &outside, &port).await?;

    let routes = routes_of(netns)?;
    set_up(netns, &routes, LOOPBACK).await?;
    set_up(netns, &routes, ETH0).await?;
    let uplink = Ipv4Address::new(ETH0, addresses::node_ip(index), addresses::NODE_PREFIX);
    add_address(netns, &routes, uplink).await?;
    // The resolver is on every node; its address never leaves it.
    add_address(
        netns,
        &routes,
        Ipv4Address::new(LOOPBACK, addresses::DNS_VIP, 32),
    )
    .await?;
    for other in (1..=nodes).filter(|other| *other != index) {
        let pods = Ipv4Route::new(addresses::pod_network(other), addresses::POD_PREFIX);
        add_route(netns, &routes, pods.gateway(addresses::node_ip(other))).await?;
    }
    Ok(())
}

/// Joins a pod to its node: one address, and its node is the way to everything.
pub(super) async fn pod(
    node: &Netns,
    netns: &Netns,
    ip: Ipv4Addr,
    gateway: Ipv4Addr,
) -> Result<(), Error> {
    let link = addresses::pod_link(ip);
    let outside = routes_of(node)?;
    let pair = VethLink::new(&link, ETH0).peer_netns_fd(netns);
    outside
        .add_link(pair)
        .await
        .map_err(Error::kernel(node, "add a pod's link"))?;
    set_up(node, &outside, &link).await?;
    add_address(node, &outside, Ipv4Address::new(&link, gateway, 32)).await?;
    let to_pod = Ipv4Route::new(ip, 32).dev(&link).scope(RouteScope::Link);
    add_route(node, &outside, to_pod).await?;

    let routes = routes_of(netns)?;
    set_up(netns, &routes, LOOPBACK).await?;
    set_up(netns, &routes, ETH0).await?;
    add_address(netns, &routes, Ipv4Address::new(ETH0, ip, 32)).await?;
    let to_node = Ipv4Route::new(gateway, 32)
        .dev(ETH0)
        .scope(RouteScope::Link);
    add_route(netns, &routes, to_node).await?;
    add_route(
        netns,
        &routes,
        Ipv4Route::default_route().gateway(gateway).dev(ETH0),
    )
    .await
}

/// Takes a pod's link away at once; deleting its namespace would do so some time later, and the
/// address may be wanted before.
pub(super) async fn remove_pod(node: &Netns, ip: Ipv4Addr) -> Result<(), Error> {
    let routes = routes_of(node)?;
    let link = addresses::pod_link(ip);
    routes
        .del_link_if_exists(link.as_str())
        .await
        .map_err(Error::kernel(node, "remove a pod's link"))?;
    Ok(())
}
